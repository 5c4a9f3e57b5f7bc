//! A piece of a body together with the buffer that holds it.

use std::ops::Range;

use super::{Buffer, Unsent};

/// Some bytes of a body. Owns its buffer, which goes back to the core's free list when the chunk is dropped.
pub struct Chunk {
    buffer: Buffer,
    range: Range<usize>,
}

impl Chunk {
    pub fn new(buffer: Buffer, range: Range<usize>) -> Self {
        debug_assert!(range.end <= buffer.len());
        Self { buffer, range }
    }

    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::with_capacity(bytes.len());
        buffer.extend(bytes);
        Self { range: 0..bytes.len(), buffer }
    }

    pub fn empty() -> Self {
        Self { buffer: Buffer::none(), range: 0..0 }
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// As something the reactor can send without copying.
    pub fn into_unsent(self) -> Unsent {
        let mut buffer = self.buffer;
        buffer.truncate(self.range.end);
        Unsent { buffer, sent: self.range.start }
    }
}

impl From<Buffer> for Chunk {
    fn from(buffer: Buffer) -> Self {
        Self { range: 0..buffer.len(), buffer }
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Buffer::from(bytes).into()
    }
}

impl std::ops::Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}
