//! Responses that are held until they are whole.

use std::time::Duration;

use serde_json::{Value, json};
use tests::http2::{ErrorCode, Frame, Http2Client};
use tests::{Backend, Document, Framing, Gate, Gateway, Proxy, Reply};

use crate::{builder, get, growing, holding, json_of, rules};

const TOO_LARGE: &str = r#"{"error":"Backend response body exceeds maximum size"}"#;

#[test]
fn a_response_is_rewritten_and_framed_anew_however_it_came() {
    let text = r#"{"secret": 1, "a": [1, 2]}"#;
    let backend = Backend::replying(move |request| {
        let reply = Reply::new(200).header("Content-Type", "application/json").body(text);
        match request.target.as_str() {
            "/length" => reply,
            "/chunked" => reply.chunked(3),
            "/trailers" => reply.chunked(3).trailer("X-Sum", "1"),
            _ => reply.until_close(),
        }
    });
    let gateway = holding("response_transformer", &backend, &[]);
    let mut client = gateway.raw();
    for path in ["/length", "/chunked", "/trailers", "/close"] {
        let response = client.get(path);
        assert_eq!((response.text().as_str(), response.framing), (r#"{"a":[1,2]}"#, Framing::Length(11)), "{path}");
        let record = gateway.wait_for_record(|record| record["request_path"] == path);
        assert!(record["response_streamed"].is_null() && record["bytes_received"] == text.len(), "{record}");
        assert!(record["latency_backend_total_ms"].as_f64().unwrap() >= 0.0, "{record}");
    }
    client.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    let response = client.response();
    assert_eq!((response.text().as_str(), response.trailers.get("x-sum")), (r#"{"a":[1,2]}"#, Some("1")));
}

fn sized_backend(chunk: Option<usize>) -> Backend {
    Backend::replying(move |request| {
        let size = request.target.trim_start_matches('/').parse().expect("a size");
        let reply = Reply::new(200).header("Content-Type", "application/json").body(json_of(size));
        chunk.map_or(reply.clone(), |chunk| reply.chunked(chunk))
    })
}

#[test]
fn a_held_response_of_the_limit_passes_and_one_byte_more_becomes_502() {
    for chunk in [None, Some(300)] {
        let backend = sized_backend(chunk);
        let gateway = holding("response_transformer", &backend, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]);
        assert_eq!(gateway.get("/1000").text(), json_of(1000));
        let mut client = gateway.raw();
        let refused = client.get("/1001");
        assert_eq!((refused.status, refused.text().as_str()), (502, TOO_LARGE), "{chunk:?}");
        assert_eq!(refused.header("x-gateway-error"), Some("backend_error"));
        assert_eq!(client.get("/999").status, 200, "the client's connection goes on");
        let record = gateway.wait_for_record(|record| record["response_status_code"] == 502);
        assert_eq!(record["error_class"], "response_body_too_large", "{record}");
    }
}

#[test]
fn the_limit_is_for_what_backends_send_and_not_for_what_rules_make_of_it() {
    let backend = sized_backend(Some(300));
    let document = Document::all_to(backend.port()).proxy_plugin("app", "response_transformer", growing());
    let gateway = builder(&document, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]).start();
    assert_eq!(gateway.get("/1000").body.len(), 1009);
}

#[test]
fn a_held_response_that_breaks_off_becomes_502_and_not_half_a_response() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":");
    });
    let gateway = holding("response_transformer", &backend, &[]);
    let response = gateway.get("/");
    assert_eq!((response.status, response.text().as_str()), (502, r#"{"error":"Backend response body read failed"}"#));
}

#[test]
fn streams_of_events_are_never_held() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        while let Some(request) = connection.read_request() {
            assert_eq!(request.target, "/events");
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n",
            );
            held.wait();
            connection.send("7\r\nsecond\n\r\n0\r\n\r\n");
        }
    });
    let gateway = holding("response_transformer", &backend, &[]);
    let first_of = |accept: &str| {
        let mut client = gateway.raw();
        client.send(format!("GET /events HTTP/1.1\r\nHost: a\r\n{accept}\r\n"));
        let head = client.head();
        assert_eq!((head.framing, client.chunk()), (Framing::Chunked, b"first\n".to_vec()), "{accept}");
        client
    };
    let mut clients = [first_of(""), first_of("Accept: text/event-stream\r\n")];
    gate.open();
    for client in &mut clients {
        assert_eq!((client.chunk(), client.chunk().len()), (b"second\n".to_vec(), 0));
    }
}

#[test]
fn responses_that_no_rule_is_about_are_not_held() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 10\r\n\r\nfirst");
        held.wait();
        connection.send("after");
    });
    let gateway = holding("response_transformer", &backend, &[]);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!((head.framing, client.read_some()), (Framing::Length(10), Ok(b"first".to_vec())));
    gate.open();
    assert_eq!(client.read_some(), Ok(b"after".to_vec()));
}

#[test]
fn responses_without_a_body_are_left_alone() {
    let backend = Backend::replying(|request| match request.target.as_str() {
        "/204" => Reply::new(204).header("Content-Type", "application/json").without_body(),
        "/304" => Reply::new(304).header("Content-Type", "application/json").header("ETag", "\"1\"").without_body(),
        "/empty" => Reply::new(200).header("Content-Type", "application/json"),
        _ => Reply::new(200).header("Content-Type", "application/json").body(r#"{"secret": 1}"#),
    });
    let gateway = holding("response_transformer", &backend, &[]);
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("13")), "what the backend says of its own");
    assert_eq!(client.get("/204").headers.all("content-length"), Vec::<&str>::new());
    let unmodified = client.get("/304");
    assert_eq!((unmodified.status, unmodified.header("etag"), unmodified.body.len()), (304, Some("\"1\""), 0));
    assert_eq!(client.get("/empty").framing, Framing::Length(0));
    assert_eq!(client.get("/").text(), "{}");

    let mut client = Http2Client::connect(gateway.port());
    for (stream, method, path, status) in [(1, "HEAD", "/", 200), (3, "GET", "/204", 204), (5, "GET", "/304", 304)] {
        client.request(stream, &[(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)], true);
        assert_eq!(client.response(stream).status, status);
    }
}

#[test]
fn a_held_response_is_delivered_when_the_client_has_taken_it_and_not_before() {
    let backend = sized_backend(None);
    let gateway = holding("response_transformer", &backend, &[]);
    // The windows of this client are 65,535 bytes, and it opens them no further.
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &get("/1000000"), true);
    assert_eq!(client.body(1, 65_535).len(), 65_535);
    client.ping([1; 8]);
    assert_eq!(gateway.records(), Vec::<Value>::new(), "it is on its way");
    client.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(
        (&record["client_disconnected"], &record["response_status_code"]),
        (&json!(true), &json!(200)),
        "{record}"
    );
}

#[test]
fn a_client_that_takes_its_time_is_not_taken_for_a_slow_backend() {
    let backend = sized_backend(None);
    let proxy = Proxy::new("app").path("/").to(backend.port()).set("backend_read_timeout_ms", 300);
    let document = Document::new().proxy(proxy).proxy_plugin("app", "response_transformer", rules());
    let gateway = Gateway::running(&document);
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &get("/1000000"), true);
    assert_eq!(client.body(1, 65_535).len(), 65_535);
    // Longer than the backend may take.
    std::thread::sleep(Duration::from_millis(600));
    for stream in [0, 1] {
        client.send(&Frame::window_update(stream, 1_000_000));
    }
    assert!(client.response(1).text() == json_of(1_000_000));
}

#[test]
fn a_client_that_goes_away_from_a_held_response_leaves_nothing_behind() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\"");
        held.wait();
        connection.send(":1}");
    });
    let gateway = holding("response_transformer", &backend, &[]);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    client.reset();
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(
        (&record["client_disconnected"], &record["response_status_code"]),
        (&json!(true), &json!(499)),
        "{record}"
    );
    gate.open();
}
