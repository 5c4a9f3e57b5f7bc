//! API specs: documents that own a proxy.

mod limits;
mod listing;
mod refused;
mod replaced;

pub(super) use listing::{lists_are_filtered_and_sorted, specs_of_other_namespaces_are_not_there};
pub(super) use refused::{
    a_document_is_refused_with_a_code_or_with_all_its_failures,
    what_is_there_already_is_a_conflict_and_nothing_is_written,
};
pub(super) use replaced::{
    a_put_changes_what_differs_and_nothing_else, a_put_leaves_alone_what_was_attached_by_hand,
    a_put_may_move_a_name_to_another_upstream, what_others_use_stays,
};

use super::*;
use crate::admin::test_rig::{Answer, token};

/// A call with headers and a body as they stand.
async fn send(rig: &StoreRig, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let head = format!("authorization: Bearer {}\r\n{headers}", token("admin"));
    rig.rig.send(method, path, &head, body).await
}

async fn get(rig: &StoreRig, path: &str) -> Answer {
    rig.call("viewer", "GET", path, Value::Null).await
}

/// A document about proxy `p`.
fn document(more: Value) -> Value {
    let value = json!({"openapi": "3.1.0", "info": {"title": "Orders", "version": "1"}, "paths": {"/a": {"get": {}}},
        "x-ferrum-proxy": proxy("p", json!({}))});
    extended(value, more)
}

/// The spec that a document has become.
async fn imported(rig: &StoreRig, document: Value) -> Value {
    rig.make("/api-specs", document).await
}

async fn put(rig: &StoreRig, id: &Value, document: &Value) -> Answer {
    rig.call("admin", "PUT", &format!("/api-specs/{}", id.as_str().unwrap()), document.clone()).await
}

/// What is there of one kind.
async fn rows(rig: &StoreRig, path: &str) -> Vec<Value> {
    get(rig, path).await.json()["data"].as_array().unwrap().clone()
}

async fn row(rig: &StoreRig, path: &str) -> Value {
    let answer = get(rig, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

const YAML: &str = "openapi: 3.1.0
info: {title: Orders, version: '1.4'}
paths: {/orders: {get: {}, post: {}}}
x-ferrum-proxy: {id: orders, listen_path: /orders, backend_scheme: http, backend_host: '', backend_port: 0}
x-ferrum-upstream: {id: orders-up, targets: [{host: 10.0.0.5, port: 8080, weight: 1}]}
x-ferrum-plugins: [{plugin_name: cors, config: {}}]
";

pub(super) async fn a_document_makes_all_it_owns_and_takes_it_along(rig: &StoreRig) {
    let made = send(rig, "POST", "/api-specs", "content-type: application/yaml\r\n", YAML).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let spec = made.json();
    let id = spec["id"].as_str().unwrap();
    assert_eq!((&spec["proxy_id"], &spec["spec_version"]), (&json!("orders"), &json!("3.1.0")));
    let path = format!("/api-specs/{id}");
    assert_eq!(made.header("location"), Some(path.as_str()));
    let proxy = row(rig, "/proxies/orders").await;
    assert_eq!((&proxy["api_spec_id"], &proxy["upstream_id"]), (&spec["id"], &json!("orders-up")));
    let plugins = rows(rig, "/plugins/config").await;
    assert_eq!(plugins.len(), 1);
    assert_eq!((&plugins[0]["proxy_id"], &plugins[0]["scope"]), (&json!("orders"), &json!("proxy")));
    assert_eq!(proxy["plugins"], json!([{"plugin_config_id": plugins[0]["id"]}]), "it is listed by itself");
    assert_eq!(plugins[0]["api_spec_id"], spec["id"]);
    assert_eq!(row(rig, "/upstreams/orders-up").await["api_spec_id"], spec["id"]);
    let everything = serde_json::to_string(&rig.everything().await).unwrap();
    assert!(
        everything.contains("orders-up") && !everything.contains("api_spec_id"),
        "not in the running configuration"
    );
    for path in [path.as_str(), "/api-specs/by-proxy/orders"] {
        let read = get(rig, path).await;
        assert_eq!((read.status, read.body.as_str()), (200, YAML), "byte for byte");
        assert_eq!(read.header("content-type"), Some("application/yaml"));
    }
    let gone = rig.call("admin", "DELETE", &path, Value::Null).await;
    assert_eq!((gone.status, gone.body.as_str(), gone.header("cache-control")), (204, "", Some("no-store")));
    assert_eq!(get(rig, &path).await.error(), refusal(404, "API spec not found"));
    for kind in ["/proxies", "/upstreams", "/plugins/config"] {
        assert!(rows(rig, kind).await.is_empty(), "{kind}");
    }
    assert_eq!(rig.refused("DELETE", &path, Value::Null).await, refusal(404, "API spec not found"));
}

pub(super) async fn a_proxy_takes_its_spec_along(rig: &StoreRig) {
    let upstream = json!({"x-ferrum-upstream": {"id": "u", "targets": [{"host": "a", "port": 1}]}});
    let spec = imported(rig, document(upstream)).await;
    let owned =
        rig.call("operator", "PUT", "/proxies/p", proxy("p", json!({"upstream_id": "u", "name": "mine"}))).await;
    assert_eq!((owned.status, &owned.json()["api_spec_id"]), (200, &spec["id"]), "it stays the spec's");
    assert_eq!(rig.call("operator", "DELETE", "/proxies/p", Value::Null).await.status, 204);
    assert_eq!(get(rig, "/api-specs").await.json()["total"], 0);
    assert!(rows(rig, "/upstreams").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_recorded_and_served() {
    let rig = store_rig().await;
    let plugins = json!({"x-ferrum-plugins": [{"plugin_name": "key_auth", "config": {"note": "hunter2"}}]});
    let spec = imported(&rig, document(plugins)).await;
    assert_eq!(put(&rig, &spec["id"], &document(json!({}))).await.status, 200);
    let path = format!("/api-specs/{}", spec["id"].as_str().unwrap());
    assert_eq!(rig.call("admin", "DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(rig.writes.load(std::sync::atomic::Ordering::SeqCst), 3);
    let events = super::audit::events(&rig, "2020-01-01T00:00:00Z", 3).await;
    let mut seen: Vec<_> =
        events.iter().map(|event| (event["action"].clone(), event["diff"].as_object().unwrap().len())).collect();
    seen.reverse();
    assert_eq!(seen, [(json!("create"), 1), (json!("update"), 2), (json!("delete"), 1)]);
    assert!(events.iter().all(|event| event["resource_type"] == "api_spec" && event["resource_id"] == spec["id"]));
    assert!(!serde_json::to_string(&events).unwrap().contains("hunter2"));
}
