//! A backend that does what the path says and remembers what it got.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use rustls::HandshakeKind;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::flow::{Inlet, Outlet, Received, fault_of, fields_of, map_of};
use super::http1::{self, Io, Left, Sink};
use super::plan::Plan;
use super::tls::ServerTls;
use super::{Transport, runtime};
use crate::wait::eventually;
use crate::wire::{Fault, Framing, Headers, framing_of};

/// A window in which a body of any size flows without many updates.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Tests that give up many requests at once mean no harm.
const RESETS_MAX: usize = 10_000;

/// A request as the backend sees it; what becomes of it is looked up when asked for.
#[derive(Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// HTTP/2's `:authority`.
    pub authority: Option<String>,
    pub headers: Headers,
    /// Counted from 0.
    pub connection: usize,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    received: OnceLock<Received>,
    end: OnceLock<Result<(), Fault>>,
}

/// A request whose connection ends has ended as well.
struct Running(Arc<Progress>);

impl Running {
    fn ended(self, how: Result<(), Fault>) {
        self.0.end.set(how).expect("a request ends once");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.end.set(Err(Fault::Closed));
    }
}

impl Seen {
    /// Bytes of the response's body that were handed to the connection, or to what waits for HTTP/2's window.
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Ordering::SeqCst)
    }

    /// The request's body, when its end has come.
    pub fn received(&self) -> Option<Received> {
        self.progress.received.get().cloned()
    }

    /// How it went, when it is over: `Ok` if both sides said all they had to say.
    pub fn end(&self) -> Option<Result<(), Fault>> {
        self.progress.end.get().cloned()
    }

    #[track_caller]
    pub fn wait_for_end(&self) -> Result<(), Fault> {
        eventually(&format!("the backend sees the end of {}", self.target), || self.end())
    }
}

/// What the handshake of a connection said. All of it is empty without TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerConnection {
    pub server_name: Option<String>,
    pub alpn: Option<String>,
    pub version: Option<String>,
    pub resumed: bool,
    pub client_certificate: bool,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Seen>>,
    connections: Mutex<Vec<PeerConnection>>,
    refused: Mutex<Vec<String>>,
    open: AtomicUsize,
    released: Notify,
}

pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: AbortHandle,
}

/// One connection's part of the state.
#[derive(Clone)]
struct Serving {
    shared: Arc<Shared>,
    connection: usize,
    keep_alive: bool,
}

impl Peer {
    pub fn plain(transport: Transport) -> Self {
        assert!(!transport.is_tls(), "TLS needs a certificate");
        Self::listen(transport, None, true)
    }

    pub fn secured(transport: Transport, tls: &ServerTls) -> Self {
        Self::listen(transport, Some(tls), true)
    }

    /// Closes each HTTP/1.1 connection after one response.
    pub fn secured_closing(tls: &ServerTls) -> Self {
        Self::listen(Transport::Http1Tls, Some(tls), false)
    }

    fn listen(transport: Transport, tls: Option<&ServerTls>, keep_alive: bool) -> Self {
        let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config(transport.alpn())));
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        let listener = runtime().block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port for a backend");
        let address = listener.local_addr().expect("a bound socket has an address");
        let listening = runtime().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, acceptor) = (state.clone(), acceptor.clone());
                connections.spawn(async move { serve(stream, acceptor, transport, keep_alive, state).await });
            }
        });
        Self { address, shared, listening: listening.abort_handle() }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in the order in which their heads came.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The request for this path, waiting for it.
    #[track_caller]
    pub fn wait_for_request(&self, part: &str) -> Seen {
        eventually(&format!("the backend has a request for {part}"), || {
            self.requests().into_iter().find(|seen| seen.target.contains(part))
        })
    }

    /// Connections whose handshake succeeded.
    pub fn connections(&self) -> Vec<PeerConnection> {
        self.shared.connections.lock().unwrap().clone()
    }

    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Lets one response that waits for it go on, now or when it comes to that.
    pub fn release(&self) {
        self.shared.released.notify_one();
    }

    /// Why handshakes failed, as the backend's side sees it.
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    transport: Transport,
    keep_alive: bool,
    shared: Arc<Shared>,
) {
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let mut known = PeerConnection::default();
    let io: Io = match acceptor {
        None => Box::new(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Err(error) => return shared.refused.lock().unwrap().push(error.to_string()),
            Ok(stream) => {
                let session = stream.get_ref().1;
                known = PeerConnection {
                    server_name: session.server_name().map(str::to_owned),
                    alpn: session.alpn_protocol().map(crate::wire::latin1),
                    version: session.protocol_version().map(|version| format!("{version:?}")),
                    resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
                    client_certificate: session.peer_certificates().is_some(),
                };
                Box::new(stream)
            }
        },
    };
    // Agreed by ALPN, or by what the test knows.
    let is_http2 = known.alpn.as_ref().map_or(transport.is_http2(), |alpn| alpn == "h2");
    let connection = {
        let mut connections = shared.connections.lock().unwrap();
        connections.push(known);
        connections.len() - 1
    };
    shared.open.fetch_add(1, Ordering::SeqCst);
    let serving = Serving { shared, connection, keep_alive };
    if is_http2 {
        serving.http2(io).await
    } else {
        serving.http1(io).await
    }
    serving.shared.open.fetch_sub(1, Ordering::SeqCst);
}

impl Serving {
    fn saw(&self, method: String, target: String, authority: Option<String>, headers: Headers) -> Seen {
        let progress = Arc::default();
        let seen = Seen { method, target, authority, headers, connection: self.connection, progress };
        self.shared.requests.lock().unwrap().push(seen.clone());
        seen
    }

    async fn http1(&self, io: Io) {
        let (mut source, mut sink) = http1::split(io);
        while let Ok((start, headers)) = source.head().await {
            let parts: Vec<&str> = start.split(' ').collect();
            let [method, target, "HTTP/1.1"] = parts[..] else { panic!("the gateway sent {start:?}") };
            let framing = framing_of(&headers, Framing::None).expect("a request is framed");
            let seen = self.saw(method.to_owned(), target.to_owned(), None, headers);
            let mut inlet =
                Inlet::Http1 { source: &mut source, left: Left::from(framing), trailers: Headers::default() };
            let responder = Responder::Http1 { sink: &mut sink, keep_alive: self.keep_alive };
            let running = Running(seen.progress.clone());
            let end = answer(&self.shared, &seen, &mut inlet, responder).await;
            let is_over = end.is_err() || !self.keep_alive;
            running.ended(end);
            if is_over {
                break;
            }
        }
        sink.close().await;
    }

    async fn http2(&self, io: Io) {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        builder.max_pending_accept_reset_streams(RESETS_MAX);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
        let mut streams = JoinSet::new();
        while let Some(Ok((request, responder))) = connection.accept().await {
            let (head, body) = request.into_parts();
            let target = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            let authority = head.uri.authority().map(ToString::to_string);
            let seen = self.saw(head.method.to_string(), target, authority, fields_of(&head.headers));
            let shared = self.shared.clone();
            let running = Running(seen.progress.clone());
            streams.spawn(async move {
                let mut inlet = Inlet::Http2(body);
                running.ended(answer(&shared, &seen, &mut inlet, Responder::Http2(responder)).await);
            });
        }
    }
}

enum Responder<'a> {
    Http1 { sink: &'a mut Sink, keep_alive: bool },
    Http2(SendResponse<Bytes>),
}

impl<'a> Responder<'a> {
    async fn begin(self, status: u16, mut fields: Headers, has_body: bool) -> Result<Outlet<'a>, Fault> {
        match self {
            Self::Http1 { sink, keep_alive } => {
                let chunked = has_body && !fields.has("content-length");
                if chunked {
                    fields.push("Transfer-Encoding".into(), "chunked".into());
                }
                if !keep_alive {
                    fields.push("Connection".into(), "close".into());
                }
                sink.head(&format!("HTTP/1.1 {status} Said"), &fields).await?;
                Ok(if has_body { Outlet::Http1 { sink, chunked } } else { Outlet::Nothing })
            }
            Self::Http2(mut responder) => {
                let mut head = Response::builder().status(status).body(()).expect("a response");
                let map: HeaderMap = map_of(&fields);
                *head.headers_mut() = map;
                let stream = responder.send_response(head, !has_body).map_err(|error| fault_of(&error))?;
                Ok(if has_body { Outlet::Http2(stream) } else { Outlet::Nothing })
            }
        }
    }
}

/// One request from its head to the end of both bodies.
async fn answer(shared: &Shared, seen: &Seen, inlet: &mut Inlet<'_>, responder: Responder<'_>) -> Result<(), Fault> {
    let plan = Plan::of(&seen.target);
    let mut fields = Headers::default();
    let mut say = |name: &str, value: String| fields.push(name.to_owned(), value);
    // Lines of one name, and others between them.
    say("set-cookie", "first=1".into());
    say("x-many", "one".into());
    say("set-cookie", "second=2".into());
    say("x-many", "two".into());
    if !plan.early {
        let received = receive(seen, inlet).await?;
        say("x-got-bytes", received.bytes.to_string());
        say("x-got-intact", received.intact.to_string());
        say("x-got-length", seen.headers.get("content-length").unwrap_or("unknown").to_owned());
        say("x-got-checksum", received.trailers.get("x-checksum").unwrap_or("none").to_owned());
    }
    let bodiless = matches!(plan.status, 204 | 304);
    if !plan.unknown_length && !bodiless {
        say("content-length", plan.bytes.to_string());
    }
    let has_body = !(bodiless || seen.method == "HEAD" || (plan.bytes == 0 && !plan.unknown_length && !plan.trailers));
    let mut outlet = responder.begin(plan.status, fields, has_body).await?;
    if has_body {
        fill(shared, seen, &plan, inlet, &mut outlet).await?;
    }
    if plan.early {
        receive(seen, inlet).await?;
    }
    Ok(())
}

async fn receive(seen: &Seen, inlet: &mut Inlet<'_>) -> Result<Received, Fault> {
    let received = inlet.all().await;
    seen.progress.received.set(received.clone()).expect("a body is received once");
    received.end.clone().map(|()| received)
}

async fn fill(
    shared: &Shared,
    seen: &Seen,
    plan: &Plan,
    inlet: &mut Inlet<'_>,
    outlet: &mut Outlet<'_>,
) -> Result<(), Fault> {
    let note = |bytes| {
        seen.progress.sent.fetch_add(bytes, Ordering::SeqCst);
    };
    let first = plan.cut_after.or(plan.hold_after).unwrap_or(plan.bytes).min(plan.bytes);
    outlet.send_pattern(0, first, note).await?;
    if plan.cut_after.is_some() {
        if plan.waits_for_release {
            shared.released.notified().await;
        }
        outlet.reset();
        return Err(Fault::Cut);
    }
    if plan.hold_after.is_some() {
        return Err(match inlet {
            Inlet::Http1 { source, .. } => source.gone().await,
            Inlet::Http2(_) => outlet.refused().await,
        });
    }
    let mut trailers = Headers::default();
    trailers.push("x-checksum".into(), format!("sum-{}", plan.bytes));
    trailers.push("x-second".into(), "too".into());
    outlet.finish(plan.trailers.then_some(&trailers)).await
}
