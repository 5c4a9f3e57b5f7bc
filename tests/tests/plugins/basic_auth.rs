//! `basic_auth`.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::http2::Http2Client;
use tests::{Backend, Document, Gateway, GatewayBuilder};

use crate::{ask, expect_unsaid, unauthorized};

const SECRET: &str = "the gateway's own secret";
const DEFAULT_SECRET: &str = "ferrum-edge-change-me-in-production";
const WARNING: &str = "basic_auth: FERRUM_BASIC_AUTH_HMAC_SECRET is not set";

/// An entry of `credentials.basicauth`, as a document has it.
fn hashed(secret: &str, password: &str) -> Value {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), password.as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"password_hash": format!("hmac_sha256:{digits}")})
}

fn document(backend: &Backend, entries: Value) -> Document {
    let alice = json!({"id": "c-alice", "username": "alice", "custom_id": "7", "credentials": {"basicauth": entries}});
    let keyed = json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "k"}]}});
    Document::all_to(backend.port()).proxy_plugin("app", "basic_auth", json!({})).consumer(alice).consumer(keyed)
}

fn builder(document: &Document) -> GatewayBuilder {
    Gateway::builder().document(document).env("FERRUM_BASIC_AUTH_HMAC_SECRET", SECRET)
}

fn header(pair: impl AsRef<[u8]>) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

#[test]
fn curl_with_the_password_passes_and_the_backend_is_told_who_asks() {
    let backend = Backend::saying("welcome");
    let gateway = builder(&document(&backend, json!([hashed(SECRET, "open: sesame")]))).start();
    let answer = gateway.curl("/", &["--user", "alice:open: sesame"]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "welcome"));
    let request = backend.only_request();
    assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
    assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"]);
    let sent = format!("Basic {}", STANDARD.encode("alice:open: sesame"));
    assert_eq!(request.header("authorization"), Some(sent.as_str()), "it goes on unchanged");
    let answer = gateway.curl("/", &["--user", "alice:open"]);
    assert_eq!((answer.status, answer.text().as_str()), (401, r#"{"error":"Invalid credentials"}"#));
}

#[test]
fn without_good_credentials_nobody_passes() {
    let backend = Backend::saying("should not be reached");
    let gateway = builder(&document(&backend, json!([hashed(SECRET, "pw")]))).start();
    let missing = ask(&gateway, "/", "");
    unauthorized(&missing, "Authentication required");
    assert_eq!(missing.header("www-authenticate"), Some("ferrum-edge"));
    for pair in ["alice:PW", "alice:", ":pw", "Alice:pw", "bob:k", "c-alice:pw", "7:pw", "nobody:pw"] {
        unauthorized(&ask(&gateway, "/", &header(pair)), "Invalid credentials");
    }
    for line in ["Authorization: Bearer abc\r\n", "Authorization: Basic\r\n", "Authorization:\r\n", &header("alice")] {
        unauthorized(&ask(&gateway, "/", line), "Invalid Basic auth format");
    }
    unauthorized(&ask(&gateway, "/", "Authorization: Basic !\r\n"), "Invalid base64 in Basic auth");
    unauthorized(&ask(&gateway, "/", &header(b"alice:\xff")), "Invalid UTF-8 in Basic auth");
    backend.expect_untouched();
}

#[test]
fn the_hash_is_made_with_the_secret_of_the_settings() {
    let backend = Backend::saying("ok");
    let document = document(&backend, json!([hashed(DEFAULT_SECRET, "default"), hashed(SECRET, "own")]));
    let passes =
        |gateway: &Gateway, password: &str| ask(gateway, "/", &header(format!("alice:{password}"))).status == 200;
    let own = builder(&document).start();
    assert!(passes(&own, "own") && !passes(&own, "default"));
    assert!(!own.log().iter().any(|text| text.contains(WARNING)), "{:?}", own.log());
    let unset = Gateway::running(&document);
    assert!(passes(&unset, "default") && !passes(&unset, "own"));
    let warnings = || unset.log().iter().filter(|text| text.contains(WARNING)).count();
    assert_eq!(warnings(), 1, "whoever relies on the built-in secret is told");
    unset.reload(&document);
    assert_eq!(warnings(), 1, "once");
}

#[test]
fn while_a_password_is_changed_both_are_good() {
    let backend = Backend::saying("ok");
    let (old, new) = (hashed(SECRET, "old"), hashed(SECRET, "new"));
    let gateway = builder(&document(&backend, json!([old]))).start();
    let statuses = || ["old", "new"].map(|password| ask(&gateway, "/", &header(format!("alice:{password}"))).status);
    assert_eq!(statuses(), [200, 401]);
    gateway.reload(&document(&backend, json!([old, new])));
    assert_eq!(statuses(), [200, 200]);
    gateway.reload(&document(&backend, json!([new])));
    assert_eq!(statuses(), [401, 200]);
}

#[test]
fn a_plaintext_password_in_a_document_never_matches() {
    let backend = Backend::saying("should not be reached");
    let gateway = builder(&document(&backend, json!([{"password": "pw"}, {"password_hash": "pw"}]))).start();
    unauthorized(&ask(&gateway, "/", &header("alice:pw")), "Invalid credentials");
    backend.expect_untouched();
}

#[test]
fn the_record_names_the_caller_and_nothing_names_the_password() {
    let backend = Backend::saying("ok");
    let entries = json!([hashed(SECRET, "hunter2hunter2")]);
    let gateway = builder(&document(&backend, entries.clone()).global_plugin("stdout_logging", json!({})))
        .env("FERRUM_LOG_LEVEL", "trace")
        .start();
    assert_eq!(ask(&gateway, "/good", &header("alice:hunter2hunter2")).status, 200);
    assert_eq!(ask(&gateway, "/bad", &header("alice:swordfish")).status, 401);
    let record = gateway.wait_for_record(|record| record["request_path"] == "/good");
    assert_eq!((&record["consumer_username"], &record["auth_method"]), (&json!("alice"), &json!("basic_auth")));
    let record = gateway.wait_for_record(|record| record["request_path"] == "/bad");
    assert_eq!(
        (&record["consumer_username"], &record["metadata"]["rejection_phase"]),
        (&Value::Null, &json!("authenticate"))
    );
    let encoded = ["alice:hunter2hunter2", "alice:swordfish"].map(|pair| STANDARD.encode(pair));
    let hash = entries[0]["password_hash"].as_str().unwrap();
    expect_unsaid(&gateway, &["hunter2", "swordfish", &encoded[0], &encoded[1], &hash["hmac_sha256:".len()..], SECRET]);
}

#[test]
fn grpc_calls_and_websocket_handshakes_need_the_password_too() {
    let backend = Backend::saying("should not be reached");
    let gateway = builder(&document(&backend, json!([hashed(SECRET, "pw")]))).start();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let response = gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}{}\r\n", header("alice:wrong")));
    unauthorized(&response, "Invalid credentials");
    let mut client = Http2Client::connect(gateway.port());
    let authorization = format!("Basic {}", STANDARD.encode("alice:wrong"));
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/test.Peer/Unary"),
        ("content-type", "application/grpc"),
        ("authorization", authorization.as_str()),
    ];
    client.request(1, &fields, true);
    let response = client.response(1);
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("16")));
    assert_eq!(response.header("grpc-message"), Some("Invalid credentials"));
    backend.expect_untouched();
}

#[test]
fn any_key_in_the_config_refuses_the_start() {
    let backend = Backend::saying("");
    let document = Document::all_to(backend.port()).proxy_plugin("app", "basic_auth", json!({"realm": "shop"}));
    let exit = Gateway::builder().document(&document).start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("basic_auth: 'realm' is not a key of this plugin"), "{}", exit.stderr);
}
