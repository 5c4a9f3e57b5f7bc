//! Prints what a route lookup costs at 1, 10,000 and 100,000 routes: the figures must stay nearly level.
//!
//! `cargo run --release -p engine --example route_lookup`

use std::hint::black_box;
use std::time::Instant;

use engine::router::{HostBuffer, RouteSpec, RouteTable, normalize_host};

const LOOKUPS: u32 = 100_000;
const ROUNDS: u32 = 40;

fn main() {
    println!(
        "{:>8}  {:>10}  {:>12}  {:>11}  {:>11}  {:>11}",
        "routes", "bytes each", "build ms", "hit ns", "host+hit ns", "miss ns"
    );
    for routes in [1, 10_000, 100_000] {
        report(routes);
    }
    hostile();
}

/// Three-segment prefixes, evenly over 1,000 hosts at most.
fn specs(routes: usize) -> Vec<RouteSpec> {
    let spec = |id: usize| RouteSpec {
        hosts: vec![format!("host-{}.example.com", id % 1000)],
        path: Some(format!("/api/service-{}/v{}", id / 1000, id % 3)),
    };
    (0..routes).map(spec).collect()
}

fn report(routes: usize) {
    let specs = specs(routes);
    let start = Instant::now();
    let table = RouteTable::build(&specs).expect("the paths are distinct");
    let build = start.elapsed();
    let requests: Vec<(String, String)> = (0..1024)
        .map(|request| &specs[request * 7919 % routes])
        .map(|spec| (spec.hosts[0].clone(), format!("{}/users/42", spec.path.as_deref().unwrap_or_default())))
        .collect();

    let hit = time(&requests, |host, path| table.find(Some(host), path.as_bytes()).is_some());
    let with_host = time(&requests, |host, path| {
        let mut buffer = HostBuffer::new();
        let host = normalize_host(host.as_bytes(), &mut buffer).ok();
        table.find(host, path.as_bytes()).is_some()
    });
    let miss = time(&requests, |host, path| table.find(Some(host), &path.as_bytes()[1..]).is_none());
    println!(
        "{routes:>8}  {:>10}  {:>12}  {hit:>11.1}  {with_host:>11.1}  {miss:>11.1}",
        table.heap_bytes() / routes,
        build.as_millis()
    );
}

/// Nanoseconds per lookup: the best of some rounds, because other load on the machine only ever adds.
fn time(requests: &[(String, String)], lookup: impl Fn(&str, &str) -> bool) -> f64 {
    let round = || {
        let start = Instant::now();
        for (host, path) in requests.iter().cycle().take(LOOKUPS as usize) {
            assert!(black_box(lookup(black_box(host), black_box(path))));
        }
        start.elapsed().as_nanos() as f64 / f64::from(LOOKUPS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// The worst an operator's table and a client's path can do together: 500 nested slash routes, 8,192 slashes asked for.
fn hostile() {
    let specs: Vec<RouteSpec> =
        (1..=500).map(|depth| RouteSpec { hosts: Vec::new(), path: Some("/".repeat(depth)) }).collect();
    let table = RouteTable::build(&specs).expect("the paths are distinct");
    let path = vec![b'/'; 8192];
    let round = || {
        let start = Instant::now();
        assert!(black_box(table.find(None, black_box(&path))).is_some());
        start.elapsed()
    };
    let best = (0..1000).map(|_| round()).min().unwrap_or_default();
    println!("8,192 slashes against 500 nested slash routes: {best:?}");
}
