//! What the tasks of a run share: whether it goes on, and what has come of their requests.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Instant;

use tokio::sync::Notify;

use super::Failure;
use crate::outcome::Outcome;

/// The failure has been counted; all that is left to do is to give the connection up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted;

pub(crate) struct Tally {
    /// The measured time's first instant.
    from: Cell<Option<Instant>>,
    is_over: Cell<bool>,
    opened: Cell<u32>,
    pending: Cell<u64>,
    requests: Cell<u64>,
    received_bytes: Cell<u64>,
    outcome: RefCell<Outcome>,
    has_changed: Notify,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            from: Cell::new(None),
            is_over: Cell::new(false),
            opened: Cell::new(0),
            pending: Cell::new(0),
            requests: Cell::new(0),
            received_bytes: Cell::new(0),
            outcome: RefCell::new(Outcome::new(false)),
            has_changed: Notify::new(),
        }
    }
}

impl Tally {
    pub(crate) fn goes_on(&self) -> bool {
        !self.is_over.get()
    }

    /// A connection has been opened for the first time.
    pub(crate) fn opened(&self) {
        self.opened.set(self.opened.get() + 1);
        self.has_changed.notify_one();
    }

    pub(crate) async fn wait_for_opened(&self, connections: u32) {
        while self.opened.get() < connections {
            self.has_changed.notified().await;
        }
    }

    /// The measured time begins: what was answered until now was warm-up.
    pub(crate) fn begin_window(&self) {
        self.requests.set(0);
        self.received_bytes.set(0);
        self.from.set(Some(Instant::now()));
    }

    /// The measured time is over: nothing more is sent. Gives the requests answered in it and their bytes.
    pub(crate) fn end_window(&self) -> (u64, u64) {
        self.is_over.set(true);
        (self.requests.get(), self.received_bytes.get())
    }

    pub(crate) fn pending(&self) -> u64 {
        self.pending.get()
    }

    pub(crate) async fn wait_for_pending(&self) {
        while self.pending.get() > 0 {
            self.has_changed.notified().await;
        }
    }

    pub(crate) fn take_outcome(&self) -> Outcome {
        self.outcome.replace(Outcome::new(false))
    }

    #[cold]
    pub(crate) fn fail(&self, failure: Failure) -> Counted {
        self.outcome.borrow_mut().fail(failure);
        Counted
    }

    /// Takes answers into account that belong to an exchange which is still under way.
    pub(crate) fn add(&self, requests: u64, received_bytes: u64) {
        self.requests.set(self.requests.get() + requests);
        self.received_bytes.set(self.received_bytes.get() + received_bytes);
    }

    /// A request is on its way from now on.
    pub(crate) fn begin(&self) -> Instant {
        self.pending.set(self.pending.get() + 1);
        Instant::now()
    }

    /// The request that began at `due` has ended so.
    pub(crate) fn end<T>(&self, due: Instant, answer: Result<T, Failure>) -> Result<T, Counted> {
        self.pending.set(self.pending.get() - 1);
        if !self.goes_on() {
            self.has_changed.notify_one();
        }
        if let Some(from) = self.from.get().filter(|from| *from <= due) {
            let (due_ns, taken_ns) = ((due - from).as_nanos() as u64, due.elapsed().as_nanos() as u64);
            self.outcome.borrow_mut().record(due_ns, taken_ns);
        }
        answer.map_err(|failure| self.fail(failure))
    }

    /// One request and its answer, of which the future gives the bytes.
    pub(crate) async fn exchange(&self, exchange: impl Future<Output = Result<u64, Failure>>) -> Result<(), Counted> {
        let due = self.begin();
        let received_bytes = self.end(due, exchange.await)?;
        self.add(1, received_bytes);
        Ok(())
    }
}
