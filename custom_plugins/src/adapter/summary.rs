//! A transaction that has ended, as plugins log it.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use engine::http::Known;
use native::transaction::Moment;
use native::{Outcome, RequestContext as Native};

use super::attachment::{Attachment, REJECTION, free_summary, overwrite};
use crate::plugins::TransactionSummary;

/// Made once for all plugins of a transaction that share the attachment.
pub(super) fn of(attachment: &mut Attachment, cx: &Native, outcome: &Outcome) -> Arc<TransactionSummary> {
    if let Some(summary) = &attachment.summary {
        return summary.clone();
    }
    let mut summary = free_summary();
    // One that is free is nobody else's.
    if let Some(summary) = Arc::get_mut(&mut summary) {
        write(summary, attachment, cx, outcome);
    }
    attachment.summary.insert(summary).clone()
}

/// From the native context, into which everything was carried that hooks have changed. A request that none has seen needs no
/// documented context to be logged.
fn write(summary: &mut TransactionSummary, attachment: &Attachment, cx: &Native, outcome: &Outcome) {
    cx.facts.namespace.clone_into(&mut summary.namespace);
    write_time(&mut summary.timestamp_received, outcome.total_ns);
    match attachment.ip_text(cx.client_ip) {
        Some(text) => text.clone_into(&mut summary.client_ip),
        None => write_text(&mut summary.client_ip, cx.client_ip),
    }
    assign(&mut summary.consumer_username, cx.effective_identity());
    summary.auth_method = cx.auth_method;
    overwrite(&mut summary.http_method, cx.recorded_method());
    overwrite(&mut summary.request_path, cx.recorded_path());
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
    let logged = cx.metadata.iter().filter(|(key, _)| *key != "request_body" && *key != REJECTION);
    summary.metadata.extend(logged.map(|(key, value)| (key.to_owned(), value.to_owned())));
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
    write_text(slot.get_or_insert_default(), ip);
}

fn write_text(text: &mut String, ip: IpAddr) {
    text.clear();
    let _ = write!(text, "{ip}");
}

fn write_time(text: &mut String, total_ns: u64) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.clear();
    Moment::now().earlier(total_ns).write_nanos(&mut bytes);
    *text = String::from_utf8(bytes).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::super::testing::Rig;
    use super::*;
    use crate::plugins::{Plugin, PluginResult, RequestContext};

    #[derive(Default)]
    struct Logs(Mutex<Vec<TransactionSummary>>);

    #[async_trait]
    impl Plugin for Logs {
        fn name(&self) -> &str {
            "logs"
        }

        async fn log(&self, summary: &TransactionSummary) {
            self.0.lock().unwrap().push(summary.clone());
        }
    }

    struct Changes;

    #[async_trait]
    impl Plugin for Changes {
        fn name(&self) -> &str {
            "changes"
        }

        async fn authorize(&self, ctx: &mut RequestContext) -> PluginResult {
            ctx.client_ip = "of the plugin".to_owned();
            ctx.path = "/shown".to_owned();
            ctx.authenticated_identity = Some("sub-1".to_owned());
            ctx.metadata.insert("left".to_owned(), "by the plugin".to_owned());
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn a_transaction_is_logged_as_hooks_have_left_it_or_as_it_came() {
        for changes in [false, true] {
            let logs = Arc::new(Logs::default());
            let mut plugins: Vec<Arc<dyn Plugin>> = vec![logs.clone()];
            if changes {
                plugins.push(Arc::new(Changes));
            }
            let rig = Rig::new(plugins);
            for _ in 0..2 {
                let mut cx = rig.request("/real?a=1", &[]);
                rig.send(&mut cx).await;
                assert_eq!(cx.attachment.is_some(), changes);
                rig.chain.log(&cx, &Outcome { status: 204, ..Outcome::default() });
                let summary = logs.0.lock().unwrap().pop().unwrap();
                let (ip, path) = if changes { ("of the plugin", "/shown") } else { ("10.1.2.3", "/real") };
                assert_eq!((summary.client_ip.as_str(), summary.request_path.as_str()), (ip, path));
                assert_eq!((summary.http_method.as_str(), summary.response_status_code), ("GET", 204));
                assert_eq!(summary.consumer_username.as_deref(), changes.then_some("sub-1"));
                assert_eq!(summary.metadata.get("left").map(String::as_str), changes.then_some("by the plugin"));
            }
        }
    }

    #[tokio::test]
    async fn the_memory_of_a_record_serves_the_next() {
        let rig = Rig::new(vec![Arc::new(Logs::default())]);
        let cx = rig.request("/", &[]);
        rig.chain.log(&cx, &Outcome::default());
        let free = free_summary();
        assert!(!free.namespace.is_empty(), "it is the one that was logged");
    }
}
