//! The resources of a configuration as plugins read them. Meaning, defaults and validation stand in the configuration
//! reference; documents read by these types are those of the gateway.

mod consumer;
mod plugin_config;
mod proxy;
mod resilience;
mod scheme;
mod tls;
mod upstream;

pub use consumer::Consumer;
pub use plugin_config::{PluginAssociation, PluginConfig, PluginScope};
pub use proxy::{AuthMode, DispatchKind, Proxy, ResponseBodyMode};
pub use resilience::{BackoffStrategy, CircuitBreakerConfig, RetryConfig};
pub use scheme::{BackendScheme, HttpFlavor};
pub use tls::BackendTlsConfig;
pub use upstream::{LoadBalancerAlgorithm, Upstream, UpstreamTarget};

pub const DEFAULT_NAMESPACE: &str = "ferrum";

pub fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn enabled() -> bool {
    true
}

/// A resource of the gateway's own model as plugins know it. Both are read from the same documents, so this is how one
/// becomes the other.
pub(crate) fn of_model<T: serde::de::DeserializeOwned>(resource: &impl serde::Serialize) -> Result<T, String> {
    let value = serde_json::to_value(resource).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}
