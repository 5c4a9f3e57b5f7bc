use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn document(parts: Value) -> Document {
    let mut document = json!({"version": "1", "proxies": [], "consumers": [], "plugin_configs": []});
    for (key, value) in parts.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn messages(found: Vec<Finding>) -> Vec<String> {
    found.into_iter().map(|finding| finding.message).collect()
}

fn proxy(id: &str, plugins: &[&str]) -> Value {
    let plugins: Vec<_> = plugins.iter().map(|id| json!({"plugin_config_id": id})).collect();
    json!({"id": id, "plugins": plugins, "backend_host": "b", "backend_port": 1})
}

#[test]
fn upstreams_and_subsets_exist() {
    let mut input = document(json!({
        "proxies": [proxy("a", &[]), proxy("b", &[]), proxy("c", &[]), proxy("d", &[])],
        "upstreams": [{"id": "u", "targets": [], "subsets": [{"name": "v1", "labels": {"v": "1"}}]}],
    }));
    for (proxy, (upstream, subset)) in
        input.proxies.iter_mut().zip([("u", None), ("x", None), ("u", Some("v1")), ("u", Some("v2"))])
    {
        let proxy = Arc::make_mut(proxy);
        (proxy.upstream_id, proxy.upstream_subset) = (Some(upstream.into()), subset.map(str::to_owned));
    }
    let expected = [
        "Proxy 'b' references non-existent upstream_id 'x'",
        "Proxy 'd' references upstream_subset 'v2' that is not defined on upstream_id 'u'",
    ];
    assert_eq!(messages(check_upstream_references(&input)), expected);
}

#[test]
fn every_message_of_plugin_references() {
    let input = document(json!({
        "proxies": [proxy("a", &["mine", "mine", "global", "theirs", "unset", "none", "group"]), proxy("b", &["group"])],
        "plugin_configs": [
            {"id": "mine", "plugin_name": "cors", "scope": "proxy", "proxy_id": "a", "enabled": false},
            {"id": "theirs", "plugin_name": "cors", "scope": "proxy", "proxy_id": "b"},
            {"id": "global", "plugin_name": "cors", "scope": "global"},
            {"id": "group", "plugin_name": "cors", "scope": "proxy_group"},
            {"id": "unset", "plugin_name": "cors", "scope": "proxy"},
            {"id": "lost", "plugin_name": "cors", "scope": "proxy", "proxy_id": "gone"},
            {"id": "held", "plugin_name": "cors", "scope": "global", "proxy_id": "a"},
            {"id": "grouped", "plugin_name": "cors", "scope": "proxy_group", "proxy_id": "a"},
            {"id": "schema", "plugin_name": "transaction_log_schema", "scope": "proxy_group"},
        ],
    }));
    let expected = [
        "PluginConfig 'unset' with scope 'proxy' must have proxy_id",
        "PluginConfig 'lost' references non-existent proxy_id 'gone'",
        "PluginConfig 'held' with scope 'global' must not have proxy_id",
        "PluginConfig 'grouped' with scope 'proxy_group' must not have proxy_id (",
        "PluginConfig 'schema' (transaction_log_schema) must have scope 'global'",
        "Proxy 'a' references plugin_config 'mine' more than once",
        "Proxy 'a' references plugin_config 'global' with scope 'global' — ",
        "Proxy 'a' references plugin_config 'theirs' targeted to proxy 'b'",
        "Proxy 'a' references plugin_config 'unset' targeted to proxy '<none>'",
        "Proxy 'a' references non-existent plugin_config 'none'",
    ];
    let found = messages(check_plugin_references(&input));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_proxy_scoped_config_that_nobody_lists_is_valid() {
    let input = document(json!({
        "proxies": [proxy("a", &[])],
        "plugin_configs": [{"id": "p", "plugin_name": "cors", "scope": "proxy", "proxy_id": "a"}],
    }));
    assert_eq!(messages(check_plugin_references(&input)), [""; 0]);
}

#[test]
fn dispatch_rules_name_upstreams_that_exist() {
    let rules = json!({"rules": [{"destination": {"upstream_id": "u"}}, {}, {"destination": {"upstream_id": "gone"}}]});
    let config = |enabled: bool| {
        document(json!({
            "upstreams": [{"id": "u", "targets": []}],
            "plugin_configs": [
                {"id": "d", "plugin_name": "mesh_route_dispatch", "scope": "proxy", "proxy_id": "p", "config": rules, "enabled": enabled},
                {"id": "o", "plugin_name": "other", "scope": "global", "config": rules},
            ],
        }))
    };
    let expected = "PluginConfig 'd' (mesh_route_dispatch) rule 2 for proxy_id 'p' references upstream_id 'gone' that is not present \
                    in the active GatewayConfig namespace";
    assert_eq!(messages(check_dispatch_references(&config(true))), [expected]);
    assert_eq!(messages(check_dispatch_references(&config(false))), [""; 0]);
}

#[test]
fn one_enabled_config_counts_for_all_proxies() {
    let counting = |id: &str, scope: &str, enabled: bool| {
        let proxy_id = (scope == "proxy").then_some("a");
        json!({"id": id, "plugin_name": "prometheus_metrics", "scope": scope, "proxy_id": proxy_id, "enabled": enabled})
    };
    let found = |configs: Value| messages(check_sole_metrics(&document(json!({"plugin_configs": configs}))));
    let (first, second) = (counting("m", "global", true), counting("n", "global", true));
    let others =
        [counting("off", "global", false), counting("own", "proxy", true), counting("group", "proxy_group", true)];
    assert!(found(json!([others[0], first, others[1], others[2]])).is_empty());
    let text = "PluginConfig 'n' (prometheus_metrics) with scope 'global' must be the only one enabled; 'm' is too";
    assert_eq!(found(json!([first, others[0], second])), [text]);
}
