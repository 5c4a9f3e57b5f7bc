//! The configuration document as a whole (resources sheet §2).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::consumer::Consumer;
use super::mesh::{Mesh, TrustBundleSet};
use super::plugin_config::PluginConfig;
use super::proxy::Proxy;
use super::timestamp;
use super::upstream::Upstream;

/// The only schema version there is.
pub const DOCUMENT_VERSION: &str = "1";

/// All resources, in document order: regex precedence and plugin tie-breaks depend on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub version: String,
    pub proxies: Vec<Proxy>,
    pub consumers: Vec<Consumer>,
    pub plugin_configs: Vec<PluginConfig>,
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    #[serde(with = "timestamp", default = "timestamp::now")]
    pub loaded_at: OffsetDateTime,
    #[serde(default)]
    pub known_namespaces: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_bundles: Option<TrustBundleSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Mesh>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            version: DOCUMENT_VERSION.into(),
            proxies: Vec::new(),
            consumers: Vec::new(),
            plugin_configs: Vec::new(),
            upstreams: Vec::new(),
            loaded_at: timestamp::now(),
            known_namespaces: Vec::new(),
            trust_bundles: None,
            mesh: None,
        }
    }
}

impl Document {
    /// Brings every resource into the form in which it is compared and served. The mesh block is not touched: file mode
    /// does not act on it, and the modes that do call `mesh::normalize`.
    pub fn normalize(&mut self) {
        self.proxies.iter_mut().for_each(Proxy::normalize);
        self.consumers.iter_mut().for_each(Consumer::normalize);
        self.upstreams.iter_mut().for_each(Upstream::normalize);
        self.plugin_configs.iter_mut().for_each(PluginConfig::normalize);
    }

    /// The namespaces of all resources, sorted.
    pub fn namespaces(&self) -> Vec<String> {
        let proxies = self.proxies.iter().map(|proxy| &proxy.namespace);
        let consumers = self.consumers.iter().map(|consumer| &consumer.namespace);
        let upstreams = self.upstreams.iter().map(|upstream| &upstream.namespace);
        let plugin_configs = self.plugin_configs.iter().map(|config| &config.namespace);
        let distinct: BTreeSet<&String> = proxies.chain(consumers).chain(upstreams).chain(plugin_configs).collect();
        distinct.into_iter().cloned().collect()
    }
}
