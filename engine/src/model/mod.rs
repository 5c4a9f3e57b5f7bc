//! What users write: the configuration document, every resource in it, and all that can be refused about them.
//!
//! [`load_file`] and [`load_text`] take a document through decoding, field checks, normalisation, the namespace filter and
//! the checks between resources, in the order of the resources sheet §3.4; each step collects all its errors. What comes
//! out is a [`Document`] whose resources are sound and refer to one another correctly. The same checks are public one by
//! one for the modes that apply them differently (§15). Plugins are known here by name only, through [`PluginCatalog`].

mod address_policy;
mod api_spec;
mod consumer;
mod decode;
mod discovery;
mod document;
mod encode;
mod features;
mod finding;
mod health;
mod host;
mod load;
pub mod mesh;
mod outside;
mod plugin_config;
mod proxy;
mod proxy_check;
mod references;
mod resilience;
mod rules;
mod stream;
mod tagged;
mod timestamp;
mod tls_files;
mod uniqueness;
mod upstream;
mod upstream_check;
mod version;

pub use address_policy::AddressPolicy;
pub use api_spec::{ApiSpec, SpecFormat, cut as api_spec_cut};
pub use consumer::Consumer;
pub use decode::{Format, decode};
pub use discovery::{
    ConsulDiscovery, DiscoveryProvider, DnsSdDiscovery, KubernetesDiscovery, MeshDiscovery, ServiceDiscovery,
};
pub use document::{DOCUMENT_VERSION, Document, Rows, rows};
pub use encode::encode;
pub use features::features_in_use;
pub use finding::Finding;
pub use health::{ActiveHealthCheck, HealthChecks, PassiveHealthCheck, ProbeType};
pub use host::{check_host, hosts_overlap, is_backend_host};
pub use load::{LoadError, LoadOptions, Loaded, PluginCatalog, PluginRefusal, load_file, load_text};
pub use plugin_config::{PluginConfig, PluginScope};
pub use proxy::{AuthMode, BackendScheme, PluginAssociation, Proxy, ResponseBodyMode};
pub use references::{
    association_fault, check_dispatch_references, check_listed_plugins, check_plugin_references, check_sole_metrics,
    check_upstream_references,
};
pub use resilience::{Backoff, CircuitBreaker, Retry};
pub use rules::{check_id, check_namespace};
pub use stream::{check_streams, reserved_port_conflicts};
pub use tls_files::{TlsFiles, certificates};
pub use uniqueness::{
    check_consumer_credentials, check_consumer_identities, check_ids, check_proxy_names, check_routes,
    check_routes_with, check_upstream_names,
};
pub use upstream::{
    Algorithm, HashOnCookie, LocalityDistribution, LocalityFailover, LocalityLbSetting, PortOverride, Subset,
    SubsetTrafficPolicy, Target, TcpKeepalive, Upstream,
};
pub use upstream_check::NO_TARGETS;
pub use version::{Migration, MigrationError, migrate_config};

fn default_namespace() -> String {
    "ferrum".into()
}

fn enabled() -> bool {
    true
}
