//! `request_transformer`.

use serde_json::{Value, json};
use tests::{Backend, Document, Framing, Gateway, Request};

use crate::ask;

fn transformed(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "request_transformer", config))
}

fn header_rule(operation: &str, key: &str, value: &str) -> Value {
    json!({"target": "header", "operation": operation, "key": key, "value": value})
}

/// What the backend gets of a POST with this body, through these rules.
fn posted(rules: Value, content_type: &str, body: &str) -> Request {
    let backend = Backend::saying("ok");
    let gateway = transformed(&backend, json!({"rules": rules}));
    let type_line = if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let length = body.len();
    let response =
        gateway.ask(format!("POST / HTTP/1.1\r\nHost: a\r\n{type_line}Content-Length: {length}\r\n\r\n{body}"));
    assert_eq!(response.status, 200);
    backend.only_request()
}

#[test]
fn header_rules_change_what_the_backend_gets() {
    let backend = Backend::saying("ok");
    let gateway = transformed(
        &backend,
        json!({"rules": [
            header_rule("add", "X-Tenant", "public"),
            header_rule("add", "X-Present", "not this"),
            header_rule("update", "X-ROLE", "user"),
            {"operation": "remove", "key": "x-debug"},
            {"operation": "rename", "key": "X-Old-Id", "new_key": "X-Id"},
            {"operation": "rename", "key": "X-Absent", "new_key": "X-Id"},
        ]}),
    );
    let lines =
        "X-Present: mine\r\nx-role: admin\r\nX-Role: root\r\nX-Debug: 1\r\nX-Old-Id: 7\r\nX-Id: 0\r\nX-Other: o\r\n";
    assert_eq!(ask(&gateway, "/", lines).status, 200);
    let request = backend.only_request();
    for (name, expected) in [
        ("x-tenant", &["public"][..]),
        ("x-present", &["mine"]),
        ("x-role", &["user"]),
        ("x-debug", &[]),
        ("x-old-id", &[]),
        ("x-id", &["7"]),
        ("x-other", &["o"]),
    ] {
        assert_eq!(request.headers.all(name), expected, "{name}");
    }
}

#[test]
fn rules_cannot_change_how_a_request_is_framed_and_a_client_cannot_say_who_it_is() {
    let backend = Backend::echoing();
    let names = ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade"];
    let mut rules: Vec<Value> = names.iter().map(|name| header_rule("update", name, "7")).collect();
    // A rule is the operator's word, which holds as long as nobody is identified (plugin API sheet §4.5).
    rules.push(header_rule("update", "X-Consumer-Custom-Id", "7"));
    let gateway = transformed(&backend, json!({"rules": rules}));
    let response = gateway.ask(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Consumer-Username: root\r\nX-Consumer-Custom-Id: 0\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(response.text(), "hello");
    let request = backend.only_request();
    assert_eq!(request.headers.all("content-length"), ["5"]);
    assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"]);
    for name in names[1..].iter().chain(&["X-Consumer-Username"]) {
        assert!(!request.headers.has(name), "{name}: {request:?}");
    }
}

#[test]
fn query_rules_leave_the_backend_the_query_that_was_sent() {
    let backend = Backend::naming_targets();
    let gateway = transformed(
        &backend,
        json!({"rules": [
            {"target": "query", "operation": "add", "key": "new", "value": "1"},
            {"target": "query", "operation": "update", "key": "a", "value": "2"},
            {"target": "query", "operation": "remove", "key": "b"},
            {"target": "query", "operation": "rename", "key": "c", "new_key": "d"},
        ]}),
    );
    assert_eq!(ask(&gateway, "/p?a=1&b=%20&c", "").text(), "GET /p?a=1&b=%20&c");
}

#[test]
fn body_rules_rewrite_json_and_its_length() {
    let request = posted(
        json!([
            {"target": "body", "operation": "remove", "key": "internal"},
            {"target": "body", "operation": "add", "key": "user.role", "value": "guest"},
            {"target": "body", "operation": "update", "key": "items.0.price", "value": "12.50"},
            {"target": "body", "operation": "rename", "key": "user.login", "new_key": "login"},
            {"target": "body", "operation": "update", "key": r"a\.b", "value": null},
        ]),
        "application/json",
        r#"{ "internal": [1, 2], "user": {"login": "ann"}, "items": [ {"price": 0} ], "big": 12345678901234567890 }"#,
    );
    let expected =
        r#"{"user":{"role":"guest"},"items":[{"price":12.50}],"big":12345678901234567890,"login":"ann","a.b":null}"#;
    assert_eq!(request.text(), expected);
    assert_eq!(request.framing, Framing::Length(expected.len() as u64));
}

#[test]
fn a_body_that_is_no_json_or_needs_no_change_arrives_byte_for_byte() {
    let add = json!([{"target": "body", "operation": "add", "key": "x", "value": 1}]);
    for (content_type, body) in [
        ("text/plain", "{}"),
        ("application/octet-stream", "{ }"),
        ("application/json", "{\"a\": 1"),
        ("application/json", "[ 1 ]"),
        ("application/json", "{ \"x\" : 0 }\n"),
    ] {
        assert_eq!(posted(add.clone(), content_type, body).text(), body, "{content_type}");
    }
    for content_type in ["", "application/json; charset=utf-8", "application/vnd.shop+JSON"] {
        assert_eq!(posted(add.clone(), content_type, "{ }").text(), r#"{"x":1}"#, "{content_type}");
    }
}

#[test]
fn header_rules_run_before_it_is_judged_whether_a_body_is_json() {
    let rules = json!([
        {"target": "body", "operation": "add", "key": "x", "value": 1},
        header_rule("update", "content-type", "application/json"),
    ]);
    let request = posted(rules, "text/plain", "{}");
    assert_eq!((request.text().as_str(), request.header("content-type")), (r#"{"x":1}"#, Some("application/json")));
}

#[test]
fn bodies_that_no_rule_is_about_are_not_waited_for() {
    let backend = Backend::scripted(|connection| {
        let head = connection.read_head().expect("a request");
        // The backend answers what it has read before the client has sent the rest.
        let first = String::from_utf8(connection.read_some()).expect("text");
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{first}", first.len()));
        assert_eq!(head.method, "POST");
        connection.wait_closed();
    });
    let rules = json!({"rules": [{"target": "body", "operation": "add", "key": "x", "value": 1}]});
    let gateway = transformed(&backend, rules);
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: 100\r\n\r\nfirst");
    assert_eq!(client.response().text(), "first");
}

#[test]
fn a_long_body_and_a_hostile_one_are_rewritten_as_well() {
    let remove = json!([{"target": "body", "operation": "remove", "key": "secret"}]);
    let long = format!("{{\"secret\":1,\"a\":\"{}\"}}", "b".repeat(3 << 20));
    assert!(posted(remove.clone(), "application/json", &long).text() == long.replacen("\"secret\":1,", "", 1));
    let deep = format!("{{\"secret\":1,\"a\":{}{}}}", "[".repeat(300_000), "]".repeat(300_000));
    assert!(posted(remove.clone(), "application/json", &deep).text() == deep.replacen("\"secret\":1,", "", 1));
    let many = format!("{{{}\"secret\":1}}", "\"secret\":0,".repeat(60_000));
    assert_eq!(posted(remove, "application/json", &many).text(), "{}");
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
        let backend = Backend::saying("ok");
        let gateway = transformed(&backend, config);
        gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
        let request = backend.only_request();
        assert_eq!((request.headers.has("x-added"), request.text() == r#"{"x":1}"#), (is_on, is_on));
    }
}

fn refusal(config: Value) -> String {
    let document = Document::all_to(1).proxy_plugin("app", "request_transformer", config);
    let exit = Gateway::builder().document(&document).start_failing();
    assert_ne!(exit.code, Some(0));
    exit.stderr
}

#[test]
fn a_config_that_does_nothing_or_is_wrong_is_refused() {
    assert!(
        refusal(json!({"rules": []}))
            .contains("request_transformer: no 'rules' configured — plugin will have no effect")
    );
    let wrong = refusal(json!({
        "rules": [{"target": "headers", "operation": "set", "key": "a"}],
        "runtime_overlay_scope": " ",
        "default_enabled": "yes",
    }));
    for text in [
        "request_transformer: rule[0]: unknown target 'headers' (expected header/query/body)",
        "request_transformer: rule[0]: unknown operation 'set' (expected add/update/remove/rename)",
        "request_transformer: runtime_overlay_scope must be a non-empty string",
        "request_transformer: default_enabled must be a boolean",
    ] {
        assert!(wrong.contains(text), "{text} in {wrong}");
    }
}

#[test]
fn a_plugin_without_rules_may_wait_for_those_of_routes_and_says_that_there_are_none() {
    let backend = Backend::saying("ok");
    let gateway = transformed(&backend, json!({"apply_route_overrides": true, "runtime_overlay_scope": "edge"}));
    assert_eq!(gateway.get("/").status, 200);
    for key in ["apply_route_overrides", "runtime_overlay_scope"] {
        gateway
            .wait_for_log(|text| text.contains(&format!("request_transformer: '{key}' has no effect in this release")));
    }
}

#[test]
fn curl_posts_through_the_rules_over_both_versions() {
    let rules = json!({"rules": [
        header_rule("add", "X-Added", "yes"),
        {"target": "body", "operation": "update", "key": "channel", "value": "web"},
    ]});
    let backend = Backend::echoing();
    let gateway = transformed(&backend, rules);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let json = ["--header", "Content-Type: application/json", "--data-binary", r#"{"id": 1}"#];
        let answer = gateway.curl("/", &[&[version][..], &json].concat());
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"id":1,"channel":"web"}"#), "{version}");
    }
    assert!(backend.requests().iter().all(|request| request.header("x-added") == Some("yes")));
}
