//! `GET /metrics`: the families of admin sheet §25 and this engine's own, in Prometheus text form.

use std::time::Duration;

use engine::counters::{CoreCounters, Exposition, HistogramTotals, labels};

use super::Admin;
use super::reply::{self, Reply};
use crate::overload::{Level, Snapshot};

/// A figure of one core.
type Figure = fn(&CoreCounters) -> u64;

const PER_CORE: [(&str, &str, &str, Figure); 22] = [
    ("ferrum_core_connections_active", "gauge", "Client connections open", CoreCounters::connections_active),
    ("ferrum_core_connections_accepted_total", "counter", "Client connections accepted", |core| {
        core.connections_accepted.get()
    }),
    ("ferrum_core_connections_refused_total", "counter", "Client connections closed unserved", |core| {
        core.connections_refused.get()
    }),
    ("ferrum_core_tls_handshakes_total", "counter", "TLS handshakes with clients finished", |core| {
        core.tls_handshakes.get()
    }),
    ("ferrum_core_http2_floods_total", "counter", "HTTP/2 connections closed for idle frames", |core| {
        core.http2_floods.get()
    }),
    ("ferrum_core_websockets_opened_total", "counter", "WebSocket sessions begun", |core| core.websockets_opened.get()),
    ("ferrum_core_websockets_closed_total", "counter", "WebSocket sessions ended", |core| core.websockets_closed.get()),
    ("ferrum_core_tls_handshakes_resumed_total", "counter", "Those that resumed a session", |core| {
        core.tls_handshakes_resumed.get()
    }),
    ("ferrum_core_tls_handshake_failures_total", "counter", "TLS handshakes with clients that failed", |core| {
        core.tls_handshake_failures.get()
    }),
    ("ferrum_core_requests_active", "gauge", "Requests whose response is not finished", CoreCounters::requests_active),
    ("ferrum_core_requests_total", "counter", "Requests admitted", |core| core.requests.get()),
    ("ferrum_core_requests_unrouted_total", "counter", "Requests that no route matched", |core| {
        core.requests_unrouted.get()
    }),
    ("ferrum_core_client_disconnects_total", "counter", "Clients that left early", |core| {
        core.client_disconnects.get()
    }),
    ("ferrum_core_bytes_from_clients_total", "counter", "Bytes read from clients", |core| {
        core.bytes_from_clients.get()
    }),
    ("ferrum_core_bytes_to_clients_total", "counter", "Bytes written to clients", |core| core.bytes_to_clients.get()),
    ("ferrum_core_backend_connects_total", "counter", "Backend connections opened", |core| core.backend_connects.get()),
    ("ferrum_core_backend_reuses_total", "counter", "Requests sent on a pooled connection", |core| {
        core.backend_reuses.get()
    }),
    ("ferrum_core_backend_connect_failures_total", "counter", "Backend connections that failed to open", |core| {
        core.backend_connect_failures.get()
    }),
    ("ferrum_core_log_lines_total", "counter", "Access records written", |core| core.log_lines.get()),
    ("ferrum_core_log_lines_lost_total", "counter", "Access records lost for want of room", |core| {
        core.log_lines_lost.get()
    }),
    ("ferrum_core_panics_total", "counter", "Panics caught", |core| core.panics.get()),
    ("ferrum_core_loop_delay_us", "gauge", "Delay of the core's event loop in microseconds", |core| {
        core.loop_delay_us.get()
    }),
];

impl Admin {
    pub(super) fn metrics(&self) -> Reply {
        let plugins = &self.sources.request_metrics;
        let (cache, mark) = (plugins.render_cache(), plugins.mark());
        let is_good = |age: Duration, made_at_mark: u64| match cache {
            // Somebody who came at the same time may have made one at a later mark.
            Some(cache) => age < cache.ttl && (made_at_mark >= mark || age <= cache.invalidation_min_age),
            None => age < self.options.metrics_cache,
        };
        let (body, _) = self.metrics.get_if(mark, is_good, || {
            let mut page = Exposition::new(plugins.namespace());
            self.render(&mut page);
            page.into_text().into_bytes()
        });
        reply::metrics(body)
    }

    fn render(&self, page: &mut Exposition) {
        self.sources.request_metrics.render(page);
        self.render_gateway(page);
        self.render_cores(page);
        if let Some(monitor) = &self.sources.overload {
            render_overload(page, &monitor.snapshot());
        }
        if let Some(logs) = &self.sources.logs {
            page.single("ferrum_log_lines_lost_total", "counter", "Process log lines lost", logs.lost());
        }
    }

    fn render_gateway(&self, page: &mut Exposition) {
        let counters = &self.sources.counters;
        page.family("ferrum_gateway_requests_total", "counter", "Responses sent to clients by status code");
        for (status, count) in counters.statuses() {
            page.sample("ferrum_gateway_requests_total", &labels(&[("status_code", &status)]), count);
        }
        let mut duration = HistogramTotals::default();
        counters.cores().for_each(|core| core.request_duration.add_to(&mut duration));
        page.family("ferrum_gateway_request_duration_ms", "histogram", "Time from request to response in milliseconds");
        page.histogram("ferrum_gateway_request_duration_ms", "", &duration);
        let mut duration = HistogramTotals::default();
        counters.cores().for_each(|core| core.backend_duration.add_to(&mut duration));
        page.family(
            "ferrum_gateway_backend_duration_ms",
            "histogram",
            "Time spent waiting for backends in milliseconds",
        );
        page.histogram("ferrum_gateway_backend_duration_ms", "", &duration);
    }

    fn render_cores(&self, page: &mut Exposition) {
        for (name, kind, help, figure) in PER_CORE {
            page.family(name, kind, help);
            for (id, core) in self.sources.counters.cores().enumerate() {
                page.sample(name, &labels(&[("core", &id)]), figure(core));
            }
        }
    }
}

fn render_overload(page: &mut Exposition, snapshot: &Snapshot) {
    let level = match snapshot.level {
        Level::Normal => 0,
        Level::Pressure => 1,
        Level::Critical => 2,
    };
    page.single("ferrum_overload_level", "gauge", "0 normal, 1 pressure, 2 critical", level);
    page.family("ferrum_overload_shedding_active", "gauge", "Measures in force");
    for (action, is_on) in [
        ("disable_keepalive", snapshot.actions.disable_keepalive),
        ("reject_new_connections", snapshot.actions.reject_new_connections),
        ("reject_new_requests", snapshot.actions.reject_new_requests),
    ] {
        page.sample("ferrum_overload_shedding_active", &labels(&[("action", &action)]), u8::from(is_on));
    }
    let probability = snapshot.red_drop_probability_pct / 100.0;
    let help = "Probability that a response closes its connection";
    page.single("ferrum_overload_red_drop_probability_ratio", "gauge", help, probability);
    let pressure = &snapshot.pressure;
    let resources =
        [("fd", pressure.file_descriptors), ("connections", pressure.connections), ("requests", pressure.requests)];
    page.family("ferrum_overload_resource_current", "gauge", "Use of a resource at the last check");
    for (resource, share) in resources {
        page.sample("ferrum_overload_resource_current", &labels(&[("resource", &resource)]), share.current);
    }
    page.family("ferrum_overload_resource_limit", "gauge", "Limit of a resource, 0 = none");
    for (resource, share) in resources {
        page.sample("ferrum_overload_resource_limit", &labels(&[("resource", &resource)]), share.max);
    }
    page.single("ferrum_overload_active_connections", "gauge", "Client connections open", snapshot.active_connections);
    page.single("ferrum_overload_active_requests", "gauge", "Requests in flight", snapshot.active_requests);
    page.single("ferrum_overload_draining", "gauge", "1 while the process drains", u8::from(snapshot.draining));
    let seconds = pressure.event_loop_latency_us as f64 / 1_000_000.0;
    page.single("ferrum_overload_event_loop_latency_seconds", "gauge", "Delay of the slowest core", seconds);
    let help = "Outbound connections that found no local port";
    page.single("ferrum_overload_port_exhaustion_events_total", "counter", help, snapshot.port_exhaustion_events);
}
