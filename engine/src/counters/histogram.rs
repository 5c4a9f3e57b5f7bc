//! Durations in the buckets that `/metrics` shows.

use super::Cell;

/// Upper bounds in milliseconds (admin sheet §25); a last bucket holds what is longer.
pub const MILLISECOND_BOUNDS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000];

/// One core's durations.
#[derive(Default)]
pub struct Histogram {
    buckets: [Cell; 12],
    sum_ns: Cell,
}

/// The buckets of several cores added up, not yet cumulative.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct HistogramTotals {
    pub buckets: [u64; 12],
    pub sum_ns: u64,
}

/// The number of the bucket that a duration falls in.
pub fn bucket_of(duration_ns: u64) -> usize {
    // Nearly every request ends in the first bucket, so the scan is one compare.
    MILLISECOND_BOUNDS.iter().position(|bound| duration_ns <= bound * 1_000_000).unwrap_or(11)
}

impl Histogram {
    pub fn record_ns(&self, duration_ns: u64) {
        self.buckets[bucket_of(duration_ns)].one();
        self.sum_ns.add(duration_ns);
    }

    pub fn add_to(&self, totals: &mut HistogramTotals) {
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.get();
        }
        totals.sum_ns += self.sum_ns.get();
    }
}

impl HistogramTotals {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(total, count)| *total += count);
        self.sum_ns += other.sum_ns;
    }

    /// What has come since it stood at `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = *self;
        rest.buckets.iter_mut().zip(earlier.buckets).for_each(|(count, before)| *count = count.saturating_sub(before));
        rest.sum_ns = rest.sum_ns.saturating_sub(earlier.sum_ns);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        histogram.record_ns(5_000_000);
        histogram.record_ns(5_000_001);
        histogram.record_ns(10_000_000_001);
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        assert_eq!((totals.buckets[0], totals.buckets[1], totals.buckets[11]), (1, 1, 1));
        assert_eq!(totals.count(), 3);
    }

    #[test]
    fn totals_add_up_and_tell_what_came_since() {
        let earlier = HistogramTotals { buckets: [1; 12], sum_ns: 5 };
        let mut now = earlier;
        now.add(&HistogramTotals { buckets: [2; 12], sum_ns: 6 });
        assert_eq!((now.count(), now.sum_ns), (36, 11));
        assert_eq!(now.since(&earlier), HistogramTotals { buckets: [2; 12], sum_ns: 6 });
    }
}
