use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::default_namespace;

/// Somebody the gateway knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    #[serde(default)]
    pub id: String,
    pub username: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub custom_id: Option<String>,
    /// By type; what the gateway accepts is an array of objects under each.
    #[serde(default)]
    pub credentials: HashMap<String, Value>,
    #[serde(default)]
    pub acl_groups: Vec<String>,
    #[serde(default = "Utc::now")]
    pub created_at: DateTime<Utc>,
    #[serde(default = "Utc::now")]
    pub updated_at: DateTime<Utc>,
}

/// Enough for any rotation of credentials; the gateway's own limit is a setting.
const CREDENTIALS_PER_TYPE_MAX: usize = 1000;

impl Consumer {
    /// The objects under that type; none for anything that is not an array.
    pub fn credential_entries(&self, cred_type: &str) -> Vec<&Value> {
        let entries = self.credentials.get(cred_type).and_then(Value::as_array);
        entries.into_iter().flatten().filter(|entry| entry.is_object()).collect()
    }

    pub fn has_credential(&self, cred_type: &str) -> bool {
        !self.credential_entries(cred_type).is_empty()
    }

    /// A blank `custom_id` is none.
    pub fn normalize_fields(&mut self) {
        if self.custom_id.as_deref().is_some_and(|id| id.trim().is_empty()) {
            self.custom_id = None;
        }
    }

    /// # Errors
    /// All that the gateway would refuse about it.
    pub fn validate_fields(&self) -> Result<(), Vec<String>> {
        let consumer: engine::model::Consumer = super::of_model(self).map_err(|error| vec![error])?;
        let errors = consumer.check_fields(CREDENTIALS_PER_TYPE_MAX);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The texts under `key` in the entries of a type.
    pub(crate) fn credential_texts<'a>(&'a self, cred_type: &str, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.credential_entries(cred_type).into_iter().filter_map(move |entry| entry.get(key)?.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn consumer(fields: Value) -> Consumer {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn a_username_is_enough() {
        let alice = consumer(json!({"username": "alice"}));
        assert_eq!((alice.id.as_str(), alice.namespace.as_str(), alice.custom_id.as_deref()), ("", "ferrum", None));
        assert!(serde_json::from_value::<Consumer>(json!({"username": "alice", "usrname": 1})).is_err());
    }

    #[test]
    fn only_objects_of_an_array_are_credentials() {
        let alice = consumer(json!({"username": "a", "credentials": {"t": [{"k": "1"}, 2, {"k": 3}], "s": "text"}}));
        assert_eq!(alice.credential_entries("t").len(), 2);
        assert_eq!(alice.credential_texts("t", "k").collect::<Vec<_>>(), ["1"]);
        assert!(alice.has_credential("t") && !alice.has_credential("s") && !alice.has_credential("none"));
    }

    #[test]
    fn what_the_gateway_refuses_is_told() {
        assert!(consumer(json!({"username": "a"})).validate_fields().is_ok());
        let errors = consumer(json!({"username": " ", "credentials": {"t": "x"}})).validate_fields().unwrap_err();
        assert_eq!(errors, ["username must not be empty", "credentials.t must be an array of JSON objects"]);
    }
}
