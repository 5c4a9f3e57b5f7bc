//! A connection of the HTTPS listener: its handshake, and then the protocol that was agreed on.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use engine::buffer::Buffer;
use engine::net::{Duplex, Stream};
use engine::tls::{ALPN_HTTP2, HandshakeKind, Session};
use plugins::ClientCertificate;

use crate::exchange::{Peer, boxed};
use crate::http1;
use crate::http2;
use crate::worker::Worker;

pub async fn serve_connection(worker: Rc<Worker>, stream: Stream) {
    let counters = worker.core.counters();
    let peer = stream.peer();
    let stream = match boxed(|| handshake(&worker, stream)).await {
        Ok(stream) => stream,
        Err(error) => {
            counters.tls_handshake_failures.one();
            tracing::debug!(%peer, "Frontend TLS handshake failed: {error}");
            return;
        }
    };
    let (stream, session) = stream;
    let mut peer = Peer::new(peer.ip(), true);
    peer.certificate = certificate(&session.borrow());
    let is_http2 = session.borrow().common().alpn_protocol() == Some(ALPN_HTTP2);
    drop(session);
    if is_http2 {
        let stream = Duplex::new(stream, Buffer::none());
        boxed(|| http2::serve_connection(worker, stream, peer)).await;
    } else {
        http1::serve_connection(worker, stream, peer).await;
    }
}

/// What the client has shown, once per connection.
fn certificate(session: &Session) -> Option<Rc<ClientCertificate>> {
    let (leaf, chain) = session.common().peer_certificates()?.split_first()?;
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
    Some(Rc::new(ClientCertificate::new(leaf.to_vec(), chain)))
}

/// A handshake, within its time.
async fn handshake(worker: &Worker, stream: Stream) -> io::Result<(Stream, Rc<RefCell<Session>>)> {
    let counters = worker.core.counters();
    let Some(config) = worker.tls() else { return Err(io::ErrorKind::NotFound.into()) };
    let session = Session::server(config).map_err(io::Error::other)?;
    let deadline = worker.core.deadlines.deadline();
    deadline.set(Some(worker.settings.tls_handshake_timeout_ms));
    let (stream, session) =
        deadline.bound(stream.sealed(session)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
    counters.tls_handshakes.one();
    if session.borrow().common().handshake_kind() == Some(HandshakeKind::Resumed) {
        counters.tls_handshakes_resumed.one();
    }
    Ok((stream, session))
}
