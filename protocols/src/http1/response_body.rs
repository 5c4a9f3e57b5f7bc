//! The body of a backend's response.

use std::io;

use engine::buffer::{Buffer, Chunk, HEAD_BUFFER_BYTES};
use engine::counters::ErrorClass;
use engine::net::{Pipe, Receiver};

use super::backend::ResponseFraming;
use super::chunked::Decoder;

enum Framing {
    Length { left: u64 },
    Chunked(Decoder),
    UntilClose { closed: bool },
}

/// Pieces smaller than this are cheaper copied than moved.
pub const MOVED_BYTES_MIN: usize = 32 * 1024;

pub struct BackendBody<'c> {
    receiver: &'c mut Receiver,
    framing: Framing,
    /// Received with the head, from this position on.
    early: Option<(Buffer, usize)>,
    /// The backend sent more than its response; its connection is of no use any more.
    surplus: bool,
}

impl<'c> BackendBody<'c> {
    /// `early` is the buffer the head came in, and where the head ends.
    pub fn new(receiver: &'c mut Receiver, framing: ResponseFraming, early: (Buffer, usize)) -> Self {
        let framing = match framing {
            ResponseFraming::None => Framing::Length { left: 0 },
            ResponseFraming::Length(left) => Framing::Length { left },
            ResponseFraming::Chunked => Framing::Chunked(Decoder::new()),
            ResponseFraming::UntilClose => Framing::UntilClose { closed: false },
        };
        let early = (early.1 < early.0.len()).then_some(early);
        let mut body = Self { receiver, framing, early, surplus: false };
        body.surplus = body.is_complete() && body.early.is_some();
        body
    }

    pub fn is_complete(&self) -> bool {
        match &self.framing {
            Framing::Length { left } => *left == 0,
            Framing::Chunked(decoder) => decoder.is_done(),
            Framing::UntilClose { closed } => *closed,
        }
    }

    /// Whether another response may follow on this connection.
    pub fn leaves_connection_clean(&self) -> bool {
        self.is_complete() && !self.surplus && !matches!(self.framing, Framing::UntilClose { .. })
    }

    /// Whether the next piece is at hand without waiting.
    pub fn has_early(&self) -> bool {
        self.early.is_some()
    }

    /// Whether so much of the body is still to come, and as it is, that moving it through a pipe spares something.
    pub fn fills_pipes(&self) -> bool {
        let is_long = matches!(self.framing, Framing::Length { left } if left >= MOVED_BYTES_MIN as u64);
        is_long && self.early.is_none() && !self.receiver.is_started() && self.receiver.fills_pipes()
    }

    /// Moves the next piece into the pipe instead of handing it out; only if the body fills pipes. Answers how much it was.
    pub async fn fill(&mut self, pipe: &mut Pipe) -> Result<usize, ErrorClass> {
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

    /// The next piece, or `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Chunk>, ErrorClass> {
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
}

/// What went wrong on a connection that had been made.
pub fn class_of(error: &io::Error) -> ErrorClass {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorClass::ConnectionReset,
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => {
            ErrorClass::ConnectionClosed
        }
        io::ErrorKind::TimedOut => ErrorClass::ReadWriteTimeout,
        _ => ErrorClass::RequestError,
    }
}
