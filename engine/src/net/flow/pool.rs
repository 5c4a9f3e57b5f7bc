//! Buffers that the kernel takes when bytes arrive, and that are given back one by one (io_uring_register_buf_ring(3)).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use monoio_uring::Submitter;
use monoio_uring::types::BufRingEntry;

/// A power of two.
const BUFFERS: u16 = 128;
/// 128 × 16 KiB = 2 MiB per core; a page of a buffer has memory once bytes have been in it.
pub(super) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers of one ring. The kernel holds those that were not handed out; it lets go of them with the ring, which must be dropped
/// first.
pub(super) struct Pool {
    entries: Mapping,
    bytes: Mapping,
    tail: u16,
}

/// Bytes in one buffer of the pool, until they are given back.
pub(super) struct Piece {
    buffer: u16,
    pub length: usize,
}

impl Piece {
    pub fn is_full(&self) -> bool {
        self.length == BUFFER_BYTES
    }
}

impl Pool {
    pub fn register(submitter: &Submitter<'_>, group: u16) -> io::Result<Self> {
        let entries = Mapping::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(usize::from(BUFFERS) * BUFFER_BYTES)?;
        // SAFETY: `entries` is a page-aligned mapping of as many entries as are said, and outlives the ring: see `Pool`.
        #[allow(unsafe_code)]
        unsafe {
            submitter.register_buf_ring(entries.start.as_ptr() as u64, BUFFERS, group)?;
        }
        let mut pool = Self { entries, bytes, tail: 0 };
        for buffer in 0..BUFFERS {
            pool.give_back(Piece { buffer, length: 0 });
        }
        Ok(pool)
    }

    /// What a completion has put into a buffer.
    pub fn piece(buffer: u16, length: usize) -> Piece {
        Piece { buffer, length: length.min(BUFFER_BYTES) }
    }

    pub fn address(&self, piece: &Piece) -> *const u8 {
        self.start_of(piece.buffer)
    }

    pub fn bytes(&self, piece: &Piece) -> &[u8] {
        // SAFETY: the kernel has written `length` bytes, which are no more than a buffer has, and does not touch the buffer before
        // it is given back, for which the piece is used up.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.address(piece), piece.length)
        }
    }

    pub fn give_back(&mut self, piece: Piece) {
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        let address = self.start_of(piece.buffer) as u64;
        // SAFETY: the place is within the mapping, and the kernel does not look at it before the tail has passed it.
        #[allow(unsafe_code)]
        let entry = unsafe { &mut *base.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(piece.buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail stands in a field of the first entry that nothing else uses, aligned for its type; the kernel reads it
        // with acquire order.
        #[allow(unsafe_code)]
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) }.store(self.tail, Ordering::Release);
    }

    fn start_of(&self, buffer: u16) -> *const u8 {
        let offset = usize::from(buffer % BUFFERS) * BUFFER_BYTES;
        self.bytes.start.as_ptr().wrapping_add(offset)
    }
}

/// Anonymous memory, page-aligned and zeroed.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: asks for fresh memory, wherever there is room; the result is checked.
        #[allow(unsafe_code)]
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(mapped) if start != libc::MAP_FAILED => Ok(Self { start: mapped, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length; nothing borrows from it any more.
        #[allow(unsafe_code)]
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}
