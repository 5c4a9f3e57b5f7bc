//! Reading a namespace: whole, and what has changed (control-plane sheet §7 and §8).

use engine::model::{Document, Proxy};
use rustc_hash::FxHashMap;
use time::{Duration, OffsetDateTime};

use super::driver::{Cell, timed};
use super::forms::moment;
use super::record::Record;
use super::{IDS_MAX, SqlStore, attach};
use crate::store::{Changes, Kind, StoreError};

/// Clocks of writers differ, and a transaction may commit after a later one: changes are read again for so long.
const OVERLAP: Duration = Duration::seconds(1);

/// Which plugin configs the proxies of a namespace list. The table keeps no order of its own.
const LISTED: &str = "SELECT a.proxy_id, a.plugin_config_id FROM proxy_plugins a \
                      JOIN proxies p ON p.id = a.proxy_id WHERE p.namespace = ? ORDER BY a.proxy_id, a.plugin_config_id";

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
    async fn all<R: Record>(&self, namespace: &str) -> Result<Vec<R>, StoreError> {
        let limit = Cell::Integer(self.target.page_rows as i64);
        let mut all: Vec<R> = Vec::new();
        loop {
            let after = all.last().map_or("", Record::id);
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
        self.database
            .each(LISTED, &[Cell::text(namespace)], |row| {
                attach(row, &places, proxies);
                Ok(())
            })
            .await
    }

    /// One look at the ids and times of all rows, then only those are read that the document does not have.
    pub(super) async fn changes_from(
        &self,
        namespace: &str,
        known: &Document,
        since: OffsetDateTime,
    ) -> Result<Changes, StoreError> {
        let since = since - OVERLAP;
        let mut changes = Changes::default();
        for (kind, present) in Kind::ALL.into_iter().zip(&mut changes.present) {
            let unread = self.unread(namespace, kind, &stamps(known, kind), since, present).await?;
            for chunk in unread.chunks(IDS_MAX) {
                let rest = format!("WHERE id IN ({}) ORDER BY id", vec!["?"; chunk.len()].join(", "));
                changes.changed.extend(self.resources(kind, &rest, chunk).await?);
            }
        }
        changes.listed = self.listed(namespace).await?;
        for resource in &mut changes.changed {
            resource.set_api_spec_id(None);
            resource.normalize();
        }
        Ok(changes)
    }

    /// Ids of rows that are not as known, and in `present` all ids.
    async fn unread(
        &self,
        namespace: &str,
        kind: Kind,
        known: &FxHashMap<&str, OffsetDateTime>,
        since: OffsetDateTime,
        present: &mut Vec<String>,
    ) -> Result<Vec<Cell>, StoreError> {
        let sql = format!("SELECT id, updated_at FROM {} WHERE namespace = ? ORDER BY id", kind.table());
        let mut unread = Vec::new();
        let look = |row: Vec<Cell>| {
            let mut cells = row.into_iter();
            if let (Some(Cell::Text(id)), Some(stamp)) = (cells.next(), cells.next()) {
                // What cannot be read here says so when its row is read.
                let is_known = moment::read(stamp).is_ok_and(|at| at < since && known.get(id.as_str()) == Some(&at));
                if !is_known {
                    unread.push(Cell::text(&id));
                }
                present.push(id);
            }
            Ok(())
        };
        timed(&self.target, kind.table(), self.database.each(&sql, &[Cell::text(namespace)], look)).await?;
        Ok(unread)
    }

    async fn listed(&self, namespace: &str) -> Result<Vec<(String, String)>, StoreError> {
        let mut listed = Vec::new();
        let take = |row: Vec<Cell>| {
            let mut cells = row.into_iter();
            if let (Some(Cell::Text(proxy)), Some(Cell::Text(config))) = (cells.next(), cells.next()) {
                listed.push((proxy, config));
            }
            Ok(())
        };
        self.database.each(LISTED, &[Cell::text(namespace)], take).await?;
        Ok(listed)
    }
}

/// When each row of a kind was changed last, as far as the document knows.
fn stamps(document: &Document, kind: Kind) -> FxHashMap<&str, OffsetDateTime> {
    fn of<'a, T>(
        rows: &'a [T],
        stamp: impl Fn(&'a T) -> (&'a String, OffsetDateTime),
    ) -> FxHashMap<&'a str, OffsetDateTime> {
        rows.iter().map(stamp).map(|(id, at)| (id.as_str(), at)).collect()
    }
    match kind {
        Kind::Upstream => of(&document.upstreams, |row| (&row.id, row.updated_at)),
        Kind::Consumer => of(&document.consumers, |row| (&row.id, row.updated_at)),
        Kind::Proxy => of(&document.proxies, |row| (&row.id, row.updated_at)),
        Kind::PluginConfig => of(&document.plugin_configs, |row| (&row.id, row.updated_at)),
    }
}
