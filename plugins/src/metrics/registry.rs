//! The reader's side: all series, and the page they make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use engine::counters::{Exposition, labels};

use super::cells::{DURATIONS, ProxyCells, SeriesCells};
use super::series::{LabelledSet, Now, ProxySeries, ProxyTotals};
use super::{Metrics, OTHER};

const REQUESTS: &str = "ferrum_requests_total";
/// In the order of [`Duration`](super::cells::Duration).
const DURATION_FAMILIES: [(&str, &str); DURATIONS] = [
    ("ferrum_request_duration_ms", "Time from request to response in milliseconds"),
    ("ferrum_backend_duration_ms", "Time backends took for responses that were not streamed, in milliseconds"),
    ("ferrum_edge_overhead_ms", "Time neither the backend nor plugins took in milliseconds"),
];
const DISCONNECTS: &str = "ferrum_client_disconnects_total";
const MESH_REQUESTS: &str = "ferrum_mesh_requests_total";
const MESH_DURATION: &str = "ferrum_mesh_request_duration_ms";
const OVERFLOW: &str = "ferrum_metric_series_overflow_total";
const MESH_OVERFLOW: &str = "ferrum_mesh_metric_series_overflow_total";

/// Cells that a writer has begun to use.
pub(super) enum Newcomer {
    Proxy(Arc<ProxyCells>),
    Extension(Arc<str>, Arc<SeriesCells>),
    Mesh(Arc<str>, Arc<SeriesCells>),
}

pub(super) struct Registry {
    newcomers: Receiver<Newcomer>,
    proxies: BTreeMap<Arc<str>, ProxySeries>,
    extensions: LabelledSet,
    mesh: LabelledSet,
}

impl Registry {
    pub(super) fn new(newcomers: Receiver<Newcomer>) -> Self {
        Self { newcomers, proxies: BTreeMap::new(), extensions: LabelledSet::default(), mesh: LabelledSet::default() }
    }

    fn take_in(&mut self) {
        for newcomer in self.newcomers.try_iter() {
            match newcomer {
                Newcomer::Proxy(cells) => self.proxies.entry(cells.proxy.clone()).or_default().join(cells),
                Newcomer::Extension(labels, cells) => self.extensions.join(labels, cells),
                Newcomer::Mesh(labels, cells) => self.mesh.join(labels, cells),
            }
        }
    }

    /// Calls `show` for each proxy with something to show, and forgets those that nobody has any more.
    fn visit_proxies(&mut self, now: Now<'_>, mut show: impl FnMut(&str, &ProxyTotals)) {
        self.proxies.retain(|proxy, series| match series.shown(now) {
            Some(totals) => {
                show(proxy, &totals);
                true
            }
            None => !series.is_abandoned(),
        });
    }

    /// What rendering does, without a page.
    pub(super) fn tidy(&mut self, metrics: &Metrics, second: u64) {
        let now = Now { metrics, second };
        self.take_in();
        self.visit_proxies(now, |_, _| ());
        self.extensions.visit(now, &metrics.extensions, |_, _| ());
        self.mesh.visit(now, &metrics.mesh, |_, _| ());
    }

    pub(super) fn render(&mut self, metrics: &Metrics, page: &mut Exposition, second: u64) {
        let now = Now { metrics, second };
        self.take_in();
        self.render_requests(now, page);
        self.render_mesh(now, page);
        let limited = metrics.sum(|core| &core.rate_limit_exceeded);
        page.single("ferrum_rate_limit_exceeded_total", "counter", "Requests refused by a rate limit", limited);
        let fallback = metrics.sum(|core| &core.rate_limit_local_fallback);
        let help = "Requests that this process counted alone, because Redis was away";
        page.single("ferrum_rate_limit_local_fallback_decisions_total", "counter", help, fallback);
        let help = "Upstream query identifiers used up by the mesh DNS proxy";
        page.single("ferrum_mesh_dns_upstream_id_exhaustions_total", "counter", help, 0);
        let (requests, proxies) = (metrics.sum(|core| &core.requests_folded), metrics.sum(|core| &core.proxies_folded));
        let help = "Samples without a series of their own, counted under _OTHER";
        render_overflow(page, OVERFLOW, help, &[(REQUESTS, requests + proxies), (DURATION_FAMILIES[0].0, proxies)]);
        let dropped = metrics.sum(|core| &core.mesh_dropped);
        let help = "Samples that found the budget of mesh label sets used up";
        render_overflow(page, MESH_OVERFLOW, help, &[(MESH_REQUESTS, dropped), (MESH_DURATION, dropped)]);
    }

    /// All that records of proxies count, in one pass over them.
    fn render_requests(&mut self, now: Now<'_>, page: &mut Exposition) {
        page.family(REQUESTS, "counter", "Requests by proxy, method and status code");
        let mut durations = DURATION_FAMILIES.map(|(name, help)| {
            let mut part = page.part();
            part.family(name, "histogram", help);
            part
        });
        let mut disconnects = page.part();
        self.visit_proxies(now, |proxy, totals| {
            for (pair, count) in totals.pairs() {
                let identity = match pair.status() {
                    Some(status) => {
                        labels(&[("proxy_id", &proxy), ("method", &pair.method()), ("status_code", &status)])
                    }
                    None => labels(&[("proxy_id", &proxy), ("method", &OTHER), ("status_code", &OTHER)]),
                };
                page.sample(REQUESTS, &identity, count);
            }
            let identity = labels(&[("proxy_id", &proxy)]);
            for (part, ((name, _), totals)) in durations.iter_mut().zip(DURATION_FAMILIES.iter().zip(&totals.durations))
            {
                if totals.count() != 0 {
                    part.histogram(name, &identity, totals);
                }
            }
            if totals.disconnects != 0 {
                disconnects.sample(DISCONNECTS, &identity, totals.disconnects);
            }
        });
        self.extensions.visit(now, &now.metrics.extensions, |identity, totals| {
            page.sample(REQUESTS, identity, totals.count());
        });
        durations.iter().for_each(|part| page.append(part));
        if !disconnects.is_empty() {
            page.family(DISCONNECTS, "counter", "Clients that left before their response ended");
            page.append(&disconnects);
        }
    }

    fn render_mesh(&mut self, now: Now<'_>, page: &mut Exposition) {
        let (mut requests, mut durations) =
            (Exposition::part_without_namespace(), Exposition::part_without_namespace());
        self.mesh.visit(now, &now.metrics.mesh, |identity, totals| {
            requests.sample(MESH_REQUESTS, identity, totals.count());
            durations.histogram(MESH_DURATION, identity, totals);
        });
        if !requests.is_empty() {
            page.family(MESH_REQUESTS, "counter", "Requests by workloads");
            page.append(&requests);
            page.family(MESH_DURATION, "histogram", "Time from request to response by workloads in milliseconds");
            page.append(&durations);
        }
    }
}

#[cfg(test)]
impl Registry {
    /// How many hold the cells of each proxy.
    pub(super) fn holders(&self) -> Vec<(&str, Vec<usize>)> {
        self.proxies.iter().map(|(proxy, series)| (&**proxy, series.holders())).collect()
    }
}

/// Printed when anything has overflowed.
fn render_overflow(page: &mut Exposition, name: &str, help: &str, counts: &[(&str, u64)]) {
    if counts.iter().all(|(_, count)| *count == 0) {
        return;
    }
    page.family(name, "counter", help);
    for (family, count) in counts.iter().filter(|(_, count)| *count != 0) {
        page.sample(name, &labels(&[("family", family)]), count);
    }
}
