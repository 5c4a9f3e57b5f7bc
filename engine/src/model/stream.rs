//! Ports of stream proxies (resources sheet §4.7).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::Document;
use super::finding::Finding;
use super::host::hosts_overlap;
use super::proxy::Proxy;

/// Ports present where they must be, absent where they must not be, and shared by passthrough proxies only.
pub fn check_streams(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut by_port: BTreeMap<u16, Vec<(usize, &Proxy)>> = BTreeMap::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let (id, scheme) = (&proxy.id, proxy.scheme().as_str());
        let message = match (proxy.is_http(), proxy.listen_port) {
            (true, None) => continue,
            (true, Some(_)) => format!("HTTP proxy '{id}' (scheme {scheme}) must not set listen_port"),
            (false, None) => format!("Stream proxy '{id}' (scheme {scheme}) must have a listen_port"),
            (false, Some(0)) => format!("Stream proxy '{id}' has invalid listen_port 0 (must be >= 1)"),
            (false, Some(port)) => {
                by_port.entry(port).or_default().push((i, proxy));
                continue;
            }
        };
        found.push(Finding::proxy(i, id, message));
    }
    for (port, sharing) in by_port.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        check_shared_port(&mut found, port, &sharing);
    }
    found
}

fn check_shared_port(found: &mut Vec<Finding>, port: u16, sharing: &[(usize, &Proxy)]) {
    let (last_index, last) = sharing[sharing.len() - 1];
    let terminating: Vec<&str> =
        sharing.iter().filter(|(_, proxy)| !proxy.passthrough).map(|(_, proxy)| proxy.id.as_str()).collect();
    if !terminating.is_empty() {
        let message = format!(
            "Duplicate listen_port {port} — all proxies sharing a port must have passthrough: true, but {} do not",
            terminating.join(", ")
        );
        found.push(Finding::proxy(last_index, &last.id, message));
        return;
    }
    let catch_alls = sharing.iter().filter(|(_, proxy)| proxy.hosts.is_empty()).count();
    if catch_alls > 1 {
        let message = format!(
            "Passthrough port {port} has {catch_alls} proxies with empty hosts — at most one catch-all is allowed"
        );
        found.push(Finding::proxy(last_index, &last.id, message));
    }
    for (place, (i, b)) in sharing.iter().enumerate() {
        for (_, a) in sharing[..place].iter().filter(|(_, a)| hosts_overlap(&a.hosts, &b.hosts)) {
            let message = format!(
                "Passthrough proxies '{}' and '{}' on port {port} have overlapping hosts (SNI could not decide)",
                a.id, b.id
            );
            found.push(Finding::proxy(*i, &b.id, message));
        }
    }
}

/// Stream ports that a listener of the gateway itself has; a reserved 0 is a listener that is off.
pub fn reserved_port_conflicts(document: &Document, reserved: &[u16]) -> Vec<String> {
    reserved_ports(document, reserved).iter().map(Finding::to_string).collect()
}

pub(super) fn reserved_ports(document: &Document, reserved: &[u16]) -> Vec<Finding> {
    let conflict = |(i, proxy): (usize, &Arc<Proxy>)| {
        let port = proxy.listen_port.filter(|port| !proxy.is_http() && *port != 0 && reserved.contains(port))?;
        let message = format!(
            "Stream proxy '{}' listen_port {port} conflicts with a gateway reserved port (proxy/admin/gRPC listener)",
            proxy.id
        );
        Some(Finding::proxy(i, &proxy.id, message))
    };
    document.proxies.iter().enumerate().filter_map(conflict).collect()
}

#[cfg(test)]
mod tests;
