//! From plugin configs and attachments to the list each proxy runs (plugins sheet §1.2, resources sheet §6.5).

use rustc_hash::FxHashMap;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Checked, Refusal, check, is_security};
use crate::{PluginRow, PluginSet, RowList, UNATTACHED};

/// Where a plugin config applies.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// To every proxy.
    Global,
    /// To that proxy, if it attaches the config.
    Proxy(String),
    /// To every proxy that attaches the config, with one instance per core for all of them.
    Group,
}

/// One plugin config as the user wrote it.
#[derive(Clone, PartialEq, Debug)]
pub struct ConfiguredPlugin {
    pub id: String,
    pub name: String,
    pub config: Value,
    pub scope: Scope,
    pub enabled: bool,
    pub priority_override: Option<u16>,
}

impl ConfiguredPlugin {
    /// Equal for equal configs within one process, which is as long as instances live.
    fn fingerprint(&self, priority: u16) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.id, &self.name, self.config.to_string(), &self.scope, priority).hash(&mut hasher);
        hasher.finish()
    }
}

/// What one proxy attaches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProxyAttachment {
    pub proxy_id: String,
    /// Ids of plugin configs, in the proxy's order.
    pub attached: Vec<String>,
}

/// Checks all enabled configs of built-in plugins and computes what runs on each proxy, in the order of `proxies`.
/// Answers with warnings, or with all errors.
pub fn compile(
    plugins: &[ConfiguredPlugin],
    proxies: &[ProxyAttachment],
) -> Result<(PluginSet, Vec<String>), Vec<String>> {
    let (set, remarks) = compile_with(plugins, proxies, Faults::Refused, check)?;
    Ok((set, remarks.warnings))
}

/// What to say about plugin configs that are served all the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remarks {
    pub warnings: Vec<String>,
    /// Plugins that do not run, because their configs are wrong.
    pub errors: Vec<String>,
}

/// What a plugin that cannot be made does to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Faults {
    /// The whole configuration is refused.
    Refused,
    /// It is left out, unless it secures something: with an error, or with a warning when nobody knows its name.
    LeftOut,
}

/// [`compile`] with another way of checking, which may know more names.
pub fn compile_with(
    plugins: &[ConfiguredPlugin],
    proxies: &[ProxyAttachment],
    faults: Faults,
    check: impl Fn(&str, &Value) -> Result<Checked, Refusal>,
) -> Result<(PluginSet, Remarks), Vec<String>> {
    let mut rows = Rows::default();
    let (mut remarks, mut errors) = (Remarks::default(), Vec::new());
    for plugin in plugins.iter().filter(|plugin| plugin.enabled) {
        match check(&plugin.name, &plugin.config) {
            Ok(checked) => {
                let named = |warning: &String| format!("Plugin '{}' (id={}): {warning}", plugin.name, plugin.id);
                remarks.warnings.extend(checked.warnings.iter().map(named));
                rows.add(plugin, checked);
            }
            Err(refusal) if faults == Faults::LeftOut && !is_security(&plugin.name) => {
                let left_out = format!("Plugin '{}' (id={}) is left out: {refusal}", plugin.name, plugin.id);
                match refusal {
                    Refusal::Unknown(_) => remarks.warnings.push(left_out),
                    Refusal::Removed(_) | Refusal::Invalid(_) => remarks.errors.push(left_out),
                }
            }
            Err(refusal) => errors.extend(error_texts(plugin, refusal)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut lists = Lists::new(&rows);
    let by_proxy = proxies.iter().map(|proxy| lists.of(proxy)).collect();
    let lists = lists.lists;
    Ok((PluginSet { rows: rows.rows, lists, by_proxy, companion: None }, remarks))
}

fn error_texts(plugin: &ConfiguredPlugin, refusal: Refusal) -> Vec<String> {
    let (name, id) = (&plugin.name, &plugin.id);
    match refusal {
        Refusal::Invalid(errors) => {
            errors.into_iter().map(|error| format!("Plugin '{name}' (id={id}): {error}")).collect()
        }
        Refusal::Removed(_) => vec![format!(
            "Removed security plugin '{name}' (plugin_config_id={id}) is not supported; use 'jwks_auth' instead"
        )],
        Refusal::Unknown(_) => vec![refusal.to_string()],
    }
}

/// The enabled configs, by number in document order.
#[derive(Default)]
struct Rows<'a> {
    rows: Vec<PluginRow>,
    configs: Vec<&'a ConfiguredPlugin>,
    by_id: FxHashMap<&'a str, u32>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, plugin: &'a ConfiguredPlugin, checked: Checked) {
        let priority = plugin.priority_override.unwrap_or(checked.priority);
        self.by_id.insert(&plugin.id, self.rows.len() as u32);
        self.configs.push(plugin);
        self.rows.push(PluginRow {
            id: plugin.id.as_str().into(),
            spec: checked.spec,
            priority,
            fingerprint: plugin.fingerprint(priority),
        });
    }

    fn config(&self, row: u32) -> &'a ConfiguredPlugin {
        self.configs[row as usize]
    }

    /// Stable, so that equal priorities keep the order they have.
    fn sort(&self, list: &mut [u32]) {
        list.sort_by_key(|row| self.rows[*row as usize].priority);
    }
}

/// The effective lists; equal ones are the same memory.
struct Lists<'r, 'a> {
    rows: &'r Rows<'a>,
    /// In document order.
    globals: Vec<u32>,
    lists: Vec<RowList>,
    numbers: FxHashMap<RowList, u32>,
}

impl<'r, 'a> Lists<'r, 'a> {
    fn new(rows: &'r Rows<'a>) -> Self {
        let all = 0..rows.rows.len() as u32;
        let globals: Vec<u32> = all.filter(|row| rows.config(*row).scope == Scope::Global).collect();
        let mut sorted = globals.clone();
        rows.sort(&mut sorted);
        let unattached: RowList = sorted.into();
        let numbers = FxHashMap::from_iter([(unattached.clone(), UNATTACHED)]);
        Self { rows, globals, lists: vec![unattached], numbers }
    }

    /// The number of a proxy's list.
    fn of(&mut self, proxy: &ProxyAttachment) -> u32 {
        let scoped = self.scoped(proxy);
        if scoped.is_empty() {
            return UNATTACHED;
        }
        // What an instance says its name is; that of a built-in plugin is the one in its config.
        let name = |row: u32| self.rows.rows[row as usize].spec.name();
        let is_replaced = |global: u32| scoped.iter().any(|row| name(*row) == name(global));
        let mut list: Vec<u32> = self.globals.iter().copied().filter(|global| !is_replaced(*global)).collect();
        list.extend(&scoped);
        self.rows.sort(&mut list);
        if let Some(number) = self.numbers.get(&list[..]) {
            return *number;
        }
        let (list, number): (RowList, u32) = (list.into(), self.lists.len() as u32);
        self.numbers.insert(list.clone(), number);
        self.lists.push(list);
        number
    }

    /// The proxy's own configs in document order, then its groups in the order of attachment.
    fn scoped(&self, proxy: &ProxyAttachment) -> Vec<u32> {
        let (mut own, mut groups) = (Vec::new(), Vec::new());
        for row in proxy.attached.iter().filter_map(|id| self.rows.by_id.get(id.as_str()).copied()) {
            match &self.rows.config(row).scope {
                Scope::Proxy(target) if *target == proxy.proxy_id => own.push(row),
                Scope::Group => groups.push(row),
                // The document's reference rules refuse these before it comes here.
                Scope::Proxy(_) | Scope::Global => {}
            }
        }
        own.sort_unstable();
        own.extend(groups);
        own
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
