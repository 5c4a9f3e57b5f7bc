//! The one HTTP client of all plugins (plugins sheet §1.13, plugin API sheet §12).

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::tls::TlsError;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response};

use super::names::Resolver;
use super::{Names, Options};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// From the first byte sent to the last received; a call may set its own.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Clones share pool and settings. Must be used where a tokio runtime is entered.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    direct: Client,
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
    /// # Errors
    /// It cannot be built from these options. There is no other in its place: that one would trust whom these do not, and call
    /// what they forbid.
    pub fn new(options: &Options, names: Arc<dyn Names>) -> Result<Self, String> {
        Self::built(options, Some(names))
    }

    /// With the names of the system instead of the gateway's, for where there is no gateway.
    pub fn with_system_names(options: &Options) -> Self {
        Self::built(options, None).expect("a client, whose options are those of no gateway")
    }

    fn built(options: &Options, names: Option<Arc<dyn Names>>) -> Result<Self, String> {
        let resolver = names.map(|names| Arc::new(Resolver(names)));
        let build = |builder: ClientBuilder| {
            builder.build().map_err(|error| format!("the HTTP client of plugins cannot be built: {}", cause(&error)))
        };
        Ok(Self {
            client: build(builder(options, resolver.clone()))?,
            direct: build(builder(options, resolver).redirect(Policy::none()))?,
            retries_max: options.http_retries_max,
            retry_delay: Duration::from_millis(options.http_retry_delay_ms),
            slow_threshold: Duration::from_millis(options.http_slow_threshold_ms),
        })
    }

    /// To start a request.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// To start a request whose answer counts although it sends elsewhere: a redirected POST would arrive as a GET.
    pub fn direct(&self) -> &Client {
        &self.direct
    }

    /// Sends with the client that the request was started with, and sends again what is safe to repeat when the transport
    /// failed. Every attempt's time is given to `note`.
    ///
    /// # Errors
    /// No response head came.
    pub async fn execute(
        &self,
        request: RequestBuilder,
        label: Label<'_>,
        mut note: impl FnMut(Duration),
    ) -> reqwest::Result<Response> {
        let (client, request) = request.build_split();
        let mut request = request?;
        let url = label.url.map_or_else(|| request.url().to_string(), str::to_owned);
        let started = Instant::now();
        let mut left = if is_safe(request.method()) { self.retries_max } else { 0 };
        let result = loop {
            let again = if left > 0 { request.try_clone() } else { None };
            let began = Instant::now();
            let result = client.execute(request).await;
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

fn builder(options: &Options, resolver: Option<Arc<Resolver>>) -> ClientBuilder {
    let (pool, http2) = (&options.pool, &options.pool.http2);
    let millis = Duration::from_millis;
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .no_proxy()
        .pool_max_idle_per_host(if pool.keep_alive { pool.idle_max } else { 0 })
        .pool_idle_timeout(millis(pool.idle_timeout_ms))
        .tcp_keepalive((pool.tcp_keepalive_seconds > 0).then(|| Duration::from_secs(pool.tcp_keepalive_seconds)))
        .http2_keep_alive_interval((http2.keepalive_interval_ms > 0).then(|| millis(http2.keepalive_interval_ms)))
        .http2_keep_alive_timeout(millis(http2.keepalive_timeout_ms))
        .http2_max_frame_size(http2.frame_bytes_max);
    if let Some(resolver) = resolver {
        builder = builder.dns_resolver(resolver);
    }
    builder = match http2.adaptive_window {
        true => builder.http2_adaptive_window(true),
        false => builder
            .http2_initial_stream_window_size(http2.stream_window_bytes)
            .http2_initial_connection_window_size(http2.connection_window_bytes),
    };
    if !pool.offers_http2 {
        builder = builder.http1_only();
    }
    match &options.tls {
        Some(tls) => builder.tls_backend_preconfigured((**tls).clone()),
        None => builder,
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether another try may go better: never after an answer, and not when the two sides do not agree on TLS.
fn is_transport(error: &reqwest::Error) -> bool {
    (error.is_connect() || error.is_timeout() || error.is_request()) && !is_about_tls(error)
}

fn is_about_tls(error: &reqwest::Error) -> bool {
    reasons(error).any(|reason| reason.is::<TlsError>())
}

/// From the outermost to the innermost.
fn reasons<'e>(error: &'e reqwest::Error) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let outermost: &'e (dyn Error + 'static) = error;
    std::iter::successors(Some(outermost), |reason: &&'e (dyn Error + 'static)| inner(*reason))
}

/// An I/O error that wraps another one answers with that one's source, not with that one.
fn inner<'e>(reason: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match reason.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => reason.source(),
    }
}

/// The innermost reason; the outer texts hold the URL.
pub fn cause(error: &reqwest::Error) -> String {
    reasons(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
