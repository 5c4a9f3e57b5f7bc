//! Names every item that a plugin file may count on, and uses each once. That it compiles is the test.

#![allow(dead_code, clippy::unnecessary_get_then_check, clippy::unused_async)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::config::conf_file::resolve_ferrum_var;
use crate::config::migrations::CustomPluginMigration;
use crate::config::types::{
    AuthMode, BackendScheme, BackendTlsConfig, BackoffStrategy, CircuitBreakerConfig, Consumer, DEFAULT_NAMESPACE,
    DispatchKind, HttpFlavor, LoadBalancerAlgorithm, PluginAssociation, PluginConfig, PluginScope, Proxy,
    ResponseBodyMode, RetryConfig, Upstream, UpstreamTarget, default_namespace,
};
use crate::config::{BackendAllowIps, PoolConfig};
use crate::consumer_index::ConsumerIndex;
use crate::custom_plugins::{collect_all_custom_plugin_migrations, create_custom_plugin, custom_plugin_names};
use crate::dns::DnsCache;
use crate::identity::SpiffeId;
use crate::modes::mesh::MeshTrafficDirection;
use crate::plugins::utils::http_client::PluginHttpClient as SameClient;
use crate::plugins::utils::log_schema::{
    CollisionMode, DerivedKind, FieldMeta, FieldSpec, HTTP_FIELDS, MetadataPolicy, STREAM_FIELDS, SchemaSerializable,
    SchemaView, SummaryLogEntryBatchView, SummaryLogEntryView, SummarySchema, SummaryType, TimestampFormat,
    resolve_schema,
};
use crate::plugins::utils::{
    BatchConfig, BatchConfigDefaults, BatchingLogger, MAX_BATCH_SIZE, MAX_BUFFER_CAPACITY, RetryPolicy,
    SummaryLogEntry, UDP_RE_RESOLVE_INTERVAL, bind_connected_udp_socket, build_batch_config,
    handle_http_batch_response, parse_http_endpoint, resolve_tcp_endpoint, resolve_udp_endpoint, validate_batch_config,
};
use crate::plugins::{
    ALL_PROTOCOLS, Direction, DisconnectCause, GRPC_ONLY_PROTOCOLS, HTTP_FAMILY_AND_STREAM_PROTOCOLS,
    HTTP_FAMILY_AND_TCP_PROTOCOLS, HTTP_FAMILY_PROTOCOLS, HTTP_GRPC_PROTOCOLS, HTTP_ONLY_PROTOCOLS, MirrorResponseMeta,
    Plugin, PluginHttpClient, PluginResult, ProxyProtocol, RequestContext, StreamConnectionContext,
    StreamTransactionSummary, TCP_ONLY_PROTOCOLS, TransactionSummary, UDP_ONLY_PROTOCOLS, UdpDatagramContext,
    UdpDatagramDirection, UdpDatagramVerdict, WS_ONLY_PROTOCOLS, WebSocketFrameDirection, WsDisconnectContext,
    available_plugins, create_plugin as create_by_name, create_plugin_with_http_client, is_removed_security_plugin,
    is_security_plugin, log_with_mirror, priority, validate_plugin_config,
};
use crate::proxy::tcp_proxy::StreamIoSide;
use crate::retry::ErrorClass;

/// The gateway may be named by its own name too.
use ferrum_edge::plugins::utils::log_schema::SummarySchema as SameSchema;

/// Overrides everything that can be overridden.
struct Everything {
    http: SameClient,
    schema: Option<Arc<SameSchema>>,
}

#[derive(Debug)]
struct OwnError(String);

impl From<OwnError> for PluginResult {
    fn from(error: OwnError) -> Self {
        PluginResult::Reject { status_code: 500, body: error.0, headers: HashMap::new() }
    }
}

impl std::fmt::Display for PluginResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PluginResult::Continue => f.write_str("continue"),
            PluginResult::Reject { status_code, .. } | PluginResult::RejectBinary { status_code, .. } => {
                write!(f, "reject with {status_code}")
            }
        }
    }
}

#[async_trait]
impl Plugin for Everything {
    fn name(&self) -> &str {
        "probe_names"
    }
    fn priority(&self) -> u16 {
        super::super::plugins::priority::DEFAULT + priority::CORS
    }
    fn supported_protocols(&self) -> &'static [ProxyProtocol] {
        ALL_PROTOCOLS
    }
    fn is_auth_plugin(&self) -> bool {
        false
    }
    fn is_authorize_plugin(&self) -> bool {
        true
    }
    async fn on_request_received(&self, ctx: &mut RequestContext) -> PluginResult {
        if ctx.method.is_empty() {
            return OwnError("no method".into()).into();
        }
        PluginResult::Continue
    }
    async fn authenticate(&self, ctx: &mut RequestContext, consumer_index: &ConsumerIndex) -> PluginResult {
        for consumer in consumer_index.consumers().iter() {
            if consumer.credentials.get("custom_token").is_some() && consumer.has_credential("custom_token") {
                ctx.identified_consumer = Some(consumer.clone());
                ctx.auth_method = Some("probe_names");
            }
        }
        let index = consumer_index;
        let _ = (index.find_by_api_key(""), index.find_by_username(""), index.find_by_identity(""));
        let _ = (index.find_by_mtls_identity(""), index.consumer_count(), index.index_len(), index.auth_type_counts());
        PluginResult::Continue
    }
    async fn authorize(&self, ctx: &mut RequestContext) -> PluginResult {
        let _ = (ctx.effective_identity(), ctx.backend_consumer_username(), ctx.backend_consumer_custom_id());
        PluginResult::Continue
    }
    async fn before_proxy(&self, ctx: &mut RequestContext, headers: &mut HashMap<String, String>) -> PluginResult {
        let accumulator: &AtomicU64 = &ctx.plugin_http_call_ns;
        let url = headers.get("x-never-there").cloned();
        if let Some(url) = url {
            let call = || self.http.get().get(&url);
            let _ = self.http.execute(call(), "probe").await;
            let _ = self.http.execute_tracked(call(), "probe", accumulator).await;
            let _ = self.http.execute_redacted(call(), "probe", "http://…").await;
        }
        if let Some(proxy) = ctx.matched_proxy.clone() {
            let _ = (
                ctx.effective_upstream_id(&proxy),
                ctx.effective_backend_host(&proxy),
                ctx.effective_backend_port(&proxy),
            );
            let _ = ctx.apply_route_overrides_with_upstreams(ctx.apply_route_overrides(proxy), &HashMap::new());
        }
        PluginResult::Continue
    }
    async fn transform_request_body(
        &self,
        _body: &[u8],
        _content_type: Option<&str>,
        _request_headers: &HashMap<String, String>,
    ) -> Option<Vec<u8>> {
        None
    }
    async fn on_final_request_body(&self, _headers: &HashMap<String, String>, _body: &[u8]) -> PluginResult {
        PluginResult::Continue
    }
    async fn after_proxy(
        &self,
        _ctx: &mut RequestContext,
        _response_status: u16,
        _response_headers: &mut HashMap<String, String>,
    ) -> PluginResult {
        PluginResult::Continue
    }
    async fn on_response_body(
        &self,
        _ctx: &mut RequestContext,
        _response_status: u16,
        _response_headers: &HashMap<String, String>,
        _body: &[u8],
    ) -> PluginResult {
        PluginResult::Continue
    }
    async fn transform_response_body(
        &self,
        _body: &[u8],
        _content_type: Option<&str>,
        _response_headers: &HashMap<String, String>,
    ) -> Option<Vec<u8>> {
        None
    }
    async fn on_final_response_body(
        &self,
        _ctx: &mut RequestContext,
        _response_status: u16,
        _response_headers: &HashMap<String, String>,
        _body: &[u8],
    ) -> PluginResult {
        PluginResult::Continue
    }
    async fn log(&self, summary: &TransactionSummary) {
        let text = match &self.schema {
            Some(schema) if schema.applies_to_http() => serde_json::to_string(&SchemaView { summary, schema }),
            _ => serde_json::to_string(summary),
        };
        tracing::trace!("{text:?}");
    }
    fn modifies_request_headers(&self) -> bool {
        false
    }
    fn modifies_request_body(&self) -> bool {
        false
    }
    fn requires_request_body_before_before_proxy(&self) -> bool {
        false
    }
    fn requires_request_body_before_authenticate(&self) -> bool {
        false
    }
    fn needs_request_body_bytes(&self) -> bool {
        false
    }
    fn requires_request_body_buffering(&self) -> bool {
        false
    }
    fn should_buffer_request_body(&self, _ctx: &RequestContext) -> bool {
        false
    }
    fn requires_response_body_buffering(&self) -> bool {
        false
    }
    fn should_buffer_response_body(&self, _ctx: &RequestContext) -> bool {
        false
    }
    fn applies_after_proxy_on_reject(&self) -> bool {
        false
    }
    fn requires_decoded_query_params(&self) -> bool {
        false
    }
    async fn on_ws_frame(
        &self,
        _proxy_id: &str,
        _connection_id: u64,
        direction: WebSocketFrameDirection,
        message: &Message,
    ) -> Option<Message> {
        match (direction, message) {
            (WebSocketFrameDirection::ClientToBackend, Message::Text(text)) if text.as_str() == "bye" => {
                Some(Message::Close(None))
            }
            (WebSocketFrameDirection::ClientToBackend | WebSocketFrameDirection::BackendToClient, _) => None,
        }
    }
    fn requires_ws_frame_hooks(&self) -> bool {
        false
    }
    async fn on_ws_disconnect(&self, ctx: &WsDisconnectContext) {
        tracing::trace!(side = ?ctx.io_side == Some(StreamIoSide::Read), "{:?}", ctx.direction);
    }
    fn requires_ws_disconnect_hooks(&self) -> bool {
        false
    }
    async fn on_stream_connect(&self, ctx: &mut StreamConnectionContext) -> PluginResult {
        ctx.insert_metadata("scheme".to_owned(), ctx.backend_scheme.to_string());
        let _ = (ctx.effective_identity().is_some(), ctx.consumer_index.consumer_count(), ctx.take_metadata());
        PluginResult::Continue
    }
    async fn on_stream_disconnect(&self, summary: &StreamTransactionSummary) {
        match summary.disconnect_cause {
            Some(
                DisconnectCause::IdleTimeout
                | DisconnectCause::RecvError
                | DisconnectCause::BackendError
                | DisconnectCause::GracefulShutdown,
            )
            | None => {}
        }
        match summary.disconnect_direction {
            Some(Direction::ClientToBackend | Direction::BackendToClient | Direction::Unknown) | None => {}
        }
    }
    async fn on_udp_datagram(&self, ctx: &UdpDatagramContext) -> UdpDatagramVerdict {
        match ctx.direction {
            UdpDatagramDirection::ClientToBackend => UdpDatagramVerdict::Forward,
            UdpDatagramDirection::BackendToClient => UdpDatagramVerdict::Drop,
        }
    }
    fn requires_udp_datagram_hooks(&self) -> bool {
        false
    }
    fn warmup_hostnames(&self) -> Vec<String> {
        vec![]
    }
    fn tracked_keys_count(&self) -> Option<usize> {
        Some(0)
    }
    fn active_jwks_uris(&self) -> Vec<String> {
        vec![]
    }
}

/// Overrides nothing.
struct Nothing;

#[async_trait]
impl Plugin for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }
}

pub fn create_plugin(config: &Value, http_client: PluginHttpClient) -> Option<Arc<dyn Plugin>> {
    let schema = resolve_schema(config, "probe_names").ok()?;
    Some(Arc::new(Everything { http: http_client, schema }))
}

pub fn plugin_migrations() -> Vec<CustomPluginMigration> {
    Vec::new()
}

fn protocols() -> [&'static [ProxyProtocol]; 10] {
    [
        ALL_PROTOCOLS,
        HTTP_FAMILY_PROTOCOLS,
        HTTP_FAMILY_AND_TCP_PROTOCOLS,
        HTTP_FAMILY_AND_STREAM_PROTOCOLS,
        HTTP_GRPC_PROTOCOLS,
        HTTP_ONLY_PROTOCOLS,
        GRPC_ONLY_PROTOCOLS,
        WS_ONLY_PROTOCOLS,
        TCP_ONLY_PROTOCOLS,
        UDP_ONLY_PROTOCOLS,
    ]
}

/// Every type with the shape that literals and matches count on.
#[allow(clippy::type_complexity)]
async fn shapes(dns: &DnsCache, entry: &SummaryLogEntry, schema: &SummarySchema) -> Result<(), String> {
    let _: (AuthMode, ResponseBodyMode, DispatchKind) = Default::default();
    let _: (RetryConfig, CircuitBreakerConfig, BackoffStrategy, PoolConfig) = Default::default();
    let _ = (BackendTlsConfig::default_verify(), BackendScheme::Tcps.is_tls_backend(), HttpFlavor::Grpc);
    let _ = (LoadBalancerAlgorithm::Random, PluginScope::ProxyGroup, BackendAllowIps::Both.to_string());
    let _: (fn(&Upstream) -> BackendTlsConfig, fn(&Proxy) -> BackendTlsConfig) =
        (BackendTlsConfig::from_upstream, BackendTlsConfig::from_proxy);
    let _ = |target: UpstreamTarget, association: PluginAssociation, config: PluginConfig| {
        (target.host, association.plugin_config_id, config.priority_override)
    };
    let _ = (
        default_namespace() == DEFAULT_NAMESPACE,
        std::mem::size_of::<Consumer>(),
        resolve_ferrum_var("FERRUM_NAMESPACE"),
        crate::FERRUM_VERSION,
    );
    let _ = (
        SpiffeId::new("spiffe://a/b")?.service_account(),
        MeshTrafficDirection::Inbound,
        ErrorClass::TlsError.as_str(),
    );
    let _ = (custom_plugin_names(), collect_all_custom_plugin_migrations().len(), available_plugins());
    let _ = (is_security_plugin(""), is_removed_security_plugin(""), validate_plugin_config("cors", &json!({})));
    let _ = create_custom_plugin("probe", &json!({}), PluginHttpClient::default())?;
    let plugins: Vec<Arc<dyn Plugin>> = create_by_name("probe", &json!({}))?.into_iter().collect();
    let _ = create_plugin_with_http_client("probe", &json!({}), PluginHttpClient::default())?;
    let ctx = RequestContext::new(String::new(), String::new(), String::new());
    log_with_mirror(&plugins, &TransactionSummary::default(), &ctx).await;
    let _: Option<MirrorResponseMeta> = ctx.collect_mirror_result().await;
    let _ = dns.resolve("localhost", None, None).await;
    let _ = (serde_json::to_string(&SummaryLogEntryView { entry, schema }), HTTP_FIELDS.len(), STREAM_FIELDS.len());
    let entries = std::slice::from_ref(entry);
    let _ = serde_json::to_string(&SummaryLogEntryBatchView { entries, schema: Some(schema) });
    let _: (fn(&FieldMeta) -> &'static str, Option<FieldSpec>) = (|field| field.name, None);
    let _ = (SummaryType::Both, DerivedKind::Outcome, TimestampFormat::EpochMs);
    let _ = MetadataPolicy::Flatten { prefix: String::new(), on_collision: CollisionMode::Skip };
    let _: fn(&TransactionSummary) -> &'static str = SchemaSerializable::summary_kind;
    let defaults = || BatchConfigDefaults {
        batch_size_key: "batch_size",
        batch_size: MAX_BATCH_SIZE as u64,
        flush_interval_ms: 1,
        min_flush_interval_ms: 1,
        buffer_capacity: MAX_BUFFER_CAPACITY as u64,
        max_retries: 0,
        retry_delay_ms: 0,
    };
    validate_batch_config(&json!({}), "probe", defaults())?;
    let batches: BatchConfig = build_batch_config(&json!({}), "probe", defaults());
    let _: RetryPolicy = batches.retry;
    let _ = BatchingLogger::spawn(batches, |_: Vec<u8>| async { Ok(()) });
    let (url, host) = parse_http_endpoint(&json!({"endpoint_url": "http://localhost"}), "probe")?;
    handle_http_batch_response("probe", 1, reqwest::get(url).await)?;
    let remote = resolve_udp_endpoint(&host, 1, Some(dns), "probe").await?;
    let _ = (bind_connected_udp_socket(remote, "probe").await?, UDP_RE_RESOLVE_INTERVAL);
    let _ = resolve_tcp_endpoint(&host, 1, None, "probe").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_unit_tests_of_plugins_build_can_be_built() {
        let consumer: Consumer = serde_json::from_value(json!({"username": "alice"})).unwrap();
        let index = Arc::new(ConsumerIndex::new(&[consumer]));
        let mut connection = StreamConnectionContext {
            client_ip: "10.0.0.1".into(),
            proxy_id: "db".into(),
            proxy_name: None,
            listen_port: 5432,
            backend_scheme: BackendScheme::Tcp,
            consumer_index: index,
            identified_consumer: None,
            authenticated_identity: None,
            auth_method: None,
            metadata: None,
            tls_client_cert_der: None,
            tls_client_cert_chain_der: None,
            sni_hostname: None,
            mesh_direction: None,
        };
        let plugin = create_plugin(&Value::Null, PluginHttpClient::default()).unwrap();
        assert!(matches!(plugin.on_stream_connect(&mut connection).await, PluginResult::Continue));
        let summary = TransactionSummary { response_status_code: 200, ..Default::default() };
        plugin.log(&summary).await;
        assert_eq!(plugin.priority(), 5100);
        assert_eq!(Nothing.priority(), 5000);
        assert_eq!(protocols().map(<[_]>::len), [5, 3, 4, 5, 2, 1, 1, 1, 1, 1]);
        assert_eq!(PluginResult::Continue.to_string(), "continue");
    }
}
