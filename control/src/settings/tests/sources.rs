//! Names, modes, sources and the table itself, in the words of the sheet.

use super::super::fixture::{
    SECRET, env, load, load_file_mode, parse_file_mode, refuse, refuse_file_mode, warnings_of,
};
use super::super::groups::DEFAULT_HMAC_SECRET;
use super::super::{Settings, Sources};
use super::{in_force, rows, shown};

// --- names and addresses with texts of their own ---

#[test]
fn a_namespace_has_up_to_254_plain_characters() {
    for good in ["a", "9", "Team-1_x.y", &"n".repeat(254)] {
        assert_eq!(in_force("FERRUM_NAMESPACE", good), good);
    }
    for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä", &"n".repeat(255)] {
        assert!(refuse_file_mode(&[("FERRUM_NAMESPACE", bad)]).starts_with("Invalid FERRUM_NAMESPACE: "), "{bad}");
    }
}

#[test]
fn the_istio_root_namespace_is_a_dns_label_in_every_mode() {
    for good in ["a", "0-9", &"n".repeat(63)] {
        assert_eq!(in_force("FERRUM_K8S_ISTIO_ROOT_NAMESPACE", good), good);
    }
    for bad in ["", "-a", "a-", "A", "a.b", &"n".repeat(64)] {
        let text = refuse_file_mode(&[("FERRUM_K8S_ISTIO_ROOT_NAMESPACE", bad)]);
        assert!(text.starts_with("Invalid FERRUM_K8S_ISTIO_ROOT_NAMESPACE: "), "{bad}");
    }
}

#[test]
fn bind_addresses_are_addresses_and_no_names() {
    for key in ["FERRUM_PROXY_BIND_ADDRESS", "FERRUM_ADMIN_BIND_ADDRESS"] {
        assert_eq!(in_force(key, "::"), "::");
        for bad in ["localhost", "", "0.0.0.0:80", "1.2.3"] {
            let text = refuse_file_mode(&[(key, bad)]);
            assert!(text.starts_with(&format!("Invalid {key} '{bad}'. Expected a valid IP address")), "{text}");
        }
    }
}

// --- modes ---

#[test]
fn a_mode_is_read_in_any_case_but_not_trimmed() {
    assert_eq!(load_file_mode(&[("FERRUM_MODE", "FILE")]).unwrap().0.core.mode.to_string(), "File");
    for (raw, shown) in [(" file", " file"), ("", ""), ("Proxy", "proxy")] {
        assert_eq!(
            refuse(&[("FERRUM_MODE", raw)]),
            format!(
                "Invalid FERRUM_MODE '{shown}'. Expected: database, file, cp, dp, mesh, injector, node_agent, migrate"
            )
        );
    }
    assert!(refuse(&[]).starts_with("Invalid FERRUM_MODE ''. Expected:"));
}

#[test]
fn each_mode_names_what_it_misses_one_at_a_time() {
    let short = "x".repeat(31);
    let steps: [(&str, Needs<'_>, &str); 6] = [
        ("database", DATABASE, "database"),
        ("cp", CONTROL_PLANE, "cp"),
        (
            "dp",
            &[
                ("FERRUM_CP_DP_GRPC_JWT_SECRET", SECRET, "FERRUM_CP_DP_GRPC_JWT_SECRET is required in cp/dp/mesh mode"),
                ("FERRUM_DP_CP_GRPC_URLS", "http://cp:1", "FERRUM_DP_CP_GRPC_URLS is required in dp mode"),
            ],
            "dp",
        ),
        (
            "mesh",
            &[
                ("FERRUM_CP_DP_GRPC_JWT_SECRET", SECRET, "FERRUM_CP_DP_GRPC_JWT_SECRET is required in cp/dp/mesh mode"),
                ("FERRUM_DP_CP_GRPC_URLS", "http://cp:1", "FERRUM_DP_CP_GRPC_URLS is required in mesh mode"),
            ],
            "mesh",
        ),
        ("file", &[("FERRUM_FILE_CONFIG_PATH", "s.yaml", "FERRUM_FILE_CONFIG_PATH is required in file mode")], "file"),
        (
            "migrate",
            &[
                ("FERRUM_DB_TYPE", "sqlite", "FERRUM_DB_TYPE is required for migrate up/status action"),
                ("FERRUM_DB_URL", "sqlite::memory:", "FERRUM_DB_URL is required for migrate up/status action"),
            ],
            "migrate",
        ),
    ];
    for (mode, needs, name) in steps {
        let mut pairs = vec![("FERRUM_MODE", mode)];
        for (key, value, missing) in needs {
            assert_eq!(&refuse(&pairs), missing, "{mode}");
            if *value == SECRET {
                let too_short = [pairs.as_slice(), &[(*key, short.as_str())]].concat();
                assert_eq!(refuse(&too_short), format!("{key} must be at least 32 characters (got 31)"));
                assert_eq!(&refuse(&[pairs.as_slice(), &[(*key, "")]].concat()), missing);
            }
            pairs.push((key, value));
        }
        assert_eq!(load(&pairs).unwrap().0.core.mode.name(), name);
    }
}

/// Setting, a value that will do, and what is said without it.
type Needs<'a> = &'a [(&'a str, &'a str, &'a str)];

const DATABASE: Needs<'_> = &[
    ("FERRUM_ADMIN_JWT_SECRET", SECRET, "FERRUM_ADMIN_JWT_SECRET is required in database/cp mode"),
    ("FERRUM_DB_TYPE", "sqlite", "FERRUM_DB_TYPE is required in database/cp mode"),
    ("FERRUM_DB_URL", "sqlite::memory:", "FERRUM_DB_URL is required in database/cp mode"),
];
const CONTROL_PLANE: Needs<'_> = &[
    DATABASE[0],
    DATABASE[1],
    DATABASE[2],
    ("FERRUM_CP_DP_GRPC_JWT_SECRET", SECRET, "FERRUM_CP_DP_GRPC_JWT_SECRET is required in cp/dp/mesh mode"),
];

#[test]
fn migrate_actions_have_their_own_needs_and_only_matter_there() {
    let status = refuse(&[("FERRUM_MODE", "migrate"), ("FERRUM_MIGRATE_ACTION", "Status")]);
    assert_eq!(status, "FERRUM_DB_TYPE is required for migrate up/status action");
    let config = refuse(&[("FERRUM_MODE", "migrate"), ("FERRUM_MIGRATE_ACTION", "config")]);
    assert_eq!(config, "FERRUM_FILE_CONFIG_PATH is required for migrate config action");
    for bad in ["Down", " up", ""] {
        let text = refuse(&[("FERRUM_MODE", "migrate"), ("FERRUM_MIGRATE_ACTION", bad)]);
        let word = bad.to_lowercase();
        assert_eq!(text, format!("Invalid FERRUM_MIGRATE_ACTION '{word}'. Expected: up, status, config"));
    }
    parse_file_mode(&[("FERRUM_MIGRATE_ACTION", "down")]);
}

#[test]
fn two_mesh_words_are_configuration_errors_in_mesh_mode_only() {
    let mesh =
        [("FERRUM_MODE", "mesh"), ("FERRUM_CP_DP_GRPC_JWT_SECRET", SECRET), ("FERRUM_DP_CP_GRPC_URLS", "http://cp:1")];
    let with = |key, value| load(&[mesh.as_slice(), &[(key, value)]].concat()).map(|_| ());
    assert_eq!(
        with("FERRUM_MESH_CONFIG_PROTOCOL", "ads").unwrap_err(),
        "Invalid FERRUM_MESH_CONFIG_PROTOCOL 'ads'. Expected: native or xds"
    );
    let text = with("FERRUM_MESH_CA_BACKEND", "vault").unwrap_err();
    assert!(text.starts_with("Invalid FERRUM_MESH_CA_BACKEND: 'vault'"), "{text}");
    with("FERRUM_MESH_CONFIG_PROTOCOL", "XDS").unwrap();
    with("FERRUM_MESH_CA_BACKEND", "").unwrap();
    parse_file_mode(&[("FERRUM_MESH_CONFIG_PROTOCOL", "ads"), ("FERRUM_MESH_CA_BACKEND", "vault")]);
}

#[test]
fn a_node_agent_binds_loopback_until_told_otherwise() {
    let agent = |more: &[(&str, &str)]| {
        let (settings, warnings) = load(&[&[("FERRUM_MODE", "node_agent")], more].concat()).unwrap();
        (settings.admin.admin_bind_address.to_string(), warnings.len())
    };
    assert_eq!(agent(&[]), ("127.0.0.1".to_owned(), 0));
    assert_eq!(agent(&[("FERRUM_NODE_AGENT_ADMIN_ENABLED", "1")]), ("127.0.0.1".to_owned(), 1));
    assert_eq!(agent(&[("FERRUM_ADMIN_ALLOWED_CIDRS", "10.0.0.0/8")]).0, "0.0.0.0");
    assert_eq!(agent(&[("FERRUM_ADMIN_ALLOWED_CIDRS", " ")]).0, "127.0.0.1");
    assert_eq!(agent(&[("FERRUM_ADMIN_BIND_ADDRESS", "10.0.0.9")]).0, "10.0.0.9");
}

#[test]
fn a_bad_value_of_another_mode_is_fatal_all_the_same() {
    let text = refuse_file_mode(&[("FERRUM_MESH_CERT_TTL_SECONDS", "1h")]);
    assert_eq!(text, "Invalid FERRUM_MESH_CERT_TTL_SECONDS value '1h'. Expected a valid u64 integer");
}

// --- sources ---

#[test]
fn the_environment_wins_over_the_conf_file_even_when_empty() {
    let mut sources = env(&[("FERRUM_PROXY_HTTP_PORT", "1"), ("FERRUM_VIA_PSEUDONYM", "")]);
    for (key, value) in [
        ("FERRUM_MODE", "file"),
        ("FERRUM_FILE_CONFIG_PATH", "s"),
        ("FERRUM_PROXY_HTTP_PORT", "2"),
        ("FERRUM_PROXY_HTTPS_PORT", "3"),
        ("FERRUM_VIA_PSEUDONYM", "conf"),
    ] {
        sources.conf.insert(key.to_owned(), value.to_owned());
    }
    let (settings, _) = Settings::load(&sources).unwrap();
    assert_eq!(settings.listeners.proxy_http_port, 1);
    assert_eq!(settings.listeners.proxy_https_port, 3);
    assert_eq!(settings.client.via_pseudonym, "");
    assert_eq!(sources.overridden(), ["FERRUM_PROXY_HTTP_PORT", "FERRUM_VIA_PSEUDONYM"]);
}

#[test]
fn environment_only_settings_are_not_read_from_the_conf_file() {
    let names: Vec<String> = rows().into_iter().filter(|row| row.is_env_only).map(|row| row.name).collect();
    assert_eq!(
        names,
        [
            "FERRUM_CONF_PATH",
            "FERRUM_LOG_REDACT_METADATA_KEYS",
            "FERRUM_MESH_PRODUCTION_MODE",
            "FERRUM_MESH_CA_BOOTSTRAP_DEV",
            "FERRUM_MESH_ALLOW_STATIC_ID"
        ]
    );
    let mut sources = env(&[("FERRUM_MODE", "file"), ("FERRUM_FILE_CONFIG_PATH", "s")]);
    for name in &names {
        sources.conf.insert(name.clone(), "true".to_owned());
    }
    let (settings, _) = Settings::load(&sources).unwrap();
    assert!(settings.core.log_redact_metadata_keys.is_empty());
    assert!(!settings.mesh.mesh_production_mode.0);
}

#[test]
fn the_steering_alias_is_read_where_the_full_name_is_not_set() {
    assert_eq!(parse_file_mode(&[("FERRUM_STEERING", "cpu")]).engine.accept_steering.token(), "cpu");
    let both = [("FERRUM_STEERING", "cpu"), ("FERRUM_ACCEPT_STEERING", "balance")];
    assert_eq!(parse_file_mode(&both).engine.accept_steering.token(), "balance");
    let mut sources = env(&[("FERRUM_MODE", "file"), ("FERRUM_FILE_CONFIG_PATH", "s"), ("FERRUM_STEERING", "cpu")]);
    sources.conf.insert("FERRUM_ACCEPT_STEERING".to_owned(), "balance".to_owned());
    assert_eq!(Settings::load(&sources).unwrap().0.engine.accept_steering.token(), "cpu");
}

#[test]
fn unknown_and_removed_names_are_ignored() {
    for name in ["FERRUM_WAT", "FERRUM_DB_SSL_MODE", "FERRUM_TLS_CERT_PATH", "FERRUM_UDP_RECV_BATCH_LIMIT", "PATH"] {
        assert!(!Settings::is_known(name));
        assert!(warnings_of(&[(name, "x")]).is_empty());
    }
    assert!(Settings::is_known("FERRUM_STEERING"));
}

// --- the table itself ---

#[test]
fn every_setting_is_in_the_table_once() {
    let mut names: Vec<String> = rows().into_iter().map(|row| row.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 300);
}

#[test]
fn every_printed_default_is_what_an_empty_environment_gives() {
    let settings = parse_file_mode(&[]);
    let host_dependent = ["FERRUM_MODE", "FERRUM_FILE_CONFIG_PATH"];
    for row in rows() {
        let in_force = shown(&settings, &row.name);
        let is_words = row.default.contains(' ') || row.default.starts_with('`');
        if !host_dependent.contains(&row.name.as_str()) && !is_words && row.default != "CPUs" {
            let redacted = in_force == "[REDACTED]" || row.default == "negotiated";
            assert!(in_force == row.default || redacted, "{}: {in_force} is not {}", row.name, row.default);
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    let secret_url = "postgres://u:hunter2@db/f";
    let settings = parse_file_mode(&[
        ("FERRUM_ADMIN_JWT_SECRET", "hunter2"),
        ("FERRUM_CP_DP_GRPC_JWT_SECRET", "hunter2"),
        ("FERRUM_BASIC_AUTH_HMAC_SECRET", "hunter2"),
        ("FERRUM_DB_URL", secret_url),
        ("FERRUM_DB_READ_REPLICA_URL", secret_url),
        ("FERRUM_DB_FAILOVER_URLS", secret_url),
    ]);
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(!format!("{:?}", settings.effective()).contains("hunter2"));
    assert!(!format!("{:?}", env(&[("FERRUM_DB_URL", secret_url)])).contains("hunter2"));
    assert_eq!(settings.database.db_url.unwrap().expose(), secret_url);
}

#[test]
fn an_empty_hmac_secret_is_the_built_in_one() {
    let settings = parse_file_mode(&[("FERRUM_BASIC_AUTH_HMAC_SECRET", "")]);
    assert_eq!(settings.client.basic_auth_hmac_secret.expose(), DEFAULT_HMAC_SECRET);
}

#[test]
fn no_sources_at_all_is_a_missing_mode() {
    assert!(Settings::load(&Sources::default()).unwrap_err().to_string().starts_with("Invalid FERRUM_MODE ''"));
}
