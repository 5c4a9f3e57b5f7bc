//! `ip_restriction`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, RawWebSocket, Response};

use crate::ask;

/// Behind a proxy on this machine that may say who the client is.
fn restricted(backend: &Backend, config: Value) -> Gateway {
    let document = Document::all_to(backend.port()).proxy_plugin("app", "ip_restriction", config);
    Gateway::builder().document(&document).env("FERRUM_TRUSTED_PROXIES", "127.0.0.0/8").start()
}

fn from(gateway: &Gateway, address: &str) -> Response {
    ask(gateway, "/", &format!("X-Forwarded-For: {address}\r\n"))
}

#[track_caller]
fn forbidden(response: &Response, error: &str) {
    assert_eq!((response.status, response.text()), (403, format!(r#"{{"error":"{error}"}}"#)));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
}

#[test]
fn only_allowed_addresses_pass() {
    let backend = Backend::saying("ok");
    let gateway =
        restricted(&backend, json!({"allow": ["203.0.113.7", "198.51.100.0/24", "[2001:db8::1%eth0]", "fd00::/8"]}));
    for address in ["203.0.113.7", "198.51.100.0", "198.51.100.255", "2001:db8::1", "fdff::1", "::ffff:203.0.113.7"] {
        assert_eq!(from(&gateway, address).status, 200, "{address}");
    }
    let reached = backend.requests().len();
    for address in ["203.0.113.6", "203.0.113.8", "198.51.99.255", "198.51.101.0", "2001:db8::2", "fc00::1"] {
        forbidden(&from(&gateway, address), "IP address not allowed");
    }
    assert_eq!(backend.requests().len(), reached, "what is refused does not reach the backend");
}

#[test]
fn denied_addresses_do_not_pass() {
    let backend = Backend::saying("ok");
    let gateway = restricted(&backend, json!({"deny": ["203.0.113.0/25", "::/0"]}));
    for address in ["203.0.113.0", "203.0.113.127", "2001:db8::1", "::ffff:203.0.113.1"] {
        forbidden(&from(&gateway, address), "IP address denied");
    }
    for address in ["203.0.113.128", "203.0.112.255", "8.8.8.8", "::ffff:8.8.8.8"] {
        assert_eq!(from(&gateway, address).status, 200, "{address}");
    }
}

#[test]
fn the_mode_says_which_list_is_looked_at_first() {
    let backend = Backend::saying("ok");
    let config = |mode: &str| json!({"allow": ["10.0.0.0/8"], "deny": ["10.9.0.0/16", "203.0.113.0/24"], "mode": mode});
    for (mode, error) in [("allow_first", "IP address not allowed"), ("deny_first", "IP address denied")] {
        let gateway = restricted(&backend, config(mode));
        forbidden(&from(&gateway, "203.0.113.1"), error);
        forbidden(&from(&gateway, "10.9.0.1"), "IP address denied");
        forbidden(&from(&gateway, "8.8.8.8"), "IP address not allowed");
        assert_eq!(from(&gateway, "10.8.0.1").status, 200);
    }
}

#[test]
fn a_client_that_is_not_trusted_cannot_say_it_is_another() {
    let backend = Backend::saying("ok");
    let document = |list: &str| {
        Document::all_to(backend.port()).proxy_plugin("app", "ip_restriction", json!({list: ["127.0.0.1"]}))
    };
    let denying = Gateway::running(&document("deny"));
    forbidden(&from(&denying, "203.0.113.1"), "IP address denied");
    let allowing = Gateway::running(&document("allow"));
    assert_eq!(from(&allowing, "203.0.113.1").status, 200);
}

#[test]
fn thousands_of_rules_decide_rightly() {
    let backend = Backend::saying("ok");
    let rules: Vec<String> = (0..20_000).map(|n| format!("10.{}.{}.0/25", n / 256, n % 256)).collect();
    let gateway = restricted(&backend, json!({"deny": rules}));
    for address in ["10.0.0.1", "10.42.7.127", "10.78.31.127"] {
        forbidden(&from(&gateway, address), "IP address denied");
    }
    for address in ["10.0.0.128", "10.42.7.255", "10.78.32.0", "9.255.255.255"] {
        assert_eq!(from(&gateway, address).status, 200, "{address}");
    }
}

#[test]
fn grpc_and_websocket_clients_are_refused_as_well() {
    let backend = Backend::saying("should not be reached");
    let gateway = restricted(&backend, json!({"allow": ["203.0.113.7"]}));
    let call = ["-X", "POST", "-H", "Content-Type: application/grpc", "--http2-prior-knowledge"];
    let answer = gateway.curl("/shop.Orders/Get", &call);
    assert_eq!(
        (answer.header("grpc-status"), answer.header("grpc-message")),
        (Some("7"), Some("IP address not allowed"))
    );
    forbidden(&gateway.ask(RawWebSocket::request("/ws", "")), "IP address not allowed");
    backend.expect_untouched();
}

#[test]
fn rules_that_are_none_stop_the_start() {
    for (config, error) in [
        (json!({}), "ip_restriction: 'allow' or 'deny' must have an entry"),
        (json!({"allow": ["10.0.0.0/33"]}), "ip_restriction: 'allow' has '10.0.0.0/33', which is neither"),
        (json!({"deny": ["::1"], "mode": "first"}), "ip_restriction: 'mode' must be 'allow_first' or 'deny_first'"),
    ] {
        let document = Document::all_to(1).proxy_plugin("app", "ip_restriction", config);
        let said = Gateway::builder().document(&document).start_failing().messages().join("\n");
        assert!(said.contains(error), "{said}");
    }
}
