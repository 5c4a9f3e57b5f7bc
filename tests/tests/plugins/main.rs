//! Plugins as a client and a backend see them: one room per plugin, and what holds for all.

mod access_control;
mod basic_auth;
mod bot_detection;
mod chain;
mod correlation_id;
mod cors;
mod grpc_method_router;
mod hmac_auth;
mod http_logging;
mod ip_restriction;
mod jwks_auth;
mod jwt_auth;
mod key_auth;
mod mtls_auth;
mod prometheus_metrics;
mod rate_limiting;
mod request_size_limiting;
mod request_termination;
mod request_transformer;
mod response_transformer;

use serde_json::{Value, json};
use tests::{Gateway, Response};

/// A consumer with two keys and a custom id.
pub fn alice() -> Value {
    json!({"id": "c-alice", "username": "alice", "custom_id": "7", "credentials": {"keyauth": [{"key": "k-1"}, {"key": "k-2"}]}})
}

/// A GET with these header lines, on a connection of its own.
pub fn ask(gateway: &Gateway, path: &str, lines: &str) -> Response {
    gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n"))
}

#[track_caller]
pub fn unauthorized(response: &Response, error: &str) {
    assert_eq!((response.status, response.text()), (401, format!(r#"{{"error":"{error}"}}"#)));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    assert!(!response.headers.has("via") && !response.headers.has("x-gateway-error"), "{response:?}");
}

/// Neither a log line nor a record has any of these.
#[track_caller]
pub fn expect_unsaid(gateway: &Gateway, secrets: &[&str]) {
    let (stdout, stderr) = gateway.output();
    for line in stdout.iter().chain(&stderr) {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
}
