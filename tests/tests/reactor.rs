//! The same behaviour on both reactors. `FERRUM_TEST_REACTOR=epoll` runs every other test on one of them, too.

use std::time::Duration;

use serde_json::json;
use tests::{Backend, Document, Fault, Gateway, GatewayBuilder, Proxy, RefusingPort, Reply, Signal};

/// Runs one story on each reactor as a test of its own.
macro_rules! on_both_reactors {
    ($($story:ident)*) => {
        mod io_uring {
            $(#[test] fn $story() { super::$story("io_uring") })*
        }
        mod epoll {
            $(#[test] fn $story() { super::$story("epoll") })*
        }
    };
}

on_both_reactors! {
    requests_are_answered_on_kept_and_pipelined_connections
    bodies_arrive_whole
    doubtful_framing_is_refused
    a_slow_head_is_cut_off
    failures_of_the_backend_are_reported
    a_client_that_does_not_read_stops_the_backend
    a_client_that_leaves_cancels_the_backends_work
    a_reload_swaps_the_document
    a_shutdown_finishes_what_is_in_flight
}

fn on(reactor: &str, document: &Document) -> GatewayBuilder {
    Gateway::builder().document(document).env("FERRUM_REACTOR", reactor)
}

fn requests_are_answered_on_kept_and_pipelined_connections(reactor: &str) {
    let backend = Backend::naming_targets();
    let gateway = on(reactor, &Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    for number in 0..20 {
        assert_eq!(client.get(&format!("/{number}")).text(), format!("GET /{number}"));
    }
    client.send((0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect::<String>());
    for number in 0..10 {
        assert_eq!(client.response().text(), format!("GET /{number}"));
    }
}

fn bodies_arrive_whole(reactor: &str) {
    let backend = Backend::replying(|request| Reply::new(200).body(request.body.clone()).chunked(70_001));
    let gateway = on(reactor, &Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    for size in [0usize, 1, 65_537, 5 << 20] {
        let body: Vec<u8> = (0..size).map(|place| (place * 7 + place / 251) as u8).collect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
        client.send(&body);
        assert!(client.response().body == body, "{size} bytes came back different");
    }
}

fn doubtful_framing_is_refused(reactor: &str) {
    let backend = Backend::saying("should not be reached");
    let gateway = on(reactor, &Document::all_to(backend.port())).start();
    for lines in ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Content-Length: 3\r\nContent-Length: 4"] {
        let mut client = gateway.raw();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n"));
        assert_eq!(client.response().status, 400);
        client.expect_closed();
    }
    backend.expect_untouched();
}

fn a_slow_head_is_cut_off(reactor: &str) {
    let document = Document::all_to(1);
    let gateway = on(reactor, &document).env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1).start();
    let mut client = gateway.raw().with_patience(Duration::from_secs(6));
    client.send("GET / HTTP/1.1\r\nHos");
    client.expect_closed();
}

fn failures_of_the_backend_are_reported(reactor: &str) {
    let silent = Backend::scripted(|connection| {
        connection.read_request();
        connection.wait_closed();
    });
    let refusing = RefusingPort::new();
    let proxy = |id: &str, port| Proxy::new(id).path(&format!("/{id}")).set("backend_read_timeout_ms", 300).to(port);
    let document = Document::new().proxy(proxy("silent", silent.port())).proxy(proxy("refusing", refusing.port()));
    let gateway = on(reactor, &document).start();
    let error_of = |path: &str| gateway.get(path).header("x-gateway-error").map(str::to_owned);
    assert_eq!(error_of("/refusing").as_deref(), Some("connection_failure"));
    assert_eq!(error_of("/silent").as_deref(), Some("backend_error"));
}

fn a_client_that_does_not_read_stops_the_backend(reactor: &str) {
    let (sender, taken) = std::sync::mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
        sender.send(connection.flood(Duration::from_secs(1))).ok();
    });
    let document = Document::all_to(backend.port());
    let gateway = on(reactor, &document).env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 0).start();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let (bytes, end) = taken.recv_timeout(Duration::from_secs(30)).expect("the backend is stopped");
    assert!(end == Fault::TimedOut && bytes < 48 << 20, "{bytes} bytes were taken, then {end:?}");
}

fn a_client_that_leaves_cancels_the_backends_work(reactor: &str) {
    let (sender, closed) = std::sync::mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        sender.send(connection.wait_closed()).ok();
    });
    let gateway = on(reactor, &Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    drop(client);
    assert_eq!(closed.recv_timeout(Duration::from_secs(20)), Ok(true));
}

fn a_reload_swaps_the_document(reactor: &str) {
    let backend = Backend::saying("ok");
    let open = Document::all_to(backend.port());
    let gateway = on(reactor, &open).start();
    let mut client = gateway.raw();
    assert_eq!(client.get("/").status, 200);
    gateway.reload(&open.clone().proxy_plugin("app", "key_auth", json!({})));
    assert_eq!(client.get("/").status, 401);
}

fn a_shutdown_finishes_what_is_in_flight(reactor: &str) {
    let gate = tests::Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |_| {
        held.wait();
        Reply::text("finished")
    });
    let mut gateway = on(reactor, &Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    gateway.signal(Signal::Terminate);
    gateway.wait_for_log(|text| text.starts_with("SIGTERM received"));
    gate.open();
    assert_eq!(client.response().text(), "finished");
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}
