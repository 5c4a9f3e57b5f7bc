//! A client connection: one request after the other.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use engine::buffer::Buffer;
use engine::core::Deadline;
use engine::http::{Known, RequestHead, Version};
use engine::net::{Sender, Stream};

use super::inbox::Inbox;
use super::parse::{self, HeadError};
use super::request_body::RequestBody;
use super::responder::Http1Responder;
use crate::active::ActiveRequest;
use crate::checks;
use crate::content_length::content_length;
use crate::exchange::{Body, BodySize, Peer, boxed};
use crate::http2;
use crate::kind;
use crate::pipeline::{self, Exchange};
use crate::refusal::{self, Refusal};
use crate::worker::Worker;

/// What is left of a request body after its response is read and thrown away up to this size; a longer rest costs the
/// client its connection.
const DISCARD_BYTES_MAX: u64 = 64 * 1024;
/// A connection that has been idle for so long gives back what only exchanges need.
const PARK_MS: u64 = 50;
/// How long a closing connection may go on sending before it is cut, so that the response is not lost in a reset.
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Serves a connection whose protocol its first bytes tell: HTTP/1, or HTTP/2 without asking (RFC 9113 §3.3).
pub async fn serve_connection(worker: Rc<Worker>, stream: Stream, peer: Peer) {
    let Stream { receiver, sender, .. } = stream;
    let deadline = worker.core.deadlines.deadline();
    let inbox = Inbox::new(receiver, sender, &worker.core.deadlines);
    let connection = Connection { inbox, worker, peer, deadline };
    let timeout_ms = connection.worker.settings.header_read_timeout_ms;
    let mut idle_ms = timeout_ms;
    if !connection.wakes_within(idle_ms).await {
        connection.inbox.with_sender(Sender::say_end);
        return;
    }
    if connection.speaks_http2().await {
        let Connection { inbox, worker, peer, deadline } = connection;
        drop(deadline);
        if let Some(stream) = inbox.into_duplex() {
            boxed(|| http2::serve_connection(worker, stream, peer)).await;
        }
        return;
    }
    loop {
        // On the heap while there is something to do: what an exchange needs is ten times what an idle connection does.
        match connection.busy().await {
            Pause::Idle => idle_ms = timeout_ms.saturating_sub(PARK_MS).max(u64::from(timeout_ms != 0)),
            Pause::Over => return,
        }
        if !connection.wakes_within(idle_ms).await {
            break;
        }
    }
    connection.inbox.with_sender(Sender::say_end);
}

/// Why a busy connection is not busy any more.
enum Pause {
    /// It waits for its next request, and has for [`PARK_MS`].
    Idle,
    Over,
}

struct Connection {
    worker: Rc<Worker>,
    peer: Peer,
    inbox: Inbox,
    deadline: Deadline,
}

/// Why no further request is read.
enum End {
    /// Nothing is owed to the client.
    Silent,
    /// Nothing has come for a while.
    Idle,
    /// The head is no head; this is the answer.
    Refused(Refusal),
}

impl Connection {
    /// Waits for the first bytes of a request. Holds next to nothing meanwhile.
    async fn wakes_within(&self, idle_ms: u64) -> bool {
        self.deadline.set_idle(Some(idle_ms));
        let mut buffer = Buffer::none();
        let received = self.receive(&mut buffer).await;
        *self.inbox.rest.borrow_mut() = buffer;
        matches!(received, Some(Ok(count)) if count > 0)
    }

    /// Whether the client begins as one of HTTP/2 does. Waits for more only as long as it may still turn out so.
    async fn speaks_http2(&self) -> bool {
        let mut buffer = std::mem::take(&mut *self.inbox.rest.borrow_mut());
        self.deadline.set(Some(self.worker.settings.header_read_timeout_ms));
        let mut is_known = false;
        while !is_known && buffer.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&buffer) {
            is_known = !matches!(self.receive(&mut buffer).await, Some(Ok(count)) if count > 0);
        }
        let speaks = buffer.starts_with(http2::PREFACE);
        *self.inbox.rest.borrow_mut() = buffer;
        speaks
    }

    /// A function of its own, so that no frame on the way of each poll has room for the whole exchange.
    #[inline(never)]
    fn busy(&self) -> Pin<Box<dyn Future<Output = Pause> + '_>> {
        Box::pin(self.serve_busy())
    }

    /// Serves request after request until the client pauses.
    async fn serve_busy(&self) -> Pause {
        let mut head = Box::new(RequestHead::new());
        loop {
            head = match self.read_head(head).await {
                Ok((head, length)) => self.serve_request(head, length).await,
                Err(End::Silent) => return Pause::Over,
                Err(End::Idle) => return Pause::Idle,
                Err(End::Refused(refusal)) => {
                    self.inbox.start_request(false, false);
                    self.inbox.body_discardable.set(false);
                    let no_head = RequestHead::new();
                    let responder = self.responder(Version::Http11, false);
                    pipeline::refuse(&self.worker, &no_head, responder, refusal).await;
                    self.linger().await;
                    return Pause::Over;
                }
            };
            if self.inbox.gone.get() || !self.inbox.response_complete.get() {
                return Pause::Over;
            }
            if !self.inbox.body_complete.get() || self.inbox.close.get() {
                self.linger().await;
                return Pause::Over;
            }
        }
    }

    fn responder(&self, version: Version, takes_trailers: bool) -> Http1Responder<'_> {
        Http1Responder { worker: &self.worker, inbox: &self.inbox, version, takes_trailers }
    }

    /// Receives until a whole head is there. Gives it and its length; the bytes are in `inbox.rest`.
    async fn read_head(&self, mut head: Box<RequestHead>) -> Result<(Box<RequestHead>, usize), End> {
        let settings = &self.worker.settings;
        let (bytes_max, fields_max) = (settings.head_bytes_max(), settings.fields_parsed_max());
        let mut parsed_to = 0;
        let mut buffer = std::mem::take(&mut *self.inbox.rest.borrow_mut());
        if buffer.is_empty() {
            buffer = Buffer::none();
            head.headers.reset();
        }
        let timeout_ms = settings.header_read_timeout_ms;
        let parks = timeout_ms == 0 || timeout_ms > PARK_MS;
        if buffer.is_empty() {
            self.deadline.set_idle(Some(if parks { PARK_MS } else { timeout_ms }));
        } else {
            self.deadline.set(Some(timeout_ms));
        }
        let mut begun = !buffer.is_empty();
        loop {
            // Blank lines before a request are nothing (RFC 9112 §2.2), and are not looked at twice.
            while buffer.starts_with(b"\r\n") {
                buffer.consume(2);
                parsed_to = 0;
            }
            // A line that ends completes the head or makes it wrong; between line ends there is nothing to find out.
            if memchr::memchr(b'\n', &buffer[parsed_to..]).is_some() || (parsed_to == 0 && !buffer.is_empty()) {
                head.headers.reset();
                match parse::request(&buffer, fields_max, &mut head) {
                    Ok(Some(length)) => {
                        self.deadline.clear();
                        *self.inbox.rest.borrow_mut() = buffer;
                        return Ok((head, length));
                    }
                    Ok(None) => {}
                    Err(error) => return Err(End::Refused(malformed(error))),
                }
                parsed_to = buffer.len();
            }
            if buffer.len() >= bytes_max {
                return Err(End::Refused(too_long(&buffer)));
            }
            if buffer.has_memory() && buffer.spare() == 0 {
                buffer.grow_to((buffer.capacity() * 2).min(bytes_max));
            }
            let had_bytes = !buffer.is_empty();
            match self.receive(&mut buffer).await {
                Some(Ok(count)) if count > 0 => {}
                None if !begun && parks && !self.worker.core.overload.is_draining() => return Err(End::Idle),
                _ => return Err(End::Silent),
            }
            if !had_bytes && self.worker.core.overload.is_draining() {
                // The drain found this connection with a request under way: it gets its answer and is closed.
                self.inbox.close.set(true);
            }
            // From the first byte on, be it a blank line's.
            if !std::mem::replace(&mut begun, true) {
                self.deadline.set(Some(timeout_ms));
            }
        }
    }

    /// `None`: the deadline came first.
    async fn receive(&self, buffer: &mut Buffer) -> Option<io::Result<usize>> {
        poll_fn(|cx| match self.inbox.poll_receive(cx, buffer) {
            Poll::Ready(received) => Poll::Ready(Some(received)),
            Poll::Pending => self.deadline.poll(cx).map(|()| None),
        })
        .await
    }

    /// One request whose head stands at the beginning of `inbox.rest`. Gives the head's memory back.
    async fn serve_request(&self, mut head: Box<RequestHead>, length: usize) -> Box<RequestHead> {
        let received = Instant::now();
        let mut buffer = std::mem::take(&mut *self.inbox.rest.borrow_mut());
        if buffer.len() > length {
            let mut rest = Buffer::with_capacity(buffer.len() - length);
            rest.extend(&buffer[length..]);
            *self.inbox.rest.borrow_mut() = rest;
            buffer.truncate(length);
        }
        head.headers.set_received(buffer);
        let _active = ActiveRequest::new(&self.worker);
        self.worker.core.note_activity();
        if asks_to_close(&head) {
            self.inbox.close.set(true);
        }
        let checked = match self.worker.core.overload.rejects_requests() {
            true => Err(refusal::overloaded().in_words_of(kind::of(&head))),
            false => checks::check(&head, &self.worker.settings),
        };
        // The length of a refused request is in doubt or of no interest; its body is never read.
        let size = checked.as_ref().copied().unwrap_or_else(|_| claimed_size(&head));
        let expects_continue = size != BodySize::Empty && expects_continue(&head);
        self.inbox.start_request(size == BodySize::Empty, expects_continue);
        let is_short = matches!(size, BodySize::Exact(length) if length <= DISCARD_BYTES_MAX);
        self.inbox.body_discardable.set(is_short && !expects_continue);
        let mut body = RequestBody::new(&self.inbox, size);
        let responder = self.responder(head.version, head.headers.lists(Known::Te, b"trailers"));
        let head = match checked {
            Ok(_) => self.exchange(head, &mut body, responder, received).await,
            Err(refusal) => {
                pipeline::refuse(&self.worker, &head, responder, refusal).await;
                head
            }
        };
        self.inbox.end_request();
        self.discard(&mut body).await;
        head
    }

    /// The exchange, given up as soon as the client has gone.
    async fn exchange(
        &self,
        head: Box<RequestHead>,
        body: &mut RequestBody<'_>,
        responder: Http1Responder<'_>,
        received: Instant,
    ) -> Box<RequestHead> {
        let exchange = Exchange { head, body, responder, peer: &self.peer, deadline: &self.deadline, received };
        let mut served = pin!(pipeline::serve(&self.worker, exchange));
        poll_fn(|cx| match served.as_mut().poll(cx) {
            Poll::Ready(head) => Poll::Ready(head),
            Poll::Pending => self.inbox.poll_gone(cx).map(|()| Box::new(RequestHead::new())),
        })
        .await
    }

    /// A short rest of a body that nobody wanted is thrown away, so that the connection can go on.
    async fn discard(&self, body: &mut RequestBody<'_>) {
        let stops = self.inbox.close.get() || self.inbox.gone.get() || self.inbox.expects_continue.get();
        if body.is_complete() || stops || body.left().is_none_or(|left| left > DISCARD_BYTES_MAX) {
            return;
        }
        self.deadline.set(Some(self.worker.settings.header_read_timeout_ms));
        let drained = async { while let Ok(Some(_)) = body.chunk().await {} };
        self.deadline.bound(drained).await;
        self.deadline.clear();
    }

    /// Says that no more will come, and lets the client finish its sentence for a moment.
    async fn linger(&self) {
        self.inbox.with_sender(|sender| sender.shutdown_send());
        self.deadline.set_ms(LINGER_MS);
        let mut thrown_away = 0;
        while thrown_away < LINGER_BYTES_MAX {
            let mut buffer = Buffer::none();
            match self.receive(&mut buffer).await {
                Some(Ok(count)) if count > 0 => thrown_away += count,
                _ => return,
            }
        }
    }
}

fn malformed(error: HeadError) -> Refusal {
    match error {
        HeadError::VersionUnsupported => {
            Refusal::closing(505, "HTTP version is not supported; use HTTP/1.1 or HTTP/1.0")
        }
        HeadError::TooManyFields => Refusal::closing(431, "Request header count exceeds what the gateway reads"),
        other => Refusal::closing(400, &format!("Malformed request: {other}")),
    }
}

/// The head does not fit: its first line, or its fields.
fn too_long(buffer: &Buffer) -> Refusal {
    match memchr::memchr(b'\n', buffer) {
        None => Refusal::closing(414, "Request line is longer than the gateway reads"),
        Some(_) => Refusal::closing(431, "Total request headers exceed maximum size"),
    }
}

/// RFC 9112 §9.3.
fn asks_to_close(head: &RequestHead) -> bool {
    let says = |token| head.headers.lists(Known::Connection, token);
    match head.version {
        Version::Http10 => !says(b"keep-alive") || says(b"close"),
        _ => says(b"close"),
    }
}

/// RFC 9110 §10.1.1; HTTP/1.0 clients do not wait.
fn expects_continue(head: &RequestHead) -> bool {
    head.version == Version::Http11
        && head.headers.first(Known::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Whether a refused request seems to have a body; only decides whether the connection can go on.
fn claimed_size(head: &RequestHead) -> BodySize {
    if head.headers.has(Known::TransferEncoding) {
        return BodySize::Unknown;
    }
    match content_length(&head.headers) {
        Ok(None | Some(0)) => BodySize::Empty,
        Ok(Some(length)) => BodySize::Exact(length),
        Err(_) => BodySize::Unknown,
    }
}
