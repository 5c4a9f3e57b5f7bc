//! What the names and values in a schema are compared with.

use serde_json::Value;

/// The known name that `name` was probably meant to be: at most two edits away, three for names longer than 8.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = if name.chars().count() <= 8 { 2 } else { 3 };
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// ` (did you mean 'x'?)`, or nothing.
pub(super) fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    suggestion(name, known).map_or_else(String::new, |meant| format!(" (did you mean '{meant}'?)"))
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Authentication schemes a credential starts with (the IANA registry, and AWS's).
const SCHEMES: [&str; 11] = [
    "basic",
    "bearer",
    "digest",
    "negotiate",
    "ntlm",
    "hoba",
    "mutual",
    "scram-sha-1",
    "scram-sha-256",
    "vapid",
    "aws4-hmac-sha256",
];

/// Whether a text looks like the value of an `Authorization` header: a scheme, then one unbroken token or `key=`.
pub(super) fn looks_like_credential(text: &str) -> bool {
    let text = text.trim_start();
    let Some((scheme, rest)) = text.split_once([' ', '\t']) else { return false };
    if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return false;
    }
    let rest = rest.trim();
    let mut words = rest.split_whitespace();
    let first = words.next().unwrap_or_default();
    let is_parameter = first.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    !first.is_empty() && (words.next().is_none() || is_parameter)
}

/// Every string inside a value.
pub(super) fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(map) => map.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// Every key of objects inside a value.
pub(super) fn nested_keys<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| nested_keys(item, found)),
        Value::Object(map) => {
            for (key, item) in map {
                found.push(key);
                nested_keys(item, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshtein_s() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["client_ip", "namespace", "proxy_id"];
        assert_eq!(suggestion("clientip", known.into_iter()), Some("client_ip"));
        assert_eq!(suggestion("proxi_it", known.into_iter()), Some("proxy_id"));
        assert_eq!(suggestion("proxidit", known.into_iter()), None);
        assert_eq!(suggestion("nimispice", known.into_iter()), Some("namespace"));
    }

    #[test]
    fn credentials_are_told_from_prose() {
        for text in ["Bearer abc.def", "  basic dXNlcg==", "Digest username=\"a\", realm=\"b\"", "NTLM\tabc"] {
            assert!(looks_like_credential(text), "{text}");
        }
        for text in ["AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=c", "vapid t=a, k=b"] {
            assert!(looks_like_credential(text), "{text}");
        }
        for text in ["Basic plan for all", "bearer", "Bearer ", "Mutual respect is good", "basics x", "eu-west-1"] {
            assert!(!looks_like_credential(text), "{text}");
        }
    }
}
