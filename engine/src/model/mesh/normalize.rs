//! The form in which mesh hosts and addresses are compared (§12.5, last paragraph).

use std::collections::BTreeMap;

use super::{ISTIO_ROOT_NAMESPACE, Mesh, RequestMatch};

/// Brings hosts, addresses, patterns and header names into their compared form. Idempotent.
pub fn normalize(mesh: &mut Mesh) {
    mesh.istio_root_namespace = match mesh.istio_root_namespace.trim() {
        "" => ISTIO_ROOT_NAMESPACE.into(),
        trimmed => trimmed.to_owned(),
    };
    for workload in &mut mesh.workloads {
        workload.addresses.iter_mut().for_each(lower);
    }
    for entry in &mut mesh.service_entries {
        entry.hosts.iter_mut().for_each(host_name);
        entry.endpoints.iter_mut().for_each(|endpoint| lower(&mut endpoint.address));
    }
    mesh.destination_rules.iter_mut().for_each(|rule| host_name(&mut rule.host));
    for egress in mesh.sidecars.iter_mut().flat_map(|sidecar| &mut sidecar.egress) {
        egress.hosts.iter_mut().for_each(host_name);
    }
    for rule in mesh.mesh_policies.iter_mut().flat_map(|policy| &mut policy.rules) {
        rule.to.iter_mut().for_each(request_match);
    }
    for gateway in mesh.multi_cluster.iter_mut().flat_map(|multi| &mut multi.east_west_gateways) {
        lower(&mut gateway.host);
        gateway.sni_hosts.iter_mut().for_each(lower);
    }
}

fn request_match(request: &mut RequestMatch) {
    request.hosts.iter_mut().for_each(host_pattern);
    request.not_hosts.iter_mut().for_each(host_pattern);
    for pattern in &mut request.port_patterns {
        *pattern = pattern.trim().to_owned();
    }
    let headers: BTreeMap<String, String> = std::mem::take(&mut request.headers);
    request.headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
}

fn lower(text: &mut String) {
    *text = text.to_lowercase();
}

fn host_name(host: &mut String) {
    *host = host.trim().trim_end_matches('.').to_lowercase();
}

/// Takes the trailing dot before an optional port; a bracketed IPv6 address is only lower-cased.
fn host_pattern(pattern: &mut String) {
    let trimmed = pattern.trim().to_lowercase();
    *pattern = match trimmed.rsplit_once(':') {
        _ if trimmed.starts_with('[') => trimmed,
        Some((host, port)) => format!("{}:{port}", host.trim_end_matches('.')),
        None => trimmed.trim_end_matches('.').to_owned(),
    };
}
