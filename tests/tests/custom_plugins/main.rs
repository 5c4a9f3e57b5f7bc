//! Plugins of one's own as a client and a backend see them.
//!
//! The gateway of these tests has the plugins of `tests/custom_plugins/` in it: `cargo build -p control --features test-plugins`.
//! One without them says "Unknown plugin name 'probe'" here.

mod bodies;
mod configuration;
mod examples;
mod faults;
mod headers;
mod identity;
mod logs;
mod phases;
mod routes;
mod runtime;
mod websockets;

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Response};

/// Everything goes to the backend, past a probe with this configuration.
pub fn probed(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&document(backend.port(), config))
}

pub fn document(port: u16, config: Value) -> Document {
    Document::all_to(port).proxy_plugin("app", "probe", config)
}

/// A proxy-scoped probe of its own id and place.
pub fn probe_at(priority: u16, id: &str, config: Value) -> Value {
    json!({"id": id, "plugin_name": "probe", "scope": "proxy_group", "priority_override": priority, "config": config})
}

/// A GET with these header lines, on a connection of its own.
pub fn ask(gateway: &Gateway, path: &str, lines: &str) -> Response {
    gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n"))
}

pub fn post(gateway: &Gateway, path: &str, lines: &str, body: &str) -> Response {
    let length = body.len();
    gateway.ask(format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// The first record that the probe of that tag has logged.
#[track_caller]
pub fn record(gateway: &Gateway) -> Value {
    let line = gateway.wait_for_log(|text| text.starts_with("probe record "));
    serde_json::from_str(line.trim_start_matches("probe record ")).expect("a record is JSON")
}
