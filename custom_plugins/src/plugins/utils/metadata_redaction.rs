//! Metadata whose keys look secret.

use std::collections::HashMap;
use std::sync::OnceLock;

use native::redaction::{REDACTED, is_sensitive};
use serde::Serializer;
use serde::ser::SerializeMap;

use crate::config::conf_file::resolve_ferrum_var;

/// Stands for a value that is not shown.
pub const REDACTED_PLACEHOLDER: &str = REDACTED;

/// Parts of keys whose values are hidden. Keys that speak of tokens are judged by the words beside them.
pub const DEFAULT_SENSITIVE_METADATA_KEYS: &[&str] = &[
    "authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "cache_request_headers_snapshot",
    "bearer",
    "password",
    "secret",
];

/// `FERRUM_LOG_REDACT_METADATA_KEYS`, read once.
fn operators_keys() -> &'static [String] {
    static KEYS: OnceLock<Vec<String>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let keys = resolve_ferrum_var("FERRUM_LOG_REDACT_METADATA_KEYS").unwrap_or_default();
        keys.split(',').map(|key| key.trim().to_lowercase()).filter(|key| !key.is_empty()).collect()
    })
}

/// Whether the value of that key is hidden in records.
pub fn is_sensitive_metadata_key(key: &str) -> bool {
    is_sensitive(key, operators_keys())
}

/// For `#[serde(serialize_with = "…")]`.
///
/// # Errors
/// Those of the serializer.
#[expect(clippy::implicit_hasher, reason = "the documented maps have the default one")]
pub fn serialize_redacted_metadata<S: Serializer>(
    metadata: &HashMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(metadata.len()))?;
    for (key, value) in metadata {
        map.serialize_entry(key, if is_sensitive_metadata_key(key) { REDACTED } else { value })?;
    }
    map.end()
}
