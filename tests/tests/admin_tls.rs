//! Admin HTTPS: what is offered, who is let in, and what bad files or bad clients get.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{
    Authority, CurlResponse, Document, Gateway, GatewayBuilder, Identity, PATIENCE, PortLease, Validity, curl,
    eventually, run_cli, token_signed_with,
};

const HOST: &str = "admin.example.com";
const SECRET: &str = "a secret of at least thirty-two bytes";

/// A gateway in the making whose admin API has HTTPS, and the port of that.
struct Secured {
    builder: GatewayBuilder,
    port: PortLease,
}

impl Secured {
    fn with(identity: &Identity) -> Self {
        let port = PortLease::take();
        let builder = Gateway::builder()
            .document(&Document::new())
            .env("FERRUM_ADMIN_JWT_SECRET", SECRET)
            .env("FERRUM_ADMIN_HTTPS_PORT", port.number())
            .env("FERRUM_ADMIN_TLS_CERT_PATH", identity.certificate.display())
            .env("FERRUM_ADMIN_TLS_KEY_PATH", identity.key.display());
        Self { builder, port }
    }

    fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.builder = self.builder.env(name, value);
        self
    }

    #[track_caller]
    fn start(self) -> Running {
        Running { gateway: self.builder.start(), port: self.port }
    }
}

struct Running {
    gateway: Gateway,
    port: PortLease,
}

impl Running {
    fn curl(&self, host: &str, path: &str, authority: &Authority, arguments: &[&str]) -> CurlResponse {
        let (port, bundle) = (self.port.number(), authority.bundle());
        let (url, resolve) = (format!("https://{host}:{port}{path}"), format!("{host}:{port}:127.0.0.1"));
        let base = ["--cacert", bundle.to_str().unwrap(), "--resolve", &resolve, url.as_str()];
        curl(&[arguments, &base].concat())
    }

    /// The status that a client with this certificate gets; 0 = no answer.
    fn status(&self, authority: &Authority, shown: Option<&Identity>) -> u16 {
        let shown = shown.map(|shown| [shown.certificate.to_str().unwrap(), shown.key.to_str().unwrap()]);
        let arguments = shown.map_or_else(Vec::new, |[cert, key]| vec!["--cert", cert, "--key", key]);
        self.curl(HOST, "/health", authority, &arguments).status
    }

    fn openssl(&self, arguments: &[&str], input: &str) -> String {
        tests::openssl(self.port.number(), Some(HOST), arguments, input)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port.number())).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

const CLOSING_REQUEST: &str = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Everything until the other side closes; a reset is an end, a time-out is not.
#[track_caller]
fn heard(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection is still open"),
        _ => bytes,
    }
}

fn token() -> String {
    token_signed_with(SECRET, "viewer")
}

#[test]
fn the_api_is_the_same_under_tls_over_http_1_1_and_http_2() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST])).start();
    let bearer = format!("Authorization: Bearer {}", token());
    for (version, line) in [("--http1.1", "HTTP/1.1 "), ("--http2", "HTTP/2 ")] {
        let health = running.curl(HOST, "/health", &authority, &[version]);
        assert_eq!((health.exit, health.status), (0, 200), "{version}");
        assert!(health.head.starts_with(line), "{}", health.head);
        let health: serde_json::Value = serde_json::from_str(&health.text()).unwrap();
        assert_eq!(health["status"], "ok");
        assert_eq!(running.curl(HOST, "/plugins", &authority, &[version]).status, 401, "{version}");
        let plugins = running.curl(HOST, "/plugins", &authority, &[version, "-H", &bearer]);
        assert_eq!((plugins.status, plugins.header("content-type")), (200, Some("application/json")), "{version}");
    }
    // The plain listener is there beside it.
    assert_eq!(running.gateway.admin("/health", &[]).status, 200);
}

#[test]
fn alpn_decides_and_what_is_not_spoken_is_refused() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST])).start();
    for (offered, agreed) in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")] {
        let said = running.openssl(&["-alpn", offered], "");
        assert!(said.contains(&format!("ALPN protocol: {agreed}\n")), "{said}");
    }
    let said = running.openssl(&["-alpn", "mqtt"], "");
    assert!(said.contains("no application protocol"), "{said}");
    let said = running.openssl(&["-ign_eof"], CLOSING_REQUEST);
    assert!(said.contains("No ALPN negotiated") && said.contains("HTTP/1.1 200 OK"), "{said}");
}

#[test]
fn versions_and_suites_are_those_of_the_settings_and_nothing_comes_early() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST]))
        .env("FERRUM_TLS_MIN_VERSION", "1.3")
        .env("FERRUM_TLS_CIPHER_SUITES", "TLS_CHACHA20_POLY1305_SHA256")
        .start();
    let session = authority.bundle().with_file_name("admin-session");
    let said = running.openssl(&["-ign_eof", "-sess_out", session.to_str().unwrap()], CLOSING_REQUEST);
    assert!(said.contains("TLS_CHACHA20_POLY1305_SHA256") && said.contains("200 OK"), "{said}");
    assert!(said.contains("Max Early Data: 0"), "{said}");
    assert!(running.openssl(&["-tls1_2"], "").contains("alert protocol version"));
    let said = running.openssl(&["-ciphersuites", "TLS_AES_128_GCM_SHA256"], "");
    assert!(said.contains("alert handshake failure"), "{said}");
}

#[test]
fn a_client_without_a_good_certificate_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let (identity, good, revoked) = (authority.issue(&[HOST]), authority.issue(&["ops"]), authority.issue(&["gone"]));
    let expired = authority.issue_for(&["late"], Validity::PAST);
    let stranger = Authority::new();
    let foreign = stranger.issue(&["mallory"]);
    // Signed by one without a list: passes.
    let below = authority.under();
    let unlisted = below.issue(&["unlisted"]);
    let running = Secured::with(&identity)
        .env("FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH", authority.bundle().display())
        .env("FERRUM_TLS_CRL_FILE_PATH", authority.revoke(&[&revoked]).display())
        .start();
    assert_eq!(running.status(&authority, Some(&good)), 200);
    assert_eq!(running.status(&authority, Some(&unlisted)), 200);
    for shown in [None, Some(&revoked), Some(&expired), Some(&foreign)] {
        assert_eq!(running.status(&authority, shown), 0, "no answer, not even a refusal");
    }
    assert_eq!(running.status(&authority, Some(&good)), 200, "the others are not harmed");
    // Who is known by a certificate still needs a token.
    let (cert, key) = (good.certificate.to_str().unwrap(), good.key.to_str().unwrap());
    assert_eq!(running.curl(HOST, "/plugins", &authority, &["--cert", cert, "--key", key]).status, 401);
}

#[test]
fn without_verification_no_client_certificate_is_asked_for() {
    let authority = Authority::new();
    let asking = |setting: &str| {
        Secured::with(&authority.issue(&[HOST]))
            .env("FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH", authority.bundle().display())
            .env(setting, "true")
            .start()
    };
    let running = asking("FERRUM_ADMIN_TLS_NO_VERIFY");
    assert_eq!(running.status(&authority, None), 200);
    running.gateway.wait_for_log(|text| text.starts_with("FERRUM_ADMIN_TLS_NO_VERIFY=true: "));
    // The other setting of that name is about other peers.
    assert_eq!(asking("FERRUM_TLS_NO_VERIFY").status(&authority, None), 0);
}

#[test]
fn a_peer_off_the_list_is_closed_before_the_handshake() {
    let authority = Authority::new();
    let running =
        Secured::with(&authority.issue(&[HOST])).env("FERRUM_ADMIN_ALLOWED_CIDRS", "127.0.0.1,10.0.0.0/8").start();
    assert_eq!(running.status(&authority, None), 200);
    let stranger = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stranger.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    stranger.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], running.port.number())).into()).unwrap();
    let mut stranger = TcpStream::from(stranger);
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    // Nothing is sent: the end comes without a reason to wait for one.
    assert_eq!(heard(&mut stranger), b"");
}

#[test]
fn a_handshake_has_its_time_and_so_has_what_comes_after_it() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST]))
        .env("FERRUM_FRONTEND_TLS_HANDSHAKE_TIMEOUT_SECONDS", 1)
        .env("FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS", 1)
        .start();
    let began = Instant::now();
    let mut silent = running.connect();
    heard(&mut silent);
    assert!(began.elapsed() >= Duration::from_secs(1), "not before its time");
    // openssl ends when the gateway does: nothing was asked for over either protocol, and HTTP/2 not even begun.
    for protocol in ["http/1.1", "h2"] {
        let began = Instant::now();
        let said = running.openssl(&["-ign_eof", "-alpn", protocol], "");
        assert!(said.contains(&format!("ALPN protocol: {protocol}")), "{said}");
        assert!((Duration::from_secs(1)..PATIENCE).contains(&began.elapsed()), "{protocol}: {:?}", began.elapsed());
    }
    assert_eq!(running.status(&authority, None), 200);
}

#[test]
fn bytes_that_are_no_handshake_end_the_connection() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST])).start();
    for bytes in [CLOSING_REQUEST.as_bytes(), &[0x16, 3, 1, 0, 2, 9, 9, 9, 9]] {
        let mut client = running.connect();
        client.write_all(bytes).unwrap();
        let heard = heard(&mut client);
        assert!(!heard.starts_with(b"HTTP/"), "{heard:?}");
    }
    assert_eq!(running.status(&authority, None), 200);
}

#[test]
fn one_half_of_a_pair_means_no_admin_https() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    for (setting, path) in
        [("FERRUM_ADMIN_TLS_CERT_PATH", &identity.certificate), ("FERRUM_ADMIN_TLS_KEY_PATH", &identity.key)]
    {
        let port = PortLease::take();
        let gateway =
            Gateway::builder().env("FERRUM_ADMIN_HTTPS_PORT", port.number()).env(setting, path.display()).start();
        assert!(TcpStream::connect(("127.0.0.1", port.number())).is_err());
        assert_eq!(gateway.admin("/health", &[]).status, 200);
    }
}

/// What is wrong with the files, and a part of the reason.
fn faults(authority: &Authority) -> Vec<(Identity, Option<std::path::PathBuf>, &'static str)> {
    let (good, other) = (authority.issue(&[HOST]), authority.issue(&[HOST]));
    let folder = authority.bundle().with_file_name("");
    let (missing, empty) = (folder.join("missing.pem"), folder.join("empty.pem"));
    std::fs::write(&empty, "").unwrap();
    let of = |certificate: &Path, key: &Path| Identity::of(certificate, key);
    let again = || of(&good.certificate, &good.key);
    vec![
        (of(&missing, &good.key), None, "FERRUM_ADMIN_TLS_CERT_PATH: failed to open certificate file"),
        (of(&good.certificate, &empty), None, "FERRUM_ADMIN_TLS_KEY_PATH: no unencrypted private key"),
        (of(&good.certificate, &other.key), None, "does not belong to the certificate"),
        (authority.issue_for(&[HOST], Validity::PAST), None, "has expired"),
        (again(), Some(empty), "FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH: no valid PEM certificates found"),
        (again(), Some(missing), "FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH: failed to open certificate file"),
    ]
}

#[test]
fn in_file_mode_a_certificate_that_cannot_be_used_costs_admin_https_only() {
    let authority = Authority::new();
    for (identity, bundle, reason) in faults(&authority) {
        let mut secured = Secured::with(&identity);
        if let Some(bundle) = bundle {
            secured = secured.env("FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH", bundle.display());
        }
        let running = secured.start();
        let told = |text: &str| text.starts_with("Invalid admin TLS configuration: ") && text.contains(reason);
        running.gateway.wait_for_log(told);
        assert!(TcpStream::connect(("127.0.0.1", running.port.number())).is_err(), "{reason}");
        assert_eq!(running.gateway.admin("/health", &[]).status, 200);
    }
}

#[test]
fn in_database_mode_a_certificate_that_cannot_be_used_refuses_the_start() {
    let authority = Authority::new();
    let database = authority.bundle().with_file_name("config.db");
    for (identity, bundle, reason) in faults(&authority) {
        let mut secured = Secured::with(&identity)
            .env("FERRUM_MODE", "database")
            .env("FERRUM_DB_TYPE", "sqlite")
            .env("FERRUM_DB_URL", format!("sqlite://{}?mode=rwc", database.display()));
        if let Some(bundle) = bundle {
            secured = secured.env("FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH", bundle.display());
        }
        let exit = secured.builder.start_failing();
        assert_eq!(exit.code, Some(1));
        let fatal = "Fatal error: Invalid admin TLS configuration: ";
        let told = exit.messages().iter().any(|text| text.starts_with(fatal) && text.contains(reason));
        assert!(told, "{reason}: {}", exit.stderr);
    }
}

#[test]
fn a_port_in_use_is_reported_and_survived() {
    let authority = Authority::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let running = Secured::with(&authority.issue(&[HOST])).env("FERRUM_ADMIN_HTTPS_PORT", port).start();
    running.gateway.wait_for_log(|text| {
        text.starts_with("Admin HTTPS listener error: ") && text.contains("FERRUM_ADMIN_HTTPS_PORT")
    });
    assert_eq!(running.gateway.admin("/health", &[]).status, 200);
}

#[test]
fn port_0_is_a_port_that_the_system_chooses() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST])).env("FERRUM_ADMIN_HTTPS_PORT", 0).start();
    let line = running.gateway.wait_for_log(|text| text.starts_with("Admin HTTPS listener on "));
    let port = line.rsplit(':').next().unwrap();
    let (url, resolve) = (format!("https://{HOST}:{port}/health"), format!("{HOST}:{port}:127.0.0.1"));
    let bundle = authority.bundle();
    assert_eq!(curl(&["--cacert", bundle.to_str().unwrap(), "--resolve", &resolve, &url]).status, 200);
}

#[test]
fn new_files_are_taken_up_bad_ones_are_not_and_open_connections_stay() {
    let authority = Authority::new();
    let identity = authority.issue(&[HOST]);
    let (renewed, other) = (authority.issue(&["renewed.example.com"]), authority.issue(&["other.example.com"]));
    // The first bundle lets the operators of one authority in, the next one those of another.
    let (first, second) = (Authority::new(), Authority::new());
    let bundle = authority.bundle().with_file_name("clients.pem");
    std::fs::copy(first.bundle(), &bundle).unwrap();
    let (of_first, of_second) = (first.issue(&["a"]), second.issue(&["b"]));
    let running = Secured::with(&identity)
        .env("FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH", bundle.display())
        .env("FERRUM_FRONTEND_TLS_LIVE_RELOAD_ENABLED", "true")
        .env("FERRUM_FRONTEND_TLS_WATCH_INTERVAL_SECONDS", 1)
        .start();
    let serves = |host: &str, client: &Identity| {
        let (cert, key) = (client.certificate.to_str().unwrap(), client.key.to_str().unwrap());
        running.curl(host, "/health", &authority, &["--cert", cert, "--key", key]).status == 200
    };
    assert!(serves(HOST, &of_first) && !serves(HOST, &of_second));
    let session = authority.bundle().with_file_name("admin-session");
    let (cert, key) = (of_first.certificate.to_str().unwrap(), of_first.key.to_str().unwrap());
    let shown = ["-ign_eof", "-cert", cert, "-key", key];
    let save = ["-sess_out", session.to_str().unwrap()];
    let resume = ["-ign_eof", "-sess_in", session.to_str().unwrap()];
    running.openssl(&[&shown[..], &save].concat(), CLOSING_REQUEST);
    assert!(running.openssl(&resume, CLOSING_REQUEST).contains("Reused, "));

    // A bundle alone is not looked at; it is read when certificate or key change.
    std::fs::copy(second.bundle(), &bundle).unwrap();
    renewed.replace(&identity);
    eventually("the renewed certificate is served", || serves("renewed.example.com", &of_second).then_some(()));
    running.gateway.wait_for_log(|text| text == "Admin TLS certificate reloaded");
    assert!(!serves("renewed.example.com", &of_first), "the new bundle counts");
    let said = running.openssl(&resume, CLOSING_REQUEST);
    assert!(!said.contains("200 OK"), "a session does not outlive who let it in: {said}");

    // A key that does not fit, then one that does.
    std::fs::copy(&other.certificate, &identity.certificate).unwrap();
    running
        .gateway
        .wait_for_log(|text| text.starts_with("Admin TLS reload failed, keeping the previous certificate: "));
    assert!(serves("renewed.example.com", &of_second));
    other.replace(&identity);
    eventually("the other certificate is served", || serves("other.example.com", &of_second).then_some(()));
}

#[test]
fn without_live_reload_the_certificate_stays() {
    let authority = Authority::new();
    let (identity, renewed) = (authority.issue(&[HOST]), authority.issue(&["renewed.example.com"]));
    let running = Secured::with(&identity).env("FERRUM_FRONTEND_TLS_WATCH_INTERVAL_SECONDS", 1).start();
    renewed.replace(&identity);
    running.gateway.reload(&Document::new());
    assert_eq!(running.status(&authority, None), 200);
}

#[test]
fn one_connection_too_many_is_closed() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&[HOST])).start();
    let mut open: Vec<TcpStream> = (0..1024).map(|_| running.connect()).collect();
    let mut excess = running.connect();
    assert_eq!(heard(&mut excess), b"");
    running.gateway.wait_for_log(|text| text.contains("admin listener is full"));
    // The plain listener has places of its own.
    assert_eq!(running.gateway.admin("/health", &[]).status, 200);
    open.clear();
    eventually("places are free again", || (running.status(&authority, None) == 200).then_some(()));
}

#[test]
fn shutdown_ends_idle_connections_of_both_protocols() {
    let authority = Authority::new();
    let mut running = Secured::with(&authority.issue(&[HOST])).start();
    let idle: Vec<_> = ["h2", "http/1.1"]
        .into_iter()
        .map(|protocol| {
            Command::new("openssl")
                .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", running.port.number())])
                .args(["-alpn", protocol])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    running.gateway.signal(tests::Signal::Terminate);
    assert_eq!(running.gateway.exit(PATIENCE).code, Some(0));
    for mut client in idle {
        eventually("the client sees the end", || client.try_wait().unwrap());
    }
}

#[test]
fn the_health_command_asks_over_tls() {
    let authority = Authority::new();
    let running = Secured::with(&authority.issue(&["127.0.0.1"])).start();
    let port = running.port.number().to_string();
    let exit = run_cli(&["health", "--tls", "--tls-no-verify", "--port", &port], &[]);
    assert_eq!((exit.code, exit.stdout.as_str(), exit.stderr.as_str()), (Some(0), "", ""));
    let only_tls = [("FERRUM_ADMIN_HTTP_PORT", "0"), ("FERRUM_ADMIN_HTTPS_PORT", port.as_str())];
    assert_eq!(run_cli(&["health", "--tls-no-verify"], &only_tls).code, Some(0));
    // Nobody public has signed this one.
    let exit = run_cli(&["health", "--tls", "--port", &port], &[]);
    assert_eq!(exit.code, Some(1));
    let start = format!("Error: No answer from 127.0.0.1:{port}: ");
    assert!(exit.stderr.starts_with(&start) && exit.stderr.contains("UnknownIssuer"), "{}", exit.stderr);
    // And in the clear there is nobody.
    assert_eq!(run_cli(&["health", "--port", &port], &[]).code, Some(1));
}
