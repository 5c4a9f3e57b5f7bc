//! Responses to HTTP/2 clients.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use engine::buffer::Chunk;
use engine::core::Deadline;
use engine::http::{Headers, Known};
use engine::net::Pipe;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;

use super::heads::{self, Fields};
use super::piece::{Piece, pieces, poll_room};
use crate::exchange::{ClientGone, OutgoingResponse, Responder, ResponseSize, ResponseStream};
use crate::worker::Worker;

/// How long a client may take nothing of a response (as on HTTP/1.1): its window stays shut.
const CLIENT_STALL_MS: u64 = 60_000;

/// Length and date.
const OWN_FIELDS: usize = 2;

/// The answering side of one stream, shared by whoever answers and whoever watches the client.
pub struct Answer {
    half: RefCell<Half>,
    stall: Deadline,
}

enum Half {
    Owed(SendResponse<Piece>),
    Streaming(SendStream<Piece>),
    /// The client had given the stream up when its answer was there.
    Gone,
}

impl Answer {
    pub fn new(owed: SendResponse<Piece>, stall: Deadline) -> Self {
        Self { half: RefCell::new(Half::Owed(owed)), stall }
    }

    /// Notices that the client has given the stream up.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.half.borrow_mut() {
            Half::Owed(owed) => owed.poll_reset(cx).map(|_| ()),
            Half::Streaming(stream) => stream.poll_reset(cx).map(|_| ()),
            Half::Gone => Poll::Ready(()),
        }
    }

    /// Whether an answer has been begun, and the client has not given the stream up before.
    pub fn is_given(&self) -> bool {
        matches!(*self.half.borrow(), Half::Streaming(_))
    }

    fn with_stream<T>(
        &self,
        act: impl FnOnce(&mut SendStream<Piece>) -> Result<T, h2::Error>,
    ) -> Result<T, ClientGone> {
        match &mut *self.half.borrow_mut() {
            Half::Streaming(stream) => act(stream).map_err(|_| ClientGone),
            Half::Owed(_) | Half::Gone => Err(ClientGone),
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), ClientGone>> {
        match &mut *self.half.borrow_mut() {
            Half::Streaming(stream) => poll_room(stream, cx).map_err(|_| ClientGone),
            Half::Owed(_) | Half::Gone => Poll::Ready(Err(ClientGone)),
        }
    }

    /// Waits until the client takes something. What it takes is then sent in one piece, so that a stream keeps at most one
    /// that its window has no room for.
    async fn room(&self, length: usize) -> Result<(), ClientGone> {
        let capacity = self.with_stream(|stream| {
            stream.reserve_capacity(length);
            Ok(stream.capacity())
        })?;
        if capacity > 0 {
            return Ok(());
        }
        self.stall.set_ms(CLIENT_STALL_MS);
        let room = self.stall.bound(poll_fn(|cx| self.poll_room(cx))).await;
        self.stall.clear();
        match room {
            Some(room) => room,
            None => {
                let _ = self.with_stream(|stream| {
                    stream.send_reset(Reason::CANCEL);
                    Ok(())
                });
                Err(ClientGone)
            }
        }
    }

    fn send(&self, chunk: Chunk, is_last: bool) -> Result<(), ClientGone> {
        self.with_stream(|stream| stream.send_data(Piece::new(chunk), is_last))
    }
}

pub struct StreamResponder<'s> {
    pub worker: &'s Rc<Worker>,
    pub answer: &'s Answer,
}

pub struct StreamResponse<'s> {
    answer: &'s Answer,
    /// Held back until it is known whether it is the last.
    pending: Option<Chunk>,
    /// Of an announced length, what has not been written.
    left: Option<u64>,
    is_over: bool,
}

impl<'s> Responder for StreamResponder<'s> {
    type Stream = StreamResponse<'s>;

    async fn start(self, head: &OutgoingResponse<'_>, size: ResponseSize) -> StreamResponse<'s> {
        let mut fields = Fields::with_room_for(head.received, head.extra.len() + OWN_FIELDS);
        head.for_each_field(|name, value| fields.push(name, &[value]));
        let left = match size {
            ResponseSize::Exact(length) | ResponseSize::Trailed(length) => Some(length),
            ResponseSize::None | ResponseSize::HeadOnly(_) | ResponseSize::Unknown | ResponseSize::Tunnel => None,
        };
        if let ResponseSize::Exact(length) | ResponseSize::Trailed(length) | ResponseSize::HeadOnly(Some(length)) = size
            && (length > 0 || says_length(head))
        {
            fields.push(b"content-length", &[length.to_string().as_bytes()]);
        }
        if !head.has(Known::Date) {
            let mut date = Vec::with_capacity(32);
            self.worker.append_date(&mut date);
            fields.push(b"date", &[&date]);
        }
        let mut response = Response::new(());
        *response.status_mut() = heads::status(head.status);
        *response.headers_mut() = fields.into_map();
        // What has no body ends with its head: a gRPC client takes nothing else for an answer that is all head.
        let is_over = matches!(size, ResponseSize::None | ResponseSize::HeadOnly(_) | ResponseSize::Exact(0));
        let mut half = self.answer.half.borrow_mut();
        if let Half::Owed(owed) = &mut *half {
            *half = match owed.send_response(response, is_over) {
                Ok(stream) => Half::Streaming(stream),
                Err(_) => Half::Gone,
            };
        }
        drop(half);
        StreamResponse { answer: self.answer, pending: None, left, is_over }
    }

    /// A stream ends without its connection.
    fn close_after(&mut self) {}
}

/// Whether the length of an empty body is said: the end of the stream says it as well, and gRPC wants nothing else.
fn says_length(head: &OutgoingResponse<'_>) -> bool {
    let is_grpc = head.extra.iter().any(|(name, _)| *name == "grpc-status");
    !is_grpc && head.received.is_none_or(|received| received.has(Known::ContentLength))
}

impl ResponseStream for StreamResponse<'_> {
    async fn write(&mut self, chunk: Chunk) -> Result<(), ClientGone> {
        if chunk.is_empty() || self.is_over {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(chunk.len() as u64);
        }
        for piece in pieces(chunk) {
            self.flush().await?;
            self.pending = Some(piece);
        }
        Ok(())
    }

    fn takes_pipes(&self) -> bool {
        false
    }

    async fn write_from(&mut self, _: &mut Pipe) -> Result<(), ClientGone> {
        Err(ClientGone)
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        let Some(chunk) = self.pending.take() else { return Ok(()) };
        self.answer.room(chunk.len()).await?;
        self.answer.send(chunk, false)
    }

    async fn finish(mut self, trailers: Option<Headers>) -> Result<(), ClientGone> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(());
        }
        if matches!(self.left, Some(1..)) {
            // Shorter than announced: only a reset tells.
            let _ = self.answer.with_stream(|stream| {
                stream.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            });
            return Ok(());
        }
        let last = self.pending.take();
        if let Some(chunk) = &last {
            self.answer.room(chunk.len()).await?;
        }
        match trailers {
            None => self.answer.send(last.unwrap_or_else(Chunk::empty), true),
            Some(trailers) => {
                if let Some(chunk) = last {
                    self.answer.send(chunk, false)?;
                }
                self.answer.with_stream(|stream| stream.send_trailers(heads::trailers(&trailers)))
            }
        }
    }

    async fn abort(mut self) {
        let _ = self.flush().await;
        self.is_over = true;
        let _ = self.answer.with_stream(|stream| {
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        });
    }
}

impl Drop for StreamResponse<'_> {
    /// A response that was given up on the way must not look like a whole one.
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.answer.with_stream(|stream| {
                stream.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            });
        }
    }
}
