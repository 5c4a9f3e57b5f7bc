//! Limits on sizes.

use std::collections::HashMap;

use serde_json::Value;

use crate::plugins::PluginResult;

/// # Errors
/// The key is missing or no positive integer.
pub fn required_positive_u64(config: &Value, key: &'static str, plugin: &'static str) -> Result<u64, String> {
    match config[key].as_u64() {
        Some(0) => Err(format!("{plugin}: '{key}' must be greater than zero")),
        Some(number) => Ok(number),
        None if config[key].is_null() => Err(format!("{plugin}: '{key}' is required")),
        None => Err(format!("{plugin}: '{key}' must be an unsigned integer")),
    }
}

/// A rejection that names the limit.
pub fn reject_with_limit(status_code: u16, error: &'static str, limit: u128) -> PluginResult {
    let body = format!(r#"{{"error":{},"limit":{limit}}}"#, Value::from(error));
    PluginResult::Reject { status_code, body, headers: HashMap::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_is_required_and_positive() {
        let read = |config: Value| required_positive_u64(&config, "max", "p");
        assert_eq!(read(json!({"max": 1})), Ok(1));
        assert_eq!(read(json!({})).unwrap_err(), "p: 'max' is required");
        assert_eq!(read(json!({"max": 0})).unwrap_err(), "p: 'max' must be greater than zero");
        assert_eq!(read(json!({"max": 1.0})).unwrap_err(), "p: 'max' must be an unsigned integer");
        match reject_with_limit(413, "too large", 5) {
            PluginResult::Reject { status_code: 413, body, .. } => {
                assert_eq!(body, r#"{"error":"too large","limit":5}"#)
            }
            other => panic!("{other:?}"),
        }
    }
}
