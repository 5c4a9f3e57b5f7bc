//! Where a TCP sink is.

use std::net::SocketAddr;

use super::endpoint::resolve;
use crate::dns::DnsCache;

/// # Errors
/// The host has no address.
pub async fn resolve_tcp_endpoint(
    host: &str,
    port: u16,
    dns_cache: Option<&DnsCache>,
    plugin_name: &'static str,
) -> Result<SocketAddr, String> {
    resolve(host, port, dns_cache, plugin_name).await
}
