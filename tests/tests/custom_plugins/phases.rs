//! When hooks run and what they see.

use serde_json::json;
use tests::{Backend, Document, Gateway};

use crate::{ask, document, post, probe_at, probed, record};

#[test]
fn hooks_run_in_their_order_and_see_the_request() {
    let backend = Backend::saying("ok");
    let seen = ["method", "path", "client_ip", "proxy", "header.host", "header.x-a", "query.q"];
    let config = json!({"tag": "a", "flags": ["is_auth_plugin", "logs"], "in": {
        "on_request_received": {"show": seen},
        "authenticate": {"identity": "sub-1", "display": "One", "show": ["query.q", "query.flag", "query.encoded"]},
        "authorize": {"show": ["identity"]},
    }});
    let gateway = probed(&backend, config);
    assert_eq!(ask(&gateway, "/p/q?q=1&q=2&flag&encoded=%20", "X-A: 1\r\nx-a: 2\r\n").status, 200);
    let record = record(&gateway);
    let metadata = &record["metadata"];
    assert_eq!(metadata["hooks.a"], "on_request_received authenticate authorize before_proxy after_proxy");
    let port = backend.port();
    let shown = |hook: &str, what: &str| metadata[format!("shown.a.{hook}.{what}")].clone();
    for (what, value) in
        [("method", "GET"), ("path", "/p/q"), ("client_ip", "127.0.0.1"), ("header.host", "a"), ("header.x-a", "2")]
    {
        assert_eq!(shown("on_request_received", what), value);
    }
    assert_eq!(shown("on_request_received", "proxy"), format!("app {port}"));
    assert_eq!(shown("on_request_received", "query.q"), "none", "the query is not parsed yet");
    assert_eq!(shown("authenticate", "query.q"), "2");
    assert_eq!((shown("authenticate", "query.flag"), shown("authenticate", "query.encoded")), (json!(""), json!(" ")));
    assert_eq!(shown("authorize", "identity"), "sub-1");
    assert_eq!((&record["response_status_code"], &record["consumer_username"]), (&json!(200), &json!("sub-1")));
    assert_eq!((&record["http_method"], &record["request_path"]), (&json!("GET"), &json!("/p/q")));
}

#[test]
fn every_hook_that_may_reject_does_with_text_and_with_bytes() {
    let hooks = [
        "on_request_received",
        "authenticate",
        "authorize",
        "before_proxy",
        "on_final_request_body",
        "after_proxy",
        "on_response_body",
        "on_final_response_body",
    ];
    let flags = [
        "is_auth_plugin",
        "requires_request_body_before_before_proxy",
        "requires_response_body_buffering",
        "applies_after_proxy_on_reject",
    ];
    for (number, hook) in hooks.into_iter().enumerate() {
        let backend = Backend::saying("of the backend");
        let reject = json!({"status": 418, "body": "no, {}", "binary": number % 2 == 0, "headers": {"x-why": hook}});
        let mut acts = json!({"authenticate": {"identity": "someone"}});
        acts[hook]["reject"] = reject;
        let gateway = probed(&backend, json!({"tag": "a", "flags": flags, "in": acts}));
        let response = post(&gateway, "/", "", "body");
        assert_eq!((response.status, response.text().as_str()), (418, "no, {}"), "{hook}");
        assert_eq!(response.headers.all("content-type"), ["application/json"], "{hook}");
        assert_eq!(response.headers.all("x-why"), [hook]);
        assert_eq!(backend.requests().len(), usize::from(number > 4), "{hook}");
        // Answers in the place of the backend's are its responses; the others are rejections.
        let expected = match hook {
            "on_final_request_body" => "418 false",
            "on_response_body" | "on_final_response_body" => "none",
            _ => "418 true",
        };
        assert_eq!(response.header("x-probe-a").unwrap_or("none"), expected, "{hook}");
    }
}

#[test]
fn a_status_that_cannot_end_an_exchange_is_the_phase_s() {
    for (hook, sent) in [
        ("on_request_received", 500),
        ("authenticate", 401),
        ("authorize", 403),
        ("on_final_request_body", 400),
        ("on_response_body", 502),
    ] {
        let backend = Backend::saying("ok");
        let flags = ["is_auth_plugin", "requires_request_body_before_before_proxy", "requires_response_body_buffering"];
        let mut acts = json!({"authenticate": {"identity": "someone"}});
        acts[hook]["reject"] = json!({"status": 99});
        let gateway = probed(&backend, json!({"flags": flags, "in": acts}));
        assert_eq!(post(&gateway, "/", "", "body").status, sent, "{hook}");
    }
}

#[test]
fn a_rejection_header_is_a_header_and_nothing_more() {
    let backend = Backend::saying("ok");
    let headers = json!({"Content-Type": "text/plain", "set-cookie": "a=1\nb=2", "bad name": "x", "bad": "a\r\nx-injected: 1",
        "content-length": "999", "transfer-encoding": "chunked"});
    let gateway =
        probed(&backend, json!({"in": {"authorize": {"reject": {"status": 403, "body": "no", "headers": headers}}}}));
    let response = ask(&gateway, "/", "");
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert_eq!(response.headers.all("content-type"), ["text/plain"]);
    assert_eq!(response.headers.all("set-cookie"), ["a=1", "b=2"]);
    assert!(!response.headers.has("bad") && !response.headers.has("x-injected"), "{response:?}");
}

#[test]
fn two_instances_run_by_priority_and_share_metadata() {
    let backend = Backend::saying("ok");
    let late = json!({"tag": "late", "flags": ["logs"], "in": {"authorize": {"show": ["metadata.left"]}}});
    let early = json!({"tag": "early", "in": {"authorize": {"metadata": {"left": "by the first"}}}});
    let document = Document::new()
        .proxy(
            tests::Proxy::new("app")
                .path("/")
                .to(backend.port())
                .set("plugins", json!([{"plugin_config_id": "late"}, {"plugin_config_id": "early"}])),
        )
        .plugin(probe_at(9000, "late", late))
        .plugin(probe_at(10, "early", early));
    let gateway = Gateway::running(&document);
    ask(&gateway, "/", "");
    assert_eq!(record(&gateway)["metadata"]["shown.late.authorize.metadata.left"], "by the first");
}

#[test]
fn a_plugin_and_a_built_in_one_see_what_the_other_does() {
    let backend = Backend::saying("ok");
    // Both key_auth and correlation_id run before the probe; its metadata is in their record.
    let config = json!({"tag": "a", "in": {
        "authorize": {"show": ["consumer", "identity", "auth_method", "metadata.request_id"]},
        "before_proxy": {"show": ["header.x-request-id"], "metadata": {"mine": "1"}},
    }});
    let document = document(backend.port(), config)
        .proxy_plugin("app", "key_auth", json!({}))
        .proxy_plugin("app", "correlation_id", json!({}))
        .proxy_plugin("app", "stdout_logging", json!({}))
        .consumer(json!({"id": "c-1", "username": "alice", "credentials": {"keyauth": [{"key": "k-1"}]}}));
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/", "X-API-Key: k-1\r\nX-Request-ID: r-1\r\n").status, 200);
    let metadata = gateway.wait_for_record(|_| true)["metadata"].clone();
    assert_eq!(metadata["shown.a.authorize.consumer"], "c-1");
    assert_eq!(metadata["shown.a.authorize.identity"], "alice");
    assert_eq!(metadata["shown.a.authorize.auth_method"], "key_auth");
    assert_eq!(metadata["shown.a.authorize.metadata.request_id"], "r-1");
    assert_eq!(metadata["mine"], "1");
}

#[test]
fn a_407_of_a_plugin_says_how_to_authenticate_and_one_of_a_backend_ends_here() {
    let challenge = json!({"Proxy-Authenticate": "Basic realm=\"a\""});
    for hook in ["authorize", "after_proxy", "on_final_response_body"] {
        let backend = Backend::replying(|_| tests::Reply::new(200).header("Proxy-Authenticate", "Digest").body("ok"));
        let acts = json!({hook: {"reject": {"status": 407, "body": "{}", "headers": challenge}}});
        let gateway = probed(&backend, json!({"flags": ["requires_response_body_buffering"], "in": acts}));
        let response = ask(&gateway, "/", "");
        let challenges = response.headers.all("proxy-authenticate");
        assert_eq!((response.status, challenges), (407, vec!["Basic realm=\"a\""]), "{hook}");
    }
    let backend = Backend::replying(|_| tests::Reply::new(407).header("Proxy-Authenticate", "Digest").body("ok"));
    for config in [json!({}), json!({"flags": ["requires_response_body_buffering"]})] {
        assert!(!ask(&probed(&backend, config), "/", "").headers.has("proxy-authenticate"));
    }
}

/// Rejects in that phase, with a record.
fn rejecting(port: u16, acts: serde_json::Value) -> Gateway {
    let flags = ["requires_request_body_before_before_proxy", "logs"];
    Gateway::running(&document(port, json!({"tag": "a", "flags": flags, "in": acts})))
}

#[test]
fn a_rejection_behind_the_backend_is_recorded_as_one_whoever_gave_the_answer() {
    let after_proxy = json!({"sleep_ms": 50, "reject": {"status": 418, "body": "{}"}});
    let body = json!({"reject": {"status": 403, "body": "{}"}});
    let away = tests::RefusingPort::new();
    let backend = Backend::saying("ok");
    let cases = [
        ("of the backend", backend.port(), json!({"after_proxy": after_proxy})),
        ("backend away", away.port(), json!({"after_proxy": after_proxy})),
        ("rejected body", backend.port(), json!({"after_proxy": after_proxy, "on_final_request_body": body})),
    ];
    for (case, port, acts) in cases {
        let gateway = rejecting(port, acts);
        assert_eq!(post(&gateway, "/", "", "body").status, 418, "{case}");
        let record = record(&gateway);
        assert_eq!(record["metadata"]["rejection_phase"], "after_proxy", "{case}");
        assert!(record["latency_plugin_execution_ms"].as_f64().unwrap() >= 50.0, "{case}: {record}");
    }
}

#[test]
fn an_answer_in_the_place_of_the_backend_s_has_the_headers_of_one() {
    for hook in ["on_final_request_body", "after_proxy"] {
        for (status, error) in [(503, Some("backend_error")), (403, None)] {
            let backend = Backend::saying("ok");
            let headers = json!({"X-Gateway-Error": "mine"});
            let acts = json!({hook: {"reject": {"status": status, "body": "{}", "headers": headers}}});
            let response = post(&rejecting(backend.port(), acts), "/", "", "body");
            assert_eq!((response.status, response.headers.all("via")), (status, vec!["1.1 ferrum-edge"]), "{hook}");
            let errors = response.headers.all("x-gateway-error");
            assert_eq!(errors, [error.unwrap_or("mine")], "{hook} {status}");
        }
    }
    let away = tests::RefusingPort::new();
    for status in [503, 504, 403] {
        let acts = json!({"after_proxy": {"reject": {"status": status, "body": "{}"}}});
        let response = post(&rejecting(away.port(), acts), "/", "", "body");
        assert_eq!((response.status, response.headers.all("via")), (status, vec!["1.1 ferrum-edge"]));
        assert_eq!(response.headers.all("x-gateway-error"), ["connection_failure"], "{status}");
    }
    let backend = Backend::saying("ok");
    let rejected = post(&rejecting(backend.port(), json!({"authorize": {"reject": {"status": 503}}})), "/", "", "body");
    assert!(!rejected.headers.has("via") && !rejected.headers.has("x-gateway-error"), "no backend had to do with it");
}
