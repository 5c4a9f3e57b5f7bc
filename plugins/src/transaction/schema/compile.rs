//! From the parts of a schema to the members of a record, checking what they mean together.

use serde_json::Value;

use super::read::{Draft, Mode};
use super::text::{hint, looks_like_credential, nested_keys, strings};
use super::{Derived, HttpField, Layout, Member, Origin, Report, STREAM_FIELDS, Schema, Shape, Source, SummaryType};
use crate::redaction::is_sensitive;
use crate::transaction::{Escape, json};

/// Something that writes one member, of one record kind or of both.
struct Output<'a> {
    key: &'a str,
    producer: Producer<'a>,
    /// Of a native field.
    native: &'static str,
}

#[derive(Clone, Copy)]
enum Producer<'a> {
    /// A field of the stream record only, when `None`.
    Native(Option<HttpField>),
    Static(&'a Value),
    Derived(Derived),
}

impl Producer<'_> {
    fn describe(self) -> &'static str {
        match self {
            Producer::Native(_) => "native",
            Producer::Static(_) => "static_fields",
            Producer::Derived(_) => "derived_fields",
        }
    }
}

/// None when anything was wrong.
pub(super) fn compile(draft: &Draft<'_>, escape: Escape, report: &mut Report) -> Option<Schema> {
    let outputs = checked_outputs(draft, report)?;
    let flatten = match &draft.metadata {
        Mode::Flatten(flatten) if !draft.omit.contains(&"metadata") => Some(flatten.clone()),
        _ => None,
    };
    let shape = || Shape {
        members: outputs.iter().filter_map(|output| member(output, escape)).collect(),
        timestamps: draft.timestamps,
        flatten,
    };
    Some(Schema { escape, http: (draft.summary != SummaryType::Stream).then(shape) })
}

/// What is written, for those who write records themselves.
pub(super) fn layout(draft: &Draft<'_>, report: &mut Report) -> Option<Layout> {
    let field = |output: &Output<'_>| {
        let origin = match output.producer {
            Producer::Native(_) => Origin::Native(output.native),
            Producer::Static(value) => Origin::Static(value.clone()),
            Producer::Derived(kind) => Origin::Derived(kind.name()),
        };
        (output.key.to_owned(), origin)
    };
    let fields = checked_outputs(draft, report)?.iter().map(field).collect();
    let is_omitted = draft.omit.contains(&"metadata");
    let flattened = match &draft.metadata {
        Mode::Flatten(flatten) if !is_omitted => Some((flatten.prefix.clone(), flatten.overwrites)),
        _ => None,
    };
    Some(Layout {
        is_of_http: draft.summary != SummaryType::Stream,
        is_of_streams: draft.summary != SummaryType::Http,
        fields,
        flattened,
        nests_metadata: !is_omitted && matches!(draft.metadata, Mode::Nested),
        timestamps: draft.timestamps,
    })
}

fn checked_outputs<'a>(draft: &Draft<'a>, report: &mut Report) -> Option<Vec<Output<'a>>> {
    let natives = natives(draft.summary);
    check_native_names(draft, &natives, report);
    check_statics(draft, report);
    check_sensitive_names(draft, report);
    let outputs = outputs(draft, &natives);
    check_duplicates(&outputs, report);
    let outputs = match &draft.order {
        Some(order) => arrange(outputs, order, report),
        None => outputs,
    };
    report.errors.is_empty().then_some(outputs)
}

type Native = (&'static str, Option<HttpField>);

/// The names a schema of that kind may mention, in natural order.
fn natives(summary: SummaryType) -> Vec<Native> {
    let mut natives: Vec<Native> = Vec::new();
    if summary != SummaryType::Stream {
        natives.extend(HttpField::ALL.iter().map(|field| (field.name(), Some(*field))));
    }
    if summary != SummaryType::Http {
        let is_new = |name: &&str| !natives.iter().any(|(present, _)| present == name);
        let more: Vec<Native> = STREAM_FIELDS.into_iter().filter(is_new).map(|name| (name, None)).collect();
        natives.extend(more);
    }
    natives
}

fn check_native_names(draft: &Draft<'_>, natives: &[Native], report: &mut Report) {
    let known = || natives.iter().map(|(name, _)| *name);
    let mut check = |what: &str, field: &str| {
        if !known().any(|name| name == field) {
            report.error(format!("schema {what} references unknown field '{field}'{}", hint(field, known())));
        }
    };
    draft.omit.iter().for_each(|field| check("omit", field));
    draft.rename.iter().for_each(|(field, _)| check("rename", field));
    for (field, target) in &draft.rename {
        if draft.omit.contains(field) {
            report.error(format!("schema field '{field}' is both omitted and renamed (rename target '{target}')"));
        }
    }
}

fn check_sensitive_names(draft: &Draft<'_>, report: &mut Report) {
    let mut check = |name: &str, what: String| {
        if is_sensitive(name, &[]) {
            report.error(format!("schema {what} matches a sensitive-data substring; pick a different name"));
        }
    };
    for (field, target) in &draft.rename {
        check(target, format!("rename target '{target}' (for source '{field}')"));
    }
    for (key, value) in &draft.statics {
        check(key, format!("static_fields key '{key}'"));
        let mut nested = Vec::new();
        nested_keys(value, &mut nested);
        nested.iter().for_each(|inner| check(inner, format!("static_fields nested key '{inner}' (in '{key}')")));
    }
    for (name, _) in &draft.derived {
        check(name, format!("derived_fields name '{name}'"));
    }
}

fn check_statics(draft: &Draft<'_>, report: &mut Report) {
    for (key, value) in &draft.statics {
        if key.trim().is_empty() {
            report.error("schema 'static_fields' keys must be non-empty".into());
        }
        if value.is_null() {
            report.error(format!("schema 'static_fields' value for '{key}' must not be null (use 'omit' instead)"));
        }
        let mut found = Vec::new();
        strings(value, &mut found);
        if found.into_iter().any(looks_like_credential) {
            report.error(format!("schema 'static_fields' value for '{key}' looks like a credential; remove it"));
        }
    }
}

/// What is written, in natural order: native, static, derived.
fn outputs<'a>(draft: &Draft<'a>, natives: &[Native]) -> Vec<Output<'a>> {
    let is_written = |name: &str| {
        let is_nested = matches!(draft.metadata, Mode::Nested);
        !draft.omit.contains(&name) && (name != HttpField::Metadata.name() || is_nested)
    };
    let renamed = |name: &'static str| draft.rename.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| to);
    let native = natives.iter().filter(|(name, _)| is_written(name));
    let native =
        native.map(|(name, field)| Output { key: renamed(name), producer: Producer::Native(*field), native: name });
    let statics =
        draft.statics.iter().map(|(key, value)| Output { key, producer: Producer::Static(value), native: "" });
    let derived =
        draft.derived.iter().map(|(key, kind)| Output { key, producer: Producer::Derived(*kind), native: "" });
    native.chain(statics).chain(derived).collect()
}

fn check_duplicates(outputs: &[Output<'_>], report: &mut Report) {
    for (index, output) in outputs.iter().enumerate() {
        let earlier = outputs[..index].iter().find(|earlier| earlier.key == output.key);
        if let Some(earlier) = earlier {
            let (first, second) = (earlier.producer.describe(), output.producer.describe());
            report.error(format!("duplicate output key '{}' produced by {first} and {second}", output.key));
        }
    }
}

/// Puts the outputs in the order that was asked for; `*` is all that is not listed.
fn arrange<'a>(outputs: Vec<Output<'a>>, order: &[&str], report: &mut Report) -> Vec<Output<'a>> {
    let stars = order.iter().filter(|key| **key == "*").count();
    if stars > 1 {
        report.error("schema 'order' may only contain '*' once".into());
    }
    for (index, key) in order.iter().enumerate().filter(|(_, key)| **key != "*") {
        if order[..index].contains(key) {
            report.error(format!("schema 'order' lists '{key}' more than once"));
        } else if !outputs.iter().any(|output| output.key == *key) {
            let hint = hint(key, outputs.iter().map(|output| output.key));
            report.error(format!("schema 'order' references unknown output key '{key}'{hint}"));
        }
    }
    let missing: Vec<&str> = outputs.iter().map(|output| output.key).filter(|key| !order.contains(key)).collect();
    if stars == 0 && !missing.is_empty() {
        let missing = missing.join(", ");
        report.error(format!("schema 'order' missing entries: {missing} (add them, or use '*' to catch the rest)"));
    }
    let star = order.iter().position(|key| *key == "*").unwrap_or(order.len());
    let mut outputs = outputs;
    // Stable, so that what is not listed keeps its natural order.
    outputs.sort_by_key(|output| order.iter().position(|key| *key == output.key).unwrap_or(star));
    outputs
}

/// The member of the HTTP record that an output writes, if it writes one.
fn member(output: &Output<'_>, escape: Escape) -> Option<Member> {
    let in_string = escape == Escape::InString;
    let mut written = Vec::new();
    json::text(&mut written, ",");
    json::embed(&mut written, &Value::from(output.key).to_string(), in_string);
    json::text(&mut written, ":");
    let source = match output.producer {
        Producer::Native(field) => Source::Native(field?),
        Producer::Derived(derived) => Source::Derived(derived),
        Producer::Static(value) => {
            json::embed(&mut written, &value.to_string(), in_string);
            Source::Static
        }
    };
    Some(Member { key: output.key.to_owned(), source, written: String::from_utf8(written).ok()? })
}
