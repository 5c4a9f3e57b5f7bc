//! Requests in flight per target: each core counts its own, a reader adds the cores up.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

/// Counters in one padded block.
const BLOCK: usize = 32;

type Block = CachePadded<[AtomicU32; BLOCK]>;

/// Counters by core and address.
pub(super) struct Flights {
    cores: Box<[Box<[Block]>]>,
}

impl Flights {
    /// A last core is for threads that are none.
    pub(super) fn new(cores: usize, addresses: usize) -> Self {
        let block = || CachePadded::new(std::array::from_fn(|_| AtomicU32::new(0)));
        Self { cores: (0..=cores).map(|_| (0..addresses.div_ceil(BLOCK)).map(|_| block()).collect()).collect() }
    }

    fn cell(&self, core: usize, address: usize) -> &AtomicU32 {
        &self.cores[core.min(self.cores.len() - 1)][address / BLOCK][address % BLOCK]
    }

    pub(super) fn sum(&self, address: usize) -> u64 {
        (0..self.cores.len()).map(|core| u64::from(self.cell(core, address).load(Relaxed))).sum()
    }
}

/// One request under way to a target, until dropped. Stays on its core.
#[must_use]
pub struct InFlight {
    flights: Option<Arc<Flights>>,
    core: usize,
    address: usize,
    /// Counted down on the core it was counted up on, so that no core's cell falls below zero.
    _not_send: std::marker::PhantomData<Rc<()>>,
}

impl InFlight {
    pub(super) fn begin(flights: Option<&Arc<Flights>>, core: usize, address: usize) -> Self {
        if let Some(flights) = flights {
            flights.cell(core, address).fetch_add(1, Relaxed);
        }
        Self { flights: flights.cloned(), core, address, _not_send: std::marker::PhantomData }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(flights) = &self.flights {
            flights.cell(self.core, self.address).fetch_sub(1, Relaxed);
        }
    }
}
