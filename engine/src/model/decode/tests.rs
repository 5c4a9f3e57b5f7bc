use super::*;
use crate::model::{Backoff, mesh};

const TAIL: &str = "consumers: []\nplugin_configs: []\n";

fn yaml(text: &str) -> Result<Document, String> {
    decode(text, Format::Yaml)
}

fn yaml_proxy(fields: &str) -> Result<Document, String> {
    let lines: String = fields.lines().map(|line| format!("    {line}\n")).collect();
    yaml(&format!(
        "version: \"1\"\nproxies:\n  - id: a\n    listen_path: /\n    backend_host: b\n    backend_port: 80\n{lines}{TAIL}"
    ))
}

fn json(text: &str) -> Result<Document, String> {
    decode(text, Format::Json)
}

fn json_proxy(fields: &str) -> Result<Document, String> {
    json(&format!(
        r#"{{"version": "1", "consumers": [], "plugin_configs": [],
            "proxies": [{{"id": "a", "listen_path": "/", "backend_host": "b", "backend_port": 80{fields}}}]}}"#
    ))
}

#[test]
fn the_version_is_a_string_and_it_is_1() {
    let document = |version: &str| format!("{version}\nproxies: []\n{TAIL}");
    assert!(yaml(&document("version: \"1\"")).is_ok());
    for version in ["version: 1", "version: null", "version: [a]", "# none"] {
        let error = yaml(&document(version)).unwrap_err();
        assert_eq!(error, "Configuration file missing required 'version' field", "{version}");
    }
    assert_eq!(yaml(&document("version: \"2\"")).unwrap_err(), "No config migration path from version '2' to '1'");
    let error = json(r#"{"version": 1, "proxies": []}"#).unwrap_err();
    assert_eq!(error, "Configuration file missing required 'version' field");
    assert_eq!(json("[]").unwrap_err(), "Configuration file missing required 'version' field");
    assert_eq!(json(r#"{"version": "0.9"}"#).unwrap_err(), "No config migration path from version '0.9' to '1'");
}

#[test]
fn unknown_keys_are_refused_where_the_sheet_says() {
    let error = yaml_proxy("backend_protocol: http").unwrap_err();
    assert!(error.starts_with("proxies[0]: unknown field `backend_protocol`, expected one of `id`, `name`"), "{error}");
    assert!(error.ends_with("at line 7 column 5"), "{error}");
    let error = json_proxy(r#", "enabled": true"#).unwrap_err();
    assert!(error.starts_with("unknown field `enabled`, expected one of `id`") && !error.contains("line"), "{error}");
    let rows = [
        "extra: 1\nproxies: []\nconsumers: []\nplugin_configs: []",
        "proxies: []\nconsumers: [{username: a, enabled: true}]\nplugin_configs: []",
        "proxies: []\nconsumers: []\nplugin_configs: [{plugin_name: a, scope: global, x: 1}]",
        "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{targets: [], x: 1}]",
    ];
    for row in rows {
        let error = yaml(&format!("version: \"1\"\n{row}\n")).unwrap_err();
        assert!(error.contains("unknown field `"), "{row}: {error}");
    }
}

#[test]
fn unknown_keys_inside_resources_are_ignored() {
    let nested = "retry: {x: 1, backoff: {fixed: {delay_ms: 1, x: 2}}}\ncircuit_breaker: {x: 1}\nplugins: [{plugin_config_id: p, x: 1}]";
    assert!(yaml_proxy(nested).is_ok());
    let upstream = "upstreams: [{targets: [{host: a, port: 1, x: 1}], health_checks: {active: {x: 1}, passive: {x: 1}, x: 1}, \
                    subsets: [{name: a, labels: {}, x: 1}], hash_on_cookie_config: {x: 1}, \
                    service_discovery: {provider: dns_sd, dns_sd: {service_name: a, x: 1}, x: 1}}]";
    yaml(&format!("version: \"1\"\nproxies: []\n{TAIL}{upstream}\n")).unwrap();
}

#[test]
fn required_keys_are_named_when_missing() {
    let whole = [("proxies", "consumers: []\nplugin_configs: []"), ("consumers", "proxies: []\nplugin_configs: []")];
    let parts = [
        ("plugin_configs", "proxies: []\nconsumers: []"),
        ("backend_host", "proxies: [{backend_port: 1, upstream_id: u}]\nconsumers: []\nplugin_configs: []"),
        ("backend_port", "proxies: [{backend_host: a, upstream_id: u}]\nconsumers: []\nplugin_configs: []"),
        ("username", "proxies: []\nconsumers: [{id: a}]\nplugin_configs: []"),
        ("plugin_name", "proxies: []\nconsumers: []\nplugin_configs: [{scope: global}]"),
        ("scope", "proxies: []\nconsumers: []\nplugin_configs: [{plugin_name: a}]"),
        ("targets", "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{id: u}]"),
        ("host", "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{targets: [{port: 1}]}]"),
        ("port", "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{targets: [{host: a}]}]"),
        ("labels", "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{targets: [], subsets: [{name: a}]}]"),
        (
            "provider",
            "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{targets: [], service_discovery: {}}]",
        ),
    ];
    for (key, rest) in whole.into_iter().chain(parts) {
        let error = yaml(&format!("version: \"1\"\n{rest}\n")).unwrap_err();
        assert!(error.contains(&format!("missing field `{key}`")), "{key}: {error}");
    }
    for (field, key) in [
        ("plugins: [{}]", "plugin_config_id"),
        ("retry: {backoff: !fixed {}}", "delay_ms"),
        ("retry: {backoff: !exponential {max_ms: 1}}", "base_ms"),
        ("retry: {backoff: !exponential {base_ms: 1}}", "max_ms"),
    ] {
        let error = yaml_proxy(field).unwrap_err();
        assert!(error.contains(&format!("missing field `{key}`")), "{key}: {error}");
    }
}

#[test]
fn types_are_not_bent() {
    let refused = [
        ("backend_port: \"80\"", "expected u16"),
        ("backend_port: 70000", "invalid value: integer `70000`, expected u16"),
        ("backend_port: -1", "expected u16"),
        ("backend_port: 80.5", "expected u16"),
        ("backend_connect_timeout_ms: \"1\"", "expected u64"),
        ("strip_listen_path: yes", "expected a boolean"),
        ("strip_listen_path: null", "expected a boolean"),
        ("hosts: a", "expected a sequence"),
        ("backend_scheme: h3", "unknown variant `h3`, expected one of `http`, `https`, `tcp`, `tcps`, `udp`, `dtls`"),
        ("backend_scheme: HTTP", "unknown variant `HTTP`"),
        ("auth_mode: all", "unknown variant `all`, expected `single` or `multi`"),
        ("response_body_mode: x", "unknown variant `x`, expected `stream` or `buffer`"),
        ("created_at: yesterday", "'yesterday' is not an RFC 3339 timestamp"),
    ];
    for (field, expected) in refused {
        let without = field.split(':').next().unwrap();
        let text = format!(
            "version: \"1\"\nproxies:\n  - backend_host: b\n{}    {field}\n{TAIL}",
            if without == "backend_port" { "" } else { "    backend_port: 80\n" }
        );
        let error = yaml(&text).unwrap_err();
        assert!(error.contains(expected) && error.contains("at line "), "{field}: {error}");
    }
    let scope = yaml("version: \"1\"\nproxies: []\nconsumers: []\nplugin_configs: [{plugin_name: a, scope: all}]\n");
    assert!(scope.unwrap_err().contains("unknown variant `all`, expected one of `global`, `proxy`, `proxy_group`"));
}

#[test]
fn integers_are_accepted_for_floats_and_null_for_optional_fields() {
    let document =
        yaml_proxy("udp_max_response_amplification_factor: 2\nname: null\nretry: ~\nlisten_port:\nbackend_path: null")
            .unwrap();
    assert_eq!(document.proxies[0].udp_max_response_amplification_factor, Some(2.0));
    assert_eq!(document.proxies[0].name, None);
}

#[test]
fn null_is_no_text_and_no_list() {
    let rows = [
        ("proxies:\nconsumers: []\nplugin_configs: []", "proxies: invalid type: null"),
        (
            "proxies: [{id: null, backend_host: a, backend_port: 1}]\nconsumers: []\nplugin_configs: []",
            "proxies[0].id: invalid type: null",
        ),
        (
            "proxies: [{hosts: , backend_host: a, backend_port: 1}]\nconsumers: []\nplugin_configs: []",
            "proxies[0].hosts: invalid type: null",
        ),
        (
            "proxies: [{hosts: [~], backend_host: a, backend_port: 1}]\nconsumers: []\nplugin_configs: []",
            "proxies[0].hosts[0]: invalid type: null",
        ),
        (
            "proxies: [{backend_host: ~, backend_port: 1}]\nconsumers: []\nplugin_configs: []",
            "proxies[0].backend_host: invalid type: null",
        ),
        ("proxies: []\nconsumers: [{username: null}]\nplugin_configs: []", "consumers[0].username: invalid type: null"),
        (
            "proxies: []\nconsumers: [{username: a, credentials: }]\nplugin_configs: []",
            "consumers[0].credentials: invalid type: null",
        ),
        (
            "proxies: []\nconsumers: []\nplugin_configs: [{plugin_name: null, scope: global}]",
            "plugin_configs[0].plugin_name",
        ),
        ("proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: null", "upstreams: invalid type: null"),
        (
            "proxies: []\nconsumers: []\nplugin_configs: []\nupstreams: [{targets: [{host: ~, port: 1}]}]",
            "upstreams[0].targets[0].host",
        ),
    ];
    for (rest, expected) in rows {
        let error = yaml(&format!("version: \"1\"\n{rest}\n")).unwrap_err();
        assert!(error.starts_with(expected), "{rest}: {error}");
    }
    for fields in [r#", "id": null"#, r#", "hosts": null"#, r#", "strip_listen_path": null"#, r#", "plugins": null"#] {
        let error = json_proxy(fields).unwrap_err();
        assert!(error.contains("null") || error.contains("duplicate field"), "{fields}: {error}");
    }
}

#[test]
fn yaml_syntax_that_is_refused() {
    let proxies = "version: \"1\"\nproxies: []\n";
    assert!(yaml(&format!("{proxies}{TAIL}---\na: 1\n")).unwrap_err().contains("more than one document"));
    assert!(yaml(&format!("{proxies}{proxies}{TAIL}")).unwrap_err().contains("duplicate"));
    let tags = "upstreams: [{targets: [{host: a, port: 1, tags: {a: x, a: y}}]}]\n";
    assert!(yaml(&format!("{proxies}{TAIL}{tags}")).unwrap_err().contains("duplicate entry"));
    assert!(yaml("version: [").unwrap_err().contains("at line"));
    let merged = "x: &x {id: a}\n";
    assert!(yaml(&format!("{merged}{proxies}{TAIL}")).unwrap_err().contains("unknown field `x`"));
    assert!(yaml_proxy("<<: {name: n}").unwrap_err().contains("unknown field `<<`"));
    assert!(json("{").unwrap_err().contains("at line 1 column 1"));
}

#[test]
fn anchors_and_aliases_work() {
    let text =
        format!("version: \"1\"\nproxies:\n  - {{id: a, backend_host: &h b, backend_port: 80, hosts: [*h]}}\n{TAIL}");
    assert_eq!(yaml(&text).unwrap().proxies[0].hosts, ["b"]);
}

#[test]
fn backoff_is_a_tag_or_a_map_in_yaml_and_a_map_in_json() {
    let backoff = |document: Document| document.proxies[0].retry.as_ref().unwrap().backoff;
    let fixed = Backoff::Fixed { delay_ms: 7 };
    let exponential = Backoff::Exponential { base_ms: 1, max_ms: 2 };
    for text in ["retry: {backoff: !fixed {delay_ms: 7}}", "retry: {backoff: {fixed: {delay_ms: 7}}}"] {
        assert_eq!(backoff(yaml_proxy(text).unwrap()), fixed, "{text}");
    }
    let block = "retry:\n  backoff: !exponential\n    base_ms: 1\n    max_ms: 2";
    assert_eq!(backoff(yaml_proxy(block).unwrap()), exponential);
    assert_eq!(
        backoff(json_proxy(r#", "retry": {"backoff": {"exponential": {"base_ms": 1, "max_ms": 2}}}"#).unwrap()),
        exponential
    );
    assert_eq!(backoff(json_proxy(r#", "retry": {}"#).unwrap()), Backoff::Fixed { delay_ms: 100 });
    for text in [
        "retry: {backoff: fixed}",
        "retry: {backoff: !linear {}}",
        "retry: {backoff: {linear: {}}}",
        "retry: {backoff: null}",
    ] {
        assert!(yaml_proxy(text).is_err(), "{text}");
    }
    let two =
        json_proxy(r#", "retry": {"backoff": {"fixed": {"delay_ms": 1}, "exponential": {"base_ms": 1, "max_ms": 2}}}"#);
    assert!(two.is_err());
}

#[test]
fn mesh_load_balancers_are_tags_or_maps_and_kinds_are_plain_maps() {
    let rule = |policy: &str| {
        let mesh =
            format!("mesh:\n  destination_rules: [{{name: r, namespace: n, host: h, traffic_policy: {policy}}}]\n");
        let document = yaml(&format!("version: \"1\"\nproxies: []\n{TAIL}{mesh}"))?;
        Ok::<_, String>(document.mesh.unwrap().destination_rules.remove(0).traffic_policy.unwrap().load_balancer)
    };
    let simple = Some(mesh::LoadBalancer::Simple(mesh::SimpleLoadBalancer::RoundRobin));
    assert_eq!(rule("{load_balancer: !simple ROUND_ROBIN}"), Ok(simple.clone()));
    assert_eq!(rule("{load_balancer: {simple: ROUND_ROBIN}}"), Ok(simple));
    assert_eq!(rule("{load_balancer: null}"), Ok(None));
    assert_eq!(rule("{}"), Ok(None));
    let Some(mesh::LoadBalancer::ConsistentHash(hash)) =
        rule("{load_balancer: !consistent_hash {use_source_ip: true}}").unwrap()
    else {
        panic!("a consistent hash");
    };
    assert!(hash.use_source_ip);
    assert!(rule("{load_balancer: !simple FASTEST}").is_err());
}

#[test]
fn timestamps_are_kept_in_utc() {
    let document =
        yaml_proxy("created_at: 2026-05-01T12:00:00+02:00\nupdated_at: \"2026-05-01T12:00:00.25Z\"").unwrap();
    let emitted = serde_json::to_value(&document.proxies[0]).unwrap();
    assert_eq!(emitted["created_at"], "2026-05-01T10:00:00Z");
    assert_eq!(emitted["updated_at"], "2026-05-01T12:00:00.25Z");
}

#[test]
fn keys_are_emitted_in_the_sheets_order_with_null_or_without() {
    let document = yaml_proxy("").unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let emitted = serde_json::to_value(&document).unwrap();
    assert_eq!(keys(&emitted), "version proxies consumers plugin_configs upstreams loaded_at known_namespaces");
    let proxy = &emitted["proxies"][0];
    let expected = "id name namespace hosts listen_path backend_scheme backend_host backend_port backend_path strip_listen_path \
        preserve_host_header backend_connect_timeout_ms backend_read_timeout_ms backend_write_timeout_ms \
        backend_tls_client_cert_path backend_tls_client_key_path backend_tls_verify_server_cert \
        backend_tls_server_ca_cert_path dns_override dns_cache_ttl_seconds auth_mode plugins pool_idle_timeout_seconds \
        pool_enable_http_keep_alive pool_enable_http2 pool_tcp_keepalive_seconds pool_http2_keep_alive_interval_seconds \
        pool_http2_keep_alive_timeout_seconds pool_http2_initial_stream_window_size \
        pool_http2_initial_connection_window_size pool_http2_adaptive_window pool_http2_max_frame_size \
        pool_http2_max_concurrent_streams pool_http3_connections_per_backend upstream_id circuit_breaker retry \
        response_body_mode listen_port frontend_tls passthrough udp_idle_timeout_seconds \
        udp_max_response_amplification_factor tcp_idle_timeout_seconds allowed_methods allowed_ws_origins created_at updated_at";
    assert_eq!(keys(proxy), expected);
    assert!(proxy["name"].is_null() && proxy["listen_port"].is_null());

    let omitted = "pool_max_requests_per_connection: 1\nupstream_id: u\nupstream_subset: s\napi_spec_id: x";
    let proxy = serde_json::to_value(&yaml_proxy(omitted).unwrap().proxies[0]).unwrap();
    let expected = expected.replace(
        "backend upstream_id",
        "backend pool_max_requests_per_connection upstream_id upstream_subset api_spec_id",
    );
    assert_eq!(keys(&proxy), expected);
}

#[test]
fn the_other_resources_are_emitted_in_order_too() {
    let text = "version: \"1\"\nproxies: []\nconsumers: [{username: a}]\nplugin_configs: [{plugin_name: a, scope: proxy_group}]\n\
                upstreams: [{targets: [{host: a, port: 1}], service_discovery: {provider: mesh, mesh: {service_name: s}}, \
                health_checks: {active: {}, passive: {}}, hash_on_cookie_config: {}}]\n";
    let emitted = serde_json::to_value(yaml(text).unwrap()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let rows = [
        ("/consumers/0", "id username namespace custom_id credentials acl_groups created_at updated_at"),
        ("/plugin_configs/0", "id plugin_name namespace config scope proxy_id enabled created_at updated_at"),
        (
            "/upstreams/0",
            "id name namespace targets algorithm hash_on hash_on_cookie_config health_checks service_discovery \
             backend_tls_client_cert_path backend_tls_client_key_path backend_tls_verify_server_cert \
             backend_tls_server_ca_cert_path created_at updated_at",
        ),
        ("/upstreams/0/targets/0", "host port weight tags"),
        ("/upstreams/0/hash_on_cookie_config", "path ttl_seconds http_only secure"),
        ("/upstreams/0/service_discovery", "provider dns_sd kubernetes consul mesh default_weight"),
        ("/upstreams/0/service_discovery/mesh", "service_name poll_interval_seconds"),
        (
            "/upstreams/0/health_checks/active",
            "http_path interval_seconds timeout_ms healthy_threshold unhealthy_threshold healthy_status_codes use_tls \
             probe_type udp_probe_payload grpc_service_name",
        ),
        (
            "/upstreams/0/health_checks/passive",
            "unhealthy_status_codes unhealthy_threshold unhealthy_window_seconds healthy_after_seconds",
        ),
    ];
    for (pointer, expected) in rows {
        assert_eq!(keys(emitted.pointer(pointer).unwrap()), expected, "{pointer}");
    }
    assert_eq!(emitted["plugin_configs"][0]["scope"], "proxy_group");
    assert!(emitted["plugin_configs"][0]["config"].is_null());
}

#[test]
fn any_other_extension_is_yaml_if_it_parses_as_yaml() {
    assert_eq!(Format::of(Path::new("a.yaml"), "{"), Format::Yaml);
    assert_eq!(Format::of(Path::new("a.Yml"), "{"), Format::Yaml);
    assert_eq!(Format::of(Path::new("a.JSON"), "a: 1"), Format::Json);
    assert_eq!(Format::of(Path::new("a.conf"), "a: 1"), Format::Yaml);
    assert_eq!(Format::of(Path::new("a"), "{\"a\": 1}"), Format::Yaml);
    assert_eq!(Format::of(Path::new("a"), "{"), Format::Json);
}
