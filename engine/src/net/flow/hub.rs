//! All flows of a core, and the ring that they have.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Waker};

use monoio::net::TcpStream;
use monoio_uring::types::Fd;
use monoio_uring::{IoUring, cqueue, opcode, squeue};

use super::pool::{BUFFER_BYTES, Piece, Pool};
use super::{Event, Sink, Source, Watcher};
use crate::core::count_panic;
use crate::net::{spawn, stream::raw};

const SUBMISSIONS: u32 = 256;
/// More than there are buffers and flows that end at a time; what has no place waits in the kernel.
const COMPLETIONS: u32 = 4096;
const GROUP: u16 = 0;
/// A flow of long bytes is one of short messages again once less than this comes at a time.
const SMALL_BYTES_MAX: usize = BUFFER_BYTES / 4;
/// So often the pump looks for more before it lets the reactor do something else.
const TURNS: usize = 8;
/// Completions of what nobody waits for.
const NOBODY: u64 = u64::MAX;

thread_local! {
    static HAS_RING: Cell<bool> = const { Cell::new(false) };
    static HUB: RefCell<State> = const { RefCell::new(State::New) };
}

/// Says whether this thread's reactor is one that flows can be waited on with.
pub fn has_ring(has: bool) {
    HAS_RING.set(has);
    // Of a reactor that was there before.
    HUB.set(State::New);
}

/// Whether a flow can be tried.
pub fn are_possible() -> bool {
    HAS_RING.get() && HUB.with_borrow(|state| !matches!(state, State::Missing))
}

#[derive(Default)]
enum State {
    #[default]
    New,
    Ready(Box<Hub>),
    /// It could not be set up; tunnels go the other way.
    Missing,
}

fn with<T>(act: impl FnOnce(&mut Hub) -> T) -> Option<T> {
    // A flow may be dropped with its thread, after the hub.
    let acted = HUB.try_with(|state| match &mut *state.borrow_mut() {
        State::Ready(hub) => Some(act(hub)),
        State::New | State::Missing => None,
    });
    acted.ok().flatten()
}

/// The number of a new flow; none when this core cannot have any.
pub(super) fn add(source: Source, sink: Sink, watcher: Rc<dyn Watcher>) -> Option<u32> {
    let is_new = HUB.with(|state| matches!(*state.borrow(), State::New));
    if is_new {
        let state = if HAS_RING.get() { open() } else { State::Missing };
        HUB.with(|place| *place.borrow_mut() = state);
    }
    with(|hub| hub.add(source.0, sink.0, watcher))
}

fn open() -> State {
    match Hub::new().and_then(|hub| Ok((TcpStream::from_std(hub.duplicate()?)?, hub))) {
        Ok((waiter, hub)) => {
            spawn(pump(waiter), |text| tracing::error!("tunnels of this core have ended: a panic: {text}"));
            State::Ready(Box::new(hub))
        }
        Err(error) => {
            tracing::debug!("tunnels go without a ring of their own: {error}");
            State::Missing
        }
    }
}

/// Carries all flows on, forever. The reactor only asks whether the ring has something to say, which every descriptor can tell.
async fn pump(waiter: TcpStream) {
    while waiter.readable(false).await.is_ok() {
        let mut turns = 0;
        while turns < TURNS && with(Hub::turn).unwrap_or(false) {
            turns += 1;
        }
    }
}

/// What is known of a flow.
#[derive(Default)]
pub(super) struct Known {
    pub event: Option<Event>,
    /// While the sink has not taken all: a number that changes whenever it takes something.
    pub behind: Option<u64>,
}

pub(super) fn poll(number: u32, cx: &mut Context<'_>) -> Known {
    with(|hub| hub.flows[number as usize].poll(cx)).unwrap_or_default()
}

pub(super) fn close(number: u32) {
    with(|hub| hub.close(number));
}

/// How many places for flows there are.
#[cfg(test)]
pub(super) fn places() -> usize {
    with(|hub| hub.flows.len()).unwrap_or(0)
}

type Socket = Rc<UnsafeCell<TcpStream>>;

/// None when the socket has been let go, and then nothing is begun any more.
fn descriptor(socket: Option<&Socket>) -> Fd {
    Fd(socket.map_or(-1, |socket| raw(socket).as_raw_fd()))
}

/// What is on its way to the sink.
enum Sending {
    Nothing,
    /// As it came. The kernel takes of it what it can, and waits for nothing.
    Piece(Piece),
    /// What it did not take, from here on. The kernel waits for room.
    Rest {
        sent: usize,
    },
}

struct Slot {
    /// Held until nothing is in flight.
    source: Option<Socket>,
    sink: Option<Socket>,
    /// Nobody, once the flow has been dropped.
    watcher: Option<Rc<dyn Watcher>>,
    waker: Option<Waker>,
    is_receiving: bool,
    /// The receive in flight is to end.
    is_cancelled: bool,
    is_starved: bool,
    /// What comes fills buffers: one is received at a time, when the one before it has been sent. An armed receive would take
    /// from the socket all that is there, for a sink that may take none of it.
    is_bulk: bool,
    sending: Sending,
    /// Behind the piece that is on its way.
    waiting: VecDeque<Piece>,
    /// Copied out of the shared buffers, and not touched while the kernel sends it.
    rest: Vec<u8>,
    /// What came meanwhile.
    later: Vec<u8>,
    progress: u64,
    is_noted: bool,
    /// Comes when all before it has been sent.
    end: Option<Event>,
    failure: Option<io::Error>,
    /// Nothing more is received or sent, whether or not the owner has heard why.
    is_over: bool,
}

impl Slot {
    fn poll(&mut self, cx: &mut Context<'_>) -> Known {
        let is_drained = matches!(self.sending, Sending::Nothing);
        let event = match (self.failure.take(), self.is_noted) {
            (Some(error), _) => Some(Event::SinkFailed(error)),
            (None, true) => Some(Event::Noted),
            (None, false) if is_drained => self.end.take(),
            (None, false) => None,
        };
        self.is_noted = false;
        if event.is_none() && !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Known { event, behind: matches!(self.sending, Sending::Rest { .. }).then_some(self.progress) }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn is_idle(&self) -> bool {
        !self.is_receiving && matches!(self.sending, Sending::Nothing)
    }

    /// Whether it should receive and does not.
    fn wants_receive(&self) -> bool {
        let is_behind = match self.sending {
            Sending::Nothing => false,
            Sending::Piece(_) => self.is_bulk,
            Sending::Rest { .. } => true,
        };
        !self.is_over && !self.is_receiving && !is_behind && !self.is_starved
    }

    /// Asks the watcher, whose panic is this flow's end and nobody else's.
    fn ask(&self, question: impl FnOnce(&dyn Watcher) -> bool, otherwise: bool) -> bool {
        let Some(watcher) = &self.watcher else { return otherwise };
        catch_unwind(AssertUnwindSafe(|| question(&**watcher))).unwrap_or_else(|_| {
            count_panic();
            tracing::error!("a tunnel was ended: whoever looks at what passes has panicked");
            otherwise
        })
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Receive,
    Send,
}

impl Operation {
    fn token(self, number: u32) -> u64 {
        u64::from(number) << 1 | u64::from(matches!(self, Operation::Send))
    }

    fn of(token: u64) -> (Self, u32) {
        (if token & 1 == 0 { Operation::Receive } else { Operation::Send }, (token >> 1) as u32)
    }
}

struct Completion {
    token: u64,
    result: i32,
    flags: u32,
}

pub(super) struct Hub {
    // Before the pool, whose buffers the kernel holds until the ring has gone.
    ring: IoUring,
    pool: Pool,
    flows: Vec<Slot>,
    free: Vec<u32>,
    /// Flows that found no buffer; they go on when one has been given back.
    starved: Vec<u32>,
    batch: Vec<Completion>,
}

impl Hub {
    fn new() -> io::Result<Self> {
        // Completions are made as soon as the thread is in the kernel for whatever reason: the reactor sleeps there, in its own ring.
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_coop_taskrun().setup_cqsize(COMPLETIONS);
        let ring = builder.build(SUBMISSIONS)?;
        let pool = Pool::register(&ring.submitter(), GROUP)?;
        Ok(Self { ring, pool, flows: Vec::new(), free: Vec::new(), starved: Vec::new(), batch: Vec::new() })
    }

    /// Another descriptor of the ring, in a dress that the reactor knows.
    fn duplicate(&self) -> io::Result<std::net::TcpStream> {
        // SAFETY: the ring is open as long as `self`.
        #[allow(unsafe_code)]
        let ring = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        Ok(ring.as_fd().try_clone_to_owned()?.into())
    }

    fn add(&mut self, source: Socket, sink: Socket, watcher: Rc<dyn Watcher>) -> u32 {
        let slot = Slot {
            source: Some(source),
            sink: Some(sink),
            watcher: Some(watcher),
            waker: None,
            is_receiving: false,
            is_cancelled: false,
            is_starved: false,
            is_bulk: false,
            sending: Sending::Nothing,
            waiting: VecDeque::new(),
            rest: Vec::new(),
            later: Vec::new(),
            progress: 0,
            is_noted: false,
            end: None,
            failure: None,
            is_over: false,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.flows[number as usize] = slot;
                number
            }
            None => {
                self.flows.push(slot);
                (self.flows.len() - 1) as u32
            }
        };
        self.receive(number);
        self.submit();
        number
    }

    /// The owner has gone. The slot is free again when nothing is in flight any more.
    fn close(&mut self, number: u32) {
        let slot = &mut self.flows[number as usize];
        slot.watcher = None;
        slot.waker = None;
        slot.is_over = true;
        for piece in std::mem::take(&mut slot.waiting) {
            self.pool.give_back(piece);
        }
        self.cancel_receive(number);
        if matches!(self.flows[number as usize].sending, Sending::Rest { .. }) {
            self.cancel(Operation::Send.token(number));
        }
        self.submit();
        self.free_if_idle(number);
    }

    fn free_if_idle(&mut self, number: u32) {
        let slot = &mut self.flows[number as usize];
        let is_unused = slot.watcher.is_none() && slot.is_idle() && !slot.is_starved;
        // Once.
        if is_unused && slot.sink.is_some() {
            (slot.source, slot.sink) = (None, None);
            (slot.rest, slot.later) = (Vec::new(), Vec::new());
            self.free.push(number);
        }
    }

    /// Looks at what has completed and begins what follows from it. False when there was nothing.
    fn turn(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let completed = |entry: cqueue::Entry| Completion {
            token: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        };
        batch.extend(self.ring.completion().map(completed));
        for completion in batch.iter().filter(|completion| completion.token != NOBODY) {
            let (operation, number) = Operation::of(completion.token);
            match operation {
                Operation::Receive => self.received(number, completion),
                Operation::Send => self.sent(number, completion.result),
            }
        }
        for number in std::mem::take(&mut self.starved) {
            self.flows[number as usize].is_starved = false;
            self.receive_if_wanted(number);
            self.free_if_idle(number);
        }
        let has_work = !batch.is_empty();
        self.batch = batch;
        if !self.ring.submission().is_empty() || self.ring.submission().cq_overflow() {
            self.submit();
        }
        has_work
    }

    fn received(&mut self, number: u32, completion: &Completion) {
        let slot = &mut self.flows[number as usize];
        slot.is_receiving = cqueue::more(completion.flags);
        let piece = cqueue::buffer_select(completion.flags)
            .map(|buffer| Pool::piece(buffer, usize::try_from(completion.result).unwrap_or(0)));
        match (completion.result, piece) {
            (1.., Some(piece)) => {
                slot.is_bulk = if slot.is_bulk { piece.length >= SMALL_BYTES_MAX } else { piece.is_full() };
                if slot.is_bulk {
                    self.cancel_receive(number);
                }
                self.pass(number, piece);
            }
            (result, piece) => {
                if let Some(piece) = piece {
                    self.pool.give_back(piece);
                }
                self.received_nothing(number, result);
            }
        }
        self.receive_if_wanted(number);
        self.free_if_idle(number);
    }

    fn received_nothing(&mut self, number: u32, result: i32) {
        let slot = &mut self.flows[number as usize];
        match -result {
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            libc::ENOBUFS => {
                slot.is_starved = true;
                self.starved.push(number);
            }
            0 => self.end(number, Event::SourceEnded(Ok(()))),
            error => self.end(number, Event::SourceEnded(Err(io::Error::from_raw_os_error(error)))),
        }
    }

    fn end(&mut self, number: u32, event: Event) {
        let slot = &mut self.flows[number as usize];
        if !std::mem::replace(&mut slot.is_over, true) {
            slot.end = Some(event);
            slot.wake();
        }
        self.cancel_receive(number);
    }

    /// Sends a piece on, behind those before it.
    fn pass(&mut self, number: u32, piece: Piece) {
        let slot = &mut self.flows[number as usize];
        if slot.is_over {
            self.pool.give_back(piece);
        } else if !slot.ask(|watcher| watcher.passes(self.pool.bytes(&piece)), false) {
            self.pool.give_back(piece);
            self.end(number, Event::Stopped);
        } else {
            match slot.sending {
                Sending::Nothing => self.send_piece(number, piece),
                Sending::Piece(_) => slot.waiting.push_back(piece),
                Sending::Rest { .. } => {
                    slot.later.extend_from_slice(self.pool.bytes(&piece));
                    self.pool.give_back(piece);
                }
            }
        }
    }

    fn send_piece(&mut self, number: u32, piece: Piece) {
        let slot = &mut self.flows[number as usize];
        let (sink, address, length) = (descriptor(slot.sink.as_ref()), self.pool.address(&piece), piece.length);
        slot.sending = Sending::Piece(piece);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(sink, address, length as u32).flags(flags).build();
        self.push(entry.user_data(Operation::Send.token(number)));
    }

    /// Keeps what the sink does not take now from `from` on, and the buffer for others.
    fn set_aside(&mut self, number: u32, piece: Piece, from: usize) {
        self.flows[number as usize].rest.extend_from_slice(&self.pool.bytes(&piece)[from..]);
        self.pool.give_back(piece);
    }

    fn sent(&mut self, number: u32, result: i32) {
        let slot = &mut self.flows[number as usize];
        let taken = usize::try_from(result).unwrap_or(0);
        let is_fatal = result < 0 && !matches!(-result, libc::EAGAIN | libc::EINTR);
        if taken > 0 && slot.ask(|watcher| watcher.sent(taken), false) {
            slot.is_noted = true;
            slot.wake();
        }
        match std::mem::replace(&mut slot.sending, Sending::Nothing) {
            Sending::Nothing => {}
            Sending::Piece(piece) if is_fatal => {
                self.pool.give_back(piece);
                self.fail(number, result);
            }
            Sending::Piece(piece) if taken == piece.length => {
                self.pool.give_back(piece);
                if let Some(next) = slot.waiting.pop_front() {
                    self.send_piece(number, next);
                }
            }
            Sending::Piece(piece) => self.fall_behind(number, piece, taken),
            Sending::Rest { .. } if is_fatal => self.fail(number, result),
            Sending::Rest { sent } => self.send_rest(number, sent + taken),
        }
        let slot = &self.flows[number as usize];
        if slot.end.is_some() && matches!(slot.sending, Sending::Nothing) {
            slot.wake();
        }
        self.receive_if_wanted(number);
        self.free_if_idle(number);
    }

    /// The sink is slower than the source: nothing more is received until it has taken what there is.
    fn fall_behind(&mut self, number: u32, piece: Piece, taken: usize) {
        self.set_aside(number, piece, taken);
        while let Some(next) = self.flows[number as usize].waiting.pop_front() {
            self.set_aside(number, next, 0);
        }
        self.send_rest(number, 0);
        self.cancel_receive(number);
    }

    fn send_rest(&mut self, number: u32, sent: usize) {
        let slot = &mut self.flows[number as usize];
        slot.progress += 1;
        slot.wake();
        let mut sent = sent;
        if sent == slot.rest.len() {
            (slot.rest, sent) = (std::mem::take(&mut slot.later), 0);
        }
        if slot.rest.is_empty() || slot.watcher.is_none() {
            slot.rest = Vec::new();
            return;
        }
        slot.sending = Sending::Rest { sent };
        let left = &slot.rest[sent..];
        let entry = opcode::Send::new(descriptor(slot.sink.as_ref()), left.as_ptr(), left.len() as u32);
        let entry = entry.flags(libc::MSG_NOSIGNAL).build();
        self.push(entry.user_data(Operation::Send.token(number)));
    }

    fn fail(&mut self, number: u32, result: i32) {
        let slot = &mut self.flows[number as usize];
        slot.failure = Some(io::Error::from_raw_os_error(-result));
        slot.is_over = true;
        slot.wake();
        for piece in std::mem::take(&mut slot.waiting) {
            self.pool.give_back(piece);
        }
        self.cancel_receive(number);
    }

    fn receive_if_wanted(&mut self, number: u32) {
        if self.flows[number as usize].wants_receive() {
            self.receive(number);
        }
    }

    fn receive(&mut self, number: u32) {
        let slot = &mut self.flows[number as usize];
        (slot.is_receiving, slot.is_cancelled) = (true, false);
        let source = descriptor(slot.source.as_ref());
        let entry = match slot.is_bulk {
            false => opcode::RecvMulti::new(source, GROUP).build(),
            true => {
                let into_any = opcode::Recv::new(source, std::ptr::null_mut(), BUFFER_BYTES as u32).buf_group(GROUP);
                into_any.build().flags(squeue::Flags::BUFFER_SELECT)
            }
        };
        self.push(entry.user_data(Operation::Receive.token(number)));
    }

    fn cancel_receive(&mut self, number: u32) {
        let slot = &mut self.flows[number as usize];
        if slot.is_receiving && !std::mem::replace(&mut slot.is_cancelled, true) {
            self.cancel(Operation::Receive.token(number));
        }
    }

    fn cancel(&mut self, token: u64) {
        self.push(opcode::AsyncCancel::new(token).build().user_data(NOBODY));
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: what an entry points to stays where it is until its completion: the pool's buffers for as long as the ring,
            // the rest of a flow because neither it nor its slot is touched while a send is in flight; its socket is open as long as
            // the slot.
            #[allow(unsafe_code)]
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.submit();
        }
    }

    fn submit(&self) {
        // What the kernel has no room for now is submitted with the next turn.
        if let Err(error) = self.ring.submit() {
            tracing::debug!("tunnels: the ring takes nothing now: {error}");
        }
    }
}
