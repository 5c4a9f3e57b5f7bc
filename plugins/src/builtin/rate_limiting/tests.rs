use std::net::IpAddr;

use serde_json::json;

use super::*;
use crate::testing::{core, ready, request};
use crate::{AuthMode, Chain, Verdict};

fn spec(config: Value) -> RateLimiting {
    RateLimiting::parse(&config).ok().unwrap().spec
}

fn refused(config: Value) -> Vec<String> {
    RateLimiting::parse(&config).err().unwrap()
}

fn warned(config: Value) -> Vec<String> {
    RateLimiting::parse(&config).ok().unwrap().warnings
}

/// Requests, seconds, and whether it is a bucket.
fn limits_of(config: Value) -> Vec<(u64, u64, bool)> {
    let spec = spec(config);
    let rule = &spec.checked.limits.rules()[spec.checked.default_rule];
    let shown = |limit: &crate::limits::Limit| {
        (limit.requests.get(), limit.seconds.get(), limit.counting == crate::limits::Counting::TokenBucket)
    };
    rule.limits.iter().map(shown).collect()
}

fn chain(spec: &RateLimiting) -> Chain {
    Chain::new(&[spec.build(&core().0)], AuthMode::Single)
}

/// Through all phases before the backend.
fn run(chain: &Chain, cx: &mut RequestContext) -> Verdict {
    ready(chain.on_request_received(cx))?;
    ready(chain.authorize(cx))?;
    ready(chain.before_proxy(cx))
}

fn from(ip: &str) -> RequestContext {
    let mut cx = request("GET /", &[("x-ratelimit-remaining", "forged"), ("X-RateLimit-Identity", "forged")]);
    cx.client_ip = ip.parse().unwrap();
    cx
}

fn of(identity: Option<&str>, ip: &str) -> RequestContext {
    let mut cx = from(ip);
    cx.external_identity = identity.map(str::to_owned);
    cx
}

#[test]
fn the_request_past_the_limit_gets_429_without_any_header() {
    let chain = chain(&spec(json!({"window_seconds": 60, "max_requests": 2})));
    let mut cx = from("10.0.0.1");
    assert!(run(&chain, &mut cx).is_ok() && run(&chain, &mut cx).is_ok());
    let rejection = run(&chain, &mut cx).unwrap_err();
    assert_eq!(*rejection, Rejection::json(429, r#"{"error":"Rate limit exceeded"}"#));
    assert!(cx.metadata.is_empty());
    assert!(run(&chain, &mut from("10.0.0.2")).is_ok(), "another address has its own");
    assert!(run(&chain, &mut from("::ffff:10.0.0.1")).is_err(), "the same address in another form");
}

#[test]
fn headers_tell_what_remains_to_backend_client_and_log() {
    let spec = spec(json!({"window_seconds": 60, "max_requests": 2, "expose_headers": true}));
    let chain = chain(&spec);
    for remaining in ["1", "0"] {
        let mut cx = from("10.0.0.1");
        assert!(run(&chain, &mut cx).is_ok());
        let expected = [("limit", "2"), ("remaining", remaining), ("window", "60")];
        let mut response = ResponseHead::new(200);
        response.headers.append("x-ratelimit-limit", b"of the backend");
        ready(chain.after_proxy(&mut cx, &mut response)).unwrap();
        for (name, value) in expected {
            let header = format!("x-ratelimit-{name}");
            assert_eq!(cx.metadata.get(&format!("ratelimit_{name}")), Some(value));
            assert_eq!(cx.head.headers.all(&header).collect::<Vec<_>>(), [value.as_bytes()], "{header} to the backend");
            assert_eq!(response.headers.all(&header).collect::<Vec<_>>(), [value.as_bytes()], "{header} to the client");
        }
        assert_eq!(cx.metadata.get("ratelimit_identity"), Some("ip:10.0.0.1"));
        let headers = [&cx.head.headers, &response.headers].map(|headers| headers.get("x-ratelimit-identity"));
        assert_eq!(headers, [None, None], "who is counted is for the log only");
    }
    let mut cx = from("10.0.0.1");
    let rejection = run(&chain, &mut cx).unwrap_err();
    let expected = [("x-ratelimit-limit", "2"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-window", "60")];
    assert_eq!(rejection.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn of_several_windows_the_tightest_is_told_and_the_first_that_refuses() {
    let config =
        json!({"requests_per_second": 5, "requests_per_minute": 3, "requests_per_hour": 3, "expose_headers": true});
    let chain = chain(&spec(config));
    for remaining in ["2", "1", "0"] {
        let mut cx = from("10.0.0.1");
        assert!(run(&chain, &mut cx).is_ok());
        let told =
            ["ratelimit_limit", "ratelimit_remaining", "ratelimit_window"].map(|key| cx.metadata.get(key).unwrap());
        assert_eq!(told, ["3", remaining, "60"]);
    }
    let rejection = run(&chain, &mut from("10.0.0.1")).unwrap_err();
    assert!(rejection.headers.contains(&("x-ratelimit-window".to_owned(), "60".to_owned())), "{rejection:?}");
}

#[test]
fn by_consumer_an_identity_is_counted_over_all_addresses() {
    let spec = spec(json!({"limit_by": "Consumer", "window_seconds": 60, "max_requests": 1, "expose_headers": true}));
    let chain = chain(&spec);
    let mut alice = from("10.0.0.1");
    alice.consumer = alice.facts.consumers.by_api_key("alice-key");
    assert!(run(&chain, &mut alice).is_ok());
    assert_eq!(alice.metadata.get("ratelimit_identity"), Some("consumer:alice"));
    assert!(run(&chain, &mut of(Some("alice"), "10.0.0.2")).is_err(), "the same identity from elsewhere");
    assert!(run(&chain, &mut of(Some("bob"), "10.0.0.1")).is_ok());
    let mut nobody = of(None, "10.0.0.1");
    assert!(run(&chain, &mut nobody).is_ok());
    assert_eq!(nobody.metadata.get("ratelimit_identity"), Some("ip:10.0.0.1"));
    assert!(run(&chain, &mut of(None, "10.0.0.1")).is_err());
    assert!(run(&chain, &mut of(Some("10.0.0.9"), "10.0.0.8")).is_ok());
    assert!(run(&chain, &mut of(None, "10.0.0.9")).is_ok(), "an identity is no address");
}

#[test]
fn addresses_are_counted_when_requests_come_and_identities_when_they_are_known() {
    let phases = |limit_by: &str| {
        let spec = spec(json!({"limit_by": limit_by, "requests_per_hour": 1}));
        spec.build(&core().0).phases()
    };
    assert_eq!(phases("IP"), Phases::RECEIVED);
    for late in ["consumer", "spiffe", "SPIFFE_identity"] {
        assert_eq!(phases(late), Phases::AUTHORIZE, "{late}");
    }
}

#[test]
fn without_spiffe_identities_the_address_is_counted() {
    assert_eq!(
        warned(json!({"limit_by": "SPIFFE", "requests_per_hour": 1})),
        ["rate_limiting: 'limit_by' 'SPIFFE' counts addresses: nobody has such an identity in this release"]
    );
    let chain = chain(&spec(json!({"limit_by": "spiffe", "requests_per_hour": 1, "expose_headers": true})));
    let mut cx = of(Some("alice"), "10.0.0.1");
    assert!(run(&chain, &mut cx).is_ok());
    assert_eq!(cx.metadata.get("ratelimit_identity"), Some("ip:10.0.0.1"));
    assert!(run(&chain, &mut of(Some("bob"), "10.0.0.1")).is_err());
}

#[test]
fn windows_up_to_five_seconds_are_buckets() {
    assert_eq!(limits_of(json!({"window_seconds": 5, "max_requests": 7})), [(7, 5, true)]);
    assert_eq!(limits_of(json!({"window_seconds": 6})), [(10, 6, false)]);
    let presets = json!({"requests_per_hour": 3, "requests_per_second": 1, "requests_per_minute": 2});
    assert_eq!(limits_of(presets), [(1, 1, true), (2, 60, false), (3, 3600, false)]);
    assert_eq!(limits_of(json!({"window_seconds": u64::MAX, "max_requests": u64::MAX})), [(u64::MAX, u64::MAX, false)]);
}

#[test]
fn a_window_takes_the_place_of_the_presets() {
    let config = json!({"window_seconds": 9, "requests_per_second": 1, "requests_per_hour": 0});
    assert_eq!(limits_of(config.clone()), [(10, 9, false)]);
    assert_eq!(
        warned(config),
        [
            "rate_limiting: 'requests_per_second' is ignored, because 'window_seconds' is set",
            "rate_limiting: 'requests_per_hour' is ignored, because 'window_seconds' is set",
        ]
    );
    assert_eq!(
        warned(json!({"max_requests": 5, "requests_per_second": 1, "burst": 1})),
        [
            "rate_limiting: 'max_requests' is ignored, because 'window_seconds' is not set",
            "rate_limiting: unknown key 'burst' is ignored",
        ]
    );
}

#[test]
fn named_consumers_have_their_own_rule() {
    let spec = spec(json!({"limit_by": "consumer", "expose_headers": true, "limits": [
        {"scope": "consumers", "consumers": ["alice", "bob"], "requests_per_minute": 2},
        {"scope": "default", "window_seconds": 9, "max_requests": 1},
    ]}));
    let chain = chain(&spec);
    for (who, window) in
        [(Some("alice"), "60"), (Some("alice"), "60"), (Some("bob"), "60"), (Some("carol"), "9"), (None, "9")]
    {
        let mut cx = of(who, "10.0.0.1");
        assert!(run(&chain, &mut cx).is_ok(), "{who:?}");
        assert_eq!(cx.metadata.get("ratelimit_window"), Some(window), "{who:?}");
    }
    for who in [Some("alice"), Some("carol"), None] {
        assert!(run(&chain, &mut of(who, "10.0.0.1")).is_err(), "{who:?}");
    }
    assert!(run(&chain, &mut of(Some("bob"), "10.0.0.1")).is_ok(), "each of them has a counter of its own");
}

#[test]
fn the_list_of_rules_alone_may_say_the_default() {
    let list = json!([{"scope": "default", "requests_per_second": 5, "requests_per_hour": 7}]);
    assert_eq!(limits_of(json!({"limits": list})), [(5, 1, true), (7, 3600, false)]);
}

#[test]
fn a_consumer_named_twice_has_the_first_rule() {
    let config = json!({"limit_by": "consumer", "limits": [
        {"scope": "default", "requests_per_second": 5, "note": 1},
        {"scope": "consumers", "consumers": ["alice"], "requests_per_second": 6},
        {"scope": "consumers", "consumers": ["alice", "bob"], "requests_per_second": 7},
    ]});
    assert_eq!(
        warned(config.clone()),
        [
            "rate_limiting: unknown key 'limits[0].note' is ignored",
            "rate_limiting: 'limits[2].consumers' names 'alice' again; the first rule that does so counts",
        ]
    );
    let rules_of = &spec(config).checked.rules_of;
    assert_eq!((rules_of["alice"], rules_of["bob"]), (1, 2));
}

#[test]
fn some_window_must_be_set() {
    let text = "rate_limiting: one of 'window_seconds', 'requests_per_second', 'requests_per_minute', 'requests_per_hour' and 'limits' must be set";
    assert_eq!(refused(json!({})), [text]);
    assert_eq!(refused(json!({"max_requests": 5})), [text]);
    for config in [Value::Null, json!([]), json!(5)] {
        assert_eq!(refused(config), ["rate_limiting: config must be an object"]);
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    assert_eq!(
        refused(json!({
            "limit_by": "header", "expose_headers": "yes", "window_seconds": 0, "max_requests": 1.5,
            "sync_mode": "redis",
        })),
        [
            "rate_limiting: 'limit_by' must be 'ip', 'consumer' or 'spiffe_identity' (got 'header')",
            "rate_limiting: 'expose_headers' must be a boolean",
            "rate_limiting: 'window_seconds' must be greater than zero",
            "rate_limiting: 'max_requests' must be an unsigned integer",
            "redis rate limiter: 'redis_url' is required when 'sync_mode' is 'redis'",
        ]
    );
    assert_eq!(
        refused(json!({"requests_per_second": -1, "requests_per_minute": "9", "requests_per_hour": 0, "limit_by": 1})),
        [
            "rate_limiting: 'limit_by' must be a string",
            "rate_limiting: 'requests_per_second' must be an unsigned integer",
            "rate_limiting: 'requests_per_minute' must be an unsigned integer",
            "rate_limiting: 'requests_per_hour' must be greater than zero",
        ]
    );
}

#[test]
fn null_is_nothing_for_limit_by_alone() {
    assert_eq!(spec(json!({"limit_by": null, "requests_per_hour": 1})).checked.limit_by, LimitBy::Ip);
    for (key, reason) in [
        ("expose_headers", "rate_limiting: 'expose_headers' must be a boolean"),
        ("max_requests", "rate_limiting: 'max_requests' must be an unsigned integer"),
        ("window_seconds", "rate_limiting: 'window_seconds' must be an unsigned integer"),
        ("sync_mode", "redis rate limiter: 'sync_mode' must be a string"),
    ] {
        let mut config = json!({"window_seconds": 9});
        config[key] = Value::Null;
        assert_eq!(refused(config), [reason], "{key}");
    }
    assert_eq!(
        refused(json!({"requests_per_hour": null})),
        ["rate_limiting: 'requests_per_hour' must be an unsigned integer"]
    );
}

#[test]
fn the_list_of_rules_is_checked_rule_by_rule() {
    let by_consumer = |limits: Value| refused(json!({"limit_by": "consumer", "limits": limits}));
    for wrong in [json!(null), json!({}), json!(1)] {
        assert_eq!(by_consumer(wrong), ["rate_limiting: 'limits' must be an array of rules"]);
    }
    assert_eq!(
        by_consumer(json!([])),
        ["rate_limiting: 'limits' must have exactly one rule with scope 'default' (got 0)"]
    );
    let rule = json!({"scope": "default", "requests_per_second": 1});
    assert_eq!(
        by_consumer(json!([rule, rule])),
        ["rate_limiting: 'limits' must have exactly one rule with scope 'default' (got 2)"]
    );
    assert_eq!(
        by_consumer(json!([
            5,
            {"scope": "all", "requests_per_second": 1},
            {"requests_per_second": 1},
            {"scope": "default"},
            {"scope": "consumers", "window_seconds": 1},
            {"scope": "consumers", "consumers": [], "max_requests": 1},
            {"scope": "consumers", "consumers": ["a", 1], "max_requests": 0, "window_seconds": null},
            {"scope": "consumers", "consumers": "a", "max_requests": 1, "requests_per_hour": 5},
            {"scope": "consumers", "consumers": ["a"], "requests_per_hour": 0},
        ])),
        [
            "rate_limiting: 'limits[0]' must be an object",
            "rate_limiting: 'limits[1].scope' must be 'default' or 'consumers'",
            "rate_limiting: 'limits[2].scope' is required",
            "rate_limiting: 'limits[3]' must have 'window_seconds' with 'max_requests', or one of 'requests_per_second', 'requests_per_minute' and 'requests_per_hour'",
            "rate_limiting: 'limits[4].consumers' must be an array of strings, at least one",
            "rate_limiting: 'limits[4].max_requests' is required with 'window_seconds'",
            "rate_limiting: 'limits[5].consumers' must be an array of strings, at least one",
            "rate_limiting: 'limits[5].window_seconds' is required with 'max_requests'",
            "rate_limiting: 'limits[6].consumers' must be an array of strings, at least one",
            "rate_limiting: 'limits[6].window_seconds' must be an unsigned integer",
            "rate_limiting: 'limits[6].max_requests' must be greater than zero",
            "rate_limiting: 'limits[7].consumers' must be an array of strings, at least one",
            "rate_limiting: 'limits[7]' must have either 'window_seconds' with 'max_requests' or 'requests_per_hour', not both",
            "rate_limiting: 'limits[8].requests_per_hour' must be greater than zero",
        ]
    );
    assert_eq!(
        refused(json!({"max_requests": 1, "requests_per_hour": 1, "limits": [
            {"scope": "default", "consumers": ["a"], "requests_per_hour": 1},
            {"scope": "consumers", "consumers": ["a"], "requests_per_hour": 1},
        ]})),
        [
            "rate_limiting: 'max_requests' must be in a rule of 'limits', if that is set",
            "rate_limiting: 'requests_per_hour' must be in a rule of 'limits', if that is set",
            "rate_limiting: 'limits[0].consumers' is only for rules with scope 'consumers'",
            "rate_limiting: 'limits[1].scope' may be 'consumers' only with 'limit_by: consumer'",
        ]
    );
}

#[test]
fn all_cores_count_together() {
    let spec = spec(json!({"window_seconds": 60, "max_requests": 3}));
    let cores = [chain(&spec), chain(&spec)];
    let passed = (0..6).filter(|i| run(&cores[i % 2], &mut from("10.0.0.1")).is_ok()).count();
    assert_eq!(passed, 3);
    let mut later = from("10.0.0.1");
    later.client_ip = IpAddr::from([1, 1, 1, 1]);
    assert!(run(&cores[0], &mut later).is_ok());
}

#[test]
fn the_name_of_a_redis_is_resolved_at_the_start() {
    let config = json!({"requests_per_hour": 1, "sync_mode": "redis", "redis_url": "rediss://cache.int:7000/3"});
    assert_eq!(spec(config).hosts(), ["cache.int"]);
}
