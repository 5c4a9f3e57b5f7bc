//! The resources that a document describes (admin sheet §31.3 and §31.4).

use std::collections::HashSet;

use engine::model::{ApiSpec, PluginConfig, Proxy, Upstream, check_id};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::content::unpacked;
use super::error::SpecError;
use super::parse::read;

const PROXY: &str = "x-ferrum-proxy";
const UPSTREAM: &str = "x-ferrum-upstream";
const PLUGINS: &str = "x-ferrum-plugins";

/// Keys of a plugin's config by which consumers would get in, or be named.
const FORBIDDEN: [&str; 10] = [
    "credentials",
    "keyauth",
    "basicauth",
    "jwt",
    "hmac",
    "mtls",
    "consumer",
    "consumer_id",
    "consumer_groups",
    "consumers",
];
/// Levels of a config that are searched for them; what is deeper counts as one.
const CONFIG_DEPTH_MAX: usize = 32;
const TOO_DEEP: &str = "__depth_exceeded__";

/// As the document says it: ids may be empty, and the proxy may still lack the id of the upstream.
#[derive(Debug, PartialEq)]
pub(in crate::admin) struct Extracted {
    pub(super) proxy: Proxy,
    pub(super) upstream: Option<Upstream>,
    pub(super) plugins: Vec<PluginConfig>,
}

/// `known_id` is the id that the proxy has if the document names none.
///
/// # Errors
/// The first that is wrong, in the order of the sheet.
pub(in crate::admin) fn extract(root: &Value, known_id: Option<&str>) -> Result<Extracted, SpecError> {
    let proxy = root.get(PROXY).ok_or(SpecError::MissingProxyExtension)?;
    let proxy: Proxy = decoded(PROXY, proxy)?;
    check_given_id(PROXY, &proxy.id)?;
    let upstream: Option<Upstream> = root.get(UPSTREAM).map(|upstream| decoded(UPSTREAM, upstream)).transpose()?;
    if let Some(upstream) = &upstream {
        check_given_id(UPSTREAM, &upstream.id)?;
        check_link(&proxy, upstream)?;
    }
    let proxy_id = if proxy.id.is_empty() { known_id.unwrap_or_default() } else { &proxy.id };
    let plugins = plugins(root, proxy_id)?;
    Ok(Extracted { proxy, upstream, plugins })
}

/// What the stored document of a spec says of [`declared`]. One that cannot be read any more says nothing.
pub(in crate::admin) fn declared_in(spec: &ApiSpec, bytes_max: u64) -> Vec<String> {
    let document = unpacked(&spec.spec_content, bytes_max).map_err(|error| error.to_string());
    match document.and_then(|bytes| read(&bytes, spec.spec_format).map_err(|error| error.to_string())) {
        Ok(root) => declared(&root),
        Err(error) => {
            tracing::warn!(api_spec = spec.id, error, "A stored API spec cannot be read; what it had attached stays");
            Vec::new()
        }
    }
}

/// The plugin configs that the proxy of a document lists by itself.
fn declared(root: &Value) -> Vec<String> {
    let listed = root.get(PROXY).and_then(|proxy| proxy.get("plugins")?.as_array());
    let ids = listed.into_iter().flatten().filter_map(|entry| entry.get("plugin_config_id")?.as_str());
    ids.map(str::to_owned).collect()
}

fn malformed(extension: &'static str, reason: impl Into<String>) -> SpecError {
    SpecError::MalformedExtension { extension, reason: reason.into() }
}

/// The decoder would take an array for the fields in their order.
fn decoded<T: DeserializeOwned>(extension: &'static str, value: &Value) -> Result<T, SpecError> {
    if !value.is_object() {
        return Err(malformed(extension, "expected an object"));
    }
    T::deserialize(value).map_err(|error| malformed(extension, error.to_string()))
}

fn check_given_id(extension: &'static str, id: &str) -> Result<(), SpecError> {
    if id.is_empty() { Ok(()) } else { check_id(id).map_err(|reason| malformed(extension, reason)) }
}

fn check_link(proxy: &Proxy, upstream: &Upstream) -> Result<(), SpecError> {
    match &proxy.upstream_id {
        Some(named) if *named != upstream.id || named.is_empty() => {
            let (named, upstream) = (named.clone(), upstream.id.clone());
            Err(SpecError::ProxyUpstreamIdMismatch { named, upstream })
        }
        _ => Ok(()),
    }
}

fn plugins(root: &Value, proxy_id: &str) -> Result<Vec<PluginConfig>, SpecError> {
    let Some(listed) = root.get(PLUGINS) else { return Ok(Vec::new()) };
    let listed = listed.as_array().ok_or_else(|| malformed(PLUGINS, "expected an array"))?;
    let mut plugins: Vec<PluginConfig> = Vec::with_capacity(listed.len());
    for (place, value) in listed.iter().enumerate() {
        plugins.push(plugin(value, place, proxy_id)?);
    }
    let mut seen = HashSet::new();
    let again = plugins.iter().find(|plugin| !plugin.id.is_empty() && !seen.insert(plugin.id.as_str()));
    match again {
        Some(plugin) => Err(malformed(PLUGINS, format!("more than one plugin has the id '{}'", plugin.id))),
        None => Ok(plugins),
    }
}

fn plugin(value: &Value, place: usize, proxy_id: &str) -> Result<PluginConfig, SpecError> {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut() {
        let scope = members.entry("scope").or_insert_with(|| "proxy".into());
        if scope != "proxy" {
            return Err(SpecError::PluginInvalidScope { place, scope: scope.to_string() });
        }
    }
    let plugin: PluginConfig = decoded(PLUGINS, &value)?;
    check_given_id(PLUGINS, &plugin.id)?;
    if let Some(named) = plugin.proxy_id.as_ref().filter(|named| !named.trim().is_empty() && *named != proxy_id) {
        return Err(SpecError::PluginProxyIdMismatch { place, named: named.clone() });
    }
    match forbidden_key(&plugin.config, 1) {
        Some(key) => Err(SpecError::PluginContainsCredentials { place, key: key.to_owned() }),
        None => Ok(plugin),
    }
}

fn forbidden_key(value: &Value, level: usize) -> Option<&str> {
    if (value.is_object() || value.is_array()) && level > CONFIG_DEPTH_MAX {
        return Some(TOO_DEEP);
    }
    match value {
        Value::Object(members) => members.iter().find_map(|(key, member)| {
            let is_forbidden = FORBIDDEN.iter().any(|name| key.trim().eq_ignore_ascii_case(name));
            if is_forbidden { Some(key.as_str()) } else { forbidden_key(member, level + 1) }
        }),
        Value::Array(items) => items.iter().find_map(|item| forbidden_key(item, level + 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn root(proxy: Value, upstream: Value, plugins: Value) -> Value {
        let mut root = json!({ "x-ferrum-proxy": proxy });
        for (name, value) in [("x-ferrum-upstream", upstream), ("x-ferrum-plugins", plugins)] {
            if !value.is_null() {
                root[name] = value;
            }
        }
        root
    }

    fn proxy() -> Value {
        json!({"id": "p", "backend_host": "h", "backend_port": 80})
    }

    fn refused(root: &Value, known_id: Option<&str>) -> (&'static str, String) {
        let error = extract(root, known_id).unwrap_err();
        (error.code(), error.to_string())
    }

    #[test]
    fn what_is_described_is_found() {
        let upstream = json!({"targets": [{"host": "a", "port": 1}]});
        let plugins =
            json!([{"plugin_name": "cors"}, {"id": "k", "plugin_name": "key_auth", "scope": "proxy", "proxy_id": "p"}]);
        let found = extract(&root(proxy(), upstream, plugins), None).unwrap();
        assert_eq!((found.proxy.id.as_str(), found.upstream.unwrap().id.as_str()), ("p", ""));
        assert_eq!(found.plugins.iter().map(|plugin| plugin.id.as_str()).collect::<Vec<_>>(), ["", "k"]);
        let alone = extract(&root(proxy(), Value::Null, Value::Null), None).unwrap();
        assert_eq!((alone.upstream, alone.plugins), (None, Vec::new()));
        let listing = json!({"x-ferrum-proxy": {"plugins": [{"plugin_config_id": "a"}, {"plugin_config_id": "b"}]}});
        assert_eq!(declared(&listing), ["a", "b"]);
        assert!(declared(&json!({})).is_empty());
    }

    #[test]
    fn a_proxy_is_needed_and_read_strictly() {
        assert_eq!(
            refused(&json!({}), None),
            ("MissingProxyExtension", "missing required x-ferrum-proxy extension at root".into())
        );
        for (proxy, reason) in [
            (Value::Bool(true), "expected an object"),
            (json!(["p"]), "expected an object"),
            (json!({"id": "p", "backend_host": "h"}), "missing field `backend_port`"),
            (json!({"backend_host": "h", "backend_port": 80, "colour": "red"}), "unknown field `colour`"),
            (json!({"id": "-p", "backend_host": "h", "backend_port": 80}), "ID '-p' is invalid"),
        ] {
            let (code, text) = refused(&root(proxy, Value::Null, json!({})), None);
            assert_eq!(code, "MalformedExtension");
            assert!(text.starts_with(&format!("malformed x-ferrum-proxy extension: {reason}")), "{text}");
        }
        let (code, text) = refused(&root(proxy(), json!({"id": "u"}), json!({})), None);
        assert!(
            code == "MalformedExtension" && text.starts_with("malformed x-ferrum-upstream extension: missing field")
        );
    }

    #[test]
    fn proxy_and_upstream_name_each_other_or_one_does_not() {
        let linked = |named: Value, id: Value| {
            let mut upstream = json!({"targets": []});
            if !id.is_null() {
                upstream["id"] = id;
            }
            let mut proxy = proxy();
            proxy["upstream_id"] = named;
            extract(&root(proxy, upstream, Value::Null), None).map(drop).map_err(|error| error.code())
        };
        assert_eq!(linked(json!("u"), json!("u")), Ok(()));
        assert_eq!(linked(Value::Null, json!("u")), Ok(()));
        assert_eq!(linked(Value::Null, Value::Null), Ok(()));
        for (named, id) in
            [(json!("u"), json!("v")), (json!("u"), Value::Null), (json!("u"), json!("")), (json!(""), json!(""))]
        {
            assert_eq!(linked(named.clone(), id.clone()), Err("ProxyUpstreamIdMismatch"), "{named} {id}");
        }
    }

    #[test]
    fn plugins_are_those_of_the_proxy_without_consumers() {
        let of = |plugin: Value| refused(&root(proxy(), Value::Null, json!([plugin])), None).0;
        assert_eq!(of(json!({"plugin_name": "cors", "scope": "global", "proxy_id": "q"})), "PluginInvalidScope");
        assert_eq!(of(json!({"plugin_name": "cors", "scope": null})), "PluginInvalidScope");
        assert_eq!(of(json!({"plugin_name": "cors", "scope": "proxy", "id": "."})), "MalformedExtension");
        assert_eq!(of(json!({"scope": "proxy"})), "MalformedExtension");
        assert_eq!(of(json!("cors")), "MalformedExtension");
        assert_eq!(of(json!({"plugin_name": "cors", "proxy_id": "q", "config": {"jwt": 1}})), "PluginProxyIdMismatch");
        for key in FORBIDDEN {
            let config = json!({"a": [{ format!(" {} ", key.to_uppercase()): 1 }]});
            assert_eq!(of(json!({"plugin_name": "cors", "config": config})), "PluginContainsCredentials");
        }
        let (code, text) = refused(&root(proxy(), Value::Null, json!({})), None);
        assert_eq!(
            (code, text.as_str()),
            ("MalformedExtension", "malformed x-ferrum-plugins extension: expected an array")
        );
        let twice = json!([{"id": "k", "plugin_name": "cors"}, {"id": "k", "plugin_name": "cors"}]);
        let (code, text) = refused(&root(proxy(), Value::Null, twice), None);
        assert!(code == "MalformedExtension" && text.ends_with("more than one plugin has the id 'k'"), "{text}");
        let allowed = json!([{"plugin_name": "cors", "proxy_id": " ", "config": {"jwt_auth": 1, "note": "consumer"}}]);
        assert!(extract(&root(proxy(), Value::Null, allowed), None).is_ok());
    }

    #[test]
    fn a_proxy_without_an_id_has_the_one_it_is_known_by() {
        let nameless = json!({"backend_host": "h", "backend_port": 80});
        let plugins = json!([{"plugin_name": "cors", "proxy_id": "live"}]);
        let root = root(nameless, Value::Null, plugins);
        assert!(extract(&root, Some("live")).is_ok());
        assert_eq!(refused(&root, None).0, "PluginProxyIdMismatch");
        assert_eq!(refused(&root, Some("other")).0, "PluginProxyIdMismatch");
    }

    #[test]
    fn configs_are_searched_to_a_depth() {
        let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert_eq!(forbidden_key(&nested(32), 1), None);
        assert_eq!(forbidden_key(&nested(33), 1), Some(TOO_DEEP));
        let lists = (1..33).fold(json!([]), |inner, _| json!([inner]));
        assert_eq!(forbidden_key(&lists, 1), Some(TOO_DEEP));
    }
}
