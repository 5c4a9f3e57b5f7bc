//! Settings whose value is in a secret store. Each back-end's protocol is tested beside its code; here, what the process makes of it.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Authority, Backend, Document, Gateway, Identity, PortLease, Reply, eventually, token_signed_with};

const TOKEN: &str = "hvs.token-of-the-test";
const SECRET: &str = "the admin secret that only vault knows";

/// A Vault with one secret.
fn vault() -> Backend {
    Backend::replying(|request| match (request.target.as_str(), request.header("x-vault-token")) {
        ("/v1/secret/data/edge", Some(TOKEN)) => {
            Reply::text(&json!({"data": {"data": {"jwt": SECRET, "port": "not one"}}}).to_string())
        }
        _ => Reply::new(403).body(r#"{"errors":["permission denied"]}"#),
    })
}

fn token() -> String {
    token_signed_with(SECRET, "viewer")
}

#[test]
fn a_gateway_takes_a_setting_from_vault_and_never_shows_it() {
    let vault = vault();
    let gateway = Gateway::builder()
        .document(&Document::new())
        .env("VAULT_ADDR", format!("http://127.0.0.1:{}", vault.port()))
        .env("VAULT_TOKEN", TOKEN)
        .env("FERRUM_ADMIN_JWT_SECRET_VAULT", "secret/data/edge#jwt")
        .env("FERRUM_LOG_LEVEL", "debug")
        .start();
    let answer = gateway.admin("/plugins", &[&format!("Authorization: Bearer {}", token())]);
    assert_eq!(answer.status, 200);
    gateway.wait_for_log(|text| text == "Loaded FERRUM_ADMIN_JWT_SECRET from Vault");
    let (stdout, stderr) = gateway.output();
    assert!(stdout.iter().chain(&stderr).all(|line| !line.contains(SECRET) && !line.contains(TOKEN)));
    assert_eq!(vault.requests().len(), 1);
}

#[test]
fn a_secret_that_cannot_be_had_ends_the_start_in_plain_text() {
    let vault = vault();
    let address = format!("http://127.0.0.1:{}", vault.port());
    let starting = |reference: &str, token: &str| {
        let builder = Gateway::builder().env("VAULT_ADDR", &address).env("VAULT_TOKEN", token);
        builder.env("FERRUM_ADMIN_JWT_SECRET_VAULT", reference).start_failing()
    };
    let prefix = "Secret resolution error: Failed to resolve FERRUM_ADMIN_JWT_SECRET from Vault: ";
    for (reference, token, reason) in [
        ("secret/data/edge#gone", TOKEN, "the secret has no key 'gone'"),
        ("secret/data/edge", TOKEN, "the secret has 2 keys, not one"),
        ("secret/data/edge#jwt", "wrong", "403 Forbidden: permission denied"),
        ("secret/edge#jwt", TOKEN, "Invalid Vault KV v2 reference for FERRUM_ADMIN_JWT_SECRET"),
    ] {
        let exit = starting(reference, token);
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert!(exit.stderr.starts_with(prefix) && exit.stderr.contains(reason), "{}", exit.stderr);
        assert_eq!(exit.stderr.lines().count(), 1, "{}", exit.stderr);
        assert!(!exit.stderr.contains(SECRET) && exit.stdout.is_empty());
    }
}

#[test]
fn two_sources_are_refused_without_asking_any() {
    let vault = vault();
    let exit = Gateway::builder()
        .env("VAULT_ADDR", format!("http://127.0.0.1:{}", vault.port()))
        .env("VAULT_TOKEN", TOKEN)
        .env("FERRUM_ADMIN_JWT_SECRET", "direct")
        .env("FERRUM_ADMIN_JWT_SECRET_VAULT", "secret/data/edge#jwt")
        .start_failing();
    assert_eq!(exit.code, Some(1));
    assert_eq!(
        exit.stderr,
        "Secret resolution error: Multiple secret sources configured for FERRUM_ADMIN_JWT_SECRET: direct env var, \
         FERRUM_ADMIN_JWT_SECRET_VAULT. Only one source is allowed.\n"
    );
    assert!(vault.requests().is_empty());
}

#[test]
fn a_store_that_never_answers_costs_its_time_and_no_more() {
    let silent = Backend::scripted(|connection| {
        connection.read_request();
        connection.wait_closed();
    });
    let began = Instant::now();
    let exit = Gateway::builder()
        .env("VAULT_ADDR", format!("http://127.0.0.1:{}", silent.port()))
        .env("VAULT_TOKEN", TOKEN)
        .env("FERRUM_SECRET_FETCH_TIMEOUT_SECONDS", 1)
        .env("FERRUM_ADMIN_JWT_SECRET_VAULT", "secret/data/edge#jwt")
        .start_failing();
    assert_eq!(exit.stderr, "Secret resolution error: Timeout resolving FERRUM_ADMIN_JWT_SECRET from Vault after 1s\n");
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&began.elapsed()));
}

#[test]
fn validate_asks_no_store() {
    let vault = vault();
    let exit = Gateway::builder()
        .document(&Document::new())
        .env("VAULT_ADDR", format!("http://127.0.0.1:{}", vault.port()))
        .env("VAULT_TOKEN", TOKEN)
        .env("FERRUM_PROXY_HTTP_PORT_VAULT", "secret/data/edge#port")
        .launch(&["validate"])
        .exit(tests::PATIENCE);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(vault.requests().is_empty());
}

/// Files of a folder over HTTPS, by openssl.
struct HttpsFiles(Child);

impl HttpsFiles {
    fn serve(folder: &std::path::Path, port: u16, identity: &Identity) -> Self {
        let child = Command::new("openssl")
            .args(["s_server", "-WWW", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(&identity.certificate)
            .arg("-key")
            .arg(&identity.key)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is needed: apt-get install openssl");
        eventually("the server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self(child)
    }
}

impl Drop for HttpsFiles {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_vault_with_a_certificate_of_its_own_is_trusted_by_the_ca_bundle() {
    let authority = Authority::new();
    let (identity, port) = (authority.issue(&["127.0.0.1"]), PortLease::take());
    let folder = authority.bundle().with_file_name("");
    std::fs::create_dir_all(folder.join("v1/secret/data")).unwrap();
    std::fs::write(folder.join("v1/secret/data/edge"), json!({"data": {"data": {"jwt": SECRET}}}).to_string()).unwrap();
    let _server = HttpsFiles::serve(&folder, port.number(), &identity);
    let starting = || {
        Gateway::builder()
            .document(&Document::new())
            .env("VAULT_ADDR", format!("https://127.0.0.1:{}", port.number()))
            .env("VAULT_TOKEN", TOKEN)
            .env("FERRUM_ADMIN_JWT_SECRET_VAULT", "secret/data/edge")
    };
    let exit = starting().start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stderr.contains("cannot ask https://127.0.0.1:") && exit.stderr.contains("UnknownIssuer"),
        "{}",
        exit.stderr
    );
    let gateway = starting().env("FERRUM_TLS_CA_BUNDLE_PATH", authority.bundle().display()).start();
    assert_eq!(gateway.admin("/plugins", &[&format!("Authorization: Bearer {}", token())]).status, 200);
}
