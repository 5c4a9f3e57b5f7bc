//! The one HTTP client of all plugins (plugins sheet §1.13, plugin API sheet §12).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response};

use super::names::Resolver;
use super::{Names, Options};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// From the first byte sent to the last received; a call may set its own.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Clones share pool and settings. Must be used where a tokio runtime is entered.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    retries_max: u32,
    retry_delay: Duration,
    slow_threshold: Duration,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("retries_max", &self.retries_max).finish_non_exhaustive()
    }
}

/// How a call is called in log lines.
#[derive(Clone, Copy)]
pub struct Label<'a> {
    pub plugin: &'a str,
    /// In the place of the URL, where that holds secrets.
    pub url: Option<&'a str>,
}

impl HttpClient {
    pub fn new(options: &Options, names: Arc<dyn Names>) -> Self {
        Self::built(options, Some(names))
    }

    /// With the names of the system instead of the gateway's, for where there is no gateway.
    pub fn with_system_names(options: &Options) -> Self {
        Self::built(options, None)
    }

    fn built(options: &Options, names: Option<Arc<dyn Names>>) -> Self {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .no_proxy()
            .pool_max_idle_per_host(options.pool_idle_max)
            .pool_idle_timeout(Duration::from_millis(options.pool_idle_timeout_ms));
        if let Some(names) = names {
            builder = builder.dns_resolver(Arc::new(Resolver(names)));
        }
        if let Some(tls) = &options.tls {
            builder = builder.tls_backend_preconfigured((**tls).clone());
        }
        // What can fail is the TLS configuration, which is a built one.
        let client = builder.build().unwrap_or_else(|error| {
            tracing::error!("the HTTP client of plugins cannot be built as configured, defaults are used: {error}");
            Client::new()
        });
        Self::of(client, options)
    }

    fn of(client: Client, options: &Options) -> Self {
        Self {
            client,
            retries_max: options.http_retries_max,
            retry_delay: Duration::from_millis(options.http_retry_delay_ms),
            slow_threshold: Duration::from_millis(options.http_slow_threshold_ms),
        }
    }

    /// To start a request.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends, and sends again what is safe to repeat when the transport failed. Every attempt's time is given to `note`.
    ///
    /// # Errors
    /// No response head came.
    pub async fn execute(
        &self,
        request: RequestBuilder,
        label: Label<'_>,
        mut note: impl FnMut(Duration),
    ) -> reqwest::Result<Response> {
        let request = request.build()?;
        let url = label.url.map_or_else(|| request.url().to_string(), str::to_owned);
        let started = Instant::now();
        let mut left = if is_safe(request.method()) { self.retries_max } else { 0 };
        let mut request = request;
        let result = loop {
            let again = if left > 0 { request.try_clone() } else { None };
            let began = Instant::now();
            let result = self.client.execute(request).await;
            note(began.elapsed());
            match (result, again) {
                (Err(error), Some(again)) if is_transport(&error) => {
                    tracing::warn!(
                        plugin = label.plugin,
                        url,
                        "plugin HTTP call failed and is repeated: {}",
                        cause(&error)
                    );
                    left -= 1;
                    request = again;
                    tokio::time::sleep(self.retry_delay).await;
                }
                (result, _) => break result,
            }
        };
        let elapsed = started.elapsed();
        if elapsed > self.slow_threshold {
            let (elapsed_ms, threshold_ms) = (elapsed.as_millis() as u64, self.slow_threshold.as_millis() as u64);
            tracing::warn!(plugin = label.plugin, url, elapsed_ms, threshold_ms, "Slow plugin HTTP call");
        }
        result
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether another try may go better: never after an answer, and not when the peer's certificate is the reason.
fn is_transport(error: &reqwest::Error) -> bool {
    let is_about_it = error.is_connect() || error.is_timeout() || error.is_request();
    is_about_it && !cause(error).contains("certificate")
}

/// The innermost reason; the outer texts hold the URL.
pub fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
