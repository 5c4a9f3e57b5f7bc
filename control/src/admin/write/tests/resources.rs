//! One resource at a time, by itself.

use std::sync::atomic::Ordering::SeqCst;

use super::*;

const KINDS: [(&str, &str); 4] = [
    ("/proxies", "Proxy not found"),
    ("/upstreams", "Upstream not found"),
    ("/plugins/config", "Plugin config not found"),
    ("/consumers", "Consumer not found"),
];

fn sample(path: &str, id: &str) -> Value {
    match path {
        "/proxies" => proxy(id, json!({})),
        "/upstreams" => upstream(id, json!({})),
        "/plugins/config" => config(id, json!({})),
        _ => consumer(id, json!({})),
    }
}

pub(super) async fn a_resource_is_created_read_replaced_and_deleted(rig: &StoreRig) {
    for (path, not_found) in KINDS {
        let writes = rig.writes.load(SeqCst);
        let one = format!("{path}/one");
        let made = rig.post(path, sample(path, "one")).await;
        assert_eq!((made.status, made.header("location")), (201, None), "{}", made.body);
        let made = made.json();
        assert_eq!(made["created_at"], made["updated_at"]);
        let read = rig.call("admin", "GET", &one, Value::Null).await;
        assert_eq!((read.status, read.json(), read.header("x-data-source")), (200, made.clone(), None));
        let list = rig.call("admin", "GET", path, Value::Null).await.json();
        assert_eq!(list, json!({"data": [made], "pagination": {"limit": 1, "offset": 0, "total": 1}}));

        let again = rig.refused("POST", path, sample(path, "one")).await;
        let label = match path {
            "/proxies" => "Proxy",
            "/upstreams" => "Upstream",
            "/consumers" => "Consumer",
            _ => "PluginConfig",
        };
        assert_eq!(again, refusal(409, &format!("{label} with ID 'one' already exists")));

        // The id of the path counts, and the time of creation stays.
        let other = extended(sample(path, "other"), json!({"created_at": "2001-01-01T00:00:00Z"}));
        let changed = rig.call("admin", "PUT", &one, other).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        let changed = changed.json();
        assert_eq!((&changed["id"], &changed["created_at"]), (&json!("one"), &made["created_at"]));
        assert_ne!(changed["updated_at"], made["updated_at"]);
        assert_eq!(rig.call("admin", "GET", &one, Value::Null).await.json(), changed);

        let gone = rig.call("admin", "DELETE", &one, Value::Null).await;
        assert_eq!((gone.status, gone.body.as_str()), (204, ""));
        assert_eq!(gone.header("cache-control"), Some("no-store"));
        for method in ["GET", "DELETE"] {
            assert_eq!(rig.refused(method, &one, Value::Null).await, refusal(404, not_found));
        }
        assert_eq!(rig.writes.load(SeqCst), writes + 3, "the gateway is told of each write");
    }
}

pub(super) async fn what_clients_leave_out_is_filled_in_and_what_they_may_not_set_is_dropped(rig: &StoreRig) {
    for (path, id) in [("/proxies", json!("")), ("/upstreams", json!("")), ("/consumers", json!(""))] {
        let made = rig.make(path, extended(sample(path, "x"), json!({"id": id, "namespace": "elsewhere"}))).await;
        let id = made["id"].as_str().unwrap();
        let version = uuid::Uuid::parse_str(id).unwrap().get_version_num();
        assert_eq!((version, id.to_lowercase().as_str(), &made["namespace"]), (4, id, &json!("ferrum")));
        assert_eq!(rig.call("admin", "DELETE", &format!("{path}/{id}"), Value::Null).await.status, 204);
    }
    let made = rig
        .make(
            "/proxies",
            proxy(
                "p",
                json!({"hosts": ["API.Example.org"], "backend_host": "Orders.Internal", "api_spec_id": "s",
                "allowed_methods": ["get", "Post"]}),
            ),
        )
        .await;
    assert_eq!((&made["hosts"], &made["backend_host"]), (&json!(["api.example.org"]), &json!("orders.internal")));
    assert_eq!((&made["allowed_methods"], made.get("api_spec_id")), (&json!(["GET", "POST"]), None));
    let made = rig.make("/consumers", consumer("c", json!({"custom_id": " "}))).await;
    assert_eq!(made["custom_id"], Value::Null);
    let made = rig.make("/plugins/config", config("k", json!({"proxy_id": " "}))).await;
    assert_eq!(made["proxy_id"], Value::Null);
    let made = rig.make("/upstreams", json!({"id": "u", "targets": [{"host": "A.B", "port": 1}]})).await;
    assert_eq!(made["targets"][0]["host"], "a.b");

    let body = json!({"credentials": {"basicauth": [{"password": "The quick brown fox jumps over the lazy dog"}]}});
    let made = rig.make("/consumers", consumer("b", body)).await;
    assert_eq!(made["credentials"]["basicauth"], json!([{"password_hash": "[REDACTED]"}]));
    let stored = &rig.everything().await[0][1];
    let stored = stored.as_array().unwrap().iter().find(|row| row["id"] == "b").unwrap();
    let hash = "hmac_sha256:f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    assert_eq!(stored["credentials"]["basicauth"], json!([{"password_hash": hash}]));
}

pub(super) async fn a_body_that_is_no_resource_is_refused(rig: &StoreRig) {
    for (path, body) in [
        ("/proxies", json!({"backend_host": "a"})),
        ("/proxies", proxy("p", json!({"colour": "red"}))),
        ("/proxies", proxy("p", json!({"backend_port": "80"}))),
        ("/proxies", proxy("p", json!({"id": null}))),
        ("/upstreams", json!({"id": "u"})),
        ("/plugins/config", json!({"plugin_name": "cors"})),
        ("/consumers", json!({"username": null})),
        ("/consumers", json!(["id", "name", "ferrum", null])),
        ("/consumers", Value::Null),
    ] {
        let (status, text) = rig.refused("POST", path, body.clone()).await;
        assert!(status == 400 && text.starts_with("Invalid body: "), "{path} {body}: {text}");
    }
    let (_, text) = rig.refused("POST", "/proxies", proxy("p", json!({"colour": "red"}))).await;
    assert!(text.contains("unknown field `colour`"), "{text}");
    let long = "a".repeat(255);
    let refused = rig.refused("POST", "/upstreams", upstream(&long, json!({}))).await;
    assert_eq!(refused, refusal(400, "ID must be at most 254 characters, got 255"));
    let refused = rig.refused("POST", "/upstreams", upstream("-x", json!({}))).await;
    let text = "ID '-x' is invalid: must start with an alphanumeric character and contain only alphanumeric characters, \
                dots, underscores, or hyphens";
    assert_eq!(refused, refusal(400, text));
    rig.make("/upstreams", upstream(&"a".repeat(254), json!({}))).await;
}

pub(super) async fn fields_are_checked_with_the_words_of_their_kind(rig: &StoreRig) {
    let stream = |more: Value| {
        let base = json!({"id": "s", "backend_scheme": "tcp", "backend_host": "h", "backend_port": 1});
        extended(base, more)
    };
    for (path, body, text) in [
        (
            "/proxies",
            proxy("p", json!({"backend_host": "", "backend_port": 0})),
            "Invalid proxy fields: backend_host must be non-empty (or set upstream_id); backend_port must be greater than \
             0 (or set upstream_id)",
        ),
        (
            "/proxies",
            proxy("p", json!({"hosts": ["a_b"]})),
            "Invalid proxy fields: Invalid proxy hosts: host 'a_b' is invalid",
        ),
        (
            "/proxies",
            proxy("p", json!({"listen_path": "~a["})),
            "Invalid proxy fields: Invalid proxy listen_path: invalid regex '~a[': ",
        ),
        ("/proxies", stream(json!({})), "Invalid proxy fields: Stream proxy (scheme tcp) must have a listen_port"),
        ("/proxies", stream(json!({"listen_port": 0})), "Invalid proxy fields: listen_port 0 must be >= 1"),
        (
            "/proxies",
            proxy("p", json!({"listen_port": 9})),
            "Invalid proxy fields: HTTP proxy (scheme http) must not set listen_port",
        ),
        (
            "/proxies",
            proxy("p", json!({"backend_scheme": "https", "backend_tls_server_ca_cert_path": "/nowhere.pem"})),
            "Invalid proxy fields: backend_tls_server_ca_cert_path: failed to open certificate file '/nowhere.pem': ",
        ),
        (
            "/upstreams",
            json!({"id": "u", "targets": []}),
            "Invalid upstream fields: At least one target is required (or configure service_discovery)",
        ),
        ("/upstreams", upstream("u", json!({"source_locality": "a"})), "source_locality is projected from"),
        ("/upstreams", upstream("u", json!({"port_overrides": {"80": {}}})), "port_overrides is populated by"),
        ("/upstreams", upstream("u", json!({"locality_lb_setting": {}})), "locality_lb_setting is projected from"),
        (
            "/plugins/config",
            config("k", json!({"scope": "proxy"})),
            "Invalid plugin config fields: scope 'proxy' requires proxy_id",
        ),
        (
            "/plugins/config",
            config("k", json!({"proxy_id": "p"})),
            "Invalid plugin config fields: scope 'global' must not have proxy_id",
        ),
        (
            "/plugins/config",
            config("k", json!({"scope": "proxy_group", "proxy_id": "p"})),
            "Invalid plugin config fields: scope 'proxy_group' must not have proxy_id (associations are managed via \
             proxy.plugins)",
        ),
        ("/consumers", consumer("c", json!({"username": " "})), "Invalid consumer fields: username must not be empty"),
        (
            "/consumers",
            consumer("c", json!({"credentials": {"keyauth": [{}, {}, {}]}})),
            "Invalid consumer fields: credentials.keyauth array must not exceed 2 entries (got 3)",
        ),
    ] {
        let (status, found) = rig.refused("POST", path, body.clone()).await;
        assert!(status == 400 && found.starts_with(text), "{body}: {found}");
    }
}

pub(super) async fn a_replacement_is_checked_like_a_new_one(rig: &StoreRig) {
    rig.make("/proxies", proxy("p", json!({}))).await;
    let refused = rig.refused("PUT", "/proxies/p", proxy("p", json!({"backend_port": 0}))).await;
    let text = "Invalid proxy fields: backend_port must be greater than 0 (or set upstream_id)";
    assert_eq!(refused, refusal(400, text));
}

pub(super) async fn roles_decide_who_writes_and_what_is_shown(rig: &StoreRig) {
    let secret = |id: &str| config(id, json!({"config": {"api_key": "k"}}));
    for (path, body, need) in [
        ("/proxies", proxy("p", json!({})), "operator"),
        ("/upstreams", upstream("u", json!({})), "operator"),
        ("/plugins/config", secret("k"), "operator"),
        ("/consumers", consumer("c", json!({})), "admin"),
    ] {
        for role in ["viewer", "operator"].into_iter().filter(|role| *role != need) {
            let answer = rig.call(role, "POST", path, body.clone()).await;
            let text = format!("Admin role '{role}' cannot access this endpoint; required role is '{need}'");
            assert_eq!(answer.error(), (403, text), "{path}");
        }
        assert_eq!(rig.call(need, "POST", path, body).await.status, 201, "{path}");
    }
    let seen = rig.call("operator", "PUT", "/plugins/config/k", secret("k")).await.json();
    assert_eq!(seen["config"]["api_key"], "[REDACTED]");
    let seen = rig.call("admin", "PUT", "/plugins/config/k", secret("k")).await.json();
    assert_eq!(seen["config"]["api_key"], "k");
    let keys = json!({"credentials": {"keyauth": [{"key": "a"}], "mtls_auth": [{"identity": "CN=x"}]}});
    let seen = rig.call("admin", "PUT", "/consumers/c", consumer("c", keys)).await.json();
    assert_eq!(seen["credentials"], json!({"keyauth": [{"key": "[REDACTED]"}], "mtls_auth": [{"identity": "CN=x"}]}));
    let consul = json!({"service_discovery": {"provider": "consul",
        "consul": {"address": "http://c:8500", "service_name": "s", "token": "t"}}});
    let seen = rig.call("operator", "PUT", "/upstreams/u", upstream("u", consul)).await.json();
    assert_eq!(seen["service_discovery"]["consul"]["token"], "[REDACTED]");
}

pub(super) async fn a_put_never_creates(rig: &StoreRig) {
    for (path, not_found) in KINDS {
        let missing = format!("{path}/missing");
        assert_eq!(rig.refused("PUT", &missing, sample(path, "missing")).await, refusal(404, not_found));
    }
}

pub(super) async fn namespaces_are_kept_apart(rig: &StoreRig) {
    rig.make("/proxies", proxy("p", json!({"name": "n"}))).await;
    for (method, body) in [("GET", Value::Null), ("PUT", proxy("p", json!({}))), ("DELETE", Value::Null)] {
        let refused = rig.refused_at("team-a", method, "/proxies/p", body).await;
        assert_eq!(refused, refusal(404, "Proxy not found"), "{method}");
    }
    let refused = rig.refused_at("team-a", "POST", "/proxies", proxy("p", json!({}))).await;
    assert_eq!(refused, refusal(409, "Proxy with ID 'p' already exists"), "ids are global");
    let same = proxy("q", json!({"name": "n", "listen_path": "/p"}));
    assert_eq!(rig.at("team-a", "admin", "POST", "/proxies", same).await.status, 201, "names and paths are not");
    assert_eq!(rig.call("viewer", "GET", "/namespaces", Value::Null).await.json(), json!(["ferrum", "team-a"]));
    let pages = rig.call("viewer", "GET", "/proxies?limit=1&offset=1", Value::Null).await.json();
    assert_eq!(pages, json!({"data": [], "pagination": {"limit": 1, "offset": 1, "total": 1}}));
}
