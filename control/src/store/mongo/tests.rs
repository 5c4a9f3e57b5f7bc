//! The suite of every database on MongoDB, with transactions and without, and what is of MongoDB alone.
//!
//! `FERRUM_TEST_MONGODB_URL` names a server of a replica set, as `make test` does it; each test has a database of its own.

use std::time::Duration;

use engine::model::{ApiSpec, Upstream, rows};
use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::Document as Bson;
use serde_json::json;

use super::*;
use crate::store::sql::tests::transfer::any_document_survives;
use crate::store::sql::tests::{a_reader_sees_each_change_whole, config, keeps_resources, proxy, upstream};
use crate::store::target::MongoSettings;
use crate::store::{AnyStore, ImportError, ImportOptions};

const VARIABLE: &str = "FERRUM_TEST_MONGODB_URL";

/// Whether changes are transactions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Transactions,
    Compensation,
}

/// An empty database, with its indexes.
async fn place(name: &str, mode: Mode) -> Option<MongoStore> {
    let Ok(url) = std::env::var(VARIABLE) else {
        eprintln!("not run: no server ({VARIABLE})");
        return None;
    };
    let mut target = Target::new(DatabaseKind::Mongodb, &url);
    target.mongo = MongoSettings { database: format!("{name}_{mode:?}").to_lowercase(), ..MongoSettings::default() };
    let mut store = MongoStore::connect(&target).await.unwrap();
    assert!(store.abilities.has_transactions, "{VARIABLE} names a replica set");
    if mode == Mode::Compensation {
        store.abilities = Abilities::default();
    }
    store.primary.drop().await.unwrap();
    store.ensure_indexes().await.unwrap();
    Some(store)
}

async fn each(name: &str, test: impl AsyncFn(&MongoStore)) {
    for mode in [Mode::Transactions, Mode::Compensation] {
        if let Some(store) = place(name, mode).await {
            eprintln!("{mode:?}");
            test(&store).await;
            store.primary.drop().await.unwrap();
            store.close().await;
        }
    }
}

async fn documents(store: &MongoStore, collection: &str) -> Vec<Bson> {
    let collection = store.collection(collection);
    collection.find(Bson::new()).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_keeps_resources() {
    each("suite", async |store| keeps_resources(store).await).await;
}

/// What `tests/peers` starts in MongoDB's place calls its replica set so.
const STAND_IN: &str = "secantus";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_mongodb_sees_each_change_whole() {
    let Some(store) = place("reader", Mode::Transactions).await else { return };
    let hello = store.primary.run_command(doc! { "hello": 1 }).await.unwrap();
    if hello.get_str("setName") == Ok(STAND_IN) {
        eprintln!("not run: the server's snapshot sessions read what is there by then ({VARIABLE})");
    } else {
        a_reader_sees_each_change_whole(&store).await;
    }
    store.primary.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_made_once_and_made_anew_where_they_are_otherwise() {
    each("indexes", async |store| {
        store.ensure_indexes().await.unwrap();
        let consumers = store.collection("consumers");
        consumers.drop_index("namespace_1_username_1").await.unwrap();
        consumers
            .create_index(IndexModel::builder().keys(doc! { "namespace": 1, "username": 1 }).build())
            .await
            .unwrap();
        store.ensure_indexes().await.unwrap();
        let indexes: Vec<IndexModel> = consumers.list_indexes().await.unwrap().try_collect().await.unwrap();
        let names = indexes.iter().find(|index| index.keys == doc! { "namespace": 1, "username": 1 }).unwrap();
        assert_eq!(names.options.as_ref().unwrap().unique, Some(true));
        assert_eq!(indexes.len(), 5, "{indexes:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_read_without_a_gap_in_their_order() {
    each("pages", async |store| {
        let rows = (0..250).map(|n| Step::Insert(upstream(&format!("u{n:03}"))));
        store.apply(rows.rev().collect()).await.unwrap();
        let document = store.load("ferrum").await.unwrap();
        let ids: Vec<&str> = document.upstreams.iter().map(|upstream| upstream.id.as_str()).collect();
        assert_eq!((ids.len(), ids[0], ids[249]), (250, "u000", "u249"));
        assert!(ids.is_sorted());
        assert!(
            store.page(Kind::Upstream, "ferrum", Range { offset: 0, limit: Some(0) }).await.unwrap().rows.is_empty()
        );
    })
    .await;
}

/// Each of them fails at its last step.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_change_has_done_is_put_back_exactly() {
    each("whole", async |store| {
        let listing = |id: &str, more: serde_json::Value| {
            let mut value = json!({"upstream_id": "u", "plugins": [{"plugin_config_id": "g"}]});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            proxy(id, value)
        };
        let begun = vec![upstream("u"), config("g", "proxy_group", json!(null)), listing("p", json!({}))];
        store.apply(begun.into_iter().map(Step::Insert).collect()).await.unwrap();
        store.apply(vec![Step::Insert(config("own", "proxy", json!("p")))]).await.unwrap();
        let everything = async || {
            let mut all = Vec::new();
            for collection in COLLECTIONS {
                all.push(documents(store, collection).await);
            }
            all
        };
        let before = everything().await;
        let dangling = || Step::Insert(proxy("q", json!({"upstream_id": "nobody"})));
        for change in [
            vec![Step::Delete(Kind::Proxy, "p".into()), dangling()],
            vec![Step::Replace(listing("p", json!({"upstream_id": null, "plugins": []}))), dangling()],
            vec![Step::Insert(upstream("v")), Step::Delete(Kind::PluginConfig, "g".into()), dangling()],
            vec![Step::Insert(upstream("v")), Step::Insert(upstream("u"))],
            vec![Step::Insert(upstream("v")), Step::Delete(Kind::Upstream, "u".into())],
        ] {
            let failed = store.apply(change.clone()).await;
            assert!(
                matches!(failed, Err(StoreError::Reference(_) | StoreError::Conflict(_))),
                "{change:?}: {failed:?}"
            );
            assert_eq!(everything().await, before, "{change:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_the_same_time_none_is_lost_and_none_dangles() {
    let Some(store) = place("turns", Mode::Transactions).await else { return };
    let store = &store;
    for round in 0..5 {
        store.apply(vec![Step::Insert(upstream("u"))]).await.unwrap();
        let refer = store.apply(vec![Step::Insert(proxy("p", json!({"upstream_id": "u"})))]);
        let delete = store.apply(vec![Step::Delete(Kind::Upstream, "u".into())]);
        let other = store.apply(vec![Step::Insert(upstream(&format!("v{round}")))]);
        let (refer, delete, other) = tokio::join!(refer, delete, other);
        other.unwrap();
        assert_ne!(refer.is_ok(), delete.is_ok(), "{refer:?} {delete:?}");
        store
            .apply(vec![Step::Delete(Kind::Proxy, "p".into()), Step::Delete(Kind::Upstream, "u".into())])
            .await
            .unwrap();
    }
    assert_eq!(documents(store, "upstreams").await.len(), 5);
    store.primary.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_too_large_is_refused_before_it_is_sent() {
    each("specs", async |store| {
        let spec = |content: Vec<u8>| ApiSpec { spec_content: content, ..spec() };
        store.apply(vec![Step::Insert(proxy("p", json!({})))]).await.unwrap();
        let refused = store.apply(vec![Step::InsertSpec(Box::new(spec(vec![7; 15 * 1024 * 1024])))]).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
        let fits = spec(vec![0, 159, 146, 150]);
        store.apply(vec![Step::InsertSpec(Box::new(fits.clone()))]).await.unwrap();
        assert_eq!(store.spec(SpecKey::Proxy("p")).await.unwrap(), Some(fits));
        store.apply(vec![Step::DeleteSpec("s".into())]).await.unwrap();
        assert!(store.get(Kind::Proxy, "p").await.unwrap().is_none());
    })
    .await;
}

fn spec() -> ApiSpec {
    let value = json!({"id": "s", "proxy_id": "p", "spec_version": "3.1.0", "spec_format": "json", "spec_content": [],
        "content_encoding": "gzip", "uncompressed_size": 4, "content_hash": "h", "resource_hash": "r",
        "created_at": "2026-01-01T00:00:00.000000001Z", "updated_at": "2026-01-01T00:00:00Z"});
    serde_json::from_value(value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_filled_as_a_whole_or_not_at_all() {
    each("transfer", async |store| {
        let of = |ids: &[&str], port: u64| Configuration {
            upstreams: rows(ids.iter().map(|id| {
                let value = json!({"id": id, "namespace": "a", "targets": [{"host": "h", "port": port}]});
                serde_json::from_value::<Upstream>(value).unwrap()
            })),
            ..Configuration::default()
        };
        let import = async |document: &Configuration, replaces, is_dry_run| {
            store.import("a", document, ImportOptions { replaces, is_dry_run }).await
        };
        let stored = async || {
            let document = store.export(None).await.unwrap();
            document.upstreams.iter().map(|row| (row.id.clone(), row.targets[0].port)).collect::<Vec<_>>()
        };
        assert_eq!(import(&of(&["x", "y"], 1), false, true).await.unwrap(), 0);
        assert!(stored().await.is_empty(), "a dry run");
        assert_eq!(import(&of(&["x", "y"], 1), false, false).await.unwrap(), 0);
        assert!(matches!(import(&of(&["z"], 2), false, false).await, Err(ImportError::Occupied(2))));
        assert!(import(&of(&["z", "z"], 2), true, false).await.is_err(), "one id for two");
        assert_eq!(import(&of(&["z"], 2), true, true).await.unwrap(), 2);
        assert_eq!(stored().await, [("x".to_owned(), 1), ("y".to_owned(), 1)]);
        assert_eq!(import(&of(&["z"], 2), true, false).await.unwrap(), 2);
        assert_eq!(stored().await, [("z".to_owned(), 2)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_document_survives_mongodb() {
    if let Some(store) = place("any", Mode::Transactions).await {
        any_document_survives(AnyStore::Mongo(store), 16).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut target = Target::new(DatabaseKind::Mongodb, "mongodb://u:secret@127.0.0.1:1/x");
    target.mongo.server_selection_timeout = Some(Duration::from_millis(200));
    let Err(error) = MongoStore::connect(&target).await else { panic!("nobody is there") };
    assert!(matches!(error, StoreError::Unavailable(_)) && !error.to_string().contains("secret"), "{error:?}");
}

#[test]
fn a_password_is_never_shown() {
    let shown = |url: &str| Target::new(DatabaseKind::Mongodb, url).shown();
    assert_eq!(shown("mongodb://u:p@ss@a:1,b:2/x?replicaSet=r"), "mongodb://u@a:1,b:2/x");
    assert_eq!(shown("mongodb+srv://u:p@h"), "mongodb+srv://u@h");
}
