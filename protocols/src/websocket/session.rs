//! What is known of a session beside its bytes: what has gone on, how it ended, and the plugins that hear of it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use engine::counters::ErrorClass;
use plugins::RequestContext;
use plugins::websocket::{Close, Delivered, IoSide, WebSocketEnd, WebSocketSession};

use super::frames::{Side, Violation};
use crate::forward::Forwarding;
use crate::pipeline;

/// After a Close, or the end of one side, the other has this long to say its own (traffic sheet §14.3).
pub const DRAIN_MS: u64 = 30_000;
/// How long it may take to tell the other side that one has vanished.
pub const FAREWELL_MS: u64 = 100;

/// Why a direction has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The sender sends no more, or has vanished.
    Source(ErrorClass),
    /// The receiver takes no more.
    Sink(ErrorClass),
    /// Both sides have said Close.
    Closed,
    Violation(Violation),
    /// Plugins have ended it with this Close.
    Policy(Option<Close>),
    /// The other direction has ended, and a frame that was on its way has gone on whole.
    Stopped,
}

/// What has gone on, by the side it came from.
#[derive(Default)]
pub struct Traffic {
    from_client: Cell<Delivered>,
    from_backend: Cell<Delivered>,
    /// A Close was among it: whatever ends the session now does so in order.
    is_closing: Cell<bool>,
}

impl Traffic {
    pub fn note_close(&self) {
        self.is_closing.set(true);
    }

    pub fn delivered(&self, from: Side) -> Delivered {
        self.of(from).get()
    }

    fn of(&self, from: Side) -> &Cell<Delivered> {
        match from {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }

    /// As many frames in all, and so many more bytes.
    pub fn set(&self, from: Side, frames: u64, more_bytes: usize) {
        let cell = self.of(from);
        cell.set(Delivered { frames, bytes: cell.get().bytes + more_bytes as u64 });
    }

    pub fn add(&self, from: Side, more: Delivered) {
        let so_far = self.delivered(from);
        self.of(from).set(Delivered { frames: so_far.frames + more.frames, bytes: so_far.bytes + more.bytes });
    }
}

/// How a session ended, as it is told to plugins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Of the half that failed first.
    pub failed: Option<Side>,
    pub io_side: Option<IoSide>,
    pub class: ErrorClass,
}

impl Ending {
    const ORDERLY: Self = Self { failed: None, io_side: None, class: ErrorClass::GracefulRemoteClose };

    /// `ended` is the direction that ended first, and why; nothing when a Close was not answered in time. `closed` says of a
    /// side whether it has said Close: from the first of them on, any end is one in order.
    pub fn of(ended: Option<&(Side, End)>, closed: impl Fn(Side) -> bool) -> Self {
        let failed = |from, io_side, class| Self { failed: Some(from), io_side, class };
        match ended {
            None => {
                let silent = if closed(Side::Client) { Side::Backend } else { Side::Client };
                failed(silent, Some(IoSide::Read), ErrorClass::ReadWriteTimeout)
            }
            Some((from, End::Violation(_))) => failed(*from, Some(IoSide::Read), ErrorClass::ProtocolError),
            Some((from, End::Policy(_))) => failed(*from, None, ErrorClass::RequestError),
            Some((_, End::Closed | End::Stopped)) => Self::ORDERLY,
            Some(_) if closed(Side::Client) || closed(Side::Backend) => Self::ORDERLY,
            Some((from, End::Source(class))) => failed(*from, Some(IoSide::Read), *class),
            Some((from, End::Sink(class))) => failed(*from, Some(IoSide::Write), *class),
        }
    }
}

/// The number of the next session that plugins see, over all cores. Written once a session, and only for those.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A session that is open, and that plugins hear of when it has ended, however it does.
pub struct Told<'s> {
    forwarding: &'s Forwarding<'s>,
    pub session: WebSocketSession<'s>,
    traffic: &'s Traffic,
    pub ending: Cell<Option<Ending>>,
    began: SystemTime,
    clock: Instant,
}

impl<'s> Told<'s> {
    pub fn new(forwarding: &'s Forwarding<'s>, upgrade: &'s RequestContext, traffic: &'s Traffic) -> Self {
        Self {
            forwarding,
            session: WebSocketSession::new(NEXT_ID.fetch_add(1, Ordering::Relaxed), upgrade),
            traffic,
            ending: Cell::new(None),
            began: SystemTime::now(),
            clock: Instant::now(),
        }
    }

    /// Dropped on the way: the client went away, or the task panicked.
    fn given_up(&self) -> Ending {
        let ended = match std::thread::panicking() {
            true => End::Source(ErrorClass::RequestError),
            false => End::Source(ErrorClass::ClientDisconnect),
        };
        Ending::of(Some(&(Side::Client, ended)), |_| self.traffic.is_closing.get())
    }

    fn listen_port(&self) -> u16 {
        let settings = &self.forwarding.worker.settings;
        if self.forwarding.peer.is_tls { settings.https_port } else { settings.http_port }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let (forwarding, traffic) = (self.forwarding, self.traffic);
        if !forwarding.chain.hears_websocket_end() {
            return;
        }
        let ending = self.ending.get().unwrap_or_else(|| self.given_up());
        let target =
            pipeline::target(forwarding.spec, self.session.upgrade, forwarding.matched_len, &forwarding.destination);
        let panics = forwarding.chain.on_websocket_end(&WebSocketEnd {
            session: &self.session,
            backend_target: &target,
            listen_port: self.listen_port(),
            began: self.began,
            duration: self.clock.elapsed(),
            client_to_backend: traffic.delivered(Side::Client),
            backend_to_client: traffic.delivered(Side::Backend),
            direction: ending.failed.map(Side::direction),
            io_side: ending.io_side,
            error_class: Some(ending.class),
        });
        forwarding.worker.core.counters().panics.add(panics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(ended: Option<(Side, End)>, closed: &[Side]) -> (Option<Side>, Option<IoSide>, ErrorClass) {
        let ending = Ending::of(ended.as_ref(), |side| closed.contains(&side));
        (ending.failed, ending.io_side, ending.class)
    }

    #[test]
    fn the_half_that_failed_first_is_named_with_its_side_and_class() {
        let reset = ErrorClass::ConnectionReset;
        let (client, backend) = (Some(Side::Client), Some(Side::Backend));
        let (read, write) = (Some(IoSide::Read), Some(IoSide::Write));
        assert_eq!(ending(Some((Side::Backend, End::Source(reset))), &[]), (backend, read, reset));
        assert_eq!(ending(Some((Side::Client, End::Sink(reset))), &[]), (client, write, reset));
        let fault = End::Violation(Violation::Mask);
        assert_eq!(ending(Some((Side::Client, fault.clone())), &[]), (client, read, ErrorClass::ProtocolError));
        assert_eq!(
            ending(Some((Side::Backend, fault)), &[Side::Client]),
            (backend, read, ErrorClass::ProtocolError),
            "a fault is one behind a Close too"
        );
        assert_eq!(ending(Some((Side::Client, End::Policy(None))), &[]), (client, None, ErrorClass::RequestError));
    }

    #[test]
    fn a_session_that_was_closed_ended_in_order_unless_the_answer_stayed_out() {
        let orderly = (None, None, ErrorClass::GracefulRemoteClose);
        assert_eq!(ending(Some((Side::Client, End::Closed)), &[Side::Client, Side::Backend]), orderly);
        let cut = End::Source(ErrorClass::ConnectionReset);
        assert_eq!(ending(Some((Side::Backend, cut)), &[Side::Client]), orderly);
        let (read, timeout) = (Some(IoSide::Read), ErrorClass::ReadWriteTimeout);
        assert_eq!(ending(None, &[Side::Client]), (Some(Side::Backend), read, timeout));
        assert_eq!(ending(None, &[Side::Backend]), (Some(Side::Client), read, timeout));
    }
}
