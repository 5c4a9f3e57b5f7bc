//! The example of the guide, as somebody has it, and the gateway's own.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, RefusingPort};

use crate::ask;

const HEADER: &str = "x-custom-gateway";

#[test]
fn the_guide_s_example_and_our_own_mark_requests_and_responses() {
    for plugin in ["example_plugin", "shipped_example_plugin"] {
        let backend = Backend::saying("ok");
        let document = Document::all_to(backend.port()).proxy_plugin("app", plugin, json!({"header_value": "edge-1"}));
        let gateway = Gateway::running(&document);
        let response = ask(&gateway, "/", "X-Custom-Gateway: forged\r\n");
        assert_eq!((response.status, response.headers.all(HEADER)), (200, vec!["edge-1"]), "{plugin}");
        assert_eq!(backend.only_request().headers.all(HEADER), ["edge-1"], "{plugin}");
    }
}

#[test]
fn anything_but_a_text_means_the_default() {
    for config in [json!({}), json!({"header_value": 7}), Value::Null] {
        let backend = Backend::saying("ok");
        let gateway = Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "example_plugin", config));
        assert_eq!(ask(&gateway, "/", "").headers.all(HEADER), ["ferrum-custom"]);
        assert_eq!(backend.only_request().headers.all(HEADER), ["ferrum-custom"]);
    }
}

#[test]
fn what_the_gateway_answers_for_a_dead_backend_is_marked_and_what_it_answers_itself_is_not() {
    let dead = RefusingPort::new();
    let document = Document::all_to(dead.port())
        .proxy(tests::Proxy::new("post").path("/post").to(dead.port()).set("allowed_methods", json!(["POST"])))
        .global_plugin("example_plugin", json!({}));
    let gateway = Gateway::running(&document);
    let response = ask(&gateway, "/", "");
    assert_eq!((response.status, response.headers.all(HEADER)), (502, vec!["ferrum-custom"]));
    assert_eq!(response.text(), r#"{"error":"Backend unavailable"}"#);
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    let refused = ask(&gateway, "/post", "");
    assert_eq!((refused.status, refused.headers.has(HEADER)), (405, false));
}

#[test]
fn a_global_instance_marks_every_proxy_and_one_of_a_proxy_takes_its_place() {
    let backend = Backend::saying("ok");
    let document = Document::new()
        .proxy(tests::Proxy::new("app").path("/app").to(backend.port()))
        .proxy(tests::Proxy::new("own").path("/own").to(backend.port()))
        .proxy_plugin("own", "example_plugin", json!({"header_value": "own"}))
        .global_plugin("example_plugin", json!({"header_value": "all"}));
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/app", "").headers.all(HEADER), ["all"]);
    assert_eq!(ask(&gateway, "/own", "").headers.all(HEADER), ["own"]);
}

#[test]
fn a_plugin_that_looks_at_no_body_leaves_small_responses_in_one_piece() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port()).proxy_plugin("app", "example_plugin", json!({})).proxy_plugin(
        "app",
        "stdout_logging",
        json!({}),
    );
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/", "").text(), "ok");
    let record = gateway.wait_for_record(|_| true);
    assert!(record.get("response_streamed").is_none(), "{record}");
}
