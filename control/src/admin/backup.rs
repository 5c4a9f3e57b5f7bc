//! `GET /backup`: the running configuration of one namespace as a document for restore (admin sheet §18).

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use serde_json::{Map, Value, json};

use super::reply::{self, Reply};
use super::resources::ResourceKind;
use super::{Admin, timestamp};

const KINDS: [(&str, ResourceKind); 4] = [
    ("proxies", ResourceKind::Proxy),
    ("consumers", ResourceKind::Consumer),
    ("plugin_configs", ResourceKind::PluginConfig),
    ("upstreams", ResourceKind::Upstream),
];

impl Admin {
    pub(super) fn backup(&self, namespace: &str, query: &str) -> Reply {
        let Some(resources) = &self.sources.resources else {
            return reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "No database configured and no cached config available",
            );
        };
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("resources="));
        let is_wanted = |name: &str| wanted.is_none_or(|list| list.split(',').any(|each| each == name));
        let rows: Vec<(&str, Vec<Value>)> = KINDS
            .iter()
            .map(|(name, kind)| (*name, if is_wanted(name) { resources.list(*kind, namespace) } else { Vec::new() }))
            .collect();
        let counts: Map<_, _> = rows.iter().map(|(name, rows)| ((*name).to_owned(), rows.len().into())).collect();
        let mut document = json!({
            "version": "1",
            "ferrum_version": self.options.version,
            "exported_at": timestamp::with_offset(SystemTime::now()),
            "source": "cached",
            "counts": counts,
        });
        for (name, rows) in rows {
            document[name] = rows.into();
        }
        let mut reply = reply::from_running_config(reply::json(StatusCode::OK, &document));
        let name = HeaderValue::from_static("attachment; filename=\"ferrum-backup.json\"");
        reply.headers_mut().insert(CONTENT_DISPOSITION, name);
        reply
    }
}
