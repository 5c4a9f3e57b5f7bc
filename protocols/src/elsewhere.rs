//! One request that a plugin sends somewhere else than its proxy says (plugin API sheet §7.4).

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use engine::core::foreign;
use engine::model::AddressPolicy;
use engine::pool::PoolKey;
use engine::snapshot::{BackendAddress, BackendSpec, ProxySpec, Scheme, Security, UpstreamRef};
use plugins::{Chain, RouteOverride};

use crate::generation::{Generation, Route};
use crate::worker::Worker;

/// The proxy and its route as they are for this request.
pub struct Elsewhere {
    pub spec: ProxySpec,
    pub route: Route,
}

impl Elsewhere {
    /// Nothing if what is asked for is what the proxy says anyway.
    pub async fn find(
        worker: &Worker,
        generation: &Generation,
        spec: &ProxySpec,
        chain: &Rc<Chain>,
        wanted: &RouteOverride,
    ) -> Option<Self> {
        let mut spec = spec.clone();
        let read_timeout_ms = wanted.read_timeout_ms.unwrap_or(spec.read_timeout_ms);
        let is_same_timeout = read_timeout_ms == spec.read_timeout_ms;
        spec.read_timeout_ms = read_timeout_ms;
        let is_same_place = match &wanted.upstream_id {
            Some(id) => to_upstream(generation, &mut spec, id),
            None => to_host(worker, &mut spec, wanted).await,
        };
        if is_same_place && is_same_timeout {
            return None;
        }
        let pool = worker.pools.pool(&spec.backend.pool);
        let route = Route::elsewhere(chain.clone(), pool, generation.targets_of(spec.upstream, worker.env.core));
        Some(Self { spec, route })
    }
}

/// An upstream that does not exist gives no target, and the proxy's own backend serves.
fn to_upstream(generation: &Generation, spec: &mut ProxySpec, id: &str) -> bool {
    let entries = &generation.snapshot.upstreams;
    let index = entries.iter().position(|entry| entry.spec.id() == id);
    let wanted = index.map(|index| UpstreamRef { index: index as u32, subset: None });
    if wanted.map(|wanted| wanted.index) == spec.upstream.map(|present| present.index) {
        return true;
    }
    spec.upstream = wanted;
    let security = match (index, spec.backend.scheme) {
        (Some(index), Scheme::Https) => entries[index].security.clone(),
        (None, _) | (Some(_), Scheme::Http) => None,
    };
    if let Some(security) = security {
        spec.backend = Arc::new(secured(&spec.backend, security));
    }
    false
}

async fn to_host(worker: &Worker, spec: &mut ProxySpec, wanted: &RouteOverride) -> bool {
    let host = wanted.backend_host.as_deref().unwrap_or(&spec.backend.host).to_ascii_lowercase();
    let port = wanted.backend_port.unwrap_or(spec.backend.port);
    let is_asked_for = wanted.backend_host.is_some() || wanted.backend_port.is_some();
    if !is_asked_for || (host == spec.backend.host && port == spec.backend.port && spec.upstream.is_none()) {
        return true;
    }
    spec.upstream = None;
    let own = spec.backend.direct_security.clone();
    let mut backend = match own {
        Some(security) => secured(&spec.backend, security),
        None => (*spec.backend).clone(),
    };
    // An override of the proxy holds for whatever it connects to.
    if backend.pool.dns_override.is_none() {
        backend.address = address(worker, &host).await;
    }
    backend.pool = PoolKey { host: host.clone(), port, ..backend.pool };
    (backend.host, backend.port) = (host, port);
    spec.backend = Arc::new(backend);
    false
}

fn secured(backend: &BackendSpec, security: Security) -> BackendSpec {
    let tls = match &security {
        Security::Tls(tls) => Some(tls.inputs.clone()),
        Security::Plain | Security::Broken(_) => None,
    };
    BackendSpec { security, pool: PoolKey { tls, ..backend.pool.clone() }, ..backend.clone() }
}

/// A plugin names hosts that no document does, so the published table need not have them: control is asked, which remembers.
async fn address(worker: &Worker, host: &str) -> BackendAddress {
    let services = &worker.env.services;
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => {
            let resolving = services.names.resolve(host.to_owned());
            match foreign(services.runtime.spawn(resolving)).await {
                Ok(Ok(addresses)) => match addresses.first() {
                    Some(ip) => *ip,
                    None => return BackendAddress::Refused(format!("'{host}' has no address")),
                },
                Ok(Err(reason)) => return BackendAddress::Refused(reason),
                Err(_) => return BackendAddress::Refused(format!("'{host}' could not be resolved")),
            }
        }
    };
    let policy = services.options.backend_allow_ips;
    if policy.parse::<AddressPolicy>().is_ok_and(|policy| !policy.allows(ip)) {
        return BackendAddress::Refused(format!("IP {ip} denied by FERRUM_BACKEND_ALLOW_IPS={policy} policy"));
    }
    BackendAddress::Literal(ip)
}
