//! Many threads against one row: nothing granted twice, nothing lost.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::thread;

use super::row::{POLICY, Policy};
use super::{Cap, Quota, Rotation, Take};

/// Leases from the first request on, so that small limits are moved about as well.
const EAGER: Policy = Policy { busy_after: 0, lease_requests_max: 8 };

/// Runs `work(thread)` on all threads at once and adds up what they give.
fn on_threads(threads: usize, work: impl Fn(usize) -> u64 + Sync) -> u64 {
    let start = Barrier::new(threads);
    let run = |thread| {
        start.wait();
        work(thread)
    };
    thread::scope(|scope| {
        let run = &run;
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    })
}

fn taken(take: Take) -> bool {
    matches!(take, Take::Taken { .. })
}

#[test]
fn of_n_and_k_requests_exactly_n_pass() {
    for threads in [1, 2, 8] {
        for policy in [POLICY, EAGER] {
            for limit in [1, 2, 5, 7, 100, 1_000, 100_000] {
                let rounds = if limit > 1_000 { 3 } else { 40 };
                let quota = Quota::with_policy(limit, threads, policy);
                for window in 0..rounds {
                    // One request more than the limit in all: a single unit left in a drawer would show.
                    let requests =
                        |thread| (limit + 1) / threads as u64 + u64::from((limit + 1) % threads as u64 > thread);
                    let passed = on_threads(threads, |core| {
                        (0..requests(core as u64)).filter(|_| taken(quota.take(core, window, 1))).count() as u64
                    });
                    assert_eq!(passed, limit, "{threads} threads, limit {limit}, {policy:?}, window {window}");
                    assert_eq!(quota.remaining(window), 0);
                }
            }
        }
    }
}

#[test]
fn a_flood_far_past_the_limit_gets_exactly_the_limit() {
    for threads in [2, 8] {
        let quota = Quota::new(5_000, threads);
        let passed = on_threads(threads, |core| (0..50_000).filter(|_| taken(quota.take(core, 4, 1))).count() as u64);
        assert_eq!(passed, 5_000);
    }
}

#[test]
fn requests_of_many_units_are_granted_whole_and_leave_less_than_they_asked_for() {
    for threads in [2, 8] {
        for policy in [POLICY, EAGER] {
            let quota = Quota::with_policy(10_000, threads, policy);
            let spent = on_threads(threads, |core| {
                let sizes = [1, 7, 3, 40, 2];
                (0..5_000).map(|i| sizes[(i + core) % 5]).filter(|&size| taken(quota.take(core, 1, size))).sum()
            });
            assert_eq!(spent, 10_000, "requests of one unit find the last one");
        }
    }
}

#[test]
fn windows_that_roll_over_under_way_each_grant_exactly_their_limit() {
    const WINDOWS: u64 = 200;
    for threads in [2, 8] {
        for (policy, limit) in [(POLICY, 500), (EAGER, 3), (EAGER, 50)] {
            let quota = Quota::with_policy(limit, threads, policy);
            let granted: Vec<AtomicU64> = (0..WINDOWS).map(|_| AtomicU64::new(0)).collect();
            on_threads(threads, |core| {
                for window in 0..WINDOWS {
                    // Until refused: so each window is used up whichever thread is ahead.
                    while let Take::Taken { window, .. } = quota.take(core, window, 1) {
                        granted[window as usize].fetch_add(1, SeqCst);
                    }
                }
                0
            });
            for (window, granted) in granted.iter().enumerate() {
                let granted = granted.load(SeqCst);
                assert!(granted <= limit, "window {window} of limit {limit} granted {granted}");
            }
            // A thread that runs ahead ends a window early for all; the last one has no successor.
            assert_eq!(granted[WINDOWS as usize - 1].load(SeqCst), limit);
        }
    }
}

#[test]
fn never_more_than_the_cap_are_held_and_never_is_one_refused_for_nothing() {
    for threads in [1, 2, 8] {
        for (policy, limit) in [(EAGER, 1), (EAGER, 3), (EAGER, 20), (POLICY, 5), (POLICY, 200)] {
            let cap = Cap::with_policy(limit, threads, policy);
            let held = AtomicI64::new(0);
            on_threads(threads, |core| {
                for i in 0..20_000 {
                    if cap.acquire(core) {
                        let now = held.fetch_add(1, SeqCst) + 1;
                        assert!(now as u64 <= limit, "{now} held of {limit}");
                        held.fetch_sub(1, SeqCst);
                        // Now and then on another core than it was got on.
                        cap.release(if i % 5 == 0 { (core + 1) % threads } else { core });
                    } else {
                        assert!(limit < threads as u64, "refused although each thread holds at most one");
                    }
                }
                0
            });
            assert_eq!(cap.held(), 0);
            assert_eq!((0..limit + 5).filter(|i| cap.acquire(*i as usize % threads)).count() as u64, limit);
        }
    }
}

#[test]
fn positions_drawn_by_all_cores_are_handed_out_once_each() {
    for threads in [1, 2, 8] {
        let rotation = Rotation::new(threads, 3);
        let hits: [AtomicU64; 3] = std::array::from_fn(|_| AtomicU64::new(0));
        let per_thread = 30_000 / threads as u64 * 3;
        on_threads(threads, |core| {
            for i in 0..per_thread {
                // 9 requests a millisecond: as fast as a core may be before it leases.
                hits[(rotation.next(core, i / 9) % 3) as usize].fetch_add(1, SeqCst);
            }
            0
        });
        let hits = hits.map(|hits| hits.load(SeqCst));
        assert_eq!(hits, [per_thread * threads as u64 / 3; 3]);
    }
}
