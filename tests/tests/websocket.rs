//! WebSocket sessions, over HTTP/1.1 upgrades and over HTTP/2 (RFC 8441): what passes, what ends them and what refuses them.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    Authority, Backend, BackendWebSocket, Connection, Document, Frame, FrameReader, Gateway, GatewayBuilder,
    Http2WebSocket, Identity, Peer, Proxy, RawWebSocket, RefusingPort, Reply, Signal, WEBSOCKET_KEY, eventually,
    websocket_accept,
};

const HOST: &str = "ws.example.com";
const MIB: usize = 1 << 20;
/// Longer than anything here takes, shorter than the harness' own patience.
const SOON: Duration = Duration::from_secs(10);

fn server() -> Peer {
    Peer::start("websocket_server.py", &[])
}

fn client(gateway: &Gateway) -> Peer {
    Peer::start("websocket_client.py", &[&gateway.port().to_string()])
}

fn tls_client(script: &str, gateway: &Gateway, authority: &Authority) -> Peer {
    let ca = authority.bundle();
    Peer::start(script, &[&gateway.https_port().to_string(), ca.to_str().unwrap(), HOST])
}

fn secured(builder: GatewayBuilder, identity: &Identity) -> GatewayBuilder {
    builder
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", identity.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", identity.key.display())
}

/// A session `a` that is open.
#[track_caller]
fn open(client: &mut Peer, path: &str) -> Value {
    let answer = client.ask(json!({"do": "open", "session": "a", "path": path}));
    assert_eq!(answer["status"], 101, "{answer}");
    answer
}

fn send(client: &mut Peer, text: &str) {
    client.ask(json!({"do": "send", "session": "a", "text": text}));
}

fn receive(client: &mut Peer) -> Value {
    client.ask(json!({"do": "receive", "session": "a"}))
}

#[track_caller]
fn echoes(client: &mut Peer, text: &str) {
    send(client, text);
    let answer = receive(client);
    assert_eq!(answer["text"], text, "{answer}");
}

/// A backend that agrees to every upgrade, hands each frame to the test and answers a Close; `None` is the end of a
/// session.
fn listening() -> (Backend, Receiver<Option<Frame>>) {
    let (sender, frames) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        while let Some(frame) = session.frame() {
            let is_close = frame.kind() == 8;
            if is_close {
                session.send(&Frame { mask: None, ..frame.clone() });
            }
            sender.send(Some(frame)).ok();
            if is_close {
                break;
            }
        }
        sender.send(None).ok();
    });
    (backend, frames)
}

/// Sends every frame back as it came, without the mask.
fn echo(connection: &mut Connection) {
    let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
    while let Some(frame) = session.frame() {
        if frame.kind() != 10 && !session.send(&Frame { mask: None, ..frame.clone() }) || frame.kind() == 8 {
            return;
        }
    }
}

/// Whatever still comes (a Close, mostly), and then the end, within a time that nobody calls long.
#[track_caller]
fn ends(session: &mut RawWebSocket, why: &str) -> Vec<Frame> {
    let mut rest = Vec::new();
    loop {
        match session.try_frame(SOON) {
            Ok(Some(frame)) => rest.push(frame),
            Ok(None) => return rest,
            Err(fault) => panic!("the session should end ({why}): {fault:?} after {rest:?}"),
        }
    }
}

/// The session's next frames at the backend up to its end, which comes soon.
#[track_caller]
fn ends_at_backend(frames: &Receiver<Option<Frame>>) -> Vec<Frame> {
    std::iter::from_fn(|| frames.recv_timeout(SOON).expect("the backend's session ends")).collect()
}

#[test]
fn messages_of_all_kinds_pass_in_the_clear_and_under_tls_on_either_side() {
    let authority = Authority::new();
    let (front, back) = (authority.issue(&[HOST]), authority.issue(&["127.0.0.1"]));
    let plain = server();
    let arguments = [back.certificate.to_str().unwrap(), back.key.to_str().unwrap()];
    let encrypted = Peer::start("websocket_server.py", &arguments);
    let ca = authority.bundle().display().to_string();
    let to = |server: &Peer| Proxy::new("app").path("/").to(server.port());
    let wss = to(&encrypted).set("backend_scheme", "https").set("backend_tls_server_ca_cert_path", ca);
    for (backend, server, proxy) in [("ws", &plain, to(&plain)), ("wss", &encrypted, wss)] {
        let gateway = secured(Gateway::builder().document(&Document::new().proxy(proxy)), &front).start();
        let tls = tls_client("websocket_client.py", &gateway, &authority);
        for (frontend, mut client) in [("http", client(&gateway)), ("https", tls)] {
            let way = format!("{frontend} to {backend}");
            open(&mut client, "/chat?room=1");
            for text in ["hello", "", "ünïcødé ✓"] {
                echoes(&mut client, text);
            }
            client.ask(json!({"do": "send", "session": "a", "size": 70_000}));
            let answer = receive(&mut client);
            assert_eq!((&answer["size"], &answer["binary"]), (&json!(70_000), &json!(true)), "{way}");
            client.ask(json!({"do": "send", "session": "a", "fragments": ["in ", "three ", "pieces"]}));
            assert_eq!(receive(&mut client)["text"], "in three pieces", "{way}");
            send(&mut client, "!fragments and back again");
            assert_eq!(receive(&mut client)["text"], "andbackagain", "{way}");
            assert_eq!(client.ask(json!({"do": "ping", "session": "a", "data": "are you there"}))["pong"], true);
            send(&mut client, "!ping you");
            assert_eq!(receive(&mut client)["text"], "pong came", "{way}");
            let answer = client.ask(json!({"do": "close", "session": "a", "code": 4001, "reason": "done here"}));
            assert_eq!((&answer["code"], &answer["reason"]), (&json!(4001), &json!("done here")), "{way}: {answer}");
        }
        for closed in 0..2 {
            eventually("the server knows of both ends", || server.events("closed").get(closed).cloned());
            let end = server.events("closed")[closed].clone();
            assert_eq!((&end["code"], &end["reason"]), (&json!(4001), &json!("done here")), "{backend}");
            assert_eq!(server.events("open")[closed]["path"], "/chat?room=1");
        }
    }
}

#[test]
fn the_servers_close_reaches_the_client_with_its_code_and_reason() {
    let server = server();
    let gateway = Gateway::in_front_of(server.port());
    let mut client = client(&gateway);
    for (code, reason) in [(1000, ""), (1001, "going away"), (1011, "a fault"), (4999, "the last of the private codes")]
    {
        open(&mut client, "/");
        send(&mut client, &format!("!close {code} {reason}"));
        let end = receive(&mut client);
        assert_eq!((&end["code"], &end["reason"]), (&json!(code), &json!(reason)), "{end}");
    }
    eventually("the sessions have ended at the server", || (server.events("closed").len() == 4).then_some(()));
    assert_eq!(server.events("closed")[3]["code"], 4999, "the client's answer came back");
}

#[test]
fn a_close_without_a_code_stays_without() {
    let backend = Backend::scripted(echo);
    let gateway = Gateway::in_front_of(backend.port());
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    session.send(Frame::new(8, ""));
    assert_eq!(session.frame(), Some(Frame::new(8, "")));
    assert_eq!(session.frame(), None, "and then the connection ends");
}

#[test]
fn when_both_sides_have_said_close_both_connections_end_at_once() {
    let (sender, ended) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        let closes_first = session.request.target == "/backend";
        if closes_first {
            session.send(&Frame::close(1000, "mine"));
        }
        let answer = session.frame();
        if !closes_first {
            session.send(&Frame::close(1000, "yours"));
        }
        // It is the gateway that has nothing to wait for any more.
        let begun = Instant::now();
        let end = session.frame();
        sender.send((answer, end, begun.elapsed() < SOON)).ok();
    });
    let gateway = Gateway::in_front_of(backend.port());
    for (path, reason) in [("/backend", "mine"), ("/client", "yours")] {
        let mut session = RawWebSocket::open(gateway.port(), path, "");
        if path == "/client" {
            session.send(Frame::close(1000, reason));
        }
        assert_eq!(session.frame(), Some(Frame::close(1000, reason)), "{path} first");
        if path == "/backend" {
            session.send(Frame::close(1000, reason));
        }
        assert_eq!(ends(&mut session, path), []);
        let (answer, end, is_soon) = ended.recv_timeout(SOON).expect("the backend's connection ends");
        assert_eq!((answer.map(|frame| frame.kind()), end, is_soon), (Some(8), None, true), "{path} first");
    }
}

#[test]
fn the_handshake_says_what_it_has_to_and_no_more() {
    let backend = Backend::scripted(|connection| {
        let lines = "X-Backend: 1\r\nSet-Cookie: a=b\r\nServer: s\r\n";
        while let Some(mut session) = BackendWebSocket::accept(connection, lines) {
            while session.frame().is_some() {}
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let session = RawWebSocket::open(
        gateway.port(),
        "/path?q=1",
        "Origin: https://a.example\r\nX-Mine: yes\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
    );
    let answer = &session.answer;
    assert_eq!(answer.headers.all("sec-websocket-accept"), [websocket_accept(WEBSOCKET_KEY)]);
    assert!(
        answer.headers.lists("connection", "upgrade") && answer.headers.lists("upgrade", "websocket"),
        "{answer:?}"
    );
    for absent in ["x-backend", "set-cookie", "server", "sec-websocket-protocol", "sec-websocket-extensions"] {
        assert!(!answer.headers.has(absent), "{absent} in {answer:?}");
    }
    for absent in ["content-length", "transfer-encoding"] {
        assert!(!answer.headers.has(absent), "{absent} in a 101: {answer:?}");
    }
    let request = backend.wait_for_requests(1).remove(0);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/path?q=1"));
    assert!(request.headers.lists("connection", "upgrade") && request.headers.lists("upgrade", "websocket"));
    assert_eq!(request.headers.all("sec-websocket-version"), ["13"]);
    let keys = request.headers.all("sec-websocket-key");
    assert!(matches!(keys[..], [key] if key.len() == 24 && key != WEBSOCKET_KEY), "a key of its own: {keys:?}");
    assert_eq!((request.header("origin"), request.header("x-mine")), (Some("https://a.example"), Some("yes")));
}

#[test]
fn frames_are_masked_towards_the_backend_and_bare_towards_the_client() {
    let (sender, masks) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        while let Some(frame) = session.frame() {
            sender.send(frame.mask.is_some()).ok();
            session.send(&Frame { mask: None, ..frame });
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let frame = Frame::binary(vec![7; length]);
        session.send(frame.clone());
        assert_eq!(masks.recv_timeout(SOON), Ok(true), "{length}");
        assert!(session.frame() == Some(frame), "{length} bytes came back differently");
    }
}

#[test]
fn what_either_side_says_with_or_right_after_the_handshake_is_not_lost() {
    let backend = Backend::scripted(|connection| {
        let Some(request) = connection.read_head() else { return };
        let accept = websocket_accept(request.header("sec-websocket-key").unwrap());
        let head = format!(
            "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        connection.send([head.as_bytes(), &Frame::text("welcome").bytes()].concat());
        let mut frames = FrameReader::default();
        while let Some(frame) = frames.next(|| connection.read_some()) {
            connection.send(Frame { mask: None, ..frame }.bytes());
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send([RawWebSocket::request("/", "").as_bytes(), &Frame::text("impatient").masked().bytes()].concat());
    assert_eq!(client.interim().status, 101);
    let mut frames = FrameReader::default();
    let mut next = || frames.next(|| client.read_some().unwrap()).map(|frame| frame.said());
    assert_eq!(next().as_deref(), Some("welcome"));
    assert_eq!(next().as_deref(), Some("impatient"));
}

#[test]
fn a_ping_inside_a_fragmented_message_passes_and_the_message_stays_whole() {
    let (backend, frames) = listening();
    let gateway = Gateway::in_front_of(backend.port());
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    session.send(Frame::text("one ").unfinished());
    session.send(Frame::ping("now"));
    session.send(Frame::continuation("two ").unfinished());
    session.send(Frame::continuation("three"));
    session.send(Frame::pong("unasked"));
    let (mut message, mut control) = (String::new(), Vec::new());
    while message != "one two three" || control.len() < 2 {
        let frame = frames.recv_timeout(SOON).expect("all of it arrives").expect("the session goes on");
        match frame.kind() {
            0 | 1 => message.push_str(&frame.said()),
            kind => control.push((kind, frame.said())),
        }
    }
    assert_eq!(control, [(9, "now".to_owned()), (10, "unasked".to_owned())]);
}

#[test]
fn the_backend_chooses_the_subprotocol_and_none_is_invented() {
    let choosy = Peer::start("websocket_server.py", &["--subprotocols", "chat.v2,chat.v1"]);
    let indifferent = server();
    let document = Document::new()
        .proxy(Proxy::new("choosy").path("/choosy").to(choosy.port()))
        .proxy(Proxy::new("other").path("/").to(indifferent.port()));
    let gateway = Gateway::running(&document);
    let mut client = client(&gateway);
    let mut agreed = |path: &str, offered: &[&str]| {
        let offered = if offered.is_empty() { Value::Null } else { json!(offered) };
        let answer = client.ask(json!({"do": "open", "session": "a", "path": path, "subprotocols": offered}));
        assert_eq!(answer["status"], 101, "{answer}");
        answer["subprotocol"].as_str().map(str::to_owned)
    };
    assert_eq!(agreed("/choosy", &["chat.v1", "chat.v2"]).as_deref(), Some("chat.v2"));
    assert_eq!(agreed("/choosy", &["chat.v1"]).as_deref(), Some("chat.v1"));
    assert_eq!(agreed("/choosy", &["mqtt"]), None);
    assert_eq!(agreed("/choosy", &[]), None);
    assert_eq!(agreed("/", &["chat.v1"]), None);
}

#[test]
fn compression_is_never_agreed_on() {
    let server = server();
    let gateway = Gateway::in_front_of(server.port());
    let mut client = client(&gateway);
    let answer = open(&mut client, "/");
    assert_eq!(answer["extensions"], json!([]), "both peers would compress: {answer}");
    let names: Vec<&str> = answer["headers"].as_array().unwrap().iter().filter_map(|pair| pair[0].as_str()).collect();
    assert!(!names.contains(&"sec-websocket-extensions"), "{names:?}");
    echoes(&mut client, &"compressible ".repeat(1_000));
    send(&mut client, "!send 100000");
    assert_eq!(receive(&mut client)["size"], 100_000);
}

#[test]
fn an_upgrade_that_is_not_right_is_an_ordinary_request() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::in_front_of(backend.port());
    let good = RawWebSocket::request("/x", "");
    let key = format!("Sec-WebSocket-Key: {WEBSOCKET_KEY}");
    for (name, from, to) in [
        ("no key", format!("{key}\r\n"), String::new()),
        ("a short key", key.clone(), "Sec-WebSocket-Key: c2hvcnQ=".to_owned()),
        ("a key that is no base64", key.clone(), "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==".to_owned()),
        ("no version", "Sec-WebSocket-Version: 13\r\n".to_owned(), String::new()),
        ("an old version", "Version: 13".to_owned(), "Version: 8".to_owned()),
        ("no token upgrade", "Connection: Upgrade".to_owned(), "Connection: keep-alive".to_owned()),
        ("another protocol", "Upgrade: websocket".to_owned(), "Upgrade: h2c".to_owned()),
    ] {
        let request = good.replace(&from, &to);
        assert_ne!(request, good, "{name}");
        let response = gateway.ask(request);
        assert_eq!((response.status, response.text().as_str()), (200, "GET /x"), "{name}: {response:?}");
        let seen = backend.requests().pop().unwrap();
        assert!(!seen.headers.has("upgrade") && !seen.headers.lists("connection", "upgrade"), "{name}: {seen:?}");
    }
}

#[test]
fn tokens_count_in_any_case_and_place() {
    let backend = Backend::scripted(echo);
    let gateway = Gateway::in_front_of(backend.port());
    let request = RawWebSocket::request("/", "")
        .replace("Connection: Upgrade", "connection: keep-alive, UPGRADE")
        .replace("Upgrade: websocket", "uPGRADE: WebSocket");
    let mut client = gateway.raw();
    client.send(request);
    assert_eq!(client.interim().status, 101);
}

#[test]
fn only_the_allowed_origins_get_in() {
    let backend = Backend::scripted(echo);
    let allowed = json!(["https://app.example.com", "http://localhost:3000"]);
    let proxy = Proxy::new("app").path("/").to(backend.port()).set("allowed_ws_origins", allowed);
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    for origin in ["https://app.example.com", "HTTPS://App.Example.COM", "http://localhost:3000"] {
        RawWebSocket::open(gateway.port(), "/", &format!("Origin: {origin}\r\n"));
    }
    let sessions = backend.connections();
    for line in [
        "",
        "Origin: null\r\n",
        "Origin: https://app.example.com.evil\r\n",
        "Origin: https://app.example.com/\r\n",
        "Origin: http://app.example.com\r\n",
        "Origin: http://localhost\r\n",
    ] {
        let response = gateway.ask(RawWebSocket::request("/", line));
        let text = r#"{"error":"WebSocket Origin not allowed"}"#;
        assert_eq!((response.status, response.text().as_str()), (403, text), "{line}");
    }
    assert_eq!(backend.connections(), sessions, "the refused ones did not reach the backend");
}

#[test]
fn one_session_more_than_the_limit_gets_503_until_one_has_ended() {
    let backend = Backend::scripted(echo);
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_WEBSOCKET_MAX_CONNECTIONS", 3)
        .start();
    let mut sessions: Vec<_> = (0..3).map(|_| RawWebSocket::open(gateway.port(), "/", "")).collect();
    for session in &mut sessions {
        session.send(Frame::text("in"));
        assert_eq!(session.frame().map(|frame| frame.said()).as_deref(), Some("in"));
    }
    for _ in 0..3 {
        let response = gateway.ask(RawWebSocket::request("/", ""));
        let text = r#"{"error":"WebSocket connection limit exceeded"}"#;
        assert_eq!((response.status, response.text().as_str()), (503, text));
    }
    assert_eq!(backend.connections(), 3);
    let mut last = sessions.pop().unwrap();
    last.send(Frame::close(1000, ""));
    ends(&mut last, "both have said Close");
    eventually("there is room again", || {
        let mut client = gateway.raw();
        client.send(RawWebSocket::request("/", ""));
        (client.read_some().unwrap().starts_with(b"HTTP/1.1 101")).then_some(())
    });
}

#[test]
fn an_upgrade_that_fails_does_not_keep_its_place() {
    let backend = Backend::replying(|_| Reply::new(403));
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_WEBSOCKET_MAX_CONNECTIONS", 1)
        .env("FERRUM_CORES", 0)
        .start();
    for _ in 0..5 {
        assert_eq!(gateway.ask(RawWebSocket::request("/", "")).status, 502);
    }
}

/// A gateway that takes frames of a thousand bytes, from the client's side and from the backend's.
fn limited(backend: &Backend) -> Gateway {
    Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_MAX_WEBSOCKET_FRAME_SIZE_BYTES", 1_000)
        .start()
}

#[test]
fn a_clients_frame_of_the_limit_passes_and_one_byte_more_ends_the_session() {
    let (backend, frames) = listening();
    let gateway = limited(&backend);
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    session.send(Frame::binary(vec![1; 1_000]));
    let frame = frames.recv_timeout(SOON).unwrap().expect("a frame");
    assert_eq!(frame.payload.len(), 1_000);
    session.send(Frame::binary(vec![2; 1_001]));
    let rest = ends(&mut session, "a frame that is too long");
    assert!(rest.iter().all(|frame| frame.kind() == 8), "{rest:?}");
    let rest = ends_at_backend(&frames);
    assert!(rest.iter().all(|frame| frame.kind() == 8), "nothing of the frame reached the backend: {rest:?}");
}

#[test]
fn a_clients_message_of_four_times_the_limit_passes_and_one_byte_more_ends_the_session() {
    let (backend, frames) = listening();
    let gateway = limited(&backend);
    for (last, passes) in [(1_000, true), (1_001, false)] {
        // Whatever is too long as a frame is cut once more.
        let mut pieces = vec![1_000, 1_000, 1_000, 999, last - 999];
        let mut session = RawWebSocket::open(gateway.port(), "/", "");
        let end = pieces.pop().unwrap();
        for (at, length) in pieces.iter().enumerate() {
            session.send(Frame { first: if at == 0 { 2 } else { 0 }, mask: None, payload: vec![3; *length] });
        }
        session.send(Frame::continuation(vec![4; end]));
        if passes {
            let mut got = 0;
            while got < 4_000 {
                got += frames.recv_timeout(SOON).expect("it arrives").expect("it goes on").payload.len();
            }
            assert_eq!(got, 4_000);
            session.send(Frame::close(1000, ""));
        }
        let rest = ends(&mut session, "a message of four times the limit and its Close, or more");
        assert!(rest.iter().all(|frame| frame.kind() == 8), "{rest:?}");
        let rest = ends_at_backend(&frames);
        let whole = rest.iter().any(|frame| frame.kind() != 8 && frame.first & 0x80 != 0);
        assert!(!whole, "a message that is too long must not look whole: {} frames", rest.len());
    }
}

#[test]
fn a_backends_frame_and_message_have_the_same_limits() {
    let backend = Backend::scripted(|connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        let pieces: &[usize] = match session.request.target.as_str() {
            "/frame" => &[1_000],
            "/frame-over" => &[1_001],
            "/message" => &[1_000, 1_000, 1_000, 1_000],
            _ => &[1_000, 1_000, 1_000, 1_000, 1],
        };
        for (at, length) in pieces.iter().enumerate() {
            let bits = if at + 1 == pieces.len() { 0x80 } else { 0 };
            session.send(&Frame { first: bits | if at == 0 { 2 } else { 0 }, mask: None, payload: vec![5; *length] });
        }
        while session.frame().is_some() {}
    });
    let gateway = limited(&backend);
    for (path, length) in [("/frame", 1_000), ("/message", 4_000)] {
        let mut session = RawWebSocket::open(gateway.port(), path, "");
        let mut got = 0;
        while got < length {
            got += session.frame().expect("it passes").payload.len();
        }
        assert_eq!(got, length, "{path}");
    }
    for path in ["/frame-over", "/message-over"] {
        let mut session = RawWebSocket::open(gateway.port(), path, "");
        let rest = ends(&mut session, path);
        let whole = rest.iter().any(|frame| frame.kind() != 8 && frame.first & 0x80 != 0);
        assert!(!whole, "{path}: what is too long must not look whole");
    }
}

#[test]
fn frames_that_no_client_may_send_end_the_session_on_both_sides() {
    let (backend, frames) = listening();
    let gateway = Gateway::in_front_of(backend.port());
    let long = "x".repeat(126);
    for (name, bytes) in [
        ("no mask", Frame::text("bare").bytes()),
        ("RSV1", Frame::text("a").with_bits(0x40).masked().bytes()),
        ("RSV2", Frame::text("a").with_bits(0x20).masked().bytes()),
        ("RSV3", Frame::text("a").with_bits(0x10).masked().bytes()),
        ("kind 3", Frame::new(3, "a").masked().bytes()),
        ("kind 11", Frame::new(11, "a").masked().bytes()),
        ("a ping in pieces", Frame::ping("a").unfinished().masked().bytes()),
        ("a ping too long", Frame::ping(&long).masked().bytes()),
        ("a continuation of nothing", Frame::continuation("a").masked().bytes()),
        (
            "a message inside a message",
            [Frame::text("a").unfinished().masked().bytes(), Frame::text("b").masked().bytes()].concat(),
        ),
        ("a length beyond all", vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]),
    ] {
        let mut session = RawWebSocket::open(gateway.port(), "/", "");
        session.send(Frame::text("fine"));
        let frame = frames.recv_timeout(SOON).expect("the good frame arrives").expect("the session is open");
        assert_eq!(frame.said(), "fine", "{name}");
        session.client.send(bytes);
        let rest = ends(&mut session, name);
        assert!(rest.iter().all(|frame| frame.kind() == 8), "{name}: {rest:?}");
        let rest = ends_at_backend(&frames);
        let passed = rest.iter().any(|frame| frame.kind() != 8 && frame.first & 0x80 != 0);
        assert!(!passed, "{name} reached the backend: {rest:?}");
    }
}

#[test]
fn a_masked_frame_from_the_backend_ends_the_session() {
    let backend = Backend::scripted(|connection| {
        let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
        session.send(&Frame::text("wrong").masked());
        while session.frame().is_some() {}
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    let rest = ends(&mut session, "a masked frame");
    assert!(rest.iter().all(|frame| frame.kind() == 8), "{rest:?}");
}

#[test]
fn a_backend_that_does_not_agree_is_a_502() {
    let (plain, silent) = ("HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", String::new());
    let wrong = format!("{plain}Sec-WebSocket-Accept: {}\r\n\r\n", websocket_accept("AAAAAAAAAAAAAAAAAAAAAA=="));
    for (name, answer) in [
        ("403", "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno".to_owned()),
        ("200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("101 without accept", format!("{plain}\r\n")),
        ("101 with another accept", wrong),
        ("nonsense", "what?\r\n\r\n".to_owned()),
        ("a close", silent),
    ] {
        let backend = Backend::scripted(move |connection| {
            connection.read_head();
            connection.send(&answer);
        });
        let gateway = Gateway::in_front_of(backend.port());
        let response = gateway.ask(RawWebSocket::request("/", ""));
        let text = r#"{"error":"Backend WebSocket connection failed"}"#;
        assert_eq!((response.status, response.text().as_str()), (502, text), "{name}");
        assert_eq!(backend.connections(), 1, "{name}: what was sent is not sent again");
    }
}

#[test]
fn a_backend_that_agrees_to_a_subprotocol_or_extension_nobody_offered_is_not_echoed() {
    let backend = Backend::scripted(|connection| {
        if let Some(mut session) = BackendWebSocket::accept(connection, "Sec-WebSocket-Extensions: x-own\r\n") {
            while session.frame().is_some() {}
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send(RawWebSocket::request("/", ""));
    let head = client.read_some().unwrap();
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") || head.starts_with("http/1.1 502"), "{head}");
    assert!(!head.contains("x-own"), "{head}");
}

#[test]
fn a_backend_that_is_not_there_is_a_502() {
    let gone = RefusingPort::new();
    let document = Document::new()
        .proxy(Proxy::new("nameless").path("/nameless").to(80).set("backend_host", "nowhere.invalid"))
        .proxy(Proxy::new("down").path("/").to(gone.port()));
    let gateway = Gateway::running(&document);
    let response = gateway.ask(RawWebSocket::request("/", ""));
    let text = r#"{"error":"Backend WebSocket connection failed"}"#;
    assert_eq!((response.status, response.text().as_str()), (502, text));
    let response = gateway.ask(RawWebSocket::request("/nameless", ""));
    let text = r#"{"error":"DNS resolution for backend failed"}"#;
    assert_eq!((response.status, response.text().as_str()), (502, text));
}

#[test]
fn the_connect_timeout_holds_for_the_handshake_too() {
    let backend = Backend::scripted(|connection| {
        connection.read_head();
        connection.wait_closed();
    });
    let proxy = Proxy::new("app").path("/").to(backend.port()).set("backend_connect_timeout_ms", 300);
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let begun = Instant::now();
    assert_eq!(gateway.ask(RawWebSocket::request("/", "")).status, 502);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn when_the_client_vanishes_the_backend_gets_a_close_and_the_end() {
    let (backend, frames) = listening();
    let gateway = Gateway::in_front_of(backend.port());
    for reset in [false, true] {
        let mut session = RawWebSocket::open(gateway.port(), "/", "");
        session.send(Frame::text("here"));
        assert_eq!(frames.recv_timeout(SOON).unwrap().unwrap().said(), "here");
        if reset {
            session.client.reset();
        } else {
            drop(session);
        }
        let rest = ends_at_backend(&frames);
        assert_eq!(rest.len(), 1, "a Close, and the end (reset: {reset}): {rest:?}");
        assert_eq!((rest[0].kind(), rest[0].payload.len()), (8, 0), "without a code (reset: {reset}): {rest:?}");
    }
}

#[test]
fn when_the_backend_vanishes_the_client_gets_the_end_soon() {
    for reset in [false, true] {
        let backend = Backend::scripted(move |connection| {
            let Some(mut session) = BackendWebSocket::accept(connection, "") else { return };
            session.frame();
            if reset {
                session.connection.reset();
            }
        });
        let gateway = Gateway::in_front_of(backend.port());
        let mut session = RawWebSocket::open(gateway.port(), "/", "");
        session.send(Frame::text("go"));
        let rest = ends(&mut session, "the backend has vanished");
        if !reset {
            assert!(matches!(&rest[..], [close] if close.kind() == 8 && close.payload.is_empty()), "{rest:?}");
        }
        assert!(rest.iter().all(|frame| frame.kind() == 8), "reset: {reset}: {rest:?}");
    }
}

#[test]
fn an_idle_session_stays_open_past_every_timeout_of_requests() {
    let server = server();
    let proxy = Proxy::new("app")
        .path("/")
        .to(server.port())
        .set("backend_read_timeout_ms", 200)
        .set("backend_write_timeout_ms", 200)
        .set("backend_connect_timeout_ms", 500);
    let gateway = Gateway::builder()
        .document(&Document::new().proxy(proxy))
        .env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1)
        .start();
    let mut client = client(&gateway);
    open(&mut client, "/");
    // The time itself is what is tested: twice the longest of them.
    std::thread::sleep(Duration::from_secs(2));
    echoes(&mut client, "still here");
}

#[test]
fn a_reload_does_not_interrupt_a_session() {
    let (server, other) = (server(), server());
    let gateway = Gateway::in_front_of(server.port());
    let mut client = client(&gateway);
    open(&mut client, "/");
    echoes(&mut client, "before");
    gateway.reload(&Document::all_to(other.port()));
    echoes(&mut client, "after");
    gateway.reload(&Document::new());
    echoes(&mut client, "its route is gone");
    let answer = client.ask(json!({"do": "close", "session": "a"}));
    assert_eq!(answer["code"], 1000);
    assert!(other.events("open").is_empty());
}

#[test]
fn a_shutdown_leaves_sessions_alone_until_its_time_is_up() {
    let server = server();
    let mut gateway =
        Gateway::builder().document(&Document::all_to(server.port())).env("FERRUM_SHUTDOWN_DRAIN_SECONDS", 2).start();
    let mut client = client(&gateway);
    open(&mut client, "/");
    echoes(&mut client, "before");
    gateway.signal(Signal::Terminate);
    gateway.wait_for_log(|text| text.starts_with("SIGTERM received"));
    echoes(&mut client, "during");
    assert_eq!(gateway.exit(SOON).code, Some(0));
    assert_eq!(receive(&mut client)["closed"], true);
}

#[test]
fn many_sessions_at_a_time_do_not_mix() {
    let server = server();
    let gateway = Gateway::in_front_of(server.port());
    let mut client = client(&gateway);
    let answer = client.ask(json!({"do": "many", "count": 64}));
    assert_eq!((&answer["good"], &answer["codes"]), (&json!(192), &json!([1000])), "{answer}");
    eventually("all have ended at the server", || (server.events("closed").len() == 64).then_some(()));
}

#[test]
fn large_messages_arrive_as_they_were_sent_both_ways() {
    let server = server();
    let gateway = Gateway::in_front_of(server.port());
    let mut client = client(&gateway);
    open(&mut client, "/sums");
    client.ask(json!({"do": "send", "session": "a", "size": 4 * MIB}));
    let sum = receive(&mut client)["text"].as_str().unwrap().to_owned();
    send(&mut client, &format!("!send {}", 4 * MIB));
    let answer = receive(&mut client);
    assert_eq!(answer["size"], 4 * MIB);
    assert!(sum.contains(answer["sha256"].as_str().unwrap()), "both made the same bytes: {sum} {answer}");
    let small = client.ask(json!({"do": "ping", "session": "a", "data": "x"}));
    assert_eq!(small["pong"], true);
}

#[test]
fn a_client_that_does_not_read_stops_the_backend_and_not_the_memory() {
    let (sender, sent) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(session) = BackendWebSocket::accept(connection, "") else { return };
        let frame = Frame::binary(vec![6; MIB]).bytes();
        let mut count = 0;
        while count < 128 && session.connection.send(&frame) {
            count += 1;
        }
        sender.send(count).ok();
    });
    let gateway = Gateway::in_front_of(backend.port());
    let before = gateway.resident_bytes();
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    let most = gateway.most_memory_during(|| {
        assert!(sent.recv_timeout(Duration::from_secs(2)).is_err(), "the backend has to wait for the client");
    });
    assert!(most.saturating_sub(before) < 48 * MIB as u64, "{} MiB more", most.saturating_sub(before) / MIB as u64);
    for _ in 0..128 {
        assert_eq!(session.frame().expect("all of it arrives").payload.len(), MIB);
    }
    assert_eq!(sent.recv_timeout(SOON), Ok(128));
}

#[test]
fn a_tunnel_passes_bytes_as_they_are() {
    let (sender, bytes) = mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        let Some(session) = BackendWebSocket::accept(connection, "") else { return };
        loop {
            let some = session.connection.read_some();
            if some.is_empty() {
                return;
            }
            session.connection.send(&some);
            sender.send(some).ok();
        }
    });
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_WEBSOCKET_TUNNEL_MODE", true)
        .env("FERRUM_MAX_WEBSOCKET_FRAME_SIZE_BYTES", 1_000)
        .start();
    let mut session = RawWebSocket::open(gateway.port(), "/", "");
    let strange =
        [Frame::text("no mask, and all bits").with_bits(0x70).bytes(), vec![0; 5_000], vec![0xff; 3]].concat();
    session.client.send(&strange);
    let mut arrived = Vec::new();
    while arrived.len() < strange.len() {
        arrived.extend(bytes.recv_timeout(SOON).expect("the bytes arrive"));
    }
    assert!(arrived == strange);
    let mut back = Vec::new();
    while back.len() < strange.len() {
        back.extend(session.client.read_some().expect("the bytes come back"));
    }
    assert!(back == strange);
    drop(session);
    eventually("the end passes too", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn a_tunnel_carries_sessions_of_a_real_client() {
    let server = server();
    let gateway =
        Gateway::builder().document(&Document::all_to(server.port())).env("FERRUM_WEBSOCKET_TUNNEL_MODE", true).start();
    let mut client = client(&gateway);
    let answer = open(&mut client, "/sums");
    assert_eq!(answer["extensions"], json!([]));
    send(&mut client, &format!("!send {}", 4 * MIB));
    assert_eq!(receive(&mut client)["size"], 4 * MIB);
    let answer = client.ask(json!({"do": "close", "session": "a", "code": 4002, "reason": "bye"}));
    assert_eq!((&answer["code"], &answer["reason"]), (&json!(4002), &json!("bye")));
}

#[test]
fn the_record_is_written_when_the_session_begins() {
    let backend = Backend::scripted(echo);
    let gone = RefusingPort::new();
    let document = Document::new()
        .proxy(Proxy::new("app").path("/").to(backend.port()))
        .proxy(Proxy::new("down").path("/down").to(gone.port()))
        .global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    let mut session = RawWebSocket::open(gateway.port(), "/live", "");
    let record = gateway.wait_for_record(|record| record["proxy_id"] == "app");
    assert_eq!((&record["response_status_code"], &record["http_method"]), (&json!(101), &json!("GET")), "{record}");
    assert_eq!(record["request_path"], "/live");
    session.send(Frame::text("it goes on"));
    assert_eq!(session.frame().unwrap().said(), "it goes on");
    session.send(Frame::close(1000, ""));
    ends(&mut session, "both have said Close");

    assert_eq!(gateway.ask(RawWebSocket::request("/down", "")).status, 502);
    let record = gateway.wait_for_record(|record| record["proxy_id"] == "down");
    assert_eq!(record["response_status_code"], 502, "{record}");
    assert_eq!(record["metadata"]["rejection_phase"], "websocket_backend_error", "{record}");
    assert_eq!(record["error_class"], "connection_refused", "{record}");
    let records = gateway.records().into_iter().filter(|record| record["proxy_id"] == "app").count();
    assert_eq!(records, 1, "the session's end makes no second record of the upgrade");
}

#[test]
fn whoever_is_not_known_gets_401_before_the_backend_is_asked() {
    let backend = Backend::scripted(echo);
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "key_auth", json!({}))
        .consumer(json!({"id": "c", "username": "alice", "credentials": {"keyauth": [{"key": "k-1"}]}}));
    let gateway = Gateway::running(&document);
    let response = gateway.ask(RawWebSocket::request("/", ""));
    assert_eq!((response.status, response.text().as_str()), (401, r#"{"error":"Authentication required"}"#));
    assert_eq!(gateway.ask(RawWebSocket::request("/", "X-API-Key: wrong\r\n")).status, 401);
    backend.expect_untouched();
    let mut session = RawWebSocket::open(gateway.port(), "/", "X-API-Key: k-1\r\n");
    session.send(Frame::text("in"));
    assert_eq!(session.frame().unwrap().said(), "in");
    assert_eq!(backend.only_request().header("x-consumer-username"), Some("alice"));
}

#[test]
fn a_session_does_not_hold_its_clients_place_among_requests() {
    let backend = Backend::scripted(echo);
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_MAX_CONCURRENT_REQUESTS_PER_IP", 1)
        .start();
    let _first = RawWebSocket::open(gateway.port(), "/", "");
    let _second = RawWebSocket::open(gateway.port(), "/", "");
}

const CONNECT: [(&str, &str); 1] = [("sec-websocket-version", "13")];

fn field<'a>(block: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = block.as_array()?;
    pairs.iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str())
}

fn h2_client(gateway: &Gateway) -> Peer {
    Peer::start("h2_client.py", &[&gateway.port().to_string()])
}

#[test]
fn a_session_over_http_2_is_offered_and_works_in_the_clear_and_under_tls() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::scripted(echo);
    let gateway = secured(Gateway::builder().document(&Document::all_to(backend.port())), &identity).start();
    for (name, mut client) in [("h2c", h2_client(&gateway)), ("TLS", tls_client("h2_client.py", &gateway, &authority))]
    {
        assert_eq!(client.ask(json!({"do": "settings"}))["connect"], 1, "{name}: RFC 8441 is announced");
        let mut session = Http2WebSocket::open(client, "/live?x=1", &CONNECT);
        for absent in ["sec-websocket-accept", "upgrade", "connection", "content-length", "sec-websocket-extensions"] {
            assert_eq!(field(&session.head, absent), None, "{name}: {absent} in {}", session.head);
        }
        for length in [0, 1, 126, 70_000, MIB] {
            let frame = Frame::binary(vec![9; length]);
            session.send(frame.clone());
            assert!(session.frame() == Some(frame), "{name}: {length} bytes came back differently");
        }
        session.send(Frame::text("text").unfinished());
        session.send(Frame::continuation(" in two"));
        let mut text = String::new();
        while text != "text in two" {
            text.push_str(&session.frame().expect("the text").said());
        }
        session.send(Frame::close(4003, "enough"));
        assert_eq!(session.frame(), Some(Frame::close(4003, "enough")), "{name}");
        assert_eq!(session.frame(), None, "{name}: and then the stream ends");
    }
    let request = &backend.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/live?x=1"));
    assert!(request.headers.lists("upgrade", "websocket") && request.headers.has("sec-websocket-key"), "{request:?}");
    assert_eq!(request.headers.all("sec-websocket-version"), ["13"]);
}

#[test]
fn requests_and_sessions_share_an_http_2_connection() {
    let backend = Backend::scripted(|connection| {
        let Some(request) = connection.read_head() else { return };
        if !request.headers.has("upgrade") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            return;
        }
        let accept = websocket_accept(request.header("sec-websocket-key").unwrap());
        connection.send(format!(
            "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        ));
        let mut frames = FrameReader::default();
        while let Some(frame) = frames.next(|| connection.read_some()) {
            connection.send(Frame { mask: None, ..frame }.bytes());
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut first = Http2WebSocket::open(h2_client(&gateway), "/1", &CONNECT);
    let answer = first.client.ask(Http2WebSocket::request("/2", &CONNECT));
    let (one, two) = (first.stream, answer["stream"].as_u64().unwrap());
    for (stream, text) in [(one, "a"), (two, "b"), (one, "c"), (two, "d")] {
        first.stream = stream;
        first.send(Frame::text(text));
        assert_eq!(first.frame().unwrap().said(), text);
        let plain = first.client.ask(json!({"do": "request", "pseudo": {":path": "/plain"}}));
        assert_eq!((field(&plain["headers"], ":status"), &plain["body"]), (Some("200"), &json!("6f6b")), "{plain}");
    }
}

#[test]
fn the_ends_of_an_http_2_session_reach_the_other_side() {
    let (backend, frames) = listening();
    let gateway = Gateway::in_front_of(backend.port());
    for end in ["reset", "end"] {
        let mut session = Http2WebSocket::open(h2_client(&gateway), "/", &CONNECT);
        session.send(Frame::text("here"));
        assert_eq!(frames.recv_timeout(SOON).unwrap().unwrap().said(), "here");
        session.client.ask(json!({"do": end, "stream": session.stream}));
        let rest = ends_at_backend(&frames);
        assert!(matches!(&rest[..], [close] if close.kind() == 8), "{end}: {rest:?}");
    }
    let mut session = Http2WebSocket::open(h2_client(&gateway), "/", &CONNECT);
    session.send_bytes(&Frame::text("no mask").bytes());
    let rest = ends_at_backend(&frames);
    assert!(rest.iter().all(|frame| frame.kind() == 8), "no mask: {rest:?}");
    while let Some(frame) = session.frame() {
        assert_eq!(frame.kind(), 8);
    }
    let vanishing = Backend::scripted(|connection| drop(BackendWebSocket::accept(connection, "")));
    let gateway = Gateway::in_front_of(vanishing.port());
    let mut session = Http2WebSocket::open(h2_client(&gateway), "/", &CONNECT);
    let rest: Vec<Frame> = std::iter::from_fn(|| session.frame()).collect();
    assert!(matches!(&rest[..], [close] if close.kind() == 8 && close.payload.is_empty()), "{rest:?}");
}

#[test]
fn an_http_2_session_gets_the_subprotocol_the_backend_chose() {
    let backend = Backend::scripted(|connection| {
        if let Some(mut session) = BackendWebSocket::accept(connection, "Sec-WebSocket-Protocol: b\r\n") {
            while session.frame().is_some() {}
        }
    });
    let gateway = Gateway::in_front_of(backend.port());
    let headers = [CONNECT[0], ("sec-websocket-protocol", "a, b")];
    let session = Http2WebSocket::open(h2_client(&gateway), "/", &headers);
    assert_eq!(field(&session.head, "sec-websocket-protocol"), Some("b"), "{}", session.head);
    assert_eq!(backend.wait_for_requests(1)[0].header("sec-websocket-protocol"), Some("a, b"));
}

#[test]
fn http_2_sessions_are_refused_like_the_others() {
    let backend = Backend::scripted(echo);
    let gone = RefusingPort::new();
    let document = Document::new()
        .proxy(Proxy::new("app").path("/").to(backend.port()))
        .proxy(Proxy::new("keyed").path("/keyed").to(backend.port()))
        .proxy(
            Proxy::new("choosy").path("/choosy").to(backend.port()).set("allowed_ws_origins", json!(["https://a.b"])),
        )
        .proxy(Proxy::new("down").path("/down").to(gone.port()))
        .proxy_plugin("keyed", "key_auth", json!({}))
        .global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::builder().document(&document).env("FERRUM_WEBSOCKET_MAX_CONNECTIONS", 1).start();
    let mut client = h2_client(&gateway);
    let mut refused = |path: &str, headers: &[(&str, &str)], status: &str, error: &str| {
        let mut ask = Http2WebSocket::request(path, headers);
        ask["end"] = json!(false);
        let answer = client.ask(ask);
        assert_eq!(field(&answer["headers"], ":status"), Some(status), "{path}: {answer}");
        let body = client.ask(json!({"do": "receive", "stream": answer["stream"]}));
        let text: String = format!("{{\"error\":\"{error}\"}}").bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(body["data"], text, "{path}: {body}");
    };
    refused("/down", &CONNECT, "502", "Backend WebSocket connection failed");
    refused("/keyed", &CONNECT, "401", "Authentication required");
    refused("/choosy", &CONNECT, "403", "WebSocket Origin not allowed");
    backend.expect_untouched();
    let _open = RawWebSocket::open(gateway.port(), "/", "");
    refused("/", &CONNECT, "503", "WebSocket connection limit exceeded");
    let record = gateway.wait_for_record(|record| record["proxy_id"] == "down");
    assert_eq!((&record["http_method"], &record["response_status_code"]), (&json!("CONNECT"), &json!(502)), "{record}");
}

#[test]
fn a_connect_that_is_no_websocket_is_refused() {
    let backend = Backend::scripted(echo);
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = h2_client(&gateway);
    let mut ask = Http2WebSocket::request("/", &CONNECT);
    ask["pseudo"][":protocol"] = json!("connect-udp");
    let answer = client.ask(ask);
    assert_eq!(field(&answer["headers"], ":status"), Some("405"), "{answer}");
    backend.expect_untouched();
}

#[test]
fn the_record_of_an_http_2_session_has_its_method_and_status() {
    let backend = Backend::scripted(echo);
    let document = Document::all_to(backend.port()).global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    let _session = Http2WebSocket::open(h2_client(&gateway), "/live", &CONNECT);
    let record = gateway.wait_for_record(|record| record["proxy_id"] == "app");
    assert_eq!((&record["response_status_code"], &record["http_method"]), (&json!(200), &json!("CONNECT")), "{record}");
}
