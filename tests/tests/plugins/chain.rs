//! Which plugins run, in which order, and how they are merged.

use serde_json::json;
use tests::{Backend, Document, Gateway, Proxy};

use crate::{alice, ask, unauthorized};

#[test]
fn a_plugin_of_one_proxy_leaves_the_others_alone() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let document =
        Document::new().proxy(proxy("closed")).proxy(proxy("open")).proxy_plugin("closed", "key_auth", json!({}));
    let gateway = Gateway::running(&document);
    assert_eq!((gateway.get("/closed").status, gateway.get("/open").status), (401, 200));
}

#[test]
fn a_plugin_named_from_one_side_only_does_not_run() {
    let backend = Backend::saying("ok");
    let one_sided = json!({"id": "k", "plugin_name": "key_auth", "scope": "proxy", "proxy_id": "app", "config": {}});
    let gateway = Gateway::running(&Document::all_to(backend.port()).plugin(one_sided));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_disabled_plugin_does_not_run() {
    let backend = Backend::saying("ok");
    let disabled = json!({"id": "k", "plugin_name": "key_auth", "scope": "global", "enabled": false, "config": {}});
    let gateway = Gateway::running(&Document::all_to(backend.port()).plugin(disabled));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_plugin_of_a_proxy_takes_the_place_of_the_global_one() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port())
        .global_plugin("key_auth", json!({"key_location": "header:X-Global"}))
        .proxy_plugin("app", "key_auth", json!({"key_location": "header:X-Own"}))
        .consumer(alice());
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/", "X-Own: k-1\r\n").status, 200);
    assert_eq!(ask(&gateway, "/", "X-Global: k-1\r\n").status, 401);
}

#[test]
fn no_plugin_runs_where_no_route_is_found() {
    let gateway = Gateway::running(&Document::new().global_plugin("key_auth", json!({})));
    assert_eq!(gateway.get("/nowhere").status, 404);
}

#[test]
fn multi_mode_needs_one_of_the_keys() {
    let backend = Backend::saying("ok");
    let own = |id: &str, location: &str| json!({"id": id, "plugin_name": "key_auth", "scope": "proxy_group", "config": {"key_location": location}});
    let proxy = |id: &str, mode: &str| {
        let plugins = json!([{"plugin_config_id": "first"}, {"plugin_config_id": "second"}]);
        Proxy::new(id).path(&format!("/{id}")).set("auth_mode", mode).set("plugins", plugins).to(backend.port())
    };
    let document = Document::new()
        .proxy(proxy("single", "single"))
        .proxy(proxy("multi", "multi"))
        .plugin(own("first", "header:X-First"))
        .plugin(own("second", "header:X-Second"))
        .consumer(alice());
    let gateway = Gateway::running(&document);
    let both = "X-First: wrong\r\nX-Second: k-1\r\n";
    unauthorized(&ask(&gateway, "/single", both), "Invalid API key");
    assert_eq!(ask(&gateway, "/multi", both).status, 200);
    assert_eq!(ask(&gateway, "/single", "X-Second: k-1\r\n").status, 200, "an absent key is no wrong key");
    unauthorized(&ask(&gateway, "/multi", "X-First: wrong\r\n"), "Invalid API key");
    unauthorized(&ask(&gateway, "/multi", ""), "Authentication required");
}
