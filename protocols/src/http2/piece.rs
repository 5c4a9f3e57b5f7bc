//! A piece of a body on its way into a connection.

use std::task::{Context, Poll, ready};

use bytes::Buf;
use engine::buffer::Chunk;
use h2::SendStream;

/// Goes out of the buffer it came in.
pub struct Piece {
    chunk: Chunk,
    sent: usize,
}

impl Piece {
    pub fn new(chunk: Chunk) -> Self {
        Self { chunk, sent: 0 }
    }

    pub fn empty() -> Self {
        Self::new(Chunk::empty())
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.chunk.len() - self.sent
    }

    fn chunk(&self) -> &[u8] {
        &self.chunk[self.sent..]
    }

    fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.chunk.len());
    }
}

/// Waits until the peer's window, and the library's room for what waits for it, take something.
pub fn poll_room(stream: &mut SendStream<Piece>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
    loop {
        match ready!(stream.poll_capacity(cx)) {
            // It woke for nothing, and is to be asked again.
            Some(Ok(0)) => {}
            Some(Ok(_)) => return Poll::Ready(Ok(())),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
        }
    }
}
