//! Polling the ring instead of sleeping, for hosts that trade CPU for latency (`FERRUM_BUSY_POLL_US`).
//!
//! While a task is ready the event loop never blocks, so a task that always becomes ready again is a busy poll. It goes
//! on as long as requests keep coming and gives up when none has come for the configured time; the next request starts
//! it anew. The event loop looks at its timers only where it would block, so the poll makes room for that once per tick.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::TICK;
use crate::net;

#[derive(Default)]
pub(super) struct Activity {
    seen: Cell<u64>,
    sleeper: RefCell<Option<Waker>>,
    sleeps: Cell<bool>,
}

impl Activity {
    /// A request has come. One store when nobody sleeps.
    pub(super) fn note(&self) {
        self.seen.set(self.seen.get().wrapping_add(1));
        if self.sleeps.replace(false)
            && let Some(waker) = self.sleeper.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Spins while there is something to do; runs for ever.
    pub(super) async fn spin(&self, idle_max: Duration) {
        loop {
            let (mut seen, mut since) = (self.seen.get(), Instant::now());
            let mut paused = since;
            while since.elapsed() < idle_max {
                turn().await;
                if paused.elapsed() >= TICK {
                    net::pause().await;
                    paused = Instant::now();
                }
                if self.seen.get() != seen {
                    (seen, since) = (self.seen.get(), Instant::now());
                }
            }
            self.sleep().await;
        }
    }

    async fn sleep(&self) {
        self.sleeps.set(true);
        poll_fn(|cx| {
            if !self.sleeps.get() {
                return Poll::Ready(());
            }
            *self.sleeper.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Lets everything else that is ready run once.
async fn turn() {
    let mut turned = false;
    poll_fn(|cx| {
        if turned {
            return Poll::Ready(());
        }
        turned = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn spinning_stops_without_requests_and_starts_with_the_next() {
        let activity = Activity::default();
        let mut spin = pin!(activity.spin(Duration::from_millis(1)));
        let mut cx = Context::from_waker(Waker::noop());
        while !activity.sleeps.get() {
            assert!(spin.as_mut().poll(&mut cx).is_pending());
        }
        activity.note();
        assert!(!activity.sleeps.get());
        assert!(spin.as_mut().poll(&mut cx).is_pending());
        assert!(!activity.sleeps.get());
    }
}
