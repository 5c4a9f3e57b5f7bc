//! Where one plugin instance on one core finds the cells of a request.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::counters::push_label;
use engine::http::Method;
use rustc_hash::FxHashMap;

use super::admission::Admission;
use super::cells::{CoreCounts, Duration, Pair, ProxyCells, SeriesCells};
use super::mesh::MeshRequest;
use super::registry::Newcomer;
use super::{Metrics, OTHER};
use crate::{Facts, Outcome, RequestContext};

/// Where no proxy matched.
const NO_PROXY: &str = "unknown";
/// Longer methods are counted with the others.
const METHOD_BYTES_MAX: usize = 32;
/// The labels of a request in a mesh come from certificates and headers; a longer set has no series.
pub(super) const MESH_LABELS_BYTES_MAX: usize = 8192;
/// Cells that are stale are looked for every half of the stale time, but not more often than this. Looking at those of
/// a hundred thousand proxies takes some milliseconds.
const SWEEP_SECONDS_MIN: u64 = 60;

/// The cells in use on one core.
pub struct Book {
    metrics: Arc<Metrics>,
    counts: Arc<CoreCounts>,
    /// Configurations that requests still have, the newest first; nearly always one.
    generations: Vec<Generation>,
    /// By proxy id, so that a proxy keeps its cells when routes are numbered anew.
    proxies: FxHashMap<Arc<str>, Arc<ProxyCells>>,
    /// Counts proxies that have no cells of their own.
    folded: Option<Arc<ProxyCells>>,
    extensions: LabelSets,
    mesh: LabelSets,
    /// Where label texts are put together.
    text: String,
    sweep_at_s: u64,
}

/// Cells by the number of the route.
struct Generation {
    facts: Weak<Facts>,
    routes: FxHashMap<u32, Arc<ProxyCells>>,
}

impl Book {
    pub fn new(metrics: Arc<Metrics>, core: usize) -> Self {
        Self {
            counts: metrics.core(core),
            metrics,
            generations: Vec::new(),
            proxies: FxHashMap::default(),
            folded: None,
            extensions: LabelSets::default(),
            mesh: LabelSets::default(),
            text: String::new(),
            sweep_at_s: SWEEP_SECONDS_MIN,
        }
    }

    /// Counts one transaction.
    pub fn count(&mut self, cx: &RequestContext, outcome: &Outcome) {
        let now_s = self.metrics.seconds_at(cx.received, outcome.total_ns);
        if now_s >= self.sweep_at_s {
            self.sweep(now_s);
        }
        let is_counted = cx.head.method == Method::Other && self.count_extension(cx, outcome.status, now_s);
        let cells = self.cells(cx, now_s);
        cells.touch(now_s);
        cells.record(Duration::Total, outcome.total_ns);
        cells.record(Duration::Overhead, outcome.overhead_ns());
        if let Some(backend_ns) = outcome.backend_total_ns {
            cells.record(Duration::Backend, backend_ns);
        }
        if outcome.client_disconnected {
            cells.disconnected();
        }
        if !is_counted {
            let has_place = cells.count(Pair::of(cx.head.method, outcome.status), now_s);
            if !has_place || cx.head.method == Method::Other {
                self.counts.requests_folded.one();
            }
        }
        if let Some(request) = MeshRequest::of(cx) {
            self.count_mesh(&request, cx, outcome, now_s);
        }
        // Last, so that a page made at this mark shows it.
        self.counts.note_sample();
    }

    fn cells(&mut self, cx: &RequestContext, now_s: u64) -> &ProxyCells {
        let facts = Rc::as_ptr(&cx.facts);
        let known = self.generations.iter().position(|generation| generation.facts.as_ptr() == facts);
        let at = known.unwrap_or_else(|| self.meet(&cx.facts));
        let Self { metrics, counts, generations, proxies, folded, .. } = self;
        let make = || proxy_cells(metrics, proxies, folded, &cx.proxy().id, now_s);
        let cells = generations[at].routes.entry(cx.route).or_insert_with(make);
        if folded.as_ref().is_some_and(|folded| Arc::ptr_eq(folded, cells)) {
            counts.proxies_folded.one();
        }
        cells
    }

    /// A configuration this book has not seen; those that no request has any more are forgotten.
    fn meet(&mut self, facts: &Rc<Facts>) -> usize {
        self.generations.retain(|generation| generation.facts.strong_count() != 0);
        self.generations.insert(0, Generation { facts: Rc::downgrade(facts), routes: FxHashMap::default() });
        0
    }

    /// Counts a request whose method is none that everybody knows; the answer tells whether it has a series of its own.
    fn count_extension(&mut self, cx: &RequestContext, status: u16, now_s: u64) -> bool {
        let method = std::str::from_utf8(cx.head.method_text()).unwrap_or_default();
        if method.is_empty() || method.len() > METHOD_BYTES_MAX || method == OTHER {
            return false;
        }
        self.text.clear();
        push_label(&mut self.text, "proxy_id", proxy_id(&cx.proxy().id));
        push_label(&mut self.text, "method", method);
        push_label(&mut self.text, "status_code", status);
        let admission = &self.metrics.extensions;
        let cells = self.extensions.cells(&self.text, admission, &self.metrics, Newcomer::Extension, now_s);
        cells.inspect(|cells| cells.touch(0, now_s)).is_some()
    }

    fn count_mesh(&mut self, request: &MeshRequest<'_>, cx: &RequestContext, outcome: &Outcome, now_s: u64) {
        request.write(cx, outcome, &mut self.text);
        let cells = match self.text.len() <= MESH_LABELS_BYTES_MAX {
            true => self.mesh.cells(&self.text, &self.metrics.mesh, &self.metrics, Newcomer::Mesh, now_s),
            false => {
                self.text = String::new();
                None
            }
        };
        match cells {
            Some(cells) => cells.touch(outcome.total_ns, now_s),
            None => self.counts.mesh_dropped.one(),
        }
    }

    /// Lets go of what has been idle for the stale time. Its counts stay with the registry.
    fn sweep(&mut self, now_s: u64) {
        let ttl_s = self.metrics.stale_ttl_s.load(Ordering::Relaxed);
        self.sweep_at_s = now_s.saturating_add((ttl_s / 2).max(SWEEP_SECONDS_MIN));
        let Self { metrics, generations, proxies, folded, extensions, mesh, .. } = self;
        let is_live = |cells: &ProxyCells| !metrics.is_stale(cells.seen_s(), now_s);
        proxies.retain(|_, cells| is_live(cells));
        generations.retain(|generation| generation.facts.strong_count() != 0);
        for generation in generations {
            // Folded ones may find room now.
            let is_own = |cells: &Arc<ProxyCells>| folded.as_ref().is_none_or(|folded| !Arc::ptr_eq(folded, cells));
            generation.routes.retain(|_, cells| is_live(cells) && is_own(cells));
        }
        for sets in [extensions, mesh] {
            sets.known.retain(|_, cells| !metrics.is_stale(cells.seen_s.get(), now_s));
        }
    }
}

fn proxy_id(id: &str) -> &str {
    if id.is_empty() { NO_PROXY } else { id }
}

/// The cells of that proxy, or those of all that have none.
fn proxy_cells(
    metrics: &Metrics,
    proxies: &mut FxHashMap<Arc<str>, Arc<ProxyCells>>,
    folded: &mut Option<Arc<ProxyCells>>,
    id: &str,
    now_s: u64,
) -> Arc<ProxyCells> {
    let id = proxy_id(id);
    if let Some(present) = proxies.get(id) {
        return present.clone();
    }
    let announced = |proxy: &str| {
        let cells = Arc::new(ProxyCells::new(proxy.into()));
        cells.touch(now_s);
        metrics.announce(Newcomer::Proxy(cells.clone()));
        cells
    };
    if proxies.len() >= metrics.proxies_max {
        return folded.get_or_insert_with(|| announced(OTHER)).clone();
    }
    let cells = announced(id);
    proxies.insert(cells.proxy.clone(), cells.clone());
    cells
}

/// Label sets that somebody outside has a say in, as rendered text.
#[derive(Default)]
struct LabelSets {
    known: FxHashMap<Arc<str>, Arc<SeriesCells>>,
    /// The second in which there was no room; another try is made in the next.
    refused_at_s: Option<u64>,
}

impl LabelSets {
    /// Nothing when there is no room for this set.
    fn cells(
        &mut self,
        labels: &str,
        admission: &Admission,
        metrics: &Metrics,
        newcomer: fn(Arc<str>, Arc<SeriesCells>) -> Newcomer,
        now_s: u64,
    ) -> Option<&SeriesCells> {
        if !self.known.contains_key(labels) {
            if self.refused_at_s == Some(now_s) {
                return None;
            }
            let Some(labels) = admission.admit(labels) else {
                self.refused_at_s = Some(now_s);
                return None;
            };
            let cells = Arc::new(SeriesCells::default());
            cells.seen_s.set(now_s);
            metrics.announce(newcomer(labels.clone(), cells.clone()));
            self.known.insert(labels, cells);
        }
        self.known.get(labels).map(|cells| &**cells)
    }
}

impl SeriesCells {
    fn touch(&self, duration_ns: u64, now_s: u64) {
        self.duration.record_ns(duration_ns);
        self.seen_s.set(now_s);
    }
}
