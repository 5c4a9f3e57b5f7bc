//! The grammar of rules (traffic plugins sheet §2.1): read once, so that nothing is looked up or parsed per request.

use serde_json::{Map, Value};

use super::body::{BodyRule, BodyRules};
use super::body_path::{self, Names, Path, SEGMENTS_MAX};
use super::fields::FieldRule;
use super::json;
use crate::config::{Key, Keys, is_token, key};

/// What [`Rules::read`] reads.
pub const KEYS: [Key; 4] = [
    key(
        "rules",
        "object[]",
        "`[]`",
        "what is edited, see below; at least one rule unless `apply_route_overrides` is true",
    ),
    key(
        "apply_route_overrides",
        "boolean",
        "`false`",
        "whether the transforms of the matched `mesh_route_dispatch` rule are applied, so that no rule is needed here; that \
         plugin is not in this release, so there are none, which a warning says",
    ),
    key(
        "runtime_overlay_scope",
        "string",
        "none",
        "names the key `ferrum.<plugin>.<scope>.enabled` of the runtime overlay; this release has no overlay, which a warning says",
    ),
    key("default_enabled", "boolean", "`true`", "`false` switches all rules off as long as no overlay says otherwise"),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Header,
    Query,
    Body,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
            Self::Body => "body",
        }
    }
}

/// What is different for requests and responses.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    pub targets: &'static [Target],
    /// Whether a name that no header can have is an error; else its rule does nothing, and that is said.
    pub refuses_bad_names: bool,
    /// Whether values may have other than ASCII; they are not forwarded to backends (traffic sheet §6.3).
    pub sends_obs_text: bool,
}

/// Rules by what they edit, each kind in the order of the document. None while a plugin is switched off.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub headers: Box<[FieldRule]>,
    pub query: Box<[FieldRule]>,
    pub body: BodyRules,
}

impl Rules {
    /// Reads all keys; errors and warnings are left with them.
    pub fn read(keys: &mut Keys<'_>, dialect: Dialect) -> Self {
        let list = match keys.raw("rules") {
            None => &[][..],
            Some(Value::Array(list)) => list,
            Some(_) => {
                keys.refuse("rules", "must be an array");
                &[]
            }
        };
        let (mut headers, mut query, mut body) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = Names::default();
        for (index, value) in list.iter().enumerate() {
            match (Reader { keys: &mut *keys, names: &mut names, index, dialect }).rule(value) {
                Some(Rule::Header(rule)) => headers.push(rule),
                Some(Rule::Query(rule)) => query.push(rule),
                Some(Rule::Body(rule)) => body.push(rule),
                None => {}
            }
        }
        let is_for_routes = keys.flag("apply_route_overrides", false);
        let is_list = keys.raw("rules").is_none_or(Value::is_array);
        let plugin = keys.plugin();
        if list.is_empty() && is_list && !is_for_routes {
            keys.error(format!("{plugin}: no 'rules' configured — plugin will have no effect"));
        }
        if is_for_routes {
            keys.warn(format!(
                "{plugin}: 'apply_route_overrides' has no effect in this release: there are no route-level transforms"
            ));
        }
        if !is_switched_on(keys) {
            (headers, query, body) = (Vec::new(), Vec::new(), Vec::new());
        }
        Self { headers: headers.into(), query: query.into(), body: BodyRules::new(body, names) }
    }

    #[cfg(test)]
    pub fn are_none(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && self.body.is_empty()
    }
}

/// There is no runtime overlay in this release, so the default decides.
fn is_switched_on(keys: &mut Keys<'_>) -> bool {
    let plugin = keys.plugin();
    match keys.raw("runtime_overlay_scope") {
        None => {}
        Some(Value::String(scope)) if scope.trim().is_empty() => {
            keys.error(format!("{plugin}: runtime_overlay_scope must be a non-empty string"));
        }
        Some(Value::String(_)) => keys.warn(format!(
            "{plugin}: 'runtime_overlay_scope' has no effect in this release: 'default_enabled' decides"
        )),
        Some(_) => keys.error(format!("{plugin}: runtime_overlay_scope must be a string")),
    }
    match keys.raw("default_enabled") {
        None => true,
        Some(Value::Bool(is_on)) => *is_on,
        Some(_) => {
            keys.error(format!("{plugin}: default_enabled must be a boolean"));
            true
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Update,
    Remove,
    Rename,
}

impl Operation {
    fn of(name: &str) -> Option<Self> {
        match name {
            "add" => Some(Self::Add),
            "update" => Some(Self::Update),
            "remove" => Some(Self::Remove),
            "rename" => Some(Self::Rename),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Remove => "remove",
            Self::Rename => "rename",
        }
    }

    fn takes_value(self) -> bool {
        matches!(self, Self::Add | Self::Update)
    }
}

enum Rule {
    Header(FieldRule),
    Query(FieldRule),
    Body(BodyRule),
}

/// One rule while it is read.
struct Reader<'k, 'c> {
    keys: &'k mut Keys<'c>,
    /// What paths have had so far.
    names: &'k mut Names,
    index: usize,
    dialect: Dialect,
}

impl Reader<'_, '_> {
    fn refuse(&mut self, text: impl std::fmt::Display) {
        let text = format!("{}: rule[{}]: {text}", self.keys.plugin(), self.index);
        self.keys.error(text);
    }

    fn warn(&mut self, text: impl std::fmt::Display) {
        let text = format!("{}: rule[{}]: {text}", self.keys.plugin(), self.index);
        self.keys.warn(text);
    }

    /// Nothing when it is wrong, or can do nothing; then that has been said.
    fn rule(mut self, value: &Value) -> Option<Rule> {
        let Some(object) = value.as_object() else {
            self.refuse("rule must be an object");
            return None;
        };
        let target = self.target(object);
        let operation = self.operation(object);
        let key = self.text(object, "key", true);
        let new_key = self.text(object, "new_key", false);
        if operation == Some(Operation::Rename) && object.get("new_key").is_none_or(Value::is_null) {
            self.refuse("'rename' operation requires a 'new_key'");
        }
        if let (Some(Target::Header | Target::Query), Some(value)) = (target, object.get("value"))
            && !value.is_string()
            && !value.is_null()
        {
            let targets = if self.dialect.targets.contains(&Target::Query) { "header/query" } else { "header" };
            self.refuse(format_args!("'value' must be a string for {targets} rules"));
        }
        let (target, operation, key) = (target?, operation?, key?);
        self.say_what_is_idle(object, operation);
        match target {
            Target::Header => self.header(object, operation, key, new_key).map(Rule::Header),
            Target::Query => self.field(object, operation, key.to_owned(), new_key.map(str::to_owned)).map(Rule::Query),
            Target::Body => self.body(object, operation, key, new_key).map(Rule::Body),
        }
    }

    fn target(&mut self, object: &Map<String, Value>) -> Option<Target> {
        let names: Vec<&str> = self.dialect.targets.iter().map(|target| target.name()).collect();
        let expected = names.join("/");
        match object.get("target") {
            None => return Some(Target::Header),
            Some(Value::Null) => self.refuse(format_args!("'target' is required (expected {expected})")),
            Some(Value::String(name)) => {
                let target = self.dialect.targets.iter().copied().find(|target| target.name() == name);
                if target.is_some() {
                    return target;
                }
                self.refuse(format_args!("unknown target '{name}' (expected {expected})"));
            }
            Some(_) => self.refuse(format_args!("'target' must be a string (expected {expected})")),
        }
        None
    }

    fn operation(&mut self, object: &Map<String, Value>) -> Option<Operation> {
        let name = self.text(object, "operation", true)?;
        let operation = Operation::of(name);
        if operation.is_none() {
            self.refuse(format_args!("unknown operation '{name}' (expected add/update/remove/rename)"));
        }
        operation
    }

    fn text<'v>(&mut self, object: &'v Map<String, Value>, name: &str, is_required: bool) -> Option<&'v str> {
        match object.get(name) {
            Some(Value::String(text)) => return Some(text),
            None | Some(Value::Null) if is_required => self.refuse(format_args!("'{name}' is required")),
            None | Some(Value::Null) => {}
            Some(_) => self.refuse(format_args!("'{name}' must be a string")),
        }
        None
    }

    /// Names what stands in the rule and is not looked at.
    fn say_what_is_idle(&mut self, object: &Map<String, Value>, operation: Operation) {
        for name in object.keys() {
            let is_known = matches!(name.as_str(), "target" | "operation" | "key" | "value" | "new_key");
            let is_idle =
                (name == "value" && !operation.takes_value()) || (name == "new_key" && operation != Operation::Rename);
            if !is_known {
                self.warn(format_args!("unknown key '{name}' is ignored"));
            } else if is_idle {
                self.warn(format_args!("'{name}' has no effect with '{}'", operation.name()));
            }
        }
    }

    fn header(
        &mut self,
        object: &Map<String, Value>,
        operation: Operation,
        key: &str,
        new_key: Option<&str>,
    ) -> Option<FieldRule> {
        let mut is_possible = true;
        let of_rename = new_key.filter(|_| operation == Operation::Rename);
        for (name, value) in [("key", Some(key)), ("new_key", of_rename)] {
            let Some(value) = value.filter(|value| !is_header_name(value)) else { continue };
            if self.dialect.refuses_bad_names {
                self.refuse(format_args!("'{name}' must be a valid HTTP header name"));
            } else {
                self.warn(format_args!("no header can be named '{value}', so the rule has no effect"));
            }
            is_possible = false;
        }
        let name = key.to_ascii_lowercase();
        let rule = self.field(object, operation, name, new_key.map(str::to_ascii_lowercase))?;
        if let FieldRule::Add { value, .. } | FieldRule::Update { value, .. } = &rule {
            if value.contains(['\r', '\n']) {
                self.refuse("header 'value' must not contain CR or LF");
                return None;
            }
            if !self.is_sendable(value) {
                return self.unsendable(rule);
            }
        }
        is_possible.then_some(rule)
    }

    fn is_sendable(&self, value: &str) -> bool {
        let sends_obs_text = self.dialect.sends_obs_text;
        value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~') || (sends_obs_text && byte >= 0x80))
    }

    /// A value that cannot be sent must not let through the one that it was to replace.
    fn unsendable(&mut self, rule: FieldRule) -> Option<FieldRule> {
        let (name, outcome) = match rule {
            FieldRule::Update { name, .. } => (Some(name), "the header is removed instead"),
            _ => (None, "the rule has no effect"),
        };
        self.warn(format_args!("'value' has characters that no header can carry, so {outcome}"));
        name.map(|name| FieldRule::Remove { name })
    }

    /// Of a header or parameter. What is wrong with the value or the new key has been said, if they are there.
    fn field(
        &mut self,
        object: &Map<String, Value>,
        operation: Operation,
        name: String,
        new_key: Option<String>,
    ) -> Option<FieldRule> {
        let value = object.get("value").filter(|value| !value.is_null());
        if operation.takes_value() && value.is_none() {
            self.refuse(format_args!("'{}' operation requires a 'value'", operation.name()));
        }
        let value = value.and_then(Value::as_str).map(str::to_owned);
        match operation {
            Operation::Add => value.map(|value| FieldRule::Add { name, value }),
            Operation::Update => value.map(|value| FieldRule::Update { name, value }),
            Operation::Remove => Some(FieldRule::Remove { name }),
            Operation::Rename => new_key.map(|to| FieldRule::Rename { name, to }),
        }
    }

    fn body(
        &mut self,
        object: &Map<String, Value>,
        operation: Operation,
        key: &str,
        new_key: Option<&str>,
    ) -> Option<BodyRule> {
        let is_rename = operation == Operation::Rename;
        let path = self.path("key", key, is_rename);
        let to = new_key.filter(|_| is_rename).and_then(|new_key| self.path("new_key", new_key, true));
        let value = object.get("value").map(rendered);
        if operation.takes_value() && value.is_none() {
            self.refuse(format_args!("'{}' operation requires a 'value'", operation.name()));
        }
        let path = path?;
        match operation {
            Operation::Add => value.map(|value| BodyRule::Add { path, value }),
            Operation::Update => value.map(|value| BodyRule::Update { path, value }),
            Operation::Remove => Some(BodyRule::Remove { path }),
            Operation::Rename => to.map(|to| BodyRule::Rename { path, to }),
        }
    }

    fn path(&mut self, name: &str, text: &str, is_rename: bool) -> Option<Path> {
        let segments = body_path::parse(text, self.names);
        if segments.len() > SEGMENTS_MAX {
            self.refuse(format_args!("'{name}' must not have more than {SEGMENTS_MAX} segments"));
            return None;
        }
        if let Some(number) = segments.iter().filter(|_| is_rename).find_map(|segment| segment.index) {
            self.refuse(format_args!(
                "'{name}' of 'rename' must not have a numeric segment ({number}); use 'remove' and 'add' instead"
            ));
            return None;
        }
        Some(segments)
    }
}

/// As long as the spans of a header have room for.
fn is_header_name(name: &str) -> bool {
    is_token(name) && name.len() <= usize::from(u16::MAX)
}

/// The value as JSON text without blanks: a string that is JSON by itself is taken as that.
fn rendered(value: &Value) -> Box<str> {
    let Some(text) = value.as_str() else { return value.to_string().into() };
    if serde_json::from_str::<Value>(text).is_err() {
        return value.to_string().into();
    }
    let mut out = Vec::with_capacity(text.len());
    json::compact(text.as_bytes(), &mut out);
    // Only blanks of ASCII were left out of it.
    String::from_utf8(out).map_or_else(|_| value.to_string().into(), String::into)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
