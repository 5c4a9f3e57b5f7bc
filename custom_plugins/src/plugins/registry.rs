//! Plugins by name.

use std::sync::Arc;

use serde_json::Value;

use super::{Plugin, PluginHttpClient, RequestContext, TransactionSummary};
use crate::custom_plugins::{create_custom_plugin, custom_plugin_names};

/// What a `create_plugin` may answer. One that cannot fail may leave the `Result` out.
pub(crate) trait Created {
    fn created(self) -> Result<Option<Arc<dyn Plugin>>, String>;
}

impl Created for Result<Option<Arc<dyn Plugin>>, String> {
    fn created(self) -> Self {
        self
    }
}

impl Created for Option<Arc<dyn Plugin>> {
    fn created(self) -> Result<Option<Arc<dyn Plugin>>, String> {
        Ok(self)
    }
}

/// A custom plugin with this configuration; nothing if none has that name. Built-in plugins are no objects of this trait, and are
/// not made here.
///
/// # Errors
/// The plugin refuses the configuration.
pub fn create_plugin(name: &str, config: &Value) -> Result<Option<Arc<dyn Plugin>>, String> {
    create_plugin_with_http_client(name, config, PluginHttpClient::default())
}

/// The same, with the client it is to use.
///
/// # Errors
/// The plugin refuses the configuration.
pub fn create_plugin_with_http_client(
    name: &str,
    config: &Value,
    http_client: PluginHttpClient,
) -> Result<Option<Arc<dyn Plugin>>, String> {
    if native::catalog::entry(name).is_some() {
        return Ok(None);
    }
    create_custom_plugin(name, config, http_client)
}

/// # Errors
/// What is wrong with the configuration, or that no plugin has that name.
pub fn validate_plugin_config(name: &str, config: &Value) -> Result<(), String> {
    match native::catalog::check(name, config) {
        Ok(_) => Ok(()),
        Err(native::catalog::Refusal::Unknown(_)) => match create_plugin(name, config)? {
            Some(_) => Ok(()),
            None => Err(format!("Unknown plugin name '{name}'")),
        },
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// Whether an invalid configuration of that plugin is never skipped.
pub fn is_security_plugin(name: &str) -> bool {
    native::catalog::is_security(name)
}

/// Whether that plugin was taken out of the product and running without it would leave a route open.
pub fn is_removed_security_plugin(name: &str) -> bool {
    matches!(native::catalog::check(name, &Value::Null), Err(native::catalog::Refusal::Removed(_)))
}

/// All names a configuration may use: the built-in ones, then the custom ones.
pub fn available_plugins() -> Vec<&'static str> {
    let mut names = native::catalog::available();
    names.extend(custom_plugin_names());
    names
}

/// Lets plugins log a transaction, and the request that was sent to a second place because of it, if one was.
pub async fn log_with_mirror(plugins: &[Arc<dyn Plugin>], summary: &TransactionSummary, ctx: &RequestContext) {
    for plugin in plugins {
        plugin.log(summary).await;
    }
    if let Some(result) = ctx.collect_mirror_result().await {
        let entry = summary.as_mirror_entry(result);
        for plugin in plugins {
            plugin.log(&entry).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn built_in_and_custom_names_are_known() {
        assert!(validate_plugin_config("key_auth", &json!({})).is_ok());
        assert!(validate_plugin_config("key_auth", &json!(1)).unwrap_err().starts_with("key_auth: "));
        assert_eq!(validate_plugin_config("nobody", &json!({})).unwrap_err(), "Unknown plugin name 'nobody'");
        assert!(is_security_plugin("key_auth") && !is_security_plugin("nobody"));
        assert!(is_removed_security_plugin("oauth2_auth") && !is_removed_security_plugin("key_auth"));
        assert_eq!(available_plugins()[0], "transaction_log_schema");
        assert!(create_plugin("key_auth", &json!({})).unwrap().is_none());
    }

    #[tokio::test]
    async fn every_file_of_the_folder_is_a_name_and_is_sorted_behind_the_built_in_ones() {
        let names = custom_plugin_names();
        assert!(names.is_sorted());
        assert!(available_plugins().ends_with(&names));
        for name in names {
            let unknown = format!("Unknown plugin name '{name}'");
            assert_ne!(validate_plugin_config(name, &Value::Null).err(), Some(unknown));
        }
    }
}
