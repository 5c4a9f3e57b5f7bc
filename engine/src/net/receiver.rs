//! The receiving side of a connection, in the clear or under TLS.
//!
//! Whoever receives does not know which: it starts a receive, leaves it in flight or polls it, and gets bytes of the peer's
//! application. Under TLS a receive may take several of the wire, or none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::Pipe;
use super::flow::{self, Source};
use super::wire::{Silence, Wire};
use crate::buffer::{Buffer, HEAD_BUFFER_BYTES};
use crate::tls::{Opened, Session};

/// So many pieces of what nobody asked for are looked at before the peer counts as one that talks.
const SILENT_LOOKS_MAX: usize = 8;

/// Room that is left behind a part of a record; with less the next receive is into a bulk buffer, which every record fits.
const RECORD_ROOM_BYTES: usize = 4 * 1024;

pub struct Receiver {
    wire: Wire,
    sealed: Option<Box<Sealed>>,
}

/// Ciphertext on its way to whoever receives.
struct Sealed {
    session: Rc<RefCell<Session>>,
    /// Copied in front of what is being received now.
    lent: usize,
    /// Where plaintext goes. An idle receive has none until there is some.
    target: Buffer,
    is_started: bool,
}

impl Receiver {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, sealed: None }
    }

    /// From now on what is received is ciphertext, beginning with what the session has already.
    pub(super) fn seal(&mut self, session: Rc<RefCell<Session>>) {
        self.sealed = Some(Box::new(Sealed { session, lent: 0, target: Buffer::none(), is_started: false }));
    }

    /// Looks without taking anything that is meant for the one who receives: for an idle connection that is about to be used
    /// again.
    pub fn silence(&mut self) -> Silence {
        match &mut self.sealed {
            None => self.wire.silence(),
            Some(sealed) => sealed.silence(&self.wire),
        }
    }

    pub fn is_started(&self) -> bool {
        match &self.sealed {
            None => self.wire.is_started(),
            Some(sealed) => sealed.is_started,
        }
    }

    /// Starts to receive behind what `buffer` holds. The operation is submitted by the next poll.
    pub fn start(&mut self, buffer: Buffer) {
        match &mut self.sealed {
            None => self.wire.start(buffer),
            Some(sealed) => {
                sealed.target = buffer;
                sealed.is_started = true;
            }
        }
    }

    /// Starts to wait for bytes into a buffer of the core's.
    pub fn start_idle(&mut self) {
        match &mut self.sealed {
            None => self.wire.start_idle(),
            Some(sealed) => sealed.is_started = true,
        }
    }

    /// Whether bytes can be moved by the kernel, unseen.
    pub fn fills_pipes(&self) -> bool {
        self.sealed.is_none()
    }

    /// Where a flow may receive instead, if nothing stands between the socket and its bytes and no receive is in flight.
    pub fn flow_source(&self) -> Option<Source> {
        let is_bare = self.sealed.is_none() && !self.wire.is_started();
        (is_bare && flow::are_possible()).then(|| Source(self.wire.stream().clone()))
    }

    /// Moves what is there into the pipe, at most `max` bytes; waits when nothing is. Zero: the peer sends no more. Not
    /// while a receive is in flight, and only if it fills pipes.
    pub async fn fill(&mut self, pipe: &mut Pipe, max: usize) -> io::Result<usize> {
        debug_assert!(self.fills_pipes());
        self.wire.fill(pipe, max).await
    }

    /// What was received, and the buffer. Zero bytes: the peer sends no more. Pending when nothing was started.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        match &mut self.sealed {
            None => self.wire.poll(cx),
            Some(sealed) if sealed.is_started => sealed.poll(&mut self.wire, cx),
            Some(_) => Poll::Pending,
        }
    }

    pub async fn received(&mut self) -> (io::Result<usize>, Buffer) {
        poll_fn(|cx| self.poll(cx)).await
    }
}

impl Sealed {
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buffer)> {
        loop {
            if !wire.is_started()
                && let Some(opened) = self.open(wire)
            {
                self.is_started = false;
                return Poll::Ready((opened, std::mem::take(&mut self.target)));
            }
            if !wire.is_started() {
                self.start_wire(wire);
            }
            let (count, received) = ready!(wire.poll(cx));
            self.took(received);
            let ended = match count {
                // Without the peer's word an end is a cut (RFC 8446 §6.1).
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => continue,
                Err(error) => error,
            };
            self.is_started = false;
            return Poll::Ready((Err(ended), std::mem::take(&mut self.target)));
        }
    }

    /// Opens what is at hand; nothing when that is not enough.
    fn open(&mut self, wire: &Wire) -> Option<io::Result<usize>> {
        let mut session = self.session.borrow_mut();
        if session.received().is_empty() && !session.has_rest() && !session.is_closed() {
            return None;
        }
        let is_idle = !self.target.has_memory();
        if is_idle {
            self.target = Buffer::head();
        }
        match session.open(&mut self.target) {
            Ok(Opened::Data(count)) => Some(Ok(count)),
            Ok(Opened::Closed) => Some(Ok(0)),
            Ok(Opened::NeedsMore) => {
                if is_idle {
                    self.target = Buffer::none();
                }
                None
            }
            Err(error) => {
                // The peer is told why, if the socket takes it; nothing can be sent after it.
                if let Some(alert) = session.take_outgoing() {
                    let _ = rustix::net::send(wire.fd(), &alert, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                }
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Receives behind a copy of what is there already: the session needs its own for what is sent meanwhile.
    fn start_wire(&mut self, wire: &mut Wire) {
        let session = self.session.borrow();
        let known = session.received();
        self.lent = known.len();
        let is_idle = !self.target.has_memory();
        if known.is_empty() && is_idle {
            wire.start_idle();
            return;
        }
        let is_bulk = self.target.capacity() > HEAD_BUFFER_BYTES || known.len() + RECORD_ROOM_BYTES > HEAD_BUFFER_BYTES;
        let mut buffer = if is_bulk { Buffer::bulk() } else { Buffer::head() };
        buffer.extend(known);
        wire.start(buffer);
    }

    /// What the wire gave back, in which the session may have used up some of what was lent.
    fn took(&mut self, mut received: Buffer) {
        let mut session = self.session.borrow_mut();
        received.consume(self.lent.saturating_sub(session.received().len()).min(received.len()));
        self.lent = 0;
        session.set_received(received);
    }

    /// Tickets and key updates are not meant for the one who receives, and do not break the silence.
    fn silence(&mut self, wire: &Wire) -> Silence {
        for _ in 0..SILENT_LOOKS_MAX {
            if self.open(wire).is_some() {
                return Silence::Broken;
            }
            if wire.silence() == Silence::Silent {
                return Silence::Silent;
            }
            if self.receive_now(wire).is_none() {
                return Silence::Broken;
            }
        }
        Silence::Broken
    }

    /// Takes what the socket has, without waiting.
    fn receive_now(&self, wire: &Wire) -> Option<()> {
        let mut bytes = [0; 4096];
        match rustix::net::recv(wire.fd(), &mut bytes, RecvFlags::DONTWAIT) {
            Ok((count, _)) if count > 0 => {
                let mut session = self.session.borrow_mut();
                let mut received = Buffer::with_capacity(session.received().len() + count);
                received.extend(session.received());
                received.extend(&bytes[..count]);
                session.set_received(received);
                Some(())
            }
            Err(Errno::INTR) => Some(()),
            _ => None,
        }
    }
}
