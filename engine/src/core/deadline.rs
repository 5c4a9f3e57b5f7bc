//! Deadlines that are moved by a store.
//!
//! A connection has one deadline, which it moves as it goes from one wait to the next. Moving it writes one integer; no
//! timer is armed or cancelled. A tick of the core looks at all of them: a scan over plain integers, a few microseconds
//! for ten thousand connections. So a deadline fires up to one tick late, never early.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How often deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(10);

const NEVER: u64 = u64::MAX;

/// All deadlines of one core, and its coarse clock.
pub struct Deadlines {
    start: Instant,
    now_ms: Cell<u64>,
    due_ms: RefCell<Vec<u64>>,
    /// Whether the slot's owner only waits for more to do, and may be told to go.
    idle: RefCell<Vec<bool>>,
    closing: Cell<bool>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Deadlines {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            start: Instant::now(),
            now_ms: Cell::new(0),
            due_ms: RefCell::default(),
            idle: RefCell::default(),
            closing: Cell::new(false),
            wakers: RefCell::default(),
            free: RefCell::default(),
        })
    }

    /// Milliseconds since the core started, as of the last tick.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub fn deadline(self: &Rc<Self>) -> Deadline {
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            self.due_ms.borrow_mut().push(NEVER);
            self.idle.borrow_mut().push(false);
            self.wakers.borrow_mut().push(None);
            self.due_ms.borrow().len() - 1
        });
        Deadline { all: self.clone(), slot }
    }

    /// From now on whoever is idle, or becomes it, is due at once.
    pub fn close_idle(&self) {
        self.closing.set(true);
        for (due, idle) in self.due_ms.borrow_mut().iter_mut().zip(self.idle.borrow().iter()) {
            if *idle {
                *due = 0;
            }
        }
        self.tick();
    }

    /// Moves the clock on and wakes whoever is due.
    pub fn tick(&self) {
        self.tick_at(self.start.elapsed().as_millis() as u64);
    }

    fn tick_at(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let due_ms = self.due_ms.borrow();
        let mut wakers = self.wakers.borrow_mut();
        for (slot, _) in due_ms.iter().enumerate().filter(|(_, due)| **due <= now_ms) {
            if let Some(waker) = wakers[slot].take() {
                waker.wake();
            }
        }
    }
}

/// One point in time, or never.
pub struct Deadline {
    all: Rc<Deadlines>,
    slot: usize,
}

impl Deadline {
    /// Due after `duration_ms` from now; at least that long, at most one tick longer.
    pub fn set_ms(&self, duration_ms: u64) {
        let tick = TICK.as_millis() as u64;
        self.store(self.all.now_ms.get().saturating_add(duration_ms).saturating_add(tick), false);
    }

    fn store(&self, due_ms: u64, idle: bool) {
        self.all.due_ms.borrow_mut()[self.slot] = due_ms;
        self.all.idle.borrow_mut()[self.slot] = idle;
    }

    /// As `set`, for a wait that ends as well when the core is told to close what is idle.
    pub fn set_idle(&self, duration_ms: Option<u64>) {
        self.set(duration_ms);
        if self.all.closing.get() {
            self.store(0, true);
        } else {
            self.all.idle.borrow_mut()[self.slot] = true;
        }
    }

    /// `None` and zero mean never, as in the settings.
    pub fn set(&self, duration_ms: Option<u64>) {
        match duration_ms {
            Some(duration_ms) if duration_ms > 0 => self.set_ms(duration_ms),
            _ => self.clear(),
        }
    }

    pub fn clear(&self) {
        self.store(NEVER, false);
    }

    pub fn is_due(&self) -> bool {
        self.all.due_ms.borrow()[self.slot] <= self.all.now_ms.get()
    }

    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_due() {
            return Poll::Ready(());
        }
        let waker = &mut self.all.wakers.borrow_mut()[self.slot];
        if !waker.as_ref().is_some_and(|present| present.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Runs `work` until it is ready or the deadline is due.
    pub fn bound<F: Future>(&self, work: F) -> Bounded<'_, F> {
        Bounded { deadline: self, work }
    }
}

/// See [`Deadline::bound`]. Not an `async fn`, because that would hold `work` twice: as its argument and pinned.
pub struct Bounded<'d, F> {
    deadline: &'d Deadline,
    work: F,
}

impl<F: Future> Future for Bounded<'_, F> {
    type Output = Option<F::Output>;

    #[allow(unsafe_code)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `work` is pinned with the whole and never moved out; `deadline` is a reference and never pinned.
        let (deadline, work) = unsafe {
            let this = self.get_unchecked_mut();
            (this.deadline, Pin::new_unchecked(&mut this.work))
        };
        match work.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.clear();
        self.all.wakers.borrow_mut()[self.slot] = None;
        self.all.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_deadline_fires_when_due_and_not_before() {
        let all = Deadlines::new();
        let deadline = all.deadline();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(deadline.poll(&mut cx).is_pending());
        deadline.set_ms(100);
        all.tick_at(109);
        assert!(deadline.poll(&mut cx).is_pending());
        all.tick_at(110);
        assert!(deadline.poll(&mut cx).is_ready());
        deadline.set(Some(0));
        assert!(deadline.poll(&mut cx).is_pending());
    }

    #[test]
    fn closing_makes_the_idle_due_and_leaves_the_busy() {
        let all = Deadlines::new();
        let (idle, busy) = (all.deadline(), all.deadline());
        idle.set_idle(None);
        busy.set_ms(1_000_000);
        all.close_idle();
        assert!(idle.is_due() && !busy.is_due());
        busy.set_idle(None);
        assert!(busy.is_due());
    }

    #[test]
    fn slots_are_used_again() {
        let all = Deadlines::new();
        let first = all.deadline();
        first.set_ms(0);
        drop(first);
        let second = all.deadline();
        all.tick_at(1_000);
        assert!(!second.is_due());
        assert_eq!(all.due_ms.borrow().len(), 1);
    }
}
