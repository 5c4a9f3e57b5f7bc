//! Where a request's body ends must never be in doubt: a request that leaves room for two readings is refused, its
//! connection is closed and the backend sees nothing of it.

use serde_json::json;
use tests::{Backend, Framing, Gateway};

/// Behind every doubtful request stands a second one that only a confused reader would answer.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends `request` followed by a smuggled one: one answer with this status comes, then the connection closes, and the
/// backend was never dialled. Gives the body of the answer.
#[track_caller]
fn refusal(request: &str, status: u16) -> String {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send([request, SMUGGLED].concat());
    let response = client.response();
    assert_eq!(response.status, status, "{request:?} got {response:?}");
    client.expect_closed();
    backend.expect_untouched();
    response.text()
}

#[track_caller]
fn refused_with(request: &str, error: &str) {
    assert_eq!(refusal(request, 400), json!({"error": error}).to_string(), "{request:?}");
}

/// Refused with 400, or with 501 for a transfer coding nobody here knows.
#[track_caller]
fn refused_coding(coding_lines: &str) {
    let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{coding_lines}\r\n\r\n0\r\n\r\n");
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send([request.as_str(), SMUGGLED].concat());
    let response = client.response();
    assert!(matches!(response.status, 400 | 501), "{coding_lines:?} got {response:?}");
    client.expect_closed();
    backend.expect_untouched();
}

#[test]
fn a_request_with_content_length_and_transfer_encoding_gets_400() {
    let error = "Request contains both Content-Length and Transfer-Encoding headers";
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "transfer-encoding: CHUNKED\r\ncontent-length: 0",
    ] {
        refused_with(&format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n0\r\n\r\n"), error);
    }
}

#[test]
fn a_request_with_two_different_content_lengths_gets_400_and_the_backend_sees_nothing() {
    let error = "Multiple Content-Length headers with conflicting values";
    for lines in [
        "Content-Length: 3\r\nContent-Length: 5",
        "Content-Length: 3, 5",
        "Content-Length: 3\r\nX: y\r\ncontent-length: 03",
        "Content-Length: 3,3,4",
    ] {
        refused_with(&format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\nabc"), error);
    }
}

#[test]
fn a_content_length_that_is_repeated_identically_is_one_content_length() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for lines in ["Content-Length: 3\r\nContent-Length: 3", "Content-Length: 3, 3"] {
        let mut client = gateway.raw();
        client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\nabc"));
        assert_eq!(client.response().text(), "abc");
        assert_eq!(client.get("/next").status, 200, "the connection goes on at the right byte");
    }
    for request in backend.requests().iter().filter(|request| request.method == "POST") {
        assert_eq!(request.headers.all("content-length"), ["3"], "the backend gets one length");
    }
}

#[test]
fn an_empty_content_length_gets_400() {
    let error = "Content-Length header contains invalid empty value";
    for value in ["", "3,", ",3", "3,,3"] {
        refused_with(&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {value}\r\n\r\nabc"), error);
    }
}

#[test]
fn a_content_length_that_is_not_a_plain_number_gets_400() {
    let error = "Content-Length header contains invalid non-numeric value";
    for value in ["abc", "+3", "-3", "0x3", "3.0", "3 3", "1e2", "3;", "\"3\""] {
        refused_with(&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {value}\r\n\r\nabc"), error);
    }
}

#[test]
fn a_content_length_past_what_can_be_counted_gets_a_4xx() {
    for value in ["18446744073709551616", "99999999999999999999999999", "18446744073709551615"] {
        let backend = Backend::saying("should not be reached");
        let gateway = Gateway::in_front_of(backend.port());
        let mut client = gateway.raw();
        client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {value}\r\n\r\n{SMUGGLED}"));
        let response = client.response();
        assert!(matches!(response.status, 400 | 413), "{value} got {response:?}");
        client.expect_closed();
        backend.expect_untouched();
    }
}

#[test]
fn a_transfer_encoding_that_does_not_end_in_one_chunked_is_refused() {
    for lines in [
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked;x",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding:",
        "Transfer-Encoding: \x0bchunked",
    ] {
        refused_coding(lines);
    }
}

#[test]
fn chunked_is_recognised_in_any_case_and_with_white_space_around_it() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for line in ["Transfer-Encoding: Chunked", "TRANSFER-ENCODING:chunked", "Transfer-Encoding: \tCHUNKED \t"] {
        let mut client = gateway.raw();
        client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        assert_eq!(client.response().text(), "abc", "{line:?}");
        assert_eq!(client.get("/next").status, 200, "the connection goes on at the right byte");
    }
}

#[test]
fn transfer_encoding_on_http_1_0_gets_400() {
    let error = "HTTP/1.0 does not support Transfer-Encoding";
    refused_with("POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", error);
    refused_with("POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", error);
}

#[test]
fn two_host_headers_get_400_even_when_they_agree() {
    let error = "Request contains multiple Host headers";
    refused_with("GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", error);
    refused_with("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", error);
}

#[test]
fn a_request_that_was_cut_short_never_reaches_the_backend_as_a_whole_one() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
    client.finish_sending();
    let answer = client.try_response();
    assert!(answer.as_ref().map_or(true, |r| r.status >= 400), "a cut request was answered with {answer:?}");
    assert!(backend.requests().iter().all(|request| !request.complete), "{:?}", backend.requests());
}

#[test]
fn the_body_of_a_get_is_forwarded_and_not_read_as_a_request() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    let body = SMUGGLED;
    client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.response().text(), body);
    assert_eq!(backend.only_request().framing, Framing::Length(body.len() as u64));
}

#[test]
fn a_refused_request_does_not_make_its_body_the_next_request() {
    let backend = Backend::saying("should not be reached");
    let document = tests::Document::all_to(backend.port()).proxy_plugin("app", "key_auth", json!({}));
    let gateway = Gateway::running(&document);
    let mut client = gateway.raw();
    let length = SMUGGLED.len();
    client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"));
    assert_eq!(client.response().status, 401);
    // Whether the connection is closed or kept, there was one request and so there is one answer.
    client.finish_sending();
    client.expect_closed();
    backend.expect_untouched();
}

#[test]
fn only_one_framing_reaches_the_backend() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    gateway.ask("POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
    gateway.ask("POST /chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    gateway.ask("GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let framings: Vec<Framing> = backend.requests().iter().map(|request| request.framing).collect();
    assert_eq!(framings[0], Framing::Length(3));
    assert!(matches!(framings[1], Framing::Chunked | Framing::Length(3)), "{framings:?}");
    assert_eq!(framings[2], Framing::None);
}
