//! A document's resources with their ids, and the hash by which a bundle is found to be as it was (resources sheet §11.1).

use std::collections::HashSet;

use engine::model::{PluginAssociation, PluginConfig, Proxy, Upstream};
use serde::Serialize;
use serde_json::Value;

use super::content::sha256;
use crate::store::Resource;

#[derive(Clone, Debug)]
pub(in crate::admin) struct Bundle {
    pub(in crate::admin) proxy: Proxy,
    pub(in crate::admin) upstream: Option<Upstream>,
    pub(in crate::admin) plugins: Vec<PluginConfig>,
}

impl Bundle {
    /// Adds to what the proxy lists, each id once.
    pub(in crate::admin) fn list(&mut self, ids: impl IntoIterator<Item = String>) {
        let listed = &mut self.proxy.plugins;
        let mut known: HashSet<String> = listed.iter().map(|entry| entry.plugin_config_id.clone()).collect();
        let new = ids.into_iter().filter(|id| known.insert(id.clone()));
        listed.extend(new.map(|plugin_config_id| PluginAssociation { plugin_config_id }));
    }

    /// The same for each resource.
    pub(in crate::admin) fn each(mut self, change: impl Fn(&mut Resource)) -> Self {
        let mut resources = self.resources();
        self.upstream = None;
        self.plugins.clear();
        resources.iter_mut().for_each(change);
        for resource in resources {
            match resource {
                Resource::Proxy(row) => self.proxy = *row,
                Resource::Upstream(row) => self.upstream = Some(*row),
                Resource::PluginConfig(row) => self.plugins.push(*row),
                Resource::Consumer(_) => {}
            }
        }
        self
    }

    /// Each after those it refers to, but for what the proxy lists.
    pub(in crate::admin) fn resources(&self) -> Vec<Resource> {
        let upstream = self.upstream.iter().map(|row| Resource::Upstream(Box::new(row.clone())));
        let proxy = Resource::Proxy(Box::new(self.proxy.clone()));
        let plugins = self.plugins.iter().map(|row| Resource::PluginConfig(Box::new(row.clone())));
        upstream.chain([proxy]).chain(plugins).collect()
    }

    /// Of everything but owner and times. The order in which plugins stand does not matter.
    pub(in crate::admin) fn hash(&self) -> String {
        let mut proxy = self.proxy.clone();
        proxy.plugins.sort_unstable_by(|one, other| one.plugin_config_id.cmp(&other.plugin_config_id));
        let mut plugins: Vec<&PluginConfig> = self.plugins.iter().collect();
        plugins.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let upstream = self.upstream.as_ref().map(identifying).unwrap_or_default();
        let mut text = format!("{}|{upstream}|", identifying(&proxy));
        for plugin in plugins {
            text.push_str(&identifying(plugin));
            text.push(';');
        }
        sha256(text.as_bytes())
    }
}

fn identifying(row: &impl Serialize) -> String {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        for name in ["api_spec_id", "created_at", "updated_at"] {
            members.remove(name);
        }
    }
    canonical(value)
}

/// The same text for the same value, in whatever order its keys stand.
pub(super) fn canonical(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bundle(proxy: Value, config: Value) -> Bundle {
        let plugin = |id: &str| {
            serde_json::from_value(json!({"id": id, "plugin_name": "cors", "scope": "proxy", "config": config}))
                .unwrap()
        };
        Bundle {
            proxy: serde_json::from_value(proxy).unwrap(),
            upstream: None,
            plugins: vec![plugin("a"), plugin("b")],
        }
    }

    #[test]
    fn a_hash_is_that_of_what_users_write() {
        let proxy = json!({"id": "p", "backend_host": "h", "backend_port": 80, "plugins": [{"plugin_config_id": "a"}, {"plugin_config_id": "b"}]});
        let one = bundle(proxy.clone(), json!({"x": 1, "y": {"a": 1, "b": 2}}));
        let mut other = bundle(proxy, json!({"y": {"b": 2, "a": 1}, "x": 1}));
        other.proxy.api_spec_id = Some("s".into());
        other.plugins[0].created_at = time::OffsetDateTime::UNIX_EPOCH;
        other.plugins.reverse();
        other.proxy.plugins.reverse();
        assert_eq!(one.hash(), other.hash());
        other.plugins[0].enabled = false;
        assert_ne!(one.hash(), other.hash());
        other.plugins.clear();
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn an_id_is_listed_once() {
        let mut bundle = bundle(json!({"id": "p", "backend_host": "h", "backend_port": 80}), json!(null));
        bundle.list(["a".to_owned(), "b".to_owned(), "a".to_owned()]);
        assert_eq!(bundle.proxy.plugins.len(), 2);
        let kinds: Vec<&str> = bundle.resources().iter().map(|row| row.kind().name()).collect();
        assert_eq!(kinds, ["proxy", "plugin_config", "plugin_config"]);
    }
}
