//! HTTP/2 lets a client make the gateway work and remember for next to nothing. Every such trick meets a bound: the
//! connection is told to calm down or is held back, memory stays small, and other clients do not notice.

use std::time::{Duration, Instant};

use tests::http2::{ErrorCode, Frame, Http2Client, Outcome, PREFACE, block, flag, kind, literal, setting};
use tests::{Backend, Document, Fault, Finally, Gate, Gateway, GatewayBuilder, PATIENCE, Reply};

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")];
const SLOW: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/slow")];
const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")];

const MIB: u64 = 1 << 20;
/// How much the process may grow under an attack that could make it grow without end.
const GROWTH_MAX: u64 = 64 * MIB;
/// How much of an attack may be sent before it has to be cut off; sockets alone hold up to ten MiB.
const ATTACK_BYTES_MAX: usize = 16 << 20;
/// A request of somebody else is answered in this time whatever goes on.
const PROMPT: Duration = Duration::from_secs(5);
/// A write that makes no progress for this long: the gateway holds the client back.
const HELD_BACK: Duration = Duration::from_secs(2);

fn gateway(backend: &Backend) -> GatewayBuilder {
    Gateway::builder().document(&Document::all_to(backend.port()))
}

#[track_caller]
fn expect_others_are_served(gateway: &Gateway) {
    let started = Instant::now();
    Http2Client::connect(gateway.port()).expect_served(1);
    assert!(started.elapsed() < PROMPT, "somebody else's request took {:?}", started.elapsed());
}

/// Runs `attack` on a gateway that has served a request before, and holds its memory against the bound.
#[track_caller]
fn expect_small_growth(gateway: &Gateway, attack: impl FnOnce()) {
    expect_others_are_served(gateway);
    let before = gateway.resident_bytes();
    let most = gateway.most_memory_during(attack);
    let growth = most.saturating_sub(before);
    assert!(growth <= GROWTH_MAX, "the process grew by {} MiB from {} MiB", growth / MIB, before / MIB);
}

/// Sends batches until the connection ends, the gateway stops reading or `batch` gives no more.
fn flood(
    client: &mut Http2Client,
    reads: bool,
    mut batch: impl FnMut(usize) -> Option<Vec<u8>>,
) -> Result<usize, Fault> {
    let mut sent = 0;
    for turn in 0.. {
        let Some(bytes) = batch(turn) else { break };
        client.try_send_bytes(&bytes)?;
        sent += bytes.len();
        if reads && !client.take_in() {
            return Err(Fault::Closed);
        }
    }
    Ok(sent)
}

/// A client that was cut off was told to calm down, or nothing.
#[track_caller]
fn expect_calm(client: &mut Http2Client) {
    client.take_in();
    let code = client.goaway_so_far();
    assert!(code.is_none_or(|code| code == ErrorCode::ENHANCE_YOUR_CALM), "{code:?}");
}

// --- streams opened to be closed

/// More streams than this are nobody's honest cancellations.
const STREAMS_MAX: u32 = 5000;

/// Opens streams and ends them by `ending`, so many in each write, each write read by the gateway before the next; gives
/// the code of the GOAWAY that has to put an end to it.
#[track_caller]
fn open_and_end(gateway: &Gateway, at_once: u32, ending: fn(u32) -> Frame) -> ErrorCode {
    let mut client = Http2Client::connect(gateway.port());
    let section = block(&GET);
    for first in (0..STREAMS_MAX).step_by(at_once as usize) {
        let streams = (first..first + at_once).map(|number| 2 * number + 1);
        let pairs = streams.flat_map(|id| [Frame::headers(id, flag::WHOLE, section.clone()), ending(id)]);
        client.send_together(&pairs.collect::<Vec<_>>());
        if !client.try_ping(u64::from(first).to_be_bytes()) {
            return client.goaway_so_far().expect("GOAWAY comes before the close");
        }
    }
    panic!("{STREAMS_MAX} streams, {at_once} at once, and it went on");
}

fn cancelling(stream: u32) -> Frame {
    Frame::rst_stream(stream, ErrorCode::CANCEL)
}

#[test]
fn a_client_that_opens_and_resets_streams_in_bursts_is_told_to_calm_down() {
    let backend = Backend::naming_targets();
    for limit in [64, 8] {
        let gateway = gateway(&backend).env("FERRUM_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS", limit).start();
        for at_once in [100, 1000] {
            expect_small_growth(&gateway, || {
                let code = open_and_end(&gateway, at_once, cancelling);
                assert_eq!(code, ErrorCode::ENHANCE_YOUR_CALM, "{at_once} at once");
            });
            expect_others_are_served(&gateway);
        }
    }
}

#[test]
fn a_client_that_opens_and_resets_streams_one_by_one_without_end_is_told_to_calm_down() {
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).start();
    expect_small_growth(&gateway, || {
        assert_eq!(open_and_end(&gateway, 1, cancelling), ErrorCode::ENHANCE_YOUR_CALM);
    });
    expect_others_are_served(&gateway);
}

#[test]
fn a_client_that_makes_the_gateway_reset_streams_without_end_is_told_to_calm_down() {
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).env("FERRUM_SERVER_HTTP2_MAX_LOCAL_ERROR_RESET_STREAMS", 16).start();
    for at_once in [1, 100] {
        expect_small_growth(&gateway, || {
            // An increment of 0 is an error that ends the stream, or the connection at once (RFC 9113, 6.9).
            let code = open_and_end(&gateway, at_once, |id| Frame::window_update(id, 0));
            let allowed = [ErrorCode::ENHANCE_YOUR_CALM, ErrorCode::PROTOCOL_ERROR];
            assert!(allowed.contains(&code), "{code:?} with {at_once} at once");
        });
        expect_others_are_served(&gateway);
    }
}

#[test]
fn a_client_that_cancels_some_requests_is_not_harmed() {
    let gate = Gate::new();
    let _open = Finally(|| gate.open());
    let door = gate.clone();
    let backend = Backend::replying(move |request| {
        if request.target == "/slow" {
            door.wait();
        }
        Reply::text("done")
    });
    // Were the cancelled streams still counted, the fifth would be refused.
    let gateway = gateway(&backend).env("FERRUM_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", 4).start();
    let mut client = Http2Client::connect(gateway.port());
    for number in 0..30 {
        let stream = 4 * number + 1;
        client.request(stream, &SLOW, true);
        backend.wait_for_requests(2 * number as usize + 1);
        client.send(&Frame::rst_stream(stream, ErrorCode::CANCEL));
        client.expect_served(stream + 2);
    }
    assert_eq!(client.goaway_so_far(), None);
}

// --- field sections

#[test]
fn a_field_section_that_never_ends_is_cut_off() {
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).start();
    let large = literal(0x00, "x-large", &"v".repeat(16_000));
    let attacks: [(&str, Vec<Vec<u8>>); 3] = [
        ("large fields", vec![large]),
        ("one byte in each frame", literal(0x00, "x", "y").iter().map(|&byte| vec![byte]).collect()),
        ("empty frames", vec![Vec::new()]),
    ];
    for (what, fragments) in attacks {
        let frames: Vec<u8> =
            fragments.iter().flat_map(|bytes| Frame::continuation(1, flag::NONE, bytes.clone()).bytes()).collect();
        let batch = frames.repeat(1 + 16_384 / frames.len());
        expect_small_growth(&gateway, || {
            let mut client = Http2Client::connect(gateway.port()).with_write_patience(PATIENCE);
            client.send(&Frame::headers(1, flag::END_STREAM, block(&GET)));
            let turns_max = ATTACK_BYTES_MAX / batch.len();
            let end = flood(&mut client, true, |turn| (turn < turns_max).then(|| batch.clone()));
            assert!(matches!(end, Err(Fault::Closed | Fault::Reset)), "{what}: {end:?}");
            client.expect_closed();
            assert!(client.goaway_so_far() != Some(ErrorCode::NO_ERROR), "{what}");
        });
        expect_others_are_served(&gateway);
    }
    assert!(backend.requests().iter().all(|request| request.target == "/good"), "nothing of it was forwarded");
}

#[test]
fn a_small_field_section_that_unpacks_to_a_large_one_is_refused() {
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).start();
    // One entry that fills the table and is then named again and again, by one byte each time: 48 MiB of fields.
    let entry = literal(0x40, "x-bomb", &"b".repeat(4000));
    let bomb = [block(&GET), entry, vec![0xbe; 12_000]].concat();
    let cookies = [block(&GET), literal(0x40, "cookie", &"c".repeat(4000)), vec![0xbe; 12_000]].concat();
    // accept-charset without a value, 16 000 times: few bytes, but many fields.
    let many = [block(&GET), vec![0x8f; 16_000]].concat();
    for (what, section) in [("one field", bomb), ("cookies", cookies), ("many fields", many)] {
        expect_small_growth(&gateway, || {
            for _ in 0..10 {
                let mut client = Http2Client::connect(gateway.port());
                for stream in [1, 3, 5, 7] {
                    client.send(&Frame::headers(stream, flag::WHOLE, section.clone()));
                }
                match client.outcome(1, PATIENCE) {
                    Outcome::Answered(response) => assert_eq!(response.status, 431, "{what}"),
                    Outcome::Reset(_) | Outcome::ConnectionOver(_) => {}
                    Outcome::Nothing => panic!("{what}: neither an answer nor an error"),
                }
            }
        });
        expect_others_are_served(&gateway);
    }
    assert!(backend.requests().iter().all(|request| request.target == "/good"), "nothing of it was forwarded");
}

// --- frames that ask for nothing but work

#[test]
fn floods_of_control_frames_hurt_nobody_else() {
    const FRAMES: usize = 50_000;
    const AT_ONCE: usize = 1000;
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).start();
    for (what, frame) in [
        ("SETTINGS", Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)])),
        ("empty SETTINGS", Frame::settings(&[])),
        ("PING", Frame::ping(*b"floods!!")),
        ("PRIORITY", Frame::priority(1, 3, 16)),
        ("unknown frames", Frame::new(kind::UNKNOWN, flag::NONE, 0, [])),
    ] {
        for reads in [true, false] {
            expect_small_growth(&gateway, || {
                let mut client = Http2Client::connect(gateway.port()).with_write_patience(HELD_BACK);
                // Bytes, not frames: the client's bookkeeping of acknowledgements is not what is tested.
                client.settings_go_uncounted();
                let batch = frame.bytes().repeat(AT_ONCE);
                let end = flood(&mut client, reads, |turn| {
                    if turn % 10 == 9 {
                        expect_others_are_served(&gateway);
                    }
                    (turn < FRAMES / AT_ONCE).then(|| batch.clone())
                });
                // A client that does not read may be held back, one that reads either got through or was cut off.
                assert!(!reads || end != Err(Fault::TimedOut), "{what}: the gateway stopped reading");
                expect_others_are_served(&gateway);
                expect_calm(&mut client);
            });
        }
    }
}

#[test]
fn a_flood_of_data_frames_without_data_takes_no_memory() {
    const FRAMES: usize = 1_000_000;
    const AT_ONCE: usize = 10_000;
    for backend_reads in [true, false] {
        let gate = Gate::new();
        let _open = Finally(|| gate.open());
        let door = gate.clone();
        let backend = Backend::scripted(move |connection| {
            while let Some(head) = connection.read_head() {
                if head.method == "POST" && !backend_reads {
                    door.wait();
                }
                connection.count_body(&head);
                connection.reply_to(&head, &Reply::text("done"));
            }
        });
        let gateway = gateway(&backend).start();
        expect_small_growth(&gateway, || {
            let mut client = Http2Client::connect(gateway.port()).with_write_patience(HELD_BACK);
            client.request(1, &POST, false);
            let batch = Frame::data(1, flag::NONE, []).bytes().repeat(AT_ONCE);
            // Let through, held back, reset or closed: whichever, as long as nothing piles up.
            drop(flood(&mut client, true, |turn| (turn < FRAMES / AT_ONCE).then(|| batch.clone())));
            expect_others_are_served(&gateway);
            expect_calm(&mut client);
        });
    }
}

// --- clients that do not read, backends that do not read

#[test]
fn a_client_that_never_opens_its_window_costs_little_and_gets_its_body_when_it_does() {
    const STREAMS: u32 = 50;
    const BODY: usize = 8 << 20;
    let body: Vec<u8> = (0..BODY as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = body.clone();
    let backend = Backend::replying(move |request| match request.target.as_str() {
        "/" => Reply::new(200).body(body.clone()),
        _ => Reply::text("small"),
    });
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::connect_with(gateway.port(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    expect_small_growth(&gateway, || {
        for number in 0..STREAMS {
            client.request(2 * number + 1, &GET, true);
        }
        for number in 0..STREAMS {
            assert_eq!(client.status(2 * number + 1), 200);
        }
        // Enough to do for the gateway that it would have read on if it did not wait.
        for _ in 0..50 {
            expect_others_are_served(&gateway);
        }
    });
    client.send(&Frame::window_update(0, 1 << 30));
    client.send(&Frame::window_update(1, 1 << 30));
    assert!(client.response(1).body == expected, "the body is the one the backend sent");
    for number in 1..STREAMS {
        client.send(&Frame::rst_stream(2 * number + 1, ErrorCode::CANCEL));
    }
    client.expect_served(2 * STREAMS + 1);
}

#[test]
fn an_upload_to_a_backend_that_does_not_read_is_held_back() {
    for windows in [Some(65_535), None] {
        let gate = Gate::new();
        let _open = Finally(|| gate.open());
        let door = gate.clone();
        let backend = Backend::scripted(move |connection| {
            while let Some(head) = connection.read_head() {
                if head.method == "POST" {
                    door.wait();
                }
                let (count, fault) = connection.count_body(&head);
                assert_eq!(fault, None, "the upload comes to its end");
                connection.reply_to(&head, &Reply::text(&count.to_string()));
            }
        });
        let mut builder = gateway(&backend).env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 0);
        if let Some(bytes) = windows {
            builder = builder
                .env("FERRUM_POOL_HTTP2_ADAPTIVE_WINDOW", false)
                .env("FERRUM_POOL_HTTP2_INITIAL_STREAM_WINDOW_SIZE", bytes)
                .env("FERRUM_POOL_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", bytes);
        }
        let gateway = builder.start();
        expect_others_are_served(&gateway);
        let before = gateway.resident_bytes();
        let mut client = Http2Client::connect(gateway.port());
        client.request(1, &POST, false);
        let sent = client.upload_until_stalled(1, 256 * MIB, Duration::from_secs(1));
        let growth = gateway.resident_bytes().saturating_sub(before);
        // What is not in the gateway is in the sockets between it and the backend.
        let credit = client.credit(1);
        assert!(sent <= 16 * MIB, "{} MiB were taken, with a credit of {credit:?}", sent / MIB);
        assert!(growth <= 16 * MIB, "the process holds {} MiB of it", growth / MIB);
        expect_others_are_served(&gateway);
        // Another stream has no room either if the connection's window is used up, but needs none without a body.
        client.expect_served(3);

        gate.open();
        client.data(1, "", true);
        assert_eq!(client.response(1).text(), sent.to_string(), "every byte arrived");
    }
}

// --- clients that do not begin

#[test]
fn a_client_that_does_not_finish_the_preface_is_closed() {
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1).start();
    for length in [1, 3, 14, 18, PREFACE.len() - 1] {
        let started = Instant::now();
        let mut client = gateway.raw();
        client.send(&PREFACE[..length]);
        client.expect_closed();
        assert!(started.elapsed() >= Duration::from_millis(500), "{length} bytes: closed before its time was up");
    }
    backend.expect_untouched();
    expect_others_are_served(&gateway);
}

#[test]
fn a_preface_that_trickles_in_does_not_hold_the_connection() {
    const PAUSE: Duration = Duration::from_millis(250);
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1).start();
    let mut client = gateway.raw().with_patience(PAUSE);
    let mut was_closed = false;
    for byte in PREFACE {
        // The time is up after four of 24 bytes.
        was_closed = match client.try_send([*byte]) {
            Ok(()) => match client.read_some() {
                Ok(bytes) => bytes.is_empty(),
                Err(fault) => fault != Fault::TimedOut,
            },
            Err(_) => true,
        };
        if was_closed {
            break;
        }
    }
    assert!(was_closed, "the preface took six seconds and was accepted");
    expect_others_are_served(&gateway);
}

#[test]
fn a_preface_that_comes_byte_by_byte_without_pauses_is_a_preface() {
    let backend = Backend::naming_targets();
    let gateway = gateway(&backend).start();
    let mut client = Http2Client::open(gateway.port());
    for byte in PREFACE.iter().chain(&Frame::settings(&[]).bytes()) {
        client.send_bytes([*byte]);
    }
    client.settings_go_uncounted();
    client.expect_served(1);
}
