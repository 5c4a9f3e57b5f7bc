//! Buffers that a core lends to the kernel and gets back.
//!
//! A read or write in flight owns its buffer, so a buffer is a value that moves into the operation and out again. Freed
//! buffers go to a per-core free list of bounded length; the rest goes back to the allocator, so a burst of connections
//! does not keep its memory for ever.

mod chunk;

pub use chunk::Chunk;

use std::cell::RefCell;

use monoio::buf::{IoBuf, IoBufMut};

/// Large enough for nearly every message head together with a small body; one page-aligned power of two.
pub const HEAD_BUFFER_BYTES: usize = 16 * 1024;
/// Used once a body is known to be long: a read of this size amortises the system call and still fits the L2 cache.
pub const BULK_BUFFER_BYTES: usize = 128 * 1024;

/// Free buffers kept per core and size. Past it a buffer is freed: 4 MiB of heads, 4 MiB of bulk.
const FREE_HEADS_MAX: usize = 256;
const FREE_BULK_MAX: usize = 32;

thread_local! {
    static FREE: RefCell<FreeLists> = const { RefCell::new(FreeLists { heads: Vec::new(), bulk: Vec::new() }) };
}

struct FreeLists {
    heads: Vec<Vec<u8>>,
    bulk: Vec<Vec<u8>>,
}

/// Bytes that were received or are to be sent. `len()` is how many are filled.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// A buffer without memory: what an idle connection holds.
    pub const fn none() -> Self {
        Self { bytes: Vec::new() }
    }

    pub fn head() -> Self {
        let bytes =
            FREE.with(|free| free.borrow_mut().heads.pop()).unwrap_or_else(|| Vec::with_capacity(HEAD_BUFFER_BYTES));
        Self { bytes }
    }

    pub fn bulk() -> Self {
        let bytes =
            FREE.with(|free| free.borrow_mut().bulk.pop()).unwrap_or_else(|| Vec::with_capacity(BULK_BUFFER_BYTES));
        Self { bytes }
    }

    pub fn with_capacity(capacity: usize) -> Self {
        if capacity <= HEAD_BUFFER_BYTES { Self::head() } else { Self { bytes: Vec::with_capacity(capacity) } }
    }

    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn has_memory(&self) -> bool {
        self.bytes.capacity() != 0
    }

    pub fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Drops the first `count` bytes and moves the rest to the front.
    pub fn consume(&mut self, count: usize) {
        if count == self.bytes.len() {
            self.bytes.clear();
        } else if count != 0 {
            self.bytes.copy_within(count.., 0);
            let rest = self.bytes.len() - count;
            self.bytes.truncate(rest);
        }
    }

    pub fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    pub fn as_vec_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves to a buffer of at least `capacity` bytes, keeping what was filled.
    pub fn grow_to(&mut self, capacity: usize) {
        if self.bytes.capacity() < capacity {
            let mut larger = Vec::with_capacity(capacity);
            larger.extend_from_slice(&self.bytes);
            *self = Self { bytes: larger };
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let capacity = self.bytes.capacity();
        if capacity != HEAD_BUFFER_BYTES && capacity != BULK_BUFFER_BYTES {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // A thread that is shutting down has no free lists any more; then the memory is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            let (list, max) = match capacity {
                HEAD_BUFFER_BYTES => (&mut free.heads, FREE_HEADS_MAX),
                _ => (&mut free.bulk, FREE_BULK_MAX),
            };
            if list.len() < max {
                list.push(bytes);
            }
        });
    }
}

/// Receives behind what is already filled.
pub struct Tail(pub Buffer);

// SAFETY: the pointer is into the heap block of the vector, which does not move while the value is moved, and the
// reported room is exactly the vector's unused capacity.
#[allow(unsafe_code)]
unsafe impl IoBufMut for Tail {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }
    fn bytes_total(&mut self) -> usize {
        self.0.spare()
    }
    unsafe fn set_init(&mut self, pos: usize) {
        let len = self.0.bytes.len();
        debug_assert!(pos <= self.0.spare());
        // SAFETY: the kernel has written `pos` bytes behind `len`, within the capacity that was offered.
        unsafe { self.0.bytes.set_len(len + pos) }
    }
}

/// Sends the bytes from `sent` on.
pub struct Unsent {
    pub buffer: Buffer,
    pub sent: usize,
}

// SAFETY: the pointer and length describe initialised bytes of the vector's heap block, which does not move while the
// value is moved.
#[allow(unsafe_code)]
unsafe impl IoBuf for Unsent {
    fn read_ptr(&self) -> *const u8 {
        self.buffer[self.sent..].as_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.buffer.len() - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_lent_again_and_the_free_list_is_bounded() {
        let many: Vec<Buffer> = (0..FREE_HEADS_MAX + 10).map(|_| Buffer::head()).collect();
        drop(many);
        FREE.with(|free| assert_eq!(free.borrow().heads.len(), FREE_HEADS_MAX));
        let mut one = Buffer::head();
        assert!(one.is_empty());
        one.extend(b"x");
        drop(one);
        assert!(Buffer::head().is_empty());
    }

    #[test]
    fn consume_keeps_the_rest() {
        let mut buffer = Buffer::head();
        buffer.extend(b"first|second");
        buffer.consume(6);
        assert_eq!(&*buffer, b"second");
        buffer.consume(6);
        assert!(buffer.is_empty());
    }
}
