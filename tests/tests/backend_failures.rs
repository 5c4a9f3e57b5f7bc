//! What a client gets when the backend is away, slow, broken or lying.

use std::time::{Duration, Instant};

use tests::{Backend, DeafPort, Document, Fault, Gateway, Proxy, RefusingPort, Reply, Response};

#[track_caller]
fn gateway_error(response: &Response, body: &str, class: &str) {
    assert_eq!(response.status, 502, "{response:?}");
    assert_eq!(response.text(), format!(r#"{{"error":"{body}"}}"#));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    assert_eq!(response.header("x-gateway-error"), Some(class));
}

/// A backend that answers each request with exactly these bytes and then closes.
fn answering(bytes: impl Into<Vec<u8>>) -> Backend {
    let bytes = bytes.into();
    Backend::scripted(move |connection| {
        connection.read_request();
        connection.send(&bytes);
    })
}

/// The same, and the connection stays open.
fn answering_and_staying(bytes: impl Into<Vec<u8>>) -> Backend {
    let bytes = bytes.into();
    Backend::scripted(move |connection| {
        while connection.read_request().is_some() {
            connection.send(&bytes);
        }
    })
}

/// The client gets a 200 whose body visibly does not come to its end.
#[track_caller]
fn body_is_cut(backend: &Backend) {
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status, 200);
    let end = client.count_body(&head);
    assert!(matches!(end, Err(Fault::Cut | Fault::Reset)), "the body must not look whole: {end:?}");
}

#[test]
fn a_backend_that_refuses_is_unavailable() {
    let refusing = RefusingPort::new();
    let response = Gateway::in_front_of(refusing.port()).get("/");
    gateway_error(&response, "Backend unavailable", "connection_failure");
}

#[test]
fn the_client_connection_survives_a_backend_that_refuses() {
    let refusing = RefusingPort::new();
    let gateway = Gateway::in_front_of(refusing.port());
    let mut client = gateway.raw();
    for _ in 0..5 {
        gateway_error(&client.get("/"), "Backend unavailable", "connection_failure");
    }
}

#[test]
fn a_backend_that_does_not_accept_is_given_up_after_the_connect_timeout() {
    let deaf = DeafPort::new();
    let proxy = Proxy::new("app").path("/").set("backend_connect_timeout_ms", 300).to(deaf.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let started = Instant::now();
    gateway_error(&gateway.get("/"), "Backend unavailable", "connection_failure");
    let took = started.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_secs(4), "after {took:?}");
}

#[test]
fn a_name_that_does_not_resolve_has_an_answer_of_its_own() {
    let nobody = RefusingPort::new();
    let proxy = Proxy::new("app").path("/").set("backend_host", "no-such-host.invalid").set("backend_port", 80);
    let gateway = Gateway::builder()
        .document(&Document::new().proxy(proxy))
        .env("FERRUM_DNS_RESOLVER_ADDRESS", format!("127.0.0.1:{}", nobody.port()))
        .start();
    gateway_error(&gateway.get("/"), "DNS resolution for backend failed", "connection_failure");
}

#[test]
fn an_address_that_policy_forbids_is_answered_like_a_name_that_does_not_resolve() {
    let backend = Backend::saying("should not be reached");
    let proxy =
        Proxy::new("app").path("/").set("backend_host", "backend.internal.test").set("backend_port", backend.port());
    let gateway = Gateway::builder()
        .document(&Document::new().proxy(proxy))
        .env("FERRUM_DNS_OVERRIDES", r#"{"backend.internal.test":"127.0.0.1"}"#)
        .env("FERRUM_BACKEND_ALLOW_IPS", "public")
        .start();
    gateway_error(&gateway.get("/"), "DNS resolution for backend failed", "connection_failure");
    backend.expect_untouched();
}

#[test]
fn a_name_may_be_resolved_by_override() {
    let backend = Backend::saying("found");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).set("backend_port", backend.port());
    let document = Document::new()
        .proxy(proxy("all").set("backend_host", "backend.internal.test"))
        .proxy(proxy("own").set("backend_host", "another.internal.test").set("dns_override", "127.0.0.1"));
    let builder = Gateway::builder().document(&document);
    let gateway = builder.env("FERRUM_DNS_OVERRIDES", r#"{"backend.internal.test":"127.0.0.1"}"#).start();
    assert_eq!((gateway.get("/all").text(), gateway.get("/own").text()), ("found".into(), "found".into()));
    let hosts: Vec<String> = backend.requests().iter().map(|r| r.headers.all("host").join("|")).collect();
    assert_eq!(hosts, ["backend.internal.test", "another.internal.test"]);
}

#[test]
fn a_backend_that_never_answers_is_given_up_after_the_read_timeout() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.wait_closed();
    });
    let proxy = Proxy::new("app").path("/").set("backend_read_timeout_ms", 300).to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let started = Instant::now();
    gateway_error(&gateway.get("/"), "Backend unavailable", "backend_error");
    let took = started.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_secs(4), "after {took:?}");
    tests::eventually("the hopeless connection is closed", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn the_read_timeout_counts_to_the_end_of_the_body() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegun");
        connection.wait_closed();
    });
    let proxy = Proxy::new("app").path("/").set("backend_read_timeout_ms", 500).to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status, 200);
    assert!(matches!(client.count_body(&head), Err(Fault::Cut | Fault::Reset)));
}

#[test]
fn a_backend_that_closes_before_it_answers_is_unavailable() {
    let response = Gateway::in_front_of(answering("").port()).get("/");
    gateway_error(&response, "Backend unavailable", "backend_error");
}

#[test]
fn a_backend_that_resets_before_or_inside_its_head_is_unavailable() {
    for sent in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let backend = Backend::scripted(move |connection| {
            connection.read_request();
            connection.send(sent);
            connection.reset();
        });
        let response = Gateway::in_front_of(backend.port()).get("/");
        gateway_error(&response, "Backend unavailable", "backend_error");
    }
}

#[test]
fn half_a_head_is_no_answer() {
    for half in
        ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]
    {
        let response = Gateway::in_front_of(answering(half).port()).get("/");
        gateway_error(&response, "Backend unavailable", "backend_error");
    }
}

#[test]
fn something_that_is_no_http_is_no_answer() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\x12\x04\0\0\0\0\0",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab",
        "HTTP/9.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let response = Gateway::in_front_of(answering_and_staying(garbage).port()).get("/");
        gateway_error(&response, "Backend unavailable", "backend_error");
    }
}

#[test]
fn a_response_framed_twice_reaches_the_client_framed_once_or_not_at_all() {
    for head in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 30"]
    {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let gateway = Gateway::in_front_of(answering(bytes).port());
        // The client's parser refuses a response that is framed twice.
        let response = gateway.get("/");
        assert!(matches!(response.status, 200 | 502), "{response:?}");
        if response.status == 200 {
            assert_eq!(response.text(), "hello");
        }
    }
}

#[test]
fn a_head_without_end_is_given_up_and_not_collected() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\n");
        let line = format!("X-More: {}\r\n", "m".repeat(8000));
        (0..8000).all(|_| connection.send(&line));
        connection.wait_closed();
    });
    let gateway = Gateway::in_front_of(backend.port());
    let before = gateway.resident_bytes();
    gateway_error(&gateway.get("/"), "Backend unavailable", "backend_error");
    assert!(gateway.resident_bytes() < before + (16 << 20), "the head was collected in memory");
}

#[test]
fn a_body_that_the_backend_breaks_off_is_cut_and_not_short() {
    body_is_cut(&answering("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this"));
    body_is_cut(&answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
    body_is_cut(&answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"));
    body_is_cut(&answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello"));
}

#[test]
fn a_body_that_the_backend_resets_is_cut_and_not_short() {
    body_is_cut(&Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this");
        connection.reset();
    }));
}

#[test]
fn a_small_body_that_the_backend_breaks_off_never_looks_whole() {
    let backend = answering("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    match client.try_response() {
        Ok(response) => gateway_error(&response, "Backend response body read failed", "backend_error"),
        Err((fault, _)) => assert!(matches!(fault, Fault::Cut | Fault::Reset), "{fault:?}"),
    }
}

#[test]
fn a_buffered_body_that_the_backend_breaks_off_becomes_502() {
    let backend = answering("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this");
    let proxy = Proxy::new("app").path("/").set("response_body_mode", "buffer").to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    gateway_error(&gateway.get("/"), "Backend response body read failed", "backend_error");
}

#[test]
fn a_chunked_body_that_stops_making_sense_is_cut() {
    for size in ["xyz", "-5", "0x5", "fffffffffffffffff", "5 5"] {
        let bytes =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{size}\r\nworld\r\n0\r\n\r\n");
        body_is_cut(&answering_and_staying(bytes));
    }
    body_is_cut(&answering_and_staying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld!!!\r\n0\r\n\r\n",
    ));
}

#[test]
fn bytes_after_an_answer_are_never_the_answer_to_the_next_request() {
    let backend = Backend::scripted(|connection| {
        while connection.read_request().is_some() {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
            );
        }
    });
    let gateway = Gateway::builder().document(&Document::all_to(backend.port())).env("FERRUM_CORES", 0).start();
    let mut client = gateway.raw();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(gateway.get("/").text(), "ok");
    }
}

#[test]
fn an_answer_to_head_that_has_a_body_is_never_the_answer_to_the_next_request() {
    let backend = Backend::scripted(|connection| {
        while let Some(request) = connection.read_request() {
            let body = if request.method == "HEAD" { "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" } else { "ok" };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let gateway = Gateway::builder().document(&Document::all_to(backend.port())).env("FERRUM_CORES", 0).start();
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    assert_eq!(client.get("/").text(), "ok");
}

#[test]
fn an_answer_of_http_1_0_is_an_answer() {
    let backend = Backend::replying(|_| Reply::text("old").http_1_0().until_close());
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.version.as_str(), response.text().as_str()), ("HTTP/1.1", "old"));
    }
    assert_eq!(backend.connections(), 3, "an HTTP/1.0 connection is not reused unasked");
}

#[test]
fn an_answer_given_before_the_request_was_read_is_an_answer() {
    let backend = Backend::scripted(|connection| {
        connection.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
        connection.wait_closed();
    });
    let response = Gateway::in_front_of(backend.port()).get("/");
    // The bytes may also be taken for what nobody asked for; a hang or a 200 would be wrong.
    assert!(matches!(response.status, 502 | 503), "{response:?}");
}

#[test]
fn a_switch_of_protocols_nobody_asked_for_is_no_answer() {
    let backend =
        answering_and_staying("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n");
    let response = Gateway::in_front_of(backend.port()).get("/");
    assert_eq!(response.status, 502, "{response:?}");
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    let port = RefusingPort::new();
    let gateway = Gateway::in_front_of(port.port());
    gateway_error(&gateway.get("/"), "Backend unavailable", "connection_failure");
    let listener = port.open();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            use std::io::{Read, Write};
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok_and(|count| count > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nback").ok();
            }
        }
    });
    assert_eq!(gateway.get("/").text(), "back");
}

#[test]
fn an_https_backend_is_never_spoken_to_in_the_clear() {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the gateway connects");
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).expect("the gateway speaks first");
        heard.truncate(count);
        heard
    });
    let proxy = Proxy::new("app").path("/").to(port).set("backend_scheme", "https");
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let response = gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: secret\r\n\r\n");
    gateway_error(&response, "Backend unavailable", "connection_failure");
    let heard = heard.join().expect("the backend listens");
    // RFC 8446 §5.1: a handshake record.
    assert_eq!(heard[0], 22, "{heard:?}");
    assert!(!heard.windows(6).any(|window| window == b"secret"), "{heard:?}");
}
