use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::model::{BackendScheme, Backoff};

/// Knows the names the tests use; refuses a config with a key `bad`.
struct Catalog;

impl PluginCatalog for Catalog {
    fn check(&self, name: &str, config: &Value) -> Result<(), PluginRefusal> {
        const KNOWN: [&str; 5] =
            ["stdout_logging", "key_auth", "geo_restriction", "mesh_route_dispatch", "transaction_log_schema"];
        match config.get("bad") {
            _ if !KNOWN.contains(&name) => Err(PluginRefusal::Unknown),
            Some(_) => Err(PluginRefusal::Invalid(vec!["'bad' is not allowed".into(), "and again".into()])),
            None => Ok(()),
        }
    }
}

fn options() -> LoadOptions<'static> {
    LoadOptions {
        namespace: "ferrum".into(),
        max_credentials_per_type: 2,
        backend_allow_ips: AddressPolicy::Both,
        cert_expiry_warning_days: 30,
        reserved_ports: Vec::new(),
        plugins: &Catalog,
    }
}

fn load_json(document: Value) -> Result<Loaded, LoadError> {
    load_text(&document.to_string(), Format::Json, &options())
}

fn document(parts: Value) -> Value {
    let mut document = json!({"version": "1", "proxies": [], "consumers": [], "plugin_configs": []});
    for (key, value) in parts.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

/// A sound HTTP proxy with some fields changed.
fn proxy(id: &str, changes: Value) -> Value {
    let mut proxy = json!({
        "id": id, "listen_path": format!("/{id}"), "backend_scheme": "http", "backend_host": "b", "backend_port": 80
    });
    for (key, value) in changes.as_object().unwrap() {
        proxy[key] = value.clone();
    }
    proxy
}

#[track_caller]
fn assert_refused(document: Value, summary: &str, expected: &[&str]) {
    match load_json(document) {
        Err(LoadError::Invalid { summary: found, errors }) => {
            assert_eq!(errors.len(), expected.len(), "{errors:#?}");
            for (error, expected) in errors.iter().zip(expected) {
                assert!(error.starts_with(expected), "{error}\nshould start with\n{expected}");
            }
            let wanted = format!("Configuration validation failed: {} {summary} found", expected.len());
            assert!(found.starts_with(&wanted), "{found}\nshould start with\n{wanted}");
        }
        other => panic!("not refused by a step: {other:?}"),
    }
}

const MINIMAL: &str = "version: \"1\"\nproxies: []\nconsumers: []\nplugin_configs: []\n";

#[test]
fn the_minimal_file_loads() {
    let loaded = load_text(MINIMAL, Format::Yaml, &options()).unwrap();
    assert!(loaded.document.proxies.is_empty() && loaded.document.upstreams.is_empty());
    assert_eq!((loaded.excluded, loaded.warnings), (0, vec![]));
    assert!(load_text(&format!("---\n{MINIMAL}"), Format::Yaml, &options()).is_ok());
}

const SHEET_FILE: &str = r#"version: "1"
proxies:
  - id: shop
    hosts: [shop.example.com]
    listen_path: /api
    backend_scheme: http
    backend_host: ""
    backend_port: 0
    upstream_id: shop-pool
    allowed_methods: [GET, POST, OPTIONS]
    retry:
      max_retries: 2
      retryable_status_codes: [502, 503]
      backoff: !exponential { base_ms: 50, max_ms: 1000 }
    circuit_breaker: { failure_threshold: 10, timeout_seconds: 15 }
    plugins:
      - plugin_config_id: shop-key
  - id: pg
    listen_port: 5432
    backend_scheme: tcp
    backend_host: db.internal
    backend_port: 5432
upstreams:
  - id: shop-pool
    algorithm: consistent_hashing
    hash_on: "cookie:srv"
    targets:
      - { host: 10.0.0.1, port: 8080, tags: { version: v1 } }
      - { host: 10.0.0.2, port: 8080, weight: 2, tags: { version: v2 } }
    subsets:
      - { name: v2, labels: { version: v2 } }
    health_checks:
      active: { http_path: /health, interval_seconds: 5 }
      passive: { unhealthy_threshold: 5, max_ejection_percent: 50 }
consumers:
  - id: c-alice
    username: alice
    acl_groups: [eng]
    credentials:
      keyauth:
        - key: k-1
plugin_configs:
  - id: log
    plugin_name: stdout_logging
    scope: global
    config: {}
  - id: shop-key
    plugin_name: key_auth
    scope: proxy
    proxy_id: shop
    config: {}
"#;

#[test]
fn the_sheets_complete_file_loads() {
    let document = load_text(SHEET_FILE, Format::Yaml, &options()).unwrap().document;
    let shop = &document.proxies[0];
    let retry = shop.retry.as_ref().unwrap();
    assert_eq!(retry.backoff, Backoff::Exponential { base_ms: 50, max_ms: 1000 });
    assert_eq!((retry.max_retries, retry.retry_on_connect_failure), (2, true));
    assert_eq!(shop.circuit_breaker.as_ref().unwrap().success_threshold, 3);
    assert_eq!(document.upstreams[0].targets[1].weight, 2);
    assert_eq!(document.upstreams[0].targets[0].tags["version"], "v1");
    assert_eq!(document.consumers[0].credential_values("keyauth", "key").collect::<Vec<_>>(), ["k-1"]);
    assert_eq!(document.known_namespaces, ["ferrum"]);

    let again = serde_norway::to_string(&document).unwrap();
    assert_eq!(load_text(&again, Format::Yaml, &options()).unwrap().document, document);
    let again = serde_json::to_string(&document).unwrap();
    assert_eq!(load_text(&again, Format::Json, &options()).unwrap().document, document);
}

#[test]
fn hosts_and_schemes_are_normalised() {
    let changes =
        json!({"hosts": ["API.Example.COM", "*.ÉXAMPLE.com"], "backend_host": "B.Internal", "backend_scheme": null});
    let mut hosts = proxy("a", changes);
    hosts["hosts"] = json!(["API.Example.COM"]);
    let loaded = load_json(document(json!({"proxies": [hosts]}))).unwrap();
    let proxy = &loaded.document.proxies[0];
    assert_eq!((proxy.hosts[0].as_str(), proxy.backend_host.as_str()), ("api.example.com", "b.internal"));
    assert_eq!(proxy.backend_scheme, Some(BackendScheme::Https));
}

#[test]
fn step_1_ids_of_every_type() {
    let input = document(json!({
        "proxies": [proxy("", json!({}))],
        "consumers": [{"id": "a b", "username": "u"}],
        "plugin_configs": [{"id": "-", "plugin_name": "x", "scope": "global"}],
        "upstreams": [{"id": "x".repeat(255), "targets": []}],
    }));
    let long = format!("upstreams[0] \"{}\": Upstream ID: ID must be at most 254 characters, got 255", "x".repeat(255));
    let expected = [
        "proxies[0] \"\": Proxy ID: ID must not be empty",
        "consumers[0] \"a b\": Consumer ID: ID 'a b' is invalid: must start with an alphanumeric character and contain only",
        "plugin_configs[0] \"-\": PluginConfig ID: ID '-' is invalid",
        &long,
    ];
    assert_refused(input, "invalid resource ID(s)", &expected);
}

#[test]
fn step_2_fields_of_every_type_with_their_prefix() {
    let input = document(json!({
        "proxies": [proxy("ok", json!({})), proxy("orders", json!({"backend_port": 0}))],
        "consumers": [{"id": "c", "username": " "}],
        "upstreams": [{"id": "u", "targets": []}],
        "plugin_configs": [{"id": "p", "plugin_name": "", "scope": "global"}],
    }));
    let expected = [
        "proxies[1] \"orders\": Proxy 'orders': backend_port must be greater than 0 (or set upstream_id)",
        "consumers[0] \"c\": Consumer 'c': username must not be empty",
        "upstreams[0] \"u\": Upstream 'u': must have at least one target or service_discovery",
        "plugin_configs[0] \"p\": PluginConfig 'p': plugin_name must not be empty",
    ];
    assert_refused(input, "invalid field(s)", &expected);
}

#[test]
fn step_2_addresses_against_the_policy() {
    let input = document(json!({
        "proxies": [proxy("a", json!({"backend_host": "10.0.0.1", "dns_override": "127.0.0.1"})), proxy("b", json!({}))],
        "upstreams": [{"id": "u", "targets": [{"host": "8.8.8.8", "port": 1}, {"host": "[::1]", "port": 1}]}],
        "plugin_configs": [
            {"id": "d", "plugin_name": "mesh_route_dispatch", "scope": "global",
             "config": {"rules": [{"destination": {"upstream_id": "u"}}, {"destination": {"backend_host": "192.168.0.1"}}]}},
            {"id": "off", "plugin_name": "mesh_route_dispatch", "scope": "global", "enabled": false,
             "config": {"rules": [{"destination": {"backend_host": "192.168.0.1"}}]}}
        ],
    }));
    assert!(load_json(input.clone()).is_ok());
    let public = LoadOptions { backend_allow_ips: AddressPolicy::Public, ..options() };
    let Err(LoadError::Invalid { errors, .. }) = load_text(&input.to_string(), Format::Json, &public) else {
        panic!("private addresses must be refused");
    };
    let expected = [
        "proxies[0] \"a\": Proxy 'a': backend_host IP 10.0.0.1 denied by FERRUM_BACKEND_ALLOW_IPS=public policy",
        "proxies[0] \"a\": Proxy 'a': dns_override IP 127.0.0.1 denied by FERRUM_BACKEND_ALLOW_IPS=public policy",
        "upstreams[0] \"u\": Upstream 'u': targets[1].host IP ::1 denied by FERRUM_BACKEND_ALLOW_IPS=public policy",
        "plugin_configs[0] \"d\": PluginConfig 'd' mesh_route_dispatch.rules[1].destination.backend_host IP 192.168.0.1 \
         denied by FERRUM_BACKEND_ALLOW_IPS=public policy",
    ];
    assert_eq!(errors, expected);
    let private = LoadOptions { backend_allow_ips: AddressPolicy::Private, ..options() };
    let Err(LoadError::Invalid { errors, .. }) = load_text(&input.to_string(), Format::Json, &private) else {
        panic!("public addresses must be refused");
    };
    assert_eq!(
        errors,
        [
            "upstreams[0] \"u\": Upstream 'u': targets[0].host IP 8.8.8.8 denied by FERRUM_BACKEND_ALLOW_IPS=private policy"
        ]
    );
}

#[test]
fn step_2_tls_files_are_opened() {
    let fields = json!({
        "backend_scheme": "https", "backend_tls_client_cert_path": "/nonexistent/cert.pem",
        "backend_tls_client_key_path": "/nonexistent/key.pem"
    });
    let input = document(json!({
        "proxies": [proxy("a", fields.clone()), proxy("b", fields)],
        "upstreams": [
            {"id": "u", "targets": [{"host": "h", "port": 1}], "backend_tls_server_ca_cert_path": "/nonexistent/ca.pem"}
        ],
    }));
    let expected = [
        "proxies[0] \"a\": Proxy 'a': backend_tls_client_cert_path: failed to open certificate file '/nonexistent/cert.pem': ",
        "proxies[0] \"a\": Proxy 'a': backend_tls_client_key_path: failed to open key file '/nonexistent/key.pem': ",
        "upstreams[0] \"u\": Upstream 'u': backend_tls_server_ca_cert_path: failed to open certificate file '/nonexistent/ca.pem'",
    ];
    assert_refused(input, "invalid field(s)", &expected);
}

#[test]
fn step_3_ids_are_unique_per_type_over_all_namespaces() {
    let other = json!({"namespace": "other", "listen_path": "/elsewhere"});
    let input = document(json!({
        "proxies": [proxy("same", json!({})), proxy("same", other)],
        "consumers": [{"id": "same", "username": "u"}, {"id": "same", "username": "v"}],
        "plugin_configs": [
            {"id": "same", "plugin_name": "key_auth", "scope": "global"}, {"id": "same", "plugin_name": "key_auth", "scope": "global"}
        ],
        "upstreams": [
            {"id": "same", "targets": [{"host": "h", "port": 1}]}, {"id": "same", "targets": [{"host": "h", "port": 1}]}
        ],
    }));
    let expected = [
        "proxies[1] \"same\": Duplicate proxy ID 'same'",
        "consumers[1] \"same\": Duplicate consumer ID 'same'",
        "plugin_configs[1] \"same\": Duplicate plugin_config ID 'same'",
        "upstreams[1] \"same\": Duplicate upstream ID 'same'",
    ];
    assert_refused(input, "duplicate resource ID(s)", &expected);
}

#[test]
fn steps_5_and_6_hosts_and_regexes() {
    let hosts = document(json!({"proxies": [proxy("a", json!({"hosts": ["x.com:80", "ok", "a_b"]}))]}));
    let expected = [
        "proxies[0] \"a\": Proxy 'a': host 'x.com:80' must not contain a port number",
        "proxies[0] \"a\": Proxy 'a': host 'a_b' is invalid: must be a valid hostname",
    ];
    assert_refused(hosts, "invalid host(s)", &expected);
    let regex = document(json!({"proxies": [proxy("a", json!({"listen_path": "~bad["}))]}));
    let expected = ["proxies[0] \"a\": Proxy 'a': invalid regex listen_path '~bad[': "];
    assert_refused(regex, "invalid regex listen_path(s)", &expected);
}

#[test]
fn steps_7_to_11_name_the_resource_by_its_place_in_the_file() {
    let elsewhere = proxy("first", json!({"namespace": "other"}));
    let routes = document(json!({
        "proxies": [elsewhere, proxy("a", json!({"listen_path": "/x"})), proxy("b", json!({"listen_path": "/x"}))]
    }));
    let expected = ["proxies[2] \"b\": Duplicate listen_path '/x' found in proxy 'b' (conflicts with 'a')"];
    assert_refused(routes, "duplicate listen_path(s)", &expected);

    let identities = document(json!({"consumers": [{"id": "a", "username": "u"}, {"id": "b", "username": "u"}]}));
    let expected = ["consumers[1] \"b\": Duplicate consumer username 'u' in consumer 'b' (conflicts with 'a')"];
    assert_refused(identities, "duplicate consumer identity(ies)", &expected);

    let keys = json!({"keyauth": [{"key": "secret-key"}]});
    let credentials = document(json!({
        "consumers": [{"id": "a", "username": "u", "credentials": keys}, {"id": "b", "username": "v", "credentials": keys}]
    }));
    let expected = ["consumers[1] \"b\": Duplicate keyauth API key in consumer 'b' (conflicts with consumer 'a')"];
    assert_refused(credentials, "duplicate consumer credential(s)", &expected);

    let target = json!([{"host": "h", "port": 1}]);
    let upstreams = document(json!({
        "upstreams": [{"id": "a", "name": "n", "targets": target}, {"id": "b", "name": "n", "targets": target}]
    }));
    let expected = ["upstreams[1] \"b\": Duplicate upstream name 'n' in upstream 'b' (conflicts with 'a')"];
    assert_refused(upstreams, "duplicate upstream name(s)", &expected);

    let names = document(json!({"proxies": [proxy("a", json!({"name": ""})), proxy("b", json!({"name": ""}))]}));
    let expected = ["proxies[1] \"b\": Duplicate proxy name '' in proxy 'b' (conflicts with 'a')"];
    assert_refused(names, "duplicate proxy name(s)", &expected);
}

#[test]
fn steps_12_to_14_references() {
    let upstream = document(json!({"proxies": [proxy("a", json!({"upstream_id": "u"}))]}));
    let expected = ["proxies[0] \"a\": Proxy 'a' references non-existent upstream_id 'u'"];
    assert_refused(upstream, "invalid upstream reference(s)", &expected);

    let dispatch = document(json!({"plugin_configs": [
        {"id": "d", "plugin_name": "mesh_route_dispatch", "scope": "global", "config": {"rules": [{"destination": {"upstream_id": "u"}}]}}
    ]}));
    let expected =
        ["plugin_configs[0] \"d\": PluginConfig 'd' (mesh_route_dispatch) rule 0 for proxy_id '<none>' references \
                     upstream_id 'u' that is not present in the active GatewayConfig namespace"];
    assert_refused(dispatch, "invalid mesh_route_dispatch upstream reference(s)", &expected);

    let listed = document(json!({
        "proxies": [proxy("a", json!({"plugins": [{"plugin_config_id": "g"}]}))],
        "plugin_configs": [{"id": "g", "plugin_name": "key_auth", "scope": "global"}]
    }));
    let expected = ["proxies[0] \"a\": Proxy 'a' references plugin_config 'g' with scope 'global' — "];
    assert_refused(listed, "invalid plugin reference(s)", &expected);
}

#[test]
fn step_15_every_enabled_plugin_is_asked() {
    let input = document(json!({"plugin_configs": [
        {"id": "a", "plugin_name": "key_auth", "scope": "global", "config": {"bad": 1}},
        {"id": "b", "plugin_name": "nope", "scope": "global"},
        {"id": "c", "plugin_name": "nope", "scope": "global", "enabled": false},
        {"id": "d", "plugin_name": "key_auth", "scope": "global", "config": {"bad": 1}, "namespace": "other"},
    ]}));
    let expected = [
        "plugin_configs[0] \"a\": Plugin 'key_auth' (id=a): 'bad' is not allowed",
        "plugin_configs[0] \"a\": Plugin 'key_auth' (id=a): and again",
        "plugin_configs[1] \"b\": Unknown plugin name 'nope'",
    ];
    assert_refused(input, "plugin config error(s)", &expected);
}

#[test]
fn step_16_files_that_plugins_name() {
    let input = document(json!({"plugin_configs": [
        {"id": "geo", "plugin_name": "geo_restriction", "scope": "global", "config": {"db_path": " /nonexistent.mmdb "}},
        {"id": "d", "plugin_name": "mesh_route_dispatch", "scope": "global", "config": {"rules": [
            {"destination": {"backend_host": "h", "backend_port": 1, "backend_tls": {"client_key_path": "/nonexistent.key"}}}
        ]}},
        {"id": "off", "plugin_name": "geo_restriction", "scope": "global", "enabled": false, "config": {"db_path": "/none"}},
    ]}));
    let expected = [
        "plugin_configs[0] \"geo\": Plugin 'geo_restriction' (id=geo): db_path: failed to open '/nonexistent.mmdb': ",
        "plugin_configs[1] \"d\": Plugin 'mesh_route_dispatch' (id=d): rules[0].destination.backend_tls.client_key_path: failed to open \
         key file '/nonexistent.key': ",
    ];
    assert_refused(input, "plugin file dependency error(s)", &expected);
}

#[test]
fn steps_17_and_18_ports() {
    let stream = |changes| {
        let mut stream = json!({"id": "s", "backend_scheme": "tcp", "backend_host": "b", "backend_port": 1});
        stream.as_object_mut().unwrap().extend::<serde_json::Map<_, _>>(Value::as_object(&changes).unwrap().clone());
        document(json!({"proxies": [stream]}))
    };
    let expected = ["proxies[0] \"s\": Stream proxy 's' (scheme tcp) must have a listen_port"];
    assert_refused(stream(json!({})), "stream proxy error(s)", &expected);

    let input = stream(json!({"listen_port": 9000})).to_string();
    assert!(load_text(&input, Format::Json, &options()).is_ok());
    let reserved = LoadOptions { reserved_ports: vec![0, 8000, 9000], ..options() };
    let error = load_text(&input, Format::Json, &reserved).unwrap_err();
    assert_eq!(error.to_string(), "Stream proxy port conflicts with gateway reserved ports");
    let LoadError::Invalid { errors, .. } = error else { panic!("{error}") };
    let expected = "proxies[0] \"s\": Stream proxy 's' listen_port 9000 conflicts with a gateway reserved port \
                    (proxy/admin/gRPC listener)";
    assert_eq!(errors, [expected]);
}

#[test]
fn an_earlier_step_hides_the_later_ones() {
    let input = document(json!({
        "proxies": [proxy("a", json!({"hosts": ["a_b"], "upstream_id": "none"}))],
        "consumers": [{"id": "c", "username": "u"}, {"id": "d", "username": "u"}],
    }));
    assert_refused(input, "invalid host(s)", &["proxies[0] \"a\": Proxy 'a': host 'a_b' is invalid"]);
}

#[test]
fn two_namespaces_may_share_paths_names_ports_and_usernames() {
    let twin = |id: &str, namespace: &str| {
        let stream = json!({
            "id": format!("{id}-s"), "namespace": namespace, "backend_scheme": "tcp", "backend_host": "b", "backend_port": 1,
            "listen_port": 7000
        });
        let http = proxy(id, json!({"namespace": namespace, "listen_path": "/x", "name": "same"}));
        (
            http,
            stream,
            json!({"id": id, "namespace": namespace, "username": "u", "credentials": {"keyauth": [{"key": "k"}]}}),
        )
    };
    let ((a, b, c), (d, e, f)) = (twin("one", "ferrum"), twin("two", "other"));
    let loaded = load_json(document(json!({"proxies": [a, b, d, e], "consumers": [c, f]}))).unwrap();
    assert_eq!(loaded.document.proxies.iter().map(|proxy| proxy.id.as_str()).collect::<Vec<_>>(), ["one", "one-s"]);
    assert_eq!((loaded.document.consumers.len(), loaded.excluded), (1, 3));
    assert_eq!(loaded.document.known_namespaces, ["ferrum", "other"]);
}

#[test]
fn steps_1_to_6_look_at_every_namespace() {
    let input = document(json!({"proxies": [proxy("a", json!({"namespace": "other", "hosts": ["a_b"]}))]}));
    assert_refused(input, "invalid host(s)", &["proxies[0] \"a\""]);
}

#[test]
fn references_do_not_cross_namespaces() {
    let input = document(json!({
        "proxies": [proxy("a", json!({"upstream_id": "u"}))],
        "upstreams": [{"id": "u", "namespace": "other", "targets": [{"host": "h", "port": 1}]}],
    }));
    assert_refused(input, "invalid upstream reference(s)", &["proxies[0] \"a\""]);
}

#[test]
fn the_mesh_block_is_decoded_and_not_judged() {
    let mesh = json!({"services": [{"name": "", "namespace": ""}], "future": 1});
    let loaded = load_json(document(json!({"mesh": mesh}))).unwrap();
    assert_eq!(loaded.document.mesh.unwrap().services.len(), 1);
    let broken = load_json(document(json!({"mesh": {"services": [{"name": 1}]}})));
    assert!(matches!(broken, Err(LoadError::Decode(_))));
}

/// A directory of this test alone, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferrum-load-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // a leftover in the temporary directory fails no test
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_missing_file_and_a_file_that_is_no_text() {
    let directory = Directory::new("missing");
    let path = directory.0.join("none.yaml");
    let error = load_file(&path, &options()).unwrap_err();
    assert_eq!(error.to_string(), format!("Configuration file not found: {}", path.display()));
    let path = directory.write("bytes.yaml", [0xff, 0xfe]);
    assert!(matches!(load_file(&path, &options()), Err(LoadError::Unreadable { .. })));
}

#[test]
fn the_extension_decides_the_format() {
    let directory = Directory::new("formats");
    let json = document(json!({})).to_string();
    for (name, text) in [("a.yaml", MINIMAL), ("a.YML", MINIMAL), ("a.json", &json), ("a.conf", MINIMAL), ("a", &json)]
    {
        let path = directory.write(name, text);
        assert!(load_file(&path, &options()).is_ok(), "{name}");
    }
    let path = directory.write("b.JSON", MINIMAL);
    assert!(matches!(load_file(&path, &options()), Err(LoadError::Decode(_))));
}

#[cfg(unix)]
#[test]
fn a_world_readable_file_loads_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new("mode");
    let path = directory.write("a.yaml", MINIMAL);
    let load_with = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        load_file(&path, &options()).unwrap().warnings
    };
    assert_eq!(load_with(0o640), [""; 0]);
    let warnings = load_with(0o644);
    let start = format!("Config file {} is world-readable (mode 644)", path.display());
    assert!(warnings.len() == 1 && warnings[0].starts_with(&start), "{warnings:?}");
}
