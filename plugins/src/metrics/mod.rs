//! What plugins count for `GET /metrics` (traffic sheet §11).
//!
//! A count is made in cells that one writer, nearly always a core, has for itself; whoever reads adds the writers up. A
//! writer makes a series known once, by sending its cells to the registry. From then on it takes no lock for it and writes
//! no line that somebody else writes. Cells whose writer is gone, because a plugin was configured anew, are added to what the
//! registry keeps of their series, so that a reload takes nothing away. A series that nobody touched for the stale time is
//! shown no more, and begins at zero when it is touched again.

mod admission;
mod book;
mod cells;
mod mesh;
mod registry;
mod series;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use engine::counters::{Cell, Exposition};
use tokio::runtime::Handle;

use admission::Admission;
pub use book::Book;
pub use cells::CoreCounts;
use registry::{Newcomer, Registry};

/// Stands for values that have no series of their own. No method and no proxy id is that: an id begins with a letter or a
/// digit, and a request with such a method is counted under it anyway.
const OTHER: &str = "_OTHER";
/// Proxies with series of their own, per core and plugin instance; the largest documents there are have as many.
const PROXIES_MAX: usize = 100_000;
/// Label sets with a method that is none of the nine everybody knows. Clients invent methods, so this is what they can
/// make grow.
const EXTENSIONS_MAX: usize = 256;
/// How often what is gone or stale is put away even if nobody asks for the figures.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// What the `prometheus_metrics` plugin configures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetricsSettings {
    /// How long a page may be kept; zero = not at all.
    pub render_cache_ttl_s: u64,
    /// Series that nobody touched for longer are not shown; zero = all are.
    pub stale_entry_ttl_s: u64,
    /// A new sample makes pages void that are older than this.
    pub cache_invalidation_min_age_ms: u64,
    /// Label sets of mesh families.
    pub mesh_series_budget: u64,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            render_cache_ttl_s: 5,
            stale_entry_ttl_s: 3600,
            cache_invalidation_min_age_ms: 500,
            mesh_series_budget: 2000,
        }
    }
}

/// How long a page may be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenderCache {
    pub ttl: Duration,
    /// A page that is older is void once the [mark](Metrics::mark) has changed.
    pub invalidation_min_age: Duration,
}

/// One for the process.
pub struct Metrics {
    namespace: String,
    started: Instant,
    cores: Box<[Arc<CoreCounts>]>,
    settings: Mutex<MetricsSettings>,
    /// How often settings have changed; zero = the plugin was never configured.
    configured: AtomicU64,
    stale_ttl_s: AtomicU64,
    is_kept_tidy: AtomicBool,
    proxies_max: usize,
    extensions: Admission,
    mesh: Admission,
    newcomers: Sender<Newcomer>,
    registry: Mutex<Registry>,
    /// Counts nowhere, for a core that does not exist.
    nowhere: OnceLock<Arc<CoreCounts>>,
}

impl Metrics {
    pub fn new(cores: usize, namespace: &str) -> Arc<Self> {
        Arc::new(Self::with_limits(cores, namespace, PROXIES_MAX, EXTENSIONS_MAX))
    }

    fn with_limits(cores: usize, namespace: &str, proxies_max: usize, extensions_max: usize) -> Self {
        let (newcomers, received) = channel();
        let settings = MetricsSettings::default();
        Self {
            namespace: namespace.to_owned(),
            started: Instant::now(),
            cores: (0..cores).map(|_| Arc::default()).collect(),
            settings: Mutex::new(settings),
            configured: AtomicU64::new(0),
            stale_ttl_s: AtomicU64::new(settings.stale_entry_ttl_s),
            is_kept_tidy: AtomicBool::new(false),
            proxies_max,
            extensions: Admission::new(extensions_max),
            mesh: Admission::new(settings.mesh_series_budget as usize),
            newcomers,
            registry: Mutex::new(Registry::new(received)),
            nowhere: OnceLock::new(),
        }
    }

    /// What that core counts. To be asked for once, when an instance is built.
    pub fn core(&self, core: usize) -> Arc<CoreCounts> {
        self.cores.get(core).unwrap_or_else(|| self.nowhere.get_or_init(Arc::default)).clone()
    }

    /// The receiver lives as long as this does.
    fn announce(&self, newcomer: Newcomer) {
        let _ = self.newcomers.send(newcomer);
    }

    /// From now on the `prometheus_metrics` plugin is there; the last one to say so wins.
    pub fn configure(&self, settings: MetricsSettings) {
        let mut present = lock(&self.settings);
        if *present == settings && self.configured.load(Ordering::Acquire) != 0 {
            return;
        }
        *present = settings;
        self.stale_ttl_s.store(settings.stale_entry_ttl_s, Ordering::Relaxed);
        self.mesh.set_max(usize::try_from(settings.mesh_series_budget).unwrap_or(usize::MAX));
        self.configured.fetch_add(1, Ordering::Release);
    }

    fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Acquire) != 0
    }

    /// What every sample has as its last label, once the plugin is there.
    pub fn namespace(&self) -> Option<&str> {
        self.is_configured().then_some(self.namespace.as_str())
    }

    /// Nothing until the plugin is there.
    pub fn render_cache(&self) -> Option<RenderCache> {
        let settings = *lock(&self.settings);
        self.is_configured().then(|| RenderCache {
            ttl: Duration::from_secs(settings.render_cache_ttl_s),
            invalidation_min_age: Duration::from_millis(settings.cache_invalidation_min_age_ms),
        })
    }

    /// Grows with every sample and every change of the settings.
    pub fn mark(&self) -> u64 {
        self.cores.iter().map(|core| core.samples()).sum::<u64>() + self.configured.load(Ordering::Acquire)
    }

    /// Puts away what is gone or stale every minute, on that runtime, as long as this lives.
    pub(crate) fn keep_tidy(self: &Arc<Self>, runtime: &Handle) {
        if self.is_kept_tidy.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(TIDY_INTERVAL).await;
                let Some(metrics) = weak.upgrade() else { return };
                metrics.tidy_at(metrics.seconds_at(Instant::now(), 0));
            }
        });
    }

    /// Every family that plugins count, and those that are there without any.
    pub fn render(&self, page: &mut Exposition) {
        self.render_at(page, self.seconds_at(Instant::now(), 0));
    }

    fn render_at(&self, page: &mut Exposition, now_s: u64) {
        lock(&self.registry).render(self, page, now_s);
    }

    fn tidy_at(&self, now_s: u64) {
        lock(&self.registry).tidy(self, now_s);
    }

    /// Seconds since this began, `later_ns` after that moment.
    fn seconds_at(&self, moment: Instant, later_ns: u64) -> u64 {
        let since = moment.saturating_duration_since(self.started);
        since.as_secs() + (u64::from(since.subsec_nanos()).saturating_add(later_ns)) / 1_000_000_000
    }

    /// Whether what was touched last at that second has been idle too long.
    fn is_stale(&self, seen_s: u64, now_s: u64) -> bool {
        let ttl_s = self.stale_ttl_s.load(Ordering::Relaxed);
        ttl_s != 0 && now_s.saturating_sub(seen_s) > ttl_s
    }

    /// A figure added up over the cores.
    fn sum(&self, figure: impl Fn(&CoreCounts) -> &Cell) -> u64 {
        self.cores.iter().map(|core| figure(core).get()).sum()
    }
}

/// What a panicking writer has left is stale at worst.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
