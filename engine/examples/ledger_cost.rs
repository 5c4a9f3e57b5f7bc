//! What a request pays for an exact limit: the ledger beside one atomic shared by all threads.
//!
//! `cargo run --release -p engine --example ledger_cost [threads]`
//!
//! Prints nanoseconds per operation and thread. Meaningful with no more threads than idle CPUs.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crossbeam::utils::CachePadded;
use engine::ledger::{Cap, Quota, Rotation, Take};

const OPERATIONS: u64 = 5_000_000;
const ROUNDS: u64 = 9;

/// Best and median of the rounds, in ns per operation: `work(thread, operation)` on all threads at once.
fn measure(name: &str, threads: usize, work: impl Fn(usize, u64) + Sync) {
    let round = |number: u64| {
        let start = Barrier::new(threads);
        let run = |index: usize| {
            if let Some(cores) = core_affinity::get_core_ids() {
                core_affinity::set_for_current(cores[index % cores.len()]);
            }
            start.wait();
            let begun = Instant::now();
            // Operations go on counting over the rounds, so that clocks derived from them never go back.
            let first = number * OPERATIONS;
            (first..first + OPERATIONS).for_each(|operation| work(index, operation));
            begun.elapsed().as_nanos() as f64 / OPERATIONS as f64
        };
        thread::scope(|scope| {
            let run = &run;
            let all: Vec<_> = (0..threads).map(|index| scope.spawn(move || run(index))).collect();
            all.into_iter().filter_map(|one| one.join().ok()).sum::<f64>() / threads as f64
        })
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(round).collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<52} {:7.1} {:7.1}", rounds[0], rounds[rounds.len() / 2]);
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    println!("{threads} threads, {OPERATIONS} operations each; ns, best and median of {ROUNDS} rounds");

    let shared = AtomicU64::new(0);
    measure("one shared atomic: fetch_add", threads, |_, _| _ = black_box(shared.fetch_add(1, Relaxed)));

    let own: Vec<_> = (0..threads).map(|_| CachePadded::new(AtomicU64::new(0))).collect();
    measure("an atomic of one's own: fetch_add", threads, |core, _| _ = black_box(own[core].fetch_add(1, Relaxed)));

    let plenty = Quota::new(1 << 35, threads);
    measure("Quota::take, far from the limit", threads, |core, _| _ = black_box(plenty.take(core, 1, 1)));

    // 100,000 requests/s and thread, a window of a second, a limit twice as high.
    let windows = Quota::new(200_000 * threads as u64, threads);
    measure("Quota::take, a new window every 100,000 requests", threads, |core, operation| {
        _ = black_box(windows.take(core, 2 + operation / 100_000, 1));
    });

    let empty = Quota::new(1_000, threads);
    while empty.take(0, 1, 1) != Take::Exhausted {}
    measure("Quota::take, refused", threads, |core, _| _ = black_box(empty.take(core, 1, 1)));

    let alone = Quota::new(1 << 35, 1);
    measure("Quota::take, process of one core", 1, |core, _| _ = black_box(alone.take(core, 1, 1)));

    let cap = Cap::new(10_000, threads);
    // The row gets busy first.
    (0..1_000).filter(|_| cap.acquire(0)).for_each(|_| cap.release(0));
    measure("Cap::acquire and release", threads, |core, _| {
        if cap.acquire(core) {
            cap.release(core);
        }
    });

    let rotation = Rotation::new(threads, 3);
    // 1,000 requests in each ms of its clock: it leases after 200 of them.
    measure("Rotation::next, fast core", threads, |core, operation| {
        _ = black_box(rotation.next(core, operation / 1_000));
    });
    let slow = Rotation::new(threads, 3);
    measure("Rotation::next, each drawn from the shared cell", threads, |core, operation| {
        _ = black_box(slow.next(core, operation / 9));
    });
}
