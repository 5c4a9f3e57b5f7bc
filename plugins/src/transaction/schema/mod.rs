//! Records in the operator's own shape (traffic sheet §6).
//!
//! A schema is checked and compiled once into the list of members to write, with their keys already in the form of the
//! sink; a record is then one pass over that list.

mod compile;
mod read;
mod text;

use serde_json::Value;

use super::fields::{HttpField, STREAM_FIELDS};
use super::{Escape, Record, json};
use crate::config::{Key, Keys, key};

/// The keys of a logging plugin's config that choose the shape of its records.
pub const SCHEMA_KEYS: [Key; 2] = [
    key("schema", "object", "none", "the shape of the records ([its keys](stdout_logging.md#the-shape-of-records))"),
    key(
        "schema_ref",
        "string",
        "none",
        "the name of a schema of a `transaction_log_schema` plugin; that plugin is not built yet, so every name is unknown",
    ),
];

/// A compiled schema. The stream record's members are compiled when streams are recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    escape: Escape,
    /// None when HTTP records keep the sheet's shape.
    http: Option<Shape>,
}

/// What one kind of record is made of.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    members: Vec<Member>,
    timestamps: TimestampFormat,
    /// Set when each metadata entry becomes a member of its own.
    flatten: Option<Flatten>,
}

/// One member of the object, in its place.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    key: String,
    source: Source,
    /// `,"key":` in the form of the sink; for a static field, with its value.
    written: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Native(HttpField),
    Static,
    Derived(Derived),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Derived {
    StatusClass,
    BackendHost,
    SummaryKind,
    Outcome,
}

/// How points in time are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampFormat {
    #[default]
    Rfc3339,
    EpochMs,
    EpochS,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum SummaryType {
    Http,
    Stream,
    #[default]
    Both,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Flatten {
    prefix: String,
    /// Whether an entry whose key is taken is written again instead of left out.
    overwrites: bool,
}

/// A checked schema for those who write records themselves: each output key in its place, with what it says.
#[derive(Clone, Debug)]
pub struct Layout {
    pub is_of_http: bool,
    pub is_of_streams: bool,
    pub fields: Vec<(String, Origin)>,
    /// The prefix when each metadata entry becomes a member of its own, and whether one whose key is taken is written again.
    pub flattened: Option<(String, bool)>,
    pub nests_metadata: bool,
    pub timestamps: TimestampFormat,
}

/// Where the value of an output comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The field of that name.
    Native(&'static str),
    Static(Value),
    /// `status_class`, `backend_host`, `summary_kind` or `outcome`.
    Derived(&'static str),
}

impl Layout {
    /// Checks a schema in the name of a plugin.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn of(definition: &Value, plugin: &str) -> Result<Layout, Vec<String>> {
        let mut report = Report { plugin: plugin.to_owned(), errors: Vec::new(), warnings: Vec::new() };
        let layout = read::read(definition, &mut report).and_then(|draft| compile::layout(&draft, &mut report));
        layout.filter(|_| report.errors.is_empty()).ok_or(report.errors)
    }
}

/// What has been found wrong so far.
struct Report {
    plugin: String,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Report {
    fn error(&mut self, text: String) {
        self.errors.push(format!("{}: {text}", self.plugin));
    }

    /// An error which the sheet words without the plugin's name.
    fn bare_error(&mut self, text: String) {
        self.errors.push(text);
    }
}

impl Schema {
    /// Reads `schema` and `schema_ref` of a logging plugin's config. Errors and warnings go to `keys`.
    pub fn read(keys: &mut Keys<'_>, escape: Escape) -> Option<Schema> {
        let plugin = keys.plugin();
        let inline = keys.raw("schema");
        let reference = keys.raw("schema_ref");
        if inline.is_some() && reference.is_some() {
            keys.error(format!("{plugin}: 'schema' and 'schema_ref' are mutually exclusive"));
            return None;
        }
        if let Some(reference) = reference {
            refuse_reference(keys, reference);
        }
        let mut report = Report { plugin: plugin.to_owned(), errors: Vec::new(), warnings: Vec::new() };
        let schema = Self::compile(inline?, escape, &mut report);
        report.errors.into_iter().for_each(|error| keys.error(error));
        report.warnings.into_iter().for_each(|warning| keys.warn(warning));
        schema
    }

    fn compile(definition: &Value, escape: Escape, report: &mut Report) -> Option<Schema> {
        let draft = read::read(definition, report)?;
        compile::compile(&draft, escape, report)
    }

    /// Appends the record in this shape, in the form the schema was compiled for.
    pub fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        match (&self.http, self.escape) {
            (None, escape) => record.write(out, escape),
            (Some(shape), Escape::None) => shape.write::<false>(record, out),
            (Some(shape), Escape::InString) => shape.write::<true>(record, out),
        }
    }
}

/// Named schemas come from `transaction_log_schema`, which is not built yet; so no name is known.
fn refuse_reference(keys: &mut Keys<'_>, reference: &Value) {
    match reference.as_str() {
        None => keys.refuse("schema_ref", "must be a string"),
        Some(name) => keys.refuse(
            "schema_ref",
            format_args!("references unknown schema '{name}' (define it in a 'transaction_log_schema' plugin)"),
        ),
    }
}

impl Shape {
    fn write<const S: bool>(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.reserve(super::USUAL_BYTES);
        let start = out.len();
        for member in &self.members {
            if member.is_in(record) {
                json::text(out, &member.written);
                self.write_value::<S>(member.source, record, out);
            }
        }
        if let Some(flatten) = &self.flatten {
            self.write_metadata::<S>(flatten, record, out);
        }
        // Every member was written behind a comma; the first comma is where the object opens.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }

    fn write_value<const S: bool>(&self, source: Source, record: &Record<'_>, out: &mut Vec<u8>) {
        match source {
            Source::Static => {}
            Source::Derived(derived) => json::string::<S>(out, derived.of(record)),
            Source::Native(HttpField::TimestampReceived) if self.timestamps == TimestampFormat::EpochMs => {
                json::integer(out, record.received().epoch_ms());
            }
            Source::Native(HttpField::TimestampReceived) if self.timestamps == TimestampFormat::EpochS => {
                json::integer(out, record.received().epoch_s());
            }
            Source::Native(field) => record.write_value::<S>(out, field),
        }
    }

    fn write_metadata<const S: bool>(&self, flatten: &Flatten, record: &Record<'_>, out: &mut Vec<u8>) {
        for (key, value) in record.metadata() {
            let is_same = |member: &Member| member.key.strip_prefix(&flatten.prefix) == Some(key);
            let is_taken = || self.members.iter().any(|member| is_same(member) && member.is_in(record));
            if !flatten.overwrites && is_taken() {
                continue;
            }
            out.push(b',');
            json::text(out, json::quote::<S>());
            json::escape::<S>(out, flatten.prefix.as_bytes());
            json::escape::<S>(out, key.as_bytes());
            json::text(out, json::quote::<S>());
            out.push(b':');
            json::string::<S>(out, value);
        }
    }
}

impl Member {
    fn is_in(&self, record: &Record<'_>) -> bool {
        match self.source {
            Source::Native(field) => record.has(field),
            Source::Static => true,
            Source::Derived(Derived::BackendHost) => !Derived::BackendHost.of(record).is_empty(),
            Source::Derived(_) => true,
        }
    }
}

impl Derived {
    fn name(self) -> &'static str {
        match self {
            Derived::StatusClass => "status_class",
            Derived::BackendHost => "backend_host",
            Derived::SummaryKind => "summary_kind",
            Derived::Outcome => "outcome",
        }
    }

    fn of<'a>(self, record: &Record<'a>) -> &'a str {
        let outcome = record.outcome;
        match self {
            Derived::StatusClass => match outcome.status {
                100..=199 => "1xx",
                200..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "other",
            },
            Derived::BackendHost => outcome.backend_target.as_deref().map_or("", backend_host),
            Derived::SummaryKind => "http",
            Derived::Outcome => {
                let has_error = outcome.error_class.is_some() || outcome.body_error_class.is_some();
                if outcome.status >= 500 || has_error { "error" } else { "ok" }
            }
        }
    }
}

/// The host of `scheme://host:port/path`, without port and brackets; empty when there is none.
pub fn backend_host(target: &str) -> &str {
    let authority = target.split_once("://").map_or(target, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
