//! Where a plugin wants a request to go instead.

use std::collections::HashMap;
use std::sync::Arc;

use super::RequestContext;
use crate::config::types::{BackendTlsConfig, Proxy, Upstream};

impl RequestContext {
    /// Whether any of upstream, host, port, TLS, read timeout and retry is set.
    pub fn has_route_overrides(&self) -> bool {
        self.route_override_upstream_id.is_some()
            || self.overrides_backend()
            || self.route_override_resolved_tls.is_some()
            || self.route_override_backend_read_timeout_ms.is_some()
            || self.route_override_retry.is_some()
    }

    fn overrides_backend(&self) -> bool {
        self.route_override_backend_host.is_some() || self.route_override_backend_port.is_some()
    }

    pub fn effective_upstream_id<'a>(&'a self, proxy: &'a Proxy) -> Option<&'a str> {
        match &self.route_override_upstream_id {
            Some(id) => Some(id),
            None if self.overrides_backend() => None,
            None => proxy.upstream_id.as_deref(),
        }
    }

    pub fn effective_backend_host<'a>(&'a self, proxy: &'a Proxy) -> &'a str {
        self.route_override_backend_host.as_deref().unwrap_or(&proxy.backend_host)
    }

    pub fn effective_backend_port(&self, proxy: &Proxy) -> u16 {
        self.route_override_backend_port.unwrap_or(proxy.backend_port)
    }

    /// The proxy as this request sees it, without knowledge of upstreams.
    pub fn apply_route_overrides(&self, proxy: Arc<Proxy>) -> Arc<Proxy> {
        self.apply_route_overrides_with_upstreams(proxy, &HashMap::new())
    }

    /// The proxy as this request sees it: the very same when nothing differs.
    pub fn apply_route_overrides_with_upstreams(
        &self,
        proxy: Arc<Proxy>,
        upstreams: &HashMap<String, Arc<Upstream>>,
    ) -> Arc<Proxy> {
        if !self.changes(&proxy) {
            return proxy;
        }
        let mut changed = (*proxy).clone();
        match &self.route_override_upstream_id {
            Some(id) if changed.upstream_id.as_ref() != Some(id) => {
                changed.upstream_id = Some(id.clone());
                changed.upstream_subset = None;
                changed.dispatch_port_overrides = None;
                if let Some(upstream) = upstreams.get(id) {
                    changed.resolved_tls = BackendTlsConfig::from_upstream(upstream);
                }
            }
            Some(_) => {}
            None if self.overrides_backend() => {
                if changed.upstream_id.take().is_some() {
                    changed.resolved_tls = BackendTlsConfig::from_proxy(&changed);
                }
                changed.upstream_subset = None;
                changed.dispatch_port_overrides = None;
            }
            None => {}
        }
        if let Some(host) = &self.route_override_backend_host {
            changed.backend_host.clone_from(host);
        }
        if let Some(port) = self.route_override_backend_port {
            changed.backend_port = port;
        }
        if let Some(tls) = &self.route_override_resolved_tls {
            changed.resolved_tls.clone_from(tls);
        }
        if let Some(timeout_ms) = self.route_override_backend_read_timeout_ms {
            changed.backend_read_timeout_ms = timeout_ms;
        }
        if let Some(retry) = &self.route_override_retry {
            changed.retry.clone_from(retry);
        }
        Arc::new(changed)
    }

    /// Whether an override says something else than the proxy does.
    fn changes(&self, proxy: &Proxy) -> bool {
        let upstream = &self.route_override_upstream_id;
        // Without an upstream, a host of its own is where the proxy goes anyway.
        let leaves_upstream = upstream.is_none() && self.overrides_backend() && proxy.upstream_id.is_some();
        leaves_upstream
            || upstream.as_ref().is_some_and(|id| proxy.upstream_id.as_ref() != Some(id))
            || self.route_override_backend_host.as_ref().is_some_and(|host| *host != proxy.backend_host)
            || self.route_override_backend_port.is_some_and(|port| port != proxy.backend_port)
            || self.route_override_resolved_tls.as_ref().is_some_and(|tls| *tls != proxy.resolved_tls)
            || self.route_override_backend_read_timeout_ms.is_some_and(|ms| ms != proxy.backend_read_timeout_ms)
            || self.route_override_retry.as_ref().is_some_and(|retry| *retry != proxy.retry)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::types::RetryConfig;

    fn proxy(fields: Value) -> Arc<Proxy> {
        let mut document = json!({"backend_host": "own", "backend_port": 80});
        document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let mut proxy: Proxy = serde_json::from_value(document).unwrap();
        proxy.resolved_tls = BackendTlsConfig { sni: Some("of its upstream".into()), ..BackendTlsConfig::default() };
        Arc::new(proxy)
    }

    fn context() -> RequestContext {
        RequestContext::new(String::new(), String::new(), String::new())
    }

    #[test]
    fn nothing_new_gives_the_very_same_proxy() {
        let proxy = proxy(json!({"upstream_id": "u"}));
        let mut cx = context();
        assert!(Arc::ptr_eq(&proxy, &cx.apply_route_overrides(proxy.clone())) && !cx.has_route_overrides());
        cx.route_override_upstream_id = Some("u".into());
        cx.route_override_backend_read_timeout_ms = Some(30_000);
        cx.route_override_retry = Some(None);
        assert!(Arc::ptr_eq(&proxy, &cx.apply_route_overrides(proxy.clone())) && cx.has_route_overrides());
    }

    #[test]
    fn an_upstream_brings_its_tls_and_clears_the_subset() {
        let proxy = proxy(json!({"upstream_id": "u", "upstream_subset": "v1"}));
        let upstream: Upstream =
            serde_json::from_value(json!({"id": "w", "targets": [], "backend_tls_sni": "w.example"})).unwrap();
        let upstreams = HashMap::from([("w".to_owned(), Arc::new(upstream))]);
        let cx = RequestContext { route_override_upstream_id: Some("w".into()), ..context() };
        let applied = cx.apply_route_overrides_with_upstreams(proxy.clone(), &upstreams);
        assert_eq!((applied.upstream_id.as_deref(), applied.upstream_subset.as_deref()), (Some("w"), None));
        assert_eq!(applied.resolved_tls.sni.as_deref(), Some("w.example"));
        let unknown = cx.apply_route_overrides(proxy.clone());
        assert_eq!(unknown.resolved_tls, proxy.resolved_tls, "what is not known does not change");
        assert_eq!(cx.effective_upstream_id(&proxy), Some("w"));
    }

    #[test]
    fn a_host_or_port_leaves_the_upstream() {
        let proxy = proxy(json!({"upstream_id": "u", "upstream_subset": "v1"}));
        let cx = RequestContext { route_override_backend_port: Some(8080), ..context() };
        let applied = cx.apply_route_overrides(proxy.clone());
        assert_eq!(
            (applied.backend_host.as_str(), applied.backend_port, applied.upstream_id.as_deref()),
            ("own", 8080, None)
        );
        assert_eq!(applied.resolved_tls, BackendTlsConfig::from_proxy(&proxy));
        assert_eq!(cx.effective_upstream_id(&proxy), None);
        assert_eq!((cx.effective_backend_host(&proxy), cx.effective_backend_port(&proxy)), ("own", 8080));
    }

    #[test]
    fn tls_timeout_and_retry_are_replaced_alone() {
        let proxy = proxy(json!({"retry": {}}));
        let cx = RequestContext {
            route_override_resolved_tls: Some(BackendTlsConfig::default_verify()),
            route_override_backend_read_timeout_ms: Some(5),
            route_override_retry: Some(None),
            ..context()
        };
        let applied = cx.apply_route_overrides(proxy.clone());
        assert!(
            applied.resolved_tls.verify_server_cert
                && applied.retry.is_none()
                && proxy.retry == Some(RetryConfig::default())
        );
        assert_eq!(applied.backend_read_timeout_ms, 5);
    }
}
