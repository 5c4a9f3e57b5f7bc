//! Who a plugin says that asks.

use serde_json::{Value, json};
use tests::{Backend, Gateway};

use crate::{ask, document};

fn identified(backend: &Backend, authenticate: Value) -> Gateway {
    let document = document(backend.port(), json!({"flags": ["is_auth_plugin"], "in": {"authenticate": authenticate}}))
        .consumer(json!({"id": "c-1", "username": "alice", "custom_id": "7"}))
        .consumer(json!({"id": "c-2", "username": "bob"}))
        .proxy_plugin("app", "stdout_logging", json!({}));
    Gateway::running(&document)
}

#[test]
fn a_consumer_of_the_configuration_is_named_to_the_backend_and_in_records() {
    let backend = Backend::saying("ok");
    let gateway = identified(&backend, json!({"consumer": "alice"}));
    assert_eq!(ask(&gateway, "/", "").status, 200);
    let headers = backend.only_request().headers;
    assert_eq!((headers.all("x-consumer-username"), headers.all("x-consumer-custom-id")), (vec!["alice"], vec!["7"]));
    let record = gateway.wait_for_record(|_| true);
    assert_eq!((&record["consumer_username"], &record["auth_method"]), (&json!("alice"), &json!("probe")));
}

#[test]
fn a_consumer_that_only_the_plugin_knows_counts_as_well() {
    let backend = Backend::saying("ok");
    let gateway = identified(&backend, json!({"guest": {"id": "g", "username": "guest", "custom_id": "g-1"}}));
    assert_eq!(ask(&gateway, "/", "").status, 200);
    let headers = backend.only_request().headers;
    assert_eq!((headers.all("x-consumer-username"), headers.all("x-consumer-custom-id")), (vec!["guest"], vec!["g-1"]));
    assert_eq!(gateway.wait_for_record(|_| true)["consumer_username"], "guest");
}

#[test]
fn an_external_identity_is_shown_as_the_plugin_wants() {
    let backend = Backend::saying("ok");
    let gateway = identified(&backend, json!({"identity": "sub-1", "display": "One"}));
    assert_eq!(ask(&gateway, "/", "").status, 200);
    let headers = backend.only_request().headers;
    assert_eq!(headers.all("x-consumer-username"), ["One"]);
    assert!(!headers.has("x-consumer-custom-id"));
    let record = gateway.wait_for_record(|_| true);
    assert_eq!((&record["consumer_username"], record.get("auth_method")), (&json!("sub-1"), None));
}

#[test]
fn nobody_identified_is_nobody_let_in() {
    let backend = Backend::saying("ok");
    let gateway = identified(&backend, json!({"consumer": "nobody"}));
    let response = ask(&gateway, "/", "");
    assert_eq!((response.status, response.text().as_str()), (401, r#"{"error":"Authentication required"}"#));
    backend.expect_untouched();
}

#[test]
fn a_name_that_could_end_its_line_is_not_told_to_the_backend() {
    let (injected, smuggled) = ("eve\r\nX-Admin: 1", "eve\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n");
    let cases = [
        (json!({"identity": injected}), vec![]),
        (json!({"identity": smuggled}), vec![]),
        (json!({"identity": "eve", "display": "a\nX-Admin: 1"}), vec![]),
        (json!({"guest": {"id": "g", "username": smuggled, "custom_id": "7"}}), vec!["X-Consumer-Custom-Id: 7"]),
        (json!({"guest": {"id": "g", "username": "guest", "custom_id": injected}}), vec!["X-Consumer-Username: guest"]),
        (json!({"guest": {"id": "g", "username": "a\u{1}b", "custom_id": "a\tb"}}), vec![]),
        // Documents have always been allowed to hold this.
        (json!({"consumer": injected}), vec![]),
    ];
    for (authenticate, told) in cases {
        let backend = Backend::saying("ok");
        let config = json!({"flags": ["is_auth_plugin"], "in": {"authenticate": authenticate}});
        let consumer = json!({"id": "c-3", "username": injected, "custom_id": "7\r\nX-Admin: 1"});
        let gateway = Gateway::running(&document(backend.port(), config).consumer(consumer));
        let spoofed = "X-Consumer-Username: admin\r\nX-Consumer-Custom-Id: 1\r\n";
        assert_eq!(ask(&gateway, "/", spoofed).status, 200);
        let head = String::from_utf8(backend.only_request().raw_head).expect("text");
        let lines: Vec<&str> = head.lines().filter(|line| line.starts_with("X-Consumer-")).collect();
        assert_eq!(lines, told, "{authenticate}");
        assert!(!head.contains("X-Admin") && !head.contains("/admin"), "{head}");
    }
}
