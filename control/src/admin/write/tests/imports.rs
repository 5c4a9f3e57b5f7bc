//! Batch, backup and restore.

use std::sync::atomic::Ordering::SeqCst;

use http_body_util::BodyExt;

use super::*;
use crate::admin::route::Write;
use crate::admin::specs;
use crate::admin::test_rig::is_waiting;
use crate::store::{Kind, Step, Store};

/// Resources that refer to one another all ways round.
fn whole() -> Value {
    json!({
        "consumers": [{"id": "c", "username": "ann", "credentials": {"basicauth": [{"password": "p"}]}}],
        "upstreams": [upstream("u", json!({"subsets": [{"name": "v1", "labels": {"v": "1"}}]}))],
        "proxies": [proxy("p", json!({"upstream_id": "u", "upstream_subset": "v1",
            "plugins": [{"plugin_config_id": "own"}, {"plugin_config_id": "shared"}]}))],
        "plugin_configs": [config("own", json!({"scope": "proxy", "proxy_id": "p"})),
            config("shared", json!({"scope": "proxy_group"}))],
    })
}

pub(super) async fn a_batch_is_written_whole(rig: &StoreRig) {
    let writes = rig.writes.load(SeqCst);
    let empty = rig.post("/batch", json!({"version": 7, "other": 1})).await;
    let none = json!({"created": {"consumers": 0, "plugin_configs": 0, "proxies": 0, "upstreams": 0}});
    assert_eq!((empty.status, empty.json()), (201, none));
    assert_eq!(rig.writes.load(SeqCst), writes, "nothing is written");
    let made = rig.post("/batch", whole()).await;
    let some = json!({"created": {"consumers": 1, "plugin_configs": 2, "proxies": 1, "upstreams": 1}});
    assert_eq!((made.status, made.json()), (201, some), "{}", made.body);
    assert_eq!(rig.writes.load(SeqCst), writes + 1);
    let read = rig.call("viewer", "GET", "/proxies/p", Value::Null).await.json();
    assert_eq!(read["plugins"], json!([{"plugin_config_id": "own"}, {"plugin_config_id": "shared"}]));
    let consumer = &rig.everything().await[0][1][0];
    let hash = consumer["credentials"]["basicauth"][0]["password_hash"].as_str().unwrap();
    assert!(hash.starts_with("hmac_sha256:") && consumer["credentials"]["basicauth"][0].get("password").is_none());
    // References into the database, and ids made up.
    let more = json!({"proxies": [proxy("", json!({"listen_path": "/more", "upstream_id": "u"}))]});
    assert_eq!(rig.post("/batch", more).await.status, 201);
    let more: Vec<Value> = (0..1001).map(|number| upstream(&format!("n{number:04}"), json!({}))).collect();
    let made = rig.post("/batch", json!({ "upstreams": more })).await;
    assert_eq!((made.status, &made.json()["created"]["upstreams"]), (201, &json!(1001)), "more than one transaction");
}

fn findings(answer: &crate::admin::test_rig::Answer) -> Vec<String> {
    serde_json::from_value(answer.json()["validation_errors"].clone()).unwrap()
}

pub(super) async fn a_batch_says_everything_that_is_wrong_with_it(rig: &StoreRig) {
    assert_eq!(rig.at("team-a", "admin", "POST", "/upstreams", upstream("far", json!({}))).await.status, 201);
    assert_eq!(rig.at("team-a", "admin", "POST", "/proxies", proxy("far", json!({}))).await.status, 201);
    let before = rig.everything().await;
    let dispatch = json!({"rules": [{"destination": {"upstream_id": "u9"}}, {"destination": {"upstream_id": "far"}}]});
    let body = json!({
        "consumers": [consumer("-c", json!({})), consumer("c1", json!({"credentials": {"keyauth": [{"key": "k"}]}})),
            consumer("c2", json!({"username": "c1", "credentials": {"keyauth": [{"key": "k"}]}}))],
        "upstreams": [upstream("u", json!({"name": "n", "subsets": [{"name": "v1", "labels": {"v": "1"}}]})),
            upstream("u", json!({"name": "n"})), upstream("e", json!({"targets": []}))],
        "proxies": [
            proxy("p1", json!({"name": "n", "upstream_id": "u9"})),
            proxy("p2", json!({"name": "n", "listen_path": "/p1", "upstream_id": "far"})),
            proxy("p3", json!({"upstream_id": "u", "upstream_subset": "v9", "plugins": [{"plugin_config_id": "gone"}]})),
            proxy("p4", json!({"hosts": ["a_b"], "listen_path": "~["})),
            {"id": "p5", "backend_scheme": "tcp", "backend_host": "h", "backend_port": 1},
        ],
        "plugin_configs": [config("k1", json!({"plugin_name": "nothing"})),
            config("k2", json!({"plugin_name": "oauth2_auth"})),
            config("k3", json!({"scope": "proxy", "proxy_id": "gone"})),
            config("k4", json!({"scope": "proxy", "proxy_id": "far"})),
            config("k5", json!({"plugin_name": "mesh_route_dispatch", "config": dispatch}))],
    });
    let answer = rig.post("/batch", body).await;
    assert_eq!(answer.error(), refusal(400, "Batch validation failed"));
    let found = findings(&answer);
    for expected in [
        "Consumer '-c': ID '-c' is invalid: ",
        "Duplicate consumer username 'c1' in consumer 'c2' (conflicts with 'c1')",
        "Duplicate keyauth API key in consumer 'c2' (conflicts with consumer 'c1')",
        "Duplicate upstream ID 'u'",
        "Duplicate upstream name 'n' in upstream 'u' (conflicts with 'u')",
        "Upstream 'e': At least one target is required (or configure service_discovery)",
        "Duplicate proxy name 'n' in proxy 'p2' (conflicts with 'p1')",
        "Duplicate listen_path '/p1' found in proxy 'p2' (conflicts with 'p1')",
        "Proxy 'p1' references non-existent upstream_id 'u9'",
        "Proxy 'p2' references upstream_id 'far' from namespace 'team-a' (proxy is in namespace 'ferrum'); cross-namespace \
         references are forbidden",
        "Proxy 'p3' references upstream_subset 'v9' that is not defined on upstream_id 'u'",
        "Proxy 'p3' references non-existent plugin_config 'gone'",
        "Proxy 'p4': host 'a_b' is invalid",
        "Proxy 'p4': invalid regex listen_path '~[': ",
        "Stream proxy 'p5' (scheme tcp) must have a listen_port",
        "PluginConfig 'k1': unknown plugin name 'nothing'",
        "PluginConfig 'k2': invalid config: Removed security plugin",
        "PluginConfig 'k3' references non-existent proxy_id 'gone'",
        "PluginConfig 'k4' references proxy_id 'far' from namespace 'team-a' (plugin_config is in namespace 'ferrum'); \
         cross-namespace references are forbidden",
        "PluginConfig 'k5' (mesh_route_dispatch) rule 0 references non-existent upstream_id 'u9'",
        "PluginConfig 'k5' (mesh_route_dispatch) rule 1 references upstream_id 'far' from namespace 'team-a'",
    ] {
        assert!(found.iter().any(|text| text.starts_with(expected)), "{expected} in {found:#?}");
    }
    assert!(rig.everything().await == before);
    for body in [json!([]), json!({"proxies": {}}), json!({"proxies": [proxy("p", json!({"colour": "red"}))]})] {
        let (status, text) = rig.refused("POST", "/batch", body).await;
        assert!(status == 400 && text.starts_with("Invalid JSON body: "), "{text}");
    }
}

pub(super) async fn a_batch_goes_as_far_as_the_database_lets_it(rig: &StoreRig) {
    rig.make("/upstreams", upstream("u", json!({}))).await;
    let writes = rig.writes.load(SeqCst);
    let body = json!({"consumers": [consumer("c", json!({}))],
        "upstreams": [upstream("v", json!({})), upstream("u", json!({}))], "proxies": [proxy("p", json!({}))]});
    let answer = rig.post("/batch", body).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["created"], json!({"consumers": 1, "plugin_configs": 0, "proxies": 0, "upstreams": 0}));
    let errors = body["errors"].as_array().unwrap();
    assert!(errors.len() == 1 && errors[0].as_str().unwrap().starts_with("upstreams: "), "{errors:?}");
    assert_eq!(rig.writes.load(SeqCst), writes + 1);
    let ids = |path: &'static str| async move {
        let rows = rig.call("admin", "GET", path, Value::Null).await.json()["data"].clone();
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((ids("/consumers").await, ids("/upstreams").await), (vec!["c".to_owned()], vec!["u".to_owned()]));
    assert!(ids("/proxies").await.is_empty(), "later kinds are not tried");
}

pub(super) async fn a_backup_can_be_restored(rig: &StoreRig) {
    assert_eq!(rig.post("/batch", whole()).await.status, 201);
    assert_eq!(rig.at("team-a", "admin", "POST", "/upstreams", upstream("far", json!({}))).await.status, 201);
    let backup = rig.call("admin", "GET", "/backup", Value::Null).await;
    assert_eq!((backup.status, backup.header("x-data-source")), (200, Some("database")));
    let backup = backup.json();
    assert_eq!((&backup["source"], &backup["counts"]["plugin_configs"]), (&json!("database"), &json!(2)));
    let before = rig.everything().await;
    rig.make("/upstreams", upstream("later", json!({}))).await;
    let part = rig.call("admin", "GET", "/backup?resources=upstreams", Value::Null).await.json();
    assert_eq!((&part["consumers"], part["upstreams"].as_array().unwrap().len()), (&json!([]), 2));

    let restored = rig.post("/restore?confirm=true", backup.clone()).await;
    let counts = json!({"restored": {"consumers": 1, "plugin_configs": 2, "proxies": 1, "upstreams": 1}});
    assert_eq!((restored.status, restored.json()), (200, counts), "{}", restored.body);
    assert!(rig.everything().await == before, "as it was, with hashes and times, and other namespaces untouched");
    // Another namespace cannot have the same ids: nothing of it is there, and every kind says why.
    let answer = rig.at("team-a", "admin", "POST", "/restore?x=1&confirm=true", backup).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    assert!(rig.everything().await[0] == before[0]);
}

pub(super) async fn a_backup_waits_for_the_write_that_is_under_way(rig: &StoreRig) {
    rig.make("/upstreams", upstream("u", json!({}))).await;
    let write = rig.rig.admin.alone().await.unwrap();
    let mut backup = std::pin::pin!(rig.rig.admin.backup("ferrum", ""));
    assert!(is_waiting(backup.as_mut()).await);
    rig.store.apply(vec![Step::Delete(Kind::Upstream, "u".to_owned())]).await.unwrap();
    drop(write);
    let body = backup.await.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["source"], &body["upstreams"]), (&json!("database"), &json!([])));
}

pub(super) async fn long_bodies_are_read_a_few_at_a_time_away_from_the_threads_that_serve(rig: &StoreRig) {
    let admin = &rig.rig.admin;
    for (write, query) in [(Write::Batch, ""), (Write::Restore, "confirm=true")] {
        let others = admin.documents.clone().acquire_many_owned(specs::AT_ONCE_MAX as u32).await.unwrap();
        let call = by_admin(query, "no JSON");
        let mut reading = std::pin::pin!(admin.perform(write, &call));
        assert!(is_waiting(reading.as_mut()).await, "nobody has looked at the body");
        drop(others);
        assert!(reading.await.unwrap_err().text.starts_with("Invalid JSON body: "));
    }
}

pub(super) async fn a_restore_that_is_wrong_deletes_nothing(rig: &StoreRig) {
    assert_eq!(rig.post("/batch", whole()).await.status, 201);
    let unconfirmed = "Restore is a destructive operation that replaces all existing configuration. Pass ?confirm=true to \
                       proceed.";
    for path in ["/restore", "/restore?confirm=yes", "/restore?confirm=TRUE"] {
        assert_eq!(rig.refused("POST", path, json!("no object")).await, refusal(400, unconfirmed), "{path}");
    }
    for (version, shown) in [(json!("2"), "2"), (json!(1), "1")] {
        let (status, text) = rig.refused("POST", "/restore?confirm=true", json!({ "version": version })).await;
        let expected = format!("Incompatible config version '{shown}'. This gateway expects version '1'");
        assert_eq!((status, text), (400, expected));
    }
    let (status, text) = rig.refused("POST", "/restore?confirm=true", json!([])).await;
    assert!(status == 400 && text.starts_with("Invalid JSON body: "), "an empty list is no empty backup: {text}");
    let before = rig.everything().await;
    let body = json!({
        "upstreams": [upstream("", json!({})), upstream("f", json!({"backend_tls_server_ca_cert_path": "/nowhere.pem"}))],
        // What is in the database now is no help.
        "proxies": [proxy("p", json!({"upstream_id": "u", "plugins": [{"plugin_config_id": "shared"}]}))],
        "plugin_configs": [config("k", json!({"scope": "proxy", "proxy_id": "gone"}))],
    });
    let answer = rig.post("/restore?confirm=true", body).await;
    assert_eq!(answer.error(), refusal(400, "Restore payload validation failed — existing config was NOT deleted"));
    let found = findings(&answer);
    for expected in [
        "Upstream '': ID must not be empty",
        "Upstream 'f': backend_tls_server_ca_cert_path: failed to open certificate file '/nowhere.pem': ",
        "Proxy 'p' references non-existent upstream_id 'u'",
        "Proxy 'p' references non-existent plugin_config 'shared'",
        "PluginConfig 'k' references non-existent proxy_id 'gone'",
    ] {
        assert!(found.iter().any(|text| text.starts_with(expected)), "{expected} in {found:#?}");
    }
    assert!(rig.everything().await == before);
}

pub(super) async fn a_restore_goes_on_after_a_kind_that_fails(rig: &StoreRig) {
    assert_eq!(rig.at("team-a", "admin", "POST", "/upstreams", upstream("far", json!({}))).await.status, 201);
    let body = json!({"upstreams": [upstream("far", json!({}))], "proxies": [proxy("p", json!({}))]});
    let answer = rig.post("/restore?confirm=true", body).await;
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["restored"]["proxies"], &body["restored"]["upstreams"]),
        (207, &json!(1), &json!(0))
    );
    assert!(body["errors"][0].as_str().unwrap().starts_with("upstreams: "), "{body}");
}
