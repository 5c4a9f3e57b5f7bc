use serde_json::{Value, json};

use super::*;

fn document(proxies: Value, upstreams: Value) -> Document {
    let document =
        json!({"version": "1", "proxies": proxies, "upstreams": upstreams, "consumers": [], "plugin_configs": []});
    serde_json::from_value(document).unwrap()
}

fn proxy(id: &str, changes: Value) -> Value {
    let mut proxy = json!({"id": id, "backend_scheme": "http", "backend_host": "b", "backend_port": 1});
    for (key, value) in changes.as_object().unwrap() {
        proxy[key] = value.clone();
    }
    proxy
}

#[test]
fn a_plain_http_document_uses_nothing_pending() {
    let retry = json!({"retry": {"max_retries": 0}, "pool_enable_http2": true, "backend_scheme": "https",
        "backend_tls_verify_server_cert": false, "allowed_ws_origins": ["x"], "pool_http2_adaptive_window": false});
    let upstream = json!({"id": "u", "targets": [], "health_checks": {}});
    assert_eq!(features_in_use(&document(json!([proxy("a", retry)]), json!([upstream]))), [""; 0]);
}

#[test]
fn every_pending_feature_has_its_line() {
    let rows = [
        (json!({"backend_scheme": "tcp", "listen_port": 1}), "stream proxies (listen_port): proxies a"),
        (json!({"circuit_breaker": {}}), "circuit_breaker: proxies a"),
        (json!({"retry": {}}), "retry: proxies a"),
        (json!({"pool_http3_connections_per_backend": 1}), "pool_http3_connections_per_backend: proxies a"),
    ];
    for (changes, expected) in rows {
        assert_eq!(features_in_use(&document(json!([proxy("a", changes)]), json!([]))), [expected]);
    }
    let rows = [
        (json!({"health_checks": {"active": {}}}), "active health checks: upstreams u"),
        (json!({"health_checks": {"passive": {}}}), "passive health checks: upstreams u"),
        (json!({"service_discovery": {"provider": "mesh"}}), "service_discovery: upstreams u"),
        (
            json!({"subsets": [{"name": "s", "labels": {"a": "b"}, "traffic_policy": {"tls": {"mode": "disable"}}}]}),
            "tls of a subset: upstreams u",
        ),
    ];
    for (mut upstream, expected) in rows {
        (upstream["id"], upstream["targets"]) = (json!("u"), json!([]));
        assert_eq!(features_in_use(&document(json!([]), json!([upstream]))), [expected]);
    }
    let mut whole = document(json!([]), json!([]));
    whole.mesh = Some(Default::default());
    whole.trust_bundles = serde_json::from_value(json!({"local": {"trust_domain": "td"}})).unwrap();
    assert_eq!(features_in_use(&whole), ["mesh", "trust_bundles"]);
}

#[test]
fn five_users_are_named_and_the_rest_counted() {
    let users = |count: usize| {
        let proxies: Vec<_> = (0..count).map(|i| proxy(&format!("p{i}"), json!({"circuit_breaker": {}}))).collect();
        features_in_use(&document(json!(proxies), json!([])))
    };
    assert_eq!(users(5), ["circuit_breaker: proxies p0, p1, p2, p3, p4"]);
    assert_eq!(users(6), ["circuit_breaker: proxies p0, p1, p2, p3, p4 and 1 more"]);
    assert_eq!(users(12), ["circuit_breaker: proxies p0, p1, p2, p3, p4 and 7 more"]);
}
