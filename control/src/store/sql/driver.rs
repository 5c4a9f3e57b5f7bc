//! One way to talk to the three SQL databases: statements with `?`, values in and values out.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Column, Connection, Executor, MySql, Pool, Postgres, Row, Sqlite, Transaction, TypeInfo, ValueRef};

use super::tls;
use crate::store::target::{DatabaseKind, PoolSettings, Target};
use crate::store::{PoolState, StoreError};

/// What SQLite waits for another writer.
const SQLITE_BUSY: Duration = Duration::from_secs(5);

/// Rows that SQLite's thread may be ahead of whoever reads them: each wait of one for the other costs two turns of the scheduler.
const SQLITE_ROWS_AHEAD: usize = 500;

/// What is waited for another gateway that changes the schema.
pub const MIGRATION_WAIT: Duration = Duration::from_secs(3600);

/// A value of a statement or of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The type is needed where databases check it.
    NullText,
    NullInteger,
    NullReal,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Cell {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub fn optional(text: Option<&str>) -> Self {
        text.map_or(Self::NullText, Self::text)
    }

    pub fn integer(number: impl Into<i64>) -> Self {
        Self::Integer(number.into())
    }
}

/// Connections to one database.
#[derive(Clone)]
pub struct Database {
    pool: Pools,
    patience: Patience,
}

#[derive(Clone)]
enum Pools {
    Sqlite(Pool<Sqlite>),
    Postgres(Pool<Postgres>),
    Mysql(Pool<MySql>),
}

/// A transaction, rolled back when it is dropped.
pub struct Change<'c> {
    transaction: Transactions<'c>,
    patience: Patience,
}

enum Transactions<'c> {
    Sqlite(Transaction<'c, Sqlite>),
    Postgres(Transaction<'c, Postgres>),
    Mysql(Transaction<'c, MySql>),
}

/// The longest that a server may be silent while it owes an answer: one that has vanished does not say so. None: for ever.
#[derive(Clone, Copy)]
struct Patience(Option<Duration>);

impl Patience {
    /// Longer than a server that is there needs to give a statement up, and than a connection may be waited for.
    fn new(pool: &PoolSettings) -> Self {
        let limit = pool.statement_timeout + pool.acquire_timeout + Duration::from_secs(5);
        Self((!pool.statement_timeout.is_zero()).then_some(limit))
    }

    async fn with<T>(self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let Some(limit) = self.0 else { return work.await };
        let silent = |_| {
            let text = format!("no answer within {} s", limit.as_secs());
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(silent)
    }
}

/// A statement with its values in place.
macro_rules! bound {
    ($sql:expr, $cells:expr) => {{
        let mut query = sqlx::query($sql);
        for cell in $cells {
            query = match cell {
                Cell::NullText => query.bind(None::<String>),
                Cell::NullInteger => query.bind(None::<i64>),
                Cell::NullReal => query.bind(None::<f64>),
                Cell::Integer(number) => query.bind(*number),
                Cell::Real(number) => query.bind(*number),
                Cell::Text(text) => query.bind(text.as_str()),
                Cell::Bytes(bytes) => query.bind(bytes.as_slice()),
            };
        }
        query
    }};
}

/// The cells of a row, by the types the database has for them.
macro_rules! cells {
    ($row:expr) => {{
        let row = $row;
        let mut cells = Vec::with_capacity(row.len());
        for index in 0..row.len() {
            let value = row.try_get_raw(index)?;
            let kind = match value.is_null() {
                true => row.column(index).type_info().name().to_owned(),
                false => value.type_info().name().to_owned(),
            };
            let is_null = value.is_null();
            cells.push(match kind.as_str() {
                "INT2" | "INT4" | "INT8" | "INTEGER" | "BIGINT" | "INT" | "TINYINT" | "SMALLINT" | "BOOLEAN" => {
                    match is_null {
                        true => Cell::NullInteger,
                        false => Cell::Integer(integer!(row, index, kind.as_str())),
                    }
                }
                "FLOAT4" | "FLOAT8" | "REAL" | "FLOAT" | "DOUBLE" => match is_null {
                    true => Cell::NullReal,
                    false => Cell::Real(real!(row, index, kind.as_str())),
                },
                "BYTEA" | "BLOB" | "LONGBLOB" if !is_null => Cell::Bytes(row.try_get_unchecked(index)?),
                _ if is_null => Cell::NullText,
                _ => Cell::Text(row.try_get_unchecked(index)?),
            });
        }
        Ok::<Vec<Cell>, sqlx::Error>(cells)
    }};
}

/// Narrow numbers are not read as wide ones.
macro_rules! integer {
    ($row:expr, $index:expr, $kind:expr) => {
        match $kind {
            "INT2" | "SMALLINT" => i64::from($row.try_get_unchecked::<i16, _>($index)?),
            "INT4" | "INT" => i64::from($row.try_get_unchecked::<i32, _>($index)?),
            "TINYINT" | "BOOLEAN" => i64::from($row.try_get_unchecked::<i8, _>($index)?),
            _ => $row.try_get_unchecked::<i64, _>($index)?,
        }
    };
}

macro_rules! real {
    ($row:expr, $index:expr, $kind:expr) => {
        match $kind {
            "FLOAT4" | "FLOAT" => f64::from($row.try_get_unchecked::<f32, _>($index)?),
            _ => $row.try_get_unchecked::<f64, _>($index)?,
        }
    };
}

fn sqlite_cells(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Vec<Cell>> {
    macro_rules! integer {
        ($row:expr, $index:expr, $kind:expr) => {
            $row.try_get_unchecked::<i64, _>($index)?
        };
    }
    macro_rules! real {
        ($row:expr, $index:expr, $kind:expr) => {
            $row.try_get_unchecked::<f64, _>($index)?
        };
    }
    let mut cells = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let value = row.try_get_raw(index)?;
        let is_null = value.is_null();
        let kind = value.type_info().into_owned();
        cells.push(match kind.name() {
            "INTEGER" | "BOOLEAN" if !is_null => Cell::Integer(integer!(row, index, "")),
            "REAL" if !is_null => Cell::Real(real!(row, index, "")),
            "BLOB" if !is_null => Cell::Bytes(row.try_get_unchecked(index)?),
            _ if is_null => Cell::NullText,
            _ => Cell::Text(row.try_get_unchecked(index)?),
        });
    }
    Ok(cells)
}

fn postgres_cells(row: &sqlx::postgres::PgRow) -> sqlx::Result<Vec<Cell>> {
    cells!(row)
}

fn mysql_cells(row: &sqlx::mysql::MySqlRow) -> sqlx::Result<Vec<Cell>> {
    cells!(row)
}

/// `?` as PostgreSQL writes it. No text of ours has a question mark in a literal.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut number = 0;
    for piece in sql.split_inclusive('?') {
        match piece.strip_suffix('?') {
            Some(before) => {
                number += 1;
                out.push_str(before);
                out.push('$');
                out.push_str(&number.to_string());
            }
            None => out.push_str(piece),
        }
    }
    out
}

impl Database {
    /// Connects, within the target's time.
    ///
    /// # Errors
    /// The settings do not fit the database, or it does not answer.
    pub async fn connect(target: &Target) -> Result<Self, StoreError> {
        Self::open(target, SQLITE_BUSY).await
    }

    /// One connection on which nothing is hurried: statements take as long as they take, and what another gateway does to the
    /// schema is waited for.
    ///
    /// # Errors
    /// As those of [`Database::connect`].
    pub async fn connect_for_migrations(target: &Target) -> Result<Self, StoreError> {
        let pool = PoolSettings {
            connections_max: 1,
            connections_min: 0,
            statement_timeout: Duration::ZERO,
            ..target.pool.clone()
        };
        Self::open(&Target { pool, ..target.clone() }, MIGRATION_WAIT).await
    }

    async fn open(target: &Target, sqlite_busy: Duration) -> Result<Self, StoreError> {
        let url = tls::secured_url(target)?;
        let pool = &target.pool;
        let (statement_ms, min) = (pool.statement_timeout.as_millis(), pool.connections_min.min(pool.connections_max));
        macro_rules! pool_options {
            ($options:ty) => {
                <$options>::new()
                    .max_connections(pool.connections_max)
                    .min_connections(min)
                    .acquire_timeout(pool.acquire_timeout)
                    .idle_timeout(Some(pool.idle_timeout).filter(|timeout| !timeout.is_zero()))
                    .max_lifetime(Some(pool.lifetime_max).filter(|lifetime| !lifetime.is_zero()))
            };
        }
        let connecting = async {
            match target.kind {
                DatabaseKind::Sqlite => {
                    let options: SqliteConnectOptions = url.parse().map_err(not_a_url)?;
                    let options = options
                        .foreign_keys(true)
                        .journal_mode(SqliteJournalMode::Wal)
                        .busy_timeout(sqlite_busy)
                        .row_buffer_size(SQLITE_ROWS_AHEAD);
                    // A file does not go away while a connection rests.
                    let pool = pool_options!(SqlitePoolOptions).test_before_acquire(false);
                    Ok(Pools::Sqlite(pool.connect_with(options).await?))
                }
                DatabaseKind::Postgres => {
                    let options: PgConnectOptions = url.parse().map_err(not_a_url)?;
                    let options = match statement_ms {
                        0 => options,
                        ms => options.options([("statement_timeout", ms.to_string())]),
                    };
                    Ok(Pools::Postgres(pool_options!(PgPoolOptions).connect_with(options).await?))
                }
                DatabaseKind::Mysql => {
                    let connect: MySqlConnectOptions = url.parse().map_err(not_a_url)?;
                    let options = pool_options!(MySqlPoolOptions).after_connect(move |connection, _| {
                        Box::pin(async move {
                            // Under another level, which a server may be set to, a transaction is not of one moment.
                            let level = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
                            connection.execute(level).await?;
                            // Nor need a statement outside of one be kept.
                            connection.execute("SET SESSION autocommit = 1").await?;
                            if statement_ms > 0 {
                                // MariaDB counts in seconds and calls it otherwise; neither knows the other's name.
                                let mysql = format!("SET SESSION max_execution_time = {statement_ms}");
                                let mariadb =
                                    format!("SET SESSION max_statement_time = {}", statement_ms as f64 / 1000.0);
                                if connection.execute(mysql.as_str()).await.is_err() {
                                    connection.execute(mariadb.as_str()).await?;
                                }
                            }
                            Ok(())
                        })
                    });
                    Ok(Pools::Mysql(options.connect_with(connect).await?))
                }
                DatabaseKind::Mongodb => Err(StoreError::Settings("MongoDB is no SQL database".to_owned())),
            }
        };
        let connected = match pool.connect_timeout {
            limit if limit.is_zero() => connecting.await,
            limit => tokio::time::timeout(limit, connecting)
                .await
                .unwrap_or_else(|_| Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut.into()))),
        };
        Ok(Self { pool: connected?, patience: Patience::new(pool) })
    }

    pub fn kind(&self) -> DatabaseKind {
        match &self.pool {
            Pools::Sqlite(_) => DatabaseKind::Sqlite,
            Pools::Postgres(_) => DatabaseKind::Postgres,
            Pools::Mysql(_) => DatabaseKind::Mysql,
        }
    }

    pub fn state(&self, target: &Target) -> PoolState {
        let (size, idle) = match &self.pool {
            Pools::Sqlite(pool) => (pool.size(), pool.num_idle()),
            Pools::Postgres(pool) => (pool.size(), pool.num_idle()),
            Pools::Mysql(pool) => (pool.size(), pool.num_idle()),
        };
        PoolState {
            size,
            idle: idle as u32,
            connections_max: target.pool.connections_max,
            connections_min: target.pool.connections_min.min(target.pool.connections_max),
        }
    }

    pub async fn ping(&self) -> Result<(), StoreError> {
        match &self.pool {
            Pools::Sqlite(pool) => self.patience.with(async { pool.acquire().await?.ping().await }).await?,
            Pools::Postgres(pool) => self.patience.with(async { pool.acquire().await?.ping().await }).await?,
            Pools::Mysql(pool) => self.patience.with(async { pool.acquire().await?.ping().await }).await?,
        }
        Ok(())
    }

    pub async fn close(&self) {
        match &self.pool {
            Pools::Sqlite(pool) => pool.close().await,
            Pools::Postgres(pool) => pool.close().await,
            Pools::Mysql(pool) => pool.close().await,
        }
    }

    /// All rows, each given to `take` as it comes.
    pub async fn each(
        &self,
        sql: &str,
        cells: &[Cell],
        mut take: impl FnMut(Vec<Cell>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match &self.pool {
            Pools::Sqlite(pool) => {
                let mut rows = bound!(sql, cells).fetch(pool);
                while let Some(row) = self.patience.with(rows.try_next()).await? {
                    take(sqlite_cells(&row)?)?;
                }
            }
            Pools::Postgres(pool) => {
                let sql = numbered(sql);
                let mut rows = bound!(&sql, cells).fetch(pool);
                while let Some(row) = self.patience.with(rows.try_next()).await? {
                    take(postgres_cells(&row)?)?;
                }
            }
            Pools::Mysql(pool) => {
                let mut rows = bound!(sql, cells).fetch(pool);
                while let Some(row) = self.patience.with(rows.try_next()).await? {
                    take(mysql_cells(&row)?)?;
                }
            }
        }
        Ok(())
    }

    pub async fn rows(&self, sql: &str, cells: &[Cell]) -> Result<Vec<Vec<Cell>>, StoreError> {
        let mut rows = Vec::new();
        self.each(sql, cells, |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The first column of the first row, a number.
    pub async fn number(&self, sql: &str, cells: &[Cell]) -> Result<i64, StoreError> {
        let rows = self.rows(sql, cells).await?;
        match rows.first().and_then(|row| row.first()) {
            Some(Cell::Integer(number)) => Ok(*number),
            _ => Ok(0),
        }
    }

    /// The first column of every row, a text.
    pub async fn texts(&self, sql: &str, cells: &[Cell]) -> Result<Vec<String>, StoreError> {
        let mut texts = Vec::new();
        self.each(sql, cells, |row| {
            texts.extend(row.into_iter().next().and_then(|cell| match cell {
                Cell::Text(text) => Some(text),
                _ => None,
            }));
            Ok(())
        })
        .await?;
        Ok(texts)
    }

    /// How many rows it changed.
    pub async fn execute(&self, sql: &str, cells: &[Cell]) -> Result<u64, StoreError> {
        Ok(match &self.pool {
            Pools::Sqlite(pool) => self.patience.with(bound!(sql, cells).execute(pool)).await?.rows_affected(),
            Pools::Postgres(pool) => {
                let sql = numbered(sql);
                self.patience.with(bound!(&sql, cells).execute(pool)).await?.rows_affected()
            }
            Pools::Mysql(pool) => self.patience.with(bound!(sql, cells).execute(pool)).await?.rows_affected(),
        })
    }

    /// A transaction that sees the database as it was at one moment, and changes nothing.
    pub async fn begin_read(&self) -> Result<Change<'static>, StoreError> {
        const POSTGRES: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        const MYSQL: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
        let transaction = match &self.pool {
            Pools::Sqlite(pool) => Transactions::Sqlite(self.patience.with(pool.begin()).await?),
            Pools::Postgres(pool) => Transactions::Postgres(self.patience.with(pool.begin_with(POSTGRES)).await?),
            Pools::Mysql(pool) => Transactions::Mysql(self.patience.with(pool.begin_with(MYSQL)).await?),
        };
        Ok(Change { transaction, patience: self.patience })
    }

    pub async fn begin(&self) -> Result<Change<'static>, StoreError> {
        let transaction = match &self.pool {
            // A reader that becomes a writer late could not be put after another writer.
            Pools::Sqlite(pool) => Transactions::Sqlite(self.patience.with(pool.begin_with("BEGIN IMMEDIATE")).await?),
            Pools::Postgres(pool) => Transactions::Postgres(self.patience.with(pool.begin()).await?),
            Pools::Mysql(pool) => Transactions::Mysql(self.patience.with(pool.begin()).await?),
        };
        Ok(Change { transaction, patience: self.patience })
    }
}

impl Change<'_> {
    pub async fn execute(&mut self, sql: &str, cells: &[Cell]) -> Result<u64, StoreError> {
        Ok(match &mut self.transaction {
            Transactions::Sqlite(change) => {
                self.patience.with(bound!(sql, cells).execute(&mut **change)).await?.rows_affected()
            }
            Transactions::Postgres(change) => {
                let sql = numbered(sql);
                self.patience.with(bound!(&sql, cells).execute(&mut **change)).await?.rows_affected()
            }
            Transactions::Mysql(change) => {
                self.patience.with(bound!(sql, cells).execute(&mut **change)).await?.rows_affected()
            }
        })
    }

    /// A statement as it stands, which may be one that cannot be prepared.
    pub async fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        match &mut self.transaction {
            Transactions::Sqlite(change) => {
                self.patience.with((&mut **change).execute(sql)).await?;
            }
            Transactions::Postgres(change) => {
                self.patience.with((&mut **change).execute(sql)).await?;
            }
            Transactions::Mysql(change) => {
                self.patience.with((&mut **change).execute(sql)).await?;
            }
        }
        Ok(())
    }

    /// All rows, each given to `take` as it comes.
    pub async fn each(
        &mut self,
        sql: &str,
        cells: &[Cell],
        mut take: impl FnMut(Vec<Cell>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match &mut self.transaction {
            Transactions::Sqlite(change) => {
                let mut rows = bound!(sql, cells).fetch(&mut **change);
                while let Some(row) = self.patience.with(rows.try_next()).await? {
                    take(sqlite_cells(&row)?)?;
                }
            }
            Transactions::Postgres(change) => {
                let sql = numbered(sql);
                let mut rows = bound!(&sql, cells).fetch(&mut **change);
                while let Some(row) = self.patience.with(rows.try_next()).await? {
                    take(postgres_cells(&row)?)?;
                }
            }
            Transactions::Mysql(change) => {
                let mut rows = bound!(sql, cells).fetch(&mut **change);
                while let Some(row) = self.patience.with(rows.try_next()).await? {
                    take(mysql_cells(&row)?)?;
                }
            }
        }
        Ok(())
    }

    pub async fn rows(&mut self, sql: &str, cells: &[Cell]) -> Result<Vec<Vec<Cell>>, StoreError> {
        let mut rows = Vec::new();
        self.each(sql, cells, |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    pub async fn commit(self) -> Result<(), StoreError> {
        match self.transaction {
            Transactions::Sqlite(change) => self.patience.with(change.commit()).await?,
            Transactions::Postgres(change) => self.patience.with(change.commit()).await?,
            Transactions::Mysql(change) => self.patience.with(change.commit()).await?,
        }
        Ok(())
    }
}

fn not_a_url(error: sqlx::Error) -> StoreError {
    StoreError::Settings(format!("FERRUM_DB_URL cannot be used: {error}"))
}

/// Names a query that took longer than the operator wants.
pub async fn timed<T>(
    target: &Target,
    what: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let started = Instant::now();
    let result = work.await;
    let elapsed = started.elapsed();
    if target.slow_threshold.is_some_and(|threshold| elapsed > threshold) {
        tracing::warn!(query = what, elapsed_ms = elapsed.as_millis() as u64, "Slow database query");
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_become_numbers() {
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
        assert_eq!(numbered("none"), "none");
    }
}
