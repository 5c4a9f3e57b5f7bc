//! Reading a namespace: whole, and what has changed (control-plane sheet §7 and §8).

use engine::model::{Document, PluginConfig, Proxy};
use rustc_hash::{FxHashMap, FxHashSet};
use time::{Duration, OffsetDateTime};

use super::driver::Cell;
use super::forms::moment;
use super::record::Record;
use super::{SqlStore, attach};
use crate::store::{Changes, Kind, Resource, StoreError};

/// Clocks of writers differ, and a transaction may commit after a later one: changes are read again for so long.
const OVERLAP: Duration = Duration::seconds(1);

impl SqlStore {
    pub(super) async fn load_all(&self, namespace: &str) -> Result<Document, StoreError> {
        // Before the first query: what changes meanwhile is found by the next poll.
        let loaded_at = OffsetDateTime::now_utc();
        let mut document = Document { loaded_at, ..Document::default() };
        document.upstreams = self.all(namespace).await?;
        document.consumers = self.all(namespace).await?;
        document.proxies = self.all(namespace).await?;
        document.plugin_configs = self.all(namespace).await?;
        self.attach_all(namespace, &mut document.proxies).await?;
        for proxy in &mut document.proxies {
            proxy.api_spec_id = None;
        }
        for upstream in &mut document.upstreams {
            upstream.api_spec_id = None;
        }
        for config in &mut document.plugin_configs {
            config.api_spec_id = None;
        }
        document.normalize();
        Ok(document)
    }

    /// All rows of one kind, page by page: each page begins behind the last id, which costs the same however far it is.
    async fn all<R: Record + HasId>(&self, namespace: &str) -> Result<Vec<R>, StoreError> {
        let limit = Cell::Integer(self.target.page_rows as i64);
        let mut all: Vec<R> = Vec::new();
        loop {
            let after = all.last().map_or("", HasId::id);
            let cells = [Cell::text(namespace), Cell::text(after), limit.clone()];
            let page: Vec<R> = self.records("WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?", &cells).await?;
            let is_last = (page.len() as u64) < self.target.page_rows;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn attach_all(&self, namespace: &str, proxies: &mut [Proxy]) -> Result<(), StoreError> {
        let mut places: FxHashMap<String, usize> = FxHashMap::default();
        places.extend(proxies.iter().enumerate().map(|(index, proxy)| (proxy.id.clone(), index)));
        let sql = "SELECT a.proxy_id, a.plugin_config_id FROM proxy_plugins a \
                   JOIN proxies p ON p.id = a.proxy_id WHERE p.namespace = ? ORDER BY a.proxy_id, a.plugin_config_id";
        self.database
            .each(sql, &[Cell::text(namespace)], |row| {
                attach(row, &places, proxies);
                Ok(())
            })
            .await
    }

    pub(super) async fn changes_since(&self, namespace: &str, since: OffsetDateTime) -> Result<Changes, StoreError> {
        let since = Cell::Text(moment::shown(since - OVERLAP));
        let mut changes = Changes::default();
        for (kind, present) in Kind::ALL.into_iter().zip(&mut changes.present) {
            let cells = [Cell::text(namespace), since.clone()];
            let rest = "WHERE namespace = ? AND updated_at >= ? ORDER BY id";
            changes.changed.extend(self.resources(kind, rest, &cells).await?);
            let sql = format!("SELECT id FROM {} WHERE namespace = ? ORDER BY id", kind.table());
            *present = self.database.texts(&sql, &[Cell::text(namespace)]).await?;
        }
        self.add_attached(namespace, &mut changes).await?;
        for resource in &mut changes.changed {
            resource.set_api_spec_id(None);
            resource.normalize();
        }
        Ok(changes)
    }

    /// A proxy is read again when a config that it lists has changed.
    async fn add_attached(&self, namespace: &str, changes: &mut Changes) -> Result<(), StoreError> {
        let configs = changes.changed.iter().filter(|row| row.kind() == Kind::PluginConfig);
        let configs: Vec<Cell> = configs.map(|row| Cell::text(row.id())).collect();
        let mut known: FxHashSet<String> =
            changes.changed.iter().filter(|row| row.kind() == Kind::Proxy).map(|row| row.id().to_owned()).collect();
        for chunk in configs.chunks(500) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let rest = format!(
                "WHERE namespace = ? AND id IN (SELECT proxy_id FROM proxy_plugins WHERE plugin_config_id IN ({marks})) \
                 ORDER BY id"
            );
            let mut cells = vec![Cell::text(namespace)];
            cells.extend_from_slice(chunk);
            for resource in self.resources(Kind::Proxy, &rest, &cells).await? {
                if known.insert(resource.id().to_owned()) {
                    changes.changed.push(resource);
                }
            }
        }
        Ok(())
    }
}

/// What pages are ordered by.
pub(super) trait HasId {
    fn id(&self) -> &str;
}

impl HasId for Proxy {
    fn id(&self) -> &str {
        &self.id
    }
}

impl HasId for PluginConfig {
    fn id(&self) -> &str {
        &self.id
    }
}

impl HasId for engine::model::Upstream {
    fn id(&self) -> &str {
        &self.id
    }
}

impl HasId for engine::model::Consumer {
    fn id(&self) -> &str {
        &self.id
    }
}

impl HasId for Resource {
    fn id(&self) -> &str {
        Resource::id(self)
    }
}
