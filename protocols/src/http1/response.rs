//! A backend's response: its head, and then its body.

use std::io;

use engine::buffer::{Buffer, Chunk, HEAD_BUFFER_BYTES};
use engine::counters::ErrorClass;
use engine::http::{Headers, Method, ResponseHead};
use engine::net::{Pipe, Receiver};

use super::backend::{ResponseFraming, keeps_alive, read_response_head};
use super::chunked::Decoder;
use crate::exchange::{BackendResponse, BodyLength};

enum Framing {
    Length { left: u64 },
    Chunked(Decoder),
    UntilClose { closed: bool },
}

/// Pieces smaller than this are cheaper copied than moved.
pub const MOVED_BYTES_MIN: usize = 32 * 1024;

pub struct Http1Response<'c> {
    receiver: &'c mut Receiver,
    framing: Framing,
    head_end: usize,
    /// Received with the head, from this position on.
    early: Option<(Buffer, usize)>,
    /// The backend sent more than its response; its connection is of no use any more.
    surplus: bool,
    /// The backend keeps the connection open behind this response.
    keeps_alive: bool,
}

impl<'c> Http1Response<'c> {
    pub fn new(receiver: &'c mut Receiver) -> Self {
        Self {
            receiver,
            framing: Framing::Length { left: 0 },
            head_end: 0,
            early: None,
            surplus: false,
            keeps_alive: false,
        }
    }

    async fn receive(&mut self) -> Result<Option<(Buffer, usize)>, ErrorClass> {
        if let Some(early) = self.early.take() {
            return Ok(Some(early));
        }
        let buffer = match self.framing {
            Framing::Length { left } if left <= HEAD_BUFFER_BYTES as u64 => Buffer::head(),
            _ => Buffer::bulk(),
        };
        if !self.receiver.is_started() {
            self.receiver.start(buffer);
        }
        match self.receiver.received().await {
            (Ok(0), _) => Ok(None),
            (Ok(_), buffer) => Ok(Some((buffer, 0))),
            (Err(error), _) => Err(class_of(&error)),
        }
    }
}

impl BackendResponse for Http1Response<'_> {
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        method: Method,
        head_bytes_max: usize,
        began: &mut bool,
    ) -> Result<BodyLength, ErrorClass> {
        let (framing, head_end) = read_response_head(self.receiver, head, method, head_bytes_max, began).await?;
        self.keeps_alive = keeps_alive(head);
        self.head_end = head_end;
        let (framing, length) = match framing {
            ResponseFraming::None => (Framing::Length { left: 0 }, BodyLength::None),
            ResponseFraming::Length(left) => (Framing::Length { left }, BodyLength::Exact(left)),
            ResponseFraming::Chunked => (Framing::Chunked(Decoder::new()), BodyLength::Unknown),
            ResponseFraming::UntilClose => (Framing::UntilClose { closed: false }, BodyLength::Unknown),
        };
        self.framing = framing;
        Ok(length)
    }

    fn head_end(&self) -> Option<usize> {
        Some(self.head_end)
    }

    fn note_whole(&mut self) {
        self.framing = Framing::Length { left: 0 };
    }

    fn set_early(&mut self, early: Buffer, from: usize) {
        if from < early.len() {
            self.surplus = self.is_complete();
            self.early = Some((early, from));
        }
    }

    fn is_complete(&self) -> bool {
        match &self.framing {
            Framing::Length { left } => *left == 0,
            Framing::Chunked(decoder) => decoder.is_done(),
            Framing::UntilClose { closed } => *closed,
        }
    }

    fn leaves_connection_clean(&self) -> bool {
        self.keeps_alive && self.is_complete() && !self.surplus && !matches!(self.framing, Framing::UntilClose { .. })
    }

    fn has_early(&self) -> bool {
        self.early.is_some()
    }

    fn fills_pipes(&self) -> bool {
        let is_long = matches!(self.framing, Framing::Length { left } if left >= MOVED_BYTES_MIN as u64);
        is_long && self.early.is_none() && !self.receiver.is_started() && self.receiver.fills_pipes()
    }

    async fn fill(&mut self, pipe: &mut Pipe) -> Result<usize, ErrorClass> {
        let Framing::Length { left } = &mut self.framing else { return Ok(0) };
        match self.receiver.fill(pipe, usize::try_from(*left).unwrap_or(usize::MAX)).await {
            Ok(0) => Err(ErrorClass::ConnectionClosed),
            Ok(count) => {
                *left -= count as u64;
                Ok(count)
            }
            Err(error) => Err(class_of(&error)),
        }
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, ErrorClass> {
        while !self.is_complete() {
            let Some((mut buffer, start)) = self.receive().await? else {
                return match &mut self.framing {
                    Framing::UntilClose { closed } => {
                        *closed = true;
                        Ok(None)
                    }
                    _ => Err(ErrorClass::ConnectionClosed),
                };
            };
            let (consumed, body) = match &mut self.framing {
                Framing::Length { left } => {
                    let body = (*left).min((buffer.len() - start) as u64) as usize;
                    *left -= body as u64;
                    (body, body)
                }
                Framing::Chunked(decoder) => {
                    let progress = decoder.decode(&mut buffer[start..]).map_err(|_| ErrorClass::ProtocolError)?;
                    (progress.consumed, progress.body)
                }
                Framing::UntilClose { .. } => (buffer.len() - start, buffer.len() - start),
            };
            self.surplus |= start + consumed < buffer.len();
            if body > 0 {
                return Ok(Some(Chunk::new(buffer, start..start + body)));
            }
        }
        Ok(None)
    }

    fn take_trailers(&mut self) -> Option<Headers> {
        match &mut self.framing {
            Framing::Chunked(decoder) => decoder.take_trailers(),
            Framing::Length { .. } | Framing::UntilClose { .. } => None,
        }
    }
}

/// What went wrong on a connection that had been made.
pub fn class_of(error: &io::Error) -> ErrorClass {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorClass::ConnectionReset,
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => {
            ErrorClass::ConnectionClosed
        }
        io::ErrorKind::TimedOut => ErrorClass::ReadWriteTimeout,
        // TLS failed behind its handshake: a backend refuses a certificate of TLS 1.3 with the first that it says.
        io::ErrorKind::InvalidData => ErrorClass::TlsError,
        _ => ErrorClass::RequestError,
    }
}
