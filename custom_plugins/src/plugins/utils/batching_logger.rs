//! A sink that takes entries one by one and sends them in batches.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

#[derive(Clone, Copy)]
pub struct RetryPolicy {
    /// The first one counts.
    pub max_attempts: u32,
    pub delay: Duration,
}

#[derive(Clone, Copy)]
pub struct BatchConfig {
    pub batch_size: usize,
    pub flush_interval: Duration,
    /// Entries that wait; further ones are dropped.
    pub buffer_capacity: usize,
    pub retry: RetryPolicy,
    /// For log lines.
    pub plugin_name: &'static str,
}

/// Every so many drops are warned about, after the first.
const DROPS_PER_WARNING: u64 = 100;

/// The side that takes entries. What waits when it is dropped is sent once more.
pub struct BatchingLogger<T: Send + 'static> {
    queue: mpsc::Sender<T>,
    dropped: AtomicU64,
    plugin_name: &'static str,
}

impl<T: Send + 'static> BatchingLogger<T> {
    /// Sends batches in the background, where a tokio runtime is entered.
    pub fn spawn<F, Fut>(cfg: BatchConfig, flush: F) -> Self
    where
        T: Clone,
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(cfg.buffer_capacity.max(1));
        tokio::spawn(send_batches(cfg, waiting, flush));
        Self { queue, dropped: AtomicU64::new(0), plugin_name: cfg.plugin_name }
    }

    /// Never waits: an entry for which there is no room is dropped.
    pub fn try_send(&self, item: T) {
        if self.queue.try_send(item).is_err() {
            let dropped = self.dropped.fetch_add(1, Relaxed) + 1;
            if dropped % DROPS_PER_WARNING == 1 {
                tracing::warn!(plugin = self.plugin_name, dropped, "the queue of a sink is full, entries are dropped");
            }
        }
    }
}

async fn send_batches<T, F, Fut>(cfg: BatchConfig, mut waiting: mpsc::Receiver<T>, flush: F)
where
    T: Clone,
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    while let Some(first) = waiting.recv().await {
        let mut batch = vec![first];
        let deadline = Instant::now() + cfg.flush_interval;
        while batch.len() < cfg.batch_size {
            match tokio::time::timeout_at(deadline, waiting.recv()).await {
                Ok(Some(item)) => batch.push(item),
                Ok(None) | Err(_) => break,
            }
        }
        send_one(&cfg, batch, &flush).await;
    }
}

async fn send_one<T, F, Fut>(cfg: &BatchConfig, batch: Vec<T>, flush: &F)
where
    T: Clone,
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let entries = batch.len();
    for attempt in 1..=cfg.retry.max_attempts.max(1) {
        let Err(reason) = flush(batch.clone()).await else { return };
        tracing::warn!(plugin = cfg.plugin_name, entries, attempt, "a batch was not taken: {reason}");
        if attempt < cfg.retry.max_attempts {
            tokio::time::sleep(cfg.retry.delay).await;
        }
    }
    tracing::warn!(plugin = cfg.plugin_name, entries, "a batch is discarded");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn config(batch_size: usize, buffer_capacity: usize) -> BatchConfig {
        let retry = RetryPolicy { max_attempts: 2, delay: Duration::from_millis(1) };
        BatchConfig { batch_size, flush_interval: Duration::from_millis(20), buffer_capacity, retry, plugin_name: "p" }
    }

    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// A sink that refuses its first batch, and what it was handed.
    fn sink(cfg: BatchConfig) -> (BatchingLogger<u32>, Batches) {
        let batches = Batches::default();
        let handed = batches.clone();
        let logger = BatchingLogger::spawn(cfg, move |batch: Vec<u32>| {
            let mut batches = handed.lock().unwrap();
            batches.push(batch);
            let is_first = batches.len() == 1;
            async move { if is_first { Err("not now".to_owned()) } else { Ok(()) } }
        });
        (logger, batches)
    }

    async fn until(batches: &Mutex<Vec<Vec<u32>>>, count: usize) -> Vec<Vec<u32>> {
        loop {
            let seen = batches.lock().unwrap().clone();
            if seen.len() >= count {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_full_batch_is_sent_at_once_and_again_when_it_was_refused() {
        let (logger, batches) = sink(config(2, 10));
        (1..=3).for_each(|number| logger.try_send(number));
        assert_eq!(until(&batches, 3).await, [vec![1, 2], vec![1, 2], vec![3]]);
    }

    #[tokio::test]
    async fn what_waits_is_sent_when_the_sink_is_dropped_and_a_full_queue_drops() {
        let (logger, batches) = sink(BatchConfig { flush_interval: Duration::from_secs(60), ..config(10, 2) });
        (1..=3).for_each(|number| logger.try_send(number));
        assert_eq!(logger.dropped.load(Relaxed), 1);
        drop(logger);
        assert_eq!(until(&batches, 2).await[0], [1, 2]);
    }
}
