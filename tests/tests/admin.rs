//! The admin port: health, overload, metrics, tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Proxy, Response, eventually};

const SECRET: &str = "a secret of at least thirty-two bytes";

fn with_admin(document: &Document) -> Gateway {
    Gateway::builder().document(document).env("FERRUM_ADMIN_JWT_SECRET", SECRET).start()
}

/// A token with these changes to a good set of claims; `null` removes a claim.
fn token(changes: Value) -> String {
    signed(changes, SECRET, Algorithm::HS256)
}

fn signed(changes: Value, secret: &str, algorithm: Algorithm) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut claims = json!({
        "iss": "ferrum-edge", "sub": "ops@example", "role": "viewer", "iat": now, "nbf": now, "exp": now + 600, "jti": "1",
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("a token")
}

fn with_token(gateway: &Gateway, path: &str, token: &str) -> Response {
    gateway.admin(path, &[&format!("Authorization: Bearer {token}")])
}

#[track_caller]
fn is_admin_json(response: &Response) {
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(response.headers.all(name), [value], "{response:?}");
    }
}

#[test]
fn health_and_status_tell_what_is_loaded() {
    let document = Document::all_to(1).consumer(json!({"id": "a", "username": "a"}));
    let gateway = Gateway::running(&document);
    for path in ["/health", "/status"] {
        let response = gateway.admin(path, &[]);
        assert_eq!(response.status, 200);
        is_admin_json(&response);
        let health = response.json();
        for (name, value) in [
            ("status", json!("ok")),
            ("mode", json!("file")),
            ("ready", json!(true)),
            ("admin_writes_enabled", json!(false)),
        ] {
            assert_eq!(health[name], value, "{health}");
        }
        assert!(health["timestamp"].as_str().is_some_and(|t| t.ends_with("+00:00")), "{health}");
        let cached = &health["cached_config"];
        assert_eq!(
            (&cached["available"], &cached["proxy_count"], &cached["consumer_count"]),
            (&json!(true), &json!(1), &json!(1))
        );
        assert!(cached["loaded_at"].is_string(), "{health}");
        assert!(health.get("database").is_none() && health.get("mesh").is_none(), "{health}");
    }
}

#[test]
fn health_follows_a_reload() {
    let gateway = Gateway::running(&Document::new());
    assert_eq!(gateway.admin("/health", &[]).json()["cached_config"]["proxy_count"], 0);
    gateway.reload(&Document::all_to(1).proxy(Proxy::new("second").path("/second").to(1)));
    assert_eq!(gateway.admin("/health", &[]).json()["cached_config"]["proxy_count"], 2);
}

#[test]
fn overload_tells_pressure_and_actions() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    assert_eq!(client.get("/").status, 200);
    // The client has its answer a moment before the core counts the request as finished.
    let body = eventually("an overload report without active requests", || {
        let response = gateway.admin("/overload", &[]);
        assert_eq!(response.status, 200);
        Some(response.json()).filter(|body| body["active_requests"] == json!(0))
    });
    for (name, value) in [
        ("level", json!("normal")),
        ("draining", json!(false)),
        ("active_connections", json!(1)),
        ("active_requests", json!(0)),
    ] {
        assert_eq!(body[name], value, "{body}");
    }
    assert_eq!(
        (body["red_drop_probability_pct"].as_f64(), body["port_exhaustion_events"].as_u64()),
        (Some(0.0), Some(0))
    );
    for name in [
        "cookie_unavailable",
        "unknown_cookie",
        "missing_pod_uid",
        "missing_workload_hash",
        "unknown_pod",
        "hash_mismatch",
    ] {
        assert_eq!(body["node_waypoint_drops"][name], 0, "{body}");
    }
    for (name, max) in [("connections", Some(100_000)), ("requests", Some(0)), ("file_descriptors", None)] {
        let pressure = &body["pressure"][name];
        assert!(pressure["current"].is_u64() && pressure["ratio"].is_number(), "{body}");
        assert!(pressure["max"].is_u64() && max.is_none_or(|max| pressure["max"] == max), "{body}");
    }
    assert!(body["pressure"]["event_loop_latency_us"].is_u64(), "{body}");
    let actions = json!({"disable_keepalive": false, "reject_new_connections": false, "reject_new_requests": false});
    assert_eq!(body["actions"], actions);
    assert_eq!(body["stream_listeners"], json!({"dtls_demux_sessions_total": 0, "dtls_demux_sessions": []}));
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let gateway = Gateway::builder().env("FERRUM_CORES", "0,1").start();
    let active = || gateway.admin("/overload", &[]).json()["active_connections"].as_u64().expect("a number");
    let mut clients: Vec<_> = (0..20).map(|_| gateway.raw()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 404);
    }
    assert_eq!(active(), 20);
    drop(clients);
    eventually("they are gone", || (active() == 0).then_some(()));
}

#[test]
fn a_gateway_near_its_connection_limit_asks_its_clients_to_close() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_MAX_CONNECTIONS", 20)
        .env("FERRUM_OVERLOAD_CHECK_INTERVAL_MS", 100)
        .start();
    let mut client = gateway.raw();
    assert!(!client.get("/").says_close());
    let mut held: Vec<_> = (0..17).map(|_| gateway.raw()).collect();
    let level = || gateway.admin("/overload", &[]).json();
    let under_pressure =
        eventually("the pressure is seen", || Some(level()).filter(|body| body["level"] == "pressure"));
    assert_eq!(under_pressure["actions"]["disable_keepalive"], true);
    let response = client.get("/");
    assert!(response.says_close(), "{response:?}");
    client.expect_closed();
    gateway.wait_for_log(|text| text.contains("Overload") && text.contains("pressure"));
    held.clear();
    eventually("the pressure is gone", || Some(level()).filter(|body| body["level"] == "normal"));
    assert!(!gateway.raw().get("/").says_close());
    gateway.wait_for_log(|text| text.contains("Overload") && text.contains("recovered"));
}

#[test]
fn metrics_have_their_type_and_the_families_that_are_always_there() {
    let gateway = Gateway::running(&Document::new());
    let response = gateway.admin("/metrics", &[]);
    assert_eq!(response.status, 200);
    assert_eq!(response.headers.all("content-type"), ["text/plain; version=0.0.4; charset=utf-8"]);
    assert_eq!(response.headers.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(response.headers.all("cache-control"), ["no-store"]);
    let text = response.text();
    for (family, kind) in [
        ("ferrum_requests_total", "counter"),
        ("ferrum_request_duration_ms", "histogram"),
        ("ferrum_backend_duration_ms", "histogram"),
        ("ferrum_edge_overhead_ms", "histogram"),
        ("ferrum_rate_limit_exceeded_total", "counter"),
        ("ferrum_rate_limit_local_fallback_decisions_total", "counter"),
        ("ferrum_mesh_dns_upstream_id_exhaustions_total", "counter"),
    ] {
        assert!(text.lines().any(|line| line == format!("# TYPE {family} {kind}")), "{family} in {text}");
        assert_eq!(text.lines().filter(|line| line.starts_with(&format!("# HELP {family} "))).count(), 1, "{text}");
    }
}

#[test]
fn endpoints_that_need_a_token_refuse_without() {
    let gateway = with_admin(&Document::new());
    for path in ["/metrics/runtime", "/admin/metrics", "/plugins", "/proxies", "/live", "/ready"] {
        let response = gateway.admin(path, &[]);
        assert_eq!((response.status, response.text().as_str()), (401, r#"{"error":"Missing Authorization header"}"#));
        is_admin_json(&response);
        assert!(!response.headers.has("www-authenticate"), "{response:?}");
    }
    for value in ["Basic eDp5", "bearer x", "Bearer", "x"] {
        let response = gateway.admin("/metrics/runtime", &[&format!("Authorization: {value}")]);
        assert_eq!(
            (response.status, response.text().as_str()),
            (401, r#"{"error":"Invalid Authorization header format"}"#)
        );
    }
}

#[test]
fn a_good_token_opens_the_runtime_metrics() {
    let backend = Backend::saying("ok");
    let gateway = with_admin(&Document::all_to(backend.port()));
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    for role in ["viewer", "operator", "admin"] {
        let response = with_token(&gateway, "/metrics/runtime", &token(json!({"role": role})));
        assert_eq!(response.status, 200, "{role}: {response:?}");
        assert!(matches!(response.header("x-cache"), Some("hit" | "miss")), "{response:?}");
    }
    let body = eventually("the requests are counted", || {
        let body = with_token(&gateway, "/metrics/runtime", &token(json!({}))).json();
        (body["http"]["total_requests"].as_u64() >= Some(3)).then_some(body)
    });
    assert_eq!((&body["mode"], &body["http"]["status_codes"]["totals"]["200"]), (&json!("file"), &json!(3)), "{body}");
    assert!(body["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{body}");
    for name in ["uptime_seconds", "ferrum_version", "system", "errors", "dns", "connections", "logs", "overload"] {
        assert!(body.get(name).is_some(), "{name} in {body}");
    }
    assert!(body["system"]["memory"]["rss_bytes"].as_u64() > Some(1 << 20), "{body}");
}

#[test]
fn admin_metrics_count_resources_and_statuses() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port()).consumer(json!({"id": "a", "username": "a"}));
    let gateway = with_admin(&document);
    gateway.get("/");
    let response = with_token(&gateway, "/admin/metrics", &token(json!({})));
    assert_eq!(response.status, 200);
    let body = response.json();
    let metrics = &body["gateway"];
    for (name, value) in [
        ("mode", json!("file")),
        ("proxy_count", json!(1)),
        ("consumer_count", json!(1)),
        ("upstream_count", json!(0)),
        ("plugin_config_count", json!(0)),
        ("metrics_window_seconds", json!(30)),
        ("config_source_status", json!("n/a")),
    ] {
        assert_eq!(metrics[name], value, "{name} in {metrics}");
    }
    for code in ["200", "201", "404", "503", "504"] {
        assert!(metrics["status_codes_total"][code].is_u64(), "{metrics}");
    }
    for name in [
        "connection_pools",
        "circuit_breakers",
        "health_check",
        "load_balancers",
        "caches",
        "consumer_index",
        "rate_limiting",
    ] {
        assert!(body.get(name).is_some(), "{name} in {body}");
    }
}

#[test]
fn a_secret_that_could_be_guessed_opens_nothing_and_is_warned_of() {
    for (secret, status) in [("x".repeat(32), 200), ("x".repeat(31), 401), (String::new(), 401)] {
        let builder = Gateway::builder().document(&Document::new()).env("FERRUM_LOG_LEVEL", "warn");
        let gateway = builder.env("FERRUM_ADMIN_JWT_SECRET", &secret).start();
        let response = with_token(&gateway, "/metrics/runtime", &signed(json!({}), &secret, Algorithm::HS256));
        assert_eq!(response.status, status, "{} bytes", secret.len());
        let is_warned = gateway.log().iter().any(|line| line.starts_with("FERRUM_ADMIN_JWT_SECRET"));
        assert_eq!(is_warned, status == 401, "{:?}", gateway.log());
    }
}

#[test]
fn a_token_that_is_not_exactly_right_is_refused() {
    let gateway = with_admin(&Document::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let refused = |token: &str| {
        let response = with_token(&gateway, "/metrics/runtime", token);
        assert_eq!(response.status, 401, "{response:?}");
        response.json()["error"].as_str().expect("an error").to_owned()
    };
    for changes in [
        json!({"iss": "someone-else"}),
        json!({"exp": now - 120, "iat": now - 200}),
        json!({"nbf": now + 600}),
        json!({"exp": now + 3601 + 600}),
        json!({"exp": now, "iat": now + 10}),
        json!({"aud": "anybody"}),
        json!({"iss": null}),
        json!({"sub": null}),
        json!({"exp": null}),
        json!({"iat": null}),
        json!({"nbf": null}),
        json!({"jti": null}),
    ] {
        let error = refused(&token(changes.clone()));
        assert!(error.starts_with("Token verification failed: "), "{changes}: {error}");
    }
    assert!(refused(&signed(json!({}), "another secret of thirty-two bytes!", Algorithm::HS256)).starts_with("Token"));
    assert!(refused(&signed(json!({}), SECRET, Algorithm::HS512)).starts_with("Token"));
    assert!(refused("a.b.c").starts_with("Token"));
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJyb2xlIjoiYWRtaW4ifQ.";
    assert!(refused(unsigned).starts_with("Token"));
    let roles = "expected viewer, operator, or admin";
    assert_eq!(refused(&token(json!({"role": null}))), format!("Missing admin role claim; {roles}"));
    assert_eq!(refused(&token(json!({"role": "root"}))), format!("Invalid admin role claim 'root'; {roles}"));
    assert_eq!(refused(&token(json!({"role": 7}))), format!("Invalid admin role claim type; {roles} string"));
}

#[test]
fn a_token_within_the_leeway_is_accepted() {
    let gateway = with_admin(&Document::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    for changes in [json!({"exp": now - 30, "iat": now - 300}), json!({"nbf": now + 30}), json!({"exp": now + 3600})] {
        assert_eq!(with_token(&gateway, "/metrics/runtime", &token(changes.clone())).status, 200, "{changes}");
    }
}

#[test]
fn the_list_of_plugins_holds_the_ones_that_can_be_used() {
    let gateway = with_admin(&Document::new());
    let response = with_token(&gateway, "/plugins", &token(json!({})));
    assert_eq!(response.status, 200);
    let names = response.json();
    for name in ["key_auth", "correlation_id", "stdout_logging"] {
        assert!(names.as_array().expect("an array").contains(&json!(name)), "{names}");
    }
}

#[test]
fn an_unknown_path_is_404_for_those_who_may_ask() {
    let gateway = with_admin(&Document::new());
    for path in ["/live", "/ready", "/no-such-path"] {
        assert_eq!(with_token(&gateway, path, &token(json!({}))).status, 404, "{path}");
    }
}

#[test]
fn addresses_that_are_not_allowed_are_closed_without_a_word() {
    let backend = Backend::saying("ok");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = builder.env("FERRUM_ADMIN_ALLOWED_CIDRS", "10.0.0.0/8").launch(&["run"]);
    gateway.wait_for_log(|text| text.starts_with("Gateway startup complete"));
    let mut client = tests::RawClient::connect(gateway.admin_port());
    client.try_send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n").ok();
    client.expect_closed();
    assert_eq!(gateway.get("/").status, 200, "the proxy port is everybody's");
}

#[test]
fn a_bad_list_of_allowed_addresses_is_fatal() {
    let exit = Gateway::builder().env("FERRUM_ADMIN_ALLOWED_CIDRS", "127.0.0.1, nonsense").start_failing();
    assert_eq!(exit.code, Some(1));
    let reason = "Fatal error: FERRUM_ADMIN_ALLOWED_CIDRS: Invalid CIDR/IP entries: ";
    assert!(exit.messages().iter().any(|text| text.starts_with(reason) && text.contains("nonsense")), "{exit:?}");
}

#[test]
fn the_admin_port_survives_nonsense() {
    let gateway = Gateway::running(&Document::new());
    for nonsense in ["\0\0\0\0", "GET\r\n\r\n", "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"] {
        let mut client = tests::RawClient::connect(gateway.admin_port());
        client.try_send(nonsense).ok();
        client.finish_sending();
        client.try_response().ok();
    }
    assert_eq!(gateway.admin("/health", &[]).status, 200);
}
