use serde_json::{Value, json};

use super::*;

fn document(proxies: &[Value]) -> Document {
    let proxies: Vec<Value> = proxies
        .iter()
        .enumerate()
        .map(|(i, changes)| {
            let mut proxy =
                json!({"id": format!("p{i}"), "backend_scheme": "tcp", "backend_host": "b", "backend_port": 1});
            for (key, value) in changes.as_object().unwrap() {
                proxy[key] = value.clone();
            }
            proxy
        })
        .collect();
    serde_json::from_value(json!({"version": "1", "proxies": proxies, "consumers": [], "plugin_configs": []})).unwrap()
}

fn messages(proxies: &[Value]) -> Vec<String> {
    check_streams(&document(proxies)).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn stream_proxies_have_a_port_and_http_proxies_have_none() {
    let found = messages(&[
        json!({}),
        json!({"backend_scheme": "dtls", "listen_port": 0}),
        json!({"backend_scheme": "https", "listen_port": 443}),
        json!({"listen_port": 1}),
        json!({"listen_port": 65535}),
        json!({"backend_scheme": "http"}),
    ]);
    let expected = [
        "Stream proxy 'p0' (scheme tcp) must have a listen_port",
        "Stream proxy 'p1' has invalid listen_port 0 (must be >= 1)",
        "HTTP proxy 'p2' (scheme https) must not set listen_port",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_port_is_shared_by_passthrough_proxies_only() {
    let found = messages(&[
        json!({"listen_port": 5, "passthrough": true, "hosts": ["a"]}),
        json!({"listen_port": 5, "hosts": ["b"]}),
        json!({"listen_port": 5, "backend_scheme": "udp"}),
        json!({"listen_port": 6}),
    ]);
    let expected =
        "Duplicate listen_port 5 — all proxies sharing a port must have passthrough: true, but p1, p2 do not";
    assert_eq!(found, [expected]);
}

#[test]
fn passthrough_proxies_on_a_port_do_not_overlap() {
    let on = |hosts: Value| json!({"listen_port": 5, "passthrough": true, "hosts": hosts});
    assert_eq!(messages(&[on(json!(["a.x", "b.x"])), on(json!(["c.x"])), on(json!(["*.y"]))]), [""; 0]);
    let found = messages(&[on(json!(["a.x"])), on(json!(["*.x"]))]);
    let start = "Passthrough proxies 'p0' and 'p1' on port 5 have overlapping hosts ";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    let found = messages(&[on(json!(["a.x"])), on(json!([]))]);
    assert!(found.len() == 1 && found[0].starts_with(start), "a catch-all overlaps with named ones: {found:?}");
    let found = messages(&[on(json!([])), on(json!([]))]);
    assert_eq!(found[0], "Passthrough port 5 has 2 proxies with empty hosts — at most one catch-all is allowed");
    assert!(found.len() == 2 && found[1].starts_with(start), "{found:?}");
}

#[test]
fn ports_of_the_gateway_are_reserved() {
    let input = document(&[json!({"listen_port": 8000}), json!({"listen_port": 9001}), json!({})]);
    let expected = "proxies[0] \"p0\": Stream proxy 'p0' listen_port 8000 conflicts with a gateway reserved port \
                    (proxy/admin/gRPC listener)";
    assert_eq!(reserved_port_conflicts(&input, &[0, 8000, 9000]), [expected]);
    assert_eq!(reserved_port_conflicts(&input, &[]), [""; 0]);
    let off = document(&[json!({"listen_port": 0})]);
    assert_eq!(reserved_port_conflicts(&off, &[0]), [""; 0], "port 0 is a listener that is off");
}
