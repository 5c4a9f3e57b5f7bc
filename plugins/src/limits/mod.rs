//! How often a caller may do something, exactly, over all cores: what rate limiters share.
//!
//! [`Limits`] are what a config says, one for the process; each core has a [`Limiter`] of them. It counts in the process's own
//! [`Meters`], or in Redis together with other gateways, and in the meters as long as Redis is away.

mod meters;
mod shared;

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use engine::ledger::Window;

use crate::metrics::CoreCounts;
use crate::outbound::redis::Synchronised;
use crate::{CoreEnv, RequestContext};
use meters::{Meters, Remembered};
use shared::Shared;

/// Meters count time in milliseconds.
const TICKS_PER_SECOND: u64 = 1000;

/// Whose requests are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Caller<'a> {
    /// Canonical: an IPv4 address is one however it was written.
    Address(IpAddr),
    /// The effective identity.
    Consumer(&'a str),
}

impl<'c> Caller<'c> {
    /// By identity if that is wanted and known, else by address.
    pub fn of(cx: &'c RequestContext, by_identity: bool) -> Self {
        match cx.effective_identity().filter(|_| by_identity) {
            Some(identity) => Self::Consumer(identity),
            None => Self::Address(cx.client_ip.to_canonical()),
        }
    }
}

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "ip:{ip}"),
            Self::Consumer(identity) => write!(f, "consumer:{identity}"),
        }
    }
}

/// How a process counts by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counting {
    /// A bucket that is full at first and fills up bit by bit.
    TokenBucket,
    /// Each request counts for one window from when it was made.
    SlidingLog,
}

/// So many requests in so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    pub requests: NonZeroU64,
    pub seconds: NonZeroU64,
    pub counting: Counting,
}

impl Limit {
    fn window(&self) -> Window {
        let ticks = self.seconds.saturating_mul(NonZeroU64::new(TICKS_PER_SECOND).unwrap_or(NonZeroU64::MIN));
        match self.counting {
            Counting::TokenBucket => Window::bucket(self.requests, ticks),
            Counting::SlidingLog => Window::log(self.requests, ticks),
        }
    }
}

/// Limits that must all hold for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    pub limits: Vec<Limit>,
    /// Between prefix and caller in Redis.
    pub name: Option<String>,
}

/// What became of a request. Limits are named by their place in the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    Admitted {
        /// The limit with the fewest requests left, the first of several.
        limit: usize,
        remaining: u64,
    },
    Refused {
        /// The first that does not allow it.
        limit: usize,
    },
}

/// What a config says, and what is counted of it.
pub struct Limits {
    rules: Vec<Rule>,
    synchronised: Option<Synchronised>,
    /// Made when the first core asks, because the number of cores is not known to a config.
    meters: OnceLock<Arc<Meters>>,
}

impl Limits {
    pub fn new(rules: Vec<Rule>, synchronised: Option<Synchronised>) -> Arc<Self> {
        Arc::new(Self { rules, synchronised, meters: OnceLock::new() })
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// As [`Specs::hosts`](crate::Specs::hosts) says.
    pub fn hosts(&self) -> Vec<String> {
        self.synchronised.iter().map(|synchronised| synchronised.endpoint.host().to_owned()).collect()
    }

    /// `plugin` is in the default prefix of Redis keys.
    pub fn on_core(self: &Arc<Self>, plugin: &str, env: &CoreEnv) -> Limiter {
        let cores = env.services.cores;
        let meters = self.meters.get_or_init(|| Arc::new(Meters::new(&self.rules, cores))).clone();
        let shared = self.synchronised.as_ref().map(|synchronised| Shared::new(synchronised, plugin, env));
        let counts = env.services.metrics.core(env.core);
        Limiter { limits: self.clone(), meters, core: env.core, counts, remembered: RefCell::default(), shared }
    }
}

/// The limits on one core.
pub struct Limiter {
    limits: Arc<Limits>,
    meters: Arc<Meters>,
    core: usize,
    counts: Arc<CoreCounts>,
    remembered: RefCell<Remembered>,
    shared: Option<Shared>,
}

impl Limiter {
    /// Whether requests are counted in Redis, and so have to wait.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Counts a request that was made at that moment, by this process alone.
    #[inline]
    pub fn judge(&self, rule: usize, caller: Caller<'_>, at: Instant) -> Judgement {
        let tick = self.meters.tick(at);
        self.meters.judge(&mut self.remembered.borrow_mut(), self.core, rule, caller, tick)
    }

    /// Counts a request in Redis, or by this process if Redis is away.
    pub async fn judge_shared(&self, rule: usize, caller: Caller<'_>) -> Judgement {
        if let Some(shared) = &self.shared
            && let Ok(judgement) = shared.judge(&self.limits.rules[rule], caller).await
        {
            return judgement;
        }
        self.counts.rate_limit_local_fallback.one();
        self.judge(rule, caller, Instant::now())
    }
}

#[cfg(test)]
mod tests;
