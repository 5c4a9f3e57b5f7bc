//! One exchange with a backend: find it, get a connection, send the request, bring the response back.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use engine::buffer::{Buffer, Unsent};
use engine::core::Deadline;
use engine::counters::ErrorClass;
use engine::dns::Resolution;
use engine::http::Method;
use engine::net::Sender;
use engine::snapshot::{BackendAddress, ProxyFacts, ProxySpec, Scheme};
use plugins::Rejection;

use crate::deliver;
use crate::destination::Destination;
use crate::exchange::{Body, BodyError, BodySize, Peer, Responder, boxed};
use crate::generation::Route;
use crate::http1::{self, BackendConnection};
use crate::outgoing::OutgoingRequest;
use crate::per_ip::Slot;
use crate::refusal;
use crate::respond;
use crate::transaction::Transaction;
use crate::worker::Worker;

/// What the pipeline knows about where a request goes.
pub struct Forwarding<'a> {
    pub worker: &'a Rc<Worker>,
    pub spec: &'a ProxySpec,
    pub proxy: &'a ProxyFacts,
    pub route: &'a Route,
    pub destination: Destination<'a>,
    pub peer: &'a Peer,
    pub client_ip: &'a str,
    pub matched_len: usize,
    pub connection_named: &'a [Vec<u8>],
    pub deadline: &'a Deadline,
}

/// Why there is no response to deliver, or not all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub class: ErrorClass,
    /// What to answer while nothing has been sent yet.
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    BackendUnavailable,
    NoAddress,
    RequestTooLarge,
    MalformedRequestBody,
    RequestStalled,
    ResponseTooLarge,
    ResponseReadFailed,
    /// Nobody is there to answer.
    Nothing,
}

impl Failure {
    pub fn backend(class: ErrorClass) -> Self {
        Self { class, answer: Answer::BackendUnavailable }
    }

    pub fn client_gone() -> Self {
        Self { class: ErrorClass::ClientDisconnect, answer: Answer::Nothing }
    }

    fn of_body(error: BodyError) -> Self {
        match error {
            BodyError::ClientGone => Self::client_gone(),
            BodyError::Stalled => Self { class: ErrorClass::ReadWriteTimeout, answer: Answer::RequestStalled },
            BodyError::Malformed => Self { class: ErrorClass::RequestError, answer: Answer::MalformedRequestBody },
        }
    }
}

/// Sends the request to its backend and the response to the client, and notes the outcome in the transaction.
pub async fn exchange<B: Body, R: Responder>(
    forwarding: Forwarding<'_>,
    transaction: &mut Transaction,
    body: &mut B,
    responder: R,
    slot: Option<Slot>,
) {
    let mut responder = Some(responder);
    let failure = match too_large(&forwarding, body.size()) {
        Some(failure) => Err(failure),
        None => attempts(&forwarding, transaction, body, &mut responder, slot).await,
    };
    if let Err(failure) = failure {
        boxed(|| fail(&forwarding, transaction, responder, failure)).await;
    }
    transaction.end();
}

/// A body of known length over the limit is refused before the backend hears of it.
fn too_large(forwarding: &Forwarding<'_>, size: BodySize) -> Option<Failure> {
    let max = forwarding.worker.settings.request_body_bytes_max;
    match size {
        BodySize::Exact(length) if max != 0 && length > max => {
            Some(Failure { class: ErrorClass::RequestBodyTooLarge, answer: Answer::RequestTooLarge })
        }
        _ => None,
    }
}

/// Usually one attempt. A pooled connection that turns out to be dead before a byte of the answer came is no reason to
/// fail a request that may be repeated.
async fn attempts<B: Body, R: Responder>(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    body: &mut B,
    responder: &mut Option<R>,
    slot: Option<Slot>,
) -> Result<(), Failure> {
    forwarding.deadline.set(Some(forwarding.spec.read_timeout_ms));
    let repeatable = matches!(body.size(), BodySize::Empty)
        && transaction.cx.as_ref().is_some_and(|cx| cx.head.method.is_idempotent());
    let mut slot = Some(slot);
    let whole = async {
        let mut fresh = false;
        loop {
            let mut connection = checkout(forwarding, fresh).await?;
            transaction.outcome.backend_ip = Some(connection.peer.ip());
            let was_reused = connection.reused;
            let sent = attempt(forwarding, transaction, body, responder, &mut connection, &mut slot).await;
            match sent {
                Ok(clean) => {
                    check_in(forwarding, connection, clean);
                    return Ok(());
                }
                Err(failure) => {
                    let stale = matches!(failure.class, ErrorClass::ConnectionClosed | ErrorClass::ConnectionReset)
                        && !transaction.answer_began;
                    if !(stale && was_reused && repeatable && responder.is_some()) {
                        return Err(failure);
                    }
                    // Every idle connection may be as dead as this one; a new one is not.
                    fresh = true;
                }
            }
        }
    };
    let bounded = forwarding.deadline.bound(whole).await;
    forwarding.deadline.clear();
    match bounded {
        Some(result) => result,
        None => Err(Failure::backend(ErrorClass::ReadWriteTimeout)),
    }
}

/// An idle connection that still waits, or a new one.
async fn checkout(forwarding: &Forwarding<'_>, fresh: bool) -> Result<Box<BackendConnection>, Failure> {
    let counters = forwarding.worker.core.counters();
    while !fresh && let Some(mut connection) = forwarding.destination.pool.take() {
        if connection.is_silent() {
            counters.backend_reuses.one();
            return Ok(connection);
        }
        counters.backend_evictions.one();
    }
    let address = address(forwarding)?;
    let deadline = forwarding.worker.core.deadlines.deadline();
    deadline.set_ms(forwarding.spec.connect_timeout_ms);
    let mut options = forwarding.worker.settings.connect;
    let keepalive_seconds = forwarding.spec.backend.pool_limits.tcp_keepalive_seconds;
    options.keepalive = (keepalive_seconds > 0).then(|| Duration::from_secs(keepalive_seconds));
    let connected = deadline.bound(boxed(|| BackendConnection::connect(address, &options))).await;
    let class = match connected {
        Some(Ok(connection)) => {
            counters.backend_connects.one();
            return Ok(Box::new(connection));
        }
        Some(Err(error)) => connect_class(&error),
        None => ErrorClass::ConnectionTimeout,
    };
    counters.backend_connect_failures.one();
    if class == ErrorClass::PortExhaustion {
        counters.port_exhaustions.one();
        tracing::error!("PORT EXHAUSTION: no local port left for a connection to {address}");
    }
    Err(Failure::backend(class))
}

fn address(forwarding: &Forwarding<'_>) -> Result<SocketAddr, Failure> {
    let destination = &forwarding.destination;
    if forwarding.spec.backend.scheme == Scheme::Https {
        // Never in the clear what was to be encrypted. This release has no TLS towards backends.
        return Err(Failure::backend(ErrorClass::TlsError));
    }
    let refused = Failure { class: ErrorClass::DnsLookupError, answer: Answer::NoAddress };
    let ip: IpAddr = match destination.address {
        BackendAddress::Literal(ip) => *ip,
        BackendAddress::Refused(_) => return Err(refused),
        BackendAddress::Name => {
            let mut table = forwarding.worker.core.dns.borrow_mut();
            match table.look().0.get(&destination.host) {
                Some(Resolution::Address(ip)) => *ip,
                Some(Resolution::Failed(_)) | None => return Err(refused),
            }
        }
    };
    Ok(SocketAddr::new(ip, destination.port))
}

fn connect_class(error: &io::Error) -> ErrorClass {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => ErrorClass::PortExhaustion,
        Some(libc::ETIMEDOUT) => ErrorClass::ConnectionTimeout,
        _ => ErrorClass::ConnectionRefused,
    }
}

fn check_in(forwarding: &Forwarding<'_>, mut connection: Box<BackendConnection>, clean: bool) {
    let limits = &forwarding.spec.backend.pool_limits;
    if !clean || !limits.keep_alive {
        return;
    }
    connection.reused = true;
    // What the last head was read from is memory that an idle connection has no use for.
    connection.head.headers.reset();
    let until_ms = forwarding.worker.core.deadlines.now_ms().saturating_add(limits.idle_timeout_ms);
    for _ in 0..forwarding.destination.pool.put(connection, until_ms, limits.idle_max) {
        forwarding.worker.core.counters().backend_evictions.one();
    }
}

/// One request and its response over one connection. `Ok(true)`: the connection can be used again.
async fn attempt<B: Body, R: Responder>(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    body: &mut B,
    responder: &mut Option<R>,
    connection: &mut BackendConnection,
    slot: &mut Option<Option<Slot>>,
) -> Result<bool, Failure> {
    let Some(cx) = &transaction.cx else { return Err(Failure::client_gone()) };
    // Without plugins nothing has happened since the request came, and one look at the clock less is one less.
    let started = if forwarding.route.chain.is_silent_before_backend() { cx.received } else { Instant::now() };
    let method = cx.head.method;
    let size = body.size();
    let mut out = Buffer::head();
    let request = OutgoingRequest {
        cx,
        peer: forwarding.peer,
        settings: &forwarding.worker.settings,
        client_ip: forwarding.client_ip,
        backend_host: &forwarding.destination.host,
        preserve_host: forwarding.spec.preserve_host_header,
        base_path: forwarding.destination.path,
        matched_len: forwarding.matched_len,
        strip: forwarding.spec.strip_listen_path,
        connection_named: forwarding.connection_named,
        size,
    };
    http1::write_request_head(&request, forwarding.spec.backend.pool_limits.keep_alive, out.as_vec_mut());

    let BackendConnection { receiver, sender, head, .. } = connection;
    let respond = respond::Respond { forwarding, receiver, head, method, started };
    if size == BodySize::Empty {
        // Waited for on purpose: by the next turn of the loop the answer is often there, and a receive that finds it costs
        // half of one that has to be parked on the socket.
        let (sent, back) = sender.send(Unsent { buffer: out, sent: 0 }).await;
        drop(back);
        // A backend that closed may have answered before; only its silence is the failure.
        let clean = respond.run(transaction, responder, slot).await?;
        return Ok(clean && sent.is_ok());
    }
    let max = forwarding.worker.settings.request_body_bytes_max;
    let sent_bytes = Cell::new(0);
    // On the heap: few requests have a body, and all connections would have to hold the room for one.
    let outcome = {
        let stall = forwarding.worker.core.deadlines.deadline();
        let sending = BackendSender { sender, stall: &stall };
        let upload = boxed(|| upload(body, sending, out, max, &sent_bytes));
        let response = boxed(|| respond.run(transaction, responder, slot));
        alongside(response, upload).await
    };
    transaction.outcome.bytes_sent = sent_bytes.get();
    outcome
}

/// Runs the response and the upload as two directions of one exchange. The response decides when it is over; an upload
/// that fails on the client's side ends it as well.
async fn alongside(
    mut response: Pin<Box<impl Future<Output = Result<bool, Failure>>>>,
    mut upload: Pin<Box<impl Future<Output = Result<(), UploadEnd>>>>,
) -> Result<bool, Failure> {
    let mut uploaded = None;
    poll_fn(|cx| {
        if uploaded.is_none()
            && let Poll::Ready(end) = upload.as_mut().poll(cx)
        {
            if let Err(UploadEnd::Over(failure)) = end {
                return Poll::Ready(Err(failure));
            }
            uploaded = Some(end.is_ok());
        }
        // An upload still running means the connection is in the middle of a request.
        response.as_mut().poll(cx).map(|response| response.map(|clean| clean && uploaded == Some(true)))
    })
    .await
}

/// How long a backend may take nothing of a body. As a rule the read timeout of the proxy comes first; this bounds
/// exchanges without one.
const BACKEND_STALL_MS: u64 = 60_000;

/// Sends to the backend and gives up on one that takes nothing any more.
struct BackendSender<'c> {
    sender: &'c mut Sender,
    stall: &'c Deadline,
}

impl BackendSender<'_> {
    /// All of it; gives the emptied buffer back.
    async fn send(&mut self, mut unsent: Unsent) -> Result<Buffer, UploadEnd> {
        while unsent.sent < unsent.buffer.len() {
            self.stall.set_ms(BACKEND_STALL_MS);
            match self.stall.bound(self.sender.send_some(unsent)).await {
                Some((Ok(count), back)) if count > 0 => {
                    unsent = back;
                    unsent.sent += count;
                }
                Some(_) => return Err(UploadEnd::Backend),
                None => return Err(UploadEnd::Over(Failure::backend(ErrorClass::ReadWriteTimeout))),
            }
        }
        self.stall.clear();
        unsent.buffer.clear();
        Ok(unsent.buffer)
    }
}

enum UploadEnd {
    /// The exchange is over: the client's side failed, or the backend has stalled.
    Over(Failure),
    /// The backend takes no more; its answer may still come.
    Backend,
}

/// Sends the head and then the body as it comes in.
async fn upload<B: Body>(
    body: &mut B,
    mut sending: BackendSender<'_>,
    head: Buffer,
    bytes_max: u64,
    sent_bytes: &Cell<u64>,
) -> Result<(), UploadEnd> {
    let chunked = body.size() == BodySize::Unknown;
    let mut out = head;
    loop {
        // The head goes first and alone: the backend may answer before the body is there.
        if !out.is_empty() {
            out = sending.send(Unsent { buffer: std::mem::take(&mut out), sent: 0 }).await?;
        }
        let Some(chunk) = body.chunk().await.map_err(|error| UploadEnd::Over(Failure::of_body(error)))? else {
            break;
        };
        sent_bytes.set(sent_bytes.get() + chunk.len() as u64);
        if bytes_max != 0 && sent_bytes.get() > bytes_max {
            let failure = Failure { class: ErrorClass::RequestBodyTooLarge, answer: Answer::RequestTooLarge };
            return Err(UploadEnd::Over(failure));
        }
        if chunked {
            http1::append_framed(&mut out, &chunk);
        } else {
            drop(sending.send(chunk.into_unsent()).await?);
        }
    }
    if chunked {
        out.extend(b"0\r\n\r\n");
        drop(sending.send(Unsent { buffer: out, sent: 0 }).await?);
    }
    Ok(())
}

/// Answers for a backend that did not, or notes that its response broke off.
async fn fail<R: Responder>(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    responder: Option<R>,
    failure: Failure,
) {
    forwarding.destination.note_end();
    let outcome = &mut transaction.outcome;
    if failure.class == ErrorClass::ClientDisconnect {
        outcome.client_disconnected = true;
    }
    let Some(mut responder) = responder else {
        outcome.body_error_class = Some(failure.class);
        return;
    };
    outcome.error_class = Some(failure.class);
    let Some((mut rejection, close)) = answer(&failure) else {
        outcome.status = 499;
        return;
    };
    outcome.status = rejection.status;
    if close {
        responder.close_after();
    }
    if forwarding.destination.is_degraded() {
        rejection = rejection.with_header("x-gateway-upstream-status", "degraded");
    }
    log_failure(forwarding, &failure);
    let is_head = transaction.cx.as_ref().is_some_and(|cx| cx.head.method == Method::Head);
    let sent = deliver::rejection(&rejection, is_head, responder).await;
    transaction.outcome.client_disconnected |= sent.is_err();
}

fn log_failure(forwarding: &Forwarding<'_>, failure: &Failure) {
    let destination = &forwarding.destination;
    tracing::warn!(
        proxy_id = %forwarding.proxy.id,
        error_kind = error_kind(failure.class),
        "backend request to {}:{} failed: {}",
        destination.host,
        destination.port,
        failure.class.name()
    );
}

/// The answer, and whether the connection ends with it.
fn answer(failure: &Failure) -> Option<(Rejection, bool)> {
    let (status, body, close) = match failure.answer {
        Answer::Nothing => return None,
        Answer::BackendUnavailable => (502, r#"{"error":"Backend unavailable"}"#, false),
        Answer::NoAddress => (502, r#"{"error":"DNS resolution for backend failed"}"#, false),
        Answer::RequestTooLarge => return Some((refusal::request_body_too_large().rejection, true)),
        Answer::MalformedRequestBody => (400, r#"{"error":"Request body is not valid chunked coding"}"#, true),
        Answer::RequestStalled => (408, r#"{"error":"Request body stalled"}"#, true),
        Answer::ResponseTooLarge => (502, r#"{"error":"Backend response body exceeds maximum size"}"#, false),
        Answer::ResponseReadFailed => (502, r#"{"error":"Backend response body read failed"}"#, false),
    };
    let rejection = Rejection::json(status, body);
    if status != 502 {
        return Some((rejection, close));
    }
    let kind = if failure.class.is_pre_wire() { "connection_failure" } else { "backend_error" };
    Some((rejection.with_header("x-gateway-error", kind), close))
}

/// The `error_kind` of log lines (traffic sheet §20).
fn error_kind(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::ConnectionRefused => "connect_failure",
        ErrorClass::ConnectionTimeout => "connect_timeout",
        ErrorClass::DnsLookupError => "dns_failure",
        ErrorClass::ConnectionPoolError => "pool_error",
        ErrorClass::ReadWriteTimeout => "read_timeout",
        other => other.name(),
    }
}
