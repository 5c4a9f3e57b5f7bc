//! Requests that a plugin sends elsewhere.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Proxy};

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

#[test]
fn a_name_that_the_document_has_leads_where_the_document_says() {
    let (own, other) = (Backend::saying("own"), Backend::saying("other"));
    let route = json!({"backend_host": "LOCALHOST", "backend_port": other.port()});
    let named = Proxy::new("named").path("/named").to(other.port()).set("backend_host", "localhost");
    let document = Document::all_to(own.port()).proxy(named).proxy_plugin(
        "app",
        "probe",
        json!({"in": {"before_proxy": {"route": route}}}),
    );
    let gateway = Gateway::running(&document);
    for path in ["/named", "/", "/"] {
        assert_eq!(ask(&gateway, path, "").text(), "other", "{path}");
    }
}

#[test]
fn what_is_no_host_reaches_no_backend() {
    let faulty = ["127.0.0.1\r\nX-Consumer-Username: admin", "a b", "*.example.com", "a/b", "a:80", "[::1]", ""];
    for host in faulty {
        let backend = Backend::saying("own");
        let proxy = Proxy::new("app").path("/").to(backend.port()).set("backend_host", "own.example.com");
        let route = json!({"backend_host": host});
        let document = Document::new()
            .proxy(proxy.set("dns_override", "127.0.0.1"))
            .proxy(
                Proxy::new("plain")
                    .path("/plain")
                    .to(backend.port())
                    .set("backend_host", "own.example.com")
                    .set("dns_override", "127.0.0.1"),
            )
            .proxy_plugin("app", "probe", json!({"in": {"before_proxy": {"route": route}}}));
        let gateway = Gateway::builder().document(&document).env("FERRUM_CORES", "1").start();
        assert_eq!(ask(&gateway, "/plain", "").text(), "own", "leaves a connection to the proxies' own backend");
        let refused = ask(&gateway, "/", "");
        let expected = (502, r#"{"error":"DNS resolution for backend failed"}"#);
        assert_eq!((refused.status, refused.text().as_str()), expected, "{host:?}");
        assert_eq!(backend.requests().len(), 1, "{host:?}");
        gateway.wait_for_log(|text| {
            text.starts_with("backend request to ") && text.contains("is neither a name nor an address")
        });
        let said = gateway.log().iter().filter(|text| text.contains("is neither a name nor an address")).count();
        assert_eq!(said, 1, "{host:?}");
    }
}
