//! The databases of the settings, and which of them is in use (control-plane sheet §6 and §9).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrum_edge::custom_plugins::collect_all_custom_plugin_migrations;

use crate::store::{AnyStore, DatabaseKind, StoreError, Target};

/// A poll waits for a read replica no longer than this: the primary knows all that a replica does.
const REPLICA_RETRY_MAX: Duration = Duration::from_secs(2);

/// Which databases there are.
#[derive(Clone, Debug)]
pub struct Databases {
    /// The primary first, then those to fail over to.
    pub targets: Vec<Target>,
    /// Read instead of the primary wherever a little lag does no harm.
    pub replica: Option<Target>,
    /// Whether the schemas that custom plugins bring are brought up to date, too.
    pub applies_plugin_migrations: bool,
}

/// Connections that may move and may be away.
pub struct Connections {
    databases: Databases,
    primary: Mutex<Place>,
    replica: Mutex<Place>,
    /// One search for a database at a time: two would bring the schema up to date side by side.
    connecting: tokio::sync::Mutex<()>,
}

/// What one connection leads to.
#[derive(Default)]
struct Place {
    /// None before a database has answered for the first time, and while a replica is left aside.
    store: Option<Arc<AnyStore>>,
    /// Which of the targets.
    target: usize,
    addresses: BTreeSet<IpAddr>,
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    /// Connects to nothing yet.
    pub fn new(databases: Databases) -> Self {
        Self {
            databases,
            primary: Mutex::default(),
            replica: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub fn kind(&self) -> DatabaseKind {
        self.databases.targets.first().map_or(DatabaseKind::Sqlite, |target| target.kind)
    }

    /// # Errors
    /// None has answered yet.
    pub fn primary(&self) -> Result<Arc<AnyStore>, StoreError> {
        lock(&self.primary).store.clone().ok_or(StoreError::NeverConnected)
    }

    pub fn replica(&self) -> Option<Arc<AnyStore>> {
        lock(&self.replica).store.clone()
    }

    /// Nobody reads from the replica until a poll finds it answering again.
    pub fn leave_replica(&self, error: &StoreError) {
        let left = lock(&self.replica).store.take();
        if let (Some(_), Some(target)) = (left, &self.databases.replica) {
            tracing::warn!("The read replica {} failed, the primary is read instead: {error}", target.shown());
        }
    }

    /// Connects to the first target that answers, and brings its schema up to date.
    ///
    /// # Errors
    /// None answers, or a migration failed.
    pub async fn connect(&self) -> Result<(), StoreError> {
        let _alone = self.connecting.lock().await;
        let mut errors = Vec::new();
        for (index, target) in self.databases.targets.iter().enumerate() {
            // One that answers and lets nothing be written is no primary.
            let attempt = async {
                let store = AnyStore::connect(target).await?;
                bring_up_to_date(&store, self.databases.applies_plugin_migrations).await?;
                Ok::<_, StoreError>(store)
            };
            match attempt.await {
                Ok(store) => {
                    if index > 0 {
                        tracing::warn!("Connected to the failover database {}", target.shown());
                    }
                    adopt(&self.primary, Arc::new(store), index, target).await;
                    return Ok(());
                }
                // What was asked of the plugins' tables cannot be done, here or elsewhere.
                Err(error @ StoreError::PluginMigration(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!("{} cannot be used: {error}", target.shown());
                    errors.push(error);
                }
            }
        }
        Err(StoreError::all_failed(errors))
    }

    /// Connects to the replica. One that does not answer is done without.
    pub async fn connect_replica(&self) {
        let Some(target) = &self.databases.replica else { return };
        match AnyStore::connect(target).await {
            Ok(store) => adopt(&self.replica, Arc::new(store), 0, target).await,
            Err(error) => {
                let shown = target.shown();
                tracing::warn!("The read replica {shown} does not answer, the primary is read instead: {error}");
            }
        }
    }

    /// Takes up a replica that was left aside, or that did not answer before.
    pub async fn retry_replica(&self) {
        let Some(target) = self.databases.replica.as_ref().filter(|_| self.replica().is_none()) else { return };
        if let Ok(Ok(store)) = tokio::time::timeout(REPLICA_RETRY_MAX, AnyStore::connect(target)).await {
            tracing::info!("The read replica {} answers", target.shown());
            adopt(&self.replica, Arc::new(store), 0, target).await;
        }
    }

    /// Connects anew where a name leads elsewhere. Answers whether the primary's does.
    pub async fn follow_names(&self) -> bool {
        if let Some(target) = &self.databases.replica
            && let Some(store) = moved(&self.replica, target).await
        {
            adopt(&self.replica, store, 0, target).await;
        }
        let index = lock(&self.primary).target;
        let Some(target) = self.databases.targets.get(index) else { return false };
        let Some(store) = moved(&self.primary, target).await else { return false };
        if let Err(error) = bring_up_to_date(&store, self.databases.applies_plugin_migrations).await {
            tracing::warn!("{} leads elsewhere, and its schema cannot be used: {error}", target.shown());
            return false;
        }
        adopt(&self.primary, store, index, target).await;
        true
    }
}

async fn bring_up_to_date(store: &AnyStore, applies_plugin_migrations: bool) -> Result<(), StoreError> {
    for (migration, ms) in store.migrate().await? {
        tracing::info!("Migration V{}: {} ({ms} ms)", migration.version, migration.name);
    }
    // The schemas that plugins bring are in SQL.
    let AnyStore::Sql(store) = store else { return Ok(()) };
    let plugins = collect_all_custom_plugin_migrations();
    if applies_plugin_migrations {
        for (step, ms) in store.migrate_plugins(&plugins).await? {
            tracing::info!("Migration {step} ({ms} ms)");
        }
        return Ok(());
    }
    match store.plugin_migration_status(&plugins).await {
        Ok(status) if status.pending.is_empty() => {}
        Ok(status) => {
            let pending: Vec<String> = status.pending.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "Custom plugin migrations are pending, FERRUM_MODE=migrate or FERRUM_AUTO_APPLY_PLUGIN_MIGRATIONS=true \
                 applies them: {}",
                pending.join(", ")
            );
        }
        Err(error) => tracing::warn!("Whether custom plugin migrations are pending cannot be told: {error}"),
    }
    Ok(())
}

/// A new connection, if there was one and its name leads elsewhere by now. Where that does not answer, the old one stays.
async fn moved(place: &Mutex<Place>, target: &Target) -> Option<Arc<AnyStore>> {
    let known = Some(lock(place)).filter(|place| place.store.is_some()).map(|place| place.addresses.clone())?;
    let addresses = addresses_of(target).await;
    if addresses.is_empty() || addresses == known {
        return None;
    }
    match AnyStore::connect(target).await {
        Ok(store) => {
            tracing::info!("{} leads elsewhere: connected anew", target.shown());
            Some(Arc::new(store))
        }
        Err(error) => {
            tracing::warn!("{} leads elsewhere and does not answer there: {error}", target.shown());
            None
        }
    }
}

async fn adopt(place: &Mutex<Place>, store: Arc<AnyStore>, target: usize, leads: &Target) {
    let addresses = addresses_of(leads).await;
    *lock(place) = Place { store: Some(store), target, addresses };
}

/// Where the name of a target leads to now; nothing for an address or a file.
async fn addresses_of(target: &Target) -> BTreeSet<IpAddr> {
    let Some(host) = target.host().filter(|host| host.parse::<IpAddr>().is_err()) else { return BTreeSet::new() };
    match tokio::net::lookup_host((host, 0)).await {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(_) => BTreeSet::new(),
    }
}
