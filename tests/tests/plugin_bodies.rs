//! Bodies that plugins want whole: how they arrive, what their limits do, and what is left alone.
//!
//! A rule of `request_transformer` or `response_transformer` for a member that no body has makes the gateway hold bodies back
//! without changing them.

use std::time::Duration;

use serde_json::{Value, json};
use tests::http2::{ErrorCode, Frame, Http2Client, flag};
use tests::peer::{self, Answer, Ask, Client, ClientTls, Plan, ServerTls, Size, Transport, soon};
use tests::{Authority, Backend, Document, Framing, Gate, Gateway, GatewayBuilder, Peer, Proxy, Reply, eventually};

const HOST: &str = "shop.example.com";
const TOO_LARGE: &str = r#"{"error":"Request body exceeds maximum size"}"#;
const RESPONSE_TOO_LARGE: &str = r#"{"error":"Backend response body exceeds maximum size"}"#;

/// Holds JSON requests and takes `secret` out of them.
fn request_rules() -> Value {
    json!({"rules": [{"target": "body", "operation": "remove", "key": "secret"}]})
}

/// Puts a member into each JSON request, which makes it 8 bytes longer.
fn growing() -> Value {
    json!({"rules": [{"target": "body", "operation": "add", "key": "more", "value": 1}]})
}

fn builder(document: &Document, settings: &[(&str, &str)]) -> GatewayBuilder {
    let builder = Gateway::builder().document(document);
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

fn holding_requests(backend: &Backend, settings: &[(&str, &str)]) -> Gateway {
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "request_transformer", request_rules())
        .global_plugin("stdout_logging", json!({}));
    builder(&document, settings).start()
}

fn holding_responses(backend: &Backend, settings: &[(&str, &str)]) -> Gateway {
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "response_transformer", request_rules())
        .global_plugin("stdout_logging", json!({}));
    builder(&document, settings).start()
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";

fn fixed(body: &str) -> String {
    format!("{POST}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// In chunks of so many bytes, with these lines as trailers.
fn chunked(body: &str, size: usize, trailers: &str) -> String {
    let chunks: String = body
        .as_bytes()
        .chunks(size)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
        .collect();
    format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n")
}

/// A JSON text of that length.
fn json_of(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "b".repeat(length - 8))
}

// --- requests

#[test]
fn a_request_is_rewritten_and_framed_anew_and_its_connection_goes_on() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let mut client = gateway.raw();
    let body = r#"{"secret": 1, "a": [1, 2]}"#;
    for request in [fixed(body), chunked(body, 3, ""), chunked(body, 100, "X-Sum: 1\r\n"), fixed("{ \"b\": 2 }")] {
        client.send(request);
        let expected = if backend.requests().len() < 3 { r#"{"a":[1,2]}"# } else { "{ \"b\": 2 }" };
        assert_eq!(client.response().text(), expected);
    }
    let requests = backend.requests();
    assert_eq!(requests[0].framing, Framing::Length(11));
    assert_eq!(requests[1].framing, Framing::Length(11), "its length is known now");
    assert_eq!(requests[3].framing, Framing::Length(10));
    assert!(requests.iter().all(|request| request.connection == 0), "backends keep their connection too");
}

#[test]
fn trailers_of_a_request_reach_the_backend_behind_what_became_of_the_body() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let response = gateway.ask(chunked(r#"{"secret":1,"a":2}"#, 5, "X-Sum: 7\r\nContent-Length: 3\r\n"));
    assert_eq!(response.text(), r#"{"a":2}"#);
    let request = backend.only_request();
    assert_eq!((request.framing, request.trailers.names()), (Framing::Chunked, vec!["X-Sum"]));
    assert_eq!(request.trailers.get("x-sum"), Some("7"));
}

#[test]
fn a_body_without_any_bytes_is_one_of_length_0() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let mut client = gateway.raw();
    for request in [fixed(""), chunked("", 1, ""), format!("{POST}\r\n")] {
        client.send(request);
        assert_eq!(client.response().status, 200);
    }
    let framings: Vec<Framing> = backend.requests().iter().map(|request| request.framing).collect();
    assert_eq!(framings, [Framing::Length(0); 3]);
}

#[test]
fn a_held_request_of_the_limit_passes_and_one_byte_more_gets_413() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = gateway.raw();
    for request in [fixed(&json_of(1000)), chunked(&json_of(1000), 300, "")] {
        client.send(request);
        assert_eq!(client.response().text(), json_of(1000));
    }
    for request in [fixed(&json_of(1001)), chunked(&json_of(1001), 300, "")] {
        let mut client = gateway.raw();
        client.send(request);
        let refused = client.response();
        assert_eq!((refused.status, refused.text().as_str()), (413, TOO_LARGE));
        assert_eq!(refused.headers.all("content-type"), ["application/json"]);
        assert!(refused.says_close(), "{refused:?}");
        client.expect_closed();
    }
    assert_eq!(backend.requests().len(), 2, "the backend does not hear of what is too large");
    eventually("four requests are counted", || (gateway.metric("ferrum_core_requests_total") == 4).then_some(()));
    gateway.ask(fixed("{}").replace("POST / ", "POST /last "));
    gateway.wait_for_record(|record| record["request_path"] == "/last");
    eventually("three requests are recorded", || (gateway.records().len() >= 3).then_some(()));
    let statuses: Vec<Value> = gateway.records().iter().map(|record| record["response_status_code"].clone()).collect();
    assert_eq!(statuses, [200, 200, 200], "what is too large passes no plugin, not even those that log");
}

#[test]
fn what_is_announced_past_the_limit_is_refused_before_a_byte_of_it() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    for framing in ["Content-Length: 1001\r\n\r\n", "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n"] {
        let refused = gateway.ask(format!("{POST}{framing}"));
        assert_eq!((refused.status, refused.interim.len()), (413, 0), "{framing}");
    }
    let mut client = gateway.raw();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n{}", "b".repeat(1001)));
    assert_eq!(client.response().status, 413, "a chunk that says it is too large need not come");
    backend.expect_untouched();
}

#[test]
fn a_refusal_of_a_body_to_head_has_no_body() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    let refused = client.response_to_head();
    assert_eq!((refused.status, refused.header("content-length")), (413, Some("45")));
    client.expect_closed();
}

#[test]
fn the_limit_is_for_what_clients_send_and_not_for_what_rules_make_of_it() {
    let backend = Backend::echoing();
    let document = Document::all_to(backend.port()).proxy_plugin("app", "request_transformer", growing());
    let gateway = builder(&document, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]).start();
    for request in
        [fixed(&json_of(1000)), chunked(&json_of(1000), 300, ""), chunked(&json_of(1000), 300, "X-Sum: 1\r\n")]
    {
        let response = gateway.ask(request);
        assert_eq!((response.status, response.body.len()), (200, 1009));
    }
    assert_eq!(gateway.ask(fixed(&json_of(1001))).status, 413);
}

#[test]
fn a_limit_of_0_is_no_limit_for_held_requests() {
    let backend = Backend::replying(|request| Reply::text(&request.body.len().to_string()));
    let gateway = holding_requests(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "0")]);
    assert_eq!(gateway.ask(fixed(&json_of(11 << 20))).text(), (11 << 20).to_string());
}

#[test]
fn an_expecting_client_is_told_once_to_continue() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let mut client = gateway.raw();
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 7\r\n\r\n"));
    assert_eq!(client.interim().status, 100);
    client.send(r#"{"a":1}"#);
    let response = client.response();
    assert_eq!((response.text().as_str(), response.interim.len()), (r#"{"a":1}"#, 0));
    assert_eq!(client.get("/next").status, 200);
    assert_eq!(backend.requests()[0].header("expect"), Some("100-continue"), "as any other header");
}

#[test]
fn a_client_that_goes_away_while_its_body_is_awaited_is_recorded_as_499() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let gone = |record: &Value, path: &str| {
        assert_eq!(record["request_path"], path, "{record}");
        assert_eq!(
            (&record["error_class"], &record["client_disconnected"]),
            (&json!("client_disconnect"), &json!(true))
        );
        assert_eq!(record["latency_backend_total_ms"], -1.0);
    };
    let half = |path: &str| {
        let mut client = gateway.raw();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf of it"));
        client
    };
    let wait = |path: &'static str| {
        gateway.wait_for_record(|record| record["response_status_code"] == 499 && record["request_path"] == path)
    };
    half("/reset").reset();
    gone(&wait("/reset"), "/reset");
    let mut client = half("/closed");
    client.finish_sending();
    gone(&wait("/closed"), "/closed");
    drop(client);

    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &post("/stream"), false);
    client.data(1, "half of it", false);
    client.ping([1; 8]);
    client.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
    gone(&wait("/stream"), "/stream");
    client.expect_served(3);
    assert!(backend.requests().iter().all(|request| request.method == "GET"), "no half request reaches the backend");
}

fn post(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)]
}

#[test]
fn a_body_that_is_none_gets_400_and_the_backend_hears_nothing() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let mut client = gateway.raw();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n"));
    let refused = client.response();
    assert_eq!((refused.status, refused.says_close()), (400, true));
    assert_eq!(refused.text(), r#"{"error":"Request body is not valid chunked coding"}"#);
    client.expect_closed();
    backend.expect_untouched();
}

#[test]
fn waiting_for_a_slow_body_is_no_work_of_plugins() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    let mut client = gateway.raw();
    client.send(format!("{POST}Content-Length: 7\r\n\r\n"));
    client.send(r#"{"a""#);
    // The time itself is what the record is to show.
    std::thread::sleep(Duration::from_millis(300));
    client.send(":1}");
    assert_eq!(client.response().status, 200);
    let record = gateway.wait_for_record(|_| true);
    let number = |name: &str| record[name].as_f64().unwrap();
    assert!(number("latency_plugin_execution_ms") < number("latency_total_ms") / 2.0, "{record}");
    assert_eq!(record["bytes_sent"], 7);
}

#[test]
fn curl_posts_over_both_versions_up_to_the_limit() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "100000")]);
    let curl = |version: &str, body: &str| {
        let file = std::env::temp_dir().join(format!("ferrum-edge-body-{}-{}", std::process::id(), body.len()));
        std::fs::write(&file, body).expect("a file to upload");
        let data = format!("@{}", file.display());
        gateway.curl("/", &[version, "--header", "Content-Type: application/json", "--data-binary", &data])
    };
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl(version, &json_of(100_000));
        assert_eq!((answer.status, answer.exit), (200, 0), "{version}");
        assert!(answer.text() == json_of(100_000), "{version}");
        let refused = curl(version, &json_of(100_001));
        assert_eq!((refused.status, refused.text().as_str(), refused.exit), (413, TOO_LARGE, 0), "{version}");
    }
}

#[test]
fn over_http_2_a_body_past_the_limit_ends_its_stream_and_no_other() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &post("/"), false);
    client.data(1, json_of(1000), true);
    assert_eq!(client.response(1).text(), json_of(1000));
    client.request(3, &post("/"), false);
    client.data(3, json_of(900), false);
    client.data(3, json_of(101), true);
    let refused = client.response(3);
    assert_eq!((refused.status, refused.text().as_str()), (413, TOO_LARGE));
    let announced = [&post("/")[..], &[("content-length", "1001")]].concat();
    client.request(5, &announced, false);
    assert_eq!(client.response(5).status, 413);
    client.request(7, &post("/"), false);
    client.send(&Frame::data(7, flag::END_STREAM, ""));
    assert_eq!(client.response(7).status, 200);
    client.expect_served(9);
}

#[test]
fn held_bodies_of_many_clients_do_not_mix() {
    let backend = Backend::echoing();
    let gateway = holding_requests(&backend, &[]);
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.raw();
                for round in 0..20 {
                    let text = (b'a' + number) as char;
                    let body = format!("{{\"n\":\"{}\"}}", text.to_string().repeat(30_000 + 9_973 * round));
                    client.send(if round % 2 == 0 { fixed(&body) } else { chunked(&body, 7001, "") });
                    assert!(client.response().text() == body, "{number} {round}");
                }
            });
        }
    });
}

// --- every way in and out

/// Backends of all kinds behind one gateway that holds every request and every response.
struct Crossings {
    authority: Authority,
    peers: Vec<(Transport, peer::Peer)>,
    gateway: Gateway,
}

fn prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Http1 => "/h1",
        Transport::Http1Tls => "/h1s",
        Transport::H2c => "/grpc",
        Transport::Http2Tls => "/h2",
    }
}

impl Crossings {
    fn new() -> Self {
        let authority = Authority::new();
        let tls = ServerTls::showing(&authority.issue(&["127.0.0.1"]));
        let peers: Vec<(Transport, peer::Peer)> = Transport::ALL
            .map(|transport| match transport.is_tls() {
                true => (transport, peer::Peer::secured(transport, &tls)),
                false => (transport, peer::Peer::plain(transport)),
            })
            .into();
        let document = peers.iter().fold(Document::new(), |document, (transport, peer)| {
            let id = format!("{transport:?}").to_lowercase();
            let proxy = Proxy::new(&id).path(prefix(*transport)).to(peer.port());
            let bundle = authority.bundle().display().to_string();
            document.proxy(match transport.is_tls() {
                true => proxy.set("backend_scheme", "https").set("backend_tls_server_ca_cert_path", bundle),
                false => proxy,
            })
        });
        // Requests are held because they do not say what they are, responses because they say that they are JSON.
        let forget_type = json!({"operation": "remove", "key": "content-type"});
        let body = json!({"target": "body", "operation": "remove", "key": "secret"});
        let claim_type = json!({"operation": "update", "key": "content-type", "value": "application/json"});
        let document = document
            .global_plugin("request_transformer", json!({"rules": [forget_type, body]}))
            .global_plugin("response_transformer", json!({"rules": [claim_type, body]}))
            .global_plugin("stdout_logging", json!({}));
        let identity = authority.issue(&[HOST]);
        let gateway = Gateway::builder()
            .document(&document)
            .env("FERRUM_FRONTEND_TLS_CERT_PATH", identity.certificate.display())
            .env("FERRUM_FRONTEND_TLS_KEY_PATH", identity.key.display())
            .start();
        Self { authority, peers, gateway }
    }

    /// Runs a story for each pair of frontend and backend and names all pairs that fail.
    fn each(&self, story: impl AsyncFn(&mut Client, Transport) -> Result<(), String>) {
        let tls = ClientTls { bundle: self.authority.bundle(), name: HOST };
        let mut failures = Vec::new();
        for frontend in Transport::ALL {
            for (backend, _) in &self.peers {
                let told = peer::run(async {
                    let mut client = Client::connect(&self.gateway, frontend, &tls).await;
                    soon("the story is told", story(&mut client, *backend)).await
                });
                if let Err(what) = told {
                    failures.push(format!("{frontend:?} to {backend:?}: {what}"));
                }
            }
        }
        assert!(failures.is_empty(), "{} crossings fail:\n{}", failures.len(), failures.join("\n"));
    }
}

fn asking(backend: Transport, plan: &Plan, size: Size) -> Ask {
    let ask = Ask::new("POST", plan.under(prefix(backend)), size).with("te", "trailers");
    if backend == Transport::H2c { ask.with("content-type", "application/grpc") } else { ask }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: T, right: T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} and not {right:?}")) }
}

async fn whole(client: &mut Client, ask: &Ask) -> Result<Answer, String> {
    let answer = client.ask(ask).await.map_err(|fault| format!("{fault:?} for {ask:?}"))?;
    same("the upload", answer.uploaded.clone(), Ok(()))?;
    same("the end", answer.body.end.clone(), Ok(()))?;
    same("the status", answer.status, 200)?;
    same("the bytes", answer.body.intact, true)?;
    Ok(answer)
}

#[test]
fn held_bodies_of_all_sizes_cross_from_each_protocol_to_each_other() {
    let crossings = Crossings::new();
    crossings.each(async |client, backend| {
        for bytes in [0, 1, 16_384, 65_536, 300_000, 3 << 20] {
            for (size, unknown_length) in [(Size::Known(bytes), false), (Size::Unknown(bytes), true)] {
                let plan = Plan { bytes, unknown_length, ..Plan::default() };
                let answer = whole(client, &asking(backend, &plan, size)).await?;
                same("got", answer.header("x-got-bytes"), Some(bytes.to_string().as_str()))?;
                same("got intact", answer.header("x-got-intact"), Some("true"))?;
                // No length of an empty body is said over HTTP/2.
                if bytes > 0 {
                    same("length of the request", answer.header("x-got-length"), Some(bytes.to_string().as_str()))?;
                    same("length of the response", answer.header("content-length"), Some(bytes.to_string().as_str()))?;
                }
                same("said", answer.body.bytes, bytes)?;
                same("lines of one name", answer.headers.all("set-cookie"), vec!["first=1", "second=2"])?;
            }
        }
        Ok(())
    });
}

#[test]
fn trailers_cross_behind_held_bodies_in_both_directions() {
    let crossings = Crossings::new();
    crossings.each(async |client, backend| {
        for bytes in [0, 5, 200_000] {
            let plan = Plan { bytes, unknown_length: true, trailers: true, ..Plan::default() };
            let ask = asking(backend, &plan, Size::Unknown(bytes)).trailer("x-checksum", "of the request");
            let answer = whole(client, &ask).await?;
            if bytes > 0 {
                same("trailers of the request", answer.header("x-got-checksum"), Some("of the request"))?;
            }
            let checksum = format!("sum-{bytes}");
            same("trailers of the response", answer.body.trailers.get("x-checksum"), Some(checksum.as_str()))?;
            same("bytes of the response", answer.body.bytes, bytes)?;
        }
        Ok(())
    });
}

// --- responses

#[test]
fn a_response_is_rewritten_and_framed_anew_however_it_came() {
    let text = r#"{"secret": 1, "a": [1, 2]}"#;
    let backend = Backend::replying(move |request| {
        let reply = Reply::new(200).header("Content-Type", "application/json").body(text);
        match request.target.as_str() {
            "/length" => reply,
            "/chunked" => reply.chunked(3),
            "/trailers" => reply.chunked(3).trailer("X-Sum", "1"),
            _ => reply.until_close(),
        }
    });
    let gateway = holding_responses(&backend, &[]);
    let mut client = gateway.raw();
    for path in ["/length", "/chunked", "/trailers", "/close"] {
        let response = client.get(path);
        assert_eq!((response.text().as_str(), response.framing), (r#"{"a":[1,2]}"#, Framing::Length(11)), "{path}");
        let record = gateway.wait_for_record(|record| record["request_path"] == path);
        assert!(record["response_streamed"].is_null() && record["bytes_received"] == text.len(), "{record}");
        assert!(record["latency_backend_total_ms"].as_f64().unwrap() >= 0.0, "{record}");
    }
    client.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    let response = client.response();
    assert_eq!((response.text().as_str(), response.trailers.get("x-sum")), (r#"{"a":[1,2]}"#, Some("1")));
}

fn sized_backend(chunk: Option<usize>) -> Backend {
    Backend::replying(move |request| {
        let size = request.target.trim_start_matches('/').parse().expect("a size");
        let reply = Reply::new(200).header("Content-Type", "application/json").body(json_of(size));
        chunk.map_or(reply.clone(), |chunk| reply.chunked(chunk))
    })
}

#[test]
fn a_held_response_of_the_limit_passes_and_one_byte_more_becomes_502() {
    for chunk in [None, Some(300)] {
        let backend = sized_backend(chunk);
        let gateway = holding_responses(&backend, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]);
        assert_eq!(gateway.get("/1000").text(), json_of(1000));
        let mut client = gateway.raw();
        let refused = client.get("/1001");
        assert_eq!((refused.status, refused.text().as_str()), (502, RESPONSE_TOO_LARGE), "{chunk:?}");
        assert_eq!(refused.header("x-gateway-error"), Some("backend_error"));
        assert_eq!(client.get("/999").status, 200, "the client's connection goes on");
        let record = gateway.wait_for_record(|record| record["response_status_code"] == 502);
        assert_eq!(record["error_class"], "response_body_too_large", "{record}");
    }
}

#[test]
fn the_limit_is_for_what_backends_send_and_not_for_what_rules_make_of_it() {
    let backend = sized_backend(Some(300));
    let document = Document::all_to(backend.port()).proxy_plugin("app", "response_transformer", growing());
    let gateway = builder(&document, &[("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", "1000")]).start();
    assert_eq!(gateway.get("/1000").body.len(), 1009);
}

#[test]
fn a_held_response_that_breaks_off_becomes_502_and_not_half_a_response() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":");
    });
    let gateway = holding_responses(&backend, &[]);
    let response = gateway.get("/");
    assert_eq!((response.status, response.text().as_str()), (502, r#"{"error":"Backend response body read failed"}"#));
}

#[test]
fn streams_of_events_are_never_held() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        while let Some(request) = connection.read_request() {
            let content_type = if request.target == "/json" { "application/json" } else { "text/event-stream" };
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n"
            ));
            held.wait();
            connection.send("7\r\nsecond\n\r\n0\r\n\r\n");
        }
    });
    let gateway = holding_responses(&backend, &[]);
    let first_of = |path: &str, accept: &str| {
        let mut client = gateway.raw();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{accept}\r\n"));
        let head = client.head();
        assert_eq!((head.framing, client.chunk()), (Framing::Chunked, b"first\n".to_vec()), "{path}");
        client
    };
    let mut clients = [
        first_of("/events", ""),
        first_of("/events", "Accept: text/event-stream\r\n"),
        first_of("/json", "Accept: text/event-stream\r\n"),
    ];
    gate.open();
    for client in &mut clients {
        assert_eq!((client.chunk(), client.chunk().len()), (b"second\n".to_vec(), 0));
    }
}

#[test]
fn responses_that_no_rule_is_about_are_not_held() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 10\r\n\r\nfirst");
        held.wait();
        connection.send("after");
    });
    let gateway = holding_responses(&backend, &[]);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!((head.framing, client.read_some()), (Framing::Length(10), Ok(b"first".to_vec())));
    gate.open();
    assert_eq!(client.read_some(), Ok(b"after".to_vec()));
}

#[test]
fn responses_without_a_body_are_left_alone() {
    let backend = Backend::replying(|request| match request.target.as_str() {
        "/204" => Reply::new(204).header("Content-Type", "application/json").without_body(),
        "/304" => Reply::new(304).header("Content-Type", "application/json").header("ETag", "\"1\"").without_body(),
        "/empty" => Reply::new(200).header("Content-Type", "application/json"),
        _ => Reply::new(200).header("Content-Type", "application/json").body(r#"{"secret": 1}"#),
    });
    let gateway = holding_responses(&backend, &[]);
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("13")), "what the backend says of its own");
    assert_eq!(client.get("/204").headers.all("content-length"), Vec::<&str>::new());
    let unmodified = client.get("/304");
    assert_eq!((unmodified.status, unmodified.header("etag"), unmodified.body.len()), (304, Some("\"1\""), 0));
    assert_eq!(client.get("/empty").framing, Framing::Length(0));
    assert_eq!(client.get("/").text(), "{}");

    let mut client = Http2Client::connect(gateway.port());
    for (stream, method, path, status) in [(1, "HEAD", "/", 200), (3, "GET", "/204", 204), (5, "GET", "/304", 304)] {
        client.request(stream, &[(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)], true);
        assert_eq!(client.response(stream).status, status);
    }
}

#[test]
fn a_held_response_is_delivered_when_the_client_has_taken_it_and_not_before() {
    let backend = sized_backend(None);
    let gateway = holding_responses(&backend, &[]);
    // The windows of this client are 65,535 bytes, and it opens them no further.
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/1000000")], true);
    assert_eq!(client.body(1, 65_535).len(), 65_535);
    client.ping([1; 8]);
    assert_eq!(gateway.records(), Vec::<Value>::new(), "it is on its way");
    client.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(
        (&record["client_disconnected"], &record["response_status_code"]),
        (&json!(true), &json!(200)),
        "{record}"
    );
}

#[test]
fn a_client_that_takes_its_time_is_not_taken_for_a_slow_backend() {
    let backend = sized_backend(None);
    let proxy = Proxy::new("app").path("/").to(backend.port()).set("backend_read_timeout_ms", 300);
    let document = Document::new().proxy(proxy).proxy_plugin("app", "response_transformer", request_rules());
    let gateway = Gateway::running(&document);
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/1000000")], true);
    assert_eq!(client.body(1, 65_535).len(), 65_535);
    // Longer than the backend may take.
    std::thread::sleep(Duration::from_millis(600));
    for stream in [0, 1] {
        client.send(&Frame::window_update(stream, 1_000_000));
    }
    assert!(client.response(1).text() == json_of(1_000_000));
}

#[test]
fn a_client_that_goes_away_from_a_held_response_leaves_nothing_behind() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\"");
        held.wait();
        connection.send(":1}");
    });
    let gateway = holding_responses(&backend, &[]);
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    client.reset();
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(
        (&record["client_disconnected"], &record["response_status_code"]),
        (&json!(true), &json!(499)),
        "{record}"
    );
    gate.open();
}

// --- gRPC

fn grpc_rules() -> [Value; 2] {
    let body = json!({"target": "body", "operation": "remove", "key": "secret"});
    [
        json!({"rules": [{"operation": "add", "key": "x-seen", "value": "request"}, body]}),
        json!({"rules": [{"operation": "add", "key": "x-seen", "value": "response"}, body]}),
    ]
}

#[test]
fn grpc_calls_of_every_kind_pass_by_body_rules_as_they_come() {
    let server = Peer::start("grpc_server.py", &[]);
    let [request, response] = grpc_rules();
    let document = Document::all_to(server.port())
        .global_plugin("request_transformer", request)
        .global_plugin("response_transformer", response);
    let gateway = Gateway::running(&document);
    let mut client = Peer::start("grpc_client.py", &[&format!("127.0.0.1:{}", gateway.port())]);
    let answer = client.ask(json!({"do": "unary", "method": "Unary", "request": "hello"}));
    assert_eq!((&answer["code"], &answer["response"]["text"]), (&json!("OK"), &json!("hello")), "{answer}");
    assert!(answer["initial"].as_array().unwrap().contains(&json!(["x-seen", "response"])), "{answer}");
    // A message that waits for the one before it would wait for ever, if anything was held.
    client.ask(json!({"do": "open", "method": "Chat"}));
    for message in ["one", "two", "three"] {
        client.ask(json!({"do": "send", "request": message}));
        assert_eq!(client.ask(json!({"do": "receive"}))["text"], message);
    }
    assert_eq!(client.ask(json!({"do": "finish"}))["code"], "OK");
    let calls = server.events("call");
    assert!(calls[0]["metadata"].as_array().unwrap().contains(&json!(["x-seen", "request"])), "{calls:?}");
}

/// A backend for gRPC that does not mind what it gets, behind rules that make the gateway hold it.
fn holding_grpc(backend: &peer::Peer, settings: &[(&str, &str)]) -> Gateway {
    let rules = json!({"rules": [
        {"operation": "remove", "key": "content-type"},
        {"target": "body", "operation": "remove", "key": "secret"},
    ]});
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "request_transformer", rules)
        .global_plugin("stdout_logging", json!({}));
    builder(&document, settings).start()
}

fn grpc_post(path: &str) -> Vec<(&str, &str)> {
    [&post(path)[..], &[("content-type", "application/grpc"), ("te", "trailers")]].concat()
}

#[test]
fn a_held_grpc_request_of_the_limit_passes_and_one_byte_more_is_resource_exhausted() {
    let backend = peer::Peer::plain(Transport::H2c);
    let gateway = holding_grpc(
        &backend,
        &[("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", "1000"), ("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "10")],
    );
    let mut client = Http2Client::connect(gateway.port());
    let plan = Plan { bytes: 5, trailers: true, ..Plan::default() }.under("");
    client.request(1, &grpc_post(&plan), false);
    client.data(1, vec![b'x'; 500], false);
    client.data(1, vec![b'x'; 500], true);
    let passed = client.response(1);
    assert_eq!(
        (passed.status, passed.header("x-got-bytes"), passed.header("x-got-length")),
        (200, Some("1000"), Some("1000"))
    );
    assert_eq!(passed.trailers.get("x-checksum"), Some("sum-5"));
    let announced = [&grpc_post(&plan)[..], &[("content-length", "1001")]].concat();
    client.request(3, &announced, false);
    client.request(5, &grpc_post(&plan), false);
    client.data(5, vec![b'x'; 600], false);
    client.data(5, vec![b'x'; 401], true);
    let texts =
        ["gRPC request payload size exceeds maximum of 1000 bytes", "gRPC request payload size exceeds maximum"];
    for (stream, text) in [3, 5].into_iter().zip(texts) {
        let refused = client.response(stream);
        assert_eq!(
            (refused.status, refused.header("grpc-status"), refused.header("grpc-message")),
            (200, Some("8"), Some(text))
        );
        assert_eq!(refused.header("content-type"), Some("application/grpc"));
        assert!(refused.body.is_empty());
    }
    let record = gateway.wait_for_record(|record| record["error_class"].is_null());
    assert_eq!(record["metadata"]["request_body_size_bytes"], "1000", "{record}");
    let record = gateway.wait_for_record(|record| record["error_class"] == "request_body_too_large");
    assert_eq!(record["metadata"]["grpc_status"], "8", "{record}");
    assert_eq!(record["response_status_code"], 200);
}

#[test]
fn a_held_grpc_response_keeps_its_trailers_even_without_a_message() {
    let backend = peer::Peer::plain(Transport::H2c);
    let claim = json!({"operation": "update", "key": "content-type", "value": "application/json"});
    let body = json!({"target": "body", "operation": "remove", "key": "secret"});
    let document =
        Document::all_to(backend.port()).proxy_plugin("app", "response_transformer", json!({"rules": [claim, body]}));
    let gateway = Gateway::running(&document);
    let mut client = Http2Client::connect(gateway.port());
    for (stream, bytes) in [(1, 0), (3, 9)] {
        let plan = Plan { bytes, unknown_length: true, trailers: true, ..Plan::default() }.under("");
        client.request(stream, &grpc_post(&plan), true);
        let answer = client.response(stream);
        assert_eq!((answer.status, answer.body.len() as u64), (200, bytes));
        assert_eq!(answer.trailers.get("x-checksum"), Some(format!("sum-{bytes}").as_str()), "{bytes}");
    }
}

// --- requests that are refused before

#[test]
fn the_body_of_a_request_that_is_refused_before_is_not_asked_for() {
    let backend = Backend::saying("should not be reached");
    let document = Document::all_to(backend.port()).proxy_plugin("app", "key_auth", json!({})).proxy_plugin(
        "app",
        "request_transformer",
        request_rules(),
    );
    let gateway = Gateway::running(&document);
    let mut client = gateway.raw();
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n"));
    let refused = client.response();
    assert_eq!((refused.status, refused.interim.len()), (401, 0), "nobody asks for the body of a stranger");
    let mut client = gateway.raw();
    client.send(fixed("{}"));
    assert_eq!(client.response().status, 401);
    client.send(fixed("{}"));
    assert_eq!(client.response().status, 401, "a short body is read away");
    backend.expect_untouched();
}
