//! Bytes that go from one socket to another and are only looked at: tunnels.
//!
//! A [`Flow`] is one direction. Its receive is armed once and completes again and again (`IORING_RECV_MULTISHOT`), into buffers
//! that all flows of the core share, and its bytes leave from the very buffer they came in. No task is woken for them: one task
//! of the core, the pump, carries all flows on, and whoever owns a flow hears of its end, and of what its [`Watcher`] wants it to
//! hear. The reactor knows no such receives, so flows have a ring of their own, which the reactor waits on as on a socket.
//!
//! A receiver that is slow holds back its own sender only: what it does not take at once is copied out of the shared buffers, and
//! nothing more is received for it until that has gone.

mod hub;
mod pool;
#[cfg(test)]
mod tests;

use std::cell::UnsafeCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use monoio::net::TcpStream;

use crate::core::Deadline;

pub(super) use hub::{are_possible, has_ring};

/// A socket whose bytes can be received for a flow.
pub struct Source(pub(super) Rc<UnsafeCell<TcpStream>>);

/// A socket that a flow can send to.
pub struct Sink(pub(super) Rc<UnsafeCell<TcpStream>>);

/// Looks at what passes. It is called by the core's pump, so that it must not wait for anything.
pub trait Watcher {
    /// What was received, before any of it is sent. False: neither it nor anything behind it is.
    fn passes(&self, bytes: &[u8]) -> bool;
    /// So many of the bytes that passed have been sent. True: the owner of the flow wants to know now.
    fn sent(&self, count: usize) -> bool;
}

/// What the owner of a flow hears of it.
#[derive(Debug)]
pub enum Event {
    /// The watcher has asked for this. The flow goes on.
    Noted,
    /// The source sends no more, or has failed, and all that came before is sent.
    SourceEnded(io::Result<()>),
    /// The sink takes no more.
    SinkFailed(io::Error),
    /// The watcher has not let something pass; all that came before is sent.
    Stopped,
}

/// How long a sink may take nothing while there is something for it.
pub struct Stall {
    pub deadline: Deadline,
    pub limit_ms: u64,
}

/// One direction of a tunnel. Nobody else receives from the source or sends to the sink as long as it is there. When it is dropped it ends, wherever
/// it is.
pub struct Flow {
    number: u32,
    stall: Option<Stall>,
    /// The progress of a slow sink that the stall's deadline knows of.
    seen: u64,
}

impl Flow {
    /// None when this core cannot have flows.
    pub fn start(source: Source, sink: Sink, watcher: Rc<dyn Watcher>, stall: Option<Stall>) -> Option<Self> {
        let number = hub::add(source, sink, watcher)?;
        Some(Self { number, stall, seen: 0 })
    }

    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let state = hub::poll(self.number, cx);
        if let Some(event) = state.event {
            return Poll::Ready(event);
        }
        if let Some(Stall { deadline, limit_ms }) = &self.stall {
            match state.behind {
                None => deadline.clear(),
                Some(progress) => {
                    if std::mem::replace(&mut self.seen, progress) != progress {
                        deadline.set_ms(*limit_ms);
                    }
                    if deadline.poll(cx).is_ready() {
                        return Poll::Ready(Event::SinkFailed(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        hub::close(self.number);
    }
}
