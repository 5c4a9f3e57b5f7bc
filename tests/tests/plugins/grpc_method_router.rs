//! `grpc_method_router`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Proxy, Redis, Response};

use crate::alice;

const DENIED: &str = "gRPC method 'shop.Orders/Drop' is not permitted";

fn document(backend: &Backend, config: Value) -> Document {
    Document::all_to(backend.port()).proxy_plugin("app", "grpc_method_router", config)
}

fn routed(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&document(backend, config))
}

/// A call in the form that fits HTTP/1.1, with these header lines.
fn call_as(gateway: &Gateway, method: &str, lines: &str) -> Response {
    gateway.ask(format!(
        "POST /{method} HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web+proto\r\n{lines}\
         Content-Length: 5\r\nConnection: close\r\n\r\n\0\0\0\0\0"
    ))
}

fn call(gateway: &Gateway, method: &str) -> Response {
    call_as(gateway, method, "")
}

/// Closes every connection at its first bytes.
fn unhelpful() -> Backend {
    Backend::scripted(|connection| drop(connection.read_some()))
}

/// What the plugin says of a call; none when it lets it go on. Then the backend does not answer it, which is status 14.
fn status(response: &Response) -> Option<&str> {
    assert_eq!(response.status, 200, "{response:?}");
    let status = response.header("grpc-status").expect("a status");
    (status != "14").then_some(status)
}

/// `max_requests` an hour of `shop.Orders/Get`.
fn limit(max_requests: u64) -> Value {
    json!({"shop.Orders/Get": {"max_requests": max_requests, "window_seconds": 3600}})
}

#[test]
fn methods_that_are_denied_or_not_allowed_get_status_7() {
    let backend = unhelpful();
    let gateway = routed(&backend, json!({"deny_methods": ["shop.Orders/Drop"]}));
    let refused = call(&gateway, "shop.Orders/Drop");
    assert_eq!((status(&refused), refused.header("grpc-message")), (Some("7"), Some(DENIED)));
    assert_eq!(status(&call(&gateway, "shop.Orders/Get")), None);
    let gateway = routed(&backend, json!({"allow_methods": ["/shop.Orders/Get"]}));
    assert_eq!(status(&call(&gateway, "shop.Orders/Get")), None);
    assert_eq!(status(&call(&gateway, "shop.Orders/Drop")), Some("7"));
}

#[test]
fn a_list_of_allowed_methods_lets_nothing_else_through_however_it_is_written() {
    let backend = unhelpful();
    let gateway = routed(&backend, json!({"deny_methods": ["shop.Orders/Drop"]}));
    assert_eq!(status(&call(&gateway, "shop.Orders/%44rop")), Some("7"));
    let gateway = routed(&backend, json!({"allow_methods": ["shop.Orders/Get"]}));
    for path in ["shop.Orders/Get/", "x/shop.Orders/Get", "shop.Orders", ""] {
        assert_eq!(status(&call(&gateway, path)), Some("7"), "{path}");
    }
}

#[test]
fn a_proxy_that_strips_its_path_is_warned_about() {
    let backend = unhelpful();
    let proxy = Proxy::new("shop").path("/shop").to(backend.port());
    let config = json!({"allow_methods": ["shop.Orders/Get"]});
    let gateway = Gateway::running(&Document::new().proxy(proxy).proxy_plugin("shop", "grpc_method_router", config));
    gateway.wait_for_log(|text| text.contains("paths name no method on proxies 'shop'"));
    assert_eq!(status(&call(&gateway, "shop/shop.Orders/Drop")), Some("7"));
}

#[test]
fn the_call_past_the_limit_gets_status_8_and_says_which() {
    let backend = unhelpful();
    let gateway = routed(&backend, json!({"method_rate_limits": limit(2)}));
    let calls: Vec<Response> = (0..3).map(|_| call(&gateway, "shop.Orders/Get")).collect();
    assert_eq!(calls.iter().map(status).collect::<Vec<_>>(), [None, None, Some("8")]);
    let told = ["limit", "remaining", "method"].map(|name| calls[2].header(&format!("x-grpc-ratelimit-{name}")));
    assert_eq!(told, [Some("2"), Some("0"), Some("shop.Orders/Get")]);
    let text = "Rate limit exceeded for gRPC method 'shop.Orders/Get'";
    assert_eq!(calls[2].header("grpc-message"), Some(text));
    assert_eq!(status(&call(&gateway, "shop.Orders/Put")), None, "a method without a limit has none");
}

#[test]
fn callers_are_counted_by_address_or_by_consumer() {
    let backend = unhelpful();
    let start = |limit_by: &str| {
        let config = json!({"method_rate_limits": limit(1), "limit_by": limit_by});
        let bob = json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "b"}]}});
        let document = document(&backend, config).proxy_plugin("app", "key_auth", json!({}));
        Gateway::running(&document.consumer(alice()).consumer(bob))
    };
    let statuses = |gateway: &Gateway| {
        ["k-1", "b", "k-2"].map(|key| {
            let response = call_as(gateway, "shop.Orders/Get", &format!("X-API-Key: {key}\r\n"));
            status(&response).map(str::to_owned)
        })
    };
    let refused = Some("8".to_owned());
    assert_eq!(statuses(&start("ip")), [None, refused.clone(), refused.clone()]);
    assert_eq!(statuses(&start("consumer")), [None, None, refused]);
}

#[test]
fn gateways_with_one_redis_count_together() {
    let backend = unhelpful();
    let redis = Redis::with_password("pw");
    let config = |prefix: &str, pool_size: u64| {
        json!({
            "method_rate_limits": limit(3), "sync_mode": "redis", "redis_url": redis.url(), "redis_tls": false,
            "redis_username": "default", "redis_password": "pw", "redis_key_prefix": prefix,
            "redis_pool_size": pool_size, "redis_connect_timeout_seconds": 2, "redis_health_check_interval_seconds": 1,
        })
    };
    let start = |prefix: &str, pool_size: u64| {
        Gateway::builder().document(&document(&backend, config(prefix, pool_size))).env("FERRUM_CORES", "0").start()
    };
    let (one, two, other) = (start("shared", 1), start("shared", 3), start("apart", 1));
    let statuses = [&one, &two, &one, &two, &other].map(|gateway| {
        let response = call(gateway, "shop.Orders/Get");
        status(&response).map(str::to_owned)
    });
    assert_eq!(statuses, [None, None, None, Some("8".to_owned()), None]);
    let keys = redis.keys();
    let expected = ["apart", "shared"].map(|prefix| format!("{prefix}:shop.Orders/Get:ip:127.0.0.1:"));
    assert!(keys.len() == 2 && keys.iter().zip(&expected).all(|(key, start)| key.starts_with(start)), "{keys:?}");
    assert_eq!(redis.ask(&["GET", &keys[1]]), "4");
    // Two calls each: by one connection in the pool of one, by two in the pool of three.
    assert_eq!(redis.connections(), 1 + 2 + 1);
}

#[test]
fn while_redis_is_away_a_gateway_counts_for_itself() {
    let backend = unhelpful();
    let mut redis = Redis::start();
    let config = json!({
        "method_rate_limits": limit(1), "sync_mode": "redis", "redis_url": redis.url(),
        "redis_health_check_interval_seconds": 1, "redis_pool_size": 1,
    });
    let gateway = Gateway::builder().document(&document(&backend, config)).env("FERRUM_CORES", "0").start();
    assert_eq!(status(&call(&gateway, "shop.Orders/Get")), None);
    redis.stop();
    let statuses = [0, 1].map(|_| status(&call(&gateway, "shop.Orders/Get")).map(str::to_owned));
    assert_eq!(statuses, [None, Some("8".to_owned())]);
    gateway.wait_for_log(|text| text.starts_with("Redis is away"));
    redis.start_again();
    gateway.wait_for_log(|text| text.starts_with("Redis is back"));
    assert_eq!(status(&call(&gateway, "shop.Orders/Get")), None);
    assert_eq!(redis.keys().len(), 1);
}

#[test]
fn a_config_that_cannot_be_meant_stops_the_start() {
    let backend = unhelpful();
    for (config, expected) in [
        (json!({}), "grpc_method_router: one of 'allow_methods', 'deny_methods' and 'method_rate_limits' must be set"),
        (json!({"deny_methods": ["Drop"]}), "grpc_method_router: 'deny_methods[0]' must be 'package.Service/Method'"),
        (json!({"allow_methods": [], "sync_mode": "redis"}), "redis rate limiter: 'redis_url' is required"),
        (json!({"allow_methods": [], "limit_by": "x"}), "grpc_method_router: 'limit_by' must be 'ip' or 'consumer'"),
    ] {
        let exit = Gateway::builder().document(&document(&backend, config)).start_failing();
        assert!(exit.stderr.contains(expected), "{expected}: {}", exit.stderr);
    }
}
