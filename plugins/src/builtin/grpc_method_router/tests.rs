use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::{core, ready, request};
use crate::{AuthMode, Chain, Verdict};

fn spec(config: Value) -> GrpcMethodRouter {
    GrpcMethodRouter::parse(&config).ok().unwrap().spec
}

fn router(spec: &GrpcMethodRouter) -> Router {
    Router { rules: spec.rules.clone(), limiter: spec.rules.limits.on_core(GrpcMethodRouter::NAME, &core().0) }
}

fn refused(config: Value) -> Vec<String> {
    GrpcMethodRouter::parse(&config).err().unwrap()
}

/// A call of that path through both phases.
fn call(config: &GrpcMethodRouter, path: &str) -> (RequestContext, Verdict) {
    let chain = Chain::new(&[config.build(&core().0)], AuthMode::Single);
    let mut cx = request(&format!("POST {path}"), &[]);
    ready(chain.on_request_received(&mut cx)).unwrap();
    let verdict = ready(chain.before_proxy(&mut cx));
    (cx, verdict)
}

fn status(config: &GrpcMethodRouter, path: &str) -> u16 {
    call(config, path).1.map_or_else(|rejection| rejection.status, |()| 200)
}

/// A call of `a.B/C` that has come as far as `before_proxy`.
fn received(router: &Router) -> RequestContext {
    let mut cx = request("POST /a.B/C", &[]);
    assert!(matches!(router.on_request_received(&mut cx), Flow::Continue));
    cx
}

fn limited(limit_by: &str, max_requests: u64) -> GrpcMethodRouter {
    let limit = json!({"max_requests": max_requests, "window_seconds": 10});
    spec(json!({"limit_by": limit_by, "method_rate_limits": {"a.B/C": limit}}))
}

#[test]
fn a_path_of_two_segments_names_a_method() {
    let open = spec(json!({"deny_methods": ["x.Y/Z"]}));
    let (cx, verdict) = call(&open, "/shop.v1.Orders/Get?x=1");
    verdict.unwrap();
    assert_eq!(cx.metadata.get("grpc_service"), Some("shop.v1.Orders"));
    assert_eq!(cx.metadata.get("grpc_method"), Some("Get"));
    assert_eq!(cx.metadata.get("grpc_full_method"), Some("shop.v1.Orders/Get"));
}

#[test]
fn other_paths_have_no_metadata_and_pass_only_where_methods_that_nobody_names_do() {
    let open = spec(json!({"deny_methods": ["Orders/Get"]}));
    let closed = spec(json!({"allow_methods": ["Orders/Get"]}));
    for path in ["/", "/Orders", "/Orders/", "//Get", "/shop/Orders/Get", "/Orders/Get/", "/Orders%2fGet/x", "*"] {
        let (cx, verdict) = call(&open, path);
        assert!(verdict.is_ok() && cx.metadata.is_empty(), "{path}");
        let (cx, verdict) = call(&closed, path);
        let rejection = verdict.unwrap_err();
        assert_eq!((rejection.status, &rejection.body[..]), (403, &br#"{"error":"gRPC method is not permitted"}"#[..]));
        assert!(cx.metadata.is_empty(), "{path}");
    }
}

#[test]
fn a_name_is_what_its_percent_triplets_say() {
    let limits = json!({"a.B/Slow": {"max_requests": 1, "window_seconds": 100}});
    let config = spec(json!({"deny_methods": ["a.B/Drop"], "method_rate_limits": limits}));
    assert_eq!([status(&config, "/a.B/Dr%6fp"), status(&config, "/%61%2eB%2FDrop")], [403, 403]);
    assert_eq!([status(&config, "/a.B/Slow"), status(&config, "/a.B/%53low")], [200, 429]);
    assert_eq!(call(&config, "/a.B/%43").0.metadata.get("grpc_full_method"), Some("a.B/C"));
    assert_eq!(status(&config, "/a.B/Drop%"), 200);
}

#[test]
fn a_denied_method_gets_403() {
    let config = spec(json!({"deny_methods": ["/shop.Orders/Drop"]}));
    let rejection = call(&config, "/shop.Orders/Drop").1.unwrap_err();
    let body = br#"{"error":"gRPC method 'shop.Orders/Drop' is not permitted"}"#;
    assert_eq!((rejection.status, &rejection.body[..]), (403, &body[..]));
    assert!(rejection.headers.is_empty());
    assert_eq!(status(&config, "/shop.Orders/drop"), 200, "names are compared exactly");
}

#[test]
fn only_listed_methods_pass_a_list_of_allowed_ones() {
    let config =
        spec(json!({"allow_methods": ["shop.Orders/Get", " /Health/Check "], "deny_methods": ["Health/Check"]}));
    assert_eq!(status(&config, "/shop.Orders/Get"), 200);
    assert_eq!(status(&config, "/shop.Orders/Put"), 403);
    assert_eq!(status(&config, "/Health/Check"), 403, "a denied method is denied even when it is allowed");
    assert_eq!(status(&config, "/shop-orders/Get"), 403, "what no config could name is not permitted either");
}

#[test]
fn an_empty_list_of_allowed_methods_denies_everything() {
    assert_eq!(status(&spec(json!({"allow_methods": []})), "/a.B/C"), 403);
    let limits = json!({"a.B/C": {"max_requests": 1, "window_seconds": 1}});
    let with_limit = spec(json!({"allow_methods": [], "method_rate_limits": limits}));
    assert_eq!(status(&with_limit, "/a.B/C"), 403, "a limit does not allow a method");
    assert_eq!(status(&spec(json!({"allow_methods": null, "deny_methods": ["x.Y/Z"]})), "/a.B/C"), 200);
}

#[test]
fn a_name_the_client_chose_cannot_break_the_answer() {
    let closed = spec(json!({"allow_methods": []}));
    let rejection = call(&closed, "/a\"b/\u{e9}\\").1.unwrap_err();
    let body: Value = serde_json::from_slice(&rejection.body).unwrap();
    assert_eq!(body["error"], "gRPC method 'a\"b/\u{e9}\\' is not permitted");
    assert!(call(&closed, "/a/\u{fffd}").1.is_err());
}

#[test]
fn a_request_past_the_limit_gets_429_and_says_which() {
    let config = limited("ip", 2);
    assert_eq!([status(&config, "/a.B/C"), status(&config, "/a.B/C")], [200, 200]);
    let rejection = call(&config, "/a.B/C").1.unwrap_err();
    assert_eq!(rejection.status, 429);
    assert_eq!(rejection.body, br#"{"error":"Rate limit exceeded for gRPC method 'a.B/C'"}"#);
    let expected =
        [("x-grpc-ratelimit-limit", "2"), ("x-grpc-ratelimit-remaining", "0"), ("x-grpc-ratelimit-method", "a.B/C")];
    assert_eq!(rejection.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(status(&config, "/a.B/D"), 200, "a method without a limit has none");
}

/// Whether the router lets the request pass now.
fn passes(router: &Router, cx: &mut RequestContext) -> bool {
    matches!(router.before_proxy(cx), Flow::Continue)
}

#[test]
fn requests_flow_back_at_the_configured_rate() {
    let router = router(&limited("ip", 2));
    let cx = received(&router);
    let began = Instant::now();
    let passes = |ms| {
        let at = began + Duration::from_millis(ms);
        matches!(router.limiter.judge(0, router.caller(&cx), at), Judgement::Admitted { .. })
    };
    assert_eq!([passes(0), passes(0), passes(0)], [true, true, false]);
    assert_eq!([passes(4_999), passes(5_000), passes(5_000)], [false, true, false]);
}

#[test]
fn a_denied_request_takes_nothing_from_the_limit() {
    let limits = json!({"a.B/C": {"max_requests": 1, "window_seconds": 10}});
    let router = router(&spec(json!({"deny_methods": ["a.B/C"], "method_rate_limits": limits})));
    let mut cx = received(&router);
    let Flow::Reject(rejection) = router.before_proxy(&mut cx) else { panic!("a denied method") };
    assert_eq!(rejection.status, 403);
    let judgement = router.limiter.judge(0, router.caller(&cx), Instant::now());
    assert_eq!(judgement, Judgement::Admitted { limit: 0, remaining: 0 });
}

#[test]
fn by_ip_every_address_has_its_own_limit() {
    let router = router(&limited("IP", 1));
    let mut cx = received(&router);
    cx.external_identity = Some("alice".into());
    assert!(passes(&router, &mut cx));
    cx.external_identity = Some("bob".into());
    assert!(!passes(&router, &mut cx), "who asks makes no difference");
    cx.client_ip = "::ffff:10.1.2.3".parse().unwrap();
    assert!(!passes(&router, &mut cx), "the same address in another form");
    cx.client_ip = IpAddr::from([10, 1, 2, 4]);
    assert!(passes(&router, &mut cx));
}

#[test]
fn by_consumer_an_identity_shares_its_limit_over_all_addresses() {
    let router = router(&limited("Consumer", 1));
    let mut cx = received(&router);
    cx.consumer = cx.facts.consumers.by_api_key("alice-key");
    assert_eq!(cx.effective_identity(), Some("alice"));
    assert!(passes(&router, &mut cx));
    cx.client_ip = IpAddr::from([10, 9, 9, 9]);
    assert!(!passes(&router, &mut cx));
    cx.consumer = None;
    cx.external_identity = Some("10.9.9.9".into());
    assert!(passes(&router, &mut cx));
    cx.external_identity = None;
    assert!(passes(&router, &mut cx), "nobody known: the address, which is not the identity of that name");
    assert!(!passes(&router, &mut cx));
}

#[test]
fn at_least_one_rule_must_be_set() {
    let text = "grpc_method_router: one of 'allow_methods', 'deny_methods' and 'method_rate_limits' must be set";
    let all_null = json!({"allow_methods": null, "deny_methods": null, "method_rate_limits": null});
    for config in [
        Value::Null,
        json!({}),
        json!({"limit_by": "ip"}),
        all_null,
        json!({"deny_methods": []}),
        json!({"method_rate_limits": {}}),
    ] {
        assert_eq!(refused(config.clone()), [text], "{config}");
    }
    assert_eq!(refused(json!([])), ["grpc_method_router: config must be an object"]);
}

#[test]
fn method_names_are_checked_one_by_one() {
    for wrong in
        ["", "Get", "/Get", "//a/b", "a/", "/a/", "a/b/c", "a b/c", "a..b/c", ".a/b", "1a/b", "a/1b", "a-b/c", "é/b"]
    {
        let expected =
            format!("grpc_method_router: 'deny_methods[0]' must be 'package.Service/Method' (got '{wrong}')");
        assert_eq!(refused(json!({"deny_methods": [wrong]})), [expected]);
    }
    for right in ["a/b", "/a/b", " a.b.C_1/_d9 ", "\t/A/B\n"] {
        assert!(GrpcMethodRouter::parse(&json!({"allow_methods": [right]})).is_ok(), "{right}");
    }
}

#[test]
fn a_method_is_named_once_per_list() {
    let limit = json!({"max_requests": 1, "window_seconds": 1});
    assert_eq!(
        refused(json!({
            "allow_methods": ["a.B/C", "a.B/D", " /a.B/C"],
            "method_rate_limits": {"a.B/C": limit, "/a.B/C": limit},
        })),
        [
            "grpc_method_router: 'allow_methods[2]' repeats 'a.B/C'",
            "grpc_method_router: 'method_rate_limits[/a.B/C]' repeats 'a.B/C'",
        ]
    );
    assert!(GrpcMethodRouter::parse(&json!({"allow_methods": ["a.B/C"], "deny_methods": ["a.B/C"]})).is_ok());
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    assert_eq!(
        refused(json!({
            "allow_methods": "a.B/C",
            "deny_methods": [1, null],
            "method_rate_limits": {
                "a.B/C": {"max_requests": 0, "window_seconds": 5.0},
                "a.B/D": {"max_requests": "3", "window_seconds": -1},
                "a.B/E": {"window_seconds": null},
                "a.B/F": 5,
                "wrong": {"max_requests": 1, "window_seconds": 1},
            },
            "limit_by": "header",
            "sync_mode": "Redis",
            "redis_url": "http://cache:6379",
        })),
        [
            "grpc_method_router: 'allow_methods' must be an array of strings",
            "grpc_method_router: 'deny_methods[0]' must be a string",
            "grpc_method_router: 'deny_methods[1]' must be a string",
            "grpc_method_router: 'method_rate_limits[a.B/C].max_requests' must be greater than zero",
            "grpc_method_router: 'method_rate_limits[a.B/C].window_seconds' must be an unsigned integer",
            "grpc_method_router: 'method_rate_limits[a.B/D].max_requests' must be an unsigned integer",
            "grpc_method_router: 'method_rate_limits[a.B/D].window_seconds' must be an unsigned integer",
            "grpc_method_router: 'method_rate_limits[a.B/E].max_requests' is required",
            "grpc_method_router: 'method_rate_limits[a.B/E].window_seconds' is required",
            "grpc_method_router: 'method_rate_limits[a.B/F]' must be an object",
            "grpc_method_router: 'method_rate_limits[wrong]' must be 'package.Service/Method' (got 'wrong')",
            "grpc_method_router: 'limit_by' must be 'ip' or 'consumer' (got 'header')",
            "redis rate limiter: 'redis_url' must be redis:// or rediss://, with a host, and a number for the database if there is a path",
        ]
    );
    let wrong_types =
        json!({"allow_methods": {}, "deny_methods": 1, "method_rate_limits": [1], "limit_by": 1, "sync_mode": 1});
    assert_eq!(
        refused(wrong_types),
        [
            "grpc_method_router: 'allow_methods' must be an array of strings",
            "grpc_method_router: 'deny_methods' must be an array of strings",
            "grpc_method_router: 'method_rate_limits' must be an object",
            "grpc_method_router: 'limit_by' must be a string",
            "redis rate limiter: 'sync_mode' must be a string",
        ]
    );
}

#[test]
fn requests_may_be_counted_in_redis() {
    let local = json!({"allow_methods": [], "sync_mode": "LOCAL", "redis_url": null});
    assert!(!router(&spec(local)).limiter.is_shared());
    let limits = json!({"a.B/C": {"max_requests": 1, "window_seconds": 10}});
    let shared = json!({"method_rate_limits": limits, "sync_mode": "redis", "redis_url": "redis://cache"});
    let shared = spec(shared);
    assert!(router(&shared).limiter.is_shared());
    assert_eq!(shared.hosts(), ["cache"]);
    assert_eq!(shared.rules.limits.rules()[0].name.as_deref(), Some("a.B/C"));
}

#[test]
fn the_smallest_and_the_largest_limits_are_taken() {
    for number in [1, u64::MAX] {
        let limits = json!({"a.B/C": {"max_requests": number, "window_seconds": number}});
        assert_eq!(status(&spec(json!({"method_rate_limits": limits})), "/a.B/C"), 200);
    }
}

#[test]
fn unknown_keys_are_named_once_and_ignored() {
    let limits = json!({"a.B/C": {"max_requests": 1, "window_seconds": 1, "burst": 5}});
    let parsed = GrpcMethodRouter::parse(&json!({"methods": [], "method_rate_limits": limits, "limit_by": null}));
    let parsed = parsed.ok().unwrap();
    assert_eq!(parsed.spec.rules.limit_by, LimitBy::Ip);
    assert_eq!(
        parsed.warnings,
        [
            "grpc_method_router: unknown key 'method_rate_limits[a.B/C].burst' is ignored",
            "grpc_method_router: unknown key 'methods' is ignored",
        ]
    );
}
