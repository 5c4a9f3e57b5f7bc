//! Where one request goes: a target of the proxy's upstream, or the proxy's own backend (traffic sheet §7 and §16).

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use engine::balance::{Balancer, Eligible, HashOn, InFlight, PickRequest, TargetSpec};
use engine::http::{Headers, Known, RequestHead};
use engine::pool::{Pool, PoolKey, Pools};
use engine::router::{HostBuffer, normalize_host};
use engine::snapshot::{BackendAddress, BackendSpec, ProxySpec};
use plugins::RequestContext;

use crate::generation::Route;
use crate::http1::BackendConnection;
use crate::http2::Http2Connections;
use crate::worker::Worker;

/// The connections of one core to one backend.
pub type BackendPool = Rc<Pool<Box<BackendConnection>, Http2Connections>>;

/// All of one core's.
pub type BackendPools = Pools<Box<BackendConnection>, Http2Connections>;

/// What one core keeps for a proxy with an upstream.
pub struct Targets {
    balancer: Rc<Balancer>,
    subset: Option<usize>,
    addresses: Arc<[BackendAddress]>,
    /// By target, found when it is first used, so that a request does not hash names.
    pools: Box<[OnceCell<BackendPool>]>,
}

/// Holds for all attempts of a request: a pooled connection that turns out to be dead is replaced by one to the same place.
pub struct Destination<'a> {
    /// Also the `Host` that is sent.
    pub host: Cow<'a, str>,
    pub port: u16,
    /// Put before the request path.
    pub path: &'a str,
    pub address: &'a BackendAddress,
    pub pool: Cow<'a, BackendPool>,
    pub selected: Option<Selected<'a>>,
}

/// That the destination is a target of an upstream.
pub struct Selected<'a> {
    balancer: &'a Balancer,
    index: usize,
    /// Chosen although no target was eligible.
    pub degraded: bool,
    /// For the response to a request that came without the cookie that its target is chosen by.
    pub sticky_cookie: Option<&'a str>,
    /// Counts there until the target has done its part, or this is dropped.
    in_flight: Cell<Option<InFlight>>,
}

impl<'a> Destination<'a> {
    /// Chooses after the plugins, whose headers may be what targets are chosen by.
    pub fn choose(
        worker: &Worker,
        spec: &'a ProxySpec,
        route: &'a Route,
        cx: Option<&RequestContext>,
        client_ip: &str,
    ) -> Self {
        let selected = match (&route.targets, cx) {
            (Some(targets), Some(cx)) => targets.select(worker, &spec.backend, &cx.head, client_ip),
            _ => None,
        };
        selected.unwrap_or_else(|| Self::own(spec, route))
    }

    /// The proxy's own backend.
    pub fn own(spec: &'a ProxySpec, route: &'a Route) -> Self {
        let backend = &spec.backend;
        Self {
            host: Cow::Borrowed(&backend.host),
            port: backend.port,
            path: &backend.path,
            address: &backend.address,
            pool: Cow::Borrowed(&route.pool),
            selected: None,
        }
    }

    /// The head of a response is here. What a failing target answers says nothing about how fast it works.
    pub fn note_answer(&self, status: u16, ttfb_ns: u64, now_ms: u64) {
        if let Some(selected) = &self.selected
            && status < 500
        {
            selected.balancer.record_latency(selected.index, ttfb_ns / 1_000, now_ms);
        }
    }

    /// All of the answer is here, or none will come. Said before the client has its last byte, so that a client's next
    /// request finds the target idle whichever core serves it.
    pub fn note_end(&self) {
        if let Some(selected) = &self.selected {
            selected.in_flight.take();
        }
    }
}

impl Targets {
    pub fn new(balancer: Rc<Balancer>, subset: Option<usize>, addresses: Arc<[BackendAddress]>) -> Self {
        let pools = addresses.iter().map(|_| OnceCell::new()).collect();
        Self { balancer, subset, addresses, pools }
    }

    fn select<'a>(
        &'a self,
        worker: &Worker,
        backend: &'a BackendSpec,
        head: &RequestHead,
        client_ip: &str,
    ) -> Option<Destination<'a>> {
        let (balancer, spec) = (&*self.balancer, self.balancer.spec());
        let key = hash_key(spec.hash_on(), &head.headers);
        let pick = balancer.pick(&PickRequest {
            hash_key: Some(key.unwrap_or(client_ip.as_bytes())),
            exclude: None,
            subset: self.subset,
            eligible: &Eligible::all(),
            now_ms: worker.core.deadlines.now_ms(),
        })?;
        let target = &spec.targets()[pick.index];
        // An override holds for whatever the proxy connects to.
        let is_overridden = backend.pool.dns_override.is_some();
        let address = if is_overridden { &backend.address } else { &self.addresses[pick.index] };
        let (host, pool) = self.connections(worker, backend, pick.index, head, address);
        Some(Destination {
            host,
            port: target.port,
            path: target.path.as_deref().unwrap_or(&backend.path),
            address,
            pool,
            selected: Some(Selected {
                balancer,
                index: pick.index,
                degraded: pick.degraded,
                sticky_cookie: if key.is_none() { spec.sticky_cookie(pick.index) } else { None },
                in_flight: Cell::new(Some(balancer.begin(pick.index))),
            }),
        })
    }

    /// The target's host and the pool of connections there.
    fn connections<'a>(
        &'a self,
        worker: &Worker,
        backend: &BackendSpec,
        index: usize,
        head: &RequestHead,
        address: &BackendAddress,
    ) -> (Cow<'a, str>, Cow<'a, BackendPool>) {
        let target = &self.balancer.spec().targets()[index];
        let shared = || self.pools[index].get_or_init(|| self.pool(worker, backend, &target.host, target.port));
        match covered_host(target, head) {
            None => (Cow::Borrowed(&target.host), Cow::Borrowed(shared())),
            Some(host) => {
                // Clients choose these names. Only one that leads to an address of its own has connections of its own: those
                // of a fixed address serve all names, and a name that cannot be dialled leaves no pool behind.
                let is_elsewhere =
                    *address == BackendAddress::Name && worker.core.dns.borrow_mut().look().0.get(&host).is_some();
                let pool = if is_elsewhere {
                    Cow::Owned(self.pool(worker, backend, &host, target.port))
                } else {
                    Cow::Borrowed(shared())
                };
                (Cow::Owned(host), pool)
            }
        }
    }

    fn pool(&self, worker: &Worker, backend: &BackendSpec, host: &str, port: u16) -> BackendPool {
        let spec = self.balancer.spec();
        let upstream = match self.subset.and_then(|subset| spec.subset_name(subset)) {
            // No ID has a slash in it.
            Some(subset) => format!("{}/{subset}", spec.id()),
            None => spec.id().to_owned(),
        };
        let key = PoolKey { host: host.to_owned(), port, upstream: Some(upstream), ..backend.pool.clone() };
        worker.pools.pool(&key)
    }
}

/// What the request says for the upstream to choose by. Without a value the client's address stands in.
fn hash_key<'h>(hash_on: &HashOn, headers: &'h Headers) -> Option<&'h [u8]> {
    match hash_on {
        HashOn::Ip => None,
        HashOn::Header(name) => headers.get(name).map(str::as_bytes).filter(|value| !value.is_empty()),
        HashOn::Cookie(name) => headers.known(Known::Cookie).find_map(|line| cookie(line, name.as_bytes())),
    }
}

/// The first value of that cookie that is not empty.
fn cookie<'h>(line: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let mut pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"=").filter(|value| !value.is_empty()))
}

/// The request's host, if the target stands for all hosts of a suffix and this is one.
fn covered_host(target: &TargetSpec, head: &RequestHead) -> Option<String> {
    let suffix = target.host.strip_prefix('*').filter(|suffix| suffix.starts_with('.'))?;
    let mut buffer = HostBuffer::new();
    let host = normalize_host(head.host()?, &mut buffer).ok()?;
    let label = host.strip_suffix(suffix)?;
    // One label, as in routing.
    (!label.is_empty() && !label.contains('.')).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use engine::http::Version;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        lines.iter().for_each(|(name, value)| headers.append(name, value.as_bytes()));
        headers
    }

    #[test]
    fn the_key_is_the_first_cookie_of_that_very_name_that_has_a_value() {
        let rows: [(&[&str], Option<&str>); 7] = [
            (&["sid=a"], Some("a")),
            (&["x=1;  sid=a=b ; sid=c"], Some("a=b")),
            (&["sid=; sid=b"], Some("b")),
            (&["SID=a; sidd=b; xsid=c"], None),
            (&["sid"], None),
            (&["x=1", "sid=a"], Some("a")),
            (&[], None),
        ];
        for (lines, expected) in rows {
            let lines: Vec<_> = lines.iter().map(|line| ("Cookie", *line)).collect();
            let headers = headers(&lines);
            let key = hash_key(&HashOn::Cookie("sid".into()), &headers);
            assert_eq!(key, expected.map(str::as_bytes), "{lines:?}");
        }
    }

    #[test]
    fn an_empty_header_is_none() {
        let hash_on = HashOn::Header("x-user".into());
        assert_eq!(hash_key(&hash_on, &headers(&[("X-User", "ann")])), Some(b"ann".as_slice()));
        assert_eq!(hash_key(&hash_on, &headers(&[("X-User", "")])), None);
        assert_eq!(hash_key(&HashOn::Ip, &headers(&[("X-User", "ann")])), None);
    }

    #[test]
    fn a_target_for_a_suffix_stands_for_hosts_with_one_more_label() {
        let covered = |target: &str, host: &str| {
            let (host, port, weight) = (host.to_owned(), 80, 1);
            let target = TargetSpec { host: target.into(), port, weight, tags: Default::default(), path: None };
            let headers = headers(&[("Host", &host)]);
            covered_host(&target, &RequestHead { headers, version: Version::Http11, ..RequestHead::new() })
        };
        assert_eq!(covered("*.example.com", "Api.Example.com:8080").as_deref(), Some("api.example.com"));
        assert_eq!(covered("*.example.com", "a.b.example.com"), None);
        assert_eq!(covered("*.example.com", "example.com"), None);
        assert_eq!(covered("api.example.com", "api.example.com"), None);
    }
}
