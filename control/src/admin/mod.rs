//! The admin API: health, overload, metrics and the resources.
//!
//! Runs on the control runtime. It reads what others own: counters, the overload monitor, the resolver and, through
//! [`ResourceReads`], the running configuration. Where there is a database ([`AdminSources::store`]), resources are read
//! from it and written to it; whoever applies what was written is told by [`AdminSources::on_write`]. The order in which a
//! request is looked at is one function, [`pipeline::answer`]; the table of paths is [`route::find`].

mod audit;
mod auth;
mod backup;
mod cached;
mod capabilities;
mod connection;
mod gateway;
mod health;
mod namespace;
pub mod openapi;
mod pipeline;
mod prometheus;
mod query;
mod redact;
mod reply;
mod resources;
mod route;
mod runtime;
mod server;
mod specs;
mod system;
#[cfg(test)]
mod test_rig;
#[cfg(test)]
mod tests;
mod timestamp;
mod token;
mod windows;
mod write;

pub use auth::Role;
pub use gateway::{NoTraffic, RouterCaches, TrafficReads};
pub use health::Readiness;
pub use resources::{ConfigSummary, ResourceKind, ResourceReads};
pub use server::{AdminListener, AdminTls};
pub use token::{Bearer, Signing, TokenError};
pub use write::WriteOptions;
pub(crate) use write::hash_passwords;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::counters::Counters;
use plugins::metrics::Metrics;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::capabilities::Capabilities;
use crate::dns::Dns;
use crate::logging::LogCounts;
use crate::overload::Monitor;
use crate::store::{Kind, Store};

use audit::Recorder;
use auth::Gate;
use cached::Cached;
use health::Ping;
use redact::SensitiveKeys;
use system::{System, SystemSampler};
use windows::Windows;

/// Whether this peer may talk to the API (`FERRUM_ADMIN_ALLOWED_CIDRS`). Mapped IPv4 peers come as IPv4.
pub type AllowList = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Called after each write that has changed the database, so that it can be applied at once.
pub type OnWrite = Arc<dyn Fn(Written) + Send + Sync>;

/// What has changed in the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// One row, with what it lists.
    Row(Kind, String),
    /// Several, or others along with one.
    Several,
}

/// What the API needs to know (admin sheet §1).
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// As `/health` shows it.
    pub mode: String,
    pub version: String,
    /// Always in file, dp, mesh and node_agent mode.
    pub is_read_only: bool,
    /// `None` or empty = a random one, so that every token is refused.
    pub jwt_secret: Option<String>,
    pub jwt_issuer: String,
    /// Longest `exp - iat`; 0 = no check.
    pub jwt_ttl_max_seconds: u64,
    /// Zero = no limit.
    pub header_read_timeout: Duration,
    pub restore_body_max_mib: usize,
    pub spec_body_max_mib: usize,
    /// `FERRUM_LOG_REDACT_METADATA_KEYS`.
    pub sensitive_keys: Vec<String>,
    /// How long `/metrics` is kept, unless the `prometheus_metrics` plugin says so.
    pub metrics_cache: Duration,
    pub runtime_cache: Duration,
    pub gateway_cache: Duration,
    pub sample_interval: Duration,
    pub status_window: Duration,
    pub window_1m: Duration,
    pub window_5m: Duration,
    /// `FERRUM_METRICS_STATUS_TRACKING_ENABLED`: off = no 1 m and 5 m windows.
    pub status_tracking: bool,
    /// Shown in `/admin/metrics`.
    pub pool_max_idle_per_host: u64,
    pub pool_idle_timeout_seconds: u64,
    /// How long `/health` goes by the last answer of the database.
    pub ping_cache: Duration,
    /// What is written is checked against.
    pub write: WriteOptions,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self {
            mode: "file".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_read_only: true,
            jwt_secret: None,
            jwt_issuer: "ferrum-edge".to_owned(),
            jwt_ttl_max_seconds: 3600,
            header_read_timeout: Duration::from_secs(10),
            restore_body_max_mib: 100,
            spec_body_max_mib: 25,
            sensitive_keys: Vec::new(),
            metrics_cache: Duration::from_secs(5),
            runtime_cache: Duration::from_millis(1000),
            gateway_cache: Duration::from_secs(5),
            sample_interval: Duration::from_millis(1000),
            status_window: Duration::from_secs(30),
            window_1m: Duration::from_secs(60),
            window_5m: Duration::from_secs(300),
            status_tracking: true,
            pool_max_idle_per_host: 64,
            pool_idle_timeout_seconds: 90,
            ping_cache: Duration::from_secs(15),
            write: WriteOptions::default(),
        }
    }
}

/// Where the API reads.
#[derive(Clone)]
pub struct AdminSources {
    pub counters: Counters,
    /// The CPU of each core, by core number; a core that is not there is unpinned.
    pub core_cpus: Vec<usize>,
    /// `None` in modes without a proxy.
    pub overload: Option<Arc<Monitor>>,
    pub dns: Option<Dns>,
    /// `None` in modes without a proxy.
    pub capabilities: Option<Arc<Capabilities>>,
    pub logs: Option<Arc<LogCounts>>,
    pub readiness: Arc<Readiness>,
    /// `None` = no configuration at all.
    pub resources: Option<Arc<dyn ResourceReads>>,
    pub traffic: Arc<dyn TrafficReads>,
    /// The database; `None` in modes without one.
    pub store: Option<Arc<dyn Store>>,
    /// Raised by whoever polls the database while it cannot be reached: writes are refused, reads come from `resources`.
    pub database_unavailable: Arc<AtomicBool>,
    pub on_write: Option<OnWrite>,
    /// Names of all plugins in the binary.
    pub plugins: Vec<String>,
    /// What plugins count, with the families that are there without any.
    pub request_metrics: Arc<Metrics>,
    pub allow: AllowList,
}

impl AdminSources {
    /// Counters and readiness, and nothing else: fill in what there is.
    pub fn new(counters: Counters, readiness: Arc<Readiness>) -> Self {
        Self {
            counters,
            core_cpus: Vec::new(),
            overload: None,
            dns: None,
            capabilities: None,
            logs: None,
            readiness,
            resources: None,
            traffic: Arc::new(NoTraffic),
            store: None,
            database_unavailable: Arc::new(AtomicBool::new(false)),
            on_write: None,
            plugins: Vec::new(),
            request_metrics: Metrics::new(0, ""),
            allow: Arc::new(|_| true),
        }
    }
}

/// Why the API is not there.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("admin listener: cannot bind {address}: free the port or choose another with {setting}")]
    Bind {
        address: SocketAddr,
        /// Which chooses the port.
        setting: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// The API, whichever listeners it has.
pub struct Admin {
    options: AdminOptions,
    sources: AdminSources,
    gate: Gate,
    sensitive: SensitiveKeys,
    started: Instant,
    samples: Mutex<Samples>,
    metrics: Cached,
    runtime: Cached,
    gateway: Cached,
    ping: Ping,
    /// None when nothing is recorded.
    recorder: Option<Recorder>,
    /// One write at a time: what one has checked, no other has changed when it is stored.
    writing: tokio::sync::Mutex<()>,
    /// Whole documents that are worked on at once.
    documents: Arc<tokio::sync::Semaphore>,
    sampler: Mutex<Option<JoinHandle<()>>>,
}

/// What is sampled at the interval.
struct Samples {
    sampler: SystemSampler,
    system: System,
    windows: Windows,
}

impl Admin {
    /// Starts sampling on the current tokio runtime. Listens nowhere yet.
    pub fn new(options: AdminOptions, sources: AdminSources) -> Arc<Self> {
        let now = Instant::now();
        let mut sampler = SystemSampler::default();
        let system = sampler.sample(now);
        let windows = Windows::new(&options, now);
        let admin = Arc::new(Self {
            gate: Gate::new(options.jwt_secret.as_deref(), &options.jwt_issuer, options.jwt_ttl_max_seconds),
            sensitive: SensitiveKeys::new(&options.sensitive_keys),
            started: now,
            samples: Mutex::new(Samples { sampler, system, windows }),
            metrics: Cached::new(options.metrics_cache),
            runtime: Cached::new(options.runtime_cache),
            gateway: Cached::new(options.gateway_cache),
            ping: Ping::new(options.ping_cache),
            recorder: sources.store.clone().filter(|_| options.write.audit_enabled).map(Recorder::start),
            writing: tokio::sync::Mutex::new(()),
            documents: Arc::new(tokio::sync::Semaphore::new(specs::AT_ONCE_MAX)),
            sampler: Mutex::new(None),
            options,
            sources,
        });
        let weak = Arc::downgrade(&admin);
        let interval = admin.options.sample_interval;
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(admin) = weak.upgrade() else { return };
                admin.sample();
            }
        });
        *lock(&admin.sampler) = Some(task);
        admin
    }

    /// Binds a plain HTTP/1.1 listener and serves it in the background. The caller decides whether a failure matters.
    pub fn listen(self: &Arc<Self>, address: SocketAddr) -> Result<AdminListener, AdminError> {
        let bind = |source| AdminError::Bind { address, setting: "FERRUM_ADMIN_HTTP_PORT", source };
        AdminListener::start(self.clone(), address, None).map_err(bind)
    }

    /// As [`Admin::listen`], under TLS; HTTP/2 and HTTP/1.1, whichever the handshake agrees on.
    pub fn listen_tls(self: &Arc<Self>, address: SocketAddr, tls: AdminTls) -> Result<AdminListener, AdminError> {
        let bind = |source| AdminError::Bind { address, setting: "FERRUM_ADMIN_HTTPS_PORT", source };
        AdminListener::start(self.clone(), address, Some(tls)).map_err(bind)
    }

    fn sample(&self) {
        let now = Instant::now();
        let totals = windows::Totals::of(&self.sources.counters);
        let mut samples = lock(&self.samples);
        samples.system = samples.sampler.sample(now);
        samples.windows.turn(now, &totals);
    }

    fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.sampler).take() {
            task.abort();
        }
    }
}

/// What a panicking writer has left is stale at worst.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
