//! A TCP connection: a receiver that can stay in flight while other things happen, and a sender.

use std::cell::UnsafeCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;

use super::{Receiver, Sender};

/// How outgoing connections are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectOptions {
    /// Idle time before the kernel probes the peer; none = no probes.
    pub keepalive: Option<Duration>,
    pub fast_open: bool,
}

pub struct Stream {
    pub receiver: Receiver,
    pub sender: Sender,
    peer: SocketAddr,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        let (reading, half): (OwnedReadHalf<TcpStream>, OwnedWriteHalf<TcpStream>) = stream.into_split();
        Self { receiver: Receiver::new(reading), sender: Sender::new(half), peer }
    }

    /// Connects; the caller bounds the time by dropping the future.
    pub async fn connect(peer: SocketAddr, options: &ConnectOptions) -> io::Result<Self> {
        let mut how = monoio::net::TcpConnectOpts::new();
        if options.fast_open {
            how = how.tcp_fast_open(true);
        }
        let stream = TcpStream::connect_addr_with_config(peer, &how).await?;
        stream.set_nodelay(true)?;
        if options.keepalive.is_some() {
            stream.set_tcp_keepalive(options.keepalive, None, None)?;
        }
        Ok(Self::new(stream, peer))
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// The stream behind a half.
#[allow(unsafe_code)]
pub(super) fn raw(shared: &Rc<UnsafeCell<TcpStream>>) -> &TcpStream {
    // SAFETY: only the descriptor is read through this reference; the halves' operations clone the descriptor and touch
    // nothing else of the stream, and all of it happens on one thread.
    unsafe { &*shared.get() }
}
