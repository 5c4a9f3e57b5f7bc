use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;

/// Leases from the first request on, so that small limits are moved about as well.
const EAGER: Policy = Policy { busy_after: 0, lease_units_min: 8 };

fn some(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn bucket(limit: u64, ticks: u64) -> Window {
    Window::bucket(some(limit), some(ticks))
}

fn log(limit: u64, ticks: u64) -> Window {
    Window::log(some(limit), some(ticks))
}

fn meter(windows: &[Window], cores: usize, policy: Policy) -> Meter {
    Meter::new(Arc::new(Rates::with_policy(windows.to_vec(), cores, window::STAMPS_MAX, policy)), 0)
}

fn passes(pass: Pass) -> bool {
    match pass {
        Pass::Granted { .. } => true,
        Pass::Refused { .. } => false,
        Pass::Retired => panic!("the meter was given up"),
    }
}

fn granted(window: usize, remaining_hint: u64) -> Pass {
    Pass::Granted { window, remaining_hint }
}

/// What a single core without any leases would do, in the sheet's words.
enum Plain {
    Bucket { tokens: f64, at: u64, limit: f64, ticks: f64 },
    Log { taken: VecDeque<u64>, limit: usize, ticks: u64 },
}

impl Plain {
    fn has(&mut self, tick: u64) -> bool {
        match self {
            Self::Bucket { tokens, at, limit, ticks } => {
                *tokens = (*tokens + (tick - *at) as f64 * *limit / *ticks).min(*limit);
                *at = tick;
                *tokens >= 1.0 - 1e-9
            }
            Self::Log { taken, limit, ticks } => {
                while taken.front().is_some_and(|first| tick - first >= *ticks) {
                    taken.pop_front();
                }
                taken.len() < *limit
            }
        }
    }

    fn take(&mut self, tick: u64) {
        match self {
            Self::Bucket { tokens, .. } => *tokens -= 1.0,
            Self::Log { taken, .. } => taken.push_back(tick),
        }
    }
}

fn plain(is_bucket: bool, limit: u64, ticks: u64) -> (Window, Plain) {
    if is_bucket {
        let (limit_f, ticks_f) = (limit as f64, ticks as f64);
        (bucket(limit, ticks), Plain::Bucket { tokens: limit_f, at: 0, limit: limit_f, ticks: ticks_f })
    } else {
        (log(limit, ticks), Plain::Log { taken: VecDeque::new(), limit: limit as usize, ticks })
    }
}

proptest! {
    #[test]
    fn cores_and_leases_change_nothing(
        shapes in prop::collection::vec((any::<bool>(), 1..60_u64, 1..40_u64), 1..4),
        requests in prop::collection::vec((0..4_usize, prop_oneof![10 => Just(0), 3 => 0..3_u64, 1 => 0..60_u64], 1..12_usize), 1..120),
        is_eager in any::<bool>(),
    ) {
        let (windows, mut plains): (Vec<_>, Vec<_>) = shapes.iter().map(|(kind, limit, ticks)| plain(*kind, *limit, *ticks)).unzip();
        let meter = meter(&windows, 4, if is_eager { EAGER } else { POLICY });
        let mut tick = 0;
        for (core, pause, times) in requests {
            tick += pause;
            for _ in 0..times {
                let first_without = plains.iter_mut().position(|plain| !plain.has(tick));
                match (meter.take(core, tick), first_without) {
                    (Pass::Granted { .. }, None) => plains.iter_mut().for_each(|plain| plain.take(tick)),
                    (Pass::Refused { window }, Some(expected)) => prop_assert_eq!(window, expected),
                    (pass, expected) => prop_assert!(false, "{:?} at {}, but {:?} is empty", pass, tick, expected),
                }
            }
        }
    }
}

/// Runs `work(core)` on so many threads at once and adds up what they give.
fn on_threads(threads: usize, work: impl Fn(usize) -> u64 + Sync) -> u64 {
    let start = Barrier::new(threads);
    let run = |core| {
        start.wait();
        work(core)
    };
    thread::scope(|scope| {
        let run = &run;
        let all: Vec<_> = (0..threads).map(|core| scope.spawn(move || run(core))).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    })
}

#[test]
fn of_n_and_k_requests_exactly_n_pass_on_one_two_and_eight_cores() {
    for threads in [1, 2, 8] {
        for policy in [POLICY, EAGER] {
            for limit in [1, 2, 5, 7, 100, 1_000, 100_000] {
                for window in [bucket(limit, 10), log(limit, 10)] {
                    let meter = meter(&[window], threads, policy);
                    for round in 0..if limit > 1_000 { 3 } else { 30 } {
                        let share = |core: u64| (limit + 1 + core) / threads as u64 + 1;
                        let passed = on_threads(threads, |core| {
                            let requests = 0..share(core as u64);
                            requests.filter(|_| passes(meter.take(core, 10 * round))).count() as u64
                        });
                        assert_eq!(passed, limit, "{threads} threads, {window:?}, {policy:?}, round {round}");
                    }
                }
            }
        }
    }
}

#[test]
fn time_goes_on_under_way_and_nothing_is_lost_or_granted_twice() {
    const TICKS: u64 = 400;
    // By the end of the last tick, if somebody always asks for more.
    for (window, expected) in [(bucket(1_000, 100), 1_000 + 399 * 10), (log(1_000, 100), 4 * 1_000)] {
        for threads in [2, 8] {
            for policy in [POLICY, EAGER] {
                let meter = meter(&[window], threads, policy);
                let clock = Hint::new(0);
                let passed = on_threads(threads, |core| {
                    let mut passed = 0;
                    loop {
                        let tick = clock.load(Acquire);
                        if tick == TICKS {
                            return passed;
                        }
                        let passes = passes(meter.take(core, tick));
                        passed += u64::from(passes);
                        // Time goes on when nothing is left, while the others may still be where it was.
                        if core == 0 && !passes {
                            clock.store(tick + 1, Release);
                        }
                    }
                });
                assert_eq!(passed, expected, "{threads} threads, {window:?}, {policy:?}");
            }
        }
    }
}

#[test]
fn a_token_comes_back_bit_by_bit() {
    let meter = meter(&[bucket(2, 1_000)], 2, POLICY);
    assert_eq!([meter.take(0, 0), meter.take(1, 0)], [granted(0, 1), granted(0, 0)]);
    let at = |core, tick| passes(meter.take(core, tick));
    assert_eq!(
        [at(0, 0), at(1, 499), at(1, 500), at(0, 500), at(0, 999), at(0, 1_000)],
        [false, false, true, false, false, true]
    );
    assert_eq!([at(0, 9_000), at(1, 9_000), at(0, 9_000)], [true, true, false], "it holds no more than its limit");
}

#[test]
fn a_logged_unit_comes_back_when_its_window_has_passed() {
    let meter = meter(&[log(2, 6_000)], 2, POLICY);
    let at = |core, tick| passes(meter.take(core, tick));
    assert_eq!([at(0, 0), at(1, 3_000), at(0, 5_999)], [true, true, false]);
    assert_eq!([at(0, 6_000), at(1, 6_000), at(1, 8_999), at(1, 9_000)], [true, false, false, true]);
}

#[test]
fn all_windows_must_agree_and_a_refusal_takes_nothing_of_any() {
    let meter = meter(&[bucket(3, 10), log(4, 1_000)], 2, POLICY);
    for remaining in [2, 1, 0] {
        assert_eq!(meter.take(0, 0), granted(0, remaining));
    }
    assert_eq!(meter.take(1, 0), Pass::Refused { window: 0 });
    assert_eq!(meter.take(1, 10), granted(1, 0), "the long window has the fewest");
    for tick in 10..20 {
        assert_eq!(meter.take(0, tick), Pass::Refused { window: 1 });
    }
    let home = lock(&meter.home.0);
    assert_eq!(home.stocks[0].left(&meter.rates.windows()[0]), 2, "refusals cost the short window nothing");
}

#[test]
fn of_windows_with_equally_few_left_the_first_is_named() {
    let meter = meter(&[bucket(5, 10), log(5, 100), log(9, 1_000)], 1, POLICY);
    assert_eq!(meter.take(0, 0), granted(0, 4));
    assert_eq!(meter.take(0, 2), granted(1, 3), "one has come back to the first");
}

#[test]
fn what_is_left_counts_down_by_one_while_the_caller_is_quiet() {
    let meter = meter(&[log(50, 100_000)], 4, POLICY);
    for i in 0..50 {
        assert_eq!(meter.take(i % 4, i as u64), granted(0, 49 - i as u64));
    }
}

#[test]
fn a_core_whose_clock_lags_is_in_the_newest_tick() {
    let meter = meter(&[log(2, 100)], 2, POLICY);
    assert!(passes(meter.take(0, 50)));
    assert!(passes(meter.take(1, 20)));
    assert!(!passes(meter.take(1, 149)), "the second was counted at 50 too");
    assert!(passes(meter.take(1, 150)) && passes(meter.take(1, 150)));
}

/// How often home was asked.
fn visits(meter: &Meter, requests: impl Iterator<Item = (usize, u64)>) -> usize {
    let visits = requests.filter(|(core, tick)| {
        let cell = meter.cells().get(*core);
        let from_cell = cell.is_some_and(|cell| *tick <= cell.tick.load(Relaxed) && cell.left.load(Relaxed) > 0);
        meter.take(*core, *tick);
        !from_cell
    });
    visits.count()
}

#[test]
fn a_busy_core_comes_home_about_once_a_tick() {
    for window in [bucket(200_000, 1_000), log(6_000_000, 60_000)] {
        let meter = meter(&[window], 2, POLICY);
        // 100 requests in each tick on each of two cores.
        let requests = (0..1_000).flat_map(|tick| (0..200).map(move |i| (i % 2, tick)));
        let visits = visits(&meter, requests);
        assert!(visits < 5 * 1_000, "{visits} visits for 200,000 requests");
    }
}

#[test]
fn a_quiet_caller_has_no_cells() {
    let meter = meter(&[log(1_000_000, 60_000)], 8, POLICY);
    (0..8_000).for_each(|i| assert!(passes(meter.take(i % 8, i as u64 / 8))));
    assert!(meter.cells.get().is_none());
    (0..9).for_each(|core| assert!(passes(meter.take(core % 8, 2_000))));
    assert!(meter.cells.get().is_some());
}

#[test]
fn a_flood_is_refused_without_coming_home() {
    let meter = meter(&[log(5, 60_000)], 2, POLICY);
    (0..5).for_each(|_| assert!(passes(meter.take(0, 0))));
    assert!(!passes(meter.take(0, 1)));
    let held = lock(&meter.home.0);
    assert!((2..60_000).all(|tick| !passes(meter.take(tick as usize % 2, tick))));
    drop(held);
    assert!(passes(meter.take(0, 60_000)));
}

#[test]
fn what_is_unused_is_retired_and_grants_nothing_any_more() {
    for window in [bucket(4, 100), log(4, 100)] {
        let meter = meter(&[window], 2, EAGER);
        assert!(passes(meter.take(0, 0)));
        assert_eq!(meter.retire_if_unused(0), Err(0.25));
        assert!(meter.retire_if_unused(100).is_ok());
        assert_eq!([meter.take(0, 100), meter.take(1, 0)], [Pass::Retired, Pass::Retired]);
    }
}

#[test]
fn a_meter_that_is_retired_while_it_is_leased_and_closed_grants_and_refuses_nothing() {
    let leased = meter(&[log(100, 100)], 2, EAGER);
    assert!(passes(leased.take(0, 0)));
    leased.retire();
    assert_eq!(leased.take(0, 0), Pass::Retired);
    let closed = meter(&[log(1, 100)], 2, EAGER);
    assert!(passes(closed.take(0, 0)) && !passes(closed.take(0, 0)));
    closed.retire();
    assert_eq!(closed.take(0, 0), Pass::Retired);
}

#[test]
fn a_thread_that_is_no_core_shares_the_limit() {
    let meter = meter(&[log(1_000, 10)], 2, EAGER);
    let cores = [usize::MAX, 0, 1];
    assert_eq!((0..1_500).filter(|i| passes(meter.take(cores[i % 3], 0))).count(), 1_000);
}

#[test]
fn the_largest_limits_and_windows_are_held() {
    for window in [bucket(u64::MAX, u64::MAX), log(u64::MAX, u64::MAX), bucket(u64::MAX, 1), log(u64::MAX, 1)] {
        let meter = meter(&[window], 2, POLICY);
        assert!(passes(meter.take(0, 0)) && passes(meter.take(1, TICKS_MAX)) && passes(meter.take(1, u64::MAX)));
    }
    let one = meter(&[bucket(1, u64::MAX), log(1, u64::MAX)], 2, POLICY);
    assert!(passes(one.take(0, 0)) && !passes(one.take(0, TICKS_MAX - 1)) && passes(one.take(0, TICKS_MAX)));
}

fn log_of(meter: &Meter) -> (usize, usize) {
    let home = lock(&meter.home.0);
    let Stock::Log(log) = &home.stocks[0] else { panic!("a log") };
    (log.len(), log.room())
}

#[test]
fn a_long_log_rounds_late_by_less_than_a_piece_and_never_early() {
    // A unit in every tick: stamps are put together in pieces of 25.
    let (ticks, limit) = (200_000, 200_000);
    let meter = meter(&[log(limit, ticks)], 1, POLICY);
    (0..limit).for_each(|tick| assert!(passes(meter.take(0, tick))));
    let (stamps, room) = log_of(&meter);
    assert!(stamps <= 16 * 1024 && room <= 32 * 1024, "{stamps} stamps, room for {room}");
    let mut passed = 0;
    for tick in ticks..ticks + 20_000 {
        // Of a log without rounding one unit would be free at every tick.
        let due = tick - ticks + 1;
        while passes(meter.take(0, tick)) {
            passed += 1;
        }
        assert!(passed <= due && due - passed <= ticks / 8_192 + 1, "{passed} of {due}");
    }
}

#[test]
fn a_log_that_fits_is_not_rounded() {
    let (ticks, limit) = (3_600_000, 16 * 1024);
    let meter = meter(&[log(limit, ticks)], 1, POLICY);
    (0..limit).for_each(|i| assert!(passes(meter.take(0, i * 200))));
    assert!(!passes(meter.take(0, ticks - 1)));
    for i in 0..1_000 {
        assert!(passes(meter.take(0, ticks + i * 200)) && !passes(meter.take(0, ticks + i * 200 + 199)), "{i}");
    }
}

#[test]
fn logs_without_room_keep_few_stamps_and_give_all_back() {
    let rates = Arc::new(Rates::with_policy(vec![log(1_000_000, 60_000)], 1, 1_000, POLICY));
    let meters: Vec<_> = (0..50).map(|_| Meter::new(rates.clone(), 0)).collect();
    for tick in 0..20_000 {
        meters.iter().for_each(|meter| assert!(passes(meter.take(0, tick))));
    }
    for meter in &meters {
        let (stamps, room) = log_of(meter);
        assert!(stamps <= 256 && room <= 256, "{stamps} stamps, room for {room}");
        // What was taken up to 15,000 is back when the pieces of that time have passed, 937 ticks late at most.
        (0..).take_while(|_| passes(meter.take(0, 75_000 + 1_024))).for_each(drop);
        let home = lock(&meter.home.0);
        let Stock::Log(log) = &home.stocks[0] else { panic!("a log") };
        assert_eq!(log.left(&rates.windows()[0]), 0);
    }
    assert!(rates.is_full());
    drop(meters);
    assert!(!rates.is_full());
    let other = rates.beside(vec![log(5, 10)]);
    rates.remember(1_000);
    assert!(other.is_full(), "memory is shared with the rates beside");
}

#[test]
fn an_empty_log_gives_its_memory_back() {
    let meter = meter(&[log(1_000, 1_000)], 1, POLICY);
    (0..1_000).for_each(|tick| assert!(passes(meter.take(0, tick))));
    assert!(log_of(&meter).1 >= 1_000);
    assert!(passes(meter.take(0, 10_000)));
    assert!(log_of(&meter).1 <= 8);
}

#[test]
fn a_meter_is_two_lines() {
    assert_eq!((size_of::<Meter>(), align_of::<Meter>()), (128, 64));
}
