//! The schema of a plugin's configuration.

use std::sync::Arc;

use serde_json::Value;

use super::SummarySchema;

/// Reads `schema` or `schema_ref`; nothing when neither is there. Named schemas come from the plugin `transaction_log_schema`,
/// which this release does not have, so that every name is unknown.
///
/// # Errors
/// What is wrong with them.
pub fn resolve_schema(config: &Value, plugin_name: &str) -> Result<Option<Arc<SummarySchema>>, String> {
    match (config.get("schema"), config.get("schema_ref")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(format!("{plugin_name}: 'schema' and 'schema_ref' are mutually exclusive")),
        (Some(schema), None) => SummarySchema::compile(schema, plugin_name).map(Some),
        (None, Some(reference)) => Err(match reference.as_str() {
            None => format!("{plugin_name}: 'schema_ref' must be a string"),
            Some(name) => format!(
                "{plugin_name}: 'schema_ref' references unknown schema '{name}' (define it in a 'transaction_log_schema' plugin)"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_inline_or_named_and_not_both() {
        assert!(resolve_schema(&json!({}), "p").unwrap().is_none());
        assert!(resolve_schema(&Value::Null, "p").unwrap().is_none());
        let schema = resolve_schema(&json!({"schema": {"summary_type": "http", "rename": {"client_ip": "ip"}}}), "p");
        let schema = schema.unwrap().unwrap();
        assert!(schema.applies_to_http() && !schema.applies_to_stream());
        assert_eq!((schema.rename_for_tag("client_ip"), schema.rename_for_tag("namespace")), (Some("ip"), None));
        let errors = [
            (json!({"schema": {}, "schema_ref": "a"}), "p: 'schema' and 'schema_ref' are mutually exclusive"),
            (json!({"schema_ref": 1}), "p: 'schema_ref' must be a string"),
            (
                json!({"schema_ref": "a"}),
                "p: 'schema_ref' references unknown schema 'a' (define it in a 'transaction_log_schema' plugin)",
            ),
            (json!({"schema": 1}), "p: 'schema' must be an object"),
        ];
        for (config, text) in errors {
            assert_eq!(resolve_schema(&config, "p").unwrap_err(), text);
        }
    }
}
