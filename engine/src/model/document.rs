//! The configuration document as a whole (resources sheet §2).

use std::collections::BTreeSet;
use std::sync::Arc;

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

/// Resources of one kind, in document order. They are shared by the documents that have them unchanged, so that one which differs
/// little from the one before it costs little, and what is the same is known by its place in memory.
pub type Rows<T> = Vec<Arc<T>>;

/// Rows that nobody shares yet.
pub fn rows<T>(list: impl IntoIterator<Item = T>) -> Rows<T> {
    list.into_iter().map(Arc::new).collect()
}

/// All resources, in document order: regex precedence and plugin tie-breaks depend on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub version: String,
    pub proxies: Rows<Proxy>,
    pub consumers: Rows<Consumer>,
    pub plugin_configs: Rows<PluginConfig>,
    #[serde(default)]
    pub upstreams: Rows<Upstream>,
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
        self.proxies.iter_mut().for_each(|row| Arc::make_mut(row).normalize());
        self.consumers.iter_mut().for_each(|row| Arc::make_mut(row).normalize());
        self.upstreams.iter_mut().for_each(|row| Arc::make_mut(row).normalize());
        self.plugin_configs.iter_mut().for_each(|row| Arc::make_mut(row).normalize());
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
