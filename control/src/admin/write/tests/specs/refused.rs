//! Documents that are refused: nothing of them is written.

use super::*;

/// The code, or the failures as (type, id, first error).
async fn rejected(rig: &StoreRig, document: Value) -> (u16, Value) {
    let before = rig.everything().await;
    let answer = rig.post("/api-specs", document).await;
    assert!(rig.everything().await == before, "nothing is written");
    let body = answer.json();
    let failures = body["failures"].as_array().into_iter().flatten();
    let failures: Vec<Value> =
        failures.map(|failure| json!([failure["resource_type"], failure["id"], failure["errors"][0]])).collect();
    let text = match body["error"].as_str().unwrap() {
        "Spec parse failed" => body["code"].clone(),
        "Spec validation failed" => {
            assert_eq!(body["spec_version"], "3.1.0");
            failures.into()
        }
        other => other.into(),
    };
    (answer.status, text)
}

pub(in super::super) async fn a_document_is_refused_with_a_code_or_with_all_its_failures(rig: &StoreRig) {
    for (more, status, code) in [
        (json!({"openapi": "3.1"}), 400, "UnknownVersion"),
        (json!({"tags": [{"name": "a_b"}]}), 422, "InvalidTagName"),
        (json!({"x-ferrum-consumers": []}), 422, "ConsumerExtensionNotAllowed"),
        (
            json!({"x-ferrum-proxy": {"id": "p", "backend_host": "h", "backend_port": 80, "x": 1}}),
            400,
            "MalformedExtension",
        ),
        (
            json!({"x-ferrum-proxy": proxy("p", json!({"upstream_id": "v"})), "x-ferrum-upstream": upstream("u", json!({}))}),
            422,
            "ProxyUpstreamIdMismatch",
        ),
        (json!({"x-ferrum-plugins": [{"plugin_name": "cors", "scope": "global"}]}), 422, "PluginInvalidScope"),
        (json!({"x-ferrum-plugins": [{"plugin_name": "cors", "proxy_id": "q"}]}), 422, "PluginProxyIdMismatch"),
        (
            json!({"x-ferrum-plugins": [{"plugin_name": "cors", "config": {"JWT": 1}}]}),
            422,
            "PluginContainsCredentials",
        ),
    ] {
        assert_eq!(rejected(rig, document(more)).await, (status, json!(code)));
    }
    let known = rig.post("/api-specs", json!({"openapi": "3.1.0"})).await;
    let expected = json!({"error": "Spec parse failed", "code": "MissingProxyExtension",
        "details": "missing required x-ferrum-proxy extension at root"});
    assert_eq!((known.status, known.json()), (400, expected));
    for (headers, body, code) in [
        ("content-type: application/json\r\n", "a: 1", "InvalidJson"),
        ("content-type: text/yaml\r\n", "a: &x 1", "InvalidYaml"),
        ("", "", "UnknownVersion"),
    ] {
        let answer = send(rig, "POST", "/api-specs", headers, body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(code)), "{body}");
    }

    rig.make("/proxies", proxy("taken", json!({"listen_path": "/p", "name": "n"}))).await;
    rig.make("/upstreams", upstream("other", json!({"name": "u-name"}))).await;
    rig.make("/plugins/config", config("global", json!({}))).await;
    let all = json!({
        "x-ferrum-proxy": proxy("p", json!({"name": "n", "plugins": [{"plugin_config_id": "global"}], "upstream_subset": "s"})),
        "x-ferrum-upstream": upstream("u", json!({"name": "u-name"})),
        "x-ferrum-plugins": [{"id": "k", "plugin_name": "nothing"}, {"id": "l", "plugin_name": "", "priority_override": 10001}],
    });
    let expected = json!([
        ["upstream", "u", "Upstream name 'u-name' already exists"],
        ["proxy", "p", "A proxy with overlapping hosts and listen_path already exists"],
        ["plugin", "k", "Unknown plugin name 'nothing'. Available plugins: [\"cors\", \"key_auth\"]"],
        ["plugin", "l", "plugin_name must not be empty"],
        [
            "proxy_plugin_association",
            "p",
            "Proxy 'p' references plugin_config 'global' with scope 'global' — proxy \
          associations may only reference proxy-scoped or proxy_group-scoped plugin configs"
        ],
    ]);
    assert_eq!(rejected(rig, document(all.clone())).await, (422, expected));
    let answer = rig.post("/api-specs", document(all)).await.json();
    let errors = answer["failures"][1]["errors"].as_array().unwrap();
    assert_eq!(errors[1], "upstream_subset 's' is not defined on upstream_id 'u'", "{errors:?}");

    let free = |more: Value| extended(proxy("p", json!({"listen_path": "/free"})), more);
    for (proxy, error) in [
        (free(json!({"upstream_id": "gone"})), "upstream_id 'gone' does not exist"),
        (free(json!({"hosts": ["a_b"]})), "Invalid proxy hosts: "),
        (free(json!({"listen_path": "~a["})), "Invalid proxy listen_path: invalid regex"),
        (
            free(json!({"backend_scheme": "tcp", "listen_path": null})),
            "Stream proxy (scheme tcp) must have a listen_port",
        ),
        (free(json!({"backend_port": 0})), "backend_port must be greater than 0"),
    ] {
        let (status, failures) = rejected(rig, document(json!({ "x-ferrum-proxy": proxy }))).await;
        let said = failures[0][2].as_str().unwrap();
        assert!(status == 422 && failures[0][0] == "proxy" && said.contains(error), "{error}: {status} {failures}");
    }
}

pub(in super::super) async fn what_is_there_already_is_a_conflict_and_nothing_is_written(rig: &StoreRig) {
    rig.make("/proxies", proxy("p", json!({"listen_path": "/elsewhere"}))).await;
    rig.make("/upstreams", upstream("u", json!({}))).await;
    rig.make("/plugins/config", config("k", json!({}))).await;
    let conflict = "Resource conflict — the operation collides with an existing row (likely a duplicate id, name, or unique \
                    constraint)";
    for more in [
        json!({}),
        json!({"x-ferrum-proxy": proxy("q", json!({})), "x-ferrum-upstream": upstream("u", json!({}))}),
        json!({"x-ferrum-proxy": proxy("q", json!({})), "x-ferrum-plugins": [{"id": "k", "plugin_name": "cors"}]}),
    ] {
        assert_eq!(rejected(rig, document(more)).await, (409, json!(conflict)));
    }
    assert_eq!(get(rig, "/api-specs").await.json()["total"], 0);
}
