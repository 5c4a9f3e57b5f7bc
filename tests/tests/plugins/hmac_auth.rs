//! `hmac_auth`.

use std::process::Command;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Peer, Response};
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::{Duration, OffsetDateTime};

use crate::{ask, expect_unsaid, unauthorized};

const SECRET: &str = "alice signs with this secret";
const OLDER: &str = "alice has signed with this secret";

fn document(backend: u16, config: Value) -> Document {
    let alice = json!({"id": "c-alice", "username": "alice", "custom_id": "7",
        "credentials": {"hmac_auth": [{"secret": OLDER}, {"secret": SECRET}]}});
    let bob = json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "k"}]}});
    Document::all_to(backend).proxy_plugin("app", "hmac_auth", config).consumer(alice).consumer(bob)
}

fn gateway(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&document(backend.port(), config))
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc2822).unwrap()
}

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest::digest(&digest::SHA256, body)))
}

fn signature(algorithm: hmac::Algorithm, secret: &str, text: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), text.as_bytes()))
}

/// The header lines that sign a request now.
fn signed(method: &str, path: &str, body: &[u8]) -> String {
    signed_on(&now(), method, path, body)
}

fn signed_on(date: &str, method: &str, path: &str, body: &[u8]) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    signed_over(&format!("{method}\n{path}\n{query}"), date, body)
}

/// `first` are the lines before the date.
fn signed_over(first: &str, date: &str, body: &[u8]) -> String {
    let digest = digest_of(body);
    let signature = signature(hmac::HMAC_SHA256, SECRET, &format!("{first}\n{date}\n{digest}"));
    let authorization = format!(r#"hmac username="alice", algorithm="hmac-sha256", signature="{signature}""#);
    format!("Authorization: {authorization}\r\nDate: {date}\r\nContent-Digest: {digest}\r\n")
}

fn post(gateway: &Gateway, path: &str, lines: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n{lines}\r\n",
        body.len()
    );
    gateway.ask([head.as_bytes(), body].concat())
}

#[test]
fn a_signed_request_passes_with_its_body_and_tells_who_asks() {
    let backend = Backend::echoing();
    let gateway = gateway(&backend, json!({}));
    let body = b"{\"amount\":7}";
    let answer = post(&gateway, "/pay?to=bob", &signed("POST", "/pay?to=bob", body), body);
    assert_eq!((answer.status, &answer.body[..]), (200, &body[..]));
    assert_eq!(ask(&gateway, "/orders", &signed("GET", "/orders", b"")).status, 200);
    for request in backend.requests() {
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
        assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"]);
    }
}

#[test]
fn what_was_changed_on_the_way_does_not_pass() {
    let backend = Backend::saying("should not be reached");
    let gateway = gateway(&backend, json!({}));
    let body = b"{\"amount\":7}";
    let lines = signed("POST", "/pay", body);
    unauthorized(&post(&gateway, "/pay", &lines, b"{\"amount\":9}"), "Digest header does not match request body");
    unauthorized(&post(&gateway, "/pay", &lines, b""), "Digest header does not match request body");
    unauthorized(&post(&gateway, "/pays", &lines, body), "Invalid signature");
    unauthorized(&post(&gateway, "/pay", &signed("PUT", "/pay", body), body), "Invalid signature");
    unauthorized(&post(&gateway, "/pay?to=eve", &signed("POST", "/pay?to=bob", body), body), "Invalid signature");
    unauthorized(&post(&gateway, "/pay?to=eve", &lines, body), "Invalid signature");
    let (head, _) = lines.split_once("Content-Digest").unwrap();
    let plain = format!("{head}Digest: {}\r\n", digest_of(body).replace(':', ""));
    unauthorized(&post(&gateway, "/pay", &plain, body), "Invalid signature");
    backend.expect_untouched();
}

#[test]
fn a_signature_without_the_query_s_line_never_passes() {
    let backend = Backend::saying("should not be reached");
    let gateway = gateway(&backend, json!({}));
    let lines = signed_over("POST\n/pay", &now(), b"");
    for path in ["/pay", "/pay?", "/pay?to=eve"] {
        unauthorized(&post(&gateway, path, &lines, b""), "Invalid signature");
    }
    backend.expect_untouched();
}

#[test]
fn each_part_that_is_missing_is_named() {
    let backend = Backend::saying("should not be reached");
    let gateway = gateway(&backend, json!({}));
    let missing = ask(&gateway, "/", "");
    unauthorized(&missing, "Authentication required");
    assert_eq!(missing.header("www-authenticate"), Some("ferrum-edge"));
    let digest = digest_of(b"");
    let date = now();
    for (lines, error) in [
        ("Authorization: Basic YTpi".to_owned(), "Invalid HMAC authorization format"),
        ("Authorization: hmac signature=x".to_owned(), "Missing username in HMAC authorization"),
        ("Authorization: hmac username=alice, algorithm=md5".to_owned(), "Unsupported HMAC algorithm"),
        ("Authorization: hmac username=alice".to_owned(), "Missing signature in HMAC authorization"),
        ("Authorization: hmac username=alice, signature=x".to_owned(), "Missing required Digest header"),
        (
            format!("Authorization: hmac username=alice, signature=x\r\nDigest: {digest}"),
            "Missing or expired Date header",
        ),
        (
            format!("Authorization: hmac username=alice, signature=x\r\nDigest: sha-256=x\r\nDate: {date}"),
            "Digest header does not match request body",
        ),
        (
            format!("Authorization: hmac username=nobody, signature=x\r\nDigest: {digest}\r\nDate: {date}"),
            "Invalid credentials",
        ),
        (
            format!("Authorization: hmac username=bob, signature=x\r\nDigest: {digest}\r\nDate: {date}"),
            "Invalid credentials",
        ),
        (
            format!("Authorization: hmac username=alice, signature=!\r\nDigest: {digest}\r\nDate: {date}"),
            "Invalid signature",
        ),
    ] {
        unauthorized(&ask(&gateway, "/", &format!("{lines}\r\n")), error);
    }
    backend.expect_untouched();
}

#[test]
fn a_request_is_good_for_the_skew_and_no_longer() {
    let backend = Backend::saying("ok");
    let dated = |offset: i64| (OffsetDateTime::now_utc() + Duration::seconds(offset)).format(&Rfc3339).unwrap();
    let statuses = |config: Value, offsets: [i64; 4]| {
        let gateway = gateway(&backend, config);
        offsets.map(|offset| ask(&gateway, "/", &signed_on(&dated(offset), "GET", "/", b"")).status)
    };
    assert_eq!(statuses(json!({}), [-280, 280, -320, 320]), [200, 200, 401, 401]);
    assert_eq!(statuses(json!({"clock_skew_seconds": 60}), [-40, 40, -80, 80]), [200, 200, 401, 401]);
    assert_eq!(statuses(json!({"clock_skew_seconds": 0}), [-2, 2, -80, 80]), [401, 401, 401, 401]);
}

#[test]
fn bodies_of_any_size_and_framing_are_checked_whole() {
    let backend = Backend::echoing();
    let gateway = gateway(&backend, json!({}));
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let lines = signed("POST", "/", &body);
    assert!(post(&gateway, "/", &lines, &body).body == body);
    let mut changed = body.clone();
    *changed.last_mut().unwrap() ^= 1;
    unauthorized(&post(&gateway, "/", &lines, &changed), "Digest header does not match request body");
    let file = std::env::temp_dir().join(format!("ferrum-edge-hmac-{}", std::process::id()));
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    for framing in [&["-H", "Transfer-Encoding: chunked"][..], &["--http2-prior-knowledge"]] {
        let lines: Vec<&str> = lines.trim_end().split("\r\n").flat_map(|line| ["-H", line]).collect();
        let answer = gateway.curl("/", &[&["--data-binary", &data, "-H", "Expect:"], framing, &lines].concat());
        assert_eq!((answer.exit, answer.status), (0, 200), "{framing:?}");
        assert!(answer.body == body, "{framing:?}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_body_past_the_limit_of_the_gateway_is_refused_before_it_is_hashed() {
    let backend = Backend::echoing();
    let gateway = Gateway::builder()
        .document(&document(backend.port(), json!({})))
        .env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 1000)
        .start();
    for (length, status) in [(1000, 200), (1001, 413)] {
        let body = vec![b'x'; length];
        assert_eq!(post(&gateway, "/", &signed("POST", "/", &body), &body).status, status, "{length}");
    }
}

#[test]
fn a_shell_with_openssl_and_curl_can_sign() {
    let backend = Backend::saying("welcome");
    let gateway = gateway(&backend, json!({}));
    let script = r#"
        date=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
        digest="sha-512=$(printf %s "$body" | openssl dgst -sha512 -binary | base64 -w0)"
        signature=$(printf 'POST\n/pay\n\n%s\n%s' "$date" "$digest" | openssl dgst -sha512 -hmac "$secret" -binary | base64 -w0)
        curl --silent --noproxy '*' --max-time 30 --data "$body" -H "Date: $date" -H "Digest: $digest" \
            -H "Authorization: HMAC username=alice, algorithm=HMAC-SHA512, signature=$signature" "$url"
    "#;
    let url = format!("http://127.0.0.1:{}/pay", gateway.port());
    for (secret, said) in [(SECRET, "welcome"), (OLDER, "welcome"), ("wrong", r#"{"error":"Invalid signature"}"#)] {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("body", "{\"amount\":7}").env("secret", secret).env("url", &url);
        assert_eq!(String::from_utf8(shell.output().unwrap().stdout).unwrap(), said);
    }
}

#[test]
fn grpc_calls_are_signed_over_their_framed_message() {
    let server = Peer::start("grpc_server.py", &[]);
    let gateway = Gateway::running(&document(server.port(), json!({})));
    let mut client = Peer::start("grpc_client.py", &[&format!("127.0.0.1:{}", gateway.port())]);
    let framed = [&[0, 0, 0, 0, 5][..], b"hello"].concat();
    let lines = signed("POST", "/test.Peer/Unary", &framed);
    let metadata: Vec<[String; 2]> = lines
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| [name.to_lowercase(), value.to_owned()])
        .collect();
    let call = |request: &str| json!({"do": "unary", "method": "Unary", "request": request, "metadata": metadata});
    let answer = client.ask(call("hello"));
    assert_eq!((&answer["code"], &answer["response"]["text"]), (&json!("OK"), &json!("hello")), "{answer}");
    let answer = client.ask(call("jello"));
    let refused = (&json!("UNAUTHENTICATED"), &json!("Digest header does not match request body"));
    assert_eq!((&answer["code"], &answer["details"]), refused, "{answer}");
}

#[test]
fn the_record_names_the_caller_and_nothing_names_signature_or_secret() {
    let backend = Backend::saying("ok");
    let document = document(backend.port(), json!({})).global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::builder().document(&document).env("FERRUM_LOG_LEVEL", "trace").start();
    let body = b"a private matter";
    let lines = signed("POST", "/", body);
    assert_eq!(post(&gateway, "/", &lines, body).status, 200);
    let record = gateway.wait_for_record(|record| record["response_status_code"] == 200);
    assert_eq!((&record["consumer_username"], &record["auth_method"]), (&json!("alice"), &json!("hmac_auth")));
    assert_eq!(record["metadata"]["request_body_size_bytes"], "16");
    let signature = lines.split_once("signature=\"").unwrap().1.split_once('"').unwrap().0;
    expect_unsaid(&gateway, &[signature, SECRET, OLDER, "a private matter"]);
}

#[test]
fn a_digest_is_always_required_and_a_config_that_says_otherwise_refuses_the_start() {
    let backend = Backend::saying("");
    let exit = Gateway::builder().document(&document(backend.port(), json!({"require_digest": false}))).start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("hmac_auth: 'require_digest' was removed"), "{}", exit.stderr);
}
