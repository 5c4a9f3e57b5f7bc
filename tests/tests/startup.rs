//! A gateway that cannot start says why, all of it, and exits with 1.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tests::{Backend, Document, Exit, Gateway, PortLease, Proxy};

#[track_caller]
fn fails_with(exit: &Exit, messages: &[&str]) {
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let said = exit.messages();
    for message in messages {
        assert!(said.iter().any(|text| text.contains(message)), "{message:?} is not among {said:#?}");
    }
}

#[test]
fn a_document_with_several_mistakes_has_them_all_named() {
    let backend = Backend::saying("ok");
    let document = Document::new()
        .proxy(Proxy::new("empty-path").path("").to(backend.port()))
        .proxy(Proxy::new("no-methods").path("/a").set("allowed_methods", Vec::<String>::new()).to(backend.port()))
        .proxy(Proxy::new("no-backend").path("/b").set("backend_host", "").set("backend_port", 0))
        .proxy(Proxy::new("fine").path("/c").to(backend.port()));
    let exit = Gateway::builder().document(&document).start_failing();
    fails_with(
        &exit,
        &[
            "Proxy 'empty-path': listen_path must not be an empty string",
            "Proxy 'no-methods': allowed_methods must be null (allow all) or a non-empty array",
            "Proxy 'no-backend': backend_host must be non-empty (or set upstream_id)",
            "Proxy 'no-backend': backend_port must be greater than 0 (or set upstream_id)",
            "Fatal error: Configuration validation failed: 4 invalid field(s) found",
        ],
    );
    backend.expect_untouched();
}

#[test]
fn every_kind_of_mistake_has_its_summary() {
    let proxy = |id: &str, path: &str| Proxy::new(id).path(path).to(1);
    let duplicate_route = Document::new().proxy(proxy("a", "/x")).proxy(proxy("b", "/x"));
    let duplicate_id = Document::new().proxy(proxy("a", "/x")).proxy(proxy("a", "/y"));
    let keys = |id: &str| json!({"id": id, "username": id, "credentials": {"keyauth": [{"key": "same"}]}});
    for (document, message, summary) in [
        (Document::new().proxy(proxy("-bad", "/x")), "Proxy ID: ", "1 invalid resource ID(s) found"),
        (duplicate_id, "Duplicate proxy ID 'a'", "1 duplicate resource ID(s) found"),
        (
            Document::new().proxy(proxy("a", "/x").hosts(&["x.com:80"])),
            "Proxy 'a': host 'x.com:80' must not contain a port number",
            "1 invalid host(s) found",
        ),
        (
            Document::new().proxy(proxy("a", "~bad[")),
            "Proxy 'a': invalid regex listen_path",
            "1 invalid regex listen_path(s) found",
        ),
        (
            duplicate_route,
            "Duplicate listen_path '/x' found in proxy 'b' (conflicts with 'a')",
            "1 duplicate listen_path(s) found",
        ),
        (
            Document::new().consumer(keys("one")).consumer(keys("two")),
            "Duplicate keyauth API key in consumer 'two' (conflicts with consumer 'one')",
            "1 duplicate consumer credential(s) found",
        ),
        (
            Document::new().proxy(proxy("a", "/x").set("upstream_id", "nowhere")),
            "Proxy 'a' references non-existent upstream_id 'nowhere'",
            "1 invalid upstream reference(s) found",
        ),
        (
            Document::new().plugin(json!({"id": "k", "plugin_name": "key_auth", "scope": "proxy", "proxy_id": "gone"})),
            "PluginConfig 'k' references non-existent proxy_id 'gone'",
            "1 invalid plugin reference(s) found",
        ),
        (
            Document::new().global_plugin("no_such_plugin", json!({})),
            "Unknown plugin name 'no_such_plugin'",
            "1 plugin config error(s) found",
        ),
    ] {
        let exit = Gateway::builder().document(&document).start_failing();
        fails_with(&exit, &[message, &format!("Fatal error: Configuration validation failed: {summary}")]);
        assert!(!exit.stderr.contains("\"same\""), "a key is never printed");
    }
}

#[test]
fn a_document_that_is_none_says_where() {
    for (text, message) in [
        ("version: \"1\"\nproxies: [", "Fatal error: "),
        ("version: 1\nproxies: []\nconsumers: []\nplugin_configs: []\n", "missing required 'version' field"),
        ("proxies: []\nconsumers: []\nplugin_configs: []\n", "missing required 'version' field"),
        (
            "version: \"2\"\nproxies: []\nconsumers: []\nplugin_configs: []\n",
            "No config migration path from version '2' to '1'",
        ),
        ("version: \"1\"\nproxies: []\nconsumers: []\nplugin_configs: []\nextra: 1\n", "extra"),
        ("version: \"1\"\nproxies:\nconsumers: []\nplugin_configs: []\n", "proxies"),
        ("version: \"1\"\nproxies: []\nconsumers: []\n", "plugin_configs"),
        (
            "version: \"1\"\nproxies:\n  - {id: a, listen_path: /, backend_host: h, backend_port: \"80\"}\n\
             consumers: []\nplugin_configs: []\n",
            "backend_port",
        ),
        (
            "version: \"1\"\nproxies:\n  - {id: a, listen_path: /, backend_host: h, backend_port: 80, backend_protocol: http}\n\
             consumers: []\nplugin_configs: []\n",
            "unknown field `backend_protocol`",
        ),
        ("version: \"1\"\nversion: \"1\"\nproxies: []\nconsumers: []\nplugin_configs: []\n", "version"),
    ] {
        fails_with(&Gateway::builder().document_text(text).start_failing(), &["Fatal error: ", message]);
    }
}

#[test]
fn a_missing_document_is_named() {
    let exit = Gateway::builder().env("FERRUM_FILE_CONFIG_PATH", "/nowhere/resources.yaml").start_failing();
    fails_with(&exit, &["Configuration file not found: /nowhere/resources.yaml"]);
}

#[test]
fn a_bad_setting_is_named_with_what_would_be_right() {
    for (name, value, expected) in [
        ("FERRUM_PROXY_HTTP_PORT", "yes", "Expected a valid u16 integer"),
        ("FERRUM_PROXY_HTTP_PORT", "70000", "Expected a valid u16 integer"),
        ("FERRUM_PROXY_HTTP_PORT", "", "Expected a valid u16 integer"),
        ("FERRUM_ADD_VIA_HEADER", "on", "Expected true, false, 1, or 0"),
        ("FERRUM_MAX_HEADER_COUNT", "-1", "Expected a valid usize integer"),
        ("FERRUM_SHUTDOWN_DRAIN_SECONDS", "5s", "Expected a valid u64 integer"),
        ("FERRUM_OVERLOAD_FD_PRESSURE_THRESHOLD", "high", "Expected a valid floating-point number"),
    ] {
        let exit = Gateway::builder().env(name, value).start_failing();
        fails_with(&exit, &[&format!("Configuration error: Invalid {name} value '{value}'. {expected}")]);
    }
    let exit = Gateway::builder().env("FERRUM_PROXY_BIND_ADDRESS", "localhost").start_failing();
    fails_with(
        &exit,
        &["Configuration error: Invalid FERRUM_PROXY_BIND_ADDRESS 'localhost'. Expected a valid IP address"],
    );
    let exit = Gateway::builder().env("FERRUM_MODE", "turbo").start_failing();
    fails_with(&exit, &["Configuration error: Invalid FERRUM_MODE"]);
}

#[test]
fn settings_of_the_pool_are_forgiving() {
    let backend = Backend::saying("ok");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = builder
        .env("FERRUM_POOL_IDLE_TIMEOUT_SECONDS", "a while")
        .env("FERRUM_POOL_ENABLE_HTTP_KEEP_ALIVE", "0")
        .env("FERRUM_CORES", 0)
        .start();
    assert_eq!((gateway.get("/").status, gateway.get("/").status), (200, 200));
    assert_eq!(backend.connections(), 1, "anything but `false` means true");
}

#[test]
fn a_proxy_port_in_use_is_fatal_and_names_the_listener() {
    let lease = PortLease::take();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", lease.number())).expect("the leased port");
    let exit = Gateway::builder().env("FERRUM_PROXY_HTTP_PORT", lease.number()).start_failing();
    fails_with(&exit, &["Fatal error: HTTP proxy listener exited before completing startup"]);
    assert!(exit.stderr.contains("in use"), "the cause stands beside it: {}", exit.stderr);
}

#[test]
fn an_admin_port_in_use_is_an_error_but_not_fatal() {
    let backend = Backend::saying("ok");
    let lease = PortLease::take();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", lease.number())).expect("the leased port");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = builder.env("FERRUM_ADMIN_HTTP_PORT", lease.number()).launch(&["run"]);
    gateway.wait_for_log(|text| text.starts_with("Admin HTTP listener error: "));
    gateway.wait_for_log(|text| text.starts_with("Gateway startup complete"));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn every_line_is_json_and_errors_are_on_stderr() {
    let mut gateway = Gateway::running(&Document::new());
    gateway.rewrite_document_text("broken: [");
    gateway.signal(tests::Signal::Hangup);
    gateway.wait_for_log(|text| text.starts_with("Configuration reload failed"));
    gateway.signal(tests::Signal::Terminate);
    let exit = gateway.exit(std::time::Duration::from_secs(5));
    let levels = |text: &str| -> Vec<String> {
        let level = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
            assert!(record["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{line}");
            assert!(record["fields"]["message"].is_string(), "{line}");
            assert!(record["target"].as_str().is_some_and(|t| t.starts_with("ferrum_edge")), "{line}");
            record["level"].as_str().expect("a level").to_owned()
        };
        text.lines().map(level).collect()
    };
    assert!(levels(&exit.stdout).iter().all(|level| level == "INFO"), "{}", exit.stdout);
    assert!(levels(&exit.stderr).iter().all(|level| level == "ERROR" || level == "WARN"), "{}", exit.stderr);
    assert!(levels(&exit.stderr).contains(&"ERROR".to_owned()));
}

#[test]
fn a_start_tells_its_mode_and_what_it_loaded() {
    let gateway = Gateway::running(&Document::all_to(1).global_plugin("correlation_id", json!({})));
    let log = gateway.log();
    assert!(log.iter().any(|text| text.starts_with("Ferrum Edge v") && text.ends_with("starting...")), "{log:?}");
    assert!(log.iter().any(|text| text == "Operating mode: File"), "{log:?}");
    let loaded = "Configuration loaded (version 1): 1 proxies, 0 consumers, 1 plugin configs";
    assert!(log.iter().any(|text| text == loaded), "{log:?}");
    gateway.wait_for_log(|text| text == "Gateway startup complete; /health now reports ready");
}

#[test]
fn a_world_readable_document_is_a_warning() {
    let folder = std::env::temp_dir().join(format!("ferrum-edge-readable-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("resources.yaml");
    std::fs::write(&path, Document::new().to_string()).expect("a document");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let gateway = Gateway::builder().env("FERRUM_FILE_CONFIG_PATH", path.display()).start();
    gateway.wait_for_log(|text| text.contains("is world-readable"));
    std::fs::remove_dir_all(&folder).expect("the folder goes away");
}

#[test]
fn the_conf_file_is_read_and_the_environment_wins() {
    let folder = std::env::temp_dir().join(format!("ferrum-edge-conf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("ferrum.conf");
    let lines = "# names\nFERRUM_VIA_PSEUDONYM = \"from the file\" \nFERRUM_MAX_QUERY_PARAMS=1 # one\n";
    std::fs::write(&path, lines).expect("a conf file");
    let backend = Backend::saying("ok");
    let builder =
        || Gateway::builder().document(&Document::all_to(backend.port())).env("FERRUM_CONF_PATH", path.display());
    let gateway = builder().start();
    assert_eq!(gateway.get("/?a").header("via"), Some("1.1 from the file"));
    assert_eq!(gateway.get("/?a&b").status, 400);
    let gateway = builder().env("FERRUM_VIA_PSEUDONYM", "from-the-environment").start();
    assert_eq!(gateway.get("/").header("via"), Some("1.1 from-the-environment"));
    std::fs::remove_dir_all(&folder).expect("the folder goes away");
}
