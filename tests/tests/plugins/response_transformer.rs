//! `response_transformer`.

use serde_json::{Value, json};
use tests::{Backend, Document, Framing, Gateway, Reply, Response};

use crate::ask;

fn transformed(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "response_transformer", config))
}

fn header_rule(operation: &str, key: &str, value: &str) -> Value {
    json!({"target": "header", "operation": operation, "key": key, "value": value})
}

fn json_backend(text: &'static str) -> Backend {
    Backend::replying(move |_| Reply::new(200).header("Content-Type", "application/json").body(text))
}

/// What the client gets when the backend says this.
fn said(rules: Value, content_type: &'static str, body: &'static str) -> Response {
    let backend = Backend::replying(move |_| Reply::new(200).header("Content-Type", content_type).body(body));
    transformed(&backend, json!({"rules": rules})).get("/")
}

#[test]
fn header_rules_change_what_the_client_gets() {
    let backend = Backend::replying(|_| {
        let reply = Reply::text("ok").header("Server", "secret/1.0").header("X-Kept", "k").header("X-Role", "a");
        reply.header("x-role", "b").header("X-Old", "1").header("x-old", "2").header("X-New", "0")
    });
    let gateway = transformed(
        &backend,
        json!({"rules": [
            header_rule("add", "X-Added", "yes"),
            header_rule("add", "X-Kept", "no"),
            header_rule("update", "X-Role", "user"),
            {"operation": "remove", "key": "server"},
            {"operation": "rename", "key": "X-Old", "new_key": "X-New"},
        ]}),
    );
    let response = gateway.get("/");
    for (name, expected) in [
        ("x-added", &["yes"][..]),
        ("x-kept", &["k"]),
        ("x-role", &["user"]),
        ("server", &[]),
        ("x-old", &[]),
        ("x-new", &["1", "2"]),
    ] {
        assert_eq!(response.headers.all(name), expected, "{name}");
    }
    assert_eq!(response.text(), "ok");
}

#[test]
fn rejections_are_decorated_too_but_their_bodies_are_not_touched() {
    let backend = Backend::saying("should not be reached");
    let rules = json!([
        header_rule("add", "X-Frame-Options", "DENY"),
        {"operation": "rename", "key": "WWW-Authenticate", "new_key": "X-Authenticate"},
        {"target": "body", "operation": "remove", "key": "error"},
    ]);
    let document = Document::all_to(backend.port()).proxy_plugin("app", "key_auth", json!({})).proxy_plugin(
        "app",
        "response_transformer",
        json!({"rules": rules}),
    );
    let response = Gateway::running(&document).get("/");
    assert_eq!((response.status, response.text().as_str()), (401, r#"{"error":"Authentication required"}"#));
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert_eq!((response.header("www-authenticate"), response.header("x-authenticate")), (None, Some("ferrum-edge")));
    backend.expect_untouched();
}

#[test]
fn rules_cannot_change_how_a_response_is_framed() {
    let names = ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Keep-Alive"];
    let mut rules: Vec<Value> = names.iter().map(|name| header_rule("update", name, "7")).collect();
    rules.push(header_rule("add", "x-seen", "1"));
    let backend = Backend::saying("ok");
    let document =
        Document::all_to(backend.port()).proxy_plugin("app", "response_transformer", json!({"rules": rules}));
    let keyed = document.clone().proxy_plugin("app", "key_auth", json!({}));
    for (document, expected) in [(document, "ok"), (keyed, r#"{"error":"Authentication required"}"#)] {
        let gateway = Gateway::running(&document);
        let mut client = gateway.raw();
        for _ in 0..2 {
            let response = client.get("/");
            assert_eq!((response.text().as_str(), response.header("x-seen")), (expected, Some("1")));
            assert_eq!(response.headers.all("content-length"), [expected.len().to_string()]);
            for name in &names[1..] {
                assert!(!response.headers.has(name), "{name}: {response:?}");
            }
        }
        let mut client = tests::http2::Http2Client::connect(gateway.port());
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        client.request(1, &fields, true);
        assert_eq!(client.response(1).text(), expected);
    }
}

#[test]
fn body_rules_rewrite_json_and_its_length() {
    let response = said(
        json!([
            {"target": "body", "operation": "remove", "key": "debug"},
            {"target": "body", "operation": "remove", "key": "items.0"},
            {"target": "body", "operation": "add", "key": "meta.version", "value": 2},
            {"target": "body", "operation": "update", "key": "note", "value": "plain words"},
            {"target": "body", "operation": "rename", "key": "old", "new_key": "new"},
        ]),
        "application/json",
        r#"{ "debug": true, "items": [1, 2], "note": 0, "old": "o" }"#,
    );
    let expected = r#"{"items":[2],"note":"plain words","meta":{"version":2},"new":"o"}"#;
    assert_eq!(response.text(), expected);
    assert_eq!(response.framing, Framing::Length(expected.len() as u64));
}

#[test]
fn what_is_no_json_or_needs_no_change_arrives_byte_for_byte() {
    let add = json!([{"target": "body", "operation": "add", "key": "x", "value": 1}]);
    for (content_type, body) in
        [("text/plain", "{}"), ("application/json", "{ broken"), ("application/json", "{ \"x\" : 0 }\n")]
    {
        assert_eq!(said(add.clone(), content_type, body).text(), body, "{content_type}");
    }
    assert_eq!(said(add, "application/problem+json", "{ }").text(), r#"{"x":1}"#);
}

/// Clients of MCP say so with every request.
#[test]
fn a_client_that_would_also_take_events_gets_its_json_rewritten() {
    let backend = json_backend(r#"{"id": 1, "debug": 2}"#);
    let gateway = transformed(&backend, json!({"rules": [{"target": "body", "operation": "remove", "key": "debug"}]}));
    for accept in ["text/event-stream", "application/json, text/event-stream"] {
        assert_eq!(ask(&gateway, "/", &format!("Accept: {accept}\r\n")).text(), r#"{"id":1}"#, "{accept}");
    }
}

#[test]
fn a_client_that_asks_for_compression_or_for_a_part_gets_the_whole_rewritten() {
    let backend = Backend::replying(|request| {
        let reply = Reply::new(200).header("Content-Type", "application/json");
        match (request.header("accept-encoding"), request.header("range")) {
            (Some("identity"), None) => reply.body(r#"{"id": 1, "debug": 2}"#),
            _ => reply.header("Content-Encoding", "gzip").body("not to be read"),
        }
    });
    let gateway = transformed(&backend, json!({"rules": [{"target": "body", "operation": "remove", "key": "debug"}]}));
    for lines in ["Accept-Encoding: gzip, br\r\n", "Range: bytes=1-\r\nIf-Range: \"1\"\r\n", ""] {
        assert_eq!(ask(&gateway, "/", lines).text(), r#"{"id":1}"#, "{lines}");
    }
}

#[test]
fn what_a_backend_compresses_all_the_same_arrives_as_it_came() {
    let backend = Backend::replying(|_| {
        Reply::new(200).header("Content-Type", "application/json").header("Content-Encoding", "gzip").body("{ }")
    });
    let add = json!([{"target": "body", "operation": "add", "key": "x", "value": 1}]);
    let response = transformed(&backend, json!({"rules": add})).get("/");
    assert_eq!((response.text().as_str(), response.header("content-encoding")), ("{ }", Some("gzip")));
}

#[test]
fn a_long_response_is_rewritten_as_well() {
    let text: &'static str = Box::leak(format!("{{\"a\":\"{}\"}}", "b".repeat(3 << 20)).into_boxed_str());
    let rules = json!([{"target": "body", "operation": "update", "key": "c", "value": []}]);
    assert!(said(rules, "application/json", text).text() == text.replace("\"}", "\",\"c\":[]}"));
}

#[test]
fn rules_can_be_switched_off() {
    let rules = json!([
        header_rule("add", "x-added", "1"),
        {"target": "body", "operation": "add", "key": "x", "value": 1},
    ]);
    for (config, is_on) in [
        (json!({"rules": rules, "default_enabled": false}), false),
        (json!({"rules": rules, "default_enabled": false, "runtime_overlay_scope": "edge"}), false),
        (json!({"rules": rules, "default_enabled": true, "runtime_overlay_scope": "edge"}), true),
    ] {
        let backend = json_backend("{}");
        let response = transformed(&backend, config).get("/");
        assert_eq!((response.headers.has("x-added"), response.text() == r#"{"x":1}"#), (is_on, is_on));
    }
}

fn refusal(config: Value) -> String {
    let document = Document::all_to(1).proxy_plugin("app", "response_transformer", config);
    let exit = Gateway::builder().document(&document).start_failing();
    assert_ne!(exit.code, Some(0));
    exit.stderr
}

#[test]
fn a_config_that_does_nothing_or_is_wrong_is_refused() {
    assert!(
        refusal(json!({"rules": []}))
            .contains("response_transformer: no 'rules' configured — plugin will have no effect")
    );
    let wrong = refusal(json!({
        "rules": [{"target": "query", "operation": "remove", "key": "a"}, header_rule("add", "a b", "c\r\nd: e")],
        "runtime_overlay_scope": 1,
        "default_enabled": "yes",
    }));
    for text in [
        "response_transformer: rule[0]: unknown target 'query' (expected header/body)",
        "response_transformer: rule[1]: 'key' must be a valid HTTP header name",
        "response_transformer: rule[1]: header 'value' must not contain CR or LF",
        "response_transformer: runtime_overlay_scope must be a string",
        "response_transformer: default_enabled must be a boolean",
    ] {
        assert!(wrong.contains(text), "{text} in {wrong}");
    }
}

#[test]
fn a_plugin_without_rules_may_wait_for_those_of_routes_and_says_that_there_are_none() {
    let backend = Backend::saying("ok");
    let gateway = transformed(&backend, json!({"apply_route_overrides": true, "runtime_overlay_scope": "edge"}));
    assert_eq!(ask(&gateway, "/", "").status, 200);
    for key in ["apply_route_overrides", "runtime_overlay_scope"] {
        gateway.wait_for_log(|text| {
            text.contains(&format!("response_transformer: '{key}' has no effect in this release"))
        });
    }
}

#[test]
fn curl_gets_rewritten_responses_over_both_versions() {
    let backend = json_backend(r#"{"id": 1, "debug": 2}"#);
    let gateway = transformed(&backend, json!({"rules": [{"target": "body", "operation": "remove", "key": "debug"}]}));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = gateway.curl("/", &[version]);
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"id":1}"#), "{version}");
        assert_eq!(answer.header("content-length"), Some("8"), "{version}");
    }
}
