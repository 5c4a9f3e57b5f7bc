//! One core's way to choose targets of one upstream.

use std::rc::Rc;
use std::sync::Arc;

use super::algorithm::Algorithm;
use super::flight::InFlight;
use super::latency::Gathered;
use super::shared::SharedBalance;
use super::spec::{BalancerSpec, View};
use super::targets::{Candidates, Eligible};
use super::weighted::Turning;

/// Spreads consecutive positions over all targets: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct PickRequest<'a> {
    /// For consistent hashing; without one the key is empty.
    pub hash_key: Option<&'a [u8]>,
    /// The target tried before, when this is a retry.
    pub exclude: Option<usize>,
    /// A subset's number from [`BalancerSpec::subset`].
    pub subset: Option<usize>,
    pub eligible: &'a Eligible,
    pub now_ms: u64,
}

/// A chosen target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub index: usize,
    /// No target of the upstream was eligible: it was chosen among all.
    pub degraded: bool,
}

/// Built on its core and never leaves it.
pub struct Balancer {
    spec: Arc<BalancerSpec>,
    shared: Arc<SharedBalance>,
    own: Rc<Own>,
}

/// What the core keeps for itself, carried over a reload together with the shared part.
struct Own {
    core: usize,
    /// By view, where picks are weighted.
    turning: Box<[Option<Turning>]>,
    gathered: Option<Gathered>,
}

impl Balancer {
    /// `shared` must have been made for `spec` or for one of its shape, which [`SharedBalance::carried`] sees to.
    #[must_use]
    pub fn new(spec: Arc<BalancerSpec>, shared: Arc<SharedBalance>, core: usize) -> Self {
        debug_assert!(shared.fits(&spec), "the shared state is that of another upstream");
        let turning = spec.views.iter().map(|view| view.cycle.as_ref().map(Turning::new)).collect();
        let gathered = shared.latencies.clone().map(Gathered::new);
        Self { spec, shared, own: Rc::new(Own { core, turning, gathered }) }
    }

    /// For the upstream after a reload: keeps the core's own state if the shared one was kept.
    #[must_use]
    pub fn carried(spec: Arc<BalancerSpec>, shared: Arc<SharedBalance>, core: usize, previous: Option<&Self>) -> Self {
        match previous.filter(|previous| previous.own.core == core && Arc::ptr_eq(&previous.shared, &shared)) {
            Some(previous) => Self { spec, shared, own: previous.own.clone() },
            None => Self::new(spec, shared, core),
        }
    }

    #[must_use]
    pub fn spec(&self) -> &Arc<BalancerSpec> {
        &self.spec
    }

    #[must_use]
    pub fn shared(&self) -> &Arc<SharedBalance> {
        &self.shared
    }

    /// Chooses a target. `None`: the upstream is empty, or the subset is unknown, empty or without an eligible target.
    ///
    /// A retry takes another target than the excluded one: an eligible one by the same algorithm, else any in turn, and the
    /// excluded one again if it is the only one there is.
    #[must_use]
    pub fn pick(&self, request: &PickRequest<'_>) -> Option<Pick> {
        let view_index = request.subset.map_or(0, |subset| subset + 1);
        let view = self.spec.views.get(view_index)?;
        let eligible = Candidates::new(&view.members, Some(request.eligible), request.exclude);
        let len = eligible.len();
        if len > 0 {
            return Some(Pick { index: self.choose(view_index, view, eligible, len, request)?, degraded: false });
        }
        let excluded = request.exclude.filter(|&target| Candidates::new(&view.members, None, None).contains(target));
        let others = Candidates::new(&view.members, None, excluded);
        let index = match (others.len(), excluded, request.subset) {
            (0, only, _) => only?,
            (len, Some(_), _) => self.in_turn(others, len, request.now_ms)?,
            (len, None, None) => self.choose(view_index, view, others, len, request)?,
            (_, None, Some(_)) => return None,
        };
        let is_excluded_eligible = excluded.is_some_and(|target| request.eligible.contains(target));
        Some(Pick { index, degraded: request.subset.is_none() && !is_excluded_eligible })
    }

    /// Counts a request under way until the guard is dropped. Begins at dispatch, ends when the outcome is recorded.
    pub fn begin(&self, target: usize) -> InFlight {
        InFlight::begin(self.shared.flights.as_ref(), self.own.core, self.address(target))
    }

    /// Time to the response headers of a request that ended below 500, for upstreams without active checks.
    pub fn record_latency(&self, target: usize, us: u64, now_ms: u64) {
        if let Some(gathered) = &self.own.gathered {
            gathered.record(self.address(target), us, now_ms);
        }
    }

    fn address(&self, target: usize) -> usize {
        usize::from(self.spec.addresses[target])
    }

    fn choose(
        &self,
        view_index: usize,
        view: &View,
        set: Candidates<'_>,
        len: usize,
        request: &PickRequest<'_>,
    ) -> Option<usize> {
        if view.members.len() == 1 {
            // Nothing to turn: the shared position is left alone.
            return set.nth(0);
        }
        match view.algorithm {
            Algorithm::RoundRobin => self.in_turn(set, len, request.now_ms),
            Algorithm::Random => {
                let position = self.shared.cursor.next(self.own.core, request.now_ms);
                set.nth((position.wrapping_mul(GOLDEN) % len as u64) as usize)
            }
            Algorithm::WeightedRoundRobin => self.weighted(view_index, view, set, len, request),
            Algorithm::LeastConnections => {
                let flights = self.shared.flights.as_ref()?;
                set.iter().min_by_key(|&target| flights.sum(self.address(target)))
            }
            Algorithm::LeastLatency => {
                self.own.gathered.as_ref()?.apply_due(request.now_ms);
                let candidates = set.iter().map(|target| (target, self.address(target)));
                let lowest = self.shared.latencies.as_ref()?.lowest(candidates);
                lowest.or_else(|| self.in_turn(set, len, request.now_ms))
            }
            Algorithm::ConsistentHashing => {
                view.ring.as_ref()?.find(request.hash_key.unwrap_or_default(), |target| set.contains(target))
            }
        }
    }

    fn in_turn(&self, set: Candidates<'_>, len: usize, now_ms: u64) -> Option<usize> {
        let position = self.shared.cursor.next(self.own.core, now_ms);
        set.nth((position % len as u64) as usize)
    }

    fn weighted(
        &self,
        view_index: usize,
        view: &View,
        set: Candidates<'_>,
        len: usize,
        request: &PickRequest<'_>,
    ) -> Option<usize> {
        let (cycle, rotation) = (view.cycle.as_ref()?, self.shared.weighted[view_index].as_ref()?);
        let position = || rotation.next(self.own.core, request.now_ms);
        if len == view.members.len() && cycle.is_known() {
            return cycle.at(position());
        }
        let turning = self.own.turning[view_index].as_ref()?;
        let from_health = if request.exclude.is_none() { turning.at(cycle, set, position) } else { None };
        from_health.or_else(|| turning.next(cycle, set)).or_else(|| self.in_turn(set, len, request.now_ms))
    }
}
