//! PluginConfig (resources sheet §6). What `config` means is the plugin's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::{default_namespace, enabled, rules, timestamp};

const CONFIG_BYTES_MAX: usize = 1_048_576;
const CONFIG_DEPTH_MAX: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginScope {
    /// Runs on every proxy of the namespace.
    Global,
    /// Runs on the proxy it names, if that proxy lists it too.
    Proxy,
    /// One instance for all proxies that list it.
    ProxyGroup,
}

/// Fields in the order in which they are emitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    #[serde(default)]
    pub id: String,
    pub plugin_name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub config: Value,
    pub scope: PluginScope,
    pub proxy_id: Option<String>,
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Replaces the plugin's built-in priority; lower runs earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_override: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_spec_id: Option<String>,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub updated_at: OffsetDateTime,
}

impl PluginConfig {
    pub fn check_fields(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if self.plugin_name.trim().is_empty() {
            errors.push("plugin_name must not be empty".into());
        }
        rules::text(&mut errors, "plugin_name", &self.plugin_name, 255);
        self.check_scope(&mut errors);
        rules::optional_range(&mut errors, "priority_override", self.priority_override, 0, 10_000);
        let bytes = self.config.to_string().len();
        if bytes > CONFIG_BYTES_MAX {
            errors.push(format!("config JSON must not exceed {CONFIG_BYTES_MAX} bytes (got {bytes})"));
        }
        if depth(&self.config) > CONFIG_DEPTH_MAX {
            errors.push(format!("config JSON nesting depth must not exceed {CONFIG_DEPTH_MAX}"));
        }
        errors
    }

    /// What shapes every record of the process belongs to no proxy.
    pub(super) fn is_misplaced(&self) -> bool {
        self.plugin_name == "transaction_log_schema" && self.scope != PluginScope::Global
    }

    fn check_scope(&self, errors: &mut Vec<String>) {
        if self.is_misplaced() {
            errors.push("transaction_log_schema must have scope 'global'".into());
        }
        match (self.scope, self.proxy_id.as_deref()) {
            (PluginScope::Proxy, None) => errors.push("scope 'proxy' requires proxy_id".into()),
            (PluginScope::Proxy, Some(id)) if id.trim().is_empty() => {
                errors.push("scope 'proxy' requires proxy_id".into());
            }
            (PluginScope::Proxy, Some(id)) => errors.extend(rules::check_id(id).err().map(|e| format!("proxy_id {e}"))),
            (PluginScope::Global, Some(_)) => errors.push("scope 'global' must not have proxy_id".into()),
            (PluginScope::ProxyGroup, Some(_)) => {
                errors.push(
                    "scope 'proxy_group' must not have proxy_id (associations are managed via proxy.plugins)".into(),
                );
            }
            (_, None) => {}
        }
    }

    /// A blank `proxy_id` is none (§6.3).
    pub fn normalize(&mut self) {
        if self.proxy_id.as_deref().is_some_and(|id| id.trim().is_empty()) {
            self.proxy_id = None;
        }
    }
}

/// A scalar is 0, each array or object around it adds 1. Decoding has bounded the recursion.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(value: Value) -> Vec<String> {
        serde_json::from_value::<PluginConfig>(value).unwrap().check_fields()
    }

    fn with_config(config: Value) -> Vec<String> {
        errors(json!({"id": "p", "plugin_name": "cors", "scope": "global", "config": config}))
    }

    #[test]
    fn every_message_of_a_plugin_config() {
        let rows = [
            (json!({"plugin_name": " ", "scope": "global"}), "plugin_name must not be empty"),
            (
                json!({"plugin_name": "a".repeat(256), "scope": "global"}),
                "plugin_name must not exceed 255 characters (got 256)",
            ),
            (json!({"plugin_name": "a\u{1}", "scope": "global"}), "plugin_name must not contain control characters"),
            (json!({"plugin_name": "a", "scope": "proxy"}), "scope 'proxy' requires proxy_id"),
            (json!({"plugin_name": "a", "scope": "proxy", "proxy_id": " "}), "scope 'proxy' requires proxy_id"),
            (
                json!({"plugin_name": "a", "scope": "proxy", "proxy_id": "-x"}),
                "proxy_id ID '-x' is invalid: must start",
            ),
            (json!({"plugin_name": "a", "scope": "global", "proxy_id": ""}), "scope 'global' must not have proxy_id"),
            (
                json!({"plugin_name": "a", "scope": "proxy_group", "proxy_id": "x"}),
                "scope 'proxy_group' must not have proxy_id (",
            ),
            (
                json!({"plugin_name": "a", "scope": "global", "priority_override": 10001}),
                "priority_override must be between 0 and 10000 (got 10001)",
            ),
        ];
        for (value, expected) in rows {
            let found = errors(value.clone());
            assert!(found.len() == 1 && found[0].starts_with(expected), "{value}: {found:?}");
        }
        let sound = [
            json!({"plugin_name": "a".repeat(255), "scope": "global", "priority_override": 10000}),
            json!({"plugin_name": "a", "scope": "proxy", "proxy_id": "x", "priority_override": 0}),
            json!({"plugin_name": "a", "scope": "proxy_group"}),
        ];
        for value in sound {
            assert_eq!(errors(value), [""; 0]);
        }
    }

    #[test]
    fn config_size_and_depth_have_limits() {
        assert_eq!(with_config(json!("a".repeat(1_048_574))), [""; 0]);
        assert_eq!(
            with_config(json!("a".repeat(1_048_575))),
            ["config JSON must not exceed 1048576 bytes (got 1048577)"]
        );
        let nested = |levels: usize| {
            (0..levels).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
        };
        assert_eq!(with_config(nested(10)), [""; 0]);
        assert_eq!(with_config(nested(11)), ["config JSON nesting depth must not exceed 10"]);
    }

    #[test]
    fn a_blank_proxy_id_becomes_none() {
        let mut config: PluginConfig =
            serde_json::from_value(json!({"plugin_name": "a", "scope": "global", "proxy_id": " "})).unwrap();
        config.normalize();
        assert_eq!(config.proxy_id, None);
    }
}
