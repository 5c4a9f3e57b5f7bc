//! What becomes of responses.

use serde_json::json;

use super::super::transform::SCANNED_BYTES_MAX;
use super::*;
use crate::testing::{core, ready, request};
use crate::{AuthMode, Chain};

fn chain(rules: Value) -> Chain {
    let parsed = ResponseTransformer::parse(&json!({"rules": rules})).unwrap();
    Chain::new(&[parsed.spec.build(&core().0)], AuthMode::Single)
}

fn head(fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(200);
    fields.iter().for_each(|(name, value)| head.headers.append(name, value.as_bytes()));
    head
}

/// The lines of these names after the rules.
fn headers(rules: Value, received: &[(&str, &str)], names: &[&str]) -> Vec<Vec<String>> {
    let mut head = head(received);
    ready(chain(rules).after_proxy(&mut request("GET /", &[]), &mut head)).unwrap();
    let lines = |name: &&str| head.headers.all(name).map(|value| String::from_utf8_lossy(value).into()).collect();
    names.iter().map(lines).collect()
}

/// The headers of a rejection after the rules.
fn rejected(rules: Value, headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut rejection = Rejection::json(401, "{}");
    rejection.headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    ready(chain(rules).on_rejection(&mut request("GET /", &[]), &mut rejection));
    assert_eq!((rejection.status, &rejection.body[..]), (401, &b"{}"[..]));
    rejection.headers
}

fn all_kinds() -> Value {
    json!([
        {"target": "header", "operation": "add", "key": "X-A", "value": "added"},
        {"target": "header", "operation": "update", "key": "x-b", "value": "updated"},
        {"target": "header", "operation": "remove", "key": "Server"},
        {"target": "header", "operation": "rename", "key": "x-old", "new_key": "X-New"},
    ])
}

#[test]
fn header_rules_edit_responses() {
    let received = [("X-B", "1"), ("x-b", "2"), ("server", "s"), ("X-Old", "o"), ("X-New", "n")];
    assert_eq!(
        headers(all_kinds(), &received, &["x-a", "x-b", "server", "x-old", "x-new"]),
        [vec!["added"], vec!["updated"], vec![], vec![], vec!["o"]]
    );
    assert_eq!(headers(all_kinds(), &[("X-A", "ü")], &["x-a", "x-new"]), [vec!["ü"], vec![]]);
}

#[test]
fn every_cookie_that_is_set_is_moved() {
    let rename = json!([{"operation": "rename", "key": "set-cookie", "new_key": "x-cookie"}]);
    let received = [("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Cookie", "old")];
    assert_eq!(headers(rename, &received, &["set-cookie", "x-cookie"]), [vec![], vec!["a=1", "b=2"]]);
}

#[test]
fn header_rules_edit_rejections_too() {
    let received = [("X-B", "1"), ("server", "s"), ("X-Old", "o"), ("x-new", "n"), ("x-old", "p")];
    let mut edited = rejected(all_kinds(), &received);
    edited.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(edited, [pair("x-a", "added"), pair("x-b", "updated"), pair("x-new", "o"), pair("x-new", "p")]);
    let same = json!([{"operation": "rename", "key": "x-a", "new_key": "X-A"}]);
    assert_eq!(rejected(same, &[("x-a", "1")]), [pair("x-a", "1")]);
}

/// The response after the rules.
fn body(rules: Value, content_type: &str, body: &str) -> String {
    let mut head = head(&[("content-type", content_type)]);
    let mut response = WholeResponse { head: &mut head, body: body.as_bytes().to_vec(), trailers: None };
    assert!(!ready(chain(rules).response_body(&mut request("GET /", &[]), &mut response)));
    String::from_utf8(response.body).unwrap()
}

#[test]
fn body_rules_edit_json_responses_only() {
    let rules = json!([
        {"target": "body", "operation": "remove", "key": "internal"},
        {"target": "body", "operation": "add", "key": "v", "value": "2"},
    ]);
    assert_eq!(body(rules.clone(), "application/json", r#"{"a": 1, "internal": 2}"#), r#"{"a":1,"v":2}"#);
    assert_eq!(body(rules.clone(), "application/hal+json;x=y", "{}"), r#"{"v":2}"#);
    assert_eq!(body(rules.clone(), "text/plain", "{}"), "{}");
    assert_eq!(body(rules, "application/json", "{ broken"), "{ broken");
}

#[test]
fn body_rules_leave_rejections_alone() {
    let rules = json!([{"target": "body", "operation": "remove", "key": "error"}]);
    assert_eq!(rejected(rules, &[]), []);
}

#[test]
fn only_json_is_waited_for_whatever_the_client_accepts_and_never_a_stream_of_events() {
    let chain = chain(json!([{"target": "body", "operation": "remove", "key": "a"}]));
    let wants_of = |accept: &str, fields: &[(&str, &str)]| {
        let mut cx = request("GET /", &[("accept", accept)]);
        let wanting = chain.wants_response_body(&mut cx);
        chain.wants_body_of(&cx, &head(fields), wanting)
    };
    let wants = |accept: &str, content_type: &str| wants_of(accept, &[("Content-Type", content_type)]);
    assert!(wants("*/*", "application/json"));
    assert!(wants("application/json, Text/Event-Stream;q=0.1", "application/json"));
    assert!(wants("text/event-stream", "application/json"));
    assert!(!wants("text/event-stream", "text/event-stream"));
    assert!(!wants("*/*", "text/event-stream"));
    assert!(!wants("*/*", "video/mp4"));
    let compressed = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    assert!(!wants_of("*/*", &compressed), "it could not be rewritten");
    assert!(!wants("*/*", "application/grpc+json"));
}

#[test]
fn the_backend_is_asked_for_a_whole_body_in_the_clear() {
    let rule = |target: &str| json!([{"target": target, "operation": "remove", "key": "a"}]);
    let sent = [("Accept-Encoding", "gzip, br"), ("Range", "bytes=1-"), ("If-Range", "\"v1\"")];
    let asked = |rules: Value| {
        let mut cx = request("GET /", &sent);
        ready(chain(rules).before_proxy(&mut cx)).unwrap();
        ["accept-encoding", "range", "if-range"].map(|name| cx.head.headers.get(name).map(str::to_owned))
    };
    assert_eq!(asked(rule("body")), [Some("identity".into()), None, None]);
    assert_eq!(asked(rule("header")), sent.map(|(_, value)| Some(value.to_owned())));
}

#[test]
fn a_plugin_takes_part_only_where_it_has_rules() {
    let phases = |config: Value| ResponseTransformer::parse(&config).unwrap().spec.build(&core().0).phases();
    let rules = |target: &str| json!([{"target": target, "operation": "remove", "key": "a"}]);
    assert_eq!(phases(json!({"rules": rules("header")})), Phases::AFTER_PROXY.and(Phases::REJECTION));
    let body = Phases::BEFORE_PROXY.and(Phases::RESPONSE_BUFFERING).and(Phases::RESPONSE_TRANSFORM);
    assert_eq!(phases(json!({"rules": rules("body")})), body);
    assert_eq!(phases(json!({"rules": rules("body"), "default_enabled": false})), Phases::NONE);
}

#[test]
fn a_long_body_is_rewritten_elsewhere() {
    let text = format!("{{\"a\":\"{}\"}}", "b".repeat(SCANNED_BYTES_MAX));
    let mut head = head(&[("content-type", "application/json")]);
    let mut response = WholeResponse { head: &mut head, body: text.clone().into_bytes(), trailers: None };
    let mut cx = request("GET /", &[]);
    let rules = json!([{"target": "body", "operation": "add", "key": "b", "value": 1}]);
    let plugin = ResponseTransformer::parse(&json!({"rules": rules})).unwrap().spec.build(&core().0);
    let Flow::Wait(future) = plugin.transform_response_body(&mut cx, &mut response) else { panic!("made at once") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(matches!(runtime.block_on(future), Flow::Continue));
    assert!(response.body == text.replace("\"}", "\",\"b\":1}").into_bytes());
}

#[test]
fn configs_are_checked() {
    let refused = |config| ResponseTransformer::parse(&config).unwrap_err();
    assert_eq!(refused(Value::Null), ["response_transformer: config must be an object"]);
    assert_eq!(
        refused(json!({"rules": []})),
        ["response_transformer: no 'rules' configured — plugin will have no effect"]
    );
    assert_eq!(
        refused(
            json!({"rules": [{"target": "query", "operation": "remove", "key": "a"}, {"operation": "remove", "key": ":"}]})
        ),
        [
            "response_transformer: rule[0]: unknown target 'query' (expected header/body)",
            "response_transformer: rule[1]: 'key' must be a valid HTTP header name"
        ]
    );
}
