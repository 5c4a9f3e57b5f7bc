//! What mesh proxies report, and the settings that ride along.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::service::Scope;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TelemetryResource {
    pub name: String,
    pub namespace: String,
    #[serde(default)]
    pub scope: Scope,
    #[serde(default)]
    pub config: TelemetryConfig,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TelemetryConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_logging: Option<AccessLogging>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TracingMode {
    Client,
    Server,
    ClientAndServer,
}
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tracing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TracingMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_percentage: Option<f64>,
    #[serde(alias = "disableSpanReporting", skip_serializing_if = "Option::is_none")]
    pub disable_span_reporting: Option<bool>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_header_tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", alias = "provider", deserialize_with = "one_or_many")]
    pub providers: Vec<TracingProvider>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "config", rename_all = "snake_case")]
pub enum TracingProvider {
    Zipkin {
        url: String,
    },
    Datadog {
        agent_url: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    Lightstep {
        collector_url: String,
        #[serde(alias = "accessTokenEnv")]
        access_token_env: String,
    },
    Opentelemetry {
        endpoint: String,
    },
}

/// A list, or one object without the list around it.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TracingProvider>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<TracingProvider>),
        One(TracingProvider),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(providers) => providers,
        OneOrMany::One(provider) => vec![provider],
    })
}
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tag_overrides: Vec<TagOverride>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_metrics: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagOverride {
    pub name: String,
    pub operation: TagOperation,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TagOperation {
    Remove,
    Rename { new_name: String },
    Set { value: String },
}
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessLogging {
    #[serde(default = "crate::model::enabled")]
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<AccessLogFilter>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessLogFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code_min: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code_max: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_latency_ms: Option<u64>,
    #[serde(default)]
    pub errors_only: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProxyConfig {
    pub name: String,
    pub namespace: String,
    #[serde(default)]
    pub scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing_sampling: Option<f64>,
}
