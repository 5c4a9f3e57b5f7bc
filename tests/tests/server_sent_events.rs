//! Streams of events: each reaches its client when it happens, whatever stands between.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Authority, Backend, Document, Gateway, GatewayBuilder, Identity, Peer, Proxy, eventually};

const HOST: &str = "events.example.com";
/// Longer than an event takes, shorter than anything that would be told as a stream's end.
const SOON: Duration = Duration::from_secs(10);

/// curl on an event stream; its lines arrive as curl writes them.
struct Listener {
    curl: Child,
    lines: Receiver<String>,
}

impl Listener {
    fn start(arguments: &[&str]) -> Self {
        let mut curl = Command::new("curl")
            .args(["--silent", "--no-buffer", "--noproxy", "*", "--max-time", "60", "-H", "Accept: text/event-stream"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is needed: apt-get install curl");
        let output = BufReader::new(curl.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { curl, lines }
    }

    /// The next event.
    #[track_caller]
    fn next(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(SOON).unwrap_or_else(|end| panic!("no event: {end}"));
            if let Some(event) = line.strip_prefix("data: ") {
                return event.to_owned();
            }
        }
    }

    /// Reads on to the end of the stream and gives curl's exit code.
    fn end(&mut self) -> i32 {
        while self.lines.recv_timeout(SOON).is_ok() {}
        eventually("curl ends", || self.curl.try_wait().unwrap()).code().expect("an exit code")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.curl.kill());
        drop(self.curl.wait());
    }
}

/// A backend whose events the test sends: one on each connection for each text, and the end when the sender goes.
fn backend_of(head: &'static str) -> (Backend, Sender<String>) {
    let (sender, events) = mpsc::channel::<String>();
    let events = Arc::new(Mutex::new(events));
    let backend = Backend::scripted(move |connection| {
        let Some(_) = connection.read_request() else { return };
        let is_chunked = head.contains("chunked");
        connection.send(head);
        while let Ok(event) = events.lock().unwrap().recv() {
            let event = format!("data: {event}\n\n");
            let bytes = if is_chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event };
            if !connection.send(bytes) {
                return;
            }
        }
        connection.send(if is_chunked { "0\r\n\r\n" } else { "" });
    });
    (backend, sender)
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

fn endless(port: u16) -> Proxy {
    Proxy::new("app").path("/").to(port).set("backend_read_timeout_ms", 0)
}

fn secured(builder: GatewayBuilder, identity: &Identity) -> GatewayBuilder {
    builder
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", identity.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", identity.key.display())
}

/// The ways in: HTTP/1.1 and HTTP/2, in the clear and under TLS.
fn ways(gateway: &Gateway, authority: &Authority) -> Vec<(&'static str, Vec<String>)> {
    let plain = format!("http://127.0.0.1:{}/events", gateway.port());
    let port = gateway.https_port();
    let encrypted = format!("https://{HOST}:{port}/events");
    let (ca, resolve) = (authority.bundle().display().to_string(), format!("{HOST}:{port}:127.0.0.1"));
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        ("HTTP/1.1", own(&["--http1.1", &plain])),
        ("h2c", own(&["--http2-prior-knowledge", &plain])),
        ("HTTP/1.1 under TLS", own(&["--http1.1", "--cacert", &ca, "--resolve", &resolve, &encrypted])),
        ("HTTP/2 under TLS", own(&["--http2", "--cacert", &ca, "--resolve", &resolve, &encrypted])),
    ]
}

fn listen(way: &[String]) -> Listener {
    Listener::start(&way.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn each_event_arrives_before_the_next_one_is_sent() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let closing = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    for (framing, head) in [("chunked", CHUNKED), ("until the close", closing)] {
        for at in 0..4 {
            let (backend, sender) = backend_of(head);
            let document = Document::new().proxy(endless(backend.port()));
            let gateway = secured(Gateway::builder().document(&document), &identity).start();
            let (name, way) = ways(&gateway, &authority).swap_remove(at);
            let mut listener = listen(&way);
            for event in ["first", "second", "third"] {
                sender.send(event.to_owned()).unwrap();
                assert_eq!(listener.next(), event, "{framing} to {name}");
            }
            drop(sender);
            assert_eq!(listener.end(), 0, "{framing} to {name}: the end is an end");
        }
    }
}

#[test]
fn each_event_of_an_http_2_backend_arrives_before_the_next_one_is_sent() {
    let authority = Authority::new();
    let (front, back) = (authority.issue(&[HOST]), authority.issue(&["127.0.0.1"]));
    let arguments = [back.certificate.to_str().unwrap(), back.key.to_str().unwrap()];
    let mut server = Peer::start("event_server.py", &arguments);
    let proxy = endless(server.port())
        .set("backend_scheme", "https")
        .set("backend_tls_server_ca_cert_path", authority.bundle().display().to_string());
    let gateway = secured(Gateway::builder().document(&Document::new().proxy(proxy)), &front).start();
    let mut listeners: Vec<_> =
        ways(&gateway, &authority).into_iter().map(|(name, way)| (name, listen(&way))).collect();
    eventually("all four are there", || (server.events("request").len() == 4).then_some(()));
    for event in ["first", "second", "third"] {
        server.ask(json!({"do": "say", "text": event}));
        for (name, listener) in &listeners {
            assert_eq!(listener.next(), event, "{name}");
        }
    }
    drop(listeners.pop());
    server.wait_for(|line| line["event"] == "over");
    server.ask(json!({"do": "finish"}));
    for (name, listener) in &mut listeners {
        assert_eq!(listener.end(), 0, "{name}");
    }
}

#[test]
fn events_of_a_known_length_below_the_cutoff_do_not_wait_for_each_other() {
    // Three events of 13 bytes.
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nContent-Length: 39\r\n\r\n";
    for arguments in ["--http1.1", "--http2-prior-knowledge"] {
        let (backend, sender) = backend_of(head);
        let gateway = Gateway::builder()
            .document(&Document::new().proxy(endless(backend.port())))
            .env("FERRUM_RESPONSE_BUFFER_CUTOFF_BYTES", 65_536)
            .start();
        let mut listener = Listener::start(&[arguments, &format!("http://127.0.0.1:{}/", gateway.port())]);
        for event in ["one..", "two..", "three"] {
            sender.send(event.to_owned()).unwrap();
            assert_eq!(listener.next(), event, "{arguments}");
        }
        assert_eq!(listener.end(), 0, "{arguments}");
    }
}

#[test]
fn a_stream_without_a_read_timeout_outlives_silence_and_one_with_it_is_cut() {
    for arguments in ["--http1.1", "--http2-prior-knowledge"] {
        let (backend, sender) = backend_of(CHUNKED);
        let gateway = Gateway::builder()
            .document(&Document::new().proxy(endless(backend.port())))
            .env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1)
            .start();
        let url = format!("http://127.0.0.1:{}/", gateway.port());
        let listener = Listener::start(&[arguments, &url]);
        sender.send("before".to_owned()).unwrap();
        assert_eq!(listener.next(), "before");
        // The silence itself is what is tested: longer than the shortest timeout there is.
        std::thread::sleep(Duration::from_secs(2));
        sender.send("after".to_owned()).unwrap();
        assert_eq!(listener.next(), "after", "{arguments}");

        let (backend, sender) = backend_of(CHUNKED);
        let proxy = endless(backend.port()).set("backend_read_timeout_ms", 500);
        let gateway = Gateway::running(&Document::new().proxy(proxy));
        let mut listener = Listener::start(&[arguments, &format!("http://127.0.0.1:{}/", gateway.port())]);
        let begun = Instant::now();
        sender.send("before".to_owned()).unwrap();
        assert_eq!(listener.next(), "before");
        assert_ne!(listener.end(), 0, "{arguments}: a cut stream does not look whole");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        drop(sender);
    }
}

#[test]
fn the_limit_of_responses_holds_for_events_too() {
    for arguments in ["--http1.1", "--http2-prior-knowledge"] {
        let (backend, sender) = backend_of(CHUNKED);
        let gateway = Gateway::builder()
            .document(&Document::new().proxy(endless(backend.port())))
            .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 100)
            .start();
        let mut listener = Listener::start(&[arguments, &format!("http://127.0.0.1:{}/", gateway.port())]);
        sender.send("small".to_owned()).unwrap();
        assert_eq!(listener.next(), "small");
        sender.send("x".repeat(100)).unwrap();
        assert_ne!(listener.end(), 0, "{arguments}");
    }
}

#[test]
fn a_listener_that_leaves_ends_the_stream_at_the_backend() {
    for arguments in ["--http1.1", "--http2-prior-knowledge"] {
        let (backend, sender) = backend_of(CHUNKED);
        let gateway = Gateway::running(&Document::new().proxy(endless(backend.port())));
        let listener = Listener::start(&[arguments, &format!("http://127.0.0.1:{}/", gateway.port())]);
        sender.send("hello".to_owned()).unwrap();
        assert_eq!(listener.next(), "hello");
        drop(listener);
        eventually("the backend cannot send any more", || {
            sender.send("anybody?".to_owned()).ok();
            (backend.open_connections() == 0).then_some(())
        });
    }
}

#[test]
fn many_listeners_each_get_their_own_events() {
    const LISTENERS: usize = 32;
    let backend = Backend::scripted(|connection| {
        while let Some(request) = connection.read_request() {
            connection.send(CHUNKED);
            for turn in 0..20 {
                let event = format!("data: {} {turn}\n\n", request.target);
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            }
            connection.send("0\r\n\r\n");
        }
    });
    let gateway = Gateway::running(&Document::new().proxy(endless(backend.port())));
    let mut listeners: Vec<_> = (0..LISTENERS)
        .map(|n| {
            let version = if n % 2 == 0 { "--http1.1" } else { "--http2-prior-knowledge" };
            Listener::start(&[version, &format!("http://127.0.0.1:{}/{n}", gateway.port())])
        })
        .collect();
    for (n, listener) in listeners.iter_mut().enumerate() {
        for turn in 0..20 {
            assert_eq!(listener.next(), format!("/{n} {turn}"));
        }
        assert_eq!(listener.end(), 0, "{n}");
    }
}
