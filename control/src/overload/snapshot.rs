//! What `GET /overload` shows (settings sheet §11.1). The order of the fields is the order in the document.

use serde::Serialize;

use super::DtlsListener;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Normal,
    Pressure,
    Critical,
}

#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    pub level: Level,
    pub draining: bool,
    pub active_connections: u64,
    pub active_requests: u64,
    pub red_drop_probability_pct: f64,
    pub port_exhaustion_events: u64,
    pub node_waypoint_drops: NodeWaypointDrops,
    pub pressure: Pressure,
    pub actions: Actions,
    pub stream_listeners: StreamListeners,
}

/// Counted by the node waypoint, which is the only place that can drop for these reasons.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct NodeWaypointDrops {
    pub cookie_unavailable: u64,
    pub unknown_cookie: u64,
    pub missing_pod_uid: u64,
    pub missing_workload_hash: u64,
    pub unknown_pod: u64,
    pub hash_mismatch: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pressure {
    pub file_descriptors: Share,
    pub connections: Share,
    pub requests: Share,
    pub event_loop_latency_us: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Share {
    pub current: u64,
    pub max: u64,
    pub ratio: f64,
}

impl Share {
    pub(super) fn of(current: u64, max: u64) -> Self {
        Self { current, max, ratio: super::decision::ratio(current, max) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Actions {
    pub disable_keepalive: bool,
    pub reject_new_connections: bool,
    pub reject_new_requests: bool,
}

impl Actions {
    pub(super) fn level(&self) -> Level {
        if self.reject_new_connections || self.reject_new_requests {
            Level::Critical
        } else if self.disable_keepalive {
            Level::Pressure
        } else {
            Level::Normal
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamListeners {
    pub dtls_demux_sessions_total: u64,
    pub dtls_demux_sessions: Vec<DtlsListener>,
}
