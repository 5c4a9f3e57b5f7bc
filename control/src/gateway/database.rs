//! Database mode's start (control-plane sheet §6 and §9).

use std::sync::Arc;

use engine::model::Document;

use super::publication::Origin;
use super::{Fatal, options};
use crate::settings::{Secret, Settings};
use crate::source::{DatabaseScope, DatabaseSource, Databases, SourceError, address_policy, startup_backup};
use crate::store::{DatabaseKind, StoreError, Target};

/// Connects, brings the schema up to date, and loads everything; without the database, what the start-up backup has.
pub(super) async fn start(settings: &Settings) -> Result<(Origin, Arc<Document>), Fatal> {
    let scope = DatabaseScope {
        namespace: settings.core.namespace.as_str().to_owned(),
        reserved_ports: settings.reserved_ports(),
        credentials_per_type_max: settings.limits.max_credentials_per_type,
        address_policy: address_policy(settings.client.backend_allow_ips),
        cert_expiry_warning_days: settings.tls.tls_cert_expiry_warning_days,
    };
    let source = DatabaseSource::new(databases(settings)?, scope);
    let (document, place) = match first_load(&source).await {
        Ok(document) => {
            source.note(document.loaded_at);
            (document, "the database")
        }
        Err(failure) => (without_database(settings, &source, failure)?, "the start-up backup"),
    };
    source.check_ports(&document)?;
    tracing::info!(
        "Configuration loaded from {place}: {} proxies, {} consumers, {} plugin configs",
        document.proxies.len(),
        document.consumers.len(),
        document.plugin_configs.len()
    );
    Ok((Origin::Database(Arc::new(source)), Arc::new(document)))
}

/// Why the database's configuration is not to be had.
enum Failure {
    /// No database answers, or none that can be used.
    Connection(StoreError),
    /// What the operator has asked for cannot be done. No backup makes up for that.
    PluginMigration(StoreError),
    /// It answered, and its rows are no configuration.
    Rows(StoreError),
    /// They are one that cannot be served.
    Unsound(SourceError),
}

async fn first_load(source: &DatabaseSource) -> Result<Document, Failure> {
    source.connect().await.map_err(|error| match error {
        StoreError::PluginMigration(_) => Failure::PluginMigration(error),
        _ => Failure::Connection(error),
    })?;
    let document = source.load().await.map_err(Failure::Rows)?;
    source.check(&document, None).map_err(Failure::Unsound)?;
    Ok(document)
}

/// Writes wait until a configuration of the database is in service.
fn without_database(settings: &Settings, source: &DatabaseSource, failure: Failure) -> Result<Document, Fatal> {
    let is_final = matches!(failure, Failure::PluginMigration(_));
    let Some(path) = settings.database.db_config_backup_path.as_ref().filter(|_| !is_final) else {
        return Err(failure.into());
    };
    let path_shown = path.display();
    let fatal = Fatal::from(failure);
    for error in &fatal.errors {
        tracing::error!("{error}");
    }
    let document = startup_backup(path).map_err(|reason| {
        Fatal::new(format!(
            "Database load failed and no usable backup at {path_shown}: {reason} (the database: {fatal})"
        ))
    })?;
    tracing::error!("Starting from the backup {path_shown}, admin writes wait for the database: {fatal}");
    source.begin_without();
    Ok(document)
}

impl From<Failure> for Fatal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connection(error) | Failure::PluginMigration(error) => Self::new(error.to_string()),
            Failure::Rows(error) => Self::new(format!("Database load failed: {error}")),
            Failure::Unsound(error) => error.into(),
        }
    }
}

/// The primary, those to fail over to, and the replica.
fn databases(settings: &Settings) -> Result<Databases, Fatal> {
    let primary = options::database(settings).map_err(|error| Fatal::new(error.to_string()))?;
    let at = |url: &Secret| Target { url: url.expose().to_owned(), ..primary.clone() };
    let database = &settings.database;
    let others = database.db_failover_urls.iter().map(at);
    let mut replica = database.db_read_replica_url.as_ref().map(at);
    if primary.kind == DatabaseKind::Mongodb && replica.take().is_some() {
        tracing::warn!("FERRUM_DB_READ_REPLICA_URL is not for MongoDB: use readPreference in FERRUM_DB_URL");
    }
    Ok(Databases {
        targets: std::iter::once(primary.clone()).chain(others).collect(),
        replica,
        applies_plugin_migrations: settings.file.auto_apply_plugin_migrations,
    })
}
