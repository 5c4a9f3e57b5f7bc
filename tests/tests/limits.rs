//! Every limit from both sides: at the limit a request passes, one past it gets the documented answer.

use tests::{Backend, Document, Fault, Gate, Gateway, Proxy, RawClient, Reply, Response};

fn gateway_with(backend: &Backend, settings: &[(&str, &str)]) -> Gateway {
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start()
}

#[track_caller]
fn answers(response: &Response, status: u16, error: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.text(), format!(r#"{{"error":"{error}"}}"#));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
}

#[test]
fn one_header_past_its_size_gets_431() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_SINGLE_HEADER_SIZE_BYTES", "100")]);
    let ask =
        |size: usize| gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nx-big: {}\r\n\r\n", "v".repeat(size - 5)));
    assert_eq!(ask(100).status, 200);
    answers(&ask(101), 431, "Request header 'x-big' exceeds maximum size of 100 bytes");
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn all_headers_past_their_sum_get_431() {
    let backend = Backend::saying("ok");
    let settings = [("FERRUM_MAX_HEADER_SIZE_BYTES", "8192"), ("FERRUM_MAX_SINGLE_HEADER_SIZE_BYTES", "8192")];
    let gateway = gateway_with(&backend, &settings);
    let ask = |sum: usize| {
        // `Host` + `a` + `x-a` + 4000 bytes + `x-b` + the rest.
        let rest = sum - "Hosta".len() - "x-a".len() - 4000 - "x-b".len();
        let (first, second) = ("v".repeat(4000), "v".repeat(rest));
        gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nx-a: {first}\r\nx-b: {second}\r\n\r\n"))
    };
    assert_eq!(ask(8192).status, 200);
    answers(&ask(8193), 431, "Total request headers exceed maximum size");
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn the_default_header_sizes_are_16_kib_for_one_and_32_kib_for_all() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let one =
        |size: usize| gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nx-big: {}\r\n\r\n", "v".repeat(size - 5)));
    assert_eq!(one(16_384).status, 200);
    answers(&one(16_385), 431, "Request header 'x-big' exceeds maximum size of 16384 bytes");

    let all = |sum: usize| {
        let block = "v".repeat(10_000);
        let rest = "v".repeat(sum - "Hosta".len() - 3 * "x-a".len() - 3 * 10_000 - "x-d".len());
        let blocks = format!("x-a: {block}\r\nx-b: {block}\r\nx-c: {block}\r\nx-d: {rest}\r\n");
        gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{blocks}\r\n"))
    };
    assert_eq!(all(32_768).status, 200);
    answers(&all(32_769), 431, "Total request headers exceed maximum size");
}

#[test]
fn a_head_without_end_is_refused_and_not_collected() {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    let before = gateway.resident_bytes();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let line = format!("x-more: {}\r\n", "m".repeat(8000));
    let refused = (0..8000).any(|_| client.try_send(&line).is_err());
    let answer = client.try_response();
    assert!(refused || answer.as_ref().is_ok_and(|r| r.status == 431), "64 MB of head were read: {answer:?}");
    assert!(gateway.resident_bytes() < before + (16 << 20), "the head was collected in memory");
    backend.expect_untouched();
}

#[test]
fn one_header_too_many_gets_431() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_HEADER_COUNT", "10")]);
    let ask = |count: usize| {
        let lines: String = (1..count).map(|n| format!("x-{n}: v\r\n")).collect();
        gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
    };
    assert_eq!(ask(10).status, 200);
    answers(&ask(11), 431, "Request header count (11) exceeds maximum of 10");
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn the_default_header_count_is_100_and_it_can_be_raised_or_switched_off() {
    let backend = Backend::saying("ok");
    let ask = |gateway: &Gateway, count: usize| {
        let lines: String = (1..count).map(|n| format!("x-{n}: v\r\n")).collect();
        gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).status
    };
    let gateway = Gateway::in_front_of(backend.port());
    assert_eq!((ask(&gateway, 100), ask(&gateway, 101)), (200, 431));
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_HEADER_COUNT", "150")]);
    assert_eq!((ask(&gateway, 150), ask(&gateway, 151)), (200, 431));
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_HEADER_COUNT", "0")]);
    assert_eq!(ask(&gateway, 500), 200);
}

#[test]
fn a_url_past_its_length_gets_414() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_URL_LENGTH_BYTES", "100")]);
    let path = |length: usize| gateway.get(&format!("/{}", "p".repeat(length - 1)));
    assert_eq!(path(100).status, 200);
    answers(&path(101), 414, "Request URL length (101 bytes) exceeds maximum of 100 bytes");
    let query = |length: usize| gateway.get(&format!("/p?{}", "q".repeat(length - 3)));
    assert_eq!(query(100).status, 200);
    answers(&query(101), 414, "Request URL length (101 bytes) exceeds maximum of 100 bytes");
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn the_default_url_length_is_8_kib_and_0_switches_it_off() {
    let backend = Backend::saying("ok");
    let path = |gateway: &Gateway, length: usize| gateway.get(&format!("/{}", "p".repeat(length - 1))).status;
    let gateway = Gateway::in_front_of(backend.port());
    assert_eq!((path(&gateway, 8192), path(&gateway, 8193)), (200, 414));
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_URL_LENGTH_BYTES", "0")]);
    assert_eq!(path(&gateway, 12_000), 200);
}

#[test]
fn one_query_parameter_too_many_gets_400() {
    let backend = Backend::saying("ok");
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_QUERY_PARAMS", "3")]);
    assert_eq!(gateway.get("/?a=1&b&c=3").status, 200);
    assert_eq!(gateway.get("/?a=1&&b&&&c=3&").status, 200, "empty pieces do not count");
    answers(&gateway.get("/?a=1&b&c=3&d"), 400, "Query parameter count (4) exceeds maximum of 3");
    answers(&gateway.get("/?a&a&a&a"), 400, "Query parameter count (4) exceeds maximum of 3");
}

#[test]
fn the_default_query_parameter_count_is_100() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let ask = |count: usize| gateway.get(&format!("/?{}", vec!["a"; count].join("&"))).status;
    assert_eq!((ask(100), ask(101)), (200, 400));
}

#[test]
fn a_body_announced_past_the_limit_gets_413_before_the_backend_is_dialled() {
    let backend = Backend::echoing();
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let refused = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    answers(&refused, 413, "Request body exceeds maximum size");
    backend.expect_untouched();
    let body = "b".repeat(1000);
    let passed = gateway.ask(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{body}"));
    assert_eq!((passed.status, passed.body.len()), (200, 1000));
}

#[test]
fn a_chunked_body_that_grows_past_the_limit_gets_413() {
    let backend = Backend::echoing();
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let block = format!("1f4\r\n{}\r\n", "b".repeat(500));
    let passed = gateway.ask([head, &block, &block, "0\r\n\r\n"].concat());
    assert_eq!((passed.status, passed.body.len()), (200, 1000));

    let mut client = gateway.raw();
    client.send([head, &block, &block].concat());
    client.send("1\r\nb\r\n0\r\n\r\n");
    answers(&client.response(), 413, "Request body exceeds maximum size");
    let whole = backend.requests().iter().filter(|request| request.complete).count();
    assert_eq!(whole, 1, "the body past the limit never became a whole request");
}

#[test]
fn a_chunk_announced_past_the_limit_gets_413_without_its_bytes() {
    let backend = Backend::echoing();
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("fffffff\r\n{}", "b".repeat(1001)));
    answers(&client.response(), 413, "Request body exceeds maximum size");
}

#[test]
fn a_request_body_limit_of_0_is_no_limit() {
    let backend = Backend::scripted(|connection| {
        let head = connection.read_head().expect("a request");
        let (count, _) = connection.count_body(&head);
        connection.reply_to(&head, &Reply::text(&count.to_string()));
    });
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "0")]);
    let size = 11 << 20;
    let mut client = gateway.raw();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
    client.send(vec![b'b'; size]);
    assert_eq!(client.response().text(), size.to_string());
}

#[test]
fn a_response_announced_past_the_limit_becomes_502() {
    let backend = Backend::replying(|request| {
        let size = request.target.trim_start_matches('/').parse().expect("a size");
        Reply::new(200).body(vec![b'r'; size])
    });
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]);
    assert_eq!(gateway.get("/1000").body.len(), 1000);
    let refused = gateway.get("/1001");
    answers(&refused, 502, "Backend response body exceeds maximum size");
    assert_eq!(refused.header("x-gateway-error"), Some("backend_error"));
}

#[test]
fn a_streamed_response_that_grows_past_the_limit_is_cut() {
    let seen = Gate::new();
    let more = seen.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.send(format!("384\r\n{}\r\n", "r".repeat(900)));
        more.wait();
        connection.send(format!("c8\r\n{}\r\n0\r\n\r\n", "r".repeat(200)));
        connection.wait_closed();
    });
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status, 200);
    seen.open();
    let end = client.count_body(&head);
    assert!(matches!(end, Err(Fault::Cut | Fault::Reset)), "the body must not look whole: {end:?}");
}

#[test]
fn a_streamed_response_exactly_at_the_limit_passes() {
    let backend = Backend::replying(|_| Reply::new(200).body(vec![b'r'; 1000]).chunked(300));
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]);
    assert_eq!(gateway.get("/").body.len(), 1000);
}

#[test]
fn a_buffered_response_that_grows_past_the_limit_becomes_502() {
    let backend = Backend::replying(|request| {
        let size = request.target.trim_start_matches('/').parse().expect("a size");
        Reply::new(200).body(vec![b'r'; size]).chunked(300)
    });
    let proxy = Proxy::new("app").path("/").set("response_body_mode", "buffer").to(backend.port());
    let document = Document::new().proxy(proxy);
    let builder = Gateway::builder().document(&document).env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 1000);
    let gateway = builder.start();
    assert_eq!(gateway.get("/1000").body.len(), 1000);
    answers(&gateway.get("/1001"), 502, "Backend response body exceeds maximum size");
}

/// A backend that holds its answers back until the gate opens.
fn waiting_backend() -> (Backend, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |_| {
        held.wait();
        Reply::text("ok")
    });
    (backend, gate)
}

fn asking(gateway: &Gateway) -> RawClient {
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client
}

#[test]
fn one_request_at_once_too_many_for_an_address_gets_429() {
    let (backend, gate) = waiting_backend();
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_CONCURRENT_REQUESTS_PER_IP", "2")]);
    let (mut first, mut second) = (asking(&gateway), asking(&gateway));
    backend.wait_for_requests(2);
    answers(&asking(&gateway).response(), 429, "Too many concurrent requests from this IP");
    gate.open();
    assert_eq!((first.response().status, second.response().status), (200, 200));
    assert_eq!(asking(&gateway).response().status, 200, "those that are answered count no more");
}

#[test]
fn the_requests_of_an_address_are_counted_over_all_cores() {
    let (backend, gate) = waiting_backend();
    let settings = [("FERRUM_MAX_CONCURRENT_REQUESTS_PER_IP", "5"), ("FERRUM_CORES", "0,1")];
    let gateway = gateway_with(&backend, &settings);
    let mut inside: Vec<RawClient> = (0..5).map(|_| asking(&gateway)).collect();
    backend.wait_for_requests(5);
    for _ in 0..10 {
        assert_eq!(asking(&gateway).response().status, 429);
    }
    gate.open();
    assert!(inside.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn a_client_that_goes_away_gives_its_place_back() {
    let (backend, gate) = waiting_backend();
    let gateway = gateway_with(&backend, &[("FERRUM_MAX_CONCURRENT_REQUESTS_PER_IP", "1")]);
    let gone = asking(&gateway);
    backend.wait_for_requests(1);
    gone.reset();
    gate.open();
    tests::eventually("the place is free", || (asking(&gateway).response().status == 200).then_some(()));
}

#[test]
fn addresses_behind_a_trusted_proxy_are_counted_apart() {
    let (backend, gate) = waiting_backend();
    let settings = [("FERRUM_MAX_CONCURRENT_REQUESTS_PER_IP", "1"), ("FERRUM_TRUSTED_PROXIES", "127.0.0.1")];
    let gateway = gateway_with(&backend, &settings);
    let asking_for = |address: &str| {
        let mut client = gateway.raw();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n"));
        client
    };
    let (mut one, mut two) = (asking_for("203.0.113.1"), asking_for("203.0.113.2"));
    backend.wait_for_requests(2);
    assert_eq!(asking_for("203.0.113.1").response().status, 429);
    gate.open();
    assert_eq!((one.response().status, two.response().status), (200, 200));
}
