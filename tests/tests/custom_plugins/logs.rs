//! What plugins are told of finished transactions.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Backend, RefusingPort};

use crate::{ask, document, probed, record};

#[test]
fn the_record_of_a_plugin_is_that_of_the_gateway() {
    let backend = Backend::saying("ok");
    let document =
        document(backend.port(), json!({"flags": ["logs"]})).proxy_plugin("app", "stdout_logging", json!({}));
    let gateway = tests::Gateway::running(&document);
    ask(&gateway, "/a/b?q", "User-Agent: tests/1\r\n");
    let (of_plugin, of_gateway) = (record(&gateway), gateway.wait_for_record(|_| true));
    let keys = |record: &serde_json::Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&of_plugin), keys(&of_gateway));
    for key in keys(&of_gateway).iter().filter(|key| !["timestamp_received"].contains(&key.as_str())) {
        assert_eq!(of_plugin[key], of_gateway[key], "{key}");
    }
}

#[test]
fn rejected_and_failed_transactions_are_logged_too() {
    let dead = RefusingPort::new();
    let gateway = tests::Gateway::running(&document(dead.port(), json!({"flags": ["logs"]})));
    assert_eq!(ask(&gateway, "/", "").status, 502);
    let failed = record(&gateway);
    assert_eq!(
        (&failed["error_class"], &failed["latency_backend_ttfb_ms"]),
        (&json!("connection_refused"), &json!(-1.0))
    );
    let backend = Backend::saying("ok");
    let gateway = probed(&backend, json!({"flags": ["logs"], "in": {"authorize": {"reject": {"status": 403}}}}));
    ask(&gateway, "/", "");
    let rejected = record(&gateway);
    assert_eq!(
        (&rejected["response_status_code"], &rejected["metadata"]["rejection_phase"]),
        (&json!(403), &json!("authorize"))
    );
}

#[test]
fn a_log_hook_that_waits_or_panics_holds_nobody_up() {
    let backend = Backend::saying("ok");
    let gateway = probed(&backend, json!({"flags": ["logs"], "in": {"log": {"sleep_ms": 1500}}}));
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "/", "").status, 200);
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    record(&gateway);
    let gateway = probed(&backend, json!({"in": {"log": {"panic": true}}}));
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "/", "").status, 200);
    }
    gateway.wait_for_log(|text| text == "a hook of a plugin panicked: a probe panics in log");
}

#[test]
fn time_in_tracked_calls_is_in_the_record() {
    let backend = Backend::saying("ok");
    let url = format!("http://127.0.0.1:{}/", backend.port());
    let gateway = probed(&backend, json!({"flags": ["logs"], "in": {"after_proxy": {"fetch": url}}}));
    assert_eq!(ask(&gateway, "/", "").status, 200);
    assert!(record(&gateway)["latency_plugin_external_io_ms"].as_f64().unwrap() > 0.0);
}
