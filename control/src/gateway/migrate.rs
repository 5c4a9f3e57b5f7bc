//! `FERRUM_MODE=migrate`: one action, its lines, and the end (control-plane sheet §4.1).

use engine::model::migrate_config;

use super::{Fatal, options};
use crate::settings::{MigrateAction, Settings};
use crate::store::{DatabaseKind, MigrationStatus, SqlStore, Target};

pub(super) fn run(settings: &Settings) -> Result<(), Fatal> {
    let is_dry_run = settings.file.migrate_dry_run;
    let lines = match settings.file.migrate_action.resolve().map_err(Fatal::new)? {
        MigrateAction::Config => config(settings, is_dry_run)?,
        action => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Fatal::new(format!("cannot start a runtime: {error}")))?;
            let target = options::database(settings).map_err(|error| Fatal::new(error.to_string()))?;
            runtime.block_on(database(&target, action, is_dry_run))?
        }
    };
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// Brings the spec file to the current version.
fn config(settings: &Settings, is_dry_run: bool) -> Result<Vec<String>, Fatal> {
    let path = settings.file.file_config_path.clone().unwrap_or_default();
    let migration = migrate_config(&path, is_dry_run).map_err(|error| Fatal::new(error.to_string()))?;
    Ok(migration.lines())
}

async fn database(target: &Target, action: MigrateAction, is_dry_run: bool) -> Result<Vec<String>, Fatal> {
    if target.kind == DatabaseKind::Mongodb {
        return Err(Fatal::new(
            "FERRUM_DB_TYPE=mongodb is not built yet in this release; use sqlite, postgres or mysql",
        ));
    }
    let failed = |error: crate::store::StoreError| Fatal::new(format!("{}: {error}", target.shown()));
    let store = SqlStore::connect(target).await.map_err(failed)?;
    let lines = match action {
        MigrateAction::Status => shown(&store.migration_status().await.map_err(failed)?),
        _ if is_dry_run => pending(&store.migration_status().await.map_err(failed)?),
        _ => {
            let applied = store.migrate().await.map_err(failed)?;
            if applied.is_empty() {
                vec!["Database schema is up to date. No migrations applied.".to_owned()]
            } else {
                let first = format!("Applied {} migration(s):", applied.len());
                let each = applied.iter().map(|(step, ms)| format!("  V{}: {} ({ms}ms)", step.version, step.name));
                std::iter::once(first).chain(each).collect()
            }
        }
    };
    store.close().await;
    Ok(lines.into_iter().chain(left_to_custom_plugins()).collect())
}

/// What custom plugins declare is named, so that nobody takes it for done.
fn left_to_custom_plugins() -> Option<String> {
    let all = ferrum_edge::custom_plugins::collect_all_custom_plugin_migrations();
    let steps = all.iter().flat_map(|(plugin, steps)| {
        steps.iter().map(move |step| format!("[{plugin}] V{}: {}", step.version, step.name))
    });
    let steps: Vec<String> = steps.collect();
    let is_any = !steps.is_empty();
    is_any
        .then(|| format!("Not applied, for this release does not: migrations of custom plugins: {}", steps.join(", ")))
}

fn pending(status: &MigrationStatus) -> Vec<String> {
    if status.pending.is_empty() {
        return vec!["Database schema is up to date. No pending migrations.".to_owned()];
    }
    let each = status.pending.iter().map(|step| format!("  V{}: {}", step.version, step.name));
    std::iter::once("Pending migrations that would be applied:".to_owned()).chain(each).collect()
}

fn shown(status: &MigrationStatus) -> Vec<String> {
    let mut lines = vec!["=== Ferrum Edge Migration Status ===".to_owned(), String::new()];
    if status.applied.is_empty() {
        lines.push("Applied migrations: (none)".to_owned());
    } else {
        lines.push("Applied migrations:".to_owned());
        lines.extend(status.applied.iter().map(|row| {
            format!("  V{}: {} (applied: {}, checksum: {})", row.version, row.name, row.applied_at, row.checksum)
        }));
    }
    lines.push(String::new());
    if status.pending.is_empty() {
        lines.push("Pending migrations: (none — schema is up to date)".to_owned());
    } else {
        lines.push("Pending migrations:".to_owned());
        lines.extend(status.pending.iter().map(|step| format!("  V{}: {}", step.version, step.name)));
    }
    lines
}
