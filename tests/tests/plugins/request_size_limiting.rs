//! `request_size_limiting`.

use serde_json::{Value, json};
use tests::http2::Http2Client;
use tests::{Backend, Document, Gateway, Response};

fn limited(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "request_size_limiting", config))
}

fn post(gateway: &Gateway, body: &str) -> Response {
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    gateway.ask(format!("{head}{body}"))
}

#[track_caller]
fn too_large(response: &Response, limit: u64) {
    let text = format!(r#"{{"error":"Request body too large","limit":{limit}}}"#);
    assert_eq!((response.status, response.text()), (413, text));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
}

#[test]
fn a_body_of_the_limit_passes_and_one_byte_more_is_refused() {
    let backend = Backend::echoing();
    let gateway = limited(&backend, json!({"max_bytes": 1000}));
    for length in [0, 1, 1000] {
        let body = "x".repeat(length);
        let response = post(&gateway, &body);
        assert_eq!((response.status, response.text()), (200, body));
    }
    too_large(&post(&gateway, &"x".repeat(1001)), 1000);
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(backend.requests().len(), 4, "what is refused does not reach the backend");
}

#[test]
fn a_client_that_asks_first_is_told_before_it_sends() {
    let backend = Backend::saying("should not be reached");
    let gateway = limited(&backend, json!({"max_bytes": 10}));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n";
    let response = gateway.ask(head);
    too_large(&response, 10);
    assert!(response.interim.is_empty(), "{response:?}");
    backend.expect_untouched();
}

#[test]
fn what_is_left_of_a_refused_body_is_no_request() {
    let backend = Backend::saying("should not be reached");
    let gateway = limited(&backend, json!({"max_bytes": 10}));
    let mut client = gateway.raw();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()));
    too_large(&client.response(), 10);
    let after = client.try_response();
    assert!(after.is_err(), "a second answer came: {after:?}");
    backend.expect_untouched();
}

#[test]
fn a_list_of_equal_lengths_is_one_length() {
    let backend = Backend::echoing();
    let gateway = limited(&backend, json!({"max_bytes": 4}));
    let post = |length: &str| {
        gateway.ask(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nabcde"))
    };
    too_large(&post("5, 5"), 4);
}

#[test]
fn a_body_of_no_announced_length_is_bounded_by_the_gateways_own_limit() {
    let backend = Backend::echoing();
    let document =
        Document::all_to(backend.port()).proxy_plugin("app", "request_size_limiting", json!({"max_bytes": 10}));
    let gateway = Gateway::builder().document(&document).env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 100).start();
    let chunked = |length: usize| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        gateway.ask(format!("{head}{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)))
    };
    assert_eq!(chunked(100).text(), "x".repeat(100), "it is not made whole to be measured");
    assert_eq!(chunked(101).status, 413);
}

#[test]
fn over_http_2_and_in_grpc_it_is_the_same() {
    let backend = Backend::echoing();
    let gateway = limited(&backend, json!({"max_bytes": 10}));
    let mut client = Http2Client::connect(gateway.port());
    let mut send = |stream: u32, content_type: &str, body: &str| {
        let length = body.len().to_string();
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/a.B/C"),
            ("content-type", content_type),
            ("content-length", &length),
        ];
        client.request(stream, &fields, false);
        client.data(stream, body, true);
        client.response(stream)
    };
    assert_eq!(send(1, "text/plain", "0123456789").text(), "0123456789");
    too_large(&send(3, "text/plain", "0123456789a"), 10);
    let answer = send(5, "application/grpc", "0123456789a");
    assert_eq!((answer.status, answer.header("grpc-status"), answer.text().as_str()), (200, Some("8"), ""));
    assert_eq!(answer.header("grpc-message"), Some("Request body too large"));
    assert_eq!(backend.only_request().body, b"0123456789");
}

#[test]
fn without_a_limit_it_does_not_start() {
    for (config, error) in [
        (json!({}), "request_size_limiting: 'max_bytes' is required and must be an integer above zero"),
        (json!({"max_bytes": 0}), "request_size_limiting: 'max_bytes' must be greater than zero"),
    ] {
        let document = Document::all_to(1).proxy_plugin("app", "request_size_limiting", config);
        let said = Gateway::builder().document(&document).start_failing().messages().join("\n");
        assert!(said.contains(error), "{said}");
    }
}
