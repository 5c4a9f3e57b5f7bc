//! Database mode's start (control-plane sheet §6).

use std::sync::Arc;

use engine::model::Document;

use super::publication::{Origin, checked};
use super::{Fatal, options};
use crate::settings::{Secret, Settings};
use crate::source::DatabaseSource;
use crate::store::{DatabaseKind, StoreError, Target};

/// Connects, brings the schema up to date, and loads everything.
pub(super) async fn start(settings: &Settings) -> Result<(Origin, Arc<Document>), Fatal> {
    let targets = targets(settings)?;
    let failed = |error: StoreError| Fatal::new(format!("Database load failed: {error}"));
    let (namespace, ports) = (settings.core.namespace.as_str(), settings.reserved_ports());
    let per_type_max = settings.limits.max_credentials_per_type;
    let source = DatabaseSource::connect(targets, namespace, ports, per_type_max).await.map_err(failed)?;
    let document = source.load().await.map_err(failed)?;
    // What is written while it is read may refer to what was read before: only the second time is it wrong.
    let document = match source.check(&document) {
        Ok(_) => document,
        Err(_) => source.load().await.map_err(failed)?,
    };
    source.note(document.loaded_at);
    let document = checked(&source, document)?;
    tracing::info!(
        "Configuration loaded from the database: {} proxies, {} consumers, {} plugin configs",
        document.proxies.len(),
        document.consumers.len(),
        document.plugin_configs.len()
    );
    Ok((Origin::Database(Arc::new(source)), document))
}

/// The primary, and those to fail over to. What this release does not do is refused.
fn targets(settings: &Settings) -> Result<Vec<Target>, Fatal> {
    let primary = options::database(settings).map_err(|error| Fatal::new(error.to_string()))?;
    let database = &settings.database;
    let unbuilt = [
        (primary.kind == DatabaseKind::Mongodb, "FERRUM_DB_TYPE=mongodb", "use sqlite, postgres or mysql"),
        (database.db_read_replica_url.is_some(), "FERRUM_DB_READ_REPLICA_URL", "unset it: the primary is read"),
        (database.db_config_backup_path.is_some(), "FERRUM_DB_CONFIG_BACKUP_PATH", "unset it"),
    ];
    if let Some((_, what, instead)) = unbuilt.into_iter().find(|(is_used, _, _)| *is_used) {
        return Err(Fatal::new(format!("{what} is not built yet in this release; {instead}")));
    }
    let others = database.db_failover_urls.iter().map(Secret::expose);
    let others = others.map(|url| Target { url: url.to_owned(), ..primary.clone() });
    Ok(std::iter::once(primary.clone()).chain(others).collect())
}
