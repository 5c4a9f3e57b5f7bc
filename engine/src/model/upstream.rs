//! Upstream: targets and how one of them is chosen (resources sheet §7). What is refused about one is in `upstream_check`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::discovery::ServiceDiscovery;
use super::health::{HealthChecks, PassiveHealthCheck};
use super::mesh::TrafficTls;
use super::{default_namespace, enabled, timestamp};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    #[default]
    RoundRobin,
    WeightedRoundRobin,
    LeastConnections,
    LeastLatency,
    ConsistentHashing,
    Random,
}

/// Fields in the order in which they are emitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    #[serde(default)]
    pub id: String,
    pub name: Option<String>,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub targets: Vec<Target>,
    #[serde(default)]
    pub algorithm: Algorithm,
    /// `ip` (also when unset), `header:<name>` or `cookie:<name>`.
    pub hash_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on_cookie_config: Option<HashOnCookie>,
    pub health_checks: Option<HealthChecks>,
    pub service_discovery: Option<ServiceDiscovery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsets: Option<Vec<Subset>>,
    /// Filled by mesh application only, like the two after it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub port_overrides: BTreeMap<u16, PortOverride>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_locality: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_lb_setting: Option<LocalityLbSetting>,
    pub backend_tls_client_cert_path: Option<String>,
    pub backend_tls_client_key_path: Option<String>,
    #[serde(default = "enabled")]
    pub backend_tls_verify_server_cert: bool,
    pub backend_tls_server_ca_cert_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_tls_sni: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_tls_san_allow_list: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_spec_id: Option<String>,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub updated_at: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    pub host: String,
    pub port: u16,
    /// Counts for weighted round-robin only.
    #[serde(default = "weight")]
    pub weight: u32,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// `region[/zone[/subzone]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// Replaces the proxy's `backend_path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

fn weight() -> u32 {
    1
}

/// The targets whose tags contain every label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subset {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<SubsetTrafficPolicy>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubsetTrafficPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_algorithm: Option<Algorithm>,
    /// Honoured only when it came through mesh application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TrafficTls>,
}

/// Attributes of the cookie that `hash_on: cookie:<name>` issues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HashOnCookie {
    pub path: String,
    /// At most 86,400.
    pub ttl_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    pub http_only: bool,
    pub secure: bool,
    /// `Strict`, `Lax` or `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_site: Option<String>,
}

impl Default for HashOnCookie {
    fn default() -> Self {
        Self { path: "/".into(), ttl_seconds: 3600, domain: None, http_only: true, secure: false, same_site: None }
    }
}

/// What a mesh DestinationRule says for one port (§7.8).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PortOverride {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<PassiveHealthCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_lb_setting: Option<LocalityLbSetting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<TcpKeepalive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_max_requests_per_connection: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_idle_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h2_max_concurrent_streams: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpKeepalive {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LocalityLbSetting {
    pub enabled: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub distribute: Vec<LocalityDistribution>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failover: Vec<LocalityFailover>,
}

impl Default for LocalityLbSetting {
    fn default() -> Self {
        Self { enabled: true, distribute: Vec::new(), failover: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalityDistribution {
    pub from: String,
    /// Locality → weight.
    #[serde(default)]
    pub to: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalityFailover {
    pub from: String,
    pub to: String,
}

impl Upstream {
    /// Lower-case target hosts, SNI and SAN names (§7.9).
    pub fn normalize(&mut self) {
        for target in &mut self.targets {
            target.host.make_ascii_lowercase();
        }
        if let Some(sni) = &mut self.backend_tls_sni {
            sni.make_ascii_lowercase();
        }
        for entry in &mut self.backend_tls_san_allow_list {
            if !entry.starts_with("spiffe://") && entry.parse::<IpAddr>().is_err() {
                entry.make_ascii_lowercase();
            }
        }
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
