//! SQLite, PostgreSQL, MySQL and MariaDB.

mod audit;
mod driver;
mod forms;
mod load;
mod migrate;
mod plugin_migrate;
mod record;
mod specs;
mod statements;
mod step;
mod tls;
mod transfer;
mod write;

use async_trait::async_trait;
use engine::model::{ApiSpec, Consumer, Document, PluginAssociation, PluginConfig, Proxy, Upstream};
use time::OffsetDateTime;

use super::target::{DatabaseKind, Target};
use super::{
    AuditEvent, AuditFilter, Changes, Kind, Page, PluginMigrationStatus, PluginStep, PoolState, Range, Resource,
    SpecFilter, SpecKey, SpecSummary, Step, Store, StoreError, Taken,
};
use driver::{Cell, Database};
use record::{Record, select};
use write::{DISPATCHES, containing};

pub(super) use driver::timed;
pub(super) use load::{OVERLAP, stamps};
pub use migrate::{Migration, MigrationStatus};
pub use plugin_migrate::PluginMigrations;
pub use transfer::ImportOptions;

/// Ids in one statement, so that no database finds it too long.
const IDS_MAX: usize = 500;

/// One SQL database.
pub struct SqlStore {
    database: Database,
    target: Target,
}

impl SqlStore {
    /// Connects. The schema is as it is.
    ///
    /// # Errors
    /// The settings do not fit the database, or it does not answer.
    pub async fn connect(target: &Target) -> Result<Self, StoreError> {
        Ok(Self { database: Database::connect(target).await?, target: target.clone() })
    }

    /// Applies what the schema lacks.
    ///
    /// # Errors
    /// A statement failed; the text says which.
    pub async fn migrate(&self) -> Result<Vec<(Migration, u128)>, StoreError> {
        migrate::up(&self.database, &self.target).await
    }

    pub async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        migrate::status(&self.database).await
    }

    /// Applies what the plugins' schemas lack.
    ///
    /// # Errors
    /// A step failed; the text says which.
    pub async fn migrate_plugins(&self, plugins: &PluginMigrations) -> Result<Vec<(PluginStep, u128)>, StoreError> {
        plugin_migrate::up(&self.database, &self.target, plugins).await
    }

    pub async fn plugin_migration_status(
        &self,
        plugins: &PluginMigrations,
    ) -> Result<PluginMigrationStatus, StoreError> {
        plugin_migrate::status(&self.database, plugins).await
    }

    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn records<R: Record>(&self, rest: &str, cells: &[Cell]) -> Result<Vec<R>, StoreError> {
        let sql = format!("{} {rest}", select::<R>());
        let mut records = Vec::new();
        let take = |row| {
            records.push(R::read(row)?);
            Ok(())
        };
        timed(&self.target, R::TABLE, self.database.each(&sql, cells, take)).await?;
        Ok(records)
    }

    /// The resources of one kind, with the plugins of proxies.
    async fn resources(&self, kind: Kind, rest: &str, cells: &[Cell]) -> Result<Vec<Resource>, StoreError> {
        Ok(match kind {
            Kind::Upstream => resources(self.records::<Upstream>(rest, cells).await?),
            Kind::Consumer => resources(self.records::<Consumer>(rest, cells).await?),
            Kind::PluginConfig => resources(self.records::<PluginConfig>(rest, cells).await?),
            Kind::Proxy => {
                let mut rows = self.records::<Proxy>(rest, cells).await?;
                attach(&self.listed_by(&rows).await?, &mut rows);
                resources(rows)
            }
        })
    }

    /// Each of these proxies with each plugin config that it lists, ordered: the table keeps no order of its own.
    async fn listed_by(&self, proxies: &[Proxy]) -> Result<Vec<(String, String)>, StoreError> {
        let ids: Vec<Cell> = proxies.iter().map(|proxy| Cell::text(&proxy.id)).collect();
        let mut listed = Vec::new();
        for chunk in ids.chunks(IDS_MAX) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let sql = format!("SELECT proxy_id, plugin_config_id FROM proxy_plugins WHERE proxy_id IN ({marks})");
            let take = |row| {
                listed.extend(pair(row));
                Ok(())
            };
            self.database.each(&sql, chunk, take).await?;
        }
        listed.sort_unstable();
        Ok(listed)
    }

    async fn count(&self, table: &str, rest: &str, cells: &[Cell]) -> Result<u64, StoreError> {
        let count = self.database.number(&format!("SELECT COUNT(*) FROM {table} {rest}"), cells).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn resources<R: Into<Resource>>(rows: Vec<R>) -> Vec<Resource> {
    rows.into_iter().map(Into::into).collect()
}

/// A row of `proxy_plugins`.
fn pair(row: Vec<Cell>) -> Option<(String, String)> {
    let mut cells = row.into_iter();
    match (cells.next(), cells.next()) {
        (Some(Cell::Text(proxy)), Some(Cell::Text(config))) => Some((proxy, config)),
        _ => None,
    }
}

/// Gives each proxy what it lists, of pairs in their order.
fn attach<'a>(listed: &[(String, String)], proxies: impl IntoIterator<Item = &'a mut Proxy>) {
    for proxy in proxies {
        let first = listed.partition_point(|(id, _)| *id < proxy.id);
        let own = listed.iter().skip(first).take_while(|(id, _)| *id == proxy.id);
        proxy.plugins = own.map(|(_, config)| PluginAssociation { plugin_config_id: config.clone() }).collect();
    }
}

#[async_trait]
impl Store for SqlStore {
    fn kind(&self) -> DatabaseKind {
        self.database.kind()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.database.ping().await
    }

    fn pool(&self) -> Option<PoolState> {
        Some(self.database.state(&self.target))
    }

    async fn load(&self, namespace: &str) -> Result<Document, StoreError> {
        self.load_all(namespace).await
    }

    async fn changes(&self, namespace: &str, known: &Document, since: OffsetDateTime) -> Result<Changes, StoreError> {
        self.changes_from(namespace, known, since).await
    }

    async fn page(&self, kind: Kind, namespace: &str, range: Range) -> Result<Page<Resource>, StoreError> {
        let namespace = Cell::text(namespace);
        let total = self.count(kind.table(), "WHERE namespace = ?", std::slice::from_ref(&namespace)).await?;
        // Not as many as were counted: a row that has come since must not push out the last one.
        let limit = range.limit.unwrap_or(u32::MAX.into());
        let [limit, offset] = [limit, range.offset].map(|number| Cell::Integer(number.min(i64::MAX as u64) as i64));
        let rest = "WHERE namespace = ? ORDER BY id LIMIT ? OFFSET ?";
        let rows = self.resources(kind, rest, &[namespace, limit, offset]).await?;
        Ok(Page { rows, total })
    }

    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        let found = self.resources(kind, "WHERE id = ?", &[Cell::text(id)]).await?;
        Ok(found.into_iter().next())
    }

    async fn taken(&self, what: Taken<'_>, namespace: &str, except: &str) -> Result<Option<String>, StoreError> {
        let by = |table: &str, column: &str| {
            format!("SELECT id FROM {table} WHERE namespace = ? AND id <> ? AND {column} = ? ORDER BY id LIMIT 1")
        };
        let (sql, value) = match what {
            Taken::ProxyName(name) => (by("proxies", "name"), Cell::text(name)),
            Taken::ListenPort(port) => (by("proxies", "listen_port"), Cell::integer(port)),
            Taken::UpstreamName(name) => (by("upstreams", "name"), Cell::text(name)),
            Taken::ConsumerUsername(name) => (by("consumers", "username"), Cell::text(name)),
            Taken::ConsumerCustomId(id) => (by("consumers", "custom_id"), Cell::text(id)),
            Taken::ApiKey(key) => return self.credential_taken(("keyauth", "key", key), namespace, except).await,
            Taken::MtlsIdentity(identity) => {
                return self.credential_taken(("mtls_auth", "identity", identity), namespace, except).await;
            }
        };
        let found = self.database.texts(&sql, &[Cell::text(namespace), Cell::text(except), value]).await?;
        Ok(found.into_iter().next())
    }

    async fn proxies_on(&self, namespace: &str, listen_path: Option<&str>) -> Result<Vec<Resource>, StoreError> {
        let namespace = Cell::text(namespace);
        match listen_path {
            Some(path) => {
                let rest = "WHERE namespace = ? AND listen_path = ? ORDER BY id";
                self.resources(Kind::Proxy, rest, &[namespace, Cell::text(path)]).await
            }
            None => {
                self.resources(Kind::Proxy, "WHERE namespace = ? AND listen_path IS NULL ORDER BY id", &[namespace])
                    .await
            }
        }
    }

    async fn referrers(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError> {
        let of = [Cell::text(id)];
        match kind {
            Kind::Upstream => {
                let mut found = self.resources(Kind::Proxy, "WHERE upstream_id = ? ORDER BY id", &of).await?;
                let dispatches = format!("{DISPATCHES} ORDER BY id");
                found.extend(self.resources(Kind::PluginConfig, &dispatches, &[containing(id)]).await?);
                Ok(found)
            }
            Kind::PluginConfig => {
                let rest = "WHERE id IN (SELECT proxy_id FROM proxy_plugins WHERE plugin_config_id = ?) ORDER BY id";
                self.resources(Kind::Proxy, rest, &of).await
            }
            Kind::Proxy | Kind::Consumer => Ok(Vec::new()),
        }
    }

    async fn spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        self.one_spec(key).await
    }

    async fn specs(&self, namespace: &str, filter: &SpecFilter, range: Range) -> Result<Page<SpecSummary>, StoreError> {
        self.list_specs(namespace, filter, range).await
    }

    async fn owned(&self, spec: &str) -> Result<Vec<Resource>, StoreError> {
        self.owned_by(spec).await
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        timed(&self.target, "write", self.apply_steps(steps)).await
    }

    async fn clear(&self, namespace: &str) -> Result<(), StoreError> {
        self.clear_namespace(namespace).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        let tables = Kind::ALL.map(|kind| format!("SELECT namespace FROM {}", kind.table()));
        // UNION leaves out what is there already.
        self.database.texts(&format!("{} ORDER BY namespace", tables.join(" UNION ")), &[]).await
    }

    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.insert_event(event).await
    }

    async fn audit(&self, namespace: &str, filter: &AuditFilter, range: Range) -> Result<Page<AuditEvent>, StoreError> {
        self.list_events(namespace, filter, range).await
    }
}

impl SqlStore {
    /// Whether another consumer has that value in a credential. The text search only narrows the rows down.
    async fn credential_taken(
        &self,
        (kind, key, value): (&str, &str, &str),
        namespace: &str,
        except: &str,
    ) -> Result<Option<String>, StoreError> {
        let rest = "WHERE namespace = ? AND id <> ? AND credentials LIKE ? ESCAPE '!' ORDER BY id";
        let cells = [Cell::text(namespace), Cell::text(except), containing(value)];
        let candidates: Vec<Consumer> = self.records(rest, &cells).await?;
        let has = |consumer: &&Consumer| consumer.credential_values(kind, key).any(|present| present == value);
        Ok(candidates.iter().find(has).map(|consumer| consumer.id.clone()))
    }
}

#[cfg(test)]
pub(super) mod tests;
