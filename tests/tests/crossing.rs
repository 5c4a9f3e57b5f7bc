//! Every way through the gateway: HTTP/1.1 and HTTP/2, in the clear and under TLS, on either side.
//!
//! What a client and a backend say to each other does not depend on what each of them speaks.

use std::time::Duration;

use tests::peer::crossings::{Crossings, HOST, in_time, listening, secured};
use tests::peer::{self, Answer, Ask, Client, ClientTls, Inlet, Peer, Plan, Seen, ServerTls, Size, Transport, soon};
use tests::{Authority, Document, Fault, Gateway, GatewayBuilder, Proxy, eventually};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Without limits for bodies.
fn start() -> Crossings {
    start_with(|builder| builder)
}

fn start_with(settings: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Crossings {
    let patient = |proxy: Proxy| proxy.set("backend_read_timeout_ms", 0);
    Crossings::start(patient, |document| document, |builder| settings(boundless(builder)))
}

fn boundless(builder: GatewayBuilder) -> GatewayBuilder {
    builder
        .env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 0)
        .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 0)
        .env("FERRUM_MAX_GRPC_RECV_SIZE_BYTES", 0)
}

macro_rules! check {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(format!($($said)*));
        }
    };
}

/// The answer to one request, whole.
async fn whole(client: &mut Client, ask: &Ask) -> Result<Answer, String> {
    let answer = tokio::time::timeout(Duration::from_secs(60), client.ask(ask)).await;
    let answer = answer.map_err(|_| "hangs".to_owned())?;
    let answer = answer.map_err(|fault| format!("no answer: {fault:?}"))?;
    match &answer.body.end {
        Ok(()) => Ok(answer),
        Err(fault) => Err(format!("{fault:?} after {} bytes of {}", answer.body.bytes, answer.status)),
    }
}

/// One request with a body up and one down, and all that must have arrived.
async fn there_and_back(
    crossings: &Crossings,
    client: &mut Client,
    backend: Transport,
    up: Size,
    down: Size,
) -> Result<(), String> {
    let (up_bytes, down_bytes) = (bytes_of(up), bytes_of(down));
    let unknown_length = matches!(down, Size::Unknown(_));
    let plan = Plan { bytes: down_bytes, unknown_length, trailers: unknown_length, ..Plan::default() };
    let up_has_trailers = matches!(up, Size::Unknown(_));
    let mut ask = crossings.ask(backend, "POST", &plan, up);
    let sum = format!("up-{up_bytes}");
    if up_has_trailers {
        ask = ask.trailer("x-checksum", &sum);
    }
    let answer = whole(client, &ask).await?;
    check!(answer.uploaded.is_ok(), "the upload ended with {:?}", answer.uploaded);
    check!(answer.status == 200, "status {} {:?}", answer.status, answer.headers);
    let got = |name: &str| answer.header(name).unwrap_or("missing").to_owned();
    check!(got("x-got-bytes") == up_bytes.to_string(), "{} bytes came up", got("x-got-bytes"));
    check!(got("x-got-intact") == "true", "what came up differs");
    let length = if matches!(up, Size::Unknown(_)) { "unknown".to_owned() } else { up_bytes.to_string() };
    // END_STREAM in an HTTP/2 head says that there is no body.
    let is_told = got("x-got-length") == length || (up_bytes == 0 && got("x-got-length") == "unknown");
    check!(is_told, "the backend was told the length {}", got("x-got-length"));
    let expected = if up_has_trailers { sum.as_str() } else { "none" };
    check!(got("x-got-checksum") == expected, "the backend's trailer is {:?}", got("x-got-checksum"));
    check!(answer.body.bytes == down_bytes, "{} bytes came down", answer.body.bytes);
    check!(answer.body.intact, "what came down differs");
    let told = answer.header("content-length").map(str::to_owned);
    let expected = (!unknown_length).then(|| down_bytes.to_string());
    check!(told == expected, "the client was told the length {told:?}");
    let trailer = answer.body.trailers.get("x-checksum").map(str::to_owned);
    let expected = unknown_length.then(|| format!("sum-{down_bytes}"));
    check!(trailer == expected, "the client's trailer is {trailer:?}");
    Ok(())
}

fn bytes_of(size: Size) -> u64 {
    match size {
        Size::None => 0,
        Size::Known(bytes) | Size::Unknown(bytes) => bytes,
    }
}

#[test]
fn bodies_and_trailers_arrive_as_they_were_sent() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        let mut failures = Vec::new();
        let mut client = crossings.client(frontend).await;
        for bytes in [0, 1, 64 * KIB, MIB] {
            for (up, down) in [
                (Size::Known(bytes), Size::Known(bytes)),
                (Size::Known(bytes), Size::Unknown(bytes)),
                (Size::Unknown(bytes), Size::Known(bytes)),
                (Size::Unknown(bytes), Size::Unknown(bytes)),
            ] {
                if let Err(what) = there_and_back(&crossings, &mut client, backend, up, down).await {
                    failures.push(format!("\n    {up:?} up and {down:?} down: {what}"));
                    client = crossings.client(frontend).await;
                }
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.concat()) }
    });
}

#[test]
fn long_bodies_arrive_whole_and_do_not_stay_in_memory() {
    let crossings = start();
    let long = 64 * MIB;
    let cells = [
        (Transport::Http1, Transport::Http2Tls, Size::Unknown(long), Size::None),
        (Transport::H2c, Transport::Http1, Size::Known(long), Size::None),
        (Transport::Http2Tls, Transport::Http2Tls, Size::Known(long), Size::Unknown(long)),
        (Transport::Http2Tls, Transport::Http1Tls, Size::None, Size::Known(long)),
        (Transport::Http1Tls, Transport::Http1Tls, Size::Known(long), Size::Known(long)),
        (Transport::H2c, Transport::H2c, Size::Unknown(long), Size::Unknown(long)),
    ];
    let mut failures = Vec::new();
    let before = crossings.gateway.resident_bytes();
    let most = crossings.gateway.most_memory_during(|| {
        for (frontend, backend, up, down) in cells {
            let story = in_time(async {
                let mut client = crossings.client(frontend).await;
                let down = if down == Size::None { Size::Known(0) } else { down };
                there_and_back(&crossings, &mut client, backend, up, down).await
            });
            if let Err(what) = peer::run(story) {
                failures.push(format!("{frontend:?} to {backend:?}, {up:?} up and {down:?} down: {what}"));
            }
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let grown = most.saturating_sub(before) / MIB;
    assert!(grown < 48, "{grown} MiB more in memory during bodies of 64 MiB");
}

#[test]
fn repeated_fields_stay_as_many_and_in_order() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        let mut client = crossings.client(frontend).await;
        let ask = crossings.ask(backend, "POST", &Plan::default(), Size::Known(3));
        let ask = ask.with("accept", "text/html").with("x-between", "1").with("accept", "text/plain;q=0.5");
        let answer = whole(&mut client, &ask).await?;
        let seen = crossings.peer(backend).requests().pop().expect("a request");
        check!(seen.headers.all("accept") == ["text/html", "text/plain;q=0.5"], "{:?}", seen.headers.all("accept"));
        check!(seen.headers.get("x-between") == Some("1"), "x-between is {:?}", seen.headers.get("x-between"));
        let cookies = answer.headers.all("set-cookie");
        check!(cookies == ["first=1", "second=2"], "cookies {cookies:?}");
        let many = answer.headers.all("x-many");
        check!(many == ["one", "two"] || many == ["one, two"], "x-many {many:?}");
        Ok(())
    });
}

#[test]
fn the_backend_learns_how_the_client_came() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        if backend == Transport::H2c {
            return Ok(());
        }
        let mut client = crossings.client(frontend).await;
        whole(&mut client, &crossings.ask(backend, "GET", &Plan::default(), Size::None)).await?;
        let seen = crossings.peer(backend).requests().pop().expect("a request");
        let proto = if frontend.is_tls() { "https" } else { "http" };
        let told = seen.headers.all("x-forwarded-proto");
        check!(told == [proto], "x-forwarded-proto {told:?}");
        let port = if frontend.is_tls() { crossings.gateway.https_port() } else { crossings.gateway.port() };
        let told = seen.headers.all("x-forwarded-host");
        check!(told == [format!("{HOST}:{port}")], "x-forwarded-host {told:?}");
        let version = if frontend.is_http2() { "2.0 ferrum-edge" } else { "1.1 ferrum-edge" };
        let told = seen.headers.all("via");
        check!(told == [version], "via {told:?}");
        for name in ["connection", "te", "trailer", "transfer-encoding", "upgrade", "keep-alive"] {
            // HTTP/2 lets `te: trailers` pass, and the gateway does take them.
            let told = seen.headers.get(name);
            check!(told.is_none() || (name, told) == ("te", Some("trailers")), "{name} is {told:?}");
        }
        Ok(())
    });
}

#[test]
fn the_client_learns_how_the_backend_answered_unless_the_answer_was_collected() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        if backend == Transport::H2c {
            return Ok(());
        }
        let streamed = if backend.is_http2() { "2.0 ferrum-edge" } else { "1.1 ferrum-edge" };
        let mut client = crossings.client(frontend).await;
        for (unknown_length, version) in [(false, "1.1 ferrum-edge"), (true, streamed)] {
            let plan = Plan { bytes: 1000, unknown_length, ..Plan::default() };
            let answer = whole(&mut client, &crossings.ask(backend, "GET", &plan, Size::None)).await?;
            let told = answer.headers.all("via");
            check!(told == [version], "via {told:?}, unknown length: {unknown_length}");
        }
        Ok(())
    });
}

#[test]
fn answers_without_a_body_are_so_everywhere_and_the_connection_goes_on() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        if backend == Transport::H2c {
            return Ok(());
        }
        let mut client = crossings.client(frontend).await;
        let with_length = Plan { bytes: 1000, ..Plan::default() };
        let answer = whole(&mut client, &crossings.ask(backend, "HEAD", &with_length, Size::None)).await?;
        let length = answer.header("content-length");
        check!((answer.status, length) == (200, Some("1000")), "HEAD: {} {length:?}", answer.status);
        check!(answer.body.bytes == 0, "HEAD has {} bytes", answer.body.bytes);
        let unknown = Plan { bytes: 1000, unknown_length: true, ..Plan::default() };
        let answer = whole(&mut client, &crossings.ask(backend, "HEAD", &unknown, Size::None)).await?;
        check!(answer.status == 200 && answer.body.bytes == 0, "HEAD without a length: {}", answer.status);
        for status in [204, 304] {
            for method in ["GET", "HEAD", "DELETE"] {
                let plan = Plan { status, ..Plan::default() };
                let answer = whole(&mut client, &crossings.ask(backend, method, &plan, Size::None)).await?;
                check!(answer.status == status, "{method}: {} instead of {status}", answer.status);
                check!(answer.body.bytes == 0, "{method} {status} has {} bytes", answer.body.bytes);
                let framed =
                    answer.headers.has("transfer-encoding") || (status == 204 && answer.headers.has("content-length"));
                check!(!framed, "{method} {status} is framed: {:?}", answer.headers);
            }
        }
        let plan = Plan { bytes: 10, ..Plan::default() };
        let answer = whole(&mut client, &crossings.ask(backend, "GET", &plan, Size::None)).await?;
        check!(answer.body.bytes == 10, "the next answer has {} bytes", answer.body.bytes);
        Ok(())
    });
}

#[test]
fn an_answer_comes_while_the_upload_goes_on() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        for size in [Size::Known(MIB), Size::Unknown(MIB)] {
            let mut client = crossings.client(frontend).await;
            let plan = Plan { early: true, bytes: 5000, unknown_length: true, ..Plan::default() };
            let ask = crossings.ask(backend, "POST", &plan, size);
            let (mut upload, reply) = client.begin(&ask).await.map_err(|fault| format!("{fault:?}"))?;
            // The answer may be faster than these bytes, and then nobody wants them any more.
            let _ = upload.send_pattern(0, 1000, drop).await;
            let answer = tokio::time::timeout(Duration::from_secs(20), reply.head()).await;
            let answer = answer.map_err(|_| format!("{size:?}: no answer before the end of the upload"))?;
            let (status, _, mut body) = answer.map_err(|fault| format!("{size:?}: no answer but {fault:?}"))?;
            let received = body.all().await;
            check!(status == 200, "{size:?}: status {status}");
            let came = (received.bytes, received.intact, &received.end);
            check!(came == (5000, true, &Ok(())), "{size:?}: {came:?} came");
        }
        Ok(())
    });
}

#[test]
fn a_body_that_breaks_off_arrives_broken_off() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        for (bytes, cut, unknown_length) in [
            (MIB, 600_000, false),
            (MIB, 600_000, true),
            (100_000, 1, false),
            (2000, 1000, true),
            (100_000, 99_999, true),
        ] {
            let mut client = crossings.client(frontend).await;
            let plan = Plan { bytes, unknown_length, cut_after: Some(cut), waits_for_release: true, ..Plan::default() };
            let ask = crossings.ask(backend, "POST", &plan, Size::Known(0));
            let (mut upload, reply) = client.begin(&ask).await.map_err(|fault| format!("{fault:?}"))?;
            upload.finish(None).await.map_err(|fault| format!("{fault:?}"))?;
            let (status, _, mut body) = reply.head().await.map_err(|fault| format!("{plan}: {fault:?}"))?;
            check!(status == 200, "{plan}: {status}");
            let first = body.piece().await.map_err(|fault| format!("{plan}: {fault:?}"))?;
            let first = first.ok_or_else(|| format!("{plan}: ends at once"))?.len() as u64;
            crossings.peer(backend).release();
            let received = body.rest(first).await;
            check!(received.end.is_err(), "{plan}: {} bytes look whole", received.bytes);
            check!(received.intact && received.bytes <= cut, "{plan}: {} bytes", received.bytes);
        }
        Ok(())
    });
}

#[test]
fn a_short_body_that_breaks_off_is_told_by_the_status() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        if backend == Transport::H2c {
            return Ok(());
        }
        let mut client = crossings.client(frontend).await;
        let plan = Plan { bytes: 2000, cut_after: Some(1000), ..Plan::default() };
        // A POST is not repeated on another connection.
        let answer = whole(&mut client, &crossings.ask(backend, "POST", &plan, Size::Known(1))).await?;
        check!(answer.status == 502, "status {}", answer.status);
        check!(answer.header("x-gateway-error") == Some("backend_error"), "{:?}", answer.headers);
        Ok(())
    });
}

/// The backend's view of the request for this plan.
async fn seen_by(peer: &Peer, part: &str) -> Seen {
    tokio::task::block_in_place(|| peer.wait_for_request(part))
}

async fn end_of(seen: &Seen) -> Result<(), Fault> {
    tokio::task::block_in_place(|| seen.wait_for_end())
}

#[test]
fn a_client_that_gives_up_ends_the_backends_work_and_nothing_else() {
    let crossings = start();
    crossings.each(async |frontend, backend| {
        let peer = crossings.peer(backend);
        // Before the answer, which never comes; during it; during the upload.
        let waits = Plan { bytes: 100 * MIB + peer.requests().len() as u64, hold_after: Some(0), ..Plan::default() };
        let streams = Plan { bytes: waits.bytes + 1, hold_after: Some(200_000), ..waits };
        for plan in [waits, streams] {
            let mut client = crossings.client(frontend).await;
            let mut other = frontend.is_http2().then(|| client.beside());
            let part = format!("bytes={}&", plan.bytes);
            let ask = crossings.ask(backend, "POST", &plan, Size::Known(1));
            let (mut upload, reply) = client.begin(&ask).await.map_err(|fault| format!("{fault:?}"))?;
            upload.send_pattern(0, 1, drop).await.map_err(|fault| format!("{fault:?}"))?;
            upload.finish(None).await.map_err(|fault| format!("{fault:?}"))?;
            let seen = seen_by(peer, &part).await;
            if plan == streams {
                let (_, _, mut body) = reply.head().await.map_err(|fault| format!("{fault:?}"))?;
                check!(matches!(body.piece().await, Ok(Some(_))), "{plan}: no first bytes");
                drop(body);
            } else {
                drop(reply);
            }
            drop(upload);
            drop(client);
            let end = end_of(&seen).await;
            check!(end.is_err(), "{plan}: the backend sees {end:?}");
            if let Some(other) = &mut other {
                let answer = whole(other, &crossings.ask(backend, "POST", &Plan::default(), Size::Known(9))).await?;
                check!(answer.status == 200, "{plan}: beside it {}", answer.status);
            }
        }
        let mut client = crossings.client(frontend).await;
        let mut other = frontend.is_http2().then(|| client.beside());
        let plan = Plan { bytes: streams.bytes + 1, ..Plan::default() };
        let ask = crossings.ask(backend, "POST", &plan, Size::Known(MIB));
        let (mut upload, reply) = client.begin(&ask).await.map_err(|fault| format!("{fault:?}"))?;
        upload.send_pattern(0, 100_000, drop).await.map_err(|fault| format!("{fault:?}"))?;
        let seen = seen_by(peer, &format!("bytes={}&", plan.bytes)).await;
        drop((upload, reply));
        drop(client);
        let end = end_of(&seen).await;
        check!(end.is_err(), "a cut upload looks whole to the backend");
        if let Some(other) = &mut other {
            let answer = whole(other, &crossings.ask(backend, "POST", &Plan::default(), Size::Known(9))).await?;
            check!(answer.status == 200, "beside a cut upload {}", answer.status);
        }
        Ok(())
    });
}

/// A reset that meets the head of the answer on its way is noticed as any other: the backend is not left with a request that
/// nobody waits for.
#[test]
fn clients_that_give_up_in_the_moment_of_the_answer_leave_nothing_behind() {
    const STREAMS: u64 = 400;
    let crossings = start();
    let mut left_behind = Vec::new();
    for backend in [Transport::Http1, Transport::Http2Tls] {
        let peer = crossings.peer(backend);
        peer::run(soon("all have given up", async {
            let client = crossings.client(Transport::H2c).await;
            for number in 0..STREAMS {
                let plan = Plan { bytes: MIB + number, hold_after: Some(0), ..Plan::default() };
                let mut client = client.beside();
                let given_up = client.begin(&crossings.ask(backend, "GET", &plan, Size::None)).await;
                // The backend answers as soon as it has seen the request.
                while peer.requests().len() as u64 <= number {
                    tokio::task::yield_now().await;
                }
                drop(given_up);
            }
        }));
        // The client's connection is closed as well by now.
        let unfinished = || peer.requests().iter().filter(|seen| seen.end().is_none()).count();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while unfinished() > 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if unfinished() > 0 {
            left_behind.push(format!("{backend:?}: {} of {STREAMS} requests", unfinished()));
        }
    }
    assert!(left_behind.is_empty(), "nobody ended {}", left_behind.join(" and "));
}

#[test]
fn a_reset_stream_leaves_its_neighbours_alone() {
    let crossings = start();
    for frontend in [Transport::H2c, Transport::Http2Tls] {
        peer::run(soon("the neighbours are done", async {
            let mut first = crossings.client(frontend).await;
            let mut second = first.beside();
            let third = &mut first.beside();
            let cut = Plan { bytes: 300_000, cut_after: Some(100_000), ..Plan::default() };
            let ask = crossings.ask(Transport::Http2Tls, "GET", &cut, Size::None);
            let long = Plan { bytes: 5 * MIB, ..Plan::default() };
            let neighbour = crossings.ask(Transport::Http2Tls, "GET", &long, Size::None);
            let (cut, whole) = tokio::join!(first.ask(&ask), second.ask(&neighbour));
            // The reset may come before the head was passed on.
            assert!(cut.is_err() || cut.is_ok_and(|answer| answer.status == 502 || answer.body.end.is_err()));
            let whole = whole.expect("an answer").body;
            assert_eq!((whole.bytes, whole.intact, whole.end), (5 * MIB, true, Ok(())));
            let after = third.ask(&neighbour).await.expect("an answer").body;
            assert_eq!((after.bytes, after.intact, after.end), (5 * MIB, true, Ok(())));
        }));
    }
    let peer = crossings.peer(Transport::Http2Tls);
    assert!(peer.connections().len() <= 4, "a reset stream does not cost a connection: {}", peer.connections().len());
}

#[test]
fn the_backend_chooses_between_http_2_and_http_1_1() {
    let authority = Authority::new();
    let tls = ServerTls::showing(&authority.issue(&["127.0.0.1"]));
    let both = tls.clone().alpn(&["h2", "http/1.1"]);
    let (modern, old) = (Peer::secured(Transport::Http2Tls, &both), Peer::secured(Transport::Http1Tls, &tls));
    let to = |id: &str, peer: &Peer| secured(Proxy::new(id).path(&format!("/{id}")).to(peer.port()), &authority);
    let without = Peer::secured(Transport::Http2Tls, &both);
    let document = Document::new()
        .proxy(to("modern", &modern))
        .proxy(to("old", &old))
        .proxy(to("without", &without).set("pool_enable_http2", false));
    let gateway = listening(boundless(Gateway::builder().document(&document)), &authority).start();
    let tls = ClientTls { bundle: authority.bundle(), name: HOST };
    peer::run(soon("all have answered", async {
        for frontend in Transport::ALL {
            let mut client = Client::connect(&gateway, frontend, &tls).await;
            for path in ["/modern/x", "/old/x", "/without/x"] {
                let answer = client.ask(&Ask::get(path)).await.expect("an answer");
                assert_eq!(answer.status, 200, "{path} from {frontend:?}");
            }
        }
    }));
    for (peer, expected) in [(&modern, "h2"), (&old, "http/1.1"), (&without, "http/1.1")] {
        let agreed: Vec<_> = peer.connections().iter().filter_map(|connection| connection.alpn.clone()).collect();
        assert!(!agreed.is_empty() && agreed.iter().all(|name| name == expected), "{agreed:?}, not {expected}");
    }
}

#[test]
fn a_client_that_reads_slowly_stops_the_backend_and_costs_no_memory() {
    // What the backend may send ahead is held, so this window is a part of what the slow client costs. One core: the rings and
    // pools of a core that meets its first connection are not.
    let crossings =
        start_with(|builder| builder.env("FERRUM_POOL_HTTP2_INITIAL_STREAM_WINDOW_SIZE", MIB).env("FERRUM_CORES", "0"));
    for (frontend, backend) in [
        (Transport::Http2Tls, Transport::Http2Tls),
        (Transport::H2c, Transport::Http1),
        (Transport::Http2Tls, Transport::Http1Tls),
        (Transport::H2c, Transport::H2c),
    ] {
        let peer = crossings.peer(backend);
        let warm = Plan { bytes: 16 * MIB, ..Plan::default() };
        let plan = Plan { bytes: 64 * MIB, ..Plan::default() };
        let tls = crossings.tls();
        let (grown, stalled_at, rest) = peer::run(soon("the slow client is done", async {
            // The core has what it needs then.
            for _ in 0..4 {
                let mut quick = crossings.client(frontend).await;
                whole(&mut quick, &crossings.ask(backend, "POST", &warm, Size::Known(1)))
                    .await
                    .expect("the way is open");
            }
            let before = crossings.gateway.resident_bytes();
            let mut client = Client::connect_with_window(&crossings.gateway, frontend, &tls, 65_535, 65_535).await;
            let ask = crossings.ask(backend, "POST", &plan, Size::Known(0));
            let (mut upload, reply) = client.begin(&ask).await.expect("a request");
            upload.finish(None).await.expect("its end");
            let (status, _, mut body) = reply.head().await.expect("an answer");
            assert_eq!(status, 200);
            let seen = seen_by(peer, &format!("bytes={}&", plan.bytes)).await;
            // The client's window is used up by itself; nothing is read until the backend's count stands still.
            let stalled_at = tokio::task::block_in_place(|| stands_still(&seen));
            let grown = crossings.gateway.resident_bytes().saturating_sub(before);
            (grown, stalled_at, rest_of(&mut body).await)
        }));
        let way = format!("{frontend:?} to {backend:?}");
        assert!(stalled_at < 24 * MIB, "{way}: {} MiB were taken for a client that does not read", stalled_at / MIB);
        assert!(grown < 8 * MIB, "{way}: {} KiB more in memory", grown / KIB);
        assert_eq!(rest, (64 * MIB, true, Ok(())), "{way}");
    }
}

async fn rest_of(body: &mut Inlet<'_>) -> (u64, bool, Result<(), Fault>) {
    let received = body.all().await;
    (received.bytes, received.intact, received.end)
}

/// What the backend has sent when it got no further for a while.
fn stands_still(seen: &Seen) -> u64 {
    let (mut last, mut since) = (0, std::time::Instant::now());
    eventually("the backend's sending stalls", || {
        let now = seen.sent();
        if now != last {
            (last, since) = (now, std::time::Instant::now());
        }
        (now > 0 && since.elapsed() > Duration::from_secs(1)).then_some(now)
    })
}

#[test]
fn many_streams_share_few_connections_to_the_backend() {
    let crossings =
        start_with(|builder| builder.env("FERRUM_POOL_HTTP2_CONNECTIONS_PER_HOST", 2).env("FERRUM_CORES", "0,1"));
    let peer = crossings.peer(Transport::Http2Tls);
    let plan = Plan { bytes: 100_000, ..Plan::default() };
    let ask = crossings.ask(Transport::Http2Tls, "GET", &plan, Size::None);
    peer::run(soon("all hundred are answered", async {
        let client = crossings.client(Transport::Http2Tls).await;
        let mut streams = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (mut client, ask) = (client.beside(), ask.clone());
            streams.spawn(async move { client.ask(&ask).await });
        }
        for answer in streams.join_all().await {
            let body = answer.expect("an answer").body;
            assert_eq!((body.bytes, body.intact, body.end), (100_000, true, Ok(())));
        }
    }));
    assert_eq!(peer.requests().len(), 100);
    let connections = peer.connections().len();
    assert!(connections <= 2, "one client connection is on one core, but the backend has {connections} connections");
}
