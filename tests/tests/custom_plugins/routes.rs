//! Requests that a plugin sends elsewhere.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway};

use crate::{ask, record};

fn routed(own: &Backend, other: &Backend, route: Value) -> Gateway {
    let target = json!({"host": "127.0.0.1", "port": other.port()});
    let config = json!({"tag": "a", "flags": ["logs"], "in": {"before_proxy": {"route": route}, "after_proxy": {"show": ["proxy"]}}});
    let document = Document::all_to(own.port())
        .upstream(json!({"id": "other", "targets": [target]}))
        .proxy_plugin("app", "probe", config);
    Gateway::running(&document)
}

#[test]
fn a_request_goes_to_another_host_and_port_or_upstream() {
    let (own, other) = (Backend::saying("own"), Backend::saying("other"));
    let routes = [
        (json!({}), "own"),
        (json!({"backend_port": other.port()}), "other"),
        (json!({"backend_host": "localhost", "backend_port": other.port()}), "other"),
        (json!({"upstream_id": "other"}), "other"),
        (json!({"upstream_id": "nobody"}), "own"),
    ];
    for (route, answer) in routes {
        let gateway = routed(&own, &other, route.clone());
        assert_eq!(ask(&gateway, "/", "").text(), answer, "{route}");
        // A connection kept for one place is never used for the other.
        assert_eq!(ask(&gateway, "/", "").text(), answer, "{route}");
    }
}

#[test]
fn behind_the_backend_hooks_see_the_proxy_as_the_request_did() {
    let (own, other) = (Backend::saying("own"), Backend::saying("other"));
    let gateway = routed(&own, &other, json!({"backend_port": other.port()}));
    ask(&gateway, "/", "");
    let shown = record(&gateway)["metadata"]["shown.a.after_proxy.proxy"].clone();
    assert_eq!(shown, format!("app {}", other.port()));
}
