//! One connection: the handshake if there is one, the protocol it agrees on, how long a client may take, and an orderly end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::tls::{ALPN_HTTP2, ServerConfig};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Admin, pipeline};

/// All header fields of one request.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;

/// How often a silent HTTP/2 client is asked whether it is there, and how long it may think about it.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Of an answer, taken at once: a frame that every client takes.
const PIECE_BYTES: usize = 16 * 1024;

/// What of an answer may wait for the socket. It tells of no use when it leaves, so it is little.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long a client that was told of the end may take for the next piece of an answer, or to close when there is none.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What a connection under TLS begins with.
pub(super) struct Secured {
    pub(super) config: Arc<ServerConfig>,
    /// Zero = no limit.
    pub(super) handshake_timeout: Duration,
}

/// Told to stop, by a value of true.
type Stopped = watch::Receiver<bool>;

pub(super) async fn serve(admin: Arc<Admin>, stream: TcpStream, secured: Option<Secured>, mut stopped: Stopped) {
    let _ = stream.set_nodelay(true);
    let Some(secured) = secured else { return serve_http1(admin, stream, stopped).await };
    let handshake = tokio::select! {
        handshake = handshake(stream, secured) => handshake,
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    match handshake {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) => {
            serve_http2(admin, stream, stopped).await;
        }
        Ok(stream) => serve_http1(admin, stream, stopped).await,
        Err(reason) => tracing::debug!("An admin TLS handshake failed: {reason}"),
    }
}

async fn handshake(stream: TcpStream, secured: Secured) -> Result<TlsStream<TcpStream>, String> {
    let accept = TlsAcceptor::from(secured.config).accept(stream);
    let limit = secured.handshake_timeout;
    let accepted = if limit.is_zero() {
        accept.await
    } else {
        tokio::time::timeout(limit, accept).await.map_err(|_| format!("it was not finished within {limit:?}"))?
    };
    accepted.map_err(|error| error.to_string())
}

async fn serve_http1<S>(admin: Arc<Admin>, stream: S, mut stopped: Stopped)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let timeout = admin.options.header_read_timeout;
    let service = service_fn(|request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(pipeline::answer(&admin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout((!timeout.is_zero()).then_some(timeout))
        .max_buf_size(HEAD_BYTES_MAX as usize)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // None: told to stop while it was open.
    let outcome = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    note_end(outcome);
}

/// HTTP/1.1 has its limit on heads, which holds between requests too. Here a connection ends after the same time without a request
/// or a piece of an answer, whatever its client sends instead.
async fn serve_http2<S>(admin: Arc<Admin>, stream: S, mut stopped: Stopped)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let timeout = admin.options.header_read_timeout;
    let under_way = UnderWay::default();
    let service = service_fn(|request| {
        let (admin, place) = (admin.clone(), under_way.begin());
        async move {
            let (head, body) = pipeline::answer(&admin, request).await.into_parts();
            let Ok(body) = body.collect().await;
            let body = OnItsWay { left: body.to_bytes(), requests: place.0.clone() };
            drop(place);
            Ok::<_, Infallible>(Response::from_parts(head, body))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return note_end(outcome),
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = under_way.idle_for(timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        outcome = connection => note_end(outcome),
        () = under_way.idle_for(GOODBYE_MAX) => {
            tracing::debug!("An admin connection that was told to end did not, and is closed");
        }
    }
}

fn note_end(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "An admin connection ended early");
    }
}

/// Counts the requests that are being answered on one connection.
struct UnderWay(watch::Sender<usize>);

impl Default for UnderWay {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl UnderWay {
    /// One more, until what is given is dropped.
    fn begin(&self) -> Place {
        self.0.send_modify(|requests| *requests += 1);
        Place(self.0.clone())
    }

    /// Returns when there was no request and no piece of an answer for this long; zero = never.
    async fn idle_for(&self, longest: Duration) {
        if longest.is_zero() {
            return std::future::pending().await;
        }
        let mut requests = self.0.subscribe();
        loop {
            if requests.wait_for(|requests| *requests == 0).await.is_err() {
                return;
            }
            if tokio::time::timeout(longest, requests.changed()).await.is_err() {
                return;
            }
        }
    }
}

struct Place(watch::Sender<usize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

/// An answer that is being sent. Each piece that leaves tells that the connection is in use; one that nobody takes does not.
struct OnItsWay {
    left: Bytes,
    requests: watch::Sender<usize>,
}

impl Body for OnItsWay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Whoever waits for a change is told of one, though the number is the same.
        self.requests.send_modify(|_| {});
        let bytes = self.left.len().min(PIECE_BYTES);
        Poll::Ready((bytes > 0).then(|| Ok(Frame::data(self.left.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use hyper::Request;
    use serde_json::{Value, json};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::super::test_rig::{rig_with, token};
    use super::super::{ConfigSummary, ResourceKind, ResourceReads};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn is_idle_after(idle: &mut Pin<&mut impl Future<Output = ()>>, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), idle.as_mut()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_its_last_request_is_long_enough_ago() {
        let under_way = UnderWay::default();
        let mut idle = std::pin::pin!(under_way.idle_for(LIMIT));
        assert!(!is_idle_after(&mut idle, 9).await);
        let first = under_way.begin();
        assert!(!is_idle_after(&mut idle, 100).await, "while one is answered");
        let second = under_way.begin();
        drop(first);
        assert!(!is_idle_after(&mut idle, 100).await, "while another is answered");
        drop(second);
        assert!(!is_idle_after(&mut idle, 9).await, "too early");
        assert!(is_idle_after(&mut idle, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_no_connection_is_idle() {
        let under_way = UnderWay::default();
        let mut idle = std::pin::pin!(under_way.idle_for(Duration::ZERO));
        assert!(!is_idle_after(&mut idle, 1 << 30).await);
    }

    const LONG_BYTES: usize = 1 << 20;

    /// Of a client that takes half a minute for so many.
    const BYTE_TIME: Duration = Duration::from_micros(30);

    /// A configuration whose lists are long.
    struct Long;

    impl ResourceReads for Long {
        fn page(&self, _: ResourceKind, _: &str, _: Range<usize>) -> (usize, Vec<Value>) {
            (1, vec![json!({ "id": "x".repeat(LONG_BYTES) })])
        }

        fn get(&self, _: ResourceKind, _: &str, _: &str) -> Option<Value> {
            None
        }

        fn summary(&self) -> Option<ConfigSummary> {
            None
        }

        fn namespaces(&self) -> Vec<String> {
            Vec::new()
        }
    }

    /// A long answer whose head has come, and the end of its connection.
    async fn long_answer() -> (h2::RecvStream, JoinHandle<()>) {
        let rig = rig_with(|options, sources| {
            options.sample_interval = Duration::from_secs(3600);
            sources.resources = Some(Arc::new(Long));
        });
        let (client, server) = tokio::io::duplex(PIECE_BYTES);
        let served = tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            serve_http2(rig.admin.clone(), server, stopped).await;
        });
        let (mut requests, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get("https://admin/proxies").header("authorization", format!("Bearer {}", token("viewer")));
        let (answer, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        (answer.into_body(), served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_reaches_a_slow_client_whole() {
        let (mut body, served) = long_answer().await;
        let (began, mut received) = (Instant::now(), 0);
        while let Some(piece) = body.data().await {
            let bytes = piece.expect("the answer goes on").len();
            tokio::time::sleep(BYTE_TIME * bytes as u32).await;
            body.flow_control().release_capacity(bytes).unwrap();
            received += bytes;
        }
        assert!(received > LONG_BYTES, "{received}");
        assert!(began.elapsed() > LIMIT + GOODBYE_MAX, "it took longer than a connection may be idle");
        served.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_is_left() {
        let (body, served) = long_answer().await;
        let began = Instant::now();
        served.await.unwrap();
        let longest = LIMIT + GOODBYE_MAX + Duration::from_secs(1);
        assert!((LIMIT..longest).contains(&began.elapsed()), "{:?}", began.elapsed());
        drop(body);
    }
}
