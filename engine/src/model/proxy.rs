//! Proxy: a route plus its backend (resources sheet §4). What is refused about one is in `proxy_check`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::resilience::{CircuitBreaker, Retry};
use super::{default_namespace, enabled, timestamp};
use crate::router::RouteSpec;

/// The wire towards the backend. The HTTP version is chosen per request, never here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendScheme {
    Http,
    Https,
    Tcp,
    Tcps,
    Udp,
    Dtls,
}

impl BackendScheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tcps => "tcps",
            Self::Udp => "udp",
            Self::Dtls => "dtls",
        }
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Tcps | Self::Dtls)
    }

    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Dtls)
    }
}

/// How several authentication plugins work together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// The first rejection ends the request.
    #[default]
    Single,
    /// The first identity ends the search.
    Multi,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseBodyMode {
    #[default]
    Stream,
    Buffer,
}

/// A plugin config that a proxy takes part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginAssociation {
    pub plugin_config_id: String,
}

/// Fields in the order in which they are emitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    #[serde(default)]
    pub id: String,
    pub name: Option<String>,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub hosts: Vec<String>,
    pub listen_path: Option<String>,
    /// Nothing only on a document that was not normalised, or on a proxy with `listen_port`, where it is an error.
    pub backend_scheme: Option<BackendScheme>,
    pub backend_host: String,
    pub backend_port: u16,
    pub backend_path: Option<String>,
    #[serde(default = "enabled")]
    pub strip_listen_path: bool,
    #[serde(default)]
    pub preserve_host_header: bool,
    #[serde(default = "connect_timeout_ms")]
    pub backend_connect_timeout_ms: u64,
    /// 0 = none.
    #[serde(default = "io_timeout_ms")]
    pub backend_read_timeout_ms: u64,
    /// 0 = none.
    #[serde(default = "io_timeout_ms")]
    pub backend_write_timeout_ms: u64,
    pub backend_tls_client_cert_path: Option<String>,
    pub backend_tls_client_key_path: Option<String>,
    #[serde(default = "enabled")]
    pub backend_tls_verify_server_cert: bool,
    pub backend_tls_server_ca_cert_path: Option<String>,
    pub dns_override: Option<String>,
    pub dns_cache_ttl_seconds: Option<u64>,
    #[serde(default)]
    pub auth_mode: AuthMode,
    #[serde(default)]
    pub plugins: Vec<PluginAssociation>,
    pub pool_idle_timeout_seconds: Option<u64>,
    pub pool_enable_http_keep_alive: Option<bool>,
    pub pool_enable_http2: Option<bool>,
    pub pool_tcp_keepalive_seconds: Option<u64>,
    pub pool_http2_keep_alive_interval_seconds: Option<u64>,
    pub pool_http2_keep_alive_timeout_seconds: Option<u64>,
    pub pool_http2_initial_stream_window_size: Option<u32>,
    pub pool_http2_initial_connection_window_size: Option<u32>,
    pub pool_http2_adaptive_window: Option<bool>,
    pub pool_http2_max_frame_size: Option<u32>,
    pub pool_http2_max_concurrent_streams: Option<u32>,
    pub pool_http3_connections_per_backend: Option<u32>,
    /// Stored, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_max_requests_per_connection: Option<u64>,
    pub upstream_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_subset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_spec_id: Option<String>,
    pub circuit_breaker: Option<Box<CircuitBreaker>>,
    pub retry: Option<Box<Retry>>,
    #[serde(default)]
    pub response_body_mode: ResponseBodyMode,
    pub listen_port: Option<u16>,
    #[serde(default)]
    pub frontend_tls: bool,
    #[serde(default)]
    pub passthrough: bool,
    #[serde(default = "udp_idle_timeout_seconds")]
    pub udp_idle_timeout_seconds: u64,
    pub udp_max_response_amplification_factor: Option<f32>,
    /// Nothing = the global setting; 0 = none.
    pub tcp_idle_timeout_seconds: Option<u64>,
    /// Nothing = every method.
    pub allowed_methods: Option<Vec<String>>,
    /// Empty = any origin.
    #[serde(default)]
    pub allowed_ws_origins: Vec<String>,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub updated_at: OffsetDateTime,
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
    /// Whether it routes HTTP by host and path. A proxy without a scheme is one unless it has a port of its own.
    pub fn is_http(&self) -> bool {
        match self.backend_scheme {
            Some(scheme) => scheme.is_http(),
            None => self.listen_port.is_none(),
        }
    }

    /// The scheme, or what an unset one counts as.
    pub fn scheme(&self) -> BackendScheme {
        self.backend_scheme.unwrap_or(BackendScheme::Https)
    }

    /// Lower-case hosts, concrete scheme (§4.9). Nothing else is touched.
    pub fn normalize(&mut self) {
        for host in &mut self.hosts {
            *host = host.to_lowercase();
        }
        self.backend_host.make_ascii_lowercase();
        if self.backend_scheme.is_none() && self.is_http() {
            self.backend_scheme = Some(BackendScheme::Https);
        }
    }

    /// What the route table needs of it; nothing for a stream proxy.
    pub fn route_spec(&self) -> Option<RouteSpec> {
        self.is_http().then(|| RouteSpec { hosts: self.hosts.clone(), path: self.listen_path.clone() })
    }

    /// The TLS file fields that are set, by name.
    pub(super) fn tls_paths(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("backend_tls_client_cert_path", &self.backend_tls_client_cert_path),
            ("backend_tls_client_key_path", &self.backend_tls_client_key_path),
            ("backend_tls_server_ca_cert_path", &self.backend_tls_server_ca_cert_path),
        ]
        .into_iter()
        .filter_map(|(field, path)| Some((field, path.as_deref()?)))
    }
}
