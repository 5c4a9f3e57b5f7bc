//! Where a UDP sink is, and a socket to it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::endpoint::resolve;
use crate::dns::DnsCache;

/// How often a sink looks whether its host has moved.
pub const UDP_RE_RESOLVE_INTERVAL: Duration = Duration::from_secs(60);

/// # Errors
/// The host has no address.
pub async fn resolve_udp_endpoint(
    host: &str,
    port: u16,
    dns_cache: Option<&DnsCache>,
    plugin_name: &'static str,
) -> Result<SocketAddr, String> {
    resolve(host, port, dns_cache, plugin_name).await
}

/// A socket of any free port that sends there and nowhere else.
///
/// # Errors
/// The system refuses.
pub async fn bind_connected_udp_socket(remote: SocketAddr, plugin_name: &'static str) -> Result<UdpSocket, String> {
    let any: SocketAddr =
        if remote.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let cannot = |error: std::io::Error| format!("{plugin_name}: no UDP socket to {remote}: {error}");
    let socket = UdpSocket::bind(any).await.map_err(cannot)?;
    socket.connect(remote).await.map_err(cannot)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_reach_the_resolved_endpoint() {
        let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let remote = resolve_udp_endpoint("127.0.0.1", sink.local_addr().unwrap().port(), None, "p").await.unwrap();
        let socket = bind_connected_udp_socket(remote, "p").await.unwrap();
        socket.send(b"hello").await.unwrap();
        let mut bytes = [0; 8];
        assert_eq!(sink.recv(&mut bytes).await.unwrap(), 5);
    }
}
