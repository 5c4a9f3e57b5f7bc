//! Bodies that plugins want whole: how they arrive, what their limits do, and what is left alone.
//!
//! A rule of `request_transformer` or `response_transformer` for a member that no body has makes the gateway hold bodies back
//! without changing them.

mod crossing;
mod grpc;
mod requests;
mod responses;

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, GatewayBuilder};

/// Holds JSON bodies and takes `secret` out of them.
fn rules() -> Value {
    json!({"rules": [{"target": "body", "operation": "remove", "key": "secret"}]})
}

/// Puts a member into each JSON body, which makes it 8 bytes longer.
fn growing() -> Value {
    json!({"rules": [{"target": "body", "operation": "add", "key": "more", "value": 1}]})
}

fn builder(document: &Document, settings: &[(&str, &str)]) -> GatewayBuilder {
    let builder = Gateway::builder().document(document);
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// Behind the rules above for that plugin.
fn holding(plugin: &str, backend: &Backend, settings: &[(&str, &str)]) -> Gateway {
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", plugin, rules())
        .global_plugin("stdout_logging", json!({}));
    builder(&document, settings).start()
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";

fn fixed(body: &str) -> String {
    format!("{POST}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// In chunks of so many bytes, with these lines as trailers.
fn chunked(body: &str, size: usize, trailers: &str) -> String {
    let chunks: String = body
        .as_bytes()
        .chunks(size)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
        .collect();
    format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n")
}

/// A JSON text of that length.
fn json_of(length: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "b".repeat(length - 8))
}

fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
}

fn post(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)]
}
