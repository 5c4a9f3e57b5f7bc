//! Responses to HTTP/1.x clients.

use std::rc::Rc;

use engine::buffer::{Buffer, Chunk, Unsent};
use engine::http::{Headers, Known, Version, reason};
use engine::net::{FlowSink, Pipe};

use super::chunked;
use super::inbox::Inbox;
use super::request_body::{append_framed, append_last_chunk};
use crate::exchange::{ClientGone, OutgoingResponse, Responder, ResponseSize, ResponseStream};
use crate::worker::Worker;

/// Pieces up to this size are copied behind the head, so that a small response is one send.
const COPY_BYTES_MAX: usize = 8 * 1024;

pub struct Http1Responder<'c> {
    pub worker: &'c Rc<Worker>,
    pub inbox: &'c Inbox,
    pub version: Version,
    /// The client has said that it looks at trailers (RFC 9110 §6.5.1).
    pub takes_trailers: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length {
        left: u64,
    },
    Chunked,
    /// The end of the connection is the end of the body; for clients older than chunks.
    Close,
}

pub struct Http1Stream<'c> {
    inbox: &'c Inbox,
    /// Laid out and not sent yet.
    pending: Buffer,
    framing: Framing,
    takes_trailers: bool,
    finished: bool,
}

impl Drop for Http1Stream<'_> {
    /// A response that was given up on the way must not look like a whole one.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.inbox.close.set(true);
        if self.framing == Framing::Close {
            // Without a length only a reset tells a cut body from a whole one.
            self.inbox.with_sender(|sender| sender.reset());
        }
    }
}

impl<'c> Responder for Http1Responder<'c> {
    type Stream = Http1Stream<'c>;

    fn close_after(&mut self) {
        self.inbox.close.set(true);
    }

    async fn start(self, head: &OutgoingResponse<'_>, size: ResponseSize) -> Http1Stream<'c> {
        let framing = match size {
            ResponseSize::None | ResponseSize::HeadOnly(_) => Framing::None,
            ResponseSize::Trailed(_) if self.takes_trailers && self.version != Version::Http10 => Framing::Chunked,
            ResponseSize::Exact(left) | ResponseSize::Trailed(left) => Framing::Length { left },
            ResponseSize::Unknown if self.version == Version::Http10 => Framing::Close,
            ResponseSize::Unknown => Framing::Chunked,
            ResponseSize::Tunnel => Framing::Close,
        };
        if framing == Framing::Close || self.worker.closes_connection() {
            self.inbox.close.set(true);
        }
        // What is left of the body and will not be read makes the connection useless for another request.
        if !self.inbox.body_complete.get() && !self.inbox.body_discardable.get() {
            self.inbox.close.set(true);
        }
        self.inbox.response_started.set(true);
        let mut pending = Buffer::head();
        self.write_head(head, size, framing, pending.as_vec_mut());
        Http1Stream { inbox: self.inbox, pending, framing, takes_trailers: self.takes_trailers, finished: false }
    }
}

impl Http1Responder<'_> {
    fn write_head(&self, head: &OutgoingResponse<'_>, size: ResponseSize, framing: Framing, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&status_digits(head.status));
        out.push(b' ');
        out.extend_from_slice(reason(head.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        head.for_each_field(|name, value| field(out, name, value));
        match (size, framing) {
            (ResponseSize::Exact(length) | ResponseSize::HeadOnly(Some(length)), _)
            | (ResponseSize::Trailed(length), Framing::Length { .. }) => {
                out.extend_from_slice(b"content-length: ");
                decimal(out, length);
                out.extend_from_slice(b"\r\n");
            }
            (_, Framing::Chunked) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            _ => {}
        }
        if !head.has(Known::Date) && size != ResponseSize::Tunnel {
            out.extend_from_slice(b"date: ");
            self.worker.append_date(out);
            out.extend_from_slice(b"\r\n");
        }
        if size == ResponseSize::Tunnel {
            out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
        } else if self.inbox.close.get() {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.version == Version::Http10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Three digits; what is no status becomes 500, so that no garbage reaches the wire.
fn status_digits(status: u16) -> [u8; 3] {
    let status = if (100..1000).contains(&status) { status } else { 500 };
    [b'0' + (status / 100) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8]
}

pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

impl Http1Stream<'_> {
    /// So much of the body is on its way.
    fn note_body(&mut self, length: usize) {
        if let Framing::Length { left } = &mut self.framing {
            *left = left.saturating_sub(length as u64);
        }
    }

    async fn send(&mut self, unsent: Unsent) -> Result<Buffer, ClientGone> {
        let (sent, mut buffer) = self.inbox.send(unsent).await;
        buffer.clear();
        sent.map(|()| buffer).map_err(|_| ClientGone)
    }

    /// Sends what is laid out and then the piece itself, uncopied.
    async fn send_large(&mut self, chunk: Chunk) -> Result<(), ClientGone> {
        let framed = self.framing == Framing::Chunked;
        if framed {
            self.pending.extend(&chunked::size_line(chunk.len()));
        }
        self.flush().await?;
        drop(self.send(chunk.into_unsent()).await?);
        if framed {
            if !self.pending.has_memory() {
                self.pending = Buffer::head();
            }
            self.pending.extend(b"\r\n");
        }
        Ok(())
    }
}

impl ResponseStream for Http1Stream<'_> {
    async fn write(&mut self, chunk: Chunk) -> Result<(), ClientGone> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.note_body(chunk.len());
        if chunk.len() > COPY_BYTES_MAX || self.pending.len() + chunk.len() > engine::buffer::HEAD_BUFFER_BYTES - 64 {
            return self.send_large(chunk).await;
        }
        if !self.pending.has_memory() {
            self.pending = Buffer::head();
        }
        if self.framing == Framing::Chunked {
            append_framed(&mut self.pending, &chunk);
        } else {
            self.pending.extend(&chunk);
        }
        Ok(())
    }

    fn flow_sink(&self) -> Option<FlowSink> {
        let is_bare = self.framing == Framing::Close && self.pending.is_empty();
        if is_bare { self.inbox.flow_sink() } else { None }
    }

    fn takes_pipes(&self) -> bool {
        self.inbox.takes_pipes && matches!(self.framing, Framing::Length { .. } | Framing::Close)
    }

    async fn write_from(&mut self, pipe: &mut Pipe) -> Result<(), ClientGone> {
        self.note_body(pipe.held());
        self.inbox.send_from(pipe).await.map_err(|_| ClientGone)
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending = self.send(Unsent { buffer: pending, sent: 0 }).await?;
        Ok(())
    }

    async fn finish(mut self, trailers: Option<Headers>) -> Result<(), ClientGone> {
        if self.framing == Framing::Chunked {
            if !self.pending.has_memory() {
                self.pending = Buffer::head();
            }
            append_last_chunk(&mut self.pending, trailers.as_ref().filter(|_| self.takes_trailers));
        }
        self.flush().await?;
        // A body shorter than its announced length leaves the client waiting for the rest: only a close tells it.
        if matches!(self.framing, Framing::Length { left: 1.. }) {
            self.inbox.close.set(true);
        }
        self.inbox.response_complete.set(true);
        self.finished = true;
        Ok(())
    }

    async fn abort(mut self) {
        let _ = self.flush().await;
    }
}
