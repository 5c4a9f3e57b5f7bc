//! The schemas that custom plugins bring (plugin API sheet §14, control-plane sheet §4).

use std::collections::HashSet;
use std::time::Instant;

use ferrum_edge::config::migrations::CustomPluginMigration;

use super::driver::{Cell, Database};
use super::statements::statements;
use super::step::{self, Step};
use crate::store::target::{DatabaseKind, Target};
use crate::store::{AppliedPluginStep, PluginMigrationStatus, PluginStep, StoreError};

/// What each plugin brings, by the name of its file.
pub type PluginMigrations = [(&'static str, Vec<CustomPluginMigration>)];

/// The recorded version has 32 bits.
const VERSION_MAX: i64 = i32::MAX as i64;

/// File names differ by case, so they are compared byte by byte, which MySQL must be told.
fn tracking(kind: DatabaseKind) -> String {
    let collation = if kind == DatabaseKind::Mysql { " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" } else { "" };
    format!(
        "CREATE TABLE IF NOT EXISTS _ferrum_plugin_migrations (\
         plugin_name VARCHAR(255){collation} NOT NULL, version INTEGER NOT NULL, name VARCHAR(255) NOT NULL, \
         applied_at VARCHAR(64) NOT NULL, checksum VARCHAR(255) NOT NULL, execution_time_ms BIGINT NOT NULL, \
         PRIMARY KEY (plugin_name, version))"
    )
}

/// What stands in the database, and what the plugins of this binary would add. Without any plugin that brings something, nothing
/// is asked.
pub async fn status(database: &Database, plugins: &PluginMigrations) -> Result<PluginMigrationStatus, StoreError> {
    if plugins.iter().all(|(_, steps)| steps.is_empty()) {
        return Ok(PluginMigrationStatus::default());
    }
    check(plugins)?;
    step::make_table(database, &tracking(database.kind())).await?;
    let sql = "SELECT plugin_name, version, name, applied_at, checksum FROM _ferrum_plugin_migrations \
               ORDER BY plugin_name, version";
    let mut applied = Vec::new();
    for row in database.rows(sql, &[]).await? {
        if let [Cell::Text(plugin), Cell::Integer(version), Cell::Text(name), Cell::Text(at), Cell::Text(checksum)] =
            &row[..]
        {
            let step = PluginStep { plugin: plugin.clone(), version: *version, name: name.clone() };
            applied.push(AppliedPluginStep { step, applied_at: at.clone(), checksum: checksum.clone() });
        }
    }
    let pending = steps(plugins).filter(|(plugin, step)| recorded(&applied, plugin, step.version).is_none());
    let pending = pending.map(|(plugin, step)| shown(plugin, step)).collect();
    warn_of_other_texts(&applied, plugins);
    Ok(PluginMigrationStatus { applied, pending })
}

/// All steps, in the order in which they run: plugins by name, the steps of each as it lists them.
fn steps(plugins: &PluginMigrations) -> impl Iterator<Item = (&'static str, &CustomPluginMigration)> {
    plugins.iter().flat_map(|(plugin, steps)| steps.iter().map(move |step| (*plugin, step)))
}

fn shown(plugin: &str, step: &CustomPluginMigration) -> PluginStep {
    PluginStep { plugin: plugin.to_owned(), version: step.version, name: step.name.to_owned() }
}

fn recorded<'a>(applied: &'a [AppliedPluginStep], plugin: &str, version: i64) -> Option<&'a AppliedPluginStep> {
    applied.iter().find(|row| row.step.plugin == plugin && row.step.version == version)
}

/// What would fail half-way is refused before anything runs.
fn check(plugins: &PluginMigrations) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    for (plugin, step) in steps(plugins) {
        let version = step.version;
        if !(-VERSION_MAX..=VERSION_MAX).contains(&version) {
            let text = format!("[{plugin}] V{version}: a version of a migration must fit 32 bits");
            return Err(StoreError::PluginMigration(text));
        }
        if !seen.insert((plugin, version)) {
            let text =
                format!("[{plugin}] V{version} ({}): two migrations have this version; number them anew", step.name);
            return Err(StoreError::PluginMigration(text));
        }
    }
    Ok(())
}

fn warn_of_other_texts(applied: &[AppliedPluginStep], plugins: &PluginMigrations) {
    for (plugin, step) in steps(plugins) {
        let other = recorded(applied, plugin, step.version).filter(|row| row.checksum != step.checksum);
        if let Some(row) = other {
            let (version, there, here) = (step.version, &row.checksum, step.checksum);
            tracing::warn!(
                "Migration [{plugin}] V{version}: the database has checksum {there}, this binary has {here}"
            );
        }
    }
}

/// Applies what is pending. Answers with each step and its milliseconds.
///
/// # Errors
/// A statement failed. What its step had changed is taken back where the database can; the step is not recorded, those before it
/// are.
pub async fn up(
    database: &Database,
    target: &Target,
    plugins: &PluginMigrations,
) -> Result<Vec<(PluginStep, u128)>, StoreError> {
    let pending = status(database, plugins).await?.pending;
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let own = Database::connect_for_migrations(target).await?;
    let mut done = Vec::new();
    for (plugin, step) in steps(plugins).filter(|(plugin, step)| pending.contains(&shown(plugin, step))) {
        let started = Instant::now();
        let is_ours = apply(&own, plugin, step).await.map_err(|error| {
            StoreError::PluginMigration(format!(
                "Migration [{plugin}] V{} ({}) failed: {error}",
                step.version, step.name
            ))
        })?;
        if is_ours {
            done.push((shown(plugin, step), started.elapsed().as_millis()));
        }
    }
    own.close().await;
    Ok(done)
}

async fn apply(database: &Database, plugin: &str, step: &CustomPluginMigration) -> Result<bool, StoreError> {
    let kind = database.kind();
    let step = Step {
        table: "_ferrum_plugin_migrations",
        key: &[("plugin_name", Cell::text(plugin)), ("version", Cell::Integer(step.version))],
        name: step.name,
        checksum: step.checksum,
        statements: statements(step.sql_for_db(kind.name()), kind),
        is_harmless: |_| false,
    };
    step::apply(database, &step).await
}
