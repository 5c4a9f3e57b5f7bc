//! The resolver of the control thread: keeps the names of the configuration resolved and publishes what it knows.
//!
//! Cores never wait for a name. They read the last published `DnsTable`; this room refreshes answers before they expire,
//! keeps an old answer while its servers are away, retries what failed, and publishes a new table only when an address
//! has changed. Control tasks that need a name of their own ask [`Dns::resolve`], which goes through the same cache.

mod cache;
mod driver;
mod lookup;
mod order;
mod servers;
mod stats;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

pub use stats::DnsStats;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::dns::{DnsTable, Resolution};
use engine::publish::Fanout;

use driver::Driver;

/// Whether a backend may be at this address (`FERRUM_BACKEND_ALLOW_IPS`).
pub type AddressPolicy = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What the resolver needs to know (settings sheet §8.8).
#[derive(Clone)]
pub struct DnsOptions {
    /// Static answers, host to address. An entry whose value is no address is left out with a warning.
    pub overrides: HashMap<String, String>,
    /// `ip[:port]` of name servers; bad entries are left out with a warning, none left = those of the system.
    pub servers: Vec<String>,
    /// `None` = the system's.
    pub hosts_file: Option<PathBuf>,
    /// `CACHE` `SRV` `A` `AAAA` `CNAME`, tried in this order; nothing usable = `CACHE,SRV,A,CNAME`.
    pub order: Vec<String>,
    pub ttl_override: Option<Duration>,
    pub ttl_min: Duration,
    pub stale_ttl: Duration,
    pub error_ttl: Duration,
    /// Names outside the configuration that are kept; those of the configuration always are.
    pub cache_max: usize,
    pub warmup_concurrency: usize,
    pub slow_threshold: Option<Duration>,
    pub refresh_threshold_percent: u8,
    /// Zero = failed names are retried after the error TTL only.
    pub failed_retry_interval: Duration,
    pub try_tcp_on_error: bool,
    /// Servers asked at once for one lookup.
    pub servers_raced: usize,
    pub requests_active_max: usize,
    pub refreshes_max: usize,
    pub address_policy: AddressPolicy,
    /// How long one server is given for one query; `None` = what resolv.conf says, or 5 s.
    pub query_timeout: Option<Duration>,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            overrides: HashMap::new(),
            servers: Vec::new(),
            hosts_file: None,
            order: Vec::new(),
            ttl_override: None,
            ttl_min: Duration::from_secs(5),
            stale_ttl: Duration::from_secs(3600),
            error_ttl: Duration::from_secs(5),
            cache_max: 10_000,
            warmup_concurrency: 500,
            slow_threshold: None,
            refresh_threshold_percent: 90,
            failed_retry_interval: Duration::from_secs(10),
            try_tcp_on_error: true,
            servers_raced: 3,
            requests_active_max: 512,
            refreshes_max: 64,
            address_policy: Arc::new(|_| true),
            query_timeout: None,
        }
    }
}

/// A name that the configuration uses. A host named several times has the smallest of its TTL overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSpec {
    pub host: String,
    /// `dns_cache_ttl_seconds` of the proxy.
    pub ttl_override: Option<Duration>,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("cannot build a resolver from the name servers: check FERRUM_DNS_RESOLVER_ADDRESS and /etc/resolv.conf")]
    Build(#[source] hickory_resolver::net::NetError),
}

/// The resolver. Clones share it; the background work ends with the last one.
#[derive(Clone)]
pub struct Dns {
    driver: Arc<Driver>,
}

impl Dns {
    /// Reads hosts file and server list, and starts the background work on the current tokio runtime.
    pub fn start(options: DnsOptions, fanout: Arc<Fanout<DnsTable>>) -> Result<Self, DnsError> {
        Ok(Self { driver: Arc::new(Driver::start(options, fanout)?) })
    }

    /// Makes these the names of the configuration: publishes what is known of them at once and looks the unknown ones up
    /// before anything else. A name whose first lookup has not ended is absent from the table.
    pub fn set_names(&self, names: Vec<NameSpec>) {
        self.driver.set_names(names);
    }

    /// Like [`Self::set_names`], and returns when each unknown name has been looked up, with or without success, and
    /// the table with them is published. Failures are logged.
    pub async fn warm_up(&self, names: Vec<NameSpec>) {
        self.driver.warm_up(names).await;
    }

    /// One name, through the cache: for control tasks that connect by themselves.
    pub async fn resolve(&self, host: &str) -> Resolution {
        self.driver.resolve(host).await
    }

    pub fn stats(&self) -> DnsStats {
        self.driver.stats()
    }
}
