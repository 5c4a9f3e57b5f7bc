//! `GET /backup`: one namespace as a document for restore (admin sheet §18).

use std::time::SystemTime;

use engine::model::Document;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::reply::{self, Reply};
use super::resources::ResourceKind;
use super::{Admin, query, timestamp};
use crate::store::StoreError;

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
        let wanted = query::first(query, "resources").map(query::forgiven);
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|list| list.split(',').any(|each| each == name));
        match self.loaded(namespace).await {
            Some(Ok(document)) => {
                return reply::from_database(self.backup_of(stored(&document, &is_wanted), "database"));
            }
            Some(Err(error)) => tracing::warn!(error = %error, "The backup is made from the running configuration"),
            None => {}
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

    /// None where there is no database to ask. No write of this gateway happens meanwhile: nothing that is loaded refers to what
    /// was not there yet, or is no longer.
    async fn loaded(&self, namespace: &str) -> Option<Result<Document, StoreError>> {
        let _still = self.writing.lock().await;
        Some(self.readable_store()?.load(namespace).await)
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

fn stored(document: &Document, is_wanted: &impl Fn(&str) -> bool) -> Rows {
    let rows = KINDS.iter().map(|(name, kind)| {
        let rows = match kind {
            _ if !is_wanted(name) => Vec::new(),
            ResourceKind::Proxy => shown(&document.proxies),
            ResourceKind::Consumer => shown(&document.consumers),
            ResourceKind::PluginConfig => shown(&document.plugin_configs),
            ResourceKind::Upstream => shown(&document.upstreams),
        };
        (*name, rows)
    });
    rows.collect()
}

fn shown(rows: &[impl Serialize]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::to_value(row).unwrap_or_default()).collect()
}
