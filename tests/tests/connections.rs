//! Client connections: kept alive, pipelined, timed out, closed.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Backend, Document, Fault, Gate, Gateway, Proxy, RawClient, Reply};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn gateway_with(backend: &Backend, settings: &[(&str, &str)]) -> Gateway {
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start()
}

#[test]
fn a_connection_carries_one_request_after_another() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for number in 0..50 {
        let response = client.get(&format!("/{number}"));
        assert_eq!(response.text(), format!("GET /{number}"));
        assert!(!response.says_close());
    }
}

#[test]
fn ten_pipelined_requests_are_answered_in_order() {
    // The first ones take longest, so that answers in order of completion would be in the wrong order.
    let backend = Backend::replying(|request| {
        let number: u64 = request.target.trim_start_matches('/').parse().expect("a number");
        std::thread::sleep(Duration::from_millis(10 * (10 - number)));
        Reply::text(&request.target)
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    let requests: String = (0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n")).collect();
    client.send(requests);
    for number in 0..10 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn pipelined_requests_with_bodies_keep_their_bodies() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    let mut requests = Vec::new();
    for number in 0..10 {
        let body = "b".repeat(number);
        requests.extend(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {number}\r\n\r\n{body}").bytes());
        requests.extend(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nch\r\n0\r\n\r\n");
    }
    client.send(requests);
    for number in 0..10 {
        assert_eq!(client.response().text(), "b".repeat(number));
        assert_eq!(client.response().text(), "ch");
    }
}

#[test]
fn a_refused_request_in_a_pipeline_keeps_its_place() {
    let backend = Backend::naming_targets();
    let proxy = Proxy::new("app").path("/app").set("strip_listen_path", false).to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let mut client = gateway.raw();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send([get("/app/1"), get("/nowhere"), get("/app/2")].concat());
    assert_eq!(client.response().text(), "GET /app/1");
    assert_eq!(client.response().status, 404);
    assert_eq!(client.response().text(), "GET /app/2");
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let backend = Backend::saying("patient");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for byte in PLAIN.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "patient");
}

#[test]
fn a_client_that_asks_for_close_is_closed_after_its_answer() {
    let backend = Backend::saying("bye");
    let gateway = Gateway::in_front_of(backend.port());
    for line in ["Connection: close", "Connection: Close", "Connection: x-other, close"] {
        let mut client = gateway.raw();
        client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.text(), "bye");
        assert!(response.says_close(), "{response:?}");
        client.expect_closed();
    }
}

#[test]
fn an_http_1_0_client_is_closed_by_default_and_kept_when_it_asks() {
    let backend = Backend::saying("old");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "old");
    client.expect_closed();

    let mut client = gateway.raw();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.text(), "old");
        assert!(response.headers.lists("connection", "keep-alive"), "{response:?}");
    }
}

#[test]
fn an_http_1_0_client_never_gets_chunks() {
    let backend = Backend::replying(|_| Reply::text("a body of unknown length").chunked(5));
    let gateway = Gateway::in_front_of(backend.port());
    for line in ["", "Connection: keep-alive\r\n"] {
        let mut client = gateway.raw();
        client.send(format!("GET / HTTP/1.0\r\n{line}\r\n"));
        let response = client.response();
        assert!(!response.headers.has("transfer-encoding"), "{response:?}");
        assert_eq!(response.text(), "a body of unknown length");
    }
}

#[test]
fn an_idle_connection_is_closed_silently_after_the_header_timeout() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "1")]);
    let mut client = gateway.raw();
    assert_eq!(client.get("/").status, 200);
    let idle_since = Instant::now();
    client.expect_closed();
    let idle = idle_since.elapsed();
    assert!(idle > Duration::from_millis(800) && idle < Duration::from_secs(5), "closed after {idle:?}");
}

#[test]
fn a_connection_that_never_says_anything_is_closed_silently() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "1")]);
    gateway.raw().with_patience(Duration::from_secs(6)).expect_closed();
}

#[test]
fn a_head_that_drips_in_is_cut_off_although_bytes_keep_coming() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "1")]);
    let mut client = gateway.raw().with_patience(Duration::from_millis(100));
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Drip: ");
    let started = Instant::now();
    let end = loop {
        match client.read_some() {
            Err(Fault::TimedOut) => {}
            end => break end,
        }
        assert!(started.elapsed() < Duration::from_secs(6), "the slow head was never cut off");
        if client.try_send("x").is_err() {
            break Err(Fault::Reset);
        }
    };
    assert!(matches!(&end, Ok(bytes) if bytes.is_empty()) || end == Err(Fault::Reset), "closed silently: {end:?}");
    assert!(started.elapsed() > Duration::from_millis(800), "cut off after {:?}", started.elapsed());
    backend.expect_untouched();
}

#[test]
fn the_header_timeout_does_not_count_the_backends_time() {
    let hold = Gate::new();
    let held = hold.clone();
    let backend = Backend::replying(move |_| {
        held.wait();
        Reply::text("late")
    });
    let gateway = gateway_with(&backend, &[("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "1")]);
    let mut client = gateway.raw().with_patience(Duration::from_millis(2500));
    client.send(PLAIN);
    assert_eq!(client.read_some(), Err(Fault::TimedOut), "nothing comes before the backend answers");
    hold.open();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn the_header_timeout_can_be_switched_off() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "0")]);
    let mut client = gateway.raw().with_patience(Duration::from_secs(2));
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(client.read_some(), Err(Fault::TimedOut), "the connection stays open");
    client.send("Host: localhost\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn an_expecting_client_is_told_to_continue_when_its_body_is_wanted() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.interim().status, 100);
    client.send("hello");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(response.interim, [] as [u16; 0], "one 100 and not two");
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn an_expecting_client_that_is_refused_gets_its_refusal_and_no_100() {
    let backend = Backend::echoing();
    let document = Document::all_to(backend.port()).proxy_plugin("app", "key_auth", json!({}));
    let gateway = Gateway::running(&document);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    let refused = gateway.ask(format!("{head}\r\n"));
    assert_eq!((refused.status, refused.interim.len()), (401, 0));

    let too_large = "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    let refused = Gateway::in_front_of(backend.port()).ask(too_large);
    assert_eq!((refused.status, refused.interim.len()), (413, 0));
    backend.expect_untouched();
}

#[test]
fn a_100_of_the_backend_is_not_passed_on() {
    let backend = Backend::scripted(|connection| {
        while connection.read_request().is_some() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal");
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "final"));
        assert_eq!(response.interim, [] as [u16; 0]);
    }
}

#[test]
fn a_head_request_gets_the_headers_of_a_get_and_no_body() {
    let backend = Backend::replying(|_| Reply::text("twelve bytes").header("ETag", "\"x\""));
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let response = client.response_to_head();
    assert_eq!((response.status, response.header("content-length")), (200, Some("12")));
    assert_eq!(response.header("etag"), Some("\"x\""));
    assert_eq!(client.get("/").text(), "twelve bytes", "the next answer starts right after the head");
    assert_eq!(backend.requests()[0].method, "HEAD");
}

#[test]
fn answers_of_204_and_304_have_no_body_and_the_connection_goes_on() {
    let backend = Backend::replying(|request| match request.target.as_str() {
        "/204" => Reply::new(204).without_body(),
        "/304" => Reply::new(304).without_body().header("Content-Length", "1234").header("ETag", "\"y\""),
        _ => Reply::text("next"),
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    let none = client.get("/204");
    assert_eq!((none.status, none.body.len()), (204, 0));
    assert!(!none.headers.has("content-length") && !none.headers.has("transfer-encoding"), "{none:?}");
    let same = client.get("/304");
    assert_eq!((same.status, same.header("etag")), (304, Some("\"y\"")));
    assert_eq!(client.get("/200").text(), "next");
}

#[test]
fn options_for_the_whole_server_matches_no_path() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    assert_eq!(gateway.ask("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 404);
    assert_eq!(gateway.ask("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
}

#[test]
fn trace_and_connect_get_405_before_any_route() {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    let trace = gateway.ask("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((trace.status, trace.text().as_str()), (405, r#"{"error":"TRACE method is not allowed"}"#));
    assert!(!trace.headers.has("allow"));
    for target in ["example.com:443", "localhost:80"] {
        let connect = gateway.ask(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        assert_eq!((connect.status, connect.text().as_str()), (405, r#"{"error":"CONNECT method is not allowed"}"#));
    }
    backend.expect_untouched();
}

#[test]
fn every_answer_has_a_date_and_none_names_the_server() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let rejected = gateway.ask("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for response in [gateway.get("/"), rejected] {
        assert_eq!(response.headers.all("date").len(), 1, "{response:?}");
        assert!(!response.headers.has("server"), "{response:?}");
    }
}

#[test]
fn a_date_of_the_backend_is_not_doubled() {
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let backend = Backend::replying(move |_| Reply::text("ok").header("Date", date).header("Server", "theirs"));
    let response = Gateway::in_front_of(backend.port()).get("/");
    assert_eq!(response.headers.all("date"), [date]);
    assert_eq!(response.headers.all("server"), ["theirs"]);
}

#[test]
fn many_clients_at_once_each_get_their_own_answers() {
    let backend = Backend::naming_targets();
    let gateway = gateway_with(&backend, &[("FERRUM_CORES", "0,1")]);
    let mut clients: Vec<RawClient> = (0..200).map(|_| gateway.raw()).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{number}/{round} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().text(), format!("GET /{number}/{round}"));
        }
    }
}

#[test]
fn connections_past_the_maximum_are_closed_without_a_word() {
    let backend = Backend::saying("ok");
    // The overload monitor would ask for close at 2 of 2 connections; its first look is far away here.
    let settings = [("FERRUM_MAX_CONNECTIONS", "2"), ("FERRUM_OVERLOAD_CHECK_INTERVAL_MS", "600000")];
    let gateway = gateway_with(&backend, &settings);
    let (mut first, mut second) = (gateway.raw(), gateway.raw());
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    gateway.raw().expect_closed();
    assert_eq!(first.get("/").status, 200, "those inside are served on");
    drop(second);
    tests::eventually("a place is free again", || {
        let mut client = gateway.raw();
        client.try_send(PLAIN).ok()?;
        client.try_response().ok().filter(|response| response.status == 200)
    });
}

#[test]
fn blank_lines_do_not_keep_a_connection_that_asks_for_nothing() {
    let backend = Backend::saying("should not be reached");
    let gateway = gateway_with(&backend, &[("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "1")]);
    let mut client = gateway.raw();
    let started = Instant::now();
    while client.try_send("\r\n").is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10), "kept by blank lines");
        std::thread::sleep(Duration::from_millis(200));
    }
    backend.expect_untouched();
}

#[test]
fn a_core_that_polls_busily_keeps_its_time_limits() {
    let backend = Backend::saying("busy");
    let settings =
        [("FERRUM_BUSY_POLL_US", "1000000"), ("FERRUM_CORES", "0"), ("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", "1")];
    let gateway = gateway_with(&backend, &settings);
    let mut slow = gateway.raw();
    slow.send("GET / HTTP/1.1\r\n");
    let started = Instant::now();
    let mut steady = gateway.raw();
    while started.elapsed() < Duration::from_secs(2) {
        assert_eq!(steady.get("/").text(), "busy");
    }
    slow.expect_closed();
}
