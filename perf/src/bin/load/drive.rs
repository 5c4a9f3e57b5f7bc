//! The run: warm up, measure, let the last answers come in.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use io_uring::IoUring;
use perf::buffers::BufferRing;
use perf::ring::{self, BUFFER_GROUP, Completion, Operation};

use crate::clocks::Clocks;
use crate::connection::{Answer, Connection, Pending};
use crate::options::Options;
use crate::outcome::Outcome;

const BUFFERS: u16 = 256;
const BUFFER_BYTES: usize = 64 * 1024;
/// How long after the measured time requests that were due in it may still be sent.
const LATE_SEND_NS: u64 = 1_000_000_000;
/// How long after that an answer may still come before it counts as missing.
const LATE_ANSWER_NS: u64 = 3_000_000_000;
/// How long to wait before a refused connection is tried again.
const RECONNECT_NS: u64 = 10_000_000;

pub(crate) struct Drive {
    ring: IoUring,
    buffers: BufferRing,
    requests: Vec<Vec<u8>>,
    next_request: usize,
    target: SocketAddr,
    connections: Vec<Connection>,
    /// Connections without a request; of use at a fixed rate only.
    idle: Vec<u32>,
    /// Connections that could not be opened, and when to try again.
    refused: Vec<(u64, u32)>,
    pace: Pace,
    began: Instant,
    measure_from_ns: u64,
    measure_until_ns: u64,
    watch: Vec<i32>,
    samples: Option<PathBuf>,
    outcome: Outcome,
}

/// When requests are due.
enum Pace {
    /// As soon as the last answer has come.
    Closed,
    /// Every `1 / rate` seconds, whatever the answers do; `sent` counts those on their way or answered.
    Open { rate: u64, sent: u64 },
}

impl Pace {
    /// When the next request is due; a closed loop has no such moment.
    fn next_due_ns(&self) -> Option<u64> {
        match self {
            Self::Closed => None,
            Self::Open { rate, sent } => Some((u128::from(*sent) * 1_000_000_000 / u128::from(*rate)) as u64),
        }
    }
}

impl Drive {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let ring = ring::build()?;
        let buffers = BufferRing::register(&ring.submitter(), BUFFER_GROUP, BUFFERS, BUFFER_BYTES)?;
        let measure_from_ns = (options.warmup * 1e9) as u64;
        Ok(Self {
            ring,
            buffers,
            requests: options.requests(),
            next_request: 0,
            target: options.target,
            connections: (0..options.connections).map(|_| Connection::new()).collect(),
            idle: Vec::new(),
            refused: Vec::new(),
            pace: options.rate.map_or(Pace::Closed, |rate| Pace::Open { rate: u64::from(rate), sent: 0 }),
            began: Instant::now(),
            measure_from_ns,
            measure_until_ns: measure_from_ns + (options.duration * 1e9) as u64,
            watch: options.watch.clone(),
            samples: options.samples.clone(),
            outcome: Outcome::new(options.samples.is_some()),
        })
    }

    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        self.began = Instant::now();
        for slot in 0..self.connections.len() as u32 {
            self.open(slot)?;
        }
        // The clock starts when all connections are open.
        self.began = Instant::now();
        self.go_until(self.measure_from_ns)?;
        let before = Clocks::read(&self.watch)?;
        self.outcome.requests = 0;
        self.outcome.received_bytes = 0;
        self.go_until(self.measure_until_ns)?;
        let after = Clocks::read(&self.watch)?;
        let requests = self.outcome.requests;
        let received_bytes = self.outcome.received_bytes;
        self.finish()?;
        self.outcome.requests = requests;
        self.outcome.received_bytes = received_bytes;
        after.note_since(&before, &mut self.outcome);
        if let Some(path) = &self.samples {
            self.outcome.write_samples(path)?;
        }
        Ok(self.outcome)
    }

    /// Sends and receives until `until_ns`.
    fn go_until(&mut self, until_ns: u64) -> io::Result<()> {
        loop {
            let now = self.now_ns();
            if now >= until_ns {
                return Ok(());
            }
            self.reopen_refused(now)?;
            self.send_due(now)?;
            let next_due = self.pace.next_due_ns().filter(|_| !self.idle.is_empty());
            let next_retry = self.refused.iter().map(|(at, _)| *at).min();
            let wake = [next_due, next_retry].into_iter().flatten().fold(until_ns, u64::min);
            self.turn(wake.saturating_sub(now))?;
        }
    }

    /// Waits for the answers that are still missing and counts those that never come.
    fn finish(&mut self) -> io::Result<()> {
        let send_until = self.now_ns() + LATE_SEND_NS;
        let until = send_until + LATE_ANSWER_NS;
        loop {
            let now = self.now_ns();
            if now < send_until {
                self.send_due(self.measure_until_ns.saturating_sub(1))?;
            }
            let has_pending = self.connections.iter().any(|connection| connection.pending.is_some());
            if now >= until || !has_pending {
                break;
            }
            self.turn(until - now)?;
        }
        self.count_unsent();
        for slot in 0..self.connections.len() {
            if self.connections[slot].close().is_some() {
                self.outcome.fail("no answer");
            }
        }
        Ok(())
    }

    /// At a fixed rate, a request that found no connection has waited until now.
    fn count_unsent(&mut self) {
        let now = self.now_ns();
        while let Some(due) = self.pace.next_due_ns().filter(|due| *due < self.measure_until_ns) {
            self.outcome.unsent += 1;
            self.outcome.record(due.saturating_sub(self.measure_from_ns), now - due);
            let Pace::Open { sent, .. } = &mut self.pace else { return };
            *sent += 1;
        }
    }

    /// Submits, waits for completions or for `wait_ns`, and handles them.
    fn turn(&mut self, wait_ns: u64) -> io::Result<()> {
        ring::wait(&self.ring, Some(Duration::from_nanos(wait_ns)))?;
        let mut batch = Vec::new();
        ring::drain(&mut self.ring, &mut batch);
        for completion in &batch {
            match completion.token.operation {
                Operation::Receive => self.received(completion)?,
                // A failed send shows as the end of the stream on the receive.
                Operation::Send | Operation::Accept => {}
            }
        }
        Ok(())
    }

    /// Sends every request due by `now_ns` for which a connection is free.
    fn send_due(&mut self, now_ns: u64) -> io::Result<()> {
        while let Some(due) = self.pace.next_due_ns().filter(|due| *due <= now_ns) {
            let Some(slot) = self.idle.pop() else { return Ok(()) };
            self.send(slot, due)?;
            if let Pace::Open { sent, .. } = &mut self.pace {
                *sent += 1;
            }
        }
        Ok(())
    }

    fn send(&mut self, slot: u32, due_ns: u64) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        let Some(descriptor) = connection.descriptor() else { return Ok(()) };
        connection.pending = Some(Pending { due_ns });
        let request = &self.requests[self.next_request];
        self.next_request = if self.next_request + 1 == self.requests.len() { 0 } else { self.next_request + 1 };
        ring::send(&mut self.ring, descriptor, request.as_ptr(), request.len(), connection.generation, slot)
    }

    fn received(&mut self, completion: &Completion) -> io::Result<()> {
        let slot = completion.token.slot;
        let connection = &mut self.connections[slot as usize];
        let Some(buffer) = completion.buffer().filter(|_| completion.result > 0) else {
            if connection.generation != completion.token.tag {
                return Ok(());
            }
            return match (completion.result, connection.descriptor()) {
                (result, Some(descriptor)) if result == -libc::ENOBUFS => {
                    ring::receive(&mut self.ring, descriptor, connection.generation, slot)
                }
                (0, _) => self.lost(slot, "closed"),
                (result, _) => self.lost(slot, &io::Error::from_raw_os_error(-result).kind().to_string()),
            };
        };
        if connection.generation != completion.token.tag || connection.descriptor().is_none() {
            self.buffers.give_back(buffer);
            return Ok(());
        }
        let outcome = connection.receive(self.buffers.bytes(buffer, completion.result as usize));
        self.buffers.give_back(buffer);
        self.outcome.received_bytes += completion.result as u64;
        match outcome {
            Err(malformed) => return self.lost(slot, malformed.0),
            Ok(Some(answer)) => self.answered(slot, answer)?,
            Ok(None) => {}
        }
        let connection = &self.connections[slot as usize];
        match connection.descriptor() {
            Some(descriptor) if !completion.is_armed() && connection.generation == completion.token.tag => {
                ring::receive(&mut self.ring, descriptor, connection.generation, slot)
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, slot: u32, answer: Answer) -> io::Result<()> {
        let now = self.now_ns();
        if (200..300).contains(&answer.status) {
            self.outcome.requests += 1;
        } else {
            self.outcome.fail(format!("status {}", answer.status));
        }
        self.record(answer.due_ns, now);
        if answer.is_last {
            self.ring.submit()?;
            self.connections[slot as usize].close();
            return self.open(slot);
        }
        self.is_ready(slot, now)
    }

    /// The latency of a request counts if the request was due in the measured time.
    fn record(&mut self, due_ns: u64, now_ns: u64) {
        if (self.measure_from_ns..self.measure_until_ns).contains(&due_ns) {
            self.outcome.record(due_ns - self.measure_from_ns, now_ns.saturating_sub(due_ns));
        }
    }

    /// A connection can take a request.
    fn is_ready(&mut self, slot: u32, now_ns: u64) -> io::Result<()> {
        match self.pace {
            Pace::Closed if now_ns < self.measure_until_ns => self.send(slot, now_ns),
            Pace::Closed => Ok(()),
            Pace::Open { .. } => {
                self.idle.push(slot);
                Ok(())
            }
        }
    }

    /// The connection has ended: a failure if it took a request with it.
    #[cold]
    fn lost(&mut self, slot: u32, kind: &str) -> io::Result<()> {
        self.idle.retain(|idle| *idle != slot);
        // A queued send names a descriptor, and the next connection may get the same number.
        self.ring.submit()?;
        match self.connections[slot as usize].close() {
            None => self.outcome.closed_idle += 1,
            Some(pending) => {
                self.outcome.fail(kind);
                let now = self.now_ns();
                self.record(pending.due_ns, now);
            }
        }
        self.open(slot)
    }

    /// Opens a connection in its slot; if that is refused, it is a failure and tried again later.
    fn open(&mut self, slot: u32) -> io::Result<()> {
        let now = self.now_ns();
        if now >= self.measure_until_ns {
            return Ok(());
        }
        let connection = &mut self.connections[slot as usize];
        match connection.open(self.target) {
            Ok(descriptor) => {
                ring::receive(&mut self.ring, descriptor, connection.generation, slot)?;
                self.is_ready(slot, now)
            }
            Err(_) => {
                self.outcome.fail("connect");
                self.refused.push((now + RECONNECT_NS, slot));
                Ok(())
            }
        }
    }

    fn reopen_refused(&mut self, now_ns: u64) -> io::Result<()> {
        while let Some(position) = self.refused.iter().position(|(at, _)| *at <= now_ns) {
            let (_, slot) = self.refused.swap_remove(position);
            self.open(slot)?;
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
