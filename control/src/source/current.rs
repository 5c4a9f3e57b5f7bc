//! The database that is in use now, for those who hold it longer than a failover lasts.

use std::sync::Arc;

use async_trait::async_trait;
use engine::model::{ApiSpec, Document};
use time::OffsetDateTime;

use super::database::DatabaseSource;
use crate::store::{
    AnyStore, AuditEvent, AuditFilter, Changes, DatabaseKind, Kind, Page, PoolState, Range, Resource, SpecFilter,
    SpecKey, SpecSummary, Step, Store, StoreError, Taken,
};

/// Each call goes to the databases that the source follows at that moment. Lists are read from the replica where there is one
/// (control-plane sheet §9); what a write is checked against, and writes, are the primary's.
pub struct CurrentStore(pub Arc<DatabaseSource>);

impl CurrentStore {
    fn primary(&self) -> Result<Arc<AnyStore>, StoreError> {
        self.0.connections().primary()
    }
}

/// The same call of the replica, and of the primary where there is none or it fails.
macro_rules! read {
    ($current:expr, $store:ident => $call:expr) => {{
        let connections = $current.0.connections();
        if let Some($store) = connections.replica() {
            match $call.await {
                Ok(found) => return Ok(found),
                Err(error) => connections.leave_replica(&error),
            }
        }
        let $store = connections.primary()?;
        $call.await
    }};
}

#[async_trait]
impl Store for CurrentStore {
    fn kind(&self) -> DatabaseKind {
        self.0.connections().kind()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.primary()?.ping().await
    }

    fn pool(&self) -> Option<PoolState> {
        self.primary().ok()?.pool()
    }

    fn replica_pool(&self) -> Option<PoolState> {
        self.0.connections().replica()?.pool()
    }

    async fn load(&self, namespace: &str) -> Result<Document, StoreError> {
        read!(self, store => store.load(namespace))
    }

    async fn changes(&self, namespace: &str, known: &Document, since: OffsetDateTime) -> Result<Changes, StoreError> {
        read!(self, store => store.changes(namespace, known, since))
    }

    async fn page(&self, kind: Kind, namespace: &str, range: Range) -> Result<Page<Resource>, StoreError> {
        read!(self, store => store.page(kind, namespace, range))
    }

    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        self.primary()?.get(kind, id).await
    }

    async fn taken(&self, what: Taken<'_>, namespace: &str, except: &str) -> Result<Option<String>, StoreError> {
        self.primary()?.taken(what, namespace, except).await
    }

    async fn proxies_on(&self, namespace: &str, listen_path: Option<&str>) -> Result<Vec<Resource>, StoreError> {
        self.primary()?.proxies_on(namespace, listen_path).await
    }

    async fn referrers(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError> {
        self.primary()?.referrers(kind, id).await
    }

    async fn spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        self.primary()?.spec(key).await
    }

    async fn specs(&self, namespace: &str, filter: &SpecFilter, range: Range) -> Result<Page<SpecSummary>, StoreError> {
        read!(self, store => store.specs(namespace, filter, range))
    }

    async fn owned(&self, spec: &str) -> Result<Vec<Resource>, StoreError> {
        self.primary()?.owned(spec).await
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        self.primary()?.apply(steps).await
    }

    async fn clear(&self, namespace: &str) -> Result<(), StoreError> {
        self.primary()?.clear(namespace).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        read!(self, store => store.namespaces())
    }

    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.primary()?.record(event).await
    }

    async fn audit(&self, namespace: &str, filter: &AuditFilter, range: Range) -> Result<Page<AuditEvent>, StoreError> {
        read!(self, store => store.audit(namespace, filter, range))
    }
}
