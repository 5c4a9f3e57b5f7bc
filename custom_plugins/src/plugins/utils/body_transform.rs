//! Bodies that are JSON: which are, and values in them by dotted path (`user.address.0.city`).

use serde_json::Value;

pub fn is_json_content_type(content_type: &str) -> bool {
    let content_type = content_type.to_lowercase();
    content_type.contains("application/json") || content_type.contains("+json")
}

pub fn is_event_stream_content_type(content_type: &str) -> bool {
    content_type.trim_start().get(..17).is_some_and(|start| start.eq_ignore_ascii_case("text/event-stream"))
}

fn step<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(map) => map.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

pub fn get_nested_value<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Makes the objects on the way; answers whether the value could be set.
pub fn set_nested_value(value: &mut Value, path: &str, new: Value) -> bool {
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    let mut at = value;
    for key in parents.into_iter().flat_map(|parents| parents.split('.')) {
        if let Value::Object(map) = at {
            at = map.entry(key).or_insert_with(|| Value::Object(serde_json::Map::new()));
            continue;
        }
        let Some(next) = step(at, key) else { return false };
        at = next;
    }
    match at {
        Value::Object(map) => {
            map.insert(last.to_owned(), new);
            true
        }
        Value::Array(_) => step(at, last).map(|slot| *slot = new).is_some(),
        _ => false,
    }
}

/// Answers with what was there.
pub fn remove_nested_value(value: &mut Value, path: &str) -> Option<Value> {
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    let at = parents.into_iter().flat_map(|parents| parents.split('.')).try_fold(value, step)?;
    match at {
        Value::Object(map) => map.shift_remove(last),
        Value::Array(items) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len())?;
            Some(items.remove(index))
        }
        _ => None,
    }
}

/// Moves a value to another path; answers whether there was one.
pub fn rename_nested_field(value: &mut Value, from: &str, to: &str) -> bool {
    remove_nested_value(value, from).is_some_and(|moved| set_nested_value(value, to, moved))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_set_moved_and_removed_by_path() {
        let mut value = json!({"a": {"b": [1, {"c": 2}]}});
        assert_eq!(get_nested_value(&value, "a.b.1.c"), Some(&json!(2)));
        assert_eq!(get_nested_value(&value, "a.x"), None);
        assert!(
            set_nested_value(&mut value, "a.new.deep", json!(3)) && set_nested_value(&mut value, "a.b.0", json!(9))
        );
        assert!(!set_nested_value(&mut value, "a.b.0.x", json!(1)));
        assert!(rename_nested_field(&mut value, "a.new.deep", "top"));
        assert_eq!(remove_nested_value(&mut value, "a.b.1"), Some(json!({"c": 2})));
        assert_eq!(value, json!({"a": {"b": [9], "new": {}}, "top": 3}));
    }

    #[test]
    fn content_types_are_judged_without_parameters() {
        assert!(
            is_json_content_type("Application/JSON; charset=utf-8") && is_json_content_type("application/hal+json")
        );
        assert!(!is_json_content_type("text/plain"));
        assert!(
            is_event_stream_content_type("Text/Event-Stream;charset=utf-8") && !is_event_stream_content_type("text/e")
        );
    }
}
