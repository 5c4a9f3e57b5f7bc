//! Configurations on their way to the cores.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::model::Document;
use engine::publish::Fanout;
use engine::snapshot::Snapshot;
use ferrum_edge::adapter;
use plugins::PluginSet;
use plugins::outbound::Services;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::services;
use super::writes::{Look, Writes};
use crate::capabilities::{Capabilities, Target, targets};
use crate::dns::{Dns, NameSpec};
use crate::source::{
    CompileOptions, DatabaseSource, FileSource, Polled, Running, SourceError, backend_names, has_same_names, is_same,
};
use crate::store::Kind;

pub(super) type Published = Arc<Snapshot<PluginSet>>;

/// After a look at what was written, so many times as long as it took nothing is looked at.
const PAUSES: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What is served, as the cores and as users see it.
struct Configuration {
    snapshot: Published,
    document: Arc<Document>,
}

/// A configuration that can replace the one being served.
struct Loaded {
    configuration: Configuration,
    /// None when they are those that are resolved already.
    names: Option<Vec<NameSpec>>,
    targets: Vec<Target>,
}

/// What may become a configuration.
enum Wanted {
    File(FileSource),
    Database(Arc<DatabaseSource>, Box<Polled>),
}

/// A document of a database, if it can be served.
fn checked(source: &DatabaseSource, document: Document, running: &Document) -> Result<Arc<Document>, SourceError> {
    source.check(&document, Some(running))?;
    Ok(Arc::new(document))
}

/// Every name that must be resolved before traffic flows.
pub(super) fn needed_names(document: &Document, snapshot: &Snapshot<PluginSet>) -> Vec<NameSpec> {
    let mut names = backend_names(document);
    names.extend(plugin_names(snapshot));
    names
}

fn plugin_names(snapshot: &Snapshot<PluginSet>) -> impl Iterator<Item = NameSpec> {
    let hosts = snapshot.plugins.rows.iter().flat_map(|row| row.spec.hosts());
    let names = hosts.filter(|host| !host.is_empty() && host.parse::<IpAddr>().is_err());
    names.map(|host| NameSpec { host, ttl_override: None })
}

/// Compiles and logs what there is to say about the plugins.
pub(super) fn compile(
    document: &Arc<Document>,
    options: &CompileOptions,
    services: &Arc<Services>,
    generation: u64,
    running: Option<Running<'_>>,
) -> Result<Published, SourceError> {
    let check = |name: &str, config: &Value| adapter::check(name, config, services);
    match crate::source::compile(document, options, check, generation, running) {
        Ok((snapshot, remarks)) => {
            for warning in remarks.warnings {
                tracing::warn!("{warning}");
            }
            for error in remarks.errors {
                tracing::error!("{error}");
            }
            Ok(Arc::new(snapshot))
        }
        Err(errors) => Err(SourceError { summary: format!("{} error(s) while compiling", errors.len()), errors }),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// Where configurations come from.
pub(super) enum Origin {
    File(FileSource),
    Database(Arc<DatabaseSource>),
}

/// What a publication works with.
pub(super) struct Parts {
    pub(super) snapshots: Arc<Fanout<Snapshot<PluginSet>>>,
    pub(super) origin: Origin,
    pub(super) dns: Dns,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) options: CompileOptions,
    /// Puts the thread that compiles where control threads belong.
    pub(super) pin: Box<dyn Fn() + Send + Sync>,
    pub(super) services: Arc<Services>,
}

/// The one place that replaces a configuration.
pub(super) struct Publication {
    snapshots: Arc<Fanout<Snapshot<PluginSet>>>,
    origin: Origin,
    dns: Dns,
    capabilities: Arc<Capabilities>,
    options: CompileOptions,
    pin: Box<dyn Fn() + Send + Sync>,
    generation: AtomicU64,
    services: Arc<Services>,
    document: Mutex<Arc<Document>>,
    /// Replaced ones that a core may still use. They are freed here, so that no core ever spends its time on it.
    retired: Mutex<Vec<Configuration>>,
    /// Names of replaced configurations are still kept resolved. Locked while that changes.
    has_former_names: tokio::sync::Mutex<bool>,
    /// One look at a time: what one reads first must not replace what another has read later.
    looking: tokio::sync::Mutex<()>,
}

impl Publication {
    pub(super) fn new(parts: Parts, document: Arc<Document>) -> Self {
        let Parts { snapshots, origin, dns, capabilities, options, pin, services } = parts;
        Self {
            snapshots,
            origin,
            dns,
            capabilities,
            options,
            pin,
            generation: AtomicU64::new(1),
            services,
            document: Mutex::new(document),
            retired: Mutex::default(),
            has_former_names: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// What is being served.
    pub(super) fn document(&self) -> Arc<Document> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the cores serve.
    pub(super) fn latest(&self) -> Option<Published> {
        self.snapshots.latest()
    }

    /// Looks for another configuration. One that cannot be served changes nothing.
    pub(super) async fn reload(self: &Arc<Self>) {
        self.look(Look::AtAll).await;
    }

    async fn look(self: &Arc<Self>, look: Look) {
        let _looking = self.looking.lock().await;
        if let Look::At(rows) = look
            && self.take_over_rows(&rows).await
        {
            return;
        }
        if let Err(error) = self.take_over_all().await {
            for line in &error.errors {
                tracing::error!("{line}");
            }
            tracing::error!("Configuration reload failed, keeping previous config: {}", error.summary);
        }
    }

    /// Whether that was enough: what those rows refer to may have changed too, by another gateway.
    async fn take_over_rows(self: &Arc<Self>, rows: &[(Kind, String)]) -> bool {
        let began = Instant::now();
        let Origin::Database(source) = &self.origin else { return false };
        let Some(polled) = source.poll_rows(rows).await else { return false };
        self.take_over(Wanted::Database(source.clone(), Box::new(polled)), began).await.is_ok()
    }

    async fn take_over_all(self: &Arc<Self>) -> Result<(), SourceError> {
        let began = Instant::now();
        match &self.origin {
            Origin::File(source) => self.take_over(Wanted::File(source.clone()), began).await,
            Origin::Database(source) => {
                // Why it failed has been said.
                let Ok(polled) = source.poll(&self.document()).await else { return Ok(()) };
                let cursor = polled.cursor;
                self.take_over(Wanted::Database(source.clone(), Box::new(polled)), began).await?;
                source.note(cursor);
                Ok(())
            }
        }
    }

    async fn take_over(self: &Arc<Self>, wanted: Wanted, began: Instant) -> Result<(), SourceError> {
        let read = began.elapsed();
        let loaded = self.aside(move |this| this.load(wanted)).await.unwrap_or_else(|error| {
            Err(SourceError { summary: format!("cannot compile the configuration: {error}"), errors: Vec::new() })
        });
        if let Some(loaded) = loaded? {
            let compiled = began.elapsed();
            self.replace(loaded).await;
            let (read_ms, compile_ms) = (milliseconds(read), milliseconds(compiled - read));
            let publish_ms = milliseconds(began.elapsed() - compiled);
            tracing::info!(read_ms, compile_ms, publish_ms, "Configuration reloaded successfully");
        }
        Ok(())
    }

    /// Looks again and again, and at once at what is written after a pause in writing. What many write one after the other is
    /// gathered meanwhile, so that publishing takes a part of a CPU and they the rest.
    pub(super) fn start_following(self: Arc<Self>, every: Duration, writes: Arc<Writes>) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                let look = writes.next(every).await;
                let began = Instant::now();
                self.look(look).await;
                tokio::time::sleep((began.elapsed() * PAUSES).min(PAUSE_MAX)).await;
            }
        })
    }

    /// Does what takes long on a thread of its own and of the lowest priority: on a host without a spare CPU the cores come
    /// first.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> io::Result<T> {
        let this = self.clone();
        let (done, result) = oneshot::channel();
        std::thread::Builder::new().name("ferrum-compile".to_owned()).spawn(move || {
            engine::core::yield_to_cores();
            (this.pin)();
            let _ = done.send(work(&this));
        })?;
        result.await.map_err(|_| io::Error::other("its thread panicked"))
    }

    /// Nothing when what is wanted is what is served.
    fn load(&self, wanted: Wanted) -> Result<Option<Loaded>, SourceError> {
        let running = self.document();
        let document = match wanted {
            Wanted::File(source) => source.load()?,
            Wanted::Database(source, polled) => match polled.over(&running) {
                Some(document) => checked(&source, document, &running)?,
                None => return Ok(None),
            },
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let served = self.snapshots.latest();
        let running = served.as_deref().map(|snapshot| Running { document: &running, snapshot });
        let snapshot = compile(&document, &self.options, &self.services, generation, running)?;
        let (names, targets) = (self.new_names(&document, &snapshot), targets(&snapshot));
        Ok(Some(Loaded { configuration: Configuration { snapshot, document }, names, targets }))
    }

    fn new_names(&self, document: &Document, snapshot: &Snapshot<PluginSet>) -> Option<Vec<NameSpec>> {
        let served = self.document();
        let is_same = is_same(&document.plugin_configs, &served.plugin_configs) && has_same_names(document, &served);
        (!is_same).then(|| needed_names(document, snapshot))
    }

    async fn replace(&self, loaded: Loaded) {
        let Loaded { configuration: Configuration { snapshot, document }, names, targets } = loaded;
        // New names are resolved before the first request needs them, and the former ones stay until the last request that
        // may need them has gone.
        let mut has_former_names = self.has_former_names.lock().await;
        if let Some(names) = names {
            let names = names.into_iter().chain(self.names_in_use()).collect();
            self.dns.warm_up(names).await;
            *has_former_names = true;
        }
        services::begin(&snapshot, &self.services);
        let previous = self.snapshots.latest();
        self.snapshots.publish(&snapshot);
        let former = std::mem::replace(&mut *self.document.lock().unwrap_or_else(PoisonError::into_inner), document);
        let retired = previous.map(|snapshot| Configuration { snapshot, document: former });
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(retired);
        self.capabilities.adopt(targets);
        self.capabilities.start_probing_new();
    }

    /// Once no core holds a replaced configuration. Not in the middle of a replacement.
    fn forget_former_names(&self) {
        let Ok(mut has_former_names) = self.has_former_names.try_lock() else { return };
        if *has_former_names && self.retired.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            *has_former_names = false;
            self.dns.set_names(self.names_in_use());
        }
    }

    fn names_in_use(&self) -> Vec<NameSpec> {
        let mut names = backend_names(&self.document());
        names.extend(self.snapshots.latest().iter().flat_map(|snapshot| plugin_names(snapshot)));
        names
    }

    /// Takes out the replaced configurations that no core holds any more.
    fn unused(&self) -> Vec<Configuration> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extract_if(.., |former| Arc::strong_count(&former.snapshot) == 1).collect()
    }

    /// Frees replaced configurations once no core holds them.
    pub(super) fn start_tidying(self: Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let unused = self.unused();
                if !unused.is_empty()
                    && let Err(error) = self.aside(move |_| drop(unused)).await
                {
                    tracing::warn!("cannot free a replaced configuration aside: {error}");
                }
                self.forget_former_names();
            }
        })
    }
}
