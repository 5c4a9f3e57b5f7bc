//! The plain listener: who may connect, how long a head may take, and an orderly end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::{Admin, pipeline};

/// Connections open at once; one more is closed without an answer.
const CONNECTIONS_MAX: usize = 1024;

/// All header fields of one request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long accepting rests when the process has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that serves until it is shut down or dropped.
pub struct AdminListener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        self.accepting.abort();
        self.stop.send_replace(true);
    }
}

impl AdminListener {
    pub(super) fn start(admin: Arc<Admin>, address: SocketAddr) -> io::Result<Self> {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(admin, listener, stopped));
        Ok(Self { address, stop, accepting })
    }

    /// With the port that the system chose, if it was left to it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets answers under way end, and returns when all connections are closed, at the latest after
    /// `longest`.
    pub async fn shutdown(mut self, longest: Duration) {
        self.stop.send_replace(true);
        // Each connection holds a receiver until it is closed.
        let closed = async {
            let _ = (&mut self.accepting).await;
            self.stop.closed().await;
        };
        let _ = tokio::time::timeout(longest, closed).await;
    }
}

/// `[::]` listens for IPv4 as well.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

async fn accept(admin: Arc<Admin>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "The admin listener cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Before a byte is read: a peer that is not on the list learns nothing.
        if !(admin.sources.allow)(peer.ip().to_canonical()) {
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(connections_max = CONNECTIONS_MAX, "The admin listener is full; a connection is closed");
            continue;
        };
        let (admin, stopped) = (admin.clone(), stopped.clone());
        tokio::spawn(async move {
            serve(admin, stream, stopped).await;
            drop(place);
        });
    }
}

async fn serve(admin: Arc<Admin>, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let timeout = admin.options.header_read_timeout;
    let service = service_fn(|request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(pipeline::answer(&admin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout((!timeout.is_zero()).then_some(timeout))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // None: told to stop while it was open.
    let outcome = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "An admin connection ended early");
    }
}
