//! MongoDB (control-plane sheet §5): a collection for each kind, a document for each resource.
//!
//! The resource's JSON is the document, so that what the driver stores is what the admin API shows. What a SQL database sees to by
//! itself (foreign keys, what goes with what is deleted) is done here, in one transaction where the server has them.

mod audit;
mod change;
mod client;
mod documents;
mod failure;
mod indexes;
mod reads;
mod specs;
mod transfer;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use engine::model::{ApiSpec, Document as Configuration};
use futures_util::future::BoxFuture;
use mongodb::action::Find;
use mongodb::bson::{Document, doc};
use mongodb::{Client, ClientSession, Collection, Database, SessionCursor};
use time::OffsetDateTime;

use super::sql::timed;
use super::target::{DatabaseKind, Target};
use super::{
    AuditEvent, AuditFilter, Changes, Kind, Page, PoolState, Range, Resource, SpecFilter, SpecKey, SpecSummary, Step,
    Store, StoreError, Taken,
};
use failure::{Failure, silent};

pub use indexes::COLLECTIONS;

const API_SPECS: &str = "api_specs";
const AUDIT_EVENTS: &str = "audit_events";

/// Ids in one question, so that no server finds it too long.
const IDS_MAX: usize = 500;

/// One MongoDB database.
pub struct MongoStore {
    client: Client,
    /// Reads as the URL's `readPreference` says.
    anywhere: Database,
    /// Writes, and reads what writes are checked against.
    primary: Database,
    abilities: Abilities,
    /// The longest that a server may be silent while it owes an answer.
    patience: Duration,
    target: Target,
}

/// What the server is known to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Abilities {
    /// Changes of several documents happen whole or not at all.
    has_transactions: bool,
    /// Several questions are answered as of one moment.
    has_snapshots: bool,
}

impl MongoStore {
    /// Connects. The indexes are as they are.
    ///
    /// # Errors
    /// The settings do not fit, or no server answers.
    pub async fn connect(target: &Target) -> Result<Self, StoreError> {
        client::connect(target).await
    }

    /// Creates the indexes that are missing and replaces those that are otherwise.
    ///
    /// # Errors
    /// The server has refused one; the text says which.
    pub async fn ensure_indexes(&self) -> Result<(), StoreError> {
        indexes::ensure(self).await
    }

    pub async fn close(&self) {
        // It waits for whoever still has a cursor; what is cut off here is nobody's any more.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.client.clone().shutdown()).await;
    }

    /// For what is written, and for what writes are checked against.
    fn collection(&self, name: &str) -> Collection<Document> {
        self.primary.collection(name)
    }

    /// Within the time that a server may be silent.
    async fn patiently<T>(&self, work: impl IntoFuture<Output = mongodb::error::Result<T>>) -> Result<T, Failure> {
        Ok(self.answered(work).await??)
    }

    /// The same, of an answer that is looked at when it is a refusal, too.
    async fn answered<T>(&self, work: impl IntoFuture<Output = T>) -> Result<T, Failure> {
        tokio::time::timeout(self.patience, work.into_future()).await.map_err(|_| silent(self.patience))
    }

    /// All that are wanted, as the session sees them, each given to `take` as it comes.
    async fn each_in_session(
        &self,
        find: Find<'_, Document>,
        session: &mut ClientSession,
        mut take: impl FnMut(Document) -> Result<(), StoreError> + Send,
    ) -> Result<(), Failure> {
        let mut cursor = self.patiently(opened(find, session)).await?;
        while let Some(document) = self.patiently(next(&mut cursor, session)).await? {
            take(document)?;
        }
        Ok(())
    }
}

/// In a box: the driver wants one lifetime for both, which the compiler does not find in a future that goes from thread to thread.
fn opened<'a>(
    find: Find<'a, Document>,
    session: &'a mut ClientSession,
) -> BoxFuture<'a, mongodb::error::Result<SessionCursor<Document>>> {
    Box::pin(find.session(session).into_future())
}

/// In a box, like [`opened`].
fn next<'a>(
    cursor: &'a mut SessionCursor<Document>,
    session: &'a mut ClientSession,
) -> BoxFuture<'a, mongodb::error::Result<Option<Document>>> {
    Box::pin(async move { cursor.next(session).await.transpose() })
}

#[async_trait]
impl Store for MongoStore {
    fn kind(&self) -> DatabaseKind {
        DatabaseKind::Mongodb
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.patiently(self.primary.run_command(doc! { "ping": 1 })).await.map(drop)?)
    }

    /// The driver does not say.
    fn pool(&self) -> Option<PoolState> {
        None
    }

    async fn load(&self, namespace: &str) -> Result<Configuration, StoreError> {
        timed(&self.target, "load", self.load_all(namespace)).await
    }

    async fn changes(
        &self,
        namespace: &str,
        known: &Configuration,
        since: OffsetDateTime,
    ) -> Result<Changes, StoreError> {
        timed(&self.target, "changes", self.changes_from(namespace, known, since)).await
    }

    async fn page(&self, kind: Kind, namespace: &str, range: Range) -> Result<Page<Resource>, StoreError> {
        timed(&self.target, kind.table(), self.one_page(kind, namespace, range)).await
    }

    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        timed(&self.target, kind.table(), self.one(kind, id)).await
    }

    async fn taken(&self, what: Taken<'_>, namespace: &str, except: &str) -> Result<Option<String>, StoreError> {
        self.other_with(what, namespace, except).await
    }

    async fn proxies_on(&self, namespace: &str, listen_path: Option<&str>) -> Result<Vec<Resource>, StoreError> {
        // A path that is missing is null as well.
        self.resources(Kind::Proxy, doc! { "namespace": namespace, "listen_path": listen_path }).await
    }

    async fn referrers(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError> {
        self.referring_to(kind, id).await
    }

    async fn spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        self.one_spec(key).await
    }

    async fn specs(&self, namespace: &str, filter: &SpecFilter, range: Range) -> Result<Page<SpecSummary>, StoreError> {
        timed(&self.target, API_SPECS, self.list_specs(namespace, filter, range)).await
    }

    async fn owned(&self, spec: &str) -> Result<Vec<Resource>, StoreError> {
        let mut owned = Vec::new();
        for kind in [Kind::Upstream, Kind::Proxy, Kind::PluginConfig] {
            owned.extend(self.resources(kind, doc! { "api_spec_id": spec }).await?);
        }
        Ok(owned)
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        timed(&self.target, "write", self.apply_steps(steps)).await
    }

    async fn clear(&self, namespace: &str) -> Result<(), StoreError> {
        timed(&self.target, "clear", self.clear_namespace(namespace)).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.all_namespaces().await
    }

    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.insert_event(event).await
    }

    async fn audit(&self, namespace: &str, filter: &AuditFilter, range: Range) -> Result<Page<AuditEvent>, StoreError> {
        timed(&self.target, AUDIT_EVENTS, self.list_events(namespace, filter, range)).await
    }
}

#[cfg(test)]
mod tests;
