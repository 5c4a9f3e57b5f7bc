//! gRPC as its own clients and servers speak it: the calls, their metadata and statuses, and what the gateway says itself.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::http2::{ErrorCode, Frame, PREFACE, flag, kind};
use tests::{
    Authority, Backend, Connection, Document, Finally, Gate, Gateway, GatewayBuilder, Identity, Peer, PortLease, Proxy,
    RefusingPort, Signal, eventually,
};

const HOST: &str = "grpc.example.com";
const MIB: u64 = 1 << 20;

/// Every path to a gRPC server in the clear.
fn document(server: &Peer) -> Document {
    Document::new().proxy(app(server))
}

fn app(server: &Peer) -> Proxy {
    Proxy::new("app").path("/").to(server.port())
}

fn server() -> Peer {
    Peer::start("grpc_server.py", &[])
}

fn tls_server(identity: &Identity) -> Peer {
    Peer::start("grpc_server.py", &[identity.certificate.to_str().unwrap(), identity.key.to_str().unwrap()])
}

/// A client of the gateway's cleartext port.
fn client(gateway: &Gateway) -> Peer {
    Peer::start("grpc_client.py", &[&format!("127.0.0.1:{}", gateway.port())])
}

fn tls_client(gateway: &Gateway, authority: &Authority) -> Peer {
    let (target, ca) = (format!("127.0.0.1:{}", gateway.https_port()), authority.bundle());
    Peer::start("grpc_client.py", &[&target, ca.to_str().unwrap(), HOST])
}

/// What the server knows of its calls, when there have been so many.
#[track_caller]
fn calls(server: &Peer, count: usize) -> Vec<Value> {
    eventually(&format!("{count} calls have come"), || Some(server.events("call")).filter(|calls| calls.len() >= count))
}

/// A client that shows HTTP/2 as it is on the wire.
fn wire(gateway: &Gateway) -> Peer {
    Peer::start("h2_client.py", &[&gateway.port().to_string()])
}

fn secured(builder: GatewayBuilder, identity: &Identity) -> GatewayBuilder {
    builder
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", identity.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", identity.key.display())
}

fn unary(request: &str) -> Value {
    json!({"do": "unary", "method": "Unary", "request": request})
}

fn unary_with(request: &str, metadata: Value) -> Value {
    json!({"do": "unary", "method": "Unary", "request": request, "metadata": metadata})
}

#[track_caller]
fn expect(answer: &Value, code: &str, details: &str) {
    assert_eq!((answer["code"].as_str(), answer["details"].as_str()), (Some(code), Some(details)), "{answer}");
}

#[track_caller]
fn expect_code(answer: &Value, code: &str) {
    assert_eq!(answer["code"], code, "{answer}");
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["responses"].as_array().unwrap().iter().filter_map(|response| response["text"].as_str()).collect()
}

/// A call as it is on the wire: the head of a request, and a message with its five bytes in front.
fn call(path: &str, more: &[(&str, &str)], message: &[u8]) -> Value {
    let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    headers.extend_from_slice(more);
    let pseudo = json!({":method": "POST", ":path": path});
    json!({"do": "request", "pseudo": pseudo, "headers": headers, "body": hex(&framed(message))})
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn field<'a>(block: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = block.as_array()?;
    pairs.iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str())
}

/// The gateway's own refusal: 200, a head and nothing else.
#[track_caller]
fn expect_trailers_only(answer: &Value, status: &str, message: &str) {
    let head = &answer["headers"];
    assert_eq!(field(head, ":status"), Some("200"), "{answer}");
    assert_eq!(field(head, "content-type"), Some("application/grpc"), "{answer}");
    assert_eq!((field(head, "grpc-status"), field(head, "grpc-message")), (Some(status), Some(message)), "{answer}");
    assert_eq!((&answer["body"], &answer["trailers"]), (&json!(""), &Value::Null), "{answer}");
    assert_eq!(answer["ended_by_fields"], true, "the head has to end the stream, not a frame of no data: {answer}");
}

#[test]
fn every_kind_of_call_passes_in_the_clear_and_under_tls_on_either_side() {
    let authority = Authority::new();
    let (front, back) = (authority.issue(&[HOST]), authority.issue(&["127.0.0.1"]));
    let (open, closed) = (server(), tls_server(&back));
    let ca = authority.bundle().display().to_string();
    let tls = app(&closed).set("backend_scheme", "https").set("backend_tls_server_ca_cert_path", ca);
    for (backend, server, proxy) in [("h2c", &open, app(&open)), ("TLS", &closed, tls)] {
        let gateway = secured(Gateway::builder().document(&Document::new().proxy(proxy)), &front).start();
        for (frontend, mut client) in [("h2c", client(&gateway)), ("TLS", tls_client(&gateway, &authority))] {
            let way = format!("{frontend} to {backend}");
            let answer = client.ask(unary("hello"));
            assert_eq!(
                (&answer["code"], &answer["response"]["text"]),
                (&json!("OK"), &json!("hello")),
                "{way}: {answer}"
            );

            let answer = client.ask(json!({"do": "server_stream", "method": "Count", "request": "{\"count\": 5}"}));
            assert_eq!((&answer["code"], texts(&answer)), (&json!("OK"), vec!["0", "1", "2", "3", "4"]), "{way}");

            let answer = client.ask(json!({"do": "client_stream", "method": "Sum", "request": "abc", "count": 7}));
            let sum = "{\"messages\": 7, \"bytes\": 21}";
            assert_eq!((&answer["code"], &answer["response"]["text"]), (&json!("OK"), &json!(sum)), "{way}: {answer}");

            client.ask(json!({"do": "open", "method": "Chat"}));
            for message in ["one", "two", "three"] {
                client.ask(json!({"do": "send", "request": message}));
                assert_eq!(client.ask(json!({"do": "receive"}))["text"], message, "{way}: one at a time");
            }
            expect_code(&client.ask(json!({"do": "finish"})), "OK");
        }
        let paths: Vec<Value> = calls(server, 8).iter().map(|call| call["path"].clone()).collect();
        assert_eq!(paths, ["Unary", "Count", "Sum", "Chat"].repeat(2), "{backend}");
    }
}

#[test]
fn an_empty_message_is_a_message() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    let answer = client.ask(unary(""));
    assert_eq!((&answer["code"], &answer["response"]["text"]), (&json!("OK"), &json!("")), "{answer}");
    let answer = client.ask(json!({"do": "server_stream", "method": "Count", "request": "{\"count\": 0}"}));
    assert_eq!((&answer["code"], &answer["messages"]), (&json!("OK"), &json!(0)), "no message is none");
}

#[test]
fn metadata_passes_both_ways_text_and_binary_before_and_after_the_messages() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    let metadata = json!([
        ["x-initial-text", "before"],
        ["x-initial-raw-bin", "00ff80"],
        ["x-trailing-text", "after"],
        ["x-trailing-raw-bin", "deadbeef00"],
        ["x-only-for-the-server", "yes"],
    ]);
    let answer = client.ask(unary_with("m", metadata.clone()));
    expect_code(&answer, "OK");
    let call = &calls(&server, 1)[0];
    let has = |list: &Value, pair: &Value| list.as_array().unwrap().contains(pair);
    for pair in metadata.as_array().unwrap() {
        assert!(has(&call["metadata"], pair), "{pair} did not reach the server: {call}");
        let name = pair[0].as_str().unwrap();
        assert_eq!(has(&answer["initial"], pair), name.starts_with("x-initial-"), "{pair} in {answer}");
        assert_eq!(has(&answer["trailing"], pair), name.starts_with("x-trailing-"), "{pair} in {answer}");
    }
}

#[test]
fn the_servers_status_message_and_details_reach_the_client_as_they_are() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    let codes = [
        (1, "CANCELLED"),
        (2, "UNKNOWN"),
        (3, "INVALID_ARGUMENT"),
        (4, "DEADLINE_EXCEEDED"),
        (5, "NOT_FOUND"),
        (7, "PERMISSION_DENIED"),
        (8, "RESOURCE_EXHAUSTED"),
        (13, "INTERNAL"),
        (14, "UNAVAILABLE"),
        (16, "UNAUTHENTICATED"),
    ];
    for (code, name) in codes {
        let metadata = json!([
            ["x-code", code.to_string()],
            ["x-details", "no such row: 100% sure / line"],
            ["x-trailing-why", "because"],
            ["grpc-status-details-bin", "08051200"],
        ]);
        // With a head of its own before the trailers, and without: a server that fails at once sends trailers only.
        for head in [json!([]), json!([["x-initial-text", "before"]])] {
            let both = [metadata.as_array().unwrap().clone(), head.as_array().unwrap().clone()].concat();
            let answer = client.ask(unary_with("m", json!(both)));
            expect(&answer, name, "no such row: 100% sure / line");
            let trailing = answer["trailing"].as_array().unwrap();
            assert!(trailing.contains(&json!(["x-trailing-why", "because"])), "{answer}");
            assert!(trailing.contains(&json!(["grpc-status-details-bin", "08051200"])), "{answer}");
        }
    }
}

#[test]
fn an_answer_of_trailers_only_stays_one_and_trailers_stay_trailers() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = wire(&gateway);
    let failed = client.ask(call("/test.Peer/Unary", &[("x-code", "9"), ("x-details", "not now")], b"m"));
    expect_trailers_only(&failed, "9", "not now");
    let good = client.ask(call("/test.Peer/Unary", &[("x-trailing-a", "b")], b"m"));
    assert_eq!(field(&good["headers"], ":status"), Some("200"));
    assert_eq!((&good["body"], field(&good["headers"], "grpc-status")), (&json!(hex(&framed(b"m"))), None), "{good}");
    let trailers = &good["trailers"];
    assert_eq!((field(trailers, "grpc-status"), field(trailers, "x-trailing-a")), (Some("0"), Some("b")), "{good}");
}

#[test]
fn a_stream_that_fails_midway_gives_its_messages_and_then_its_status() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    // The order is no number, so the server's own exception ends the call.
    client.ask(json!({"do": "open", "method": "Chat"}));
    client.ask(json!({"do": "send", "request": "first"}));
    assert_eq!(client.ask(json!({"do": "receive"}))["text"], "first");
    let answer = client.ask(json!({"do": "cancel"}));
    expect_code(&answer, "CANCELLED");
    let answer = client.ask(json!({"do": "unary", "method": "Big", "request": "not a number"}));
    expect_code(&answer, "UNKNOWN");
    assert!(answer["details"].as_str().unwrap().contains("invalid literal"), "{answer}");
}

#[test]
fn a_request_of_the_limit_passes_and_one_byte_more_is_resource_exhausted() {
    let server = server();
    // The limit counts bytes of the body: a message has five more in front.
    for (limit, builder) in
        [(4_194_304, Gateway::builder()), (1_000, Gateway::builder().env("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", 1_000))]
    {
        let gateway = builder.document(&document(&server)).start();
        let mut client = client(&gateway);
        let answer = client.ask(json!({"do": "unary", "method": "Unary", "size": limit - 5}));
        expect_code(&answer, "OK");
        let answer = client.ask(json!({"do": "unary", "method": "Unary", "size": limit - 4}));
        expect(&answer, "RESOURCE_EXHAUSTED", "gRPC request payload size exceeds maximum");
        let half = limit / 2 - 5;
        let answer = client.ask(json!({"do": "client_stream", "method": "Sum", "size": half, "count": 2}));
        expect_code(&answer, "OK");
        let answer = client.ask(json!({"do": "client_stream", "method": "Sum", "size": half, "count": 3}));
        expect(&answer, "RESOURCE_EXHAUSTED", "gRPC request payload size exceeds maximum");
        expect_code(&client.ask(unary("the channel goes on")), "OK");
    }
}

#[test]
fn a_request_that_announces_too_much_is_refused_by_its_announcement() {
    let server = server();
    let gateway = Gateway::builder().document(&document(&server)).env("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", 100).start();
    let mut client = wire(&gateway);
    let answer = client.ask(call("/test.Peer/Unary", &[("content-length", "105")], &[b'x'; 100]));
    expect_trailers_only(&answer, "8", "gRPC request payload size exceeds maximum of 100 bytes");
    let answer = client.ask(call("/test.Peer/Unary", &[("content-length", "100")], &[b'x'; 95]));
    assert_eq!(field(&answer["trailers"], "grpc-status"), Some("0"), "{answer}");
    assert_eq!(calls(&server, 1).len(), 1, "the refused one did not reach the server");
}

#[test]
fn large_answers_pass_and_one_past_the_limit_of_responses_does_not_look_whole() {
    let server = server();
    let gateway =
        Gateway::builder().document(&document(&server)).env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 2 * MIB).start();
    let mut client = client(&gateway);
    let fits = client.ask(json!({"do": "unary", "method": "Big", "request": (2 * MIB - 5).to_string()}));
    expect_code(&fits, "OK");
    assert_eq!(fits["response"]["size"], 2 * MIB - 5);
    let over = client.ask(json!({"do": "unary", "method": "Big", "request": (2 * MIB - 4).to_string()}));
    assert_ne!(over["code"], "OK", "{over}");
    expect_code(&client.ask(unary("the channel goes on")), "OK");
}

#[test]
fn long_streams_pass_without_staying_in_memory() {
    let server = server();
    let gateway = Gateway::builder()
        .document(&document(&server))
        .env("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", 0)
        .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 0)
        .start();
    let mut client = client(&gateway);
    expect_code(&client.ask(unary("warm")), "OK");
    let before = gateway.resident_bytes();
    let most = gateway.most_memory_during(|| {
        let answer = client.ask(json!({"do": "client_stream", "method": "Sum", "size": MIB, "count": 64}));
        let sum = json!({"text": "{\"messages\": 64, \"bytes\": 67108864}"});
        assert_eq!((&answer["code"], &answer["response"]), (&json!("OK"), &sum), "{answer}");
        let order = json!({"count": 64, "size": MIB}).to_string();
        let answer = client.ask(json!({"do": "server_stream", "method": "Count", "request": order}));
        assert_eq!((&answer["code"], &answer["bytes"]), (&json!("OK"), &json!(64 * MIB)), "{}", answer["details"]);
    });
    let grown = most.saturating_sub(before);
    // A stream window, a connection window and what the loops hold.
    assert!(grown < 48 * MIB, "{} MiB more in memory during streams of 64 MiB", grown / MIB);
}

#[test]
fn a_server_that_does_not_read_stops_the_client_and_not_the_memory() {
    let server = server();
    let proxy = app(&server).set("backend_read_timeout_ms", 0);
    let gateway =
        Gateway::builder().document(&Document::new().proxy(proxy)).env("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", 0).start();
    let mut client = client(&gateway);
    client.ask(json!({"do": "open", "method": "Hang"}));
    client.ask(json!({"do": "send", "request": "begin"}));
    assert_eq!(client.ask(json!({"do": "receive"}))["text"], "begin");
    let before = gateway.resident_bytes();
    let most = gateway.most_memory_during(|| {
        for _ in 0..64 {
            client.ask(json!({"do": "send", "size": 4 * MIB}));
        }
        expect_code(&client.ask(json!({"do": "cancel"})), "CANCELLED");
        server.wait_for(|line| line["event"] == "ended");
    });
    let grown = most.saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more in memory for a server that does not read", grown / MIB);
}

#[test]
fn a_client_that_cancels_ends_the_call_at_the_server() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    client.ask(json!({"do": "open", "method": "Hang"}));
    client.ask(json!({"do": "send", "request": "m"}));
    assert_eq!(client.ask(json!({"do": "receive"}))["text"], "m");
    assert!(server.events("ended").is_empty(), "it goes on until it is cancelled");
    expect_code(&client.ask(json!({"do": "cancel"})), "CANCELLED");
    server.wait_for(|line| line["event"] == "ended" && line["path"] == "Hang");
    expect_code(&client.ask(unary("the channel goes on")), "OK");
}

#[test]
fn a_client_that_vanishes_ends_the_call_at_the_server() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    client.ask(json!({"do": "open", "method": "Hang"}));
    client.ask(json!({"do": "send", "request": "m"}));
    assert_eq!(client.ask(json!({"do": "receive"}))["text"], "m");
    drop(client);
    server.wait_for(|line| line["event"] == "ended" && line["path"] == "Hang");
}

#[test]
fn the_clients_deadline_counts_instead_of_the_read_timeout() {
    let server = server();
    let proxy = app(&server).set("backend_read_timeout_ms", 400);
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let mut client = wire(&gateway);
    let status = |answer: &Value| {
        let block = if answer["trailers"].is_null() { &answer["headers"] } else { &answer["trailers"] };
        field(block, "grpc-status").map(str::to_owned)
    };
    let patient = client.ask(call("/test.Peer/Unary", &[("grpc-timeout", "10S"), ("x-delay-ms", "1000")], b"m"));
    assert_eq!(status(&patient).as_deref(), Some("0"), "a deadline of 10 s: {patient}");
    let sent = calls(&server, 1)[0]["metadata"].to_string();
    assert!(!sent.contains("x-gateway"), "{sent}");

    for (name, more) in [
        ("a deadline of 200 ms", &[("grpc-timeout", "200m"), ("x-delay-ms", "5000")][..]),
        ("in microseconds", &[("grpc-timeout", "200000u"), ("x-delay-ms", "5000")]),
        ("no deadline", &[("x-delay-ms", "5000")]),
    ] {
        let begun = Instant::now();
        let answer = client.ask(call("/test.Peer/Unary", more, b"m"));
        assert_eq!(status(&answer).as_deref(), Some("4"), "{name}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{name}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_clients_own_deadline_is_deadline_exceeded_and_ends_the_call_at_the_server() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    let answer = client.ask(json!({
        "do": "unary", "method": "Unary", "request": "m", "metadata": [["x-delay-ms", "15000"]], "timeout": 0.3
    }));
    expect_code(&answer, "DEADLINE_EXCEEDED");
    server.wait_for(|line| line["event"] == "ended");
    expect_code(&client.ask(unary("the channel goes on")), "OK");
}

#[test]
fn a_stream_that_has_begun_goes_on_past_the_read_timeout() {
    let server = server();
    let proxy = app(&server).set("backend_read_timeout_ms", 300);
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    let mut client = client(&gateway);
    let order = json!({"count": 4, "every_ms": 500}).to_string();
    let answer = client.ask(json!({"do": "server_stream", "method": "Count", "request": order, "timeout": null}));
    assert_eq!((&answer["code"], texts(&answer)), (&json!("OK"), vec!["0", "1", "2", "3"]), "{answer}");
}

#[test]
fn what_the_gateway_refuses_is_told_as_grpc_statuses() {
    let server = server();
    let gone = RefusingPort::new();
    let document = Document::new()
        .proxy(Proxy::new("reading").path("/test.Peer/Big").set("allowed_methods", json!(["GET"])).to(server.port()))
        .proxy(Proxy::new("keyed").path("/test.Peer/Chat").to(server.port()))
        .proxy(Proxy::new("down").path("/test.Peer/Sum").to(gone.port()))
        .proxy(Proxy::new("nameless").path("/test.Peer/Count").to(50_051).set("backend_host", "nowhere.invalid"))
        .proxy(Proxy::new("good").path("/test.Peer/Unary").to(server.port()).set("strip_listen_path", false))
        .proxy_plugin("keyed", "key_auth", json!({}));
    let gateway = Gateway::running(&document);
    let mut client = client(&gateway);
    let mut code = |method: &str| client.ask(json!({"do": "unary", "method": method, "request": "m"}));
    expect(&code("Nowhere"), "NOT_FOUND", "Not Found");
    expect(&code("Big"), "UNIMPLEMENTED", "Method Not Allowed");
    expect(&code("Chat"), "UNAUTHENTICATED", "Authentication required");
    expect_code(&code("Sum"), "UNAVAILABLE");
    expect(&code("Count"), "UNAVAILABLE", "DNS resolution for backend failed");
    expect_code(&code("Unary"), "OK");
    assert_eq!(calls(&server, 1).len(), 1, "only the good call came through");
    // The shape on the wire: a head that is the end.
    let mut client = wire(&gateway);
    expect_trailers_only(&client.ask(call("/test.Peer/Nowhere", &[], b"m")), "5", "Not Found");
    expect_trailers_only(&client.ask(call("/test.Peer/Big", &[], b"m")), "12", "Method Not Allowed");
    expect_trailers_only(&client.ask(call("/test.Peer/Chat", &[], b"m")), "16", "Authentication required");
}

#[test]
fn a_get_is_no_call() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let ask = json!({
        "do": "request", "pseudo": {":path": "/test.Peer/Unary"}, "headers": [["content-type", "application/grpc"]]
    });
    expect_trailers_only(&wire(&gateway).ask(ask), "3", "gRPC requires POST method");
    let response =
        gateway.ask("GET /test.Peer/Unary HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\n\r\n");
    assert_eq!((response.status, response.body.len()), (200, 0), "{response:?}");
    assert_eq!(response.header("grpc-status"), Some("3"));
    assert_eq!(response.header("grpc-message"), Some("gRPC requires POST method"));
    assert!(server.events("call").is_empty());
}

#[test]
fn a_gateway_with_too_much_to_do_is_unavailable() {
    let server = server();
    let gateway = Gateway::builder()
        .document(&document(&server))
        .env("FERRUM_MAX_REQUESTS", 1)
        .env("FERRUM_OVERLOAD_CHECK_INTERVAL_MS", 100)
        .start();
    let mut busy = client(&gateway);
    busy.ask(json!({"do": "open", "method": "Hang"}));
    busy.ask(json!({"do": "send", "request": "m"}));
    assert_eq!(busy.ask(json!({"do": "receive"}))["text"], "m");
    let mut other = client(&gateway);
    let refused = eventually("the load is noticed", || {
        let answer = other.ask(unary("m"));
        (answer["code"] != "OK").then_some(answer)
    });
    expect(&refused, "UNAVAILABLE", "Service overloaded");
    busy.ask(json!({"do": "cancel"}));
    eventually("the gateway takes calls again", || (other.ask(unary("m"))["code"] == "OK").then_some(()));
}

#[test]
fn a_gateway_that_shuts_down_finishes_the_calls_it_has() {
    let server = server();
    let mut gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    client.ask(json!({"do": "open", "method": "Chat"}));
    client.ask(json!({"do": "send", "request": "before"}));
    assert_eq!(client.ask(json!({"do": "receive"}))["text"], "before");
    gateway.signal(Signal::Terminate);
    gateway.wait_for_log(|text| text.starts_with("SIGTERM received"));
    client.ask(json!({"do": "send", "request": "after"}));
    assert_eq!(client.ask(json!({"do": "receive"}))["text"], "after");
    expect_code(&client.ask(unary("new")), "UNAVAILABLE");
    expect_code(&client.ask(json!({"do": "finish"})), "OK");
    assert_eq!(gateway.exit(Duration::from_secs(10)).code, Some(0));
}

/// From which connections of the gateway the calls came.
fn connections_of(calls: &[Value]) -> Vec<&str> {
    let mut connections: Vec<&str> = calls.iter().filter_map(|call| call["peer"].as_str()).collect();
    connections.sort_unstable();
    connections.dedup();
    connections
}

#[test]
fn many_calls_of_one_channel_share_the_connections_to_the_server() {
    let server = server();
    let gateway = Gateway::builder()
        .document(&document(&server))
        .env("FERRUM_CORES", 0)
        .env("FERRUM_POOL_HTTP2_CONNECTIONS_PER_HOST", 2)
        .start();
    let mut client = client(&gateway);
    let answer =
        client.ask(json!({"do": "many", "method": "Unary", "count": 100, "metadata": [["x-delay-ms", "200"]]}));
    assert_eq!(answer["good"], 100, "{answer}");
    let calls = calls(&server, 100);
    let connections = connections_of(&calls);
    assert_eq!(calls.len(), 100);
    assert!(connections.len() <= 2, "{connections:?}");
}

#[test]
fn calls_that_find_no_place_wait_for_one_and_none_is_forgotten() {
    let server = server();
    let gateway = Gateway::builder()
        .document(&document(&server))
        .env("FERRUM_CORES", 0)
        .env("FERRUM_POOL_HTTP2_CONNECTIONS_PER_HOST", 2)
        .env("FERRUM_POOL_HTTP2_MAX_CONCURRENT_STREAMS", 2)
        .start();
    let mut client = client(&gateway);
    let answer = client.ask(json!({"do": "many", "method": "Unary", "count": 100, "metadata": [["x-delay-ms", "20"]]}));
    assert_eq!(answer["good"], 100, "{answer}");
    let calls = calls(&server, 100);
    let connections = connections_of(&calls);
    assert_eq!(connections.len(), 2, "the second is made when the first is full, and no third: {connections:?}");
}

#[test]
fn calls_go_on_when_the_server_has_restarted() {
    let mut server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    for round in 0..3 {
        for _ in 0..4 {
            expect_code(&client.ask(unary("m")), "OK");
        }
        server.ask(json!({"do": "restart"}));
        let answer = client.ask(unary("first after the restart"));
        assert_eq!(answer["code"], "OK", "round {round}: {answer}");
    }
}

#[test]
fn a_server_that_stops_and_comes_back_is_unavailable_in_between() {
    let mut server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = client(&gateway);
    expect_code(&client.ask(unary("m")), "OK");
    server.ask(json!({"do": "stop"}));
    expect_code(&client.ask(unary("m")), "UNAVAILABLE");
    server.ask(json!({"do": "restart"}));
    expect_code(&client.ask(unary("m")), "OK");
}

#[test]
fn a_server_of_http_1_1_is_unavailable() {
    let old = Backend::scripted(|connection| {
        connection.read_some();
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let gateway = Gateway::in_front_of(old.port());
    expect_code(&client(&gateway).ask(unary("m")), "UNAVAILABLE");
}

#[test]
fn a_server_that_does_not_agree_on_h2_under_tls_is_unavailable() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let port = PortLease::take();
    let mut old = Command::new("openssl")
        .args(["s_server", "-www", "-accept", &format!("127.0.0.1:{}", port.number())])
        .args(["-cert", identity.certificate.to_str().unwrap(), "-key", identity.key.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is needed: apt-get install openssl");
    let _stop = Finally(|| drop(old.kill().and_then(|()| old.wait())));
    let proxy = Proxy::new("app")
        .path("/")
        .to(port.number())
        .set("backend_scheme", "https")
        .set("backend_tls_server_ca_cert_path", authority.bundle().display().to_string());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    eventually("openssl listens", || tests::RawClient::try_connect(port.number()).ok());
    expect_code(&client(&gateway).ask(unary("m")), "UNAVAILABLE");
}

#[test]
fn a_server_with_a_certificate_of_a_stranger_is_unavailable() {
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let server = tls_server(&stranger.issue(&["127.0.0.1"]));
    let ca = trusted.bundle().display().to_string();
    let proxy = app(&server).set("backend_scheme", "https").set("backend_tls_server_ca_cert_path", ca);
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    expect_code(&client(&gateway).ask(unary("m")), "UNAVAILABLE");
    assert!(server.events("call").is_empty());
}

#[test]
fn a_call_from_an_http_1_1_client_reaches_the_server() {
    let server = server();
    let gateway = Gateway::running(&document(&server));
    let mut client = gateway.raw();
    let message = framed(b"hello");
    let head = format!(
        "POST /test.Peer/Unary HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    client.send([head.as_bytes(), &message].concat());
    let response = client.response();
    assert_eq!((response.status, &response.body), (200, &message), "{response:?}");
    let status = response.header("grpc-status").or(response.trailers.get("grpc-status"));
    assert_eq!(status, Some("0"), "{response:?} {:?}", response.trailers);
}

#[test]
fn a_call_leaves_a_record_and_so_do_those_that_failed() {
    let server = server();
    let gone = RefusingPort::new();
    let old = Backend::scripted(|connection| {
        connection.read_some();
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let document = Document::new()
        .proxy(app(&server))
        .proxy(Proxy::new("down").path("/test.Peer/Big").to(gone.port()))
        .proxy(Proxy::new("old").path("/test.Peer/Count").to(old.port()))
        .proxy(Proxy::new("no-tls").path("/test.Peer/Sum").to(old.port()).set("backend_scheme", "https"))
        .proxy(Proxy::new("nameless").path("/test.Peer/Chat").to(80).set("backend_host", "nowhere.invalid"))
        .global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    let mut client = wire(&gateway);
    for method in ["Unary", "Big", "Count", "Sum", "Chat"] {
        client.ask(call(&format!("/test.Peer/{method}"), &[], b"1"));
    }
    let good = gateway.wait_for_record(|record| record["proxy_id"] == "app");
    assert_eq!((&good["http_method"], &good["response_status_code"]), (&json!("POST"), &json!(200)), "{good}");
    assert_eq!(good["error_class"], Value::Null, "{good}");
    let failures = [
        ("down", "connection_refused"),
        ("old", "connection_refused"),
        ("no-tls", "tls_error"),
        ("nameless", "dns_lookup_error"),
    ];
    let mut wrong = Vec::new();
    for (proxy, class) in failures {
        let failed = gateway.wait_for_record(|record| record["proxy_id"] == proxy);
        let (got, phase) = (&failed["error_class"], &failed["metadata"]["rejection_phase"]);
        if got != class || phase != "grpc_backend_error" {
            wrong.push(format!("{proxy}: class {got} instead of {class}, phase {phase}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A server of HTTP/2 that answers the first request of each connection with these bytes and closes.
fn answering(answer: Vec<u8>) -> Backend {
    answering_and_then(answer, &Gate::new(), None)
}

/// The same, which ends its answer with other bytes when the gate opens.
fn answering_and_then(answer: Vec<u8>, gate: &Gate, end: Option<Vec<u8>>) -> Backend {
    let gate = gate.clone();
    seeing_frames(move |connection, frame| {
        let is_request = frame.kind == kind::HEADERS;
        if is_request {
            connection.send(&answer);
            if let Some(end) = &end {
                gate.wait();
                connection.send(end);
            }
        }
        !is_request
    })
}

/// A server of HTTP/2 that does with each frame it gets what it is told, until that says no.
fn seeing_frames(look: impl Fn(&mut Connection, Frame) -> bool + Send + Sync + 'static) -> Backend {
    Backend::scripted(move |connection| {
        connection.send([Frame::settings(&[]).bytes(), Frame::settings_ack().bytes()].concat());
        let mut bytes = Vec::new();
        let mut at = PREFACE.len();
        loop {
            let some = connection.read_some();
            if some.is_empty() {
                return;
            }
            bytes.extend(some);
            while let Some(&[a, b, c, kind, flags, stream @ ..]) = bytes[at.min(bytes.len())..].first_chunk::<9>() {
                let end = at + 9 + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c);
                let Some(payload) = bytes.get(at + 9..end) else { break };
                if !look(connection, Frame::new(kind, flags, u32::from_be_bytes(stream), payload)) {
                    return;
                }
                at = end;
            }
        }
    })
}

/// The head of an answer in HPACK: `:status: 200` and the content type.
fn good_head() -> Vec<u8> {
    [&[0x88, 0x5f, 16], &b"application/grpc"[..]].concat()
}

#[test]
fn a_server_that_breaks_off_before_its_head_is_unavailable() {
    for (name, answer) in [
        ("a reset", Frame::rst_stream(1, ErrorCode::INTERNAL_ERROR).bytes()),
        ("a GOAWAY of a fault", Frame::goaway(0, ErrorCode::INTERNAL_ERROR).bytes()),
        ("a close", Vec::new()),
    ] {
        let server = answering(answer);
        let gateway = Gateway::in_front_of(server.port());
        let answer = wire(&gateway).ask(call("/test.Peer/Unary", &[], b"m"));
        assert_eq!(field(&answer["headers"], "grpc-status"), Some("14"), "{name}: {answer}");
    }
}

#[test]
fn a_server_that_breaks_off_after_its_head_does_not_look_whole() {
    let begun = [Frame::headers(1, flag::END_HEADERS, good_head()).bytes(), Frame::data(1, 0, framed(b"half")).bytes()]
        .concat();
    for (name, end) in [("a reset", Frame::rst_stream(1, ErrorCode::INTERNAL_ERROR).bytes()), ("a close", Vec::new())] {
        let gate = Gate::new();
        let server = answering_and_then(begun.clone(), &gate, Some(end));
        let gateway = Gateway::in_front_of(server.port());
        let mut client = wire(&gateway);
        let mut ask = call("/test.Peer/Unary", &[], b"m");
        ask["do"] = json!("open");
        let answer = client.ask(ask);
        assert_eq!(field(&answer["headers"], ":status"), Some("200"), "{name}: {answer}");
        let receive = json!({"do": "receive", "stream": answer["stream"]});
        assert_eq!(client.ask(receive.clone())["data"], hex(&framed(b"half")), "{name}");
        gate.open();
        let end = client.ask(receive);
        assert_ne!(end["reset"], Value::Null, "{name}: the client's stream is reset too: {end}");
    }
}

#[test]
fn a_status_that_the_server_did_not_give_is_not_invented() {
    let head = Frame::headers(1, flag::END_HEADERS, good_head()).bytes();
    let server = answering([head, Frame::data(1, flag::END_STREAM, framed(b"m")).bytes()].concat());
    let gateway = Gateway::in_front_of(server.port());
    let answer = wire(&gateway).ask(call("/test.Peer/Unary", &[], b"m"));
    assert_eq!((&answer["body"], &answer["trailers"]), (&json!(hex(&framed(b"m"))), &Value::Null), "{answer}");
    assert_eq!(field(&answer["headers"], "grpc-status"), None, "{answer}");
}

#[test]
fn the_end_of_a_request_goes_with_its_last_message() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let collected = seen.clone();
    let server = seeing_frames(move |connection, received| {
        let end = received.flags & flag::END_STREAM;
        let is_over = received.kind == kind::DATA && end != 0;
        if received.kind == kind::DATA {
            collected.lock().unwrap().push((end, received.payload));
        }
        if is_over {
            connection.send(Frame::headers(1, flag::WHOLE, good_head()).bytes());
        }
        !is_over
    });
    let gateway = Gateway::in_front_of(server.port());
    let answer = wire(&gateway).ask(call("/test.Peer/Unary", &[], b"m"));
    assert_eq!(field(&answer["headers"], ":status"), Some("200"), "{answer}");
    assert_eq!(*seen.lock().unwrap(), [(flag::END_STREAM, framed(b"m"))], "one frame, and none that only ends");
}
