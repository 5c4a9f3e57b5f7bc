//! SIGTERM: what is in flight is finished within its time, everything else ends at once, the exit code is 0.

use std::time::{Duration, Instant};

use tests::http2::{ErrorCode, Http2Client};
use tests::{Backend, Document, Fault, Gate, Gateway, RawClient, Reply, Response, Signal, eventually};

/// A backend that answers when its gate opens, and a gateway in front of it that drains for so many seconds.
fn slow_pair(drain_seconds: u64) -> (Backend, Gate, Gateway) {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |_| {
        held.wait();
        Reply::text("finished")
    });
    let document = Document::all_to(backend.port());
    let gateway = Gateway::builder().document(&document).env("FERRUM_SHUTDOWN_DRAIN_SECONDS", drain_seconds).start();
    (backend, gate, gateway)
}

fn in_flight(gateway: &Gateway, backend: &Backend) -> RawClient {
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    client
}

#[test]
fn an_idle_gateway_ends_promptly_and_cleanly() {
    for (signal, announced) in [(Signal::Terminate, "SIGTERM"), (Signal::Interrupt, "SIGINT")] {
        let mut gateway = Gateway::running(&Document::new());
        gateway.signal(signal);
        let exit = gateway.exit(Duration::from_secs(5));
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let message = format!("{announced} received, initiating graceful shutdown...");
        assert!(exit.stdout.contains(&message), "{}", exit.stdout);
        assert!(exit.stdout.contains("Ferrum Edge shut down cleanly"), "{}", exit.stdout);
    }
}

#[test]
fn idle_connections_are_closed_and_do_not_hold_the_gateway() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::in_front_of(backend.port());
    let mut used = gateway.raw();
    assert_eq!(used.get("/").status, 200);
    let mut fresh = gateway.raw();
    gateway.signal(Signal::Terminate);
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
    used.expect_closed();
    fresh.expect_closed();
}

#[test]
fn a_request_in_flight_gets_its_answer_with_connection_close() {
    let (backend, gate, mut gateway) = slow_pair(10);
    let mut client = in_flight(&gateway, &backend);
    gateway.signal(Signal::Terminate);
    gateway.wait_for_log(|text| text.starts_with("SIGTERM received"));
    eventually("new connections are refused", || RawClient::try_connect(gateway.port()).err());
    assert!(gateway.is_running(), "it waits for the request");
    gate.open();
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "finished"));
    assert!(response.says_close(), "{response:?}");
    client.expect_closed();
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn a_stream_in_flight_is_finished_and_the_connection_says_goaway() {
    let (backend, gate, mut gateway) = slow_pair(10);
    let mut client = Http2Client::connect(gateway.port());
    let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    client.request(1, &get, true);
    backend.wait_for_requests(1);
    gateway.signal(Signal::Terminate);
    assert_eq!(client.goaway(), ErrorCode::NO_ERROR);
    assert!(gateway.is_running(), "it waits for the stream");
    gate.open();
    let response = client.response(1);
    assert_eq!((response.status, response.text().as_str()), (200, "finished"));
    client.expect_closed();
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn an_idle_http_2_connection_does_not_hold_the_gateway() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::in_front_of(backend.port());
    let mut client = Http2Client::connect(gateway.port());
    client.expect_served(1);
    gateway.signal(Signal::Terminate);
    assert_eq!(client.goaway(), ErrorCode::NO_ERROR);
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn a_download_in_flight_is_finished() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
        connection.send(vec![b'x'; 100_000]);
        held.wait();
        connection.send(vec![b'x'; 100_000]);
        connection.wait_closed();
    });
    let mut gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    gateway.signal(Signal::Terminate);
    gateway.wait_for_log(|text| text.starts_with("SIGTERM received"));
    gate.open();
    assert_eq!(client.count_body(&head), Ok(200_000));
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn a_drain_of_0_waits_for_nobody() {
    let (backend, _gate, mut gateway) = slow_pair(0);
    let mut client = in_flight(&gateway, &backend);
    gateway.signal(Signal::Terminate);
    assert_eq!(gateway.exit(Duration::from_secs(2)).code, Some(0));
    let end = client.try_response();
    assert!(matches!(end, Err((Fault::Closed | Fault::Cut | Fault::Reset, _))), "{end:?}");
}

#[test]
fn a_drain_ends_after_its_time_and_still_cleanly() {
    let (backend, _gate, mut gateway) = slow_pair(2);
    let _client = in_flight(&gateway, &backend);
    let told = Instant::now();
    gateway.signal(Signal::Terminate);
    let exit = gateway.exit(Duration::from_secs(4));
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(told.elapsed() > Duration::from_millis(1500), "it waited only {:?}", told.elapsed());
}

#[test]
fn further_signals_change_nothing() {
    let (backend, gate, mut gateway) = slow_pair(10);
    let mut client = in_flight(&gateway, &backend);
    for signal in [Signal::Terminate, Signal::Terminate, Signal::Interrupt, Signal::Hangup] {
        gateway.signal(signal);
        gateway.wait_for_log(|text| text.starts_with("SIGTERM received"));
    }
    gate.open();
    assert_eq!(client.response().status, 200);
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn a_request_right_after_the_signal_is_closed_or_answered_with_close() {
    fn ask(client: &mut RawClient) -> Result<Response, Fault> {
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        client.try_response().map_err(|(fault, _)| fault)
    }
    let backend = Backend::saying("ok");
    for _ in 0..5 {
        let mut gateway = Gateway::in_front_of(backend.port());
        let mut client = gateway.raw();
        assert_eq!(client.get("/").status, 200);
        gateway.signal(Signal::Terminate);
        let mut answer = ask(&mut client);
        if answer.as_ref().is_ok_and(|response| !response.says_close()) {
            // The request overtook the signal; the next one cannot.
            eventually("new connections are refused", || RawClient::try_connect(gateway.port()).err());
            answer = ask(&mut client);
        }
        match answer {
            Ok(response) => {
                assert!(response.says_close(), "{response:?}");
                client.expect_closed();
            }
            Err(fault) => assert!(matches!(fault, Fault::Closed | Fault::Reset), "{fault:?}"),
        }
        assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
    }
}

#[test]
fn the_port_is_free_for_a_successor() {
    let (backend, gate, mut gateway) = slow_pair(10);
    let mut client = in_flight(&gateway, &backend);
    let port = gateway.port();
    gateway.signal(Signal::Terminate);
    eventually("the port can be bound while the old gateway drains", || {
        std::net::TcpListener::bind(("127.0.0.1", port)).ok()
    });
    assert!(gateway.is_running());
    gate.open();
    assert_eq!(client.response().status, 200);
    assert_eq!(gateway.exit(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn a_signal_during_start_up_is_honoured() {
    let (backend, _gate, _) = slow_pair(0);
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let mut gateway = builder.env("FERRUM_POOL_WARMUP_ENABLED", "true").launch(&["run"]);
    // The warm-up waits for the answer to its HEAD.
    backend.wait_for_requests(1);
    gateway.signal(Signal::Terminate);
    // Sooner than the warm-up would have given up, which is after 5 s.
    let exit = gateway.exit(Duration::from_secs(4));
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_drain_may_be_given_as_long_as_can_be_said() {
    let (backend, gate, mut gateway) = slow_pair(u64::MAX);
    let mut client = in_flight(&gateway, &backend);
    gateway.signal(Signal::Terminate);
    gateway.wait_for_log(|text| text == "Draining");
    gate.open();
    assert_eq!(client.response().text(), "finished");
    assert_eq!(gateway.exit(Duration::from_secs(10)).code, Some(0));
}
