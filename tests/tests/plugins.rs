//! Plugins as a client and a backend see them.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Proxy, Response};

fn alice() -> Value {
    json!({"id": "c-alice", "username": "alice", "custom_id": "7", "credentials": {"keyauth": [{"key": "k-1"}, {"key": "k-2"}]}})
}

/// Every path goes to the backend, behind `key_auth` with this configuration.
fn keyed(backend: &Backend, config: Value) -> Gateway {
    let bob = json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "bob's key"}]}});
    let document = Document::all_to(backend.port()).proxy_plugin("app", "key_auth", config);
    Gateway::running(&document.consumer(alice()).consumer(bob))
}

fn ask(gateway: &Gateway, path: &str, line: &str) -> Response {
    gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{line}Connection: close\r\n\r\n"))
}

#[track_caller]
fn unauthorized(response: &Response, error: &str) {
    assert_eq!((response.status, response.text()), (401, format!(r#"{{"error":"{error}"}}"#)));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    assert!(!response.headers.has("via") && !response.headers.has("x-gateway-error"), "{response:?}");
}

#[test]
fn a_known_key_tells_the_backend_who_asks() {
    let backend = Backend::saying("ok");
    let gateway = keyed(&backend, json!({}));
    for key in ["k-1", "k-2"] {
        assert_eq!(ask(&gateway, "/", &format!("X-API-Key: {key}\r\n")).status, 200);
    }
    assert_eq!(ask(&gateway, "/", "x-api-key: bob's key\r\nX-Consumer-Custom-Id: forged\r\n").status, 200);
    let requests = backend.requests();
    for request in &requests[..2] {
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
        assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"]);
    }
    assert_eq!(requests[0].header("x-api-key"), Some("k-1"), "the key goes on unchanged");
    assert_eq!(requests[2].headers.all("x-consumer-username"), ["bob"]);
    assert!(!requests[2].headers.has("x-consumer-custom-id"), "bob has none");
}

#[test]
fn without_a_good_key_nobody_passes() {
    let backend = Backend::saying("should not be reached");
    let gateway = keyed(&backend, json!({}));
    let missing = ask(&gateway, "/", "");
    unauthorized(&missing, "Authentication required");
    assert_eq!(missing.header("www-authenticate"), Some("ferrum-edge"));
    for blank in ["X-API-Key:\r\n", "X-API-Key:   \r\n"] {
        unauthorized(&ask(&gateway, "/", blank), "Missing API key");
    }
    for wrong in ["k-3", "K-1", "k-1x", "k-1, k-2"] {
        let response = ask(&gateway, "/", &format!("X-API-Key: {wrong}\r\n"));
        unauthorized(&response, "Invalid API key");
        assert!(!response.headers.has("www-authenticate"), "{response:?}");
    }
    unauthorized(&ask(&gateway, "/?X-API-Key=k-1", ""), "Authentication required");
    backend.expect_untouched();
}

#[test]
fn the_key_may_be_in_another_header() {
    let backend = Backend::saying("ok");
    let gateway = keyed(&backend, json!({"key_location": "header:X-Secret"}));
    assert_eq!(ask(&gateway, "/", "x-SECRET: k-1\r\n").status, 200);
    unauthorized(&ask(&gateway, "/", "X-API-Key: k-1\r\n"), "Authentication required");
}

#[test]
fn a_key_in_the_query_is_found_decoded_and_forwarded_as_it_came() {
    let backend = Backend::naming_targets();
    let gateway = keyed(&backend, json!({"key_location": "query:api_key"}));
    assert_eq!(ask(&gateway, "/p?a=1&api_key=k-1&b=%20&a=2", "").text(), "GET /p?a=1&api_key=k-1&b=%20&a=2");
    assert_eq!(ask(&gateway, "/p?api_key=k%2D1", "").text(), "GET /p?api_key=k%2D1");
    unauthorized(&ask(&gateway, "/p?API_KEY=k-1", ""), "Authentication required");
    unauthorized(&ask(&gateway, "/p?api_key=", ""), "Missing API key");
    unauthorized(&ask(&gateway, "/p?api_key=nobody", ""), "Invalid API key");
}

#[test]
fn curl_with_a_key_passes_and_without_is_told_to_authenticate() {
    let backend = Backend::saying("welcome");
    let gateway = keyed(&backend, json!({}));
    let answer = gateway.curl("/", &["--header", "X-API-Key: k-1"]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "welcome"));
    let answer = gateway.curl("/", &[]);
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("ferrum-edge")));
}

#[test]
fn a_plugin_of_one_proxy_leaves_the_others_alone() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let document =
        Document::new().proxy(proxy("closed")).proxy(proxy("open")).proxy_plugin("closed", "key_auth", json!({}));
    let gateway = Gateway::running(&document);
    assert_eq!((gateway.get("/closed").status, gateway.get("/open").status), (401, 200));
}

#[test]
fn a_plugin_named_from_one_side_only_does_not_run() {
    let backend = Backend::saying("ok");
    let one_sided = json!({"id": "k", "plugin_name": "key_auth", "scope": "proxy", "proxy_id": "app", "config": {}});
    let gateway = Gateway::running(&Document::all_to(backend.port()).plugin(one_sided));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_disabled_plugin_does_not_run() {
    let backend = Backend::saying("ok");
    let disabled = json!({"id": "k", "plugin_name": "key_auth", "scope": "global", "enabled": false, "config": {}});
    let gateway = Gateway::running(&Document::all_to(backend.port()).plugin(disabled));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_plugin_of_a_proxy_takes_the_place_of_the_global_one() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port())
        .global_plugin("key_auth", json!({"key_location": "header:X-Global"}))
        .proxy_plugin("app", "key_auth", json!({"key_location": "header:X-Own"}))
        .consumer(alice());
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/", "X-Own: k-1\r\n").status, 200);
    assert_eq!(ask(&gateway, "/", "X-Global: k-1\r\n").status, 401);
}

#[test]
fn no_plugin_runs_where_no_route_is_found() {
    let gateway = Gateway::running(&Document::new().global_plugin("key_auth", json!({})));
    assert_eq!(gateway.get("/nowhere").status, 404);
}

#[test]
fn multi_mode_needs_one_of_the_keys() {
    let backend = Backend::saying("ok");
    let own = |id: &str, location: &str| json!({"id": id, "plugin_name": "key_auth", "scope": "proxy_group", "config": {"key_location": location}});
    let proxy = |id: &str, mode: &str| {
        let plugins = json!([{"plugin_config_id": "first"}, {"plugin_config_id": "second"}]);
        Proxy::new(id).path(&format!("/{id}")).set("auth_mode", mode).set("plugins", plugins).to(backend.port())
    };
    let document = Document::new()
        .proxy(proxy("single", "single"))
        .proxy(proxy("multi", "multi"))
        .plugin(own("first", "header:X-First"))
        .plugin(own("second", "header:X-Second"))
        .consumer(alice());
    let gateway = Gateway::running(&document);
    let both = "X-First: wrong\r\nX-Second: k-1\r\n";
    unauthorized(&ask(&gateway, "/single", both), "Invalid API key");
    assert_eq!(ask(&gateway, "/multi", both).status, 200);
    assert_eq!(ask(&gateway, "/single", "X-Second: k-1\r\n").status, 200, "an absent key is no wrong key");
    unauthorized(&ask(&gateway, "/multi", "X-First: wrong\r\n"), "Invalid API key");
    unauthorized(&ask(&gateway, "/multi", ""), "Authentication required");
}

fn correlated(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "correlation_id", config))
}

fn is_uuid_v4(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    parts == [8, 4, 4, 4, 12] && digits && text.as_bytes()[14] == b'4'
}

#[test]
fn a_request_without_an_id_gets_one_on_both_sides() {
    let backend = Backend::saying("ok");
    let gateway = correlated(&backend, json!({}));
    let (one, two) = (ask(&gateway, "/", ""), ask(&gateway, "/", ""));
    let seen: Vec<String> = backend.requests().iter().map(|r| r.headers.all("x-request-id").join("|")).collect();
    assert!(seen.iter().all(|id| is_uuid_v4(id)), "{seen:?}");
    assert_eq!([one.header("x-request-id"), two.header("x-request-id")], [Some(seen[0].as_str()), Some(&seen[1])]);
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn an_id_the_client_sent_is_kept_up_to_256_bytes() {
    let backend = Backend::saying("ok");
    let gateway = correlated(&backend, json!({}));
    for id in ["mine-1".to_owned(), "i".repeat(256), String::new()] {
        let response = ask(&gateway, "/", &format!("X-Request-ID: {id}\r\n"));
        assert_eq!(response.header("x-request-id"), Some(id.as_str()));
        assert_eq!(backend.requests().last().and_then(|r| r.header("x-request-id").map(str::to_owned)), Some(id));
    }
    let response = ask(&gateway, "/", &format!("X-Request-ID: {}\r\n", "i".repeat(257)));
    assert!(response.header("x-request-id").is_some_and(is_uuid_v4), "{response:?}");
}

#[test]
fn an_id_may_have_another_name_and_stay_inside() {
    let backend = Backend::saying("ok");
    let gateway = correlated(&backend, json!({"header_name": " X-Trace ", "echo_downstream": false}));
    let response = ask(&gateway, "/", "X-Trace: t-1\r\n");
    assert!(!response.headers.has("x-trace") && !response.headers.has("x-request-id"), "{response:?}");
    assert_eq!(backend.only_request().header("x-trace"), Some("t-1"));
}

#[test]
fn a_rejection_carries_the_id_too() {
    let backend = Backend::saying("should not be reached");
    let document = Document::all_to(backend.port()).proxy_plugin("app", "correlation_id", json!({})).proxy_plugin(
        "app",
        "key_auth",
        json!({}),
    );
    let response = ask(&Gateway::running(&document), "/", "X-Request-ID: mine\r\n");
    assert_eq!((response.status, response.header("x-request-id")), (401, Some("mine")));
    backend.expect_untouched();
}
