//! N units per window, exactly, over all cores.

use super::row::{POLICY, Row};

/// What became of a request for units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Taken {
        /// The window the units were charged to: the one asked for, or the newest one if the caller's clock lagged.
        window: u64,
        /// Units this core knows to remain. Exact while the row is quiet; leases of other cores are not counted.
        remaining_hint: u64,
    },
    /// Fewer units than asked for remain in the window, wherever they might lie.
    Exhausted,
}

/// N units in each window. Windows are numbers that the caller derives from its clock (`now / window_length`) and that
/// never go back: a call with an older number than the newest seen is charged to the newest.
///
/// Windows are told apart by 20 bits: a row not touched for exactly 1,048,576 windows, or a multiple, goes on with what
/// it had left.
pub struct Quota {
    row: Row<true>,
}

impl Quota {
    /// `limit` is held to [`UNITS_MAX`](super::UNITS_MAX). A row costs two cache lines until it gets busy.
    #[must_use]
    pub fn new(limit: u64, cores: usize) -> Self {
        Self { row: Row::new(limit, cores, POLICY) }
    }

    #[cfg(test)]
    pub(super) fn with_policy(limit: u64, cores: usize, policy: super::row::Policy) -> Self {
        Self { row: Row::new(limit, cores, policy) }
    }

    /// Takes all of `units` or none. A `core` past the last is a thread that is none; all such share one cell.
    #[inline]
    pub fn take(&self, core: usize, window: u64, units: u64) -> Take {
        let mut window = window;
        match self.row.take(core, &mut window, units) {
            Some(remaining_hint) => Take::Taken { window, remaining_hint },
            None => Take::Exhausted,
        }
    }

    /// Units left in `window`, added up over the cores; exact when no request is under way.
    #[must_use]
    pub fn remaining(&self, window: u64) -> u64 {
        self.row.remaining(window)
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.row.limit()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn taken(take: Take) -> bool {
        matches!(take, Take::Taken { .. })
    }

    #[test]
    fn five_of_six_requests_pass_whatever_cores_they_land_on() {
        for pattern in 0..4_u32.pow(6) {
            let quota = Quota::new(5, 4);
            let passed = (0..6).filter(|i| taken(quota.take((pattern >> (2 * i)) as usize & 3, 9, 1))).count();
            assert_eq!(passed, 5, "pattern {pattern}");
        }
    }

    #[test]
    fn units_left_in_one_cores_drawer_are_given_to_another() {
        let quota = Quota::new(10_000, 8);
        assert!((0..2_000).all(|_| taken(quota.take(0, 1, 1))));
        let before = quota.remaining(1);
        let by_others = (0..20_000).filter(|i| taken(quota.take(1 + i % 7, 1, 1))).count() as u64;
        assert_eq!((before, by_others, quota.remaining(1)), (8_000, 8_000, 0));
        assert_eq!(quota.take(0, 1, 1), Take::Exhausted);
    }

    #[test]
    fn a_lease_of_the_last_window_is_worth_nothing_in_this_one() {
        let quota = Quota::new(1_000, 2);
        assert!((0..500).all(|_| taken(quota.take(0, 1, 1))));
        let in_the_next = (0..3_000).filter(|i| taken(quota.take(i % 2, 2, 1))).count();
        assert_eq!(in_the_next, 1_000);
    }

    #[test]
    fn a_core_whose_clock_lags_is_charged_to_the_newest_window() {
        let quota = Quota::new(2, 2);
        assert!(taken(quota.take(0, 7, 1)));
        assert_eq!(quota.take(1, 6, 1), Take::Taken { window: 7, remaining_hint: 0 });
        assert_eq!(quota.take(1, 6, 1), Take::Exhausted);
    }

    #[test]
    fn a_row_left_alone_for_years_starts_anew() {
        for gap in [1, 1 << 19, (1 << 20) - 1, (1 << 20) + 1, 1 << 40 | 3] {
            let quota = Quota::new(3, 2);
            assert!((0..3).all(|_| taken(quota.take(0, 100, 1))));
            let passed = (0..5).filter(|_| taken(quota.take(1, 100 + gap, 1))).count();
            assert_eq!(passed, 3, "gap {gap}");
        }
    }

    #[test]
    fn the_remaining_hint_counts_down_by_one_while_the_row_is_quiet() {
        let quota = Quota::new(50, 4);
        for i in 0..50 {
            assert_eq!(quota.take(i % 4, 3, 1), Take::Taken { window: 3, remaining_hint: 49 - i as u64 });
        }
    }

    #[test]
    fn a_request_for_many_units_gathers_them_from_all_cores_or_takes_none() {
        let quota = Quota::new(4_000, 4);
        let mut spent = (0..1_500).filter(|i| taken(quota.take(i % 4, 1, 1))).count() as u64;
        let left = quota.remaining(1);
        assert_eq!(quota.take(2, 1, left + 1), Take::Exhausted);
        assert_eq!(quota.remaining(1), left);
        assert!(taken(quota.take(2, 1, left)));
        spent += left;
        assert_eq!((spent, quota.remaining(1)), (4_000, 0));
    }

    #[test]
    fn a_limit_of_nothing_and_a_limit_past_the_cell_are_both_held() {
        assert_eq!(Quota::new(0, 4).take(1, 1, 1), Take::Exhausted);
        let quota = Quota::new(u64::MAX, 4);
        assert_eq!(quota.limit(), super::super::UNITS_MAX);
        assert!(taken(quota.take(0, 1, super::super::UNITS_MAX)));
        assert_eq!(quota.take(1, 1, 1), Take::Exhausted);
    }

    #[test]
    fn a_thread_that_is_no_core_shares_the_limit() {
        let quota = Quota::new(1_000, 2);
        let passed =
            (0..1_500).filter(|i| taken(quota.take(if i % 3 == 0 { usize::MAX } else { i % 2 }, 1, 1))).count();
        assert_eq!(passed, 1_000);
    }
}
