//! One core's event loop: monoio on io_uring, or on epoll where the kernel does not allow io_uring.
//!
//! The ring belongs to one thread (SINGLE_ISSUER) and does its deferred work only when that thread asks for completions
//! (DEFER_TASKRUN), so the kernel never interrupts a request to run another one's completion.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use super::flow;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// What the operator asks for (`FERRUM_REACTOR`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReactorChoice {
    #[default]
    Auto,
    IoUring,
    Epoll,
}

impl FromStr for ReactorChoice {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(()),
        }
    }
}

/// What a core runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reactor {
    IoUring,
    Epoll,
}

#[derive(Clone, Copy, Debug)]
pub struct ReactorOptions {
    pub reactor: Reactor,
    /// Submission queue entries; completions get twice as many.
    pub ring_entries: u32,
    /// A kernel thread submits instead of the core's own system calls.
    pub sqpoll: bool,
    /// The core polls instead of sleeping. Then completions must not wait for it to ask.
    pub busy_poll: bool,
}

fn ring_flags(sqpoll: bool, busy_poll: bool) -> monoio_uring::Builder {
    let mut builder = monoio_uring::IoUring::builder();
    builder.setup_single_issuer();
    if sqpoll {
        builder.setup_sqpoll(1000);
    } else if !busy_poll {
        // The kernel refuses deferred task work together with a submission thread.
        builder.setup_defer_taskrun().setup_coop_taskrun();
    }
    builder
}

/// Tries to set up a ring as the cores will; the error says why the kernel refuses.
pub fn probe_io_uring() -> Result<(), String> {
    let refused = |error: io::Error| {
        match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has no io_uring (5.1 or newer has)".to_owned(),
        Some(libc::EPERM) => {
            "io_uring is not permitted here (kernel.io_uring_disabled, or a seccomp profile such as a container's default)"
                .to_owned()
        }
        Some(libc::ENOMEM) => "not enough locked memory for a ring (ulimit -l)".to_owned(),
        Some(libc::EINVAL) => "the kernel is too old for deferred task work (6.1 or newer has it)".to_owned(),
        _ => error.to_string(),
    }
    };
    ring_flags(false, false).build(8).map(drop).map_err(refused)
}

/// Runs `main` on this thread until it ends.
pub fn run<F: Future>(options: &ReactorOptions, main: F) -> io::Result<F::Output> {
    flow::has_ring(options.reactor == Reactor::IoUring);
    match options.reactor {
        Reactor::IoUring => {
            let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
                .with_entries(options.ring_entries)
                .uring_builder(ring_flags(options.sqpoll, options.busy_poll))
                .enable_timer()
                .build()?;
            Ok(runtime.block_on(main))
        }
        Reactor::Epoll => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            Ok(runtime.block_on(main))
        }
    }
}

/// Runs a task on this core. A panic in it ends the task and is reported to `on_panic`; the core goes on.
pub fn spawn(task: impl Future<Output = ()> + 'static, on_panic: impl FnOnce(&str) + 'static) {
    drop(monoio::spawn(CatchPanic { task, on_panic: Some(on_panic) }));
}

/// The shortest time the event loop's timers know.
const PAUSE: Duration = Duration::from_millis(1);

/// Lets everything else of the core go on, timers too: the event loop looks at those only where it would block.
pub async fn pause() {
    sleep(PAUSE).await;
}

pub async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await;
}

struct CatchPanic<F, P> {
    task: F,
    on_panic: Option<P>,
}

impl<F: Future<Output = ()>, P: FnOnce(&str)> Future for CatchPanic<F, P> {
    type Output = ();

    #[allow(unsafe_code)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `task` is pinned with the whole and never moved out; `on_panic` is never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let task = unsafe { Pin::new_unchecked(&mut this.task) };
        // A task owns what it touches; what it shares with the core are counters and free lists, whole at every step.
        match std::panic::catch_unwind(AssertUnwindSafe(|| task.poll(cx))) {
            Ok(poll) => poll,
            Err(payload) => {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                if let Some(on_panic) = this.on_panic.take() {
                    on_panic(text.unwrap_or("no message"));
                }
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn reactors() -> Vec<Reactor> {
        let mut reactors = vec![Reactor::Epoll];
        if probe_io_uring().is_ok() {
            reactors.push(Reactor::IoUring);
        }
        reactors
    }

    #[test]
    fn a_panic_ends_its_task_only() {
        for reactor in reactors() {
            let panics = Rc::new(Cell::new(0));
            let seen = panics.clone();
            let options = ReactorOptions { reactor, ring_entries: 64, sqpoll: false, busy_poll: false };
            let after = run(&options, async move {
                spawn(async { panic!("boom") }, move |text| {
                    assert_eq!(text, "boom");
                    seen.set(seen.get() + 1);
                });
                sleep(Duration::from_millis(1)).await;
                7
            });
            assert_eq!(after.unwrap(), 7);
            assert_eq!(panics.get(), 1);
        }
    }
}
