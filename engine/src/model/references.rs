//! What resources say about one another (resources sheet §6.4, §13): references never leave their namespace, so give
//! documents of one namespace.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::document::Document;
use super::finding::Finding;
use super::plugin_config::{PluginConfig, PluginScope};
use super::proxy::Proxy;
use super::upstream::Upstream;

/// `upstream_id` exists, and `upstream_subset` on it.
pub fn check_upstream_references(document: &Document) -> Vec<Finding> {
    let upstreams: HashMap<&str, &Upstream> =
        document.upstreams.iter().map(|upstream| (upstream.id.as_str(), &**upstream)).collect();
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let Some(upstream_id) = proxy.upstream_id.as_deref() else { continue };
        let p = &proxy.id;
        let Some(upstream) = upstreams.get(upstream_id) else {
            let message = format!("Proxy '{p}' references non-existent upstream_id '{upstream_id}'");
            found.push(Finding::proxy(i, p, message));
            continue;
        };
        let Some(subset) = &proxy.upstream_subset else { continue };
        if !upstream.subsets.iter().flatten().any(|candidate| candidate.name == *subset) {
            let message = format!(
                "Proxy '{p}' references upstream_subset '{subset}' that is not defined on upstream_id '{upstream_id}'"
            );
            found.push(Finding::proxy(i, p, message));
        }
    }
    found
}

/// The rules of an enabled `mesh_route_dispatch` config, with their places; what the plugin refuses is left to it.
pub(super) fn dispatch_destinations(config: &PluginConfig) -> impl Iterator<Item = (usize, &Value)> {
    let is_dispatch = config.enabled && config.plugin_name == "mesh_route_dispatch";
    let rules = config.config.get("rules").and_then(Value::as_array).filter(|_| is_dispatch);
    rules.into_iter().flatten().enumerate().filter_map(|(i, rule)| Some((i, rule.get("destination")?)))
}

impl PluginConfig {
    /// The upstreams that the rules of an enabled `mesh_route_dispatch` config name, with the places of the rules.
    pub fn dispatch_upstreams(&self) -> impl Iterator<Item = (usize, &str)> {
        dispatch_destinations(self).filter_map(|(i, destination)| Some((i, destination.get("upstream_id")?.as_str()?)))
    }
}

/// Upstreams named by enabled `mesh_route_dispatch` configs exist.
pub fn check_dispatch_references(document: &Document) -> Vec<Finding> {
    let upstreams: HashSet<&str> = document.upstreams.iter().map(|upstream| upstream.id.as_str()).collect();
    let mut found = Vec::new();
    for (at, config) in document.plugin_configs.iter().enumerate() {
        for (i, upstream_id) in config.dispatch_upstreams() {
            if !upstreams.contains(upstream_id) {
                let message = format!(
                    "PluginConfig '{}' (mesh_route_dispatch) rule {i} for proxy_id '{}' references upstream_id \
                     '{upstream_id}' that is not present in the active GatewayConfig namespace",
                    config.id,
                    config.proxy_id.as_deref().unwrap_or("<none>")
                );
                found.push(Finding::plugin_config(at, &config.id, message));
            }
        }
    }
    found
}

/// Scopes and associations of plugin configs, disabled ones included.
pub fn check_plugin_references(document: &Document) -> Vec<Finding> {
    let proxies: HashSet<&str> = document.proxies.iter().map(|proxy| proxy.id.as_str()).collect();
    let mut found = Vec::new();
    for (i, config) in document.plugin_configs.iter().enumerate() {
        let messages = check_scope(config, &proxies).into_iter();
        found.extend(messages.map(|message| Finding::plugin_config(i, &config.id, message)));
    }
    found.extend(check_listed_plugins(document));
    found
}

/// What proxies list: the half of [`check_plugin_references`] that needs no other proxies.
pub fn check_listed_plugins(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    if document.proxies.iter().all(|proxy| proxy.plugins.is_empty()) {
        return found;
    }
    let configs: HashMap<&str, &PluginConfig> =
        document.plugin_configs.iter().map(|config| (config.id.as_str(), &**config)).collect();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let messages = check_associations(proxy, &configs).into_iter();
        found.extend(messages.map(|message| Finding::proxy(i, &proxy.id, message)));
    }
    found
}

/// One enabled `prometheus_metrics` config is global (traffic plugins sheet §11.1): a second would count every request twice,
/// in the same figures.
pub fn check_sole_metrics(document: &Document) -> Vec<Finding> {
    let counts_all = |config: &PluginConfig| {
        config.enabled && config.plugin_name == "prometheus_metrics" && config.scope == PluginScope::Global
    };
    let mut configs =
        document.plugin_configs.iter().map(|config| &**config).enumerate().filter(|(_, config)| counts_all(config));
    let Some((_, PluginConfig { id: first, .. })) = configs.next() else { return Vec::new() };
    let finding = |(i, PluginConfig { id, .. }): (usize, &PluginConfig)| {
        let message = format!(
            "PluginConfig '{id}' (prometheus_metrics) with scope 'global' must be the only one enabled; '{first}' is too"
        );
        Finding::plugin_config(i, id, message)
    };
    configs.map(finding).collect()
}

fn check_scope(config: &PluginConfig, proxies: &HashSet<&str>) -> Vec<String> {
    let id = &config.id;
    let mut errors = Vec::new();
    if config.is_misplaced() {
        errors.push(format!("PluginConfig '{id}' (transaction_log_schema) must have scope 'global'"));
    }
    match (config.scope, config.proxy_id.as_deref()) {
        (PluginScope::Global, Some(_)) => {
            errors.push(format!("PluginConfig '{id}' with scope 'global' must not have proxy_id"));
        }
        (PluginScope::Proxy, Some(proxy_id)) if !proxies.contains(proxy_id) => {
            errors.push(format!("PluginConfig '{id}' references non-existent proxy_id '{proxy_id}'"));
        }
        (PluginScope::Proxy, None) => errors.push(format!("PluginConfig '{id}' with scope 'proxy' must have proxy_id")),
        (PluginScope::ProxyGroup, Some(_)) => errors.push(format!(
            "PluginConfig '{id}' with scope 'proxy_group' must not have proxy_id (associations are managed via proxy.plugins)"
        )),
        _ => {}
    }
    errors
}

fn check_associations(proxy: &Proxy, configs: &HashMap<&str, &PluginConfig>) -> Vec<String> {
    let p = &proxy.id;
    let mut listed = HashSet::new();
    let mut errors = Vec::new();
    for association in &proxy.plugins {
        let id = association.plugin_config_id.as_str();
        if !listed.insert(id) {
            errors.push(format!("Proxy '{p}' references plugin_config '{id}' more than once"));
            continue;
        }
        errors.extend(association_fault(p, id, configs.get(id).copied()));
    }
    errors
}

/// What is wrong about proxy `p` listing the plugin config `id`; `config` is the one of that id in the proxy's namespace.
pub fn association_fault(p: &str, id: &str, config: Option<&PluginConfig>) -> Option<String> {
    match config {
        None => Some(format!("Proxy '{p}' references non-existent plugin_config '{id}'")),
        Some(config) if config.scope == PluginScope::Global => Some(format!(
            "Proxy '{p}' references plugin_config '{id}' with scope 'global' — proxy associations may only reference \
             proxy-scoped or proxy_group-scoped plugin configs"
        )),
        Some(config) if config.scope == PluginScope::Proxy && config.proxy_id.as_deref() != Some(p) => {
            let other = config.proxy_id.as_deref().unwrap_or("<none>");
            Some(format!("Proxy '{p}' references plugin_config '{id}' targeted to proxy '{other}'"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
