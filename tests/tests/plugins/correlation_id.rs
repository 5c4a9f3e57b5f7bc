//! `correlation_id`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway};

use crate::ask;

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
