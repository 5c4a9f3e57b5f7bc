//! The rules of the sheets, told through the public face.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use super::*;

fn target(host: &str, weight: u32) -> TargetSpec {
    TargetSpec { host: host.into(), port: 8080, weight, tags: BTreeMap::new(), path: None }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
}

fn upstream(algorithm: Algorithm, weights: &[u32]) -> UpstreamSpec {
    let targets = weights.iter().enumerate().map(|(i, &weight)| target(&format!("t{i}"), weight)).collect();
    UpstreamSpec { id: "u".into(), algorithm, targets, ..UpstreamSpec::default() }
}

fn compiled(upstream: UpstreamSpec) -> Arc<BalancerSpec> {
    Arc::new(BalancerSpec::compile(upstream).unwrap())
}

fn alone(upstream: UpstreamSpec) -> Balancer {
    let spec = compiled(upstream);
    Balancer::new(spec.clone(), SharedBalance::new(&spec, 1), 0)
}

/// The same upstream on each of some cores.
fn on_cores(upstream: UpstreamSpec, cores: usize) -> Vec<Balancer> {
    let spec = compiled(upstream);
    let shared = SharedBalance::new(&spec, cores);
    (0..cores).map(|core| Balancer::new(spec.clone(), shared.clone(), core)).collect()
}

fn down(targets: &[usize]) -> Eligible {
    let mut eligible = Eligible::all();
    targets.iter().for_each(|&target| eligible.set(target, false));
    eligible
}

static ALL: Eligible = Eligible::all();

fn any() -> PickRequest<'static> {
    PickRequest { hash_key: None, exclude: None, subset: None, eligible: &ALL, now_ms: 1_000 }
}

fn indices(balancer: &Balancer, request: PickRequest<'_>, picks: usize) -> Vec<usize> {
    (0..picks).map(|_| balancer.pick(&request).unwrap().index).collect()
}

fn hits<const N: usize>(picks: impl IntoIterator<Item = usize>) -> [u64; N] {
    let mut hits = [0; N];
    picks.into_iter().for_each(|target| hits[target] += 1);
    hits
}

/// Picks on threads that each are a core, all at once, and counts by target.
fn hits_from_threads<const N: usize>(upstream: UpstreamSpec, threads: usize, picks: usize) -> [u64; N] {
    let spec = compiled(upstream);
    let shared = SharedBalance::new(&spec, threads);
    let counted: [AtomicU64; N] = std::array::from_fn(|_| AtomicU64::new(0));
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        for core in 0..threads {
            let (spec, shared, counted, start) = (spec.clone(), shared.clone(), &counted, &start);
            let mine = picks / threads + usize::from(picks % threads > core);
            scope.spawn(move || {
                let balancer = Balancer::new(spec, shared, core);
                start.wait();
                for index in indices(&balancer, any(), mine) {
                    counted[index].fetch_add(1, SeqCst);
                }
            });
        }
    });
    counted.map(AtomicU64::into_inner)
}

#[test]
fn thirty_requests_over_three_targets_are_ten_each_from_any_number_of_threads() {
    for threads in [1, 2, 8] {
        assert_eq!(hits_from_threads(upstream(Algorithm::RoundRobin, &[1, 7, 1]), threads, 30), [10, 10, 10]);
    }
    assert_eq!(indices(&alone(upstream(Algorithm::RoundRobin, &[1, 1, 1])), any(), 4), [0, 1, 2, 0]);
}

#[test]
fn sixty_requests_over_weights_five_and_one_are_fifty_and_ten_from_any_number_of_threads() {
    for threads in [1, 2, 8] {
        assert_eq!(hits_from_threads(upstream(Algorithm::WeightedRoundRobin, &[5, 1]), threads, 60), [50, 10]);
    }
    assert_eq!(indices(&alone(upstream(Algorithm::WeightedRoundRobin, &[5, 1])), any(), 6), [0, 0, 0, 1, 0, 0]);
    let three = alone(upstream(Algorithm::WeightedRoundRobin, &[5, 1, 1]));
    assert_eq!(indices(&three, any(), 7), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn weights_stay_exact_over_cores_when_a_target_is_down() {
    let cores = on_cores(upstream(Algorithm::WeightedRoundRobin, &[5, 3, 1]), 8);
    let eligible = down(&[1]);
    let request = PickRequest { eligible: &eligible, ..any() };
    let picks = (0..60).map(|i| cores[i * 5 % 8].pick(&request).unwrap());
    assert_eq!(hits(picks.map(|pick| pick.index)), [50, 0, 10]);
}

#[test]
fn each_core_keeps_to_weights_whose_cycle_is_too_long_to_know() {
    let balancer = alone(upstream(Algorithm::WeightedRoundRobin, &[60_000, 29_999, 10_001]));
    let [a, b, c] = hits(indices(&balancer, any(), 10_000));
    assert!(a.abs_diff(6_000) <= 1 && b.abs_diff(3_000) <= 1 && c.abs_diff(1_000) <= 1, "{a} {b} {c}");
}

#[test]
fn random_reaches_every_target_about_equally() {
    let balancer = alone(upstream(Algorithm::Random, &[1; 7]));
    let hits: [u64; 7] = hits(indices(&balancer, any(), 7_000));
    assert!(hits.iter().all(|hits| (900..1_100).contains(hits)), "{hits:?}");
}

#[test]
fn least_connections_counts_what_is_in_flight_on_all_cores_and_the_first_wins_ties() {
    let cores = on_cores(upstream(Algorithm::LeastConnections, &[1, 9, 1]), 2);
    let pick = |core: usize| cores[core].pick(&any()).unwrap().index;
    assert_eq!([pick(0), pick(1)], [0, 0]);
    let first = cores[0].begin(0);
    assert_eq!([pick(0), pick(1)], [1, 1]);
    let second = cores[1].begin(1);
    assert_eq!(pick(0), 2);
    let third = cores[0].begin(2);
    assert_eq!(pick(1), 0, "one each");
    drop(second);
    assert_eq!(pick(0), 1);
    drop((first, third));
    assert_eq!([pick(0), pick(1)], [0, 0]);
}

#[test]
fn targets_of_one_address_are_counted_together() {
    let mut spec = upstream(Algorithm::LeastConnections, &[1, 1, 1]);
    spec.targets[1].host = "t0".into();
    let balancer = alone(spec);
    let _under_way = balancer.begin(0);
    assert_eq!(balancer.pick(&any()).unwrap().index, 2);
}

#[test]
fn least_latency_turns_until_one_target_is_known_then_tries_the_unknown_and_takes_the_fastest() {
    let cores = on_cores(upstream(Algorithm::LeastLatency, &[1, 1, 1]), 2);
    assert_eq!(indices(&cores[0], any(), 4), [0, 1, 2, 0], "round robin without samples");
    let mut now_ms = 1_000;
    let mut sample = |core: usize, target, us, times| {
        for _ in 0..times {
            now_ms += 20;
            cores[core].record_latency(target, us, now_ms);
        }
    };
    sample(0, 1, 8_000, 3);
    sample(1, 1, 8_000, 1);
    assert_eq!(indices(&cores[1], any(), 3), [1, 2, 0], "four samples are too few");
    sample(1, 1, 8_000, 1);
    assert_eq!(indices(&cores[0], any(), 2), [0, 0], "five from two cores are enough; the unknown are tried");
    sample(0, 0, 3_000, 5);
    assert_eq!(indices(&cores[1], any(), 2), [2, 2]);
    sample(0, 2, 5_000, 5);
    assert_eq!(indices(&cores[1], any(), 2), [0, 0]);
    let eligible = down(&[0]);
    assert_eq!(indices(&cores[1], PickRequest { eligible: &eligible, ..any() }, 2), [2, 2]);
    sample(1, 0, 90_000, 3);
    assert_eq!(indices(&cores[0], any(), 2), [2, 2]);
    cores[0].shared().recovered(0);
    assert_eq!(indices(&cores[0], any(), 1), [0], "a target that recovered is as good as the best");
}

#[test]
fn the_same_key_reaches_the_same_target_from_every_core_and_moves_only_when_that_is_down() {
    let cores = on_cores(upstream(Algorithm::ConsistentHashing, &[1; 5]), 3);
    for key in 0..200 {
        let key = format!("10.1.2.{key}");
        let request = PickRequest { hash_key: Some(key.as_bytes()), ..any() };
        let picks: Vec<usize> = cores.iter().map(|core| core.pick(&request).unwrap().index).collect();
        assert!(picks.iter().all(|&pick| pick == picks[0]));
        let eligible = down(&[3]);
        let pick = cores[0].pick(&PickRequest { eligible: &eligible, ..request }).unwrap();
        assert!(pick.index != 3 && (picks[0] == 3 || pick.index == picks[0]));
    }
}

#[test]
fn with_nothing_healthy_all_targets_serve_and_the_pick_says_degraded() {
    let eligible = down(&[0, 1, 2]);
    for algorithm in Algorithm::ALL {
        let balancer = alone(upstream(algorithm, &[1, 1, 1]));
        let pick = balancer.pick(&PickRequest { eligible: &eligible, ..any() }).unwrap();
        assert!(pick.degraded, "{algorithm:?}");
        assert!(!balancer.pick(&any()).unwrap().degraded);
    }
    let turning = alone(upstream(Algorithm::RoundRobin, &[1, 1, 1]));
    assert_eq!(indices(&turning, PickRequest { eligible: &eligible, ..any() }, 3), [0, 1, 2]);
    assert_eq!(alone(upstream(Algorithm::RoundRobin, &[])).pick(&any()), None);
}

fn with_subsets(algorithm: Algorithm) -> UpstreamSpec {
    let mut spec = upstream(algorithm, &[1, 5, 1, 1]);
    spec.targets[0].tags = labels(&[("version", "v1")]);
    spec.targets[1].tags = labels(&[("version", "v2"), ("zone", "a")]);
    spec.targets[2].tags = labels(&[("version", "v2"), ("zone", "b")]);
    let subset =
        |name: &str, pairs: &[_], algorithm| SubsetSpec { name: name.into(), labels: labels(pairs), algorithm };
    spec.subsets = vec![
        subset("v2", &[("version", "v2")], None),
        subset("v2-weighted", &[("version", "v2")], Some(Algorithm::WeightedRoundRobin)),
        subset("v3", &[("version", "v3")], None),
        subset("V2", &[("version", "V2")], None),
    ];
    spec
}

#[test]
fn a_subset_is_the_targets_that_carry_all_its_labels() {
    let balancer = alone(with_subsets(Algorithm::RoundRobin));
    let subset = |name| balancer.spec().subset(name);
    assert_eq!(indices(&balancer, PickRequest { subset: subset("v2"), ..any() }, 4), [1, 2, 1, 2]);
    let weighted = indices(&balancer, PickRequest { subset: subset("v2-weighted"), ..any() }, 12);
    assert_eq!(weighted, [1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]);
    assert_eq!(indices(&balancer, any(), 4), [0, 1, 2, 3], "the position is the upstream's, 4 after the subset's 4");
}

#[test]
fn an_empty_unknown_or_unhealthy_subset_gives_no_target() {
    for algorithm in Algorithm::ALL {
        let balancer = alone(with_subsets(algorithm));
        let pick = |subset, eligible: &Eligible| balancer.pick(&PickRequest { subset, eligible, ..any() });
        assert_eq!(balancer.spec().subset("v9"), None);
        assert_eq!(pick(balancer.spec().subset("v3"), &ALL), None, "no member");
        assert_eq!(pick(balancer.spec().subset("V2"), &ALL), None, "labels are compared byte by byte");
        assert_eq!(pick(Some(17), &ALL), None);
        assert_eq!(pick(Some(0), &down(&[1, 2])), None);
        assert_eq!(pick(Some(0), &down(&[1])), Some(Pick { index: 2, degraded: false }));
    }
}

#[test]
fn a_retry_takes_another_target_healthy_ones_first() {
    for algorithm in Algorithm::ALL {
        let balancer = alone(upstream(algorithm, &[1, 1, 1]));
        let retry = |exclude, eligible: &Eligible| {
            balancer.pick(&PickRequest { exclude: Some(exclude), eligible, ..any() }).unwrap()
        };
        for _ in 0..10 {
            assert_ne!(retry(1, &ALL).index, 1);
            assert_eq!(retry(1, &down(&[0])), Pick { index: 2, degraded: false });
            let others = [retry(1, &down(&[0, 2])), retry(1, &down(&[0, 2]))];
            assert_eq!(hits(others.map(|pick| pick.index)), [1, 0, 1], "{algorithm:?} turns among the others");
            assert!(!others[0].degraded, "the target tried before was healthy");
            assert!(retry(1, &down(&[0, 1, 2])).degraded);
        }
    }
}

#[test]
fn a_retry_with_one_target_repeats_it() {
    let balancer = alone(upstream(Algorithm::RoundRobin, &[1]));
    assert_eq!(balancer.pick(&PickRequest { exclude: Some(0), ..any() }), Some(Pick { index: 0, degraded: false }));
    let of_others = PickRequest { exclude: Some(0), subset: Some(0), ..any() };
    let balancer = alone(with_subsets(Algorithm::RoundRobin));
    assert!([1, 2].contains(&balancer.pick(&of_others).unwrap().index), "it tried one outside the subset");
}

#[test]
fn a_reload_keeps_positions_and_counts_while_the_shape_is_unchanged() {
    let spec = upstream(Algorithm::LeastConnections, &[1, 1, 1]);
    let old = compiled(spec.clone());
    let shared = SharedBalance::new(&old, 1);
    let before = Balancer::new(old, shared.clone(), 0);
    let under_way = before.begin(0);

    let mut same_shape = spec.clone();
    same_shape.targets[1].path = Some("/v2".into());
    same_shape.hash_on = HashOn::Header("x-user".into());
    let same_shape = compiled(same_shape);
    let kept = SharedBalance::carried(&same_shape, 1, Some(&shared));
    assert!(Arc::ptr_eq(&kept, &shared));
    let after = Balancer::carried(same_shape, kept, 0, Some(&before));
    assert_eq!(after.pick(&any()).unwrap().index, 1);
    drop(under_way);
    assert_eq!(after.pick(&any()).unwrap().index, 0, "a request begun before the reload is counted down after it");

    let changes: [fn(&mut UpstreamSpec); 4] = [
        |spec| spec.targets[2].port = 9,
        |spec| spec.targets[2].weight = 9,
        |spec| spec.targets.swap(0, 1),
        |spec| spec.algorithm = Algorithm::RoundRobin,
    ];
    for change in changes {
        let mut changed = spec.clone();
        change(&mut changed);
        assert!(!Arc::ptr_eq(&SharedBalance::carried(&compiled(changed), 1, Some(&shared)), &shared));
    }
}

#[test]
fn the_sticky_cookie_has_its_attributes_in_the_documented_order() {
    let mut spec = upstream(Algorithm::RoundRobin, &[1]);
    assert_eq!(compiled(spec.clone()).sticky_cookie(0), None);
    spec.hash_on = HashOn::Cookie("sid".into());
    let cookie = |spec: &UpstreamSpec| compiled(spec.clone()).sticky_cookie(0).unwrap().to_owned();
    assert_eq!(cookie(&spec), "sid=t0:8080; Path=/; Max-Age=3600; HttpOnly");
    spec.cookie = Some(CookieSpec {
        path: "/app".into(),
        ttl_seconds: 60,
        domain: Some("example.com".into()),
        http_only: true,
        secure: true,
        same_site: Some("Lax".into()),
    });
    assert_eq!(cookie(&spec), "sid=t0:8080; Path=/app; Max-Age=60; HttpOnly; Secure; Domain=example.com; SameSite=Lax");
    spec.cookie = Some(CookieSpec { http_only: false, ..CookieSpec::default() });
    assert_eq!(cookie(&spec), "sid=t0:8080; Path=/; Max-Age=3600");
}

#[test]
fn an_upstream_is_balanced_up_to_its_bound_of_targets() {
    let most = compiled(upstream(Algorithm::RoundRobin, &[1; TARGETS_MAX]));
    assert_eq!(most.targets().len(), TARGETS_MAX);
    let error = BalancerSpec::compile(upstream(Algorithm::RoundRobin, &[1; TARGETS_MAX + 1])).unwrap_err();
    assert_eq!(error.to_string(), "upstream 'u' has 4097 targets, written and discovered; at most 4096 are balanced");
}
