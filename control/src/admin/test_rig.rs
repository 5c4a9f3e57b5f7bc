//! An API on a port of its own, with counters and a configuration that a test can change, and a small client.

use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use engine::counters::Counters;
use engine::model::{ApiSpec, Document};
use engine::overload::Overload;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use sqlx::{Connection, Executor};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::overload::{EngineGauges, OverloadOptions};
use crate::settings::Secret;
use crate::store::{
    self, AnyStore, AuditEvent, AuditFilter, Changes, DatabaseKind, Kind, MongoSettings, Page, PoolState, Resource,
    SpecFilter, SpecKey, SpecSummary, Step, Store, StoreError, Taken, Target,
};

const SECRET: &str = "a secret of the tests with more than 32 characters";

/// A configuration of three proxies in one namespace and one secret of each kind.
struct Config;

impl ResourceReads for Config {
    fn page(&self, kind: ResourceKind, namespace: &str, positions: Range<usize>) -> (usize, Vec<Value>) {
        if namespace != "ferrum" {
            return (0, Vec::new());
        }
        let rows = match kind {
            ResourceKind::Proxy => ["a", "b", "c"].map(|id| json!({ "id": id })).to_vec(),
            ResourceKind::Consumer => vec![json!({"id": "u", "credentials": {"keyauth": [{"key": "k"}]}})],
            ResourceKind::Upstream => Vec::new(),
            ResourceKind::PluginConfig => vec![json!({"id": "p", "config": {"api_key": "k"}})],
        };
        (rows.len(), rows.into_iter().skip(positions.start).take(positions.len()).collect())
    }

    fn get(&self, kind: ResourceKind, id: &str, namespace: &str) -> Option<Value> {
        self.list(kind, namespace).into_iter().find(|row| row["id"] == id)
    }

    fn summary(&self) -> Option<ConfigSummary> {
        let loaded_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Some(ConfigSummary { loaded_at, proxies: 3, consumers: 1, upstreams: 0, plugin_configs: 1 })
    }

    fn namespaces(&self) -> Vec<String> {
        vec!["ferrum".to_owned(), "team-a".to_owned()]
    }
}

pub(super) struct Rig {
    pub(super) admin: Arc<Admin>,
    pub(super) listener: AdminListener,
    pub(super) counters: Counters,
    pub(super) verdict: Arc<Overload>,
    pub(super) readiness: Arc<Readiness>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(super) fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn parse(text: Vec<u8>) -> Self {
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        Self { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
    }
}

pub(super) fn rig_with(change: impl FnOnce(&mut AdminOptions, &mut AdminSources)) -> Rig {
    let counters = Counters::new(2);
    let verdict = Arc::new(Overload::default());
    let readiness = Arc::new(Readiness::default());
    let mut options = AdminOptions {
        jwt_secret: Some(SECRET.to_owned()),
        metrics_cache: Duration::ZERO,
        runtime_cache: Duration::ZERO,
        gateway_cache: Duration::ZERO,
        sample_interval: Duration::from_millis(5),
        ..AdminOptions::default()
    };
    let mut sources = AdminSources {
        core_cpus: vec![0, 1],
        overload: Some(crate::overload::Monitor::new(
            OverloadOptions::default(),
            Arc::new(EngineGauges::new(counters.clone())),
            verdict.clone(),
        )),
        resources: Some(Arc::new(Config)),
        plugins: vec!["cors".to_owned(), "key_auth".to_owned()],
        ..AdminSources::new(counters.clone(), readiness.clone())
    };
    change(&mut options, &mut sources);
    let admin = Admin::new(options, sources);
    let listener = admin.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    Rig { admin, listener, counters, verdict, readiness }
}

pub(super) fn rig() -> Rig {
    rig_with(|_, _| {})
}

pub(super) fn token(role: &str) -> String {
    let now = get_current_timestamp();
    let claims =
        json!({"iss": "ferrum-edge", "sub": "t", "role": role, "iat": now, "nbf": now, "exp": now + 60, "jti": "1"});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

pub(super) async fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end");
    answer
}

/// Whether it gets as far as to wait for something.
pub(super) async fn is_waiting(mut work: Pin<&mut impl Future>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_pending())).await
}

impl Rig {
    pub(super) async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        Answer::parse(exchange(self.listener.address(), request.as_bytes()).await)
    }

    pub(super) async fn open(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, "", "").await
    }

    pub(super) async fn call(&self, role: &str, method: &str, path: &str) -> Answer {
        self.send(method, path, &format!("authorization: Bearer {}\r\n", token(role)), "").await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("viewer", "GET", path).await
    }
}

/// What refuses to do its work when a test says so, over a real database.
pub(super) struct Flaky {
    inner: AnyStore,
    pub(super) fails_questions: AtomicBool,
    pub(super) fails_changes: AtomicBool,
    pub(super) fails_records: AtomicBool,
    pub(super) pings: AtomicUsize,
    /// Of audit events, with those that fail.
    pub(super) records: AtomicUsize,
}

impl Flaky {
    fn check(&self, fails: &AtomicBool) -> Result<(), StoreError> {
        match fails.load(SeqCst) {
            true => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut.into())),
            false => Ok(()),
        }
    }

    fn ask(&self) -> Result<&AnyStore, StoreError> {
        self.check(&self.fails_questions).map(|()| &self.inner)
    }

    fn change(&self) -> Result<&AnyStore, StoreError> {
        self.check(&self.fails_changes).map(|()| &self.inner)
    }
}

#[async_trait::async_trait]
impl Store for Flaky {
    fn kind(&self) -> DatabaseKind {
        self.inner.kind()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pings.fetch_add(1, SeqCst);
        self.ask()?.ping().await
    }

    fn pool(&self) -> Option<PoolState> {
        self.inner.pool()
    }

    async fn load(&self, namespace: &str) -> Result<Document, StoreError> {
        self.ask()?.load(namespace).await
    }

    async fn changes(&self, namespace: &str, known: &Document, since: OffsetDateTime) -> Result<Changes, StoreError> {
        self.ask()?.changes(namespace, known, since).await
    }

    async fn page(&self, kind: Kind, namespace: &str, range: store::Range) -> Result<Page<Resource>, StoreError> {
        self.ask()?.page(kind, namespace, range).await
    }

    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        self.ask()?.get(kind, id).await
    }

    async fn taken(&self, what: Taken<'_>, namespace: &str, except: &str) -> Result<Option<String>, StoreError> {
        self.ask()?.taken(what, namespace, except).await
    }

    async fn proxies_on(&self, namespace: &str, listen_path: Option<&str>) -> Result<Vec<Resource>, StoreError> {
        self.ask()?.proxies_on(namespace, listen_path).await
    }

    async fn referrers(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError> {
        self.ask()?.referrers(kind, id).await
    }

    async fn spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        self.ask()?.spec(key).await
    }

    async fn specs(
        &self,
        namespace: &str,
        filter: &SpecFilter,
        range: store::Range,
    ) -> Result<Page<SpecSummary>, StoreError> {
        self.ask()?.specs(namespace, filter, range).await
    }

    async fn owned(&self, spec: &str) -> Result<Vec<Resource>, StoreError> {
        self.ask()?.owned(spec).await
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        self.change()?.apply(steps).await
    }

    async fn clear(&self, namespace: &str) -> Result<(), StoreError> {
        self.change()?.clear(namespace).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.ask()?.namespaces().await
    }

    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.records.fetch_add(1, SeqCst);
        self.check(&self.fails_records)?;
        self.inner.record(event).await
    }

    async fn audit(
        &self,
        namespace: &str,
        filter: &AuditFilter,
        range: store::Range,
    ) -> Result<Page<AuditEvent>, StoreError> {
        self.ask()?.audit(namespace, filter, range).await
    }
}

/// An API that writes, over a database of its own.
pub(super) struct StoreRig {
    pub(super) rig: Rig,
    pub(super) store: Arc<Flaky>,
    pub(super) unavailable: Arc<AtomicBool>,
    /// How often the gateway was told to look.
    pub(super) writes: Arc<AtomicUsize>,
    _folder: Option<tempfile::TempDir>,
}

pub(super) async fn store_rig() -> StoreRig {
    store_rig_with(|_, _| {}).await
}

pub(super) async fn store_rig_with(change: impl FnOnce(&mut AdminOptions, &mut AdminSources)) -> StoreRig {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/config.db?mode=rwc", folder.path().display());
    let store = AnyStore::connect(&Target::new(DatabaseKind::Sqlite, &url)).await.unwrap();
    over(store, Some(folder), change).await
}

/// Over a new database of a server that the environment names.
pub(super) async fn server_rig(kind: DatabaseKind, variable: &str) -> Option<StoreRig> {
    let url = std::env::var(variable).ok()?;
    if kind == DatabaseKind::Mongodb {
        return Some(over(emptied(&url).await, None, |_, _| {}).await);
    }
    let (server, _) = url.rsplit_once('/').unwrap();
    for statement in ["DROP DATABASE IF EXISTS ferrum_admin", "CREATE DATABASE ferrum_admin"] {
        match kind {
            DatabaseKind::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                connection.execute(statement).await.unwrap();
            }
            _ => {
                let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
                connection.execute(statement).await.unwrap();
            }
        }
    }
    let store = AnyStore::connect(&Target::new(kind, &format!("{server}/ferrum_admin"))).await.unwrap();
    Some(over(store, None, |_, _| {}).await)
}

/// MongoDB makes a database of what is first put into it.
async fn emptied(url: &str) -> AnyStore {
    let mongo = MongoSettings { database: "ferrum_admin".to_owned(), ..MongoSettings::default() };
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    client.database(&mongo.database).drop().await.unwrap();
    AnyStore::connect(&Target { mongo, ..Target::new(DatabaseKind::Mongodb, url) }).await.unwrap()
}

async fn over(
    inner: AnyStore,
    folder: Option<tempfile::TempDir>,
    change: impl FnOnce(&mut AdminOptions, &mut AdminSources),
) -> StoreRig {
    inner.migrate().await.unwrap();
    let store = Arc::new(Flaky {
        inner,
        fails_questions: AtomicBool::default(),
        fails_changes: AtomicBool::default(),
        fails_records: AtomicBool::default(),
        pings: AtomicUsize::default(),
        records: AtomicUsize::default(),
    });
    let writes = Arc::new(AtomicUsize::new(0));
    let unavailable = Arc::new(AtomicBool::new(false));
    let rig = rig_with(|options, sources| {
        options.mode = "database".to_owned();
        options.is_read_only = false;
        options.write.audit_enabled = true;
        options.write.basic_auth_secret = Secret::new("key");
        options.write.stream_bind_address = "127.0.0.1".parse().unwrap();
        sources.store = Some(store.clone());
        sources.database_unavailable = unavailable.clone();
        let counted = writes.clone();
        sources.on_write = Some(Arc::new(move |_| {
            counted.fetch_add(1, SeqCst);
        }));
        change(options, sources);
    });
    StoreRig { rig, store, unavailable, writes, _folder: folder }
}

impl StoreRig {
    pub(super) async fn at(&self, namespace: &str, role: &str, method: &str, path: &str, body: Value) -> Answer {
        let head = format!("authorization: Bearer {}\r\nx-ferrum-namespace: {namespace}\r\n", token(role));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.rig.send(method, path, &head, &body).await
    }

    pub(super) async fn call(&self, role: &str, method: &str, path: &str, body: Value) -> Answer {
        self.at("ferrum", role, method, path, body).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("admin", "POST", path, body).await
    }

    /// Makes what a story needs, which must succeed.
    pub(super) async fn make(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.body);
        answer.json()
    }

    /// What is answered, by an admin, to a call that changes nothing.
    pub(super) async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        self.refused_at("ferrum", method, path, body).await
    }

    pub(super) async fn refused_at(&self, namespace: &str, method: &str, path: &str, body: Value) -> (u16, String) {
        let (before, writes) = (self.everything().await, self.writes.load(SeqCst));
        let answer = self.at(namespace, "admin", method, path, body).await;
        assert!(answer.status >= 400, "{method} {path}: {}", answer.body);
        assert!(self.everything().await == before, "{method} {path} changes something");
        assert_eq!(self.writes.load(SeqCst), writes, "{method} {path}");
        answer.error()
    }

    /// All resources of the two namespaces that stories use.
    pub(super) async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for namespace in ["ferrum", "team-a"] {
            let found = self.store.inner.load(namespace).await.unwrap();
            all.push(json!([found.proxies, found.consumers, found.upstreams, found.plugin_configs]));
        }
        all
    }

    pub(super) async fn clear(&self) {
        for namespace in ["ferrum", "team-a"] {
            self.store.clear(namespace).await.unwrap();
        }
    }
}
