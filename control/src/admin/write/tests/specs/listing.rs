//! Lists, and who sees what.

use super::*;

fn about(id: &str, title: Option<&str>, version: &str, tags: &[&str]) -> Value {
    let tags: Vec<Value> = tags.iter().map(|tag| json!({"name": tag})).collect();
    let paths = match id {
        "a" => json!({"/a": {"get": {}, "put": {}}}),
        "b" => json!({"/a": {"get": {}}, id: {"put": {}, "post": {}}}),
        _ => json!({}),
    };
    json!({"openapi": version, "info": {"title": title}, "tags": tags, "paths": paths, "x-ferrum-proxy": proxy(id, json!({}))})
}

pub(in super::super) async fn lists_are_filtered_and_sorted(rig: &StoreRig) {
    assert_eq!(
        get(rig, "/api-specs").await.json(),
        json!({"items": [], "limit": 50, "next_offset": null, "offset": 0, "total": 0})
    );
    imported(rig, about("a", Some("API of orders"), "3.0.3", &["public", "x,y"])).await;
    imported(rig, about("b", Some("billing"), "3.1.0", &["Public"])).await;
    imported(rig, about("c", None, "3.1.0-rc1", &[])).await;
    let listed = async |query: &str| {
        let answer = get(rig, &format!("/api-specs?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let found = answer.json();
        let ids = found["items"].as_array().unwrap().iter().map(|item| item["proxy_id"].as_str().unwrap());
        ids.collect::<Vec<_>>().join("")
    };
    for (query, expected) in [
        ("", "cba"),
        ("order=asc", "abc"),
        ("sort_by=created_at", "cba"),
        ("sort_by=title&order=asc&title_contains=i", "ab"),
        ("sort_by=operation_count&order=asc", "cab"),
        ("proxy_id=b", "b"),
        ("proxy_id=B", ""),
        ("spec_version=3.1", "cb"),
        ("spec_version=3.1.0-RC", ""),
        ("title_contains=ORDERS", "a"),
        ("title_contains=of%20O", "a"),
        ("has_tag=public", "a"),
        ("has_tag=Public", "b"),
        ("has_tag=publi", ""),
        ("has_tag=x,y", "a"),
        ("updated_since=2020-01-01T00:00:00%2B00:00", "cba"),
        ("updated_since=2020-01-01T00:00:00+00:00&limit=1&offset=1", "b"),
        ("updated_since=2999-01-01T00:00:00Z", ""),
        ("limit=2&offset=9", ""),
    ] {
        assert_eq!(listed(query).await, expected, "{query}");
    }
    let mut by_title = listed("sort_by=title&order=asc").await;
    assert_eq!(by_title.remove(0), 'c', "without a title comes first");
    let page = get(rig, "/api-specs?limit=2").await.json();
    assert_eq!((&page["limit"], &page["next_offset"], &page["total"]), (&json!(2), &json!(2), &json!(3)));
    let last = get(rig, "/api-specs?limit=2&offset=1").await.json();
    assert_eq!((&last["offset"], &last["next_offset"]), (&json!(1), &Value::Null));
    let item = &get(rig, "/api-specs?proxy_id=a").await.json()["items"][0];
    let keys: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "id proxy_id spec_version spec_format title tags server_urls operation_count uncompressed_size \
                    content_hash created_at updated_at";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(
        (&item["tags"], &item["operation_count"], &item["spec_format"]),
        (&json!(["public", "x,y"]), &json!(2), &json!("json"))
    );
    let bad = get(rig, "/api-specs?order=up").await;
    assert_eq!(bad.error(), refusal(400, "invalid order value 'up'; allowed: asc, desc"));
}

pub(in super::super) async fn specs_of_other_namespaces_are_not_there(rig: &StoreRig) {
    let spec = imported(rig, document(json!({}))).await;
    let path = format!("/api-specs/{}", spec["id"].as_str().unwrap());
    let gone = refusal(404, "API spec not found");
    for path in [path.as_str(), "/api-specs/by-proxy/p"] {
        assert_eq!(rig.at("team-a", "viewer", "GET", path, Value::Null).await.error(), gone);
    }
    assert_eq!(rig.refused_at("team-a", "PUT", &path, document(json!({}))).await, gone);
    assert_eq!(rig.refused_at("team-a", "DELETE", &path, Value::Null).await, gone);
    assert_eq!(rig.at("team-a", "viewer", "GET", "/api-specs", Value::Null).await.json()["total"], 0);
    let far = extended(document(json!({})), json!({"x-ferrum-proxy": proxy("far", json!({"namespace": "ferrum"}))}));
    assert_eq!(rig.at("team-a", "admin", "POST", "/api-specs", far).await.status, 201);
    assert_eq!(rig.at("team-a", "viewer", "GET", "/proxies/far", Value::Null).await.json()["namespace"], "team-a");

    for role in ["viewer", "operator"] {
        let text = format!("Admin role '{role}' cannot access this endpoint; required role is 'admin'");
        for (method, path) in [("POST", "/api-specs"), ("PUT", "/api-specs/-"), ("DELETE", path.as_str())] {
            assert_eq!(rig.call(role, method, path, Value::Null).await.error(), (403, text.clone()));
        }
    }
    let bad = "ID '-' is invalid: must start with an alphanumeric character and contain only alphanumeric characters, dots, \
               underscores, or hyphens";
    for (method, path) in
        [("GET", "/api-specs/-"), ("GET", "/api-specs/by-proxy/-"), ("PUT", "/api-specs/-"), ("DELETE", "/api-specs/-")]
    {
        assert_eq!(rig.call("admin", method, path, Value::Null).await.error(), refusal(400, bad));
    }
    assert_eq!(get(rig, "/api-specs/").await.error(), refusal(400, "ID must not be empty"));
    let long = |letters: usize| format!("/api-specs/{}", "a".repeat(letters));
    assert_eq!(get(rig, &long(254)).await.error(), gone);
    assert_eq!(get(rig, &long(255)).await.error(), refusal(400, "ID must be at most 254 characters, got 255"));
    assert_eq!(get(rig, "/api-specs/a/b").await.error(), refusal(404, "Not Found"));
}
