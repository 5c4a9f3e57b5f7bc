//! What a request pays for an exact limit over all cores: `cargo run --release -p plugins --example rate_limits [threads]`.
//!
//! Prints nanoseconds of CPU time per request, and what one caller on all threads reaches of what a caller per thread does.
//! Meaningful with no more threads than idle CPUs: threads that do not run at the same time do not get in each other's way.

use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use engine::logring::log_ring;
use futures_util::future::BoxFuture;
use plugins::CoreEnv;
use plugins::limits::{Caller, Counting, Judgement, Limit, Limiter, Limits, Rule};
use plugins::outbound::{Names, Options, Services};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(200);
/// Requests between two looks at the clock.
const BATCH: u64 = 1_000;

struct NoNames;

impl Names for NoNames {
    fn resolve(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        Box::pin(async move { Err(host) })
    }
}

fn limit(requests: u64, seconds: u64) -> Limit {
    let [requests, seconds] = [requests, seconds].map(|number| NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN));
    let counting = if seconds.get() <= 5 { Counting::TokenBucket } else { Counting::SlidingLog };
    Limit { requests, seconds, counting }
}

/// One thread's work: a batch of requests from a number on.
type Work<'w> = Box<dyn FnMut(u64) + 'w>;

/// What this thread has used of a CPU.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// Runs for a while on all threads at once what `prepare` makes on each; gives requests per CPU second of all.
fn round(threads: usize, prepare: &(impl Fn(usize) -> Work<'static> + Sync)) -> f64 {
    let start = Barrier::new(threads);
    let run = |core: usize| {
        if let Some(cpus) = core_affinity::get_core_ids() {
            core_affinity::set_for_current(cpus[core % cpus.len()]);
        }
        let mut work = prepare(core);
        start.wait();
        let (begun, used, mut done) = (Instant::now(), cpu_seconds(), 0);
        while begun.elapsed() < ROUND {
            work(done);
            done += BATCH;
        }
        done as f64 / (cpu_seconds() - used)
    };
    thread::scope(|scope| {
        let run = &run;
        let all: Vec<_> = (0..threads).map(|core| scope.spawn(move || run(core))).collect();
        all.into_iter().filter_map(|one| one.join().ok()).sum()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures `one` and `each` in turn, so that what else the machine does meets both.
fn compare(
    name: &str,
    threads: usize,
    one: impl Fn(usize) -> Work<'static> + Sync,
    each: impl Fn(usize) -> Work<'static> + Sync,
) {
    let (ones, eaches): (Vec<f64>, Vec<f64>) =
        (0..ROUNDS).map(|_| (round(threads, &one), round(threads, &each))).unzip();
    let ratio = median(ones.iter().zip(&eaches).map(|(one, each)| one / each).collect());
    let ns = |rates: Vec<f64>| threads as f64 * 1e9 / median(rates);
    let (one, each) = (ns(ones), ns(eaches));
    println!("{name:<58} {one:8.1} {each:8.1} {:8.1} %", 100.0 * ratio);
}

fn caller(number: usize) -> Caller<'static> {
    Caller::Address(IpAddr::from((number as u32).to_be_bytes()))
}

/// Limits that all threads ask, each by its own limiter.
struct Bench {
    services: Arc<Services>,
    limits: Arc<Limits>,
}

impl Bench {
    fn new(services: &Arc<Services>, limits: &[Limit]) -> Self {
        let rule = Rule { limits: limits.to_vec(), name: None };
        Self { services: services.clone(), limits: Limits::new(vec![rule], None) }
    }

    fn limiter(&self, core: usize) -> Limiter {
        let (log, _drain) = log_ring(1);
        let env = CoreEnv {
            core,
            services: self.services.clone(),
            log: Rc::new(log),
            count_log_line: Rc::new(|_| ()),
            ticks: Rc::default(),
        };
        self.limits.on_core("bench", &env)
    }

    fn asking(&self, core: usize, caller: Caller<'static>) -> Work<'static> {
        let limiter = self.limiter(core);
        Box::new(move |first| {
            (first..first + BATCH).for_each(|_| _ = black_box(limiter.judge(0, caller, Instant::now())))
        })
    }

    fn compare(&self, name: &str, threads: usize) {
        compare(name, threads, |core| self.asking(core, caller(0)), |core| self.asking(core, caller(1 + core)));
    }
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let services =
        Services::new(runtime.handle().clone(), threads, Options::default(), Arc::new(NoNames)).expect("services");
    memory(&services);
    println!("{threads} threads; CPU ns per request, median of {ROUNDS} rounds of {ROUND:?}");
    println!("{:<58} {:>8} {:>8} {:>10}", "", "one key", "a key each", "throughput");

    let shared = Arc::new(AtomicU64::new(0));
    let counting = |counter: Arc<AtomicU64>| -> Work<'static> {
        Box::new(move |first| (first..first + BATCH).for_each(|_| _ = black_box(counter.fetch_add(1, Relaxed))))
    };
    compare("an atomic: fetch_add", threads, |_| counting(shared.clone()), |_| counting(Arc::new(AtomicU64::new(0))));
    let billion = 1_000_000_000;
    Bench::new(&services, &[limit(billion, 1)]).compare("bucket, far from its limit", threads);
    Bench::new(&services, &[limit(60 * billion, 60)]).compare("log, far from its limit", threads);
    let three = [limit(billion, 1), limit(60 * billion, 60), limit(3600 * billion, 3600)];
    Bench::new(&services, &three).compare("bucket and two logs, far from their limits", threads);
    Bench::new(&services, &[limit(100_000, 1)]).compare("bucket of 100,000/s, flooded", threads);
    Bench::new(&services, &[limit(100_000, 60)]).compare("log of 100,000/min, flooded", threads);
    strangers(&services, threads);
}

/// Every request is of somebody new, and the table is full.
fn strangers(services: &Arc<Services>, threads: usize) {
    let bench = Bench::new(services, &[limit(100, 3600)]);
    let fill = bench.limiter(0);
    (0..100_000).for_each(|number| _ = black_box(fill.judge(0, caller(number), Instant::now())));
    let new = |core: usize| -> Work<'static> {
        let limiter = bench.limiter(core);
        let begun = Instant::now();
        Box::new(move |first| {
            for number in first..first + BATCH {
                let number = begun.elapsed().as_nanos() as u64 ^ number << 20 ^ (core as u64) << 60;
                let judged =
                    limiter.judge(0, Caller::Address(IpAddr::from(u128::from(number).to_be_bytes())), Instant::now());
                black_box(matches!(judged, Judgement::Admitted { .. }));
            }
        })
    };
    let rate = median((0..ROUNDS).map(|_| round(threads, &new)).collect());
    println!("{:<58} {:8.1}", "every request of a new caller, 100,000 kept", threads as f64 * 1e9 / rate);
}

fn memory(services: &Arc<Services>) {
    let mut kept = Vec::new();
    let bytes = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned)).unwrap_or_default();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0)
    };
    for (name, limits) in [
        ("a bucket", vec![limit(100, 1)]),
        ("a log with one request", vec![limit(100, 60)]),
        ("a bucket and two logs with one request", vec![limit(100, 1), limit(100, 60), limit(100, 3600)]),
    ] {
        let (bench, before) = (Bench::new(services, &limits), bytes());
        let limiter = bench.limiter(0);
        (0..100_000).for_each(|number| _ = black_box(limiter.judge(0, caller(number), Instant::now())));
        drop(limiter);
        // So that the next ones do not live in its memory.
        kept.push(bench);
        println!("{:<58} {:8} bytes", format!("memory of a caller: {name}"), bytes().saturating_sub(before) / 100_000);
    }
}
