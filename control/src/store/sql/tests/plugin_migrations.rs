//! The schemas of custom plugins, on every database.

use ferrum_edge::config::migrations::CustomPluginMigration;

use super::*;
use crate::store::PluginMigrations;

fn step(version: i64, name: &'static str, checksum: &'static str, sql: &'static str) -> CustomPluginMigration {
    CustomPluginMigration { version, name, checksum, sql, sql_postgres: None, sql_mysql: None }
}

fn creating(version: i64, sql: &'static str) -> CustomPluginMigration {
    step(version, "create", "v", sql)
}

const TABLE: &str = "CREATE TABLE plugin_a (id INTEGER); -- a; b\nINSERT INTO plugin_a VALUES (1); /* ; */;";

async fn shown(store: &SqlStore, plugins: &PluginMigrations) -> (Vec<String>, Vec<String>) {
    let status = store.plugin_migration_status(plugins).await.unwrap();
    let of = |steps: Vec<String>| steps.into_iter().filter(|step| step.contains("test_")).collect();
    let applied = status.applied.iter().map(|row| row.step.to_string()).collect();
    (of(applied), of(status.pending.iter().map(ToString::to_string).collect()))
}

/// A run that was given up leaves nothing that this one stumbles over.
async fn cleaned(store: &SqlStore) {
    for table in ["plugin_a", "plugin_b", "plugin_d"] {
        store.database.execute(&format!("DROP TABLE IF EXISTS {table}"), &[]).await.unwrap();
    }
    let recorded = "DELETE FROM _ferrum_plugin_migrations WHERE plugin_name LIKE 'test_%'";
    // There is no such table before the first run.
    drop(store.database.execute(recorded, &[]).await);
}

/// Steps that fail, or do harm, when they run twice.
async fn gateways_that_start_at_the_same_moment_share_the_steps(store: &SqlStore) {
    let other = SqlStore::connect(&store.target).await.unwrap();
    let steps = vec![
        creating(1, "CREATE TABLE plugin_d (id INTEGER)"),
        creating(2, "ALTER TABLE plugin_d ADD COLUMN more INTEGER"),
        creating(3, "INSERT INTO plugin_d (more) VALUES (1)"),
    ];
    let plugins = [("test_d", steps)];
    let (one, two) = tokio::join!(store.migrate_plugins(&plugins), other.migrate_plugins(&plugins));
    assert_eq!(one.unwrap().len() + two.unwrap().len(), 3);
    assert_eq!(store.count("plugin_d", "", &[]).await.unwrap(), 1);
    other.close().await;
}

/// SQLite has no limit of its own.
async fn a_step_may_take_longer_than_a_statement(store: &SqlStore) {
    let sleep = match store.kind() {
        DatabaseKind::Postgres => "SELECT pg_sleep(1.5)",
        DatabaseKind::Mysql => "SELECT SLEEP(1.5)",
        DatabaseKind::Sqlite | DatabaseKind::Mongodb => return,
    };
    let mut target = store.target.clone();
    target.pool.statement_timeout = std::time::Duration::from_secs(1);
    let hurried = SqlStore::connect(&target).await.unwrap();
    assert_eq!(hurried.migrate_plugins(&[("test_e", vec![creating(1, sleep)])]).await.unwrap().len(), 1);
    hurried.close().await;
}

async fn suite(place: Place) {
    let store = &place.store;
    cleaned(store).await;
    let mut own = creating(2, "CREATE NOTHING");
    own.sql_postgres = Some("CREATE TABLE plugin_b (id BIGINT)");
    own.sql_mysql = Some("CREATE TABLE plugin_b (id BIGINT)");
    if store.kind() == DatabaseKind::Sqlite {
        own.sql = "CREATE TABLE plugin_b (id INTEGER)";
    }
    let plugins = [("test_b", vec![creating(1, TABLE), own]), ("test_empty", Vec::new())];
    let names = ["[test_b] V1: create".to_owned(), "[test_b] V2: create".to_owned()];
    assert_eq!(shown(store, &plugins).await, (vec![], names.to_vec()));
    let done = store.migrate_plugins(&plugins).await.unwrap();
    assert_eq!(done.iter().map(|(step, _)| step.to_string()).collect::<Vec<_>>(), names);
    assert_eq!(store.count("plugin_a", "", &[]).await.unwrap(), 1);
    assert_eq!(shown(store, &plugins).await, (names.to_vec(), vec![]));
    assert!(store.migrate_plugins(&plugins).await.unwrap().is_empty(), "a recorded step never runs again");

    let later =
        [("test_b", vec![step(1, "create", "other", "BROKEN"), creating(3, "INSERT INTO plugin_a VALUES (2)")])];
    let done = store.migrate_plugins(&later).await.unwrap();
    assert_eq!((done.len(), done[0].0.version), (1, 3), "another checksum is a warning");

    let broken = [("test_c", vec![creating(1, "INSERT INTO plugin_a VALUES (3); BROKEN 'x;y'"), creating(2, TABLE)])];
    let error = store.migrate_plugins(&broken).await.unwrap_err().to_string();
    assert!(error.starts_with("Migration [test_c] V1 (create) failed: BROKEN 'x;y': "), "{error}");
    assert_eq!(shown(store, &broken).await.1.len(), 2, "nothing of it is recorded");
    assert_eq!(store.count("plugin_a", "", &[]).await.unwrap(), 2, "and it is taken back");
    gateways_that_start_at_the_same_moment_share_the_steps(store).await;
    a_step_may_take_longer_than_a_statement(store).await;
    cleaned(store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_gets_the_tables_of_plugins() {
    suite(sqlite().await).await;
}

/// Not emptied: other tests may be at work in it.
async fn server(kind: DatabaseKind, variable: &str) {
    let Ok(url) = std::env::var(variable) else {
        eprintln!("not run: no server ({variable})");
        return;
    };
    let store = SqlStore::connect(&Target::new(kind, &url)).await.unwrap();
    suite(Place { store, _folder: None }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_gets_the_tables_of_plugins() {
    server(DatabaseKind::Postgres, "FERRUM_TEST_POSTGRES_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_gets_the_tables_of_plugins() {
    server(DatabaseKind::Mysql, "FERRUM_TEST_MYSQL_URL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_plugins_nothing_is_made() {
    let place = sqlite().await;
    assert!(place.store.migrate_plugins(&[("empty", Vec::new())]).await.unwrap().is_empty());
    let tables = "SELECT name FROM sqlite_master WHERE name = '_ferrum_plugin_migrations'";
    assert!(place.store.database.texts(tables, &[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_cannot_be_recorded_are_refused_before_anything_runs() {
    let place = sqlite().await;
    let run = async |steps| place.store.migrate_plugins(&[("a", steps)]).await.unwrap_err().to_string();
    let twice = run(vec![creating(1, TABLE), creating(1, "SELECT 1")]).await;
    assert_eq!(twice, "[a] V1 (create): two migrations have this version; number them anew");
    let wide = run(vec![creating(1, TABLE), creating(i64::from(i32::MAX) + 1, "SELECT 1")]).await;
    assert_eq!(wide, "[a] V2147483648: a version of a migration must fit 32 bits");
    assert!(place.store.count("plugin_a", "", &[]).await.is_err(), "no table was made");
    let most = vec![creating(i64::from(i32::MAX), "SELECT 1")];
    assert_eq!(place.store.migrate_plugins(&[("a", most)]).await.unwrap().len(), 1);
}
