//! From a document to a database.

use std::path::Path;

use std::sync::Arc;

use engine::model::{Document, Format, check_namespace, decode};

use super::{connected, runtime, target};
use crate::admin::hash_passwords;
use crate::cli::SpecFailure;
use crate::settings::Settings;
use crate::source::FileSource;
use crate::store::{AnyStore, DatabaseKind, ImportOptions, Target};

/// What has become of an import. What was done before a failure stays done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// One a namespace.
    pub done: Vec<String>,
    pub warnings: Vec<String>,
    pub failure: Option<SpecFailure>,
}

/// Puts what the file has into the database: each of its namespaces in one transaction, after all were checked as a gateway that
/// is started with the file would check them.
pub fn import(settings: &Settings, spec: &Path, options: ImportOptions) -> ImportReport {
    let mut report = ImportReport::default();
    if let Err(failure) = steps(settings, spec, options, &mut report) {
        report.failure = Some(failure);
    }
    report
}

fn steps(
    settings: &Settings,
    spec: &Path,
    options: ImportOptions,
    report: &mut ImportReport,
) -> Result<(), SpecFailure> {
    let target = target(settings).map_err(because)?;
    let text = std::fs::read_to_string(spec).map_err(|error| because(format!("{}: {error}", spec.display())))?;
    let runtime = runtime().map_err(because)?;
    let source = FileSource::new(settings, runtime.handle().clone());
    let document = (text.as_str(), Format::of(spec, &text));
    let namespaces = checked(&source, target.kind, document, &mut report.warnings)?;
    runtime.block_on(fill(settings, &target, namespaces, options, report)).map_err(because)
}

fn because(reason: String) -> SpecFailure {
    SpecFailure { reason, errors: Vec::new() }
}

/// The document's namespaces, each as it will be served.
fn checked(
    source: &FileSource,
    database: DatabaseKind,
    (text, format): (&str, Format),
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, Document)>, SpecFailure> {
    let refused = |reason: String| because(format!("Spec validation failed: {reason}"));
    let document = decode(text, format).map_err(refused)?;
    let errors = homeless(&document, database);
    if !errors.is_empty() {
        return Err(SpecFailure { reason: "a database has no place for a part of the document".to_owned(), errors });
    }
    let mut all = Vec::new();
    for namespace in document.namespaces() {
        check_namespace(&namespace).map_err(refused)?;
        let loaded = source.read_text(text, format, &namespace);
        let loaded = loaded.map_err(|error| SpecFailure { errors: error.errors, ..refused(error.summary) })?;
        source
            .check_ports(&loaded.document)
            .map_err(|error| SpecFailure { errors: error.errors, ..refused(error.summary) })?;
        // Those about files come up again for each namespace.
        let new: Vec<String> = loaded.warnings.into_iter().filter(|warning| !warnings.contains(warning)).collect();
        warnings.extend(new);
        warnings.extend(order_fault(&namespace, &loaded.document));
        all.push((namespace, loaded.document));
    }
    Ok(all)
}

/// What documents may have and the tables have not (control-plane sheet §3). A resource in MongoDB has all of its fields.
fn homeless(document: &Document, database: DatabaseKind) -> Vec<String> {
    let mut errors = Vec::new();
    for (key, is_there) in [("mesh", document.mesh.is_some()), ("trust_bundles", document.trust_bundles.is_some())] {
        if is_there {
            errors.push(format!("{key}: {}", no_place(database)));
        }
    }
    let upstreams = document.upstreams.iter().enumerate();
    for (index, row) in upstreams.filter(|_| database != DatabaseKind::Mongodb) {
        let fields = [
            ("port_overrides", !row.port_overrides.is_empty()),
            ("source_locality", row.source_locality.is_some()),
            ("locality_lb_setting", row.locality_lb_setting.is_some()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, is_there)| *is_there) {
            errors.push(format!("upstreams[{index}] \"{}\": {field}: {}", row.id, no_place(database)));
        }
    }
    let owned = |kind: &str, index: usize, id: &str, owner: &Option<String>| {
        let text = "api_spec_id: set by imports of API specs alone; take it out";
        owner.as_ref().map(|_| format!("{kind}[{index}] \"{id}\": {text}"))
    };
    let proxies = document.proxies.iter().enumerate();
    errors.extend(proxies.filter_map(|(index, row)| owned("proxies", index, &row.id, &row.api_spec_id)));
    let upstreams = document.upstreams.iter().enumerate();
    errors.extend(upstreams.filter_map(|(index, row)| owned("upstreams", index, &row.id, &row.api_spec_id)));
    let configs = document.plugin_configs.iter().enumerate();
    errors.extend(configs.filter_map(|(index, row)| owned("plugin_configs", index, &row.id, &row.api_spec_id)));
    errors
}

fn no_place(database: DatabaseKind) -> &'static str {
    match database {
        DatabaseKind::Mongodb => "the database has no collection for it",
        _ => "the tables have no column for it",
    }
}

/// A file is served in its own order, a database by id; among regular expressions the first that matches wins.
fn order_fault(namespace: &str, document: &Document) -> Option<String> {
    let has_regex = |path: &Option<String>| path.as_deref().is_some_and(|path| path.starts_with('~'));
    let regexes: Vec<&str> =
        document.proxies.iter().filter(|row| has_regex(&row.listen_path)).map(|row| row.id.as_str()).collect();
    let (before, after) =
        regexes.windows(2).find_map(|pair| Some((pair.first()?, pair.get(1)?)).filter(|(one, other)| one > other))?;
    Some(format!(
        "Namespace '{namespace}': '{before}' stands before '{after}' in the file, and after it in a database, which orders by id; \
         where both regular expressions match, the first wins"
    ))
}

async fn fill(
    settings: &Settings,
    target: &Target,
    namespaces: Vec<(String, Document)>,
    options: ImportOptions,
    report: &mut ImportReport,
) -> Result<(), String> {
    let store = connected(target).await?;
    if !bring_up_to_date(&store, target, options).await? {
        let text =
            "the database has not the current schema yet, which an import would give it: only the file was checked";
        report.warnings.push(text.to_owned());
        return Ok(());
    }
    for (namespace, mut document) in namespaces {
        for consumer in &mut document.consumers {
            hash_passwords(Arc::make_mut(consumer), &settings.client.basic_auth_hmac_secret);
        }
        let replaced = store.import(&namespace, &document, options).await;
        let replaced = replaced.map_err(|error| format!("Namespace '{namespace}' of {}: {error}", target.shown()))?;
        report.done.push(line(&namespace, &document, replaced, options));
    }
    store.close().await;
    Ok(())
}

/// Whether the database has the current schema. A dry run leaves it as it is.
async fn bring_up_to_date(store: &AnyStore, target: &Target, options: ImportOptions) -> Result<bool, String> {
    let failed = |error: crate::store::StoreError| format!("{}: {error}", target.shown());
    if options.is_dry_run {
        return store.has_schema().await.map_err(failed);
    }
    store.migrate().await.map_err(failed)?;
    Ok(true)
}

fn line(namespace: &str, document: &Document, replaced: u64, options: ImportOptions) -> String {
    let verb = if options.is_dry_run { "Would import" } else { "Imported" };
    let instead = if options.replaces { format!(", in place of {replaced} resources") } else { String::new() };
    format!(
        "{verb} into namespace '{namespace}': proxies {}, consumers {}, upstreams {}, plugin configs {}{instead}",
        document.proxies.len(),
        document.consumers.len(),
        document.upstreams.len(),
        document.plugin_configs.len(),
    )
}
