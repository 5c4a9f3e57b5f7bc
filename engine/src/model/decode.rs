//! Text to a typed document (resources sheet §3.1–3.3).
//!
//! YAML is read twice: once untyped, which finds duplicate keys, the version and nulls that the typed reader would take for
//! text, and once typed from the text, whose errors carry path and position. JSON is read untyped first and then converted,
//! so its structural errors carry no position.

use std::path::Path;

use serde::Deserialize;

use super::document::Document;
use super::version;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
}

impl Format {
    /// By extension; any other extension is YAML if the text parses as YAML, else JSON.
    pub fn of(path: &Path, text: &str) -> Self {
        match Self::by_extension(path) {
            Some(format) => format,
            None if serde_norway::from_str::<serde_norway::Value>(text).is_ok() => Self::Yaml,
            None => Self::Json,
        }
    }

    pub fn by_extension(path: &Path) -> Option<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// A document before it has types.
#[derive(Debug)]
pub(super) enum Source {
    Yaml(serde_norway::Value),
    Json(serde_json::Value),
}

impl Source {
    pub(super) fn parse(text: &str, format: Format) -> Result<Self, String> {
        match format {
            Format::Yaml => serde_norway::from_str(text).map(Self::Yaml).map_err(|error| error.to_string()),
            Format::Json => serde_json::from_str(text).map(Self::Json).map_err(|error| error.to_string()),
        }
    }

    /// The version, if there is one and it is a string.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::Yaml(value) => value.get("version")?.as_str(),
            Self::Json(value) => value.get("version")?.as_str(),
        }
    }

    pub(super) fn set_version(&mut self, version: &str) {
        match self {
            Self::Yaml(value) => value["version"] = version.into(),
            Self::Json(value) => value["version"] = version.into(),
        }
    }

    pub(super) fn to_text(&self) -> Result<String, String> {
        match self {
            Self::Yaml(value) => serde_norway::to_string(value).map_err(|error| error.to_string()),
            Self::Json(value) => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        }
    }
}

/// Why a text is no document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    Text(String),
    Version(String),
}

/// A typed document, and a warning if it was of another version.
pub(super) fn decode_versioned(text: &str, format: Format) -> Result<(Document, Option<String>), DecodeError> {
    let mut source = Source::parse(text, format).map_err(DecodeError::Text)?;
    let migrated_from = version::upgrade(&mut source).map_err(DecodeError::Version)?;
    let warning = migrated_from.as_ref().map(|from| format!("Configuration version '{from}' was migrated in memory"));
    let document = match source {
        Source::Json(value) => serde_json::from_value(value).map_err(|error| DecodeError::Text(error.to_string()))?,
        Source::Yaml(value) => {
            if let Some(error) = misplaced_null(&value) {
                return Err(DecodeError::Text(error));
            }
            let decoded = match migrated_from {
                Some(_) => serde_norway::from_value(value),
                None => Document::deserialize(serde_norway::Deserializer::from_str(text)),
            };
            decoded.map_err(|error| DecodeError::Text(error.to_string()))?
        }
    };
    Ok((document, warning))
}

/// Decodes a document of the current version without checking or normalising it: snapshots and start-up backups.
///
/// # Errors
/// The decode error's whole text.
pub fn decode(text: &str, format: Format) -> Result<Document, String> {
    match decode_versioned(text, format) {
        Ok((document, _)) => Ok(document),
        Err(DecodeError::Text(error) | DecodeError::Version(error)) => Err(error),
    }
}

/// Fields in which YAML's null would be read as a text or an empty list. All other fields refuse it by their type.
const NEVER_NULL: [(&str, &[&str]); 4] = [
    (
        "proxies",
        &["id", "namespace", "hosts", "backend_host", "plugins", "allowed_ws_origins", "created_at", "updated_at"],
    ),
    ("consumers", &["id", "username", "namespace", "credentials", "acl_groups", "created_at", "updated_at"]),
    (
        "upstreams",
        &["id", "namespace", "targets", "port_overrides", "backend_tls_san_allow_list", "created_at", "updated_at"],
    ),
    ("plugin_configs", &["id", "plugin_name", "namespace", "created_at", "updated_at"]),
];

/// The same inside lists of a resource: texts of a list, or fields of a list's objects.
const NEVER_NULL_INSIDE: [(&str, &str, &[&str]); 7] = [
    ("proxies", "hosts", &[]),
    ("proxies", "plugins", &["plugin_config_id"]),
    ("proxies", "allowed_methods", &[]),
    ("proxies", "allowed_ws_origins", &[]),
    ("consumers", "acl_groups", &[]),
    ("upstreams", "targets", &["host", "tags"]),
    ("upstreams", "subsets", &["name", "labels"]),
];

fn misplaced_null(document: &serde_norway::Value) -> Option<String> {
    for (list, fields) in NEVER_NULL {
        let Some(value) = document.get(list) else { continue };
        if value.is_null() {
            return Some(format!("{list}: invalid type: null, expected a sequence"));
        }
        for (i, resource) in value.as_sequence().into_iter().flatten().enumerate() {
            if let Some(field) = fields.iter().find(|field| is_null(resource, field)) {
                return Some(format!("{list}[{i}].{field}: invalid type: null, expected a value"));
            }
            for (_, inner, fields) in NEVER_NULL_INSIDE.iter().filter(|(of, ..)| *of == list) {
                if let Some(place) = null_inside(resource.get(inner), fields) {
                    return Some(format!("{list}[{i}].{inner}{place}: invalid type: null, expected a value"));
                }
            }
        }
    }
    None
}

fn null_inside(list: Option<&serde_norway::Value>, fields: &[&str]) -> Option<String> {
    for (i, item) in list?.as_sequence()?.iter().enumerate() {
        if item.is_null() {
            return Some(format!("[{i}]"));
        }
        if let Some(field) = fields.iter().find(|field| is_null(item, field)) {
            return Some(format!("[{i}].{field}"));
        }
    }
    None
}

fn is_null(object: &serde_norway::Value, field: &str) -> bool {
    object.get(field).is_some_and(serde_norway::Value::is_null)
}

#[cfg(test)]
mod tests;
