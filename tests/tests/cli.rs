//! The command line: exact output and exit codes.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Proxy, RefusingPort, Signal, run_cli};

/// A folder with a document in it, removed at the end of the test.
struct Spec(std::path::PathBuf);

impl Spec {
    fn of(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ferrum-edge-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("resources.yaml"), text).expect("a document");
        Self(folder)
    }

    fn path(&self) -> String {
        self.0.join("resources.yaml").display().to_string()
    }
}

impl Drop for Spec {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn version_is_one_line_with_the_target() {
    let exit = run_cli(&["version"], &[]);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""));
    let line = exit.stdout.strip_suffix('\n').expect("a line");
    let (version, target) = line.strip_prefix("ferrum-edge ").and_then(|rest| rest.split_once(' ')).expect("two parts");
    assert_eq!(version.split('.').count(), 3, "{line}");
    assert!(target.starts_with('(') && target.ends_with(')') && target.matches('-').count() >= 2, "{line}");

    let exit = run_cli(&["version", "--json"], &[]);
    assert_eq!((exit.code, exit.stdout.lines().count()), (Some(0), 1));
    let object: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert_eq!(object, json!({"version": version, "target": target.trim_matches(['(', ')'])}));

    for flag in ["--version", "-V"] {
        let exit = run_cli(&[flag], &[]);
        assert_eq!((exit.code, exit.stdout), (Some(0), format!("ferrum-edge {version}\n")));
    }
}

#[test]
fn help_names_the_subcommands_and_their_flags() {
    for flag in ["--help", "-h"] {
        let exit = run_cli(&[flag], &[]);
        assert_eq!(exit.code, Some(0));
        for name in ["run", "validate", "reload", "version", "health"] {
            assert!(exit.stdout.contains(name), "{name} is not in {}", exit.stdout);
        }
    }
    let exit = run_cli(&["run", "--help"], &[]);
    for flag in ["--settings", "--spec", "--mode", "--verbose"] {
        assert!(exit.stdout.contains(flag), "{flag} is not in {}", exit.stdout);
    }
}

#[test]
fn a_wrong_command_line_is_2_with_the_usage_on_stderr() {
    for arguments in [
        ["run", "--no-such-flag"].as_slice(),
        &["no-such-command"],
        &["reload", "--pid", "many"],
        &["health", "--port", "70000"],
        &["validate", "--mode", "file"],
    ] {
        let exit = run_cli(arguments, &[]);
        assert_eq!(exit.code, Some(2), "{arguments:?} {exit:?}");
        assert!(exit.stderr.contains("Usage") && exit.stdout.is_empty(), "{arguments:?} {exit:?}");
    }
}

#[test]
fn validate_counts_what_a_good_document_holds() {
    let alice = json!({"id": "alice", "username": "alice"});
    let document = Document::all_to(1)
        .proxy(Proxy::new("second").path("/second").to(1))
        .consumer(alice)
        .upstream(json!({"id": "pool", "targets": [{"host": "127.0.0.1", "port": 1}]}))
        .global_plugin("stdout_logging", json!({}))
        .proxy(Proxy::new("theirs").path("/").set("namespace", "other").to(1));
    let spec = Spec::of("good", &document.to_string());
    let path = spec.path();
    let expected = format!(
        "Settings (ferrum.conf): OK\n  Mode: File\nSpec ({path}): OK\n  Proxies: 2\n  Consumers: 1\n  Upstreams: 1\n  \
         Plugin configs: 1\n\nValidation passed.\n"
    );
    let exit = run_cli(&["validate", "--spec", &path], &[]);
    assert_eq!((exit.code, exit.stdout), (Some(0), expected.clone()), "{}", exit.stderr);
    let exit = run_cli(&["validate", "-c", &path], &[("FERRUM_MODE", "file")]);
    assert_eq!((exit.code, exit.stdout), (Some(0), expected.clone()));
    let exit = run_cli(&["validate"], &[("FERRUM_MODE", "file"), ("FERRUM_FILE_CONFIG_PATH", &path)]);
    assert_eq!((exit.code, exit.stdout), (Some(0), expected));
}

#[test]
fn validate_refuses_a_bad_document_and_says_why() {
    let bad = Document::new().proxy(Proxy::new("app").path("no-slash").to(1));
    let spec = Spec::of("bad", &bad.to_string());
    let exit = run_cli(&["validate", "--spec", &spec.path()], &[]);
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(1), "Settings (ferrum.conf): OK\n  Mode: File\n"));
    let reason = "Validation error: Spec validation failed: Configuration validation failed: 1 invalid field(s) found";
    assert!(exit.messages().iter().any(|text| text == reason), "{exit:?}");
    let cause = "Proxy 'app': listen_path must start with '/', '~' (regex), or '=/' (exact)";
    assert!(exit.messages().iter().any(|text| text.contains(cause)), "{exit:?}");
}

#[test]
fn validate_names_a_missing_document_and_a_bad_setting() {
    let exit = run_cli(&["validate", "--spec", "/nowhere/resources.yaml"], &[]);
    assert_eq!(exit.code, Some(1));
    let missing = "Validation error: Spec validation failed: Configuration file not found: /nowhere/resources.yaml";
    assert!(exit.messages().iter().any(|text| text.contains(missing)), "{exit:?}");

    let exit = run_cli(&["validate"], &[("FERRUM_MODE", "file"), ("FERRUM_MAX_CONNECTIONS", "lots")]);
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(1), ""));
    let reason = "Validation error: Settings validation failed: Invalid FERRUM_MAX_CONNECTIONS value 'lots'.";
    assert!(exit.messages().iter().any(|text| text.starts_with(reason)), "{exit:?}");
}

#[test]
fn validate_refuses_plugins_that_do_not_exist_or_are_misconfigured() {
    for (name, config, reason) in [
        ("no_such_plugin", json!({}), "Unknown plugin name 'no_such_plugin'"),
        ("oauth2_auth", json!({}), "Removed security plugin 'oauth2_auth' is not supported"),
        ("stdout_logging", json!("text"), "stdout_logging: config must be an object"),
        (
            "correlation_id",
            json!({"header_name": "not a token"}),
            "Plugin 'correlation_id' (id=global-correlation_id): ",
        ),
        ("key_auth", json!(null), "Plugin 'key_auth' (id=global-key_auth): "),
    ] {
        let spec = Spec::of(name, &Document::new().global_plugin(name, config).to_string());
        let exit = run_cli(&["validate", "--spec", &spec.path()], &[]);
        assert_eq!(exit.code, Some(1), "{name}: {exit:?}");
        assert!(exit.messages().iter().any(|text| text.contains(reason)), "{name}: {exit:?}");
        assert!(!exit.stdout.contains("Validation passed."));
    }
}

#[test]
fn validate_does_not_look_into_disabled_plugins() {
    let disabled = json!({"id": "x", "plugin_name": "no_such_plugin", "scope": "global", "enabled": false});
    let spec = Spec::of("disabled", &Document::new().plugin(disabled).to_string());
    assert_eq!(run_cli(&["validate", "--spec", &spec.path()], &[]).code, Some(0));
}

#[test]
fn validate_checks_the_documents_of_the_sheet() {
    for (number, (proxies, good)) in [
        ("[{id: a, hosts: [API.Example.COM], listen_path: /, backend_host: h, backend_port: 80}]", true),
        ("[{id: a, listen_path: /, backend_scheme: h3, backend_host: h, backend_port: 80}]", false),
        ("[{id: a, hosts: [\"x.com:80\"], listen_path: /, backend_host: h, backend_port: 80}]", false),
        ("[{id: a, listen_path: /, backend_host: h, backend_port: 80, retry: {backoff: !fixed {delay_ms: 1}}}]", true),
        ("[{id: a, listen_path: /x, backend_host: h, backend_port: 80}, {id: b, listen_path: \"=/x\", backend_host: h, backend_port: 80}]", true),
        ("[{id: a, listen_path: /x, backend_host: h, backend_port: 80}, {id: b, listen_path: /x, hosts: [x.com], backend_host: h, backend_port: 80}]", false),
        ("[{id: a, hosts: [x.com], backend_host: h, backend_port: 80}, {id: b, listen_path: /x, hosts: [x.com], backend_host: h, backend_port: 80}]", true),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("version: \"1\"\nproxies: {proxies}\nconsumers: []\nplugin_configs: []\n");
        let spec = Spec::of(&format!("sheet-{number}"), &text);
        let exit = run_cli(&["validate", "--spec", &spec.path()], &[]);
        assert_eq!(exit.code, Some(if good { 0 } else { 1 }), "{proxies}: {exit:?}");
    }
}

#[test]
fn validate_binds_nothing() {
    let spec = Spec::of("bound", &Document::all_to(1).to_string());
    let lease = tests::PortLease::take();
    let holder = std::net::TcpListener::bind(("127.0.0.1", lease.number())).expect("the leased port");
    let port = lease.number().to_string();
    let exit = run_cli(&["validate", "--spec", &spec.path()], &[("FERRUM_PROXY_HTTP_PORT", &port)]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    drop(holder);
}

#[test]
fn health_says_nothing_when_all_is_well() {
    let gateway = Gateway::running(&Document::new());
    let port = gateway.admin_port().to_string();
    let exit = run_cli(&["health", "--port", &port], &[]);
    assert_eq!((exit.code, exit.stdout.as_str(), exit.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(run_cli(&["health", "-p", &port, "--host", "127.0.0.1"], &[]).code, Some(0));
    assert_eq!(run_cli(&["health"], &[("FERRUM_ADMIN_HTTP_PORT", &port)]).code, Some(0));
}

#[test]
fn health_says_what_is_wrong() {
    let nobody = RefusingPort::new();
    let port = nobody.port().to_string();
    let exit = run_cli(&["health", "--port", &port], &[]);
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(1), ""));
    assert!(exit.stderr.starts_with(&format!("Error: Cannot connect to 127.0.0.1:{port}: ")), "{}", exit.stderr);

    let starting = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    });
    let exit = run_cli(&["health", "--port", &starting.port().to_string()], &[]);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(1), "Error: Unhealthy: HTTP/1.1 503 Service Unavailable\n"));
    let asked = starting.only_request();
    assert_eq!((asked.target.as_str(), asked.header("connection")), ("/health", Some("close")));

    let silent = Backend::scripted(|connection| {
        connection.read_request();
    });
    let exit = run_cli(&["health", "--port", &silent.port().to_string()], &[]);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(1), "Error: Unhealthy: (empty response)\n"));
}

#[test]
fn reload_sends_the_signal_to_the_process_it_is_told() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::in_front_of(backend.port());
    let base = Proxy::new("app").path("/").set("backend_path", "/new/").to(backend.port());
    gateway.rewrite_document(&Document::new().proxy(base));
    let pid = gateway.pid().to_string();
    let exit = run_cli(&["reload", "--pid", &pid], &[]);
    assert_eq!((exit.code, exit.stdout), (Some(0), format!("Sent SIGHUP to PID {pid}\n")), "{}", exit.stderr);
    gateway.wait_for_log(|text| text == "Configuration reloaded successfully");
    assert_eq!(gateway.get("/x").text(), "GET /new/x");
}

#[test]
fn reload_of_a_process_that_does_not_exist_fails() {
    // Above the highest pid Linux gives out.
    let exit = run_cli(&["reload", "--pid", "4194305"], &[]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("Error: Failed to send SIGHUP to PID 4194305"), "{}", exit.stderr);
}

#[test]
fn a_bare_invocation_starts_from_the_environment() {
    let backend = Backend::saying("bare");
    let gateway = Gateway::builder().document(&Document::all_to(backend.port())).launch(&[]);
    gateway.wait_for_log(|text| text.starts_with("Gateway startup complete"));
    assert_eq!(gateway.get("/").text(), "bare");
}

#[test]
fn the_verbose_flag_overwrites_the_log_level() {
    let mut quiet = Gateway::builder().env("FERRUM_LOG_LEVEL", "error").start();
    quiet.signal(Signal::Terminate);
    assert_eq!(quiet.exit(std::time::Duration::from_secs(5)).stdout, "");
    let loud = Gateway::builder().env("FERRUM_LOG_LEVEL", "error").launch(&["run", "-v"]);
    loud.wait_for_log(|text| text.starts_with("Gateway startup complete"));
}

#[test]
fn a_spec_alone_means_file_mode() {
    let backend = Backend::saying("inferred");
    let spec = Spec::of("inferred", &Document::all_to(backend.port()).to_string());
    let (proxy, admin) = (tests::PortLease::take(), tests::PortLease::take());
    let exit = run_cli(
        &["validate", "--spec", &spec.path()],
        &[
            ("FERRUM_PROXY_HTTP_PORT", &proxy.number().to_string()),
            ("FERRUM_ADMIN_HTTP_PORT", &admin.number().to_string()),
        ],
    );
    assert!(exit.stdout.contains("  Mode: File\n"), "{exit:?}");
    let exit = run_cli(&["validate"], &[]);
    assert_eq!(exit.code, Some(1), "no mode and no spec: {exit:?}");
}
