//! `FERRUM_MODE=migrate`, on an empty database and again. SQLite always; the servers where `make test` has started them.

use std::path::{Path, PathBuf};

use tests::{Exit, Gateway, run_cli};

/// A file that no other test has, in a folder that is there.
fn fresh_file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ferrum-edge-migrations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}?mode=rwc", path.display())
}

fn migrate(url: &str, more: &[(&str, &str)]) -> Exit {
    let kind = match url.split(':').next() {
        Some("sqlite") => "sqlite",
        Some("mysql") => "mysql",
        Some("mongodb") => "mongodb",
        _ => "postgres",
    };
    let mut environment = vec![("FERRUM_MODE", "migrate"), ("FERRUM_DB_TYPE", kind), ("FERRUM_DB_URL", url)];
    environment.extend_from_slice(more);
    run_cli(&["run"], &environment)
}

/// What was printed for the operator; log lines are JSON.
fn lines(exit: &Exit) -> Vec<String> {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout.lines().filter(|line| !line.starts_with('{')).map(str::to_owned).collect()
}

/// What was printed about the gateway's own schema.
fn printed(exit: &Exit) -> Vec<String> {
    let mut lines = lines(exit);
    let plugins =
        lines.iter().position(|line| line.contains("ustom plugin migration") || line.contains("Custom Plugin"));
    // A blank line stands before it.
    lines.truncate(plugins.expect("a block about the plugins") - 1);
    lines
}

/// What was printed about the schemas of custom plugins, with the blank line before it.
fn printed_of_plugins(exit: &Exit) -> Vec<String> {
    let all = lines(exit);
    all[printed(exit).len()..].to_vec()
}

const STATUS: (&str, &str) = ("FERRUM_MIGRATE_ACTION", "status");
const DRY_RUN: (&str, &str) = ("FERRUM_MIGRATE_DRY_RUN", "true");

#[test]
fn an_empty_database_is_brought_to_the_current_schema_once() {
    let path = fresh_file("once.db");
    let url = sqlite_url(&path);
    let dry = printed(&migrate(&url, &[DRY_RUN]));
    assert_eq!(dry, ["Pending migrations that would be applied:", "  V1: initial_schema"]);
    let before = printed(&migrate(&url, &[STATUS]));
    assert_eq!(before[..4], ["=== Ferrum Edge Migration Status ===", "", "Applied migrations: (none)", ""]);
    assert_eq!(before[4..], ["Pending migrations:", "  V1: initial_schema"]);

    let done = printed(&migrate(&url, &[]));
    assert_eq!(done[0], "Applied 1 migration(s):");
    assert!(done[1].starts_with("  V1: initial_schema (") && done[1].ends_with("ms)"), "{done:?}");
    assert_eq!(printed(&migrate(&url, &[])), ["Database schema is up to date. No migrations applied."]);
    assert_eq!(printed(&migrate(&url, &[DRY_RUN])), ["Database schema is up to date. No pending migrations."]);
    let after = printed(&migrate(&url, &[STATUS]));
    assert_eq!(after[2], "Applied migrations:");
    assert!(after[3].starts_with("  V1: initial_schema (applied: 20"), "{after:?}");
    assert!(after[3].ends_with(", checksum: v001_initial_schema)"), "{after:?}");
    assert_eq!(after[5], "Pending migrations: (none — schema is up to date)");
}

const AUDIT: [&str; 2] =
    ["[example_audit_plugin] V1: create_audit_log", "[example_audit_plugin] V2: add_status_timestamp_index"];

#[test]
fn the_tables_of_custom_plugins_are_made_once() {
    let url = sqlite_url(&fresh_file("plugins.db"));
    let [first, second] = AUDIT.map(|step| format!("  {step}"));
    let title = "Pending custom plugin migrations that would be applied:";
    assert_eq!(printed_of_plugins(&migrate(&url, &[DRY_RUN])), ["", title, &first, &second]);
    let status = printed_of_plugins(&migrate(&url, &[STATUS]));
    assert_eq!(
        status,
        [
            "",
            "=== Custom Plugin Migration Status ===",
            "",
            "Applied plugin migrations: (none)",
            "",
            "Pending plugin migrations:",
            &first,
            &second
        ]
    );
    let done = printed_of_plugins(&migrate(&url, &[]));
    assert_eq!(done[..2], ["", "Applied 2 custom plugin migration(s):"]);
    assert!(done[2].starts_with(&format!("{first} (")) && done[2].ends_with("ms)"), "{done:?}");
    assert!(done[3].starts_with(&format!("{second} (")) && done.len() == 4, "{done:?}");
    let again = "Custom plugin migrations are up to date. No migrations applied.";
    assert_eq!(printed_of_plugins(&migrate(&url, &[])), ["", again]);
    let none = "Custom plugin migrations are up to date. No pending migrations.";
    assert_eq!(printed_of_plugins(&migrate(&url, &[DRY_RUN])), ["", none]);
    let status = printed_of_plugins(&migrate(&url, &[STATUS]));
    assert!(status[4].starts_with(&format!("{first} (applied: 20")), "{status:?}");
    assert!(status[4].ends_with(", checksum: v1_create_audit_log_f8a3e1)"), "{status:?}");
    assert_eq!(status[6..], ["", "Pending plugin migrations: (none — all plugins up to date)"]);
}

fn serving(url: &str, more: &[(&str, &str)]) -> tests::GatewayBuilder {
    let mut builder = Gateway::builder()
        .env("FERRUM_MODE", "database")
        .env("FERRUM_DB_TYPE", "sqlite")
        .env("FERRUM_DB_URL", url)
        .env("FERRUM_ADMIN_JWT_SECRET", "a secret of the admin API, long enough");
    for (name, value) in more {
        builder = builder.env(name, value);
    }
    builder
}

const AUTO: (&str, &str) = ("FERRUM_AUTO_APPLY_PLUGIN_MIGRATIONS", "true");

#[test]
fn a_gateway_names_the_pending_ones_and_applies_them_when_told_to() {
    let url = sqlite_url(&fresh_file("auto.db"));
    let gateway = serving(&url, &[]).start();
    let pending = AUDIT.join(", ");
    gateway.wait_for_log(|text| text.contains("pending") && text.ends_with(&pending));
    drop(gateway);
    assert!(printed_of_plugins(&migrate(&url, &[STATUS])).contains(&format!("  {}", AUDIT[0])), "nothing was changed");
    let gateway = serving(&url, &[AUTO]).start();
    gateway.wait_for_log(|text| text.starts_with(&format!("Migration {} (", AUDIT[1])));
    drop(gateway);
    let again = "Custom plugin migrations are up to date. No migrations applied.";
    assert_eq!(printed_of_plugins(&migrate(&url, &[])), ["", again]);
}

#[test]
fn one_that_fails_ends_the_start_whatever_backup_there_is() {
    let path = fresh_file("failing.db");
    // A view of the name that the plugin wants for a table, and indexes.
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE VIEW audit_log AS SELECT 1')";
    let made = std::process::Command::new("python3").args(["-c", script]).arg(&path).status();
    assert!(made.expect("python3 runs").success());
    let backup = fresh_file("failing-backup.json");
    std::fs::write(&backup, r#"{"version": "1", "proxies": [], "consumers": [], "plugin_configs": []}"#)
        .expect("a file");
    let url = sqlite_url(&path);
    let exit = serving(&url, &[AUTO, ("FERRUM_DB_CONFIG_BACKUP_PATH", &backup.display().to_string())]).start_failing();
    let said = "Migration [example_audit_plugin] V1 (create_audit_log) failed: ";
    assert!(exit.code == Some(1) && exit.stderr.contains(said), "{exit:?}");
    let exit = migrate(&url, &[]);
    assert!(exit.code != Some(0) && exit.stderr.contains(said), "{exit:?}");
}

#[test]
fn a_database_that_does_not_answer_ends_the_run_without_showing_its_password() {
    let url = "postgres://ferrum:hunter2@127.0.0.1:1/db";
    let exit = migrate(url, &[("FERRUM_DB_POOL_ACQUIRE_TIMEOUT_SECONDS", "1")]);
    assert_ne!(exit.code, Some(0));
    let all = format!("{}{}", exit.stdout, exit.stderr);
    assert!(!all.contains("hunter2"), "{all}");
    assert!(exit.messages().iter().any(|text| text.contains("postgres://ferrum@127.0.0.1:1/db")), "{exit:?}");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let path = fresh_file("refused.db");
    for (more, expected) in [
        (("FERRUM_DB_TLS_MODE", "verify-full"), "SQLite has no network TLS"),
        (("FERRUM_DB_TYPE", "oracle"), "oracle"),
        (("FERRUM_MIGRATE_ACTION", "down"), "Expected: up, status, config"),
    ] {
        let exit = migrate(&sqlite_url(&path), &[more]);
        assert_ne!(exit.code, Some(0), "{more:?}");
        let all = format!("{}{}", exit.stdout, exit.stderr);
        assert!(all.contains(expected), "{more:?}: {all}");
    }
}

/// A server of the test run: whatever an earlier test has left, a second run finds nothing to do.
fn server(variable: &str) {
    let Ok(url) = std::env::var(variable) else {
        eprintln!("not run: no server ({variable})");
        return;
    };
    let first = migrate(&url, &[]);
    let (core, fresh) = (printed(&first), "Applied 1 migration(s):");
    assert!([fresh, "Database schema is up to date. No migrations applied."].contains(&core[0].as_str()), "{core:?}");
    assert_eq!(printed(&migrate(&url, &[])), ["Database schema is up to date. No migrations applied."]);
    let again = "Custom plugin migrations are up to date. No migrations applied.";
    let of_plugins = printed_of_plugins(&first);
    assert!(of_plugins[1] == again || of_plugins[1] == "Applied 2 custom plugin migration(s):", "{of_plugins:?}");
    assert_eq!(printed_of_plugins(&migrate(&url, &[])), ["", again]);
}

#[test]
fn postgres_is_brought_to_the_current_schema() {
    server("FERRUM_TEST_POSTGRES_URL");
}

#[test]
fn mariadb_is_brought_to_the_current_schema() {
    server("FERRUM_TEST_MYSQL_URL");
}

/// What only says something does not connect.
#[test]
fn mongodb_has_indexes_and_no_versions() {
    let nowhere = "mongodb://127.0.0.1:1/x";
    let status = lines(&migrate(nowhere, &[STATUS]));
    assert_eq!((status[0].as_str(), status.len()), ("=== Ferrum Edge Migration Status (MongoDB) ===", 3));
    let dry = lines(&migrate(nowhere, &[DRY_RUN]));
    assert_eq!(dry[0], "MongoDB dry run: indexes would be created/verified on collections");
    assert_eq!(
        dry[1..],
        ["  proxies", "  consumers", "  plugin_configs", "  upstreams", "  api_specs", "  audit_events"]
    );
    let variable = "FERRUM_TEST_MONGODB_URL";
    let Ok(url) = std::env::var(variable) else {
        eprintln!("not run: no server ({variable})");
        return;
    };
    for _ in 0..2 {
        assert_eq!(lines(&migrate(&url, &[])), ["MongoDB indexes ensured successfully."]);
    }
}
