//! `GET /admin/metrics`: the gateway in one document (admin sheet §27).

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::reply::{self, Reply};
use super::windows::{self, Totals};
use super::{Admin, lock, timestamp};
use crate::dns::Dns;

/// Shown even when never seen.
const CODES_SEEDED: [u16; 17] = [200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 405, 408, 429, 500, 502, 503, 504];

/// Figures of the router's lookup caches.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouterCaches {
    pub prefix_cache_entries: u64,
    pub regex_cache_entries: u64,
    pub prefix_eviction_count: u64,
    pub regex_eviction_count: u64,
    pub max_cache_entries: u64,
}

/// What the proxying parts know about themselves. Each part that comes to the product overrides its own question.
pub trait TrafficReads: Send + Sync {
    /// `{class: count}` by proxy, counts above zero only.
    fn errors_by_proxy(&self) -> Value {
        json!({})
    }
    /// `[{proxy_id, target, state, failure_count, success_count}]`.
    fn circuit_breakers(&self) -> Vec<Value> {
        Vec::new()
    }
    /// `[{target, type, since_epoch_ms}]`.
    fn unhealthy_targets(&self) -> Vec<Value> {
        Vec::new()
    }
    /// `{upstream_id: {"host:port": connections}}`, counts above zero only.
    fn target_connections(&self) -> Value {
        json!({})
    }
    /// Idle HTTP/1.1 connections by pool key.
    fn pool_entries(&self) -> Map<String, Value> {
        Map::new()
    }
    fn router_caches(&self) -> RouterCaches {
        RouterCaches::default()
    }
    /// Credentials in the index by kind, as `key_auth_credentials` and so on; kinds left out are zero.
    fn credentials(&self) -> Map<String, Value> {
        Map::new()
    }
    fn rate_limit_keys(&self) -> u64 {
        0
    }
}

/// A gateway that has none of these parts.
pub struct NoTraffic;

impl TrafficReads for NoTraffic {}

impl Admin {
    pub(super) fn gateway_metrics(&self) -> Reply {
        let (body, is_hit) = self.gateway.get(|| self.gateway_document().to_string().into_bytes());
        reply::with_cache(reply::json_bytes(StatusCode::OK, body), is_hit)
    }

    fn gateway_document(&self) -> Value {
        let traffic = &self.sources.traffic;
        let entries = traffic.pool_entries();
        let unhealthy = traffic.unhealthy_targets();
        let caches = traffic.router_caches();
        let dns_entries = self.sources.dns.as_ref().map(Dns::stats).unwrap_or_default().cache_entries;
        json!({
            "gateway": self.gateway_block(),
            "connection_pools": {
                "http": {
                    "total_pools": entries.len(),
                    "max_idle_per_host": self.options.pool_max_idle_per_host,
                    "idle_timeout_seconds": self.options.pool_idle_timeout_seconds,
                    "entries_per_host": entries,
                },
                "grpc": { "total_connections": 0 },
                "http2": { "total_connections": 0 },
                "http3": { "total_connections": 0 },
            },
            "circuit_breakers": traffic.circuit_breakers(),
            "health_check": { "unhealthy_target_count": unhealthy.len(), "unhealthy_targets": unhealthy },
            "load_balancers": { "active_connections": traffic.target_connections() },
            "caches": {
                "router": {
                    "prefix_cache_entries": caches.prefix_cache_entries,
                    "regex_cache_entries": caches.regex_cache_entries,
                    "prefix_eviction_count": caches.prefix_eviction_count,
                    "regex_eviction_count": caches.regex_eviction_count,
                    "max_cache_entries": caches.max_cache_entries,
                },
                "dns": { "cache_entries": dns_entries },
            },
            "consumer_index": self.consumer_index(),
            "rate_limiting": { "tracked_key_count": traffic.rate_limit_keys() },
        })
    }

    fn gateway_block(&self) -> Value {
        let totals = Totals::of(&self.sources.counters);
        let config = self.sources.resources.as_ref().and_then(|resources| resources.summary());
        let samples = lock(&self.samples);
        let window = &samples.windows.status;
        let per_second: Map<_, _> =
            window.statuses_per_second().map(|(status, rate)| (status.to_string(), (rate as u64).into())).collect();
        let mut seen: Map<String, Value> = CODES_SEEDED.iter().map(|code| (code.to_string(), 0.into())).collect();
        if let Value::Object(counts) = windows::counts(&totals) {
            seen.extend(counts);
        }
        json!({
            "mode": self.options.mode,
            "ferrum_version": self.options.version,
            "uptime_seconds": self.uptime_seconds(),
            "total_requests": totals.requests,
            "status_codes_total": seen,
            "requests_per_second": window.requests_per_second() as u64,
            "status_codes_per_second": per_second,
            "metrics_window_seconds": self.options.status_window.as_secs(),
            "config_last_updated_at": config.map(|config| timestamp::with_offset(config.loaded_at)),
            "config_source_status": "n/a",
            "proxy_count": config.map_or(0, |config| config.proxies),
            "consumer_count": config.map_or(0, |config| config.consumers),
            "upstream_count": config.map_or(0, |config| config.upstreams),
            "plugin_config_count": config.map_or(0, |config| config.plugin_configs),
        })
    }

    fn consumer_index(&self) -> Value {
        let consumers = self.sources.resources.as_ref().and_then(|resources| resources.summary());
        let mut index = json!({
            "total_consumers": consumers.map_or(0, |config| config.consumers),
            "key_auth_credentials": 0,
            "basic_auth_credentials": 0,
            "mtls_credentials": 0,
            "jwt_credentials": 0,
            "hmac_credentials": 0,
            "identity_credentials": 0,
        });
        if let Some(index) = index.as_object_mut() {
            index.extend(self.sources.traffic.credentials());
        }
        index
    }
}
