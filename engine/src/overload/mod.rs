//! The overload verdict: written by the monitor on a change, read by every core.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Steps of the early-close probability.
pub const PROBABILITY_ONE: u32 = 1024;

/// What cores must do. All cells share one cache line that changes rarely.
#[derive(Default)]
pub struct Overload {
    disable_keepalive: AtomicBool,
    reject_new_connections: AtomicBool,
    reject_new_requests: AtomicBool,
    draining: AtomicBool,
    close_probability: AtomicU32,
}

impl Overload {
    /// Whether responses must close their connection, apart from [`Self::close_probability`].
    pub fn disables_keepalive(&self) -> bool {
        self.disable_keepalive.load(Relaxed) || self.is_draining()
    }

    pub fn rejects_connections(&self) -> bool {
        self.reject_new_connections.load(Relaxed)
    }

    /// Draining refuses new requests as well.
    pub fn rejects_requests(&self) -> bool {
        self.reject_new_requests.load(Relaxed) || self.is_draining()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// In steps of 1/1024.
    pub fn close_probability(&self) -> u32 {
        self.close_probability.load(Relaxed)
    }

    /// Writes only what changed, so that an unchanged verdict costs the readers nothing.
    pub fn publish(&self, disable_keepalive: bool, reject_connections: bool, reject_requests: bool, probability: u32) {
        let cells = [
            (&self.disable_keepalive, disable_keepalive),
            (&self.reject_new_connections, reject_connections),
            (&self.reject_new_requests, reject_requests),
        ];
        for (cell, value) in cells {
            if cell.load(Relaxed) != value {
                cell.store(value, Relaxed);
            }
        }
        if self.close_probability.load(Relaxed) != probability {
            self.close_probability.store(probability.min(PROBABILITY_ONE), Relaxed);
        }
    }

    /// One way: a process that drains does not come back.
    pub fn start_draining(&self) {
        self.draining.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_refuses_requests_and_ends_keepalive() {
        let overload = Overload::default();
        assert!(!overload.rejects_requests() && !overload.disables_keepalive());
        overload.start_draining();
        overload.publish(false, false, false, 0);
        assert!(overload.rejects_requests() && overload.disables_keepalive() && !overload.rejects_connections());
    }
}
