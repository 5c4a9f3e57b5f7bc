//! The plugins as the config model asks for them.

use engine::model::{AddressPolicy, PluginCatalog, PluginRefusal};
use ferrum_edge::adapter;
use plugins::catalog::Refusal;
use serde_json::Value;
use tokio::runtime::Handle;

use super::egress;

/// Constructors of custom plugins may spawn, so they run where a runtime is entered.
pub(crate) struct Catalog {
    pub(crate) runtime: Handle,
    pub(crate) address_policy: AddressPolicy,
}

impl PluginCatalog for Catalog {
    fn check(&self, name: &str, config: &Value) -> Result<(), PluginRefusal> {
        match adapter::validate(name, config, &self.runtime) {
            Ok(hosts) => match egress::denials(&hosts, self.address_policy) {
                denials if denials.is_empty() => Ok(()),
                denials => Err(PluginRefusal::Invalid(denials)),
            },
            Err(Refusal::Unknown(_)) => Err(PluginRefusal::Unknown),
            Err(removed @ Refusal::Removed(_)) => Err(PluginRefusal::Invalid(vec![removed.to_string()])),
            Err(Refusal::Invalid(errors)) => Err(PluginRefusal::Invalid(errors)),
        }
    }
}
