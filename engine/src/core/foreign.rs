//! Futures whose result comes from another thread, polled on a core.
//!
//! A core's own wakers belong to its thread. [`foreign`] gives such a future one that any thread may use: it posts a note into
//! the core's mailbox, which wakes the task.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use rustc_hash::FxHashMap;

use super::{Mail, PostBox};

/// Tasks of one core that wait for other threads, by number.
#[derive(Default)]
struct Waiting {
    tasks: FxHashMap<u64, Waker>,
    last: u64,
}

struct Desk {
    post_box: PostBox,
    waiting: Rc<RefCell<Waiting>>,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

/// Says where notes to this thread's core are to be posted. Once, before anything waits.
pub fn set_post_box(post_box: PostBox) {
    let desk = Desk { post_box, waiting: Rc::default() };
    DESK.with(|present| *present.borrow_mut() = Some(desk));
}

/// A note for this core has come.
pub fn wake_waiting(number: u64) {
    let waiter = DESK.with(|desk| {
        let desk = desk.borrow();
        desk.as_ref().and_then(|desk| desk.waiting.borrow().tasks.get(&number).cloned())
    });
    if let Some(waiter) = waiter {
        waiter.wake();
    }
}

/// Wakes one waiting task of one core from any thread. One note at a time is on its way.
struct Remote {
    post_box: PostBox,
    number: u64,
    is_posted: AtomicBool,
}

impl Wake for Remote {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_posted.swap(true, Ordering::AcqRel) {
            self.post_box.post(Mail::Wake(self.number));
        }
    }
}

/// The place of a waiting task, given back when its future ends or is dropped.
struct Place {
    waiting: Rc<RefCell<Waiting>>,
    remote: Arc<Remote>,
}

impl Place {
    fn take(waker: &Waker) -> Option<Self> {
        DESK.with(|desk| {
            let desk = desk.borrow();
            let desk = desk.as_ref()?;
            let mut waiting = desk.waiting.borrow_mut();
            waiting.last += 1;
            let number = waiting.last;
            waiting.tasks.insert(number, waker.clone());
            let remote = Remote { post_box: desk.post_box.clone(), number, is_posted: AtomicBool::new(false) };
            Some(Self { waiting: desk.waiting.clone(), remote: Arc::new(remote) })
        })
    }

    /// The task may have moved on to another waker.
    fn renew(&self, waker: &Waker) {
        if let Some(present) = self.waiting.borrow_mut().tasks.get_mut(&self.remote.number) {
            present.clone_from(waker);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.borrow_mut().tasks.remove(&self.remote.number);
    }
}

/// See [`foreign`].
pub struct Foreign<F> {
    future: F,
    place: Option<Place>,
}

/// Awaits on a core what other threads complete. A future that is ready at its first poll costs nothing more than that.
///
/// Off a core (in tests) the waker of the task is handed on as it is.
pub fn foreign<F: Future + Unpin>(future: F) -> Foreign<F> {
    Foreign { future, place: None }
}

impl<F: Future + Unpin> Future for Foreign<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this.place.is_none() {
            // Nearly every one is ready at once, so the first poll is made with a waker that wakes nobody.
            if let Poll::Ready(output) = Pin::new(&mut this.future).poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(output);
            }
            this.place = Place::take(cx.waker());
        }
        let Some(place) = &this.place else { return Pin::new(&mut this.future).poll(cx) };
        place.renew(cx.waker());
        // From here on a note is needed again.
        place.remote.is_posted.store(false, Ordering::Release);
        let waker = Waker::from(place.remote.clone());
        let polled = Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            this.place = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::core::mailbox;

    /// Ready once somebody else has said so.
    #[derive(Clone, Default)]
    struct Flag(Arc<Mutex<(bool, Option<Waker>)>>);

    impl Flag {
        fn set(&self) {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        }
    }

    impl Future for Flag {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    struct Told(mpsc::Sender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn another_thread_wakes_the_task_through_the_mailbox_and_leaves_no_place_behind() {
        let (post_box, mailbox) = mailbox().unwrap();
        set_post_box(post_box);
        let (told, was_told) = mpsc::channel();
        let waker = Waker::from(Arc::new(Told(told)));
        let cx = &mut Context::from_waker(&waker);
        let flag = Flag::default();
        let mut waiting = foreign(flag.clone());
        assert!(Pin::new(&mut waiting).poll(cx).is_pending());
        std::thread::spawn(move || flag.set()).join().unwrap();
        assert!(was_told.try_recv().is_err(), "only the core's own thread wakes its tasks");
        let number = mailbox.try_wake().expect("a note was posted");
        wake_waiting(number);
        was_told.try_recv().expect("the task was woken");
        assert!(Pin::new(&mut waiting).poll(cx).is_ready());
        DESK.with(|desk| assert!(desk.borrow().as_ref().unwrap().waiting.borrow().tasks.is_empty()));
    }

    #[test]
    fn a_future_that_is_given_up_leaves_no_place_behind() {
        let (post_box, _mailbox) = mailbox().unwrap();
        set_post_box(post_box);
        let mut waiting = foreign(Flag::default());
        assert!(Pin::new(&mut waiting).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(waiting);
        DESK.with(|desk| assert!(desk.borrow().as_ref().unwrap().waiting.borrow().tasks.is_empty()));
    }
}
