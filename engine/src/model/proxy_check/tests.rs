use serde_json::{Value, json};

use super::*;

fn with(mut proxy: Value, changes: &Value) -> Proxy {
    for (key, value) in changes.as_object().unwrap() {
        proxy[key] = value.clone();
    }
    serde_json::from_value(proxy).unwrap()
}

/// A sound HTTP proxy with some fields changed.
fn http(changes: Value) -> Vec<String> {
    let proxy = json!({"id": "h", "listen_path": "/", "backend_host": "b", "backend_port": 80});
    with(proxy, &changes).check_fields()
}

/// A sound TCP proxy with some fields changed.
fn tcp(changes: Value) -> Vec<String> {
    let proxy = json!({"id": "t", "listen_port": 1, "backend_scheme": "tcp", "backend_host": "b", "backend_port": 80});
    with(proxy, &changes).check_fields()
}

#[track_caller]
fn assert_one(found: Vec<String>, expected: &str) {
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}\nshould be one starting with\n{expected}");
}

#[test]
fn texts_have_their_length() {
    let rows = [
        ("name", 255, "name must not exceed 255 characters (got 256)"),
        ("backend_host", 255, "backend_host must not exceed 255 characters (got 256)"),
        ("backend_path", 2048, "backend_path must not exceed 2048 characters (got 2049)"),
        ("dns_override", 255, "dns_override must not exceed 255 characters (got 256)"),
    ];
    for (field, max, message) in rows {
        assert_eq!(http(json!({field: "a".repeat(max)})), [""; 0], "{field}");
        assert_eq!(http(json!({field: "a".repeat(max + 1)})), [message]);
        assert_eq!(http(json!({field: "a\u{1}"})), [format!("{field} must not contain control characters")]);
    }
    let subset = |text: String| http(json!({"upstream_id": "u", "upstream_subset": text}));
    assert_eq!(subset("a".repeat(255)), [""; 0]);
    assert_eq!(subset("a".repeat(256)), ["upstream_subset must not exceed 255 characters (got 256)"]);
    let ca = |text: String| http(json!({"backend_tls_server_ca_cert_path": text}));
    assert_eq!(ca("a".repeat(4096)), [""; 0]);
    assert_eq!(ca("a".repeat(4097)), ["backend_tls_server_ca_cert_path must not exceed 4096 characters (got 4097)"]);
    let pair = |text: String| http(json!({"backend_tls_client_cert_path": text, "backend_tls_client_key_path": text}));
    assert_eq!(pair("a".repeat(4096)), [""; 0]);
    let expected = ["cert", "key"]
        .map(|part| format!("backend_tls_client_{part}_path must not exceed 4096 characters (got 4097)"));
    assert_eq!(pair("a".repeat(4097)), expected);
}

#[test]
fn numbers_have_their_range_on_both_sides() {
    const DAY_MS: u64 = 86_400_000;
    let rows: [(&str, u64, u64); 14] = [
        ("dns_cache_ttl_seconds", 1, 86_400),
        ("backend_connect_timeout_ms", 1, DAY_MS),
        ("backend_read_timeout_ms", 0, DAY_MS),
        ("backend_write_timeout_ms", 0, DAY_MS),
        ("pool_idle_timeout_seconds", 1, 3600),
        ("pool_tcp_keepalive_seconds", 1, 86_400),
        ("pool_http2_keep_alive_interval_seconds", 1, 86_400),
        ("pool_http2_keep_alive_timeout_seconds", 1, 86_400),
        ("pool_http2_initial_stream_window_size", 65_535, 134_217_728),
        ("pool_http2_initial_connection_window_size", 65_535, 134_217_728),
        ("pool_http2_max_frame_size", 16_384, 1_048_576),
        ("pool_http3_connections_per_backend", 1, 256),
        ("udp_idle_timeout_seconds", 1, 3600),
        ("tcp_idle_timeout_seconds", 0, 86_400),
    ];
    for (field, min, max) in rows {
        assert_eq!(http(json!({field: min})), [""; 0], "{field} {min}");
        assert_eq!(http(json!({field: max})), [""; 0], "{field} {max}");
        let over = max + 1;
        assert_eq!(http(json!({field: over})), [format!("{field} must be between {min} and {max} (got {over})")]);
        if let Some(under) = min.checked_sub(1) {
            assert_eq!(http(json!({field: under})), [format!("{field} must be between {min} and {max} (got {under})")]);
        }
    }
    assert_eq!(http(json!({"pool_http2_max_concurrent_streams": 1})), [""; 0]);
    let expected = ["pool_http2_max_concurrent_streams must be at least 1 (got 0)"];
    assert_eq!(http(json!({"pool_http2_max_concurrent_streams": 0})), expected);
    assert_eq!(http(json!({"pool_max_requests_per_connection": 0})), [""; 0], "stored, not checked");
}

#[test]
fn circuit_breakers_have_their_ranges() {
    let rows = [
        ("failure_threshold", 10_000),
        ("success_threshold", 10_000),
        ("timeout_seconds", 86_400),
        ("half_open_max_requests", 10_000),
    ];
    for (field, max) in rows {
        assert_eq!(http(json!({"circuit_breaker": {field: 1}})), [""; 0]);
        assert_eq!(http(json!({"circuit_breaker": {field: max}})), [""; 0]);
        for wrong in [0, max + 1] {
            let expected = format!("circuit_breaker.{field} must be between 1 and {max} (got {wrong})");
            assert_eq!(http(json!({"circuit_breaker": {field: wrong}})), [expected]);
        }
    }
    assert_eq!(http(json!({"circuit_breaker": {"failure_status_codes": []}})), [""; 0]);
    let expected = ["circuit_breaker.failure_status_codes contains invalid HTTP status code 99 (must be 100-599)"];
    assert_eq!(http(json!({"circuit_breaker": {"failure_status_codes": [99]}})), expected);
}

#[test]
fn retries_have_their_ranges() {
    let retry = |retry: Value| http(json!({"retry": retry}));
    let sound = [
        json!({"max_retries": 0}),
        json!({"max_retries": 100}),
        json!({"retryable_methods": ["get", "TRACE"]}),
        json!({"retryable_methods": vec!["GET"; 9]}),
        json!({"backoff": {"fixed": {"delay_ms": 300_000}}}),
        json!({"backoff": {"fixed": {"delay_ms": 0}}}),
        json!({"backoff": {"exponential": {"base_ms": 300_000, "max_ms": 300_000}}}),
    ];
    for value in sound {
        assert_eq!(retry(value), [""; 0]);
    }
    let rows = [
        (json!({"max_retries": 101}), "retry.max_retries must be between 0 and 100 (got 101)"),
        (
            json!({"retryable_status_codes": [600]}),
            "retry.retryable_status_codes contains invalid HTTP status code 600",
        ),
        (
            json!({"retryable_methods": vec!["GET"; 10]}),
            "retry.retryable_methods must not have more than 9 entries (got 10)",
        ),
        (json!({"retryable_methods": ["FETCH"]}), "retry.retryable_methods contains invalid HTTP method: FETCH"),
        (
            json!({"backoff": {"fixed": {"delay_ms": 300_001}}}),
            "retry.backoff.delay_ms must not exceed 300000 (got 300001)",
        ),
        (
            json!({"backoff": {"exponential": {"base_ms": 1, "max_ms": 300_001}}}),
            "retry.backoff.max_ms must not exceed 300000 (got 300001)",
        ),
        (
            json!({"backoff": {"exponential": {"base_ms": 3, "max_ms": 2}}}),
            "retry.backoff.base_ms (3) must not exceed backoff.max_ms (2)",
        ),
    ];
    for (value, expected) in rows {
        assert_one(retry(value), expected);
    }
    let both = retry(json!({"backoff": {"exponential": {"base_ms": 300_001, "max_ms": 300_001}}}));
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn every_row_of_the_listen_path_table() {
    let path = |path: Value| http(json!({"listen_path": path}));
    for sound in ["/", "/a b", "=/", "=/x", "~x", "~^$", "/é%2F/..//"] {
        assert_eq!(path(json!(sound)), [""; 0], "{sound}");
    }
    let rows = [
        ("", "listen_path must not be an empty string "),
        ("=", "exact listen_path must start with '=/' "),
        ("=x", "exact listen_path must start with '=/' "),
        ("~", "regex listen_path '~' has empty pattern"),
        ("api", "listen_path must start with '/', '~' (regex), or '=/' (exact)"),
        (" /api", "listen_path must start with '/', '~' (regex), or '=/' (exact)"),
        ("/a\u{1f}", "listen_path must not contain control characters"),
    ];
    for (value, expected) in rows {
        assert_one(path(json!(value)), expected);
    }
    for start in ["/", "=/", "~"] {
        let of_bytes = |bytes: usize| path(json!(format!("{start}{}", "a".repeat(bytes - start.len()))));
        assert_eq!(of_bytes(500), [""; 0]);
        assert_eq!(of_bytes(501), ["listen_path must not exceed 500 characters (got 501)"]);
    }
    assert_one(path(Value::Null), "HTTP proxy requires at least one of `hosts` or `listen_path` ");
    assert_eq!(http(json!({"listen_path": null, "hosts": ["a"]})), [""; 0]);
}

#[test]
fn host_entries_are_counted_and_measured() {
    assert_eq!(http(json!({"hosts": vec!["a"; 100]})), [""; 0]);
    assert_eq!(http(json!({"hosts": vec!["a"; 101]})), ["hosts must not have more than 100 entries (got 101)"]);
    assert_eq!(http(json!({"hosts": ["a".repeat(253)]})), [""; 0]);
    let expected = format!("host entry '{}...' must not exceed 253 characters", "a".repeat(40));
    assert_eq!(http(json!({"hosts": ["a".repeat(254)]})), [expected]);
}

#[test]
fn the_backend_is_a_host_and_a_port_or_an_upstream() {
    assert_one(http(json!({"backend_host": "http://b"})), "backend_host must not contain a scheme ");
    assert_eq!(http(json!({"backend_host": ""})), ["backend_host must be non-empty (or set upstream_id)"]);
    assert_eq!(http(json!({"backend_port": 0})), ["backend_port must be greater than 0 (or set upstream_id)"]);
    assert_eq!(http(json!({"backend_host": "", "backend_port": 0, "upstream_id": "u"})), [""; 0]);
    assert_one(http(json!({"upstream_subset": "s"})), "upstream_subset requires upstream_id ");
    for scheme in ["udp", "dtls"] {
        let found = tcp(json!({"backend_scheme": scheme, "upstream_id": "u", "upstream_subset": "s"}));
        assert_one(found, "upstream_subset is not supported for udp/dtls proxies ");
    }
    assert_eq!(tcp(json!({"upstream_id": "u", "upstream_subset": "s"})), [""; 0]);
}

#[test]
fn tls_fields_need_a_scheme_with_tls() {
    let pair = json!({"backend_tls_client_cert_path": "c", "backend_tls_client_key_path": "k"});
    assert_eq!(http(pair.clone()), [""; 0], "an unset scheme counts as https");
    let certificate = http(json!({"backend_tls_client_cert_path": "c"}));
    assert_one(certificate, "backend_tls_client_cert_path is set but backend_tls_client_key_path is missing ");
    let key = http(json!({"backend_tls_client_key_path": "k"}));
    assert_one(key, "backend_tls_client_key_path is set but backend_tls_client_cert_path is missing ");
    for scheme in ["tcp", "udp"] {
        let mut changes = pair.clone();
        changes["backend_scheme"] = json!(scheme);
        changes["backend_tls_server_ca_cert_path"] = json!("a");
        changes["backend_tls_verify_server_cert"] = json!(false);
        let found = tcp(changes);
        let fields = ["client_cert_path", "client_key_path", "server_ca_cert_path"];
        for (field, error) in fields.iter().zip(&found) {
            let expected = format!("backend_tls_{field} cannot be set when backend_scheme is '{scheme}' ");
            assert!(error.starts_with(&expected), "{error}");
        }
        let expected =
            format!("backend_tls_verify_server_cert cannot be set to false when backend_scheme is '{scheme}' ");
        assert!(found.len() == 4 && found[3].starts_with(&expected), "{found:?}");
    }
    let plain = http(json!({"backend_scheme": "http", "backend_tls_verify_server_cert": false}));
    assert_one(plain, "backend_tls_verify_server_cert cannot be set to false when backend_scheme is 'http' ");
    let passed = tcp(json!({"backend_scheme": "tcps", "passthrough": true, "backend_tls_server_ca_cert_path": "a"}));
    assert_one(passed, "backend_tls_server_ca_cert_path cannot be set when passthrough is true ");
}

#[test]
fn request_filters() {
    assert_eq!(http(json!({"allowed_methods": ["get", "CONNECT"], "allowed_ws_origins": ["https://a"]})), [""; 0]);
    assert_eq!(http(json!({"allowed_methods": []})), ["allowed_methods must be null (allow all) or a non-empty array"]);
    assert_eq!(http(json!({"allowed_methods": ["GETS"]})), ["allowed_methods contains invalid HTTP method: GETS"]);
    assert_eq!(http(json!({"allowed_ws_origins": ["a", " "]})), ["allowed_ws_origins[1] must not be empty"]);
}

#[test]
fn stream_fields() {
    assert_eq!(tcp(json!({"hosts": ["a"], "frontend_tls": true, "allowed_methods": ["GET"]})), [""; 0]);
    assert_one(tcp(json!({"listen_path": ""})), "Stream proxy 't' (scheme tcp) must not set listen_path ");
    assert_one(
        tcp(json!({"backend_scheme": null})),
        "Stream proxy 't' must set backend_scheme explicitly (tcp, tcps, udp, dtls) ",
    );
    assert_one(
        tcp(json!({"response_body_mode": "buffer"})),
        "Stream proxies (TCP/UDP) must use response_body_mode 'stream'",
    );
    assert_one(http(json!({"passthrough": true})), "passthrough is only supported for stream proxies ");
    let both = tcp(json!({"passthrough": true, "frontend_tls": true}));
    assert_one(both, "passthrough and frontend_tls are mutually exclusive ");
    for wrong in [json!(0), json!(-1.5)] {
        let found = tcp(json!({"udp_max_response_amplification_factor": wrong}));
        assert_eq!(found, ["udp_max_response_amplification_factor must be positive"]);
    }
    assert_eq!(tcp(json!({"udp_max_response_amplification_factor": 0.1})), [""; 0]);
}

#[test]
fn every_fault_is_collected() {
    let found = http(json!({"backend_host": "", "backend_port": 0, "allowed_methods": [], "listen_path": ""}));
    assert_eq!(found.len(), 4, "{found:?}");
}
