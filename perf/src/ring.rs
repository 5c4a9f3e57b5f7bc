//! The io_uring instance all programs of the rig are built on: one thread, completions run when it waits.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// The buffer group every receive takes from.
pub const BUFFER_GROUP: u16 = 0;
const SUBMISSION_ENTRIES: u32 = 1024;
const COMPLETION_ENTRIES: u32 = 16 * 1024;

/// What a completion is about, carried in its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    Accept = 0,
    Receive = 1,
    Send = 2,
}

/// User data: the operation, a tag (a buffer's or a connection's generation), and the connection's slot.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub operation: Operation,
    pub tag: u16,
    pub slot: u32,
}

impl Token {
    #[inline]
    pub fn pack(self) -> u64 {
        (self.operation as u64) << 48 | u64::from(self.tag) << 32 | u64::from(self.slot)
    }

    #[inline]
    pub fn unpack(packed: u64) -> Self {
        let operation = match packed >> 48 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            _ => Operation::Send,
        };
        Self { operation, tag: (packed >> 32) as u16, slot: packed as u32 }
    }
}

/// A ring with single-issuer and deferred task work.
pub fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(COMPLETION_ENTRIES)
        .setup_no_sqarray()
        .build(SUBMISSION_ENTRIES)
}

/// Queues an entry, submitting first if the queue is full.
#[inline]
pub fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    loop {
        // SAFETY: every buffer an entry of this rig names is static or held until its completion: see the callers.
        if unsafe { ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        ring.submit()?;
    }
}

/// Accepts until the listener fails.
pub fn accept(ring: &mut IoUring, listener: RawFd) -> io::Result<()> {
    let token = Token { operation: Operation::Accept, tag: 0, slot: 0 };
    push(ring, &opcode::AcceptMulti::new(Fd(listener)).build().user_data(token.pack()))
}

/// Receives into provided buffers until the stream ends or the buffers run out.
#[inline]
pub fn receive(ring: &mut IoUring, socket: RawFd, tag: u16, slot: u32) -> io::Result<()> {
    let token = Token { operation: Operation::Receive, tag, slot };
    push(ring, &opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP).build().user_data(token.pack()))
}

/// Sends all of `length` bytes at `address`, which must stay as they are until the completion.
#[inline]
pub fn send(
    ring: &mut IoUring,
    socket: RawFd,
    address: *const u8,
    length: usize,
    tag: u16,
    slot: u32,
) -> io::Result<()> {
    let token = Token { operation: Operation::Send, tag, slot };
    let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let entry = opcode::Send::new(Fd(socket), address, length as u32).flags(flags).build();
    push(ring, &entry.user_data(token.pack()))
}

/// Submits what is queued and waits for a completion, or for `timeout`.
pub fn wait(ring: &IoUring, timeout: Option<Duration>) -> io::Result<()> {
    let outcome = match timeout {
        None => ring.submit_and_wait(1),
        Some(timeout) => {
            let timespec = Timespec::from(timeout);
            ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
        }
    };
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One completion, copied out of the queue.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    pub token: Token,
    pub result: i32,
    pub flags: u32,
}

impl Completion {
    /// The buffer that holds the received bytes.
    #[inline]
    pub fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether the operation goes on and will complete again.
    #[inline]
    pub fn is_armed(&self) -> bool {
        cqueue::more(self.flags)
    }
}

/// Moves all completions into `batch`.
#[inline]
pub fn drain(ring: &mut IoUring, batch: &mut Vec<Completion>) {
    batch.clear();
    batch.extend(ring.completion().map(|entry| Completion {
        token: Token::unpack(entry.user_data()),
        result: entry.result(),
        flags: entry.flags(),
    }));
}
