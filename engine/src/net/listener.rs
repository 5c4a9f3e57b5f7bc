//! Listening sockets, one per core and port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::Stream;

/// Accepted sockets are probed after this much silence (settings sheet §16.3).
const KEEPALIVE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub address: SocketAddr,
    pub backlog: u32,
    /// Several sockets share the port, one per core.
    pub reuse_port: bool,
    /// Length of the fast-open queue; none = off.
    pub fast_open_queue: Option<u16>,
}

/// Binds and listens. Done by control before the cores start, so that a failure is one message and not one per core.
pub fn bind(options: &ListenOptions) -> io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(options.address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if let IpAddr::V6(address) = options.address.ip()
        && address.is_unspecified()
    {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // Inherited by accepted sockets, which saves two system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(&options.address.into())?;
    if let Some(queue) = options.fast_open_queue {
        fast_open(&socket, queue);
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Best effort: a kernel without fast open listens all the same.
fn fast_open(socket: &Socket, queue: u16) {
    let queue = libc::c_int::from(queue);
    // SAFETY: `queue` outlives the call and its size is given.
    #[allow(unsafe_code)]
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN,
            (&raw const queue).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// What clients of a listener begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// Requests.
    Plain,
    /// A TLS handshake.
    Tls,
}

/// A connection that belongs to no core yet.
pub struct Accepted {
    fd: OwnedFd,
    peer: SocketAddr,
    opening: Opening,
}

impl Accepted {
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub fn opening(&self) -> Opening {
        self.opening
    }

    /// Takes the connection into this core's reactor.
    pub fn into_stream(self) -> io::Result<Stream> {
        let stream = TcpStream::from_std(std::net::TcpStream::from(self.fd))?;
        Ok(Stream::new(stream, self.peer))
    }
}

/// A listening socket in this core's reactor.
pub struct Listener {
    listener: TcpListener,
    opening: Opening,
}

impl Listener {
    pub fn new(listener: std::net::TcpListener, opening: Opening) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, opening })
    }

    /// The next connection. Dropping the future takes the wait back.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.listener.accept().await?;
        let fd = stream.into_raw_fd();
        // SAFETY: `into_raw_fd` gave up the descriptor, so it has exactly one owner again.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Accepted { fd, peer, opening: self.opening })
    }
}
