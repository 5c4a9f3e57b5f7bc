//! The task that gathers batches and delivers them.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::room::Room;
use super::{Chunk, Loss, Settings, Tally};
use crate::outbound::StopOrder;

/// A sink that was replaced has this long for what is queued.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(30);

const OVER: &str = "the time to deliver it is over";

/// What became of one attempt to deliver a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    Delivered,
    /// Another attempt would end the same way.
    Refused(String),
    /// Another attempt may go better.
    Failed(String),
}

/// How a plugin's batches leave the gateway. One at a time.
pub trait Deliver: Send + 'static {
    /// A batch in the form in which it is sent, for as many attempts as it takes.
    type Payload: Send + Sync;

    fn pack<'r>(&mut self, records: impl ExactSizeIterator<Item = &'r [u8]>) -> Self::Payload;

    fn send(&mut self, payload: &Self::Payload) -> impl Future<Output = Attempt> + Send;
}

/// What was handed over and is in no batch yet.
#[derive(Default)]
pub(super) struct Waiting {
    chunks: VecDeque<Arrived>,
    records: usize,
}

struct Arrived {
    chunk: Chunk,
    at: Instant,
    /// Records that are gone from its front.
    gone: usize,
}

impl Arrived {
    fn start(&self, record: usize) -> usize {
        record.checked_sub(1).map_or(0, |before| self.chunk.ends[before] as usize)
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        (self.gone..self.chunk.ends.len()).map(|record| &self.chunk.bytes[self.start(record)..self.start(record + 1)])
    }
}

/// The first records of several chunks.
struct First<I> {
    records: I,
    left: usize,
}

impl<'r, I: Iterator<Item = &'r [u8]>> Iterator for First<I> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.records.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'r, I: Iterator<Item = &'r [u8]>> ExactSizeIterator for First<I> {}

impl Waiting {
    fn push(&mut self, chunk: Chunk) {
        self.records += chunk.ends.len();
        self.chunks.push_back(Arrived { chunk, at: Instant::now(), gone: 0 });
    }

    /// Since when the first one waits.
    fn since(&self) -> Option<Instant> {
        self.chunks.front().map(|first| first.at)
    }

    /// No more of them than there are.
    fn first(&self, records: usize) -> First<impl Iterator<Item = &[u8]>> {
        First { records: self.chunks.iter().flat_map(Arrived::records), left: records.min(self.records) }
    }

    /// Takes them out, and answers with how many bytes they had.
    fn remove(&mut self, mut records: usize) -> usize {
        let mut bytes = 0;
        while let Some(first) = self.chunks.front_mut()
            && records > 0
        {
            let here = records.min(first.chunk.ends.len() - first.gone);
            bytes += first.start(first.gone + here) - first.start(first.gone);
            first.gone += here;
            records -= here;
            self.records -= here;
            if first.gone == first.chunk.ends.len() {
                self.chunks.pop_front();
            }
        }
        bytes
    }
}

pub(super) struct Courier<D> {
    pub plugin: &'static str,
    pub settings: Settings,
    pub room: Arc<Room>,
    pub arriving: mpsc::UnboundedReceiver<Chunk>,
    pub waiting: Waiting,
    pub stop: StopOrder,
    /// Set once nothing more comes: what is there is delivered until then, with one attempt for each batch.
    pub until: Option<Instant>,
    pub deliver: D,
    pub tally: &'static Tally,
}

impl<D: Deliver> Courier<D> {
    pub async fn run(mut self) {
        while self.gather().await && !self.is_over() {
            self.deliver_batch().await;
        }
        self.arriving.close();
        while let Ok(chunk) = self.arriving.try_recv() {
            self.waiting.push(chunk);
        }
        let (plugin, left) = (self.plugin, self.waiting.records);
        if left > 0 {
            self.tally.lose(Loss::Shutdown, left);
            tracing::warn!(records = left, "{plugin}: records are dropped, because the time to deliver them is over");
        }
    }

    fn is_over(&self) -> bool {
        let now = Instant::now();
        self.until.into_iter().chain(self.stop.until()).any(|until| until <= now)
    }

    /// Waits until a batch is due. False when there is nothing more and nothing more will come.
    async fn gather(&mut self) -> bool {
        loop {
            if self.until.is_some() {
                return self.waiting.records > 0;
            }
            // What came while a batch was under way is in the next one, even if that is due already.
            while self.waiting.records < self.settings.batch_size()
                && let Ok(chunk) = self.arriving.try_recv()
            {
                self.waiting.push(chunk);
            }
            let due = self.waiting.since().map(|since| since + self.settings.flush_interval);
            if self.waiting.records >= self.settings.batch_size() || due.is_some_and(|due| due <= Instant::now()) {
                return true;
            }
            self.receive(due).await;
        }
    }

    /// Waits for records, for the end, or for that time.
    async fn receive(&mut self, due: Option<Instant>) {
        tokio::select! {
            chunk = self.arriving.recv() => match chunk {
                Some(chunk) => self.waiting.push(chunk),
                None => self.until = Some(Instant::now() + LAST_FLUSH_MAX),
            },
            () = reached(due) => {}
            // What is on its way already is still received, and the end behind it.
            () = self.stop.given(), if !self.arriving.is_closed() => self.arriving.close(),
        }
    }

    async fn deliver_batch(&mut self) {
        let records = self.settings.batch_size().min(self.waiting.records);
        let payload = self.deliver.pack(self.waiting.first(records));
        let bytes = self.waiting.remove(records);
        self.room.give_back(records, bytes);
        let plugin = self.plugin;
        for attempt in 0..=self.settings.max_retries {
            let is_last = self.until.is_some() || attempt == self.settings.max_retries;
            match self.attempt(&payload).await {
                Attempt::Delivered => return,
                Attempt::Refused(reason) => {
                    self.tally.lose(Loss::BatchDiscard, records);
                    return tracing::warn!(records, "{plugin}: a batch is discarded: {reason}");
                }
                Attempt::Failed(reason) if is_last || self.is_over() => {
                    let why = if self.is_over() { Loss::Shutdown } else { Loss::SinkError };
                    self.tally.lose(why, records);
                    let attempts = attempt + 1;
                    return tracing::warn!(records, attempts, "{plugin}: a batch is discarded: {reason}");
                }
                Attempt::Failed(reason) => {
                    tracing::debug!(records, "{plugin}: an attempt to deliver a batch failed: {reason}");
                    self.pause().await;
                }
            }
        }
    }

    async fn attempt(&mut self, payload: &D::Payload) -> Attempt {
        let (stop, until) = (&mut self.stop, self.until);
        let sending = std::pin::pin!(self.deliver.send(payload));
        let stopped = async {
            stop.given().await;
            reached(stop.until()).await;
        };
        tokio::select! {
            attempt = sending => attempt,
            () = reached(until) => Attempt::Failed(OVER.to_owned()),
            () = stopped => Attempt::Failed(OVER.to_owned()),
        }
    }

    /// Between two attempts; ends early when nothing more will come.
    async fn pause(&mut self) {
        let end = Instant::now() + self.settings.retry_delay;
        while self.until.is_none() && Instant::now() < end {
            self.receive(Some(end)).await;
        }
    }
}

/// Never, if there is no such time.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
