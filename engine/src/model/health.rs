//! `health_checks` of an upstream (resources sheet §7.6, §7.7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

const DAY_MS: u64 = 86_400_000;
const DAY_SECONDS: u64 = 86_400;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthChecks {
    pub active: Option<ActiveHealthCheck>,
    pub passive: Option<PassiveHealthCheck>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeType {
    #[default]
    Http,
    Tcp,
    Udp,
    Grpc,
}

/// Probes of each static target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ActiveHealthCheck {
    pub http_path: String,
    /// 1 to 3,600.
    pub interval_seconds: u64,
    /// 1 to 86,400,000.
    pub timeout_ms: u64,
    /// 1 to 10,000 successes in a row.
    pub healthy_threshold: u32,
    /// 1 to 10,000 failures in a row.
    pub unhealthy_threshold: u32,
    /// Empty = any 2xx.
    pub healthy_status_codes: Vec<u16>,
    pub use_tls: bool,
    pub probe_type: ProbeType,
    /// Hex; anything else sends one zero byte.
    pub udp_probe_payload: Option<String>,
    pub grpc_service_name: Option<String>,
}

impl Default for ActiveHealthCheck {
    fn default() -> Self {
        Self {
            http_path: "/health".into(),
            interval_seconds: 10,
            timeout_ms: 5000,
            healthy_threshold: 3,
            unhealthy_threshold: 3,
            healthy_status_codes: vec![200, 302],
            use_tls: false,
            probe_type: ProbeType::Http,
            udp_probe_payload: None,
            grpc_service_name: None,
        }
    }
}

/// What a proxy concludes from its own responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PassiveHealthCheck {
    pub unhealthy_status_codes: Vec<u16>,
    /// 1 to 1,000.
    pub unhealthy_threshold: u32,
    /// 1 to 86,400.
    pub unhealthy_window_seconds: u64,
    /// 0 to 86,400; 0 = no timer.
    pub healthy_after_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u8>,
    /// Stored, without effect, like the one after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_error_codes: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_external_local_origin_errors: Option<bool>,
}

impl Default for PassiveHealthCheck {
    fn default() -> Self {
        Self {
            unhealthy_status_codes: vec![500, 502, 503, 504],
            unhealthy_threshold: 3,
            unhealthy_window_seconds: 30,
            healthy_after_seconds: 30,
            max_ejection_percent: None,
            gateway_error_codes: None,
            split_external_local_origin_errors: None,
        }
    }
}

impl HealthChecks {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if let Some(active) = &self.active {
            active.check(errors);
        }
        if let Some(passive) = &self.passive {
            passive.check(errors);
        }
    }
}

impl ActiveHealthCheck {
    fn check(&self, errors: &mut Vec<String>) {
        rules::text(errors, "health_checks.active.http_path", &self.http_path, 2048);
        rules::range(errors, "health_checks.active.interval_seconds", self.interval_seconds, 1, 3600);
        rules::range(errors, "health_checks.active.timeout_ms", self.timeout_ms, 1, DAY_MS);
        rules::range(errors, "health_checks.active.healthy_threshold", self.healthy_threshold, 1, 10_000);
        rules::range(errors, "health_checks.active.unhealthy_threshold", self.unhealthy_threshold, 1, 10_000);
        rules::status_codes(errors, "health_checks.active.healthy_status_codes", &self.healthy_status_codes);
        let payload = self.udp_probe_payload.as_deref();
        rules::optional_text(errors, "health_checks.active.udp_probe_payload", payload, 2048);
    }
}

impl PassiveHealthCheck {
    fn check(&self, errors: &mut Vec<String>) {
        rules::status_codes(errors, "health_checks.passive.unhealthy_status_codes", &self.unhealthy_status_codes);
        rules::range(errors, "health_checks.passive.unhealthy_threshold", self.unhealthy_threshold, 1, 1000);
        let window = self.unhealthy_window_seconds;
        rules::range(errors, "health_checks.passive.unhealthy_window_seconds", window, 1, DAY_SECONDS);
        rules::range(errors, "health_checks.passive.healthy_after_seconds", self.healthy_after_seconds, 0, DAY_SECONDS);
        let ejection = self.max_ejection_percent;
        rules::optional_range(errors, "health_checks.passive.max_ejection_percent", ejection, 0, 100);
    }
}
