//! `FERRUM_MODE=migrate`: one action, its lines, and the end (control-plane sheet §4.1).

use engine::model::migrate_config;
use ferrum_edge::custom_plugins::collect_all_custom_plugin_migrations;

use super::{Fatal, options};
use crate::settings::{MigrateAction, Settings};
use crate::store::{AnyStore, DatabaseKind, PluginMigrations, SqlStore, StoreError, Target};

mod lines;

pub(super) fn run(settings: &Settings) -> Result<(), Fatal> {
    let is_dry_run = settings.file.migrate_dry_run;
    match settings.file.migrate_action.resolve().map_err(Fatal::new)? {
        MigrateAction::Config => print(config(settings, is_dry_run)?),
        action => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Fatal::new(format!("cannot start a runtime: {error}")))?;
            let target = options::database(settings).map_err(|error| Fatal::new(error.to_string()))?;
            runtime.block_on(database(&target, action, is_dry_run))?
        }
    }
    Ok(())
}

/// Brings the spec file to the current version.
fn config(settings: &Settings, is_dry_run: bool) -> Result<Vec<String>, Fatal> {
    let path = settings.file.file_config_path.clone().unwrap_or_default();
    let migration = migrate_config(&path, is_dry_run).map_err(|error| Fatal::new(error.to_string()))?;
    Ok(migration.lines())
}

async fn database(target: &Target, action: MigrateAction, is_dry_run: bool) -> Result<(), Fatal> {
    let failed = |error: StoreError| Fatal::new(format!("{}: {error}", target.shown()));
    if target.kind == DatabaseKind::Mongodb {
        print(mongo(target, action, is_dry_run).await.map_err(failed)?);
        return Ok(());
    }
    let store = SqlStore::connect(target).await.map_err(failed)?;
    let plugins = collect_all_custom_plugin_migrations();
    let outcome = perform(&store, &plugins, action, is_dry_run).await.map_err(failed);
    store.close().await;
    outcome
}

/// There are indexes to create, and no versions to apply.
async fn mongo(target: &Target, action: MigrateAction, is_dry_run: bool) -> Result<Vec<String>, StoreError> {
    if action == MigrateAction::Status {
        return Ok(lines::mongo_status());
    }
    if is_dry_run {
        return Ok(lines::mongo_pending());
    }
    let store = AnyStore::connect(target).await?;
    let outcome = store.migrate().await;
    store.close().await;
    outcome.map(|_| lines::mongo_ensured())
}

/// What was done to one schema is said before the other is touched.
async fn perform(
    store: &SqlStore,
    plugins: &PluginMigrations,
    action: MigrateAction,
    is_dry_run: bool,
) -> Result<(), StoreError> {
    let has_plugins = plugins.iter().any(|(_, steps)| !steps.is_empty());
    match action {
        MigrateAction::Status => {
            print(lines::status(&store.migration_status().await?));
            if has_plugins {
                print(lines::plugin_status(&store.plugin_migration_status(plugins).await?));
            }
        }
        _ if is_dry_run => {
            print(lines::pending(&store.migration_status().await?));
            if has_plugins {
                print(lines::plugins_pending(&store.plugin_migration_status(plugins).await?));
            }
        }
        _ => {
            print(lines::applied(&store.migrate().await?));
            if has_plugins {
                print(lines::plugins_applied(&store.migrate_plugins(plugins).await?));
            }
        }
    }
    Ok(())
}

fn print(lines: Vec<String>) {
    for line in lines {
        println!("{line}");
    }
}
