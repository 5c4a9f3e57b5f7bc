//! What those who ask and the task of the connection have between them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::buffer::Buffer;
use engine::core::OnTick;
use futures_util::future::{Either, select};
use tokio::sync::{Notify, oneshot};

use super::connection;
use super::reply::{Reply, Value};
use super::{Away, Endpoint, Transaction, WAIT_MAX, command};
use crate::CoreEnv;
use crate::outbound::Services;

/// Requests that wait on one connection; the next one is decided without Redis.
const WAITING_MAX: usize = 4096;
/// Commands that are not sent yet; the same.
const OUTGOING_BYTES_MAX: usize = 1 << 20;

const NOT_CARRIED_OUT: &str = "it did not carry out a transaction";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nobody has asked for anything.
    Unused,
    /// For the first time. Requests wait for it.
    Opening,
    Up,
    /// Requests do not wait.
    Away,
}

/// One connection, as those see it who ask. It closes when this is dropped.
pub(super) struct Link {
    desk: Rc<Desk>,
}

pub(super) struct Desk {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) services: Arc<Services>,
    state: Cell<State>,
    is_closed: Cell<bool>,
    outgoing: RefCell<Buffer>,
    /// In the order of their commands.
    waiting: RefCell<VecDeque<Waiting>>,
    /// There is something to send, or the end has come.
    bell: Notify,
    /// Something is due, or the end has come.
    due: Notify,
    /// When Redis was asked last whether it is there, while it is.
    pinged: Cell<Option<Instant>>,
}

struct Waiting {
    since: Instant,
    /// Replies that are still to come; the last one answers.
    replies: usize,
    /// How many values it must have; none for a PING.
    values: Option<usize>,
    answer: Option<oneshot::Sender<Vec<Value>>>,
}

impl Link {
    pub(super) fn new(endpoint: Arc<Endpoint>, env: &CoreEnv) -> Self {
        let desk = Rc::new(Desk {
            endpoint,
            services: env.services.clone(),
            state: Cell::new(State::Unused),
            is_closed: Cell::new(false),
            outgoing: RefCell::default(),
            waiting: RefCell::default(),
            bell: Notify::new(),
            due: Notify::new(),
            pinged: Cell::new(None),
        });
        let member: Rc<dyn OnTick> = desk.clone();
        env.ticks.join(Rc::downgrade(&member));
        Self { desk }
    }

    pub(super) fn is_away(&self) -> bool {
        self.desk.state.get() == State::Away
    }

    pub(super) async fn run(&self, transaction: Transaction) -> Result<Vec<Value>, Away> {
        if self.desk.state.get() == State::Unused {
            self.desk.state.set(State::Opening);
            let ended = self.desk.clone();
            engine::net::spawn(connection::keep(self.desk.clone()), move |text| ended.fell(text));
        }
        let transaction = transaction.finish();
        let answer = self.desk.submit(&transaction)?;
        // Nothing comes when the connection fails.
        answer.await.map_err(|_| Away)
    }
}

#[cfg(test)]
impl Link {
    /// Lets the task see what is due, and what other threads have done.
    pub(super) fn nudge(&self) {
        self.desk.due.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.desk.is_closed.set(true);
        self.desk.bell.notify_one();
        self.desk.due.notify_one();
    }
}

/// The connection is looked after at every tick, and its task is woken only when there is something to do.
impl OnTick for Desk {
    fn on_tick(&self) {
        if self.is_overdue() || self.is_ping_due() {
            self.due.notify_one();
        }
    }
}

impl Desk {
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    fn submit(&self, transaction: &Transaction) -> Result<oneshot::Receiver<Vec<Value>>, Away> {
        let bytes = &transaction.bytes;
        let has_room = self.waiting.borrow().len() < WAITING_MAX
            && self.outgoing.borrow().len() + bytes.len() <= OUTGOING_BYTES_MAX;
        if self.state.get() == State::Away || !has_room {
            return Err(Away);
        }
        let (answer, answered) = oneshot::channel();
        // MULTI, each command's QUEUED, EXEC.
        self.expect(transaction.commands + 2, Some(transaction.commands), Some(answer));
        self.send(bytes);
        Ok(answered)
    }

    /// Asks whether Redis is there; nobody in particular waits for the answer.
    pub(super) fn ping(&self) {
        self.pinged.set(Some(Instant::now()));
        let mut bytes = Vec::new();
        command::command(&mut bytes, &[b"PING"]);
        self.expect(1, None, None);
        self.send(&bytes);
    }

    fn expect(&self, replies: usize, values: Option<usize>, answer: Option<oneshot::Sender<Vec<Value>>>) {
        self.waiting.borrow_mut().push_back(Waiting { since: Instant::now(), replies, values, answer });
    }

    fn send(&self, bytes: &[u8]) {
        let mut outgoing = self.outgoing.borrow_mut();
        if !outgoing.has_memory() {
            *outgoing = Buffer::head();
        }
        outgoing.extend(bytes);
        self.bell.notify_one();
    }

    /// Waits until there is something to send; nothing when the connection is not needed any more.
    pub(super) async fn outgoing(&self) -> Option<Buffer> {
        loop {
            if self.is_closed() {
                return None;
            }
            if !self.outgoing.borrow().is_empty() {
                return Some(self.outgoing.take());
            }
            self.bell.notified().await;
        }
    }

    /// Gives a reply to the one whose turn it is.
    pub(super) fn deliver(&self, reply: Reply<'_>) -> Result<(), String> {
        if let Reply::Error(text) = &reply {
            return Err(said(text));
        }
        let mut waiting = self.waiting.borrow_mut();
        let Some(first) = waiting.front_mut() else { return Err("it said something unasked".to_owned()) };
        first.replies -= 1;
        if first.replies > 0 {
            return Ok(());
        }
        let Some(whole) = waiting.pop_front() else { return Ok(()) };
        if let Some(count) = whole.values {
            let values = values(reply)?;
            if values.len() != count {
                return Err(NOT_CARRIED_OUT.to_owned());
            }
            // Whoever asked may be gone.
            let _ = whole.answer.map(|answer| answer.send(values));
        }
        Ok(())
    }

    /// Whether somebody has waited too long.
    pub(super) fn is_overdue(&self) -> bool {
        self.waiting.borrow().front().is_some_and(|first| first.since.elapsed() >= WAIT_MAX)
    }

    pub(super) fn is_ping_due(&self) -> bool {
        self.pinged.get().is_some_and(|pinged| pinged.elapsed() >= self.endpoint.health_interval)
    }

    /// Waits until something may be due.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    pub(super) fn came_up(&self) {
        self.state.set(State::Up);
        self.pinged.set(Some(Instant::now()));
        self.services.redis.is_back(&self.endpoint.to_string());
    }

    /// From now on nobody waits, nor does anybody who waited.
    pub(super) fn went_away(&self, reason: &str) {
        self.state.set(State::Away);
        self.pinged.set(None);
        self.waiting.borrow_mut().clear();
        self.outgoing.take();
        self.services.redis.is_away(&self.endpoint.to_string(), reason);
    }

    /// The task panicked; the next request starts another one.
    fn fell(&self, text: &str) {
        tracing::error!(redis = %self.endpoint, "the task of a connection to Redis panicked and was ended: {text}");
        self.went_away("its task panicked");
        self.state.set(State::Unused);
    }

    /// Until so much time has passed or the end has come.
    pub(super) async fn pause(&self, duration: Duration) {
        let mut sleeping = std::pin::pin!(engine::net::sleep(duration));
        while !self.is_closed() {
            let bell = std::pin::pin!(self.bell.notified());
            if let Either::Left(_) = select(sleeping.as_mut(), bell).await {
                return;
            }
        }
    }
}

/// What each command of a transaction gave.
fn values(reply: Reply<'_>) -> Result<Vec<Value>, String> {
    let Reply::Array(replies) = reply else { return Err(NOT_CARRIED_OUT.to_owned()) };
    let value = |reply| match reply {
        Reply::Status => Ok(Value::Done),
        Reply::Integer(number) => Ok(Value::Integer(number)),
        Reply::Bulk(text) => Ok(Value::Bytes(text.to_vec())),
        Reply::Nil => Ok(Value::Nil),
        Reply::Error(text) => Err(said(text)),
        Reply::Array(_) => Err(NOT_CARRIED_OUT.to_owned()),
    };
    replies.into_iter().map(value).collect()
}

/// An error text of Redis, for the log.
pub(super) fn said(text: &[u8]) -> String {
    format!("it said: {}", String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_task_that_panicked_and_the_next_request_starts_another() {
        let endpoint = Arc::new(Endpoint::of_url("redis://cache.int").unwrap());
        let link = Link::new(endpoint, &crate::testing::core().0);
        link.desk.state.set(State::Up);
        let mut answer = link.desk.submit(&Transaction::new().increment("k").finish()).unwrap();
        link.desk.fell("a defect");
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!((link.is_away(), link.desk.state.get()), (false, State::Unused));
        assert!(link.desk.outgoing.borrow().is_empty(), "the next connection begins anew");
    }
}
