//! Following a database, failing over, and starting without one.

use engine::model::Upstream;
use serde_json::json;

use super::*;
use crate::store::{AnyStore, DatabaseKind, Kind, Resource, Step, Target};

struct Place {
    source: DatabaseSource,
    folder: tempfile::TempDir,
}

fn target(folder: &tempfile::TempDir, name: &str) -> Target {
    let url = format!("sqlite://{}/{name}?mode=rwc", folder.path().display());
    Target::new(DatabaseKind::Sqlite, &url)
}

fn nowhere() -> Target {
    Target::new(DatabaseKind::Sqlite, "sqlite:///nowhere/at/all.db")
}

fn source(targets: Vec<Target>, replica: Option<Target>) -> DatabaseSource {
    DatabaseSource::new(Databases { targets, replica, applies_plugin_migrations: false }, DatabaseScope::of_tests())
}

async fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let source = source(vec![target(&folder, "config.db")], None);
    source.connect().await.unwrap();
    Place { source, folder }
}

fn primary(source: &DatabaseSource) -> Arc<AnyStore> {
    source.connections().primary().unwrap()
}

fn is_away(source: &DatabaseSource) -> bool {
    source.is_away().load(Ordering::Acquire)
}

fn upstream(id: &str, port: u16) -> Resource {
    let value = json!({"id": id, "targets": [{"host": "a", "port": port}]});
    Resource::Upstream(Box::new(serde_json::from_value::<Upstream>(value).unwrap()))
}

async fn insert(store: &AnyStore, id: &str) {
    store.apply(vec![Step::Insert(upstream(id, 1))]).await.unwrap();
}

/// The configuration at start, put into service.
async fn started(source: &DatabaseSource) -> Document {
    let document = source.load().await.unwrap();
    source.note(document.loaded_at);
    document
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
    let Place { source, folder: _folder } = place().await;
    let empty = started(&source).await;
    assert!(followed(&source, &empty).await.is_none());
    insert(&primary(&source), "u").await;
    let one = followed(&source, &empty).await.unwrap();
    assert_eq!(one.upstreams[0].targets[0].port, 1);
    assert!(followed(&source, &one).await.is_none(), "read again within the overlap, unchanged");
    let mut changed = upstream("u", 2);
    changed.set_updated_at(OffsetDateTime::now_utc());
    primary(&source).apply(vec![Step::Replace(changed)]).await.unwrap();
    let two = followed(&source, &one).await.unwrap();
    assert_eq!(two.upstreams[0].targets[0].port, 2);
    primary(&source).apply(vec![Step::Delete(Kind::Upstream, "u".into())]).await.unwrap();
    assert!(followed(&source, &two).await.unwrap().upstreams.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_put_into_service_is_read_again() {
    let Place { source, folder: _folder } = place().await;
    let empty = started(&source).await;
    insert(&primary(&source), "u").await;
    for _ in 0..2 {
        assert!(source.poll(&empty).await.unwrap().over(&empty).is_some(), "refused, so not noted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_database_takes_over_when_the_first_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(vec![nowhere(), target(&folder, "second.db")], None);
    source.connect().await.unwrap();
    let document = started(&source).await;
    primary(&source).close().await;
    assert!(source.poll(&document).await.is_ok(), "connected anew");
    assert!(!is_away(&source));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_failed_are_named_when_there_were_several() {
    let one = source(vec![nowhere()], None).connect().await.unwrap_err().to_string();
    assert!(!one.contains("All database URLs failed"), "{one}");
    let all = source(vec![nowhere(), nowhere()], None).connect().await.unwrap_err().to_string();
    assert_eq!(all, format!("All database URLs failed. Primary: {one}; failover 1: {one}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_is_said_to_be_and_comes_back() {
    let Place { source, folder } = place().await;
    let running = started(&source).await;
    let (path, away) = (folder.path().join("config.db"), folder.path().join("away.db"));
    primary(&source).close().await;
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(source.poll(&running).await.is_err());
    assert!(is_away(&source));
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    assert!(source.poll(&running).await.is_ok());
    assert!(!is_away(&source));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_first_good_poll_reads_everything_into_a_new_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    std::fs::create_dir(&path).unwrap();
    let source = source(vec![target(&folder, "config.db")], None);
    assert!(source.connect().await.is_err());
    source.begin_without();
    assert!(is_away(&source) && source.poll(&Document::default()).await.is_err());
    source.come_back(|| true).await;
    assert!(is_away(&source), "it is still away");

    std::fs::remove_dir(&path).unwrap();
    // As if of the backup: by ids alone it could not be told from a row of the database.
    let running = Document { upstreams: vec![], ..Document::default() };
    let polled = source.poll(&running).await.unwrap();
    let cursor = polled.cursor;
    let document = polled.over(&running).expect("a full load");
    assert!(document.upstreams.is_empty() && is_away(&source), "not in service yet, so writes wait");
    source.note(cursor);
    assert!(!is_away(&source));
    assert!(followed(&source, &document).await.is_none(), "from then on only changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_back_during_the_start_takes_writes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(vec![target(&folder, "config.db")], None);
    source.begin_without();
    source.come_back(|| true).await;
    assert!(!is_away(&source));
    insert(&primary(&source), "u").await;
    assert_eq!(followed(&source, &Document::default()).await.unwrap().upstreams.len(), 1, "a full load");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_after_the_start_waits_for_a_poll() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(vec![target(&folder, "config.db")], None);
    source.begin_without();
    source.come_back(|| false).await;
    assert!(is_away(&source));
    assert!(followed(&source, &Document::default()).await.is_some() && !is_away(&source));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read_and_the_primary_where_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (target(&folder, "primary.db"), target(&folder, "replica.db"));
    let replica = AnyStore::connect(&other).await.unwrap();
    replica.migrate().await.unwrap();
    insert(&replica, "of-the-replica").await;
    let source = source(vec![one], Some(other));
    source.connect().await.unwrap();
    insert(&primary(&source), "of-the-primary").await;
    let ids = |document: &Document| document.upstreams.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    let running = started(&source).await;
    assert_eq!(ids(&running), ["of-the-replica"]);
    insert(&replica, "z").await;
    assert_eq!(ids(&followed(&source, &running).await.unwrap()), ["of-the-replica", "z"]);

    source.connections().replica().unwrap().close().await;
    let document = source.poll(&running).await.unwrap().over(&running).expect("everything is read");
    assert_eq!(ids(&document), ["of-the-primary"]);
    assert!(!is_away(&source), "a replica that fails is no outage");
    let document = source.poll(&running).await.unwrap().over(&running).expect("taken up again");
    assert_eq!(ids(&document), ["of-the-replica", "z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_shows_late_is_found_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let replica = AnyStore::connect(&target(&folder, "replica.db")).await.unwrap();
    replica.migrate().await.unwrap();
    let source = source(vec![target(&folder, "primary.db")], Some(target(&folder, "replica.db")));
    source.connect().await.unwrap();
    let running = started(&source).await;
    let mut late = upstream("late", 1);
    late.set_updated_at(OffsetDateTime::now_utc() - time::Duration::minutes(5));
    replica.apply(vec![Step::Insert(late)]).await.unwrap();
    assert_eq!(followed(&source, &running).await.unwrap().upstreams.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_answer_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(vec![target(&folder, "primary.db")], Some(nowhere()));
    source.connect().await.unwrap();
    assert!(source.connections().replica().is_none());
    assert!(source.load().await.is_ok() && source.poll(&Document::default()).await.is_ok());
}

/// A file that cannot be opened, until it can.
struct Blocked(std::path::PathBuf);

impl Blocked {
    fn new(folder: &tempfile::TempDir, name: &str) -> Self {
        let path = folder.path().join(name);
        if path.exists() {
            std::fs::rename(&path, path.with_extension("aside")).unwrap();
        }
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(self) {
        std::fs::remove_dir(self.0).unwrap();
    }
}

async fn with_schema(target: &Target) -> AnyStore {
    let store = AnyStore::connect(target).await.unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_for_a_primary_although_the_replica_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (target(&folder, "primary.db"), target(&folder, "replica.db"));
    insert(&with_schema(&other).await, "u").await;
    let blocked = Blocked::new(&folder, "primary.db");
    let source = source(vec![one], Some(other));
    source.begin_without();
    let running = followed(&source, &Document::default()).await.unwrap();
    assert_eq!(running.upstreams.len(), 1, "the replica is served");
    assert!(is_away(&source), "and nothing can be written");

    blocked.open();
    followed(&source, &running).await;
    assert!(!is_away(&source));
    insert(&primary(&source), "of-the-primary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_primary_takes_over_while_the_replica_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (one, replica) = (target(&folder, "one.db"), target(&folder, "replica.db"));
    drop(with_schema(&replica).await);
    let blocked = Blocked::new(&folder, "two.db");
    let source = source(vec![one, target(&folder, "two.db")], Some(replica));
    source.connect().await.unwrap();
    let running = started(&source).await;
    primary(&source).close().await;
    let _blocked = Blocked::new(&folder, "one.db");
    followed(&source, &running).await;
    assert!(is_away(&source), "no primary answers");
    blocked.open();
    followed(&source, &running).await;
    assert!(!is_away(&source));
    insert(&primary(&source), "of-the-second").await;
    assert!(folder.path().join("two.db").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_given_once_for_as_long_as_it_holds() {
    let source = source(vec![nowhere()], None);
    let odd = serde_json::from_value(json!([{"id": "u", "targets": []}])).unwrap();
    let odd = Document { upstreams: odd, ..Document::default() };
    let warned = |document: &Document| source.new_warnings(document, None).unwrap().len();
    assert_eq!([warned(&odd), warned(&odd), warned(&Document::default()), warned(&odd)], [1, 0, 0, 1]);
}

fn of_upstreams(ids: &[&str]) -> Vec<(Kind, String)> {
    ids.iter().map(|id| (Kind::Upstream, (*id).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_written_here_are_read_without_the_others() {
    let Place { source, folder: _folder } = place().await;
    assert!(source.poll_rows(&of_upstreams(&["u"])).await.is_none(), "nothing of the database is in service");
    let empty = started(&source).await;
    for id in ["u", "v"] {
        insert(&primary(&source), id).await;
    }
    let one = source.poll_rows(&of_upstreams(&["u", "gone"])).await.unwrap().over(&empty).unwrap();
    assert_eq!(one.upstreams.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["u"]);
    assert!(source.poll_rows(&of_upstreams(&["u"])).await.unwrap().over(&one).is_none(), "it is known");
    primary(&source).apply(vec![Step::Delete(Kind::Upstream, "u".into())]).await.unwrap();
    assert!(source.poll_rows(&of_upstreams(&["u"])).await.unwrap().over(&one).unwrap().upstreams.is_empty());
    let all = followed(&source, &one).await.unwrap();
    assert_eq!(all.upstreams.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["v"], "found by the next poll");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_namespace_is_none() {
    let Place { source, folder: _folder } = place().await;
    let empty = started(&source).await;
    let mut foreign = upstream("u", 1);
    foreign.set_namespace("team-b");
    primary(&source).apply(vec![Step::Insert(foreign)]).await.unwrap();
    assert!(source.poll_rows(&of_upstreams(&["u"])).await.unwrap().over(&empty).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_replica_is_read_everything_is_read_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(vec![target(&folder, "config.db")], Some(target(&folder, "config.db")));
    source.connect().await.unwrap();
    started(&source).await;
    assert!(source.poll_rows(&of_upstreams(&["u"])).await.is_none());
}
