//! Who the client is when proxies stand in front (settings sheet §14).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use engine::http::{Known, RequestHead};

use crate::exchange::Peer;
use crate::settings::HttpSettings;

/// The client's address, and its text.
pub fn resolve<'p>(head: &RequestHead, peer: &'p Peer, settings: &HttpSettings) -> (IpAddr, Cow<'p, str>) {
    let socket = (peer.ip, Cow::Borrowed(peer.ip_text.as_str()));
    if settings.trusted_proxies.is_empty() || !settings.trusted_proxies.contains(peer.ip) {
        return socket;
    }
    let claimed = match settings.real_ip_header.as_deref().and_then(|name| head.headers.all(name).next()) {
        Some(value) => real_ip(value),
        None => forwarded_for(head, settings),
    };
    claimed.map_or(socket, |ip| (ip, Cow::Owned(ip.to_string())))
}

/// One address, or one address with a port.
fn real_ip(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let ip = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

/// The rightmost address that is not one of ours; nothing when the chain is broken or all of it is ours.
fn forwarded_for(head: &RequestHead, settings: &HttpSettings) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = head.headers.known(Known::XForwardedFor).collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let entry = entry.trim_ascii();
        if entry.is_empty() {
            continue;
        }
        let ip = std::str::from_utf8(entry).ok()?.parse::<IpAddr>().ok()?.to_canonical();
        if !settings.trusted_proxies.contains(ip) {
            return Some(ip);
        }
    }
    None
}
