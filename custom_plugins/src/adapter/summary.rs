//! A transaction that has ended, as plugins log it.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use engine::http::Known;
use native::transaction::Moment;
use native::{Outcome, RequestContext as Native};

use super::attachment::{Attachment, REJECTION, Stage, free_summary};
use crate::plugins::TransactionSummary;

/// Made once, for all plugins of a transaction.
pub(super) fn of(attachment: &mut Attachment, cx: &Native, outcome: &Outcome) -> Arc<TransactionSummary> {
    if let Some(summary) = &attachment.summary {
        return summary.clone();
    }
    let mut summary = free_summary();
    write(&mut summary, attachment, cx, outcome);
    attachment.summary.insert(Arc::new(summary)).clone()
}

fn write(summary: &mut TransactionSummary, attachment: &mut Attachment, cx: &Native, outcome: &Outcome) {
    // Who was asked for last decides; a request that no hook has seen has nothing but what the gateway knows.
    let ctx = &mut attachment.refresh(cx, Stage::Sent, false).ctx;
    cx.facts.namespace.clone_into(&mut summary.namespace);
    write_time(&mut summary.timestamp_received, outcome.total_ns);
    ctx.client_ip.clone_into(&mut summary.client_ip);
    assign(&mut summary.consumer_username, ctx.effective_identity());
    summary.auth_method = ctx.auth_method;
    ctx.method.clone_into(&mut summary.http_method);
    ctx.path.clone_into(&mut summary.request_path);
    let proxy = cx.proxy();
    assign(&mut summary.proxy_id, Some(proxy.id.as_str()).filter(|id| !id.is_empty()));
    assign(&mut summary.proxy_name, proxy.name.as_deref());
    assign(&mut summary.backend_target, outcome.backend_target.as_deref());
    write_ip(&mut summary.backend_resolved_ip, outcome.backend_ip);
    summary.response_status_code = outcome.status;
    write_latencies(summary, cx, outcome);
    let user_agent = cx.head.headers.known(Known::UserAgent).last().and_then(|value| std::str::from_utf8(value).ok());
    assign(
        &mut summary.request_user_agent,
        user_agent.filter(|value| value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))),
    );
    summary.response_streamed = outcome.response_streamed;
    summary.client_disconnected = outcome.client_disconnected;
    summary.error_class = outcome.error_class.map(Into::into);
    summary.body_error_class = outcome.body_error_class.map(Into::into);
    summary.body_completed = outcome.body_completed;
    summary.bytes_sent = outcome.bytes_sent;
    summary.bytes_received = outcome.bytes_received;
    summary.mirror = false;
    summary.metadata.clear();
    let logged = ctx.metadata.iter().filter(|(key, _)| *key != "request_body" && *key != REJECTION);
    summary.metadata.extend(logged.map(|(key, value)| (key.clone(), value.clone())));
}

fn write_latencies(summary: &mut TransactionSummary, cx: &Native, outcome: &Outcome) {
    let backend_ns = outcome.backend_total_ns.or(outcome.backend_ttfb_ns).unwrap_or(0);
    summary.latency_total_ms = milliseconds(outcome.total_ns);
    summary.latency_gateway_processing_ms = milliseconds(outcome.total_ns.saturating_sub(backend_ns));
    summary.latency_backend_ttfb_ms = outcome.backend_ttfb_ns.map_or(-1.0, milliseconds);
    summary.latency_backend_total_ms = outcome.backend_total_ns.map_or(-1.0, milliseconds);
    summary.latency_plugin_execution_ms = milliseconds(outcome.plugin_ns);
    summary.latency_plugin_external_io_ms = milliseconds(outcome.plugin_io_ns.max(cx.plugin_io_ns));
    let elsewhere_ns = backend_ns.saturating_add(outcome.plugin_ns);
    summary.latency_gateway_overhead_ms = milliseconds(outcome.total_ns.saturating_sub(elsewhere_ns));
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1_000_000.0
}

/// Writes into the memory that is there.
fn assign(slot: &mut Option<String>, value: Option<&str>) {
    match (slot.as_mut(), value) {
        (Some(text), Some(value)) => value.clone_into(text),
        (None, Some(value)) => *slot = Some(value.to_owned()),
        (_, None) => *slot = None,
    }
}

fn write_ip(slot: &mut Option<String>, ip: Option<IpAddr>) {
    let Some(ip) = ip else {
        *slot = None;
        return;
    };
    let text = slot.get_or_insert_default();
    text.clear();
    let _ = write!(text, "{ip}");
}

fn write_time(text: &mut String, total_ns: u64) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.clear();
    Moment::now().earlier(total_ns).write_nanos(&mut bytes);
    *text = String::from_utf8(bytes).unwrap_or_default();
}
