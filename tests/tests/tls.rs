//! HTTPS from clients: what is offered, who is let in, and what a bad certificate or a bad client gets.

use std::time::Duration;

use tests::{Authority, Backend, Document, Gateway, GatewayBuilder, Identity, RawClient, Validity, eventually};

const HOST: &str = "shop.example.com";

fn secured(backend: &Backend, identity: &Identity) -> GatewayBuilder {
    Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", identity.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", identity.key.display())
}

fn openssl(gateway: &Gateway, arguments: &[&str], input: &str) -> String {
    tests::openssl(gateway.https_port(), Some(HOST), arguments, input)
}

/// A client may see the end of a handshake a moment before it is counted.
#[track_caller]
fn counted(gateway: &Gateway, name: &str, count: u64) {
    eventually(&format!("{name} is {count}"), || (gateway.metric(name) == count).then_some(()));
}

/// Whatever is still said; an alert, mostly.
fn wait_closed(client: &mut RawClient) {
    while client.read_some().is_ok_and(|bytes| !bytes.is_empty()) {}
}

const CLOSING_REQUEST: &str = "GET /x HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_under_tls_reaches_the_backend_and_is_known_as_https() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).start();
    let ca = authority.bundle();
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
        let response = gateway.curl_tls(HOST, "/a?b=c", &[&["--cacert", ca.to_str().unwrap()][..], version].concat());
        assert_eq!((response.exit, response.status), (0, 200), "{version:?}");
        assert_eq!(response.text(), "GET /a?b=c");
    }
    for request in backend.requests() {
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        assert_eq!(request.header("x-forwarded-host"), Some(format!("{HOST}:{}", gateway.https_port()).as_str()));
    }
    counted(&gateway, "ferrum_core_tls_handshakes_total", 2);
    counted(&gateway, "ferrum_core_tls_handshake_failures_total", 0);
    // The plain listener is there beside it.
    assert_eq!(gateway.get("/plain").status, 200);
    assert_eq!(backend.requests().last().unwrap().header("x-forwarded-proto"), Some("http"));
}

#[test]
fn long_bodies_pass_whole_both_ways() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::echoing();
    let gateway = secured(&backend, &identity)
        .env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 0)
        .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 0)
        .start();
    let body: Vec<u8> = (0..8 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = authority.bundle().with_file_name("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    for chunked in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let ca = authority.bundle();
        let base = ["--cacert", ca.to_str().unwrap(), "--data-binary", &data, "-H", "Expect:"];
        let response = gateway.curl_tls(HOST, "/echo", &[&base[..], chunked].concat());
        assert_eq!((response.exit, response.status), (0, 200));
        assert!(response.body == body, "{} bytes came back", response.body.len());
    }
}

#[test]
fn many_requests_share_one_handshake() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).start();
    let two = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = openssl(&gateway, &["-quiet", "-ign_eof"], two);
    let answers: Vec<usize> = ["GET /1", "GET /2"].iter().filter_map(|answer| said.find(answer)).collect();
    assert!(matches!(answers[..], [first, second] if first < second), "{said}");
    counted(&gateway, "ferrum_core_tls_handshakes_total", 1);
}

#[test]
fn http_1_1_is_agreed_on_by_alpn_and_what_is_not_spoken_is_refused() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).start();
    let said = openssl(&gateway, &["-alpn", "http/1.1", "-ign_eof"], CLOSING_REQUEST);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    let said = openssl(&gateway, &["-alpn", "mqtt"], "");
    assert!(said.contains("no application protocol"), "{said}");
}

#[test]
fn a_session_is_resumed_on_whichever_core_the_client_meets() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    // More sessions than any memory holds: the room that is taken for them is bounded.
    let gateway =
        secured(&backend, &identity).env("FERRUM_CORES", "0,1").env("FERRUM_TLS_SESSION_CACHE_SIZE", u64::MAX).start();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = authority.bundle().with_file_name(format!("session{version}"));
        let session = session.to_str().unwrap();
        openssl(&gateway, &[version, "-ign_eof", "-sess_out", session], CLOSING_REQUEST);
        for _ in 0..6 {
            let said = openssl(&gateway, &[version, "-ign_eof", "-sess_in", session], CLOSING_REQUEST);
            assert!(said.contains("Reused, TLSv1."), "{version}: {said}");
        }
    }
    counted(&gateway, "ferrum_core_tls_handshakes_resumed_total", 12);
}

#[test]
fn the_certificate_is_chosen_by_the_name_the_client_asks_for() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(&[HOST]), authority.issue(&["api.example.org", "*.example.org"]));
    let backend = Backend::naming_targets();
    let both = |a: &std::path::Path, b: &std::path::Path| format!("{},{}", a.display(), b.display());
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", both(&first.certificate, &second.certificate))
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", both(&first.key, &second.key))
        .start();
    let ca = authority.bundle();
    let asked = |host: &str| gateway.curl_tls(host, "/", &["--cacert", ca.to_str().unwrap()]).exit;
    for host in [HOST, "api.example.org", "www.example.org", "WWW.example.ORG"] {
        assert_eq!(asked(host), 0, "{host}");
    }
    // Nobody's name gets the first certificate, which the client then refuses.
    for host in ["a.b.example.org", "example.org", "other.test"] {
        assert_eq!(asked(host), 60, "{host}");
    }
    let said = tests::openssl(gateway.https_port(), None, &["-ign_eof"], CLOSING_REQUEST);
    assert!(said.contains(&format!("CN = {HOST}")) || said.contains(&format!("CN={HOST}")), "{said}");
}

#[test]
fn versions_suites_and_groups_are_those_of_the_settings() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity)
        .env("FERRUM_TLS_MIN_VERSION", "1.3")
        .env("FERRUM_TLS_CIPHER_SUITES", "TLS_CHACHA20_POLY1305_SHA256,ECDHE-ECDSA-AES128-GCM-SHA256")
        .env("FERRUM_TLS_CURVES", "P-384")
        .start();
    let said = openssl(&gateway, &["-ign_eof"], CLOSING_REQUEST);
    assert!(said.contains("TLS_CHACHA20_POLY1305_SHA256"), "{said}");
    assert!(said.contains("P-384, 384 bits") || said.contains("secp384r1"), "{said}");
    for refused in [&["-tls1_2"][..], &["-ciphersuites", "TLS_AES_128_GCM_SHA256"], &["-groups", "X25519"]] {
        let said = openssl(&gateway, refused, "");
        assert!(said.contains("alert"), "{refused:?}: {said}");
    }
    counted(&gateway, "ferrum_core_tls_handshake_failures_total", 3);
}

#[test]
fn a_client_without_a_good_certificate_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let (identity, good, revoked) = (authority.issue(&[HOST]), authority.issue(&["alice"]), authority.issue(&["bob"]));
    let expired = authority.issue_for(&["carol"], Validity::PAST);
    let stranger = Authority::new();
    let foreign = stranger.issue(&["mallory"]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity)
        .env("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", authority.bundle().display())
        .env("FERRUM_TLS_CRL_FILE_PATH", authority.revoke(&[&revoked]).display())
        .start();
    let ca = authority.bundle();
    let asked = |shown: Option<&Identity>| {
        let mut arguments = vec!["--cacert", ca.to_str().unwrap()];
        if let Some(shown) = shown {
            arguments.extend(["--cert", shown.certificate.to_str().unwrap(), "--key", shown.key.to_str().unwrap()]);
        }
        gateway.curl_tls(HOST, "/", &arguments).status
    };
    assert_eq!(asked(Some(&good)), 200);
    for shown in [None, Some(&revoked), Some(&expired), Some(&foreign)] {
        assert_eq!(asked(shown), 0, "no answer, not even a refusal");
    }
    assert_eq!(backend.requests().len(), 1);
    counted(&gateway, "ferrum_core_tls_handshake_failures_total", 4);
    assert_eq!(asked(Some(&good)), 200, "the others are not harmed");
}

#[test]
fn client_certificates_may_be_optional_or_off_and_a_bad_one_is_refused_if_it_is_asked_for() {
    let authority = Authority::new();
    let (identity, good) = (authority.issue(&[HOST]), authority.issue(&["alice"]));
    let stranger = Authority::new();
    let foreign = stranger.issue(&["mallory"]);
    let backend = Backend::naming_targets();
    let ca = authority.bundle();
    for (client_auth, expected) in [("optional", [200, 200, 0]), ("off", [200, 200, 200])] {
        let gateway = secured(&backend, &identity)
            .env("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", ca.display())
            .env("FERRUM_FRONTEND_TLS_CLIENT_AUTH", client_auth)
            .start();
        let asked = [None, Some(&good), Some(&foreign)].map(|shown: Option<&Identity>| {
            let mut arguments = vec!["--cacert", ca.to_str().unwrap()];
            if let Some(shown) = shown {
                arguments.extend(["--cert", shown.certificate.to_str().unwrap(), "--key", shown.key.to_str().unwrap()]);
            }
            gateway.curl_tls(HOST, "/", &arguments).status
        });
        assert_eq!(asked, expected, "{client_auth}");
    }
}

#[test]
fn without_verification_no_client_certificate_is_asked_for() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity)
        .env("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", authority.bundle().display())
        .env("FERRUM_TLS_NO_VERIFY", "true")
        .start();
    let said = openssl(&gateway, &["-ign_eof"], CLOSING_REQUEST);
    assert!(said.contains("No client certificate CA names sent") && said.contains("GET /x"), "{said}");
}

#[test]
fn a_certificate_that_cannot_be_used_refuses_the_start() {
    let authority = Authority::new();
    let (good, other) = (authority.issue(&[HOST]), authority.issue(&[HOST]));
    let past = authority.issue_for(&[HOST], Validity::PAST);
    let future = authority.issue_for(&[HOST], Validity::FUTURE);
    let folder = authority.bundle().with_file_name("");
    let (missing, empty) = (folder.join("missing.pem"), folder.join("empty.pem"));
    std::fs::write(&empty, "").unwrap();
    let mixed = Identity::of(&good.certificate, &other.key);
    let rows = [
        (Identity::of(&missing, &good.key), "FERRUM_FRONTEND_TLS_CERT_PATH: failed to open certificate file"),
        (Identity::of(&empty, &good.key), "FERRUM_FRONTEND_TLS_CERT_PATH: no valid PEM certificates found"),
        (Identity::of(&good.certificate, &missing), "FERRUM_FRONTEND_TLS_KEY_PATH: failed to open key file"),
        (Identity::of(&good.certificate, &empty), "FERRUM_FRONTEND_TLS_KEY_PATH: no unencrypted private key"),
        (mixed, "does not belong to the certificate"),
        (past, "has expired"),
        (future, "is not yet valid"),
    ];
    let backend = Backend::naming_targets();
    for (identity, reason) in rows {
        let exit = secured(&backend, &identity).start_failing();
        assert_eq!(exit.code, Some(1));
        let told = exit.stderr.contains("Invalid TLS configuration: ") && exit.stderr.contains(reason);
        assert!(told, "{reason}: {}", exit.stderr);
    }
    for (setting, path, reason) in [
        ("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", &empty, "no valid PEM certificates found"),
        ("FERRUM_TLS_CRL_FILE_PATH", &empty, "no CRL found"),
        ("FERRUM_TLS_CRL_FILE_PATH", &missing, "failed to open CRL file"),
    ] {
        let exit = secured(&backend, &good).env(setting, path.display()).start_failing();
        assert_eq!(exit.code, Some(1));
        let told = exit.stderr.contains(&format!("Invalid TLS configuration: {setting}: "));
        assert!(told && exit.stderr.contains(reason), "{reason}: {}", exit.stderr);
    }
}

#[test]
fn one_half_of_a_pair_means_no_https() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let document = Document::all_to(backend.port());
    for (setting, path) in
        [("FERRUM_FRONTEND_TLS_CERT_PATH", &identity.certificate), ("FERRUM_FRONTEND_TLS_KEY_PATH", &identity.key)]
    {
        let gateway = Gateway::builder().document(&document).env(setting, path.display()).start();
        assert!(RawClient::try_connect(gateway.https_port()).is_err());
        assert_eq!(gateway.get("/").status, 200);
    }
}

#[test]
fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let (renewed, other) = (authority.issue(&["renewed.example.com"]), authority.issue(&["other.example.com"]));
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity)
        .env("FERRUM_FRONTEND_TLS_LIVE_RELOAD_ENABLED", "true")
        .env("FERRUM_FRONTEND_TLS_WATCH_INTERVAL_SECONDS", 1)
        .start();
    let ca = authority.bundle();
    let serves = |host: &str| gateway.curl_tls(host, "/", &["--cacert", ca.to_str().unwrap()]).exit == 0;
    assert!(serves(HOST));
    renewed.replace(&identity);
    eventually("the renewed certificate is served", || serves("renewed.example.com").then_some(()));
    assert!(!serves(HOST));
    // A key that does not fit, then one that does.
    std::fs::copy(&other.certificate, &identity.certificate).unwrap();
    gateway.wait_for_log(|text| text.starts_with("Frontend TLS reload failed, keeping the previous certificate: "));
    assert!(serves("renewed.example.com"));
    other.replace(&identity);
    eventually("the other certificate is served", || serves("other.example.com").then_some(()));
}

#[test]
fn without_live_reload_certificates_stay() {
    let authority = Authority::new();
    let (identity, renewed) = (authority.issue(&[HOST]), authority.issue(&["renewed.example.com"]));
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).env("FERRUM_FRONTEND_TLS_WATCH_INTERVAL_SECONDS", 1).start();
    renewed.replace(&identity);
    gateway.reload(&Document::all_to(backend.port()));
    let ca = authority.bundle();
    assert_eq!(gateway.curl_tls(HOST, "/", &["--cacert", ca.to_str().unwrap()]).exit, 0);
}

#[test]
fn bytes_that_are_no_handshake_end_the_connection_and_go_nowhere() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).start();
    let long_record = [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat();
    let garbage: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[0x16, 3, 1, 0, 2, 9, 9, 9, 9], &long_record];
    for bytes in garbage {
        let mut client = RawClient::connect(gateway.https_port());
        let _ = client.try_send(bytes);
        wait_closed(&mut client);
    }
    assert!(backend.requests().is_empty());
    counted(&gateway, "ferrum_core_tls_handshake_failures_total", 3);
}

#[test]
fn a_handshake_has_its_time() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).env("FERRUM_FRONTEND_TLS_HANDSHAKE_TIMEOUT_SECONDS", 1).start();
    let began = std::time::Instant::now();
    // One client says nothing, one a byte at a time.
    let mut silent = RawClient::connect(gateway.https_port());
    let mut slow = RawClient::connect(gateway.https_port());
    while slow.try_send([0x16]).is_ok() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_closed(&mut slow);
    wait_closed(&mut silent);
    assert!(began.elapsed() >= Duration::from_secs(1), "not before its time");
    counted(&gateway, "ferrum_core_tls_handshake_failures_total", 2);
}

#[test]
fn an_idle_connection_ends_with_a_word() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let gateway = secured(&backend, &identity).env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1).start();
    let asked = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    for input in ["", asked] {
        let said = openssl(&gateway, &["-ign_eof"], input);
        assert!(said.contains("closed") && !said.contains("unexpected eof"), "{said}");
        assert_eq!(said.contains("GET /x"), !input.is_empty(), "{said}");
    }
}

#[test]
fn an_https_port_in_use_is_named_with_its_setting() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let backend = Backend::naming_targets();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let exit = secured(&backend, &identity).env("FERRUM_PROXY_HTTPS_PORT", port).start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains(&format!("Port {port} is already in use")), "{}", exit.stderr);
    assert!(exit.stderr.contains("FERRUM_PROXY_HTTPS_PORT"), "{}", exit.stderr);
}
