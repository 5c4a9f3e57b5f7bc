//! Documents that take the place of others.

use super::*;
use crate::admin::write::DATABASE_FAILED;
use crate::store::{Kind, Resource, Step, Store};

async fn updated_at(rig: &StoreRig, path: &str) -> Value {
    row(rig, path).await["updated_at"].clone()
}

pub(in super::super) async fn a_put_changes_what_differs_and_nothing_else(rig: &StoreRig) {
    let first = document(json!({
        "x-ferrum-proxy": {"listen_path": "/p", "backend_scheme": "http", "backend_host": "H", "backend_port": 80,
            "hosts": ["Example.org"], "udp_max_response_amplification_factor": 1.1},
        "x-ferrum-upstream": {"name": "n", "targets": [{"host": "a", "port": 1}]},
        "x-ferrum-plugins": [
            {"plugin_name": "cors", "config": {"max_age": 5, "credentials_note": 1}},
            {"plugin_name": "key_auth", "priority_override": 7},
        ],
    }));
    let first = extended(
        first,
        json!({"x-ferrum-plugins": [
        {"plugin_name": "cors", "config": {}}, {"plugin_name": "key_auth", "config": {}, "priority_override": 7}]}),
    );
    let spec = imported(rig, first.clone()).await;
    let proxy = row(rig, &format!("/proxies/{}", spec["proxy_id"].as_str().unwrap())).await;
    let proxy_path = format!("/proxies/{}", proxy["id"].as_str().unwrap());
    let upstream_path = format!("/upstreams/{}", proxy["upstream_id"].as_str().unwrap());
    let plugins: Vec<String> = listed(&proxy).into_iter().map(|id| format!("/plugins/config/{id}")).collect();
    let mut before = Vec::new();
    for path in plugins.iter().chain([&proxy_path, &upstream_path]) {
        before.push(row(rig, path).await);
    }

    // Only the document: no id, other words, keys in another order.
    let described = extended(first.clone(), json!({"info": {"title": "Renamed", "version": "2"}}));
    let answer = put(rig, &spec["id"], &described).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert_eq!((&answer["id"], &answer["proxy_id"]), (&spec["id"], &spec["proxy_id"]));
    assert_ne!(answer["content_hash"], spec["content_hash"]);
    for (path, before) in plugins.iter().chain([&proxy_path, &upstream_path]).zip(&before) {
        assert_eq!(&row(rig, path).await, before, "not even its time");
    }
    let item = get(rig, "/api-specs").await.json()["items"][0].clone();
    assert_eq!((&item["title"], &item["info_version"]), (&json!("Renamed"), &json!("2")));
    assert!(item["created_at"].as_str() < item["updated_at"].as_str());

    // A hand has changed what the spec owns: the document is right.
    let by_hand = extended(before[2].clone(), json!({"backend_path": "/by-hand"}));
    let by_hand = without(by_hand, &["created_at", "updated_at", "api_spec_id"]);
    assert_eq!(rig.call("operator", "PUT", &proxy_path, by_hand).await.status, 200);
    assert_eq!(put(rig, &spec["id"], &described).await.status, 200);
    assert_eq!(row(rig, &proxy_path).await["backend_path"], Value::Null);

    // One plugin goes, one comes, the other stays, and the upstream is another one in the same place.
    let changed = extended(
        described,
        json!({
            "x-ferrum-upstream": {"name": "n", "targets": [{"host": "b", "port": 2}]},
            "x-ferrum-plugins": [{"plugin_name": "key_auth", "config": {}, "priority_override": 7}, {"id": "new", "plugin_name": "cors", "config": {}}],
        }),
    );
    let time = updated_at(rig, &upstream_path).await;
    assert_eq!(put(rig, &spec["id"], &changed).await.status, 200);
    let upstream = row(rig, &upstream_path).await;
    assert_eq!(upstream["targets"][0]["host"], "b");
    assert_eq!(upstream["created_at"], before[3]["created_at"], "it is the same one");
    assert_ne!(upstream["updated_at"], time);
    let now: Vec<Value> = rows(rig, "/plugins/config").await;
    let key_auth = before[..2].iter().find(|plugin| plugin["plugin_name"] == "key_auth").unwrap();
    let ids: Vec<&Value> = now.iter().map(|plugin| &plugin["id"]).collect();
    assert!(ids.len() == 2 && ids.contains(&&key_auth["id"]) && ids.contains(&&json!("new")), "{ids:?}");
    let proxy = row(rig, &proxy_path).await;
    assert_eq!((listed(&proxy).len(), &proxy["created_at"]), (2, &before[2]["created_at"]));

    // Without an upstream the proxy has its own backend again.
    let alone = without(changed, &["x-ferrum-upstream", "x-ferrum-plugins"]);
    assert_eq!(put(rig, &spec["id"], &alone).await.status, 200);
    assert!(rows(rig, "/upstreams").await.is_empty() && rows(rig, "/plugins/config").await.is_empty());

    let other = extended(alone.clone(), json!({"x-ferrum-proxy": super::proxy("q", json!({}))}));
    let expected =
        format!("PUT cannot change proxy_id; existing spec is for proxy '{}'", spec["proxy_id"].as_str().unwrap());
    assert_eq!(put(rig, &spec["id"], &other).await.error(), (422, expected));
    let config = |x: u32| json!({"plugin_name": "cors", "config": {"max_age": x}});
    let doubtful = extended(alone.clone(), json!({"x-ferrum-plugins": [config(1), config(2)]}));
    assert_eq!(put(rig, &spec["id"], &doubtful).await.status, 422);
    assert_eq!(put(rig, &json!("nobody"), &alone).await.error(), refusal(404, "API spec not found"));
}

fn without(mut value: Value, names: &[&str]) -> Value {
    names.iter().for_each(|name| drop(value.as_object_mut().unwrap().remove(*name)));
    value
}

pub(in super::super) async fn a_put_leaves_alone_what_was_attached_by_hand(rig: &StoreRig) {
    for group in ["asked", "by-hand"] {
        rig.make("/plugins/config", config(group, json!({"scope": "proxy_group"}))).await;
    }
    rig.make("/proxies", proxy("other", json!({"plugins": [{"plugin_config_id": "asked"}]}))).await;
    let asking = |ids: &[&str], path: &str| {
        let plugins: Vec<Value> = ids.iter().map(|id| json!({"plugin_config_id": id})).collect();
        document(json!({"x-ferrum-proxy": proxy("p", json!({"plugins": plugins, "listen_path": path})),
            "x-ferrum-plugins": [{"id": "own", "plugin_name": "cors", "config": {}}]}))
    };
    let spec = imported(rig, asking(&["asked"], "/p")).await;
    rig.make("/plugins/config", config("scoped", json!({"scope": "proxy", "proxy_id": "p"}))).await;
    let mut live = without(row(rig, "/proxies/p").await, &["created_at", "updated_at", "api_spec_id"]);
    assert_eq!(listed(&live), ["asked", "own"]);
    for id in ["by-hand", "scoped"] {
        live["plugins"].as_array_mut().unwrap().push(json!({"plugin_config_id": id}));
    }
    assert_eq!(rig.call("operator", "PUT", "/proxies/p", live).await.status, 200);

    let time = updated_at(rig, "/proxies/p").await;
    assert_eq!(put(rig, &spec["id"], &asking(&["asked"], "/p")).await.status, 200);
    assert_eq!(updated_at(rig, "/proxies/p").await, time, "what a hand has attached is no difference");
    assert_eq!(put(rig, &spec["id"], &asking(&["asked"], "/q")).await.status, 200);
    assert_eq!(listed(&row(rig, "/proxies/p").await), ["asked", "by-hand", "own", "scoped"]);
    assert_eq!(put(rig, &spec["id"], &asking(&[], "/q")).await.status, 200);
    assert_eq!(listed(&row(rig, "/proxies/p").await), ["by-hand", "own", "scoped"], "what is no longer asked for");
    assert_eq!(row(rig, "/plugins/config/scoped").await["proxy_id"], "p");
    let without_own = without(asking(&[], "/q"), &["x-ferrum-plugins"]);
    let naming_it =
        extended(without_own, json!({"x-ferrum-proxy": proxy("p", json!({"plugins": [{"plugin_config_id": "own"}]}))}));
    let answer = put(rig, &spec["id"], &naming_it).await;
    let failure = &answer.json()["failures"][0];
    assert_eq!(
        (answer.status, &failure["resource_type"]),
        (422, &json!("proxy_plugin_association")),
        "it is about to go"
    );
}

pub(in super::super) async fn a_put_may_move_a_name_to_another_upstream(rig: &StoreRig) {
    let with = |id: &str| document(json!({"x-ferrum-upstream": upstream(id, json!({"name": "n"}))}));
    let spec = imported(rig, with("one")).await;
    let answer = put(rig, &spec["id"], &with("two")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let upstreams = rows(rig, "/upstreams").await;
    let seen: Vec<_> = upstreams.iter().map(|row| (&row["id"], &row["name"])).collect();
    assert_eq!(seen, [(&json!("two"), &json!("n"))]);
    assert_eq!(row(rig, "/proxies/p").await["upstream_id"], "two");
    let subsets = |names: Value| json!({"subsets": names});
    let one = json!([{"name": "v1", "labels": {"v": "1"}}]);
    let bound = document(json!({"x-ferrum-proxy": proxy("p", json!({"upstream_subset": "v1"})),
        "x-ferrum-upstream": upstream("two", subsets(one))}));
    assert_eq!(put(rig, &spec["id"], &bound).await.status, 200);
    assert_eq!(put(rig, &spec["id"], &with("two")).await.status, 200, "the proxy lets the subset go at the same time");
}

pub(in super::super) async fn what_others_use_stays(rig: &StoreRig) {
    let owning = document(json!({"x-ferrum-upstream": upstream("u", json!({}))}));
    let spec = imported(rig, owning.clone()).await;
    let path = format!("/api-specs/{}", spec["id"].as_str().unwrap());
    let rules = json!({"rules": [{"destination": {"upstream_id": "u"}}]});
    let dispatch = config("m", json!({"plugin_name": "mesh_route_dispatch", "config": rules}));
    let dispatch = Resource::decode(Kind::PluginConfig, dispatch).unwrap();
    rig.store.apply(vec![Step::Insert(dispatch)]).await.unwrap();
    let text = "The submitted spec references a resource that does not exist or violates referential integrity";
    assert_eq!(rig.refused("DELETE", &path, Value::Null).await, refusal(422, text));
    assert_eq!(rig.refused("PUT", &path, document(json!({}))).await, refusal(422, text));
    assert_eq!(rig.refused("DELETE", "/proxies/p", Value::Null).await, refusal(503, DATABASE_FAILED));
    rig.store.apply(vec![Step::Delete(Kind::PluginConfig, "m".into())]).await.unwrap();

    let borrowing = Resource::decode(Kind::Proxy, proxy("thief", json!({"upstream_id": "u"}))).unwrap();
    rig.store.apply(vec![Step::Insert(borrowing)]).await.unwrap();
    assert_eq!(rig.refused("DELETE", &path, Value::Null).await, refusal(422, text));
    assert_eq!(rig.refused("PUT", &path, document(json!({}))).await, refusal(422, text));
    assert_eq!(rig.refused("DELETE", "/proxies/p", Value::Null).await, refusal(503, DATABASE_FAILED));
    assert_eq!(rig.call("operator", "DELETE", "/proxies/thief", Value::Null).await.status, 204);
    assert_eq!(row(rig, "/upstreams/u").await["api_spec_id"], spec["id"], "a proxy that goes leaves it there");
    assert_eq!(rig.call("admin", "DELETE", &path, Value::Null).await.status, 204);
}
