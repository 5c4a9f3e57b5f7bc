//! Configurations between databases and documents: `ferrum-edge export` and `ferrum-edge import`.
//!
//! What one has and the other cannot hold is refused or said; everything else is the same afterwards.

mod export;
mod import;

pub use export::{Exported, export};
pub use import::{ImportReport, import};

use crate::gateway::database_target;
use crate::settings::Settings;
use crate::store::{AnyStore, Target};

/// The primary of the settings.
fn target(settings: &Settings) -> Result<Target, String> {
    let database = &settings.database;
    for (key, is_set) in [("FERRUM_DB_TYPE", database.db_type.is_some()), ("FERRUM_DB_URL", database.db_url.is_some())]
    {
        if !is_set {
            return Err(format!("{key} is required: it names the database"));
        }
    }
    database_target(settings).map_err(|error| error.to_string())
}

async fn connected(target: &Target) -> Result<AnyStore, String> {
    AnyStore::connect(target).await.map_err(|error| format!("{}: {error}", target.shown()))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Runtime::new().map_err(|error| format!("cannot start a runtime: {error}"))
}

#[cfg(test)]
mod tests;
