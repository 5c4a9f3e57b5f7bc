//! One step of a schema, applied once however many gateways begin it at the same moment.

use std::time::Instant;

use time::OffsetDateTime;

use super::driver::{Cell, Change, Database, MIGRATION_WAIT};
use super::forms::moment;
use crate::store::StoreError;
use crate::store::target::DatabaseKind;

/// A step, as its table records it.
pub struct Step<'a> {
    pub table: &'static str,
    /// The columns that tell it from others, and what it has there.
    pub key: &'a [(&'static str, Cell)],
    pub name: &'a str,
    pub checksum: &'a str,
    pub statements: Vec<String>,
    /// Failures that another try has to live with.
    pub is_harmless: fn(&StoreError) -> bool,
}

/// Makes the table that records steps, if there is none.
pub async fn make_table(database: &Database, sql: &str) -> Result<(), StoreError> {
    match database.execute(sql, &[]).await {
        // On PostgreSQL, another gateway has made it at the same moment.
        Err(StoreError::Conflict(_)) => Ok(()),
        made => made.map(drop),
    }
}

/// Whether it was applied here: another gateway may have done it since it was found to be pending.
///
/// # Errors
/// A statement failed. What was changed is taken back where the database can; the step is not recorded.
pub async fn apply(database: &Database, step: &Step<'_>) -> Result<bool, StoreError> {
    let started = Instant::now();
    let mut change = database.begin().await?;
    alone(&mut change, database.kind(), step.table).await?;
    if is_recorded(&mut change, step).await? {
        return Ok(false);
    }
    for statement in &step.statements {
        match change.run(statement).await {
            Err(error) if !(step.is_harmless)(&error) => {
                return Err(StoreError::Migration(format!("{}: {error}", first_line(statement))));
            }
            _ => {}
        }
    }
    let columns: String = step.key.iter().map(|(column, _)| format!("{column}, ")).collect();
    let marks = vec!["?"; step.key.len() + 4].join(", ");
    let sql =
        format!("INSERT INTO {} ({columns}name, applied_at, checksum, execution_time_ms) VALUES ({marks})", step.table);
    let mut cells: Vec<Cell> = step.key.iter().map(|(_, cell)| cell.clone()).collect();
    let (now, took) = (moment::shown(OffsetDateTime::now_utc()), started.elapsed().as_millis() as i64);
    cells.extend([Cell::text(step.name), Cell::Text(now), Cell::text(step.checksum), Cell::Integer(took)]);
    change.execute(&sql, &cells).await?;
    change.commit().await?;
    Ok(true)
}

/// From here to the end of the transaction nobody else applies a step; on MySQL, which ends transactions by itself, to the end
/// of the connection.
async fn alone(change: &mut Change<'_>, kind: DatabaseKind, table: &str) -> Result<(), StoreError> {
    match kind {
        // A transaction that writes is alone anyway.
        DatabaseKind::Sqlite | DatabaseKind::Mongodb => Ok(()),
        DatabaseKind::Postgres => change.execute(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE"), &[]).await.map(drop),
        DatabaseKind::Mysql => {
            // Names of locks are those of the whole server, and shorter than those of databases may be.
            let sql = "SELECT GET_LOCK(CONCAT('ferrum_edge_', CRC32(DATABASE())), ?)";
            let wait = Cell::Integer(MIGRATION_WAIT.as_secs() as i64);
            match change.rows(sql, &[wait]).await {
                Ok(rows) if matches!(rows.first().map(Vec::as_slice), Some([Cell::Integer(1)])) => Ok(()),
                // Clusters may forbid such locks.
                Err(StoreError::Query(error)) => {
                    tracing::warn!("Migrations of other gateways are not waited for: {error}");
                    Ok(())
                }
                Err(error) => Err(error),
                Ok(_) => {
                    Err(StoreError::Migration("another gateway has been changing the schema for an hour".to_owned()))
                }
            }
        }
    }
}

async fn is_recorded(change: &mut Change<'_>, step: &Step<'_>) -> Result<bool, StoreError> {
    let key: Vec<String> = step.key.iter().map(|(column, _)| format!("{column} = ?")).collect();
    let cells: Vec<Cell> = step.key.iter().map(|(_, cell)| cell.clone()).collect();
    let sql = format!("SELECT name FROM {} WHERE {}", step.table, key.join(" AND "));
    Ok(!change.rows(&sql, &cells).await?.is_empty())
}

fn first_line(statement: &str) -> &str {
    statement.lines().next().unwrap_or_default()
}
