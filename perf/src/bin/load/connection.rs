//! One keep-alive connection and the request on it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use perf::framing::{self, Fed, Framing, Malformed};
use perf::tcp;

/// A request that has been sent and not been answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    /// When it should have been sent, in nanoseconds since the run began.
    pub(crate) due_ns: u64,
}

/// A connection; a slot keeps its number over reconnects, and the generation tells their completions apart.
pub(crate) struct Connection {
    stream: Option<TcpStream>,
    pub(crate) generation: u16,
    pub(crate) pending: Option<Pending>,
    framing: Framing,
    status: u16,
    will_close: bool,
}

/// An answer that has come in whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) due_ns: u64,
    pub(crate) status: u16,
    /// The server said that it closes the connection now.
    pub(crate) is_last: bool,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self { stream: None, generation: 0, pending: None, framing: Framing::default(), status: 0, will_close: false }
    }

    pub(crate) fn open(&mut self, target: SocketAddr) -> io::Result<RawFd> {
        let stream = tcp::connect(target)?;
        let descriptor = stream.as_raw_fd();
        self.generation = self.generation.wrapping_add(1);
        self.stream = Some(stream);
        self.framing = Framing::default();
        self.pending = None;
        Ok(descriptor)
    }

    /// Closes the socket; the request on it, if any, is handed back as lost.
    pub(crate) fn close(&mut self) -> Option<Pending> {
        if let Some(stream) = self.stream.take() {
            // A receive may be in flight, and the kernel holds its own reference: end it before the descriptor goes.
            tcp::shutdown(stream.as_raw_fd());
        }
        self.pending.take()
    }

    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.stream.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Takes received bytes: an answer, or none yet.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        let Self { framing, status, will_close, .. } = self;
        let fed = framing.feed(bytes, |head| {
            *status = framing::status(head).unwrap_or(0);
            *will_close = framing::says_close(head);
        })?;
        match fed {
            Fed { used, .. } if used < bytes.len() => Err(Malformed("bytes after the answer")),
            Fed { is_complete: false, .. } => Ok(None),
            Fed { is_complete: true, .. } => {
                let pending = self.pending.take().ok_or(Malformed("an answer nobody asked for"))?;
                Ok(Some(Answer { due_ns: pending.due_ns, status: self.status, is_last: self.will_close }))
            }
        }
    }
}
