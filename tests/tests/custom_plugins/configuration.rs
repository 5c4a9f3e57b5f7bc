//! Configurations that a plugin refuses.

use serde_json::json;
use tests::{Backend, Gateway, Signal};

use crate::{ask, document};

#[test]
fn a_start_with_a_refused_config_names_plugin_id_and_reason() {
    let cases = [
        (json!({"refuse": "header_value must be short"}), "Plugin 'probe' (id=app-probe): header_value must be short"),
        (json!({"nothing": true}), "Unknown plugin name 'probe'"),
        (
            json!({"panic": true}),
            "Plugin 'probe' (id=app-probe): create_plugin panicked: a probe panics in create_plugin",
        ),
    ];
    for (config, told) in cases {
        let exit = Gateway::builder().document(&document(1, config)).start_failing();
        assert!(exit.code == Some(1) && exit.messages().iter().any(|text| text.contains(told)), "{told}: {exit:?}");
    }
}

#[test]
fn a_reload_with_a_refused_config_changes_nothing() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::running(&document(backend.port(), json!({"tag": "kept"})));
    gateway.rewrite_document(&document(backend.port(), json!({"refuse": "not like this"})));
    gateway.signal(Signal::Hangup);
    gateway.wait_for_log(|text| text.starts_with("Configuration reload failed, keeping previous config"));
    let told = gateway.wait_for_log(|text| text.contains("not like this"));
    assert!(told.ends_with("Plugin 'probe' (id=app-probe): not like this"), "{told}");
    assert_eq!(ask(&gateway, "/", "").header("x-probe-kept"), Some("200 false"));
}

#[test]
fn a_disabled_config_is_never_tried() {
    let backend = Backend::saying("ok");
    let disabled =
        json!({"id": "off", "plugin_name": "probe", "scope": "global", "enabled": false, "config": {"panic": true}});
    let gateway = Gateway::running(&tests::Document::all_to(backend.port()).plugin(disabled));
    assert_eq!(ask(&gateway, "/", "").status, 200);
}

#[test]
fn a_plugin_of_http_only_is_not_asked_about_websockets() {
    let backend = Backend::saying("no websocket here");
    let document = tests::Document::all_to(backend.port()).proxy_plugin("app", "example_plugin", json!({}));
    let gateway = Gateway::running(&document);
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n{upgrade}\r\n"));
    assert!(!backend.only_request().headers.has("x-custom-gateway"));
}
