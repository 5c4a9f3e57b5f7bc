//! What one writer counts.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};

use engine::counters::{Cell, Histogram, bucket_of};
use engine::http::Method;

use super::OTHER;

/// Figures of one core that belong to no proxy. Alone on their lines, and on the pair of lines that processors fetch together.
#[derive(Default)]
#[repr(align(128))]
pub struct CoreCounts {
    /// Requests that a rate limit refused.
    pub rate_limit_exceeded: Cell,
    /// Requests that were to be counted in Redis and that this process counted alone.
    pub rate_limit_local_fallback: Cell,
    /// Transactions counted.
    samples: Cell,
    /// Requests counted under another method or status than their own.
    pub(super) requests_folded: Cell,
    /// Those counted under another proxy.
    pub(super) proxies_folded: Cell,
    /// Those that no mesh family counts.
    pub(super) mesh_dropped: Cell,
}

impl CoreCounts {
    /// Something was counted that a page does not show yet.
    pub fn note_sample(&self) {
        // Whoever sees this sees what was counted before; the other half is in `samples`.
        fence(Ordering::Release);
        self.samples.one();
    }

    pub(super) fn samples(&self) -> u64 {
        let samples = self.samples.get();
        fence(Ordering::Acquire);
        samples
    }
}

/// The durations that a proxy has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duration {
    Total,
    Backend,
    Overhead,
}

pub(super) const DURATIONS: usize = 3;

/// As labels show them; the last one stands for all others.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", OTHER];

/// A method and a status code in one number, which is never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Pair(u32);

impl Pair {
    /// What has no place of its own.
    pub(super) const FOLDED: Pair = Pair::of(Method::Other, 0);

    pub(super) const fn of(method: Method, status: u16) -> Self {
        Self((method as u32 + 1) << 16 | status as u32)
    }

    pub(super) fn method(self) -> &'static str {
        METHODS.get((self.0 >> 16) as usize - 1).copied().unwrap_or(OTHER)
    }

    /// None when it stands for many.
    pub(super) fn status(self) -> Option<u16> {
        (self != Self::FOLDED).then_some(self.0 as u16)
    }
}

/// Requests with one method and status.
#[derive(Default)]
struct PairCell {
    /// A [`Pair`], or zero while nobody has the place. It is never given to another.
    pair: AtomicU32,
    seen_s: AtomicU32,
    count: Cell,
}

impl PairCell {
    fn touch(&self, now_s: u64) {
        self.seen_s.store(u32::try_from(now_s).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.count.one();
    }

    /// What it counts, if it has been taken.
    fn read(&self) -> Option<PairCount> {
        let pair = self.pair.load(Ordering::Acquire);
        let seen_s = u64::from(self.seen_s.load(Ordering::Relaxed));
        (pair != 0).then(|| PairCount { pair: Pair(pair), seen_s, count: self.count.get() })
    }
}

/// What was counted of one method and status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PairCount {
    pub(super) pair: Pair,
    pub(super) seen_s: u64,
    pub(super) count: u64,
}

/// Most proxies see no more than these.
#[derive(Default)]
#[repr(align(64))]
struct FirstPairs([PairCell; 4]);

#[derive(Default)]
struct MorePairs {
    cells: [PairCell; 16],
    next: OnceLock<Box<MorePairs>>,
}

/// Methods and statuses of one proxy that have a place, per writer. Ordinary backends and all nine methods need less.
pub(super) const PAIRS_MAX: usize = 500;
const MORE_MAX: usize = (PAIRS_MAX - 4) / 16;

/// What one writer counts of one proxy. Nearly every request writes two lines of it: the first one, and that of its method
/// and status.
#[repr(C, align(64))]
pub(super) struct ProxyCells {
    sums_ns: [Cell; DURATIONS],
    seen_s: Cell,
    disconnects: Cell,
    /// By bucket, because nearly every duration falls in the first.
    buckets: [[Cell; DURATIONS]; 12],
    first: FirstPairs,
    more: OnceLock<Box<MorePairs>>,
    folded: PairCell,
    pub(super) proxy: Arc<str>,
}

impl ProxyCells {
    pub(super) fn new(proxy: Arc<str>) -> Self {
        Self {
            sums_ns: Default::default(),
            seen_s: Cell::default(),
            disconnects: Cell::default(),
            buckets: Default::default(),
            first: FirstPairs::default(),
            more: OnceLock::new(),
            folded: PairCell { pair: AtomicU32::new(Pair::FOLDED.0), ..PairCell::default() },
            proxy,
        }
    }

    pub(super) fn touch(&self, now_s: u64) {
        self.seen_s.set(now_s);
    }

    pub(super) fn seen_s(&self) -> u64 {
        self.seen_s.get()
    }

    pub(super) fn record(&self, which: Duration, duration_ns: u64) {
        self.buckets[bucket_of(duration_ns)][which as usize].one();
        self.sums_ns[which as usize].add(duration_ns);
    }

    pub(super) fn disconnected(&self) {
        self.disconnects.one();
    }

    /// Counts a request; the answer tells whether it has a place of its own.
    pub(super) fn count(&self, pair: Pair, now_s: u64) -> bool {
        let place = self.place(pair);
        place.unwrap_or(&self.folded).touch(now_s);
        place.is_some()
    }

    fn place(&self, pair: Pair) -> Option<&PairCell> {
        let mut cells: &[PairCell] = &self.first.0;
        let (mut next, mut left) = (&self.more, MORE_MAX);
        loop {
            for cell in cells {
                match cell.pair.load(Ordering::Relaxed) {
                    present if present == pair.0 => return Some(cell),
                    0 => {
                        cell.pair.store(pair.0, Ordering::Release);
                        return Some(cell);
                    }
                    _ => {}
                }
            }
            left = left.checked_sub(1)?;
            let more = next.get_or_init(Box::default);
            (cells, next) = (&more.cells, &more.next);
        }
    }

    pub(super) fn sum_ns(&self, which: usize) -> u64 {
        self.sums_ns[which].get()
    }

    pub(super) fn bucket(&self, bucket: usize, which: usize) -> u64 {
        self.buckets[bucket][which].get()
    }

    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects.get()
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = PairCount> {
        let chain = std::iter::successors(self.more.get(), |more| more.next.get());
        let cells = self.first.0.iter().chain(chain.flat_map(|more| &more.cells)).chain([&self.folded]);
        cells.filter_map(PairCell::read).filter(|read| read.count != 0)
    }
}

/// What one writer counts of one label set.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct SeriesCells {
    pub(super) duration: Histogram,
    pub(super) seen_s: Cell,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(cells: &ProxyCells) -> Vec<(&'static str, Option<u16>, u64)> {
        cells.pairs().map(|read| (read.pair.method(), read.pair.status(), read.count)).collect()
    }

    #[test]
    fn requests_are_counted_by_method_and_status() {
        let cells = ProxyCells::new("p".into());
        for (method, status) in [(Method::Get, 200), (Method::Connect, 999), (Method::Get, 200), (Method::Other, 100)] {
            assert!(cells.count(Pair::of(method, status), 1));
        }
        assert_eq!(pairs(&cells), [("GET", Some(200), 2), ("CONNECT", Some(999), 1), ("_OTHER", Some(100), 1)],);
    }

    #[test]
    fn a_method_and_status_without_a_place_is_folded() {
        let cells = ProxyCells::new("p".into());
        for status in 0..PAIRS_MAX as u16 {
            assert!(cells.count(Pair::of(Method::Get, 100 + status), 1), "{status}");
        }
        assert_eq!(pairs(&cells).len(), 500);
        assert!(!cells.count(Pair::of(Method::Head, 200), 1));
        assert!(!cells.count(Pair::of(Method::Get, 999), 2));
        assert!(cells.count(Pair::of(Method::Get, 100), 1), "who has a place keeps it");
        let counted = pairs(&cells);
        assert_eq!(counted.len(), PAIRS_MAX + 1);
        assert_eq!(counted.last(), Some(&("_OTHER", None, 2)));
    }

    #[test]
    fn what_nearly_every_request_writes_is_two_lines() {
        let cells = ProxyCells::new("p".into());
        let at = |part: *const Cell| part as usize - &raw const cells as usize;
        assert!(at(&cells.sums_ns[0]) == 0 && at(&cells.buckets[0][DURATIONS - 1]) + 8 <= 64);
        assert_eq!((&raw const cells.first as usize) % 64, 0);
        assert_eq!(size_of::<FirstPairs>(), 64);
        assert_eq!(size_of::<ProxyCells>(), 512, "what a proxy costs per core");
    }
}
