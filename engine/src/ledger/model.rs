//! The protocol under every interleaving loom finds within its bound on preemptions.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p engine --release ledger`

use std::num::NonZeroU64;

use loom::sync::Arc;
use loom::thread;

use super::row::Policy;
use super::{Cap, Meter, Pass, Quota, Rates, Take, Window, meter};

/// Leases at once, so that two requests are enough to move units about.
const EAGER: Policy = Policy { busy_after: 0, lease_requests_max: 2 };

/// Interleavings with up to this many preemptions. Each of the protocol's checks, taken out, is missed by some model here
/// within four.
const PREEMPTIONS_MAX: usize = 5;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(model);
}

fn grants(quota: &Quota, core: usize, window: u64, requests: usize, units: u64) -> u64 {
    (0..requests).filter(|_| matches!(quota.take(core, window, units), Take::Taken { .. })).count() as u64
}

/// Every limit with one request more than it allows, split over two cores.
fn exactly_n(limit: u64, first: usize, second: usize) {
    check(move || {
        let quota = Arc::new(Quota::with_policy(limit, 2, EAGER));
        let other = quota.clone();
        let second = thread::spawn(move || grants(&other, 1, 1, second, 1));
        let passed = grants(&quota, 0, 1, first, 1) + second.join().unwrap();
        assert_eq!(passed, limit);
        assert_eq!(quota.remaining(1), 0);
    });
}

#[test]
fn ledger_of_one_grants_one() {
    exactly_n(1, 1, 1);
}

#[test]
fn ledger_leases_and_recalls_lose_nothing() {
    exactly_n(5, 3, 3);
    exactly_n(6, 1, 6);
    exactly_n(6, 5, 2);
}

#[test]
fn ledger_finds_a_unit_leased_while_it_looked() {
    // 5 units: the first core's first request leases one, (5 - 1) / 4, and leaves it in its drawer.
    check(|| {
        let quota = Arc::new(Quota::with_policy(5, 2, EAGER));
        let other = quota.clone();
        let one = thread::spawn(move || grants(&other, 0, 1, 1, 1));
        let four = grants(&quota, 1, 1, 5, 1);
        let one = one.join().unwrap();
        assert_eq!(one + four, 5);
    });
}

#[test]
fn ledger_gathers_many_units_without_losing_any() {
    check(|| {
        let quota = Arc::new(Quota::with_policy(7, 2, EAGER));
        grants(&quota, 0, 1, 1, 1);
        let other = quota.clone();
        let three = thread::spawn(move || 3 * grants(&other, 1, 1, 2, 3));
        let ones = grants(&quota, 0, 1, 2, 1);
        let spent = 1 + ones + three.join().unwrap();
        assert_eq!(spent + quota.remaining(1), 7);
        assert!(spent >= 5, "refused {spent} although enough was there");
    });
}

#[test]
fn ledger_finds_units_that_are_moved_behind_its_back() {
    check(|| {
        let quota = Arc::new(Quota::with_policy(20, 3, EAGER));
        // The last core leases 1, then 2; the rest of home is spent.
        assert_eq!(grants(&quota, 2, 1, 3, 1), 3);
        assert_eq!(grants(&quota, 0, 1, 1, 15), 1);
        assert_eq!(quota.remaining(1), 2);
        // While one looks through the cells, the other recalls both units from the last one and leaves one at home.
        let other = quota.clone();
        let mover = thread::spawn(move || grants(&other, 1, 1, 1, 1));
        assert_eq!(grants(&quota, 0, 1, 1, 1), 1);
        assert_eq!(mover.join().unwrap(), 1);
        assert_eq!(quota.remaining(1), 0);
    });
}

#[test]
fn ledger_caps_find_the_unit_given_back_where_they_looked_already() {
    check(|| {
        let cap = Arc::new(Cap::with_policy(5, 3, EAGER));
        assert!((0..5).all(|_| cap.acquire(2)));
        cap.release(1);
        // At every moment one is free: first in cell 1, then in cells 0 and 1, then in cell 0.
        let other = cap.clone();
        let one = thread::spawn(move || {
            other.release(0);
            assert!(other.acquire(1));
        });
        assert!(cap.acquire(2));
        one.join().unwrap();
        assert_eq!(cap.held(), 5);
    });
}

#[test]
fn ledger_with_three_cores() {
    check(|| {
        let quota = Arc::new(Quota::with_policy(7, 3, EAGER));
        grants(&quota, 0, 1, 1, 1);
        let all: Vec<_> = (1..3)
            .map(|core| {
                let quota = quota.clone();
                thread::spawn(move || grants(&quota, core, 1, 3, 1))
            })
            .collect();
        let passed = 1 + all.into_iter().map(|one| one.join().unwrap()).sum::<u64>();
        assert_eq!(passed, 7);
        assert_eq!(quota.remaining(1), 0);
    });
}

#[test]
fn ledger_windows_roll_over_without_granting_twice() {
    check(|| {
        let quota = Arc::new(Quota::with_policy(5, 2, EAGER));
        let granted = |quota: &Quota, core: usize, window: u64, requests: usize| {
            let mut by_window = [0; 2];
            for _ in 0..requests {
                if let Take::Taken { window, .. } = quota.take(core, window, 1) {
                    by_window[window as usize] += 1;
                }
            }
            by_window
        };
        let before = granted(&quota, 0, 0, 2);
        let other = quota.clone();
        let lagging = thread::spawn(move || granted(&other, 0, 0, 2));
        let ahead = granted(&quota, 1, 1, 4);
        let lagging = lagging.join().unwrap();
        let rest = granted(&quota, 1, 1, 5);
        assert!(before[0] + lagging[0] <= 5);
        assert_eq!(lagging[1] + ahead[1] + rest[1], 5);
    });
}

#[test]
fn ledger_caps_refuse_only_what_is_really_held() {
    check(|| {
        let cap = Arc::new(Cap::with_policy(5, 2, EAGER));
        // Two units in the first core's cell, three held.
        assert!((0..4).all(|_| cap.acquire(0)));
        cap.release(0);
        let other = cap.clone();
        let one = thread::spawn(move || {
            assert!(other.acquire(0), "at most four are held");
            other.release(1);
        });
        assert!(cap.acquire(1), "at most four are held");
        cap.release(1);
        one.join().unwrap();
        assert_eq!(cap.held(), 3);
        assert!(cap.acquire(0) && cap.acquire(1) && !cap.acquire(0));
    });
}

/// Leases at once, as above.
const EAGER_METER: meter::Policy = meter::Policy { busy_after: 0, lease_units_min: 2 };

fn meter_of(window: fn(NonZeroU64, NonZeroU64) -> Window, limit: u64, ticks: u64) -> Arc<Meter> {
    let [limit, ticks] = [limit, ticks].map(|number| NonZeroU64::new(number).unwrap());
    let rates = Rates::with_policy(vec![window(limit, ticks)], 2, meter::STAMPS_MAX, EAGER_METER);
    Arc::new(Meter::new(std::sync::Arc::new(rates), 0))
}

fn passed(meter: &Meter, core: usize, tick: u64, requests: usize) -> u64 {
    (0..requests).filter(|_| matches!(meter.take(core, tick), Pass::Granted { .. })).count() as u64
}

#[test]
fn ledger_meter_grants_its_limit_within_a_tick() {
    for (limit, first, second) in [(1, 1, 1), (9, 5, 5), (9, 2, 8)] {
        check(move || {
            let meter = meter_of(Window::log, limit, 10);
            let other = meter.clone();
            let second = thread::spawn(move || passed(&other, 1, 1, second));
            let passed = passed(&meter, 0, 1, first) + second.join().unwrap();
            assert_eq!(passed, limit);
        });
    }
}

#[test]
fn ledger_meter_settles_what_was_leased_when_time_goes_on() {
    // Nothing comes back to the log meanwhile.
    check(|| {
        let log = meter_of(Window::log, 9, 10);
        let other = log.clone();
        let later = thread::spawn(move || passed(&other, 1, 2, 4));
        let early = passed(&log, 0, 1, 4);
        assert_eq!(early + later.join().unwrap() + passed(&log, 0, 2, 9), 9);
    });
    // Of the bucket, which is empty at first, three come back with the second tick, and whoever lags is in it.
    check(|| {
        let bucket = meter_of(Window::bucket, 9, 3);
        assert_eq!(passed(&bucket, 0, 1, 10), 9);
        let other = bucket.clone();
        let later = thread::spawn(move || passed(&other, 1, 2, 2));
        let lagging = passed(&bucket, 0, 1, 2);
        assert_eq!(lagging + later.join().unwrap() + passed(&bucket, 0, 2, 4), 3);
    });
}

#[test]
fn ledger_meter_grants_nothing_once_it_is_retired() {
    check(|| {
        let meter = meter_of(Window::log, 9, 10);
        assert_eq!(passed(&meter, 0, 1, 1), 1);
        let other = meter.clone();
        let taking = thread::spawn(move || passed(&other, 0, 1, 3));
        meter.retire();
        let after = meter.take(1, 1);
        assert_eq!(after, Pass::Retired);
        assert!(taking.join().unwrap() <= 3);
        assert_eq!(meter.take(0, 1), Pass::Retired);
    });
}
