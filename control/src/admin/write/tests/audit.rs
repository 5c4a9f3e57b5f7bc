//! What is recorded.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::admin::test_rig::store_rig_with;

/// The events since a time, once there are as many.
pub(super) async fn events(rig: &StoreRig, since: &str, count: usize) -> Vec<Value> {
    let path = format!("/audit?limit=1000&start={since}");
    let waiting = async {
        loop {
            let listed = rig.call("admin", "GET", &path, Value::Null).await.json();
            let items = listed["items"].as_array().unwrap().clone();
            if items.len() >= count {
                return items;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the events")
}

pub(super) async fn every_successful_write_is_recorded_without_secrets(rig: &StoreRig) {
    // What other stories have done may still be on its way into the log.
    let since = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let keyed = json!({"credentials": {"keyauth": [{"key": "hunter2"}]}});
    rig.make("/consumers", consumer("c", keyed)).await;
    rig.refused("POST", "/consumers", consumer("c", json!({}))).await;
    let secret = json!({"config": {"api_key": "hunter2"}});
    rig.make("/plugins/config", config("k", secret.clone())).await;
    assert_eq!(rig.call("operator", "PUT", "/plugins/config/k", config("k", secret)).await.status, 200);
    assert_eq!(rig.call("operator", "DELETE", "/plugins/config/k", Value::Null).await.status, 204);
    let path = "/consumers/c/credentials/jwt";
    let jwt = json!({"secret": "hunter2".repeat(5)});
    assert_eq!(rig.call("admin", "PUT", path, json!([jwt])).await.status, 200);
    assert_eq!(rig.call("admin", "POST", path, jwt).await.status, 200);
    assert_eq!(rig.call("admin", "DELETE", &format!("{path}/0"), Value::Null).await.status, 200);
    assert_eq!(rig.call("admin", "DELETE", path, Value::Null).await.status, 204);
    assert_eq!(
        rig.call("admin", "DELETE", path, Value::Null).await.status,
        204,
        "nothing happens, nothing is recorded"
    );
    assert_eq!(rig.post("/batch", json!({})).await.status, 201, "neither here");
    assert_eq!(rig.post("/batch", json!({"upstreams": [upstream("u", json!({}))]})).await.status, 201);
    assert_eq!(rig.post("/restore?confirm=true", json!({})).await.status, 200);
    let mut listed = events(rig, &since, 10).await;
    let moments: Vec<_> =
        listed.iter().map(|event| OffsetDateTime::parse(event["ts"].as_str().unwrap(), &Rfc3339).unwrap()).collect();
    assert!(moments.is_sorted_by(|newer, older| newer >= older), "newest first: {moments:?}");
    listed.reverse();
    let seen: Vec<_> = listed
        .iter()
        .map(|event| ["action", "resource_type", "resource_id"].map(|key| event[key].as_str().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ["create", "consumer", "c"],
            ["create", "plugin_config", "k"],
            ["update", "plugin_config", "k"],
            ["delete", "plugin_config", "k"],
            ["update_credentials", "consumer_credentials", "c"],
            ["append_credential", "consumer_credentials", "c"],
            ["delete_credential", "consumer_credentials", "c"],
            ["delete_credentials", "consumer_credentials", "c"],
            ["batch_create", "gateway_config", "ferrum"],
            ["restore", "gateway_config", "ferrum"],
        ]
    );
    assert!(listed.iter().all(|event| event["actor"] == "t" && event["namespace"] == "ferrum"));
    assert!(!serde_json::to_string(&listed).unwrap().contains("hunter2"));
    assert_eq!(listed[2]["diff"]["before"]["config"]["api_key"], "[REDACTED]");
    let keys = |event: &Value| event["diff"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((keys(&listed[0]), keys(&listed[3])), (vec!["after".to_owned()], vec!["before".to_owned()]));
    assert_eq!(listed[8]["diff"]["after"]["upstreams"], 1);
    assert_eq!(listed[9]["diff"]["before"], json!({"replaced_namespace": "ferrum"}));

    let only = rig
        .call("admin", "GET", &format!("/audit?action=delete&resource_id=k&actor=t&limit=1&start={since}"), Value::Null)
        .await
        .json();
    assert_eq!((&only["items"][0]["action"], &only["limit"]), (&json!("delete"), &json!(1)));
    let page = rig.call("admin", "GET", &format!("/audit?limit=2&offset=1&start={since}"), Value::Null).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next_offset"]), (2, &json!(3)));
    let last = format!("/audit?offset=9&start={since}");
    assert_eq!(rig.call("admin", "GET", &last, Value::Null).await.json()["next_offset"], Value::Null);
    let none = rig.at("team-a", "admin", "GET", "/audit?resource_id=k", Value::Null).await.json();
    assert_eq!((&none["items"], &none["total"]), (&json!([]), &json!(0)));
    let bad = rig.call("admin", "GET", "/audit?limit=x", Value::Null).await;
    assert_eq!(bad.error(), refusal(400, "Invalid audit limit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_unless_it_is_asked_for() {
    let rig = store_rig_with(|options, _| options.write.audit_enabled = false).await;
    rig.make("/upstreams", upstream("u", json!({}))).await;
    assert!(rig.rig.admin.recorder.is_none());
    let listed = rig.call("admin", "GET", "/audit", Value::Null).await.json();
    assert_eq!(listed, json!({"items": [], "limit": 100, "next_offset": null, "offset": 0, "total": 0}));
}
