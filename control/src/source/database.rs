//! Database mode: where the configuration comes from, and how it is followed (control-plane sheet §6 to §9).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::model::{AddressPolicy, Document};
use time::OffsetDateTime;

use super::connections::{Connections, Databases};
use super::delta::applied;
use super::file::SourceError;
use super::sound::{ChangedProxies, check_changed, check_ports, check_stored};
use crate::store::{Changes, Kind, StoreError};

/// Which part of a database is served, and what its configurations are checked against.
#[derive(Clone, Debug)]
pub struct DatabaseScope {
    pub namespace: String,
    pub reserved_ports: Vec<u16>,
    pub credentials_per_type_max: usize,
    pub address_policy: AddressPolicy,
    pub cert_expiry_warning_days: u64,
}

#[cfg(test)]
impl DatabaseScope {
    pub fn of_tests() -> Self {
        Self {
            namespace: "ferrum".to_owned(),
            reserved_ports: vec![9000],
            credentials_per_type_max: 2,
            address_policy: AddressPolicy::Both,
            cert_expiry_warning_days: 30,
        }
    }
}

/// A database that may move and may be away, and what was last read of it.
pub struct DatabaseSource {
    connections: Connections,
    scope: DatabaseScope,
    progress: Mutex<Progress>,
    is_away: Arc<AtomicBool>,
    /// No primary answers. Reads of a replica do not show it.
    is_primary_lost: AtomicBool,
    /// What the last configuration was warned about.
    warned: Mutex<HashSet<String>>,
}

/// What of the database is in service.
#[derive(Clone, Copy)]
enum Progress {
    /// Nothing: what is served, if anything, is the start-up backup. Everything is read.
    Nothing,
    /// All until then: changes from then on are read.
    Until(OffsetDateTime),
    /// What another database had. Everything is read.
    Elsewhere,
}

/// What a look at the database has read.
enum Read {
    All(Box<Document>),
    /// Since what runs was read.
    Changes(Changes),
}

/// A look at the database, not in service yet.
pub struct Polled {
    read: Read,
    /// Given to [`DatabaseSource::note`] once it is in service.
    pub cursor: OffsetDateTime,
}

impl Polled {
    /// What is to be in service instead; nothing when that is the same.
    pub fn over(self, running: &Document) -> Option<Document> {
        match self.read {
            Read::All(document) => Some(*document),
            Read::Changes(changes) => applied(running, changes, self.cursor),
        }
    }
}

impl DatabaseSource {
    /// Connects to nothing yet.
    pub fn new(databases: Databases, scope: DatabaseScope) -> Self {
        Self {
            connections: Connections::new(databases),
            scope,
            progress: Mutex::new(Progress::Nothing),
            is_away: Arc::default(),
            is_primary_lost: AtomicBool::default(),
            warned: Mutex::default(),
        }
    }

    /// Connects to the first target that answers and brings its schema up to date, then to the replica.
    ///
    /// # Errors
    /// None answers, or a migration failed.
    pub async fn connect(&self) -> Result<(), StoreError> {
        self.connections.connect().await?;
        self.connections.connect_replica().await;
        Ok(())
    }

    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Whether the last look found no database, or only a replica. Admin writes wait for the next that does.
    pub fn is_away(&self) -> Arc<AtomicBool> {
        self.is_away.clone()
    }

    /// Something else than the database is served, until a configuration of the database can be.
    pub fn begin_without(&self) {
        self.is_away.store(true, Ordering::Release);
    }

    /// During a start without the database: looks for it once more. If it answers before the start is over, writes need not
    /// wait for a poll.
    pub async fn come_back(&self, is_starting: impl Fn() -> bool) {
        if self.connections.primary().is_ok() {
            return;
        }
        match self.connect().await {
            Ok(()) if is_starting() => self.said_to_be_back(),
            Ok(()) => {}
            Err(error) => tracing::info!("The database is still away: {error}"),
        }
    }

    /// Everything, as at start.
    ///
    /// # Errors
    /// The database failed.
    pub async fn load(&self) -> Result<Document, StoreError> {
        let namespace = &self.scope.namespace;
        if let Some(replica) = self.connections.replica() {
            match replica.load(namespace).await {
                Ok(document) => return Ok(document),
                Err(error) => self.connections.leave_replica(&error),
            }
        }
        self.connections.primary()?.load(namespace).await
    }

    /// What has changed since the last configuration that was put into service; everything, when that cannot be told.
    ///
    /// # Errors
    /// No database answers, or it has what cannot be read. What runs goes on.
    pub async fn poll(&self, running: &Document) -> Result<Polled, StoreError> {
        self.connections.retry_replica().await;
        if self.connections.follow_names().await {
            self.forget();
        }
        self.look_for_primary().await;
        let cursor = OffsetDateTime::now_utc();
        let since = match *self.progress() {
            Progress::Until(since) => Some(since),
            Progress::Nothing | Progress::Elsewhere => None,
        };
        let changes = match since {
            Some(since) => self.changes(since, running).await,
            None => None,
        };
        let read = match changes {
            Some(changes) => Ok(Read::Changes(changes)),
            None => self.everything().await.map(|document| Read::All(Box::new(document))),
        };
        self.say(read.as_ref().err());
        read.map(|read| Polled { read, cursor })
    }

    /// What has become of those rows: for rows that were just written here, without a look at the others. None when that is not
    /// enough to know.
    pub async fn poll_rows(&self, rows: &[(Kind, String)]) -> Option<Polled> {
        let Progress::Until(cursor) = *self.progress() else { return None };
        // What is served is all of one database: the replica may not have these rows yet.
        if self.connections.replica().is_some() {
            return None;
        }
        let primary = self.connections.primary().ok()?;
        let mut changes = Changes::default();
        for (kind, id) in rows {
            // A failure is said by the look at everything that follows.
            let found = primary.get(*kind, id).await.ok()?;
            match found.filter(|row| row.namespace() == self.scope.namespace) {
                Some(mut row) => {
                    row.set_api_spec_id(None);
                    row.normalize();
                    changes.changed.push(row);
                }
                None => changes.gone.push((*kind, id.clone())),
            }
        }
        Some(Polled { read: Read::Changes(changes), cursor })
    }

    /// None when everything has to be read. A replica may show a row long after the time that stands in it; it is found by not
    /// being known.
    async fn changes(&self, since: OffsetDateTime, running: &Document) -> Option<Changes> {
        let namespace = &self.scope.namespace;
        let changes = match (self.connections.replica(), self.connections.primary()) {
            (Some(replica), _) => replica.changes(namespace, running, since).await,
            (None, Ok(primary)) => primary.changes(namespace, running, since).await,
            (None, Err(error)) => Err(error),
        };
        changes.inspect_err(|error| tracing::warn!("Incremental load failed, everything is read again: {error}")).ok()
    }

    async fn everything(&self) -> Result<Document, StoreError> {
        match self.load().await {
            Err(error) if !error.is_of_row() => {
                if !matches!(error, StoreError::NeverConnected) {
                    tracing::warn!("Full load failed, the databases are tried in order: {error}");
                }
                self.reconnect().await?;
                self.connections.retry_replica().await;
                self.load().await
            }
            loaded => loaded,
        }
    }

    /// Where a replica is read, nothing else shows that the primary is away, or was never there.
    async fn look_for_primary(&self) {
        let answers = match self.connections.primary() {
            _ if self.connections.replica().is_none() => true,
            Ok(primary) => primary.ping().await.is_ok(),
            Err(_) => false,
        };
        if answers {
            self.is_primary_lost.store(false, Ordering::Release);
        } else if let Err(error) = self.reconnect().await {
            self.is_primary_lost.store(true, Ordering::Release);
            if !self.is_away.swap(true, Ordering::AcqRel) {
                tracing::error!("No primary answers, the replica is read and admin writes wait: {error}");
            }
        }
    }

    async fn reconnect(&self) -> Result<(), StoreError> {
        self.connections.connect().await?;
        self.is_primary_lost.store(false, Ordering::Release);
        self.forget();
        Ok(())
    }

    /// What runs is of another database: its changes mean nothing until something of this one is in service.
    fn forget(&self) {
        let mut progress = self.progress();
        if matches!(*progress, Progress::Until(_)) {
            *progress = Progress::Elsewhere;
        }
    }

    /// The configuration as of that time is in service.
    pub fn note(&self, cursor: OffsetDateTime) {
        *self.progress() = Progress::Until(cursor);
        self.said_to_be_back();
    }

    /// Raises the flag, and lowers it again, saying so once. Before anything of the database is in service, [`Self::note`]
    /// lowers it: what answers then may still not be sound.
    fn say(&self, failure: Option<&StoreError>) {
        match failure {
            // One that says what is wrong with a row is there.
            Some(error) if error.is_of_row() => {
                tracing::error!("The database cannot be read, the configuration stays as it is: {error}");
            }
            Some(error) if !self.is_away.swap(true, Ordering::AcqRel) => {
                tracing::error!("The database is away, the configuration stays as it is: {error}");
            }
            None if !matches!(*self.progress(), Progress::Nothing) => self.said_to_be_back(),
            _ => {}
        }
    }

    fn said_to_be_back(&self) {
        if !self.is_primary_lost.load(Ordering::Acquire) && self.is_away.swap(false, Ordering::AcqRel) {
            tracing::info!("The database is back");
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the document can be served. A warning is logged once, for as long as it holds. Of what `running` has too, which
    /// was found sound before, as little as possible is looked at.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, document: &Document, running: Option<&Document>) -> Result<(), SourceError> {
        for warning in self.new_warnings(document, running)? {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    fn new_warnings(&self, document: &Document, running: Option<&Document>) -> Result<Vec<String>, SourceError> {
        let changed = running.and_then(|running| ChangedProxies::between(document, running));
        let (warnings, is_about_all) = match &changed {
            Some(changed) => (check_changed(document, changed, &self.scope)?, false),
            None => {
                self.check_ports(document)?;
                (check_stored(document, &self.scope)?, true)
            }
        };
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let new = warnings.iter().filter(|warning| !warned.contains(*warning)).cloned().collect();
        if is_about_all {
            warned.clear();
        } else {
            let subjects: Vec<String> =
                changed.iter().flat_map(|changed| &changed.rows).map(|row| format!("Proxy '{}': ", row.id)).collect();
            warned.retain(|warning| !subjects.iter().any(|subject| warning.starts_with(subject)));
        }
        warned.extend(warnings);
        Ok(new)
    }

    /// Whether a stream proxy wants a port of the gateway's own listeners.
    ///
    /// # Errors
    /// Each that does.
    pub fn check_ports(&self, document: &Document) -> Result<(), SourceError> {
        check_ports(document, &self.scope.reserved_ports)
    }
}

#[cfg(test)]
mod tests;
