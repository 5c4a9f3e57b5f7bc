//! A client connection: many requests at a time, each a stream and a task of its own.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use engine::core::Deadline;
use engine::net::Duplex;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;

use super::bandwidth::{WINDOW_START_BYTES, Windows};
use super::flood::{Fault, Guarded, Meter, Watch};
use super::heads;
use super::piece::Piece;
use super::request_body::StreamBody;
use super::responder::{Answer, StreamResponder};
use crate::active::ActiveRequest;
use crate::checks;
use crate::exchange::{Body, BodySize, Peer, boxed};
use crate::kind;
use crate::pipeline::{self, Exchange};
use crate::refusal;
use crate::worker::Worker;

/// What a client begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that is closed for a fault has this long to tell the client.
const FAREWELL_MS: u64 = 1_000;
/// A client that has its answer may go on sending for so long before its stream is reset: some take a reset as the end of an
/// answer that they have not looked at yet (as on HTTP/1.1, where the connection lingers).
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// What of a stream's response may wait in the library for the client's window.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

pub async fn serve_connection(worker: Rc<Worker>, stream: Duplex, peer: Peer) {
    // What an idle connection keeps is on the heap by itself, and no larger for what came before.
    if let Some(mut frontend) = boxed(|| Http2Frontend::begin(worker, stream, peer)).await {
        frontend.serve().await;
    }
}

fn builder(worker: &Worker) -> Builder {
    let settings = &worker.settings;
    let http2 = &settings.http2;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(http2.streams_max)
        .max_frame_size(http2.frame_bytes_max)
        .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(http2.pending_reset_streams_max)
        .max_local_error_reset_streams(Some(http2.error_reset_streams_max))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_connect_protocol();
    if http2.adaptive_window {
        builder.initial_window_size(WINDOW_START_BYTES);
    } else {
        builder
            .initial_window_size(http2.stream_window_bytes)
            .initial_connection_window_size(http2.connection_window_bytes);
    }
    builder
}

struct Http2Frontend {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    connection: Connection<Guarded, Piece>,
    /// Due when the core drains.
    deadline: Deadline,
    fault: Fault,
    /// Body bytes that were taken, on all streams.
    taken: Rc<Cell<u64>>,
    windows: Option<(PingPong, Windows)>,
    is_leaving: bool,
}

type Incoming = (Request<RecvStream>, SendResponse<Piece>);

impl Http2Frontend {
    /// Reads what the client begins with, within the time of a request head.
    async fn begin(worker: Rc<Worker>, stream: Duplex, peer: Peer) -> Option<Box<Self>> {
        let deadline = worker.core.deadlines.deadline();
        deadline.set(Some(worker.settings.header_read_timeout_ms));
        let deadlines = &worker.core.deadlines;
        let meter = Meter::new(PREFACE.len(), worker.settings.http2.frame_bytes_max, deadlines.now_ms());
        let watch = Watch::default();
        let fault = watch.fault.clone();
        let stream = Guarded::new(stream, meter, deadlines.clone(), watch);
        let shaken = deadline.bound(builder(&worker).handshake::<_, Piece>(stream)).await;
        let Some(Ok(mut connection)) = shaken else { return None };
        deadline.clear();
        let settings = &worker.settings.http2;
        let windows = Windows::new(settings.stream_window_bytes, settings.connection_window_bytes);
        let windows = connection.ping_pong().filter(|_| settings.adaptive_window).map(|pings| (pings, windows));
        let (peer, taken, is_leaving) = (Rc::new(peer), Rc::default(), false);
        Some(Box::new(Self { worker, peer, connection, deadline, fault, taken, windows, is_leaving }))
    }

    async fn serve(&mut self) {
        self.deadline.set_idle(None);
        while let Some((request, respond)) = poll_fn(|cx| self.poll_incoming(cx)).await {
            let (worker, peer, taken) = (self.worker.clone(), self.peer.clone(), self.taken.clone());
            // Boxed: it is large, and a task is moved several times before it has its place.
            self.worker.core.spawn(boxed(|| serve_stream(worker, peer, taken, request, respond)));
            if self.worker.closes_connection() {
                self.leave();
            }
        }
        if let Some(fault) = self.fault.get() {
            self.close_for(fault).await;
        }
    }

    /// Tells the client why, if it listens.
    async fn close_for(&mut self, fault: Reason) {
        if fault == Reason::ENHANCE_YOUR_CALM {
            self.worker.core.counters().http2_floods.one();
            let client_ip = &self.peer.ip_text;
            tracing::warn!(%client_ip, "HTTP/2 connection closed: too many frames that carry nothing");
        }
        self.connection.abrupt_shutdown(fault);
        self.deadline.set_ms(FAREWELL_MS);
        let Self { connection, deadline, .. } = self;
        deadline.bound(poll_fn(|cx| connection.poll_closed(cx))).await;
    }

    /// The streams that are open finish; the client goes elsewhere with the next.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_leaving, true) {
            self.connection.graceful_shutdown();
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if !self.is_leaving && self.deadline.poll(cx).is_ready() {
            self.leave();
        }
        let incoming = self.connection.poll_accept(cx);
        if self.fault.get().is_some() {
            return Poll::Ready(None);
        }
        if let Some((pings, windows)) = &mut self.windows {
            while let Poll::Ready(Ok(_)) = pings.poll_pong(cx) {
                windows.answered(&mut self.connection, self.taken.get());
            }
            if windows.wants_ping(self.taken.get()) {
                let _ = pings.send_ping(Ping::opaque());
            }
        }
        match incoming {
            Poll::Ready(Some(Ok(incoming))) => Poll::Ready(Some(incoming)),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// One request and its response.
async fn serve_stream(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    taken: Rc<Cell<u64>>,
    request: Request<RecvStream>,
    respond: SendResponse<Piece>,
) {
    let received = Instant::now();
    let active = ActiveRequest::new(&worker);
    worker.core.note_activity();
    let head = heads::request_head(&request);
    let body = request.into_body();
    let checked = match worker.core.overload.rejects_requests() {
        true => Err(refusal::overloaded().in_words_of(kind::of(&head))),
        false => checks::check(&head, &worker.settings),
    };
    let deadlines = &worker.core.deadlines;
    let size = match &checked {
        Ok(_) if body.is_end_stream() => BodySize::Empty,
        Ok(size) => *size,
        Err(_) => BodySize::Unknown,
    };
    let answer = Answer::new(respond, deadlines.deadline());
    let mut body = StreamBody::new(body, size, deadlines.deadline(), taken);
    let responder = StreamResponder { worker: &worker, answer: &answer };
    let deadline = deadlines.deadline();
    if let Err(refusal) = checked {
        pipeline::refuse(&worker, &head, responder, refusal).await;
    } else {
        let exchange = Exchange { head, body: &mut body, responder, peer: &peer, deadline: &deadline, received };
        exchange_until_gone(&worker, exchange, &answer).await;
    }
    drop(active);
    if !body.is_complete() && answer.is_given() {
        deadline.set_ms(LINGER_MS);
        deadline.bound(body.discard(LINGER_BYTES_MAX)).await;
    }
}

/// The exchange, given up as soon as the client has given up the stream.
async fn exchange_until_gone(
    worker: &Rc<Worker>,
    exchange: Exchange<'_, &mut StreamBody, StreamResponder<'_>>,
    answer: &Answer,
) {
    // Most responses are there before anybody needs to watch.
    let patience = worker.core.deadlines.deadline();
    patience.set_ms(0);
    let mut served = pin!(pipeline::serve(worker, exchange));
    poll_fn(|cx| match served.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => match patience.poll(cx) {
            Poll::Ready(()) => answer.poll_gone(cx),
            Poll::Pending => Poll::Pending,
        },
    })
    .await;
}
