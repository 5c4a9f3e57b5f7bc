//! From the JSON of a schema to its parts. What the parts mean together is checked when they are compiled.

use serde_json::{Map, Value};

use super::{Derived, Flatten, Report, SummaryType, TimestampFormat};

const KEYS: [&str; 8] =
    ["summary_type", "omit", "rename", "order", "static_fields", "derived_fields", "metadata", "timestamp_format"];
const METADATA_KEYS: [&str; 3] = ["mode", "prefix", "on_collision"];
const DERIVED_KEYS: [&str; 2] = ["name", "kind"];

/// A schema whose parts have the right types.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) summary: SummaryType,
    pub(super) omit: Vec<&'a str>,
    /// Native name and output key.
    pub(super) rename: Vec<(&'a str, &'a str)>,
    pub(super) order: Option<Vec<&'a str>>,
    pub(super) statics: Vec<(&'a str, &'a Value)>,
    pub(super) derived: Vec<(&'a str, Derived)>,
    pub(super) metadata: Mode,
    pub(super) timestamps: TimestampFormat,
}

/// What becomes of the metadata.
#[derive(Default)]
pub(super) enum Mode {
    #[default]
    Nested,
    Omit,
    Flatten(Flatten),
}

/// None when the definition has no parts at all; wrong parts are reported and left out.
pub(super) fn read<'a>(definition: &'a Value, report: &mut Report) -> Option<Draft<'a>> {
    let Some(map) = definition.as_object() else {
        report.error("'schema' must be an object".into());
        return None;
    };
    for key in map.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        report.error(format!("unknown schema key '{key}' (valid keys: {})", KEYS.join(", ")));
    }
    let order = map.contains_key("order").then(|| names(map, "order", report));
    Some(Draft {
        summary: summary_type(map, report),
        omit: names(map, "omit", report),
        rename: rename(map, report),
        order,
        statics: object(map, "static_fields", report).into_iter().flatten().map(|(k, v)| (k.as_str(), v)).collect(),
        derived: derived_fields(map, report),
        metadata: metadata(map, report),
        timestamps: timestamp_format(map, report),
    })
}

fn string<'a>(map: &'a Map<String, Value>, key: &str, path: &str, report: &mut Report) -> Option<&'a str> {
    let value = map.get(key)?;
    if value.as_str().is_none() {
        report.error(format!("schema '{path}' must be a string"));
    }
    value.as_str()
}

fn object<'a>(map: &'a Map<String, Value>, key: &str, report: &mut Report) -> Option<&'a Map<String, Value>> {
    let value = map.get(key)?;
    if value.as_object().is_none() {
        report.error(format!("schema '{key}' must be an object"));
    }
    value.as_object()
}

fn names<'a>(map: &'a Map<String, Value>, key: &str, report: &mut Report) -> Vec<&'a str> {
    let Some(value) = map.get(key) else { return Vec::new() };
    let Some(items) = value.as_array() else {
        report.error(format!("schema '{key}' must be an array of strings"));
        return Vec::new();
    };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        match item.as_str() {
            None => report.error(format!("schema '{key}' entries must be strings")),
            Some(name) if name.trim().is_empty() => report.error(format!("schema '{key}' entries must be non-empty")),
            Some(name) => names.push(name),
        }
    }
    names
}

fn rename<'a>(map: &'a Map<String, Value>, report: &mut Report) -> Vec<(&'a str, &'a str)> {
    let mut renames = Vec::new();
    for (field, target) in object(map, "rename", report).into_iter().flatten() {
        match target.as_str() {
            None => report.error(format!("schema 'rename' value for '{field}' must be a string")),
            Some(target) if target.trim().is_empty() => {
                report.error(format!("schema rename target for '{field}' must be a non-empty string"));
            }
            Some(target) => renames.push((field.as_str(), target)),
        }
    }
    renames
}

fn summary_type(map: &Map<String, Value>, report: &mut Report) -> SummaryType {
    match string(map, "summary_type", "summary_type", report) {
        None | Some("both") => SummaryType::Both,
        Some("http") => SummaryType::Http,
        Some("stream") => SummaryType::Stream,
        Some(other) => {
            report.bare_error(format!("schema: 'summary_type' must be 'http', 'stream', or 'both' (got '{other}')"));
            SummaryType::Both
        }
    }
}

fn timestamp_format(map: &Map<String, Value>, report: &mut Report) -> TimestampFormat {
    match string(map, "timestamp_format", "timestamp_format", report) {
        None | Some("rfc3339") => TimestampFormat::Rfc3339,
        Some("epoch_ms") => TimestampFormat::EpochMs,
        Some("epoch_s") => TimestampFormat::EpochS,
        Some(other) => {
            report.bare_error(format!(
                "schema: 'timestamp_format' must be 'rfc3339', 'epoch_ms', or 'epoch_s' (got '{other}')"
            ));
            TimestampFormat::Rfc3339
        }
    }
}

fn derived_fields<'a>(map: &'a Map<String, Value>, report: &mut Report) -> Vec<(&'a str, Derived)> {
    let Some(value) = map.get("derived_fields") else { return Vec::new() };
    let Some(entries) = value.as_array() else {
        report.error("schema 'derived_fields' must be an array".into());
        return Vec::new();
    };
    entries.iter().filter_map(|entry| derived_field(entry, report)).collect()
}

fn derived_field<'a>(entry: &'a Value, report: &mut Report) -> Option<(&'a str, Derived)> {
    let Some(entry) = entry.as_object() else {
        report.error("schema 'derived_fields' entries must be objects".into());
        return None;
    };
    warn_of_unknown(entry, &DERIVED_KEYS, "derived_fields", report);
    let Some(name) = entry.get("name").and_then(Value::as_str).filter(|name| !name.trim().is_empty()) else {
        report.error("schema 'derived_fields' entry missing non-empty 'name'".into());
        return None;
    };
    let Some(kind) = entry.get("kind").and_then(Value::as_str) else {
        report.error(format!("schema 'derived_fields' entry '{name}' missing 'kind'"));
        return None;
    };
    let derived = match kind {
        "status_class" => Derived::StatusClass,
        "backend_host" => Derived::BackendHost,
        "summary_kind" => Derived::SummaryKind,
        "outcome" => Derived::Outcome,
        other => {
            let valid = "status_class, backend_host, summary_kind, outcome";
            report.bare_error(format!("schema: unknown derived kind '{other}' (valid: {valid})"));
            return None;
        }
    };
    Some((name, derived))
}

fn metadata(map: &Map<String, Value>, report: &mut Report) -> Mode {
    let Some(map) = object(map, "metadata", report) else { return Mode::Nested };
    warn_of_unknown(map, &METADATA_KEYS, "metadata", report);
    let prefix = string(map, "prefix", "metadata.prefix", report).unwrap_or_default();
    if prefix.chars().any(char::is_control) {
        report.error("schema 'metadata.prefix' must not contain control characters".into());
    }
    let overwrites = match string(map, "on_collision", "metadata.on_collision", report) {
        None | Some("skip") => false,
        Some("overwrite") => true,
        Some(other) => {
            report.error(format!("schema 'metadata.on_collision' must be 'skip' or 'overwrite' (got '{other}')"));
            false
        }
    };
    match string(map, "mode", "metadata.mode", report) {
        None | Some("nested") => Mode::Nested,
        Some("omit") => Mode::Omit,
        Some("flatten") => Mode::Flatten(Flatten { prefix: prefix.to_owned(), overwrites }),
        Some(other) => {
            report.error(format!("schema 'metadata.mode' must be 'nested', 'omit', or 'flatten' (got '{other}')"));
            Mode::Nested
        }
    }
}

/// Unlike at the top of a schema, unknown keys further inside are ignored.
fn warn_of_unknown(map: &Map<String, Value>, known: &[&str], path: &str, report: &mut Report) {
    let plugin = &report.plugin;
    let unknown = map.keys().filter(|key| !known.contains(&key.as_str()));
    report.warnings.extend(unknown.map(|key| format!("{plugin}: unknown key '{key}' in schema '{path}' is ignored")));
}
