//! The same suite on every database, MongoDB included. SQLite is always there; the others are named by their URLs, which `make test` sets:
//! `FERRUM_TEST_POSTGRES_URL`, `FERRUM_TEST_MYSQL_URL` and `FERRUM_TEST_MONGODB_URL`, each of an empty database.

use std::sync::Arc;

use engine::model::{Consumer, PluginConfig, Proxy, Upstream};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::*;
use crate::store::Step;

/// A database of its own, gone with it.
struct Place {
    store: SqlStore,
    _folder: Option<tempfile::TempDir>,
}

async fn sqlite() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/config.db?mode=rwc", folder.path().display());
    let store = SqlStore::connect(&Target::new(DatabaseKind::Sqlite, &url)).await.unwrap();
    store.migrate().await.unwrap();
    Place { store, _folder: Some(folder) }
}

/// A database that others may have used before.
async fn emptied(kind: DatabaseKind, variable: &str) -> Option<Place> {
    let url = std::env::var(variable).ok()?;
    let store = SqlStore::connect(&Target::new(kind, &url)).await.unwrap();
    store.migrate().await.unwrap();
    for table in ["api_specs", "audit_events", "proxy_plugins", "plugin_configs", "proxies", "consumers", "upstreams"] {
        store.database.execute(&format!("DELETE FROM {table}"), &[]).await.unwrap();
    }
    Some(Place { store, _folder: None })
}

pub(in crate::store) fn upstream(id: &str) -> Resource {
    let value = json!({"id": id, "name": format!("name-{id}"), "targets": [{"host": "a", "port": 1, "weight": 2}]});
    Resource::Upstream(Box::new(serde_json::from_value::<Upstream>(value).unwrap()))
}

pub(in crate::store) fn proxy(id: &str, more: Value) -> Resource {
    let mut value = json!({"id": id, "listen_path": format!("/{id}"), "backend_host": "h", "backend_port": 80,
        "backend_scheme": "http", "created_at": "2026-01-01T00:00:00Z"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Resource::Proxy(Box::new(serde_json::from_value::<Proxy>(value).unwrap()))
}

pub(in crate::store) fn consumer(id: &str, username: &str, key: &str) -> Resource {
    let value = json!({"id": id, "username": username, "credentials": {"keyauth": [{"key": key}]}});
    Resource::Consumer(Box::new(serde_json::from_value::<Consumer>(value).unwrap()))
}

pub(in crate::store) fn config(id: &str, scope: &str, proxy_id: Value) -> Resource {
    let value =
        json!({"id": id, "plugin_name": "cors", "scope": scope, "proxy_id": proxy_id, "config": {"max_age": 1}});
    Resource::PluginConfig(Box::new(serde_json::from_value::<PluginConfig>(value).unwrap()))
}

async fn add(store: &dyn Store, resources: Vec<Resource>) {
    store.apply(resources.into_iter().map(Step::Insert).collect()).await.unwrap();
}

async fn ids(store: &dyn Store, kind: Kind) -> Vec<String> {
    let page = store.page(kind, "ferrum", Range { offset: 0, limit: None }).await.unwrap();
    page.rows.iter().map(|row| row.id().to_owned()).collect()
}

/// What was stored is what is read, one by one, in pages and as a whole.
async fn what_is_written_is_read(store: &dyn Store) {
    let attached = proxy("p1", json!({"upstream_id": "u1", "plugins": [{"plugin_config_id": "g"}], "hosts": ["a.b"]}));
    add(store, vec![upstream("u1"), consumer("c1", "alice", "k-1"), config("g", "proxy_group", json!(null))]).await;
    add(store, vec![attached.clone(), proxy("p2", json!({})), proxy("p3", json!({}))]).await;
    assert_eq!(store.get(Kind::Proxy, "p1").await.unwrap(), Some(attached));
    assert_eq!(store.get(Kind::Proxy, "nobody").await.unwrap(), None);
    let page = store.page(Kind::Proxy, "ferrum", Range { offset: 1, limit: Some(1) }).await.unwrap();
    assert_eq!((page.total, page.rows.len(), page.rows[0].id()), (3, 1, "p2"));
    let past = store.page(Kind::Proxy, "ferrum", Range { offset: 9, limit: None }).await.unwrap();
    assert_eq!((past.total, past.rows.len()), (3, 0));
    assert_eq!(store.page(Kind::Proxy, "other", Range { offset: 0, limit: None }).await.unwrap().total, 0);
    let document = store.load("ferrum").await.unwrap();
    assert_eq!((document.proxies.len(), document.upstreams.len(), document.consumers.len()), (3, 1, 1));
    assert_eq!(document.proxies[0].plugins[0].plugin_config_id, "g");
    assert_eq!(store.namespaces().await.unwrap(), ["ferrum"]);
}

async fn what_must_be_unique_is_found(store: &dyn Store) {
    let taken = async |what: Taken<'_>, except: &str| store.taken(what, "ferrum", except).await.unwrap();
    assert_eq!(taken(Taken::UpstreamName("name-u1"), "").await.as_deref(), Some("u1"));
    assert_eq!(taken(Taken::UpstreamName("name-u1"), "u1").await, None, "the row itself");
    assert_eq!(taken(Taken::ConsumerUsername("alice"), "").await.as_deref(), Some("c1"));
    assert_eq!(taken(Taken::ConsumerUsername("ALICE"), "").await, None, "letters count");
    assert_eq!(taken(Taken::ApiKey("k-1"), "").await.as_deref(), Some("c1"));
    assert_eq!(taken(Taken::ApiKey("k_1"), "").await, None, "no character stands for another");
    assert_eq!(taken(Taken::MtlsIdentity("k-1"), "").await, None, "another kind of credential");
    assert_eq!(store.taken(Taken::ApiKey("k-1"), "other", "").await.unwrap(), None);
    let again = store.apply(vec![Step::Insert(consumer("c2", "alice", "k-9"))]).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict(_)), "{again:?}");
    let on = store.proxies_on("ferrum", Some("/p2")).await.unwrap();
    assert_eq!(on.iter().map(Resource::id).collect::<Vec<_>>(), ["p2"]);
    assert!(store.proxies_on("ferrum", None).await.unwrap().is_empty());
}

/// A change happens whole or not at all.
async fn a_failed_step_takes_the_others_back(store: &dyn Store) {
    let before = ids(store, Kind::Upstream).await;
    let dangling = proxy("px", json!({"upstream_id": "nobody"}));
    let failed = store.apply(vec![Step::Insert(upstream("ux")), Step::Insert(dangling)]).await.unwrap_err();
    assert!(matches!(failed, StoreError::Reference(_)), "{failed:?}");
    assert_eq!(ids(store, Kind::Upstream).await, before);
}

async fn a_change_keeps_the_time_of_creation(store: &dyn Store) {
    let mut changed = proxy("p2", json!({"name": "second", "created_at": "2030-01-01T00:00:00Z"}));
    changed.set_updated_at(OffsetDateTime::now_utc());
    store.apply(vec![Step::Replace(changed)]).await.unwrap();
    let stored = store.get(Kind::Proxy, "p2").await.unwrap().unwrap().to_json();
    assert_eq!((&stored["name"], &stored["created_at"]), (&json!("second"), &json!("2026-01-01T00:00:00Z")));
}

async fn a_poll_sees_what_changed_and_what_is_gone(store: &dyn Store) {
    async fn changed(store: &dyn Store, known: &Document, since: OffsetDateTime) -> (Vec<String>, Changes) {
        let changes = store.changes("ferrum", known, since).await.unwrap();
        let mut ids: Vec<String> = changes.changed.iter().map(|row| row.id().to_owned()).collect();
        ids.sort_unstable();
        (ids, changes)
    }
    let known = store.load("ferrum").await.unwrap();
    let since = OffsetDateTime::now_utc() + time::Duration::seconds(5);
    assert_eq!(changed(store, &known, since).await.0, Vec::<String>::new(), "all is known");
    let mut third = proxy("p3", json!({}));
    third.set_updated_at(since);
    store.apply(vec![Step::Replace(third), Step::Delete(Kind::Proxy, "p2".into())]).await.unwrap();
    let (ids, changes) = changed(store, &known, since).await;
    assert_eq!(ids, ["p3"]);
    assert_eq!(changes.gone, [(Kind::Proxy, "p2".to_owned())]);
    assert_eq!(changes.relisted, []);
    // A list is known without its proxy.
    let mut others = known.clone();
    let first = others.proxies.iter_mut().find(|proxy| proxy.id == "p1").unwrap();
    Arc::make_mut(first).plugins.clear();
    let changes = store.changes("ferrum", &others, since).await.unwrap();
    assert_eq!(changes.relisted, [("p1".to_owned(), vec!["g".to_owned()])]);
    let mut group = config("g", "proxy_group", json!(null));
    group.set_updated_at(since);
    store.apply(vec![Step::Replace(group)]).await.unwrap();
    assert_eq!(changed(store, &known, since).await.0, ["g", "p3"]);
    // Within the overlap, a row is read again although it is known.
    let known = store.load("ferrum").await.unwrap();
    assert_eq!(changed(store, &known, since).await.0, ["g", "p3"]);
    // What is restored has the time that it had, long before.
    add(store, vec![proxy("p2", json!({}))]).await;
    let mut restored = proxy("p3", json!({"name": "restored"}));
    restored.set_updated_at(OffsetDateTime::UNIX_EPOCH);
    store.apply(vec![Step::Replace(restored)]).await.unwrap();
    assert_eq!(changed(store, &known, since).await.0, ["g", "p2", "p3"]);
    store.apply(vec![Step::Delete(Kind::Proxy, "p2".into())]).await.unwrap();
}

async fn what_nobody_wants_any_more_goes(store: &dyn Store) {
    add(store, vec![config("own", "proxy", json!("p1"))]).await;
    store.apply(vec![Step::Delete(Kind::Proxy, "p1".into())]).await.unwrap();
    assert!(store.get(Kind::PluginConfig, "own").await.unwrap().is_none(), "its own config");
    assert!(store.get(Kind::PluginConfig, "g").await.unwrap().is_none(), "a group without members");
    assert!(store.get(Kind::Upstream, "u1").await.unwrap().is_none(), "an upstream of nobody");
    add(store, vec![upstream("u2"), upstream("u3")]).await;
    add(store, vec![proxy("q1", json!({"upstream_id": "u2"})), proxy("q2", json!({"upstream_id": "u2"}))]).await;
    store.apply(vec![Step::Replace(proxy("q1", json!({"upstream_id": "u3"})))]).await.unwrap();
    assert_eq!(ids(store, Kind::Upstream).await, ["u2", "u3"], "another proxy still has it");
    store.apply(vec![Step::Replace(proxy("q2", json!({"upstream_id": "u3"})))]).await.unwrap();
    assert_eq!(ids(store, Kind::Upstream).await, ["u3"]);
}

async fn events_are_listed_newest_first(store: &dyn Store) {
    let at = |second: i64| OffsetDateTime::from_unix_timestamp(1_800_000_000 + second).unwrap();
    for (second, actor) in [(1, "ann"), (2, "bob"), (3, "ann")] {
        let event = AuditEvent {
            id: format!("e{second}"),
            at: at(second),
            actor: actor.into(),
            action: "create".into(),
            resource_type: "proxy".into(),
            resource_id: "p".into(),
            namespace: "ferrum".into(),
            diff: json!({"after": {"n": second}}),
        };
        store.record(&event).await.unwrap();
    }
    let all = Range { offset: 0, limit: Some(2) };
    let listed = store.audit("ferrum", &AuditFilter::default(), all).await.unwrap();
    assert_eq!(listed.rows.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["e3", "e2"]);
    assert_eq!((listed.total, &listed.rows[0].diff), (3, &json!({"after": {"n": 3}})));
    let filter = AuditFilter { actor: Some("ann".into()), end: Some(at(2)), ..AuditFilter::default() };
    let listed = store.audit("ferrum", &filter, all).await.unwrap();
    assert_eq!(listed.rows.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["e1"]);
}

async fn a_namespace_is_cleared_alone(store: &dyn Store) {
    let mut elsewhere = upstream("elsewhere");
    elsewhere.set_namespace("team-a");
    add(store, vec![elsewhere]).await;
    store.clear("ferrum").await.unwrap();
    for kind in Kind::ALL {
        assert!(ids(store, kind).await.is_empty(), "{kind:?}");
    }
    assert_eq!(store.namespaces().await.unwrap(), ["team-a"]);
    store.clear("team-a").await.unwrap();
}

async fn migrations_are_made_once(store: &SqlStore) {
    assert!(store.migrate().await.unwrap().is_empty());
    let status = store.migration_status().await.unwrap();
    assert_eq!((status.applied.len(), status.pending.len()), (1, 0));
    assert_eq!((status.applied[0].version, status.applied[0].checksum.as_str()), (1, "v001_initial_schema"));
}

/// A dispatch rule that is not enabled, or names another upstream, does not count.
async fn what_refers_to_a_resource_is_found(store: &dyn Store) {
    let dispatch = |id: &str, upstream: &str, enabled: bool| {
        let value = json!({"id": id, "plugin_name": "mesh_route_dispatch", "scope": "global", "enabled": enabled,
            "config": {"rules": [{"destination": {"upstream_id": upstream}}]}});
        Resource::PluginConfig(Box::new(serde_json::from_value::<PluginConfig>(value).unwrap()))
    };
    add(store, vec![upstream("r_1"), upstream("rx1")]).await;
    add(store, vec![proxy("rp", json!({"upstream_id": "r_1"})), config("rg", "proxy_group", json!(null))]).await;
    add(store, vec![dispatch("d1", "r_1", true), dispatch("d2", "r_1", false), dispatch("d3", "rx1", true)]).await;
    let found = store.referrers(Kind::Upstream, "r_1").await.unwrap();
    assert_eq!(found.iter().map(Resource::id).collect::<Vec<_>>(), ["rp", "d1"]);
    store.apply(vec![Step::Associate("rp".into(), vec!["rg".into()])]).await.unwrap();
    let listed = store.get(Kind::Proxy, "rp").await.unwrap().unwrap().to_json()["plugins"].clone();
    assert_eq!(listed, json!([{"plugin_config_id": "rg"}]));
    let found = store.referrers(Kind::PluginConfig, "rg").await.unwrap();
    assert_eq!(found.iter().map(Resource::id).collect::<Vec<_>>(), ["rp"]);
    assert!(store.referrers(Kind::PluginConfig, "d1").await.unwrap().is_empty());
}

/// A proxy that has exactly one plugin before and after each change is never read with none, nor with one that is not there.
pub(in crate::store) async fn a_reader_sees_each_change_whole(store: &dyn Store) {
    const READS: usize = 100;
    let own = |n: u64| format!("own-{n}");
    let begun = vec![Step::Insert(proxy("open", json!({}))), Step::Insert(config("own-0", "proxy", json!("open")))];
    store.apply(begun).await.unwrap();
    store.apply(vec![Step::Associate("open".into(), vec![own(0)])]).await.unwrap();
    let is_over = std::cell::Cell::new(false);
    let writing = async {
        let mut n = 0;
        while !is_over.get() {
            n += 1;
            let inserted = Step::Insert(config(&own(n), "proxy", json!("open")));
            let steps = vec![Step::Delete(Kind::PluginConfig, own(n - 1)), inserted];
            let listed = Step::Associate("open".into(), vec![own(n)]);
            store.apply(steps.into_iter().chain([listed]).collect()).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..READS {
            let document = store.load("ferrum").await.unwrap();
            let proxy = document.proxies.iter().find(|proxy| proxy.id == "open").unwrap();
            let listed: Vec<&str> = proxy.plugins.iter().map(|listed| listed.plugin_config_id.as_str()).collect();
            let there = document.plugin_configs.iter().map(|config| config.id.as_str());
            let there: Vec<&str> = there.filter(|id| id.starts_with("own-")).collect();
            assert_eq!((listed.len(), &listed), (1, &there));
            let changes = store.changes("ferrum", &Document::default(), OffsetDateTime::UNIX_EPOCH).await.unwrap();
            let open = changes.changed.iter().find(|row| row.kind() == Kind::Proxy && row.id() == "open").unwrap();
            let there = changes.changed.iter().filter(|row| row.kind() == Kind::PluginConfig).map(Resource::id);
            let there: Vec<_> =
                there.filter(|id| id.starts_with("own-")).map(|id| json!({"plugin_config_id": id})).collect();
            assert_eq!(open.to_json()["plugins"], json!(there));
        }
        is_over.set(true);
    };
    tokio::join!(writing, reading);
}

/// In order: each goes on with what the one before has left.
async fn suite(place: Place) {
    let store = &place.store;
    migrations_are_made_once(store).await;
    keeps_resources(store).await;
    a_reader_sees_each_change_whole(store).await;
    store.close().await;
}

/// What every database does, SQL or not.
pub(in crate::store) async fn keeps_resources(store: &dyn Store) {
    store.ping().await.unwrap();
    what_is_written_is_read(store).await;
    what_must_be_unique_is_found(store).await;
    a_failed_step_takes_the_others_back(store).await;
    a_change_keeps_the_time_of_creation(store).await;
    a_poll_sees_what_changed_and_what_is_gone(store).await;
    what_nobody_wants_any_more_goes(store).await;
    what_refers_to_a_resource_is_found(store).await;
    events_are_listed_newest_first(store).await;
    a_namespace_is_cleared_alone(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_resources() {
    suite(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_resources() {
    match emptied(DatabaseKind::Postgres, "FERRUM_TEST_POSTGRES_URL").await {
        Some(place) => suite(place).await,
        None => eprintln!("not run: no server (FERRUM_TEST_POSTGRES_URL)"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_keeps_resources() {
    match emptied(DatabaseKind::Mysql, "FERRUM_TEST_MYSQL_URL").await {
        Some(place) => suite(place).await,
        None => eprintln!("not run: no server (FERRUM_TEST_MYSQL_URL)"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_load_join_without_a_gap() {
    let mut place = sqlite().await;
    place.store.target.page_rows = 100;
    add(&place.store, (0..250).map(|n| upstream(&format!("u{n:03}"))).collect()).await;
    let document = place.store.load("ferrum").await.unwrap();
    let ids: Vec<&str> = document.upstreams.iter().map(|upstream| upstream.id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[249]), (250, "u000", "u249"));
    assert!(ids.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_ordered_as_polls_order_however_the_database_does() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/config.db?mode=rwc", folder.path().display());
    let mut target = Target::new(DatabaseKind::Sqlite, &url);
    target.page_rows = 1;
    let store = SqlStore::connect(&target).await.unwrap();
    let script = include_str!("../../../../migrations/sqlite/0001_initial_schema.sql");
    let script = script.replace("    id TEXT PRIMARY KEY", "    id TEXT COLLATE NOCASE PRIMARY KEY");
    for statement in statements::statements(&script, DatabaseKind::Sqlite) {
        store.database.execute(&statement, &[]).await.unwrap();
    }
    store.migrate().await.unwrap();
    add(&store, vec![proxy("a", json!({})), proxy("B", json!({})), proxy("c", json!({}))]).await;
    assert_eq!(ids(&store, Kind::Proxy).await, ["a", "B", "c"], "the order of the database");
    let document = store.load("ferrum").await.unwrap();
    assert_eq!(document.proxies.iter().map(|proxy| proxy.id.as_str()).collect::<Vec<_>>(), ["B", "a", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_unavailable() {
    let target = Target::new(DatabaseKind::Sqlite, "sqlite:///nowhere/at/all.db");
    assert!(SqlStore::connect(&target).await.is_err());
    let mut target = Target::new(DatabaseKind::Postgres, "postgres://u:secret@127.0.0.1:1/d");
    target.pool.acquire_timeout = std::time::Duration::from_millis(300);
    let error = SqlStore::connect(&target).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)) && !error.to_string().contains("secret"), "{error:?}");
}

mod plugin_migrations;
pub(in crate::store) mod transfer;
