//! What operators do beside a running gateway: `admin token`, `export` and `import`. SQLite always; PostgreSQL and MariaDB where
//! `make test` has started them.

// `json!` goes one level deeper with each key, and a proxy has many.
#![recursion_limit = "512"]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::{Authority, Backend, Exit, Gateway, eventually, run_cli};

const SECRET: &str = "a secret of the admin API, long enough";

/// A folder that is there, and empty.
fn fresh_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ferrum-edge-tools-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn sqlite(folder: &Path, name: &str) -> String {
    format!("sqlite://{}?mode=rwc", folder.join(name).display())
}

/// A command with the settings of one database.
fn on(url: &str, arguments: &[&str]) -> Exit {
    let kind = url.split(':').next().unwrap_or_default();
    run_cli(arguments, &[("FERRUM_DB_TYPE", kind), ("FERRUM_DB_URL", url)])
}

#[track_caller]
fn done(exit: &Exit) -> String {
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{exit:?}");
    exit.stdout.clone()
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Every field that a document can have and a table can hold, of resources whose ids begin with `namespace`.
fn full_document(namespace: &str) -> Value {
    // Its files are needed for as long as the document is.
    let authority = Box::leak(Box::new(Authority::new()));
    let identity = authority.issue(&["client"]);
    let (cert, key, ca) = (identity.certificate.clone(), identity.key.clone(), authority.bundle());
    let id = |name: &str| format!("{namespace}-{name}");
    let (created_at, updated_at) = ("2026-01-02T03:04:05.123456789Z", "2026-02-03T04:05:06Z");
    let http = json!({
        "id": id("http"), "name": "an HTTP proxy", "namespace": namespace, "hosts": ["a.example", "*.b.example"],
        "listen_path": "/x", "backend_scheme": "https", "backend_host": "h.example", "backend_port": 8443, "backend_path": "/y",
        "strip_listen_path": false, "preserve_host_header": true, "backend_connect_timeout_ms": 1, "backend_read_timeout_ms": 0,
        "backend_write_timeout_ms": 3, "backend_tls_client_cert_path": cert, "backend_tls_client_key_path": key,
        "backend_tls_verify_server_cert": false, "backend_tls_server_ca_cert_path": ca, "dns_override": "192.0.2.1",
        "dns_cache_ttl_seconds": 5, "auth_mode": "multi",
        "plugins": [{"plugin_config_id": id("group")}, {"plugin_config_id": id("own")}],
        "pool_idle_timeout_seconds": 6, "pool_enable_http_keep_alive": false, "pool_enable_http2": false,
        "pool_tcp_keepalive_seconds": 7, "pool_http2_keep_alive_interval_seconds": 8,
        "pool_http2_keep_alive_timeout_seconds": 9, "pool_http2_initial_stream_window_size": 65535,
        "pool_http2_initial_connection_window_size": 134_217_728, "pool_http2_adaptive_window": false,
        "pool_http2_max_frame_size": 16384, "pool_http2_max_concurrent_streams": 4_294_967_295_u32,
        "pool_http3_connections_per_backend": 256, "pool_max_requests_per_connection": 9_223_372_036_854_775_807_u64,
        "upstream_id": id("upstream"), "upstream_subset": "blue",
        "circuit_breaker": {
            "failure_threshold": 1, "success_threshold": 2, "timeout_seconds": 3, "failure_status_codes": [500],
            "half_open_max_requests": 4, "trip_on_connection_errors": false,
        },
        "retry": {
            "max_retries": 1, "retryable_status_codes": [503], "retryable_methods": ["GET"],
            "backoff": {"exponential": {"base_ms": 1, "max_ms": 2}}, "retry_on_connect_failure": false,
        },
        "response_body_mode": "buffer", "listen_port": null, "frontend_tls": false, "passthrough": false,
        "udp_idle_timeout_seconds": 60, "udp_max_response_amplification_factor": 2.5, "tcp_idle_timeout_seconds": 0,
        "allowed_methods": ["GET", "post"], "allowed_ws_origins": ["https://a.example"],
        "created_at": created_at, "updated_at": updated_at,
    });
    let mut tcp = http.clone();
    for (key, value) in [
        ("id", json!(id("tcp"))),
        ("name", json!(null)),
        ("hosts", json!([])),
        ("listen_path", json!(null)),
        ("backend_scheme", json!("tcps")),
        ("listen_port", json!(65000)),
        ("frontend_tls", json!(true)),
        ("response_body_mode", json!("stream")),
        ("plugins", json!([])),
        ("retry", json!(null)),
    ] {
        tcp[key] = value;
    }
    let upstream = json!({
        "id": id("upstream"), "name": "an upstream", "namespace": namespace,
        "targets": [{"host": "t.example", "port": 1, "weight": 2, "tags": {"colour": "blue"}, "locality": "eu/a", "path": "/t"}],
        "algorithm": "consistent_hashing", "hash_on": "cookie:c",
        "hash_on_cookie_config": {
            "path": "/c", "ttl_seconds": 1, "domain": "c.example", "http_only": false, "secure": true, "same_site": "Strict",
        },
        "health_checks": {
            "active": {
                "http_path": "/h", "interval_seconds": 1, "timeout_ms": 2, "healthy_threshold": 3, "unhealthy_threshold": 4,
                "healthy_status_codes": [204], "use_tls": true, "probe_type": "grpc", "udp_probe_payload": "00ff",
                "grpc_service_name": "s",
            },
            "passive": {
                "unhealthy_status_codes": [500], "unhealthy_threshold": 1, "unhealthy_window_seconds": 2,
                "healthy_after_seconds": 0, "max_ejection_percent": 50, "gateway_error_codes": [502],
                "split_external_local_origin_errors": true,
            },
        },
        "service_discovery": {
            "provider": "consul", "dns_sd": null, "kubernetes": null,
            "consul": {
                "address": "http://127.0.0.1:8500", "service_name": "s", "datacenter": "d", "tag": "t", "healthy_only": false,
                "token": "secret", "poll_interval_seconds": 31,
            },
            "mesh": null, "default_weight": 2,
        },
        "subsets": [{"name": "blue", "labels": {"colour": "blue"}, "traffic_policy": {"load_balancer_algorithm": "random"}}],
        "backend_tls_client_cert_path": cert, "backend_tls_client_key_path": key, "backend_tls_verify_server_cert": false,
        "backend_tls_server_ca_cert_path": ca, "backend_tls_sni": "sni.example",
        "backend_tls_san_allow_list": ["san.example", "spiffe://d/W"], "created_at": created_at, "updated_at": updated_at,
    });
    let consumer = json!({
        "id": id("consumer"), "username": "alice", "namespace": namespace, "custom_id": "7",
        "credentials": {
            "keyauth": [{"key": "k-1"}, {"key": "k-2"}],
            "basicauth": [{"password_hash": format!("hmac_sha256:{}", "0".repeat(64))}],
            "jwt": [{"secret": "a secret with more than thirty-two characters"}],
            "hmac_auth": [{"secret": "s"}], "mtls_auth": [{"identity": "CN=alice"}], "of_my_own": [{"n": 1.5, "l": [null]}],
        },
        "acl_groups": ["admins", "all"], "created_at": created_at, "updated_at": updated_at,
    });
    let config = |name: &str, scope: &str, proxy: Value, more: Value| {
        let mut config = json!({
            "id": id(name), "plugin_name": "request_termination", "namespace": namespace,
            "config": {"status_code": 503, "body": "closed: 'for' \"good\"; ü"}, "scope": scope, "proxy_id": proxy, "enabled": true,
            "created_at": created_at, "updated_at": updated_at,
        });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        config
    };
    json!({
        "version": "1",
        "proxies": [http, tcp],
        "consumers": [consumer],
        "plugin_configs": [
            config("global", "global", json!(null), json!({"enabled": false, "config": null, "plugin_name": "cors"})),
            config("group", "proxy_group", json!(null), json!({"priority_override": 10_000})),
            config("own", "proxy", json!(id("http")), json!({})),
        ],
        "upstreams": [upstream],
    })
}

fn every_field_survives(url: &str, folder: &Path, namespace: &str) {
    let document = full_document(namespace);
    let (spec, first, second) = (folder.join("spec.json"), folder.join("first.json"), folder.join("second.yaml"));
    std::fs::write(&spec, document.to_string()).expect("a document");
    let said = done(&on(url, &["import", "--spec", shown(&spec), "--replace"]));
    let counts = "proxies 2, consumers 1, upstreams 1, plugin configs 3";
    assert!(said.starts_with(&format!("Imported into namespace '{namespace}': {counts}")), "{said}");
    assert_eq!(done(&on(url, &["export", "--namespace", namespace, "--output", shown(&first)])), "");
    let exported: Value = serde_json::from_slice(&std::fs::read(&first).expect("an export")).expect("JSON");
    for (key, value) in document.as_object().expect("an object") {
        assert_eq!(&exported[key], value, "{key}");
    }
    assert_eq!(exported.as_object().map(serde_json::Map::len), document.as_object().map(serde_json::Map::len));

    let yaml = done(&on(url, &["export", "--namespace", namespace]));
    std::fs::write(&second, &yaml).expect("a document");
    let occupied = on(url, &["import", "--spec", shown(&second)]);
    let said = format!("Namespace '{namespace}' of ");
    assert!(occupied.code == Some(1) && occupied.stderr.contains(&said), "{occupied:?}");
    assert!(occupied.stderr.contains("it has 7 resources already; --replace"), "{occupied:?}");
    done(&on(url, &["import", "--spec", shown(&second), "--replace"]));
    assert_eq!(done(&on(url, &["export", "--namespace", namespace])), yaml);
}

#[test]
fn every_field_survives_sqlite() {
    let folder = fresh_folder("sqlite");
    every_field_survives(&sqlite(&folder, "config.db"), &folder, "team-a");
}

/// A database that other tests use at the same time, in namespaces of theirs.
fn server(variable: &str, namespace: &str) {
    match std::env::var(variable) {
        Ok(url) => every_field_survives(&url, &fresh_folder(namespace), namespace),
        Err(_) => eprintln!("not run: no server ({variable})"),
    }
}

#[test]
fn every_field_survives_postgres() {
    server("FERRUM_TEST_POSTGRES_URL", "tools-postgres");
}

#[test]
fn every_field_survives_mariadb() {
    server("FERRUM_TEST_MYSQL_URL", "tools-mariadb");
}

#[test]
fn every_field_survives_mongodb() {
    server("FERRUM_TEST_MONGODB_URL", "tools-mongodb");
}

#[test]
fn an_export_of_all_namespaces_is_an_import_of_all() {
    let folder = fresh_folder("all");
    let (one, other) = (sqlite(&folder, "one.db"), sqlite(&folder, "other.db"));
    for namespace in ["a", "b"] {
        let spec = folder.join(format!("{namespace}.json"));
        std::fs::write(&spec, full_document(namespace).to_string()).expect("a document");
        done(&on(&one, &["import", "--spec", shown(&spec)]));
    }
    let all = folder.join("all.yaml");
    done(&on(&one, &["export", "--output", shown(&all)]));
    let dry = on(&other, &["import", "--spec", shown(&all), "--dry-run"]);
    assert!(dry.code == Some(0) && dry.stderr.contains("only the file was checked"), "{dry:?}");
    assert_eq!(done(&on(&other, &["import", "--spec", shown(&all)])).lines().count(), 2);
    assert_eq!(done(&on(&other, &["export"])), std::fs::read_to_string(&all).expect("an export"));
    let dry = done(&on(&other, &["import", "--spec", shown(&all), "--dry-run", "--replace"]));
    assert!(dry.starts_with("Would import into namespace 'a': proxies 2, "), "{dry}");
    assert!(dry.contains(", in place of 7 resources"), "{dry}");
}

#[test]
fn what_is_imported_is_served_and_its_export_is_a_startup_backup() {
    let folder = fresh_folder("served");
    let backend = Backend::saying("served");
    let (url, spec, backup) = (sqlite(&folder, "config.db"), folder.join("spec.yaml"), folder.join("backup.json"));
    let text = format!(
        "version: \"1\"\nproxies:\n  - {{id: p, listen_path: /p, backend_scheme: http, backend_host: 127.0.0.1, \
         backend_port: {}}}\nconsumers: []\nplugin_configs: []\n",
        backend.port()
    );
    std::fs::write(&spec, text).expect("a document");
    done(&on(&url, &["import", "--spec", shown(&spec)]));
    done(&on(&url, &["export", "--namespace", "ferrum", "--output", shown(&backup)]));
    let start = |url: &str| {
        Gateway::builder()
            .env("FERRUM_MODE", "database")
            .env("FERRUM_DB_TYPE", "sqlite")
            .env("FERRUM_DB_URL", url)
            .env("FERRUM_DB_CONFIG_BACKUP_PATH", backup.display())
            .env("FERRUM_ADMIN_JWT_SECRET", SECRET)
            .start()
    };
    assert_eq!(start(&url).get("/p").text(), "served");
    assert_eq!(start("sqlite:///nowhere/at/all.db").get("/p").text(), "served");
}

#[test]
fn what_cannot_be_done_is_said_without_a_password() {
    let folder = fresh_folder("refused");
    let spec = folder.join("spec.yaml");
    std::fs::write(&spec, "version: \"1\"\nproxies: []\nconsumers: []\nplugin_configs: []\nmesh: {}\n")
        .expect("a file");
    let exit = on(&sqlite(&folder, "config.db"), &["import", "--spec", shown(&spec)]);
    assert!(exit.code == Some(1) && exit.stderr.contains("mesh: the tables have no column for it"), "{exit:?}");
    let exit = on(&sqlite(&folder, "empty.db"), &["export"]);
    assert!(exit.code == Some(1) && exit.stderr.contains("FERRUM_MODE=migrate makes them"), "{exit:?}");
    let url = "postgres://ferrum:hunter2@127.0.0.1:1/db";
    let environment =
        [("FERRUM_DB_TYPE", "postgres"), ("FERRUM_DB_URL", url), ("FERRUM_DB_POOL_ACQUIRE_TIMEOUT_SECONDS", "1")];
    let exit = run_cli(&["export"], &environment);
    assert!(exit.code == Some(1) && exit.stderr.contains("postgres://ferrum@127.0.0.1:1/db"), "{exit:?}");
    assert!(!format!("{exit:?}").contains("hunter2"), "{exit:?}");
    let exit = run_cli(&["export"], &[("FERRUM_MODE", "file"), ("FERRUM_FILE_CONFIG_PATH", "x")]);
    assert!(exit.stderr.contains("FERRUM_DB_TYPE is required: it names the database"), "{exit:?}");
}

#[test]
fn a_token_opens_the_admin_api() {
    let gateway =
        Gateway::builder().env("FERRUM_ADMIN_JWT_SECRET", SECRET).env("FERRUM_ADMIN_JWT_ISSUER", "us").start();
    let folder = fresh_folder("token");
    let secret = folder.join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("a secret");
    let environment = [
        ("FERRUM_MODE", "file"),
        ("FERRUM_FILE_CONFIG_PATH", "x"),
        ("FERRUM_ADMIN_JWT_SECRET_FILE", shown(&secret)),
        ("FERRUM_ADMIN_JWT_ISSUER", "us"),
    ];
    let token = |role: &str| done(&run_cli(&["admin", "token", "--role", role], &environment));
    let ask =
        |token: &str, path: &str| gateway.admin(path, &[&format!("Authorization: Bearer {}", token.trim_end())]).status;
    eventually("the API answers", || (ask(&token("viewer"), "/proxies") == 200).then_some(()));
    assert_eq!(ask(&token("viewer"), "/backup"), 403);
    assert_eq!(ask(&token("admin"), "/backup"), 200);
    let exit = run_cli(&["admin", "token", "--role", "admin", "--ttl-seconds", "3601"], &environment);
    let said = "Error: --ttl-seconds 3601: FERRUM_ADMIN_JWT_MAX_TTL allows at most 3600\n";
    assert_eq!((exit.code, exit.stdout.as_str(), exit.stderr.as_str()), (Some(1), "", said));
}
