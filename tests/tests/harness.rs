//! The harness against itself: what it would not notice, no other test can.

use std::time::Duration;

use tests::{Backend, DeafPort, Fault, Framing, Gate, PortLease, RawClient, RefusingPort, Reply, curl};

fn answer_of(wire_bytes: &'static str) -> Result<tests::Response, Fault> {
    let backend = Backend::scripted(move |connection| {
        connection.read_head();
        connection.send(wire_bytes);
    });
    let mut client = RawClient::connect(backend.port());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.try_response().map_err(|(fault, _)| fault)
}

#[test]
fn a_response_is_read_with_its_headers_in_order_and_its_trailers() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-One: 1\r\nx-two: 2\r\nX-ONE: 3\r\n\
                  Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n";
    let response = answer_of(answer).expect("a whole response");
    assert_eq!((response.status, response.text().as_str()), (200, "abcde"));
    assert_eq!(response.interim, [100]);
    assert_eq!(response.headers.names(), ["X-One", "x-two", "X-ONE", "Transfer-Encoding"]);
    assert_eq!(response.headers.all("x-one"), ["1", "3"]);
    assert_eq!(response.trailers.get("x-end"), Some("yes"));
}

#[test]
fn a_response_that_breaks_the_grammar_is_noticed() {
    for bytes in [
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    ] {
        assert!(matches!(answer_of(bytes), Err(Fault::Malformed(_))), "{bytes:?}");
    }
}

#[test]
fn a_response_that_ends_early_is_cut_and_not_short() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    ] {
        assert_eq!(answer_of(bytes).map(|r| r.text()), Err(Fault::Cut), "{bytes:?}");
    }
    assert_eq!(answer_of("").map(|r| r.text()), Err(Fault::Closed));
}

#[test]
fn a_backend_records_what_it_was_sent_and_on_which_connection() {
    let backend = Backend::echoing();
    let mut client = RawClient::connect(backend.port());
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nX-cAsE: kept\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().text(), "hi");
    client.send("PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n");
    assert_eq!(client.response().text(), "x");

    let requests = backend.requests();
    assert_eq!(requests[0].raw_head, b"POST /a HTTP/1.1\r\nHost: a\r\nX-cAsE: kept\r\nContent-Length: 2\r\n\r\n");
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("POST", "/a"));
    assert_eq!((requests[1].framing, requests[1].trailers.get("x-t")), (Framing::Chunked, Some("1")));
    assert_eq!((requests[1].connection, requests[1].earlier_on_connection), (0, 1));
    assert_eq!((backend.connections(), backend.open_connections()), (1, 1));
}

#[test]
fn curl_and_the_backend_understand_each_other() {
    let backend = Backend::replying(|_| Reply::text("hello").header("X-Route", "a").chunked(2));
    let answer = curl(&[&format!("http://127.0.0.1:{}/x", backend.port())]);
    assert_eq!((answer.exit, answer.status, answer.text().as_str()), (0, 200, "hello"));
    assert_eq!(answer.header("x-route"), Some("a"));
}

#[test]
fn a_reset_reaches_the_other_side_as_a_reset() {
    let backend = Backend::scripted(|connection| {
        connection.read_head();
        connection.reset();
    });
    let mut client = RawClient::connect(backend.port());
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.try_response().map_err(|(fault, _)| fault).map(|r| r.status), Err(Fault::Reset));

    let (met, told) = (Gate::new(), Gate::new());
    let (met_too, told_too) = (met.clone(), told.clone());
    let backend = Backend::scripted(move |connection| {
        connection.read_head();
        met_too.open();
        if connection.wait_closed() {
            told_too.open();
        }
    });
    let mut client = RawClient::connect(backend.port());
    client.send("GET / HTTP/1.1\r\n\r\n");
    met.wait();
    client.reset();
    told.wait();
    tests::eventually("the script ended", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn a_peer_that_does_not_read_is_a_timeout_and_not_a_success() {
    let hold = Gate::new();
    let held = hold.clone();
    let backend = Backend::scripted(move |_| held.wait());
    let mut client = RawClient::connect(backend.port()).with_patience(Duration::from_millis(200));
    let block = vec![0; 1 << 20];
    let end = (0..64).find_map(|_| client.try_send(&block).err());
    hold.open();
    assert_eq!(end, Some(Fault::TimedOut));
}

#[test]
fn ports_that_refuse_refuse_and_ports_that_are_deaf_hang() {
    let refusing = RefusingPort::new();
    assert!(RawClient::try_connect(refusing.port()).is_err());
    let deaf = DeafPort::new();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], deaf.port()));
    let error = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).expect_err("no connection");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn no_two_leases_are_for_one_port() {
    let leases: Vec<PortLease> = (0..20).map(|_| PortLease::take()).collect();
    let mut ports: Vec<u16> = leases.iter().map(PortLease::number).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 20);
}
