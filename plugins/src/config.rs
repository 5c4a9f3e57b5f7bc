//! Reads a plugin's config key by key: every wrong value is refused with its key and the reason, every unknown key is
//! named once. All errors are collected, so that one attempt shows everything that is wrong.

use std::fmt::Display;

use serde_json::{Map, Value};

/// What an explicit null means in a plugin's config; the sheet says it per plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Null {
    /// As if the key, or the whole config, were absent.
    Unset,
    /// A value of the wrong type.
    Refused,
}

/// What a plugin made of its config.
#[derive(Debug)]
pub struct Parsed<S> {
    pub spec: S,
    pub warnings: Vec<String>,
}

/// A key of a plugin's config, as it is read and as its page shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub name: &'static str,
    /// `string`, `boolean`, `string[]`, …
    pub kind: &'static str,
    /// As written in a document, or a word such as *required*.
    pub default: &'static str,
    /// What it does and which values it takes, in Markdown.
    pub meaning: &'static str,
}

/// A [`Key`].
pub const fn key(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// The config object of one plugin while it is read.
pub struct Keys<'a> {
    plugin: &'static str,
    /// Where the object stands in the config, as it goes before the name of a key.
    at: String,
    /// The names of all keys.
    known: Vec<&'static str>,
    map: Option<&'a Map<String, Value>>,
    null: Null,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Keys<'a> {
    /// `config` must be an object; with [`Null::Unset`] null is an object without keys.
    pub fn open(
        plugin: &'static str,
        known: &'static [Key],
        config: &'a Value,
        null: Null,
    ) -> Result<Self, Vec<String>> {
        let map = match config {
            Value::Object(map) => Some(map),
            Value::Null if null == Null::Unset => None,
            _ => return Err(vec![format!("{plugin}: config must be an object")]),
        };
        let known = known.iter().map(|key| key.name).collect();
        Ok(Self { plugin, at: String::new(), known, map, null, errors: Vec::new(), warnings: Vec::new() })
    }

    /// An object within this config, which may have the keys of these names, stands at `path` (`providers[0]`) and is `value`.
    /// What is wrong there is named with that path, once it is [absorbed](Self::absorb).
    pub fn within(&mut self, path: impl Display, known: &[&'static str], value: &'a Value) -> Option<Keys<'a>> {
        let Some(map) = value.as_object() else {
            self.refuse(&path.to_string(), "must be an object");
            return None;
        };
        let at = format!("{}{path}.", self.at);
        let (plugin, null, known) = (self.plugin, self.null, known.to_vec());
        Some(Keys { plugin, at, known, map: Some(map), null, errors: Vec::new(), warnings: Vec::new() })
    }

    /// Takes over what was found wrong within.
    pub fn absorb(&mut self, within: Keys<'_>) {
        let unknown = within.unknown();
        self.errors.extend(within.errors);
        self.warnings.extend(within.warnings);
        self.warnings.extend(unknown);
    }

    pub fn plugin(&self) -> &'static str {
        self.plugin
    }

    fn is_known(&self, name: &str) -> bool {
        self.known.contains(&name)
    }

    /// The value as written, null included.
    pub fn raw(&self, key: &str) -> Option<&'a Value> {
        debug_assert!(self.is_known(key), "{key} is not among the keys of {}", self.plugin);
        self.map?.get(key)
    }

    /// The value, unless the key is unset.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.raw(key).filter(|value| !(value.is_null() && self.null == Null::Unset))
    }

    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let value = self.value(key)?;
        if value.as_str().is_none() {
            self.refuse(key, "must be a string");
        }
        value.as_str()
    }

    /// A list of strings; nothing when it is not there.
    pub fn texts(&mut self, key: &str) -> Vec<&'a str> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let texts: Option<Vec<&str>> = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.unwrap_or_else(|| {
            self.refuse(key, "must be an array of strings");
            Vec::new()
        })
    }

    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        if !value.is_boolean() {
            self.refuse(key, "must be a boolean");
        }
        value.as_bool().unwrap_or(default)
    }

    /// A non-negative integer. A float is none, even without a fraction.
    pub fn unsigned(&mut self, key: &str) -> Option<u64> {
        let value = self.value(key)?;
        if value.as_u64().is_none() {
            self.refuse(key, "must be an unsigned integer");
        }
        value.as_u64()
    }

    /// An integer of at least one.
    pub fn positive(&mut self, key: &str) -> Option<u64> {
        let number = self.unsigned(key)?;
        if number == 0 {
            self.refuse(key, "must be greater than zero");
        }
        Some(number).filter(|number| *number > 0)
    }

    /// The status of an answer, from 100 to 599. One below 200 only announces an answer, so 500 takes its place.
    pub fn status(&mut self, key: &str, default: u16) -> u16 {
        let Some(value) = self.value(key) else { return default };
        match value.as_u64() {
            Some(status @ 100..=199) => {
                self.warn_of(key, format_args!("{status} cannot end a request; 500 is sent instead"));
                500
            }
            Some(status @ 200..=599) => status as u16,
            _ => {
                self.refuse(key, "must be an integer from 100 to 599");
                default
            }
        }
    }

    /// A key that earlier releases had: whoever still writes it is told what to write instead.
    pub fn removed(&mut self, key: &str, advice: impl Display) {
        if self.map.is_some_and(|map| map.contains_key(key)) {
            self.refuse(key, format!("was removed: {advice}"));
        }
    }

    /// For a plugin where an unknown key is a mistake.
    pub fn refuse_unknown(&mut self) {
        self.refuse_unknown_but(&[]);
    }

    /// The same, where these were refused already.
    pub fn refuse_unknown_but(&mut self, refused: &[&str]) {
        let is_unknown = |key: &&String| !self.is_known(key) && !refused.contains(&key.as_str());
        let unknown: Vec<&String> = self.map.into_iter().flat_map(Map::keys).filter(is_unknown).collect();
        for key in unknown {
            self.refuse(key, "is not a key of this plugin");
        }
    }

    /// Notes that the value of `key` is wrong.
    pub fn refuse(&mut self, key: &str, reason: impl Display) {
        self.errors.push(format!("{}: '{}{key}' {reason}", self.plugin, self.at));
    }

    /// Notes that this object, which stands within a config, is wrong as a whole.
    pub fn refuse_all(&mut self, reason: impl Display) {
        self.errors.push(format!("{}: '{}' {reason}", self.plugin, self.at.trim_end_matches('.')));
    }

    /// Notes what is odd about the value of `key`.
    pub fn warn_of(&mut self, key: &str, what: impl Display) {
        self.warnings.push(format!("{}: '{}{key}' {what}", self.plugin, self.at));
    }

    /// Whether anything was refused so far.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Notes an error in its full text.
    pub fn error(&mut self, text: String) {
        self.errors.push(text);
    }

    pub fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// All errors, when there is no spec.
    pub fn errors(self) -> Vec<String> {
        self.errors
    }

    /// The spec with the warnings, unless anything was refused.
    pub fn finish<S>(mut self, spec: S) -> Result<Parsed<S>, Vec<String>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let unknown = self.unknown();
        self.warnings.extend(unknown);
        Ok(Parsed { spec, warnings: self.warnings })
    }

    fn unknown(&self) -> Vec<String> {
        let unknown = self.map.into_iter().flat_map(Map::keys).filter(|key| !self.is_known(key));
        unknown.map(|key| format!("{}: unknown key '{}{key}' is ignored", self.plugin, self.at)).collect()
    }
}

/// RFC 9110 §5.6.2: what a header name is made of.
pub fn is_token(text: &str) -> bool {
    let mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const A: &[Key] = &[key("a", "string", "", "")];
    const AB: &[Key] = &[key("a", "string", "", ""), key("b", "boolean", "", "")];

    #[test]
    fn every_wrong_key_is_reported_at_once() {
        let config = json!({"a": 1, "b": "yes"});
        let mut keys = Keys::open("p", AB, &config, Null::Refused).unwrap();
        keys.text("a");
        keys.flag("b", true);
        assert_eq!(keys.finish(()).unwrap_err(), ["p: 'a' must be a string", "p: 'b' must be a boolean"]);
    }

    #[test]
    fn null_is_what_the_plugin_says_it_is() {
        let config = json!({"a": null});
        let mut lenient = Keys::open("p", A, &config, Null::Unset).unwrap();
        assert_eq!(lenient.text("a"), None);
        assert!(lenient.finish(()).is_ok());
        let mut strict = Keys::open("p", A, &config, Null::Refused).unwrap();
        strict.text("a");
        assert_eq!(strict.finish(()).unwrap_err(), ["p: 'a' must be a string"]);
        assert!(Keys::open("p", &[], &Value::Null, Null::Unset).is_ok());
        assert!(Keys::open("p", &[], &Value::Null, Null::Refused).is_err());
    }

    #[test]
    fn a_number_is_an_integer_and_a_positive_one_is_not_zero() {
        let read = |value: Value| {
            let config = json!({"a": value});
            let mut keys = Keys::open("p", A, &config, Null::Refused).unwrap();
            let number = keys.positive("a");
            keys.finish(()).map(|_| number)
        };
        assert_eq!(read(json!(1)).unwrap(), Some(1));
        assert_eq!(read(json!(0)).unwrap_err(), ["p: 'a' must be greater than zero"]);
        for wrong in [json!(-1), json!(5.0), json!("5"), json!(null)] {
            assert_eq!(read(wrong).unwrap_err(), ["p: 'a' must be an unsigned integer"]);
        }
    }

    #[test]
    fn a_status_is_one_that_can_end_a_request() {
        let read = |value: Value| {
            let config = json!({"a": value});
            let mut keys = Keys::open("p", A, &config, Null::Unset).unwrap();
            let status = keys.status("a", 403);
            keys.finish(()).map(|parsed| (status, parsed.warnings))
        };
        for (value, status) in [(json!(200), 200), (json!(599), 599), (Value::Null, 403)] {
            assert_eq!(read(value).unwrap(), (status, Vec::new()));
        }
        for interim in [100, 199] {
            let warning = format!("p: 'a' {interim} cannot end a request; 500 is sent instead");
            assert_eq!(read(json!(interim)).unwrap(), (500, vec![warning]));
        }
        for wrong in [json!(99), json!(600), json!(-1), json!(403.0), json!("403"), json!(65_936)] {
            assert_eq!(read(wrong).unwrap_err(), ["p: 'a' must be an integer from 100 to 599"]);
        }
    }

    #[test]
    fn an_unknown_key_is_named_once_and_ignored() {
        let config = json!({"x": 1, "a": "v"});
        let keys = Keys::open("p", A, &config, Null::Refused).unwrap();
        assert_eq!(keys.finish(()).unwrap().warnings, ["p: unknown key 'x' is ignored"]);
    }

    #[test]
    fn a_removed_key_is_refused_with_advice_and_an_unknown_one_where_the_plugin_says_so() {
        let config = json!({"old": null, "a": "v", "x": 1});
        let mut keys = Keys::open("p", A, &config, Null::Unset).unwrap();
        keys.removed("old", "use 'a'");
        keys.removed("older", "use 'a'");
        keys.refuse_unknown();
        let unknown = |key| format!("p: '{key}' is not a key of this plugin");
        let expected = ["p: 'old' was removed: use 'a'".to_owned(), unknown("old"), unknown("x")];
        assert_eq!(keys.finish(()).unwrap_err(), expected);
    }

    #[test]
    fn what_is_wrong_within_an_object_is_named_with_its_place() {
        let config = json!({"a": [{"a": 1, "b": 100, "x": 2}, 3]});
        let mut keys = Keys::open("p", AB, &config, Null::Refused).unwrap();
        let list = keys.raw("a").and_then(Value::as_array).unwrap();
        for (index, value) in list.iter().enumerate() {
            if let Some(mut within) = keys.within(format_args!("a[{index}]"), &["a", "b"], value) {
                within.text("a");
                within.status("b", 200);
                if within.has_errors() {
                    within.refuse_all("is wrong");
                }
                keys.absorb(within);
            }
        }
        assert_eq!(
            keys.warnings,
            ["p: 'a[0].b' 100 cannot end a request; 500 is sent instead", "p: unknown key 'a[0].x' is ignored"]
        );
        assert_eq!(
            keys.finish(()).unwrap_err(),
            ["p: 'a[0].a' must be a string", "p: 'a[0]' is wrong", "p: 'a[1]' must be an object"]
        );
    }

    #[test]
    fn a_header_name_is_a_token() {
        assert!(is_token("X-API-Key") && is_token("a!#$%&'*+-.^_`|~9"));
        assert!(!is_token("") && !is_token("a b") && !is_token("a:b") && !is_token("ü"));
    }
}
