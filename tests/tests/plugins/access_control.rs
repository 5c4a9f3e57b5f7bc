//! `access_control`, behind `key_auth`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Response};

use crate::{ask, unauthorized};

fn consumer(name: &str, groups: &[&str]) -> Value {
    let credentials = json!({"keyauth": [{"key": format!("{name}-key")}]});
    json!({"id": format!("c-{name}"), "username": name, "acl_groups": groups, "credentials": credentials})
}

/// Alice is in `staff` and `night`, bob in `staff`, carol in no group.
fn document(backend: &Backend, config: Value) -> Document {
    Document::all_to(backend.port())
        .proxy_plugin("app", "key_auth", json!({}))
        .proxy_plugin("app", "access_control", config)
        .consumer(consumer("alice", &["staff", "night"]))
        .consumer(consumer("bob", &["staff"]))
        .consumer(consumer("carol", &[]))
}

fn gateway(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&document(backend, config))
}

fn as_(gateway: &Gateway, name: &str) -> Response {
    ask(gateway, "/", &format!("X-API-Key: {name}-key\r\n"))
}

/// How alice, bob and carol fare.
fn fare(gateway: &Gateway) -> [u16; 3] {
    ["alice", "bob", "carol"].map(|name| as_(gateway, name).status)
}

#[test]
fn only_those_who_are_allowed_pass() {
    let backend = Backend::saying("ok");
    assert_eq!(fare(&gateway(&backend, json!({"allowed_consumers": ["alice", "carol"]}))), [200, 403, 200]);
    assert_eq!(fare(&gateway(&backend, json!({"allowed_groups": ["staff"]}))), [200, 200, 403]);
    let either = json!({"allowed_groups": ["night"], "allowed_consumers": ["carol"]});
    assert_eq!(fare(&gateway(&backend, either)), [200, 403, 200]);
}

#[test]
fn those_who_are_disallowed_do_not_pass_even_if_they_are_allowed() {
    let backend = Backend::saying("ok");
    assert_eq!(fare(&gateway(&backend, json!({"disallowed_consumers": ["alice"]}))), [403, 200, 200]);
    assert_eq!(fare(&gateway(&backend, json!({"disallowed_groups": ["staff"]}))), [403, 403, 200]);
    let both = json!({"allowed_groups": ["staff"], "disallowed_groups": ["night"]});
    assert_eq!(fare(&gateway(&backend, both)), [403, 200, 403]);
}

#[test]
fn who_is_refused_is_told_so_and_the_backend_hears_nothing() {
    let backend = Backend::saying("should not be reached");
    let gateway = gateway(&backend, json!({"allowed_consumers": ["Alice"]}));
    let response = as_(&gateway, "alice");
    assert_eq!((response.status, response.text()), (403, r#"{"error":"Consumer is not allowed"}"#.to_owned()));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    unauthorized(&ask(&gateway, "/", ""), "Authentication required");
    backend.expect_untouched();
}

#[test]
fn without_an_auth_plugin_nobody_is_identified() {
    let backend = Backend::saying("should not be reached");
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "access_control", json!({"disallowed_consumers": ["mallory"]}))
        .consumer(consumer("alice", &[]));
    let gateway = Gateway::running(&document);
    unauthorized(&as_(&gateway, "alice"), "No consumer identified");
    backend.expect_untouched();
}

#[test]
fn any_authenticated_caller_may_be_let_through() {
    let backend = Backend::saying("ok");
    // Alone, it is a rule; false, it is none, and a plugin without a rule is a mistake.
    assert_eq!(fare(&gateway(&backend, json!({"allow_authenticated_identity": true}))), [200, 200, 200]);
    let none = document(&backend, json!({"allow_authenticated_identity": false}));
    let exit = Gateway::builder().document(&none).start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("access_control: needs an entry in 'allowed_consumers'"), "{}", exit.stderr);
}

#[test]
fn a_consumer_who_leaves_a_group_passes_no_more_after_the_reload() {
    let backend = Backend::saying("ok");
    let config = json!({"allowed_groups": ["night"]});
    let gateway = gateway(&backend, config.clone());
    assert_eq!(fare(&gateway), [200, 403, 403]);
    let moved = Document::all_to(backend.port())
        .proxy_plugin("app", "key_auth", json!({}))
        .proxy_plugin("app", "access_control", config)
        .consumer(consumer("alice", &["staff"]))
        .consumer(consumer("bob", &["night"]))
        .consumer(consumer("carol", &[]));
    gateway.reload(&moved);
    assert_eq!(fare(&gateway), [403, 200, 403]);
}

#[test]
fn the_record_says_who_was_refused_and_where() {
    let backend = Backend::saying("ok");
    let document =
        document(&backend, json!({"disallowed_groups": ["night"]})).global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    assert_eq!(as_(&gateway, "alice").status, 403);
    let record = gateway.wait_for_record(|record| record["response_status_code"] == 403);
    assert_eq!(record["consumer_username"], "alice");
    assert_eq!(record["metadata"]["rejection_phase"], "authorize");
}

#[test]
fn lists_of_addresses_belong_to_another_plugin() {
    let backend = Backend::saying("");
    for removed in ["allowed_ips", "blocked_ips"] {
        let document = document(&backend, json!({removed: ["10.0.0.0/8"], "allowed_consumers": ["alice"]}));
        let exit = Gateway::builder().document(&document).start_failing();
        assert_eq!(exit.code, Some(1));
        let text = format!("access_control: '{removed}' was removed: use the plugin 'ip_restriction'");
        assert!(exit.stderr.contains(&text), "{}", exit.stderr);
    }
}
