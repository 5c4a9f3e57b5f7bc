//! The HTTP client that plugins are handed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use engine::snapshot::PoolLimits;
use native::outbound::{HttpClient, Label, Options, Services, cause};
use reqwest::{RequestBuilder, Response};

use crate::config::{BackendAllowIps, PoolConfig};
use crate::dns::DnsCache;

/// Connections, timeouts, trust and retries as the gateway is set. Clones are the same one.
#[derive(Clone)]
pub struct PluginHttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    http: HttpClient,
    dns: Option<DnsCache>,
    namespace: String,
    tls_no_verify: bool,
    tls_ca_bundle_path: Option<String>,
    tls_crls: Vec<rustls::pki_types::CertificateRevocationListDer<'static>>,
    backend_allow_ips: BackendAllowIps,
}

impl fmt::Debug for PluginHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHttpClient").field("http", &self.shared.http).finish_non_exhaustive()
    }
}

/// Of tests, and of configurations that are only checked. Making a client costs milliseconds, so there is one.
static DEFAULT: LazyLock<PluginHttpClient> = LazyLock::new(|| PluginHttpClient::without_names(Options::default()));

impl Default for PluginHttpClient {
    fn default() -> Self {
        DEFAULT.clone()
    }
}

impl PluginHttpClient {
    fn of(http: HttpClient, options: &Options, dns: Option<DnsCache>) -> Self {
        let shared = Shared {
            http,
            dns,
            namespace: options.namespace.clone(),
            tls_no_verify: options.tls_no_verify,
            tls_ca_bundle_path: options.tls_ca_bundle_path.clone(),
            // The list of FERRUM_TLS_CRL_FILE_PATH; this release reads none for plugins.
            tls_crls: Vec::new(),
            backend_allow_ips: BackendAllowIps::of(options.backend_allow_ips),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The gateway's own.
    pub(crate) fn of_gateway(services: &Services) -> Self {
        Self::of(services.http.clone(), &services.options, Some(DnsCache::new(services.names.clone())))
    }

    fn without_names(options: Options) -> Self {
        Self::of(HttpClient::with_system_names(&options), &options, None)
    }

    pub fn from_pool_config(pool: &PoolConfig) -> Self {
        Self::from_pool_config_with_threshold(pool, Options::default().http_slow_threshold_ms)
    }

    pub fn from_pool_config_with_threshold(pool: &PoolConfig, slow_threshold_ms: u64) -> Self {
        let defaults = Options::default();
        let (retries, delay_ms) = (defaults.http_retries_max, defaults.http_retry_delay_ms);
        Self::from_pool_config_with_settings(pool, slow_threshold_ms, retries, delay_ms)
    }

    pub fn from_pool_config_with_settings(
        pool: &PoolConfig,
        slow_threshold_ms: u64,
        max_retries: u32,
        retry_delay_ms: u64,
    ) -> Self {
        let defaults = Options::default();
        let limits = PoolLimits {
            idle_max: pool.max_idle_per_host,
            idle_timeout_ms: pool.idle_timeout_seconds.saturating_mul(1000),
            keep_alive: pool.enable_http_keep_alive,
            tcp_keepalive_seconds: pool.tcp_keepalive_seconds,
            offers_http2: pool.enable_http2,
            ..defaults.pool
        };
        Self::without_names(Options {
            http_slow_threshold_ms: slow_threshold_ms,
            http_retries_max: max_retries,
            http_retry_delay_ms: retry_delay_ms,
            pool: limits,
            ..defaults
        })
    }

    /// To start a request.
    pub fn get(&self) -> &reqwest::Client {
        self.shared.http.client()
    }

    /// Sends; a call that took long is warned about, and one that is safe to repeat is repeated as the settings say.
    ///
    /// # Errors
    /// No response head came.
    pub async fn execute(&self, request: RequestBuilder, label: &str) -> Result<Response, reqwest::Error> {
        self.shared.http.execute(request, Label { plugin: label, url: None }, |_| ()).await
    }

    /// The same, and adds the time of each attempt, in nanoseconds.
    ///
    /// # Errors
    /// No response head came.
    pub async fn execute_tracked(
        &self,
        request: RequestBuilder,
        label: &str,
        accumulator: &AtomicU64,
    ) -> Result<Response, reqwest::Error> {
        let note = |elapsed: std::time::Duration| {
            accumulator.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        };
        self.shared.http.execute(request, Label { plugin: label, url: None }, note).await
    }

    /// The same for a URL that holds secrets: logs and the error show `redacted_url`.
    ///
    /// # Errors
    /// No response head came; the text names the kind of failure.
    pub async fn execute_redacted(
        &self,
        request: RequestBuilder,
        label: &str,
        redacted_url: &str,
    ) -> Result<Response, String> {
        let sent = self.shared.http.execute(request, Label { plugin: label, url: Some(redacted_url) }, |_| ()).await;
        sent.map_err(|error| {
            let doing = if error.is_builder() { "building request to" } else { "calling" };
            format!("{} {doing} {redacted_url}", class_of(&error))
        })
    }

    pub fn tls_no_verify(&self) -> bool {
        self.shared.tls_no_verify
    }

    pub fn tls_ca_bundle_path(&self) -> Option<&str> {
        self.shared.tls_ca_bundle_path.as_deref()
    }

    /// They do not apply to this client.
    pub fn tls_crls(&self) -> &[rustls::pki_types::CertificateRevocationListDer<'static>] {
        &self.shared.tls_crls
    }

    /// The gateway's resolver; none in tests.
    pub fn dns_cache(&self) -> Option<&DnsCache> {
        self.shared.dns.as_ref()
    }

    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    pub fn backend_allow_ips(&self) -> &BackendAllowIps {
        &self.shared.backend_allow_ips
    }

    /// Removes the `baggage` members that `FERRUM_MESH_EGRESS_STRIP_BAGGAGE_KEYS` names; without mesh mode it names none.
    pub fn strip_egress_baggage_in_vec(&self, headers: &mut Vec<(String, String)>) {
        let keys = egress_baggage_keys();
        headers.retain_mut(|(name, value)| !name.eq_ignore_ascii_case("baggage") || strip(value, &keys));
    }

    /// The same.
    pub fn strip_egress_baggage_in_map(&self, headers: &mut HashMap<String, String>) {
        let keys = egress_baggage_keys();
        headers.retain(|name, value| !name.eq_ignore_ascii_case("baggage") || strip(value, &keys));
    }
}

fn egress_baggage_keys() -> Vec<String> {
    let keys =
        crate::config::conf_file::resolve_ferrum_var("FERRUM_MESH_EGRESS_STRIP_BAGGAGE_KEYS").unwrap_or_default();
    keys.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Whether anything is left of the value.
fn strip(value: &mut String, keys: &[String]) -> bool {
    if keys.is_empty() {
        return true;
    }
    let name = |member: &str| member.split(['=', ';']).next().unwrap_or_default().trim().to_owned();
    let kept: Vec<&str> = value.split(',').filter(|member| !keys.contains(&name(member))).collect();
    *value = kept.join(",");
    !value.trim().is_empty()
}

/// In the words of the gateway's error classes.
fn class_of(error: &reqwest::Error) -> crate::retry::ErrorClass {
    use crate::retry::ErrorClass;

    let reason = cause(error).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    match () {
        () if error.is_timeout() && error.is_connect() => ErrorClass::ConnectionTimeout,
        () if error.is_timeout() => ErrorClass::ReadWriteTimeout,
        () if says(&["certificate", "tls", "handshake"]) => ErrorClass::TlsError,
        () if says(&["dns", "resolve", "lookup", "not known"]) => ErrorClass::DnsLookupError,
        () if says(&["refused"]) => ErrorClass::ConnectionRefused,
        () if says(&["reset"]) => ErrorClass::ConnectionReset,
        () if says(&["closed", "broken pipe", "eof"]) => ErrorClass::ConnectionClosed,
        () => ErrorClass::RequestError,
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_tracked_call_adds_its_time() {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
        let (client, time) = (PluginHttpClient::default(), AtomicU64::new(1));
        let response = client.execute_tracked(client.get().get(server.uri()), "probe", &time).await.unwrap();
        assert_eq!(response.status(), 204);
        assert!(time.load(Relaxed) > 1);
        assert_eq!(client.execute(client.get().get(server.uri()), "probe").await.unwrap().status(), 204);
    }

    #[tokio::test]
    async fn a_redacted_call_never_names_its_url() {
        let client = PluginHttpClient::default();
        let failed =
            client.execute_redacted(client.get().get("http://127.0.0.1:1/secret"), "probe", "http://x/…").await;
        assert_eq!(failed.unwrap_err(), "connection_refused calling http://x/…");
        let failed = client.execute_redacted(client.get().get("not a url"), "probe", "http://x/…").await;
        assert_eq!(failed.unwrap_err(), "request_error building request to http://x/…");
    }

    #[test]
    fn a_default_client_has_no_resolver_and_verifies() {
        let client = PluginHttpClient::default();
        assert!(client.dns_cache().is_none() && !client.tls_no_verify() && client.tls_ca_bundle_path().is_none());
        assert_eq!((client.namespace(), client.backend_allow_ips()), ("ferrum", &BackendAllowIps::Both));
        assert!(client.tls_crls().is_empty());
    }

    #[test]
    fn members_of_baggage_are_stripped_by_name() {
        let keys = ["user".to_owned()];
        let mut value = "a=1, user=2;p=3,b=4".to_owned();
        assert!(strip(&mut value, &keys));
        assert_eq!(value, "a=1,b=4");
        assert!(!strip(&mut "user=1".to_owned(), &keys));
    }
}
