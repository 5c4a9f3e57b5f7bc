//! `FERRUM_MODE=migrate`, on an empty database and again. SQLite always; PostgreSQL and MariaDB where `make test` has started them.

use std::path::{Path, PathBuf};

use tests::{Exit, run_cli};

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
        _ => "postgres",
    };
    let mut environment = vec![("FERRUM_MODE", "migrate"), ("FERRUM_DB_TYPE", kind), ("FERRUM_DB_URL", url)];
    environment.extend_from_slice(more);
    run_cli(&["run"], &environment)
}

/// What was printed for the operator about the gateway's own schema; log lines are JSON.
fn printed(exit: &Exit) -> Vec<String> {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
        .lines()
        .filter(|line| !line.starts_with('{') && !line.starts_with("Not applied"))
        .map(str::to_owned)
        .collect()
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
    let first = printed(&migrate(&url, &[]));
    let fresh = "Applied 1 migration(s):";
    assert!([fresh, "Database schema is up to date. No migrations applied."].contains(&first[0].as_str()), "{first:?}");
    assert_eq!(printed(&migrate(&url, &[])), ["Database schema is up to date. No migrations applied."]);
}

#[test]
fn postgres_is_brought_to_the_current_schema() {
    server("FERRUM_TEST_POSTGRES_URL");
}

#[test]
fn mariadb_is_brought_to_the_current_schema() {
    server("FERRUM_TEST_MYSQL_URL");
}
