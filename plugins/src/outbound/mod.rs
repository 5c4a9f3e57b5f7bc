//! What plugins reach outside of the gateway, and what they share with control.
//!
//! A core never waits for the slow world: calls are made on the control runtime ([`Services::runtime`]), and what comes of
//! them is published to the cores or waited for by one request only.

mod client;
mod endpoint;
pub mod jwks;
mod names;
pub mod redis;
pub mod sink;

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use engine::model::AddressPolicy;
use engine::snapshot::PoolLimits;
use engine::tls::ClientConfig;
use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::metrics::Metrics;

pub use client::{HttpClient, Label, cause};
pub use endpoint::{host, http_url, shown};
pub use names::Names;

/// What the settings say to plugins.
#[derive(Clone)]
pub struct Options {
    pub namespace: String,
    /// For outgoing TLS; none = the public roots.
    pub tls: Option<Arc<ClientConfig>>,
    /// `FERRUM_TLS_CA_BUNDLE_PATH`, as plugins of the documented API may ask for it.
    pub tls_ca_bundle_path: Option<String>,
    pub tls_no_verify: bool,
    pub http_slow_threshold_ms: u64,
    pub http_retries_max: u32,
    pub http_retry_delay_ms: u64,
    /// How connections are kept; what it says per core is for all outbound calls together.
    pub pool: PoolLimits,
    /// Key of the hashes of basic credentials; never empty.
    pub basic_auth_secret: String,
    pub backend_allow_ips: AddressPolicy,
}

/// For what is written to the log about work that was not finished.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Used when no secret is set, which control reports.
pub const BASIC_AUTH_SECRET_DEFAULT: &str = "ferrum-edge-change-me-in-production";

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "ferrum".to_owned(),
            tls: None,
            tls_ca_bundle_path: None,
            tls_no_verify: false,
            http_slow_threshold_ms: 1000,
            http_retries_max: 0,
            http_retry_delay_ms: 100,
            pool: PoolLimits::of_tests(),
            basic_auth_secret: BASIC_AUTH_SECRET_DEFAULT.to_owned(),
            backend_allow_ips: AddressPolicy::Both,
        }
    }
}

/// One for the process; given to every instance that a core builds.
pub struct Services {
    pub runtime: Handle,
    pub cores: usize,
    pub options: Options,
    pub names: Arc<dyn Names>,
    pub http: HttpClient,
    /// What plugins count for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What was said about Redis.
    pub redis: redis::Notices,
    jwks: jwks::Registry,
    stop: watch::Sender<Option<Instant>>,
}

/// Held by background work that has something to finish before the process ends.
pub struct StopOrder(watch::Receiver<Option<Instant>>);

impl StopOrder {
    /// By when everything must be done, once the process is to end.
    pub fn until(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Waits until the process is to end.
    pub async fn given(&mut self) {
        // It is an order to stop, too, when nobody is left who could give one.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

impl Services {
    /// # Errors
    /// What goes outside cannot be made from these options.
    pub fn new(runtime: Handle, cores: usize, options: Options, names: Arc<dyn Names>) -> Result<Arc<Self>, String> {
        let http = HttpClient::new(&options, names.clone())?;
        let metrics = Metrics::new(cores, &options.namespace);
        let redis = redis::Notices::default();
        let (stop, _) = watch::channel(None);
        let jwks = jwks::Registry::default();
        Ok(Arc::new(Self { runtime, cores, options, names, http, metrics, redis, jwks, stop }))
    }

    pub fn stop_order(&self) -> StopOrder {
        StopOrder(self.stop.subscribe())
    }

    /// Lets background work finish what it has, and waits until it has, at most that long. For when no core makes more of it.
    pub async fn stop(&self, within: Duration) {
        self.stop.send_replace(Some(Instant::now() + within));
        // Those who are not done by then have been told; a moment more lets them say what they lost.
        let _ = tokio::time::timeout(within + LAST_WORDS, self.stop.closed()).await;
    }

    /// With default settings, a runtime that lives as long as the process, and no names.
    pub fn of_tests() -> Arc<Self> {
        static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| Runtime::new().ok());
        let runtime = RUNTIME.as_ref().expect("a runtime");
        Self::new(runtime.handle().clone(), 1, Options::default(), Arc::new(NoNames)).expect("services")
    }
}

struct NoNames;

impl Names for NoNames {
    fn resolve(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        Box::pin(async move { Err(format!("{host} is not known here")) })
    }
}
