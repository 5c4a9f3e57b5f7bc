//! Time stands still here unless a test moves it.

use std::sync::Barrier;
use std::thread;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(max_requests: u64, window_seconds: u64) -> Rate {
    Rate::new(NonZeroU64::new(max_requests).unwrap(), NonZeroU64::new(window_seconds).unwrap())
}

fn address(number: u32) -> Caller<'static> {
    Caller::Address(IpAddr::from(number.to_be_bytes()))
}

/// How many of `attempts` requests at that moment are let through.
fn granted(buckets: &Buckets, core: &mut Remembered, caller: Caller<'_>, attempts: u64, now_ns: u64) -> u64 {
    (0..attempts).filter(|_| buckets.take(core, 0, caller, now_ns)).count() as u64
}

fn in_table(buckets: &Buckets) -> usize {
    (0..buckets.shards.len()).map(|index| buckets.shard(index).buckets.len()).sum()
}

#[test]
fn a_bucket_starts_full_and_grants_its_capacity_and_no_more() {
    for capacity in [1, 2, 3, 7, 10, 999, 10_000] {
        let buckets = Buckets::new(vec![rate(capacity, 7)]);
        assert_eq!(granted(&buckets, &mut Remembered::default(), address(1), capacity + 5, SECOND), capacity);
    }
}

#[test]
fn requests_come_back_one_by_one_as_time_passes() {
    let buckets = Buckets::new(vec![rate(5, 10)]);
    let mut core = Remembered::default();
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 0), 5);
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 2 * SECOND - 1), 0);
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 2 * SECOND), 1);
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 6 * SECOND - 1), 1);
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 6 * SECOND), 1);
}

#[test]
fn a_bucket_holds_its_capacity_however_long_it_was_idle() {
    let buckets = Buckets::new(vec![rate(5, 10)]);
    let mut core = Remembered::default();
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 0), 5);
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 10_000_000 * SECOND), 5);
}

#[test]
fn rates_that_are_no_whole_nanoseconds_do_not_drift() {
    // 7 in 3 s, asked for all the time: what the bucket starts with and what flows in during an hour, to the last request.
    let buckets = Buckets::new(vec![rate(7, 3)]);
    let mut core = Remembered::default();
    let all: u64 = (0..=36_000).map(|step| granted(&buckets, &mut core, address(1), 2, step * SECOND / 10)).sum();
    assert_eq!(all, 7 + 8_400);
}

#[test]
fn a_core_whose_clock_lags_gets_no_more() {
    let buckets = Buckets::new(vec![rate(5, 10)]);
    let (mut one, mut other) = (Remembered::default(), Remembered::default());
    assert_eq!(granted(&buckets, &mut one, address(1), 9, 20 * SECOND), 5);
    assert_eq!(granted(&buckets, &mut other, address(1), 9, 19 * SECOND), 0);
}

#[test]
fn callers_and_methods_have_buckets_of_their_own() {
    let buckets = Buckets::new(vec![rate(1, 10), rate(1, 10)]);
    let mut core = Remembered::default();
    let ten = IpAddr::from([10, 0, 0, 1]);
    for caller in [Caller::Address(ten), address(7), Caller::Identity("10.0.0.1"), Caller::Identity("bob")] {
        for method in 0..2 {
            assert!(buckets.take(&mut core, method, caller, 0), "{caller:?} {method}");
            assert!(!buckets.take(&mut core, method, caller, 0), "{caller:?} {method}");
        }
    }
    assert_eq!(in_table(&buckets), 8);
}

#[test]
fn the_largest_numbers_are_counted_without_overflow() {
    for (max_requests, window_seconds) in [(u64::MAX, 1), (u64::MAX, u64::MAX), (1, u64::MAX), (1 << 62, 1 << 40)] {
        let buckets = Buckets::new(vec![rate(max_requests, window_seconds)]);
        let mut core = Remembered::default();
        for now_ns in [0, SECOND, u64::MAX] {
            let caller = address(now_ns as u32);
            assert_eq!(granted(&buckets, &mut core, caller, 3, now_ns), max_requests.min(3), "{max_requests} {now_ns}");
        }
        buckets.make_room(0, u64::MAX / 2);
    }
    // The finest tick still tells a billion requests a second apart.
    let fastest = rate(u64::MAX, 1);
    assert_eq!((fastest.requests, fastest.ticks(SECOND)), (REQUESTS_PER_SECOND_MAX, fastest.capacity()));
}

#[test]
fn many_threads_on_one_bucket_are_granted_exactly_its_capacity() {
    const THREADS: usize = 8;
    for capacity in [1, 100, 20_000] {
        let buckets = Buckets::new(vec![rate(capacity, 60)]);
        let start = Barrier::new(THREADS);
        let all: u64 = thread::scope(|scope| {
            let one = || {
                start.wait();
                granted(&buckets, &mut Remembered::default(), Caller::Identity("alice"), 10_000, SECOND)
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(all, capacity);
    }
}

#[test]
fn nothing_is_given_up_until_there_are_100_000_buckets() {
    let buckets = Buckets::new(vec![rate(1, 1)]);
    let mut core = Remembered::default();
    for number in 0..100_000 {
        assert!(buckets.take(&mut core, 0, address(number), u64::from(number) * SECOND));
    }
    assert_eq!(in_table(&buckets), 100_000);
    assert!(buckets.take(&mut core, 0, address(100_000), 100_000 * SECOND));
    assert!(in_table(&buckets) < 100_000, "{}", in_table(&buckets));
    assert!(core.buckets.len() <= REMEMBERED_MAX);
}

#[test]
fn idle_buckets_are_given_up_and_busy_ones_stay() {
    let buckets = Buckets::bounded(vec![rate(2, 10)], 1, 3);
    let mut core = Remembered::default();
    assert_eq!(granted(&buckets, &mut core, address(1), 2, 0), 2);
    assert_eq!(granted(&buckets, &mut core, address(2), 1, 0), 1);
    assert_eq!(granted(&buckets, &mut core, address(3), 2, 8 * SECOND), 2);
    assert_eq!(in_table(&buckets), 3);
    // 1 is full at 10 s, 2 at 5 s, 3 at 18 s.
    assert_eq!(granted(&buckets, &mut core, address(4), 1, 9 * SECOND), 1);
    assert_eq!(in_table(&buckets), 3);
    assert_eq!(granted(&buckets, &mut core, address(1), 2, 9 * SECOND), 1);
    assert_eq!(granted(&buckets, &mut core, address(3), 2, 9 * SECOND), 0);
}

#[test]
fn when_nobody_is_idle_the_caller_who_would_be_first_is_forgotten() {
    let buckets = Buckets::bounded(vec![rate(5, 10)], 1, 3);
    let mut core = Remembered::default();
    for (number, requests) in [(1, 4), (2, 2), (3, 5)] {
        assert_eq!(granted(&buckets, &mut core, address(number), requests, 0), requests);
    }
    assert_eq!(granted(&buckets, &mut core, address(4), 5, 0), 5);
    assert_eq!(in_table(&buckets), 3);
    assert_eq!(granted(&buckets, &mut core, address(1), 9, 0), 1);
    assert_eq!(granted(&buckets, &mut core, address(3), 9, 0), 0);
    assert_eq!(granted(&buckets, &mut core, address(4), 9, 0), 0);
    assert_eq!(granted(&buckets, &mut core, address(2), 9, 0), 5, "it starts anew");
}

#[test]
fn a_core_that_remembers_a_bucket_that_was_given_up_shares_the_new_one() {
    let buckets = Buckets::bounded(vec![rate(4, 10)], 1, 1);
    let (mut one, mut other, mut new) = <(Remembered, Remembered, Remembered)>::default();
    assert_eq!(granted(&buckets, &mut one, address(1), 1, 0), 1);
    assert_eq!(granted(&buckets, &mut other, address(2), 1, 20 * SECOND), 1);
    assert_eq!(granted(&buckets, &mut one, address(1), 3, 40 * SECOND), 3);
    assert_eq!(granted(&buckets, &mut new, address(1), 3, 40 * SECOND), 1);
    assert_eq!(granted(&buckets, &mut one, address(1), 3, 40 * SECOND), 0);
}

#[test]
fn room_is_found_in_other_shards_too() {
    let buckets = Buckets::bounded(vec![rate(1, 1)], 8, 2);
    let mut core = Remembered::default();
    for number in 0..100 {
        assert!(buckets.take(&mut core, 0, address(number), 0));
        assert!(in_table(&buckets) <= 2);
    }
}

#[test]
fn the_bound_holds_while_many_threads_bring_new_callers() {
    let buckets = Buckets::bounded(vec![rate(1, 1)], 4, 64);
    thread::scope(|scope| {
        for thread in 0..4 {
            let buckets = &buckets;
            scope.spawn(move || {
                let mut core = Remembered::default();
                for number in 0..5_000 {
                    // Every second caller is known to all threads.
                    let caller = if number % 2 == 0 { number } else { thread * 100_000 + number };
                    buckets.take(&mut core, 0, address(caller), u64::from(number) * 1_000_000);
                }
            });
        }
    });
    assert!(in_table(&buckets) <= 64);
    assert_eq!(buckets.count.load(Relaxed), in_table(&buckets));
    for index in 0..4 {
        let shard = buckets.shard(index);
        assert_eq!(shard.places.len(), shard.buckets.len());
        assert!(shard.buckets.iter().enumerate().all(|(place, bucket)| shard.places[&bucket.key] == place));
    }
}
