//! The listeners, plain and HTTPS: who may connect, how many at once, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::publish::View;
use engine::tls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::Admin;
use super::connection::{self, Secured};

/// Connections open at once; one more is closed without an answer.
const CONNECTIONS_MAX: usize = 1024;

/// How long accepting rests when the process has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What makes HTTPS of a listener.
pub struct AdminTls {
    /// Looked at for each connection: it changes when the files do.
    pub config: View<ServerConfig>,
    /// Zero = no limit.
    pub handshake_timeout: Duration,
}

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
    pub(super) fn start(admin: Arc<Admin>, address: SocketAddr, tls: Option<AdminTls>) -> io::Result<Self> {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(admin, listener, tls, stopped));
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

async fn accept(
    admin: Arc<Admin>,
    listener: TcpListener,
    mut tls: Option<AdminTls>,
    mut stopped: watch::Receiver<bool>,
) {
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
        let secured = tls.as_mut().map(|tls| {
            let (config, _) = tls.config.look();
            Secured { config: config.clone(), handshake_timeout: tls.handshake_timeout }
        });
        let (admin, stopped) = (admin.clone(), stopped.clone());
        tokio::spawn(async move {
            connection::serve(admin, stream, secured, stopped).await;
            drop(place);
        });
    }
}
