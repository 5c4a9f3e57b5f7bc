//! TLS towards backends: whom the gateway believes, as whom it shows itself, and what a client gets when that fails.

use serde_json::{Value, json};
use tests::peer::{Peer, ServerTls, Transport};
use tests::{Authority, Backend, Document, Gate, Gateway, GatewayBuilder, Identity, Proxy, Validity};

const NAME: &str = "inner.example.com";
const BOTH: [Transport; 2] = [Transport::Http1Tls, Transport::Http2Tls];

fn over_tls(id: &str, port: u16) -> Proxy {
    Proxy::new(id).path(&format!("/{id}")).to(port).set("backend_scheme", "https")
}

fn trusting(proxy: Proxy, authority: &Authority) -> Proxy {
    proxy.set("backend_tls_server_ca_cert_path", authority.bundle().display().to_string())
}

fn showing(proxy: Proxy, identity: &Identity) -> Proxy {
    proxy
        .set("backend_tls_client_cert_path", identity.certificate.display().to_string())
        .set("backend_tls_client_key_path", identity.key.display().to_string())
}

fn logged(document: Document) -> GatewayBuilder {
    Gateway::builder().document(&document.global_plugin("stdout_logging", json!({})))
}

/// One proxy `app`.
fn only(proxy: Proxy) -> GatewayBuilder {
    logged(Document::new().proxy(proxy))
}

/// A proxy and its upstream with one target and these fields.
fn with_upstream(document: Document, id: &str, port: u16, fields: Value) -> Document {
    let mut upstream = json!({"id": format!("up-{id}"), "targets": [{"host": "127.0.0.1", "port": port}]});
    upstream.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let proxy = over_tls(id, 1).set("upstream_id", format!("up-{id}"));
    document.proxy(proxy).upstream(upstream)
}

/// Status, body and `X-Gateway-Error` of an answer, and the `error_class` of its record.
type Failure = (u16, String, Option<String>, String);

/// What a client gets when the backend had no request.
fn unavailable(class: &str) -> Failure {
    (502, r#"{"error":"Backend unavailable"}"#.to_owned(), Some("connection_failure".to_owned()), class.to_owned())
}

/// `None` if the answer is 200.
fn failure_of(gateway: &Gateway, path: &str) -> Option<Failure> {
    let answer = gateway.get(path);
    if answer.status == 200 {
        return None;
    }
    let record = gateway.wait_for_record(|record| record["request_path"] == path);
    let class = record["error_class"].as_str().unwrap_or("none").to_owned();
    Some((answer.status, answer.text(), answer.header("x-gateway-error").map(str::to_owned), class))
}

#[track_caller]
fn refused(gateway: &Gateway, path: &str) {
    let failure = failure_of(gateway, path).unwrap_or_else(|| panic!("{path} should have failed"));
    assert_eq!(failure, unavailable("tls_error"), "{path}");
}

#[track_caller]
fn works(gateway: &Gateway, path: &str) {
    assert_eq!(failure_of(gateway, path), None, "{path}");
}

#[test]
fn a_backend_is_believed_if_the_authority_of_its_proxy_vouches_for_its_name_or_address() {
    let authority = Authority::new();
    for transport in BOTH {
        let by_address = Peer::secured(transport, &ServerTls::showing(&authority.issue(&["127.0.0.1"])));
        let by_name = Peer::secured(transport, &ServerTls::showing(&authority.issue(&[NAME])));
        let named = over_tls("name", by_name.port()).set("backend_host", NAME).set("dns_override", "127.0.0.1");
        let document = Document::new()
            .proxy(trusting(over_tls("address", by_address.port()), &authority))
            .proxy(trusting(named, &authority));
        let gateway = logged(document).start();
        works(&gateway, "/address");
        works(&gateway, "/name");
        // RFC 6066 §3: an address is no server name.
        assert_eq!(by_address.connections()[0].server_name, None);
        assert_eq!(by_name.connections()[0].server_name.as_deref(), Some(NAME));
        assert_eq!(by_name.connections()[0].version.as_deref(), Some("TLSv1_3"));
    }
}

#[test]
fn a_backend_that_cannot_prove_who_it_is_gets_no_request() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let rows = [
        ("stranger", stranger.issue(&["127.0.0.1"])),
        ("expired", authority.issue_for(&["127.0.0.1"], Validity::PAST)),
        ("future", authority.issue_for(&["127.0.0.1"], Validity::FUTURE)),
        ("name", authority.issue(&["other.example.com"])),
        ("address", authority.issue(&["127.0.0.2"])),
    ];
    for transport in BOTH {
        let peers = rows.each_ref().map(|(id, shown)| (*id, Peer::secured(transport, &ServerTls::showing(shown))));
        let document = peers.iter().fold(Document::new(), |document, (id, peer)| {
            document.proxy(trusting(over_tls(id, peer.port()), &authority))
        });
        let gateway = logged(document).start();
        for (id, peer) in &peers {
            refused(&gateway, &format!("/{id}"));
            assert!(peer.requests().is_empty(), "{id}");
        }
    }
}

#[test]
fn without_a_bundle_only_public_authorities_are_believed() {
    let authority = Authority::new();
    let peer = Peer::secured(Transport::Http1Tls, &ServerTls::showing(&authority.issue(&["127.0.0.1"])));
    refused(&only(over_tls("app", peer.port())).start(), "/app");
}

#[test]
fn a_call_of_grpc_learns_that_the_backend_is_unavailable() {
    let stranger = Authority::new();
    let peer = Peer::secured(Transport::Http2Tls, &ServerTls::showing(&stranger.issue(&["127.0.0.1"])));
    let gateway = only(trusting(over_tls("app", peer.port()), &Authority::new())).start();
    let call = "POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    let answer = gateway.ask(call);
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("14")));
}

#[test]
fn verification_that_is_switched_off_is_loudly_so() {
    let stranger = Authority::new();
    let shown = stranger.issue_for(&["nobody.example.com"], Validity::PAST);
    for transport in BOTH {
        let peer = Peer::secured(transport, &ServerTls::showing(&shown));
        let proxy = over_tls("app", peer.port());
        let gateway = only(proxy.clone().set("backend_tls_verify_server_cert", false)).start();
        works(&gateway, "/app");
        let (stdout, stderr) = gateway.output();
        let lines = [stdout, stderr].concat();
        let warning = lines.iter().find(|line| line.contains("backend_tls_verify_server_cert is false"));
        let warning = warning.unwrap_or_else(|| panic!("no warning in {lines:#?}"));
        assert!(warning.contains("WARN") && warning.contains("'app'"), "{warning}");

        let gateway = only(proxy).env("FERRUM_TLS_NO_VERIFY", "true").start();
        works(&gateway, "/app");
        gateway.wait_for_log(|text| text.contains("FERRUM_TLS_NO_VERIFY"));
    }
}

#[test]
fn the_bundle_of_the_settings_is_for_those_without_one() {
    let (general, special) = (Authority::new(), Authority::new());
    let at = |authority: &Authority| {
        Peer::secured(Transport::Http1Tls, &ServerTls::showing(&authority.issue(&["127.0.0.1"])))
    };
    let (of_general, of_special) = (at(&general), at(&special));
    let document = Document::new()
        .proxy(over_tls("general", of_general.port()))
        .proxy(trusting(over_tls("special", of_special.port()), &special))
        .proxy(trusting(over_tls("replaced", of_general.port()), &special))
        .proxy(over_tls("unknown", of_special.port()));
    let gateway = logged(document).env("FERRUM_TLS_CA_BUNDLE_PATH", general.bundle().display()).start();
    works(&gateway, "/general");
    works(&gateway, "/special");
    // The same backend, over connections that the other proxies would trust.
    refused(&gateway, "/replaced");
    refused(&gateway, "/unknown");
}

#[test]
fn a_connection_of_one_proxy_is_not_lent_to_another_that_trusts_less() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = authority.issue(&["127.0.0.1", NAME]);
    let alice = authority.issue(&["alice"]);
    for transport in BOTH {
        let peer = Peer::secured(transport, &ServerTls::showing(&identity));
        let base = |id: &str| over_tls(id, peer.port());
        let ca = authority.bundle().display().to_string();
        let document = Document::new()
            .proxy(base("blind").set("backend_tls_verify_server_cert", false))
            .proxy(trusting(base("trusting"), &authority))
            .proxy(showing(trusting(base("alice"), &authority), &alice))
            .proxy(trusting(base("wary"), &stranger));
        let picky = json!({"backend_tls_server_ca_cert_path": ca, "backend_tls_san_allow_list": ["other.example.com"]});
        let document = with_upstream(document, "picky", peer.port(), picky);
        let elsewhere = json!({"backend_tls_server_ca_cert_path": ca, "backend_tls_sni": "other.example.com"});
        let document = with_upstream(document, "elsewhere", peer.port(), elsewhere);
        let gateway = logged(document).env("FERRUM_CORES", 0).start();
        for _ in 0..2 {
            ["/blind", "/trusting", "/alice"].iter().for_each(|path| works(&gateway, path));
            ["/wary", "/picky", "/elsewhere"].iter().for_each(|path| refused(&gateway, path));
        }
        assert_eq!(peer.requests().len(), 6, "{transport:?}");
        assert_eq!(peer.connections().len(), 3, "{transport:?}: one for each that is trusted");
    }
}

#[test]
fn a_backend_that_wants_a_certificate_is_shown_the_proxys_or_the_gateways() {
    let authority = Authority::new();
    let (server, own, global) =
        (authority.issue(&["127.0.0.1"]), authority.issue(&["own"]), authority.issue(&["edge"]));
    let stranger = Authority::new();
    let foreign = stranger.issue(&["mallory"]);
    let tls = ServerTls::showing(&server).requiring(&authority.bundle());
    let mut surprises = Vec::new();
    let cells =
        BOTH.map(|transport| [(transport, tls.clone().only_tls_1_2()), (transport, tls.clone().only_tls_1_3())]);
    for (transport, tls) in cells.into_iter().flatten() {
        let peer = Peer::secured(transport, &tls);
        let none = trusting(over_tls("app", peer.port()), &authority);
        works(&only(showing(none.clone(), &own)).start(), "/app");
        let case = format!("{transport:?} {:?}", peer.connections()[0].version);
        let gateway = only(none.clone())
            .env("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH", global.certificate.display())
            .env("FERRUM_BACKEND_TLS_CLIENT_KEY_PATH", global.key.display())
            .start();
        works(&gateway, "/app");
        assert!(peer.connections().iter().all(|connection| connection.client_certificate), "{case}");
        assert_eq!(peer.requests().len(), 2, "{case}");

        let without = only(none.clone()).start();
        // The proxy's own comes before the gateway's, even if it is not the better one.
        let with_a_strangers = only(showing(none, &foreign))
            .env("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH", global.certificate.display())
            .env("FERRUM_BACKEND_TLS_CLIENT_KEY_PATH", global.key.display())
            .start();
        for (gateway, what) in [(without, "without"), (with_a_strangers, "with a stranger's")] {
            let failure = failure_of(&gateway, "/app");
            if failure != Some(unavailable("tls_error")) {
                surprises.push(format!("{case} {what}: {failure:?}"));
            }
        }
        assert_eq!(peer.requests().len(), 2, "{case}");
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn with_an_upstream_its_fields_count_and_not_the_proxys() {
    let (right, wrong) = (Authority::new(), Authority::new());
    let client = right.issue(&["edge"]);
    let tls = ServerTls::showing(&right.issue(&["127.0.0.1"])).requiring(&right.bundle());
    let peer = Peer::secured(Transport::Http1Tls, &tls);
    let full = json!({
        "backend_tls_server_ca_cert_path": right.bundle().display().to_string(),
        "backend_tls_client_cert_path": client.certificate.display().to_string(),
        "backend_tls_client_key_path": client.key.display().to_string(),
    });
    let mistaken = json!({"backend_tls_server_ca_cert_path": wrong.bundle().display().to_string()});
    let upstream = |id: &str, fields: Value| {
        let mut upstream = json!({"id": id, "targets": [{"host": "127.0.0.1", "port": peer.port()}]});
        upstream.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        upstream
    };
    let document = Document::new()
        .proxy(trusting(over_tls("good", 1), &wrong).set("upstream_id", "full"))
        .proxy(showing(trusting(over_tls("bad", 1), &right), &client).set("upstream_id", "mistaken"))
        .upstream(upstream("full", full))
        .upstream(upstream("mistaken", mistaken));
    let gateway = logged(document).start();
    works(&gateway, "/good");
    refused(&gateway, "/bad");
    assert_eq!(peer.requests().len(), 1);
}

#[test]
fn the_name_of_the_upstream_is_asked_for_and_verified() {
    let authority = Authority::new();
    let ca = authority.bundle().display().to_string();
    for transport in BOTH {
        let right = Peer::secured(transport, &ServerTls::showing(&authority.issue(&[NAME])));
        let wrong = Peer::secured(transport, &ServerTls::showing(&authority.issue(&["127.0.0.1"])));
        let fields = json!({"backend_tls_server_ca_cert_path": ca, "backend_tls_sni": NAME});
        let document = with_upstream(Document::new(), "right", right.port(), fields.clone());
        let document = with_upstream(document, "wrong", wrong.port(), fields);
        // With body limits, as by default.
        let gateway = logged(document).start();
        works(&gateway, "/right");
        assert_eq!(right.connections()[0].server_name.as_deref(), Some(NAME));
        refused(&gateway, "/wrong");
        let seen = &right.requests()[0];
        let host = seen.authority.as_deref().or(seen.headers.get("host"));
        assert!(host.is_some_and(|host| host.starts_with("127.0.0.1")), "the name is TLS's only: {host:?}");
    }
}

#[test]
fn one_name_of_the_certificate_must_be_on_the_list() {
    let authority = Authority::new();
    let peer = Peer::secured(
        Transport::Http1Tls,
        &ServerTls::showing(&authority.issue(&[
            "127.0.0.1",
            NAME,
            "*.wild.example.com",
            "spiffe://Trust.EXAMPLE/ns/a",
        ])),
    );
    let rows: [(&[&str], bool); 12] = [
        (&[NAME], true),
        (&["INNER.Example.com"], true),
        (&["127.0.0.1"], true),
        (&["spiffe://trust.example/ns/a"], true),
        (&["nobody.example.com", NAME], true),
        (&["other.example.com"], false),
        (&["example.com"], false),
        // Names are equal or not; a wildcard of the certificate covers none.
        (&["a.wild.example.com"], false),
        (&["127.0.0.2"], false),
        (&["spiffe://trust.example/ns/A"], false),
        (&["spiffe://trust.example/ns"], false),
        (&["spiffe://other.example/ns/a"], false),
    ];
    let ca = authority.bundle().display().to_string();
    let document = rows.iter().enumerate().fold(Document::new(), |document, (number, (list, _))| {
        let fields = json!({"backend_tls_server_ca_cert_path": ca, "backend_tls_san_allow_list": list});
        with_upstream(document, &format!("row{number}"), peer.port(), fields)
    });
    let gateway = logged(document).start();
    let mut surprises = Vec::new();
    for (number, (list, allowed)) in rows.iter().enumerate() {
        let failure = failure_of(&gateway, &format!("/row{number}"));
        let expected = (!allowed).then(|| unavailable("tls_error"));
        if failure != expected {
            surprises.push(format!("{list:?} should be {allowed}: {failure:?}"));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn without_verification_the_list_of_names_says_nothing_either() {
    let stranger = Authority::new();
    let peer = Peer::secured(Transport::Http1Tls, &ServerTls::showing(&stranger.issue(&["127.0.0.1"])));
    let fields = json!({"backend_tls_verify_server_cert": false, "backend_tls_san_allow_list": ["other.example.com"]});
    let gateway = logged(with_upstream(Document::new(), "app", peer.port(), fields)).start();
    works(&gateway, "/app");
    gateway.wait_for_log(|text| text.contains("'up-app'") && text.contains("backend_tls_verify_server_cert is false"));
}

#[test]
fn a_revoked_certificate_is_refused_and_one_nobody_lists_is_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (good, bad) = (authority.issue(&["127.0.0.1"]), authority.issue(&["127.0.0.1"]));
    for transport in BOTH {
        let at = |identity: &Identity| Peer::secured(transport, &ServerTls::showing(identity));
        let (peer, revoked, unlisted) = (at(&good), at(&bad), at(&other.issue(&["127.0.0.1"])));
        let document = Document::new()
            .proxy(trusting(over_tls("good", peer.port()), &authority))
            .proxy(trusting(over_tls("bad", revoked.port()), &authority))
            .proxy(trusting(over_tls("unlisted", unlisted.port()), &other));
        let list = authority.revoke(&[&bad]);
        let gateway = logged(document).env("FERRUM_TLS_CRL_FILE_PATH", list.display()).start();
        works(&gateway, "/good");
        refused(&gateway, "/bad");
        works(&gateway, "/unlisted");
        assert!(revoked.requests().is_empty());
    }
}

#[test]
fn a_backend_without_tls_is_not_spoken_to() {
    let authority = Authority::new();
    let plain = Backend::scripted(|connection| {
        connection.read_some();
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let closing = Backend::scripted(|connection| drop(connection.read_some()));
    let document = Document::new()
        .proxy(trusting(over_tls("plain", plain.port()), &authority))
        .proxy(trusting(over_tls("closing", closing.port()), &authority));
    let gateway = logged(document).start();
    refused(&gateway, "/plain");
    refused(&gateway, "/closing");
}

#[test]
fn a_handshake_takes_no_longer_than_connecting_may() {
    let authority = Authority::new();
    let end = Gate::new();
    let held = end.clone();
    let silent = Backend::scripted(move |connection| {
        connection.read_some();
        held.wait();
    });
    let proxy = trusting(over_tls("app", silent.port()), &authority).set("backend_connect_timeout_ms", 300);
    let gateway = only(proxy).start();
    let failure = failure_of(&gateway, "/app");
    end.open();
    assert_eq!(failure, Some(unavailable("connection_timeout")));
}

#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let tls = ServerTls::showing(&identity);
    for tls in [tls.clone().only_tls_1_2(), tls.only_tls_1_3()] {
        let peer = Peer::secured_closing(&tls);
        let gateway = only(trusting(over_tls("app", peer.port()), &authority)).env("FERRUM_CORES", 0).start();
        (0..4).for_each(|_| works(&gateway, "/app"));
        let resumed: Vec<bool> = peer.connections().iter().map(|connection| connection.resumed).collect();
        assert_eq!(resumed, [false, true, true, true], "{:?}", peer.connections()[0].version);
    }
}

#[test]
fn connections_under_tls_are_kept_and_used_again() {
    let authority = Authority::new();
    let tls = ServerTls::showing(&authority.issue(&["127.0.0.1"]));
    for (transport, keep_alive, expected) in
        [(Transport::Http1Tls, true, 1), (Transport::Http2Tls, true, 1), (Transport::Http1Tls, false, 5)]
    {
        let peer = Peer::secured(transport, &tls);
        let proxy = trusting(over_tls("app", peer.port()), &authority).set("pool_enable_http_keep_alive", keep_alive);
        let gateway = only(proxy).env("FERRUM_CORES", 0).start();
        (0..5).for_each(|_| works(&gateway, "/app"));
        assert_eq!(peer.connections().len(), expected, "{transport:?}, keep-alive {keep_alive}");
    }
}

#[test]
fn versions_are_those_of_the_settings() {
    let authority = Authority::new();
    let tls = ServerTls::showing(&authority.issue(&["127.0.0.1"]));
    let (any, new) =
        (Peer::secured(Transport::Http2Tls, &tls), Peer::secured(Transport::Http1Tls, &tls.clone().only_tls_1_3()));
    let document = Document::new()
        .proxy(trusting(over_tls("any", any.port()), &authority))
        .proxy(trusting(over_tls("new", new.port()), &authority));
    let gateway = logged(document).env("FERRUM_TLS_MAX_VERSION", "1.2").start();
    works(&gateway, "/any");
    assert_eq!(any.connections()[0].version.as_deref(), Some("TLSv1_2"));
    refused(&gateway, "/new");
}

/// Fields of a proxy or an upstream.
type TlsFields<'a> = Vec<(&'a str, String)>;

#[test]
fn files_that_cannot_be_used_refuse_the_start() {
    let authority = Authority::new();
    let good = authority.issue(&["edge"]);
    let past = authority.issue_for(&["edge"], Validity::PAST);
    let folder = authority.bundle().with_file_name("");
    let (missing, garbage) = (folder.join("missing.pem"), folder.join("garbage.pem"));
    std::fs::write(&garbage, "no PEM at all").unwrap();
    let (missing, garbage) = (missing.display().to_string(), garbage.display().to_string());
    let pair = |certificate: &str, key: &str| {
        vec![("backend_tls_client_cert_path", certificate.to_owned()), ("backend_tls_client_key_path", key.to_owned())]
    };
    let (certificate, key) = (good.certificate.display().to_string(), good.key.display().to_string());
    let past = past.certificate.display().to_string();
    let (ca, shown, shown_key) =
        ("backend_tls_server_ca_cert_path", "backend_tls_client_cert_path", "backend_tls_client_key_path");
    let rows: Vec<(TlsFields<'_>, [&str; 3])> = vec![
        (vec![(ca, missing.clone())], [ca, "missing.pem", "No such file"]),
        (vec![(ca, garbage.clone())], [ca, "garbage.pem", "PEM"]),
        (pair(&missing, &key), [shown, "missing.pem", "No such file"]),
        (pair(&garbage, &key), [shown, "garbage.pem", "PEM"]),
        (pair(&certificate, &missing), [shown_key, "missing.pem", "No such file"]),
        (pair(&certificate, &garbage), [shown_key, "garbage.pem", "PKCS8"]),
        (pair(&past, &key), [shown, "-cert.pem", "has expired"]),
        (vec![(shown, certificate.clone())], [shown, "backend_tls_client_key_path is missing", ""]),
        (vec![(shown_key, key.clone())], [shown_key, "backend_tls_client_cert_path is missing", ""]),
    ];
    for (fields, reasons) in rows {
        let proxy = fields.iter().fold(over_tls("app", 1), |proxy, (field, value)| proxy.set(field, value.as_str()));
        let upstream: Value = fields.iter().map(|(field, value)| ((*field).to_owned(), json!(value))).collect();
        let of_upstream = with_upstream(Document::new(), "app", 1, upstream);
        for (document, owner) in [(Document::new().proxy(proxy), "Proxy 'app'"), (of_upstream, "Upstream 'up-app'")] {
            let exit = Gateway::builder().document(&document).start_failing();
            assert_eq!(exit.code, Some(1), "{fields:?}");
            let said = exit.messages().join("\n");
            for reason in reasons.iter().chain([&owner]) {
                assert!(said.contains(reason), "{reason:?} is not said of {fields:?}: {said}");
            }
        }
    }
}

#[test]
fn half_a_pair_in_the_settings_refuses_the_start() {
    let authority = Authority::new();
    let good = authority.issue(&["edge"]);
    let rows =
        [("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH", &good.certificate), ("FERRUM_BACKEND_TLS_CLIENT_KEY_PATH", &good.key)];
    for (setting, path) in rows {
        let exit = Gateway::builder().document(&Document::all_to(1)).env(setting, path.display()).start_failing();
        assert_eq!(exit.code, Some(1), "{setting}");
        assert!(exit.stderr.contains("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH"), "{}", exit.stderr);
        assert!(exit.stderr.contains("FERRUM_BACKEND_TLS_CLIENT_KEY_PATH"), "{}", exit.stderr);
    }
    let missing = good.key.with_file_name("missing.pem");
    let exit = Gateway::builder()
        .document(&Document::all_to(1))
        .env("FERRUM_TLS_CA_BUNDLE_PATH", missing.display())
        .start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stderr.contains("missing.pem") && exit.stderr.contains("FERRUM_TLS_CA_BUNDLE_PATH"),
        "{}",
        exit.stderr
    );
}
