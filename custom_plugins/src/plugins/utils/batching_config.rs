//! The configuration of a batching sink.

use std::time::Duration;

use serde_json::Value;

use super::batching_logger::{BatchConfig, RetryPolicy};

pub const MAX_BATCH_SIZE: usize = 10_000;
pub const MAX_BUFFER_CAPACITY: usize = 1_000_000;

/// What holds for keys that are not set.
pub struct BatchConfigDefaults {
    pub batch_size_key: &'static str,
    pub batch_size: u64,
    pub flush_interval_ms: u64,
    pub min_flush_interval_ms: u64,
    pub buffer_capacity: u64,
    pub max_retries: u64,
    pub retry_delay_ms: u64,
}

/// Wrong values count as not set; [`validate_batch_config`] tells of them.
pub fn build_batch_config(config: &Value, plugin_name: &'static str, defaults: BatchConfigDefaults) -> BatchConfig {
    let number = |key: &str, default: u64| config[key].as_u64().unwrap_or(default);
    let count =
        |key: &str, default: u64, max: usize| usize::try_from(number(key, default)).unwrap_or(max).clamp(1, max);
    let interval_ms = number("flush_interval_ms", defaults.flush_interval_ms).max(defaults.min_flush_interval_ms);
    let retries = number("max_retries", defaults.max_retries);
    BatchConfig {
        batch_size: count(defaults.batch_size_key, defaults.batch_size, MAX_BATCH_SIZE),
        flush_interval: Duration::from_millis(interval_ms),
        buffer_capacity: count("buffer_capacity", defaults.buffer_capacity, MAX_BUFFER_CAPACITY),
        retry: RetryPolicy {
            max_attempts: u32::try_from(retries).unwrap_or(u32::MAX).saturating_add(1),
            delay: Duration::from_millis(number("retry_delay_ms", defaults.retry_delay_ms)),
        },
        plugin_name,
    }
}

/// # Errors
/// A key has a value that is no unsigned integer.
pub fn validate_batch_config(
    config: &Value,
    plugin_name: &'static str,
    defaults: BatchConfigDefaults,
) -> Result<(), String> {
    let keys = [defaults.batch_size_key, "flush_interval_ms", "buffer_capacity", "max_retries", "retry_delay_ms"];
    let wrong = keys.into_iter().find(|key| !config[*key].is_null() && config[*key].as_u64().is_none());
    wrong.map_or(Ok(()), |key| Err(format!("{plugin_name}: '{key}' must be an unsigned integer")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn defaults() -> BatchConfigDefaults {
        BatchConfigDefaults {
            batch_size_key: "size",
            batch_size: 50,
            flush_interval_ms: 1000,
            min_flush_interval_ms: 100,
            buffer_capacity: 10,
            max_retries: 3,
            retry_delay_ms: 5,
        }
    }

    #[test]
    fn numbers_are_kept_within_their_limits() {
        let plain = build_batch_config(&json!({}), "p", defaults());
        assert_eq!((plain.batch_size, plain.buffer_capacity, plain.retry.max_attempts), (50, 10, 4));
        let config = json!({"size": 0, "buffer_capacity": 2_000_000, "flush_interval_ms": 1, "max_retries": 0});
        let bounded = build_batch_config(&config, "p", defaults());
        assert_eq!(
            (bounded.batch_size, bounded.buffer_capacity, bounded.retry.max_attempts),
            (1, MAX_BUFFER_CAPACITY, 1)
        );
        assert_eq!(bounded.flush_interval, Duration::from_millis(100));
        let large = build_batch_config(&json!({"size": 10_001}), "p", defaults());
        assert_eq!(large.batch_size, MAX_BATCH_SIZE);
    }

    #[test]
    fn what_is_no_unsigned_integer_is_refused() {
        assert!(validate_batch_config(&json!({"size": 1}), "p", defaults()).is_ok());
        for wrong in [json!("1"), json!(-1), json!(1.5)] {
            let told = validate_batch_config(&json!({"size": wrong}), "p", defaults()).unwrap_err();
            assert_eq!(told, "p: 'size' must be an unsigned integer");
        }
    }
}
