//! `GET /metrics/runtime` (admin sheet §26), with a `cores` array of this engine's own. Keys stand in the sheet's order.

use std::collections::BTreeMap;
use std::time::SystemTime;

use engine::counters::{CoreCounters, ErrorClass};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::reply::{self, Reply};
use super::windows::{self, Totals, Window};
use super::{Admin, lock, timestamp};
use crate::dns::Dns;
use crate::logging::LogCounts;
use crate::overload::Snapshot;

/// The kinds of pools, of which `http_reqwest` is that of HTTP/1.1 clients, by the name that dashboards know.
const POOLS: [&str; 5] = ["http_reqwest", "http2_direct", "http3", "grpc", "hbone"];

impl Admin {
    pub(super) fn runtime_metrics(&self) -> Reply {
        let (body, is_hit) = self.runtime.get(|| self.runtime_document().to_string().into_bytes());
        reply::with_cache(reply::json_bytes(StatusCode::OK, body), is_hit)
    }

    fn runtime_document(&self) -> Value {
        let counters = &self.sources.counters;
        let outbound = counters
            .sum(|core| core.backend_connections_idle.get().saturating_add(core.backend_connections_active.get()));
        let exhaustions = counters.sum(|core| core.port_exhaustions.get());
        json!({
            "timestamp": timestamp::with_milliseconds(SystemTime::now()),
            "uptime_seconds": self.uptime_seconds(),
            "mode": self.options.mode,
            "ferrum_version": self.options.version,
            "system": lock(&self.samples).system.to_json(exhaustions, outbound),
            "http": self.http_block(),
            "errors": self.errors_block(),
            "dns": self.sources.dns.as_ref().map(Dns::stats).unwrap_or_default(),
            "connections": self.connections_block(),
            "logs": self.sources.logs.as_ref().map_or_else(|| LogCounts::default().to_json(), |logs| logs.to_json()),
            "overload": self.overload_block(),
            "cores": self.cores_block(),
        })
    }

    fn http_block(&self) -> Value {
        let totals = Totals::of(&self.sources.counters);
        let samples = lock(&self.samples);
        let windows = &samples.windows;
        let long = |pick: fn(&(Window, Window)) -> &Window| windows.long.as_ref().map(pick);
        let (one, five) = (long(|long| &long.0), long(|long| &long.1));
        let per_second =
            |window: Option<&Window>| window.map_or(0, |window| window.requests_per_second().round() as u64);
        let none = || Value::Object(Map::new());
        json!({
            "total_requests": totals.requests,
            "requests_per_second_1s": per_second(Some(&windows.status)),
            "requests_per_second_1m": per_second(one),
            "requests_per_second_5m": per_second(five),
            "status_codes": {
                "totals": windows::counts(&totals),
                "rate_1s": windows.status.rates(),
                "rate_1m": one.map_or_else(none, Window::rates),
                "rate_5m": five.map_or_else(none, Window::rates),
                "percent_total": windows::percents(&totals),
                "percent_1m": one.map_or_else(none, Window::percents),
                "percent_5m": five.map_or_else(none, Window::percents),
            },
            "client_disconnects": self.sources.counters.sum(|core| core.client_disconnects.get()),
        })
    }

    /// The engine counts classes over all protocols; they stand under `http` until gRPC and streams are counted apart.
    fn errors_block(&self) -> Value {
        let counters = &self.sources.counters;
        let by_class: Map<_, _> = ErrorClass::ALL
            .into_iter()
            // Not one of the 15 classes of this document.
            .filter(|class| *class != ErrorClass::DispatchPolicyRejected)
            .map(|class| {
                let row = json!({
                    "http": counters.sum(|core| core.error_count(class)),
                    "grpc": 0,
                    "stream": 0,
                    "body": counters.sum(|core| core.body_error_count(class)),
                });
                (class.name().to_owned(), row)
            })
            .collect();
        json!({ "by_class": by_class, "by_proxy": self.sources.traffic.errors_by_proxy() })
    }

    fn connections_block(&self) -> Value {
        let counters = &self.sources.counters;
        let pools = |http1: u64| -> BTreeMap<&str, u64> {
            POOLS.into_iter().map(|pool| (pool, if pool == POOLS[0] { http1 } else { 0 })).collect()
        };
        json!({
            "active": counters.sum(CoreCounters::connections_active),
            "active_requests": counters.sum(CoreCounters::requests_active),
            "pool_handshakes_total": pools(counters.sum(|core| core.backend_connects.get())),
            "pool_evictions_total": pools(counters.sum(|core| core.backend_evictions.get())),
            "pool_failures_total": pools(counters.sum(|core| core.backend_connect_failures.get())),
            "tcp_rst_observed": { "by_proxy": {}, "total": 0 },
        })
    }

    fn overload_block(&self) -> Value {
        let no_proxy = || {
            json!({
                "level": "normal",
                "draining": false,
                "active_connections": 0,
                "active_requests": 0,
                "red_drop_probability_pct": 0.0,
                "port_exhaustion_events": 0,
                "node_waypoint_drops": crate::overload::NodeWaypointDrops::default(),
                "actions": crate::overload::Actions::default(),
            })
        };
        let snapshot: Option<Snapshot> = self.sources.overload.as_ref().map(|monitor| monitor.snapshot());
        snapshot.and_then(|snapshot| serde_json::to_value(snapshot).ok()).unwrap_or_else(no_proxy)
    }

    fn cores_block(&self) -> Value {
        let core = |(id, core): (usize, &CoreCounters)| {
            json!({
                "id": id,
                "cpu": self.sources.core_cpus.get(id),
                "connections": core.connections_active(),
                "connections_accepted": core.connections_accepted.get(),
                "connections_refused": core.connections_refused.get(),
                "tls_handshakes": core.tls_handshakes.get(),
                "tls_handshakes_resumed": core.tls_handshakes_resumed.get(),
                "http2_floods": core.http2_floods.get(),
                "websockets_opened": core.websockets_opened.get(),
                "websockets_closed": core.websockets_closed.get(),
                "tls_handshake_failures": core.tls_handshake_failures.get(),
                "requests": core.requests.get(),
                "active_requests": core.requests_active(),
                "bytes_from_clients": core.bytes_from_clients.get(),
                "bytes_to_clients": core.bytes_to_clients.get(),
                "backend_connects": core.backend_connects.get(),
                "backend_reuses": core.backend_reuses.get(),
                "backend_connections_idle": core.backend_connections_idle.get(),
                "backend_connections_active": core.backend_connections_active.get(),
                "log_lines": core.log_lines.get(),
                "log_lines_lost": core.log_lines_lost.get(),
                "panics": core.panics.get(),
                "loop_delay_us": core.loop_delay_us.get(),
            })
        };
        self.sources.counters.cores().enumerate().map(core).collect()
    }
}
