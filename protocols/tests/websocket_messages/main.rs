//! Sessions whose messages plugins see: real sockets and clients on both sides, cores of this process between them, and plugins that
//! the test scripts.

mod gateway;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::counters::ErrorClass;
use plugins::Phases;
use plugins::websocket::{Close, Delivered, Direction, IoSide, Message};
use serde_json::{Value, json};
use tests::{Authority, Backend, BackendWebSocket, Connection, Frame, Gate, Http2WebSocket, Peer, RawWebSocket};

use crate::gateway::{Act, Door, Gateway, HOST, HTTP_PORT, HTTPS_PORT, Seen};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);
/// Shorter than what must not happen takes to be noticed.
const WHILE: Duration = Duration::from_millis(300);
const MIB: usize = 1 << 20;

/// What happened at a scripted backend.
type Heard = Receiver<Option<Frame>>;

/// A backend that hands each frame to the test, answers a Close, and obeys texts of the kind `!close CODE REASON`.
fn listening() -> (Backend, Heard) {
    let (sender, heard) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        while let Some(frame) = session.frame() {
            assert!(frame.mask.is_some(), "towards a backend everything is masked");
            sender.send(Some(Frame { mask: None, ..frame.clone() })).ok();
            if frame.kind() == 8 {
                session.send(&Frame { mask: None, ..frame });
                break;
            }
        }
        sender.send(None).ok();
    });
    (backend, heard)
}

/// Sends every frame back, without the mask.
fn echo(connection: &mut Connection) {
    let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
    while let Some(frame) = session.frame() {
        if !session.send(&Frame { mask: None, ..frame.clone() }) || frame.kind() == 8 {
            return;
        }
    }
}

#[track_caller]
fn heard(heard: &Heard) -> Frame {
    heard.recv_timeout(SOON).expect("it arrives").expect("the session goes on")
}

/// Whatever still comes, up to the end, which comes soon.
#[track_caller]
fn rest(session: &mut RawWebSocket) -> Vec<Frame> {
    let mut rest = Vec::new();
    while let Some(frame) = session.try_frame(SOON).unwrap_or_else(|fault| panic!("{fault:?} after {rest:?}")) {
        rest.push(frame);
    }
    rest
}

#[track_caller]
fn rest_at_backend(heard: &Heard) -> Vec<Frame> {
    std::iter::from_fn(|| heard.recv_timeout(SOON).expect("the backend's session ends")).collect()
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

/// Passes everything and writes it down.
type Journal = Arc<Mutex<Vec<(u64, Direction, Message)>>>;

fn writing(journal: &Journal) -> impl Fn(&Seen<'_>) -> Act + Send + Sync + 'static {
    let journal = journal.clone();
    move |seen| {
        journal.lock().unwrap().push((seen.connection_id, seen.direction, seen.message.clone()));
        Act::Pass
    }
}

fn passing(_: &Seen<'_>) -> Act {
    Act::Pass
}

#[test]
fn messages_of_real_clients_pass_whole_on_every_wire() {
    let authority = Authority::new();
    let back = authority.issue(&["127.0.0.1"]);
    let plain = Peer::start("websocket_server.py", &[]);
    let arguments = [back.certificate.to_str().unwrap(), back.key.to_str().unwrap()];
    let encrypted = Peer::start("websocket_server.py", &arguments);
    let journal = Journal::default();
    let ws = Gateway::before(plain.port()).sees(writing(&journal)).hears().start();
    let wss = Gateway::before(encrypted.port()).sees(writing(&journal)).hears().tls(&authority).start();
    let ca = authority.bundle();
    let clients = [
        (&ws, Peer::start("websocket_client.py", &[&ws.http.to_string()]), HTTP_PORT),
        (&wss, Peer::start("websocket_client.py", &[&wss.http.to_string()]), HTTP_PORT),
        (&wss, Peer::start("websocket_client.py", &[&wss.https.to_string(), ca.to_str().unwrap(), HOST]), HTTPS_PORT),
    ];
    for (gateway, mut client, listen_port) in clients {
        journal.lock().unwrap().clear();
        let answer = client.ask(json!({"do": "open", "session": "a", "path": "/chat?room=1"}));
        assert_eq!((&answer["status"], &answer["extensions"]), (&json!(101), &json!([])), "{answer}");
        let mut echoed = |sent: Value, expected: Value| {
            let mut command = sent;
            (command["do"], command["session"]) = (json!("send"), json!("a"));
            client.ask(command);
            let answer = client.ask(json!({"do": "receive", "session": "a"}));
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(&answer[key], value, "{answer}");
            }
        };
        for text in ["hello", "", "ünïcødé ✓"] {
            echoed(json!({"text": text}), json!({"text": text}));
        }
        echoed(json!({"size": 3_000_000}), json!({"size": 3_000_000, "binary": true}));
        echoed(json!({"fragments": ["in ", "three ✓", "pieces"]}), json!({"text": "in three ✓pieces"}));
        echoed(json!({"text": "!fragments and back again"}), json!({"text": "andbackagain"}));
        echoed(json!({"text": "!ping you"}), json!({"text": "pong came"}));
        assert_eq!(client.ask(json!({"do": "ping", "session": "a", "data": "me"}))["pong"], true);
        let answer = client.ask(json!({"do": "close", "session": "a", "code": 4001, "reason": "done here"}));
        assert_eq!((&answer["code"], &answer["reason"]), (&json!(4001), &json!("done here")), "{answer}");
        let seen = journal.lock().unwrap();
        let (up, down): (Vec<_>, Vec<_>) =
            seen.iter().partition(|(_, direction, _)| *direction == Direction::ClientToBackend);
        let messages = |seen: &[&(u64, Direction, Message)]| seen.iter().map(|(_, _, m)| m.clone()).collect::<Vec<_>>();
        let (up, down) = (messages(&up), messages(&down));
        assert!(up.contains(&text("in three ✓pieces")) && down.contains(&text("andbackagain")));
        assert!(up.contains(&Message::Ping(b"me".to_vec())) && down.contains(&Message::Pong(b"me".to_vec())));
        assert!(down.contains(&Message::Ping(b"you".to_vec())) && up.contains(&Message::Pong(b"you".to_vec())));
        assert!(!up.iter().chain(&down).any(|message| matches!(message, Message::Close(_))), "nobody sees a Close");
        let end = gateway.ended();
        assert_eq!(
            (end.client_to_backend.frames, end.backend_to_client.frames),
            (up.len() as u64 + 1, down.len() as u64 + 1)
        );
        assert!(end.client_to_backend.bytes > 3_000_000 && end.backend_to_client.bytes > 3_000_000, "{end:?}");
        assert_eq!((end.direction, end.io_side, end.class), (None, None, Some(ErrorClass::GracefulRemoteClose)));
        assert_eq!((&*end.proxy_id, end.listen_port), ("app", listen_port));
        assert_eq!((end.identity.as_deref(), end.note.as_deref()), (Some("ann"), Some("of the upgrade")));
        assert!(end.target.ends_with("/base/chat") && end.target.starts_with("http"), "{}", end.target);
    }
}

#[test]
fn sessions_over_http_2_are_no_different() {
    let authority = Authority::new();
    let backend = Backend::scripted(echo);
    let shouting = |seen: &Seen<'_>| match seen.message {
        Message::Text(said) => Act::Replace(text(&said.to_uppercase())),
        _ => Act::Pass,
    };
    // The listener is what counts here; nothing goes to a backend under TLS.
    let gateway = Gateway::before(backend.port()).sees(shouting).hears().start();
    let client = Peer::start("h2_client.py", &[&gateway.http.to_string()]);
    let mut session = Http2WebSocket::open(client, "/live", &[("sec-websocket-version", "13")]);
    session.send(Frame::text("in ").unfinished());
    session.send(Frame::ping("between"));
    assert_eq!(session.frame(), Some(Frame::ping("between")), "it does not wait for the rest of the message");
    session.send(Frame::continuation("two"));
    assert_eq!(session.frame(), Some(Frame::text("IN TWO")));
    session.send(Frame::binary(vec![5; MIB]));
    assert!(session.frame() == Some(Frame::binary(vec![5; MIB])));
    session.send(Frame::close(4003, "enough"));
    assert_eq!(session.frame(), Some(Frame::close(4003, "enough")));
    assert_eq!(session.frame(), None, "and then the stream ends");
    assert_eq!(gateway.ended().direction, None);
    drop(authority);

    let closing = |seen: &Seen<'_>| match seen.message {
        Message::Text(_) => Act::Close(4100, "not here"),
        _ => Act::Pass,
    };
    let (backend, at_backend) = listening();
    let gateway = Gateway::before(backend.port()).sees(closing).hears().start();
    let client = Peer::start("h2_client.py", &[&gateway.http.to_string()]);
    let mut session = Http2WebSocket::open(client, "/", &[("sec-websocket-version", "13")]);
    session.send(Frame::text("x"));
    assert_eq!(session.frame(), Some(Frame::close(4100, "not here")));
    assert_eq!(session.frame(), None);
    assert_eq!(rest_at_backend(&at_backend), [Frame::close(4100, "not here")]);
}

#[test]
fn plugins_see_a_message_in_their_order_each_as_the_one_before_left_it() {
    let backend = Backend::scripted(echo);
    let adding = |word: &'static str| {
        move |seen: &Seen<'_>| match seen.message {
            Message::Text(text) => Act::Replace(Message::Text(format!("{text} {word}"))),
            Message::Binary(bytes) => Act::Replace(Message::Binary([&bytes[..], &[bytes.len() as u8]].concat())),
            _ => Act::Pass,
        }
    };
    let message = Phases::WEBSOCKET_MESSAGE;
    let gateway =
        Gateway::before(backend.port()).plugin("a", message, adding("a")).plugin("b", message, adding("b")).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session.send(Frame::text("there"));
    assert_eq!(session.frame(), Some(Frame::text("there a b a b")), "there and back");
    session.send(Frame::binary(vec![9; 200]));
    let back = [&[9; 200][..], &[200, 201, 202, 203]].concat();
    assert_eq!(session.frame(), Some(Frame::binary(back)), "the length of the frame is that of the new message");
}

#[test]
fn fragments_come_together_and_a_ping_between_them_does_not_wait() {
    let (backend, at_backend) = listening();
    let gateway = Gateway::before(backend.port()).sees(passing).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session.send(Frame::text("one ").unfinished());
    session.send(Frame::ping("now"));
    assert_eq!(heard(&at_backend), Frame::ping("now"), "nothing of the message has gone");
    session.send(Frame::continuation("two ").unfinished());
    session.send(Frame::pong("unasked"));
    assert_eq!(heard(&at_backend), Frame::pong("unasked"));
    session.send(Frame::continuation("three"));
    assert_eq!(heard(&at_backend), Frame::text("one two three"));
}

#[test]
fn every_frame_towards_the_backend_has_a_mask_of_its_own() {
    let (sender, masks) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        while let Some(frame) = session.frame() {
            sender.send(frame.mask).ok();
        }
    });
    let gateway = Gateway::before(backend.port()).sees(passing).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    let clients = Frame::text("x").masked().mask;
    let mut seen = Vec::new();
    for _ in 0..50 {
        session.send(Frame::text("x"));
        let mask = masks.recv_timeout(SOON).expect("it arrives");
        assert!(mask.is_some() && mask != clients && !seen.contains(&mask), "{mask:?}");
        seen.push(mask);
    }
}

#[test]
fn a_close_of_a_plugin_reaches_both_sides_with_its_code_and_reason() {
    let closing = |seen: &Seen<'_>| match seen.message {
        Message::Text(text) if text == "bad" => Act::Close(4008, "too bad"),
        _ => Act::Pass,
    };
    for from in [Direction::ClientToBackend, Direction::BackendToClient] {
        let (sender, at_backend) = mpsc::channel();
        let backend = Backend::scripted(move |connection| {
            let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
            if from == Direction::BackendToClient {
                session.send(&Frame::text("fine"));
                session.send(&Frame::text("bad"));
                session.send(&Frame::text("never"));
            }
            let frames: Vec<Frame> = std::iter::from_fn(|| session.frame()).collect();
            sender.send(frames.into_iter().map(|frame| Frame { mask: None, ..frame }).collect::<Vec<_>>()).ok();
        });
        let gateway = Gateway::before(backend.port()).sees(closing).hears().start();
        let mut session = RawWebSocket::open(gateway.http, "/", "");
        if from == Direction::ClientToBackend {
            for said in ["fine", "bad", "never"] {
                session.send(Frame::text(said));
            }
        }
        let (fine, close) = (Frame::text("fine"), Frame::close(4008, "too bad"));
        let (to_sender, to_receiver) = (vec![close.clone()], vec![fine, close]);
        let (client, backend) = match from {
            Direction::ClientToBackend => (to_sender, to_receiver),
            Direction::BackendToClient => (to_receiver, to_sender),
        };
        assert_eq!(rest(&mut session), client, "{from:?}");
        assert_eq!(at_backend.recv_timeout(SOON).expect("the backend's session ends"), backend, "{from:?}");
        let end = gateway.ended();
        assert_eq!((end.direction, end.io_side, end.class), (Some(from), None, Some(ErrorClass::RequestError)));
    }
}

#[test]
fn a_close_of_a_plugin_reaches_sides_that_have_sent_more_than_was_read() {
    let closing = |seen: &Seen<'_>| match seen.message {
        Message::Text(_) => Act::Close(1008, "enough"),
        _ => Act::Pass,
    };
    let (sender, at_backend) = mpsc::channel();
    let flooded = Gate::new();
    let floods = flooded.clone();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        // More than a socket takes when nobody reads is not needed: the end must not throw away what is in between.
        for _ in 0..20 {
            session.send(&Frame::binary(vec![1; 10_000]));
        }
        floods.open();
        sender.send(std::iter::from_fn(|| session.frame()).map(|frame| frame.said()).collect::<Vec<_>>()).ok();
    });
    let gateway = Gateway::before(backend.port()).sees(closing).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    flooded.wait();
    session.client.send(
        [Frame::text("x").masked().bytes(), vec![Frame::binary(vec![2; 10_000]).masked().bytes(); 20].concat()]
            .concat(),
    );
    let frames = rest(&mut session);
    assert_eq!(frames.last(), Some(&Frame::close(1008, "enough")), "{} frames", frames.len());
    let said = at_backend.recv_timeout(SOON).expect("the backend's session ends");
    assert!(matches!(&said[..], [close] if close.ends_with("enough")), "{said:?}");
}

#[test]
fn a_session_that_a_plugin_closes_is_over_at_once_when_both_sides_answer() {
    let server = Peer::start("websocket_server.py", &[]);
    let closing = |_: &Seen<'_>| Act::Close(4000, "no");
    let gateway = Gateway::before(server.port()).sees(closing).hears().start();
    let mut client = Peer::start("websocket_client.py", &[&gateway.http.to_string()]);
    client.ask(json!({"do": "open", "session": "a"}));
    let begun = Instant::now();
    client.ask(json!({"do": "send", "session": "a", "text": "x"}));
    let end = client.ask(json!({"do": "receive", "session": "a"}));
    assert_eq!((&end["code"], &end["reason"]), (&json!(4000), &json!("no")), "{end}");
    let closed = server.wait_for(|line| line["event"] == "closed");
    assert_eq!((&closed["code"], &closed["reason"]), (&json!(4000), &json!("no")), "{closed}");
    gateway.ended();
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
}

#[test]
fn a_session_that_a_plugin_closes_is_cut_when_the_sides_do_not_answer() {
    let cut = Gate::new();
    let done = cut.clone();
    let backend = Backend::scripted(move |connection| {
        let Some(session) = BackendWebSocket::accept(connection, "") else { return };
        done.wait();
        drop(session);
    });
    let gateway = Gateway::before(backend.port()).sees(|_| Act::Close(4000, "no")).hears().start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session.send(Frame::text("x"));
    let end = gateway.ended();
    assert!(end.lasted < Duration::from_secs(5), "{end:?}");
    cut.open();
}

#[test]
fn a_ping_stays_a_ping_and_a_pong_a_pong() {
    let turning = |seen: &Seen<'_>| match seen.message {
        Message::Ping(bytes) if bytes == b"keep" => Act::Replace(Message::Ping(b"kept".to_vec())),
        Message::Ping(bytes) => Act::Replace(Message::Pong(bytes.clone())),
        Message::Pong(bytes) => Act::Replace(Message::Ping(bytes.clone())),
        _ => Act::Pass,
    };
    let (backend, at_backend) = listening();
    let gateway = Gateway::before(backend.port()).sees(turning).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    for (sent, arrives) in [
        (Frame::ping("a"), Frame::ping("a")),
        (Frame::pong("b"), Frame::pong("b")),
        (Frame::ping("keep"), Frame::ping("kept")),
    ] {
        session.send(sent);
        assert_eq!(heard(&at_backend), arrives);
    }
}

#[test]
fn a_plugin_that_panics_ends_its_session_with_1011_and_no_other() {
    let panicking = |seen: &Seen<'_>| match seen.message {
        Message::Text(text) if text == "panic" => Act::Panic,
        _ => Act::Pass,
    };
    let backend = Backend::scripted(echo);
    let gateway = Gateway::before(backend.port()).sees(panicking).hears().start();
    let mut other = RawWebSocket::open(gateway.http, "/", "");
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session.send(Frame::text("panic"));
    assert_eq!(rest(&mut session), [Frame::close(1011, "")]);
    assert_eq!(gateway.ended().class, Some(ErrorClass::RequestError));
    assert_eq!(gateway.panics(), 1);
    other.send(Frame::text("still here"));
    assert_eq!(other.frame(), Some(Frame::text("still here")));
}

#[test]
fn a_plugin_that_waits_holds_back_one_direction_of_one_session() {
    let door = Door::new();
    let shut = door.clone();
    let waiting = move |seen: &Seen<'_>| match seen.message {
        Message::Text(text) if text == "wait" => Act::Wait(shut.clone()),
        _ => Act::Pass,
    };
    let (sender, at_backend) = mpsc::channel();
    let go_on = Gate::new();
    let goes_on = go_on.clone();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        if session.request.target.ends_with("/other") {
            while let Some(frame) = session.frame() {
                session.send(&Frame { mask: None, ..frame });
            }
            return;
        }
        sender.send(session.frame().map(|frame| frame.said())).ok();
        goes_on.wait();
        session.send(&Frame::text("the other way"));
        while let Some(frame) = session.frame() {
            sender.send(Some(frame.said())).ok();
        }
    });
    let gateway = Gateway::before(backend.port()).sees(waiting).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session
        .client
        .send([Frame::text("before"), Frame::text("wait"), Frame::text("behind")].map(|f| f.masked().bytes()).concat());
    assert_eq!(at_backend.recv_timeout(SOON), Ok(Some("before".to_owned())), "it came with the one that waits");
    go_on.open();
    assert_eq!(session.frame(), Some(Frame::text("the other way")));
    let mut other = RawWebSocket::open(gateway.http, "/other", "");
    other.send(Frame::text("not held up"));
    assert_eq!(other.frame(), Some(Frame::text("not held up")));
    assert!(at_backend.recv_timeout(WHILE).is_err(), "what is behind waits too");
    door.open();
    assert_eq!(at_backend.recv_timeout(SOON), Ok(Some("wait".to_owned())));
    assert_eq!(at_backend.recv_timeout(SOON), Ok(Some("behind".to_owned())));
}

#[test]
fn a_client_that_vanishes_while_a_plugin_waits_ends_the_session() {
    let (backend, at_backend) = listening();
    let waiting = |_: &Seen<'_>| Act::Wait(Door::new());
    let gateway = Gateway::before(backend.port()).sees(waiting).hears().start();
    let client = Peer::start("h2_client.py", &[&gateway.http.to_string()]);
    let mut session = Http2WebSocket::open(client, "/", &[("sec-websocket-version", "13")]);
    session.send(Frame::text("x"));
    session.client.ask(json!({"do": "reset", "stream": session.stream}));
    let end = gateway.ended();
    assert_eq!((end.direction, end.class), (Some(Direction::ClientToBackend), Some(ErrorClass::ClientDisconnect)));
    assert!(rest_at_backend(&at_backend).iter().all(|frame| frame.kind() == 8));
}

#[test]
fn faults_end_the_session_on_both_sides_with_their_code() {
    let (backend, at_backend) = listening();
    let gateway = Gateway::before(backend.port()).sees(passing).hears().frame_bytes_max(1_000).start();
    let (fine, whole) = (Frame::binary(vec![1; 1_000]), vec![1; 4_000]);
    let fragments = |count: usize, last: usize| {
        let first = Frame { first: 2, ..fine.clone() };
        let more = Frame { first: 0, ..fine.clone() };
        let mut frames = vec![first];
        frames.resize(count, more);
        frames.push(Frame::continuation(vec![1; last]));
        frames.iter().flat_map(|frame| frame.clone().masked().bytes()).collect::<Vec<u8>>()
    };
    for (name, code, bytes) in [
        ("no mask", 1002, Frame::text("bare").bytes()),
        ("a reserved bit", 1002, Frame::text("a").with_bits(0x40).masked().bytes()),
        ("kind 3", 1002, Frame::new(3, "a").masked().bytes()),
        ("a ping in pieces", 1002, Frame::ping("a").unfinished().masked().bytes()),
        ("a continuation of nothing", 1002, Frame::continuation("a").masked().bytes()),
        ("half a code", 1002, Frame::new(8, [3]).masked().bytes()),
        ("a code that is none", 1002, Frame::close(1005, "").masked().bytes()),
        ("text that is none", 1007, Frame::new(1, [0xff]).masked().bytes()),
        ("half a character", 1007, Frame::new(1, [0xe2, 0x9c]).masked().bytes()),
        ("a reason that is no text", 1007, Frame::new(8, [3, 232, 0xff]).masked().bytes()),
        ("a frame too long", 1009, Frame::binary(vec![1; 1_001]).masked().bytes()),
        ("a message too long", 1009, fragments(4, 1)),
    ] {
        let mut session = RawWebSocket::open(gateway.http, "/", "");
        session.client.send([fragments(3, 1_000), bytes].concat());
        assert_eq!(heard(&at_backend).payload, whole, "what came before it passes ({name})");
        assert_eq!(rest(&mut session), [Frame::close(code, "")], "{name}");
        assert_eq!(rest_at_backend(&at_backend), [Frame::close(code, "")], "{name}");
        let end = gateway.ended();
        let expected = (Some(Direction::ClientToBackend), Some(IoSide::Read), Some(ErrorClass::ProtocolError));
        assert_eq!((end.direction, end.io_side, end.class), expected, "{name}");
        assert_eq!(end.client_to_backend.frames, 1, "{name}");
    }
}

#[test]
fn a_backends_faults_are_told_to_both_sides_too() {
    let (sender, at_backend) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        session.send(&Frame::text("fine"));
        let bad =
            if session.request.target.ends_with("/mask") { Frame::text("a").masked() } else { Frame::new(1, [0xc0]) };
        session.send(&bad);
        sender.send(std::iter::from_fn(|| session.frame()).map(|f| Frame { mask: None, ..f }).collect::<Vec<_>>()).ok();
    });
    let gateway = Gateway::before(backend.port()).sees(passing).hears().start();
    for (path, code) in [("/mask", 1002), ("/text", 1007)] {
        let mut session = RawWebSocket::open(gateway.http, path, "");
        assert_eq!(rest(&mut session), [Frame::text("fine"), Frame::close(code, "")], "{path}");
        assert_eq!(at_backend.recv_timeout(SOON).expect("an end"), [Frame::close(code, "")], "{path}");
        assert_eq!(gateway.ended().direction, Some(Direction::BackendToClient));
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_backend_after_a_message_and_what_sockets_hold() {
    let (sender, sent) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(session) = BackendWebSocket::accept(connection, "") else { return };
        let frame = Frame::binary(vec![6; MIB]).bytes();
        let count = (0..64).take_while(|_| session.connection.send(&frame)).count();
        sender.send(count).ok();
    });
    let journal = Journal::default();
    let gateway = Gateway::before(backend.port()).sees(writing(&journal)).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    assert!(sent.recv_timeout(Duration::from_secs(1)).is_err(), "the backend has to wait for the client");
    let held = journal.lock().unwrap().len();
    assert!(held < 32, "{held} messages were taken though nobody reads them");
    for _ in 0..64 {
        assert_eq!(session.frame().expect("all of it arrives").payload.len(), MIB);
    }
    assert_eq!(sent.recv_timeout(SOON), Ok(64));
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let go_on = Gate::new();
    let goes_on = go_on.clone();
    let (sender, arrived) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        goes_on.wait();
        while let Some(frame) = session.frame() {
            sender.send(frame.payload.len()).ok();
        }
    });
    let journal = Journal::default();
    let gateway = Gateway::before(backend.port()).sees(writing(&journal)).start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    let frame = Frame::binary(vec![6; MIB]).masked().bytes();
    let sending = std::thread::spawn(move || {
        (0..64).for_each(|_| session.client.send(&frame));
        session
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(!sending.is_finished(), "the client has to wait for the backend");
    assert!(journal.lock().unwrap().len() < 32);
    go_on.open();
    for _ in 0..64 {
        assert_eq!(arrived.recv_timeout(SOON), Ok(MIB));
    }
    drop(sending.join());
}

#[test]
fn whoever_vanishes_is_named_and_the_other_side_gets_a_close_without_a_code() {
    let (backend, at_backend) = listening();
    let gateway = Gateway::before(backend.port()).sees(passing).hears().start();
    for reset in [false, true] {
        let mut session = RawWebSocket::open(gateway.http, "/", "");
        session.send(Frame::text("here"));
        assert_eq!(heard(&at_backend), Frame::text("here"));
        if reset {
            session.client.reset();
        } else {
            drop(session);
        }
        assert_eq!(rest_at_backend(&at_backend), [Frame::new(8, "")], "reset: {reset}");
        let end = gateway.ended();
        let gone = (Some(Direction::ClientToBackend), Some(IoSide::Read), Some(ErrorClass::ClientDisconnect));
        assert_eq!((end.direction, end.io_side, end.class), gone, "reset: {reset}");
        assert_eq!(end.client_to_backend, Delivered { frames: 1, bytes: 2 + 4 + 4 });
    }
    for (path, class) in [("/end", ErrorClass::ConnectionClosed), ("/reset", ErrorClass::ConnectionReset)] {
        let backend = Backend::scripted(|connection| {
            let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
            session.frame();
            if session.request.target.ends_with("/reset") {
                session.connection.reset();
            }
        });
        let gateway = Gateway::before(backend.port()).sees(passing).hears().start();
        let mut session = RawWebSocket::open(gateway.http, path, "");
        session.send(Frame::text("go"));
        assert_eq!(rest(&mut session), [Frame::new(8, "")], "{path}");
        let end = gateway.ended();
        assert_eq!(
            (end.direction, end.io_side, end.class),
            (Some(Direction::BackendToClient), Some(IoSide::Read), Some(class))
        );
    }
}

#[test]
fn the_tunnel_setting_is_not_for_sessions_that_plugins_see() {
    let backend = Backend::scripted(echo);
    let journal = Journal::default();
    let gateway = Gateway::before(backend.port()).sees(writing(&journal)).hears().tunnel().start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session.send(Frame::text("seen"));
    assert_eq!(session.frame(), Some(Frame::text("seen")));
    assert_eq!(journal.lock().unwrap().len(), 2);
    session.send(Frame::close(1000, ""));
    assert_eq!(session.frame(), Some(Frame::close(1000, "")));
    let end = gateway.ended();
    assert_eq!((end.client_to_backend.frames, end.backend_to_client.frames), (2, 2));
}

#[test]
fn plugins_that_only_hear_of_the_end_leave_the_bytes_as_they_are() {
    let (sender, bytes) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        while let Some(frame) = session.frame() {
            sender.send(frame.clone()).ok();
            session.send(&Frame { mask: None, ..frame });
        }
    });
    for (tunnel, frames) in [(false, 3), (true, 0)] {
        let gateway = Gateway::before(backend.port()).hears();
        let gateway = if tunnel { gateway.tunnel() } else { gateway }.start();
        let mut session = RawWebSocket::open(gateway.http, "/", "");
        for frame in [Frame::text("in ").unfinished(), Frame::continuation("two"), Frame::close(1000, "")] {
            session.send(frame.clone());
            assert_eq!(bytes.recv_timeout(SOON), Ok(frame.clone().masked()), "mask and all");
            assert_eq!(session.frame(), Some(frame));
        }
        drop(session);
        let end = gateway.ended();
        assert_eq!((end.client_to_backend.frames, end.backend_to_client.frames), (frames, frames), "tunnel: {tunnel}");
        assert_eq!((end.client_to_backend.bytes, end.backend_to_client.bytes), (9 + 9 + 8, 5 + 5 + 4));
        assert_eq!((end.direction, end.class), (None, Some(ErrorClass::GracefulRemoteClose)), "tunnel: {tunnel}");
    }
}

#[test]
fn every_session_has_a_number_of_its_own_over_all_cores() {
    let backend = Backend::scripted(echo);
    let journal = Journal::default();
    let gateway = Gateway::before(backend.port()).sees(writing(&journal)).hears().cores(2).start();
    let mut sessions: Vec<_> = (0..20).map(|_| RawWebSocket::open(gateway.http, "/", "")).collect();
    for session in &mut sessions {
        session.send(Frame::text("x"));
        assert_eq!(session.frame(), Some(Frame::text("x")));
    }
    let ids: Vec<u64> = journal.lock().unwrap().iter().map(|(id, _, _)| *id).collect();
    assert!(ids.chunks(2).all(|pair| pair[0] == pair[1]), "both directions have the same: {ids:?}");
    assert!(ids.chunks(2).map(|pair| pair[0]).is_sorted_by(|a, b| a < b), "later sessions have larger ones: {ids:?}");
    drop(sessions);
    let mut ended: Vec<u64> = (0..20).map(|_| gateway.ended().connection_id).collect();
    ended.sort_unstable();
    assert_eq!(ended, ids.chunks(2).map(|pair| pair[0]).collect::<Vec<_>>());
}

#[test]
fn closes_of_either_side_are_answered_by_the_other_or_cut() {
    let server = Peer::start("websocket_server.py", &[]);
    let gateway = Gateway::before(server.port()).sees(passing).hears().start();
    let mut client = Peer::start("websocket_client.py", &[&gateway.http.to_string()]);
    for (code, reason) in [(1000, ""), (1001, "going away"), (4999, "the last of the private codes")] {
        client.ask(json!({"do": "open", "session": "a"}));
        client.ask(json!({"do": "send", "session": "a", "text": format!("!close {code} {reason}")}));
        let end = client.ask(json!({"do": "receive", "session": "a"}));
        assert_eq!((&end["code"], &end["reason"]), (&json!(code), &json!(reason)), "{end}");
        assert_eq!(gateway.ended().class, Some(ErrorClass::GracefulRemoteClose));
    }
    let backend = Backend::scripted(|connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        while session.frame().is_some_and(|frame| frame.kind() != 8) {}
        // Gone without a Close of its own.
    });
    let gateway = Gateway::before(backend.port()).sees(passing).hears().start();
    let mut session = RawWebSocket::open(gateway.http, "/", "");
    session.send(Frame::close(1000, "bye"));
    assert_eq!(rest(&mut session), [Frame::new(8, "")]);
    assert_eq!((gateway.ended().direction, Close::new(1000, "bye").code), (None, 1000));
}

#[test]
fn what_comes_with_the_handshake_is_not_lost() {
    let backend = Backend::scripted(|connection| {
        let Some(request) = connection.read_head() else { return };
        let accept = tests::websocket_accept(request.header("sec-websocket-key").unwrap());
        let head = format!(
            "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        connection.send([head.as_bytes(), &Frame::text("welcome").bytes()].concat());
        let mut frames = tests::FrameReader::default();
        while let Some(frame) = frames.next(|| connection.read_some()) {
            connection.send(Frame { mask: None, ..frame }.bytes());
        }
    });
    let gateway = Gateway::before(backend.port()).sees(passing).start();
    let mut client = tests::RawClient::connect(gateway.http);
    client.send([RawWebSocket::request("/", "").as_bytes(), &Frame::text("impatient").masked().bytes()].concat());
    assert_eq!(client.interim().status, 101);
    let mut frames = tests::FrameReader::default();
    let mut next = || frames.next(|| client.read_some().unwrap()).map(|frame| frame.said());
    assert_eq!(next().as_deref(), Some("welcome"));
    assert_eq!(next().as_deref(), Some("impatient"));
}
