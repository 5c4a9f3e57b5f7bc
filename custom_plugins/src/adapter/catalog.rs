//! Plugins by name, for control: the built-in ones first, then those of the folder.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use engine::model::Document;
use native::catalog::{Checked, Refusal};
use native::outbound::Services;
use native::{Companion, PluginSet};
use serde_json::Value;
use tokio::runtime::Handle;

use super::instance::{Documented, Instance};
use super::running::panic_text;
use super::world::World;
use crate::custom_plugins::create_custom_plugin;
use crate::plugins::{Plugin, PluginHttpClient};

/// All names that a configuration may use.
pub fn available() -> Vec<&'static str> {
    crate::plugins::available_plugins()
}

/// Checks the config of one plugin and makes what the cores build it from.
///
/// # Errors
/// The config cannot be used, or nobody has that name.
pub fn check(name: &str, config: &Value, services: &Arc<Services>) -> Result<Checked, Refusal> {
    let unknown = match native::catalog::check(name, config) {
        Err(refusal @ Refusal::Unknown(_)) => refusal,
        known => return known,
    };
    let client = PluginHttpClient::of_gateway(services);
    let plugin = created(name, config, client, &services.runtime)?.ok_or(unknown)?;
    let priority = plugin.priority();
    let spec = Arc::new(Documented(Instance::new(plugin, services.runtime.clone())));
    Ok(Checked { spec, priority, warnings: Vec::new() })
}

/// Checks the config of one plugin and keeps nothing of it but the hosts it will call. Custom plugins get a client that belongs to
/// no gateway.
///
/// # Errors
/// The config cannot be used, or nobody has that name.
pub fn validate(name: &str, config: &Value, runtime: &Handle) -> Result<Vec<String>, Refusal> {
    let unknown = match native::catalog::check(name, config) {
        Err(refusal @ Refusal::Unknown(_)) => refusal,
        known => return known.map(|checked| checked.spec.hosts()),
    };
    let plugin = created(name, config, PluginHttpClient::default(), runtime)?;
    let _entered = runtime.enter();
    plugin.map(|plugin| plugin.warmup_hostnames()).ok_or(unknown)
}

/// A constructor that panics has refused its config.
fn created(
    name: &str,
    config: &Value,
    client: PluginHttpClient,
    runtime: &Handle,
) -> Result<Option<Arc<dyn Plugin>>, Refusal> {
    let _entered = runtime.enter();
    let created = catch_unwind(AssertUnwindSafe(|| create_custom_plugin(name, config, client)));
    let created = created.unwrap_or_else(|panic| Err(format!("create_plugin panicked: {}", panic_text(&*panic))));
    created.map_err(|text| Refusal::Invalid(vec![text]))
}

/// What documented plugins are to know of a configuration; nothing when it has none of them. `routes` are the places of the
/// proxies in the document, by the number of the route.
pub fn companion(document: &Arc<Document>, routes: &[u32], plugins: &PluginSet) -> Option<Arc<dyn Companion>> {
    let is_used = plugins.rows.iter().any(|row| Instance::of(&*row.spec).is_some());
    is_used.then(|| Arc::new(World::new(document.clone(), routes, plugins)) as Arc<dyn Companion>)
}

/// How many keys the plugins of a configuration keep state for, each instance counted once.
pub fn tracked_keys(plugins: &PluginSet) -> usize {
    let mut counted = HashSet::new();
    let instances = plugins.rows.iter().filter_map(|row| Instance::of(&*row.spec));
    let counts = instances.filter(|instance| counted.insert(std::ptr::from_ref(*instance))).map(|instance| {
        let _entered = instance.runtime.enter();
        instance.plugin.tracked_keys_count().unwrap_or(0)
    });
    counts.sum()
}
