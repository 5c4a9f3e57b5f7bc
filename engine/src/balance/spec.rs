//! An upstream as the control side compiles it for all cores.

use std::collections::{BTreeMap, HashMap};

use super::algorithm::{Algorithm, HashOn};
use super::ring::Ring;
use super::targets::{Candidates, Members};
use super::weighted::Cycle;

/// Targets of one upstream, written and discovered together. What a document may hold is bounded below that (1000).
pub const TARGETS_MAX: usize = 4_096;

/// One place to send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    pub host: String,
    pub port: u16,
    /// Counts in weighted round robin only.
    pub weight: u32,
    pub tags: BTreeMap<String, String>,
    /// Replaces the route's backend path.
    pub path: Option<String>,
}

/// Targets that carry all these labels among their tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Instead of the upstream's.
    pub algorithm: Option<Algorithm>,
}

/// The sticky cookie's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSpec {
    pub path: String,
    pub ttl_seconds: u64,
    pub domain: Option<String>,
    pub http_only: bool,
    pub secure: bool,
    pub same_site: Option<String>,
}

impl Default for CookieSpec {
    fn default() -> Self {
        Self { path: "/".into(), ttl_seconds: 3_600, domain: None, http_only: true, secure: false, same_site: None }
    }
}

impl CookieSpec {
    /// The value of the `Set-Cookie` header that ties a client to a target. Attributes stand in the documented order.
    #[must_use]
    pub fn set_cookie(&self, name: &str, host: &str, port: u16) -> String {
        let mut text = format!("{name}={host}:{port}; Path={}; Max-Age={}", self.path, self.ttl_seconds);
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(domain) = &self.domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        if let Some(same_site) = &self.same_site {
            text.push_str("; SameSite=");
            text.push_str(same_site);
        }
        text
    }
}

/// What an upstream says about balancing, before it is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSpec {
    pub id: String,
    pub algorithm: Algorithm,
    pub targets: Vec<TargetSpec>,
    pub hash_on: HashOn,
    pub cookie: Option<CookieSpec>,
    pub subsets: Vec<SubsetSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("upstream '{id}' has {targets} targets, written and discovered; at most {TARGETS_MAX} are balanced")]
    TooManyTargets { id: String, targets: usize },
}

/// A compiled upstream. Shared by all cores, changed never.
#[derive(Debug)]
pub struct BalancerSpec {
    pub(super) upstream: UpstreamSpec,
    /// By target, the number of its `host:port` among the different ones: what is counted is counted per address.
    pub(super) addresses: Box<[u16]>,
    pub(super) address_count: usize,
    /// The whole upstream, then its subsets in order.
    pub(super) views: Box<[View]>,
    /// `Set-Cookie` values by target, if the key is a cookie.
    cookies: Box<[String]>,
}

/// The upstream or one of its subsets, as one that targets are picked from.
#[derive(Debug)]
pub(super) struct View {
    pub(super) algorithm: Algorithm,
    pub(super) members: Members,
    pub(super) ring: Option<Ring>,
    pub(super) cycle: Option<Cycle>,
}

impl BalancerSpec {
    /// Compiles: the hash ring, the weighted cycle, subset membership and cookie texts are worked out here, once.
    pub fn compile(upstream: UpstreamSpec) -> Result<Self, SpecError> {
        let targets = &upstream.targets;
        if targets.len() > TARGETS_MAX {
            return Err(SpecError::TooManyTargets { id: upstream.id, targets: targets.len() });
        }
        let texts: Vec<String> = targets.iter().map(|target| format!("{}:{}", target.host, target.port)).collect();
        let mut numbers = HashMap::new();
        let mut addresses = Vec::with_capacity(targets.len());
        for text in &texts {
            let next = numbers.len() as u16;
            addresses.push(*numbers.entry(text.as_str()).or_insert(next));
        }
        let address_count = numbers.len();
        let whole = View::new(upstream.algorithm, Members::new(targets.len(), |_| true), targets, &texts);
        let subsets = upstream.subsets.iter().map(|subset| {
            let carries = |target: usize| {
                let tags = &targets[target].tags;
                subset.labels.iter().all(|(key, value)| tags.get(key) == Some(value))
            };
            let algorithm = subset.algorithm.unwrap_or(upstream.algorithm);
            View::new(algorithm, Members::new(targets.len(), carries), targets, &texts)
        });
        let views = std::iter::once(whole).chain(subsets).collect();
        let cookies = match &upstream.hash_on {
            HashOn::Cookie(name) => {
                let cookie = upstream.cookie.clone().unwrap_or_default();
                targets.iter().map(|target| cookie.set_cookie(name, &target.host, target.port)).collect()
            }
            HashOn::Ip | HashOn::Header(_) => Box::default(),
        };
        Ok(Self { addresses: addresses.into(), address_count, views, cookies, upstream })
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.upstream.id
    }

    #[must_use]
    pub fn targets(&self) -> &[TargetSpec] {
        &self.upstream.targets
    }

    #[must_use]
    pub fn hash_on(&self) -> &HashOn {
        &self.upstream.hash_on
    }

    /// The number of a subset, for [`PickRequest::subset`](super::PickRequest::subset).
    #[must_use]
    pub fn subset(&self, name: &str) -> Option<usize> {
        self.upstream.subsets.iter().position(|subset| subset.name == name)
    }

    #[must_use]
    pub fn subset_name(&self, subset: usize) -> Option<&str> {
        self.upstream.subsets.get(subset).map(|subset| subset.name.as_str())
    }

    /// The `Set-Cookie` value for a response of this target, if the upstream's key is a cookie. It is for the request that
    /// came without one.
    #[must_use]
    pub fn sticky_cookie(&self, target: usize) -> Option<&str> {
        self.cookies.get(target).map(String::as_str)
    }

    pub(super) fn uses(&self, algorithm: Algorithm) -> bool {
        self.views.iter().any(|view| view.algorithm == algorithm)
    }

    /// Whether what is counted for one fits the other: same addresses, weights, members and algorithms, in the same order.
    pub(super) fn has_shape_of(&self, other: &Self) -> bool {
        let targets = |spec: &Self| -> Vec<_> {
            spec.upstream.targets.iter().map(|target| (target.host.clone(), target.port, target.weight)).collect()
        };
        let views =
            |spec: &Self| -> Vec<_> { spec.views.iter().map(|view| (view.algorithm, view.members.clone())).collect() };
        self.upstream.id == other.upstream.id && targets(self) == targets(other) && views(self) == views(other)
    }
}

impl View {
    fn new(algorithm: Algorithm, members: Members, targets: &[TargetSpec], addresses: &[String]) -> Self {
        let all = Candidates::new(&members, None, None);
        let ring = (algorithm == Algorithm::ConsistentHashing)
            .then(|| Ring::new(all.iter().map(|target| (target as u16, addresses[target].as_str()))));
        let cycle = (algorithm == Algorithm::WeightedRoundRobin)
            .then(|| Cycle::new(targets.iter().map(|target| target.weight).collect(), all));
        Self { algorithm, members, ring, cycle }
    }
}
