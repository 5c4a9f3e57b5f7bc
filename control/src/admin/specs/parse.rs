//! From bytes to a value (admin sheet §31.1).

use std::fmt;

use engine::model::SpecFormat;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::Value;

use super::error::SpecError;
use super::yaml;

/// Scalars, lists and objects of a document; in YAML its keys as well.
pub(super) const NODES_MAX: usize = 500_000;
/// Lists and objects within one another.
pub(super) const DEPTH_MAX: usize = 100;

const NOT_UTF8: &str = "the text is not UTF-8";

/// In the format that the content type names; without one it knows, in the one that the text looks like.
pub(super) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<(SpecFormat, Value), SpecError> {
    if let Some(format) = content_type.and_then(format_of) {
        return Ok((format, read(bytes, format)?));
    }
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'{' | b'[')) {
        return Ok((SpecFormat::Yaml, read(bytes, SpecFormat::Yaml)?));
    }
    let json = match read(bytes, SpecFormat::Json) {
        Ok(value) => return Ok((SpecFormat::Json, value)),
        Err(error) => error,
    };
    // YAML has braces, too.
    read(bytes, SpecFormat::Yaml).map(|value| (SpecFormat::Yaml, value)).map_err(|_| json)
}

pub(super) fn read(bytes: &[u8], format: SpecFormat) -> Result<Value, SpecError> {
    let text = str::from_utf8(bytes).map_err(|_| NOT_UTF8.to_owned());
    match format {
        SpecFormat::Json => text.and_then(json).map_err(SpecError::InvalidJson),
        SpecFormat::Yaml => text.and_then(yaml::read).map_err(SpecError::InvalidYaml),
    }
}

/// A media type that is one of the two formats; its parameters do not matter.
pub(super) fn format_of(media_type: &str) -> Option<SpecFormat> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Some(SpecFormat::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Some(SpecFormat::Yaml),
        _ => None,
    }
}

/// Counted before it is built: a value takes many times the bytes of its text.
fn json(text: &str) -> Result<Value, String> {
    let mut nodes = 0;
    let mut counted = serde_json::Deserializer::from_str(text);
    let count = Count { nodes: &mut nodes, depth: 0 }.deserialize(&mut counted);
    count.and_then(|()| counted.end()).map_err(|error| error.to_string())?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Counts nodes and keeps none.
struct Count<'a> {
    nodes: &'a mut usize,
    depth: usize,
}

impl Count<'_> {
    fn within(&mut self) -> Count<'_> {
        Count { nodes: self.nodes, depth: self.depth + 1 }
    }

    fn check_depth<E: de::Error>(&self) -> Result<(), E> {
        match self.depth < DEPTH_MAX {
            true => Ok(()),
            false => Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.nodes += 1;
        if *self.nodes > NODES_MAX {
            return Err(de::Error::custom(format_args!("more than {NODES_MAX} nodes")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.check_depth::<A::Error>()?;
        while items.next_element_seed(self.within())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.check_depth::<A::Error>()?;
        while members.next_key::<IgnoredAny>()?.is_some() {
            members.next_value_seed(self.within())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn format(text: &str, content_type: Option<&str>) -> Result<SpecFormat, &'static str> {
        parse(text.as_bytes(), content_type).map(|(format, _)| format).map_err(|error| error.code())
    }

    #[test]
    fn the_content_type_decides_and_without_one_the_text_does() {
        for name in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(format("{}", Some(name)), Ok(SpecFormat::Json));
            assert_eq!(format("a: 1", Some(name)), Err("InvalidJson"), "{name} is no guess");
        }
        for name in ["application/yaml", "application/x-yaml", "TEXT/yaml ;q=1", "text/x-yaml"] {
            assert_eq!(format("{\"a\": 1}", Some(name)), Ok(SpecFormat::Yaml));
            assert_eq!(format("{", Some(name)), Err("InvalidYaml"));
        }
        for other in [None, Some("text/plain"), Some("")] {
            assert_eq!(format(" \n{\"a\": 1}", other), Ok(SpecFormat::Json));
            assert_eq!(format("[1]", other), Ok(SpecFormat::Json));
            assert_eq!(format("{a: 1}", other), Ok(SpecFormat::Yaml), "braces of YAML");
            assert_eq!(format("a: 1", other), Ok(SpecFormat::Yaml));
            assert_eq!(format("{a: &x 1}", other), Err("InvalidJson"), "neither");
            assert_eq!(format("a: [", other), Err("InvalidYaml"));
        }
        assert_eq!(parse(b"\xff", None).unwrap_err(), SpecError::InvalidYaml(NOT_UTF8.to_owned()));
        assert_eq!(
            parse(b"{\"\xff\"", Some("application/json")).unwrap_err(),
            SpecError::InvalidJson(NOT_UTF8.to_owned())
        );
    }

    #[test]
    fn json_has_the_same_bounds() {
        let items = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert!(json(&items(NODES_MAX - 1)).is_ok());
        assert!(json(&items(NODES_MAX)).unwrap_err().contains("more than 500000 nodes"));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(json(&nested(DEPTH_MAX)).is_ok());
        assert!(json(&nested(DEPTH_MAX + 1)).unwrap_err().contains("nested deeper than 100 levels"));
        assert!(json(&"[".repeat(100_000)).is_err());
        assert!(json("{} x").is_err(), "what follows it");
        let mixed = r#"{"a": [null, true, -1, 1.5, "x", {"b": 18446744073709551615}]}"#;
        assert_eq!(json(mixed), Ok(json!({"a": [null, true, -1, 1.5, "x", {"b": 18_446_744_073_709_551_615_u64}]})));
    }
}
