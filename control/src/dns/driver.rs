//! The background work: starts the lookups that are due, takes their outcomes, publishes what has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::dns::{DnsTable, Resolution};
use engine::publish::Fanout;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use super::cache::{Cache, Pending, Purpose, Rules, Seen};
use super::lookup::{Failure, Lookup};
use super::stats::{Counts, one};
use super::{DnsError, DnsOptions, DnsStats, NameSpec};

/// The names are looked through at least this often.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Outcomes that come closer together than this are published together.
const PUBLISH_GAP: Duration = Duration::from_millis(10);

/// All questions of one lookup together.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) struct Driver {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    lookup: Lookup,
    cache: Mutex<Cache>,
    counts: Counts,
    /// Rings when the cache has changed.
    changed: Notify,
    news: Semaphore,
    refreshes: Semaphore,
    slow_threshold: Option<Duration>,
    fanout: Arc<Fanout<DnsTable>>,
    published: Mutex<HashMap<String, Resolution>>,
    runtime: Handle,
}

impl Driver {
    pub(super) fn start(options: DnsOptions, fanout: Arc<Fanout<DnsTable>>) -> Result<Self, DnsError> {
        let shared = Arc::new(Shared {
            lookup: Lookup::new(&options)?,
            cache: Mutex::new(Cache::new(Rules::new(&options))),
            counts: Counts::default(),
            changed: Notify::new(),
            news: Semaphore::new(options.warmup_concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            refreshes: Semaphore::new(options.refreshes_max.clamp(1, Semaphore::MAX_PERMITS)),
            slow_threshold: options.slow_threshold,
            fanout,
            published: Mutex::default(),
            runtime: Handle::current(),
        });
        let task = tokio::spawn(run(shared.clone()));
        Ok(Self { shared, task })
    }

    /// Returns the lookups under way of names of which nothing was known.
    pub(super) fn set_names(&self, names: Vec<NameSpec>) -> Vec<Pending> {
        let unknown = {
            let mut cache = self.shared.cache();
            cache.set_names(names);
            cache.unknown()
        };
        let mut pending = Vec::new();
        for (host, under_way) in unknown {
            // What needs no server is in the first table already.
            if under_way.is_none()
                && let Some(known) = self.shared.lookup.known(&host)
            {
                one(&self.shared.counts.lookups);
                self.shared.end(&host, known);
                continue;
            }
            pending.extend(under_way.or_else(|| self.shared.begin(&host, Purpose::New)));
        }
        self.shared.publish();
        self.shared.changed.notify_one();
        pending
    }

    pub(super) async fn warm_up(&self, names: Vec<NameSpec>) {
        for mut pending in self.set_names(names) {
            // An error is the end of a lookup that could not say how it ended.
            let _ = pending.wait_for(Option::is_some).await;
        }
        self.shared.publish();
    }

    pub(super) async fn resolve(&self, host: &str) -> Resolution {
        let host = host.to_ascii_lowercase();
        let counts = &self.shared.counts;
        let seen = self.shared.cache().see(&host, Instant::now());
        let pending = match seen {
            Seen::Fresh(resolution) => {
                one(&counts.lookups);
                one(&counts.hits);
                return resolution;
            }
            Seen::Stale(resolution, may_ask) => {
                one(&counts.lookups);
                one(&counts.stale_serves);
                if may_ask {
                    self.shared.begin(&host, Purpose::Refresh);
                }
                return resolution;
            }
            Seen::Pending(pending) => {
                one(&counts.lookups);
                one(&counts.misses);
                Some(pending)
            }
            Seen::Unknown => self.shared.begin(&host, Purpose::New),
        };
        // Another task may have begun between the look and the beginning.
        let pending = pending.or_else(|| match self.shared.cache().see(&host, Instant::now()) {
            Seen::Pending(pending) => Some(pending),
            _ => None,
        });
        let Some(mut pending) = pending else { return Resolution::Failed(format!("{host}: no lookup was possible")) };
        match pending.wait_for(Option::is_some).await {
            Ok(resolution) => resolution.clone().unwrap_or_else(|| Resolution::Failed(host.clone())),
            Err(_) => Resolution::Failed(format!("{host}: the lookup was broken off")),
        }
    }

    pub(super) fn stats(&self) -> DnsStats {
        let entries = self.shared.cache().len();
        self.shared.counts.read(entries)
    }
}

async fn run(shared: Arc<Shared>) {
    loop {
        let now = Instant::now();
        let (due, next) = shared.cache().due(now);
        for (host, purpose) in due {
            shared.begin(&host, purpose);
        }
        shared.publish();
        let look_at = next.map_or(now + SCAN_INTERVAL, |next| next.min(now + SCAN_INTERVAL));
        tokio::select! {
            () = shared.changed.notified() => time::sleep(PUBLISH_GAP).await,
            () = time::sleep_until(look_at) => {}
        }
    }
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a lookup unless one is under way.
    fn begin(self: &Arc<Self>, host: &str, purpose: Purpose) -> Option<Pending> {
        let (ended, pending) = watch::channel(None);
        let last_kind = self.cache().begin(host, pending.clone())?;
        one(&self.counts.lookups);
        one(&self.counts.misses);
        let (shared, host) = (self.clone(), host.to_owned());
        self.runtime.spawn(async move {
            let limit = match purpose {
                Purpose::New => &shared.news,
                Purpose::Refresh => &shared.refreshes,
            };
            // The semaphores are never closed.
            let _permit = limit.acquire().await;
            let started = Instant::now();
            let outcome = match time::timeout(LOOKUP_TIME_MAX, shared.lookup.run(&host, last_kind)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::NotFound { host: host.clone(), reason: "no answer in 30 s".to_owned() }),
            };
            shared.warn_when_slow(&host, started.elapsed());
            let resolution = shared.end(&host, outcome);
            ended.send_replace(Some(resolution));
            shared.changed.notify_one();
        });
        Some(pending)
    }

    fn end(&self, host: &str, outcome: Result<super::lookup::Found, Failure>) -> Resolution {
        let failure = outcome.as_ref().err().map(Failure::to_string);
        let ended = self.cache().end(host, outcome, Instant::now());
        if let Some(error) = failure {
            one(&self.counts.errors);
            if ended.is_stale {
                one(&self.counts.stale_serves);
            }
            // A name that goes on failing is said once, not at every retry.
            match (&ended.resolution, ended.is_news) {
                (Resolution::Address(address), true) => {
                    tracing::warn!(host, error, "DNS refresh failed; {address} stays in use");
                }
                (Resolution::Failed(_), true) => tracing::warn!(host, error, "DNS lookup failed; it is retried"),
                (_, false) => tracing::debug!(host, error, "DNS lookup failed again"),
            }
        }
        ended.resolution
    }

    fn warn_when_slow(&self, host: &str, elapsed: Duration) {
        if let Some(threshold) = self.slow_threshold
            && elapsed > threshold
        {
            tracing::warn!(
                host,
                elapsed_ms = elapsed.as_millis() as u64,
                threshold_ms = threshold.as_millis() as u64,
                "Slow DNS lookup"
            );
        }
    }

    /// Publishes the table if it differs from the last one.
    fn publish(&self) {
        // Held until the end, so that an older table never follows a newer one.
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.cache().table(Instant::now());
        if *published != table {
            self.fanout.publish(&Arc::new(DnsTable::new(table.clone())));
            *published = table;
        }
    }
}
