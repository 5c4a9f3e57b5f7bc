//! Where the monitor's figures come from.

use engine::counters::{CoreCounters, Counters};
use serde::Serialize;

use super::descriptors::{self, DescriptorUse};

/// What the monitor measures. A trait, so that a test can say what the figures are.
pub trait Gauges: Send + Sync {
    fn descriptors(&self) -> DescriptorUse;
    /// The soft limit; 0 = unknown.
    fn descriptors_max(&self) -> u64;
    fn connections(&self) -> u64;
    fn requests(&self) -> u64;
    /// The longest delay of any core, in microseconds.
    fn loop_delay_us(&self) -> u64;
    /// Outbound connects that failed for want of a local port since start.
    fn port_exhaustions(&self) -> u64;
    fn dtls_listeners(&self) -> Vec<DtlsListener> {
        Vec::new()
    }
}

/// A DTLS listener and its peers, those still in handshake included.
#[derive(Clone, Debug, Serialize)]
pub struct DtlsListener {
    pub listener_key: String,
    pub listen_port: u16,
    pub sessions: u64,
}

/// The figures of this process and its cores.
pub struct EngineGauges {
    counters: Counters,
}

impl EngineGauges {
    pub fn new(counters: Counters) -> Self {
        Self { counters }
    }
}

impl Gauges for EngineGauges {
    fn descriptors(&self) -> DescriptorUse {
        DescriptorUse::now()
    }

    fn descriptors_max(&self) -> u64 {
        descriptors::soft_limit()
    }

    fn connections(&self) -> u64 {
        self.counters.sum(CoreCounters::connections_active)
    }

    fn requests(&self) -> u64 {
        self.counters.sum(CoreCounters::requests_active)
    }

    fn loop_delay_us(&self) -> u64 {
        self.counters.cores().map(|core| core.loop_delay_us.get()).max().unwrap_or(0)
    }

    fn port_exhaustions(&self) -> u64 {
        self.counters.sum(|core| core.port_exhaustions.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_added_up_and_the_slowest_core_counts() {
        let counters = Counters::new(2);
        counters.core(0).connections_accepted.add(5);
        counters.core(0).connections_closed.add(2);
        counters.core(1).connections_accepted.add(1);
        counters.core(1).requests.add(4);
        counters.core(0).loop_delay_us.set(7);
        counters.core(1).loop_delay_us.set(900_000);
        counters.core(1).port_exhaustions.add(3);
        let gauges = EngineGauges::new(counters);
        assert_eq!((gauges.connections(), gauges.requests()), (4, 4));
        assert_eq!((gauges.loop_delay_us(), gauges.port_exhaustions()), (900_000, 3));
    }
}
