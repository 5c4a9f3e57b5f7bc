//! The body of a client's request on a stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use engine::buffer::{BULK_BUFFER_BYTES, Buffer, Chunk};
use engine::core::Deadline;
use engine::http::Headers;
use h2::RecvStream;

use super::heads;
use crate::exchange::{Body, BodyError, BodySize};

/// How long a client may send nothing of a body it announced (as on HTTP/1.1).
const CLIENT_STALL_MS: u64 = 60_000;

pub struct StreamBody {
    receive: RecvStream,
    size: BodySize,
    is_complete: bool,
    is_tunnel: bool,
    trailers: Option<Headers>,
    stall: Deadline,
    /// Handed out, and not given back to the client's windows.
    held: usize,
    /// Bytes of all bodies of the connection, for the estimate of its windows.
    taken: Rc<Cell<u64>>,
}

impl StreamBody {
    pub fn new(receive: RecvStream, size: BodySize, stall: Deadline, taken: Rc<Cell<u64>>) -> Self {
        let is_complete = size == BodySize::Empty;
        Self { receive, size, is_complete, is_tunnel: false, trailers: None, stall, held: 0, taken }
    }

    /// What comes next, as long as the client does not stall.
    async fn receive(&mut self) -> Result<Option<Bytes>, BodyError> {
        if !self.is_tunnel {
            self.stall.set_ms(CLIENT_STALL_MS);
        }
        let received = self.stall.bound(poll_fn(|cx| self.receive.poll_data(cx))).await;
        self.stall.clear();
        match received {
            Some(Some(Ok(bytes))) => Ok(Some(bytes)),
            Some(None) => Ok(None),
            Some(Some(Err(_))) => Err(BodyError::ClientGone),
            None => Err(BodyError::Stalled),
        }
    }

    /// Throws away what still comes, up to so many bytes.
    pub async fn discard(&mut self, bytes_max: usize) {
        let mut thrown_away = 0;
        while let Ok(Some(chunk)) = self.chunk().await {
            thrown_away += chunk.len();
            if thrown_away > bytes_max {
                return;
            }
        }
    }

    async fn receive_trailers(&mut self) -> Result<(), BodyError> {
        match poll_fn(|cx| self.receive.poll_trailers(cx)).await {
            Ok(trailers) => self.trailers = trailers.as_ref().map(heads::received_trailers),
            Err(_) => return Err(BodyError::ClientGone),
        }
        self.is_complete = true;
        Ok(())
    }
}

impl Body for StreamBody {
    fn size(&self) -> BodySize {
        self.size
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, BodyError> {
        // Asked for more: what was handed out has gone on, and the client may send as much again.
        let held = std::mem::take(&mut self.held);
        if held > 0 {
            let _ = self.receive.flow_control().release_capacity(held);
        }
        while !self.is_complete {
            let Some(bytes) = self.receive().await? else {
                self.receive_trailers().await?;
                break;
            };
            self.held = bytes.len();
            self.taken.set(self.taken.get() + bytes.len() as u64);
            self.is_complete = self.receive.is_end_stream();
            if !bytes.is_empty() {
                return Ok(Some(copied(&bytes)));
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    fn open_tunnel(&mut self) {
        self.is_tunnel = true;
        self.is_complete = self.receive.is_end_stream();
    }
}

/// In a buffer of the core's.
pub fn copied(bytes: &[u8]) -> Chunk {
    if bytes.len() <= BULK_BUFFER_BYTES && bytes.len() > engine::buffer::HEAD_BUFFER_BYTES {
        let mut buffer = Buffer::bulk();
        buffer.extend(bytes);
        let length = buffer.len();
        return Chunk::new(buffer, 0..length);
    }
    Chunk::from_slice(bytes)
}
