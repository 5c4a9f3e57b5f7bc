//! The document's upstreams, as balancers that all cores share.

use std::collections::HashMap;
use std::sync::Arc;

use engine::balance::{
    Algorithm, BalancerSpec, CookieSpec, HashOn, SharedBalance, SubsetSpec, TargetSpec, UpstreamSpec,
};
use engine::model::{self, Proxy, Upstream};
use engine::snapshot::{Snapshot, UpstreamEntry, UpstreamRef};
use rustc_hash::FxHashMap;

use super::{CompileOptions, address};

/// Entries in document order. Those whose shape is as it was in `previous` go on with what was counted.
pub(super) fn compile<P>(
    upstreams: &[Arc<Upstream>],
    options: &CompileOptions,
    previous: Option<&Snapshot<P>>,
) -> Result<Vec<UpstreamEntry>, Vec<String>> {
    let counted: HashMap<&str, &Arc<SharedBalance>> = previous
        .iter()
        .flat_map(|snapshot| &snapshot.upstreams)
        .map(|entry| (entry.spec.id(), &entry.shared))
        .collect();
    let mut errors = Vec::new();
    let mut entries = Vec::with_capacity(upstreams.len());
    for upstream in upstreams {
        match spec(upstream) {
            Ok(spec) => {
                let spec = Arc::new(spec);
                let address = |target: &TargetSpec| address(&target.host, None, options.address_policy);
                entries.push(UpstreamEntry {
                    shared: SharedBalance::carried(&spec, options.cores, counted.get(spec.id()).copied()),
                    addresses: spec.targets().iter().map(address).collect(),
                    security: Some(options.backend_tls.of_upstream(upstream)),
                    spec,
                });
            }
            Err(error) => errors.push(format!("Upstream '{}': {error}", upstream.id)),
        }
    }
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

/// Where each upstream stands, by its ID.
pub(super) fn numbers(entries: &[UpstreamEntry]) -> FxHashMap<Box<str>, u32> {
    entries.iter().zip(0..).map(|(entry, number)| (entry.spec.id().into(), number)).collect()
}

/// What a proxy refers to. An upstream or subset that does not exist never gives a target, and without a target requests
/// go to the proxy's own backend (resources sheet §17.3): as if it had no upstream.
pub(super) fn reference(
    proxy: &Proxy,
    entries: &[UpstreamEntry],
    numbers: &FxHashMap<Box<str>, u32>,
) -> Option<UpstreamRef> {
    let index = *numbers.get(proxy.upstream_id.as_deref()?)?;
    let subset = match &proxy.upstream_subset {
        Some(name) => Some(entries[index as usize].spec.subset(name)? as u32),
        None => None,
    };
    Some(UpstreamRef { index, subset })
}

fn spec(upstream: &Upstream) -> Result<BalancerSpec, String> {
    let hash_on = HashOn::parse(upstream.hash_on.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?;
    let targets = upstream.targets.iter().map(|target| TargetSpec {
        host: target.host.clone(),
        port: target.port,
        weight: target.weight,
        tags: target.tags.clone(),
        path: target.path.clone(),
    });
    let subsets = upstream.subsets.iter().flatten().map(|subset| SubsetSpec {
        name: subset.name.clone(),
        labels: subset.labels.clone(),
        algorithm: subset.traffic_policy.as_ref().and_then(|policy| policy.load_balancer_algorithm).map(algorithm),
    });
    let cookie = upstream.hash_on_cookie_config.as_ref().map(|cookie| CookieSpec {
        path: cookie.path.clone(),
        ttl_seconds: cookie.ttl_seconds,
        domain: cookie.domain.clone(),
        http_only: cookie.http_only,
        secure: cookie.secure,
        same_site: cookie.same_site.clone(),
    });
    BalancerSpec::compile(UpstreamSpec {
        id: upstream.id.clone(),
        algorithm: algorithm(upstream.algorithm),
        targets: targets.collect(),
        hash_on,
        cookie,
        subsets: subsets.collect(),
    })
    .map_err(|error| error.to_string())
}

fn algorithm(named: model::Algorithm) -> Algorithm {
    match named {
        model::Algorithm::RoundRobin => Algorithm::RoundRobin,
        model::Algorithm::WeightedRoundRobin => Algorithm::WeightedRoundRobin,
        model::Algorithm::LeastConnections => Algorithm::LeastConnections,
        model::Algorithm::LeastLatency => Algorithm::LeastLatency,
        model::Algorithm::ConsistentHashing => Algorithm::ConsistentHashing,
        model::Algorithm::Random => Algorithm::Random,
    }
}

#[cfg(test)]
mod tests {
    use engine::snapshot::BackendAddress;
    use serde_json::json;

    use super::*;
    use crate::source::Running;
    use crate::source::fixture::{compiled, document, proxy};

    #[test]
    fn an_upstream_is_compiled_once_and_its_proxies_refer_to_it() {
        let proxies = json!([
            proxy("direct", json!({})),
            proxy("all", json!({"upstream_id": "b"})),
            proxy("part", json!({"upstream_id": "b", "upstream_subset": "v2"})),
        ]);
        let targets = json!([
            {"host": "10.0.0.1", "port": 81, "tags": {"version": "1"}},
            {"host": "Named.example.com", "port": 82, "path": "/base", "tags": {"version": "2"}},
            {"host": "8.8.8.8", "port": 83},
        ]);
        let subsets = json!([
            {"name": "v1", "labels": {"version": "1"}},
            {"name": "v2", "labels": {"version": "2"}},
        ]);
        let upstreams = json!([
            {"id": "a", "targets": [{"host": "10.0.0.9", "port": 90}]},
            {"id": "b", "targets": targets, "subsets": subsets, "hash_on": "cookie:sid"},
        ]);
        let snapshot = compiled(&document(proxies, upstreams), None);

        let references: Vec<_> = snapshot.proxies.iter().map(|proxy| proxy.upstream).collect();
        let to = |subset| Some(UpstreamRef { index: 1, subset });
        assert_eq!(references, [None, to(None), to(Some(1))]);
        assert!(snapshot.proxies.iter().all(|proxy| proxy.backend.host == "own.example.com"));

        assert_eq!(["a", "b", "c"].map(|id| snapshot.upstream_numbers.get(id).copied()), [Some(0), Some(1), None]);
        let entry = &snapshot.upstreams[1];
        assert_eq!((entry.spec.id(), entry.spec.targets()[1].host.as_str()), ("b", "named.example.com"));
        assert_eq!(entry.spec.targets()[1].path.as_deref(), Some("/base"));
        assert_eq!(entry.addresses[0], BackendAddress::Literal([10, 0, 0, 1].into()));
        assert_eq!(entry.addresses[1], BackendAddress::Name);
        assert!(matches!(entry.addresses[2], BackendAddress::Refused(_)), "a public address under a private policy");
        let cookie = "sid=10.0.0.1:81; Path=/; Max-Age=3600; HttpOnly";
        assert_eq!(entry.spec.sticky_cookie(0), Some(cookie));
    }

    #[test]
    fn a_reload_goes_on_counting_unless_the_upstream_changed() {
        let upstreams = |ports: [u16; 2]| {
            json!([
                {"id": "changing", "targets": [{"host": "10.0.0.1", "port": ports[0]}]},
                {"id": "staying", "targets": [{"host": "10.0.0.1", "port": ports[1]}]},
            ])
        };
        let first = document(json!([]), upstreams([1, 9]));
        let before = compiled(&first, None);
        let running = Running { document: &first, snapshot: &before };
        let after = compiled(&document(json!([]), upstreams([2, 9])), Some(running));
        let goes_on = |index: usize| Arc::ptr_eq(&before.upstreams[index].shared, &after.upstreams[index].shared);
        assert_eq!([goes_on(0), goes_on(1)], [false, true]);
    }

    #[test]
    fn what_does_not_exist_leaves_a_proxy_with_its_own_backend() {
        let mut document = document(
            json!([proxy("one", json!({"upstream_id": "a"})), proxy("two", json!({"upstream_id": "a"}))]),
            json!([{"id": "a", "targets": [{"host": "10.0.0.1", "port": 80}]}]),
        );
        // No file can say this; other sources may.
        Arc::make_mut(&mut document.proxies[0]).upstream_subset = Some("gone".into());
        Arc::make_mut(&mut document.proxies[1]).upstream_id = Some("gone".into());
        assert!(compiled(&document, None).proxies.iter().all(|proxy| proxy.upstream.is_none()));
    }
}
