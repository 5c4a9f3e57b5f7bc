//! What a migration prints (control-plane sheet §4.1). A block about plugins begins with a blank line.

use crate::store::{MONGO_COLLECTIONS, Migration, MigrationStatus, PluginMigrationStatus, PluginStep};

pub(super) fn applied(done: &[(Migration, u128)]) -> Vec<String> {
    if done.is_empty() {
        return vec!["Database schema is up to date. No migrations applied.".to_owned()];
    }
    let each = done.iter().map(|(step, ms)| format!("  V{}: {} ({ms}ms)", step.version, step.name));
    headed(format!("Applied {} migration(s):", done.len()), each)
}

pub(super) fn plugins_applied(done: &[(PluginStep, u128)]) -> Vec<String> {
    if done.is_empty() {
        return apart(vec!["Custom plugin migrations are up to date. No migrations applied.".to_owned()]);
    }
    let each = done.iter().map(|(step, ms)| format!("  {step} ({ms}ms)"));
    apart(headed(format!("Applied {} custom plugin migration(s):", done.len()), each))
}

pub(super) fn pending(status: &MigrationStatus) -> Vec<String> {
    if status.pending.is_empty() {
        return vec!["Database schema is up to date. No pending migrations.".to_owned()];
    }
    headed("Pending migrations that would be applied:".to_owned(), steps(status))
}

pub(super) fn plugins_pending(status: &PluginMigrationStatus) -> Vec<String> {
    if status.pending.is_empty() {
        return apart(vec!["Custom plugin migrations are up to date. No pending migrations.".to_owned()]);
    }
    let first = "Pending custom plugin migrations that would be applied:".to_owned();
    apart(headed(first, plugin_steps(status)))
}

pub(super) fn status(status: &MigrationStatus) -> Vec<String> {
    let mut lines = vec!["=== Ferrum Edge Migration Status ===".to_owned(), String::new()];
    if status.applied.is_empty() {
        lines.push("Applied migrations: (none)".to_owned());
    } else {
        let each = status.applied.iter().map(|row| {
            format!("  V{}: {} (applied: {}, checksum: {})", row.version, row.name, row.applied_at, row.checksum)
        });
        lines.extend(headed("Applied migrations:".to_owned(), each));
    }
    lines.push(String::new());
    if status.pending.is_empty() {
        lines.push("Pending migrations: (none — schema is up to date)".to_owned());
    } else {
        lines.extend(headed("Pending migrations:".to_owned(), steps(status)));
    }
    lines
}

pub(super) fn plugin_status(status: &PluginMigrationStatus) -> Vec<String> {
    let mut lines = apart(vec!["=== Custom Plugin Migration Status ===".to_owned(), String::new()]);
    if status.applied.is_empty() {
        lines.push("Applied plugin migrations: (none)".to_owned());
    } else {
        let each = status.applied.iter();
        let each = each.map(|row| format!("  {} (applied: {}, checksum: {})", row.step, row.applied_at, row.checksum));
        lines.extend(headed("Applied plugin migrations:".to_owned(), each));
    }
    lines.push(String::new());
    if status.pending.is_empty() {
        lines.push("Pending plugin migrations: (none — all plugins up to date)".to_owned());
    } else {
        lines.extend(headed("Pending plugin migrations:".to_owned(), plugin_steps(status)));
    }
    lines
}

pub(super) fn mongo_ensured() -> Vec<String> {
    vec!["MongoDB indexes ensured successfully.".to_owned()]
}

pub(super) fn mongo_pending() -> Vec<String> {
    let first = "MongoDB dry run: indexes would be created/verified on collections".to_owned();
    headed(first, MONGO_COLLECTIONS.iter().map(|collection| format!("  {collection}")))
}

pub(super) fn mongo_status() -> Vec<String> {
    [
        "=== Ferrum Edge Migration Status (MongoDB) ===",
        "MongoDB collections have no schema versions: there is nothing to apply or to wait for.",
        "Indexes are created and brought up to date by FERRUM_MIGRATE_ACTION=up, and whenever a gateway connects.",
    ]
    .map(str::to_owned)
    .into()
}

fn steps(status: &MigrationStatus) -> impl Iterator<Item = String> {
    status.pending.iter().map(|step| format!("  V{}: {}", step.version, step.name))
}

fn plugin_steps(status: &PluginMigrationStatus) -> impl Iterator<Item = String> {
    status.pending.iter().map(|step| format!("  {step}"))
}

fn headed(first: String, each: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first).chain(each).collect()
}

fn apart(mut lines: Vec<String>) -> Vec<String> {
    lines.insert(0, String::new());
    lines
}
