//! A configuration as the data path uses it: compiled once by control, shared by all cores, never changed.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::balance::{BalancerSpec, SharedBalance};
use crate::consumers::ConsumerIndex;
use crate::model::AddressPolicy;
use crate::pool::PoolKey;
use crate::router::RouteTable;
use crate::tls::BackendTls;

/// `P` is what the plugins room makes of the plugin configs.
pub struct Snapshot<P> {
    pub generation: u64,
    pub namespace: String,
    /// Route numbers are indexes into `proxies`.
    pub routes: RouteTable,
    pub proxies: Vec<ProxySpec>,
    /// By route number as well; apart, because only logs and refusals want them. Shared by the snapshots that have a proxy unchanged.
    pub proxy_facts: Arc<[Arc<ProxyFacts>]>,
    /// By route number: where the proxy stands in the document.
    pub places: Vec<u32>,
    /// What [`UpstreamRef::index`] counts.
    pub upstreams: Vec<UpstreamEntry>,
    /// Where each of them stands, by its ID.
    pub upstream_numbers: Arc<FxHashMap<Box<str>, u32>>,
    pub consumers: Arc<ConsumerIndex>,
    pub plugins: P,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// What plugins and logs may know about a proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyFacts {
    pub id: String,
    pub name: Option<String>,
    /// Empty = all.
    pub allowed_ws_origins: Vec<String>,
}

/// One HTTP proxy: what each of its requests looks at, in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct ProxySpec {
    pub auth_multi: bool,
    pub strip_listen_path: bool,
    pub preserve_host_header: bool,
    pub allowed_methods: Option<Box<MethodFilter>>,
    pub connect_timeout_ms: u64,
    /// Zero = none.
    pub read_timeout_ms: u64,
    /// Collect responses before sending them.
    pub buffer_responses: bool,
    /// Where targets come from; `backend` serves when none is selected.
    pub upstream: Option<UpstreamRef>,
    /// Its scheme, address override and pool limits hold for the targets too. One for all proxies whose backends are alike,
    /// so that requests on many routes to few backends find it in the cache.
    pub backend: Arc<BackendSpec>,
}

const _: () = assert!(size_of::<ProxySpec>() == 64);

/// The upstream of a proxy, and the subset it keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpstreamRef {
    pub index: u32,
    /// A number from [`BalancerSpec::subset`].
    pub subset: Option<u32>,
}

/// One upstream, compiled once for all the proxies that name it: what differs from proxy to proxy (scheme, override, pool
/// limits) is the proxy's own.
#[derive(Clone)]
pub struct UpstreamEntry {
    pub spec: Arc<BalancerSpec>,
    pub shared: Arc<SharedBalance>,
    /// By target, in the order of [`BalancerSpec::targets`]. A proxy's override goes before it.
    pub addresses: Arc<[BackendAddress]>,
    /// For a request that a plugin sends here from another upstream's proxy.
    pub security: Option<Security>,
}

/// Where requests go, and how connections there are kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BackendSpec {
    pub scheme: Scheme,
    /// Lower-case; also the `Host` that is sent.
    pub host: String,
    pub port: u16,
    /// Put before the request path.
    pub path: String,
    pub address: BackendAddress,
    pub security: Security,
    /// Where the upstream's takes the place of the proxy's own: that one, for requests that a plugin sends to a host directly.
    pub direct_security: Option<Security>,
    pub pool: PoolKey,
    pub pool_limits: PoolLimits,
}

/// Whether connections to a backend are under TLS.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Security {
    Plain,
    Tls(BackendTls),
    /// The reason why the files cannot be used (any more). Never in the clear what was to be encrypted.
    Broken(String),
}

/// How the host becomes an address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum BackendAddress {
    Literal(IpAddr),
    /// Look the host up in the published table.
    Name,
    /// Cannot be dialled: a bad override, or an address the policy forbids.
    Refused(String),
}

impl BackendAddress {
    /// That address, if `FERRUM_BACKEND_ALLOW_IPS` lets it be dialled.
    pub fn at(ip: IpAddr, policy: AddressPolicy) -> Self {
        policy.denial(ip).map_or(Self::Literal(ip), Self::Refused)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolLimits {
    pub idle_max: usize,
    pub idle_timeout_ms: u64,
    pub keep_alive: bool,
    pub tcp_keepalive_seconds: u64,
    /// HTTP/2 is offered to backends under TLS.
    pub offers_http2: bool,
    pub http2: Http2Limits,
}

/// How connections are kept that carry many requests at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Http2Limits {
    /// Per core and backend.
    pub connections_max: usize,
    /// Requests at a time on one of them; the backend may allow fewer.
    pub streams_max: u32,
    pub frame_bytes_max: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    pub adaptive_window: bool,
    pub idle_timeout_ms: u64,
    /// Zero = no PINGs.
    pub keepalive_interval_ms: u64,
    pub keepalive_timeout_ms: u64,
}

impl PoolLimits {
    /// As the settings have them by default.
    pub fn of_tests() -> Self {
        let http2 = Http2Limits {
            connections_max: 2,
            streams_max: 1000,
            frame_bytes_max: 1 << 20,
            stream_window_bytes: 8 << 20,
            connection_window_bytes: 32 << 20,
            adaptive_window: true,
            idle_timeout_ms: 90_000,
            keepalive_interval_ms: 30_000,
            keepalive_timeout_ms: 45_000,
        };
        let (idle_max, idle_timeout_ms, tcp_keepalive_seconds) = (64, 90_000, 60);
        Self { idle_max, idle_timeout_ms, keep_alive: true, tcp_keepalive_seconds, offers_http2: true, http2 }
    }
}

/// `allowed_methods` of a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodFilter {
    methods: Vec<String>,
    /// The value of the `allow` header of a refusal.
    pub allow: String,
}

impl MethodFilter {
    pub fn new(methods: Vec<String>) -> Self {
        Self { allow: methods.join(", "), methods }
    }

    /// Compared without regard to case, as the sheet says.
    pub fn allows(&self, text: &[u8]) -> bool {
        self.methods.iter().any(|method| method.as_bytes().eq_ignore_ascii_case(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_allowed_in_any_case_and_listed_as_configured() {
        let filter = MethodFilter::new(vec!["get".into(), "POST".into()]);
        assert!(filter.allows(b"GET"));
        assert!(!filter.allows(b"HEAD"));
        assert_eq!(filter.allow, "get, POST");
    }
}
