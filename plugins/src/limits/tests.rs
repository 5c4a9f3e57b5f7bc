use serde_json::json;

use super::*;
use crate::testing;

fn limits(requests: u64) -> Arc<Limits> {
    let [requests, seconds] = [requests, 60].map(|number| NonZeroU64::new(number).unwrap());
    let limit = Limit { requests, seconds, counting: Counting::SlidingLog };
    Limits::new(vec![Rule { limits: vec![limit], name: None }], None)
}

#[test]
fn a_caller_is_written_as_it_stands_in_redis_and_in_headers() {
    assert_eq!(Caller::Address(IpAddr::from([10, 1, 2, 3])).to_string(), "ip:10.1.2.3");
    assert_eq!(Caller::Address("2001:db8::1".parse().unwrap()).to_string(), "ip:2001:db8::1");
    assert_eq!(Caller::Consumer("alice").to_string(), "consumer:alice");
}

#[test]
fn limiters_of_the_same_limits_count_together() {
    let limits = limits(2);
    let (first, second) = (limits.on_core("p", &testing::core().0), limits.on_core("p", &testing::core().0));
    let (alice, now) = (Caller::Consumer("alice"), Instant::now());
    assert!(!first.is_shared());
    assert_eq!(first.judge(0, alice, now), Judgement::Admitted { limit: 0, remaining: 1 });
    assert_eq!(second.judge(0, alice, now), Judgement::Admitted { limit: 0, remaining: 0 });
    assert_eq!(first.judge(0, alice, now), Judgement::Refused { limit: 0 });
}

#[test]
fn the_name_of_a_redis_is_resolved_at_the_start() {
    let config = json!({"sync_mode": "redis", "redis_url": "redis://cache.int"});
    let mut keys =
        crate::config::Keys::open("p", crate::limits::tests::KEYS, &config, crate::config::Null::Refused).unwrap();
    let synchronised = crate::outbound::redis::sync_mode(&mut keys);
    assert_eq!(Limits::new(Vec::new(), synchronised).hosts(), ["cache.int"]);
    assert!(limits(1).hosts().is_empty());
}

use crate::config::Key;
use crate::outbound::redis;

pub(crate) const KEYS: &[Key] = &[
    redis::SYNC_MODE,
    redis::URL,
    redis::TLS,
    redis::key_prefix("`p`"),
    redis::POOL_SIZE,
    redis::CONNECT_TIMEOUT_SECONDS,
    redis::HEALTH_CHECK_INTERVAL_SECONDS,
    redis::USERNAME,
    redis::PASSWORD,
];
