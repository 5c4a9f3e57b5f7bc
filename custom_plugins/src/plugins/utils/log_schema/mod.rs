//! Records in the operator's own shape: the keys `schema` and `schema_ref` of a logging plugin.

pub mod fields;
pub mod registry;
pub mod view;

use std::sync::Arc;

use native::transaction::{Layout, Origin};
use serde_json::Value;

pub use fields::{FieldMeta, HTTP_FIELDS, STREAM_FIELDS};
pub use registry::resolve_schema;
pub use view::{SchemaSerializable, SchemaView, SummaryLogEntryBatchView, SummaryLogEntryView};

/// Which records a schema shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryType {
    Http,
    Stream,
    Both,
}

/// What is computed for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerivedKind {
    StatusClass,
    BackendHost,
    SummaryKind,
    Outcome,
}

/// One member of a shaped record.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldSpec {
    Native { name: &'static str, output: String },
    Static { output: String, value: Value },
    Derived { output: String, kind: DerivedKind },
}

impl FieldSpec {
    /// Its key in the record.
    pub fn output(&self) -> &str {
        match self {
            FieldSpec::Native { output, .. } | FieldSpec::Static { output, .. } | FieldSpec::Derived { output, .. } => {
                output
            }
        }
    }
}

/// What happens to a metadata entry whose key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollisionMode {
    Skip,
    Overwrite,
}

/// Where the metadata goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataPolicy {
    Nested,
    Omit,
    /// Each entry is a member of its own.
    Flatten {
        prefix: String,
        on_collision: CollisionMode,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    Rfc3339,
    EpochMs,
    EpochS,
}

/// A checked schema.
#[derive(Debug, Clone)]
pub struct SummarySchema {
    pub summary_type: SummaryType,
    /// In the order in which they are written.
    pub fields: Vec<FieldSpec>,
    pub metadata: MetadataPolicy,
    pub timestamp_format: TimestampFormat,
}

impl SummarySchema {
    /// # Errors
    /// All that is wrong with it, in one line.
    pub fn compile(raw: &Value, plugin_name: &str) -> Result<Arc<Self>, String> {
        let layout = Layout::of(raw, plugin_name).map_err(|errors| errors.join("; "))?;
        let metadata = match layout.flattened {
            Some((prefix, overwrites)) => {
                let on_collision = if overwrites { CollisionMode::Overwrite } else { CollisionMode::Skip };
                MetadataPolicy::Flatten { prefix, on_collision }
            }
            None if layout.nests_metadata => MetadataPolicy::Nested,
            None => MetadataPolicy::Omit,
        };
        Ok(Arc::new(Self {
            summary_type: match (layout.is_of_http, layout.is_of_streams) {
                (true, false) => SummaryType::Http,
                (false, true) => SummaryType::Stream,
                _ => SummaryType::Both,
            },
            fields: layout.fields.into_iter().map(field).collect(),
            metadata,
            timestamp_format: match layout.timestamps {
                native::transaction::TimestampFormat::Rfc3339 => TimestampFormat::Rfc3339,
                native::transaction::TimestampFormat::EpochMs => TimestampFormat::EpochMs,
                native::transaction::TimestampFormat::EpochS => TimestampFormat::EpochS,
            },
        }))
    }

    pub fn applies_to_http(&self) -> bool {
        self.summary_type != SummaryType::Stream
    }

    pub fn applies_to_stream(&self) -> bool {
        self.summary_type != SummaryType::Http
    }

    /// The key that a native field has in the record, if it is not its own.
    pub fn rename_for_tag(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|field| match field {
            FieldSpec::Native { name: native, output } if *native == name && output != native => Some(output.as_str()),
            _ => None,
        })
    }

    /// Whether a native field is left out.
    pub fn omits_tag(&self, name: &str) -> bool {
        let is_written = |field: &FieldSpec| matches!(field, FieldSpec::Native { name: native, .. } if *native == name);
        !self.fields.iter().any(is_written)
    }
}

fn field((output, origin): (String, Origin)) -> FieldSpec {
    match origin {
        Origin::Native(name) => FieldSpec::Native { name, output },
        Origin::Static(value) => FieldSpec::Static { output, value },
        Origin::Derived(kind) => FieldSpec::Derived {
            output,
            kind: match kind {
                "status_class" => DerivedKind::StatusClass,
                "backend_host" => DerivedKind::BackendHost,
                "summary_kind" => DerivedKind::SummaryKind,
                _ => DerivedKind::Outcome,
            },
        },
    }
}
