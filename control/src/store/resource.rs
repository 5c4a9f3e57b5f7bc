//! The four kinds of resources, where it does not matter which it is.

use engine::model::{Consumer, Document, PluginConfig, Proxy, Upstream};
use serde_json::Value;
use time::OffsetDateTime;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Upstream,
    Consumer,
    Proxy,
    PluginConfig,
}

impl Kind {
    /// Each after those it refers to.
    pub const ALL: [Kind; 4] = [Kind::Upstream, Kind::Consumer, Kind::Proxy, Kind::PluginConfig];

    pub fn table(self) -> &'static str {
        match self {
            Kind::Upstream => "upstreams",
            Kind::Consumer => "consumers",
            Kind::Proxy => "proxies",
            Kind::PluginConfig => "plugin_configs",
        }
    }

    /// As audit events and errors call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Upstream => "upstream",
            Kind::Consumer => "consumer",
            Kind::Proxy => "proxy",
            Kind::PluginConfig => "plugin_config",
        }
    }

    /// As the texts of the admin API call it.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Upstream => "Upstream",
            Kind::Consumer => "Consumer",
            Kind::Proxy => "Proxy",
            Kind::PluginConfig => "PluginConfig",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Upstream(Box<Upstream>),
    Consumer(Box<Consumer>),
    Proxy(Box<Proxy>),
    PluginConfig(Box<PluginConfig>),
}

macro_rules! from {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Resource {
            fn from(row: $kind) -> Self {
                Self::$kind(Box::new(row))
            }
        })*
    };
}

from!(Upstream, Consumer, Proxy, PluginConfig);

/// The same expression of whichever it is.
macro_rules! of_any {
    ($resource:expr, $row:ident => $value:expr) => {
        match $resource {
            Resource::Upstream($row) => $value,
            Resource::Consumer($row) => $value,
            Resource::Proxy($row) => $value,
            Resource::PluginConfig($row) => $value,
        }
    };
}

impl Resource {
    /// Strictly: unknown fields, missing ones and wrong types are refused.
    ///
    /// # Errors
    /// The decoder's text.
    pub fn decode(kind: Kind, value: Value) -> Result<Self, String> {
        let decoded = match kind {
            Kind::Upstream => serde_json::from_value(value).map(Self::Upstream),
            Kind::Consumer => serde_json::from_value(value).map(Self::Consumer),
            Kind::Proxy => serde_json::from_value(value).map(Self::Proxy),
            Kind::PluginConfig => serde_json::from_value(value).map(Self::PluginConfig),
        };
        decoded.map_err(|error| error.to_string())
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Upstream(_) => Kind::Upstream,
            Self::Consumer(_) => Kind::Consumer,
            Self::Proxy(_) => Kind::Proxy,
            Self::PluginConfig(_) => Kind::PluginConfig,
        }
    }

    pub fn id(&self) -> &str {
        of_any!(self, row => &row.id)
    }

    pub fn set_id(&mut self, id: String) {
        of_any!(self, row => row.id = id);
    }

    pub fn namespace(&self) -> &str {
        of_any!(self, row => &row.namespace)
    }

    pub fn set_namespace(&mut self, namespace: &str) {
        of_any!(self, row => namespace.clone_into(&mut row.namespace));
    }

    pub fn created_at(&self) -> OffsetDateTime {
        of_any!(self, row => row.created_at)
    }

    pub fn set_created_at(&mut self, at: OffsetDateTime) {
        of_any!(self, row => row.created_at = at);
    }

    pub fn set_updated_at(&mut self, at: OffsetDateTime) {
        of_any!(self, row => row.updated_at = at);
    }

    pub fn api_spec_id(&self) -> Option<&str> {
        match self {
            Self::Consumer(_) => None,
            Self::Upstream(row) => row.api_spec_id.as_deref(),
            Self::Proxy(row) => row.api_spec_id.as_deref(),
            Self::PluginConfig(row) => row.api_spec_id.as_deref(),
        }
    }

    pub fn set_api_spec_id(&mut self, id: Option<String>) {
        match self {
            Self::Consumer(_) => {}
            Self::Upstream(row) => row.api_spec_id = id,
            Self::Proxy(row) => row.api_spec_id = id,
            Self::PluginConfig(row) => row.api_spec_id = id,
        }
    }

    pub fn normalize(&mut self) {
        of_any!(self, row => row.normalize());
    }

    /// As the admin API shows it. Nothing is redacted.
    pub fn to_json(&self) -> Value {
        of_any!(self, row => serde_json::to_value(row)).unwrap_or_default()
    }

    pub fn add_to(self, document: &mut Document) {
        match self {
            Self::Upstream(row) => document.upstreams.push(row.into()),
            Self::Consumer(row) => document.consumers.push(row.into()),
            Self::Proxy(row) => document.proxies.push(row.into()),
            Self::PluginConfig(row) => document.plugin_configs.push(row.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resource_is_what_it_was_decoded_from() {
        let value = json!({"id": "u", "targets": [{"host": "a", "port": 1}]});
        let mut resource = Resource::decode(Kind::Upstream, value).unwrap();
        assert_eq!((resource.kind(), resource.id(), resource.namespace()), (Kind::Upstream, "u", "ferrum"));
        resource.set_namespace("team-a");
        resource.set_api_spec_id(Some("s".into()));
        let shown = resource.to_json();
        assert_eq!((&shown["namespace"], &shown["api_spec_id"]), (&json!("team-a"), &json!("s")));
    }

    #[test]
    fn what_is_unknown_or_missing_is_refused() {
        for (kind, value) in [
            (Kind::Proxy, json!({"backend_host": "a"})),
            (Kind::Proxy, json!({"backend_host": "a", "backend_port": 1, "colour": "red"})),
            (Kind::Consumer, json!({"username": null})),
            (Kind::PluginConfig, json!({"plugin_name": "cors"})),
        ] {
            assert!(Resource::decode(kind, value).is_err(), "{kind:?}");
        }
    }
}
