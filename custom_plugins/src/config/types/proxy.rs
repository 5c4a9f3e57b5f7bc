use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    BackendScheme, BackendTlsConfig, CircuitBreakerConfig, PluginAssociation, RetryConfig, default_namespace, enabled,
};

/// How several authentication plugins work together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    #[default]
    Single,
    Multi,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseBodyMode {
    #[default]
    Stream,
    Buffer,
}

/// What the scheme of a proxy comes down to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DispatchKind {
    #[default]
    HttpPool,
    HttpsPool,
    TcpRaw,
    TcpTls,
    UdpRaw,
    UdpDtls,
}

impl From<BackendScheme> for DispatchKind {
    fn from(scheme: BackendScheme) -> Self {
        match scheme {
            BackendScheme::Http => DispatchKind::HttpPool,
            BackendScheme::Https => DispatchKind::HttpsPool,
            BackendScheme::Tcp => DispatchKind::TcpRaw,
            BackendScheme::Tcps => DispatchKind::TcpTls,
            BackendScheme::Udp => DispatchKind::UdpRaw,
            BackendScheme::Dtls => DispatchKind::UdpDtls,
        }
    }
}

/// A route and where it leads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub listen_path: Option<String>,
    #[serde(default)]
    pub backend_scheme: Option<BackendScheme>,
    /// Of the scheme; not part of a document.
    #[serde(skip)]
    pub dispatch_kind: DispatchKind,
    pub backend_host: String,
    pub backend_port: u16,
    #[serde(default)]
    pub backend_path: Option<String>,
    #[serde(default = "enabled")]
    pub strip_listen_path: bool,
    #[serde(default)]
    pub preserve_host_header: bool,
    #[serde(default = "connect_timeout_ms")]
    pub backend_connect_timeout_ms: u64,
    #[serde(default = "io_timeout_ms")]
    pub backend_read_timeout_ms: u64,
    #[serde(default = "io_timeout_ms")]
    pub backend_write_timeout_ms: u64,
    #[serde(default)]
    pub backend_tls_client_cert_path: Option<String>,
    #[serde(default)]
    pub backend_tls_client_key_path: Option<String>,
    #[serde(default = "enabled")]
    pub backend_tls_verify_server_cert: bool,
    #[serde(default)]
    pub backend_tls_server_ca_cert_path: Option<String>,
    /// What holds for its requests: the upstream's, when it has one. Not part of a document.
    #[serde(skip)]
    pub resolved_tls: BackendTlsConfig,
    /// Not part of a document.
    #[serde(skip)]
    pub dispatch_port_overrides: Option<HashMap<u16, Value>>,
    #[serde(default)]
    pub dns_override: Option<String>,
    #[serde(default)]
    pub dns_cache_ttl_seconds: Option<u64>,
    #[serde(default)]
    pub auth_mode: AuthMode,
    #[serde(default)]
    pub plugins: Vec<PluginAssociation>,
    #[serde(default)]
    pub pool_idle_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub pool_enable_http_keep_alive: Option<bool>,
    #[serde(default)]
    pub pool_enable_http2: Option<bool>,
    #[serde(default)]
    pub pool_tcp_keepalive_seconds: Option<u64>,
    #[serde(default)]
    pub pool_http2_keep_alive_interval_seconds: Option<u64>,
    #[serde(default)]
    pub pool_http2_keep_alive_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub pool_http2_initial_stream_window_size: Option<u32>,
    #[serde(default)]
    pub pool_http2_initial_connection_window_size: Option<u32>,
    #[serde(default)]
    pub pool_http2_adaptive_window: Option<bool>,
    #[serde(default)]
    pub pool_http2_max_frame_size: Option<u32>,
    #[serde(default)]
    pub pool_http2_max_concurrent_streams: Option<u32>,
    #[serde(default)]
    pub pool_http3_connections_per_backend: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_max_requests_per_connection: Option<u64>,
    #[serde(default)]
    pub upstream_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_subset: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_spec_id: Option<String>,
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    #[serde(default)]
    pub retry: Option<RetryConfig>,
    #[serde(default)]
    pub response_body_mode: ResponseBodyMode,
    #[serde(default)]
    pub listen_port: Option<u16>,
    #[serde(default)]
    pub frontend_tls: bool,
    #[serde(default)]
    pub passthrough: bool,
    #[serde(default = "udp_idle_timeout_seconds")]
    pub udp_idle_timeout_seconds: u64,
    #[serde(default)]
    pub udp_max_response_amplification_factor: Option<f32>,
    #[serde(default)]
    pub tcp_idle_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub allowed_methods: Option<Vec<String>>,
    #[serde(default)]
    pub allowed_ws_origins: Vec<String>,
    #[serde(default = "Utc::now")]
    pub created_at: DateTime<Utc>,
    #[serde(default = "Utc::now")]
    pub updated_at: DateTime<Utc>,
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn io_timeout_ms() -> u64 {
    30_000
}

fn udp_idle_timeout_seconds() -> u64 {
    60
}

impl Proxy {
    /// The scheme, or what an unset one counts as.
    pub fn effective_scheme(&self) -> BackendScheme {
        self.backend_scheme.unwrap_or(BackendScheme::Https)
    }

    pub fn scheme_display(&self) -> &'static str {
        self.effective_scheme().to_scheme_str()
    }

    /// Of the gateway's own, whose upstream has these settings.
    pub(crate) fn of_model(proxy: &engine::model::Proxy, upstream: Option<&super::Upstream>) -> Result<Self, String> {
        let mut this: Self = super::of_model(proxy)?;
        this.dispatch_kind = this.effective_scheme().into();
        this.resolved_tls = match upstream {
            Some(upstream) => BackendTlsConfig::from_upstream(upstream),
            None => BackendTlsConfig::from_proxy(&this),
        };
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proxy_of_the_gateway_is_the_same_document() {
        let document = json!({
            "id": "orders", "name": "Orders", "hosts": ["a.example"], "listen_path": "/orders", "backend_scheme": "https",
            "backend_host": "10.0.0.1", "backend_port": 8443, "upstream_id": "u", "auth_mode": "multi",
            "retry": {"max_retries": 1, "backoff": {"exponential": {"base_ms": 1, "max_ms": 2}}},
            "circuit_breaker": {"failure_threshold": 2}, "allowed_methods": ["GET"],
            "plugins": [{"plugin_config_id": "p"}], "pool_http3_connections_per_backend": 2,
        });
        let model: engine::model::Proxy = serde_json::from_value(document).unwrap();
        let proxy = Proxy::of_model(&model, None).unwrap();
        assert_eq!(proxy.dispatch_kind, DispatchKind::HttpsPool);
        assert!(proxy.resolved_tls.verify_server_cert);
        assert_eq!(proxy.retry.as_ref().unwrap().max_retries, 1);
        let back: engine::model::Proxy = serde_json::from_value(serde_json::to_value(&proxy).unwrap()).unwrap();
        assert_eq!(back, model);
    }

    #[test]
    fn a_minimal_document_is_enough() {
        let proxy: Proxy = serde_json::from_value(json!({"backend_host": "a", "backend_port": 1})).unwrap();
        assert_eq!((proxy.effective_scheme(), proxy.scheme_display()), (BackendScheme::Https, "https"));
        assert!(proxy.strip_listen_path && proxy.backend_tls_verify_server_cert);
    }
}
