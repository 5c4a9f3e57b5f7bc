//! The database that is in use now, for those who hold it longer than a failover lasts.

use std::sync::Arc;

use async_trait::async_trait;
use engine::model::{ApiSpec, Document};
use time::OffsetDateTime;

use super::database::DatabaseSource;
use crate::store::{
    AuditEvent, AuditFilter, Changes, DatabaseKind, Kind, Page, PoolState, Range, Resource, SpecFilter, SpecKey,
    SpecSummary, SqlStore, Step, Store, StoreError, Taken,
};

/// Each call goes to the store that the source follows at that moment.
pub struct CurrentStore(pub Arc<DatabaseSource>);

impl CurrentStore {
    fn now(&self) -> Arc<SqlStore> {
        self.0.store()
    }
}

#[async_trait]
impl Store for CurrentStore {
    fn kind(&self) -> DatabaseKind {
        self.now().kind()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.now().ping().await
    }

    fn pool(&self) -> Option<PoolState> {
        self.now().pool()
    }

    async fn load(&self, namespace: &str) -> Result<Document, StoreError> {
        self.now().load(namespace).await
    }

    async fn changes(&self, namespace: &str, known: &Document, since: OffsetDateTime) -> Result<Changes, StoreError> {
        self.now().changes(namespace, known, since).await
    }

    async fn page(&self, kind: Kind, namespace: &str, range: Range) -> Result<Page<Resource>, StoreError> {
        self.now().page(kind, namespace, range).await
    }

    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        self.now().get(kind, id).await
    }

    async fn taken(&self, what: Taken<'_>, namespace: &str, except: &str) -> Result<Option<String>, StoreError> {
        self.now().taken(what, namespace, except).await
    }

    async fn proxies_on(&self, namespace: &str, listen_path: Option<&str>) -> Result<Vec<Resource>, StoreError> {
        self.now().proxies_on(namespace, listen_path).await
    }

    async fn referrers(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError> {
        self.now().referrers(kind, id).await
    }

    async fn spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        self.now().spec(key).await
    }

    async fn specs(&self, namespace: &str, filter: &SpecFilter, range: Range) -> Result<Page<SpecSummary>, StoreError> {
        self.now().specs(namespace, filter, range).await
    }

    async fn owned(&self, spec: &str) -> Result<Vec<Resource>, StoreError> {
        self.now().owned(spec).await
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        self.now().apply(steps).await
    }

    async fn clear(&self, namespace: &str) -> Result<(), StoreError> {
        self.now().clear(namespace).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.now().namespaces().await
    }

    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.now().record(event).await
    }

    async fn audit(&self, namespace: &str, filter: &AuditFilter, range: Range) -> Result<Page<AuditEvent>, StoreError> {
        self.now().audit(namespace, filter, range).await
    }
}
