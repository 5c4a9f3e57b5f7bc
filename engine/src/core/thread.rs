//! Starting a core: a named thread on one CPU, running one reactor.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::busy::Activity;
use super::{Deadlines, TICK, Ticks};
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
    pub ticks: Rc<Ticks>,
    counters: Counters,
    activity: Activity,
}

thread_local! {
    /// Of the core that runs on this thread.
    static COUNTERS: RefCell<Option<(Counters, usize)>> = const { RefCell::new(None) };
}

/// Counts a panic that was caught on this core where the core itself is not at hand. Off a core nobody counts.
pub fn count_panic() {
    COUNTERS.with(|counters| {
        if let Some((counters, core)) = &*counters.borrow() {
            counters.core(*core).panics.one();
        }
    });
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

    /// Once per tick: moves the clock, fires deadlines, hands the log lines over, and calls whoever wants to be called.
    async fn keep_time(self: Rc<Self>) {
        loop {
            net::sleep(TICK).await;
            self.deadlines.tick();
            net::note_tick();
            self.counters().log_lines_lost.add(self.log.hand_over());
            self.ticks.run();
        }
    }
}

/// Starts the core's thread and waits until its event loop is there. `main` builds the core's task on that thread; the thread
/// ends with it.
pub fn start<F: Future<Output = ()>>(
    parts: CoreParts,
    main: impl FnOnce(Rc<Core>) -> F + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let (ready, is_ready) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("ferrum-core-{}", parts.index)).spawn(move || {
        if let Some(cpu) = parts.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            tracing::warn!(core = parts.index, "cannot pin the core to CPU {cpu}; it runs where the scheduler puts it");
        }
        take_short_turns();
        COUNTERS.with(|counters| *counters.borrow_mut() = Some((parts.counters.clone(), parts.index)));
        net::run(&parts.reactor, async move {
            // Whoever waits may have given up.
            let _ = ready.send(());
            let core = Rc::new(Core {
                index: parts.index,
                cpu: parts.cpu,
                deadlines: Deadlines::new(),
                overload: parts.overload,
                dns: RefCell::new(parts.dns),
                log: Rc::new(parts.log),
                ticks: Rc::default(),
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
            core.ticks.run();
        })
    })?;
    if is_ready.recv().is_ok() {
        return Ok(thread);
    }
    let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("the core's thread panicked")));
    Err(ended.err().unwrap_or_else(|| io::Error::other("the core's thread ended at once")))
}

/// How long a core runs at a time when others want its CPU; the shortest the scheduler grants.
const TURN_NS: u64 = 100_000;

/// What sched_setattr(2) takes; the part that every kernel knows.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Asks the scheduler for short turns, which come soon: a core that wakes then goes before a thread with a turn of the usual
/// length, whatever that one's priority, instead of waiting for its end (3 ms). Its share of the CPU stays the same. Threads
/// that the operator has put under another policy (chrt(1)) stay as they are, and kernels before 6.12 do not know this and
/// change nothing.
fn take_short_turns() {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>() as u32;
    // SAFETY: 0 is the calling thread; at most `size` bytes are written to `attr`.
    #[allow(unsafe_code)]
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) } == 0;
    if !known || attr.policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attr.runtime_ns = TURN_NS;
    // SAFETY: `attr` outlives the call and says its size. A refusal leaves the thread as it was.
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn own_attr() -> SchedAttr {
        let mut attr = SchedAttr::default();
        let size = size_of::<SchedAttr>();
        // SAFETY: at most `size` bytes are written to `attr`.
        #[allow(unsafe_code)]
        let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
        assert_eq!(done, 0);
        attr
    }

    fn kernel_version() -> (u32, u32) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    #[test]
    fn a_core_whose_event_loop_cannot_be_made_is_an_error_at_its_start() {
        let dns = crate::publish::Fanout::new(1, Arc::new(DnsTable::default())).view(0);
        let reactor =
            ReactorOptions { reactor: net::Reactor::IoUring, ring_entries: u32::MAX, sqpoll: false, busy_poll: false };
        let parts = CoreParts {
            index: 0,
            cpu: None,
            reactor,
            busy_poll: Duration::ZERO,
            overload: Arc::default(),
            dns,
            log: crate::logring::log_ring(1).0,
            counters: Counters::new(1),
        };
        assert!(start(parts, |_| async {}).is_err());
    }

    #[test]
    fn a_core_takes_short_turns_and_keeps_its_priority() {
        let before = own_attr();
        take_short_turns();
        let after = own_attr();
        assert_eq!((after.policy, after.nice), (before.policy, before.nice));
        let knows_turns = kernel_version() >= (6, 12);
        assert_eq!(after.runtime_ns == TURN_NS, knows_turns);
    }
}
