//! Changes, each in one transaction, with what follows from them (admin sheet §10 and §11).

use engine::model::{Document, Proxy};

use super::SqlStore;
use super::driver::{Cell, Change};
use super::record::{Record, insert, update, update_cells};
use super::specs::{delete_owned_upstreams, delete_upstream};
use crate::store::{Kind, Resource, Step, StoreError};

impl SqlStore {
    pub(super) async fn apply_steps(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        if let [step] = &*steps
            && let Some((sql, cells)) = only_statement(step)
        {
            return self.database.execute(&sql, &cells).await.map(drop);
        }
        let mut change = self.database.begin().await?;
        for step in &steps {
            apply(&mut change, step).await?;
        }
        change.commit().await
    }

    pub(super) async fn clear_namespace(&self, namespace: &str) -> Result<(), StoreError> {
        let mut change = self.database.begin().await?;
        clear(&mut change, namespace).await?;
        change.commit().await
    }
}

pub(super) async fn clear(change: &mut Change<'_>, namespace: &str) -> Result<(), StoreError> {
    // Each before what it refers to.
    for table in ["api_specs", "plugin_configs", "proxies", "consumers", "upstreams"] {
        change.execute(&format!("DELETE FROM {table} WHERE namespace = ?"), &[Cell::text(namespace)]).await?;
    }
    Ok(())
}

/// All resources of a document, each after those it refers to, and what proxies list at the end.
pub(super) async fn insert_all(change: &mut Change<'_>, document: &Document) -> Result<(), StoreError> {
    for row in &document.upstreams {
        insert_record(change, &**row).await?;
    }
    for row in &document.consumers {
        insert_record(change, &**row).await?;
    }
    for row in &document.proxies {
        insert_record(change, &**row).await?;
    }
    for row in &document.plugin_configs {
        insert_record(change, &**row).await?;
    }
    for row in &document.proxies {
        associate(change, &row.id, listed(row)).await?;
    }
    Ok(())
}

async fn apply(change: &mut Change<'_>, step: &Step) -> Result<(), StoreError> {
    match step {
        Step::Insert(resource) => insert_resource(change, resource).await,
        Step::Replace(resource) => replace_resource(change, resource).await,
        Step::Delete(Kind::Proxy, id) => delete_proxy(change, id).await,
        Step::Delete(Kind::Upstream, id) => delete_upstream(change, id).await,
        Step::Delete(kind, id) => {
            change.execute(&format!("DELETE FROM {} WHERE id = ?", kind.table()), &[Cell::text(id)]).await.map(drop)
        }
        Step::Associate(proxy, configs) => associate(change, proxy, configs.iter().map(String::as_str)).await,
        Step::InsertSpec(spec) => insert_record(change, &**spec).await,
        Step::ReplaceSpec(spec) => replace_record(change, &**spec).await,
        Step::DeleteSpec(id) => delete_spec(change, id).await,
    }
}

/// What a step comes to that is one statement: a transaction by itself, which spares the database two more questions.
fn only_statement(step: &Step) -> Option<(String, Vec<Cell>)> {
    match step {
        Step::Insert(resource) => match resource {
            Resource::Upstream(row) => Some(insertion(&**row)),
            Resource::Consumer(row) => Some(insertion(&**row)),
            Resource::PluginConfig(row) => Some(insertion(&**row)),
            Resource::Proxy(row) => row.plugins.is_empty().then(|| insertion(&**row)),
        },
        Step::Replace(resource) => match resource {
            Resource::Upstream(row) => Some(replacement(&**row)),
            Resource::Consumer(row) => Some(replacement(&**row)),
            Resource::PluginConfig(row) => Some(replacement(&**row)),
            Resource::Proxy(_) => None,
        },
        _ => None,
    }
}

fn insertion<R: Record>(record: &R) -> (String, Vec<Cell>) {
    (insert::<R>(), record.write())
}

fn replacement<R: Record>(record: &R) -> (String, Vec<Cell>) {
    (update::<R>(), update_cells(record))
}

async fn insert_record<R: Record>(change: &mut Change<'_>, record: &R) -> Result<(), StoreError> {
    let (sql, cells) = insertion(record);
    change.execute(&sql, &cells).await.map(drop)
}

async fn replace_record<R: Record>(change: &mut Change<'_>, record: &R) -> Result<(), StoreError> {
    let (sql, cells) = replacement(record);
    change.execute(&sql, &cells).await.map(drop)
}

async fn insert_resource(change: &mut Change<'_>, resource: &Resource) -> Result<(), StoreError> {
    match resource {
        Resource::Upstream(row) => insert_record(change, &**row).await,
        Resource::Consumer(row) => insert_record(change, &**row).await,
        Resource::PluginConfig(row) => insert_record(change, &**row).await,
        Resource::Proxy(row) => {
            insert_record(change, &**row).await?;
            associate(change, &row.id, listed(row)).await
        }
    }
}

async fn replace_resource(change: &mut Change<'_>, resource: &Resource) -> Result<(), StoreError> {
    match resource {
        Resource::Upstream(row) => replace_record(change, &**row).await,
        Resource::Consumer(row) => replace_record(change, &**row).await,
        Resource::PluginConfig(row) => replace_record(change, &**row).await,
        Resource::Proxy(row) => replace_proxy(change, row).await,
    }
}

fn listed(proxy: &Proxy) -> impl Iterator<Item = &str> {
    proxy.plugins.iter().map(|association| association.plugin_config_id.as_str())
}

async fn associate<'a>(
    change: &mut Change<'_>,
    proxy: &str,
    configs: impl Iterator<Item = &'a str>,
) -> Result<(), StoreError> {
    for config in configs {
        let sql = "INSERT INTO proxy_plugins (proxy_id, plugin_config_id) VALUES (?, ?)";
        change.execute(sql, &[Cell::text(proxy), Cell::text(config)]).await?;
    }
    Ok(())
}

/// What the proxy leaves behind goes when nobody else wants it: its former upstream, and groups without members.
async fn replace_proxy(change: &mut Change<'_>, proxy: &Proxy) -> Result<(), StoreError> {
    let former = upstream_of(change, &proxy.id).await?;
    let groups = groups_of(change, &proxy.id).await?;
    replace_record(change, proxy).await?;
    change.execute("DELETE FROM proxy_plugins WHERE proxy_id = ?", &[Cell::text(&proxy.id)]).await?;
    associate(change, &proxy.id, listed(proxy)).await?;
    if let Some(former) = former.filter(|former| Some(former) != proxy.upstream_id.as_ref()) {
        delete_orphan_upstream(change, &former).await?;
    }
    delete_orphan_groups(change, &groups).await
}

async fn delete_proxy(change: &mut Change<'_>, id: &str) -> Result<(), StoreError> {
    let upstream = upstream_of(change, id).await?;
    let groups = groups_of(change, id).await?;
    let spec_sql = "SELECT id FROM api_specs WHERE proxy_id = ?";
    let specs = texts(change, spec_sql, &[Cell::text(id)]).await?;
    change.execute("DELETE FROM proxies WHERE id = ?", &[Cell::text(id)]).await?;
    for spec in specs {
        delete_owned_upstreams(change, &spec).await?;
    }
    if let Some(upstream) = upstream {
        delete_orphan_upstream(change, &upstream).await?;
    }
    delete_orphan_groups(change, &groups).await
}

/// The document, with all it owns.
async fn delete_spec(change: &mut Change<'_>, id: &str) -> Result<(), StoreError> {
    let proxies = texts(change, "SELECT proxy_id FROM api_specs WHERE id = ?", &[Cell::text(id)]).await?;
    for proxy in proxies {
        delete_proxy(change, &proxy).await?;
    }
    change.execute("DELETE FROM api_specs WHERE id = ?", &[Cell::text(id)]).await.map(drop)
}

/// Enabled dispatch rules whose text has what [`containing`] gives.
pub(super) const DISPATCHES: &str =
    "WHERE plugin_name = 'mesh_route_dispatch' AND enabled = 1 AND config LIKE ? ESCAPE '!'";

/// For `LIKE`: the text as a JSON string, anywhere.
pub(super) fn containing(text: &str) -> Cell {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let escaped = quoted.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    Cell::Text(format!("%{escaped}%"))
}

async fn upstream_of(change: &mut Change<'_>, proxy: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT upstream_id FROM proxies WHERE id = ? AND upstream_id IS NOT NULL";
    Ok(texts(change, sql, &[Cell::text(proxy)]).await?.pop())
}

async fn groups_of(change: &mut Change<'_>, proxy: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT c.id FROM plugin_configs c JOIN proxy_plugins a ON a.plugin_config_id = c.id \
               WHERE a.proxy_id = ? AND c.scope = 'proxy_group'";
    texts(change, sql, &[Cell::text(proxy)]).await
}

/// One that no proxy and no dispatch rule refers to. Which upstreams a rule names stands in its config, as text.
async fn delete_orphan_upstream(change: &mut Change<'_>, id: &str) -> Result<(), StoreError> {
    let sql = format!("SELECT id FROM plugin_configs {DISPATCHES}");
    if !texts(change, &sql, &[containing(id)]).await?.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM upstreams WHERE id = ? AND NOT EXISTS (SELECT 1 FROM proxies WHERE upstream_id = ?)";
    change.execute(sql, &[Cell::text(id), Cell::text(id)]).await.map(drop)
}

async fn delete_orphan_groups(change: &mut Change<'_>, ids: &[String]) -> Result<(), StoreError> {
    for id in ids {
        let sql = "DELETE FROM plugin_configs WHERE id = ? \
                   AND NOT EXISTS (SELECT 1 FROM proxy_plugins WHERE plugin_config_id = ?)";
        change.execute(sql, &[Cell::text(id), Cell::text(id)]).await?;
    }
    Ok(())
}

async fn texts(change: &mut Change<'_>, sql: &str, cells: &[Cell]) -> Result<Vec<String>, StoreError> {
    let rows = change.rows(sql, cells).await?;
    let first = |row: Vec<Cell>| match row.into_iter().next() {
        Some(Cell::Text(text)) => Some(text),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(first).collect())
}
