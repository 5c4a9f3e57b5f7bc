//! One request that a plugin sends somewhere else than its proxy says (plugin API sheet §7.4).

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use engine::core::foreign;
use engine::model::is_backend_host;
use engine::pool::PoolKey;
use engine::snapshot::{BackendAddress, BackendSpec, ProxySpec, Scheme, Security, UpstreamRef};
use plugins::{Chain, RouteOverride};

use crate::generation::{Generation, Route};
use crate::worker::Worker;

/// Of a host that is none, where the failure is logged.
const SHOWN_CHARS_MAX: usize = 64;

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
    let index = generation.snapshot.upstream_numbers.get(id).copied();
    let wanted = index.map(|index| UpstreamRef { index, subset: None });
    if wanted.map(|wanted| wanted.index) == spec.upstream.map(|present| present.index) {
        return true;
    }
    spec.upstream = wanted;
    let security = match (index, spec.backend.scheme) {
        (Some(index), Scheme::Https) => generation.snapshot.upstreams[index as usize].security.clone(),
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
    if wanted.backend_host.is_some() && !is_backend_host(&host) {
        // Whatever it is, it reaches neither a resolver nor the wire.
        let shown: String = host.chars().take(SHOWN_CHARS_MAX).collect();
        let reason = format!("a plugin's route_override_backend_host {shown:?} is neither a name nor an address");
        backend.address = BackendAddress::Refused(reason);
        // Not the connections of the proxy's own backend: there are none to a host without a name.
        backend.pool = PoolKey { host: String::new(), port, ..backend.pool };
        backend.port = port;
        spec.backend = Arc::new(backend);
        return false;
    }
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

/// What the core has learnt of names is enough for those of the document. Of others control is asked, which remembers.
async fn address(worker: &Worker, host: &str) -> BackendAddress {
    let services = &worker.env.services;
    let policy = services.options.backend_allow_ips;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return BackendAddress::at(ip, policy);
    }
    if worker.core.dns.borrow_mut().look().0.get(host).is_some() {
        return BackendAddress::Name;
    }
    let resolving = services.names.resolve(host.to_owned());
    match foreign(services.runtime.spawn(resolving)).await {
        Ok(Ok(addresses)) => match addresses.first() {
            Some(ip) => BackendAddress::at(*ip, policy),
            None => BackendAddress::Refused(format!("'{host}' has no address")),
        },
        Ok(Err(reason)) => BackendAddress::Refused(reason),
        Err(_) => BackendAddress::Refused(format!("'{host}' could not be resolved")),
    }
}
