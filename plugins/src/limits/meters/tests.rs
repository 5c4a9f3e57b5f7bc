use std::net::IpAddr;
use std::num::NonZeroU64;
use std::thread;

use super::*;
use crate::limits::{Counting, Limit};

fn rule(requests: u64, seconds: u64, counting: Counting) -> Rule {
    let [requests, seconds] = [requests, seconds].map(|number| NonZeroU64::new(number).unwrap());
    Rule { limits: vec![Limit { requests, seconds, counting }], name: None }
}

fn log(requests: u64) -> Rule {
    rule(requests, 60, Counting::SlidingLog)
}

fn address(number: u32) -> Caller<'static> {
    Caller::Address(IpAddr::from(number.to_be_bytes()))
}

fn passes(meters: &Meters, caller: Caller<'_>, tick: u64) -> bool {
    let judgement = meters.judge(&mut Remembered::default(), 0, 0, caller, tick);
    matches!(judgement, Judgement::Admitted { .. })
}

#[test]
fn every_caller_and_every_rule_has_its_own_meter() {
    let meters = Meters::new(&[log(1), log(2)], 2);
    let mut remembered = Remembered::default();
    let mut judge = |rule, caller| meters.judge(&mut remembered, 0, rule, caller, 0);
    let admitted = |remaining| Judgement::Admitted { limit: 0, remaining };
    assert_eq!(judge(0, address(1)), admitted(0));
    assert_eq!(judge(0, address(1)), Judgement::Refused { limit: 0 });
    assert_eq!(judge(0, address(2)), admitted(0));
    assert_eq!(judge(0, Caller::Consumer("0.0.0.1")), admitted(0), "a name is no address");
    assert_eq!(judge(1, address(1)), admitted(1));
}

#[test]
fn cores_that_meet_a_caller_at_the_same_moment_share_one_meter() {
    for _ in 0..50 {
        let meters = Meters::bounded(&[log(1)], 8, 1, 4);
        let passed: usize = thread::scope(|scope| {
            let core = || (0..20).filter(|i| passes(&meters, address(i % 2), 0)).count();
            let cores: Vec<_> = (0..8).map(|_| scope.spawn(core)).collect();
            cores.into_iter().map(|core| core.join().unwrap()).sum()
        });
        assert_eq!(passed, 2);
    }
}

fn kept(meters: &Meters) -> usize {
    let kept: usize = meters.shards.iter().map(|shard| shard.lock().unwrap().rows.len()).sum();
    assert_eq!(kept, meters.count.load(Relaxed));
    kept
}

#[test]
fn at_the_bound_unused_meters_go_first_and_nobody_notices() {
    let meters = Meters::bounded(&[log(1)], 2, 1, 4);
    for caller in 0..4 {
        assert!(passes(&meters, address(caller), u64::from(caller) * 1_000));
    }
    assert_eq!(kept(&meters), 4);
    // The first two have nothing taken any more, and make room.
    assert!(passes(&meters, address(4), 61_500));
    assert_eq!(kept(&meters), 3);
    assert!(!passes(&meters, address(2), 61_500) && !passes(&meters, address(3), 61_500));
}

#[test]
fn at_the_bound_those_who_took_least_of_their_limit_go_next() {
    let meters = Meters::bounded(&[log(10)], 2, 1, 4);
    for _ in 0..10 {
        assert!(passes(&meters, address(0), 0));
    }
    for stranger in 1..1_000 {
        assert!(passes(&meters, address(stranger), 1));
        assert!(kept(&meters) <= 4);
    }
    assert!(!passes(&meters, address(0), 1), "a flood of strangers does not set back one who is at its limit");
}

#[test]
fn ten_thousand_new_callers_a_second_keep_the_bound() {
    let meters = Meters::bounded(&[log(5)], 2, 8, 1_000);
    let mut remembered = Remembered::default();
    for caller in 0..30_000 {
        let judgement = meters.judge(&mut remembered, 0, 0, address(caller), u64::from(caller) / 10);
        assert_eq!(judgement, Judgement::Admitted { limit: 0, remaining: 4 });
        assert!(remembered.rows.len() <= REMEMBERED_MAX);
    }
    assert_eq!(kept(&meters), 1_000);
}

#[test]
fn a_meter_that_was_given_up_is_found_anew_by_who_remembers_it() {
    let meters = Meters::bounded(&[log(1)], 2, 1, 1);
    let mut remembered = Remembered::default();
    assert!(matches!(meters.judge(&mut remembered, 0, 0, address(1), 0), Judgement::Admitted { .. }));
    assert!(passes(&meters, address(2), 0), "takes the only place");
    let again = meters.judge(&mut remembered, 0, 0, address(1), 0);
    assert_eq!(again, Judgement::Admitted { limit: 0, remaining: 0 }, "a limit that starts anew");
    assert_eq!(meters.judge(&mut remembered, 0, 0, address(1), 0), Judgement::Refused { limit: 0 });
}

#[test]
fn seconds_are_counted_in_milliseconds() {
    let meters = Meters::new(&[rule(2, 1, Counting::TokenBucket)], 1);
    let at = |tick| passes(&meters, address(1), tick);
    assert_eq!([at(0), at(0), at(499), at(500), at(500)], [true, true, false, true, false]);
    let began = meters.began;
    assert_eq!(meters.tick(began - std::time::Duration::from_secs(1)), 0, "who was received before the first meter");
    assert_eq!(meters.tick(began + std::time::Duration::from_micros(3_001_999)), 3_001);
}
