//! YAML with bounds: looked at event by event before anything is built of it, because a short text can be a large document.

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Number, Value};
use serde_norway::Value as Yaml;

use super::parse::{DEPTH_MAX, NODES_MAX};

/// # Errors
/// The parser's text, or which bound is passed.
pub(super) fn read(text: &str) -> Result<Value, String> {
    check(text)?;
    let value: Yaml = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    to_json(value)
}

/// Keys are nodes, too.
fn check(text: &str) -> Result<(), String> {
    // Some parsers end there.
    if text.contains('\0') {
        return Err("control characters are not allowed".to_owned());
    }
    let (mut nodes, mut depth) = (0, 0_usize);
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let anchor = match event {
            Event::Alias(_) => return Err("aliases are not allowed".to_owned()),
            Event::Scalar(_, _, anchor, _) => anchor,
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                depth += 1;
                anchor
            }
            Event::SequenceEnd | Event::MappingEnd => {
                depth = depth.saturating_sub(1);
                continue;
            }
            _ => continue,
        };
        nodes += 1;
        if anchor != 0 {
            return Err("anchors are not allowed".to_owned());
        }
        if nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} nodes"));
        }
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} levels"));
        }
    }
    Ok(())
}

/// The recursion is bounded by [`check`].
fn to_json(value: Yaml) -> Result<Value, String> {
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => Value::Bool(flag),
        Yaml::Number(number) => number_of(&number),
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut members = Map::with_capacity(entries.len());
            for (key, value) in entries {
                let key = key_of(key)?;
                if members.contains_key(&key) {
                    return Err(format!("duplicate entry with key \"{key}\""));
                }
                members.insert(key, to_json(value)?);
            }
            Value::Object(members)
        }
        // As enums that carry data stand in JSON.
        Yaml::Tagged(tagged) => {
            let name = tagged.tag.to_string().trim_start_matches('!').to_owned();
            Value::Object(Map::from_iter([(name, to_json(tagged.value)?)]))
        }
    })
}

/// What JSON has no number for is null there.
fn number_of(number: &serde_norway::Number) -> Value {
    let integer = number.as_u64().map(Number::from).or_else(|| number.as_i64().map(Number::from));
    integer.or_else(|| Number::from_f64(number.as_f64()?)).map_or(Value::Null, Value::Number)
}

/// Status codes stand as numbers in many documents.
fn key_of(key: Yaml) -> Result<String, String> {
    match key {
        Yaml::String(text) => Ok(text),
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Bool(flag) => Ok(flag.to_string()),
        Yaml::Null => Ok("null".to_owned()),
        _ => Err("a key must be a text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_becomes_the_same_value_in_json() {
        let text =
            "a: [1, -2, 1.5, .nan, 18446744073709551615, yes, true, ~]\n200: {b: 'x'}\nfalse: !fixed {delay_ms: 1}\n";
        let expected = json!({
            "a": [1, -2, 1.5, null, 18_446_744_073_709_551_615_u64, "yes", true, null],
            "200": {"b": "x"},
            "false": {"fixed": {"delay_ms": 1}},
        });
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_could_grow_or_be_read_in_two_ways_is_refused() {
        for (text, said) in [
            ("a: &x 1\n", "anchors are not allowed"),
            ("a: &x {b: 1}\n", "anchors are not allowed"),
            ("a: &x [1]\nb: *x\n", "anchors are not allowed"),
            ("&k a: 1\n", "anchors are not allowed"),
            ("a: 1\na: 2\n", "duplicate entry"),
            ("200: 1\n'200': 2\n", "duplicate entry"),
            ("[a]: 1\n", "a key must be a text"),
            ("a: 1\0", "control characters are not allowed"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("a: [", ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
        assert!(read("a: *x\n").is_err(), "an alias of nothing");
        assert!(read("a: '&x'\nb: \"*x\"\nc: a & b * c\n").is_ok(), "texts that only look like it");
    }

    #[test]
    fn nodes_and_depth_are_counted() {
        let items = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert!(read(&items(NODES_MAX - 1)).is_ok());
        assert_eq!(read(&items(NODES_MAX)), Err("more than 500000 nodes".to_owned()));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(read(&nested(DEPTH_MAX + 1)), Err("nested deeper than 100 levels".to_owned()));
        assert!(read(&"[".repeat(100_000)).is_err(), "without an end");
    }
}
