//! Reading a namespace: whole, and what has changed (control-plane sheet §7 and §8).

use std::sync::Arc;

use engine::model::{Consumer, Document, PluginConfig, Proxy, Rows, Upstream};
use rustc_hash::FxHashMap;
use time::{Duration, OffsetDateTime};

use super::driver::{Cell, Change, timed};
use super::forms::moment;
use super::record::{Record, select};
use super::{IDS_MAX, SqlStore, attach, pair, resources};
use crate::store::{Changes, Kind, Resource, StoreError, Target, relisted};

/// Clocks of writers differ, and a transaction may commit after a later one: changes are read again for so long.
pub(in crate::store) const OVERLAP: Duration = Duration::seconds(1);

/// Which plugin configs the proxies of a namespace list. The table keeps no order of its own.
const LISTED: &str = "SELECT a.proxy_id, a.plugin_config_id FROM proxy_plugins a \
                      JOIN proxies p ON p.id = a.proxy_id WHERE p.namespace = ?";
const ALL_LISTED: &str = "SELECT proxy_id, plugin_config_id FROM proxy_plugins";

impl SqlStore {
    pub(super) async fn load_all(&self, namespace: &str) -> Result<Document, StoreError> {
        // Before the first query: what changes meanwhile is found by the next poll.
        let loaded_at = OffsetDateTime::now_utc();
        let mut moment = self.database.begin_read().await?;
        let document = Reader { moment: &mut moment, target: &self.target }.document(Some(namespace)).await?;
        let mut document = Document { loaded_at, ..document };
        for proxy in &mut document.proxies {
            Arc::make_mut(proxy).api_spec_id = None;
        }
        for upstream in &mut document.upstreams {
            Arc::make_mut(upstream).api_spec_id = None;
        }
        for config in &mut document.plugin_configs {
            Arc::make_mut(config).api_spec_id = None;
        }
        document.normalize();
        Ok(document)
    }

    /// One look at the ids and times of all rows, then only those are read that the document does not have.
    pub(super) async fn changes_from(
        &self,
        namespace: &str,
        known: &Document,
        since: OffsetDateTime,
    ) -> Result<Changes, StoreError> {
        let since = since - OVERLAP;
        let mut moment = self.database.begin_read().await?;
        let mut reader = Reader { moment: &mut moment, target: &self.target };
        let listed = reader.listed(Some(namespace)).await?;
        let mut changes = Changes { relisted: relisted(known, &listed), ..Changes::default() };
        for kind in Kind::ALL {
            let mut unseen = stamps(known, kind);
            let unread = reader.unread(namespace, kind, &mut unseen, since).await?;
            changes.gone.extend(unseen.into_keys().map(|id| (kind, id.to_owned())));
            for chunk in unread.chunks(IDS_MAX) {
                changes.changed.extend(reader.rows(kind, chunk, &listed).await?);
            }
        }
        for resource in &mut changes.changed {
            resource.set_api_spec_id(None);
            resource.normalize();
        }
        Ok(changes)
    }
}

/// Reads within one transaction: what a writer commits between two queries is seen by both or by neither. A proxy without the
/// plugins that were deleted with it would be open to everyone.
pub(super) struct Reader<'a> {
    pub moment: &'a mut Change<'static>,
    pub target: &'a Target,
}

impl Reader<'_> {
    /// Everything of one namespace, or of all, exactly as it is stored, ordered by id.
    pub async fn document(&mut self, namespace: Option<&str>) -> Result<Document, StoreError> {
        let mut proxies: Rows<Proxy> = self.all(namespace).await?;
        attach(&self.listed(namespace).await?, proxies.iter_mut().map(Arc::make_mut));
        Ok(in_order(Document {
            upstreams: self.all::<Upstream>(namespace).await?,
            consumers: self.all::<Consumer>(namespace).await?,
            proxies,
            plugin_configs: self.all::<PluginConfig>(namespace).await?,
            ..Document::default()
        }))
    }

    /// All rows of one kind, page by page: each page begins behind the last id, which costs the same however far it is.
    async fn all<R: Record>(&mut self, namespace: Option<&str>) -> Result<Rows<R>, StoreError> {
        let limit = Cell::Integer(self.target.page_rows as i64);
        let (condition, of) = match namespace {
            Some(namespace) => ("namespace = ? AND id > ?", Some(Cell::text(namespace))),
            None => ("id > ?", None),
        };
        let rest = format!("WHERE {condition} ORDER BY id LIMIT ?");
        let mut all = Rows::<R>::new();
        loop {
            let after = Cell::text(all.last().map_or("", |last| last.id()));
            let cells: Vec<Cell> = of.iter().cloned().chain([after, limit.clone()]).collect();
            let known = all.len();
            self.each(&rest, &cells, |record| all.push(Arc::new(record))).await?;
            if ((all.len() - known) as u64) < self.target.page_rows {
                return Ok(all);
            }
        }
    }

    async fn records<R: Record>(&mut self, rest: &str, cells: &[Cell]) -> Result<Vec<R>, StoreError> {
        let mut records = Vec::new();
        self.each(rest, cells, |record| records.push(record)).await?;
        Ok(records)
    }

    async fn each<R: Record>(&mut self, rest: &str, cells: &[Cell], mut take: impl FnMut(R)) -> Result<(), StoreError> {
        let sql = format!("{} {rest}", select::<R>());
        let take = |row| R::read(row).map(&mut take);
        timed(self.target, R::TABLE, self.moment.each(&sql, cells, take)).await
    }

    /// The rows with these ids, the proxies with what they list.
    async fn rows(
        &mut self,
        kind: Kind,
        ids: &[Cell],
        listed: &[(String, String)],
    ) -> Result<Vec<Resource>, StoreError> {
        let rest = format!("WHERE id IN ({})", vec!["?"; ids.len()].join(", "));
        Ok(match kind {
            Kind::Upstream => resources(self.records::<Upstream>(&rest, ids).await?),
            Kind::Consumer => resources(self.records::<Consumer>(&rest, ids).await?),
            Kind::PluginConfig => resources(self.records::<PluginConfig>(&rest, ids).await?),
            Kind::Proxy => {
                let mut rows = self.records::<Proxy>(&rest, ids).await?;
                attach(listed, &mut rows);
                resources(rows)
            }
        })
    }

    /// Ids of rows that are not as known. Those that are there are taken out of `unseen`.
    async fn unread(
        &mut self,
        namespace: &str,
        kind: Kind,
        unseen: &mut FxHashMap<&str, OffsetDateTime>,
        since: OffsetDateTime,
    ) -> Result<Vec<Cell>, StoreError> {
        let sql = format!("SELECT id, updated_at FROM {} WHERE namespace = ?", kind.table());
        let mut unread = Vec::new();
        let look = |row: Vec<Cell>| {
            let mut cells = row.into_iter();
            if let (Some(Cell::Text(id)), Some(stamp)) = (cells.next(), cells.next()) {
                // What cannot be read here says so when its row is read.
                let known = unseen.remove(id.as_str());
                let is_known = moment::read(stamp).is_ok_and(|at| at < since && known == Some(at));
                if !is_known {
                    unread.push(Cell::text(&id));
                }
            }
            Ok(())
        };
        timed(self.target, kind.table(), self.moment.each(&sql, &[Cell::text(namespace)], look)).await?;
        Ok(unread)
    }

    /// Each proxy with each plugin config that it lists, ordered.
    async fn listed(&mut self, namespace: Option<&str>) -> Result<Vec<(String, String)>, StoreError> {
        let (sql, cells) = match namespace {
            Some(namespace) => (LISTED, vec![Cell::text(namespace)]),
            None => (ALL_LISTED, Vec::new()),
        };
        let mut listed = Vec::new();
        let take = |row| {
            listed.extend(pair(row));
            Ok(())
        };
        timed(self.target, "proxy_plugins", self.moment.each(sql, &cells, take)).await?;
        listed.sort_unstable();
        Ok(listed)
    }
}

/// Every database orders texts in its own way; what is served is ordered in one, whichever way it was read.
pub(super) fn in_order(mut document: Document) -> Document {
    document.upstreams.sort_by(|one, other| one.id.cmp(&other.id));
    document.consumers.sort_by(|one, other| one.id.cmp(&other.id));
    document.proxies.sort_by(|one, other| one.id.cmp(&other.id));
    document.plugin_configs.sort_by(|one, other| one.id.cmp(&other.id));
    for proxy in &mut document.proxies {
        Arc::make_mut(proxy).plugins.sort_by(|one, other| one.plugin_config_id.cmp(&other.plugin_config_id));
    }
    document
}

/// When each row of a kind was changed last, as far as the document knows.
pub(in crate::store) fn stamps(document: &Document, kind: Kind) -> FxHashMap<&str, OffsetDateTime> {
    fn of<'a, T>(
        rows: &'a [Arc<T>],
        stamp: impl Fn(&'a T) -> (&'a String, OffsetDateTime),
    ) -> FxHashMap<&'a str, OffsetDateTime> {
        rows.iter().map(|row| stamp(row)).map(|(id, at)| (id.as_str(), at)).collect()
    }
    match kind {
        Kind::Upstream => of(&document.upstreams, |row| (&row.id, row.updated_at)),
        Kind::Consumer => of(&document.consumers, |row| (&row.id, row.updated_at)),
        Kind::Proxy => of(&document.proxies, |row| (&row.id, row.updated_at)),
        Kind::PluginConfig => of(&document.plugin_configs, |row| (&row.id, row.updated_at)),
    }
}
