//! `prometheus_metrics`: counts every transaction for `GET /metrics` of the admin API (traffic sheet §11).
//!
//! The figures belong to [`Metrics`](crate::metrics::Metrics), which is one for the process: all instances count there, and
//! a reload takes nothing away.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::metrics::{Book, MetricsSettings};
use crate::outbound::Services;
use crate::{CoreEnv, Outcome, Phases, Plugin, Protocols, RequestContext, Specs};

const RENDER_CACHE_TTL: &str = "render_cache_ttl_seconds";
const STALE_ENTRY_TTL: &str = "stale_entry_ttl_seconds";
const CACHE_INVALIDATION_MIN_AGE: &str = "cache_invalidation_min_age_ms";
const MESH_SERIES_BUDGET: &str = "mesh_series_budget_per_family";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrometheusMetrics {
    settings: MetricsSettings,
}

impl BuiltIn for PrometheusMetrics {
    const NAME: &'static str = "prometheus_metrics";
    const PRIORITY: u16 = 9300;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key(
            RENDER_CACHE_TTL,
            "integer ≥ 0",
            "`5`",
            "Seconds for which a page of `/metrics` is served again; 0 = every scrape makes its own",
        ),
        key(
            STALE_ENTRY_TTL,
            "integer ≥ 0",
            "`3600`",
            "Seconds after which a series that nobody touched is shown no more; 0 = never",
        ),
        key(
            CACHE_INVALIDATION_MIN_AGE,
            "integer ≥ 0",
            "`500`",
            "A transaction that the kept page does not show makes it void once the page is older than these milliseconds",
        ),
        key(
            MESH_SERIES_BUDGET,
            "integer ≥ 0",
            "`2000`",
            "Label sets that `ferrum_mesh_requests_total` and `ferrum_mesh_request_duration_ms` may have at a time",
        ),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let default = MetricsSettings::default();
        let settings = MetricsSettings {
            render_cache_ttl_s: keys.unsigned(RENDER_CACHE_TTL).unwrap_or(default.render_cache_ttl_s),
            stale_entry_ttl_s: keys.unsigned(STALE_ENTRY_TTL).unwrap_or(default.stale_entry_ttl_s),
            cache_invalidation_min_age_ms: keys
                .unsigned(CACHE_INVALIDATION_MIN_AGE)
                .unwrap_or(default.cache_invalidation_min_age_ms),
            mesh_series_budget: keys.unsigned(MESH_SERIES_BUDGET).unwrap_or(default.mesh_series_budget),
        };
        if ["schema", "schema_ref"].iter().any(|name| config.get(name).is_some()) {
            let plugin = Self::NAME;
            keys.error(format!(
                "{plugin}: 'schema' / 'schema_ref' is not supported: figures have the labels of their families"
            ));
        }
        keys.finish(Self { settings })
    }
}

impl Specs for PrometheusMetrics {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let book = Book::new(env.services.metrics.clone(), env.core);
        Rc::new(Counting { book: RefCell::new(book) })
    }

    fn start(&self, services: &Arc<Services>) {
        services.metrics.configure(self.settings);
        services.metrics.keep_tidy(&services.runtime);
    }
}

/// The plugin on one core.
struct Counting {
    book: RefCell<Book>,
}

impl Plugin for Counting {
    fn name(&self) -> &'static str {
        PrometheusMetrics::NAME
    }

    fn phases(&self) -> Phases {
        Phases::LOG
    }

    fn log(&self, cx: &RequestContext, outcome: &Outcome) {
        self.book.borrow_mut().count(cx, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{core, outcome, request};
    use engine::counters::Exposition;
    use serde_json::json;

    fn settings(config: &Value) -> MetricsSettings {
        PrometheusMetrics::parse(config).unwrap().spec.settings
    }

    #[test]
    fn an_instance_counts_into_the_figures_of_the_process() {
        let (env, _drain) = core();
        let spec = PrometheusMetrics::parse(&json!({})).unwrap().spec;
        spec.start(&env.services);
        let plugin = spec.build(&env);
        assert_eq!(plugin.phases(), Phases::LOG);
        plugin.log(&request("GET /", &[]), &outcome());
        let mut page = Exposition::new(env.services.metrics.namespace());
        env.services.metrics.render(&mut page);
        let line =
            "ferrum_requests_total{proxy_id=\"orders\",method=\"GET\",status_code=\"200\",namespace=\"ferrum\"} 1";
        let text = page.into_text();
        assert!(text.lines().any(|each| each == line), "{text}");
    }

    #[test]
    fn every_key_is_read_and_null_is_the_defaults() {
        assert_eq!(settings(&Value::Null), MetricsSettings::default());
        assert_eq!(settings(&json!({})), MetricsSettings::default());
        let config = json!({
            "render_cache_ttl_seconds": 1, "stale_entry_ttl_seconds": 2, "cache_invalidation_min_age_ms": 3,
            "mesh_series_budget_per_family": 4,
        });
        let expected = MetricsSettings {
            render_cache_ttl_s: 1,
            stale_entry_ttl_s: 2,
            cache_invalidation_min_age_ms: 3,
            mesh_series_budget: 4,
        };
        assert_eq!(settings(&config), expected);
        assert_eq!(settings(&json!({"stale_entry_ttl_seconds": u64::MAX})).stale_entry_ttl_s, u64::MAX);
    }

    #[test]
    fn configs_are_checked_key_by_key() {
        let refused = |config| PrometheusMetrics::parse(&config).unwrap_err();
        assert_eq!(refused(json!([])), ["prometheus_metrics: config must be an object"]);
        for wrong in [json!(-1), json!(5.0), json!("5"), json!(true)] {
            for key in PrometheusMetrics::KEYS {
                let config = json!({ key.name: wrong });
                let text = format!("prometheus_metrics: '{}' must be an unsigned integer", key.name);
                assert_eq!(refused(config), [text]);
            }
        }
        for config in [json!({"schema": {}}), json!({"schema_ref": "slim"}), json!({"schema": {}, "schema_ref": "x"})] {
            let text = "prometheus_metrics: 'schema' / 'schema_ref' is not supported: figures have the labels of their families";
            assert_eq!(refused(config), [text]);
        }
        let parsed = PrometheusMetrics::parse(&json!({"buckets": []})).unwrap();
        assert_eq!(parsed.warnings, ["prometheus_metrics: unknown key 'buckets' is ignored"]);
    }
}
