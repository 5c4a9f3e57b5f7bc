//! A TCP connection: a receiver that can stay in flight while other things happen, and a sender. Either is in the clear until
//! [`Stream::sealed`] puts TLS over both.

use std::cell::{RefCell, UnsafeCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown};

use super::flow::Sink;
use super::wire::Wire;
use super::{Pipe, Receiver, pace};
use crate::buffer::{Buffer, HEAD_BUFFER_BYTES, Unsent};
use crate::tls::{Handshake, Session};

/// How outgoing connections are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectOptions {
    /// Idle time before the kernel probes the peer; none = no probes.
    pub keepalive: Option<Duration>,
}

/// What the kernel takes for the idle time before the first probe (tcp(7), TCP_KEEPIDLE).
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

pub struct Stream {
    pub receiver: Receiver,
    pub sender: Sender,
    peer: SocketAddr,
}

pub struct Sender {
    half: OwnedWriteHalf<TcpStream>,
    sealed: Option<Rc<RefCell<Session>>>,
}

/// Plaintext that is encrypted in one go: six records, which with their overhead fit a bulk buffer.
pub(super) const SEALED_BYTES_MAX: usize = 96 * 1024;
/// What a short piece may grow by when it is encrypted, key updates and tickets included.
const SEALED_GROWTH_BYTES: usize = 1024;
/// Received bytes of a handshake that are not understood yet: a record, and the beginning of the next.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

impl Stream {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        let (reading, half): (OwnedReadHalf<TcpStream>, _) = stream.into_split();
        Self { receiver: Receiver::new(Wire::new(reading)), sender: Sender { half, sealed: None }, peer }
    }

    /// Connects; the caller bounds the time by dropping the future. Fast open is not used: with it a connection is there before
    /// anybody has answered, so that a backend that cannot be reached would look like one that is slow.
    pub async fn connect(peer: SocketAddr, options: &ConnectOptions) -> io::Result<Self> {
        let stream = TcpStream::connect_addr(peer).await?;
        stream.set_nodelay(true)?;
        if let Some(idle) = options.keepalive {
            // A connection without probes is better than none.
            let _ = stream.set_tcp_keepalive(Some(idle.clamp(KEEPALIVE_MIN, KEEPALIVE_MAX)), None, None);
        }
        Ok(Self::new(stream, peer))
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Makes the handshake; what is sent and received from then on is under TLS. The caller bounds the time by dropping the
    /// future, which closes the connection.
    ///
    /// # Errors
    /// The connection failed, or the handshake did: then the kind is `InvalidData`, and the peer was told why.
    pub async fn sealed(mut self, session: Session) -> io::Result<(Self, Rc<RefCell<Session>>)> {
        let mut session = session;
        loop {
            let shaken = session.shake();
            if let Some(buffer) = session.take_outgoing() {
                let sent = self.sender.send(Unsent { buffer, sent: 0 }).await.0;
                // Whoever refuses us may have stopped listening.
                if shaken.is_ok() {
                    sent?;
                }
            }
            match shaken {
                Ok(Handshake::Done) => break,
                Ok(Handshake::NeedsMore) => {
                    let received = self.more_of_handshake(session.take_received()).await?;
                    session.set_received(received);
                }
                Err(error) => {
                    self.sender.shutdown_send();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        let session = Rc::new(RefCell::new(session));
        self.receiver.seal(session.clone());
        self.sender.sealed = Some(session.clone());
        Ok((self, session))
    }

    async fn more_of_handshake(&mut self, mut received: Buffer) -> io::Result<Buffer> {
        if received.is_empty() {
            self.receiver.start_idle();
        } else {
            if received.spare() == 0 {
                let doubled = received.capacity() * 2;
                if doubled > HANDSHAKE_BYTES_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                received.grow_to(doubled);
            }
            self.receiver.start(received);
        }
        match self.receiver.received().await {
            (Ok(0), _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(_), received) => Ok(received),
            (Err(error), _) => Err(error),
        }
    }
}

impl Sender {
    /// Sends what the kernel takes, and says how much that was. Nearly every send finds room, and a system call of its own
    /// then costs less than an operation of the ring with the second turn through the task that its completion takes. The
    /// ring is for those that have to wait, and for a busy core, which gains more by making many of them in one go
    /// (docs/design/sends.md).
    pub async fn send_some(&mut self, unsent: Unsent) -> (io::Result<usize>, Unsent) {
        match self.sealed.clone() {
            None => self.send_to_wire(unsent).await,
            Some(session) => self.send_sealed(session, unsent).await,
        }
    }

    /// Encrypts a piece and sends it whole: what is encrypted has its place in the stream and cannot be taken back.
    async fn send_sealed(&mut self, session: Rc<RefCell<Session>>, unsent: Unsent) -> (io::Result<usize>, Unsent) {
        let left = &unsent.buffer[unsent.sent..];
        let count = left.len().min(SEALED_BYTES_MAX);
        let sent = match encrypted(&session, &left[..count]) {
            Ok(buffer) => self.send_all_to_wire(Unsent { buffer, sent: 0 }).await,
            Err(error) => Err(error),
        };
        (sent.map(|()| count), unsent)
    }

    /// A piece of at most [`SEALED_BYTES_MAX`] under TLS, as it is to be sent. Only when it is sealed.
    pub(super) fn seal(&self, plain: &[u8]) -> io::Result<Buffer> {
        let session = self.sealed.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        encrypted(session, plain)
    }

    /// Sends what is as it is to stand on the wire.
    pub(super) async fn send_all_to_wire(&mut self, unsent: Unsent) -> io::Result<()> {
        let mut unsent = unsent;
        while unsent.sent < unsent.buffer.len() {
            let (sent, back) = self.send_to_wire(unsent).await;
            unsent = back;
            match sent? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => unsent.sent += count,
            }
        }
        Ok(())
    }

    /// Sends what the kernel takes at once; `None` when it takes nothing now.
    pub(super) fn try_send_pieces(&self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match pieces {
            [piece] => rustix::net::send(self.fd(), piece, flags),
            _ => rustix::net::sendmsg(self.fd(), pieces, &mut SendAncillaryBuffer::default(), flags),
        };
        match sent {
            Err(Errno::AGAIN | Errno::INTR) => None,
            sent => Some(sent.map_err(io::Error::from)),
        }
    }

    async fn send_to_wire(&mut self, unsent: Unsent) -> (io::Result<usize>, Unsent) {
        let mut unsent = unsent;
        if !pace::count_send()
            && let Some(sent) = self.try_send_pieces(&[IoSlice::new(&unsent.buffer[unsent.sent..])])
        {
            return (sent, unsent);
        }
        loop {
            let (sent, back) = self.half.write(unsent).await;
            unsent = back;
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // As for receives: it began while a pipe moved bytes of this socket.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = raw(&self.half.0).writable(false).await {
                        return (Err(error), unsent);
                    }
                }
                sent => return (sent, unsent),
            }
        }
    }

    /// Whether bytes can be moved by the kernel, unseen.
    pub fn takes_pipes(&self) -> bool {
        self.sealed.is_none()
    }

    /// Where a flow may send instead, if bytes go out as they are.
    pub fn flow_sink(&self) -> Option<Sink> {
        self.sealed.is_none().then(|| Sink(self.half.0.clone()))
    }

    /// Sends what the kernel takes of what the pipe holds; waits until it takes something. Only if it takes pipes.
    pub async fn send_from(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        loop {
            match pipe.drain(self.fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => raw(&self.half.0).writable(false).await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent,
            }
        }
    }

    /// Sends all of it and gives the buffer back.
    pub async fn send(&mut self, unsent: Unsent) -> (io::Result<()>, Buffer) {
        let mut unsent = unsent;
        while unsent.sent < unsent.buffer.len() {
            let (sent, back) = self.send_some(unsent).await;
            unsent = back;
            match sent {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), unsent.buffer),
                Ok(count) => unsent.sent += count,
                Err(error) => return (Err(error), unsent.buffer),
            }
        }
        (Ok(()), unsent.buffer)
    }

    /// Tells the peer that nothing more will be sent.
    pub fn shutdown_send(&self) {
        self.say_end();
        // A peer that has gone meanwhile needs not be told.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }

    /// Under TLS tells the peer that this end was meant, and no cut; in the clear the end says that itself.
    pub fn say_end(&self) {
        if let Some(session) = &self.sealed {
            let mut alert = Vec::new();
            // As good as the socket takes it: the end of the stream follows in any case.
            if session.borrow_mut().close(&mut alert).is_ok() {
                let _ = self.try_send_pieces(&[IoSlice::new(&alert)]);
            }
        }
    }

    /// Resets the connection now, so that the peer cannot take a cut-off body for a whole one. A close would come too late:
    /// the write half sends a FIN when it is dropped.
    pub fn reset(&self) {
        let _ = rustix::net::connect_unspec(self.fd());
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self` holds the stream.
        #[allow(unsafe_code)]
        unsafe {
            BorrowedFd::borrow_raw(raw(&self.half.0).as_raw_fd())
        }
    }
}

fn encrypted(session: &RefCell<Session>, plain: &[u8]) -> io::Result<Buffer> {
    let is_short = plain.len() + SEALED_GROWTH_BYTES <= HEAD_BUFFER_BYTES;
    let mut buffer = if is_short { Buffer::head() } else { Buffer::bulk() };
    session.borrow_mut().seal(plain, buffer.as_vec_mut()).map_err(io::Error::other)?;
    Ok(buffer)
}

/// The stream behind a half.
#[allow(unsafe_code)]
pub(super) fn raw(shared: &Rc<UnsafeCell<TcpStream>>) -> &TcpStream {
    // SAFETY: only the descriptor is read through this reference; the halves' operations clone the descriptor and touch
    // nothing else of the stream, and all of it happens on one thread.
    unsafe { &*shared.get() }
}
