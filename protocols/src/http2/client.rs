//! Connections to one backend that carry many requests at a time.
//!
//! Each has a task that drives it. A request leases a place on one; when all are full a further connection is made, up to a bound,
//! and while one is being made the others wait for it instead of making their own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use engine::core::{Deadline, Deadlines};
use engine::counters::ErrorClass;
use engine::net::Duplex;
use engine::pool::Multiplexed;
use engine::snapshot::Http2Limits;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use http::uri::Authority;

use super::bandwidth::{WINDOW_START_BYTES, Windows};
use super::flood::{Guarded, Meter, Watch};
use super::piece::Piece;
use crate::worker::Worker;

/// What of a request's body may wait in the library for the backend's window.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// The fields of a response head, as RFC 9113 §6.5.2 counts them.
const HEADER_LIST_BYTES_MAX: u32 = 256 * 1024;

/// The connections of one core to one backend.
#[derive(Default)]
pub struct Http2Connections {
    live: RefCell<Vec<Rc<Live>>>,
    next: Cell<usize>,
    turnstile: Rc<Turnstile>,
    /// The backend has chosen HTTP/1.1 when both were offered.
    prefers_http1: Cell<bool>,
}

/// Those who wait for a place, and what they wait for.
#[derive(Default)]
struct Turnstile {
    is_dialing: Cell<bool>,
    /// How often making a connection has failed, and how it did the last time.
    failures: Cell<(u64, Option<ErrorClass>)>,
    /// How many have come so far.
    arrivals: Cell<u64>,
    /// The longest waiting first.
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

/// One who waits: in the queue until it has its turn, or leaves.
struct Waiter {
    /// In which order they came.
    number: u64,
    waker: Cell<Option<Waker>>,
    has_turn: Cell<bool>,
}

impl Turnstile {
    /// A place is free.
    fn wake_one(&self) {
        let Some(waiter) = self.waiting.borrow_mut().pop_front() else { return };
        waiter.has_turn.set(true);
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
    }

    fn wake_all(&self) {
        let count = self.waiting.borrow().len();
        for _ in 0..count {
            self.wake_one();
        }
    }

    fn arrive(&self) -> u64 {
        let number = self.arrivals.get();
        self.arrivals.set(number + 1);
        number
    }

    fn enqueue(&self, waiter: Rc<Waiter>) {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.partition_point(|present| present.number < waiter.number);
        waiting.insert(place, waiter);
    }

    fn remove(&self, waiter: &Waiter) {
        let mut waiting = self.waiting.borrow_mut();
        if let Ok(place) = waiting.binary_search_by_key(&waiter.number, |present| present.number) {
            waiting.remove(place);
        }
    }
}

/// A place in the queue, for as long as it is wanted.
struct Ticket<'t> {
    turnstile: &'t Turnstile,
    waiter: Option<Rc<Waiter>>,
}

impl Ticket<'_> {
    fn wait(&mut self, cx: &Context<'_>) {
        let number = match &self.waiter {
            Some(waiter) if !waiter.has_turn.get() => {
                waiter.waker.set(Some(cx.waker().clone()));
                return;
            }
            // Whoever had its turn, and found the place taken, is again before all who came later.
            Some(waiter) => waiter.number,
            None => self.turnstile.arrive(),
        };
        let waker = Cell::new(Some(cx.waker().clone()));
        let waiter = Rc::new(Waiter { number, waker, has_turn: Cell::new(false) });
        self.turnstile.enqueue(waiter.clone());
        self.waiter = Some(waiter);
    }

    /// Whether it had a turn that it has not used.
    fn leave(&mut self) -> bool {
        let Some(waiter) = self.waiter.take() else { return false };
        let has_turn = waiter.has_turn.get();
        if !has_turn {
            self.turnstile.remove(&waiter);
        }
        has_turn
    }

    /// It got what it waited for.
    fn used(&mut self) {
        self.leave();
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.leave() {
            self.turnstile.wake_one();
        }
    }
}

struct Live {
    requests: RefCell<SendRequest<Piece>>,
    peer: SocketAddr,
    streams: Cell<usize>,
    /// When its last stream ended, and how long it may be idle.
    idle_since_ms: Cell<u64>,
    idle_timeout_ms: Cell<u64>,
    has_served: Cell<bool>,
    is_over: Cell<bool>,
    /// The backend speaks HTTP/2.
    has_begun: Rc<Cell<bool>>,
    /// Body bytes that were taken, on all streams.
    taken: Cell<u64>,
    /// Whom the last request was for; as a rule they are all for the same.
    authority: RefCell<Option<Authority>>,
    /// The driver looks after a connection with streams more closely.
    driver: RefCell<Option<Waker>>,
}

impl Live {
    fn has_room(&self, limits: &Http2Limits) -> bool {
        let max = self.requests.borrow().current_max_send_streams().min(limits.streams_max as usize);
        !self.is_over.get() && self.streams.get() < max
    }
}

/// A place on a connection, for one request.
pub struct Leased {
    live: Rc<Live>,
    turnstile: Rc<Turnstile>,
    deadlines: Rc<Deadlines>,
    /// The connection has served a request before: a failure may only mean that it has ended since.
    pub reused: bool,
}

impl Leased {
    fn new(live: &Rc<Live>, connections: &Http2Connections, worker: &Worker) -> Self {
        live.streams.set(live.streams.get() + 1);
        if let Some(driver) = live.driver.borrow_mut().take() {
            driver.wake();
        }
        let (turnstile, deadlines) = (connections.turnstile.clone(), worker.core.deadlines.clone());
        Self { live: live.clone(), turnstile, deadlines, reused: live.has_served.replace(true) }
    }

    pub fn peer(&self) -> SocketAddr {
        self.live.peer
    }

    /// The host as the target of a request says it; nothing if it cannot be said.
    pub fn authority(&self, host: &[u8]) -> Option<Authority> {
        let mut last = self.live.authority.borrow_mut();
        match &*last {
            Some(last) if last.as_str().as_bytes() == host => {}
            _ => *last = Some(Authority::try_from(host).ok()?),
        }
        last.clone()
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.live.streams.set(self.live.streams.get() - 1);
        self.live.idle_since_ms.set(self.deadlines.now_ms());
        self.turnstile.wake_one();
    }
}

/// The right to make a connection. Whoever waits meanwhile goes on when it is given up.
pub struct Dialing {
    turnstile: Rc<Turnstile>,
}

impl Dialing {
    /// Those who waited fail as well: the backend would be asked once for each of them, one after the other.
    pub fn failed(self, class: ErrorClass) {
        let (count, _) = self.turnstile.failures.get();
        self.turnstile.failures.set((count + 1, Some(class)));
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.turnstile.is_dialing.set(false);
        self.turnstile.wake_all();
    }
}

/// How a request gets its connection.
pub enum Lease {
    Have(Leased),
    /// It makes one.
    Dial(Dialing),
    /// Whoever made one has failed.
    Failed(ErrorClass),
    /// The backend wants HTTP/1.1.
    Http1,
}

impl Http2Connections {
    /// A place, or what else to do for one; waits while others make a connection, or all are full. `is_fresh`: on a connection
    /// that nobody has used.
    pub async fn lease(&self, worker: &Worker, limits: &Http2Limits, either: bool, is_fresh: bool) -> Lease {
        let failures = self.turnstile.failures.get().0;
        let mut ticket = Ticket { turnstile: &self.turnstile, waiter: None };
        let lease = poll_fn(|cx| match self.try_lease(worker, limits, (either, is_fresh), failures) {
            Some(lease) => Poll::Ready(lease),
            None => {
                ticket.wait(cx);
                Poll::Pending
            }
        })
        .await;
        if let Lease::Have(_) = lease {
            ticket.used();
        }
        lease
    }

    /// What there is now; nothing: wait.
    fn try_lease(
        &self,
        worker: &Worker,
        limits: &Http2Limits,
        (either, is_fresh): (bool, bool),
        failures: u64,
    ) -> Option<Lease> {
        if either && self.prefers_http1.get() {
            return Some(Lease::Http1);
        }
        if let Some(leased) = self.place(worker, limits, either, is_fresh) {
            return Some(Lease::Have(leased));
        }
        if let (count, Some(class)) = self.turnstile.failures.get()
            && count != failures
        {
            return Some(Lease::Failed(class));
        }
        let is_full = self.live.borrow().len() >= limits.connections_max && !is_fresh;
        if self.turnstile.is_dialing.get() || is_full {
            return None;
        }
        self.turnstile.is_dialing.set(true);
        Some(Lease::Dial(Dialing { turnstile: self.turnstile.clone() }))
    }

    /// In turn among those with room.
    pub fn place(&self, worker: &Worker, limits: &Http2Limits, either: bool, is_fresh: bool) -> Option<Leased> {
        if either && self.prefers_http1.get() {
            return None;
        }
        let mut live = self.live.borrow_mut();
        live.retain(|live| !live.is_over.get());
        let first = self.next.get();
        let mut turns = (0..live.len()).map(|turn| (first + turn) % live.len());
        let chosen = turns.find(|index| {
            let live = &live[*index];
            live.has_room(limits) && !(is_fresh && live.has_served.get())
        })?;
        self.next.set(chosen + 1);
        Some(Leased::new(&live[chosen], self, worker))
    }

    pub fn note_http1(&self) {
        self.prefers_http1.set(true);
    }

    /// Begins HTTP/2 on a new connection and takes a place on it.
    pub async fn begin(
        &self,
        worker: &Rc<Worker>,
        stream: Duplex,
        peer: SocketAddr,
        limits: &Http2Limits,
    ) -> Result<Leased, ErrorClass> {
        self.prefers_http1.set(false);
        let watch = Watch::of_backend();
        let meter = Meter::of_backend(limits.frame_bytes_max, worker.core.deadlines.now_ms());
        let stream = Guarded::new(stream, meter, worker.core.deadlines.clone(), watch.clone());
        let shaken = builder(limits).handshake::<_, Piece>(stream).await;
        let (requests, mut connection) = shaken.map_err(|error| class_of(&error))?;
        let live = Rc::new(Live {
            requests: RefCell::new(requests),
            peer,
            streams: Cell::new(0),
            idle_since_ms: Cell::new(worker.core.deadlines.now_ms()),
            idle_timeout_ms: Cell::new(limits.idle_timeout_ms),
            has_served: Cell::new(false),
            is_over: Cell::new(false),
            has_begun: watch.has_begun,
            taken: Cell::new(0),
            authority: RefCell::default(),
            driver: RefCell::default(),
        });
        let pings = connection.ping_pong().map(|ping_pong| Pings::new(ping_pong, limits, &worker.core.deadlines));
        let driver = Driver { connection, pings, live: live.clone(), turnstile: self.turnstile.clone() };
        worker.core.spawn(driver.drive());
        let leased = Leased::new(&live, self, worker);
        self.live.borrow_mut().push(live);
        Ok(leased)
    }
}

impl Multiplexed for Http2Connections {
    fn sweep(&self, now_ms: u64) -> usize {
        let mut live = self.live.borrow_mut();
        let before = live.len();
        // What is let go of here ends when its driver sees that nobody can ask anything any more.
        live.retain(|live| {
            let is_idle = live.streams.get() == 0 && now_ms >= live.idle_since_ms.get() + live.idle_timeout_ms.get();
            !live.is_over.get() && !is_idle
        });
        before - live.len()
    }

    fn idle(&self) -> usize {
        self.live.borrow().iter().filter(|live| live.streams.get() == 0 && !live.is_over.get()).count()
    }
}

fn builder(limits: &Http2Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_frame_size(limits.frame_bytes_max)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_max_send_streams(limits.streams_max as usize)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    if limits.adaptive_window {
        builder.initial_window_size(WINDOW_START_BYTES);
    } else {
        builder
            .initial_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes);
    }
    builder
}

/// PINGs, for two ends: a dead backend is noticed while streams are open, and windows follow what the path holds.
struct Pings {
    ping_pong: PingPong,
    interval_ms: u64,
    timeout_ms: u64,
    due: Deadline,
    is_pinged: bool,
    windows: Option<Windows>,
}

impl Pings {
    fn new(ping_pong: PingPong, limits: &Http2Limits, deadlines: &Rc<Deadlines>) -> Self {
        let (interval_ms, timeout_ms) = (limits.keepalive_interval_ms, limits.keepalive_timeout_ms);
        let windows = Windows::new(limits.stream_window_bytes, limits.connection_window_bytes);
        let windows = limits.adaptive_window.then_some(windows);
        Self { ping_pong, interval_ms, timeout_ms, due: deadlines.deadline(), is_pinged: false, windows }
    }

    /// Ready when the backend does not answer.
    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Connection<Guarded, Piece>, live: &Live) -> Poll<()> {
        while let Poll::Ready(Ok(_)) = self.ping_pong.poll_pong(cx) {
            self.is_pinged = false;
            self.due.set(Some(self.interval_ms));
            if let Some(windows) = &mut self.windows {
                windows.answered(connection, live.taken.get());
            }
        }
        if self.windows.as_mut().is_some_and(|windows| windows.wants_ping(live.taken.get())) {
            let _ = self.ping_pong.send_ping(Ping::opaque());
        }
        self.poll_silence(cx, live.streams.get() > 0)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>, has_streams: bool) -> Poll<()> {
        if self.interval_ms == 0 {
            return Poll::Pending;
        }
        if !has_streams && !self.is_pinged {
            self.due.set_ms(self.interval_ms);
            return Poll::Pending;
        }
        while self.due.poll(cx).is_ready() {
            if self.is_pinged {
                return Poll::Ready(());
            }
            // One for the windows may be on its way; its answer will do.
            let _ = self.ping_pong.send_ping(Ping::opaque());
            self.is_pinged = true;
            self.due.set_ms(self.timeout_ms);
        }
        Poll::Pending
    }
}

struct Driver {
    connection: Connection<Guarded, Piece>,
    pings: Option<Pings>,
    live: Rc<Live>,
    turnstile: Rc<Turnstile>,
}

impl Driver {
    async fn drive(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pings) = &mut self.pings
            && pings.poll(cx, &mut self.connection, &self.live).is_ready()
        {
            tracing::warn!("HTTP/2 connection to {} closed: no answer to a PING", self.live.peer);
            return Poll::Ready(());
        }
        if self.live.streams.get() == 0 {
            *self.live.driver.borrow_mut() = Some(cx.waker().clone());
        }
        Pin::new(&mut self.connection).poll(cx).map(|_| ())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.live.is_over.set(true);
        self.turnstile.wake_all();
    }
}

/// Sends the head of a request on the leased place.
pub async fn start_request(
    leased: &Leased,
    request: Request<()>,
    is_over: bool,
) -> Result<(ResponseFuture, SendStream<Piece>), ErrorClass> {
    let mut requests = leased.live.requests.borrow().clone();
    poll_fn(|cx| requests.poll_ready(cx)).await.map_err(|error| leased.note(&error))?;
    requests.send_request(request, is_over).map_err(|error| leased.note(&error))
}

impl Leased {
    pub fn note_taken(&self, bytes: usize) {
        self.live.taken.set(self.live.taken.get() + bytes as u64);
    }

    /// What the failure means; a connection that is going away takes no further requests.
    pub fn note(&self, error: &h2::Error) -> ErrorClass {
        if error.is_go_away() || error.is_io() {
            self.live.is_over.set(true);
        }
        match class_of(error) {
            ErrorClass::TlsError => ErrorClass::TlsError,
            // Whatever it speaks, it is not HTTP/2 (traffic sheet §20).
            _ if !self.live.has_begun.get() => ErrorClass::ConnectionRefused,
            class => class,
        }
    }
}

pub fn class_of(error: &h2::Error) -> ErrorClass {
    if let Some(error) = error.get_io() {
        return crate::http1::class_of(error);
    }
    match error.reason() {
        // Not processed: as good as a connection that was closed before.
        Some(h2::Reason::REFUSED_STREAM) => ErrorClass::ConnectionReset,
        _ if error.is_go_away() && error.is_remote() => ErrorClass::ConnectionClosed,
        _ => ErrorClass::ProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_place_wakes_one_and_is_passed_on_by_whoever_has_left() {
        let turnstile = Turnstile::default();
        let cx = Context::from_waker(Waker::noop());
        let ticket = || {
            let mut ticket = Ticket { turnstile: &turnstile, waiter: None };
            ticket.wait(&cx);
            ticket
        };
        let has_turn = |ticket: &Ticket<'_>| ticket.waiter.as_ref().is_some_and(|waiter| waiter.has_turn.get());
        let (left, mut first, second, third) = (ticket(), ticket(), ticket(), ticket());
        drop(left);
        turnstile.wake_one();
        assert_eq!([&first, &second, &third].map(has_turn), [true, false, false]);
        first.wait(&cx);
        turnstile.wake_one();
        assert_eq!([&first, &second, &third].map(has_turn), [true, false, false], "it lost the place, and is next");
        drop(first);
        assert_eq!([&second, &third].map(has_turn), [true, false], "it left with its turn");
        turnstile.wake_all();
        assert_eq!([&second, &third].map(has_turn), [true, true]);
    }

    #[test]
    fn those_who_lose_a_place_to_others_keep_their_order() {
        let turnstile = Turnstile::default();
        let cx = Context::from_waker(Waker::noop());
        let mut tickets = [(); 3].map(|()| {
            let mut ticket = Ticket { turnstile: &turnstile, waiter: None };
            ticket.wait(&cx);
            ticket
        });
        for _ in 0..2 {
            turnstile.wake_all();
            tickets.iter_mut().for_each(|ticket| ticket.wait(&cx));
            let numbers: Vec<u64> = turnstile.waiting.borrow().iter().map(|waiter| waiter.number).collect();
            assert_eq!(numbers, [0, 1, 2]);
        }
    }

    #[test]
    fn who_gives_up_leaves_nothing_in_the_queue() {
        let turnstile = Turnstile::default();
        let mut tickets: Vec<Ticket<'_>> = Vec::new();
        let cx = Context::from_waker(Waker::noop());
        for _ in 0..5 {
            let mut ticket = Ticket { turnstile: &turnstile, waiter: None };
            ticket.wait(&cx);
            tickets.push(ticket);
        }
        drop(tickets.remove(2));
        tickets[0].used();
        assert_eq!(turnstile.waiting.borrow().len(), 3);
        drop(tickets);
        assert_eq!(turnstile.waiting.borrow().len(), 0);
    }
}
