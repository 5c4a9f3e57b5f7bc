//! Chunked request bodies: the coding is checked to the byte, because a lenient reader and a strict backend would
//! disagree on where the next request starts.

use tests::{Backend, Gateway};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A chunked POST with this coded body, followed by a smuggled request: refused with a 4xx (or closed when the answer
/// could not be sent any more), and neither a whole body nor the second request reaches the backend.
#[track_caller]
fn broken_coding_is_refused(gateway: &Gateway, backend: &Backend, coded: &str) {
    let mut client = gateway.raw();
    let head = "POST /broken HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send([head, coded, SMUGGLED].concat());
    if let Ok(response) = client.try_response() {
        assert!((400..500).contains(&response.status), "{coded:?} got {response:?}");
        client.expect_closed();
    }
    for request in backend.requests() {
        assert!(request.target == "/broken" && !request.complete, "after {coded:?} the backend saw {request:?}");
    }
}

#[test]
fn a_chunked_body_arrives_whole_and_the_connection_goes_on_after_it() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for coded in [
        "5\r\nhello\r\n0\r\n\r\n",
        "1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n",
        "5;name=value\r\nhello\r\n0;last\r\n\r\n",
        "5;name=\"quoted; value\"\r\nhello\r\n0\r\n\r\n",
        "0005\r\nhello\r\n000\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Trailer: dropped\r\n\r\n",
    ] {
        client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(coded);
        assert_eq!(client.response().text(), "hello", "{coded:?}");
    }
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n");
    client.send("a\r\n0123456789\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "01234567890123456789");
}

#[test]
fn a_chunked_body_may_come_byte_by_byte() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n";
    for byte in request.as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "hello world");
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn an_empty_chunked_body_is_an_empty_body() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let response = gateway.ask("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert!(backend.only_request().complete);
}

#[test]
fn a_chunk_size_that_is_not_hexadecimal_is_refused() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for size in ["", "g", "0x5", "+5", "-5", "5 5", " 5", "5,5", "5\t5", "\x0b5"] {
        broken_coding_is_refused(&gateway, &backend, &format!("{size}\r\nhello\r\n0\r\n\r\n"));
    }
}

#[test]
fn a_chunk_size_past_what_can_be_counted_is_refused() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for size in ["10000000000000005", "ffffffffffffffffffff5", "FFFFFFFFFFFFFFFF"] {
        broken_coding_is_refused(&gateway, &backend, &format!("{size}\r\nhello\r\n0\r\n\r\n"));
    }
}

#[test]
fn a_chunk_that_is_not_followed_by_a_line_end_is_refused() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for coded in ["5\r\nhelloworld\r\n0\r\n\r\n", "3\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n"] {
        broken_coding_is_refused(&gateway, &backend, coded);
    }
}

#[test]
fn a_bare_lf_in_the_chunk_framing_is_refused() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for coded in ["5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n"] {
        broken_coding_is_refused(&gateway, &backend, coded);
    }
}

#[test]
fn a_bare_cr_in_the_chunk_framing_is_refused() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for coded in ["5\rX\nhello\r\n0\r\n\r\n", "5\r\nhello\rX\n0\r\n\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n"] {
        broken_coding_is_refused(&gateway, &backend, coded);
    }
}

#[test]
fn an_endless_chunk_extension_is_refused_and_not_collected() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let before = gateway.resident_bytes();
    let mut client = gateway.raw();
    client.send("POST /broken HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;");
    let block = vec![b'x'; 1 << 16];
    let refused = (0..1024).any(|_| client.try_send(&block).is_err());
    let answer = client.try_response();
    assert!(refused || answer.as_ref().map_or(true, |r| r.status >= 400), "64 MiB of extension: {answer:?}");
    assert!(gateway.resident_bytes() < before + (16 << 20), "the extension was collected in memory");
    assert!(backend.requests().iter().all(|request| !request.complete));
}

#[test]
fn endless_tiny_extensions_are_refused_too() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("POST /broken HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let line = format!("1;{}\r\nx\r\n", "e".repeat(16_000));
    let refused = (0..4000).any(|_| client.try_send(&line).is_err());
    let answer = if refused { None } else { client.try_response().ok() };
    assert!(answer.is_none_or(|r| r.status >= 400), "64 MB of extensions around 4 kB of body were taken");
    assert!(backend.requests().iter().all(|request| !request.complete));
}

#[test]
fn trailers_without_end_are_refused_and_not_collected() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let before = gateway.resident_bytes();
    let mut client = gateway.raw();
    client.send("POST /broken HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
    let line = format!("X-Trailer: {}\r\n", "t".repeat(8000));
    let refused = (0..8000).any(|_| client.try_send(&line).is_err());
    let answer = if refused { None } else { client.try_response().ok() };
    assert!(answer.is_none_or(|r| r.status >= 400), "64 MB of trailers were taken");
    assert!(gateway.resident_bytes() < before + (16 << 20), "the trailers were collected in memory");
    assert!(backend.requests().iter().all(|request| !request.complete));
}

#[test]
fn a_client_that_stops_inside_a_chunk_is_not_taken_for_finished() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    for coded in ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\nX-T: 1\r\n"] {
        let mut client = gateway.raw();
        client.send("POST /cut HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(coded);
        client.finish_sending();
        let answer = client.try_response();
        assert!(answer.as_ref().map_or(true, |r| r.status >= 400), "{coded:?} was answered with {answer:?}");
    }
    assert!(backend.requests().iter().all(|request| !request.complete), "{:?}", backend.requests());
}

#[test]
fn trailers_of_a_request_go_on_without_those_that_frame_or_route() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    gateway.ask(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\nHost: b\r\nAuthorization: x\r\n\r\n",
    );
    let request = backend.only_request();
    assert_eq!(request.text(), "hello");
    assert_eq!(request.trailers.names(), ["X-Sum"], "{:?}", request.trailers);
    assert!(!request.headers.has("x-sum") && !request.headers.has("trailer"), "{:?}", request.headers);
}
