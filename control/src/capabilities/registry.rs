//! The entries, and who asks when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::findings::Findings;
use super::probe::probe;
use super::target::Target;
use crate::dns::Dns;

/// What the settings say.
#[derive(Clone, Copy, Debug)]
pub struct CapabilityOptions {
    /// Backends asked at once (`FERRUM_POOL_WARMUP_CONCURRENCY`).
    pub probes_max: usize,
    /// Without it a backend is asked on demand only (`FERRUM_BACKEND_CAPABILITY_PROBE_ENABLED`).
    pub is_probing: bool,
}

/// What is known of one backend.
#[derive(Clone, Debug)]
pub struct Entry {
    pub target: Arc<Target>,
    pub findings: Findings,
    /// `None` = never asked.
    pub probed_at_unix_secs: Option<u64>,
}

impl Entry {
    fn new(target: Arc<Target>) -> Self {
        Self { findings: target.unasked(), target, probed_at_unix_secs: None }
    }
}

/// All entries. One run of probes goes on at a time, so that backends see no more of them than the bound.
pub struct Capabilities {
    dns: Dns,
    options: CapabilityOptions,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// How many refreshes were asked for.
    wished: AtomicU64,
    /// How many of them are done. Held by who probes.
    granted: tokio::sync::Mutex<u64>,
}

impl Capabilities {
    pub fn new(dns: Dns, options: CapabilityOptions) -> Arc<Self> {
        Arc::new(Self {
            dns,
            options,
            entries: Mutex::default(),
            wished: AtomicU64::new(0),
            granted: tokio::sync::Mutex::new(0),
        })
    }

    /// Makes these the backends: the others are forgotten, those that were there stay as they were found.
    pub fn adopt(&self, targets: Vec<Target>) {
        let mut entries = self.entries();
        let mut former = std::mem::take(&mut *entries);
        *entries = targets
            .into_iter()
            .map(|target| {
                let target = Arc::new(target);
                let entry = match former.remove(&target.key) {
                    Some(entry) => Entry { target: target.clone(), ..entry },
                    None => Entry::new(target.clone()),
                };
                (target.key.clone(), entry)
            })
            .collect();
    }

    /// By key.
    pub fn all(&self) -> Vec<Entry> {
        self.entries().values().cloned().collect()
    }

    /// Asks every backend. Returns when a run is done that began after the call; callers who wait at the same time share one.
    pub async fn refresh(&self) {
        let wish = self.wished.fetch_add(1, Ordering::Relaxed) + 1;
        let mut granted = self.granted.lock().await;
        if *granted >= wish {
            return;
        }
        let wishes = self.wished.load(Ordering::Relaxed);
        self.probe(|_| true).await;
        *granted = wishes;
    }

    /// Asks those that nobody has asked yet, unless the settings forbid it.
    pub async fn probe_new(&self) {
        if self.options.is_probing {
            let _granted = self.granted.lock().await;
            self.probe(|entry| entry.probed_at_unix_secs.is_none()).await;
        }
    }

    /// [`Self::probe_new`], while the caller goes on.
    pub fn start_probing_new(self: &Arc<Self>) {
        let this = self.clone();
        tokio::spawn(async move { this.probe_new().await });
    }

    /// Asks again and again, unless the settings forbid it.
    pub fn start_refreshing(self: &Arc<Self>, every: Duration) -> Option<JoinHandle<()>> {
        let this = self.clone();
        self.options.is_probing.then(|| {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    this.refresh().await;
                }
            })
        })
    }

    async fn probe(&self, is_wanted: impl Fn(&Entry) -> bool) {
        let wanted: Vec<Arc<Target>> =
            self.entries().values().filter(|entry| is_wanted(entry)).map(|entry| entry.target.clone()).collect();
        let probes = stream::iter(wanted).for_each_concurrent(self.options.probes_max, |target| async move {
            let findings = probe(&target, &self.dns).await;
            self.note(&target.key, findings);
        });
        probes.await;
    }

    /// A backend that a reload has removed meanwhile stays removed.
    fn note(&self, key: &str, findings: Findings) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.findings = findings;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            entry.probed_at_unix_secs = Some(now.map_or(0, |since| since.as_secs()));
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use engine::dns::DnsTable;
    use engine::publish::Fanout;
    use engine::snapshot::{BackendAddress, Security};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::Support;
    use super::*;
    use crate::dns::DnsOptions;

    fn registry(probes_max: usize, is_probing: bool) -> Arc<Capabilities> {
        let fanout = Arc::new(Fanout::new(1, Arc::new(DnsTable::default())));
        let dns = Dns::start(DnsOptions::default(), fanout).expect("a resolver");
        Capabilities::new(dns, CapabilityOptions { probes_max, is_probing })
    }

    fn target(key: &str, port: u16) -> Target {
        Target {
            key: key.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            address: BackendAddress::Literal([127, 0, 0, 1].into()),
            security: Security::Plain,
            connect_timeout_ms: 10_000,
            uses_http1: false,
        }
    }

    /// A port, and how many connections have come there. `answer` is said to each, then it stays open.
    async fn peer(answer: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = stream.write_all(answer).await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        (port, count)
    }

    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

    fn facts(registry: &Capabilities) -> Vec<(String, Support, bool)> {
        let fact = |entry: Entry| (entry.target.key.clone(), entry.findings.h2c, entry.probed_at_unix_secs.is_some());
        registry.all().into_iter().map(fact).collect()
    }

    #[tokio::test]
    async fn a_reload_keeps_what_is_known_forgets_what_is_gone_and_asks_only_what_is_new() {
        let registry = registry(2, true);
        let (speaking, speaking_count) = peer(SETTINGS).await;
        let (other, _) = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        registry.adopt(vec![target("b", speaking), target("a", other)]);
        let known = |key: &str, h2c, asked| (key.to_owned(), h2c, asked);
        assert_eq!(facts(&registry), [known("a", Support::Unknown, false), known("b", Support::Unknown, false)]);
        registry.probe_new().await;
        assert_eq!(facts(&registry), [known("a", Support::Unsupported, true), known("b", Support::Supported, true)]);

        registry.adopt(vec![target("b", speaking), target("c", speaking)]);
        assert_eq!(facts(&registry), [known("b", Support::Supported, true), known("c", Support::Unknown, false)]);
        registry.probe_new().await;
        assert_eq!(facts(&registry), [known("b", Support::Supported, true), known("c", Support::Supported, true)]);
        assert_eq!(speaking_count.load(Ordering::SeqCst), 2, "b once, c once");
    }

    #[tokio::test]
    async fn callers_who_wait_at_the_same_time_share_a_run() {
        let registry = registry(8, false);
        let (port, count) = peer(SETTINGS).await;
        registry.adopt(vec![target("a", port)]);
        let calls = (0..10).map(|_| registry.refresh());
        futures_util::future::join_all(calls).await;
        let runs = count.load(Ordering::SeqCst);
        assert!((1..=2).contains(&runs), "one that was under way, one for all others: {runs}");
        registry.refresh().await;
        assert_eq!(count.load(Ordering::SeqCst), runs + 1, "a call asks anew");
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_grants_nobody_elses_wish() {
        let registry = registry(8, false);
        let (silent, count) = peer(b"").await;
        registry.adopt(vec![target("a", silent)]);
        let given_up = tokio::time::timeout(Duration::from_millis(50), registry.refresh()).await;
        assert!(given_up.is_err());
        let (port, _) = peer(SETTINGS).await;
        registry.adopt(vec![target("a", port)]);
        registry.refresh().await;
        assert_eq!(registry.all()[0].findings.h2c, Support::Supported);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn no_more_backends_are_asked_at_once_than_the_bound() {
        let registry = registry(3, true);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        registry.adopt((0..10).map(|number| target(&number.to_string(), port)).collect());
        registry.start_probing_new();
        let mut rounds = Vec::new();
        while rounds.iter().sum::<usize>() < 10 {
            let mut open = vec![listener.accept().await.expect("a probe").0];
            // Whoever else is allowed to come has come by then.
            while let Ok(Ok((more, _))) = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await {
                open.push(more);
            }
            rounds.push(open.len());
        }
        assert_eq!(rounds, [3, 3, 3, 1]);
    }

    #[tokio::test]
    async fn what_the_settings_forbid_happens_on_demand_only() {
        let registry = registry(2, false);
        let (port, count) = peer(SETTINGS).await;
        registry.adopt(vec![target("a", port)]);
        registry.probe_new().await;
        assert!(registry.start_refreshing(Duration::from_millis(1)).is_none());
        assert_eq!(count.load(Ordering::SeqCst), 0);
        registry.refresh().await;
        assert_eq!(registry.all()[0].findings.h2c, Support::Supported);
    }

    #[tokio::test]
    async fn a_backend_that_does_not_answer_stays_unknown_and_the_reason_is_kept() {
        let registry = registry(4, true);
        let (silent, _) = peer(b"").await;
        // Bound, so that nobody else gets the port, and not listening.
        let refusing = TcpSocket::new_v4().expect("a socket");
        refusing.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let closed = refusing.local_addr().expect("an address").port();
        let forbidden = BackendAddress::Refused("IP 8.8.8.8 denied".to_owned());
        registry.adopt(vec![
            Target { connect_timeout_ms: 20, ..target("a", silent) },
            target("b", closed),
            Target { address: forbidden, ..target("c", silent) },
            Target { security: Security::Broken("no such file".to_owned()), ..target("d", silent) },
        ]);
        registry.probe_new().await;
        let errors: Vec<String> = registry.all().into_iter().filter_map(|entry| entry.findings.error).collect();
        assert_eq!(errors[0], "no answer within 20 ms");
        assert!(errors[1].contains("refused"), "{}", errors[1]);
        assert_eq!(errors[2..], ["IP 8.8.8.8 denied".to_owned(), "no such file".to_owned()]);
        assert!(registry.all().iter().all(|entry| entry.findings.h2c == Support::Unknown));
        let http1: Vec<Support> = registry.all().iter().map(|entry| entry.findings.h1).collect();
        assert_eq!(http1[2..], [Support::Supported, Support::Unknown], "in the clear, and under TLS");
    }
}
