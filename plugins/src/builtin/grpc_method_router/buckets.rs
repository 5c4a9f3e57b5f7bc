//! Token buckets that all cores share, one per caller and method.
//!
//! A bucket is one atomic word, the moment at which it is full again (GCRA's theoretical arrival time): a request that is
//! let through moves it on by what one request is worth, with one compare-and-swap, and a request that is not only reads
//! it. So a limit is exact whatever cores its requests land on.
//!
//! Each core remembers the buckets it met last, so that the table, and its lock, is asked only when a core meets a caller
//! anew. A bucket that leaves the table is marked dead first, and a dead one grants nothing and sends its finder back to the
//! table: there are never two living buckets of one caller and method.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

/// Buckets beyond which others are given up (plugins sheet §2.8).
const BUCKETS_MAX: usize = 100_000;
const SHARDS: usize = 64;
/// Buckets looked at to find one that can be given up.
const LOOKED_AT_MAX: usize = 32;
/// Buckets one core remembers; then it forgets all of them.
const REMEMBERED_MAX: usize = 1024;

/// In ticks; a bucket's capacity and a process's age are both below it, so their sum fits a word.
const TICKS_MAX: u64 = 1 << 62;
/// What a tick is chosen for: longer than a process runs (100 years).
const AGE_SECONDS_MAX: u64 = 3_155_760_000;
/// A faster limit is held at this: no caller can reach it.
const REQUESTS_PER_SECOND_MAX: u64 = 1_000_000_000;
/// Finer ticks than 2^-32 of a request gain nothing.
const SHIFT_MAX: u32 = 32;

/// Not a moment: `TICKS_MAX` twice is less.
const DEAD: u64 = u64::MAX;

/// What a bucket holds and how fast it fills. Time is counted in ticks, of which a request is worth a power of two, so
/// that no rate has to be rounded to whole nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    requests: u64,
    window_ns: u128,
    shift: u32,
}

impl Rate {
    pub fn new(max_requests: NonZeroU64, window_seconds: NonZeroU64) -> Self {
        let window_seconds = window_seconds.get();
        let reachable = window_seconds.saturating_mul(REQUESTS_PER_SECOND_MAX).min(TICKS_MAX);
        let requests = max_requests.get().min(reachable);
        let in_all = u128::from(requests) * u128::from(AGE_SECONDS_MAX) / u128::from(window_seconds);
        let largest = in_all.max(u128::from(requests));
        let shift = (u128::from(TICKS_MAX) / largest).ilog2().min(SHIFT_MAX);
        Self { requests, window_ns: u128::from(window_seconds) * 1_000_000_000, shift }
    }

    fn capacity(self) -> u64 {
        self.requests << self.shift
    }

    fn one_request(self) -> u64 {
        1 << self.shift
    }

    fn ticks(self, ns: u64) -> u64 {
        let ticks = u128::from(ns) * u128::from(self.capacity()) / self.window_ns;
        ticks.min(u128::from(TICKS_MAX)) as u64
    }

    fn ns(self, ticks: u64) -> u128 {
        // Compared only, so it may saturate, with windows of thousands of years.
        self.window_ns.saturating_mul(u128::from(ticks)) / u128::from(self.capacity())
    }
}

/// Whom a bucket belongs to.
#[derive(Clone, Copy, Hash, Debug)]
pub enum Caller<'a> {
    Address(IpAddr),
    Identity(&'a str),
}

/// A caller and a method, as 128 bits that nobody outside can predict. They stand for both, so that a bucket is as small
/// for a long identity as for a short one.
type Key = u128;

#[derive(PartialEq, Debug)]
enum Charge {
    Granted,
    Empty,
    Dead,
}

/// On a cache line of its own: callers do not slow each other down.
#[repr(align(64))]
struct Bucket {
    key: Key,
    rate: u32,
    /// In ticks of its rate; [`DEAD`] for good once it is not in the table.
    full_at: AtomicU64,
}

impl Bucket {
    fn charge(&self, rate: Rate, now: u64) -> Charge {
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            if full_at == DEAD {
                return Charge::Dead;
            }
            let charged = full_at.max(now) + rate.one_request();
            if charged - now > rate.capacity() {
                return Charge::Empty;
            }
            match self.full_at.compare_exchange_weak(full_at, charged, Relaxed, Relaxed) {
                Ok(_) => return Charge::Granted,
                Err(newer) => full_at = newer,
            }
        }
    }

    /// A full bucket is as good as a new one, so nobody notices that it is gone.
    fn die_if_full(&self, now: u64) -> bool {
        let full_at = self.full_at.load(Relaxed);
        full_at <= now && self.full_at.compare_exchange(full_at, DEAD, Relaxed, Relaxed).is_ok()
    }
}

#[derive(Default)]
struct Shard {
    places: FxHashMap<Key, usize>,
    buckets: Vec<Arc<Bucket>>,
    /// Where the next look for a bucket to give up begins.
    hand: usize,
}

impl Shard {
    fn get(&self, key: Key) -> Option<&Arc<Bucket>> {
        self.places.get(&key).map(|place| &self.buckets[*place])
    }

    fn add(&mut self, bucket: Arc<Bucket>) {
        self.places.insert(bucket.key, self.buckets.len());
        self.buckets.push(bucket);
    }

    /// The bucket must be dead.
    fn remove(&mut self, place: usize) {
        let removed = self.buckets.swap_remove(place);
        self.places.remove(&removed.key);
        if let Some(moved) = self.buckets.get(place) {
            self.places.insert(moved.key, place);
        }
    }

    /// Gives up the full buckets among the next few, or else the one that would be full first. Answers with their number.
    fn make_room(&mut self, rates: &[Rate], now_ns: u64) -> usize {
        let mut freed = 0;
        let mut soonest: Option<(u128, usize)> = None;
        for _ in 0..LOOKED_AT_MAX.min(self.buckets.len()) {
            if self.hand >= self.buckets.len() {
                self.hand = 0;
            }
            let Some(bucket) = self.buckets.get(self.hand) else { break };
            let rate = rates[bucket.rate as usize];
            let now = rate.ticks(now_ns);
            if bucket.die_if_full(now) {
                self.remove(self.hand);
                freed += 1;
                continue;
            }
            let wait_ns = rate.ns(bucket.full_at.load(Relaxed).saturating_sub(now));
            if soonest.is_none_or(|(least_ns, _)| wait_ns < least_ns) {
                soonest = Some((wait_ns, self.hand));
            }
            self.hand += 1;
        }
        if freed > 0 {
            return freed;
        }
        let Some((_, place)) = soonest else { return 0 };
        self.buckets[place].full_at.store(DEAD, Relaxed);
        self.remove(place);
        1
    }
}

/// All buckets of one plugin config.
pub struct Buckets {
    rates: Box<[Rate]>,
    digests: [RandomState; 2],
    shards: Box<[Mutex<Shard>]>,
    /// Buckets in the shards and those about to be added.
    count: AtomicUsize,
    count_max: usize,
    began: Instant,
}

impl Buckets {
    /// A rate is later named by its place among `rates`.
    pub fn new(rates: Vec<Rate>) -> Self {
        Self::bounded(rates, SHARDS, BUCKETS_MAX)
    }

    fn bounded(rates: Vec<Rate>, shards: usize, count_max: usize) -> Self {
        Self {
            rates: rates.into(),
            digests: [RandomState::new(), RandomState::new()],
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            count_max,
            began: Instant::now(),
        }
    }

    /// The time that [`take`](Self::take) counts in.
    pub fn now_ns(&self) -> u64 {
        // 584 years.
        self.began.elapsed().as_nanos() as u64
    }

    /// Takes one request out of the caller's bucket, unless that is empty. `remembered` is the core's own.
    pub fn take(&self, remembered: &mut Remembered, rate: u32, caller: Caller<'_>, now_ns: u64) -> bool {
        let key = self.key(rate, caller);
        let now = self.rates[rate as usize].ticks(now_ns);
        if let Some(bucket) = remembered.buckets.get(&key) {
            match bucket.charge(self.rates[rate as usize], now) {
                Charge::Granted => return true,
                Charge::Empty => return false,
                Charge::Dead => {}
            }
        }
        let (bucket, is_granted) = self.find(key, rate, now, now_ns);
        remembered.keep(bucket);
        is_granted
    }

    fn key(&self, rate: u32, caller: Caller<'_>) -> Key {
        let [high, low] = &self.digests;
        let half = |digest: &RandomState| u128::from(digest.hash_one((rate, caller)));
        half(high) << 64 | half(low)
    }

    /// Charges the bucket in the table, which is made if there is none.
    fn find(&self, key: Key, rate: u32, now: u64, now_ns: u64) -> (Arc<Bucket>, bool) {
        // Under the lock of its shard a bucket that is in the table cannot die.
        let charge = |bucket: &Arc<Bucket>| {
            let charge = bucket.charge(self.rates[rate as usize], now);
            (bucket.clone(), charge == Charge::Granted)
        };
        let index = key as usize % self.shards.len();
        if let Some(bucket) = self.shard(index).get(key) {
            return charge(bucket);
        }
        if self.count.fetch_add(1, Relaxed) >= self.count_max {
            self.make_room(index, now_ns);
        }
        let mut shard = self.shard(index);
        if let Some(bucket) = shard.get(key) {
            self.count.fetch_sub(1, Relaxed);
            return charge(bucket);
        }
        // A new bucket is full, and this is its first request; the smallest capacity is one.
        let full_at = AtomicU64::new(now + self.rates[rate as usize].one_request());
        let bucket = Arc::new(Bucket { key, rate, full_at });
        shard.add(bucket.clone());
        (bucket, true)
    }

    /// Looks in one shard after the other, and nearly always finds something in the first. One lock at a time is held.
    fn make_room(&self, first: usize, now_ns: u64) {
        for offset in 0..self.shards.len() {
            let freed = self.shard((first + offset) % self.shards.len()).make_room(&self.rates, now_ns);
            if freed > 0 {
                self.count.fetch_sub(freed, Relaxed);
                return;
            }
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buckets one core met last.
#[derive(Default)]
pub struct Remembered {
    buckets: FxHashMap<Key, Arc<Bucket>>,
}

impl Remembered {
    fn keep(&mut self, bucket: Arc<Bucket>) {
        if self.buckets.len() >= REMEMBERED_MAX {
            self.buckets.clear();
        }
        self.buckets.insert(bucket.key, bucket);
    }
}

#[cfg(test)]
mod tests;
