//! What RFC 9113 (HTTP/2), RFC 7541 (HPACK) and RFC 9110 ask of a server, section by section: a client that breaks a
//! rule gets the error the RFC names, on the stream or on the connection, and nobody else notices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::json;
use tests::http2::{ErrorCode, Frame, Http2Client, Outcome, PREFACE, block, flag, kind, literal, setting};
use tests::{Backend, Document, Fault, Gate, Gateway, GatewayBuilder, RawClient, Reply};

const GET: [Field; 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")];
const POST: [Field; 4] = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")];

/// How long the gateway has for its reaction. A case that passes never waits for it.
const REACTION: Duration = Duration::from_secs(10);
/// The largest frame the gateway is set to take, which is also the least it may announce.
const FRAME_MAX: usize = 16_384;
const BIG_BODY: usize = 200_000;

/// What the RFC allows the gateway to do. A plain close stands for any error of the connection (section 5.4.1).
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// As if the frame had not been there: the connection serves the next request.
    Ignored,
    /// Stream 1 is answered with 200.
    Answered,
    /// A stream's error that a server may also make the connection's (section 5.4.1).
    StreamOrConnection(&'static [ErrorCode]),
    Connection(&'static [ErrorCode]),
    /// Stream 1 is reset or answered with 400 (section 8.1.1), and the connection serves the next request.
    Malformed,
    /// The same of a field that no HTTP library can hold: found while fields are decoded, where a server may give up the
    /// connection (section 5.4.1).
    MalformedOrConnection,
    /// Deprecated, so it may be read or not (section 5.3.2): answered with 200, or a stream's PROTOCOL_ERROR.
    Priority,
}

use Verdict::{Answered, Connection, Ignored, Malformed, MalformedOrConnection, Priority, StreamOrConnection};

const PROTOCOL: &[ErrorCode] = &[ErrorCode::PROTOCOL_ERROR];
const FLOW_CONTROL: &[ErrorCode] = &[ErrorCode::FLOW_CONTROL_ERROR];
const FRAME_SIZE: &[ErrorCode] = &[ErrorCode::FRAME_SIZE_ERROR];
/// The `h2` crate ends the connection as it should, with the code for when no code fits better (section 7), where sections 4.3
/// and 5.1 name another (docs/design/http2.md).
const COMPRESSION: &[ErrorCode] = &[ErrorCode::COMPRESSION_ERROR, ErrorCode::PROTOCOL_ERROR];
const CLOSED: &[ErrorCode] = &[ErrorCode::STREAM_CLOSED, ErrorCode::PROTOCOL_ERROR];
/// Section 5.1 and section 5.1.1 name different codes for the same frame.
const CLOSED_OR_PROTOCOL: &[ErrorCode] = &[ErrorCode::STREAM_CLOSED, ErrorCode::PROTOCOL_ERROR];

fn names_the_fault(code: ErrorCode, codes: &[ErrorCode]) -> bool {
    codes.contains(&code)
}

struct Case {
    /// Of RFC 9113 unless it says otherwise.
    section: &'static str,
    what: &'static str,
    verdict: Verdict,
    act: fn(&mut Http2Client),
}

fn case(section: &'static str, what: &'static str, verdict: Verdict, act: fn(&mut Http2Client)) -> Case {
    Case { section, what, verdict, act }
}

/// Names its requests, except that `/big` is a body that fits no default window.
fn backend() -> Backend {
    Backend::replying(|request| match request.target.as_str() {
        "/big" => Reply::new(200).body(vec![b'b'; BIG_BODY]),
        target => Reply::text(&format!("{} {target}", request.method)),
    })
}

fn gateway(backend: &Backend) -> GatewayBuilder {
    Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_POOL_HTTP2_MAX_FRAME_SIZE", FRAME_MAX)
        .env("FERRUM_POOL_HTTP2_ADAPTIVE_WINDOW", false)
        .env("FERRUM_POOL_HTTP2_INITIAL_STREAM_WINDOW_SIZE", 65_535)
        .env("FERRUM_POOL_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", 65_535)
}

/// Each case on a connection of its own, opened with these settings. What was malformed must not have been forwarded:
/// such cases ask for `/bad`.
#[track_caller]
fn check_with(settings: &[(u16, u32)], cases: &[Case]) {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut failures = Vec::new();
    for Case { section, what, verdict, act } in cases {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut client = Http2Client::connect_with(gateway.port(), settings);
            act(&mut client);
            judge(&mut client, *verdict, gateway.port());
        }));
        if run.is_err() {
            failures.push(format!("{section}: {what}"));
        }
    }
    let forwarded = backend.requests();
    let bad: Vec<_> = forwarded.iter().filter(|r| r.complete && r.target.starts_with("/bad")).collect();
    assert!(failures.is_empty(), "{} of {} failed: {failures:#?}", failures.len(), cases.len());
    assert!(bad.is_empty(), "malformed requests were forwarded (8.1.1): {bad:?}");
}

#[track_caller]
fn check(cases: &[Case]) {
    check_with(&[], cases);
}

/// With a window of nothing an answer's body stays where it is, and so its stream stays half-closed.
#[track_caller]
fn check_half_closed(cases: &[Case]) {
    check_with(&[(setting::INITIAL_WINDOW_SIZE, 0)], cases);
}

fn judge(client: &mut Http2Client, verdict: Verdict, port: u16) {
    let outcome = match verdict {
        Ignored => return client.expect_served(101),
        Connection(_) => client.connection_outcome(REACTION),
        _ => client.outcome(1, REACTION),
    };
    let fits = match (&outcome, verdict) {
        (Outcome::Answered(response), Answered | Priority) => response.status == 200,
        (Outcome::Answered(response), Malformed | MalformedOrConnection) => response.status == 400,
        (Outcome::Reset(code), Malformed | MalformedOrConnection | Priority) => *code == ErrorCode::PROTOCOL_ERROR,
        (Outcome::Reset(code), StreamOrConnection(codes)) => codes.contains(code),
        (Outcome::ConnectionOver(code), Connection(codes) | StreamOrConnection(codes)) => {
            code.is_none_or(|code| names_the_fault(code, codes))
        }
        (Outcome::ConnectionOver(code), MalformedOrConnection) => {
            code.is_none_or(|code| code == ErrorCode::PROTOCOL_ERROR)
        }
        _ => false,
    };
    assert!(fits, "{verdict:?} was due, got {outcome:?}");
    match outcome {
        Outcome::ConnectionOver(_) => Http2Client::connect(port).expect_served(1),
        _ => client.expect_served(101),
    }
}

fn with(base: &[Field], more: &[Field]) -> Vec<Field> {
    [base, more].concat()
}

type Field = (&'static str, &'static str);

fn replacing(base: [Field; 4], name: &str, value: &'static str) -> [Field; 4] {
    base.map(|(n, v)| if n == name { (n, value) } else { (n, v) })
}

fn bad_get() -> [Field; 4] {
    replacing(GET, ":path", "/bad")
}

fn bad_post() -> [Field; 4] {
    replacing(POST, ":path", "/bad")
}

/// HEADERS of a GET with these bytes after a valid field section.
fn get_and(client: &mut Http2Client, bytes: &[u8]) {
    client.send(&Frame::headers(1, flag::WHOLE, [&block(&bad_get()), bytes].concat()));
}

/// A whole exchange on stream 1, after which the stream is closed and what comes on it is news.
fn finished(client: &mut Http2Client) {
    client.request(1, &GET, true);
    client.response(1);
    client.forget(1);
}

/// A payload behind its pad length and before that much padding.
fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    [&[padding], payload, &vec![0; usize::from(padding)][..]].concat()
}

// --- starting HTTP/2 (section 3)

/// What comes until the gateway closes.
#[track_caller]
fn everything(client: &mut RawClient) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match client.read_some() {
            Ok(bytes) if !bytes.is_empty() => all.extend(bytes),
            Ok(_) | Err(Fault::Reset) => return all,
            Err(fault) => panic!("the connection should be closed: {fault:?} after {all:?}"),
        }
    }
}

#[test]
fn a_connection_that_begins_as_neither_http_2_nor_http_1_1_is_ended() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    for opening in
        ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/2.0\r\nSM: x\r\n\r\n", "PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut client = gateway.raw();
        client.send(opening);
        let answer = everything(&mut client);
        // Bytes that are no preface may be HTTP/1.1, so its refusal is as good as SETTINGS and GOAWAY or nothing.
        let is_refusal = ["HTTP/1.1 4", "HTTP/1.1 505"].iter().any(|start| answer.starts_with(start.as_bytes()));
        let is_frames = answer.get(3).is_some_and(|&first| first == kind::SETTINGS || first == kind::GOAWAY);
        assert!(answer.is_empty() || is_refusal || is_frames, "{opening:?} got {answer:?}");
    }
    backend.expect_untouched();
    Http2Client::connect(gateway.port()).expect_served(1);
}

#[test]
fn a_preface_that_is_not_followed_by_settings_is_a_protocol_error() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    // Section 3.4: SETTINGS may be empty but have to be the first frame.
    for first in [Frame::headers(1, flag::WHOLE, block(&GET)), Frame::ping([1; 8]), Frame::settings_ack()] {
        let mut client = Http2Client::open(gateway.port());
        client.send_bytes(PREFACE);
        client.send(&first);
        let outcome = client.connection_outcome(REACTION);
        let fits = matches!(outcome, Outcome::ConnectionOver(None | Some(ErrorCode::PROTOCOL_ERROR)));
        assert!(fits, "{first:?} first got {outcome:?}");
    }
    Http2Client::connect(gateway.port()).expect_served(1);
}

#[test]
fn a_client_need_not_wait_for_the_gateways_settings() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::open(gateway.port());
    let frames = [Frame::settings(&[]), Frame::headers(1, flag::WHOLE, block(&GET))];
    client.send_bytes(PREFACE);
    client.send_together(&frames);
    assert_eq!(client.response(1).status, 200);
}

#[test]
fn a_preface_in_pieces_is_a_preface() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    for cut in 1..PREFACE.len() {
        let mut client = Http2Client::open(gateway.port());
        client.send_bytes(&PREFACE[..cut]);
        // The first piece is read on its own: the gateway has answered somebody else meanwhile.
        assert_eq!(gateway.get("/meanwhile").status, 200);
        client.send_bytes(&PREFACE[cut..]);
        client.settings(&[]);
        client.expect_served(1);
    }
}

#[test]
fn the_gateway_announces_its_limits() {
    let backend = backend();
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", 77)
        .env("FERRUM_POOL_HTTP2_MAX_FRAME_SIZE", 32_768)
        .env("FERRUM_MAX_HEADER_SIZE_BYTES", 20_000)
        .start();
    let client = Http2Client::connect(gateway.port());
    assert_eq!(client.announced(setting::MAX_CONCURRENT_STREAMS), Some(77));
    assert_eq!(client.announced(setting::MAX_FRAME_SIZE), Some(32_768));
    assert_eq!(client.announced(setting::MAX_HEADER_LIST_SIZE), Some(20_000));
}

// --- frames (sections 4 and 5.5)

#[test]
fn what_the_rfc_does_not_define_is_ignored() {
    check(&[
        case("4.1", "an unknown frame type on the connection", Ignored, |c| {
            c.send(&Frame::new(kind::UNKNOWN, 0xff, 0, [1; 8]));
        }),
        case("4.1", "an unknown frame type on an idle stream", Ignored, |c| {
            c.send(&Frame::new(kind::UNKNOWN, flag::NONE, 1, [1; 8]));
        }),
        case("5.5", "an unknown frame type between HEADERS and DATA", Answered, |c| {
            c.request(1, &POST, false);
            c.send(&Frame::new(kind::UNKNOWN, flag::NONE, 1, []));
            c.data(1, "abc", true);
        }),
        case("4.1", "undefined flags of PING", Ignored, |c| {
            c.send(&Frame::new(kind::PING, 0xfe, 0, [7; 8]));
        }),
        case("4.1", "undefined flags of SETTINGS", Ignored, |c| {
            c.send(&Frame::new(kind::SETTINGS, 0xfe, 0, []));
        }),
        case("4.1", "undefined flags of DATA", Answered, |c| {
            c.request(1, &POST, false);
            c.send(&Frame::data(1, 0xf6 | flag::END_STREAM, "abc"));
        }),
        case("4.1", "undefined flags of WINDOW_UPDATE", Ignored, |c| {
            c.send(&Frame::new(kind::WINDOW_UPDATE, 0xff, 0, 1_u32.to_be_bytes()));
        }),
        case("4.1", "the reserved bit of a connection's frame", Ignored, |c| {
            c.send(&Frame::new(kind::PING, flag::NONE, 1 << 31, [7; 8]));
        }),
        case("4.1", "the reserved bit of a request's frame", Answered, |c| {
            c.send(&Frame::headers(1 << 31 | 1, flag::WHOLE, block(&GET)));
        }),
        case("6.9", "the reserved bit of a window increment", Ignored, |c| {
            c.send(&Frame::new(kind::WINDOW_UPDATE, flag::NONE, 0, (1_u32 << 31 | 1).to_be_bytes()));
        }),
        case("6.5.2", "an unknown setting", Ignored, |c| c.settings(&[(0xf0f0, 17), (0, 1), (0xffff, u32::MAX)])),
        case("6.5", "no settings at all", Ignored, |c| c.settings(&[])),
        case("6.3", "PRIORITY of an idle stream", Ignored, |c| c.send(&Frame::priority(7, 0, 16))),
    ]);
}

#[test]
fn a_frame_of_the_wrong_size_is_a_frame_size_error() {
    check(&[
        case("4.2", "DATA of the largest size", Answered, |c| {
            c.request(1, &POST, false);
            c.data(1, vec![b'd'; FRAME_MAX], true);
        }),
        case("4.2", "DATA past the largest size", StreamOrConnection(FRAME_SIZE), |c| {
            c.request(1, &POST, false);
            c.data(1, vec![b'd'; FRAME_MAX + 1], true);
        }),
        case("4.2", "HEADERS past the largest size", Connection(FRAME_SIZE), |c| {
            let value = "v".repeat(FRAME_MAX);
            c.send(&Frame::headers(1, flag::WHOLE, [block(&GET), literal(0, "x", &value)].concat()));
        }),
        case("4.2", "an unknown frame past the largest size", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::UNKNOWN, flag::NONE, 0, vec![0; FRAME_MAX + 1]));
        }),
        case("6.2", "HEADERS with PRIORITY and without its five bytes", Connection(FRAME_SIZE_OR_PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::WHOLE | flag::PRIORITY, [0; 4]));
        }),
        case("6.3", "PRIORITY of four bytes", StreamOrConnection(FRAME_SIZE), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::new(kind::PRIORITY, flag::NONE, 1, [0; 4]));
        }),
        case("6.3", "PRIORITY of six bytes", StreamOrConnection(FRAME_SIZE), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::new(kind::PRIORITY, flag::NONE, 1, [0; 6]));
        }),
        case("6.4", "RST_STREAM of three bytes", Connection(FRAME_SIZE), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::new(kind::RST_STREAM, flag::NONE, 1, [0; 3]));
        }),
        case("6.4", "RST_STREAM of five bytes", Connection(FRAME_SIZE), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::new(kind::RST_STREAM, flag::NONE, 1, [0; 5]));
        }),
        case("6.5", "SETTINGS of five bytes", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::SETTINGS, flag::NONE, 0, [0; 5]));
        }),
        case("6.5", "SETTINGS of seven bytes", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::SETTINGS, flag::NONE, 0, [0, 0xf0, 0, 0, 0, 0, 0]));
        }),
        case("6.5", "an acknowledgement with settings", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::SETTINGS, flag::ACK, 0, [0, 0xf0, 0, 0, 0, 0]));
        }),
        case("6.7", "PING of seven bytes", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::PING, flag::NONE, 0, [0; 7]));
        }),
        case("6.7", "PING of nine bytes", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::PING, flag::NONE, 0, [0; 9]));
        }),
        case("6.8", "GOAWAY of seven bytes", Connection(FRAME_SIZE_OR_PROTOCOL), |c| {
            c.send(&Frame::new(kind::GOAWAY, flag::NONE, 0, [0; 7]));
        }),
        case("6.9", "WINDOW_UPDATE of three bytes", Connection(FRAME_SIZE), |c| {
            c.send(&Frame::new(kind::WINDOW_UPDATE, flag::NONE, 0, [0, 0, 1]));
        }),
        case("6.9", "WINDOW_UPDATE of five bytes", Connection(FRAME_SIZE), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::new(kind::WINDOW_UPDATE, flag::NONE, 1, [0, 0, 0, 0, 1]));
        }),
    ]);
}

/// Sections 6.2 and 6.8 give these frames no code of their own, and section 4.2 gives the one for a payload that is too
/// short for what it has to hold.
const FRAME_SIZE_OR_PROTOCOL: &[ErrorCode] = &[ErrorCode::FRAME_SIZE_ERROR, ErrorCode::PROTOCOL_ERROR];

// --- field compression (section 4.3 and RFC 7541)

#[test]
fn a_field_section_that_cannot_be_read_ends_the_connection() {
    check(&[
        case("RFC 7541 6.1", "the index 0", Connection(COMPRESSION), |c| get_and(c, &[0x80])),
        case("RFC 7541 2.3.3", "the first index of an empty table", Connection(COMPRESSION), |c| get_and(c, &[0xbe])),
        case("RFC 7541 2.3.3", "an index far out", Connection(COMPRESSION), |c| get_and(c, &[0xff, 0xff, 0x7f])),
        case("RFC 7541 2.3.3", "a name far out", Connection(COMPRESSION), |c| get_and(c, &[0x7f, 0x7f, 1, b'v'])),
        case("RFC 7541 4.2", "a table of 4097 bytes", Connection(COMPRESSION), |c| {
            c.send(&Frame::headers(1, flag::WHOLE, [&[0x3f, 0xe2, 0x1f], &block(&bad_get())[..]].concat()));
        }),
        case("RFC 7541 4.2", "a table size update at the end", Connection(COMPRESSION), |c| get_and(c, &[0x20])),
        case("RFC 7541 4.2", "a table size update in the middle", Connection(COMPRESSION), |c| {
            get_and(c, &[&[0x20][..], &literal(0, "x", "y")].concat());
        }),
        case("RFC 7541 4.3", "an index that a table size update emptied", Connection(COMPRESSION), |c| {
            c.send(&Frame::headers(1, flag::WHOLE, [block(&GET), literal(0x40, "x", "y")].concat()));
            c.response(1);
            c.send(&Frame::headers(3, flag::WHOLE, [&[0x20][..], &block(&bad_get()), &[0xbe]].concat()));
        }),
        case("RFC 7541 5.1", "an integer without an end", Connection(COMPRESSION), |c| {
            get_and(c, &[0xff; 20]);
        }),
        case("RFC 7541 5.1", "an integer past 2^64", Connection(COMPRESSION), |c| {
            get_and(c, &[&[0xff; 12][..], &[0x7f]].concat());
        }),
        case("RFC 7541 5.2", "eleven bits of Huffman padding", Connection(COMPRESSION), |c| {
            get_and(c, &[0x00, 1, b'x', 0x82, 0x07, 0xff]);
        }),
        case("RFC 7541 5.2", "a whole byte of Huffman padding", Connection(COMPRESSION), |c| {
            get_and(c, &[0x00, 1, b'x', 0x81, 0xff]);
        }),
        case("RFC 7541 5.2", "Huffman padding of zeroes", Connection(COMPRESSION), |c| {
            get_and(c, &[0x00, 1, b'x', 0x81, 0x00]);
        }),
        case("RFC 7541 5.2", "the Huffman symbol EOS", Connection(COMPRESSION), |c| {
            get_and(c, &[0x00, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]);
        }),
        case("RFC 7541 5.2", "a string longer than its block", Connection(COMPRESSION), |c| {
            get_and(c, &[0x00, 1, b'x', 5, b'v']);
        }),
        case("RFC 7541 6.2.1", "a block that ends inside a field", Connection(COMPRESSION), |c| get_and(c, &[0x40])),
        case("4.3", "a bad block in trailers", Connection(COMPRESSION), |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::headers(1, flag::WHOLE, [0x80]));
        }),
    ]);
}

#[test]
fn the_gateway_reads_every_form_of_field_that_hpack_has() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    let rest = [literal(0x40, "x-kept", "in the table"), literal(0x00, "x-plain", "1"), literal(0x10, "x-secret", "2")];
    client.send(&Frame::headers(1, flag::WHOLE, [block(&GET), rest.concat()].concat()));
    assert_eq!(client.response(1).status, 200);
    // GET, http and / by index, the authority with the Huffman code of RFC 7541 C.4.1, x-kept from the table.
    let huffman =
        [0x82, 0x86, 0x84, 0x01, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    client.send(&Frame::headers(3, flag::WHOLE, [&huffman[..], &[0xbe]].concat()));
    assert_eq!(client.response(3).status, 200);
    // Two table size updates, of which the first empties the table, and a new entry, whose name is used by its index.
    let updates = [0x20, 0x3f, 0xe1, 0x1f, 0x82, 0x86, 0x84, 0x01, 1, b'h'];
    let resized = [&updates[..], &literal(0x40, "x-new", "1"), &[0x7e, 1, b'2']].concat();
    client.send(&Frame::headers(5, flag::WHOLE, resized));
    assert_eq!(client.response(5).status, 200);
    // 4096 bytes hold 3000 and 32, but not twice.
    let large = "l".repeat(3000);
    let evicting =
        [&[0x82, 0x86, 0x84, 0x01, 1, b'h'][..], &literal(0x40, "x-a", &large), &literal(0x40, "x-b", &large), &[0xbe]];
    client.send(&Frame::headers(7, flag::WHOLE, evicting.concat()));
    assert_eq!(client.response(7).status, 200);
    client.send(&Frame::headers(9, flag::WHOLE, [0x82, 0x86, 0x84, 0xbf]));
    let code = client.goaway();
    assert!(names_the_fault(code, COMPRESSION), "x-a was evicted (RFC 7541, 4.4): {code:?}");

    let requests = backend.requests();
    assert_eq!(requests[0].header("x-kept"), Some("in the table"));
    assert_eq!((requests[0].header("x-plain"), requests[0].header("x-secret")), (Some("1"), Some("2")));
    assert_eq!(requests[1].header("x-kept"), Some("in the table"));
    assert_eq!(requests[1].header("x-forwarded-host"), Some("www.example.com"));
    assert_eq!(requests.last().unwrap().header("x-b"), Some(large.as_str()));
}

#[test]
fn the_gateway_keeps_to_the_table_size_the_client_allows() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    for size in [0, 64, 100_000] {
        let mut client = Http2Client::connect_with(gateway.port(), &[(setting::HEADER_TABLE_SIZE, size)]);
        for stream in [1, 3, 5] {
            client.request(stream, &GET, true);
            assert_eq!(client.response(stream).header("content-type"), Some("text/plain"));
        }
        // Section 4.3.1: lowered while the connection is used, the next section begins with an update.
        client.settings(&[(setting::HEADER_TABLE_SIZE, 0)]);
        client.ping([1; 8]);
        client.request(7, &GET, true);
        assert_eq!(client.response(7).header("content-type"), Some("text/plain"));
    }
}

// --- streams (section 5.1)

#[test]
fn a_stream_that_was_never_opened_takes_headers_and_nothing_else() {
    check(&[
        case("5.1 idle", "DATA", StreamOrConnection(CLOSED_OR_PROTOCOL), |c| c.data(1, "abc", true)),
        case("5.1 idle", "RST_STREAM", Connection(PROTOCOL), |c| c.send(&Frame::rst_stream(1, ErrorCode::CANCEL))),
        case("5.1 idle", "WINDOW_UPDATE", Connection(PROTOCOL), |c| c.send(&Frame::window_update(1, 100))),
        case("5.1 idle", "CONTINUATION", Connection(PROTOCOL), |c| {
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&GET)));
        }),
        case("5.1 idle", "PRIORITY", Ignored, |c| c.send(&Frame::priority(1, 0, 255))),
    ]);
}

#[test]
fn a_client_that_has_ended_its_request_sends_no_more_of_it() {
    check_half_closed(&[
        case("5.1 half-closed", "DATA", StreamOrConnection(CLOSED), |c| {
            c.request(1, &GET, true);
            c.data(1, "abc", true);
        }),
        case("5.1 half-closed", "DATA after DATA with END_STREAM", StreamOrConnection(CLOSED), |c| {
            c.request(1, &POST, false);
            c.data(1, "abc", true);
            c.data(1, "def", true);
        }),
        case("5.1 half-closed", "HEADERS", StreamOrConnection(CLOSED_OR_PROTOCOL), |c| {
            c.request(1, &GET, true);
            c.request(1, &GET, true);
        }),
        case("5.1 half-closed", "trailers after trailers", StreamOrConnection(CLOSED_OR_PROTOCOL), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("x", "1")])));
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("x", "2")])));
        }),
        case("5.1 half-closed", "CONTINUATION", Connection(CLOSED_OR_PROTOCOL), |c| {
            c.request(1, &GET, true);
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("5.1 half-closed", "WINDOW_UPDATE", Answered, |c| {
            c.request(1, &GET, true);
            c.send(&Frame::window_update(1, 1000));
        }),
        case("5.1 half-closed", "PRIORITY", Ignored, |c| {
            c.request(1, &GET, true);
            c.send(&Frame::priority(1, 0, 255));
        }),
        case("5.1 half-closed", "RST_STREAM", Ignored, |c| {
            c.request(1, &GET, true);
            c.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
        }),
    ]);
}

#[test]
fn a_closed_stream_is_not_opened_again() {
    check(&[
        case("5.1 closed", "DATA after the client's reset", StreamOrConnection(CLOSED), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
            c.data(1, "abc", true);
        }),
        case("5.1 closed", "HEADERS after the client's reset", StreamOrConnection(CLOSED_OR_PROTOCOL), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
            c.request(1, &GET, true);
        }),
        case("5.1 closed", "CONTINUATION after the client's reset", Connection(CLOSED_OR_PROTOCOL), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("5.1 closed", "DATA after a whole exchange", StreamOrConnection(CLOSED), |c| {
            finished(c);
            c.data(1, "abc", true);
        }),
        case("5.1 closed", "HEADERS after a whole exchange", StreamOrConnection(CLOSED_OR_PROTOCOL), |c| {
            finished(c);
            c.request(1, &GET, true);
        }),
        case("5.1 closed", "CONTINUATION after a whole exchange", Connection(CLOSED_OR_PROTOCOL), |c| {
            finished(c);
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("6.9", "WINDOW_UPDATE after a whole exchange", Ignored, |c| {
            finished(c);
            c.send(&Frame::window_update(1, 1));
        }),
        case("5.1 closed", "RST_STREAM after a whole exchange", Ignored, |c| {
            finished(c);
            c.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
        }),
        case("5.1 closed", "PRIORITY after a whole exchange", Ignored, |c| {
            finished(c);
            c.send(&Frame::priority(1, 0, 1));
        }),
    ]);
}

#[test]
fn stream_identifiers_are_odd_and_grow() {
    check(&[
        case("5.1.1", "an even identifier", Connection(PROTOCOL), |c| c.request(2, &GET, true)),
        case("5.1.1", "an identifier below an earlier one", Connection(CLOSED_OR_PROTOCOL), |c| {
            c.request(5, &GET, true);
            c.response(5);
            c.request(3, &GET, true);
        }),
        case("5.1.1", "the stream 0", Connection(PROTOCOL), |c| c.send(&Frame::headers(0, flag::WHOLE, block(&GET)))),
        case("5.1.1", "identifiers with gaps", Answered, |c| {
            c.request(1, &GET, true);
            c.request(51, &GET, true);
            assert_eq!(c.response(51).status, 200);
        }),
    ]);
}

#[test]
fn the_last_stream_identifier_there_is_can_be_used() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.expect_served((1 << 31) - 1);
}

#[test]
fn streams_past_the_announced_number_are_refused_and_the_others_go_on() {
    let backend = backend();
    let gateway = gateway(&backend).env("FERRUM_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", 2).start();
    let mut client = Http2Client::connect(gateway.port());
    assert_eq!(client.announced(setting::MAX_CONCURRENT_STREAMS), Some(2));
    client.request(1, &POST, false);
    client.request(3, &POST, false);
    client.request(5, &POST, false);
    // Section 5.1.2.
    let code = client.reset(5);
    assert!([ErrorCode::REFUSED_STREAM, ErrorCode::PROTOCOL_ERROR].contains(&code), "{code:?}");
    client.data(1, "a", true);
    client.data(3, "b", true);
    assert_eq!((client.response(1).status, client.response(3).status), (200, 200));
    client.expect_served(7);
    assert_eq!(backend.requests().len(), 3, "the refused request was not forwarded");
}

#[test]
fn priority_is_read_over() {
    check(&[
        case("5.3.2", "HEADERS that depend on their own stream", Priority, |c| {
            let payload = [&1_u32.to_be_bytes()[..], &[16], &block(&GET)].concat();
            c.send(&Frame::headers(1, flag::WHOLE | flag::PRIORITY, payload));
        }),
        case("5.3.2", "PRIORITY that depends on its own stream", Priority, |c| {
            c.request(1, &POST, false);
            c.send(&Frame::priority(1, 1, 16));
            c.data(1, "abc", true);
        }),
        case("6.2", "HEADERS with a priority, padded", Answered, |c| {
            let payload = padded(&[&(1_u32 << 31 | 77).to_be_bytes()[..], &[255], &block(&GET)].concat(), 9);
            c.send(&Frame::headers(1, flag::WHOLE | flag::PRIORITY | flag::PADDED, payload));
        }),
        case("6.3", "PRIORITY of the connection", Connection(PROTOCOL), |c| c.send(&Frame::priority(0, 1, 16))),
    ]);
}

// --- frame definitions (section 6)

#[test]
fn frames_on_the_wrong_stream_are_protocol_errors() {
    check(&[
        case("6.1", "DATA on stream 0", Connection(PROTOCOL), |c| c.send(&Frame::data(0, flag::NONE, "abc"))),
        case("6.2", "HEADERS on stream 0", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(0, flag::WHOLE, block(&GET)));
        }),
        case("6.4", "RST_STREAM on stream 0", Connection(PROTOCOL), |c| {
            c.send(&Frame::rst_stream(0, ErrorCode::CANCEL));
        }),
        case("6.5", "SETTINGS on a stream", Connection(PROTOCOL), |c| {
            c.send_bytes(Frame::new(kind::SETTINGS, flag::NONE, 1, []).bytes());
        }),
        case("6.6", "PUSH_PROMISE from a client", Connection(PROTOCOL), |c| {
            c.request(1, &POST, false);
            let payload = [&2_u32.to_be_bytes()[..], &block(&GET)].concat();
            c.send(&Frame::new(kind::PUSH_PROMISE, flag::END_HEADERS, 1, payload));
        }),
        case("6.7", "PING on a stream", Connection(PROTOCOL), |c| {
            c.send(&Frame::new(kind::PING, flag::NONE, 1, [0; 8]));
        }),
        case("6.8", "GOAWAY on a stream", Connection(PROTOCOL), |c| {
            c.send(&Frame::new(kind::GOAWAY, flag::NONE, 1, [0; 8]));
        }),
        case("6.10", "CONTINUATION on stream 0", Connection(PROTOCOL), |c| {
            c.send(&Frame::continuation(0, flag::END_HEADERS, block(&GET)));
        }),
    ]);
}

#[test]
fn padding_is_dropped_and_cannot_be_longer_than_its_frame() {
    check(&[
        case("6.1", "DATA with padding", Answered, |c| {
            c.request(1, &with(&POST, &[("content-length", "3")]), false);
            c.send(&Frame::data(1, flag::PADDED | flag::END_STREAM, padded(b"abc", 200)));
        }),
        case("6.1", "DATA of nothing but padding", Answered, |c| {
            c.request(1, &with(&POST, &[("content-length", "0")]), false);
            c.send(&Frame::data(1, flag::PADDED | flag::END_STREAM, padded(b"", 255)));
        }),
        case("6.1", "DATA with as much padding as payload", Connection(PROTOCOL), |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::data(1, flag::PADDED | flag::END_STREAM, [4, b'a', b'b', b'c']));
        }),
        case("6.1", "DATA with far too much padding", Connection(PROTOCOL), |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::data(1, flag::PADDED | flag::END_STREAM, [255, b'a']));
        }),
        case("6.1", "padded DATA without a pad length", Connection(FRAME_SIZE_OR_PROTOCOL), |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::data(1, flag::PADDED | flag::END_STREAM, []));
        }),
        case("6.2", "HEADERS with padding", Answered, |c| {
            c.send(&Frame::headers(1, flag::WHOLE | flag::PADDED, padded(&block(&GET), 255)));
        }),
        case("6.2", "HEADERS with too much padding", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::WHOLE | flag::PADDED, [&[255], &block(&bad_get())[..]].concat()));
        }),
        case("6.2", "HEADERS with padding over its priority", Connection(FRAME_SIZE_OR_PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::WHOLE | flag::PADDED | flag::PRIORITY, [4, 0, 0, 0, 0, 0]));
        }),
    ]);
}

#[test]
fn settings_out_of_their_range_end_the_connection() {
    check(&[
        case("6.5.2", "ENABLE_PUSH of 2", Connection(PROTOCOL), |c| c.settings(&[(setting::ENABLE_PUSH, 2)])),
        case("6.5.2", "ENABLE_PUSH of 1 from a client", Ignored, |c| c.settings(&[(setting::ENABLE_PUSH, 1)])),
        case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", Connection(FLOW_CONTROL), |c| {
            c.send_bytes(Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]).bytes());
        }),
        case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31-1", Ignored, |c| {
            c.settings(&[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
        }),
        case("6.5.2", "MAX_FRAME_SIZE of 16383", Connection(PROTOCOL), |c| {
            c.settings(&[(setting::MAX_FRAME_SIZE, 16_383)]);
        }),
        case("6.5.2", "MAX_FRAME_SIZE of 2^24", Connection(PROTOCOL), |c| {
            c.settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)]);
        }),
        case("6.5.2", "MAX_FRAME_SIZE of 2^24-1", Ignored, |c| {
            c.settings(&[(setting::MAX_FRAME_SIZE, (1 << 24) - 1)]);
        }),
        case("6.5.3", "the last of two values counts", Answered, |c| {
            c.settings(&[(setting::INITIAL_WINDOW_SIZE, 0), (setting::INITIAL_WINDOW_SIZE, 1000)]);
            c.request(1, &GET, true);
        }),
        case("6.5.2", "no room for pushed streams or fields", Ignored, |c| {
            c.settings(&[(setting::MAX_CONCURRENT_STREAMS, 0), (setting::MAX_HEADER_LIST_SIZE, 0)]);
        }),
    ]);
}

#[test]
fn every_settings_frame_is_acknowledged_once() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    for _ in 0..5 {
        client.settings(&[(setting::INITIAL_WINDOW_SIZE, 70_000)]);
    }
    client.expect_settings_acknowledged();
    // An acknowledgement too many is a failure of the client's own bookkeeping.
    client.expect_served(1);
}

#[test]
fn a_ping_comes_back_as_it_was_and_its_answer_is_not_answered() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.send(&Frame::new(kind::PING, flag::ACK, 0, *b"unasked!"));
    client.ping(*b"\0\x01\xff echo");
    assert_eq!(client.pongs(), [*b"\0\x01\xff echo"]);
    client.expect_served(1);
}

#[test]
fn a_client_that_says_goaway_still_gets_what_it_asked_for() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &POST, false);
    client.send(&Frame::goaway(0, ErrorCode::NO_ERROR));
    client.data(1, "abc", true);
    assert_eq!(client.response(1).status, 200);
}

#[test]
fn a_field_section_is_one_unbroken_run_of_frames() {
    check(&[
        case("6.10", "a section in four frames that end inside fields", Answered, |c| {
            let section = block(&GET);
            let middle = section.len() / 2;
            c.send(&Frame::headers(1, flag::END_STREAM, &section[..1]));
            c.send(&Frame::continuation(1, flag::NONE, &section[1..middle]));
            c.send(&Frame::continuation(1, flag::NONE, []));
            c.send(&Frame::continuation(1, flag::END_HEADERS, &section[middle..]));
        }),
        case("6.10", "a section that begins with nothing", Answered, |c| {
            c.send(&Frame::headers(1, flag::END_STREAM, []));
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&GET)));
        }),
        case("6.10", "trailers in two frames", Answered, |c| {
            c.request(1, &POST, false);
            c.send(&Frame::headers(1, flag::END_STREAM, block(&[("x", "y")])));
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("z", "y")])));
        }),
        case("6.10", "CONTINUATION after END_HEADERS", Connection(PROTOCOL), |c| {
            c.request(1, &POST, false);
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("6.10", "CONTINUATION after CONTINUATION with END_HEADERS", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::NONE, block(&bad_post())));
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("6.10", "CONTINUATION after DATA", Connection(PROTOCOL), |c| {
            c.request(1, &bad_post(), false);
            c.data(1, "abc", false);
            c.send(&Frame::continuation(1, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("6.10", "CONTINUATION on another stream", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::END_STREAM, block(&bad_get())));
            c.send(&Frame::continuation(3, flag::END_HEADERS, block(&[("x", "y")])));
        }),
        case("6.2", "DATA inside a section", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::NONE, block(&bad_post())));
            c.data(1, "abc", true);
        }),
        case("6.2", "HEADERS of another stream inside a section", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::END_STREAM, block(&bad_get())));
            c.request(3, &bad_get(), true);
        }),
        case("6.2", "PRIORITY inside a section", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::END_STREAM, block(&bad_get())));
            c.send(&Frame::priority(1, 0, 16));
        }),
        case("4.3", "SETTINGS inside a section", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::END_STREAM, block(&bad_get())));
            c.settings(&[]);
        }),
        case("5.5", "an unknown frame inside a section", Connection(PROTOCOL), |c| {
            c.send(&Frame::headers(1, flag::END_STREAM, block(&bad_get())));
            c.send(&Frame::new(kind::UNKNOWN, flag::NONE, 1, []));
        }),
    ]);
}

// --- flow control (sections 5.2 and 6.9)

#[test]
fn a_window_can_be_opened_neither_by_nothing_nor_too_far() {
    check_half_closed(&[
        case("6.9", "a connection's increment of 0", Connection(PROTOCOL), |c| c.send(&Frame::window_update(0, 0))),
        case("6.9", "a stream's increment of 0", StreamOrConnection(PROTOCOL), |c| {
            c.request(1, &GET, true);
            c.send(&Frame::window_update(1, 0));
        }),
        case("6.9.1", "a connection's window of 2^31-1", Ignored, |c| {
            c.send(&Frame::window_update(0, (1 << 31) - 1 - 65_535));
        }),
        case("6.9.1", "a connection's window past 2^31-1", Connection(FLOW_CONTROL), |c| {
            c.send(&Frame::window_update(0, (1 << 31) - 1));
            c.send(&Frame::window_update(0, (1 << 31) - 1));
        }),
        case("6.9.1", "a stream's window past 2^31-1", StreamOrConnection(FLOW_CONTROL), |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::window_update(1, (1 << 31) - 1));
            c.send(&Frame::window_update(1, (1 << 31) - 1));
        }),
        case("6.9.2", "a stream's window past 2^31-1 by SETTINGS", Connection(FLOW_CONTROL), |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::window_update(1, (1 << 31) - 1));
            c.settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
        }),
    ]);
}

#[test]
fn a_window_of_one_byte_lets_one_byte_pass() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect_with(gateway.port(), &[(setting::INITIAL_WINDOW_SIZE, 1)]);
    client.request(1, &GET, true);
    assert_eq!(client.body(1, 1).len(), 1);
    client.ping([1; 8]);
    assert_eq!(client.body(1, 1).len(), 1, "no second byte came without a WINDOW_UPDATE");
    client.send(&Frame::window_update(1, 1));
    assert_eq!(client.body(1, 2).len(), 2);
    client.send(&Frame::window_update(1, 1000));
    assert_eq!(client.response(1).status, 200);
}

#[test]
fn a_change_of_the_initial_window_moves_the_windows_of_open_streams() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect_with(gateway.port(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    client.request(1, &GET, true);
    assert_eq!(client.status(1), 200);
    client.settings(&[(setting::INITIAL_WINDOW_SIZE, 3)]);
    assert_eq!(client.body(1, 3).len(), 3);
    // Section 6.9.2: three bytes are out, so a window of one stands at minus two now.
    client.settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
    client.expect_settings_acknowledged();
    client.send(&Frame::window_update(1, 2));
    client.ping([1; 8]);
    assert_eq!(client.body(1, 3).len(), 3, "the window is at zero, not at two");
    client.send(&Frame::window_update(1, 1));
    assert_eq!(client.body(1, 4).len(), 4);
    client.settings(&[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    assert_eq!(client.response(1).status, 200);
}

#[test]
fn the_connections_window_holds_for_all_streams_together() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect_with(gateway.port(), &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
    let big = replacing(GET, ":path", "/big");
    client.request(1, &big, true);
    assert_eq!(client.body(1, 65_535).len(), 65_535);
    client.request(3, &big, true);
    assert_eq!(client.status(3), 200, "HEADERS are not under flow control (5.2.1)");
    client.send(&Frame::window_update(0, 1 << 30));
    for stream in [1, 3] {
        assert_eq!(client.response(stream).body.len(), BIG_BODY);
    }
}

#[test]
fn data_past_the_gateways_window_is_a_flow_control_error() {
    let gate = Gate::new();
    let door = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_head();
        door.wait();
    });
    let gateway = gateway(&backend).env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 0).start();
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &POST, false);
    client.upload_until_stalled(1, 64 << 20, Duration::from_secs(1));
    for _ in 0..8 {
        client.data(1, vec![b'x'; FRAME_MAX], false);
    }
    let outcome = client.outcome(1, REACTION);
    let fits = match &outcome {
        Outcome::Reset(code) => *code == ErrorCode::FLOW_CONTROL_ERROR,
        Outcome::ConnectionOver(code) => code.is_none_or(|code| code == ErrorCode::FLOW_CONTROL_ERROR),
        _ => false,
    };
    assert!(fits, "{outcome:?}");
    gate.open();
}

// --- HTTP in HTTP/2 (section 8)

#[test]
fn a_request_with_bad_fields_is_malformed() {
    check(&[
        case("8.2.1", "a name in upper case", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("X-Upper", "1")]), true)
        }),
        case("8.2.1", "an empty name", MalformedOrConnection, |c| c.request(1, &with(&bad_get(), &[("", "1")]), true)),
        case("8.2.1", "a name with a space", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("a b", "1")]), true)
        }),
        case("8.2.1", "a name with a colon", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("a:b", "1")]), true)
        }),
        case("8.2.1", "a name with a line break", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("a\r\nb", "1")]), true);
        }),
        case("8.2.1", "a name with a NUL", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("a\0b", "1")]), true)
        }),
        case("8.2.1", "a name past ASCII", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("\u{fc}", "1")]), true)
        }),
        case("8.2.1", "a value with CR LF", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("x", "1\r\nhost: evil")]), true);
        }),
        case("8.2.1", "a value with a bare LF", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("x", "1\n2")]), true)
        }),
        case("8.2.1", "a value with a bare CR", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("x", "1\r2")]), true)
        }),
        case("8.2.1", "a value with a NUL", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[("x", "1\x002")]), true)
        }),
        case("8.2.2", "connection", Malformed, |c| c.request(1, &with(&bad_get(), &[("connection", "close")]), true)),
        case("8.2.2", "keep-alive", Malformed, |c| c.request(1, &with(&bad_get(), &[("keep-alive", "5")]), true)),
        case("8.2.2", "proxy-connection", Malformed, |c| {
            c.request(1, &with(&bad_get(), &[("proxy-connection", "keep-alive")]), true);
        }),
        case("8.2.2", "transfer-encoding", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("transfer-encoding", "chunked")]), false);
            c.data(1, "0\r\n\r\n", true);
        }),
        case("8.2.2", "upgrade", Malformed, |c| c.request(1, &with(&bad_get(), &[("upgrade", "websocket")]), true)),
        case("8.2.2", "te other than trailers", Malformed, |c| {
            c.request(1, &with(&bad_get(), &[("te", "gzip")]), true)
        }),
        case("8.2.2", "te: trailers and more", Malformed, |c| {
            c.request(1, &with(&bad_get(), &[("te", "trailers, deflate;q=0.5")]), true);
        }),
        case("8.2.2", "te: trailers", Answered, |c| c.request(1, &with(&GET, &[("te", "trailers")]), true)),
    ]);
}

#[test]
fn a_request_with_bad_pseudo_header_fields_is_malformed() {
    check(&[
        case("8.3", "an unknown pseudo-header field", MalformedOrConnection, |c| {
            c.request(1, &with(&bad_get(), &[(":fancy", "1")]), true);
        }),
        case("8.3", "a response's pseudo-header field", Malformed, |c| {
            c.request(1, &with(&bad_get(), &[(":status", "200")]), true);
        }),
        case("8.3", "a pseudo-header field after a field", Malformed, |c| {
            c.request(1, &[(":method", "GET"), (":scheme", "http"), ("x", "y"), (":path", "/bad")], true);
        }),
        case("8.3.1", "no :method", Malformed, |c| c.request(1, &bad_get()[1..], true)),
        case("8.3.1", "no :scheme", Malformed, |c| {
            c.request(1, &[(":method", "GET"), (":authority", "localhost"), (":path", "/bad")], true);
        }),
        case("8.3.1", "no :path", Malformed, |c| c.request(1, &GET[..3], true)),
        case("8.3.1", "no pseudo-header field at all", Malformed, |c| c.request(1, &[("host", "localhost")], true)),
        case("8.3.1", "an empty :path", Malformed, |c| c.request(1, &replacing(GET, ":path", ""), true)),
        case("8.3.1", "a :path without a slash", Malformed, |c| c.request(1, &replacing(GET, ":path", "bad"), true)),
        case("8.3.1", "a :path with a space", Malformed, |c| c.request(1, &replacing(GET, ":path", "/bad /x"), true)),
        case("8.3.1", "a :path with CR LF", MalformedOrConnection, |c| {
            c.request(1, &replacing(GET, ":path", "/bad HTTP/1.1\r\nx: y\r\n\r\n"), true);
        }),
        case("8.3.1", "an empty :method", MalformedOrConnection, |c| {
            c.request(1, &replacing(bad_get(), ":method", ""), true)
        }),
        case("8.3.1", "a :method with a space", MalformedOrConnection, |c| {
            c.request(1, &replacing(bad_get(), ":method", "GET /x"), true)
        }),
        case("8.3.1", "an :authority with CR LF", MalformedOrConnection, |c| {
            c.request(1, &replacing(bad_get(), ":authority", "a\r\nx: y"), true);
        }),
        case("8.3", ":method twice", Malformed, |c| c.request(1, &with(&[(":method", "GET")], &bad_get()), true)),
        case("8.3", ":scheme twice", Malformed, |c| c.request(1, &with(&[(":scheme", "http")], &bad_get()), true)),
        case("8.3", ":path twice", Malformed, |c| c.request(1, &with(&[(":path", "/bad")], &bad_get()), true)),
        case("8.3", ":authority twice", Malformed, |c| {
            c.request(1, &with(&[(":authority", "localhost")], &bad_get()), true);
        }),
    ]);
}

#[test]
fn trailers_have_no_pseudo_header_fields() {
    check(&[
        // Malformed by the RFC; the `h2` crate leaves the field out and says nothing (docs/design/http2.md).
        case("8.3", "a request's pseudo-header field in trailers goes nowhere", Answered, |c| {
            c.request(1, &POST, false);
            c.data(1, "abc", false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[(":path", "/evil")])));
        }),
        case("8.3", "a response's pseudo-header field in trailers", Malformed, |c| {
            c.request(1, &bad_post(), false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("x", "y"), (":status", "200")])));
        }),
    ]);
}

#[test]
fn a_body_of_another_length_than_announced_is_malformed() {
    check(&[
        case("8.1.1", "as long as announced", Answered, |c| {
            c.request(1, &with(&POST, &[("content-length", "6")]), false);
            c.data(1, "abc", false);
            c.data(1, "def", true);
        }),
        case("8.1.1", "shorter, in one frame", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "4")]), false);
            c.data(1, "abc", true);
        }),
        case("8.1.1", "longer, in one frame", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "2")]), false);
            c.data(1, "abc", true);
        }),
        case("8.1.1", "shorter, in several frames", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "10")]), false);
            c.data(1, "abc", false);
            c.data(1, "def", false);
            c.data(1, "", true);
        }),
        case("8.1.1", "longer, in several frames", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "4")]), false);
            c.data(1, "abc", false);
            c.data(1, "def", true);
        }),
        case("8.1.1", "shorter, ended by trailers", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "4")]), false);
            c.data(1, "abc", false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("x", "y")])));
        }),
        case("8.1.1", "none at all", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "1")]), true);
        }),
        case("8.1.1", "two lengths that differ", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "3"), ("content-length", "4")]), false);
            c.data(1, "abc", true);
        }),
        case("RFC 9110 8.6", "a length that is no number", Malformed, |c| {
            c.request(1, &with(&bad_post(), &[("content-length", "+3")]), false);
            c.data(1, "abc", true);
        }),
    ]);
}

#[test]
fn trailers_end_their_request() {
    check(&[
        case("8.1", "trailers after DATA", Answered, |c| {
            c.request(1, &POST, false);
            c.data(1, "abc", false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("x-checksum", "1")])));
        }),
        case("8.1", "trailers without a body", Answered, |c| {
            c.request(1, &POST, false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("x-checksum", "1")])));
        }),
        case("8.1", "trailers that do not end the stream", Malformed, |c| {
            c.request(1, &bad_post(), false);
            c.data(1, "abc", false);
            c.send(&Frame::headers(1, flag::END_HEADERS, block(&[("x-checksum", "1")])));
        }),
        case("8.2.1", "trailers with a name in upper case", MalformedOrConnection, |c| {
            c.request(1, &bad_post(), false);
            c.data(1, "abc", false);
            c.send(&Frame::headers(1, flag::WHOLE, block(&[("X-Checksum", "1")])));
        }),
    ]);
}

#[test]
fn white_space_around_a_value_does_not_reach_the_backend() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    for (stream, value) in [(1, " before"), (3, "after "), (5, "\tbefore"), (7, "after\t")] {
        client.request(stream, &with(&GET, &[("x-spaced", value)]), true);
        // Section 8.2.1 calls such a request malformed; a backend behind HTTP/1.1 could not see the difference.
        let refused = match client.outcome(stream, REACTION) {
            Outcome::Answered(response) => response.status == 400,
            Outcome::Reset(code) => code == ErrorCode::PROTOCOL_ERROR,
            other => panic!("{value:?} got {other:?}"),
        };
        let line = format!("x-spaced: {}\r\n", value.trim());
        let heads: Vec<String> =
            backend.requests().iter().map(|r| String::from_utf8_lossy(&r.raw_head).into_owned()).collect();
        let trimmed = heads.last().is_some_and(|head| head.contains(&line));
        assert!(refused || trimmed, "{value:?} went through as {:?}", heads.last());
    }
    client.expect_served(9);
}

#[test]
fn an_answer_to_head_has_no_body() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &replacing(GET, ":method", "HEAD"), true);
    let response = client.response(1);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-length"), Some("6"), "as long as 'HEAD /' (RFC 9110, 9.3.2)");
    client.expect_served(3);
}

#[test]
fn what_concerns_only_a_backends_connection_is_not_passed_on() {
    let backend = Backend::replying(|_| {
        let reply = Reply::text("chunked").header("Connection", "keep-alive, X-Hop").header("X-Hop", "1");
        reply.header("Keep-Alive", "timeout=5").header("X-Upper-Case", "Kept").chunked(3)
    });
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &GET, true);
    // The client refuses transfer-encoding, connection and names in upper case (sections 8.2.1 and 8.2.2).
    let response = client.response(1);
    assert_eq!(response.text(), "chunked");
    assert_eq!((response.header("x-hop"), response.header("x-upper-case")), (None, Some("Kept")));
}

#[test]
fn cookie_crumbs_are_one_cookie_for_the_backend() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &with(&GET, &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]), true);
    assert_eq!(client.response(1).status, 200);
    // Section 8.2.3.
    assert_eq!(backend.only_request().headers.all("cookie"), ["a=1; b=2; c=3; d=4"]);
}

#[test]
fn a_request_reaches_the_backend_as_http_1_1_says_it() {
    let backend = Backend::echoing();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    let fields = replacing(POST, ":path", "/a/b?c=d&e");
    client.request(1, &with(&fields, &[("content-length", "6"), ("te", "trailers")]), false);
    client.data(1, "abc", false);
    client.send(&Frame::data(1, flag::PADDED | flag::END_STREAM, padded(b"def", 7)));
    assert_eq!(client.response(1).text(), "abcdef");
    let request = backend.only_request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/a/b?c=d&e"));
    assert_eq!(request.header("x-forwarded-host"), Some("localhost"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert!(request.header("te").is_none() && request.headers.all("host").len() == 1, "{request:?}");
    assert!(request.headers.names().iter().all(|name| !name.starts_with(':')), "{request:?}");
}

// --- rules of the gateway itself

/// Stream 1 is answered with this status and error, and the connection serves the next request.
#[track_caller]
fn refused(gateway: &Gateway, fields: &[(&str, &str)], status: u16, error: &str) {
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, fields, true);
    let response = client.response(1);
    assert_eq!((response.status, response.json()), (status, json!({"error": error})), "{fields:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    client.expect_served(3);
}

#[test]
fn a_host_that_disagrees_with_the_authority_gets_400() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let error = "Host header and request authority disagree";
    for host in ["other", "localhost:81", "localhost.example.com"] {
        refused(&gateway, &[&bad_get()[..], &[("host", host)]].concat(), 400, error);
    }
    let mut client = Http2Client::connect(gateway.port());
    for (stream, host) in [(1, "localhost"), (3, "LOCALHOST"), (5, "localhost:80"), (7, "localhost.")] {
        client.request(stream, &[&GET[..], &[("host", host)]].concat(), true);
        assert_eq!(client.response(stream).status, 200, "{host}");
    }
    assert!(backend.requests().iter().all(|request| request.target != "/bad"));
}

#[test]
fn a_request_may_name_its_host_without_an_authority() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "shop.example.com")], true);
    assert_eq!(client.response(1).status, 200);
    assert_eq!(backend.only_request().header("x-forwarded-host"), Some("shop.example.com"));
}

#[test]
fn two_hosts_get_400() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let fields = with(&bad_get(), &[("host", "localhost"), ("host", "localhost")]);
    refused(&gateway, &fields, 400, "Request contains multiple Host headers");
}

#[test]
fn methods_the_gateway_does_not_forward_get_405() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    refused(&gateway, &replacing(bad_get(), ":method", "TRACE"), 405, "TRACE method is not allowed");
    // Section 8.5: CONNECT has neither :scheme nor :path.
    let connect = [(":method", "CONNECT"), (":authority", "localhost:443")];
    refused(&gateway, &connect, 405, "CONNECT method is not allowed");
}

#[test]
fn http_1_1_and_http_2_are_spoken_on_one_port() {
    let backend = backend();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect(gateway.port());
    for stream in [1, 3, 5] {
        assert_eq!(gateway.get("/one").status, 200);
        client.expect_served(stream);
    }
    let answer = gateway.curl("/curl", &["--http2-prior-knowledge"]);
    assert_eq!((answer.status, answer.text()), (200, "GET /curl".to_owned()));
}
