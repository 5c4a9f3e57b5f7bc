//! Database mode: where the configuration comes from, and how it is followed (control-plane sheet §6 to §9).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use engine::model::{
    Document, Finding, check_consumer_credentials, check_consumer_identities, check_dispatch_references,
    check_plugin_references, check_routes, check_sole_metrics, check_streams, check_upstream_references,
    features_in_use, reserved_port_conflicts,
};
use time::OffsetDateTime;

use super::delta::applied;
use super::file::SourceError;
use crate::store::{Changes, SqlStore, Store, StoreError, Target};

/// A database that may move and may be away, and what was last read of it.
pub struct DatabaseSource {
    /// The primary first, then those to fail over to.
    targets: Vec<Target>,
    namespace: String,
    reserved_ports: Vec<u16>,
    credentials_per_type_max: usize,
    store: RwLock<Arc<SqlStore>>,
    progress: Mutex<Progress>,
    is_away: Arc<AtomicBool>,
}

struct Progress {
    /// Changes from then on have not been read.
    cursor: OffsetDateTime,
    /// What runs is of another database, so its changes mean nothing.
    reads_all: bool,
    /// Which target the store is, and where its name led to.
    target: usize,
    addresses: BTreeSet<IpAddr>,
}

/// What a look at the database has read.
pub enum Read {
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
    /// Connects to the first target that answers, and brings its schema up to date.
    ///
    /// # Errors
    /// None answers, or a migration failed.
    pub async fn connect(
        targets: Vec<Target>,
        namespace: &str,
        reserved_ports: Vec<u16>,
        credentials_per_type_max: usize,
    ) -> Result<Self, StoreError> {
        let (store, target) = first(&targets).await?;
        let addresses = addresses_of(&targets[target]).await;
        Ok(Self {
            progress: Mutex::new(Progress { cursor: OffsetDateTime::UNIX_EPOCH, reads_all: false, target, addresses }),
            targets,
            namespace: namespace.to_owned(),
            reserved_ports,
            credentials_per_type_max,
            store: RwLock::new(store),
            is_away: Arc::default(),
        })
    }

    pub fn store(&self) -> Arc<SqlStore> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the last look found no database. Admin writes wait for the next that does.
    pub fn is_away(&self) -> Arc<AtomicBool> {
        self.is_away.clone()
    }

    /// Everything, as at start.
    ///
    /// # Errors
    /// The database failed.
    pub async fn load(&self) -> Result<Document, StoreError> {
        self.store().load(&self.namespace).await
    }

    /// What has changed since the last configuration that was put into service; everything, when that cannot be told.
    ///
    /// # Errors
    /// No database answers, or it has what cannot be read. What runs goes on.
    pub async fn poll(&self, running: &Document) -> Result<Polled, StoreError> {
        self.follow_name().await;
        let cursor = OffsetDateTime::now_utc();
        let read = match self.changes(running).await {
            Some(changes) => Ok(Read::Changes(changes)),
            None => self.everything().await.map(|document| Read::All(Box::new(document))),
        };
        // One that says what is wrong with a row is there.
        let is_away = read.as_ref().is_err_and(|error| !error.is_of_row());
        let was_away = self.is_away.swap(is_away, Ordering::AcqRel);
        match (&read, was_away) {
            (Ok(_), true) => tracing::info!("The database is back"),
            (Err(error), false) if is_away => {
                tracing::error!("The database is away, the configuration stays as it is: {error}");
            }
            (Err(error), _) if !is_away => {
                tracing::error!("The database cannot be read, the configuration stays as it is: {error}");
            }
            _ => {}
        }
        read.map(|read| Polled { read, cursor })
    }

    /// None when everything has to be read.
    async fn changes(&self, running: &Document) -> Option<Changes> {
        let since = {
            let progress = self.progress();
            (!progress.reads_all).then_some(progress.cursor)?
        };
        let changes = self.store().changes(&self.namespace, running, since).await;
        changes.inspect_err(|error| tracing::warn!("Incremental load failed, everything is read again: {error}")).ok()
    }

    async fn everything(&self) -> Result<Document, StoreError> {
        match self.load().await {
            Err(error) if !error.is_of_row() => {
                tracing::warn!("Full load failed, the databases are tried in order: {error}");
                let (store, target) = first(&self.targets).await?;
                self.adopt(store, target).await;
                self.load().await
            }
            loaded => loaded,
        }
    }

    /// The configuration as of that time is in service.
    pub fn note(&self, cursor: OffsetDateTime) {
        let mut progress = self.progress();
        (progress.cursor, progress.reads_all) = (cursor, false);
    }

    /// Connects anew when the database's name leads elsewhere.
    async fn follow_name(&self) {
        let (target, known) = {
            let progress = self.progress();
            (progress.target, progress.addresses.clone())
        };
        let addresses = addresses_of(&self.targets[target]).await;
        if addresses.is_empty() || addresses == known {
            return;
        }
        match SqlStore::connect(&self.targets[target]).await {
            Ok(store) => {
                tracing::info!("{} leads elsewhere: connected anew", self.targets[target].shown());
                self.adopt(Arc::new(store), target).await;
            }
            Err(error) => {
                tracing::warn!("{} leads elsewhere and does not answer there: {error}", self.targets[target].shown());
            }
        }
    }

    async fn adopt(&self, store: Arc<SqlStore>, target: usize) {
        let addresses = addresses_of(&self.targets[target]).await;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        let mut progress = self.progress();
        (progress.target, progress.addresses, progress.reads_all) = (target, addresses, true);
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the document can be served, and what is warned about (control-plane sheet §7).
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, document: &Document) -> Result<Vec<String>, SourceError> {
        let mut errors: Vec<String> = Vec::new();
        for proxy in &document.proxies {
            if let Err((path, error)) = proxy.check_regex() {
                errors.push(format!("Proxy '{}': invalid regex listen_path '{path}': {error}", proxy.id));
            }
        }
        let findings = [
            check_routes(document),
            check_streams(document),
            check_upstream_references(document),
            check_dispatch_references(document),
            check_plugin_references(document),
        ];
        errors.extend(findings.iter().flatten().map(Finding::to_string));
        errors.extend(reserved_port_conflicts(document, &self.reserved_ports));
        if !errors.is_empty() {
            return Err(SourceError { summary: format!("{} error(s) in the database", errors.len()), errors });
        }
        let mut warnings = Vec::new();
        for proxy in &document.proxies {
            let faults = proxy.check_fields().into_iter().chain(proxy.check_hosts());
            warnings.extend(faults.map(|fault| format!("Proxy '{}': {fault}", proxy.id)));
        }
        for upstream in &document.upstreams {
            warnings.extend(
                upstream.check_fields().into_iter().map(|fault| format!("Upstream '{}': {fault}", upstream.id)),
            );
        }
        for consumer in &document.consumers {
            let faults = consumer.check_fields(self.credentials_per_type_max).into_iter();
            warnings.extend(faults.map(|fault| format!("Consumer '{}': {fault}", consumer.id)));
        }
        let doubles =
            [check_consumer_identities(document), check_consumer_credentials(document), check_sole_metrics(document)];
        warnings.extend(doubles.iter().flatten().map(Finding::to_string));
        warnings.extend(features_in_use(document));
        Ok(warnings)
    }
}

/// The first target that answers, with its schema up to date.
async fn first(targets: &[Target]) -> Result<(Arc<SqlStore>, usize), StoreError> {
    let mut last = StoreError::Settings("no database is named: set FERRUM_DB_URL".to_owned());
    for (index, target) in targets.iter().enumerate() {
        // One that answers and lets nothing be written is no primary.
        let attempt = async {
            let store = SqlStore::connect(target).await?;
            let applied = store.migrate().await?;
            Ok::<_, StoreError>((store, applied))
        };
        match attempt.await {
            Ok((store, applied)) => {
                for (migration, ms) in applied {
                    tracing::info!("Migration V{}: {} ({ms} ms)", migration.version, migration.name);
                }
                if index > 0 {
                    tracing::warn!("Connected to the failover database {}", target.shown());
                }
                return Ok((Arc::new(store), index));
            }
            Err(error) => {
                tracing::warn!("{} cannot be used: {error}", target.shown());
                last = error;
            }
        }
    }
    Err(last)
}

/// Where the name of a target leads to now; nothing for an address or a file.
async fn addresses_of(target: &Target) -> BTreeSet<IpAddr> {
    let Some(host) = target.host().filter(|host| host.parse::<IpAddr>().is_err()) else { return BTreeSet::new() };
    match tokio::net::lookup_host((host, 0)).await {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(_) => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use engine::model::{Proxy, Upstream};
    use serde_json::json;

    use super::*;
    use crate::store::{DatabaseKind, Kind, Resource, Step};

    struct Place {
        source: DatabaseSource,
        _folder: tempfile::TempDir,
    }

    fn target(folder: &tempfile::TempDir, name: &str) -> Target {
        let url = format!("sqlite://{}/{name}?mode=rwc", folder.path().display());
        Target::new(DatabaseKind::Sqlite, &url)
    }

    async fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let targets = vec![target(&folder, "config.db")];
        let source = DatabaseSource::connect(targets, "ferrum", vec![9000], 2).await.unwrap();
        Place { source, _folder: folder }
    }

    fn upstream(id: &str, port: u16) -> Resource {
        let value = json!({"id": id, "targets": [{"host": "a", "port": port}]});
        Resource::Upstream(Box::new(serde_json::from_value::<Upstream>(value).unwrap()))
    }

    fn proxy(id: &str, path: &str) -> Proxy {
        let value =
            json!({"id": id, "listen_path": path, "backend_host": "h", "backend_port": 80, "backend_scheme": "http"});
        serde_json::from_value(value).unwrap()
    }

    /// A poll, put into service.
    async fn followed(source: &DatabaseSource, running: &Document) -> Option<Document> {
        let polled = source.poll(running).await.unwrap();
        let cursor = polled.cursor;
        let next = polled.over(running);
        source.note(cursor);
        next
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn changes_and_deletions_are_followed_and_nothing_is_read_as_a_change() {
        let Place { source, _folder } = place().await;
        let empty = source.load().await.unwrap();
        assert!(followed(&source, &empty).await.is_none());
        source.store().apply(vec![Step::Insert(upstream("u", 1))]).await.unwrap();
        let one = followed(&source, &empty).await.unwrap();
        assert_eq!(one.upstreams[0].targets[0].port, 1);
        assert!(followed(&source, &one).await.is_none(), "read again within the overlap, unchanged");
        let mut changed = upstream("u", 2);
        changed.set_updated_at(OffsetDateTime::now_utc());
        source.store().apply(vec![Step::Replace(changed)]).await.unwrap();
        let two = followed(&source, &one).await.unwrap();
        assert_eq!(two.upstreams[0].targets[0].port, 2);
        source.store().apply(vec![Step::Delete(Kind::Upstream, "u".into())]).await.unwrap();
        assert!(followed(&source, &two).await.unwrap().upstreams.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_put_into_service_is_read_again() {
        let Place { source, _folder } = place().await;
        let empty = source.load().await.unwrap();
        source.store().apply(vec![Step::Insert(upstream("u", 1))]).await.unwrap();
        for _ in 0..2 {
            assert!(source.poll(&empty).await.unwrap().over(&empty).is_some(), "refused, so not noted");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_next_database_takes_over_when_the_first_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let gone = Target::new(DatabaseKind::Sqlite, "sqlite:///nowhere/at/all.db");
        let targets = vec![gone, target(&folder, "second.db")];
        let source = DatabaseSource::connect(targets, "ferrum", Vec::new(), 2).await.unwrap();
        source.store().close().await;
        let document = Document::default();
        assert!(source.poll(&document).await.is_ok(), "connected anew");
        assert!(!source.is_away().load(Ordering::Acquire));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_goes_away_is_said_to_be_and_comes_back() {
        let Place { source, _folder } = place().await;
        let path = _folder.path().join("config.db");
        let away = _folder.path().join("away.db");
        source.store().close().await;
        std::fs::rename(&path, &away).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(source.poll(&Document::default()).await.is_err());
        assert!(source.is_away().load(Ordering::Acquire));
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
        assert!(source.poll(&Document::default()).await.is_ok());
        assert!(!source.is_away().load(Ordering::Acquire));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_served_is_refused_and_the_rest_is_a_warning() {
        let Place { source, _folder } = place().await;
        let overlapping = Document { proxies: vec![proxy("a", "/x"), proxy("b", "/x")], ..Document::default() };
        assert_eq!(source.check(&overlapping).unwrap_err().errors.len(), 1);
        let broken = Document { proxies: vec![proxy("a", "~(")], ..Document::default() };
        assert!(source.check(&broken).is_err());
        let mut odd = proxy("a", "/x");
        odd.backend_connect_timeout_ms = 0;
        let odd = Document { proxies: vec![odd], ..Document::default() };
        assert!(!source.check(&odd).unwrap().is_empty());
    }
}
