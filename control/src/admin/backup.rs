//! `GET /backup`: one namespace as a document for restore (admin sheet §18).

use std::sync::Arc;
use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use serde_json::{Map, Value, json};

use super::reply::{self, Reply};
use super::resources::ResourceKind;
use super::{Admin, timestamp};
use crate::store::{Range, Store, StoreError};

const KINDS: [(&str, ResourceKind); 4] = [
    ("proxies", ResourceKind::Proxy),
    ("consumers", ResourceKind::Consumer),
    ("plugin_configs", ResourceKind::PluginConfig),
    ("upstreams", ResourceKind::Upstream),
];

/// The rows of each kind, under its name.
type Rows = Vec<(&'static str, Vec<Value>)>;

impl Admin {
    pub(super) async fn backup(&self, namespace: &str, query: &str) -> Reply {
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("resources="));
        let is_wanted = |name: &str| wanted.is_none_or(|list| list.split(',').any(|each| each == name));
        if let Some(store) = self.readable_store() {
            match stored(store, namespace, &is_wanted).await {
                Ok(rows) => return reply::from_database(self.backup_of(rows, "database")),
                Err(error) => tracing::warn!(error = %error, "The backup is made from the running configuration"),
            }
        }
        let Some(resources) = &self.sources.resources else {
            let text = match self.sources.store {
                Some(_) => "Database unavailable and no cached config",
                None => "No database configured and no cached config available",
            };
            return reply::error(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        let rows = KINDS
            .iter()
            .map(|(name, kind)| (*name, if is_wanted(name) { resources.list(*kind, namespace) } else { Vec::new() }))
            .collect();
        reply::from_running_config(self.backup_of(rows, "cached"))
    }

    fn backup_of(&self, rows: Rows, source: &str) -> Reply {
        let counts: Map<_, _> = rows.iter().map(|(name, rows)| ((*name).to_owned(), rows.len().into())).collect();
        let mut document = json!({
            "version": "1",
            "ferrum_version": self.options.version,
            "exported_at": timestamp::with_offset(SystemTime::now()),
            "source": source,
            "counts": counts,
        });
        for (name, rows) in rows {
            document[name] = rows.into();
        }
        let mut reply = reply::json(StatusCode::OK, &document);
        let name = HeaderValue::from_static("attachment; filename=\"ferrum-backup.json\"");
        reply.headers_mut().insert(CONTENT_DISPOSITION, name);
        reply
    }
}

/// Which document owns a row is no part of a backup.
async fn stored(
    store: &Arc<dyn Store>,
    namespace: &str,
    is_wanted: &impl Fn(&str) -> bool,
) -> Result<Rows, StoreError> {
    let mut all = Vec::with_capacity(KINDS.len());
    for (name, kind) in KINDS {
        let mut rows = Vec::new();
        if is_wanted(name) {
            for mut row in store.page(kind.stored(), namespace, Range { offset: 0, limit: None }).await?.rows {
                row.set_api_spec_id(None);
                rows.push(row.to_json());
            }
        }
        all.push((name, rows));
    }
    Ok(all)
}
