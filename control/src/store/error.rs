//! Why a database did not do what it was asked.

use std::borrow::Cow;
use std::error::Error;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

use super::Kind;

/// What a database's driver has said.
pub type Cause = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it broke.
    #[error("{0}")]
    Unavailable(#[source] Cause),
    /// Something like it is there already.
    #[error("{0}")]
    Conflict(#[source] Cause),
    /// Something refers to it, or what it refers to is not there.
    #[error("{0}")]
    Reference(#[source] Cause),
    #[error("{0}")]
    Query(#[source] Cause),
    /// More than the database takes as one document.
    #[error("{0}")]
    TooLarge(#[source] Cause),
    /// A row that is no resource.
    #[error("{table} '{id}'{}: {reason}", within(.column))]
    Row {
        table: &'static str,
        id: String,
        /// Empty where the whole row is one value.
        column: &'static str,
        reason: Cow<'static, str>,
    },
    /// The settings ask for what this database cannot do.
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Migration(String),
    /// Of a schema that a custom plugin brings.
    #[error("{0}")]
    PluginMigration(String),
    #[error("no database has answered since the start")]
    NeverConnected,
    /// The primary, and those to fail over to.
    #[error("All database URLs failed. Primary: {0}{others}", others = listed(.1))]
    AllFailed(#[source] Box<StoreError>, Vec<StoreError>),
}

fn within(column: &str) -> String {
    if column.is_empty() { String::new() } else { format!(": column {column}") }
}

fn listed(others: &[StoreError]) -> String {
    (1..).zip(others).map(|(number, error)| format!("; failover {number}: {error}")).collect()
}

/// Why a namespace was not filled. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("it has {0} resources already; --replace puts the document's in their place")]
    Occupied(u64),
    /// A number too large for its column, a text cut off, and the like.
    #[error("the database would not keep {} '{id}' as it is", kind.name())]
    Altered { kind: Kind, id: String },
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Conflict(error.into()),
            sqlx::Error::Database(database)
                if database.is_foreign_key_violation()
                    || database.is_check_violation()
                    || is_restricted(&**database) =>
            {
                Self::Reference(error.into())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.into()),
            _ => Self::Query(error.into()),
        }
    }
}

/// SQLite has a code of its own for `ON DELETE RESTRICT`: that of triggers, of which the schema has none.
fn is_restricted(error: &(dyn DatabaseError + 'static)) -> bool {
    const CONSTRAINT_TRIGGER: &str = "1811";
    error.try_downcast_ref::<SqliteError>().and_then(DatabaseError::code).is_some_and(|code| code == CONSTRAINT_TRIGGER)
}

impl StoreError {
    /// The database is there; a row of it is no resource.
    pub fn is_of_row(&self) -> bool {
        matches!(self, Self::Row { .. })
    }

    /// Why none of the databases answers, from why each of them does not, the primary first.
    pub fn all_failed(mut errors: Vec<StoreError>) -> Self {
        let others = errors.split_off(errors.len().min(1));
        match errors.pop() {
            None => Self::Settings("no database is named: set FERRUM_DB_URL".to_owned()),
            Some(only) if others.is_empty() => only,
            Some(primary) => Self::AllFailed(Box::new(primary), others),
        }
    }
}
