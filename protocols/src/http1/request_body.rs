//! The body of a client's request.

use std::future::poll_fn;

use engine::buffer::{Buffer, Chunk, Unsent};
use engine::http::Headers;
use engine::net::FlowSource;

use super::chunked::{self, Decoder};
use super::inbox::Inbox;
use crate::exchange::{Body, BodyError, BodySize};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

enum Framing {
    Length {
        left: u64,
    },
    Chunked(Decoder),
    /// The client's half of a tunnel, until it ends it.
    Tunnel {
        is_over: bool,
    },
}

pub struct RequestBody<'c> {
    inbox: &'c Inbox,
    size: BodySize,
    framing: Framing,
}

impl<'c> RequestBody<'c> {
    pub fn new(inbox: &'c Inbox, size: BodySize) -> Self {
        let framing = match size {
            BodySize::Empty => Framing::Length { left: 0 },
            BodySize::Exact(left) => Framing::Length { left },
            BodySize::Unknown => Framing::Chunked(Decoder::new()),
        };
        Self { inbox, size, framing }
    }

    /// Bytes of a known length that are still to come.
    pub fn left(&self) -> Option<u64> {
        match self.framing {
            Framing::Length { left } => Some(left),
            Framing::Chunked(_) | Framing::Tunnel { .. } => None,
        }
    }

    /// The client is told to go on as soon as somebody wants the body, unless it already gets its answer.
    async fn invite(&self) -> Result<(), BodyError> {
        if !self.inbox.expects_continue.replace(false) || self.inbox.response_started.get() {
            return Ok(());
        }
        let mut buffer = Buffer::head();
        buffer.extend(CONTINUE);
        self.inbox.send(Unsent { buffer, sent: 0 }).await.0.map_err(|_| BodyError::ClientGone)
    }

    /// What has been received already, else what comes next.
    async fn receive(&self) -> Result<Buffer, BodyError> {
        let early = std::mem::take(&mut *self.inbox.rest.borrow_mut());
        if !early.is_empty() {
            return Ok(early);
        }
        self.invite().await?;
        if matches!(self.framing, Framing::Tunnel { .. }) {
            return self.receive_tunnelled().await;
        }
        let mut buffer = match self.left() {
            Some(left) if left < engine::buffer::HEAD_BUFFER_BYTES as u64 => Buffer::head(),
            _ => Buffer::bulk(),
        };
        match self.inbox.receive_body(&mut buffer).await {
            Some(Ok(count)) if count > 0 => Ok(buffer),
            Some(_) => {
                self.inbox.gone.set(true);
                Err(BodyError::ClientGone)
            }
            None => {
                self.inbox.close.set(true);
                Err(BodyError::Stalled)
            }
        }
    }

    /// A tunnel may be silent for as long as it likes, and holds no memory meanwhile.
    async fn receive_tunnelled(&self) -> Result<Buffer, BodyError> {
        let mut buffer = Buffer::none();
        match poll_fn(|cx| self.inbox.poll_receive(cx, &mut buffer)).await {
            Ok(count) if count > 0 => Ok(buffer),
            Ok(_) => Ok(Buffer::none()),
            Err(_) => {
                self.inbox.gone.set(true);
                Err(BodyError::ClientGone)
            }
        }
    }

    /// Takes the body's part of what was received and leaves the rest for the next request.
    fn cut(&mut self, mut buffer: Buffer) -> Result<(Option<Chunk>, bool), BodyError> {
        let (consumed, body, done) = match &mut self.framing {
            Framing::Length { left } => {
                let body = (*left).min(buffer.len() as u64) as usize;
                *left -= body as u64;
                (body, body, *left == 0)
            }
            Framing::Chunked(decoder) => {
                let progress = decoder.decode(&mut buffer).map_err(|_| BodyError::Malformed)?;
                (progress.consumed, progress.body, progress.done)
            }
            Framing::Tunnel { is_over } => {
                *is_over = buffer.is_empty();
                (buffer.len(), buffer.len(), buffer.is_empty())
            }
        };
        if consumed < buffer.len() {
            let mut rest = Buffer::with_capacity(buffer.len() - consumed);
            rest.extend(&buffer[consumed..]);
            *self.inbox.rest.borrow_mut() = rest;
        }
        Ok(((body > 0).then(|| Chunk::new(buffer, 0..body)), done))
    }
}

impl Body for RequestBody<'_> {
    fn size(&self) -> BodySize {
        self.size
    }

    fn is_complete(&self) -> bool {
        match &self.framing {
            Framing::Length { left } => *left == 0,
            Framing::Chunked(decoder) => decoder.is_done(),
            Framing::Tunnel { is_over } => *is_over,
        }
    }

    fn open_tunnel(&mut self) {
        self.framing = Framing::Tunnel { is_over: false };
        self.inbox.body_complete.set(false);
    }

    fn flow_source(&self) -> Option<FlowSource> {
        match self.framing {
            Framing::Tunnel { is_over: false } => self.inbox.flow_source(),
            _ => None,
        }
    }

    fn take_trailers(&mut self) -> Option<Headers> {
        match &mut self.framing {
            Framing::Chunked(decoder) => decoder.take_trailers(),
            Framing::Length { .. } | Framing::Tunnel { .. } => None,
        }
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, BodyError> {
        while !self.is_complete() {
            let buffer = self.receive().await?;
            let cut = self.cut(buffer).inspect_err(|_| self.inbox.close.set(true));
            let (chunk, done) = cut?;
            if done {
                self.inbox.body_complete.set(true);
            }
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
        self.inbox.body_complete.set(true);
        Ok(None)
    }
}

/// Ends a body of unknown length.
pub fn append_last_chunk(out: &mut Buffer, trailers: Option<&Headers>) {
    out.extend(b"0\r\n");
    for field in trailers.into_iter().flat_map(Headers::iter) {
        out.extend(field.name);
        out.extend(b": ");
        out.extend(field.value);
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
}

/// Puts a chunk of a body of unknown length into its frame, in place where there is room around it.
pub fn append_framed(out: &mut Buffer, data: &[u8]) {
    out.extend(&chunked::size_line(data.len()));
    out.extend(data);
    out.extend(b"\r\n");
}
