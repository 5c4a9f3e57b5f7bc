//! Getting a connection to a backend: an idle one, a place on one that many share, or a new one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::buffer::Buffer;
use engine::counters::ErrorClass;
use engine::dns::Resolution;
use engine::net::{Duplex, Stream};
use engine::snapshot::{BackendAddress, Security};
use engine::tls::{ALPN_HTTP2, Session, server_name};

use crate::exchange::{Kind, boxed};
use crate::failure::{Answer, Failure};
use crate::forward::Forwarding;
use crate::http1::BackendConnection;
use crate::http2::{Dialing, Lease, Leased};

/// What carries one request to its backend.
pub enum Connection {
    Http1(Box<BackendConnection>),
    Http2(Leased),
}

impl Connection {
    pub fn peer(&self) -> SocketAddr {
        match self {
            Connection::Http1(connection) => connection.peer,
            Connection::Http2(leased) => leased.peer(),
        }
    }

    /// Has served a request before. Then a failure may only mean that the backend has closed it since.
    pub fn is_reused(&self) -> bool {
        match self {
            Connection::Http1(connection) => connection.reused,
            Connection::Http2(leased) => leased.reused,
        }
    }
}

/// What the backend may choose from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Http1,
    Http2,
    Either,
}

impl Offer {
    /// Traffic sheet §10.2: gRPC is HTTP/2 and nothing else; a backend in the clear gets HTTP/1.1 otherwise, and one under TLS
    /// chooses. WebSocket begins as HTTP/1.1.
    fn of(forwarding: &Forwarding<'_>) -> Self {
        let limits = &forwarding.spec.backend.pool_limits;
        match (forwarding.kind, &forwarding.spec.backend.security) {
            (Kind::WebSocket, _) => Offer::Http1,
            (Kind::Grpc | Kind::GrpcWeb, _) => Offer::Http2,
            (Kind::Plain, Security::Tls(_)) if limits.offers_http2 => Offer::Either,
            (Kind::Plain, _) => Offer::Http1,
        }
    }
}

/// A connection for one request; `fresh`: one that nobody has used.
pub async fn checkout(forwarding: &Forwarding<'_>, fresh: bool) -> Result<Connection, Failure> {
    let offer = Offer::of(forwarding);
    if offer == Offer::Http1 {
        return idle_or_new(forwarding, fresh).await.map(Connection::Http1);
    }
    if !fresh && let Some(leased) = shared(forwarding, offer) {
        return Ok(Connection::Http2(leased));
    }
    boxed(|| multiplexed(forwarding, offer, fresh)).await
}

/// A place on a connection that is there, which is the usual case and needs no waiting.
fn shared(forwarding: &Forwarding<'_>, offer: Offer) -> Option<Leased> {
    let connections = &forwarding.destination.pool.multiplexed;
    let limits = &forwarding.spec.backend.pool_limits.http2;
    let leased = connections.place(forwarding.worker, limits, offer == Offer::Either, false)?;
    forwarding.worker.core.counters().backend_reuses.one();
    Some(leased)
}

async fn idle_or_new(forwarding: &Forwarding<'_>, fresh: bool) -> Result<Box<BackendConnection>, Failure> {
    if !fresh && let Some(connection) = idle(forwarding) {
        return Ok(connection);
    }
    let (stream, _) = boxed(|| dial(forwarding, Offer::Http1)).await?;
    Ok(Box::new(BackendConnection::new(stream)))
}

/// A connection that will not be a request's any more.
pub async fn for_upgrade(forwarding: &Forwarding<'_>) -> Result<Box<BackendConnection>, Failure> {
    let (stream, _) = dial(forwarding, Offer::Http1).await?;
    Ok(Box::new(BackendConnection::new(stream)))
}

/// One that still waits for its next request.
fn idle(forwarding: &Forwarding<'_>) -> Option<Box<BackendConnection>> {
    let counters = forwarding.worker.core.counters();
    while let Some(mut connection) = forwarding.destination.pool.take() {
        if connection.is_silent() {
            counters.backend_reuses.one();
            return Some(connection);
        }
        counters.backend_evictions.one();
    }
    None
}

async fn multiplexed(forwarding: &Forwarding<'_>, offer: Offer, fresh: bool) -> Result<Connection, Failure> {
    let connections = &forwarding.destination.pool.multiplexed;
    let limits = &forwarding.spec.backend.pool_limits.http2;
    match connections.lease(forwarding.worker, limits, offer == Offer::Either, fresh).await {
        Lease::Have(leased) => {
            forwarding.worker.core.counters().backend_reuses.one();
            Ok(Connection::Http2(leased))
        }
        Lease::Dial(dialing) => begin(forwarding, offer, dialing).await,
        Lease::Failed(class) => Err(Failure::backend(class)),
        Lease::Http1 => negotiated_http1(forwarding, fresh).await,
    }
}

/// The backend chose HTTP/1.1 the last time. It is asked again with each new connection.
async fn negotiated_http1(forwarding: &Forwarding<'_>, fresh: bool) -> Result<Connection, Failure> {
    if !fresh && let Some(connection) = idle(forwarding) {
        return Ok(Connection::Http1(connection));
    }
    let (stream, is_http2) = dial(forwarding, Offer::Either).await?;
    carry(forwarding, stream, is_http2).await
}

async fn begin(forwarding: &Forwarding<'_>, offer: Offer, dialing: Dialing) -> Result<Connection, Failure> {
    match dial(forwarding, offer).await {
        Ok((stream, is_http2)) => carry(forwarding, stream, is_http2 || offer == Offer::Http2).await,
        Err(failure) => {
            dialing.failed(failure.class);
            Err(failure)
        }
    }
}

async fn carry(forwarding: &Forwarding<'_>, stream: Stream, is_http2: bool) -> Result<Connection, Failure> {
    let connections = &forwarding.destination.pool.multiplexed;
    if !is_http2 {
        connections.note_http1();
        return Ok(Connection::Http1(Box::new(BackendConnection::new(stream))));
    }
    let limits = &forwarding.spec.backend.pool_limits.http2;
    let (peer, stream) = (stream.peer(), Duplex::new(stream, Buffer::none()));
    let leased = connections.begin(forwarding.worker, stream, peer, limits).await.map_err(Failure::backend)?;
    Ok(Connection::Http2(leased))
}

/// A new connection, under TLS if the backend wants it, within the connect timeout; and whether HTTP/2 was agreed on.
async fn dial(forwarding: &Forwarding<'_>, offer: Offer) -> Result<(Stream, bool), Failure> {
    let counters = forwarding.worker.core.counters();
    let address = address(forwarding)?;
    let deadline = forwarding.worker.core.deadlines.deadline();
    deadline.set_ms(forwarding.spec.connect_timeout_ms);
    let dialled = deadline.bound(connected(forwarding, address, offer)).await;
    let failure = match dialled {
        Some(Ok(dialled)) => {
            counters.backend_connects.one();
            return Ok(dialled);
        }
        Some(Err(failure)) => failure,
        None => Failure::backend(ErrorClass::ConnectionTimeout),
    };
    counters.backend_connect_failures.one();
    if failure.class == ErrorClass::PortExhaustion {
        counters.port_exhaustions.one();
        tracing::error!("PORT EXHAUSTION: no local port left for a connection to {address}");
    }
    Err(failure)
}

async fn connected(forwarding: &Forwarding<'_>, address: SocketAddr, offer: Offer) -> Result<(Stream, bool), Failure> {
    let mut options = forwarding.worker.settings.connect;
    let keepalive_seconds = forwarding.spec.backend.pool_limits.tcp_keepalive_seconds;
    options.keepalive = (keepalive_seconds > 0).then(|| Duration::from_secs(keepalive_seconds));
    let stream = Stream::connect(address, &options).await.map_err(|error| Failure::backend(connect_class(&error)))?;
    let tls = match &forwarding.spec.backend.security {
        Security::Plain => return Ok((stream, false)),
        Security::Tls(tls) => tls,
        Security::Broken(reason) => return Err(unusable(reason)),
    };
    let host = &forwarding.destination.host;
    let name = server_name(&tls.inputs, host).map_err(|reason| {
        tracing::warn!("TLS to {host}: {reason}");
        Failure::backend(ErrorClass::DnsLookupError)
    })?;
    let config = match offer {
        Offer::Http1 => &tls.offers.http1,
        Offer::Http2 => &tls.offers.http2,
        Offer::Either => &tls.offers.either,
    };
    let session = Session::client(config.clone(), name).map_err(|error| unusable(&error.to_string()))?;
    let failed = |reason: &dyn std::fmt::Display| {
        tracing::warn!(error_kind = "tls_error", "Backend TLS handshake with {host} ({address}) failed: {reason}");
        Failure::backend(ErrorClass::TlsError)
    };
    let (stream, session) = stream.sealed(session).await.map_err(|error| failed(&error))?;
    let is_http2 = session.borrow().common().alpn_protocol() == Some(ALPN_HTTP2);
    if offer == Offer::Http2 && !is_http2 {
        return Err(failed(&"the backend does not speak HTTP/2 (no 'h2' by ALPN)"));
    }
    Ok((stream, is_http2))
}

fn unusable(reason: &str) -> Failure {
    tracing::error!(error_kind = "pool_error", "TLS to the backend cannot be used: {reason}");
    Failure::new(ErrorClass::ConnectionPoolError, Answer::BadGateway)
}

fn address(forwarding: &Forwarding<'_>) -> Result<SocketAddr, Failure> {
    let destination = &forwarding.destination;
    if let Security::Broken(reason) = &forwarding.spec.backend.security {
        return Err(unusable(reason));
    }
    let refused = Failure::new(ErrorClass::DnsLookupError, Answer::NoAddress);
    let ip: IpAddr = match destination.address {
        BackendAddress::Literal(ip) => *ip,
        BackendAddress::Refused(_) => return Err(refused),
        BackendAddress::Name => {
            let mut table = forwarding.worker.core.dns.borrow_mut();
            match table.look().0.get(&destination.host) {
                Some(Resolution::Address(ip)) => *ip,
                Some(Resolution::Failed(_)) | None => return Err(refused),
            }
        }
    };
    Ok(SocketAddr::new(ip, destination.port))
}

fn connect_class(error: &io::Error) -> ErrorClass {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => ErrorClass::PortExhaustion,
        Some(libc::ETIMEDOUT) => ErrorClass::ConnectionTimeout,
        _ => ErrorClass::ConnectionRefused,
    }
}
