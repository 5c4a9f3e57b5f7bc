//! The mesh block and the trust bundles of a document (resources sheet §12, mesh sheet §9, §10).
//!
//! Decoding checks types and identity strings; unknown keys are ignored. [`normalize`] and [`check`] are for the modes that
//! act on a mesh block: file mode only decodes it.

mod check;
mod extension_value;
mod identity;
mod normalize;
mod security;
mod service;
mod telemetry;
mod traffic;

use serde::{Deserialize, Serialize};

pub use check::{check, check_trust_bundles};
pub use extension_value::ExtensionValue;
pub use identity::{SpiffeId, TrustDomain};
pub use normalize::normalize;
pub use security::{
    ConditionMatch, JwtAuthority, JwtHeader, JwtRule, MeshPolicy, MeshRule, MtlsMode, PeerAuthentication, PolicyAction,
    PrincipalMatch, RequestAuthentication, RequestMatch, TrustBundle, TrustBundleSet,
};
pub use service::{
    AppProtocol, EastWestGateway, ExtensionConfig, Location, MeshService, MultiCluster, OutboundTrafficPolicy, Port,
    RemoteCluster, Resolution, Scope, ServiceEntry, ServiceEntryEndpoint, ServiceRef, Sidecar, SidecarEgress,
    WaypointBinding, Workload, WorkloadRef, WorkloadSelector,
};
pub use telemetry::{
    AccessLogFilter, AccessLogging, Metrics, ProxyConfig, TagOperation, TagOverride, TelemetryConfig,
    TelemetryResource, Tracing, TracingMode, TracingProvider,
};
pub use traffic::{
    ConnectionPoolHttp, ConsistentHash, DestinationRule, DestinationSubset, LoadBalancer, OutlierDetection,
    SimpleLoadBalancer, TrafficPolicy, TrafficTls,
};

const ISTIO_ROOT_NAMESPACE: &str = "istio-system";

/// Everything the mesh knows. Unset and empty keys are not emitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mesh {
    #[serde(skip_serializing_if = "is_default_root")]
    pub istio_root_namespace: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<MeshService>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mesh_policies: Vec<MeshPolicy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer_authentications: Vec<PeerAuthentication>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_entries: Vec<ServiceEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_authentications: Vec<RequestAuthentication>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub telemetry_resources: Vec<TelemetryResource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_rules: Vec<DestinationRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy_configs: Vec<ProxyConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<Sidecar>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waypoint_bindings: Vec<WaypointBinding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_bundles: Option<TrustBundleSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_cluster: Option<MultiCluster>,
    /// Nothing = everything is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extension_configs: Vec<ExtensionConfig>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            istio_root_namespace: ISTIO_ROOT_NAMESPACE.into(),
            workloads: Vec::new(),
            services: Vec::new(),
            mesh_policies: Vec::new(),
            peer_authentications: Vec::new(),
            service_entries: Vec::new(),
            request_authentications: Vec::new(),
            telemetry_resources: Vec::new(),
            destination_rules: Vec::new(),
            proxy_configs: Vec::new(),
            sidecars: Vec::new(),
            waypoint_bindings: Vec::new(),
            trust_bundles: None,
            multi_cluster: None,
            outbound_traffic_policy: None,
            extension_configs: Vec::new(),
        }
    }
}

fn is_default_root(namespace: &String) -> bool {
    namespace == ISTIO_ROOT_NAMESPACE
}

#[cfg(test)]
mod tests;
