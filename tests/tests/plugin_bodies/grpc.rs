//! What body rules do to gRPC: nothing, unless other rules make it look like something else.

use serde_json::{Value, json};
use tests::http2::Http2Client;
use tests::peer::{self, Plan, Transport};
use tests::{Document, Gateway, Peer};

use crate::{builder, post};

fn grpc_rules() -> [Value; 2] {
    let body = json!({"target": "body", "operation": "remove", "key": "secret"});
    [
        json!({"rules": [{"operation": "add", "key": "x-seen", "value": "request"}, body]}),
        json!({"rules": [{"operation": "add", "key": "x-seen", "value": "response"}, body]}),
    ]
}

#[test]
fn grpc_calls_of_every_kind_pass_by_body_rules_as_they_come() {
    let server = Peer::start("grpc_server.py", &[]);
    let [request, response] = grpc_rules();
    let document = Document::all_to(server.port())
        .global_plugin("request_transformer", request)
        .global_plugin("response_transformer", response);
    let gateway = Gateway::running(&document);
    let mut client = Peer::start("grpc_client.py", &[&format!("127.0.0.1:{}", gateway.port())]);
    let answer = client.ask(json!({"do": "unary", "method": "Unary", "request": "hello"}));
    assert_eq!((&answer["code"], &answer["response"]["text"]), (&json!("OK"), &json!("hello")), "{answer}");
    assert!(answer["initial"].as_array().unwrap().contains(&json!(["x-seen", "response"])), "{answer}");
    // A message that waits for the one before it would wait for ever, if anything was held.
    client.ask(json!({"do": "open", "method": "Chat"}));
    for message in ["one", "two", "three"] {
        client.ask(json!({"do": "send", "request": message}));
        assert_eq!(client.ask(json!({"do": "receive"}))["text"], message);
    }
    assert_eq!(client.ask(json!({"do": "finish"}))["code"], "OK");
    let calls = server.events("call");
    assert!(calls[0]["metadata"].as_array().unwrap().contains(&json!(["x-seen", "request"])), "{calls:?}");
}

/// A backend for gRPC that does not mind what it gets, behind rules that make the gateway hold it.
fn holding_grpc(backend: &peer::Peer, settings: &[(&str, &str)]) -> Gateway {
    let rules = json!({"rules": [
        {"operation": "remove", "key": "content-type"},
        {"target": "body", "operation": "remove", "key": "secret"},
    ]});
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "request_transformer", rules)
        .global_plugin("stdout_logging", json!({}));
    builder(&document, settings).start()
}

fn grpc_post(path: &str) -> Vec<(&str, &str)> {
    [&post(path)[..], &[("content-type", "application/grpc"), ("te", "trailers")]].concat()
}

#[test]
fn a_held_grpc_request_of_the_limit_passes_and_one_byte_more_is_resource_exhausted() {
    let backend = peer::Peer::plain(Transport::H2c);
    let gateway = holding_grpc(
        &backend,
        &[("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", "1000"), ("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "10")],
    );
    let mut client = Http2Client::connect(gateway.port());
    let plan = Plan { bytes: 5, trailers: true, ..Plan::default() }.under("");
    client.request(1, &grpc_post(&plan), false);
    client.data(1, vec![b'x'; 500], false);
    client.data(1, vec![b'x'; 500], true);
    let passed = client.response(1);
    assert_eq!(
        (passed.status, passed.header("x-got-bytes"), passed.header("x-got-length")),
        (200, Some("1000"), Some("1000"))
    );
    assert_eq!(passed.trailers.get("x-checksum"), Some("sum-5"));
    let announced = [&grpc_post(&plan)[..], &[("content-length", "1001")]].concat();
    client.request(3, &announced, false);
    client.request(5, &grpc_post(&plan), false);
    client.data(5, vec![b'x'; 600], false);
    client.data(5, vec![b'x'; 401], true);
    let texts =
        ["gRPC request payload size exceeds maximum of 1000 bytes", "gRPC request payload size exceeds maximum"];
    for (stream, text) in [3, 5].into_iter().zip(texts) {
        let refused = client.response(stream);
        assert_eq!(
            (refused.status, refused.header("grpc-status"), refused.header("grpc-message")),
            (200, Some("8"), Some(text))
        );
        assert_eq!(refused.header("content-type"), Some("application/grpc"));
        assert!(refused.body.is_empty());
    }
    let record = gateway.wait_for_record(|record| record["error_class"].is_null());
    assert_eq!(record["metadata"]["request_body_size_bytes"], "1000", "{record}");
    let record = gateway.wait_for_record(|record| record["error_class"] == "request_body_too_large");
    assert_eq!(record["metadata"]["grpc_status"], "8", "{record}");
    assert_eq!(record["response_status_code"], 200);
}

#[test]
fn a_held_grpc_response_keeps_its_trailers_even_without_a_message() {
    let backend = peer::Peer::plain(Transport::H2c);
    let claim = json!({"operation": "update", "key": "content-type", "value": "application/json"});
    let body = json!({"target": "body", "operation": "remove", "key": "secret"});
    let document =
        Document::all_to(backend.port()).proxy_plugin("app", "response_transformer", json!({"rules": [claim, body]}));
    let gateway = Gateway::running(&document);
    let mut client = Http2Client::connect(gateway.port());
    for (stream, bytes) in [(1, 0), (3, 9)] {
        let plan = Plan { bytes, unknown_length: true, trailers: true, ..Plan::default() }.under("");
        client.request(stream, &grpc_post(&plan), true);
        let answer = client.response(stream);
        assert_eq!((answer.status, answer.body.len() as u64), (200, bytes));
        assert_eq!(answer.trailers.get("x-checksum"), Some(format!("sum-{bytes}").as_str()), "{bytes}");
    }
}
