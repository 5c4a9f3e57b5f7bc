//! Connections of control to backends, by the rules that hold for those of cores.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::dns::Resolution;
use engine::snapshot::{BackendAddress, Security};
use engine::tls::{BackendTls, ClientConfig, server_name};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::target::Target;
use crate::dns::Dns;

/// A connection in the clear, to no address that the policy forbids.
///
/// # Errors
/// The reason why there is none.
pub async fn connect(target: &Target, dns: &Dns) -> Result<TcpStream, String> {
    if let Security::Broken(reason) = &target.security {
        return Err(reason.clone());
    }
    let ip = match &target.address {
        BackendAddress::Literal(ip) => *ip,
        BackendAddress::Refused(reason) => return Err(reason.clone()),
        BackendAddress::Name => match dns.resolve(&target.host).await {
            Resolution::Address(ip) => ip,
            Resolution::Failed(reason) => return Err(reason),
        },
    };
    let address = SocketAddr::new(ip, target.port);
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// The handshake, with one of the backend's offers.
///
/// # Errors
/// The reason why the backend is not believed, or not understood.
pub async fn seal(
    stream: TcpStream,
    target: &Target,
    tls: &BackendTls,
    offer: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let name = server_name(&tls.inputs, &target.host)?;
    let handshake = TlsConnector::from(offer.clone()).connect(name, stream);
    handshake.await.map_err(|error| format!("TLS handshake: {error}"))
}
