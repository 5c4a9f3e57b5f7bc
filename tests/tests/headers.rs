//! What the gateway adds, removes and leaves alone between client and backend.

use serde_json::json;
use tests::{Backend, Document, Gateway, Proxy, Reply, Request};

/// Sends these header lines through a gateway with these settings and gives what the backend saw.
#[track_caller]
fn seen_by_backend(lines: &str, settings: &[(&str, &str)]) -> Request {
    let backend = Backend::saying("ok");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start();
    assert_eq!(gateway.ask(format!("GET /p HTTP/1.1\r\n{lines}\r\n")).status, 200);
    backend.only_request()
}

/// What a client gets of this reply of the backend.
#[track_caller]
fn seen_by_client(reply: Reply, settings: &[(&str, &str)]) -> tests::Response {
    let backend = Backend::replying(move |_| reply.clone());
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start();
    gateway.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn hop_by_hop_headers_of_the_client_stop_at_the_gateway() {
    let lines = "Host: localhost\r\nConnection: keep-alive, X-Private , x-other\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip\r\n\
                 Trailer: X-T\r\nUpgrade: h2c\r\nX-Private: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n\
                 X-Ferrum-Original-Content-Encoding: br\r\n";
    let request = seen_by_backend(lines, &[]);
    for name in [
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-private",
        "x-other",
        "x-ferrum-original-content-encoding",
        "content-length",
    ] {
        assert!(!request.headers.has(name), "{name} reached the backend: {:?}", request.headers);
    }
    assert!(!request.headers.lists("connection", "x-private"), "{:?}", request.headers);
    assert_eq!(request.header("x-kept"), Some("3"));
}

#[test]
fn hop_by_hop_headers_of_the_backend_stop_at_the_gateway() {
    let reply = Reply::text("ok")
        .header("Connection", "X-Private, keep-alive")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authenticate", "Basic")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers")
        .header("Trailer", "X-T")
        .header("Upgrade", "h2c")
        .header("X-Private", "1")
        .header("X-Kept", "2");
    let response = seen_by_client(reply, &[]);
    for name in [
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "x-private",
        "transfer-encoding",
    ] {
        assert!(!response.headers.has(name), "{name} reached the client: {response:?}");
    }
    assert!(!response.headers.lists("connection", "x-private"), "{response:?}");
    assert_eq!(response.header("x-kept"), Some("2"));
}

#[test]
fn a_client_cannot_have_the_framing_removed_by_naming_it_in_connection() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: content-length, host\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(client.response().text(), "hello");
    assert_eq!(client.get("/next").status, 200);
    assert_eq!(backend.requests()[0].headers.all("host").len(), 1);
}

#[test]
fn the_backend_learns_who_asked_and_how() {
    let request = seen_by_backend("Host: shop.example.com\r\n", &[]);
    assert_eq!(request.headers.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.headers.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.headers.all("x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(request.headers.all("via"), ["1.1 ferrum-edge"]);
    assert!(!request.headers.has("forwarded"));
}

#[test]
fn the_gateways_word_replaces_forged_forwarding_headers() {
    let forged = "Host: shop.example.com\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: evil.example.com\r\n";
    let request = seen_by_backend(forged, &[]);
    assert_eq!(request.headers.all("x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(request.headers.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.headers.all("x-forwarded-host"), ["shop.example.com"]);
}

#[test]
fn via_grows_on_both_sides() {
    let request = seen_by_backend("Host: localhost\r\nVia: 1.0 before\r\n", &[]);
    assert_eq!(request.headers.all("via").join(", "), "1.0 before, 1.1 ferrum-edge");
    assert_eq!(seen_by_client(Reply::text("ok"), &[]).headers.all("via"), ["1.1 ferrum-edge"]);
    let response = seen_by_client(Reply::text("ok").header("Via", "1.1 inner"), &[]);
    assert_eq!(response.headers.all("via").join(", "), "1.1 inner, 1.1 ferrum-edge");
}

#[test]
fn via_has_the_chosen_name_or_is_left_out() {
    let named = [("FERRUM_VIA_PSEUDONYM", "edge-7")];
    assert_eq!(seen_by_backend("Host: localhost\r\n", &named).headers.all("via"), ["1.1 edge-7"]);
    assert_eq!(seen_by_client(Reply::text("ok"), &named).headers.all("via"), ["1.1 edge-7"]);
    let off = [("FERRUM_ADD_VIA_HEADER", "false")];
    assert!(!seen_by_backend("Host: localhost\r\n", &off).headers.has("via"));
    assert!(!seen_by_client(Reply::text("ok"), &off).headers.has("via"));
}

#[test]
fn an_http_1_0_client_counts_as_1_1_in_via() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    gateway.ask("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_eq!(backend.only_request().headers.all("via"), ["1.1 ferrum-edge"]);
    assert_eq!(backend.only_request().version, "HTTP/1.1");
}

#[test]
fn rejections_of_the_gateway_carry_no_via_and_no_gateway_error() {
    let gateway = Gateway::running(&Document::new());
    let response = gateway.get("/nowhere");
    assert_eq!(response.status, 404);
    assert!(!response.headers.has("via") && !response.headers.has("x-gateway-error"), "{response:?}");
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
}

#[test]
fn forwarded_is_added_when_asked_for() {
    let request = seen_by_backend("Host: shop.example.com\r\n", &[("FERRUM_ADD_FORWARDED_HEADER", "true")]);
    assert_eq!(request.headers.all("forwarded"), ["for=127.0.0.1;proto=http;host=shop.example.com"]);
}

#[test]
fn the_backend_sees_its_own_host_without_port_unless_told_otherwise() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let document = Document::new().proxy(proxy("own")).proxy(proxy("kept").set("preserve_host_header", true));
    let gateway = Gateway::running(&document);
    gateway.ask("GET /own HTTP/1.1\r\nHost: Shop.example.com:8080\r\n\r\n");
    gateway.ask("GET /kept HTTP/1.1\r\nHost: Shop.example.com:8080\r\n\r\n");
    let hosts: Vec<String> = backend.requests().iter().map(|r| r.headers.all("host").join("|")).collect();
    assert_eq!(hosts, ["127.0.0.1", "Shop.example.com:8080"]);
}

#[test]
fn a_client_cannot_pretend_to_be_a_consumer() {
    let lines = "Host: localhost\r\nX-Consumer-Username: root\r\nx-consumer-custom-id: 0\r\nX-CONSUMER-USERNAME: a\r\n";
    let request = seen_by_backend(lines, &[]);
    assert!(!request.headers.has("x-consumer-username"), "{:?}", request.headers);
    assert!(!request.headers.has("x-consumer-custom-id"), "{:?}", request.headers);
}

#[test]
fn request_headers_keep_their_order_and_spelling() {
    let lines = "Host: localhost\r\nX-zebra: 1\r\nx-ALPHA: 2\r\nUser-Agent: t/1\r\nX-Middle: 3\r\n";
    let request = seen_by_backend(lines, &[]);
    let sent = ["X-zebra", "x-ALPHA", "User-Agent", "X-Middle"];
    let names: Vec<&str> = request.headers.names().into_iter().filter(|name| sent.contains(name)).collect();
    assert_eq!(names, sent);
}

#[test]
fn response_headers_keep_their_order_and_spelling() {
    let reply = Reply::text("ok").header("X-zebra", "1").header("x-ALPHA", "2").header("X-Middle", "3");
    let response = seen_by_client(reply, &[]);
    let sent = ["X-zebra", "x-ALPHA", "X-Middle"];
    let names: Vec<&str> = response.headers.names().into_iter().filter(|name| sent.contains(name)).collect();
    assert_eq!(names, sent);
}

#[test]
fn set_cookie_lines_stay_apart_and_other_repeated_headers_lose_nothing() {
    let reply = Reply::text("ok")
        .header("Set-Cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT")
        .header("X-Many", "one")
        .header("Set-Cookie", "b=2")
        .header("X-Many", "two");
    let response = seen_by_client(reply, &[]);
    assert_eq!(response.headers.all("set-cookie"), ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]);
    assert_eq!(response.headers.all("x-many").join(", "), "one, two");
}

#[test]
fn repeated_list_headers_lose_nothing_and_of_others_the_last_one_counts() {
    let lines = "Host: localhost\r\nX-Many: one\r\nCookie: a=1\r\nX-Many: two\r\nCookie: b=2\r\n\
                 Baggage: k=v\r\nBaggage: l=w\r\nAuthorization: first\r\nAccept: a\r\nauthorization: last\r\n\
                 Accept: b\r\n";
    let request = seen_by_backend(lines, &[]);
    // A plugin judges the last value, so a backend must not see another one.
    assert_eq!(request.headers.all("x-many"), ["two"]);
    assert_eq!(request.headers.all("authorization"), ["last"]);
    assert_eq!(request.headers.all("accept").join(", "), "a, b");
    assert_eq!(request.headers.all("cookie").join("; "), "a=1; b=2");
    assert_eq!(request.headers.all("baggage").join(",").replace(", ", ","), "k=v,l=w");
}

#[test]
fn header_values_outside_ascii_are_dropped_and_the_request_goes_on() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    gateway.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Odd: caf\xe9\r\nX-Tab: a\tb\r\nX-After: 1\r\n\r\n");
    let request = backend.only_request();
    assert!(!request.headers.has("x-odd"), "{:?}", request.headers);
    assert_eq!((request.header("x-tab"), request.header("x-after")), (Some("a\tb"), Some("1")));
}

#[test]
fn an_empty_header_value_stays_an_empty_header_value() {
    let request = seen_by_backend("Host: localhost\r\nX-Empty:\r\nX-Blank:   \r\n", &[]);
    assert_eq!((request.header("x-empty"), request.header("x-blank")), (Some(""), Some("")));
    let response = seen_by_client(Reply::text("ok").header("X-Empty", ""), &[]);
    assert_eq!(response.header("x-empty"), Some(""));
}

#[test]
fn early_data_and_expect_are_forwarded_like_any_header() {
    let request = seen_by_backend("Host: localhost\r\nEarly-Data: 1\r\nUser-Agent: curl/8\r\nAccept: a/b\r\n", &[]);
    assert_eq!(request.header("early-data"), Some("1"));
    assert_eq!(request.headers.all("user-agent"), ["curl/8"]);
    assert_eq!(request.headers.all("accept"), ["a/b"]);
}

#[test]
fn no_user_agent_is_invented() {
    assert!(!seen_by_backend("Host: localhost\r\n", &[]).headers.has("user-agent"));
}

#[test]
fn redirects_of_the_backend_go_to_the_client_unchanged() {
    let elsewhere = Backend::saying("should not be reached");
    let location = format!("http://127.0.0.1:{}/elsewhere", elsewhere.port());
    for status in [301, 302, 303, 307, 308] {
        let response = seen_by_client(Reply::new(status).header("Location", &location).body("moved"), &[]);
        assert_eq!((response.status, response.header("location")), (status, Some(location.as_str())));
    }
    elsewhere.expect_untouched();
}

#[test]
fn a_server_error_of_the_backend_is_marked_and_otherwise_unchanged() {
    let mark = |status| {
        let response = seen_by_client(Reply::new(status).body("theirs"), &[]);
        assert_eq!((response.status, response.text().as_str()), (status, "theirs"));
        response.header("x-gateway-error").map(str::to_owned)
    };
    assert_eq!(mark(500).as_deref(), Some("backend_error"));
    assert_eq!(mark(503).as_deref(), Some("backend_error"));
    assert_eq!(mark(504).as_deref(), Some("backend_timeout"));
    assert_eq!((mark(499), mark(404), mark(200)), (None, None, None));
}

#[test]
fn curl_sees_what_the_raw_client_sees() {
    let backend = Backend::replying(|request| Reply::text(&json!(request.headers.names()).to_string()).chunked(7));
    let gateway = Gateway::in_front_of(backend.port());
    let answer = gateway.curl("/x?y=z", &["--header", "X-Mine: 1", "--compressed", "--data", "k=v"]);
    assert_eq!((answer.exit, answer.status), (0, 200));
    assert_eq!(answer.header("via"), Some("1.1 ferrum-edge"));
    assert!(answer.text().contains("X-Mine"), "{}", answer.text());
    assert_eq!((backend.only_request().text(), backend.only_request().target), ("k=v".into(), "/x?y=z".into()));
}

#[test]
fn a_connection_header_cannot_take_away_what_the_gateway_sets() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port()).global_plugin("correlation_id", serde_json::json!({}));
    let gateway = Gateway::running(&document);
    let response =
        gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nConnection: x-request-id, x-secret\r\n\r\n");
    let request = backend.only_request();
    assert_eq!(request.header("x-request-id"), response.headers.get("x-request-id"));
    assert!(request.header("x-request-id").is_some() && !request.headers.has("x-secret"), "{:?}", request.headers);
}

#[test]
fn a_host_cannot_add_parameters_to_the_forwarded_header() {
    let request = seen_by_backend("Host: a;for=6.6.6.6\r\n", &[("FERRUM_ADD_FORWARDED_HEADER", "true")]);
    assert_eq!(request.header("forwarded"), Some("for=127.0.0.1;proto=http;host=\"a;for=6.6.6.6\""));
}

#[test]
fn a_connection_header_with_more_than_64_names_is_refused() {
    let names = |count: usize| (0..count).map(|index| format!("x{index}")).collect::<Vec<_>>().join(",");
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let ask = |count| gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", names(count)));
    assert_eq!(ask(64).status, 200);
    let refused = ask(65);
    assert_eq!(
        (refused.status, refused.text()),
        (400, r#"{"error":"Connection header lists more than 64 names"}"#.into())
    );
}
