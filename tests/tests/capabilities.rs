//! What backends are asked before and beside the traffic: which HTTP versions they speak, and one `HEAD /`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::peer::{Peer, ServerTls, Transport};
use tests::{
    Authority, Backend, Document, Gateway, GatewayBuilder, Identity, Proxy, RawClient, RefusingPort, Response,
    eventually,
};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// With the probes that the harness leaves out otherwise.
fn probing(document: &Document) -> GatewayBuilder {
    Gateway::builder()
        .document(document)
        .env("FERRUM_BACKEND_CAPABILITY_PROBE_ENABLED", "true")
        .env("FERRUM_ADMIN_JWT_SECRET", SECRET)
}

/// With probes and the warm-up before the gateway says that it is ready.
fn warmed_up(document: &Document) -> GatewayBuilder {
    probing(document).env("FERRUM_POOL_WARMUP_ENABLED", "true")
}

fn call(gateway: &Gateway, role: &str, method: &str, path: &str) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({
        "iss": "ferrum-edge", "sub": "ops", "role": role, "iat": now, "nbf": now, "exp": now + 600, "jti": "1",
    });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token");
    let mut client = RawClient::connect(gateway.admin_port());
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    ));
    client.response()
}

fn entries(gateway: &Gateway) -> Vec<Value> {
    let answer = call(gateway, "viewer", "GET", "/backend-capabilities");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["entries"].as_array().expect("a list").clone()
}

/// The entry of the backend on this port of the loopback address.
#[track_caller]
fn entry(gateway: &Gateway, port: u16) -> Value {
    let entries = entries(gateway);
    let at = format!("|127.0.0.1|{port}|");
    let mut found = entries.iter().filter(|entry| entry["key"].as_str().is_some_and(|key| key.contains(&at)));
    let entry = found.next().unwrap_or_else(|| panic!("no entry for {port} in {entries:?}"));
    assert!(found.next().is_none(), "one entry for {port} in {entries:?}");
    entry.clone()
}

#[track_caller]
fn refresh(gateway: &Gateway) {
    let answer = call(gateway, "operator", "POST", "/backend-capabilities/refresh");
    assert_eq!((answer.status, answer.json()), (200, json!({"status": "refreshed"})));
}

/// An HTTP/1.1 server as most are: HTTP/2 is a bad request.
fn plain_http1() -> Backend {
    Backend::scripted(|connection| {
        let is_http2 = connection.read_some().starts_with(b"PRI ");
        let status = if is_http2 { "400 Bad Request" } else { "200 OK" };
        connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        connection.wait_closed();
    })
}

fn to(id: &str, port: u16) -> Proxy {
    Proxy::new(id).path(&format!("/{id}")).to(port)
}

fn over_tls(id: &str, port: u16, authority: &Authority) -> Proxy {
    let bundle = authority.bundle().display().to_string();
    to(id, port).set("backend_scheme", "https").set("backend_tls_server_ca_cert_path", bundle)
}

fn secured(transport: Transport, identity: &Identity) -> Peer {
    Peer::secured(transport, &ServerTls::showing(identity))
}

#[test]
fn a_gateway_that_is_ready_knows_what_its_backends_speak() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let (plain, h2c) = (plain_http1(), Peer::plain(Transport::H2c));
    let (http1, http2) = (secured(Transport::Http1Tls, &identity), secured(Transport::Http2Tls, &identity));
    let document = Document::new()
        .proxy(to("plain", plain.port()))
        .proxy(to("same-backend", plain.port()))
        .proxy(to("h2c", h2c.port()))
        .proxy(over_tls("http1", http1.port(), &authority))
        .proxy(over_tls("http2", http2.port(), &authority));
    let gateway = warmed_up(&document).start();

    let (bundle, port) = (authority.bundle().display().to_string(), http2.port());
    let entry_of_http2 = entry(&gateway, port);
    assert_eq!(entry_of_http2["key"], format!("https|127.0.0.1|{port}||{bundle}|||||1|svidg=static|"));
    assert!(entry_of_http2["last_probe_at_unix_secs"].as_u64().is_some_and(|at| at > 1_700_000_000));
    let spoken = |port| {
        let entry = entry(&gateway, port);
        assert_eq!((&entry["hbone"], &entry["last_probe_error"]), (&json!("unknown"), &Value::Null), "{entry}");
        (entry["plain_http"].clone(), entry["grpc_transport"].clone())
    };
    let http = |h1: &str, h2_tls: &str, h3: &str| json!({"h1": h1, "h2_tls": h2_tls, "h3": h3});
    let grpc = |h2_tls: &str, h2c: &str| json!({"h2_tls": h2_tls, "h2c": h2c});
    let in_the_clear = http("supported", "unknown", "unsupported");
    assert_eq!(spoken(plain.port()), (in_the_clear.clone(), grpc("unknown", "unsupported")));
    assert_eq!(spoken(h2c.port()), (in_the_clear, grpc("unknown", "supported")));
    assert_eq!(spoken(http1.port()), (http("supported", "unsupported", "unknown"), grpc("unsupported", "unknown")));
    assert_eq!(spoken(http2.port()), (http("supported", "supported", "unknown"), grpc("supported", "unknown")));
    assert_eq!(entries(&gateway).len(), 4, "two proxies share a backend");
    assert!(h2c.requests().is_empty() && http2.requests().is_empty(), "a probe sends no request");
}

#[test]
fn the_warm_up_asks_backends_under_tls_as_requests_would() {
    let authority = Authority::new();
    let client = authority.issue(&["gateway"]);
    let tls = ServerTls::showing(&authority.issue(&["127.0.0.1"])).requiring(&authority.bundle());
    let either = tls.clone().alpn(&["h2", "http/1.1"]);
    let http1 = Peer::secured(Transport::Http1Tls, &tls);
    let (http2, reluctant) = (Peer::secured(Transport::Http2Tls, &either), Peer::secured(Transport::Http2Tls, &either));
    let showing = |id: &str, peer: &Peer| {
        over_tls(id, peer.port(), &authority)
            .set("backend_tls_client_cert_path", client.certificate.display().to_string())
            .set("backend_tls_client_key_path", client.key.display().to_string())
    };
    let document = Document::new()
        .proxy(showing("http1", &http1))
        .proxy(showing("http2", &http2))
        .proxy(showing("reluctant", &reluctant).set("pool_enable_http2", false));
    let _gateway = warmed_up(&document).start();
    let asked = |peer: &Peer| -> Vec<(String, String)> {
        peer.requests().into_iter().map(|seen| (seen.method, seen.target)).collect()
    };
    let head = [("HEAD".to_owned(), "/".to_owned())];
    assert_eq!(asked(&http1), head);
    assert_eq!(asked(&http2), [], "it is known to speak HTTP/2");
    assert_eq!(asked(&reluctant), head, "its proxy does not want HTTP/2");
    for (peer, last) in [(&http1, "http/1.1"), (&reluctant, "http/1.1"), (&http2, "h2")] {
        let connections = peer.connections();
        assert!(connections.iter().all(|connection| connection.client_certificate), "{connections:?}");
        assert_eq!(connections.last().and_then(|connection| connection.alpn.as_deref()), Some(last));
    }
}

#[test]
fn a_backend_that_cannot_be_asked_is_unknown_and_the_reason_is_told() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let silent = Backend::scripted(|connection| {
        connection.wait_closed();
    });
    let refusing = RefusingPort::new();
    let unbelieved = secured(Transport::Http2Tls, &stranger.issue(&["127.0.0.1"]));
    let document = Document::new()
        .proxy(to("silent", silent.port()).set("backend_connect_timeout_ms", 50))
        .proxy(to("refusing", refusing.port()))
        .proxy(over_tls("unbelieved", unbelieved.port(), &authority));
    let gateway = probing(&document).start();
    refresh(&gateway);
    for (port, reason) in [
        (silent.port(), "no answer within 50 ms"),
        (refusing.port(), "refused"),
        (unbelieved.port(), "TLS handshake: "),
    ] {
        let entry = entry(&gateway, port);
        let error = entry["last_probe_error"].as_str().unwrap_or_else(|| panic!("no error in {entry}"));
        assert!(error.contains(reason), "{error}");
        assert_eq!(entry["grpc_transport"], json!({"h2_tls": "unknown", "h2c": "unknown"}), "{entry}");
    }
    assert_eq!(gateway.get("/refusing").status, 502, "the gateway runs all the same");
}

#[test]
fn a_forbidden_address_is_not_asked() {
    let backend = Backend::saying("ok");
    let document = Document::new().proxy(to("app", backend.port()).set("backend_host", "backend.internal.test"));
    let gateway = warmed_up(&document)
        .env("FERRUM_DNS_OVERRIDES", r#"{"backend.internal.test":"127.0.0.1"}"#)
        .env("FERRUM_BACKEND_ALLOW_IPS", "public")
        .start();
    refresh(&gateway);
    let error = entries(&gateway)[0]["last_probe_error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("FERRUM_BACKEND_ALLOW_IPS")), "{error}");
    backend.expect_untouched();
}

#[test]
fn a_reload_asks_only_what_is_new_and_forgets_what_is_gone() {
    let [kept, gone, new] = [(); 3].map(|()| Peer::plain(Transport::H2c));
    let gateway = probing(&Document::new().proxy(to("kept", kept.port())).proxy(to("gone", gone.port()))).start();
    let is_known = |port| entry(&gateway, port)["grpc_transport"]["h2c"] == "supported";
    eventually("both backends are asked", || (is_known(kept.port()) && is_known(gone.port())).then_some(()));
    gateway.reload(&Document::new().proxy(to("kept", kept.port())).proxy(to("new", new.port())));
    assert!(is_known(kept.port()), "at once");
    eventually("the new backend is asked", || is_known(new.port()).then_some(()));
    assert_eq!(entries(&gateway).len(), 2);
    assert_eq!([&kept, &gone, &new].map(|peer| peer.connections().len()), [1, 1, 1]);
    refresh(&gateway);
    assert_eq!([&kept, &gone, &new].map(|peer| peer.connections().len()), [2, 1, 2], "all of today's are asked");
}

#[test]
fn targets_of_an_upstream_are_asked_with_its_tls_and_at_the_interval() {
    let authority = Authority::new();
    let identity = authority.issue(&["inner.example.com"]);
    let peer = secured(Transport::Http2Tls, &identity);
    let upstream = json!({
        "id": "pool",
        "targets": [{"host": "127.0.0.1", "port": peer.port()}],
        "backend_tls_server_ca_cert_path": authority.bundle().display().to_string(),
        "backend_tls_sni": "inner.example.com",
    });
    let proxy = Proxy::new("app").path("/").set("backend_scheme", "https").set("backend_host", "unused.test");
    let document = Document::new().proxy(proxy.set("backend_port", 1).set("upstream_id", "pool")).upstream(upstream);
    // Zero acts as one.
    let gateway = probing(&document).env("FERRUM_BACKEND_CAPABILITY_REFRESH_INTERVAL_SECS", 0).start();
    eventually("it is asked a third time", || (peer.connections().len() >= 3).then_some(()));
    assert!(peer.connections().iter().all(|seen| seen.server_name.as_deref() == Some("inner.example.com")));
    let entries = entries(&gateway);
    assert_eq!(entries.len(), 1, "the proxy's own backend is never used: {entries:?}");
    assert_eq!(entries[0]["plain_http"]["h2_tls"], "supported");
}

#[test]
fn without_probes_backends_are_asked_on_demand_only() {
    let peer = Peer::plain(Transport::H2c);
    let document = Document::all_to(peer.port());
    let gateway = probing(&document).env("FERRUM_BACKEND_CAPABILITY_PROBE_ENABLED", "false").start();
    gateway.reload(&document);
    assert_eq!(entry(&gateway, peer.port())["last_probe_at_unix_secs"], Value::Null);
    assert!(peer.connections().is_empty());
    let refused = call(&gateway, "viewer", "POST", "/backend-capabilities/refresh");
    assert_eq!(refused.status, 403);
    refresh(&gateway);
    assert_eq!(entry(&gateway, peer.port())["grpc_transport"]["h2c"], "supported");
}
