//! A gateway from start to stop: everything is put together here, and nothing else is done here.

mod admin_api;
mod admin_reads;
mod cores;
mod database;
mod drain;
mod listener_tls;
mod migrate;
mod options;
mod probe;
mod publication;
mod services;
mod signals;
mod tls;
mod warm_up;
mod writes;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use engine::counters::Counters;
use engine::logring::log_ring;
use engine::net::{Reactor, ReactorChoice, probe_io_uring};
use engine::overload::Overload;
use engine::publish::Fanout;
use engine::snapshot::Snapshot;
use plugins::PluginSet;

use crate::admin::{AdminSources, Readiness};
use crate::capabilities::{Capabilities, targets};
use crate::cli::Prepared;
use crate::dns::Dns;
use crate::logging::{self, LogGuard, LogOptions};
use crate::overload::{Monitor, raise_nofile};
use crate::settings::{self, Mode, Settings};
use crate::source::{CurrentStore, FileSource, SourceError};

use cores::Cores;
use listener_tls::ListenerTls;
pub(crate) use options::database as database_target;
use publication::{Origin, Publication, needed_names};
use signals::{Signals, Stopped};
use writes::Writes;

/// Why a gateway ends other than by being told to.
#[derive(Debug, thiserror::Error)]
#[error("{summary}")]
pub struct Fatal {
    summary: String,
    errors: Vec<String>,
}

impl Fatal {
    fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), errors: Vec::new() }
    }
}

impl From<SourceError> for Fatal {
    fn from(error: SourceError) -> Self {
        Self { summary: error.summary, errors: error.errors }
    }
}

/// Batches of 64 KiB that wait for the log writer, per core: 4 MiB.
const LOG_BATCHES_MAX: usize = 64;
/// After the drain, background work has this long (settings sheet §10).
const BACKGROUND_STOP_MAX: Duration = Duration::from_secs(5);

/// Runs a gateway with these settings until it is told to stop.
pub fn run(prepared: Prepared) -> ExitCode {
    let settings = &prepared.settings;
    let cpus = match cores::choose(settings) {
        Ok(cpus) => cpus,
        Err(reason) => return early_failure(&prepared, &reason),
    };
    let (rings, drains) = (0..cpus.len()).map(|_| log_ring(LOG_BATCHES_MAX)).unzip();
    let log = match logging::start(log_options(&prepared), drains) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    announce(&prepared);
    show_settings_to_plugins(&prepared);
    let code = match serve(&prepared, &cpus, rings, &log) {
        Ok(()) => {
            tracing::info!("Ferrum Edge shut down cleanly");
            ExitCode::SUCCESS
        }
        Err(fatal) => {
            for error in &fatal.errors {
                tracing::error!("{error}");
            }
            tracing::error!("Fatal error: {fatal}");
            ExitCode::FAILURE
        }
    };
    log.finish();
    code
}

/// Custom plugins may ask for `FERRUM_*` settings by name.
fn show_settings_to_plugins(prepared: &Prepared) {
    let all = prepared.conf.iter().chain(&prepared.environment);
    let settings = all.filter(|(key, _)| key.starts_with("FERRUM_")).map(|(key, value)| (key.clone(), value.clone()));
    ferrum_edge::config::conf_file::set_ferrum_vars(settings);
}

fn early_failure(prepared: &Prepared, reason: &str) -> ExitCode {
    if let Ok(log) = logging::start(log_options(prepared), Vec::new()) {
        tracing::error!("Configuration error: {reason}");
        log.finish();
    }
    ExitCode::FAILURE
}

fn log_options(prepared: &Prepared) -> LogOptions {
    LogOptions {
        rust_log: prepared.environment.get("RUST_LOG").cloned(),
        level: prepared.settings.core.log_level.clone(),
        capacity: prepared.settings.core.log_buffer_capacity,
        counters_enabled: prepared.settings.metrics.metrics_log_counter_enabled,
    }
}

/// The lines at the beginning of every log (settings sheet §5).
fn announce(prepared: &Prepared) {
    let settings = &prepared.settings;
    let version = env!("CARGO_PKG_VERSION");
    raise_nofile();
    tracing::info!("Ferrum Edge v{version} ({}) starting...", crate::cli::target_triple());
    for (key, backend) in &prepared.secrets_loaded {
        tracing::info!("Loaded {key} from {backend}");
    }
    if !prepared.secrets_loaded.is_empty() {
        tracing::info!("{} setting(s) loaded from external sources", prepared.secrets_loaded.len());
    }
    for key in &prepared.conf_overrides {
        tracing::info!("{key}: the environment overrides the conf file");
    }
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!("Operating mode: {}", settings.core.mode);
    tracing::info!("Proxy bind address: {}", settings.listeners.proxy_bind_address);
    tracing::info!("Admin bind address: {}", settings.admin.admin_bind_address);
    for line in options::unserved(settings).into_iter().chain(options::secret_warning(settings)) {
        tracing::warn!("{line}");
    }
}

fn serve(
    prepared: &Prepared,
    cpus: &[usize],
    rings: Vec<engine::logring::LogRing>,
    log: &LogGuard,
) -> Result<(), Fatal> {
    let settings = &prepared.settings;
    settings.check_mode_start().map_err(|error| Fatal::new(error.reason))?;
    match settings.core.mode {
        Mode::File | Mode::Database => {}
        Mode::Migrate => return migrate::run(settings),
        mode => {
            let text = format!("mode {mode} is not built yet in this release; use FERRUM_MODE=file or database");
            return Err(Fatal::new(text));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("ferrum-control")
        .max_blocking_threads(settings.runtime.blocking_threads)
        .on_thread_start(cores::control_pin(settings))
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(format!("cannot start the control threads: {error}")))?;
    // Before anything slow, so that an early signal is remembered instead of ending the process.
    let mut signals = {
        let _context = runtime.enter();
        Signals::install().map_err(|error| Fatal::new(format!("signal handlers: {error}")))?
    };
    let first = if settings.core.mode == Mode::Database {
        match runtime.block_on(signals.unless_stopped(database::start(settings))) {
            Ok(started) => started?,
            Err(Stopped) => return Ok(()),
        }
    } else {
        let source = FileSource::new(settings, runtime.handle().clone());
        let document = source.load()?;
        source.check_ports(&document)?;
        (Origin::File(source), document)
    };
    let result = runtime.block_on(live(prepared, cpus, rings, log, signals, first));
    runtime.shutdown_timeout(BACKGROUND_STOP_MAX);
    result
}

async fn live(
    prepared: &Prepared,
    cpus: &[usize],
    rings: Vec<engine::logring::LogRing>,
    log: &LogGuard,
    mut signals: Signals,
    (origin, document): (Origin, Arc<engine::model::Document>),
) -> Result<(), Fatal> {
    let settings = &prepared.settings;
    let counters = Counters::new(cpus.len());
    let overload = Arc::new(Overload::default());
    let options = options::compile(settings, tls::backends(settings)?, cpus.len());
    let tables = Arc::new(Fanout::new(cpus.len(), Arc::new(engine::dns::DnsTable::default())));
    let (tls, admin_tls) = (listener_tls::frontend(settings, cpus.len())?, listener_tls::admin(settings)?);
    let dns = Dns::start(options::dns(settings), tables.clone()).map_err(|error| Fatal::new(error.to_string()))?;
    let services = services::start(settings, &options, dns.clone()).map_err(Fatal::new)?;
    let compiled = publication::compile(&document, &options, &services, 1, None)?;
    let (backends, names) = (targets(&compiled), needed_names(&document, &compiled));
    services::begin(&compiled, &services);
    // Only those who serve it hold it from here on, so that it is freed once it is replaced.
    let snapshots: Arc<Fanout<Snapshot<PluginSet>>> = Arc::new(Fanout::new(cpus.len(), compiled));
    let capabilities = Capabilities::new(dns.clone(), options::capabilities(settings));
    capabilities.adopt(backends);
    let database = match &origin {
        Origin::Database(source) => Some(source.clone()),
        Origin::File(_) => None,
    };
    let readiness = Arc::new(Readiness::default());
    if let Some(source) = database.clone() {
        let readiness = readiness.clone();
        tokio::spawn(async move { source.come_back(|| !readiness.is_ready()).await });
    }
    let warm_ups = async {
        dns.warm_up(names).await;
        if settings.pool.pool_warmup_enabled {
            capabilities.probe_new().await;
            warm_up::warm_up(capabilities.all(), &dns, settings.pool.pool_warmup_concurrency).await;
        }
    };
    if let Err(Stopped) = signals.unless_stopped(warm_ups).await {
        return Ok(());
    }
    // Those that the warm-up has not asked.
    capabilities.start_probing_new();
    let _refreshing =
        capabilities.start_refreshing(options::seconds(settings.pool.backend_capability_refresh_interval_secs));

    let parts = publication::Parts {
        snapshots: snapshots.clone(),
        origin,
        dns: dns.clone(),
        capabilities: capabilities.clone(),
        options,
        pin: Box::new(cores::control_pin(settings)),
        services: services.clone(),
    };
    let publication = Arc::new(Publication::new(parts, document));
    let request_metrics = services.metrics.clone();
    let cores = Cores::start(cores::Start {
        settings,
        cpus,
        rings,
        counters: counters.clone(),
        overload: overload.clone(),
        snapshots: &snapshots,
        tables: &tables,
        tls: tls.as_deref().map(ListenerTls::published),
        reactor: reactor(settings)?,
        services: services.clone(),
    })?;
    let gauges = Arc::new(probe::ProbedGauges::new(counters.clone(), cores.post_boxes()));
    let monitor = Monitor::new(options::overload(settings), gauges.clone(), overload.clone());
    let _monitoring = monitor.start();
    let mut sources = AdminSources::new(counters.clone(), readiness.clone());
    sources.core_cpus = cpus.to_vec();
    sources.overload = Some(monitor.clone());
    sources.dns = Some(dns.clone());
    sources.capabilities = Some(capabilities);
    sources.logs = Some(log.counts());
    sources.resources = Some(publication.clone());
    sources.traffic = Arc::new(admin_reads::Traffic(publication.clone()));
    sources.request_metrics = request_metrics;
    sources.plugins = ferrum_edge::adapter::available().into_iter().map(str::to_owned).collect();
    // Told by admin writes, so that they are in service at once.
    let writes = Arc::new(Writes::default());
    if let Some(database) = database {
        let told = writes.clone();
        sources.database_unavailable = database.is_away();
        sources.store = Some(Arc::new(CurrentStore(database)));
        sources.on_write = Some(Arc::new(move |written| told.note(written)));
    }
    let _probing = gauges.start(Duration::from_millis(settings.overload.overload_check_interval_ms));
    let admin = admin_api::start(settings, sources, admin_tls.as_deref())?;
    if readiness.set_ready() {
        tracing::info!("Gateway startup complete; /health now reports ready");
    }
    let every = Duration::from_secs(settings.listeners.frontend_tls_watch_interval_seconds);
    let watched = [tls, admin_tls].into_iter().flatten();
    let _watching: Vec<_> = match settings.listeners.frontend_tls_live_reload_enabled {
        true => watched.map(|tls| tls.start_watching(every)).collect(),
        false => Vec::new(),
    };
    let _tidying = publication.clone().start_tidying();
    let _following = (settings.core.mode == Mode::Database).then(|| {
        let every = options::seconds(settings.database.db_poll_interval);
        publication.clone().start_following(every, writes)
    });

    let ended = tokio::select! {
        () = signals.serve(&publication) => None,
        core = cores.ended() => Some(core),
    };
    drain::drain(&cores, &overload, &counters, admin, settings.runtime.shutdown_drain_seconds).await;
    cores.stop();
    services.stop(BACKGROUND_STOP_MAX).await;
    match ended {
        None => Ok(()),
        Some(core) => Err(Fatal::new(format!("core {core} has ended; the gateway cannot go on without it"))),
    }
}

/// What the cores run on. The fall-back is one clear line, not a surprise.
fn reactor(settings: &Settings) -> Result<Reactor, Fatal> {
    let choice = match settings.engine.reactor {
        settings::ReactorChoice::Auto => ReactorChoice::Auto,
        settings::ReactorChoice::IoUring => ReactorChoice::IoUring,
        settings::ReactorChoice::Epoll => ReactorChoice::Epoll,
    };
    if choice == ReactorChoice::Epoll {
        tracing::info!("Reactor: epoll (FERRUM_REACTOR=epoll)");
        return Ok(Reactor::Epoll);
    }
    match probe_io_uring() {
        Ok(()) => {
            tracing::info!("Reactor: io_uring");
            Ok(Reactor::IoUring)
        }
        Err(reason) if choice == ReactorChoice::IoUring => {
            Err(Fatal::new(format!("FERRUM_REACTOR=io_uring, but {reason}; use auto or epoll")))
        }
        Err(reason) => {
            tracing::warn!("Reactor: epoll, because {reason}");
            Ok(Reactor::Epoll)
        }
    }
}
