//! Starting a core: a named thread on one CPU, running one reactor.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::busy::Activity;
use super::{Deadlines, TICK};
use crate::counters::{CoreCounters, Counters};
use crate::dns::DnsTable;
use crate::logring::LogRing;
use crate::net::{self, ReactorOptions};
use crate::overload::Overload;
use crate::publish::View;

/// Everything one core owns apart from connections. It is reached through `Rc` and nothing of it leaves the thread.
pub struct Core {
    pub index: usize,
    pub cpu: Option<usize>,
    pub deadlines: Rc<Deadlines>,
    pub overload: Arc<Overload>,
    pub dns: RefCell<View<DnsTable>>,
    pub log: Rc<LogRing>,
    counters: Counters,
    activity: Activity,
}

/// What a core is made of; can be sent to its thread.
pub struct CoreParts {
    pub index: usize,
    /// The CPU the thread is pinned to; none leaves it to the scheduler.
    pub cpu: Option<usize>,
    pub reactor: ReactorOptions,
    /// How long the core polls without a request before it sleeps; zero = it sleeps at once.
    pub busy_poll: Duration,
    pub overload: Arc<Overload>,
    pub dns: View<DnsTable>,
    pub log: LogRing,
    pub counters: Counters,
}

impl Core {
    pub fn counters(&self) -> &CoreCounters {
        self.counters.core(self.index)
    }

    /// A request has come; keeps a core that polls busily awake.
    pub fn note_activity(&self) {
        self.activity.note();
    }

    /// Runs a task on this core; a panic in it is counted and logged and harms no other.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let core = self.clone();
        net::spawn(task, move |text| {
            core.counters().panics.one();
            tracing::error!(core = core.index, "a connection's task panicked and was ended: {text}");
        });
    }

    /// Once per tick: moves the clock, fires deadlines, hands the log lines over.
    async fn keep_time(self: Rc<Self>) {
        loop {
            net::sleep(TICK).await;
            self.deadlines.tick();
            self.counters().log_lines_lost.add(self.log.hand_over());
        }
    }
}

/// Starts the core's thread. `main` builds the core's task on that thread; the thread ends with it.
pub fn start<F: Future<Output = ()>>(
    parts: CoreParts,
    main: impl FnOnce(Rc<Core>) -> F + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(format!("ferrum-core-{}", parts.index)).spawn(move || {
        if let Some(cpu) = parts.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            tracing::warn!(core = parts.index, "cannot pin the core to CPU {cpu}; it runs where the scheduler puts it");
        }
        net::run(&parts.reactor, async move {
            let core = Rc::new(Core {
                index: parts.index,
                cpu: parts.cpu,
                deadlines: Deadlines::new(),
                overload: parts.overload,
                dns: RefCell::new(parts.dns),
                log: Rc::new(parts.log),
                counters: parts.counters,
                activity: Activity::default(),
            });
            core.spawn(core.clone().keep_time());
            if !parts.busy_poll.is_zero() {
                let spinning = core.clone();
                core.spawn(async move { spinning.activity.spin(parts.busy_poll).await });
            }
            main(core.clone()).await;
            core.counters().log_lines_lost.add(core.log.hand_over());
        })
    })
}

/// Gives this thread the lowest priority, for control work that may share a CPU with a core.
pub fn yield_to_cores() {
    const LOWEST: libc::c_int = 19;
    // SAFETY: takes no memory. 0 is the calling thread, whose priority may always be lowered.
    #[allow(unsafe_code)]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST);
    }
}
