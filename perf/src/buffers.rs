//! A ring of buffers the kernel takes from when bytes arrive (`IORING_REGISTER_PBUF_RING`).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Buffers of one size, lent to the kernel and taken back one by one.
pub struct BufferRing {
    entries: Mapping,
    bytes: Mapping,
    buffer_bytes: usize,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    /// Registers `count` buffers (a power of two) of `buffer_bytes` as buffer group `group` of the ring.
    ///
    /// The value must outlive the io_uring instance it is registered with; the rig's programs keep both to their end.
    pub fn register(submitter: &Submitter<'_>, group: u16, count: u16, buffer_bytes: usize) -> io::Result<Self> {
        if !count.is_power_of_two() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the count of buffers must be a power of two"));
        }
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(usize::from(count) * buffer_bytes)?;
        // SAFETY: `entries` is a page-aligned mapping of exactly `count` entries, which lives as long as `self`.
        unsafe { submitter.register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, group, 0)? };
        let mut ring = Self { entries, bytes, buffer_bytes, mask: count - 1, tail: 0 };
        for id in 0..count {
            ring.give_back(id);
        }
        Ok(ring)
    }

    /// The address of buffer `id`.
    #[inline]
    pub fn address(&self, id: u16) -> *const u8 {
        let offset = usize::from(id & self.mask) * self.buffer_bytes;
        // SAFETY: `id & mask` is below the count, so the offset is inside the mapping.
        unsafe { self.bytes.start.as_ptr().add(offset) }
    }

    /// The first `length` bytes of buffer `id`, which a completion has handed over.
    #[inline]
    pub fn bytes(&self, id: u16, length: usize) -> &[u8] {
        debug_assert!(length <= self.buffer_bytes);
        // SAFETY: the kernel wrote `length` bytes and does not touch the buffer until it is given back.
        unsafe { std::slice::from_raw_parts(self.address(id), length.min(self.buffer_bytes)) }
    }

    /// Lends buffer `id` to the kernel again.
    #[inline]
    pub fn give_back(&mut self, id: u16) {
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        let address = self.address(id) as u64;
        // SAFETY: the slot is inside the mapping and is the kernel's only after the tail has moved past it.
        let entry = unsafe { &mut *base.add(usize::from(self.tail & self.mask)) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` is the first entry of the registered ring, whose reserved field is the ring's tail; the
        // kernel reads it with acquire order, and it is aligned to two bytes.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) }.store(self.tail, Ordering::Release);
    }
}

/// An anonymous, page-aligned, zeroed mapping.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a fresh private anonymous mapping touches no memory that is in use.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(|start| Self { start, length }).ok_or_else(io::Error::last_os_error)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
