//! What a document asks for that this release does not act on yet. A feature that arrives deletes its line.

use super::document::Document;
use super::health::HealthChecks;
use super::proxy::Proxy;
use super::upstream::Upstream;

/// IDs named per line.
const NAMED_MAX: usize = 5;

enum Uses {
    Proxy(fn(&Proxy) -> bool),
    Upstream(fn(&Upstream) -> bool),
    Document(fn(&Document) -> bool),
}

const PENDING: [(&str, Uses); 10] = [
    ("stream proxies (listen_port)", Uses::Proxy(|proxy| !proxy.is_http() || proxy.listen_port.is_some())),
    ("circuit_breaker", Uses::Proxy(|proxy| proxy.circuit_breaker.is_some())),
    ("retry", Uses::Proxy(|proxy| proxy.retry.as_ref().is_some_and(|retry| retry.max_retries > 0))),
    ("active health checks", Uses::Upstream(|upstream| checks(upstream, |checks| checks.active.is_some()))),
    ("passive health checks", Uses::Upstream(|upstream| checks(upstream, |checks| checks.passive.is_some()))),
    ("service_discovery", Uses::Upstream(|upstream| upstream.service_discovery.is_some())),
    ("tls of a subset", Uses::Upstream(subset_tls)),
    ("pool_http3_connections_per_backend", Uses::Proxy(|proxy| proxy.pool_http3_connections_per_backend.is_some())),
    ("mesh", Uses::Document(|document| document.mesh.is_some())),
    ("trust_bundles", Uses::Document(|document| document.trust_bundles.is_some())),
];

/// One line per feature that the document uses and this release does not act on, with the resources that use it.
pub fn features_in_use(document: &Document) -> Vec<String> {
    PENDING.iter().filter_map(|(feature, uses)| line(document, feature, uses)).collect()
}

fn line(document: &Document, feature: &str, uses: &Uses) -> Option<String> {
    let (kind, ids): (_, Vec<&str>) = match uses {
        Uses::Document(is_used) => return is_used(document).then(|| feature.to_owned()),
        Uses::Proxy(is_used) => {
            ("proxies", document.proxies.iter().filter(|proxy| is_used(proxy)).map(|proxy| proxy.id.as_str()).collect())
        }
        Uses::Upstream(is_used) => {
            let users = document.upstreams.iter().filter(|upstream| is_used(upstream));
            ("upstreams", users.map(|upstream| upstream.id.as_str()).collect())
        }
    };
    let named = ids.get(..NAMED_MAX).unwrap_or(&ids).join(", ");
    match ids.len() {
        0 => None,
        count if count > NAMED_MAX => Some(format!("{feature}: {kind} {named} and {} more", count - NAMED_MAX)),
        _ => Some(format!("{feature}: {kind} {named}")),
    }
}

fn checks(upstream: &Upstream, has: fn(&HealthChecks) -> bool) -> bool {
    upstream.health_checks.as_ref().is_some_and(has)
}

fn subset_tls(upstream: &Upstream) -> bool {
    let policies = upstream.subsets.iter().flatten().filter_map(|subset| subset.traffic_policy.as_ref());
    policies.into_iter().any(|policy| policy.tls.is_some())
}

#[cfg(test)]
mod tests;
