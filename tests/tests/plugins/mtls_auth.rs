//! `mtls_auth`: callers who are known by the certificate of their connection.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, DnType, SanType, SerialNumber};
use serde_json::{Value, json};
use tests::{Authority, Backend, CurlResponse, Document, Gateway, GatewayBuilder, Identity};

use crate::{ask, unauthorized};

const HOST: &str = "shop.example.com";

fn document(backend: &Backend, config: Value, identity: &str) -> Document {
    let alice = json!({"id": "c-alice", "username": "alice", "custom_id": "7",
        "credentials": {"mtls_auth": [{"identity": "an older one"}, {"identity": identity}]}});
    Document::all_to(backend.port()).proxy_plugin("app", "mtls_auth", config).consumer(alice)
}

/// Serves HTTPS and lets clients show certificates that lead to this authority.
fn builder(document: &Document, authority: &Authority) -> GatewayBuilder {
    let own = authority.issue(&[HOST]);
    Gateway::builder()
        .document(document)
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", own.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", own.key.display())
        .env("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", authority.bundle().display())
        .env("FERRUM_FRONTEND_TLS_CLIENT_AUTH", "optional")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// curl that shows the certificates in this file and no others: with an authority that it trusts, OpenSSL would send that too.
fn showing(gateway: &Gateway, certificate: &Path, key: &Path) -> CurlResponse {
    gateway.curl_tls(HOST, "/", &["--insecure", "--cert", text(certificate), "--key", text(key)])
}

fn shown(gateway: &Gateway, client: &Identity) -> (u16, String) {
    let answer = showing(gateway, &client.certificate, &client.key);
    (answer.status, answer.text())
}

fn said(status: u16, error: &str) -> (u16, String) {
    (status, json!({ "error": error }).to_string())
}

fn passed() -> (u16, String) {
    (200, "ok".to_owned())
}

/// A certificate with something in every field.
fn full(authority: &Authority) -> Identity {
    let mut params = CertificateParams::new(vec!["till.example.com".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "till 4");
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "Shops");
    params.subject_alt_names.push(SanType::Rfc822Name("till@example.com".try_into().unwrap()));
    params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0xa0, 0x0b]));
    authority.issue_as(params)
}

#[test]
fn any_field_of_the_certificate_can_be_the_identity() {
    let authority = Authority::new();
    let client = full(&authority);
    let backend = Backend::saying("ok");
    let print = client.fingerprint();
    for (field, identity) in [
        ("subject_cn", "till 4"),
        ("subject_o", "Acme"),
        ("subject_ou", "Shops"),
        ("san_dns", "till.example.com"),
        ("san_email", "till@example.com"),
        ("fingerprint_sha256", &print),
        ("serial", "a00b"),
    ] {
        let gateway = builder(&document(&backend, json!({"cert_field": field}), identity), &authority).start();
        assert_eq!(shown(&gateway, &client), passed(), "{field}");
        let request = backend.requests().pop().unwrap();
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"], "{field}");
        assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"], "{field}");
    }
}

#[test]
fn without_a_certificate_or_as_a_stranger_nobody_passes() {
    let authority = Authority::new();
    let backend = Backend::saying("should not be reached");
    let gateway = builder(&document(&backend, json!({}), "till 4"), &authority).start();
    let bundle = authority.bundle();
    let answer = gateway.curl_tls(HOST, "/", &["--cacert", text(&bundle)]);
    assert_eq!((answer.status, answer.text()), said(401, "Authentication required"));
    assert_eq!(answer.header("www-authenticate"), Some("ferrum-edge"));
    unauthorized(&ask(&gateway, "/", "X-Consumer-Username: alice\r\n"), "Authentication required");
    let stranger = authority.issue(&["till 5"]);
    assert_eq!(shown(&gateway, &stranger), said(401, "No consumer found for client certificate"));
    let mut nameless = CertificateParams::default();
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let nameless = authority.issue_as(nameless);
    assert_eq!(shown(&gateway, &nameless), said(401, "Invalid client certificate"));
    backend.expect_untouched();
}

#[test]
fn a_certificate_from_elsewhere_does_not_even_get_an_answer() {
    let (authority, elsewhere) = (Authority::new(), Authority::new());
    let backend = Backend::saying("should not be reached");
    let gateway = builder(&document(&backend, json!({}), "till 4"), &authority).start();
    assert_eq!(shown(&gateway, &full(&elsewhere)).0, 0);
    backend.expect_untouched();
}

#[test]
fn issuers_may_be_limited_by_name() {
    let root = Authority::new();
    let (first, second) = (root.under(), root.under());
    let names = [&first, &second].map(|authority| {
        let client = authority.issue(&["till 4"]);
        let facts =
            Command::new("openssl").args(["x509", "-noout", "-issuer", "-in", text(&client.certificate)]).output();
        let line = String::from_utf8(facts.unwrap().stdout).unwrap();
        line.rsplit_once("CN").unwrap().1.trim_start_matches([' ', '=']).trim().to_owned()
    });
    let backend = Backend::saying("ok");
    let rule = |rule: Value| builder(&document(&backend, json!({"allowed_issuers": rule}), "till 4"), &root).start();
    let fare = |gateway: &Gateway| [&first, &second].map(|authority| shown(gateway, &authority.issue(&["till 4"])));
    let refused = |name: &str| said(403, &format!("Certificate issuer '{name}' does not match any allowed issuer"));
    let one = rule(json!([{"cn": names[0]}]));
    assert_eq!(fare(&one), [passed(), refused(&names[1])]);
    let either = rule(json!([{"cn": names[0]}, {"cn": format!(" {} ", names[1])}]));
    assert_eq!(fare(&either), [passed(), passed()]);
    let with_unit = rule(json!([{"cn": names[0], "ou": "PKI"}]));
    assert_eq!(fare(&with_unit), [refused(&names[0]), refused(&names[1])]);
}

#[test]
fn issuers_may_be_limited_by_who_has_signed_what_the_client_sends() {
    let root = Authority::new();
    let (first, second) = (root.under(), root.under());
    let backend = Backend::saying("ok");
    let rule = |prints: Value| {
        builder(&document(&backend, json!({"allowed_ca_fingerprints_sha256": prints}), "till 4"), &root).start()
    };
    let missing = said(403, "No certificate in the chain matches any allowed CA fingerprint");
    let clients = [&first, &second, &root].map(|authority| authority.issue(&["till 4"]));
    let fare = |gateway: &Gateway| clients.each_ref().map(|client| shown(gateway, client));

    let by_first = rule(json!([first.fingerprint().to_uppercase()]));
    assert_eq!(fare(&by_first), [passed(), missing.clone(), missing.clone()]);
    let by_root = rule(json!(["0".repeat(64), root.fingerprint()]));
    assert_eq!(fare(&by_root), [passed(), passed(), missing.clone()], "what only the gateway knows does not count");

    // The second's client sends the first's certificate along, which has not signed anything of its own.
    let borrowed = clients[1].certificate.with_file_name("borrowed.pem");
    let files = [&clients[1].certificate, &first.bundle()].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&borrowed, files.concat()).unwrap();
    let answer = showing(&by_first, &borrowed, &clients[1].key);
    assert_eq!((answer.status, answer.text()), missing);
}

#[test]
fn all_requests_of_a_connection_are_the_same_caller_until_the_consumer_changes() {
    let authority = Authority::new();
    let client = full(&authority);
    let backend = Backend::saying("ok");
    let gateway = builder(&document(&backend, json!({}), "till 4"), &authority).start();
    let target = format!("127.0.0.1:{}", gateway.https_port());
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &target, "-servername", HOST])
        .args(["-cert", text(&client.certificate), "-key", text(&client.key)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is needed: apt-get install openssl");
    let mut input = openssl.stdin.take().unwrap();
    for path in ["/1", "/2"] {
        write!(input, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").unwrap();
    }
    for request in backend.wait_for_requests(2) {
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
    }
    let renamed = json!({"id": "c-till", "username": "till", "credentials": {"mtls_auth": [{"identity": "till 4"}]}});
    let renamed = Document::all_to(backend.port()).proxy_plugin("app", "mtls_auth", json!({})).consumer(renamed);
    gateway.reload(&renamed);
    write!(input, "GET /3 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").unwrap();
    let request = backend.wait_for_requests(3).pop().unwrap();
    assert_eq!(request.headers.all("x-consumer-username"), ["till"]);
    drop(input);
    openssl.kill().unwrap();
    openssl.wait().unwrap();
}

#[test]
fn a_resumed_session_is_still_the_same_caller() {
    let authority = Authority::new();
    let client = full(&authority);
    let backend = Backend::saying("ok");
    let gateway = builder(&document(&backend, json!({}), "till 4"), &authority).start();
    let session = authority.bundle().with_file_name("session");
    let connect = |more: [&str; 2]| {
        let target = format!("127.0.0.1:{}", gateway.https_port());
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-ign_eof", "-connect", &target, "-servername", HOST])
            .args(["-cert", text(&client.certificate), "-key", text(&client.key)])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        write!(openssl.stdin.take().unwrap(), "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&openssl.wait_with_output().unwrap().stdout).into_owned()
    };
    let first = connect(["-sess_out", text(&session)]);
    assert!(first.contains("HTTP/1.1 200 OK"), "{first}");
    let second = connect(["-sess_in", text(&session)]);
    assert!(second.contains("Reused, TLSv1.3") && second.contains("HTTP/1.1 200 OK"), "{second}");
}

#[test]
fn over_http_2_the_certificate_counts_too_and_the_record_names_the_caller() {
    let authority = Authority::new();
    let client = full(&authority);
    let backend = Backend::saying("ok");
    let document = document(&backend, json!({}), "till 4").global_plugin("stdout_logging", json!({}));
    let gateway = builder(&document, &authority).start();
    let bundle = authority.bundle();
    let arguments =
        ["--http2", "--cacert", text(&bundle), "--cert", text(&client.certificate), "--key", text(&client.key)];
    let answer = gateway.curl_tls(HOST, "/h2", &arguments);
    assert!(answer.head.starts_with("HTTP/2 200"), "{}", answer.head);
    let record = gateway.wait_for_record(|record| record["request_path"] == "/h2");
    assert_eq!((&record["consumer_username"], &record["auth_method"]), (&json!("alice"), &json!("mtls_auth")));
}

#[test]
fn beside_another_plugin_either_may_do_in_multi_mode() {
    let authority = Authority::new();
    let client = full(&authority);
    let backend = Backend::saying("ok");
    let bob = json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "k"}]}});
    let alice = json!({"id": "c-alice", "username": "alice", "credentials": {"mtls_auth": [{"identity": "till 4"}]}});
    let proxy = tests::Proxy::new("app").path("/").to(backend.port()).set("auth_mode", "multi");
    let document = Document::new()
        .proxy(proxy)
        .proxy_plugin("app", "mtls_auth", json!({}))
        .proxy_plugin("app", "key_auth", json!({}))
        .consumer(alice)
        .consumer(bob);
    let gateway = builder(&document, &authority).start();
    assert_eq!(shown(&gateway, &client), passed());
    assert_eq!(ask(&gateway, "/", "X-API-Key: k\r\n").status, 200);
    let names: Vec<String> = backend
        .requests()
        .iter()
        .filter_map(|request| request.header("x-consumer-username").map(str::to_owned))
        .collect();
    assert_eq!(names, ["alice", "bob"]);
}

#[test]
fn a_wrong_config_refuses_the_start() {
    let backend = Backend::saying("");
    let config = json!({"cert_field": "cn", "allowed_issuers": [{"dc": "x"}], "issuer_verification": true});
    let exit = Gateway::builder().document(&document(&backend, config, "x")).start_failing();
    assert_eq!(exit.code, Some(1));
    for text in [
        "mtls_auth: 'issuer_verification' was removed",
        "mtls_auth: 'cert_field' must be one of subject_cn, ",
        "mtls_auth: 'allowed_issuers[0].dc' is not one of cn, o, ou",
    ] {
        assert!(exit.stderr.contains(text), "{}", exit.stderr);
    }
}
