//! Where resources are kept in the modes with a database.
//!
//! [`Store`] is what polling, the admin API and the migrations need; a database is one room behind it. Everything above speaks
//! of resources (`engine::model`), never of rows.

mod any;
mod error;
mod mongo;
mod plugin_steps;
mod resource;
mod spec;
mod sql;
mod target;

pub use any::AnyStore;
pub use error::{Cause, ImportError, StoreError};
pub use mongo::COLLECTIONS as MONGO_COLLECTIONS;
pub use plugin_steps::{AppliedPluginStep, PluginMigrationStatus, PluginStep};
pub use resource::{Kind, Resource};
pub use spec::{SpecFilter, SpecKey, SpecSort, SpecSummary};
pub use sql::{ImportOptions, Migration, MigrationStatus, PluginMigrations, SqlStore};
pub use target::{DatabaseKind, MongoSettings, PoolSettings, Target, TlsSettings};

use async_trait::async_trait;
use engine::model::{ApiSpec, Document};
use serde_json::Value;
use time::OffsetDateTime;

/// Some of a list, and how many there are in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub total: u64,
}

/// Which rows of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub offset: u64,
    /// None: all that follow.
    pub limit: Option<u64>,
}

/// How a namespace differs from a document that was read of it.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Rows that the document lacks, has with another time of change, or that changed at or after the time asked for. Some may
    /// be as they were.
    pub changed: Vec<Resource>,
    /// Ids of rows that the document has and the database has not.
    pub gone: Vec<(Kind, String)>,
    /// Proxies of the document that list other plugin configs now, and which: a list can change without its proxy.
    pub relisted: Vec<(String, Vec<String>)>,
}

/// The proxies of a document whose lists differ from those of the database, which are pairs of proxy and plugin config. Both are
/// ordered by id.
pub fn relisted(known: &Document, listed: &[(String, String)]) -> Vec<(String, Vec<String>)> {
    let mut relisted = Vec::new();
    let mut rest = listed;
    for proxy in &known.proxies {
        let is_before = |pair: &&(String, String)| pair.0 < proxy.id;
        rest = &rest[rest.iter().take_while(is_before).count()..];
        let (own, others) = rest.split_at(rest.iter().take_while(|(id, _)| *id == proxy.id).count());
        rest = others;
        let ids = || own.iter().map(|(_, config)| config);
        if !proxy.plugins.iter().map(|association| &association.plugin_config_id).eq(ids()) {
            relisted.push((proxy.id.clone(), ids().cloned().collect()));
        }
    }
    relisted
}

/// What must be unique within a namespace, as a question about the other rows.
#[derive(Clone, Copy, Debug)]
pub enum Taken<'a> {
    ProxyName(&'a str),
    ListenPort(u16),
    UpstreamName(&'a str),
    ConsumerUsername(&'a str),
    ConsumerCustomId(&'a str),
    ApiKey(&'a str),
    MtlsIdentity(&'a str),
}

/// One step of a change; all steps of a change happen, or none.
#[derive(Clone, Debug)]
pub enum Step {
    Insert(Resource),
    /// Of a row that is there.
    Replace(Resource),
    /// An upstream that others use refuses the change.
    Delete(Kind, String),
    /// Plugin configs that a proxy lists from now on, besides those it does.
    Associate(String, Vec<String>),
    InsertSpec(Box<ApiSpec>),
    ReplaceSpec(Box<ApiSpec>),
    /// With all that it owns.
    DeleteSpec(String),
}

/// What an admin has done.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    pub id: String,
    pub at: OffsetDateTime,
    pub actor: String,
    pub action: String,
    pub resource_type: String,
    pub resource_id: String,
    pub namespace: String,
    pub diff: Value,
}

/// Which events are listed.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub start: Option<OffsetDateTime>,
    pub end: Option<OffsetDateTime>,
}

/// What a pool of connections holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    pub size: u32,
    pub idle: u32,
    pub connections_max: u32,
    pub connections_min: u32,
}

#[async_trait]
pub trait Store: Send + Sync {
    fn kind(&self) -> DatabaseKind;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// None where there is no such thing.
    fn pool(&self) -> Option<PoolState>;

    /// The same of the read replica; none where there is none.
    fn replica_pool(&self) -> Option<PoolState> {
        None
    }

    /// Everything of a namespace, ordered by id. `loaded_at` is the time before the first query.
    async fn load(&self, namespace: &str) -> Result<Document, StoreError>;

    /// How the namespace differs from what is `known` of it. Whatever changed at or after `since` is read again, for its time of
    /// change may be the same.
    async fn changes(&self, namespace: &str, known: &Document, since: OffsetDateTime) -> Result<Changes, StoreError>;

    async fn page(&self, kind: Kind, namespace: &str, range: Range) -> Result<Page<Resource>, StoreError>;

    /// In whatever namespace.
    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError>;

    /// The id of another row of the namespace that has it. `except` is the row that asks.
    async fn taken(&self, what: Taken<'_>, namespace: &str, except: &str) -> Result<Option<String>, StoreError>;

    /// Proxies of the namespace with that listen path, which may have overlapping hosts.
    async fn proxies_on(&self, namespace: &str, listen_path: Option<&str>) -> Result<Vec<Resource>, StoreError>;

    /// What refers to an upstream: the proxies, then the enabled dispatch rules that may. To a plugin config: the proxies that
    /// list it. Nothing to the other kinds.
    async fn referrers(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError>;

    async fn spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError>;

    async fn specs(&self, namespace: &str, filter: &SpecFilter, range: Range) -> Result<Page<SpecSummary>, StoreError>;

    /// What a spec owns: its upstreams, its proxy, its plugin configs, by id within each.
    async fn owned(&self, spec: &str) -> Result<Vec<Resource>, StoreError>;

    /// Makes all steps in one transaction.
    async fn apply(&self, steps: Vec<Step>) -> Result<(), StoreError>;

    /// Deletes all of a namespace.
    async fn clear(&self, namespace: &str) -> Result<(), StoreError>;

    async fn namespaces(&self) -> Result<Vec<String>, StoreError>;

    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError>;

    /// Newest first.
    async fn audit(&self, namespace: &str, filter: &AuditFilter, range: Range) -> Result<Page<AuditEvent>, StoreError>;
}
