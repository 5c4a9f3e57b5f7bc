//! How the text of a setting becomes a value: the grammar of every type tag.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A type a setting can have.
///
/// `parse` answers with the whole message for the user: most types share one shape ([`expected`]), some have their own.
pub trait Value: Sized + Clone + PartialOrd {
    /// The type's name in the reference (`u16`, `bool`, `list`).
    fn tag() -> String;

    /// Reads the text of the setting `key`. A type that repairs what it reads says so in `warnings`.
    fn parse(key: &str, raw: &str, warnings: &mut Vec<String>) -> Result<Self, String>;

    /// The forgiving reading of settings whose bad text means their default.
    fn parse_lenient(raw: &str) -> Option<Self> {
        Self::parse("", raw, &mut Vec::new()).ok()
    }

    /// How the reference prints this value.
    fn show(&self) -> String;
}

/// The one shape of a refused value.
pub(crate) fn expected(key: &str, raw: &str, allowed: &str) -> String {
    format!("Invalid {key} value '{raw}'. Expected {allowed}")
}

/// `a`, `a or b`, `a, b, or c`.
pub(crate) fn one_of(tokens: &[&str]) -> String {
    match tokens {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first, second] => format!("{first} or {second}"),
        [head @ .., last] => format!("{}, or {last}", head.join(", ")),
    }
}

/// The items of a comma-separated list: trimmed, the empty ones dropped.
pub(crate) fn items(raw: &str) -> impl Iterator<Item = &str> {
    raw.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl Value for bool {
    fn tag() -> String {
        "bool".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match raw.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(expected(key, raw, "true, false, 1, or 0")),
        }
    }

    /// The lenient settings know only the exact words; whatever is not `false` counts as true.
    fn parse_lenient(raw: &str) -> Option<Self> {
        Some(raw != "false")
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! integer_values {
    ($($ty:ident),*) => {$(
        impl Value for $ty {
            fn tag() -> String {
                stringify!($ty).to_owned()
            }

            fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
                raw.trim().parse().map_err(|_| expected(key, raw, concat!("a valid ", stringify!($ty), " integer")))
            }

            /// Lenient integers are not trimmed either.
            fn parse_lenient(raw: &str) -> Option<Self> {
                raw.parse().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

integer_values!(u8, u16, u32, u64, usize);

impl Value for f64 {
    fn tag() -> String {
        "float".to_owned()
    }

    /// `nan` and `inf` are no ratios: a threshold that is not a number would switch its protection off in silence.
    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        raw.trim()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| expected(key, raw, "a valid floating-point number"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn tag() -> String {
        "str".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(raw.to_owned())
    }

    fn show(&self) -> String {
        if self.is_empty() { "empty".to_owned() } else { self.clone() }
    }
}

impl Value for PathBuf {
    fn tag() -> String {
        "path".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(PathBuf::from(raw))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for Vec<String> {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(items(raw).map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        if self.is_empty() { "empty".to_owned() } else { self.join(",") }
    }
}

impl Value for BTreeMap<String, String> {
    fn tag() -> String {
        "json-map".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        serde_json::from_str(raw)
            .map_err(|error| expected(key, raw, &format!("a JSON object of string values: {error}")))
    }

    fn show(&self) -> String {
        if self.is_empty() { "{}".to_owned() } else { format!("{self:?}") }
    }
}

impl<T: Value> Value for Option<T> {
    fn tag() -> String {
        T::tag()
    }

    fn parse(key: &str, raw: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        T::parse(key, raw, warnings).map(Some)
    }

    fn parse_lenient(raw: &str) -> Option<Self> {
        T::parse_lenient(raw).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "unset".to_owned(), T::show)
    }
}

/// Text that must not reach a log: a key, a password, a URL that carries one.
#[derive(Clone, PartialEq, Eq, PartialOrd)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl Value for Secret {
    fn tag() -> String {
        "str".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(Self(raw.to_owned()))
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for Vec<Secret> {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(items(raw).map(Secret::new).collect())
    }

    fn show(&self) -> String {
        self.iter().map(Secret::show).collect::<Vec<_>>().show()
    }
}

/// A switch that is on for `true` and `1` and off for every other text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct OptIn(pub bool);

impl Value for OptIn {
    fn tag() -> String {
        "bool".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(Self(matches!(raw.trim().to_ascii_lowercase().as_str(), "true" | "1")))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A development gate: on only for the word `true`, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Gate(pub bool);

impl Value for Gate {
    fn tag() -> String {
        "bool".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Ok(Self(raw.eq_ignore_ascii_case("true")))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Whether a kernel feature is used: probed, forced or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Tri {
    Auto,
    On,
    Off,
}

impl Value for Tri {
    fn tag() -> String {
        "tri".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match raw.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "true" | "1" => Ok(Self::On),
            "false" | "0" => Ok(Self::Off),
            _ => Err(expected(key, raw, "auto, true, false, 1, or 0")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::On => "true",
            Self::Off => "false",
        }
        .to_owned()
    }
}

/// Declares an `enum` setting: its variants with their tokens, read in any case and trimmed.
macro_rules! tokens {
    ($(#[$meta:meta])* $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $token:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )* }

        impl $name {
            /// The accepted words, in their documented order.
            pub const TOKENS: &[&str] = &[$($token),*];

            /// The word that selects this variant.
            pub fn token(self) -> &'static str {
                match self { $( Self::$variant => $token, )* }
            }

            /// The variant of a word in any case; no trimming.
            pub(crate) fn from_token(word: &str) -> Option<Self> {
                $( if word.eq_ignore_ascii_case($token) { return Some(Self::$variant); } )*
                None
            }
        }

        impl $crate::settings::value::Value for $name {
            fn tag() -> String {
                Self::TOKENS.iter().map(|token| format!("`{token}`")).collect::<Vec<_>>().join(" ")
            }

            fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
                use $crate::settings::value::{expected, one_of};
                Self::from_token(raw.trim()).ok_or_else(|| expected(key, raw, &one_of(Self::TOKENS)))
            }

            fn show(&self) -> String {
                self.token().to_owned()
            }
        }
    };
}

pub(crate) use tokens;
