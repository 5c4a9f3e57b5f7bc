//! Records as a schema shapes them, for `serde_json`.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::fields::{HTTP_FIELDS, STREAM_FIELDS};
use super::{CollisionMode, DerivedKind, FieldSpec, MetadataPolicy, SummarySchema, TimestampFormat};
use crate::plugins::utils::SummaryLogEntry;
use crate::plugins::{DisconnectCause, StreamTransactionSummary, TransactionSummary};

/// A record that a schema can shape.
pub trait SchemaSerializable: Serialize {
    /// `http` or `stream`.
    fn summary_kind(&self) -> &'static str;
    /// `2xx` and the like; streams have none.
    fn status_class(&self) -> &'static str;
    /// `ok` or `error`.
    fn outcome(&self) -> &'static str;
    fn backend_target(&self) -> &str;
}

impl SchemaSerializable for TransactionSummary {
    fn summary_kind(&self) -> &'static str {
        "http"
    }

    fn status_class(&self) -> &'static str {
        match self.response_status_code {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        }
    }

    fn outcome(&self) -> &'static str {
        let failed = self.response_status_code >= 500 || self.error_class.is_some() || self.body_error_class.is_some();
        if failed { "error" } else { "ok" }
    }

    fn backend_target(&self) -> &str {
        self.backend_target.as_deref().unwrap_or_default()
    }
}

impl SchemaSerializable for StreamTransactionSummary {
    fn summary_kind(&self) -> &'static str {
        "stream"
    }

    fn status_class(&self) -> &'static str {
        "none"
    }

    fn outcome(&self) -> &'static str {
        let failed = self.connection_error.is_some()
            || self.error_class.is_some()
            || self.disconnect_cause == Some(DisconnectCause::BackendError);
        if failed { "error" } else { "ok" }
    }

    fn backend_target(&self) -> &str {
        &self.backend_target
    }
}

/// One record in the shape of a schema.
pub struct SchemaView<'a, T> {
    pub summary: &'a T,
    pub schema: &'a SummarySchema,
}

impl<T: SchemaSerializable> Serialize for SchemaView<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let native = serde_json::to_value(self.summary).map_err(serde::ser::Error::custom)?;
        let native = native.as_object().cloned().unwrap_or_default();
        let mut record = serializer.serialize_map(None)?;
        let mut written = Vec::new();
        for field in &self.schema.fields {
            if let Some(value) = self.value(field, &native) {
                record.serialize_entry(field.output(), &value)?;
                written.push(field.output());
            }
        }
        if let MetadataPolicy::Flatten { prefix, on_collision } = &self.schema.metadata {
            for (key, value) in native.get("metadata").and_then(Value::as_object).into_iter().flatten() {
                let key = format!("{prefix}{key}");
                if *on_collision == CollisionMode::Overwrite || !written.contains(&key.as_str()) {
                    record.serialize_entry(&key, value)?;
                }
            }
        }
        record.end()
    }
}

impl<T: SchemaSerializable> SchemaView<'_, T> {
    /// Nothing when this record does not have it.
    fn value(&self, field: &FieldSpec, native: &Map<String, Value>) -> Option<Value> {
        match field {
            FieldSpec::Native { name, .. } => Some(self.in_format(name, native.get(*name)?.clone())),
            FieldSpec::Static { value, .. } => Some(value.clone()),
            FieldSpec::Derived { kind, .. } => match kind {
                DerivedKind::StatusClass => Some(self.summary.status_class().into()),
                DerivedKind::SummaryKind => Some(self.summary.summary_kind().into()),
                DerivedKind::Outcome => Some(self.summary.outcome().into()),
                DerivedKind::BackendHost => {
                    let host = native::transaction::backend_host(self.summary.backend_target());
                    (!host.is_empty()).then(|| host.into())
                }
            },
        }
    }

    /// A text that is no point in time stays as it is.
    fn in_format(&self, name: &str, value: Value) -> Value {
        let is_timestamp =
            HTTP_FIELDS.iter().chain(STREAM_FIELDS).any(|field| field.name == name && field.is_timestamp);
        let moment =
            value.as_str().filter(|_| is_timestamp).and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        match (moment, self.schema.timestamp_format) {
            (Some(moment), TimestampFormat::EpochMs) => moment.timestamp_millis().into(),
            (Some(moment), TimestampFormat::EpochS) => moment.timestamp().into(),
            _ => value,
        }
    }
}

/// One entry in the shape of a schema, or as it is, when the schema is not for its kind.
pub struct SummaryLogEntryView<'a> {
    pub entry: &'a SummaryLogEntry,
    pub schema: &'a SummarySchema,
}

impl Serialize for SummaryLogEntryView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let schema = self.schema;
        match self.entry {
            SummaryLogEntry::Http(summary) if schema.applies_to_http() => {
                SchemaView { summary, schema }.serialize(serializer)
            }
            SummaryLogEntry::Stream(summary) if schema.applies_to_stream() => {
                SchemaView { summary, schema }.serialize(serializer)
            }
            entry => entry.serialize(serializer),
        }
    }
}

/// A JSON array of entries.
pub struct SummaryLogEntryBatchView<'a> {
    pub entries: &'a [SummaryLogEntry],
    pub schema: Option<&'a SummarySchema>,
}

impl Serialize for SummaryLogEntryBatchView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.entries.len()))?;
        for entry in self.entries {
            match self.schema {
                Some(schema) => list.serialize_element(&SummaryLogEntryView { entry, schema })?,
                None => list.serialize_element(entry)?,
            }
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    fn summary() -> TransactionSummary {
        TransactionSummary {
            client_ip: "10.0.0.1".into(),
            timestamp_received: "2026-05-01T10:00:00.5+00:00".into(),
            backend_target: Some("http://[::1]:80/x".into()),
            response_status_code: 503,
            metadata: HashMap::from([("request_id".to_owned(), "7".to_owned())]),
            ..TransactionSummary::default()
        }
    }

    fn shaped(schema: Value) -> String {
        let schema = SummarySchema::compile(&schema, "p").unwrap();
        serde_json::to_string(&SchemaView { summary: &summary(), schema: &schema }).unwrap()
    }

    #[test]
    fn a_schema_picks_renames_orders_and_adds() {
        let omit: Vec<&str> = HTTP_FIELDS.iter().map(|field| field.name).collect();
        let kept = ["client_ip", "timestamp_received"];
        let omit: Vec<&str> = omit.into_iter().filter(|name| !kept.contains(name)).collect();
        let derived =
            ["status_class", "backend_host", "summary_kind", "outcome"].map(|kind| json!({"name": kind, "kind": kind}));
        let text = shaped(
            json!({"summary_type": "http", "omit": omit, "rename": {"client_ip": "ip"}, "static_fields": {"v": 1},
            "derived_fields": derived, "order": ["v", "*"], "timestamp_format": "epoch_ms"}),
        );
        let expected = r#"{"v":1,"timestamp_received":1777629600500,"ip":"10.0.0.1","status_class":"5xx","backend_host":"::1","summary_kind":"http","outcome":"error"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn metadata_may_become_members() {
        let text = shaped(json!({"metadata": {"mode": "flatten", "prefix": "m_"}}));
        assert!(text.ends_with(r#","m_request_id":"7"}"#) && !text.contains("\"metadata\""), "{text}");
    }

    #[test]
    fn an_entry_that_the_schema_is_not_for_stays_as_it_is() {
        let schema = SummarySchema::compile(&json!({"summary_type": "stream"}), "p").unwrap();
        let entries = [SummaryLogEntry::from(&summary())];
        let plain = serde_json::to_string(&SummaryLogEntryBatchView { entries: &entries, schema: None }).unwrap();
        let same =
            serde_json::to_string(&SummaryLogEntryBatchView { entries: &entries, schema: Some(&schema) }).unwrap();
        assert_eq!(plain, same);
        assert_eq!(plain, format!("[{}]", serde_json::to_string(&summary()).unwrap()));
        assert_eq!((entries[0].client_ip(), entries[0].proxy_id()), ("10.0.0.1", None));
    }
}
