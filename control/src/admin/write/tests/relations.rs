//! What resources have to do with one another.

use std::net::{TcpListener, UdpSocket};

use super::*;
use crate::admin::test_rig::store_rig_with;
use crate::store::{Kind, Resource, Step, Store};

pub(super) async fn what_is_there_once_only_is_refused_twice(rig: &StoreRig) {
    rig.make("/proxies", proxy("a", json!({"name": "n", "hosts": ["*.example.org"], "listen_path": "/x"}))).await;
    rig.make("/proxies", proxy("h", json!({"hosts": ["only.example"], "listen_path": null}))).await;
    let overlap = refusal(409, "A proxy with overlapping hosts and listen_path already exists");
    for body in [
        proxy("b", json!({"hosts": ["api.example.org"], "listen_path": "/x"})),
        proxy("b", json!({"listen_path": "/x"})),
        proxy("b", json!({"hosts": ["b.example", "only.example"], "listen_path": null})),
    ] {
        assert_eq!(rig.refused("POST", "/proxies", body).await, overlap);
    }
    rig.make("/proxies", proxy("c", json!({"hosts": ["other.example"], "listen_path": "/x"}))).await;
    rig.make("/proxies", proxy("d", json!({"listen_path": "/X"}))).await;
    let moved = proxy("c", json!({"hosts": ["a.example.org"], "listen_path": "/x"}));
    assert_eq!(rig.refused("PUT", "/proxies/c", moved).await, overlap);
    let same = proxy("c", json!({"hosts": ["other.example"], "listen_path": "/x"}));
    assert_eq!(rig.call("operator", "PUT", "/proxies/c", same).await.status, 200, "not in its own way");
    let refused = rig.refused("POST", "/proxies", proxy("b", json!({"name": "n"}))).await;
    assert_eq!(refused, refusal(409, "Proxy name 'n' already exists"));
    rig.make("/upstreams", upstream("u", json!({"name": "n"}))).await;
    let refused = rig.refused("POST", "/upstreams", upstream("v", json!({"name": "n"}))).await;
    assert_eq!(refused, refusal(409, "Upstream name 'n' already exists"));
    let again = rig.call("operator", "PUT", "/upstreams/u", upstream("u", json!({"name": "n"}))).await;
    assert_eq!(again.status, 200, "{}", again.body);
}

pub(super) async fn identities_and_keys_lead_to_one_consumer(rig: &StoreRig) {
    let keys = json!({"keyauth": [{"key": "k-1"}], "mtls_auth": [{"identity": "CN=a"}]});
    rig.make("/consumers", json!({"id": "a", "username": "ann", "custom_id": "007", "credentials": keys})).await;
    for (body, text) in [
        (json!({"username": "ann"}), "A consumer with username 'ann' already exists (consumer 'a')"),
        (json!({"username": "007"}), "Consumer username '007' conflicts with custom_id of consumer 'a'"),
        (json!({"username": "b", "custom_id": "007"}), "A consumer with custom_id '007' already exists (consumer 'a')"),
        (
            json!({"username": "b", "custom_id": "ann"}),
            "Consumer custom_id 'ann' conflicts with username of consumer 'a'",
        ),
        (
            json!({"username": "b", "credentials": {"keyauth": [{"key": "k-1"}]}}),
            "A consumer with this API key already exists",
        ),
        (
            json!({"username": "b", "credentials": {"mtls_auth": [{"identity": "CN=a"}]}}),
            "A consumer with this mTLS identity already exists",
        ),
    ] {
        assert_eq!(rig.refused("POST", "/consumers", body).await, refusal(409, text));
    }
    let own = json!({"username": "ann", "custom_id": "ann", "credentials": {"keyauth": [{"key": "k-1"}]}});
    assert_eq!(rig.call("admin", "PUT", "/consumers/a", own).await.status, 200, "one's own are no conflict");
}

fn stream(id: &str, scheme: &str, port: u16) -> Value {
    json!({"id": id, "backend_scheme": scheme, "backend_host": "h", "backend_port": 1, "listen_port": port})
}

pub(super) async fn stream_ports_are_not_shared(rig: &StoreRig) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let (status, text) = rig.refused("POST", "/proxies", stream("s", "tcp", port)).await;
    let expected = format!("listen_port {port} is not available on the host: TCP bind failed: ");
    assert!(status == 409 && text.starts_with(&expected), "{text}");
    // The other transport is free.
    drop(UdpSocket::bind(("127.0.0.1", port)).unwrap());
    rig.make("/proxies", stream("s", "udp", port)).await;
    assert_eq!(
        rig.refused("POST", "/proxies", stream("t", "tcp", port)).await,
        refusal(409, &format!("listen_port {port} is already in use by another proxy"))
    );
    let (status, text) = rig.refused("PUT", "/proxies/s", stream("s", "tcp", port)).await;
    assert!(status == 409 && text.contains("TCP bind failed: "), "another transport is tried: {text}");
    let held = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let kept = rig.call("operator", "PUT", "/proxies/s", stream("s", "udp", port)).await;
    assert_eq!(kept.status, 200, "its own listener has it: {}", kept.body);
    drop(held);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = udp.local_addr().unwrap().port();
    let (status, text) = rig.refused("PUT", "/proxies/s", stream("s", "dtls", other)).await;
    let expected = format!("listen_port {other} is not available on the host: UDP bind failed: ");
    assert!(status == 409 && text.starts_with(&expected), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_does_not_ask_for_ports_of_its_own() {
    let reserving = store_rig_with(|options, _| options.write.reserved_ports = vec![8000]).await;
    let text = "listen_port 8000 conflicts with a gateway reserved port (proxy/admin/gRPC listener)";
    assert_eq!(reserving.refused("POST", "/proxies", stream("s", "tcp", 8000)).await, refusal(409, text));
    let control_plane = store_rig_with(|options, _| {
        options.write.reserved_ports = vec![8000];
        options.write.has_stream_listeners = false;
    })
    .await;
    control_plane.make("/proxies", stream("s", "tcp", 8000)).await;
}

/// Straight into the database.
async fn add(rig: &StoreRig, kind: Kind, body: Value) {
    let resource = Resource::decode(kind, body).unwrap();
    rig.store.apply(vec![Step::Insert(resource)]).await.unwrap();
}

pub(super) async fn proxies_refer_to_what_is_there(rig: &StoreRig) {
    let subsets = json!({"subsets": [{"name": "v1", "labels": {"v": "1"}}]});
    rig.make("/upstreams", upstream("u", subsets)).await;
    assert_eq!(rig.at("team-a", "admin", "POST", "/upstreams", upstream("far", json!({}))).await.status, 201);
    add(rig, Kind::Upstream, upstream("owned", json!({"api_spec_id": "s"}))).await;
    rig.make("/plugins/config", config("global", json!({}))).await;
    rig.make("/plugins/config", config("group", json!({"scope": "proxy_group"}))).await;
    rig.make("/proxies", proxy("other", json!({}))).await;
    rig.make("/plugins/config", config("theirs", json!({"scope": "proxy", "proxy_id": "other"}))).await;
    let listing = |ids: &[&str]| {
        let plugins: Vec<Value> = ids.iter().map(|id| json!({"plugin_config_id": id})).collect();
        proxy("p", json!({"plugins": plugins}))
    };
    for (body, text) in [
        (
            proxy("p", json!({"upstream_id": "far"})),
            "Cross-namespace reference forbidden: upstream_id 'far' belongs to namespace 'team-a' but proxy is in namespace \
             'ferrum'",
        ),
        (proxy("p", json!({"upstream_id": "gone"})), "upstream_id 'gone' does not exist"),
        (
            proxy("p", json!({"upstream_id": "owned"})),
            "upstream_id 'owned' is owned by api_spec 's' and cannot be attached to proxy 'p'; create a hand-managed \
             upstream or update the owning API spec",
        ),
        (
            proxy("p", json!({"upstream_id": "u", "upstream_subset": "v2"})),
            "upstream_subset 'v2' is not defined on upstream_id 'u'",
        ),
        (
            listing(&["group", "group", "global", "theirs", "gone"]),
            "Invalid proxy plugin associations: Proxy 'p' references plugin_config 'group' more than once; Proxy 'p' \
             references plugin_config 'global' with scope 'global' — proxy associations may only reference proxy-scoped or \
             proxy_group-scoped plugin configs; Proxy 'p' references plugin_config 'theirs' targeted to proxy 'other'; \
             Proxy 'p' references non-existent plugin_config 'gone'",
        ),
    ] {
        assert_eq!(rig.refused("POST", "/proxies", body).await, refusal(400, text));
    }
    // In the usual order: upstream, proxy, plugin config, association.
    rig.make("/proxies", proxy("p", json!({"upstream_id": "u", "upstream_subset": "v1"}))).await;
    rig.make("/plugins/config", config("own", json!({"scope": "proxy", "proxy_id": "p"}))).await;
    assert_eq!(rig.call("operator", "PUT", "/proxies/p", listing(&["own", "group"])).await.status, 200);
    let read = rig.call("viewer", "GET", "/proxies/p", Value::Null).await.json();
    assert_eq!(listed(&read), ["group", "own"]);
    let text = "Invalid proxy plugin associations: Proxy 'p' references plugin_config 'group' with scope 'global' — proxy \
                associations may only reference proxy-scoped or proxy_group-scoped plugin configs";
    let everywhere = rig.refused("PUT", "/plugins/config/group", config("group", json!({}))).await;
    assert_eq!(everywhere, refusal(400, text), "no document in which a proxy lists it could be loaded");
    let moved = config("own", json!({"scope": "proxy", "proxy_id": "other"}));
    let text = "Invalid proxy plugin associations: Proxy 'p' references plugin_config 'own' targeted to proxy 'other'";
    assert_eq!(rig.refused("PUT", "/plugins/config/own", moved).await, refusal(400, text));
    let kept = config("own", json!({"scope": "proxy", "proxy_id": "p", "enabled": false}));
    assert_eq!(rig.call("operator", "PUT", "/plugins/config/own", kept).await.status, 200);
    let upstream = rig.refused("GET", "/upstreams/u", Value::Null).await;
    assert_eq!(upstream.0, 404, "what nobody uses any more is gone");
}

pub(super) async fn plugin_configs_are_those_of_known_plugins_and_proxies(rig: &StoreRig) {
    rig.make("/proxies", proxy("p", json!({}))).await;
    assert_eq!(rig.at("team-a", "admin", "POST", "/proxies", proxy("far", json!({}))).await.status, 201);
    let scoped = |target: &str| config("k", json!({"scope": "proxy", "proxy_id": target}));
    for (body, text) in [
        (
            config("k", json!({"plugin_name": "nothing"})),
            r#"Unknown plugin name 'nothing'. Available plugins: ["cors", "key_auth"]"#,
        ),
        (
            config("k", json!({"plugin_name": "nothing", "enabled": false})),
            r#"Unknown plugin name 'nothing'. Available plugins: ["cors", "key_auth"]"#,
        ),
        (
            scoped("far"),
            "Cross-namespace reference forbidden: proxy_id 'far' belongs to namespace 'team-a' but plugin_config is in \
             namespace 'ferrum'",
        ),
        (scoped("gone"), "proxy_id 'gone' does not exist"),
    ] {
        assert_eq!(rig.refused("POST", "/plugins/config", body).await, refusal(400, text));
    }
    let broken = |enabled: bool| config("k", json!({"plugin_name": "oauth2_auth", "enabled": enabled}));
    let (status, text) = rig.refused("POST", "/plugins/config", broken(true)).await;
    assert!(status == 400 && text.starts_with("Invalid plugin config: Removed security plugin"), "{text}");
    rig.make("/plugins/config", broken(false)).await;
    rig.make("/plugins/config", extended(scoped("p"), json!({"id": "own"}))).await;
    let read = rig.call("viewer", "GET", "/proxies/p", Value::Null).await.json();
    assert_eq!(read["plugins"], json!([]), "it is not listed by itself");
}

pub(super) async fn upstreams_in_use_stay(rig: &StoreRig) {
    let subsets = |names: &[&str]| {
        let subsets: Vec<Value> = names.iter().map(|name| json!({"name": name, "labels": {"v": name}})).collect();
        upstream("u", json!({"subsets": subsets}))
    };
    rig.make("/upstreams", subsets(&["v1", "v2"])).await;
    rig.make("/proxies", proxy("p", json!({"upstream_id": "u", "upstream_subset": "v1"}))).await;
    let text = "Invalid upstream fields: upstream 'u' cannot remove subset 'v1' while proxy 'p' references it";
    assert_eq!(rig.refused("PUT", "/upstreams/u", subsets(&["v2"])).await, refusal(400, text));
    assert_eq!(rig.refused("PUT", "/upstreams/u", upstream("u", json!({}))).await, refusal(400, text));
    assert_eq!(rig.call("operator", "PUT", "/upstreams/u", subsets(&["v1"])).await.status, 200);
    let text = "Upstream u is referenced by one or more proxies and cannot be deleted";
    assert_eq!(rig.refused("DELETE", "/upstreams/u", Value::Null).await, refusal(409, text));

    rig.make("/upstreams", upstream("d", json!({}))).await;
    let rules = |named: &str| json!({"rules": [{"destination": {"upstream_id": named}, "note": "d"}]});
    let dispatch = |named: &str| config("m", json!({"plugin_name": "mesh_route_dispatch", "config": rules(named)}));
    add(rig, Kind::PluginConfig, dispatch("d")).await;
    let text = "Upstream d is referenced by mesh_route_dispatch plugin_config 'm' and cannot be deleted";
    assert_eq!(rig.refused("DELETE", "/upstreams/d", Value::Null).await, refusal(409, text));
    let mut elsewhere = Resource::decode(Kind::PluginConfig, dispatch("u")).unwrap();
    elsewhere.set_updated_at(time::OffsetDateTime::now_utc());
    rig.store.apply(vec![Step::Replace(elsewhere)]).await.unwrap();
    assert_eq!(rig.call("operator", "DELETE", "/upstreams/d", Value::Null).await.status, 204, "a note is no reference");
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatch_rules_name_upstreams_of_their_namespace() {
    let rig = store_rig_with(|_, _| {}).await;
    assert_eq!(rig.at("team-a", "admin", "POST", "/upstreams", upstream("far", json!({}))).await.status, 201);
    rig.make("/upstreams", upstream("near", json!({}))).await;
    let rules: Vec<Value> =
        ["near", "gone", "far"].iter().map(|named| json!({"destination": {"upstream_id": named}})).collect();
    let value = config("m", json!({"plugin_name": "mesh_route_dispatch", "config": {"rules": rules}}));
    let Ok(Resource::PluginConfig(rule)) = Resource::decode(Kind::PluginConfig, value) else { panic!("a config") };
    let known = super::super::Known::in_store(&*rig.store);
    let faults = super::super::references::dispatch_faults(&known, &rule).await.unwrap();
    assert_eq!(
        faults,
        [
            "PluginConfig 'm' (mesh_route_dispatch) rule 1 references non-existent upstream_id 'gone'",
            "PluginConfig 'm' (mesh_route_dispatch) rule 2 references upstream_id 'far' from namespace 'team-a' \
             (plugin_config is in namespace 'ferrum'); cross-namespace references are forbidden"
        ]
    );
}
