//! A piece of a body on its way into a connection.

use std::task::{Context, Poll, ready};

use bytes::Buf;
use engine::buffer::{BULK_BUFFER_BYTES, Chunk};
use h2::SendStream;

use super::request_body::copied;

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

/// A body that was held comes in one chunk. In pieces of what a core lends, what waits for the peer's window waits here and not
/// in the library, so that a peer that stalls is noticed.
pub fn pieces(chunk: Chunk) -> impl Iterator<Item = Chunk> {
    let (short, long) = if chunk.len() <= BULK_BUFFER_BYTES { (Some(chunk), None) } else { (None, Some(chunk)) };
    let mut at = 0;
    let cut = std::iter::from_fn(move || {
        let rest = long.as_ref()?.get(at..).filter(|rest| !rest.is_empty())?;
        let piece = &rest[..rest.len().min(BULK_BUFFER_BYTES)];
        at += piece.len();
        Some(copied(piece))
    });
    short.into_iter().chain(cut)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_chunk_is_cut_and_a_short_one_goes_as_it_is() {
        for length in [0, 1, BULK_BUFFER_BYTES, BULK_BUFFER_BYTES + 1, 3 * BULK_BUFFER_BYTES] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let cut: Vec<Chunk> = pieces(Chunk::from_slice(&bytes)).collect();
            assert_eq!(cut.len(), length.div_ceil(BULK_BUFFER_BYTES).max(1));
            assert!(cut.iter().all(|piece| piece.len() <= BULK_BUFFER_BYTES));
            let together: Vec<u8> = cut.iter().flat_map(|piece| piece.to_vec()).collect();
            assert!(together == bytes, "{length}");
        }
    }
}
