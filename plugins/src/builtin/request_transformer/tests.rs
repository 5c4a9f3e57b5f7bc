//! What becomes of requests.

use std::time::Duration;

use serde_json::json;

use super::super::transform::SCANNED_BYTES_MAX;
use super::*;
use crate::testing::{core, ready, request};
use crate::{AuthMode, Chain, query};

fn chain(rules: Value) -> Chain {
    let parsed = RequestTransformer::parse(&json!({"rules": rules})).unwrap();
    Chain::new(&[parsed.spec.build(&core().0)], AuthMode::Single)
}

/// The lines of these names after the rules.
fn headers(rules: Value, received: &[(&str, &str)], names: &[&str]) -> Vec<Vec<String>> {
    let mut cx = request("GET /", received);
    ready(chain(rules).before_proxy(&mut cx)).unwrap();
    let lines = |name: &&str| cx.head.headers.all(name).map(|value| String::from_utf8_lossy(value).into()).collect();
    names.iter().map(lines).collect()
}

fn rule(operation: &str, key: &str, value: &str) -> Value {
    json!([{"target": "header", "operation": operation, "key": key, "value": value}])
}

/// The body after the rules.
fn body(rules: Value, content_type: Option<&str>, body: &str) -> String {
    let mut rules = rules;
    for rule in rules.as_array_mut().unwrap() {
        rule["target"] = json!("body");
    }
    let headers: Vec<(&str, &str)> = content_type.map(|value| ("Content-Type", value)).into_iter().collect();
    let mut cx = request("POST /", &headers);
    cx.body = Some(body.as_bytes().to_vec());
    ready(chain(rules).request_body(&mut cx)).unwrap();
    String::from_utf8(cx.body.unwrap()).unwrap()
}

fn json_body(rules: Value, text: &str) -> String {
    body(rules, Some("application/json"), text)
}

#[test]
fn add_leaves_what_is_there_and_update_does_not() {
    let received = [("X-A", "1"), ("x-a", "2")];
    assert_eq!(headers(rule("add", "x-a", "new"), &received, &["x-a"]), [["1", "2"]]);
    assert_eq!(headers(rule("add", "X-B", "new"), &received, &["x-b"]), [["new"]]);
    assert_eq!(
        headers(rule("add", "x-a", "new"), &[("X-A", "ü")], &["x-a"]),
        [["new"]],
        "what plugins cannot see is absent"
    );
    assert_eq!(headers(rule("update", "X-a", "new"), &received, &["x-a"]), [["new"]]);
    assert_eq!(headers(rule("update", "x-b", ""), &received, &["x-b"]), [[""]]);
}

#[test]
fn remove_and_rename_take_all_lines_and_the_last_one_counts() {
    let received = [("X-A", "1"), ("x-a", "2"), ("X-B", "3")];
    let remove = json!([{"target": "header", "operation": "remove", "key": "X-A"}]);
    assert_eq!(headers(remove.clone(), &received, &["x-a", "x-b"]), [vec![], vec!["3"]]);
    assert_eq!(headers(remove, &[], &["x-a"]), [Vec::<String>::new()]);
    let rename = |key: &str, new_key: &str| json!([{"operation": "rename", "key": key, "new_key": new_key}]);
    assert_eq!(headers(rename("x-a", "X-B"), &received, &["x-a", "x-b"]), [vec![], vec!["2"]]);
    assert_eq!(headers(rename("x-c", "x-b"), &received, &["x-b"]), [["3"]], "nothing to move");
    assert_eq!(headers(rename("x-a", "x-a"), &received, &["x-a"]), [["2"]]);
    let members = [("Baggage", "a=1"), ("baggage", "b=2")];
    assert_eq!(headers(rename("baggage", "x-b"), &members, &["baggage", "x-b"]), [vec![], vec!["a=1,b=2"]]);
}

#[test]
fn header_rules_run_in_their_order() {
    let rules = json!([
        {"operation": "add", "key": "a", "value": "1"},
        {"operation": "add", "key": "a", "value": "2"},
        {"operation": "rename", "key": "a", "new_key": "b"},
        {"operation": "update", "key": "a", "value": "3"},
        {"operation": "remove", "key": "c"},
        {"operation": "add", "key": "c", "value": "4"},
    ]);
    assert_eq!(headers(rules, &[("C", "0")], &["a", "b", "c"]), [["3"], ["1"], ["4"]]);
}

#[test]
fn query_rules_change_what_later_plugins_see_and_nothing_else() {
    let rules = json!([
        {"target": "query", "operation": "add", "key": "a", "value": "new"},
        {"target": "query", "operation": "add", "key": "n", "value": "new"},
        {"target": "query", "operation": "update", "key": "b", "value": "2"},
        {"target": "query", "operation": "remove", "key": "c"},
        {"target": "query", "operation": "remove", "key": "nothing"},
        {"target": "query", "operation": "rename", "key": "d", "new_key": "D"},
        {"target": "query", "operation": "rename", "key": "nothing", "new_key": "a"},
    ]);
    let mut cx = request("GET /?a=1&b=1&b=0&c&d=%20x", &[]);
    ready(chain(rules).before_proxy(&mut cx)).unwrap();
    let seen = |name| query::parameter(&cx, name).map(|value| value.into_owned());
    assert_eq!(
        ["a", "n", "b", "c", "d", "D"].map(seen),
        [Some("1".into()), Some("new".into()), Some("2".into()), None, None, Some(" x".into())]
    );
    assert_eq!(cx.head.query(), b"a=1&b=1&b=0&c&d=%20x");
}

#[test]
fn body_rules_edit_json() {
    let rules = json!([
        {"operation": "add", "key": "a", "value": 1},
        {"operation": "add", "key": "user.role", "value": "guest"},
        {"operation": "update", "key": "items.0.price", "value": "9.90"},
        {"operation": "update", "key": r"dotted\.name", "value": null},
        {"operation": "remove", "key": "items.1"},
        {"operation": "rename", "key": "user.name", "new_key": "login"},
    ]);
    assert_eq!(
        json_body(rules, r#"{ "a": 0, "user": {"name": "ann"}, "items": [{"price": 1}, 2, 3] }"#),
        r#"{"a":0,"user":{"role":"guest"},"items":[{"price":9.90},3],"dotted.name":null,"login":"ann"}"#
    );
}

#[test]
fn body_rules_that_find_no_way_are_passed_over() {
    let rules = json!([
        {"operation": "update", "key": "a.5", "value": 1},
        {"operation": "remove", "key": "b.0"},
        {"operation": "rename", "key": "c", "new_key": "d.e"},
        {"operation": "add", "key": "x", "value": true},
    ]);
    assert_eq!(json_body(rules, r#"{"a":[1],"b":[],"c":2,"d":3}"#), r#"{"a":[1],"b":[],"c":2,"d":3,"x":true}"#);
}

#[test]
fn a_body_that_is_not_changed_stays_byte_for_byte() {
    let pretty = "{ \"a\": 1,\n  \"b\": [ ] }\n";
    for rule in [
        json!({"operation": "add", "key": "a", "value": 2}),
        json!({"operation": "update", "key": "a", "value": 1}),
        json!({"operation": "remove", "key": "c"}),
        json!({"operation": "rename", "key": "a", "new_key": "a"}),
        json!({"operation": "rename", "key": "b", "new_key": "a.b"}),
    ] {
        assert_eq!(json_body(json!([rule]), pretty), pretty, "{rule}");
    }
    let add = json!([{"operation": "add", "key": "x", "value": 1}]);
    for text in ["not JSON", "{\"a\":", "[1]", "5", "{} {}"] {
        assert_eq!(json_body(add.clone(), text), text);
    }
}

#[test]
fn a_body_is_edited_when_it_is_json_or_may_be() {
    let add = json!([{"operation": "add", "key": "x", "value": 1}]);
    for content_type in [None, Some("application/json"), Some("Application/Problem+JSON; charset=utf-8")] {
        assert_eq!(body(add.clone(), content_type, "{}"), r#"{"x":1}"#, "{content_type:?}");
    }
    for content_type in ["text/plain", "application/grpc", "application/grpc+json", ""] {
        assert_eq!(body(add.clone(), Some(content_type), "{}"), "{}", "{content_type}");
    }
}

#[test]
fn only_bodies_that_may_be_json_are_waited_for() {
    let add = json!([{"target": "body", "operation": "add", "key": "x", "value": 1}]);
    let chain = chain(add);
    let wants = |content_type: &str, by| {
        chain.wants_request_body(&mut request("POST /", &[("content-type", content_type)]), by)
    };
    assert!(wants("application/json", Buffering::BeforeBackend));
    assert!(chain.wants_request_body(&mut request("POST /", &[]), Buffering::BeforeBackend));
    for content_type in [&[("Content-Type", "application/json")][..], &[]] {
        let compressed = [content_type, &[("Content-Encoding", "gzip")]].concat();
        assert!(!chain.wants_request_body(&mut request("POST /", &compressed), Buffering::BeforeBackend));
    }
    assert!(!wants("application/json", Buffering::BeforeProxy), "header rules may still say what it is");
    assert!(!wants("application/octet-stream", Buffering::BeforeBackend));
    assert!(!wants("application/grpc+json", Buffering::BeforeBackend));
}

#[test]
fn a_plugin_takes_part_only_where_it_has_rules() {
    let phases = |config: Value| {
        let plugin = RequestTransformer::parse(&config).unwrap().spec.build(&core().0);
        (plugin.phases(), plugin.request_buffering())
    };
    let rules = |target: &str| json!([{"target": target, "operation": "remove", "key": "a"}]);
    assert_eq!(phases(json!({"rules": rules("header")})), (Phases::BEFORE_PROXY, Buffering::Never));
    assert_eq!(phases(json!({"rules": rules("query")})), (Phases::BEFORE_PROXY, Buffering::Never));
    assert_eq!(phases(json!({"rules": rules("body")})), (Phases::REQUEST_BODY, Buffering::BeforeBackend));
    for off in [json!({"rules": rules("body"), "default_enabled": false}), json!({"apply_route_overrides": true})] {
        assert_eq!(phases(off), (Phases::NONE, Buffering::Never));
    }
}

/// A body of that length, and what it is when `x` has been removed.
fn long(length: usize) -> (String, String) {
    let rest = format!("{{\"a\":\"{}\"}}", "b".repeat(length - "{\"x\":1,\"a\":\"\"}".len()));
    (rest.replacen('{', "{\"x\":1,", 1), rest)
}

#[test]
fn a_long_body_is_rewritten_elsewhere_with_the_same_outcome() {
    let remove = json!([{"target": "body", "operation": "remove", "key": "x"}]);
    // Read, looked through for `x`, and written.
    let short = SCANNED_BYTES_MAX / 3;
    for length in [short, short + 1, 4 << 20] {
        let (body, expected) = long(length);
        assert_eq!(body.len(), length);
        let mut cx = request("POST /", &[]);
        cx.body = Some(body.into_bytes());
        let plugin = RequestTransformer::parse(&json!({"rules": remove})).unwrap().spec.build(&core().0);
        match plugin.transform_request_body(&mut cx) {
            Flow::Continue => assert!(length <= short),
            Flow::Wait(future) => {
                assert!(length > short);
                let waited = async { tokio::time::timeout(Duration::from_secs(20), future).await };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                assert!(matches!(runtime.block_on(waited), Ok(Flow::Continue)));
            }
            Flow::Reject(rejection) => panic!("{rejection:?}"),
        }
        assert!(cx.body.unwrap() == expected.into_bytes(), "{length}");
    }
}

#[test]
fn configs_are_checked() {
    let refused = |config| RequestTransformer::parse(&config).unwrap_err();
    for wrong in [Value::Null, json!([]), json!("x")] {
        assert_eq!(refused(wrong), ["request_transformer: config must be an object"]);
    }
    assert_eq!(refused(json!({})), ["request_transformer: no 'rules' configured — plugin will have no effect"]);
    assert_eq!(
        refused(json!({"rules": [{"key": "a"}], "default_enabled": 1})),
        [
            "request_transformer: rule[0]: 'operation' is required",
            "request_transformer: default_enabled must be a boolean"
        ]
    );
    let parsed = RequestTransformer::parse(&json!({"rules": rule("add", "a b", "c"), "rule": 1})).unwrap();
    assert_eq!(
        parsed.warnings,
        [
            "request_transformer: rule[0]: no header can be named 'a b', so the rule has no effect",
            "request_transformer: unknown key 'rule' is ignored"
        ]
    );
}
