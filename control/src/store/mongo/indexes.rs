//! The collections and their indexes (control-plane sheet §5). A server makes a collection with its first index.

use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;

use super::failure::{Failure, code};
use super::{API_SPECS, AUDIT_EVENTS, MongoStore};
use crate::store::StoreError;

/// In the order in which `FERRUM_MODE=migrate` names them.
pub const COLLECTIONS: [&str; 6] = ["proxies", "consumers", "plugin_configs", "upstreams", API_SPECS, AUDIT_EVENTS];

/// An index of the same keys or name stands for something else.
const OTHERWISE: [i32; 2] = [85, 86];
/// Another gateway has just done the same.
const GONE_ALREADY: i32 = 27;

pub async fn ensure(store: &MongoStore) -> Result<(), StoreError> {
    for (collection, index) in wanted() {
        let failed = |failure: Failure| match failure.error {
            error @ StoreError::Unavailable(_) => error,
            error => StoreError::Migration(format!("index {} of {collection}: {error}", index.keys)),
        };
        create(store, collection, &index).await.map_err(failed)?;
    }
    Ok(())
}

async fn create(store: &MongoStore, collection: &str, index: &IndexModel) -> Result<(), Failure> {
    let indexes = store.collection(collection);
    match store.answered(indexes.create_index(index.clone())).await? {
        Err(error) if code(&error).is_some_and(|code| OTHERWISE.contains(&code)) => {
            replace(store, collection, index).await
        }
        other => Ok(other.map(drop)?),
    }
}

async fn replace(store: &MongoStore, collection: &str, index: &IndexModel) -> Result<(), Failure> {
    let indexes = store.collection(collection);
    let cursor = store.patiently(indexes.list_indexes()).await?;
    let there: Vec<IndexModel> = store.patiently(cursor.try_collect()).await?;
    for other in there.iter().filter(|other| name(other) == name(index) || other.keys == index.keys) {
        tracing::warn!("Index {} of {collection} is otherwise than this release has it: made anew", name(other));
        match store.answered(indexes.drop_index(name(other))).await? {
            Err(error) if code(&error) == Some(GONE_ALREADY) => {}
            other => other?,
        }
    }
    store.patiently(indexes.create_index(index.clone())).await.map(drop)
}

fn wanted() -> Vec<(&'static str, IndexModel)> {
    let by_time = |collection| {
        [(collection, plain(doc! { "updated_at": 1 })), (collection, plain(doc! { "namespace": 1, "updated_at": 1 }))]
    };
    let mut all = vec![
        ("proxies", unique(doc! { "namespace": 1, "name": 1 }, Some(doc! { "name": { "$type": "string" } }))),
        (
            "proxies",
            unique(doc! { "namespace": 1, "listen_port": 1 }, Some(doc! { "listen_port": { "$type": "number" } })),
        ),
        ("proxies", plain(doc! { "upstream_id": 1 })),
        // For what refers to a plugin config or belongs to a spec: the tables of SQL have the same.
        ("proxies", plain(doc! { "plugins.plugin_config_id": 1 })),
        ("proxies", sparse(doc! { "api_spec_id": 1 })),
        ("consumers", unique(doc! { "namespace": 1, "username": 1 }, None)),
        (
            "consumers",
            unique(doc! { "namespace": 1, "custom_id": 1 }, Some(doc! { "custom_id": { "$type": "string" } })),
        ),
        ("plugin_configs", plain(doc! { "proxy_id": 1 })),
        ("plugin_configs", plain(doc! { "namespace": 1, "scope": 1 })),
        ("plugin_configs", plain(doc! { "namespace": 1, "plugin_name": 1 })),
        ("plugin_configs", partial(doc! { "plugin_name": 1, "enabled": 1 }, doc! { "enabled": true })),
        ("plugin_configs", sparse(doc! { "api_spec_id": 1 })),
        ("upstreams", unique(doc! { "namespace": 1, "name": 1 }, Some(doc! { "name": { "$type": "string" } }))),
        ("upstreams", sparse(doc! { "api_spec_id": 1 })),
        (API_SPECS, unique(doc! { "namespace": 1, "proxy_id": 1 }, Some(doc! { "proxy_id": { "$type": "string" } }))),
        (API_SPECS, plain(doc! { "namespace": 1, "updated_at": 1 })),
        (API_SPECS, plain(doc! { "namespace": 1, "spec_version": 1 })),
        (API_SPECS, plain(doc! { "namespace": 1, "operation_count": 1 })),
        (API_SPECS, plain(doc! { "namespace": 1, "created_at": -1 })),
        (API_SPECS, plain(doc! { "namespace": 1, "tags": 1 })),
        (AUDIT_EVENTS, plain(doc! { "namespace": 1, "ts": -1 })),
        (AUDIT_EVENTS, plain(doc! { "actor": 1 })),
        (AUDIT_EVENTS, plain(doc! { "resource_type": 1 })),
    ];
    all.extend(["proxies", "consumers", "plugin_configs", "upstreams"].into_iter().flat_map(by_time));
    all
}

fn model(keys: Document, mut options: IndexOptions) -> IndexModel {
    options.name = Some(default_name(&keys));
    IndexModel::builder().keys(keys).options(options).build()
}

fn plain(keys: Document) -> IndexModel {
    model(keys, IndexOptions::default())
}

fn sparse(keys: Document) -> IndexModel {
    model(keys, IndexOptions::builder().sparse(true).build())
}

fn partial(keys: Document, of: Document) -> IndexModel {
    model(keys, IndexOptions::builder().partial_filter_expression(of).build())
}

fn unique(keys: Document, of: Option<Document>) -> IndexModel {
    model(keys, IndexOptions::builder().unique(true).partial_filter_expression(of).build())
}

/// As every driver makes it of the keys.
fn default_name(keys: &Document) -> String {
    let parts = keys.iter().map(|(key, direction)| match direction {
        Bson::Int32(direction) => format!("{key}_{direction}"),
        other => format!("{key}_{other}"),
    });
    parts.collect::<Vec<_>>().join("_")
}

fn name(index: &IndexModel) -> String {
    let given = index.options.as_ref().and_then(|options| options.name.clone());
    given.unwrap_or_else(|| default_name(&index.keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_name_of_its_own_in_a_known_collection() {
        let all = wanted();
        let mut names: Vec<String> =
            all.iter().map(|(collection, index)| format!("{collection}.{}", name(index))).collect();
        assert!(names.contains(&"audit_events.namespace_1_ts_-1".to_owned()), "{names:?}");
        assert!(all.iter().all(|(collection, _)| COLLECTIONS.contains(collection)));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
