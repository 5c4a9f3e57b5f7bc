//! The plugins room as the config model asks for it.

use engine::model::{PluginCatalog, PluginRefusal};
use plugins::catalog::{self, Refusal};
use serde_json::Value;

pub(crate) struct Catalog;

impl PluginCatalog for Catalog {
    fn check(&self, name: &str, config: &Value) -> Result<(), PluginRefusal> {
        match catalog::check(name, config) {
            Ok(_) => Ok(()),
            Err(Refusal::Unknown(_)) => Err(PluginRefusal::Unknown),
            Err(removed @ Refusal::Removed(_)) => Err(PluginRefusal::Invalid(vec![removed.to_string()])),
            Err(Refusal::Invalid(errors)) => Err(PluginRefusal::Invalid(errors)),
        }
    }
}
