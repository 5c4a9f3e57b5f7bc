//! A plugin that does in each hook what its configuration says, and nothing where it says nothing.
//!
//! ```json
//! {"tag": "a", "flags": ["modifies_request_headers"], "in": {"authorize": {"reject": {"status": 418, "body": "no"}}}}
//! ```

#![allow(clippy::too_many_lines)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::consumer_index::ConsumerIndex;
use crate::plugins::{
    HTTP_FAMILY_PROTOCOLS, Plugin, PluginHttpClient, PluginResult, ProxyProtocol, RequestContext, TransactionSummary,
    WebSocketFrameDirection,
};

struct Probe {
    tag: String,
    flags: Vec<String>,
    acts: Value,
    http: PluginHttpClient,
    /// Requests this instance has seen.
    count: AtomicUsize,
}

fn texts(value: &Value) -> impl Iterator<Item = (&String, Option<&str>)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key, value.as_str()))
}

/// A text sets, null removes.
fn edit(map: &mut HashMap<String, String>, edits: &Value) {
    for (key, value) in texts(edits) {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.to_owned())),
            None => drop(map.remove(key)),
        }
    }
}

impl Probe {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|present| present == flag)
    }

    fn act(&self, hook: &str) -> &Value {
        &self.acts[hook]
    }

    /// What takes time or goes wrong.
    async fn pass(&self, hook: &str, spent: Option<&std::sync::atomic::AtomicU64>) -> PluginResult {
        let act = self.act(hook);
        if let Some(ms) = act["sleep_ms"].as_u64() {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if let Some(ms) = act["block_ms"].as_u64() {
            std::thread::sleep(Duration::from_millis(ms));
        }
        if let Some(ms) = act["block_in_place_ms"].as_u64() {
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(ms)));
        }
        if act["spawn"].as_bool() == Some(true) {
            let spawned = tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
            spawned.await.expect("a spawned task ends");
        }
        if let Some(url) = act["fetch"].as_str() {
            let call = self.http.get().get(url);
            let answer = match spent {
                Some(spent) => self.http.execute_tracked(call, "probe", spent).await,
                None => self.http.execute(call, "probe").await,
            };
            if let Err(error) = answer {
                return PluginResult::Reject { status_code: 502, body: error.to_string(), headers: HashMap::new() };
            }
        }
        assert!(act["panic"].as_bool() != Some(true), "a probe panics in {hook}");
        let reject = &act["reject"];
        let Some(status) = reject["status"].as_u64() else { return PluginResult::Continue };
        let status_code = u16::try_from(status).expect("a status");
        let body = reject["body"].as_str().unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        edit(&mut headers, &reject["headers"]);
        match reject["binary"].as_bool() {
            Some(true) => PluginResult::RejectBinary { status_code, body: Bytes::from(body.into_bytes()), headers },
            _ => PluginResult::Reject { status_code, body, headers },
        }
    }

    async fn on_context(&self, hook: &str, ctx: &mut RequestContext) -> PluginResult {
        let passed = ctx.metadata.entry(format!("hooks.{}", self.tag)).or_default();
        if !passed.is_empty() {
            passed.push(' ');
        }
        passed.push_str(hook);
        let act = self.act(hook);
        edit(&mut ctx.metadata, &act["metadata"]);
        if let Some(path) = act["path"].as_str() {
            ctx.path = path.to_owned();
        }
        if let Some(ip) = act["client_ip"].as_str() {
            ctx.client_ip = ip.to_owned();
        }
        if act["context_headers"].is_object() {
            edit(&mut ctx.headers, &act["context_headers"]);
        }
        // What the context shows, for the log.
        for shown in act["show"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let value = match shown.split_once('.') {
                Some(("header", name)) => ctx.headers.get(name).cloned(),
                Some(("query", name)) => ctx.query_params.get(name).cloned(),
                Some(("metadata", name)) => ctx.metadata.get(name).cloned(),
                _ => match shown {
                    "method" => Some(ctx.method.clone()),
                    "path" => Some(ctx.path.clone()),
                    "client_ip" => Some(ctx.client_ip.clone()),
                    "proxy" => ctx.matched_proxy.as_ref().map(|proxy| format!("{} {}", proxy.id, proxy.backend_port)),
                    "identity" => ctx.effective_identity().map(str::to_owned),
                    "consumer" => ctx.identified_consumer.as_ref().map(|consumer| consumer.id.clone()),
                    "auth_method" => ctx.auth_method.map(str::to_owned),
                    "bytes" => ctx.request_body_bytes.as_ref().map(|bytes| bytes.len().to_string()),
                    other => panic!("nothing is called {other}"),
                },
            };
            ctx.metadata
                .insert(format!("shown.{}.{hook}.{shown}", self.tag), value.unwrap_or_else(|| "none".to_owned()));
        }
        let spent = ctx.plugin_http_call_ns.clone();
        self.pass(hook, Some(&spent)).await
    }

    fn appended(&self, hook: &str, body: &[u8]) -> Option<Vec<u8>> {
        let more = self.act(hook)["append"].as_str()?;
        Some([body, more.as_bytes()].concat())
    }
}

#[async_trait]
impl Plugin for Probe {
    fn name(&self) -> &str {
        "probe"
    }

    fn supported_protocols(&self) -> &'static [ProxyProtocol] {
        HTTP_FAMILY_PROTOCOLS
    }

    fn is_auth_plugin(&self) -> bool {
        self.has("is_auth_plugin")
    }

    fn is_authorize_plugin(&self) -> bool {
        !self.has("is_no_authorize_plugin")
    }

    fn modifies_request_headers(&self) -> bool {
        self.has("modifies_request_headers")
    }

    fn modifies_request_body(&self) -> bool {
        self.has("modifies_request_body")
    }

    fn requires_request_body_before_before_proxy(&self) -> bool {
        self.has("requires_request_body_before_before_proxy")
    }

    fn requires_request_body_before_authenticate(&self) -> bool {
        self.has("requires_request_body_before_authenticate")
    }

    fn needs_request_body_bytes(&self) -> bool {
        self.has("needs_request_body_bytes")
    }

    fn should_buffer_request_body(&self, ctx: &RequestContext) -> bool {
        assert!(!self.has("panics_when_asked"), "a probe panics when it is asked");
        self.requires_request_body_buffering() && !ctx.headers.contains_key("x-unbuffered")
    }

    fn requires_response_body_buffering(&self) -> bool {
        self.has("requires_response_body_buffering")
    }

    fn should_buffer_response_body(&self, ctx: &RequestContext) -> bool {
        self.requires_response_body_buffering() && !ctx.headers.contains_key("x-unbuffered")
    }

    fn applies_after_proxy_on_reject(&self) -> bool {
        self.has("applies_after_proxy_on_reject")
    }

    fn requires_ws_frame_hooks(&self) -> bool {
        self.has("requires_ws_frame_hooks")
    }

    fn warmup_hostnames(&self) -> Vec<String> {
        self.acts["warmup_hostnames"].as_str().map(str::to_owned).into_iter().collect()
    }

    fn tracked_keys_count(&self) -> Option<usize> {
        self.has("tracks_keys").then(|| self.count.load(Ordering::Relaxed))
    }

    async fn on_request_received(&self, ctx: &mut RequestContext) -> PluginResult {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.on_context("on_request_received", ctx).await
    }

    async fn authenticate(&self, ctx: &mut RequestContext, index: &ConsumerIndex) -> PluginResult {
        let act = self.act("authenticate");
        if let Some(username) = act["consumer"].as_str() {
            ctx.identified_consumer = index.consumers().iter().find(|consumer| consumer.username == username).cloned();
            ctx.auth_method = Some("probe");
        }
        if let Some(consumer) = act["guest"].as_object() {
            let guest = serde_json::from_value(consumer.clone().into()).expect("a consumer");
            ctx.identified_consumer = Some(Arc::new(guest));
        }
        if let Some(identity) = act["identity"].as_str() {
            ctx.authenticated_identity = Some(identity.to_owned());
            ctx.authenticated_identity_header = act["display"].as_str().map(str::to_owned);
        }
        self.on_context("authenticate", ctx).await
    }

    async fn authorize(&self, ctx: &mut RequestContext) -> PluginResult {
        self.on_context("authorize", ctx).await
    }

    async fn before_proxy(&self, ctx: &mut RequestContext, headers: &mut HashMap<String, String>) -> PluginResult {
        let act = self.act("before_proxy");
        edit(headers, &act["headers"]);
        let route = &act["route"];
        ctx.route_override_upstream_id = route["upstream_id"].as_str().map(str::to_owned);
        ctx.route_override_backend_host = route["backend_host"].as_str().map(str::to_owned);
        ctx.route_override_backend_port = route["backend_port"].as_u64().and_then(|port| port.try_into().ok());
        self.on_context("before_proxy", ctx).await
    }

    async fn transform_request_body(
        &self,
        body: &[u8],
        _content_type: Option<&str>,
        _request_headers: &HashMap<String, String>,
    ) -> Option<Vec<u8>> {
        self.appended("transform_request_body", body)
    }

    async fn on_final_request_body(&self, headers: &HashMap<String, String>, body: &[u8]) -> PluginResult {
        if let Some(text) = self.act("on_final_request_body")["expect"].as_str() {
            assert_eq!(text.as_bytes(), body);
            assert!(headers.contains_key("host"));
        }
        self.pass("on_final_request_body", None).await
    }

    async fn after_proxy(
        &self,
        ctx: &mut RequestContext,
        response_status: u16,
        response_headers: &mut HashMap<String, String>,
    ) -> PluginResult {
        let act = self.act("after_proxy");
        edit(response_headers, &act["headers"]);
        if let Some(cookie) = act["add_cookie"].as_str() {
            let cookies = response_headers.entry("set-cookie".to_owned()).or_default();
            if !cookies.is_empty() {
                cookies.push('\n');
            }
            cookies.push_str(cookie);
        }
        if self.has("counts") {
            let count = self.count.load(Ordering::Relaxed);
            response_headers.insert("x-probe-count".to_owned(), count.to_string());
        }
        let is_rejection = ctx.metadata.get("ferrum:rejection_response").is_some_and(|value| value == "true");
        response_headers.insert(format!("x-probe-{}", self.tag), format!("{response_status} {is_rejection}"));
        self.on_context("after_proxy", ctx).await
    }

    async fn on_response_body(
        &self,
        ctx: &mut RequestContext,
        _response_status: u16,
        response_headers: &HashMap<String, String>,
        body: &[u8],
    ) -> PluginResult {
        ctx.metadata.insert(format!("saw.{}", self.tag), String::from_utf8_lossy(body).into_owned());
        if let Some(status) = response_headers.get("grpc-status") {
            ctx.metadata.insert(format!("status.{}", self.tag), status.clone());
        }
        self.on_context("on_response_body", ctx).await
    }

    async fn transform_response_body(
        &self,
        body: &[u8],
        _content_type: Option<&str>,
        _response_headers: &HashMap<String, String>,
    ) -> Option<Vec<u8>> {
        self.appended("transform_response_body", body)
    }

    async fn on_final_response_body(
        &self,
        ctx: &mut RequestContext,
        _response_status: u16,
        _response_headers: &HashMap<String, String>,
        body: &[u8],
    ) -> PluginResult {
        ctx.metadata.insert(format!("final.{}", self.tag), String::from_utf8_lossy(body).into_owned());
        self.on_context("on_final_response_body", ctx).await
    }

    async fn log(&self, summary: &TransactionSummary) {
        self.pass("log", None).await;
        if self.has("logs") {
            let record = serde_json::to_string(summary).expect("a record is JSON");
            tracing::info!(tag = self.tag, "probe record {record}");
        }
    }

    async fn on_ws_frame(
        &self,
        proxy_id: &str,
        connection_id: u64,
        direction: WebSocketFrameDirection,
        message: &Message,
    ) -> Option<Message> {
        let text = message.to_text().ok()?;
        match text {
            "id" => Some(Message::text(format!("{proxy_id} {connection_id} {direction:?}"))),
            "bye" => Some(Message::Close(None)),
            "flip" => Some(Message::Ping(Bytes::new())),
            _ => None,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Needs a runtime, like everything that plugins do.
        let tag = self.tag.clone();
        tokio::spawn(async move { tracing::debug!(tag, "a probe is dropped") });
    }
}

pub fn create_plugin(config: &Value, http_client: PluginHttpClient) -> Result<Option<Arc<dyn Plugin>>, String> {
    if let Some(refusal) = config["refuse"].as_str() {
        return Err(refusal.to_owned());
    }
    if config["nothing"].as_bool() == Some(true) {
        return Ok(None);
    }
    assert!(config["panic"].as_bool() != Some(true), "a probe panics in create_plugin");
    if config["spawn"].as_bool() == Some(true) {
        tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
        let _listener = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
            socket.set_nonblocking(true)?;
            tokio::net::UdpSocket::from_std(socket)
        });
    }
    let flags = config["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Some(Arc::new(Probe {
        tag: config["tag"].as_str().unwrap_or("probe").to_owned(),
        flags,
        acts: config["in"].clone(),
        http: http_client,
        count: AtomicUsize::new(0),
    })))
}
