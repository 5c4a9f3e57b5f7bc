//! Bodies of every size and framing arrive as they were sent.

use tests::{Backend, Document, Framing, Gateway, Proxy, RawClient, Reply};

/// Sizes around the buffer sizes such a program has, and the default limit itself.
const SIZES: [usize; 8] = [0, 1, 4095, 16_384, 65_535, 65_536, 65_537, 10 << 20];

/// Bytes that differ from place to place, so that a lost, doubled or moved block shows.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn post(client: &mut RawClient, body: &[u8], chunk: Option<usize>) {
    let Some(chunk) = chunk else {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(body);
        return;
    };
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(chunk) {
        client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
}

#[track_caller]
fn same(left: &[u8], right: &[u8]) {
    let first = left.iter().zip(right).position(|(a, b)| a != b);
    assert!(left == right, "{} and {} bytes, first difference at {first:?}", left.len(), right.len());
}

#[test]
fn bodies_of_known_length_arrive_whole_both_ways() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for size in SIZES {
        let body = pattern(size);
        post(&mut client, &body, None);
        let response = client.response();
        same(&response.body, &body);
        assert_eq!(response.framing, Framing::Length(size as u64));
    }
    let sizes: Vec<Framing> = backend.requests().iter().map(|request| request.framing).collect();
    assert_eq!(sizes, SIZES.map(|size| Framing::Length(size as u64)));
}

#[test]
fn chunked_bodies_arrive_whole_both_ways() {
    let backend = Backend::replying(|request| Reply::new(200).body(request.body.clone()).chunked(10_007));
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for size in SIZES {
        for chunk in [8191, 1 << 20] {
            let body = pattern(size);
            post(&mut client, &body, Some(chunk));
            same(&client.response().body, &body);
        }
    }
    for (request, size) in backend.requests().iter().zip(SIZES.iter().flat_map(|size| [size, size])) {
        same(&request.body, &pattern(*size));
    }
}

#[test]
fn a_body_in_thousands_of_tiny_chunks_arrives_whole() {
    let backend = Backend::replying(|request| Reply::new(200).body(request.body.clone()).chunked(1));
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    let body = pattern(5000);
    post(&mut client, &body, Some(1));
    same(&client.response().body, &body);
}

#[test]
fn a_body_that_the_backend_ends_by_closing_arrives_whole() {
    let backend = Backend::replying(|request| {
        let size = request.target.trim_start_matches('/').parse().expect("a size");
        Reply::new(200).body(pattern(size)).until_close()
    });
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    for size in [0, 1, 65_537, 1 << 20] {
        same(&client.get(&format!("/{size}")).body, &pattern(size));
    }
}

#[test]
fn a_buffered_route_gives_the_same_bytes() {
    let backend = Backend::replying(|request| {
        let reply = Reply::new(200).body(request.body.clone());
        if request.target == "/chunked" { reply.chunked(999) } else { reply }
    });
    let proxy = Proxy::new("app").path("/").set("response_body_mode", "buffer").to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    for size in SIZES {
        let (mut client, body) = (gateway.raw(), pattern(size));
        for path in ["/length", "/chunked"] {
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
            client.send(&body);
            same(&client.response().body, &body);
        }
    }
}

#[test]
fn trailers_of_a_response_reach_a_client_that_says_it_looks_at_them() {
    let backend =
        Backend::replying(|_| Reply::text("body").chunked(2).trailer("X-Sum", "1").trailer("Set-Cookie", "a"));
    let gateway = Gateway::in_front_of(backend.port());
    let response = gateway.get("/");
    assert_eq!(response.text(), "body");
    assert!(response.trailers.names().is_empty(), "{:?}", response.trailers);
    let response = gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert_eq!(response.text(), "body");
    assert_eq!(response.trailers.names(), ["X-Sum"], "{:?}", response.trailers);
}

#[test]
fn a_post_without_any_body_is_a_post_with_an_empty_body() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.get("/next").status, 200);
    assert!(backend.requests()[0].body.is_empty());
}

#[test]
fn curl_uploads_and_downloads_the_same_bytes() {
    let backend = Backend::replying(|request| Reply::new(200).body(request.body.clone()).chunked(1 << 16));
    let gateway = Gateway::in_front_of(backend.port());
    let file = std::env::temp_dir().join(format!("ferrum-edge-upload-{}", std::process::id()));
    std::fs::write(&file, pattern(3 << 20)).expect("a file to upload");
    let path = file.to_str().expect("a path in UTF-8");
    let plain = gateway.curl("/", &["--data-binary", &format!("@{path}")]);
    let chunked = gateway.curl("/", &["--upload-file", path, "--header", "Transfer-Encoding: chunked"]);
    std::fs::remove_file(&file).expect("the file goes away");
    assert_eq!((plain.exit, chunked.exit), (0, 0));
    same(&plain.body, &pattern(3 << 20));
    same(&chunked.body, &pattern(3 << 20));
}

#[test]
fn bodies_of_many_clients_do_not_mix() {
    let backend = Backend::echoing();
    let gateway = Gateway::in_front_of(backend.port());
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.raw();
                for round in 0..20 {
                    let body = vec![number; 50_000 + 997 * round];
                    post(&mut client, &body, (round % 2 == 0).then_some(7001));
                    same(&client.response().body, &body);
                }
            });
        }
    });
}
