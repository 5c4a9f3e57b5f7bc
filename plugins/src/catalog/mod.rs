//! Every plugin name, its priority and protocols, and how its config is checked.

mod compile;
#[cfg(test)]
mod docs;
mod table;

pub use compile::{ConfiguredPlugin, Faults, ProxyAttachment, Remarks, Scope, compile, compile_with};

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use crate::builtin::BuiltIn;
use crate::config::Key;
use crate::{Protocols, Specs};

type Parse = fn(&Value) -> Result<Checked, Vec<String>>;

/// What is known of one plugin name.
pub struct Entry {
    pub name: &'static str,
    pub priority: u16,
    pub protocols: Protocols,
    /// Every key its config may have; none of a plugin that is not built yet.
    pub keys: &'static [Key],
    parse: Option<Parse>,
}

impl Entry {
    /// A plugin of this release, described by its own type.
    const fn built<S: BuiltIn>() -> Self {
        Self { name: S::NAME, priority: S::PRIORITY, protocols: S::PROTOCOLS, keys: S::KEYS, parse: Some(checked::<S>) }
    }

    /// A plugin that configurations may name and that this release does not have yet.
    const fn unbuilt(name: &'static str, priority: u16, protocols: Protocols) -> Self {
        Self { name, priority, protocols, keys: &[], parse: None }
    }

    pub fn is_built(&self) -> bool {
        self.parse.is_some()
    }
}

/// A config that can be built into instances.
#[derive(Clone)]
pub struct Checked {
    pub spec: Arc<dyn Specs>,
    /// Where it runs, unless its row overrides it.
    pub priority: u16,
    pub warnings: Vec<String>,
}

fn checked<S: BuiltIn>(config: &Value) -> Result<Checked, Vec<String>> {
    let parsed = S::parse(config)?;
    Ok(Checked { spec: Arc::new(parsed.spec), priority: S::PRIORITY, warnings: parsed.warnings })
}

/// Why a plugin config cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No built-in plugin has that name.
    #[error("Unknown plugin name '{0}'")]
    Unknown(String),
    /// The plugin was taken out of the product; running without it would leave a route open.
    #[error("Removed security plugin '{0}' is not supported; use 'jwks_auth' instead")]
    Removed(String),
    /// All that is wrong with the config, each text beginning with the plugin's name.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
}

const REMOVED: &str = "oauth2_auth";

/// Plugins whose invalid config refuses the whole configuration, also where others are skipped (plugins sheet §1.9).
const SECURITY: [&str; 17] = [
    "key_auth",
    "basic_auth",
    "ldap_auth",
    "jwt_auth",
    "hmac_auth",
    "jwks_auth",
    "mtls_auth",
    "mesh_authz",
    "mesh_outbound_registry",
    "access_control",
    "tcp_connection_throttle",
    "ip_restriction",
    "soap_ws_security",
    "waf",
    "opa",
    "oauth2_introspection",
    "oidc_relying_party",
];

/// Whether an invalid config of that plugin may never be skipped.
pub fn is_security(name: &str) -> bool {
    name == REMOVED || SECURITY.contains(&name)
}

/// All built-in plugins, in the order in which they are listed to users.
pub fn entries() -> &'static [Entry] {
    table::ENTRIES
}

pub fn entry(name: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.name == name)
}

/// Every built-in name, in the order of `GET /plugins` (admin sheet §16).
pub fn available() -> Vec<&'static str> {
    entries().iter().map(|entry| entry.name).collect()
}

/// Checks the config of one plugin.
pub fn check(name: &str, config: &Value) -> Result<Checked, Refusal> {
    if name == REMOVED {
        return Err(Refusal::Removed(name.to_owned()));
    }
    let entry = entry(name).ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
    match entry.parse {
        Some(parse) => parse(config).map_err(Refusal::Invalid),
        None => Err(Refusal::Invalid(vec![format!(
            "{name}: this plugin is known but not built yet in this release; remove it or set enabled: false"
        )])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_listed_once_and_in_the_sheet_s_order() {
        let names = available();
        assert_eq!(names[..3], ["transaction_log_schema", "stdout_logging", "http_logging"]);
        assert_eq!(names[67], "access_log", "the last of 0.9.0");
        assert_eq!(names.len(), 79);
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
        assert!(SECURITY.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn a_built_plugin_is_parsed() {
        let checked = check("key_auth", &json!({"x": 1})).ok().unwrap();
        assert_eq!((checked.spec.name(), checked.priority), ("key_auth", 1200));
        assert_eq!(checked.warnings, ["key_auth: unknown key 'x' is ignored"]);
        let refusal = check("key_auth", &Value::Null).err().unwrap();
        assert_eq!(refusal.to_string(), "key_auth: config must be an object");
    }

    #[test]
    fn a_known_plugin_that_is_not_built_is_refused_by_name() {
        let refusal = check("ai_federation", &json!({})).err().unwrap();
        let text =
            "ai_federation: this plugin is known but not built yet in this release; remove it or set enabled: false";
        assert_eq!(refusal, Refusal::Invalid(vec![text.to_owned()]));
    }

    #[test]
    fn removed_and_unknown_names_are_told_apart() {
        assert_eq!(check("oauth2_auth", &json!({})).err(), Some(Refusal::Removed("oauth2_auth".into())));
        let unknown = check("nothing", &json!({})).err().unwrap();
        assert_eq!(unknown.to_string(), "Unknown plugin name 'nothing'");
        assert!(is_security("oauth2_auth") && is_security("key_auth") && !is_security("rate_limiting"));
    }
}
