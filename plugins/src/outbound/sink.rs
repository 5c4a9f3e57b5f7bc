//! Where logging plugins leave their records, and how these leave the gateway in batches (traffic sheet §1.4).
//!
//! A core renders records into a [`Stage`] of its own, which no other core touches, and hands them over when there are
//! enough of them or at the core's next tick. That is the only write that cores share: one for many records, and there the
//! queue's bounds are kept exactly over all cores. A task on the control runtime gathers what was handed over into batches and
//! gives them to what the plugin says [delivers](Deliver) them. No request ever waits for any of it.

mod courier;
mod losses;
mod room;
mod settings;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use engine::core::OnTick;
use tokio::sync::mpsc;

use crate::CoreEnv;
use crate::outbound::Services;

pub use courier::{Attempt, Deliver};
pub use losses::{Loss, Tally, tallies};
pub use settings::{BATCH_KEYS, Settings};

use courier::{Courier, Waiting};
use room::Room;

/// A core hands its records over when they have this many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Records one behind the other.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Chunk {
    fn keep(&mut self, records: usize) {
        self.ends.truncate(records);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
}

/// The queue between the cores and the task. When the last handle is gone, what is queued is sent once more and the task ends.
pub struct Sink {
    plugin: &'static str,
    settings: Settings,
    room: Arc<Room>,
    inbox: mpsc::UnboundedSender<Chunk>,
    tally: &'static Tally,
    /// Records that did not get into the queue.
    dropped: AtomicU64,
    chunk_records: usize,
    chunk_bytes: usize,
}

impl Sink {
    /// Starts the task. `plugin` is the name in log lines and figures.
    pub fn start(services: &Services, plugin: &'static str, settings: Settings, deliver: impl Deliver) -> Arc<Self> {
        let (sink, courier) = Self::new(services, plugin, settings, deliver);
        services.runtime.spawn(courier.run());
        sink
    }

    fn new<D: Deliver>(
        services: &Services,
        plugin: &'static str,
        settings: Settings,
        deliver: D,
    ) -> (Arc<Self>, Courier<D>) {
        let (inbox, arriving) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(settings.buffer_capacity, settings.buffer_max_bytes));
        let tally = losses::tally(plugin);
        // What one core keeps back may be no more than a part of the queue, or a small queue would be full of one hand-over.
        let parts = 2 * services.cores.max(1);
        let sink = Arc::new(Self {
            plugin,
            settings,
            room: room.clone(),
            inbox,
            tally,
            dropped: AtomicU64::new(0),
            chunk_records: settings.batch_size().min(settings.buffer_capacity / parts).max(1),
            chunk_bytes: CHUNK_BYTES.min(settings.buffer_max_bytes / parts).max(1),
        });
        let stop = services.stop_order();
        let waiting = Waiting::default();
        (sink, Courier { plugin, settings, room, arriving, waiting, stop, until: None, deliver, tally })
    }

    /// What there is no room for is dropped, the newest first.
    fn take(&self, mut chunk: Chunk) {
        let all = chunk.ends.len();
        let taken = self.room.take(&chunk.ends);
        if taken.records < all {
            self.note_dropped(taken.refusal, all - taken.records);
            chunk.keep(taken.records);
        }
        if taken.records == 0 {
            return;
        }
        if chunk.bytes.capacity() > 2 * chunk.bytes.len() {
            chunk.bytes.shrink_to_fit();
        }
        let (records, bytes) = (chunk.ends.len(), chunk.bytes.len());
        match self.inbox.send(chunk) {
            Ok(()) => self.tally.accept(records),
            Err(_) => {
                self.room.give_back(records, bytes);
                self.note_dropped(Loss::Shutdown, records);
            }
        }
    }

    #[cold]
    fn note_dropped(&self, why: Loss, records: usize) {
        self.tally.lose(why, records);
        let before = self.dropped.fetch_add(records as u64, Relaxed);
        let now = before + records as u64;
        if !self.settings.is_warned_of(before, now) {
            return;
        }
        let plugin = self.plugin;
        match why {
            Loss::RecordTooLarge => {
                let most = self.settings.max_entry_bytes;
                tracing::warn!(
                    dropped = now,
                    "{plugin}: a record is longer than max_entry_bytes ({most}) and is dropped"
                );
            }
            Loss::ByteBudget => {
                let most = self.settings.buffer_max_bytes;
                tracing::warn!(dropped = now, "{plugin}: the queue has buffer_max_bytes ({most}), records are dropped");
            }
            Loss::Shutdown => tracing::warn!(dropped = now, "{plugin}: records that came after the end are dropped"),
            Loss::QueueFull | Loss::BatchDiscard | Loss::SinkError => {
                let most = self.settings.buffer_capacity;
                tracing::warn!(
                    dropped = now,
                    "{plugin}: the queue has buffer_capacity ({most}) records, more are dropped"
                );
            }
        }
    }
}

/// One core's end of a sink. What is still there when it is dropped is handed over.
pub struct Stage {
    sink: Arc<Sink>,
    staged: RefCell<Chunk>,
}

impl Stage {
    /// Is called at each tick of that core from now on.
    pub fn new(sink: Arc<Sink>, env: &CoreEnv) -> Rc<Self> {
        let stage = Rc::new(Self { sink, staged: RefCell::default() });
        let member: Rc<dyn OnTick> = stage.clone();
        env.ticks.join(Rc::downgrade(&member));
        stage
    }

    /// Adds a record, which `render` appends.
    pub fn push(&self, render: impl FnOnce(&mut Vec<u8>)) {
        let mut staged = self.staged.borrow_mut();
        let start = staged.bytes.len();
        render(&mut staged.bytes);
        let end = staged.bytes.len();
        if end - start > self.sink.settings.max_entry_bytes {
            staged.bytes.truncate(start);
            drop(staged);
            return self.sink.note_dropped(Loss::RecordTooLarge, 1);
        }
        // A stage is handed over long before it has so many bytes that they do not fit.
        staged.ends.push(end as u32);
        if staged.ends.len() >= self.sink.chunk_records || end >= self.sink.chunk_bytes {
            drop(staged);
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let mut staged = self.staged.borrow_mut();
        if staged.ends.is_empty() {
            return;
        }
        // The next one is likely to be as long.
        let next = Chunk { bytes: Vec::with_capacity(staged.bytes.len()), ends: Vec::with_capacity(staged.ends.len()) };
        let full = std::mem::replace(&mut *staged, next);
        drop(staged);
        self.sink.take(full);
    }
}

impl OnTick for Stage {
    fn on_tick(&self) {
        self.hand_over();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests;
