//! The moving average of each target's latency, one logical value for the process.
//!
//! A sample maps the average: new = 0.3 x sample + 0.7 x old. Samples in a row are such a map as well (old x a + b), so a
//! core folds the samples of a few milliseconds into one map and applies that to the shared value: nothing is approximated,
//! the shared line is written a hundred times a second at most, and a core whose last sample is older than that applies a
//! new one at once.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Weight of a new sample.
const ALPHA: f32 = 0.3;

/// Samples that make an average count.
pub(super) const SAMPLES_MIN: u32 = 5;

/// How much better than the best known a target with fewer samples is taken to be, so that it gets some.
const HEAD_START_US: f32 = 1_000.0;

/// How long a core gathers samples before it applies them.
const GATHER_MS: u64 = 10;

/// Average in µs and number of samples of an address, in one atomic: float bits above, count below.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Average {
    us: f32,
    samples: u32,
}

impl Average {
    fn unpack(word: u64) -> Self {
        Self { us: f32::from_bits((word >> 32) as u32), samples: word as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.us.to_bits()) << 32 | u64::from(self.samples)
    }
}

/// Averages by address.
pub(super) struct Latencies {
    averages: Box<[AtomicU64]>,
}

impl Latencies {
    pub(super) fn new(addresses: usize) -> Self {
        Self { averages: (0..addresses).map(|_| AtomicU64::new(0)).collect() }
    }

    fn get(&self, address: usize) -> Average {
        Average::unpack(self.averages[address].load(Relaxed))
    }

    /// Applies one sample now.
    pub(super) fn record(&self, address: usize, us: u64) {
        self.apply(address, &Samples::default().with(us as f32));
    }

    fn apply(&self, address: usize, samples: &Samples) {
        let cell = &self.averages[address];
        let mut seen = cell.load(Relaxed);
        loop {
            let old = Average::unpack(seen);
            let us = if old.samples == 0 { samples.alone } else { old.us * samples.scale + samples.shift };
            let next = Average { us, samples: old.samples.saturating_add(samples.len) };
            match cell.compare_exchange_weak(seen, next.pack(), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// A target came back: it starts at the lowest average known, with enough samples to count.
    pub(super) fn restart(&self, address: usize) {
        let known = (0..self.averages.len()).map(|address| self.get(address)).filter(|one| one.samples >= SAMPLES_MIN);
        if let Some(us) = known.map(|one| one.us).min_by(f32::total_cmp) {
            self.averages[address].store(Average { us, samples: SAMPLES_MIN }.pack(), Relaxed);
        }
    }

    /// The candidate with the lowest average, the first on ties; a candidate with few samples counts as better than the
    /// lowest known. Nothing while no candidate has enough. Candidates are pairs of target and address.
    pub(super) fn lowest(&self, candidates: impl Iterator<Item = (usize, usize)> + Clone) -> Option<usize> {
        let known = candidates.clone().map(|(_, address)| self.get(address)).filter(|one| one.samples >= SAMPLES_MIN);
        let lowest = known.map(|one| one.us).min_by(f32::total_cmp)?;
        let unknown = (lowest - HEAD_START_US).max(0.0);
        let rated = candidates.map(|(target, address)| {
            let one = self.get(address);
            (target, if one.samples >= SAMPLES_MIN { one.us } else { unknown })
        });
        rated.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(target, _)| target)
    }
}

/// Samples in a row as one map of the average.
#[derive(Clone, Copy)]
struct Samples {
    len: u32,
    scale: f32,
    shift: f32,
    /// Their average when there was none before.
    alone: f32,
}

impl Default for Samples {
    fn default() -> Self {
        Self { len: 0, scale: 1.0, shift: 0.0, alone: 0.0 }
    }
}

impl Samples {
    fn with(self, us: f32) -> Self {
        let keep = 1.0 - ALPHA;
        let alone = if self.len == 0 { us } else { self.alone * keep + us * ALPHA };
        Self { len: self.len + 1, scale: self.scale * keep, shift: self.shift * keep + us * ALPHA, alone }
    }
}

/// The samples one core has gathered.
pub(super) struct Gathered {
    latencies: Arc<Latencies>,
    samples: Box<[Cell<Samples>]>,
    is_any: Cell<bool>,
    applied_ms: Cell<u64>,
}

impl Gathered {
    pub(super) fn new(latencies: Arc<Latencies>) -> Self {
        let samples = latencies.averages.iter().map(|_| Cell::default()).collect();
        Self { latencies, samples, is_any: Cell::new(false), applied_ms: Cell::new(0) }
    }

    pub(super) fn record(&self, address: usize, us: u64, now_ms: u64) {
        let samples = &self.samples[address];
        samples.set(samples.get().with(us as f32));
        self.is_any.set(true);
        self.apply_due(now_ms);
    }

    /// Applies what was gathered long enough ago; costs one read when there is nothing.
    pub(super) fn apply_due(&self, now_ms: u64) {
        let is_due = self.applied_ms.get() == 0 || now_ms.saturating_sub(self.applied_ms.get()) >= GATHER_MS;
        if !self.is_any.get() || !is_due {
            return;
        }
        for (address, samples) in self.samples.iter().enumerate() {
            let samples = samples.take();
            if samples.len > 0 {
                self.latencies.apply(address, &samples);
            }
        }
        self.is_any.set(false);
        self.applied_ms.set(now_ms);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() <= b.abs() * 1e-5
    }

    #[test]
    fn samples_applied_together_give_what_they_give_one_by_one() {
        let (together, one_by_one) = (Arc::new(Latencies::new(1)), Latencies::new(1));
        let gathered = Gathered::new(together.clone());
        for i in 0..1_000_u64 {
            let us = 100 + i * 7919 % 5_000;
            gathered.record(0, us, 1_000 + i);
            one_by_one.record(0, us);
        }
        gathered.apply_due(10_000);
        let (together, one_by_one) = (together.get(0), one_by_one.get(0));
        assert_eq!(together.samples, one_by_one.samples);
        assert!(near(together.us, one_by_one.us), "{together:?} {one_by_one:?}");
    }

    #[test]
    fn the_average_is_the_sheets() {
        let latencies = Latencies::new(1);
        latencies.record(0, 100);
        assert!(near(latencies.get(0).us, 100.0));
        latencies.record(0, 200);
        assert!(near(latencies.get(0).us, 130.0));
    }

    #[test]
    fn a_core_writes_the_shared_value_once_in_ten_milliseconds_and_at_once_after_a_pause() {
        let latencies = Arc::new(Latencies::new(1));
        let gathered = Gathered::new(latencies.clone());
        let samples_after = |now_ms| {
            gathered.record(0, 50, now_ms);
            latencies.get(0).samples
        };
        assert_eq!([500, 501, 509, 510, 511, 900].map(samples_after), [1, 1, 1, 4, 4, 6]);
    }

    #[test]
    fn nothing_is_lowest_until_one_candidate_has_five_samples() {
        let latencies = Latencies::new(3);
        let all = || (0..3).map(|i| (i, i));
        (0..4).for_each(|_| latencies.record(1, 5_000));
        assert_eq!(latencies.lowest(all()), None);
        latencies.record(1, 5_000);
        assert_eq!(latencies.lowest(all()), Some(0), "few samples count as 1000 us better, the first on ties");
        (0..5).for_each(|_| latencies.record(0, 9_000));
        assert_eq!(latencies.lowest(all()), Some(2));
        (0..5).for_each(|_| latencies.record(2, 4_999));
        assert_eq!(latencies.lowest(all()), Some(2));
        assert_eq!(latencies.lowest(all().take(2)), Some(1));
        assert_eq!(latencies.lowest(all().take(0)), None);
    }

    #[test]
    fn the_head_start_ends_at_zero() {
        let latencies = Latencies::new(2);
        (0..5).for_each(|_| latencies.record(0, 0));
        assert_eq!(latencies.lowest((0..2).map(|i| (i, i))), Some(0), "a tie at zero");
    }

    #[test]
    fn a_target_that_returns_starts_at_the_lowest_known() {
        let latencies = Latencies::new(3);
        latencies.restart(2);
        assert_eq!(latencies.get(2), Average::default(), "nothing is known yet");
        (0..5).for_each(|_| latencies.record(0, 700));
        (0..9).for_each(|_| latencies.record(2, 90_000));
        latencies.restart(2);
        assert!(near(latencies.get(2).us, 700.0) && latencies.get(2).samples == SAMPLES_MIN);
    }
}
