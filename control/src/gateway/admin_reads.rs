//! What the admin API shows of the running configuration and traffic.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::publication::Publication;
use crate::admin::{ConfigSummary, ResourceKind, ResourceReads, TrafficReads};

impl ResourceReads for Publication {
    fn list(&self, kind: ResourceKind, namespace: &str) -> Vec<Value> {
        let document = self.document();
        match kind {
            ResourceKind::Proxy => rows(&document.proxies, namespace, |row| &row.namespace),
            ResourceKind::Consumer => rows(&document.consumers, namespace, |row| &row.namespace),
            ResourceKind::Upstream => rows(&document.upstreams, namespace, |row| &row.namespace),
            ResourceKind::PluginConfig => rows(&document.plugin_configs, namespace, |row| &row.namespace),
        }
    }

    fn get(&self, kind: ResourceKind, id: &str, namespace: &str) -> Option<Value> {
        self.list(kind, namespace).into_iter().find(|row| row.get("id").and_then(Value::as_str) == Some(id))
    }

    fn summary(&self) -> Option<ConfigSummary> {
        let document = self.document();
        Some(ConfigSummary {
            loaded_at: SystemTime::from(document.loaded_at),
            proxies: document.proxies.len(),
            consumers: document.consumers.len(),
            upstreams: document.upstreams.len(),
            plugin_configs: document.plugin_configs.len(),
        })
    }

    fn namespaces(&self) -> Vec<String> {
        self.document().known_namespaces.clone()
    }
}

fn rows<T: serde::Serialize>(all: &[T], namespace: &str, of: impl Fn(&T) -> &String) -> Vec<Value> {
    all.iter().filter(|row| of(row) == namespace).filter_map(|row| serde_json::to_value(row).ok()).collect()
}

/// Figures that only the publication knows.
pub(super) struct Traffic(pub(super) Arc<Publication>);

impl TrafficReads for Traffic {
    fn credentials(&self) -> Map<String, Value> {
        let document = self.0.document();
        let count = |kind: &str| -> usize {
            document
                .consumers
                .iter()
                .filter_map(|consumer| consumer.credentials.get(kind)?.as_array().map(Vec::len))
                .sum()
        };
        let identities = |consumer: &engine::model::Consumer| 2 + usize::from(consumer.custom_id.is_some());
        let mut credentials = Map::new();
        for (name, kind) in [
            ("key_auth_credentials", "keyauth"),
            ("basic_auth_credentials", "basicauth"),
            ("mtls_credentials", "mtls_auth"),
            ("jwt_credentials", "jwt"),
            ("hmac_credentials", "hmac_auth"),
        ] {
            credentials.insert(name.to_owned(), count(kind).into());
        }
        let identity_count: usize = document.consumers.iter().map(identities).sum();
        credentials.insert("identity_credentials".to_owned(), identity_count.into());
        credentials
    }
}
