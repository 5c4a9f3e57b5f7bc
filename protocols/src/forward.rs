//! One exchange with a backend: find it, get a connection, send the request, bring the response back.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use engine::buffer::{Buffer, Unsent};
use engine::core::Deadline;
use engine::counters::ErrorClass;
use engine::http::ResponseHead;
use engine::net::Sender;
use engine::snapshot::{BackendAddress, ProxyFacts, ProxySpec};
use plugins::{Chain, Rejection, RequestContext};

use crate::deliver;
use crate::destination::Destination;
use crate::dial::{Connection, checkout};
use crate::exchange::{BackendResponse, Body, BodySize, Kind, Peer, Responder, boxed};
use crate::failure::{Answer, Failure, error_kind};
use crate::grpc;
use crate::http1::{self, BackendConnection, Http1Response};
use crate::http2::{self, Http2Response, Leased};
use crate::outgoing::{OutgoingRequest, passed_trailers};
use crate::per_ip::Slot;
use crate::respond::{OwnFields, Respond};
use crate::transaction::Transaction;
use crate::translate::{Codecs, TranslatedBody, TranslatedResponse};
use crate::whole;
use crate::worker::Worker;

/// What the pipeline knows about where a request goes.
pub struct Forwarding<'a> {
    pub worker: &'a Rc<Worker>,
    pub spec: &'a ProxySpec,
    pub proxy: &'a ProxyFacts,
    pub chain: &'a Chain,
    pub kind: Kind,
    pub destination: Destination<'a>,
    pub peer: &'a Peer,
    pub client_ip: &'a str,
    pub matched_len: usize,
    pub connection_named: &'a [Vec<u8>],
    pub deadline: &'a Deadline,
    /// Zero = no limit; so for a body that was held, and measured as it came in.
    pub body_bytes_max: u64,
}

impl Forwarding<'_> {
    /// How long the backend has; zero = for ever. A deadline of a gRPC client takes the place of the proxy's.
    fn response_timeout_ms(&self, transaction: &Transaction) -> u64 {
        let given =
            transaction.cx.as_ref().filter(|_| self.kind.is_grpc()).and_then(|cx| cx.head.headers.get("grpc-timeout"));
        let given = given.and_then(grpc::timeout);
        given.map_or(self.spec.read_timeout_ms, |given| u64::try_from(given.as_millis()).unwrap_or(u64::MAX).max(1))
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
    if let Some(cx) = &mut transaction.cx {
        transaction.wants_response_body = forwarding.chain.wants_response_body(cx);
    }
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
    let max = forwarding.body_bytes_max;
    match size {
        BodySize::Exact(length) if max != 0 && length > max => {
            Some(Failure::new(ErrorClass::RequestBodyTooLarge, Answer::RequestTooLarge))
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
    forwarding.deadline.set(Some(forwarding.response_timeout_ms(transaction)));
    let repeatable = matches!(body.size(), BodySize::Empty)
        && transaction.cx.as_ref().is_some_and(|cx| cx.head.method.is_idempotent());
    let mut slot = Some(slot);
    let whole = async {
        let mut fresh = false;
        loop {
            let connection = checkout(forwarding, fresh).await?;
            transaction.outcome.backend_ip = Some(connection.peer().ip());
            let was_reused = connection.is_reused();
            let sent = match connection {
                Connection::Http1(mut connection) => {
                    let sent = attempt(forwarding, transaction, body, responder, &mut connection, &mut slot).await;
                    sent.map(|clean| check_in(forwarding, connection, clean))
                }
                Connection::Http2(leased) => {
                    boxed(|| attempt_stream(forwarding, transaction, body, responder, leased, &mut slot)).await
                }
            };
            match sent {
                Ok(()) => return Ok(()),
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
    let started = if forwarding.chain.is_silent_before_backend() { cx.received } else { Instant::now() };
    let method = cx.head.method;
    let size = body.size();
    let mut out = Buffer::head();
    let request = outgoing(forwarding, cx, size);
    http1::write_request_head(&request, forwarding.spec.backend.pool_limits.keep_alive, out.as_vec_mut());

    let BackendConnection { receiver, sender, head, .. } = connection;
    let response = Http1Response::new(receiver);
    let respond = Respond { forwarding, response, head, method, started };
    if size == BodySize::Empty {
        // Waited for on purpose: by the next turn of the loop the answer is often there, and a receive that finds it costs
        // half of one that has to be parked on the socket.
        let (sent, back) = sender.send(Unsent { buffer: out, sent: 0 }).await;
        drop(back);
        // A backend that closed may have answered before; only its silence is the failure.
        let clean = respond.run(transaction, responder, slot).await?;
        return Ok(clean && sent.is_ok());
    }
    let max = forwarding.body_bytes_max;
    let sent_bytes = Cell::new(0);
    // On the heap: few requests have a body, and all connections would have to hold the room for one.
    let outcome = {
        let stall = forwarding.worker.core.deadlines.deadline();
        let sending = BackendSender { sender, stall: &stall };
        let mut upload = boxed(|| upload(body, sending, out, max, &sent_bytes));
        let mut response = boxed(|| respond.run(transaction, responder, slot));
        alongside(response.as_mut(), upload.as_mut()).await
    };
    transaction.outcome.bytes_sent = sent_bytes.get();
    outcome
}

/// What goes to the backend, whatever wire it travels on.
pub fn outgoing<'a>(forwarding: &'a Forwarding<'_>, cx: &'a RequestContext, size: BodySize) -> OutgoingRequest<'a> {
    OutgoingRequest {
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
    }
}

/// One request and its response on a stream of a connection that others use as well.
async fn attempt_stream<B: Body, R: Responder>(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    body: &mut B,
    responder: &mut Option<R>,
    leased: Leased,
    slot: &mut Option<Option<Slot>>,
) -> Result<(), Failure> {
    let Some(cx) = &transaction.cx else { return Err(Failure::client_gone()) };
    let codecs = forwarding.chain.codecs(cx);
    let (started, method) = (Instant::now(), cx.head.method);
    // What is rewritten has another length.
    let size = match body.size() {
        BodySize::Exact(_) if !codecs.is_empty() => BodySize::Unknown,
        size => size,
    };
    let scheme = forwarding.spec.backend.scheme;
    let request = http2::request(&leased, scheme, &outgoing(forwarding, cx, size), forwarding.kind);
    // A target that HTTP/2 cannot say.
    let request = request.ok_or(Failure::backend(ErrorClass::RequestError))?;
    let is_over = size == BodySize::Empty;
    let (future, stream) = http2::start_request(&leased, request, is_over).await.map_err(Failure::backend)?;
    let mut head = ResponseHead::new(0);
    let head = &mut head;
    let response = Http2Response::new(&leased, future);
    let exchange = OnStream { stream: (!is_over).then_some(stream), transaction, responder, slot };
    if codecs.is_empty() {
        let respond = Respond { forwarding, response, head, method, started };
        return exchange.run(body, respond).await;
    }
    let codecs = Codecs::new(codecs);
    let response = TranslatedResponse::new(response, &codecs);
    let respond = Respond { forwarding, response, head, method, started };
    let mut body = TranslatedBody { body, codecs: &codecs, is_over };
    let result = boxed(|| exchange.run(&mut body, respond)).await;
    result.map_err(|failure| match codecs.take_refusal() {
        Some(refusal) => Failure { refusal: Some(refusal), ..failure },
        None => failure,
    })
}

/// A request whose head has been sent on a stream.
struct OnStream<'x, R> {
    /// For the body, if there is one.
    stream: Option<h2::SendStream<http2::Piece>>,
    transaction: &'x mut Transaction,
    responder: &'x mut Option<R>,
    slot: &'x mut Option<Option<Slot>>,
}

impl<R: Responder> OnStream<'_, R> {
    async fn run<B: Body, S: BackendResponse>(self, body: &mut B, respond: Respond<'_, '_, S>) -> Result<(), Failure> {
        let Self { stream, transaction, responder, slot } = self;
        let Some(stream) = stream else {
            return respond.run(transaction, responder, slot).await.map(|_| ());
        };
        let forwarding = respond.forwarding;
        let sent_bytes = Cell::new(0);
        let outcome = {
            let stall = forwarding.worker.core.deadlines.deadline();
            let (upload, max) = (http2::Upload::new(stream), forwarding.body_bytes_max);
            // All of this is on the heap already.
            let upload = pin!(upload_stream(body, upload, &stall, max, &sent_bytes));
            let response = pin!(respond.run(transaction, responder, slot));
            alongside(response, upload).await
        };
        transaction.outcome.bytes_sent = sent_bytes.get();
        outcome.map(|_| ())
    }
}

/// Sends the body as it comes in.
async fn upload_stream<B: Body>(
    body: &mut B,
    mut upload: http2::Upload,
    stall: &Deadline,
    bytes_max: u64,
    sent_bytes: &Cell<u64>,
) -> Result<(), UploadEnd> {
    let mut trailers = None;
    let mut has_ended = false;
    while let Some(chunk) = body.chunk().await.map_err(|error| UploadEnd::Over(Failure::of_body(error)))? {
        if body.is_complete() {
            trailers = body.take_trailers().and_then(passed_trailers);
        }
        // The end goes with the last piece, if nothing follows.
        let is_last = body.is_complete() && trailers.is_none();
        let mut pieces = http2::pieces(chunk).peekable();
        while let Some(piece) = pieces.next() {
            has_ended = is_last && pieces.peek().is_none();
            count_sent(sent_bytes, piece.len(), bytes_max)?;
            stall.set_ms(BACKEND_STALL_MS);
            match stall.bound(upload.send(piece, has_ended)).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(UploadEnd::Backend),
                None => return Err(UploadEnd::Over(Failure::backend(ErrorClass::ReadWriteTimeout))),
            }
            stall.clear();
        }
    }
    if has_ended {
        return Ok(());
    }
    let trailers = trailers.or_else(|| body.take_trailers().and_then(passed_trailers));
    upload.finish(trailers).map_err(|_| UploadEnd::Backend)
}

/// Counts a piece of the body, which may not become too long.
fn count_sent(sent_bytes: &Cell<u64>, length: usize, bytes_max: u64) -> Result<(), UploadEnd> {
    sent_bytes.set(sent_bytes.get() + length as u64);
    if bytes_max != 0 && sent_bytes.get() > bytes_max {
        let failure = Failure::new(ErrorClass::RequestBodyTooLarge, Answer::RequestGrewTooLarge);
        return Err(UploadEnd::Over(failure));
    }
    Ok(())
}

/// Runs the response and the upload as two directions of one exchange. The response decides when it is over; an upload
/// that fails on the client's side ends it as well.
async fn alongside(
    mut response: Pin<&mut impl Future<Output = Result<bool, Failure>>>,
    mut upload: Pin<&mut impl Future<Output = Result<(), UploadEnd>>>,
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
        count_sent(sent_bytes, chunk.len(), bytes_max)?;
        if chunked {
            http1::append_framed(&mut out, &chunk);
        } else {
            drop(sending.send(chunk.into_unsent()).await?);
        }
    }
    if chunked {
        let trailers = body.take_trailers().and_then(passed_trailers);
        http1::append_last_chunk(&mut out, trailers.as_ref());
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
    let Some((mut rejection, close)) = failure.answer_to(forwarding.kind, forwarding.body_bytes_max) else {
        outcome.status = 499;
        return;
    };
    outcome.status = rejection.status;
    if close {
        responder.close_after();
    }
    log_failure(forwarding, &failure);
    if forwarding.kind.is_grpc() {
        transaction.rejected_in("grpc_backend_error");
        transaction.note_grpc(&rejection);
    }
    if forwarding.kind == Kind::Plain {
        rejection = passed(forwarding, transaction, &failure, rejection).await;
        transaction.outcome.status = rejection.status;
    }
    let is_head = transaction.answers_head();
    let sent = deliver::rejection(&rejection, is_head, responder).await;
    transaction.outcome.client_disconnected |= sent.is_err();
}

/// What plugins make of the gateway's answer, and behind them what the gateway adds to it.
async fn passed(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    failure: &Failure,
    answer: Rejection,
) -> Rejection {
    let selected = forwarding.destination.selected.as_ref();
    let passed = if forwarding.chain.has_after_proxy() && failure.is_backend_s() {
        boxed(|| whole::through_after_proxy(transaction, forwarding.chain, answer, false)).await
    } else {
        Ok(answer)
    };
    let (mut answer, own) = match passed {
        Ok(answer) => {
            let own = OwnFields::of_failure(answer.status, failure, selected);
            (answer, own)
        }
        Err(rejection) => {
            let settings = &forwarding.worker.settings;
            let own = OwnFields::in_place(rejection.status, Some(failure.class), settings, selected);
            (*rejection, own)
        }
    };
    own.add_to(&mut answer);
    answer
}

pub fn log_failure(forwarding: &Forwarding<'_>, failure: &Failure) {
    let destination = &forwarding.destination;
    let reason = match (failure.class, destination.address) {
        (ErrorClass::DnsLookupError, BackendAddress::Refused(reason)) => reason.as_str(),
        (class, _) => class.name(),
    };
    tracing::warn!(
        proxy_id = %forwarding.proxy.id,
        error_kind = error_kind(failure.class),
        "backend request to {}:{} failed: {reason}",
        destination.host,
        destination.port
    );
}
