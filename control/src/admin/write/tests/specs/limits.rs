//! Representations, sizes, and a database that does not do its part.

use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::admin::test_rig::{exchange, store_rig_with};
use crate::admin::write::DATABASE_FAILED;

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_shown_in_the_format_that_is_asked_for() {
    let rig = store_rig().await;
    let spec = send(&rig, "POST", "/api-specs", "", YAML).await.json();
    let path = format!("/api-specs/{}", spec["id"].as_str().unwrap());
    let hash = spec["content_hash"].as_str().unwrap();
    let json = send(&rig, "GET", &path, "accept: application/json\r\n", "").await;
    assert_eq!((json.status, json.header("content-type")), (200, Some("application/json")));
    let tag = format!("\"{hash}-json\"");
    assert_eq!((json.header("etag"), json.header("vary")), (Some(tag.as_str()), Some("Accept")));
    assert_eq!(
        (json.header("cache-control"), json.header("x-content-type-options")),
        (Some("no-store"), Some("nosniff"))
    );
    assert_eq!(json.header("content-length"), Some(json.body.len().to_string().as_str()));
    assert!(json.body.starts_with("{\n  \"openapi\": \"3.1.0\""), "pretty, in its order: {}", json.body);
    assert_eq!(json.json()["x-ferrum-upstream"]["targets"][0]["port"], 8080);
    let yaml = send(&rig, "GET", &path, "accept: text/html\r\naccept: text/yaml;q=0.1\r\n", "").await;
    let yaml_tag = format!("\"{hash}-yaml\"");
    assert_eq!((yaml.body.as_str(), yaml.header("etag")), (YAML, Some(yaml_tag.as_str())));
    let none = send(&rig, "GET", &path, "accept: */*;q=0\r\n", "").await;
    let text = "No representation acceptable per Accept header (all formats explicitly q=0)";
    assert_eq!(none.error(), refusal(406, text));

    let known = send(&rig, "GET", &path, &format!("if-none-match: \"x\", W/{yaml_tag}\r\n"), "").await;
    assert_eq!((known.status, known.body.as_str(), known.header("etag")), (304, "", Some(yaml_tag.as_str())));
    assert_eq!((known.header("vary"), known.header("cache-control")), (Some("Accept"), Some("no-store")));
    let other = format!("accept: application/json\r\nif-none-match: {yaml_tag}\r\n");
    assert_eq!(send(&rig, "GET", &path, &other, "").await.status, 200, "another representation");
    assert_eq!(send(&rig, "GET", &path, "if-none-match: *\r\n", "").await.status, 304);

    let swapped = send(&rig, "PUT", &path, "", &json.body).await;
    assert_eq!(swapped.status, 200, "what was shown can be put: {}", swapped.body);
    let stored = send(&rig, "GET", &path, "", "").await;
    assert_eq!((stored.header("content-type"), &stored.body), (Some("application/json"), &json.body));
    let back = send(&rig, "GET", &path, "accept: application/x-yaml\r\n", "").await;
    assert_eq!(back.header("content-type"), Some("application/yaml"));
    assert_eq!(send(&rig, "PUT", &path, "content-type: text/yaml\r\n", &back.body).await.status, 200);
}

/// A body that is never sent: what is answered without it.
async fn announced(rig: &StoreRig, method: &str, path: &str, bytes: usize) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {bytes}\r\nauthorization: Bearer {}\r\n\r\n",
        token("admin")
    );
    Answer::parse(exchange(rig.rig.listener.address(), head.as_bytes()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit_of_their_own() {
    let rig = store_rig_with(|options, _| options.spec_body_max_mib = 2).await;
    let padded = |bytes: usize| {
        let text = document(json!({})).to_string();
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    let json = "content-type: application/json\r\n";
    let over = announced(&rig, "POST", "/api-specs", 2 * MIB + 1).await;
    assert_eq!(over.error(), refusal(413, "Request body too large (max 2 MiB)"));
    let made = send(&rig, "POST", "/api-specs", json, &padded(2 * MIB)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/api-specs/{}", made.json()["id"].as_str().unwrap());
    let over = announced(&rig, "PUT", &path, 2 * MIB + 1).await;
    assert_eq!(over.error(), refusal(413, "Request body too large (max 2 MiB)"));
    assert_eq!(get(&rig, &path).await.body.len(), 2 * MIB);

    // The limit was lowered since: up to twice of it is still shown.
    let reads = async |max_mib: usize| {
        let store = rig.store.clone();
        let lowered = store_rig_with(|options, sources| {
            options.spec_body_max_mib = max_mib;
            sources.store = Some(store);
        })
        .await;
        get(&lowered, &path).await
    };
    assert_eq!(reads(1).await.status, 200);
    assert_eq!(reads(0).await.error(), refusal(500, "spec content corrupt or oversized"));

    let read_only = store_rig_with(|options, _| options.is_read_only = true).await;
    let refused = announced(&read_only, "POST", "/api-specs", 9).await;
    assert_eq!(refused.error(), refusal(403, "Admin API is in read-only mode"), "before it is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_more_plugins_than_a_batch_has_rows_is_written_whole() {
    let rig = store_rig().await;
    let plugins: Vec<Value> = (0..1100).map(|_| json!({"plugin_name": "cors", "config": {}})).collect();
    let taken = extended(plugins[0].clone(), json!({"id": "taken"}));
    rig.make("/plugins/config", config("taken", json!({}))).await;
    let mut failing = plugins.clone();
    failing.push(taken);
    let (status, _) = rig.refused("POST", "/api-specs", document(json!({ "x-ferrum-plugins": failing }))).await;
    assert_eq!(status, 409, "and nothing of it is written");
    let spec = imported(&rig, document(json!({ "x-ferrum-plugins": plugins }))).await;
    assert_eq!(row(&rig, "/proxies/p").await["plugins"].as_array().unwrap().len(), 1100);
    let time = row(&rig, "/proxies/p").await["updated_at"].clone();
    assert_eq!(put(&rig, &spec["id"], &document(json!({ "x-ferrum-plugins": plugins }))).await.status, 200);
    assert_eq!(row(&rig, "/proxies/p").await["updated_at"], time, "matched one by one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_or_is_missing_is_told() {
    let rig = store_rig().await;
    let spec = imported(&rig, document(json!({}))).await;
    let path = format!("/api-specs/{}", spec["id"].as_str().unwrap());
    rig.store.fails_questions.store(true, SeqCst);
    for path in ["/api-specs", path.as_str(), "/api-specs/by-proxy/p"] {
        assert_eq!(get(&rig, path).await.error(), refusal(503, DATABASE_FAILED), "{path}");
    }
    let other = document(json!({"x-ferrum-proxy": proxy("q", json!({}))}));
    assert_eq!(rig.refused("POST", "/api-specs", other.clone()).await, refusal(503, DATABASE_FAILED));
    assert_eq!(rig.refused("PUT", &path, document(json!({}))).await, refusal(503, DATABASE_FAILED));
    rig.store.fails_questions.store(false, SeqCst);
    rig.store.fails_changes.store(true, SeqCst);
    for (method, path, body) in
        [("POST", "/api-specs", other), ("PUT", &path, document(json!({}))), ("DELETE", &path, Value::Null)]
    {
        assert_eq!(rig.refused(method, path, body).await, refusal(500, "Internal server error"), "{method}");
    }
    let none = store_rig_with(|_, sources| sources.store = None).await;
    for path in ["/api-specs", "/api-specs/x", "/api-specs/by-proxy/x"] {
        assert_eq!(get(&none, path).await.error(), refusal(503, "No database configured"));
    }
    for (method, path) in [("PUT", "/api-specs/x"), ("DELETE", "/api-specs/x")] {
        let answer = none.call("admin", method, path, Value::Null).await;
        assert_eq!(answer.error(), refusal(503, "No database configured"));
    }
}
