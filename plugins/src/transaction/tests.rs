//! Which fields a record has, and what they say.

use std::time::{Duration, UNIX_EPOCH};

use engine::counters::ErrorClass;
use serde_json::{Value, json};

use super::*;
use crate::testing::{facts, outcome, request};

fn ended() -> Moment {
    Moment::at(UNIX_EPOCH + Duration::new(1_777_629_600, 130_556_789))
}

fn text(cx: &RequestContext, outcome: &Outcome, escape: Escape) -> String {
    let mut out = Vec::new();
    Record::new(cx, outcome, ended()).write(&mut out, escape);
    String::from_utf8(out).unwrap()
}

fn record(cx: &RequestContext, outcome: &Outcome) -> Value {
    let plain = text(cx, outcome, Escape::None);
    let inside: String = serde_json::from_str(&format!("\"{}\"", text(cx, outcome, Escape::InString))).unwrap();
    assert_eq!(inside, plain, "both forms say the same");
    serde_json::from_str(&plain).unwrap()
}

fn keys(record: &Value) -> Vec<&str> {
    record.as_object().unwrap().keys().map(String::as_str).collect()
}

const ALWAYS: [&str; 18] = [
    "namespace",
    "timestamp_received",
    "client_ip",
    "consumer_username",
    "http_method",
    "request_path",
    "proxy_id",
    "backend_target",
    "response_status_code",
    "latency_total_ms",
    "latency_gateway_processing_ms",
    "latency_backend_ttfb_ms",
    "latency_backend_total_ms",
    "latency_plugin_execution_ms",
    "latency_plugin_external_io_ms",
    "latency_gateway_overhead_ms",
    "request_user_agent",
    "metadata",
];

#[test]
fn the_sheet_s_example_is_written_byte_for_byte() {
    let mut cx = request("GET /orders/7?secret=1", &[("User-Agent", "curl/8")]);
    cx.route = 1;
    let alice = cx.facts.consumers.by_api_key("alice-key").unwrap();
    cx.identify(alice, "key_auth");
    cx.metadata.set("request_id", "4c6e");
    let expected = concat!(
        r#"{"namespace":"ferrum","timestamp_received":"2026-05-01T10:00:00.123456789+00:00","client_ip":"10.1.2.3","#,
        r#""consumer_username":"alice","auth_method":"key_auth","http_method":"GET","request_path":"/orders/7","#,
        r#""proxy_id":"orders","proxy_name":"orders-api","backend_target":"http://10.9.0.4:8080/orders/7","#,
        r#""backend_resolved_ip":"10.9.0.4","response_status_code":200,"latency_total_ms":7.1,"#,
        r#""latency_gateway_processing_ms":1.2,"latency_backend_ttfb_ms":5.7,"latency_backend_total_ms":5.9,"#,
        r#""latency_plugin_execution_ms":0.3,"latency_plugin_external_io_ms":0.0,"latency_gateway_overhead_ms":0.9,"#,
        r#""request_user_agent":"curl/8","bytes_received":512,"metadata":{"request_id":"4c6e"}}"#,
    );
    assert_eq!(text(&cx, &outcome(), Escape::None), expected);
    record(&cx, &outcome());
}

#[test]
fn a_rejected_request_has_no_backend_latencies() {
    let mut cx = request("POST /orders", &[]);
    cx.metadata.set("rejection_phase", "authenticate");
    let rejected = Outcome {
        status: 401,
        total_ns: 250_000,
        plugin_ns: 100_000,
        backend_target: Some("http://b:1/orders".into()),
        ..Outcome::default()
    };
    let record = record(&cx, &rejected);
    assert_eq!(keys(&record), ALWAYS);
    assert_eq!(record["response_status_code"], 401);
    assert_eq!(record["latency_backend_ttfb_ms"], json!(-1.0));
    assert_eq!(record["latency_backend_total_ms"], json!(-1.0));
    assert_eq!(record["latency_gateway_processing_ms"], json!(0.25));
    assert_eq!(record["latency_gateway_overhead_ms"], json!(0.15));
    assert_eq!(record["consumer_username"], Value::Null);
    assert_eq!(record["request_user_agent"], Value::Null);
    assert_eq!(record["metadata"], json!({"rejection_phase": "authenticate"}));
}

#[test]
fn a_streamed_response_has_no_backend_total() {
    let streamed = Outcome {
        backend_total_ns: None,
        response_streamed: true,
        body_completed: true,
        bytes_sent: 3,
        bytes_received: 4,
        ..outcome()
    };
    let record = record(&request("GET /", &[]), &streamed);
    assert_eq!(record["latency_backend_total_ms"], json!(-1.0));
    assert_eq!(record["latency_backend_ttfb_ms"], json!(5.7));
    assert_eq!(record["latency_gateway_processing_ms"], json!(1.4));
    assert_eq!(record["latency_gateway_overhead_ms"], json!(1.1));
    assert_eq!((&record["response_streamed"], &record["body_completed"]), (&json!(true), &json!(true)));
    assert_eq!((&record["bytes_sent"], &record["bytes_received"]), (&json!(3), &json!(4)));
    assert!(record.get("client_disconnected").is_none());
}

#[test]
fn a_stream_the_client_left_says_so() {
    let left = Outcome {
        backend_total_ns: None,
        response_streamed: true,
        client_disconnected: true,
        body_error_class: Some(ErrorClass::ClientDisconnect),
        ..outcome()
    };
    let record = record(&request("GET /", &[]), &left);
    assert_eq!(record["client_disconnected"], true);
    assert_eq!(record["body_error_class"], "client_disconnect");
    assert!(record.get("body_completed").is_none() && record.get("error_class").is_none());
}

#[test]
fn an_unreachable_backend_is_an_error_class_without_latencies() {
    let unreachable = Outcome {
        status: 502,
        total_ns: 2_000_000,
        error_class: Some(ErrorClass::ConnectionRefused),
        ..Outcome::default()
    };
    let record = record(&request("GET /", &[]), &unreachable);
    assert_eq!(record["error_class"], "connection_refused");
    assert_eq!(record["backend_target"], Value::Null);
    assert_eq!(record["latency_backend_ttfb_ms"], json!(-1.0));
    assert!(record.get("backend_resolved_ip").is_none() && record.get("bytes_received").is_none());
}

#[test]
fn overhead_is_never_negative() {
    let odd = Outcome { total_ns: 1, backend_total_ns: Some(u64::MAX), plugin_ns: 5, ..outcome() };
    let record = record(&request("GET /", &[]), &odd);
    assert_eq!(record["latency_gateway_overhead_ms"], json!(0.0));
    assert_eq!(record["latency_gateway_processing_ms"], json!(0.0));
}

#[test]
fn an_external_identity_stands_for_the_consumer() {
    let mut cx = request("GET /", &[]);
    cx.external_identity = Some("https://idp/\"x\"".into());
    assert_eq!(record(&cx, &outcome())["consumer_username"], "https://idp/\"x\"");
}

#[test]
fn hostile_text_cannot_leave_its_string() {
    let mut cx = request("GET /a\"b\\c", &[("user-agent", "x\",\"status\":1,\"\\")]);
    cx.metadata.set("k\"\n", "v\u{1}\"}\\");
    cx.client_ip = "2001:db8::1".parse().unwrap();
    let record = record(&cx, &outcome());
    assert_eq!(record["request_path"], "/a\"b\\c");
    assert_eq!(record["request_user_agent"], "x\",\"status\":1,\"\\");
    assert_eq!(record["metadata"], json!({"k\"\n": "v\u{1}\"}\\"}));
    assert_eq!(record["client_ip"], "2001:db8::1");
}

#[test]
fn a_user_agent_that_plugins_cannot_see_is_null() {
    let cx = request("GET /", &[("user-agent", "first"), ("user-agent", "grün")]);
    assert_eq!(record(&cx, &outcome())["request_user_agent"], Value::Null);
    let cx = request("GET /", &[("user-agent", "first"), ("user-agent", "last")]);
    assert_eq!(record(&cx, &outcome())["request_user_agent"], "last");
}

#[test]
fn metadata_is_redacted_and_never_holds_the_body() {
    let mut cx = request("GET /", &[]);
    cx.facts = facts(&["tenant"]);
    cx.metadata.set("request_body", "text");
    cx.metadata.set("access_token", "t");
    cx.metadata.set("tenant_name", "acme");
    cx.metadata.set("ai_total_tokens", "12");
    let expected = json!({"access_token": "[REDACTED]", "tenant_name": "[REDACTED]", "ai_total_tokens": "12"});
    assert_eq!(record(&cx, &outcome())["metadata"], expected);
    assert_eq!(record(&request("GET /", &[]), &outcome())["metadata"], json!({}));
}

#[test]
fn a_record_written_now_was_received_its_duration_ago() {
    let mut out = b"before ".to_vec();
    write_record(
        &mut out,
        &request("GET /", &[]),
        &Outcome { total_ns: 86_400_000_000_000, ..outcome() },
        Escape::None,
    );
    let record: Value = serde_json::from_slice(out.strip_prefix(b"before ").unwrap()).unwrap();
    let received = record["timestamp_received"].as_str().unwrap();
    let received = time::OffsetDateTime::parse(received, &time::format_description::well_known::Rfc3339).unwrap();
    let ago = time::OffsetDateTime::now_utc() - received;
    assert!(ago >= time::Duration::DAY && ago < time::Duration::DAY + time::Duration::MINUTE);
}
