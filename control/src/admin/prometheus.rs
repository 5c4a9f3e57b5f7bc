//! `GET /metrics`: the families of admin sheet §25 and this engine's own, in Prometheus text form.

use std::fmt::{Display, Write as _};

use engine::counters::{CoreCounters, HistogramTotals, MILLISECOND_BOUNDS};
use plugins::outbound::sink::{Loss, tallies};

use super::Admin;
use super::reply::{self, Reply};
use crate::overload::{Level, Snapshot};

/// Families that are announced even without a series.
const ALWAYS_ANNOUNCED: [(&str, &str, &str); 4] = [
    ("ferrum_requests_total", "counter", "Requests by proxy, method and status code"),
    ("ferrum_request_duration_ms", "histogram", "Time from request to response in milliseconds"),
    ("ferrum_backend_duration_ms", "histogram", "Time spent waiting for the backend in milliseconds"),
    ("ferrum_edge_overhead_ms", "histogram", "Time spent in the gateway itself in milliseconds"),
];

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
        let (body, _) = self.metrics.get(|| {
            let mut text = Text(String::with_capacity(16 * 1024));
            self.render(&mut text);
            text.0.into_bytes()
        });
        reply::metrics(body)
    }

    fn render(&self, text: &mut Text) {
        match &self.sources.request_metrics {
            Some(render) => render(&mut text.0),
            None => {
                for (name, kind, help) in ALWAYS_ANNOUNCED {
                    text.family(name, kind, help);
                }
                text.single("ferrum_rate_limit_exceeded_total", "counter", "Requests refused by a rate limit", 0);
                let help = "Upstream query identifiers used up by the mesh DNS proxy";
                text.single("ferrum_mesh_dns_upstream_id_exhaustions_total", "counter", help, 0);
            }
        }
        self.render_gateway(text);
        self.render_cores(text);
        if let Some(monitor) = &self.sources.overload {
            render_overload(text, &monitor.snapshot());
        }
        if let Some(logs) = &self.sources.logs {
            text.single("ferrum_log_lines_lost_total", "counter", "Process log lines lost", logs.lost());
        }
        render_sinks(text);
    }

    fn render_gateway(&self, text: &mut Text) {
        let counters = &self.sources.counters;
        text.family("ferrum_gateway_requests_total", "counter", "Responses sent to clients by status code");
        for (status, count) in counters.statuses() {
            text.sample("ferrum_gateway_requests_total", &[("status_code", &status)], count);
        }
        let mut duration = HistogramTotals::default();
        counters.cores().for_each(|core| core.request_duration.add_to(&mut duration));
        text.histogram(
            "ferrum_gateway_request_duration_ms",
            "Time from request to response in milliseconds",
            &duration,
        );
        let mut duration = HistogramTotals::default();
        counters.cores().for_each(|core| core.backend_duration.add_to(&mut duration));
        text.histogram(
            "ferrum_gateway_backend_duration_ms",
            "Time spent waiting for backends in milliseconds",
            &duration,
        );
    }

    fn render_cores(&self, text: &mut Text) {
        for (name, kind, help, figure) in PER_CORE {
            text.family(name, kind, help);
            for (id, core) in self.sources.counters.cores().enumerate() {
                text.sample(name, &[("core", &id)], figure(core));
            }
        }
    }
}

/// Traffic sheet §8.12: every series is always there.
fn render_sinks(text: &mut Text) {
    let (accepted, dropped) =
        ("ferrum_plugin_log_sink_records_accepted_total", "ferrum_plugin_log_sink_records_dropped_total");
    text.family(accepted, "counter", "Records that got into the queue of a logging plugin");
    for tally in tallies() {
        text.sample(accepted, &[("plugin", &tally.plugin)], tally.accepted());
    }
    text.family(dropped, "counter", "Records of a logging plugin that were lost");
    for tally in tallies() {
        for why in Loss::ALL {
            text.sample(dropped, &[("plugin", &tally.plugin), ("reason", &why.name())], tally.lost(why));
        }
    }
}

fn render_overload(text: &mut Text, snapshot: &Snapshot) {
    let level = match snapshot.level {
        Level::Normal => 0,
        Level::Pressure => 1,
        Level::Critical => 2,
    };
    text.single("ferrum_overload_level", "gauge", "0 normal, 1 pressure, 2 critical", level);
    text.family("ferrum_overload_shedding_active", "gauge", "Measures in force");
    for (action, is_on) in [
        ("disable_keepalive", snapshot.actions.disable_keepalive),
        ("reject_new_connections", snapshot.actions.reject_new_connections),
        ("reject_new_requests", snapshot.actions.reject_new_requests),
    ] {
        text.sample("ferrum_overload_shedding_active", &[("action", &action)], u8::from(is_on));
    }
    let probability = snapshot.red_drop_probability_pct / 100.0;
    let help = "Probability that a response closes its connection";
    text.single("ferrum_overload_red_drop_probability_ratio", "gauge", help, probability);
    let pressure = &snapshot.pressure;
    let resources =
        [("fd", pressure.file_descriptors), ("connections", pressure.connections), ("requests", pressure.requests)];
    text.family("ferrum_overload_resource_current", "gauge", "Use of a resource at the last check");
    for (resource, share) in resources {
        text.sample("ferrum_overload_resource_current", &[("resource", &resource)], share.current);
    }
    text.family("ferrum_overload_resource_limit", "gauge", "Limit of a resource, 0 = none");
    for (resource, share) in resources {
        text.sample("ferrum_overload_resource_limit", &[("resource", &resource)], share.max);
    }
    text.single("ferrum_overload_active_connections", "gauge", "Client connections open", snapshot.active_connections);
    text.single("ferrum_overload_active_requests", "gauge", "Requests in flight", snapshot.active_requests);
    text.single("ferrum_overload_draining", "gauge", "1 while the process drains", u8::from(snapshot.draining));
    let seconds = pressure.event_loop_latency_us as f64 / 1_000_000.0;
    text.single("ferrum_overload_event_loop_latency_seconds", "gauge", "Delay of the slowest core", seconds);
    let help = "Outbound connections that found no local port";
    text.single("ferrum_overload_port_exhaustion_events_total", "counter", help, snapshot.port_exhaustion_events);
}

struct Text(String);

impl Text {
    // Writing into a string cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, totals: &HistogramTotals) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut cumulative = 0;
        for (bound, count) in MILLISECOND_BOUNDS.iter().zip(totals.buckets) {
            cumulative += count;
            self.sample(&bucket, &[("le", bound)], cumulative);
        }
        self.sample(&bucket, &[("le", &"+Inf")], totals.count());
        self.sample(&format!("{name}_sum"), &[], format_args!("{:.2}", totals.sum_ns as f64 / 1_000_000.0));
        self.sample(&format!("{name}_count"), &[], totals.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text(String::new());
        text.sample("x", &[("a", &"q\"\\\n"), ("b", &1)], 2.5);
        assert_eq!(text.0, "x{a=\"q\\\"\\\\\\n\",b=\"1\"} 2.5\n");
    }

    #[test]
    fn buckets_add_up_and_the_sum_is_in_milliseconds() {
        let totals = HistogramTotals { buckets: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], sum_ns: 12_345_678 };
        let mut text = Text(String::new());
        text.histogram("h", "help", &totals);
        for line in [
            "h_bucket{le=\"5\"} 1",
            "h_bucket{le=\"10\"} 3",
            "h_bucket{le=\"10000\"} 3",
            "h_bucket{le=\"+Inf\"} 7",
            "h_sum 12.35",
            "h_count 7",
        ] {
            assert!(text.0.lines().any(|each| each == line), "{line} in {}", text.0);
        }
    }
}
