//! The schema and its versions (control-plane sheet §4).

use std::time::Instant;

use super::driver::{Cell, Database};
use super::statements::statements;
use super::step::{self, Step};
use crate::store::StoreError;
use crate::store::target::{DatabaseKind, Target};

/// One version of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub name: &'static str,
    pub checksum: &'static str,
}

struct Script {
    migration: Migration,
    sqlite: &'static str,
    postgres: &'static str,
    mysql: &'static str,
}

const SCRIPTS: [Script; 1] = [Script {
    migration: Migration { version: 1, name: "initial_schema", checksum: "v001_initial_schema" },
    sqlite: include_str!("../../../../migrations/sqlite/0001_initial_schema.sql"),
    postgres: include_str!("../../../../migrations/postgres/0001_initial_schema.sql"),
    mysql: include_str!("../../../../migrations/mysql/0001_initial_schema.sql"),
}];

/// What has been done, and what has not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MigrationStatus {
    pub applied: Vec<Applied>,
    pub pending: Vec<Migration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub version: i64,
    pub name: String,
    pub applied_at: String,
    pub checksum: String,
}

const TRACKING: &str = "CREATE TABLE IF NOT EXISTS _ferrum_migrations (\
    version INTEGER NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL, applied_at VARCHAR(64) NOT NULL, \
    checksum VARCHAR(255) NOT NULL, execution_time_ms BIGINT NOT NULL)";

/// MariaDB before 11 does not have the collation of MySQL 8; both tell upper case from lower.
const MYSQL_COLLATION: &str = "utf8mb4_0900_as_cs";
const MARIADB_COLLATION: &str = "utf8mb4_bin";

/// What stands in the database, and what this binary would add.
pub async fn status(database: &Database) -> Result<MigrationStatus, StoreError> {
    step::make_table(database, TRACKING).await?;
    let sql = "SELECT version, name, applied_at, checksum FROM _ferrum_migrations ORDER BY version";
    let mut applied = Vec::new();
    for row in database.rows(sql, &[]).await? {
        if let [Cell::Integer(version), Cell::Text(name), Cell::Text(applied_at), Cell::Text(checksum)] = &row[..] {
            let (name, applied_at, checksum) = (name.clone(), applied_at.clone(), checksum.clone());
            applied.push(Applied { version: *version, name, applied_at, checksum });
        }
    }
    let is_applied = |version: i64| applied.iter().any(|row| row.version == version);
    let pending = SCRIPTS.iter().map(|script| script.migration.clone());
    let pending = pending.filter(|migration| !is_applied(migration.version)).collect();
    warn_of_other_texts(&applied);
    Ok(MigrationStatus { applied, pending })
}

fn warn_of_other_texts(applied: &[Applied]) {
    for row in applied {
        let ours = SCRIPTS.iter().find(|script| script.migration.version == row.version);
        if let Some(script) = ours.filter(|script| script.migration.checksum != row.checksum) {
            let (version, here) = (row.version, script.migration.checksum);
            tracing::warn!("Migration V{version}: the database has checksum {}, this binary has {here}", row.checksum);
        }
    }
}

/// Applies what is pending, in order. Answers with each version and its milliseconds.
///
/// # Errors
/// A statement failed. What the version had changed is taken back where the database can; it is not recorded.
pub async fn up(database: &Database, target: &Target) -> Result<Vec<(Migration, u128)>, StoreError> {
    let pending = status(database).await?.pending;
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let own = Database::connect_for_migrations(target).await?;
    let mut done = Vec::new();
    for migration in pending {
        let Some(script) = SCRIPTS.iter().find(|script| script.migration == migration) else { continue };
        let started = Instant::now();
        let is_ours = apply(&own, script).await.map_err(|error| {
            StoreError::Migration(format!("Migration V{} ({}) failed: {error}", migration.version, migration.name))
        })?;
        if is_ours {
            done.push((migration, started.elapsed().as_millis()));
        }
    }
    own.close().await;
    Ok(done)
}

async fn apply(database: &Database, script: &Script) -> Result<bool, StoreError> {
    let kind = database.kind();
    let text = match kind {
        DatabaseKind::Sqlite => script.sqlite.to_owned(),
        DatabaseKind::Postgres => script.postgres.to_owned(),
        DatabaseKind::Mysql => script.mysql.replace("@COLLATION@", collation(database).await?),
        DatabaseKind::Mongodb => return Ok(false),
    };
    let Migration { version, name, checksum } = script.migration;
    let step = Step {
        table: "_ferrum_migrations",
        key: &[("version", Cell::Integer(version))],
        name,
        checksum,
        statements: statements(&text, kind),
        is_harmless: is_there_already,
    };
    step::apply(database, &step).await
}

async fn collation(database: &Database) -> Result<&'static str, StoreError> {
    let version = database.texts("SELECT VERSION()", &[]).await?;
    let is_mariadb = version.first().is_some_and(|version| version.contains("MariaDB"));
    Ok(if is_mariadb { MARIADB_COLLATION } else { MYSQL_COLLATION })
}

/// MySQL ends a transaction at each change of the schema, so that a second try meets what the first has left: its code for an
/// index that is there (1061).
fn is_there_already(error: &StoreError) -> bool {
    let (StoreError::Query(error) | StoreError::Conflict(error)) = error else { return false };
    let database = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        .is_some_and(|error| error.number() == 1061)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_has_every_table_and_index() {
        let [script] = &SCRIPTS;
        let names = |text: &str, kind: &str| -> Vec<String> {
            let found = statements(text, DatabaseKind::Sqlite).into_iter().filter(|statement| statement.contains(kind));
            let name = |statement: String| {
                statement
                    .replace("IF NOT EXISTS ", "")
                    .split(kind)
                    .nth(1)
                    .map(|rest| rest.split_whitespace().next().unwrap_or_default().to_owned())
            };
            found.filter_map(name).collect()
        };
        for (kind, count) in [("TABLE ", 7), ("INDEX ", 32)] {
            let sqlite = names(script.sqlite, kind);
            assert_eq!(sqlite.len(), count, "{kind}");
            assert_eq!(sqlite, names(script.postgres, kind));
            assert_eq!(sqlite, names(script.mysql, kind));
        }
    }
}
