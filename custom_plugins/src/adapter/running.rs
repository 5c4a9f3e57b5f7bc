//! A hook while it runs.
//!
//! Its first poll is made on the core, without a waker: nearly every hook answers there. One that waits is awaited on the core
//! and woken through its mailbox. One whose plugin blocks its thread is moved to a thread for that.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine::core::{count_panic, foreign};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::{Semaphore, oneshot};

use super::instance::Instance;
use super::watch;

/// A hook panicked, which was logged and counted.
#[derive(Debug)]
pub(super) struct Panicked;

/// A hook that owns what it works on.
pub(super) type Running<T> = BoxFuture<'static, T>;

/// What a hook has come to.
pub(super) enum Polled<T> {
    Done(Result<T, Panicked>),
    Waits(Waiting<T>),
}

/// Hooks of blocking plugins that run at a time; more wait for their turn. Fewer than the control runtime has threads for
/// blocking work, so that others of its users are not shut out.
const BLOCKING_MAX: usize = 256;
static TURNS: Semaphore = Semaphore::const_new(BLOCKING_MAX);

/// Log hooks of one instance that wait at a time; past it transactions go unlogged by it.
const LOGGING_MAX: usize = 16_384;

/// Polls a hook for the first time.
pub(super) fn start<T: Send + 'static>(instance: &Arc<Instance>, mut running: Running<T>) -> Polled<T> {
    if instance.is_blocking() {
        let spawned = Some(off_the_core(instance, running));
        return Polled::Waits(Waiting { instance: instance.clone(), running: None, spawned });
    }
    match poll(instance, &mut running, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Polled::Done(done),
        Poll::Pending => Polled::Waits(Waiting { instance: instance.clone(), running: Some(running), spawned: None }),
    }
}

/// One poll on the core.
fn poll<T>(instance: &Instance, running: &mut Running<T>, cx: &mut Context<'_>) -> Poll<Result<T, Panicked>> {
    let poll = || catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
    match watch::during(instance.number, poll) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => {
            count_panic();
            report(instance, &*panic);
            Poll::Ready(Err(Panicked))
        }
    }
}

fn report(instance: &Instance, panic: &(dyn Any + Send)) {
    tracing::error!(plugin = instance.name, "a hook of a plugin panicked: {}", panic_text(panic));
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// A hook that has not answered at once.
pub(super) struct Waiting<T> {
    instance: Arc<Instance>,
    running: Option<Running<T>>,
    spawned: Option<Running<Result<T, Panicked>>>,
}

impl<T: Send + 'static> Waiting<T> {
    /// Its answer, awaited on a core.
    pub(super) async fn answer(self) -> Result<T, Panicked> {
        foreign(self).await
    }
}

impl<T: Send + 'static> Future for Waiting<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.instance.is_blocking()
            && let Some(running) = this.running.take()
        {
            this.spawned = Some(off_the_core(&this.instance, running));
        }
        if let Some(spawned) = &mut this.spawned {
            let done = spawned.as_mut().poll(cx);
            if matches!(done, Poll::Ready(Err(Panicked))) {
                count_panic();
            }
            return done;
        }
        match &mut this.running {
            Some(running) => poll(&this.instance, running, cx),
            // Nobody polls what has answered.
            None => Poll::Ready(Err(Panicked)),
        }
    }
}

/// Runs a hook to its end on a thread that may be blocked. When nobody waits any more, it is dropped where it waits.
fn off_the_core<T: Send + 'static>(instance: &Arc<Instance>, running: Running<T>) -> Running<Result<T, Panicked>> {
    let instance = instance.clone();
    let (still_wanted, given_up) = oneshot::channel::<()>();
    Box::pin(async move {
        let _still_wanted = still_wanted;
        let turn = TURNS.acquire().await;
        let (blocked, runtime) = (instance.runtime.clone(), instance.runtime.clone());
        let joined = blocked.spawn_blocking(move || {
            let _turn = turn;
            let caught = AssertUnwindSafe(running).catch_unwind();
            match runtime.block_on(select(caught, given_up)) {
                Either::Left((Ok(done), _)) => Ok(done),
                Either::Left((Err(panic), _)) => {
                    report(&instance, &*panic);
                    Err(Panicked)
                }
                Either::Right(_) => Err(Panicked),
            }
        });
        // It is not cancelled, and what panics in it has been caught.
        joined.await.unwrap_or(Err(Panicked))
    })
}

/// Runs a hook for whose end nobody waits.
pub(super) fn detach(instance: &Arc<Instance>, running: Running<()>) {
    detach_within(LOGGING_MAX, instance, running);
}

fn detach_within(waiting_max: usize, instance: &Arc<Instance>, running: Running<()>) {
    let waiting = match start(instance, running) {
        Polled::Done(_) => return,
        Polled::Waits(waiting) => waiting,
    };
    if !instance.backlog.enter(waiting_max) {
        if let Some(lost) = instance.backlog.lose() {
            tracing::warn!(
                plugin = instance.name,
                "{waiting_max} transactions wait to be logged by this plugin; {lost} were not logged since it began"
            );
        }
        return;
    }
    let instance = instance.clone();
    let runtime = instance.runtime.clone();
    runtime.spawn(async move {
        // What the core does not await it does not count; the panic was logged.
        let ended: Result<(), Panicked> = match waiting {
            Waiting { spawned: Some(spawned), .. } => spawned.await,
            Waiting { running: Some(running), .. } => {
                let caught = AssertUnwindSafe(running).catch_unwind().await;
                caught.map_err(|panic| {
                    report(&instance, &*panic);
                    Panicked
                })
            }
            Waiting { .. } => Ok(()),
        };
        drop(ended);
        instance.backlog.leave();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    use tokio::runtime::Handle;

    use super::*;
    use crate::plugins::Plugin;

    struct Idle;

    impl Plugin for Idle {
        fn name(&self) -> &str {
            "idle"
        }
    }

    fn instance() -> Arc<Instance> {
        Instance::new(Arc::new(Idle), Handle::current())
    }

    async fn run<T: Send + 'static>(
        instance: &Arc<Instance>,
        hook: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Panicked> {
        match start(instance, Box::pin(hook)) {
            Polled::Done(done) => done,
            Polled::Waits(waiting) => waiting.await,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hook_may_answer_at_once_or_wait_or_panic() {
        let instance = instance();
        assert!(matches!(start(&instance, Box::pin(async { 1 })), Polled::Done(Ok(1))));
        assert_eq!(run(&instance, async { tokio::time::sleep(Duration::from_millis(1)).await }).await.unwrap(), ());
        assert!(run(&instance, async { panic!("{}", "on purpose") }).await.is_err());
        let late = async {
            tokio::task::yield_now().await;
            panic!("later")
        };
        assert!(run::<()>(&instance, late).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_blocking_plugin_is_moved_off_the_thread_that_polls_it() {
        let instance = instance();
        instance.blocks_its_thread();
        let began = Instant::now();
        let here = std::thread::current().id();
        let hook = async {
            std::thread::sleep(Duration::from_millis(60));
            tokio::task::block_in_place(|| tokio::spawn(async { std::thread::current().id() })).await.unwrap();
            std::thread::current().id()
        };
        let Polled::Waits(waiting) = start(&instance, Box::pin(hook)) else { panic!("it runs elsewhere") };
        assert!(began.elapsed() < Duration::from_millis(50), "the thread that starts it is not blocked");
        assert_ne!(waiting.await.unwrap(), here);
        assert!(run::<()>(&instance, async { panic!("elsewhere") }).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_blocking_hooks_run_at_a_time_than_the_bound_and_the_others_have_their_turn() {
        let instance = instance();
        instance.blocks_its_thread();
        // Those that run, and the most that ever ran.
        let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let (open, _) = tokio::sync::watch::channel(false);
        let hook = || {
            let (running, mut gate) = (running.clone(), open.subscribe());
            async move {
                let now = running.0.fetch_add(1, Relaxed) + 1;
                running.1.fetch_max(now, Relaxed);
                let _ = gate.wait_for(|is_open| *is_open).await;
                running.0.fetch_sub(1, Relaxed);
            }
        };
        let all: Vec<_> = (0..BLOCKING_MAX + 2)
            .map(|_| match start(&instance, Box::pin(hook())) {
                Polled::Waits(waiting) => tokio::spawn(waiting),
                Polled::Done(_) => panic!("it runs elsewhere"),
            })
            .collect();
        while running.0.load(Relaxed) < BLOCKING_MAX {
            tokio::task::yield_now().await;
        }
        open.send_replace(true);
        for ended in all {
            ended.await.unwrap().unwrap();
        }
        assert_eq!(running.1.load(Relaxed), BLOCKING_MAX);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hook_that_nobody_waits_for_any_more_is_dropped() {
        struct Told(Option<oneshot::Sender<()>>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.take().map(|told| told.send(()));
            }
        }
        for blocks in [false, true] {
            let instance = instance();
            if blocks {
                instance.blocks_its_thread();
            }
            let (sender, told) = oneshot::channel();
            let guard = Told(Some(sender));
            let hook = async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            };
            let Polled::Waits(mut waiting) = start(&instance, Box::pin(hook)) else { panic!("it waits") };
            assert!(futures::poll!(&mut waiting).is_pending());
            drop(waiting);
            told.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn past_the_bound_a_log_hook_that_waits_is_dropped_and_counted() {
        let instance = instance();
        let (go, _) = tokio::sync::broadcast::channel::<()>(1);
        let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..4 {
            let (mut gone, ended) = (go.subscribe(), ended.clone());
            let hook = async move {
                let _ = gone.recv().await;
                let _ = ended.send(number);
            };
            detach_within(2, &instance, Box::pin(hook));
        }
        drop((go, ended));
        let mut logged = Vec::new();
        while let Some(number) = ends.recv().await {
            logged.push(number);
        }
        logged.sort_unstable();
        assert_eq!(logged, [0, 1]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_detached_ends_on_its_own() {
        let instance = instance();
        let (sender, told) = oneshot::channel();
        let hook = async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let _ = sender.send(());
        };
        detach(&instance, Box::pin(hook));
        told.await.unwrap();
        detach(&instance, Box::pin(async { panic!("nobody is harmed") }));
    }
}
