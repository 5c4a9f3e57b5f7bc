//! API specs (control-plane sheet §3.5), and what they own.

use engine::model::{ApiSpec, PluginConfig};

use super::SqlStore;
use super::driver::{Cell, Change};
use super::forms::moment;
use super::record::{Record, select};
use super::write::{DISPATCHES, containing};
use crate::store::target::DatabaseKind;
use crate::store::{Kind, Page, Range, Resource, SpecFilter, SpecKey, SpecSort, SpecSummary, StoreError};

impl SqlStore {
    pub(super) async fn one_spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        let (rest, value) = match key {
            SpecKey::Id(id) => ("WHERE id = ?", id),
            SpecKey::Proxy(id) => ("WHERE proxy_id = ?", id),
        };
        Ok(self.records::<ApiSpec>(rest, &[Cell::text(value)]).await?.into_iter().next())
    }

    pub(super) async fn list_specs(
        &self,
        namespace: &str,
        filter: &SpecFilter,
        range: Range,
    ) -> Result<Page<SpecSummary>, StoreError> {
        let (mut rest, mut cells) = narrowed(self.database.kind(), namespace, filter);
        let total = self.count(SpecSummary::TABLE, &rest, &cells).await?;
        rest.push_str(&order(filter));
        rest.push_str(" LIMIT ? OFFSET ?");
        let limit = range.limit.unwrap_or(total);
        cells.extend([limit, range.offset].map(|number| Cell::Integer(number.min(i64::MAX as u64) as i64)));
        Ok(Page { rows: self.records(&rest, &cells).await?, total })
    }

    pub(super) async fn owned_by(&self, spec: &str) -> Result<Vec<Resource>, StoreError> {
        let mut owned = Vec::new();
        for kind in [Kind::Upstream, Kind::Proxy, Kind::PluginConfig] {
            owned.extend(self.resources(kind, "WHERE api_spec_id = ? ORDER BY id", &[Cell::text(spec)]).await?);
        }
        Ok(owned)
    }
}

/// The condition, with its values. No text of a filter has a character that `LIKE` reads as another.
fn narrowed(kind: DatabaseKind, namespace: &str, filter: &SpecFilter) -> (String, Vec<Cell>) {
    let mut rest = "WHERE namespace = ?".to_owned();
    let mut cells = vec![Cell::text(namespace)];
    let mut also = |condition: &str, cell: Cell| {
        rest.push_str(" AND ");
        rest.push_str(condition);
        cells.push(cell);
    };
    if let Some(proxy) = &filter.proxy_id {
        also("proxy_id = ?", Cell::text(proxy));
    }
    if let Some(version) = &filter.spec_version {
        // LIKE does not mind the case of letters everywhere.
        also(&format!("SUBSTR(spec_version, 1, {}) = ?", version.chars().count()), Cell::text(version));
    }
    if let Some(title) = &filter.title_contains {
        also("LOWER(title) LIKE LOWER(?)", Cell::Text(format!("%{title}%")));
    }
    if let Some(since) = filter.updated_since {
        also("updated_at >= ?", Cell::Text(moment::shown(since)));
    }
    if let Some(tag) = &filter.has_tag {
        let within = match kind {
            DatabaseKind::Postgres => "STRPOS(tags, ?) > 0",
            // Byte by byte.
            DatabaseKind::Mysql => "INSTR(tags, CAST(? AS BINARY)) > 0",
            DatabaseKind::Sqlite | DatabaseKind::Mongodb => "INSTR(tags, ?) > 0",
        };
        also(within, Cell::Text(serde_json::to_string(tag).unwrap_or_default()));
    }
    (rest, cells)
}

/// A title that is missing is less than any other, whatever the database thinks.
fn order(filter: &SpecFilter) -> String {
    let direction = if filter.is_ascending { "ASC" } else { "DESC" };
    match filter.sort {
        SpecSort::UpdatedAt => format!(" ORDER BY updated_at {direction}, id {direction}"),
        SpecSort::CreatedAt => format!(" ORDER BY created_at {direction}, id {direction}"),
        SpecSort::OperationCount => format!(" ORDER BY operation_count {direction}, id {direction}"),
        SpecSort::Title => format!(
            " ORDER BY CASE WHEN title IS NULL THEN 0 ELSE 1 END {direction}, title {direction}, id {direction}"
        ),
    }
}

/// Upstreams of a spec that is deleted. One that others use refuses the whole change.
pub(super) async fn delete_owned_upstreams(change: &mut Change<'_>, spec: &str) -> Result<(), StoreError> {
    for row in change.rows("SELECT id FROM upstreams WHERE api_spec_id = ?", &[Cell::text(spec)]).await? {
        if let Some(Cell::Text(id)) = row.into_iter().next() {
            delete_upstream(change, &id).await?;
        }
    }
    Ok(())
}

/// Proxies refuse by their foreign key. Dispatch rules have none: what they name stands in a text.
pub(super) async fn delete_upstream(change: &mut Change<'_>, id: &str) -> Result<(), StoreError> {
    let sql = format!("{} {DISPATCHES}", select::<PluginConfig>());
    for row in change.rows(&sql, &[containing(id)]).await? {
        let config = PluginConfig::read(row)?;
        if config.dispatch_upstreams().any(|(_, named)| named == id) {
            let text = format!("upstream '{id}' is referenced by mesh_route_dispatch plugin_config '{}'", config.id);
            return Err(StoreError::Reference(text.into()));
        }
    }
    change.execute("DELETE FROM upstreams WHERE id = ?", &[Cell::text(id)]).await.map(drop)
}
