//! The queue of one stream and the thread that empties it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;
use engine::logring::LogDrain;
use tracing::Level;

use super::LogCounts;

/// What is gathered for one `write(2)`; the size of a pipe in Linux.
const WRITE_BYTES: usize = 64 * 1024;

/// How often the cores' rings are looked at while nothing else wakes the thread. Cores do not wake it: that would be a
/// system call on the path of a request.
const RING_POLL: Duration = Duration::from_millis(20);

/// How long a stream that was made non-blocking by somebody else is given to take more.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Lines on their way to one stream.
pub(super) struct Queue {
    lines: SegQueue<Vec<u8>>,
    length: AtomicUsize,
    capacity: usize,
    is_stopping: AtomicBool,
    thread: OnceLock<Thread>,
    counts: Arc<LogCounts>,
}

impl Queue {
    /// Takes the line, or loses and counts it when there is no room; then it is not even made.
    pub(super) fn push(&self, line: impl FnOnce() -> Vec<u8>) {
        if self.length.fetch_add(1, AcqRel) >= self.capacity {
            self.length.fetch_sub(1, AcqRel);
            self.counts.lose(1);
            return;
        }
        self.lines.push(line());
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn pop(&self) -> Option<Vec<u8>> {
        let line = self.lines.pop()?;
        self.length.fetch_sub(1, AcqRel);
        Some(line)
    }
}

/// One stream: its queue and, once started, its thread.
pub(super) struct Stream {
    queue: Arc<Queue>,
    ended: Option<mpsc::Receiver<()>>,
}

impl Stream {
    pub(super) fn new(capacity: usize, counts: Arc<LogCounts>) -> Self {
        let queue = Queue {
            lines: SegQueue::new(),
            length: AtomicUsize::new(0),
            capacity,
            is_stopping: AtomicBool::new(false),
            thread: OnceLock::new(),
            counts,
        };
        Self { queue: Arc::new(queue), ended: None }
    }

    pub(super) fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    pub(super) fn start(
        mut self,
        name: &str,
        stream: impl Write + Send + 'static,
        drains: Vec<LogDrain>,
    ) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let writer =
            Writer { queue: self.queue.clone(), stream, drains, text: Vec::with_capacity(WRITE_BYTES), lines: 0 };
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
            writer.run();
            drop(end);
        })?;
        let _ = self.queue.thread.set(handle.thread().clone());
        // A line may have come before the thread was known.
        handle.thread().unpark();
        self.ended = Some(ended);
        Ok(self)
    }

    pub(super) fn stop(&self) {
        self.queue.is_stopping.store(true, Release);
        if let Some(thread) = self.queue.thread.get() {
            thread.unpark();
        }
    }

    /// Returns when the thread has written everything, at the latest after `longest`.
    pub(super) fn wait(&mut self, longest: Duration) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.recv_timeout(longest);
        }
    }
}

struct Writer<W> {
    queue: Arc<Queue>,
    stream: W,
    drains: Vec<LogDrain>,
    text: Vec<u8>,
    lines: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        loop {
            // Read before the queues, so that what came before the stop is written.
            let is_stopping = self.queue.is_stopping.load(Acquire);
            if self.write_waiting() {
                continue;
            }
            if is_stopping {
                return;
            }
            if self.drains.is_empty() {
                thread::park();
            } else {
                thread::park_timeout(RING_POLL);
            }
        }
    }

    /// Writes what waits now. Returns whether there was any.
    fn write_waiting(&mut self) -> bool {
        let mut any = false;
        // One full queue at most, so that a storm of records does not keep the rings waiting.
        for _ in 0..self.queue.capacity {
            let Some(line) = self.queue.pop() else { break };
            any = true;
            self.text.extend_from_slice(&line);
            self.lines += 1;
            if self.text.len() >= WRITE_BYTES {
                self.write_gathered();
            }
        }
        self.write_gathered();
        let Self { queue, stream, drains, .. } = self;
        for drain in drains {
            any |= drain.drain(|batch| {
                queue.counts.count(Level::INFO, "access_log", batch.lines);
                if write_whole(stream, &batch.text).is_err() {
                    queue.counts.lose(batch.lines);
                }
            });
        }
        any
    }

    fn write_gathered(&mut self) {
        if !self.text.is_empty() && write_whole(&mut self.stream, &self.text).is_err() {
            self.queue.counts.lose(self.lines);
        }
        self.text.clear();
        self.lines = 0;
    }
}

/// One write, or more where the stream takes less. A stream that another process made non-blocking is waited for, since
/// giving up in the middle of a line would break the next one.
fn write_whole(stream: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    let mut deadline = None;
    while !text.is_empty() {
        match stream.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                text = &text[written..];
                deadline = None;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let now = Instant::now();
                if now >= *deadline.get_or_insert(now + RETRY_MAX) {
                    return Err(error);
                }
                thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
