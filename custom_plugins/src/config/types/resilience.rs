use serde::{Deserialize, Deserializer, Serialize};

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryConfig {
    pub max_retries: u32,
    pub retryable_status_codes: Vec<u16>,
    pub retryable_methods: Vec<String>,
    #[serde(deserialize_with = "backoff")]
    pub backoff: BackoffStrategy,
    pub retry_on_connect_failure: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            retryable_status_codes: Vec::new(),
            retryable_methods: ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].map(str::to_owned).into(),
            backoff: BackoffStrategy::default(),
            retry_on_connect_failure: true,
        }
    }
}

/// The wait before an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackoffStrategy {
    Fixed { delay_ms: u64 },
    Exponential { base_ms: u64, max_ms: u64 },
}

impl Default for BackoffStrategy {
    fn default() -> Self {
        BackoffStrategy::Fixed { delay_ms: 100 }
    }
}

/// Documents may write it in every form that the gateway reads.
fn backoff<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BackoffStrategy, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let retry: engine::model::Retry =
        serde_json::from_value(serde_json::json!({ "backoff": value })).map_err(serde::de::Error::custom)?;
    Ok(match retry.backoff {
        engine::model::Backoff::Fixed { delay_ms } => BackoffStrategy::Fixed { delay_ms },
        engine::model::Backoff::Exponential { base_ms, max_ms } => BackoffStrategy::Exponential { base_ms, max_ms },
    })
}

/// When to stop asking a backend for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitBreakerConfig {
    pub failure_threshold: u32,
    pub success_threshold: u32,
    pub timeout_seconds: u64,
    pub failure_status_codes: Vec<u16>,
    pub half_open_max_requests: u32,
    pub trip_on_connection_errors: bool,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            success_threshold: 3,
            timeout_seconds: 30,
            failure_status_codes: vec![500, 502, 503, 504],
            half_open_max_requests: 1,
            trip_on_connection_errors: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::of_model;

    #[test]
    fn the_defaults_are_those_of_the_gateway() {
        assert_eq!(CircuitBreakerConfig::default(), of_model(&engine::model::CircuitBreaker::default()).unwrap());
        assert_eq!(RetryConfig::default(), of_model(&engine::model::Retry::default()).unwrap());
    }
}
