//! What `/metrics/runtime` says about DNS.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) lookups: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) stale_serves: AtomicU64,
    pub(super) errors: AtomicU64,
}

/// Figures since start. A lookup is a question of a control task, of the warm-up or of a refresh; cores read the
/// published table, which costs and counts nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DnsStats {
    pub lookups_total: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// Expired answers served: to a control task, or left in the table by a refresh that failed.
    pub stale_serves: u64,
    pub errors: u64,
    /// Hits of all lookups, 0-1.
    pub hit_ratio: f64,
    /// Errors of all lookups, 0-1.
    pub error_ratio: f64,
    pub cache_entries: u64,
}

pub(super) fn one(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

impl Counts {
    pub(super) fn read(&self, cache_entries: usize) -> DnsStats {
        let lookups_total = self.lookups.load(Relaxed);
        let (hits, errors) = (self.hits.load(Relaxed), self.errors.load(Relaxed));
        let share = |count: u64| if lookups_total == 0 { 0.0 } else { count as f64 / lookups_total as f64 };
        DnsStats {
            lookups_total,
            cache_hits: hits,
            cache_misses: self.misses.load(Relaxed),
            stale_serves: self.stale_serves.load(Relaxed),
            errors,
            hit_ratio: share(hits),
            error_ratio: share(errors),
            cache_entries: cache_entries as u64,
        }
    }
}
