//! The way of log lines from a core to the writer thread.
//!
//! A core appends complete lines to a batch of its own and hands the batch over when it is full or old; so the queue
//! between the threads is touched once in hundreds of lines. The queue is bounded: when the writer cannot keep up, lines
//! are lost, counted, and the count is shown. A core never waits for a log.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;

/// A batch is handed over when it reaches this size.
pub const BATCH_BYTES: usize = 64 * 1024;

/// Lines in one batch.
pub struct Batch {
    pub text: Vec<u8>,
    pub lines: u64,
}

/// The writer's end.
pub struct LogDrain {
    full: Arc<ArrayQueue<Batch>>,
    empty: Arc<ArrayQueue<Vec<u8>>>,
    enabled: Arc<AtomicBool>,
}

/// The core's end.
pub struct LogRing {
    full: Arc<ArrayQueue<Batch>>,
    empty: Arc<ArrayQueue<Vec<u8>>>,
    enabled: Arc<AtomicBool>,
    batch: RefCell<Batch>,
}

/// Both ends of a ring that holds at most about `batches_max` batches.
pub fn log_ring(batches_max: usize) -> (LogRing, LogDrain) {
    let full = Arc::new(ArrayQueue::new(batches_max.max(1)));
    let empty = Arc::new(ArrayQueue::new(4));
    let enabled = Arc::new(AtomicBool::new(true));
    let ring = LogRing {
        full: full.clone(),
        empty: empty.clone(),
        enabled: enabled.clone(),
        batch: RefCell::new(Batch { text: Vec::new(), lines: 0 }),
    };
    (ring, LogDrain { full, empty, enabled })
}

impl LogRing {
    /// Whether anybody will read the lines. When not, making them is wasted work.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Writes one line, which `line` appends to the batch without its newline. Returns how many lines were lost to make
    /// room: zero, or all of the batch that the writer had no room for.
    pub fn push(&self, line: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let mut batch = self.batch.borrow_mut();
        line(&mut batch.text);
        batch.text.push(b'\n');
        batch.lines += 1;
        if batch.text.len() < BATCH_BYTES {
            return 0;
        }
        drop(batch);
        self.hand_over()
    }

    /// Hands over what there is. The core calls this on its tick, so that a line is at most one tick old.
    pub fn hand_over(&self) -> u64 {
        let mut batch = self.batch.borrow_mut();
        if batch.lines == 0 {
            return 0;
        }
        let next = self.empty.pop().unwrap_or_default();
        let full = std::mem::replace(&mut *batch, Batch { text: next, lines: 0 });
        match self.full.push(full) {
            Ok(()) => 0,
            Err(refused) => {
                let lost = refused.lines;
                let mut text = refused.text;
                text.clear();
                let _ = self.empty.push(text);
                lost
            }
        }
    }
}

impl LogDrain {
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Relaxed);
    }

    /// Gives every waiting batch to `write` and the memory back to the core. Returns whether there was any.
    pub fn drain(&self, mut write: impl FnMut(&Batch)) -> bool {
        let mut any = false;
        while let Some(mut batch) = self.full.pop() {
            any = true;
            write(&batch);
            batch.text.clear();
            let _ = self.empty.push(batch.text);
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_in_order_and_whole() {
        let (ring, drain) = log_ring(4);
        assert_eq!(ring.push(|text| text.extend_from_slice(b"one")), 0);
        assert_eq!(ring.push(|text| text.extend_from_slice(b"two")), 0);
        assert!(!drain.drain(|_| panic!("not handed over yet")));
        assert_eq!(ring.hand_over(), 0);
        let mut seen = Vec::new();
        assert!(drain.drain(|batch| seen.extend_from_slice(&batch.text)));
        assert_eq!(seen, b"one\ntwo\n");
    }

    #[test]
    fn a_writer_that_does_not_keep_up_loses_lines_and_the_loss_is_counted() {
        let (ring, drain) = log_ring(2);
        let mut lost = 0;
        for _ in 0..3 {
            ring.push(|text| text.extend_from_slice(b"line"));
            lost += ring.hand_over();
        }
        assert_eq!(lost, 1);
        let mut lines = 0;
        drain.drain(|batch| lines += batch.lines);
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_full_batch_is_handed_over_at_once() {
        let (ring, drain) = log_ring(2);
        ring.push(|text| text.resize(BATCH_BYTES, b'x'));
        assert!(drain.drain(|batch| assert_eq!(batch.lines, 1)));
    }
}
