//! Bodies flow through: nothing waits for the end, nothing piles up, whoever stops stops the other side.

use std::time::Duration;

use tests::{Backend, Document, Fault, Gate, Gateway, GatewayBuilder, Proxy, Reply, eventually};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 256 * MIB;

/// What may pile up between two sides that do not read: socket buffers of four ends and the gateway's own.
const IN_FLIGHT_MAX: u64 = 48 * MIB;

/// A gateway without body limits and without a time limit for the backend.
fn boundless(backend: &Backend) -> Gateway {
    boundless_builder(backend).start()
}

/// The same on one core with that event loop.
fn boundless_on(reactor: &str, backend: &Backend) -> Gateway {
    boundless_builder(backend).env("FERRUM_REACTOR", reactor).env("FERRUM_CORES", 0).start()
}

fn boundless_builder(backend: &Backend) -> GatewayBuilder {
    let proxy = Proxy::new("app").path("/").set("backend_read_timeout_ms", 0).to(backend.port());
    Gateway::builder()
        .document(&Document::new().proxy(proxy))
        .env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 0)
        .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 0)
}

#[test]
fn events_arrive_one_by_one_as_they_happen() {
    let next = [Gate::new(), Gate::new()];
    let gates = next.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.send("9\r\ndata: 1\n\n\r\n");
        gates[0].wait();
        connection.send("9\r\ndata: 2\n\n\r\n");
        gates[1].wait();
        connection.send("9\r\ndata: 3\n\n\r\n0\r\n\r\n");
        connection.wait_closed();
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    assert_eq!(client.head().header("content-type"), Some("text/event-stream"));
    assert_eq!(client.chunk(), b"data: 1\n\n", "the second event has not happened yet");
    next[0].open();
    assert_eq!(client.chunk(), b"data: 2\n\n");
    next[1].open();
    assert_eq!(client.chunk(), b"data: 3\n\n");
    assert!(client.chunk().is_empty(), "the end");
}

#[test]
fn the_head_arrives_before_the_body_has_begun() {
    let go = Gate::new();
    let gate = go.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        gate.wait();
        connection.send(vec![b'x'; 100_000]);
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("100000")));
    go.open();
    assert_eq!(client.count_body(&head), Ok(100_000));
}

#[test]
fn the_backend_gets_the_first_bytes_of_an_upload_before_the_last_were_sent() {
    let (sender, arrived) = std::sync::mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        connection.read_head();
        sender.send(!connection.read_some().is_empty()).ok();
        connection.wait_closed();
    });
    let gateway = boundless(&backend);
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = gateway.raw();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n5\r\nhello\r\n"));
        assert_eq!(arrived.recv_timeout(Duration::from_secs(20)), Ok(true), "{head}");
    }
}

#[test]
fn a_large_download_does_not_stay_in_memory() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let block = vec![b'd'; MIB as usize];
        (0..LARGE / MIB).all(|_| connection.send(&block));
    });
    let gateway = boundless(&backend);
    let before = gateway.resident_bytes();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    let most = gateway.most_memory_during(|| assert_eq!(client.count_body(&head), Ok(LARGE)));
    let grown = most.saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB more in memory during a download of 256 MiB", grown / MIB);
}

/// Bytes of which no two places are alike for long, so that a piece that is missing, doubled or swapped shows.
fn numbered(length: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_be_bytes).take(length).collect()
}

#[test]
fn a_body_of_any_length_arrives_as_it_was_sent_and_both_connections_go_on() {
    let lengths = [65_536, 65_537, 131_071, 131_072, 131_073, 200_000, 262_144, 1_048_576, 3_000_001];
    for reactor in ["io_uring", "epoll"] {
        let backend = Backend::replying(|request| {
            let length = request.target.trim_start_matches('/').parse().expect("a length");
            Reply::new(200).body(numbered(length))
        });
        let gateway = boundless_on(reactor, &backend);
        let mut client = gateway.raw();
        for length in lengths {
            let response = client.get(&format!("/{length}"));
            assert!(response.body == numbered(length), "{length} bytes on {reactor} differ");
        }
        assert_eq!(backend.connections(), 1, "{reactor}");
    }
}

#[test]
fn a_long_body_reaches_an_old_client_up_to_the_close() {
    let backend = Backend::replying(|_| Reply::new(200).body(numbered(500_000)));
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.response().body == numbered(500_000));
    client.expect_closed();
}

#[test]
fn a_long_body_that_comes_in_crumbs_is_passed_on_crumb_by_crumb() {
    let next = [Gate::new(), Gate::new()];
    let gates = next.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        gates[0].wait();
        connection.send("crumb");
        gates[1].wait();
        connection.send(vec![b'x'; 999_995]);
        connection.wait_closed();
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    next[0].open();
    assert_eq!(client.read_some().as_deref(), Ok(b"crumb".as_slice()), "nothing waits for more");
    next[1].open();
    let mut rest = 0;
    while rest < 999_995 {
        rest += client.read_some().expect("the rest").len();
    }
    assert_eq!(rest, 999_995);
}

#[test]
fn a_long_body_that_breaks_off_reaches_the_client_broken_off() {
    for reset in [false, true] {
        let backend = Backend::scripted(move |connection| {
            connection.read_request();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            connection.send(vec![b'x'; 600_000]);
            if reset {
                connection.reset();
            }
        });
        let gateway = boundless(&backend);
        let mut client = gateway.raw();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.head();
        assert!(client.count_body(&head).is_err(), "a cut body must not look whole (reset: {reset})");
    }
}

#[test]
fn bytes_behind_a_long_body_are_nobodys_and_cost_the_backend_its_connection() {
    let backend = Backend::scripted(|connection| {
        while connection.read_request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
            connection.send([numbered(300_000), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec()].concat());
        }
    });
    let proxy = Proxy::new("app").path("/").to(backend.port());
    let gateway = Gateway::builder().document(&Document::new().proxy(proxy)).env("FERRUM_CORES", 0).start();
    let mut client = gateway.raw();
    for _ in 0..3 {
        assert!(client.get("/").body == numbered(300_000));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_large_upload_does_not_stay_in_memory() {
    let backend = Backend::scripted(|connection| {
        let head = connection.read_head().expect("a request");
        let (count, _) = connection.count_body(&head);
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Count: {count}\r\n\r\n"));
    });
    let gateway = boundless(&backend);
    let before = gateway.resident_bytes();
    let mut client = gateway.raw();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let most = gateway.most_memory_during(|| {
        let block = vec![b'u'; MIB as usize];
        for _ in 0..LARGE / MIB {
            client.send(&block);
        }
        assert_eq!(client.response().header("x-count"), Some(LARGE.to_string().as_str()));
    });
    let grown = most.saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB more in memory during an upload of 256 MiB", grown / MIB);
}

#[test]
fn a_client_that_does_not_read_stops_the_backend() {
    let (sender, taken) = std::sync::mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
        sender.send(connection.flood(Duration::from_secs(1))).ok();
    });
    let gateway = boundless(&backend);
    let before = gateway.resident_bytes();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let (bytes, end) = taken.recv_timeout(Duration::from_secs(30)).expect("the backend is stopped");
    assert_eq!(end, Fault::TimedOut, "the backend is made to wait and not cut off");
    assert!(bytes < IN_FLIGHT_MAX, "{} MiB were taken for a client that reads nothing", bytes / MIB);
    assert!(gateway.resident_bytes() < before + 32 * MIB);
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let hold = Gate::new();
    let held = hold.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_head();
        held.wait();
    });
    let gateway = boundless(&backend);
    let before = gateway.resident_bytes();
    let mut client = gateway.raw().with_patience(Duration::from_secs(1));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000\r\n\r\n");
    let block = vec![b'u'; MIB as usize];
    let taken = (0..IN_FLIGHT_MAX / MIB).map(|_| client.try_send(&block)).position(|sent| sent.is_err());
    let end = client.try_send(&block);
    hold.open();
    assert!(taken.is_some(), "{} MiB were taken for a backend that reads nothing", IN_FLIGHT_MAX / MIB);
    assert_eq!(end, Err(Fault::TimedOut), "the client is made to wait and not cut off");
    assert!(gateway.resident_bytes() < before + 32 * MIB);
}

#[test]
fn an_answer_that_comes_during_the_upload_is_passed_on_at_once() {
    let backend = Backend::scripted(|connection| {
        connection.read_head();
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        connection.wait_closed();
    });
    let gateway = boundless(&backend);
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.raw();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (403, "no"), "{framing}");
    }
}

#[test]
fn an_upload_goes_on_while_the_answer_is_already_streaming() {
    let backend = Backend::scripted(|connection| {
        let head = connection.read_head().expect("a request");
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        let (count, _) = connection.count_body(&head);
        let last = count.to_string();
        connection.send(format!("{:x}\r\n{last}\r\n0\r\n\r\n", last.len()));
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk(), b"first");
    client.send("56789");
    assert_eq!(client.chunk(), b"10", "the backend got all ten bytes");
}

/// A backend that does `before` and then tells whether the gateway closed its connection.
fn tells_of_close(
    before: impl Fn(&mut tests::Connection) + Send + Sync + 'static,
) -> (Backend, std::sync::mpsc::Receiver<bool>) {
    let (sender, closed) = std::sync::mpsc::channel();
    let backend = Backend::scripted(move |connection| {
        before(connection);
        sender.send(connection.wait_closed()).ok();
    });
    (backend, closed)
}

#[test]
fn a_client_that_leaves_before_the_answer_cancels_the_backends_work() {
    for reset in [false, true] {
        let (backend, closed) = tells_of_close(|connection| drop(connection.read_request()));
        let gateway = boundless(&backend);
        let mut client = gateway.raw();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        backend.wait_for_requests(1);
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        let told = closed.recv_timeout(Duration::from_secs(30));
        assert_eq!(told, Ok(true), "the backend sees the client go (reset: {reset})");
    }
}

#[test]
fn a_client_that_leaves_is_noticed_behind_bytes_it_sent_ahead() {
    let (backend, closed) = tells_of_close(|connection| drop(connection.read_request()));
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next");
    backend.wait_for_requests(1);
    drop(client);
    assert_eq!(closed.recv_timeout(Duration::from_secs(30)), Ok(true), "the backend sees the client go");
}

#[test]
fn a_client_that_leaves_during_the_answer_cancels_the_backends_work() {
    let (backend, closed) = tells_of_close(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk(), b"first");
    client.reset();
    assert_eq!(closed.recv_timeout(Duration::from_secs(30)), Ok(true), "the backend sees the client go");
}

#[test]
fn a_client_that_leaves_during_its_upload_leaves_no_whole_request_behind() {
    let (backend, closed) = tells_of_close(|connection| {
        let request = connection.read_request().expect("a request");
        assert!(!request.complete);
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello");
    eventually("the backend is dialled", || (backend.connections() == 1).then_some(()));
    client.reset();
    assert_eq!(closed.recv_timeout(Duration::from_secs(30)), Ok(true));
    assert!(!backend.only_request().complete);
}

#[test]
fn a_client_that_starts_to_read_late_gets_everything() {
    const SIZE: u64 = 2 * IN_FLIGHT_MAX;
    let stalled = Gate::new();
    let opened = stalled.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let (taken, _) = connection.flood(Duration::from_millis(500));
        opened.open();
        connection.send(vec![b'x'; usize::try_from(SIZE - taken).expect("less than was promised")]);
        connection.wait_closed();
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    stalled.wait();
    assert_eq!(client.count_body(&head), Ok(SIZE));
}

#[test]
fn a_client_that_does_not_read_delays_nobody_else() {
    for reactor in ["io_uring", "epoll"] {
        let (full, filled) = std::sync::mpsc::channel();
        let backend = Backend::scripted(move |connection| {
            while let Some(request) = connection.read_request() {
                if request.target == "/quick" {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick");
                    continue;
                }
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
                connection.flood(Duration::from_secs(1));
                full.send(()).ok();
                connection.wait_closed();
                return;
            }
        });
        let gateway = boundless_on(reactor, &backend);
        let mut stuck = gateway.raw();
        stuck.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(stuck.head().status, 200);
        backend.wait_for_requests(1);
        // While both sides' buffers fill up, and when they have been full for a while.
        while filled.try_recv().is_err() {
            assert_eq!(gateway.get("/quick").text(), "quick", "{reactor}");
        }
        assert_eq!(gateway.get("/quick").text(), "quick", "{reactor}");
    }
}

#[test]
fn a_cut_body_without_a_length_ends_in_a_reset() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    });
    let gateway = boundless(&backend);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let end = loop {
        match client.read_some() {
            Ok(bytes) if bytes.is_empty() => break None,
            Ok(_) => {}
            Err(fault) => break Some(fault),
        }
    };
    assert_eq!(end, Some(Fault::Reset), "an end that a client could take for the body's");
}
