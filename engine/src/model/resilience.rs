//! `circuit_breaker` and `retry` of a proxy (resources sheet §5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rules, tagged};

const BACKOFF_MS_MAX: u64 = 300_000;

/// One breaker per proxy and selected target. An empty `failure_status_codes` means that status codes never count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CircuitBreaker {
    /// 1 to 10,000 consecutive failures open it.
    pub failure_threshold: u32,
    /// 1 to 10,000 probe successes close it.
    pub success_threshold: u32,
    /// 1 to 86,400.
    pub timeout_seconds: u64,
    pub failure_status_codes: Vec<u16>,
    /// 1 to 10,000 probes at a time.
    pub half_open_max_requests: u32,
    pub trip_on_connection_errors: bool,
}

impl Default for CircuitBreaker {
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

impl CircuitBreaker {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        rules::range(errors, "circuit_breaker.failure_threshold", self.failure_threshold, 1, 10_000);
        rules::range(errors, "circuit_breaker.success_threshold", self.success_threshold, 1, 10_000);
        rules::range(errors, "circuit_breaker.timeout_seconds", self.timeout_seconds, 1, 86_400);
        rules::status_codes(errors, "circuit_breaker.failure_status_codes", &self.failure_status_codes);
        rules::range(errors, "circuit_breaker.half_open_max_requests", self.half_open_max_requests, 1, 10_000);
    }
}

/// When to try again; a proxy without it never does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// Attempts after the first, 0 to 100.
    pub max_retries: u32,
    pub retryable_status_codes: Vec<u16>,
    pub retryable_methods: Vec<String>,
    #[serde(deserialize_with = "tagged::tag_or_map")]
    pub backoff: Backoff,
    pub retry_on_connect_failure: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_retries: 3,
            retryable_status_codes: Vec::new(),
            retryable_methods: ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].map(str::to_owned).into(),
            backoff: Backoff::default(),
            retry_on_connect_failure: true,
        }
    }
}

/// Delay before an attempt, in milliseconds of at most 300,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    Fixed { delay_ms: u64 },
    Exponential { base_ms: u64, max_ms: u64 },
}

impl Default for Backoff {
    fn default() -> Self {
        Self::Fixed { delay_ms: 100 }
    }
}

impl Retry {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        rules::range(errors, "retry.max_retries", self.max_retries, 0, 100);
        rules::status_codes(errors, "retry.retryable_status_codes", &self.retryable_status_codes);
        rules::entries(errors, "retry.retryable_methods", self.retryable_methods.len(), 9);
        rules::methods(errors, "retry.retryable_methods", &self.retryable_methods);
        let mut at_most = |field: &str, value: u64| {
            if value > BACKOFF_MS_MAX {
                errors.push(format!("retry.backoff.{field} must not exceed {BACKOFF_MS_MAX} (got {value})"));
            }
        };
        match self.backoff {
            Backoff::Fixed { delay_ms } => at_most("delay_ms", delay_ms),
            Backoff::Exponential { base_ms, max_ms } => {
                at_most("base_ms", base_ms);
                at_most("max_ms", max_ms);
                if base_ms > max_ms {
                    errors.push(format!("retry.backoff.base_ms ({base_ms}) must not exceed backoff.max_ms ({max_ms})"));
                }
            }
        }
    }
}
