//! What a row of the settings table says besides its type, and the macro that turns rows into a struct, a parser and
//! a reference.

use super::sources::Sources;
use super::value::{Value, expected};

/// What happens to a text that the type does not accept. The letter is the one of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// `E`: a configuration error in every mode.
    Strict,
    /// `D`: the default, in silence.
    Lenient,
    /// `W`: the default, with a warning.
    Warned,
    /// `M`: read when the mode that uses it starts.
    ModeStart,
    /// `–`: every text is accepted.
    Any,
}

impl Strictness {
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Strict => "E",
            Self::Lenient => "D",
            Self::Warned => "W",
            Self::ModeStart => "M",
            Self::Any => "–",
        }
    }
}

/// A further condition on a value that parsed.
struct Condition<T> {
    holds: fn(&T) -> bool,
    allowed: &'static str,
    /// Replace an unfit value by the default in silence, whatever the strictness.
    falls_back: bool,
}

/// Limits and reading rules of one row.
pub(crate) struct Check<T> {
    strictness: Strictness,
    min: Option<T>,
    max: Option<T>,
    clamp_warns: bool,
    condition: Option<Condition<T>>,
    blank_is_unset: bool,
    env_only: bool,
    alias: Option<&'static str>,
    default_text: Option<&'static str>,
    note: Option<&'static str>,
}

fn check<T>(strictness: Strictness) -> Check<T> {
    Check {
        strictness,
        min: None,
        max: None,
        clamp_warns: false,
        condition: None,
        blank_is_unset: false,
        env_only: false,
        alias: None,
        default_text: None,
        note: None,
    }
}

pub(crate) fn strict<T>() -> Check<T> {
    check(Strictness::Strict)
}

pub(crate) fn lenient<T>() -> Check<T> {
    check(Strictness::Lenient)
}

pub(crate) fn warned<T>() -> Check<T> {
    check(Strictness::Warned)
}

pub(crate) fn mode_start<T>() -> Check<T> {
    check(Strictness::ModeStart)
}

pub(crate) fn any<T>() -> Check<T> {
    check(Strictness::Any)
}

impl<T: Value> Check<T> {
    /// Lifts smaller values to `min`.
    pub(crate) fn at_least(mut self, min: T) -> Self {
        self.min = Some(min);
        self
    }

    /// Moves a value into `min..=max`.
    pub(crate) fn clamp(mut self, min: T, max: T) -> Self {
        self.max = Some(max);
        self.at_least(min)
    }

    /// Lowers bigger values to `max`.
    pub(crate) fn at_most(mut self, max: T) -> Self {
        self.max = Some(max);
        self
    }

    /// Says so when a value was moved.
    pub(crate) fn saying_so(mut self) -> Self {
        self.clamp_warns = true;
        self
    }

    /// Treats a value for which `holds` is false like a text the type does not accept.
    pub(crate) fn only(mut self, holds: fn(&T) -> bool, allowed: &'static str) -> Self {
        self.condition = Some(Condition { holds, allowed, falls_back: false });
        self
    }

    /// Takes the default, in silence, for a value for which `holds` is false.
    pub(crate) fn or_default_unless(mut self, holds: fn(&T) -> bool, allowed: &'static str) -> Self {
        self.condition = Some(Condition { holds, allowed, falls_back: true });
        self
    }

    /// Blank text counts as not set.
    pub(crate) fn blank_is_unset(mut self) -> Self {
        self.blank_is_unset = true;
        self
    }

    /// Never read from the conf file.
    pub(crate) fn env_only(mut self) -> Self {
        self.env_only = true;
        self
    }

    /// A second name, used when the first is not set.
    pub(crate) fn alias(mut self, name: &'static str) -> Self {
        self.alias = Some(name);
        self
    }

    /// What the reference prints as default where the value depends on the host.
    pub(crate) fn default_text(mut self, text: &'static str) -> Self {
        self.default_text = Some(text);
        self
    }

    /// What the reference adds to the limits.
    pub(crate) fn note(mut self, text: &'static str) -> Self {
        self.note = Some(text);
        self
    }

    fn limits(&self) -> String {
        let mut parts = vec![self.strictness.letter().to_owned()];
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => parts.push(format!("C[{}..{}]", min.show(), max.show())),
            (Some(min), None) => parts.push(format!("C[{}..]", min.show())),
            (None, Some(max)) => parts.push(format!("C[..{}]", max.show())),
            (None, None) => {}
        }
        if self.clamp_warns {
            parts.push("with warning".to_owned());
        }
        if let Some(condition) = &self.condition {
            let otherwise = if condition.falls_back { ", else the default" } else { "" };
            parts.push(format!("{}{otherwise}", condition.allowed));
        }
        if self.blank_is_unset {
            parts.push("blank = unset".to_owned());
        }
        if self.env_only {
            parts.push("environment only".to_owned());
        }
        if let Some(alias) = self.alias {
            parts.push(format!("also `{alias}`"));
        }
        parts.extend(self.note.map(str::to_owned));
        parts.join("; ")
    }
}

/// A value that is read when its mode starts, not when settings are checked: modes that never use it never refuse it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Deferred<T> {
    /// Not set, or blank where blank means unset.
    Default(T),
    /// Set, and not looked at yet.
    Given { key: String, raw: String },
}

impl<T: Value> Deferred<T> {
    /// The value, or why its text is none.
    pub fn resolve(&self) -> Result<T, String> {
        match self {
            Self::Default(value) => Ok(value.clone()),
            Self::Given { key, raw } => T::parse(key, raw, &mut Vec::new()),
        }
    }

    pub fn is_set(&self) -> bool {
        matches!(self, Self::Given { .. })
    }
}

impl<T: Value> Value for Deferred<T> {
    fn tag() -> String {
        T::tag()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(Self::Given { key: key.to_owned(), raw: raw.to_owned() })
    }

    fn show(&self) -> String {
        match self {
            Self::Default(value) => value.show(),
            Self::Given { raw, .. } => raw.clone(),
        }
    }
}

/// One line of the settings reference.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub type_tag: String,
    pub unit: &'static str,
    pub default: String,
    pub limits: String,
    pub modes: &'static str,
    pub description: &'static str,
    pub strictness: Strictness,
    pub is_env_only: bool,
    pub alias: Option<&'static str>,
}

impl Row {
    pub(crate) fn describe<T: Value>(
        field: &str,
        unit: &'static str,
        modes: &'static str,
        description: &'static str,
        default: &T,
        check: &Check<T>,
    ) -> Self {
        Self {
            name: name_of(field),
            type_tag: T::tag(),
            unit,
            default: check.default_text.map_or_else(|| default.show(), str::to_owned),
            limits: check.limits(),
            modes,
            description: description.trim(),
            strictness: check.strictness,
            is_env_only: check.env_only,
            alias: check.alias,
        }
    }
}

/// The setting a field stands for: `proxy_http_port` is `FERRUM_PROXY_HTTP_PORT`.
pub(crate) fn name_of(field: &str) -> String {
    format!("FERRUM_{}", field.to_ascii_uppercase())
}

/// Reads rows out of the sources and gathers warnings.
pub(crate) struct Reader<'a> {
    sources: &'a Sources,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(sources: &'a Sources) -> Self {
        Self { sources, warnings: Vec::new() }
    }

    pub(crate) fn read<T: Value>(&mut self, field: &str, default: T, check: Check<T>) -> Result<T, String> {
        let key = name_of(field);
        let raw = match self.sources.lookup(&key, check.alias, check.env_only) {
            Some(raw) if !(check.blank_is_unset && raw.trim().is_empty()) => raw,
            _ => return Ok(default),
        };
        let parsed = match check.strictness {
            Strictness::Lenient => T::parse_lenient(raw).ok_or_else(String::new),
            _ => T::parse(&key, raw, &mut self.warnings),
        };
        let fit = parsed.and_then(|value| match &check.condition {
            Some(condition) if !(condition.holds)(&value) && condition.falls_back => Ok(default.clone()),
            Some(condition) if !(condition.holds)(&value) => Err(expected(&key, raw, condition.allowed)),
            _ => Ok(value),
        });
        match (fit, check.strictness) {
            (Ok(value), _) => Ok(self.settle(&key, value, &check)),
            (Err(_), Strictness::Lenient) => Ok(default),
            (Err(reason), Strictness::Warned) => {
                self.warnings.push(format!("{reason}; using the default {}", default.show()));
                Ok(default)
            }
            (Err(reason), _) => Err(reason),
        }
    }

    fn settle<T: Value>(&mut self, key: &str, value: T, check: &Check<T>) -> T {
        let settled = match (&check.min, &check.max) {
            (Some(min), _) if value < *min => min.clone(),
            (_, Some(max)) if value > *max => max.clone(),
            _ => return value,
        };
        if check.clamp_warns {
            self.warnings.push(format!("{key} ({}) is out of range; using {}", value.show(), settled.show()));
        }
        settled
    }
}

/// Declares one group of settings. Each row is
///
/// ```text
/// /// What it does, in one line.
/// field: Type = default, "unit", "modes", check;
/// ```
///
/// and stands for the setting `FERRUM_<FIELD>`.
macro_rules! settings_group {
    ($(#[doc = $about:literal])* $group:ident $title:literal {
        $( #[doc = $doc:literal] $field:ident : $ty:ty = $default:expr, $unit:literal, $modes:literal, $check:expr; )*
    }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $group { $( #[doc = $doc] pub $field: $ty, )* }

        impl $group {
            pub(crate) const TITLE: &str = $title;

            pub(crate) fn read(reader: &mut $crate::settings::check::Reader<'_>) -> Result<Self, String> {
                Ok(Self { $( $field: reader.read(stringify!($field), $default, $check)?, )* })
            }

            pub(crate) fn effective(&self) -> Vec<(String, String)> {
                use $crate::settings::{check::name_of, value::Value};
                vec![$( (name_of(stringify!($field)), self.$field.show()) ),*]
            }

            pub(crate) fn rows() -> Vec<$crate::settings::check::Row> {
                use $crate::settings::check::{Check, Row};
                vec![$( {
                    let default: $ty = $default;
                    let check: Check<$ty> = $check;
                    Row::describe(stringify!($field), $unit, $modes, $doc, &default, &check)
                } ),*]
            }
        }
    };
}

pub(crate) use settings_group;
