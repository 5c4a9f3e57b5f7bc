//! The plugins as the config model asks for them.

use engine::model::{PluginCatalog, PluginRefusal};
use ferrum_edge::adapter;
use plugins::catalog::Refusal;
use serde_json::Value;
use tokio::runtime::Handle;

/// Constructors of custom plugins may spawn, so they run where a runtime is entered.
pub(crate) struct Catalog {
    pub(crate) runtime: Handle,
}

impl PluginCatalog for Catalog {
    fn check(&self, name: &str, config: &Value) -> Result<(), PluginRefusal> {
        match adapter::validate(name, config, &self.runtime) {
            Ok(()) => Ok(()),
            Err(Refusal::Unknown(_)) => Err(PluginRefusal::Unknown),
            Err(removed @ Refusal::Removed(_)) => Err(PluginRefusal::Invalid(vec![removed.to_string()])),
            Err(Refusal::Invalid(errors)) => Err(PluginRefusal::Invalid(errors)),
        }
    }
}
