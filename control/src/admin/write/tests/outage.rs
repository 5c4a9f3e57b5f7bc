//! What is answered when the database does not.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::*;
use crate::admin::route::Write;
use crate::admin::test_rig::{is_waiting, store_rig_with};
use crate::admin::write::DATABASE_FAILED;
use crate::store::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn reads_fall_back_to_the_running_configuration() {
    let rig = store_rig().await;
    rig.make("/proxies", proxy("fresh", json!({}))).await;
    rig.store.fails_questions.store(true, SeqCst);
    let list = rig.call("viewer", "GET", "/proxies", Value::Null).await;
    assert_eq!((list.status, list.header("x-data-source")), (200, Some("cached")));
    assert_eq!(list.json()["pagination"]["total"], 3);
    let one = rig.call("viewer", "GET", "/proxies/a", Value::Null).await;
    assert_eq!((one.status, one.header("x-data-source")), (200, Some("cached")));
    let none = rig.call("viewer", "GET", "/proxies/fresh", Value::Null).await;
    assert_eq!((none.error(), none.header("x-data-source")), (refusal(404, "Proxy not found"), Some("cached")));
    let backup = rig.call("admin", "GET", "/backup", Value::Null).await;
    assert_eq!((&backup.json()["source"], backup.header("x-data-source")), (&json!("cached"), Some("cached")));
    let (status, text) = rig.call("viewer", "GET", "/namespaces", Value::Null).await.error();
    assert!(status == 500 && text.starts_with("Failed to list namespaces: "), "{text}");
    let audit = rig.call("admin", "GET", "/audit", Value::Null).await;
    assert_eq!(audit.error(), refusal(503, DATABASE_FAILED));
    rig.store.fails_questions.store(false, SeqCst);
    assert_eq!(rig.call("viewer", "GET", "/proxies/fresh", Value::Null).await.status, 200);
    // Known to be away: it is not even asked.
    rig.unavailable.store(true, SeqCst);
    assert_eq!(rig.call("viewer", "GET", "/proxies/fresh", Value::Null).await.status, 404);

    let bare = store_rig_with(|_, sources| sources.resources = None).await;
    bare.store.fails_questions.store(true, SeqCst);
    let expected = refusal(503, "No database and no cached config available");
    assert_eq!(bare.call("viewer", "GET", "/proxies", Value::Null).await.error(), expected);
    assert_eq!(bare.call("viewer", "GET", "/proxies/a", Value::Null).await.error(), expected);
    let backup = bare.call("admin", "GET", "/backup", Value::Null).await;
    assert_eq!(backup.error(), refusal(503, "Database unavailable and no cached config"));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_pass_the_gate_in_its_order() {
    let unavailable = "Database is currently unavailable — admin API is temporarily read-only";
    let paths = [
        ("POST", "/proxies"),
        ("PUT", "/upstreams/x"),
        ("DELETE", "/plugins/config/x"),
        ("PUT", "/consumers/x/credentials/ssh"),
        ("POST", "/batch"),
        ("POST", "/restore"),
        ("POST", "/api-specs"),
    ];
    let rig = store_rig().await;
    rig.unavailable.store(true, SeqCst);
    for (method, path) in paths {
        assert_eq!(rig.refused(method, path, Value::Null).await, refusal(503, unavailable), "{method} {path}");
    }
    rig.unavailable.store(false, SeqCst);
    rig.make("/proxies", proxy("p", json!({}))).await;
    let read_only = store_rig_with(|options, _| options.is_read_only = true).await;
    read_only.unavailable.store(true, SeqCst);
    for (method, path) in paths {
        let expected = refusal(403, "Admin API is in read-only mode");
        assert_eq!(read_only.refused(method, path, Value::Null).await, expected, "{method} {path}");
    }
    let none = store_rig_with(|_, sources| sources.store = None).await;
    for (method, path) in paths {
        let expected = match path {
            "/api-specs" => refusal(503, "No database configured"),
            "/consumers/x/credentials/ssh" => none.refused(method, path, Value::Null).await,
            _ => refusal(503, "No database"),
        };
        assert_eq!(none.refused(method, path, Value::Null).await, expected, "{method} {path}");
    }
    let (status, text) = none.refused("PUT", "/consumers/x/credentials/ssh", Value::Null).await;
    assert!(status == 400 && text.starts_with("Unknown credential type"), "the type comes before the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_for_others_is_refused_once_the_database_is_known_to_be_away() {
    let rig = store_rig().await;
    let call = by_admin("", &proxy("p", json!({})).to_string());
    let other = rig.rig.admin.alone().await.unwrap();
    let mut waiting = std::pin::pin!(rig.rig.admin.perform(Write::Create(Kind::Proxy), &call));
    assert!(is_waiting(waiting.as_mut()).await, "one write at a time");
    rig.unavailable.store(true, SeqCst);
    drop(other);
    let refused = waiting.await.unwrap_err();
    assert_eq!(refused.status, hyper::StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text.starts_with("Database is currently unavailable"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_is_told_by_what_it_was_asked() {
    let rig = store_rig().await;
    rig.make("/upstreams", upstream("u", json!({}))).await;
    rig.make("/consumers", consumer("c", json!({}))).await;
    rig.store.fails_questions.store(true, SeqCst);
    for (method, path, body) in [
        ("POST", "/proxies", proxy("p", json!({}))),
        ("PUT", "/upstreams/u", upstream("u", json!({}))),
        ("DELETE", "/upstreams/u", Value::Null),
        ("POST", "/consumers/c/credentials/keyauth", json!({"key": "k"})),
        ("POST", "/batch", json!({"proxies": [proxy("p", json!({"upstream_id": "u"}))]})),
    ] {
        assert_eq!(rig.refused(method, path, body).await, refusal(503, DATABASE_FAILED), "{method} {path}");
    }
    rig.store.fails_questions.store(false, SeqCst);
    rig.store.fails_changes.store(true, SeqCst);
    let text = "pool timed out while waiting for an open connection";
    for (method, path, body, expected) in [
        ("POST", "/proxies", proxy("p", json!({})), refusal(500, DATABASE_FAILED)),
        ("PUT", "/upstreams/u", upstream("u", json!({})), refusal(500, DATABASE_FAILED)),
        ("DELETE", "/upstreams/u", Value::Null, refusal(503, DATABASE_FAILED)),
        ("POST", "/consumers", consumer("d", json!({})), refusal(500, text)),
        ("PUT", "/consumers/c/credentials/keyauth", json!([{"key": "k"}]), refusal(500, text)),
        ("POST", "/restore?confirm=true", json!({}), refusal(500, &format!("Failed to clear existing config: {text}"))),
    ] {
        assert_eq!(rig.refused(method, path, body).await, expected, "{method} {path}");
    }
    let partial = rig.post("/batch", json!({"upstreams": [upstream("v", json!({}))]})).await;
    assert_eq!((partial.status, &partial.json()["errors"]), (207, &json!([format!("upstreams: {text}")])));
    assert_eq!(rig.writes.load(SeqCst), 2, "only the two that were made");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_shows_the_database_and_asks_it_now_and_then() {
    let rig = store_rig().await;
    rig.rig.readiness.set_ready();
    let health = rig.rig.open("GET", "/health").await.json();
    assert_eq!((&health["status"], &health["admin_writes_enabled"]), (&json!("ok"), &json!(true)));
    let database = &health["database"];
    assert_eq!((&database["status"], &database["type"]), (&json!("connected"), &json!("sqlite")));
    let pool = &database["pool"];
    assert_eq!((&pool["max_connections"], &pool["min_connections"]), (&json!(32), &json!(1)));
    assert_eq!(pool["size"].as_u64().unwrap(), pool["idle"].as_u64().unwrap() + pool["active"].as_u64().unwrap());
    rig.rig.open("GET", "/health").await;
    assert_eq!(rig.store.pings.load(SeqCst), 1, "once in a quarter of a minute");
    rig.unavailable.store(true, SeqCst);
    let health = rig.rig.open("GET", "/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
    assert_eq!(health.json()["admin_writes_enabled"], false);

    let rig = store_rig_with(|options, _| options.ping_cache = Duration::ZERO).await;
    rig.store.fails_questions.store(true, SeqCst);
    assert_eq!(rig.rig.open("GET", "/health").await.json()["status"], "starting", "that comes first");
    rig.rig.readiness.set_ready();
    let health = rig.rig.open("GET", "/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
    assert_eq!(health.json()["database"], json!({"status": "disconnected"}));
    rig.store.fails_questions.store(false, SeqCst);
    assert_eq!(rig.rig.open("GET", "/health").await.json()["status"], "ok");

    let read_only = store_rig_with(|options, _| options.is_read_only = true).await;
    read_only.rig.readiness.set_ready();
    read_only.unavailable.store(true, SeqCst);
    let health = read_only.rig.open("GET", "/health").await.json();
    assert_eq!((&health["status"], &health["admin_writes_enabled"]), (&json!("ok"), &json!(false)), "on purpose");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_fails_fails_no_write() {
    let rig = store_rig().await;
    rig.store.fails_records.store(true, SeqCst);
    rig.make("/upstreams", upstream("u", json!({}))).await;
    let waiting = async {
        while rig.store.records.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it was tried");
}
