//! The overload monitor: measures at an interval, decides what the cores must do, says so in the log when it changes.
//!
//! Cores read the verdict from `engine::overload::Overload`; this room is the only writer of its three flags and of the
//! probability. There is no hysteresis: the next sample below the thresholds lifts a measure.

mod decision;
mod descriptors;
mod gauges;
mod monitor;
mod snapshot;

pub use decision::{Decision, Thresholds};
pub use descriptors::{DescriptorLimit, DescriptorUse, raise_nofile};
pub use gauges::{DtlsListener, EngineGauges, Gauges};
pub use monitor::{Monitor, MonitorTask};
pub use snapshot::{Actions, Level, NodeWaypointDrops, Snapshot};

use std::time::Duration;

/// What the monitor needs to know (settings sheet §8.20). Values are taken as clamped and ordered by the settings.
#[derive(Clone, Debug)]
pub struct OverloadOptions {
    pub check_interval: Duration,
    pub descriptors: Thresholds,
    pub connections: Thresholds,
    pub requests: Thresholds,
    pub loop_warn_us: u64,
    pub loop_critical_us: u64,
    /// `FERRUM_MAX_CONNECTIONS`; 0 = no limit, ratio 0.
    pub connections_max: u64,
    /// `FERRUM_MAX_REQUESTS`; 0 = no limit, never acts.
    pub requests_max: u64,
}

impl Default for OverloadOptions {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_millis(1000),
            descriptors: Thresholds { pressure: 0.80, critical: 0.95 },
            connections: Thresholds { pressure: 0.85, critical: 0.95 },
            requests: Thresholds { pressure: 0.85, critical: 0.95 },
            loop_warn_us: 10_000,
            loop_critical_us: 500_000,
            connections_max: 100_000,
            requests_max: 0,
        }
    }
}
