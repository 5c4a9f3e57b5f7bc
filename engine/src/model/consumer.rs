//! Consumer and its credentials (resources sheet §10).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{default_namespace, rules, timestamp};

const CREDENTIALS_BYTES_MAX: usize = 65_536;
const CREDENTIAL_VALUE_BYTES_MAX: usize = 4096;
const CREDENTIAL_TYPE_BYTES_MAX: usize = 64;
const JWT_SECRET_BYTES_MIN: usize = 32;

/// Fields in the order in which they are emitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    #[serde(default)]
    pub id: String,
    pub username: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub custom_id: Option<String>,
    /// Type → array of objects. Kept as it was written: custom plugins bring types of their own.
    #[serde(default)]
    pub credentials: Map<String, Value>,
    #[serde(default)]
    pub acl_groups: Vec<String>,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp", default = "timestamp::now")]
    #[schemars(with = "String")]
    pub updated_at: OffsetDateTime,
}

impl Consumer {
    pub fn check_fields(&self, credentials_per_type_max: usize) -> Vec<String> {
        let mut errors = Vec::new();
        if self.username.trim().is_empty() {
            errors.push("username must not be empty".into());
        }
        rules::text(&mut errors, "username", &self.username, 255);
        rules::optional_text(&mut errors, "custom_id", self.custom_id.as_deref(), 255);
        rules::entries(&mut errors, "acl_groups", self.acl_groups.len(), 500);
        for (i, group) in self.acl_groups.iter().enumerate() {
            if group.trim().is_empty() {
                errors.push(format!("acl_groups[{i}] must not be empty"));
            }
            rules::text(&mut errors, "acl_groups entry", group, 255);
        }
        for (kind, value) in &self.credentials {
            check_credentials(&mut errors, kind, value, credentials_per_type_max);
        }
        let bytes = serde_json::to_string(&self.credentials).map_or(0, |json| json.len());
        if bytes > CREDENTIALS_BYTES_MAX {
            errors.push(format!("credentials JSON must not exceed {CREDENTIALS_BYTES_MAX} bytes (got {bytes})"));
        }
        errors
    }

    /// A blank `custom_id` is none (§10.4).
    pub fn normalize(&mut self) {
        if self.custom_id.as_deref().is_some_and(|id| id.trim().is_empty()) {
            self.custom_id = None;
        }
    }

    /// The text under `key` in each entry of a credential type; entries without it are unusable, not wrong.
    pub fn credential_values<'a>(&'a self, kind: &str, key: &'a str) -> impl Iterator<Item = &'a str> {
        let entries = self.credentials.get(kind).and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(move |entry| entry.get(key)?.as_str())
    }
}

fn check_credentials(errors: &mut Vec<String>, kind: &str, value: &Value, entries_max: usize) {
    rules::text(errors, "credential type", kind, CREDENTIAL_TYPE_BYTES_MAX);
    let Some(entries) = value.as_array() else {
        errors.push(format!("credentials.{kind} must be an array of JSON objects"));
        return;
    };
    if entries.is_empty() {
        errors.push(format!("credentials.{kind} array must not be empty — remove the key instead"));
    }
    if entries.len() > entries_max {
        errors.push(format!("credentials.{kind} array must not exceed {entries_max} entries (got {})", entries.len()));
    }
    for (i, entry) in entries.iter().enumerate() {
        if !entry.is_object() {
            errors.push(format!("credentials.{kind}[{i}] must be a JSON object, got {}", type_name(entry)));
        }
    }
    for (i, entry) in entries.iter().filter_map(Value::as_object).enumerate() {
        for (key, value) in entry {
            if let Value::String(value) = value {
                rules::text(errors, &format!("credentials.{kind}[{i}].{key}"), value, CREDENTIAL_VALUE_BYTES_MAX);
            }
        }
        let secret = entry.get("secret").and_then(Value::as_str).filter(|_| kind == "jwt");
        if let Some(secret) = secret.filter(|secret| secret.len() < JWT_SECRET_BYTES_MIN) {
            errors.push(format!(
                "credentials.jwt[{i}].secret must be at least {JWT_SECRET_BYTES_MIN} characters (got {})",
                secret.len()
            ));
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(value: Value) -> Vec<String> {
        serde_json::from_value::<Consumer>(value).unwrap().check_fields(2)
    }

    fn with_credentials(credentials: Value) -> Vec<String> {
        errors(json!({"username": "alice", "credentials": credentials}))
    }

    #[test]
    fn every_message_of_a_consumer() {
        let rows = [
            (json!({"username": "\t"}), "username must not be empty"),
            (json!({"username": "a".repeat(256)}), "username must not exceed 255 characters (got 256)"),
            (json!({"username": "a\u{0}"}), "username must not contain control characters"),
            (
                json!({"username": "a", "custom_id": "a".repeat(256)}),
                "custom_id must not exceed 255 characters (got 256)",
            ),
            (
                json!({"username": "a", "acl_groups": vec!["g"; 501]}),
                "acl_groups must not have more than 500 entries (got 501)",
            ),
            (json!({"username": "a", "acl_groups": ["g", " "]}), "acl_groups[1] must not be empty"),
            (
                json!({"username": "a", "acl_groups": ["g".repeat(256)]}),
                "acl_groups entry must not exceed 255 characters (got 256)",
            ),
        ];
        for (value, expected) in rows {
            assert_eq!(errors(value), [expected]);
        }
        let full = json!({
            "username": "a".repeat(255), "custom_id": "c".repeat(255), "acl_groups": vec!["g".repeat(255); 500]
        });
        assert_eq!(errors(full), [""; 0]);
    }

    #[test]
    fn every_message_of_credentials() {
        let long = "k".repeat(65);
        let rows = [
            (json!({&long: [{}]}), "credential type must not exceed 64 characters (got 65)"),
            (json!({"a\u{2}": [{}]}), "credential type must not contain control characters"),
            (json!({"keyauth": {"key": "a"}}), "credentials.keyauth must be an array of JSON objects"),
            (json!({"keyauth": "a"}), "credentials.keyauth must be an array of JSON objects"),
            (
                json!({"keyauth": [{"key": "a"}, {"key": "b"}, {"key": "c"}]}),
                "credentials.keyauth array must not exceed 2 entries (got 3)",
            ),
            (json!({"keyauth": []}), "credentials.keyauth array must not be empty — "),
            (json!({"x": [null]}), "credentials.x[0] must be a JSON object, got null"),
            (json!({"x": [{}, true]}), "credentials.x[1] must be a JSON object, got boolean"),
            (json!({"x": [1]}), "credentials.x[0] must be a JSON object, got number"),
            (json!({"x": ["s"]}), "credentials.x[0] must be a JSON object, got string"),
            (json!({"x": [[]]}), "credentials.x[0] must be a JSON object, got array"),
            (
                json!({"keyauth": [{"key": "a".repeat(4097)}]}),
                "credentials.keyauth[0].key must not exceed 4096 characters (got 4097)",
            ),
            (
                json!({"keyauth": [{"key": "a\u{1f}"}]}),
                "credentials.keyauth[0].key must not contain control characters",
            ),
            (
                json!({"jwt": [{"secret": "a".repeat(31)}]}),
                "credentials.jwt[0].secret must be at least 32 characters (got 31)",
            ),
        ];
        for (value, expected) in rows {
            let found = with_credentials(value.clone());
            assert!(found.len() == 1 && found[0].starts_with(expected), "{value}: {found:?}");
        }
    }

    #[test]
    fn credentials_at_their_limits_pass() {
        let sound = json!({
            &"k".repeat(64): [{"any": 1}], "keyauth": [{"key": "a".repeat(4096)}, {}], "jwt": [{"secret": "a".repeat(32)}],
            "hmac_auth": [{"secret": "short"}]
        });
        assert_eq!(with_credentials(sound), [""; 0]);
    }

    #[test]
    fn the_index_counts_objects_only() {
        let found = with_credentials(json!({"jwt": [1, {"secret": "short"}]}));
        let expected = [
            "credentials.jwt[0] must be a JSON object, got number",
            "credentials.jwt[0].secret must be at least 32 characters (got 5)",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn all_credentials_together_have_a_size_limit() {
        // {"t":[{"a":[…]}]} is 16 bytes around the list's content
        let of_bytes = |bytes: usize| json!({"t": [{"a": ["x".repeat(bytes - 18)]}]});
        assert_eq!(with_credentials(of_bytes(65_536)), [""; 0]);
        assert_eq!(with_credentials(of_bytes(65_537)), ["credentials JSON must not exceed 65536 bytes (got 65537)"]);
    }

    #[test]
    fn a_blank_custom_id_becomes_none() {
        let mut consumer: Consumer = serde_json::from_value(json!({"username": "a", "custom_id": " \t"})).unwrap();
        consumer.normalize();
        assert_eq!(consumer.custom_id, None);
    }
}
