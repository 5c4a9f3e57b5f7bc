//! What the cores must agree on about one upstream.

use std::sync::Arc;

use super::algorithm::Algorithm;
use super::flight::Flights;
use super::latency::Latencies;
use super::spec::BalancerSpec;
use crate::ledger::Rotation;

/// Positions, counts and averages of one upstream. Outlives a reload that leaves the upstream's shape as it was.
pub struct SharedBalance {
    /// The spec it was made for: its shape is the shape of everything here.
    made_for: Arc<BalancerSpec>,
    pub(super) cores: usize,
    /// One for the upstream and all its subsets.
    pub(super) cursor: Rotation,
    /// By view, where picks are weighted.
    pub(super) weighted: Box<[Option<Rotation>]>,
    pub(super) flights: Option<Arc<Flights>>,
    pub(super) latencies: Option<Arc<Latencies>>,
}

impl SharedBalance {
    #[must_use]
    pub fn new(spec: &Arc<BalancerSpec>, cores: usize) -> Arc<Self> {
        let weighted = spec.views.iter().map(|view| view.cycle.as_ref().map(|cycle| Rotation::new(cores, cycle.len())));
        let counts = spec.uses(Algorithm::LeastConnections).then(|| Flights::new(cores, spec.address_count));
        let times = spec.uses(Algorithm::LeastLatency).then(|| Latencies::new(spec.address_count));
        Arc::new(Self {
            cursor: Rotation::new(cores, spec.targets().len()),
            weighted: weighted.collect(),
            flights: counts.map(Arc::new),
            latencies: times.map(Arc::new),
            cores,
            made_for: spec.clone(),
        })
    }

    /// For the upstream after a reload: goes on with `previous` if the shape is unchanged, starts afresh otherwise.
    /// The shape is the addresses and weights of the targets in their order, who is in which subset, and the algorithms.
    #[must_use]
    pub fn carried(spec: &Arc<BalancerSpec>, cores: usize, previous: Option<&Arc<Self>>) -> Arc<Self> {
        match previous.filter(|previous| previous.cores == cores && previous.fits(spec)) {
            Some(previous) => previous.clone(),
            None => Self::new(spec, cores),
        }
    }

    pub(super) fn fits(&self, spec: &Arc<BalancerSpec>) -> bool {
        Arc::ptr_eq(&self.made_for, spec) || self.made_for.has_shape_of(spec)
    }

    fn address(&self, target: usize) -> Option<usize> {
        self.made_for.addresses.get(target).copied().map(usize::from)
    }

    /// A successful probe took this long. For upstreams with active checks; other samples come from
    /// [`Balancer::record_latency`](super::Balancer::record_latency).
    pub fn record_probe(&self, target: usize, us: u64) {
        if let (Some(latencies), Some(address)) = (&self.latencies, self.address(target)) {
            latencies.record(address, us);
        }
    }

    /// Active checks found a target healthy again: its average starts at the lowest known.
    pub fn recovered(&self, target: usize) {
        if let (Some(latencies), Some(address)) = (&self.latencies, self.address(target)) {
            latencies.restart(address);
        }
    }

    /// Requests under way to a target's address, over all cores; 0 when no algorithm of the upstream counts them.
    #[must_use]
    pub fn in_flight(&self, target: usize) -> u64 {
        match (&self.flights, self.address(target)) {
            (Some(flights), Some(address)) => flights.sum(address),
            _ => 0,
        }
    }
}
