//! Database mode: where the configuration comes from, and how it is followed (control-plane sheet §6 to §9).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::model::{Document, reserved_port_conflicts};
use time::OffsetDateTime;

use super::connections::{Connections, Databases};
use super::delta::applied;
use super::file::SourceError;
use super::sound::check_stored;
use crate::store::{Changes, Store, StoreError};

/// Which part of a database is served, and what its configurations are checked against.
#[derive(Clone, Debug)]
pub struct DatabaseScope {
    pub namespace: String,
    pub reserved_ports: Vec<u16>,
    pub credentials_per_type_max: usize,
}

/// A database that may move and may be away, and what was last read of it.
pub struct DatabaseSource {
    connections: Connections,
    scope: DatabaseScope,
    progress: Mutex<Progress>,
    is_away: Arc<AtomicBool>,
}

/// What of the database is in service.
#[derive(Clone, Copy)]
enum Progress {
    /// Nothing: what is served, if anything, is the start-up backup. Everything is read.
    Nothing,
    /// All until then: changes from then on are read.
    Until(OffsetDateTime),
}

/// What a look at the database led to.
pub enum Polled {
    /// Nothing has changed.
    Same,
    /// Its cursor is given to [`DatabaseSource::note`] once it is in service.
    Changed { document: Box<Document>, cursor: OffsetDateTime },
}

impl DatabaseSource {
    /// Connects to nothing yet.
    pub fn new(databases: Databases, scope: DatabaseScope) -> Self {
        Self {
            connections: Connections::new(databases),
            scope,
            progress: Mutex::new(Progress::Nothing),
            is_away: Arc::default(),
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

    /// Whether the last look found no database. Admin writes wait for the next that does.
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
    /// No database answers. What runs goes on.
    pub async fn poll(&self, running: &Document) -> Result<Polled, StoreError> {
        self.connections.retry_replica().await;
        let has_moved = self.connections.follow_names().await;
        let at = OffsetDateTime::now_utc();
        let since = match *self.progress() {
            Progress::Until(cursor) if !has_moved => Some(cursor),
            _ => None,
        };
        let polled = match since {
            Some(since) => match self.changes(since, running).await {
                Ok(changes) => Ok(self.after(running, changes, at)),
                Err(error) => {
                    tracing::warn!("Incremental load failed, everything is read again: {error}");
                    self.everything(at).await
                }
            },
            None => self.everything(at).await,
        };
        self.say(polled.as_ref().err());
        polled
    }

    /// A replica may show a row long after the time that stands in it. So what counts there is not when it was last asked, but
    /// the newest row it has shown.
    async fn changes(&self, since: OffsetDateTime, running: &Document) -> Result<Changes, StoreError> {
        let namespace = &self.scope.namespace;
        match self.connections.replica() {
            Some(replica) => replica.changes(namespace, since.min(newest(running))).await,
            None => self.connections.primary()?.changes(namespace, since).await,
        }
    }

    fn after(&self, running: &Document, changes: Changes, at: OffsetDateTime) -> Polled {
        match applied(running, changes, at) {
            Some(document) => Polled::Changed { document: Box::new(document), cursor: at },
            None => {
                self.note(at);
                Polled::Same
            }
        }
    }

    async fn everything(&self, at: OffsetDateTime) -> Result<Polled, StoreError> {
        let document = match self.load().await {
            Ok(document) => document,
            Err(error) => {
                if !matches!(error, StoreError::NeverConnected) {
                    tracing::warn!("Full load failed, the databases are tried in order: {error}");
                }
                self.connections.connect().await?;
                self.connections.retry_replica().await;
                self.load().await?
            }
        };
        Ok(Polled::Changed { document: Box::new(document), cursor: at })
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
            Some(error) if !self.is_away.swap(true, Ordering::AcqRel) => {
                tracing::error!("The database is away, the configuration stays as it is: {error}");
            }
            None if matches!(*self.progress(), Progress::Until(_)) => self.said_to_be_back(),
            _ => {}
        }
    }

    fn said_to_be_back(&self) {
        if self.is_away.swap(false, Ordering::AcqRel) {
            tracing::info!("The database is back");
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the document can be served, and what is warned about.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, document: &Document) -> Result<Vec<String>, SourceError> {
        check_stored(document, self.scope.credentials_per_type_max)
    }

    /// Whether a stream proxy wants a port of the gateway's own listeners.
    ///
    /// # Errors
    /// Each that does.
    pub fn check_ports(&self, document: &Document) -> Result<(), SourceError> {
        let errors = reserved_port_conflicts(document, &self.scope.reserved_ports);
        if errors.is_empty() {
            return Ok(());
        }
        Err(SourceError { summary: "Stream proxy port conflicts with gateway reserved ports".to_owned(), errors })
    }
}

/// When the last change was made that the document has.
fn newest(document: &Document) -> OffsetDateTime {
    let proxies = document.proxies.iter().map(|row| row.updated_at);
    let consumers = document.consumers.iter().map(|row| row.updated_at);
    let upstreams = document.upstreams.iter().map(|row| row.updated_at);
    let configs = document.plugin_configs.iter().map(|row| row.updated_at);
    proxies.chain(consumers).chain(upstreams).chain(configs).max().unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
