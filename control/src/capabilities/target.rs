//! The distinct backends of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::snapshot::{BackendAddress, BackendSpec, ProxySpec, Security, Snapshot};
use engine::tls::BackendTlsInputs;
use rustc_hash::FxHashSet;

use super::findings::Findings;

/// One backend, however many proxies lead to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// All that tells it from others, as the admin API shows it (admin sheet §29).
    pub key: String,
    pub host: String,
    pub port: u16,
    pub address: BackendAddress,
    pub security: Security,
    /// The longest of its proxies.
    pub connect_timeout_ms: u64,
    /// A proxy does not offer it HTTP/2.
    pub uses_http1: bool,
}

impl Target {
    pub(super) fn unasked(&self) -> Findings {
        match self.security {
            Security::Plain => Findings::CLEAR,
            Security::Tls(_) | Security::Broken(_) => Findings::UNDER_TLS,
        }
    }
}

/// Every backend that requests can reach, by key.
pub fn targets<P>(snapshot: &Snapshot<P>) -> Vec<Target> {
    let mut found = Found::default();
    // Most proxies share their backend with others: few of many are looked at closely.
    let mut seen = FxHashSet::default();
    for proxy in &snapshot.proxies {
        let upstream = proxy.upstream.map(|upstream| upstream.index);
        if !seen.insert((Arc::as_ptr(&proxy.backend), upstream, proxy.connect_timeout_ms)) {
            continue;
        }
        let entry = upstream.map(|index| &snapshot.upstreams[index as usize]);
        let Some(entry) = entry.filter(|entry| !entry.spec.targets().is_empty()) else {
            found.note(proxy, &proxy.backend.host, proxy.backend.port, &proxy.backend.address);
            continue;
        };
        for (target, address) in entry.spec.targets().iter().zip(&*entry.addresses) {
            // An override holds for whatever the proxy connects to.
            let is_overridden = proxy.backend.pool.dns_override.is_some();
            let address = if is_overridden { &proxy.backend.address } else { address };
            found.note(proxy, &target.host, target.port, address);
        }
    }
    found.0.into_values().collect()
}

#[derive(Default)]
struct Found(BTreeMap<String, Target>);

impl Found {
    fn note(&mut self, proxy: &ProxySpec, host: &str, port: u16, address: &BackendAddress) {
        // Written by users whose plugins choose the backend of each request.
        if host.is_empty() || host.starts_with("*.") || port == 0 {
            return;
        }
        let backend = &proxy.backend;
        let key = key(backend, host, port);
        let target = self.0.entry(key.clone()).or_insert_with(|| Target {
            key,
            host: host.to_owned(),
            port,
            address: address.clone(),
            security: backend.security.clone(),
            connect_timeout_ms: 0,
            uses_http1: false,
        });
        target.connect_timeout_ms = target.connect_timeout_ms.max(proxy.connect_timeout_ms);
        target.uses_http1 |= !backend.pool_limits.offers_http2;
    }
}

/// `scheme|host|port|dns_override|ca|cert|key|sni|sans|verify|svidg=static|hbone_port`; what does not apply is empty.
fn key(backend: &BackendSpec, host: &str, port: u16) -> String {
    let scheme = backend.scheme.name();
    let dns_override = backend.pool.dns_override.as_deref().unwrap_or_default();
    let tls = match &backend.security {
        Security::Tls(tls) => inputs(&tls.inputs),
        Security::Plain | Security::Broken(_) => "|||||".to_owned(),
    };
    format!("{scheme}|{host}|{port}|{dns_override}|{tls}|svidg=static|")
}

fn inputs(inputs: &BackendTlsInputs) -> String {
    let ca = inputs.ca_path.as_deref().unwrap_or_default();
    let (certificate, key) = match &inputs.client_paths {
        Some((certificate, key)) => (certificate.as_str(), key.as_str()),
        None => ("", ""),
    };
    let sni = inputs.sni.as_deref().unwrap_or_default();
    let names = inputs.san_allow_list.join(",");
    let verifies = u8::from(inputs.verifies);
    format!("{ca}|{certificate}|{key}|{sni}|{names}|{verifies}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::source::fixture::{compiled, document, proxy};

    fn found(proxies: Value, upstreams: Value) -> Vec<Target> {
        targets(&compiled(&document(proxies, upstreams), None))
    }

    fn keys(targets: &[Target]) -> Vec<&str> {
        targets.iter().map(|target| target.key.as_str()).collect()
    }

    #[test]
    fn proxies_that_lead_to_one_backend_have_one_target() {
        let proxies = json!([
            proxy("a", json!({"backend_connect_timeout_ms": 100})),
            proxy("b", json!({"backend_path": "/b", "backend_connect_timeout_ms": 300})),
            proxy("c", json!({"pool_enable_http2": false, "backend_connect_timeout_ms": 200})),
            proxy("d", json!({"dns_override": "10.0.0.1"})),
            proxy("e", json!({"backend_port": 81})),
            proxy("f", json!({"listen_port": 7000, "backend_scheme": "tcp", "listen_path": null})),
        ]);
        let found = found(proxies, json!([]));
        assert_eq!(
            keys(&found),
            [
                "http|own.example.com|80|10.0.0.1|||||||svidg=static|",
                "http|own.example.com|80||||||||svidg=static|",
                "http|own.example.com|81||||||||svidg=static|",
            ]
        );
        assert_eq!((found[1].connect_timeout_ms, found[1].uses_http1), (300, true));
        assert!(!found[2].uses_http1);
        assert_eq!(found[0].address, BackendAddress::Literal([10, 0, 0, 1].into()));
        assert_eq!(found[1].address, BackendAddress::Name);
    }

    #[test]
    fn the_targets_of_an_upstream_stand_in_the_place_of_the_proxies_own_backend() {
        let proxies = json!([
            proxy("plain", json!({"upstream_id": "u"})),
            proxy("tls", json!({"upstream_id": "u", "backend_scheme": "https"})),
            proxy("pinned", json!({"upstream_id": "u", "dns_override": "10.0.0.9"})),
        ]);
        let upstreams = json!([{
            "id": "u",
            "targets": [{"host": "10.0.0.1", "port": 80}, {"host": "8.8.8.8", "port": 80}],
            "backend_tls_sni": "inner.example.com",
            "backend_tls_san_allow_list": ["a.example.com", "b.example.com"],
            "backend_tls_verify_server_cert": false,
        }]);
        let found = found(proxies, upstreams);
        assert_eq!(
            keys(&found),
            [
                "https|10.0.0.1|80|||||inner.example.com|a.example.com,b.example.com|0|svidg=static|",
                "https|8.8.8.8|80|||||inner.example.com|a.example.com,b.example.com|0|svidg=static|",
                "http|10.0.0.1|80|10.0.0.9|||||||svidg=static|",
                "http|10.0.0.1|80||||||||svidg=static|",
                "http|8.8.8.8|80|10.0.0.9|||||||svidg=static|",
                "http|8.8.8.8|80||||||||svidg=static|",
            ]
        );
        assert_eq!(found[4].address, BackendAddress::Literal([10, 0, 0, 9].into()));
        assert!(matches!(found[5].address, BackendAddress::Refused(_)), "a public address under a private policy");
    }
}
