//! The semantic checks of a normalised mesh block (mesh sheet §10).

use std::collections::HashSet;
use std::net::Ipv6Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{
    EastWestGateway, Mesh, MeshPolicy, MultiCluster, PrincipalMatch, RemoteCluster, RequestAuthentication,
    RequestMatch, Resolution, ServiceEntry, TrustBundle, TrustBundleSet, Workload,
};

/// Every fault of the block, without a prefix; callers join them with `; `.
pub fn check(mesh: &Mesh) -> Vec<String> {
    let mut errors = Vec::new();
    mesh.workloads.iter().for_each(|workload| check_workload(&mut errors, workload));
    for service in &mesh.services {
        named(&mut errors, "MeshService", &service.name, &service.namespace);
    }
    mesh.mesh_policies.iter().for_each(|policy| check_policy(&mut errors, policy));
    for authentication in &mesh.peer_authentications {
        named(&mut errors, "PeerAuthentication", &authentication.name, &authentication.namespace);
    }
    mesh.request_authentications.iter().for_each(|request| check_request_authentication(&mut errors, request));
    mesh.service_entries.iter().for_each(|entry| check_service_entry(&mut errors, entry));
    if let Some(bundles) = &mesh.trust_bundles {
        errors.extend(check_trust_bundles(bundles));
    }
    if let Some(multi_cluster) = &mesh.multi_cluster {
        check_multi_cluster(&mut errors, multi_cluster, mesh.trust_bundles.as_ref());
    }
    errors
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn is_blank_when_set(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(is_blank)
}

/// Name and namespace, which every mesh resource needs.
fn named(errors: &mut Vec<String>, kind: &str, name: &str, namespace: &str) {
    if is_blank(name) {
        errors.push(format!("{kind}: name must not be empty"));
    }
    if is_blank(namespace) {
        errors.push(format!("{kind} '{name}': namespace must not be empty"));
    }
}

fn check_workload(errors: &mut Vec<String>, workload: &Workload) {
    let id = &workload.spiffe_id;
    if id.trust_domain() != workload.trust_domain.as_str() {
        errors.push(format!(
            "Workload '{id}': spiffe_id trust domain '{}' does not match workload's trust_domain '{}'",
            id.trust_domain(),
            workload.trust_domain
        ));
    }
    if is_blank(&workload.namespace) {
        errors.push(format!("Workload '{id}': namespace must not be empty"));
    }
    if is_blank(&workload.service_name) {
        errors.push(format!("Workload '{id}': service_name must not be empty"));
    }
    for (i, _) in workload.addresses.iter().enumerate().filter(|(_, address)| is_blank(address)) {
        errors.push(format!("Workload '{id}'.addresses[{i}]: address must not be empty"));
    }
    for (field, value) in [("network", &workload.network), ("cluster", &workload.cluster)] {
        if is_blank_when_set(value) {
            errors.push(format!("Workload '{id}': {field} must not be empty when set"));
        }
    }
}

fn check_policy(errors: &mut Vec<String>, policy: &MeshPolicy) {
    named(errors, "MeshPolicy", &policy.name, &policy.namespace);
    for (i, rule) in policy.rules.iter().enumerate() {
        let at = format!("MeshPolicy '{}'.rules[{i}]", policy.name);
        for (j, principal) in rule.from.iter().enumerate() {
            check_principal(errors, &format!("{at}.from[{j}]"), principal);
        }
        for (j, request) in rule.to.iter().enumerate() {
            check_request_match(errors, &format!("{at}.to[{j}]"), request);
        }
    }
}

fn check_principal(errors: &mut Vec<String>, at: &str, principal: &PrincipalMatch) {
    let patterns =
        [("spiffe_id_pattern", &principal.spiffe_id_pattern), ("namespace_pattern", &principal.namespace_pattern)];
    if patterns.iter().all(|(_, pattern)| pattern.is_none()) && principal.trust_domain.is_none() {
        errors.push(format!("{at}: at least one of spiffe_id_pattern/namespace_pattern/trust_domain must be set"));
    }
    for (field, pattern) in patterns {
        let Some(pattern) = pattern else { continue };
        if let Err(error) = glob::Pattern::new(pattern) {
            errors.push(format!("{at}.{field} '{pattern}' is not a valid glob: {error}"));
        }
    }
}

fn check_request_match(errors: &mut Vec<String>, at: &str, request: &RequestMatch) {
    let lists = [
        &request.methods,
        &request.paths,
        &request.hosts,
        &request.port_patterns,
        &request.not_methods,
        &request.not_paths,
        &request.not_hosts,
    ];
    let is_empty = lists.iter().all(|list| list.is_empty())
        && request.headers.is_empty()
        && request.ports.is_empty()
        && request.not_ports.is_empty();
    if is_empty {
        errors.push(format!(
            "{at}: at least one of methods/paths/hosts/headers/ports or their negated counterparts must be non-empty"
        ));
    }
    for (field, hosts) in [("hosts", &request.hosts), ("not_hosts", &request.not_hosts)] {
        for (k, host) in hosts.iter().enumerate().filter(|(_, host)| !is_host_pattern(host)) {
            errors.push(format!(
                "{at}.{field}[{k}] '{host}' is not a valid host pattern (expected hostname, [ipv6], or \
                 host:port/host:* with u16 numeric or '*' port)"
            ));
        }
    }
    for (k, pattern) in request.port_patterns.iter().enumerate().filter(|(_, pattern)| !is_port_pattern(pattern)) {
        errors.push(format!(
            "{at}.port_patterns[{k}] '{pattern}' is not a valid port pattern (expected '*', '<digits>*', or '*<digits>')"
        ));
    }
}

fn is_host_pattern(pattern: &str) -> bool {
    if is_blank(pattern) || pattern.contains('@') {
        return false;
    }
    let is_port = |port: &str| port == "*" || (is_digits(port) && port.parse::<u16>().is_ok());
    if let Some(rest) = pattern.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        let port_is_sound = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().is_ok() && port_is_sound;
    }
    match pattern.split_once(':') {
        Some((host, port)) => !host.is_empty() && is_port(port),
        None => true,
    }
}

fn is_port_pattern(pattern: &str) -> bool {
    pattern == "*" || pattern.strip_suffix('*').or_else(|| pattern.strip_prefix('*')).is_some_and(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_request_authentication(errors: &mut Vec<String>, request: &RequestAuthentication) {
    named(errors, "MeshRequestAuthentication", &request.name, &request.namespace);
    for (i, rule) in request.jwt_rules.iter().enumerate() {
        let at = format!("MeshRequestAuthentication '{}' jwt_rules[{i}]", request.name);
        if is_blank(&rule.issuer) {
            errors.push(format!("{at}: issuer must not be empty"));
        }
        let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !is_blank(text));
        if !has(&rule.jwks_uri) && !has(&rule.jwks) {
            errors.push(format!("{at}: one of jwks_uri or jwks is required"));
        }
    }
}

fn check_service_entry(errors: &mut Vec<String>, entry: &ServiceEntry) {
    named(errors, "ServiceEntry", &entry.name, &entry.namespace);
    if entry.hosts.is_empty() {
        errors.push(format!("ServiceEntry '{}': hosts must not be empty", entry.name));
    }
    if !entry.endpoints.is_empty() && entry.resolution != Resolution::Static {
        errors.push(format!("ServiceEntry '{}': endpoints are only valid when resolution=static", entry.name));
    }
}

/// Authorities present and readable, federated domains distinct (§12.2).
pub fn check_trust_bundles(bundles: &TrustBundleSet) -> Vec<String> {
    let mut errors = Vec::new();
    let local = &bundles.local;
    if has_no_authority(local) {
        errors.push(format!("TrustBundleSet.local for trust domain '{}' has no authorities", local.trust_domain));
    }
    check_base64(&mut errors, "TrustBundleSet.local", local);
    let mut domains = HashSet::from([&local.trust_domain]);
    for bundle in &bundles.federated {
        let at = format!("TrustBundleSet.federated[{}]", bundle.trust_domain);
        if !domains.insert(&bundle.trust_domain) {
            errors.push(format!("{at}: duplicate trust domain"));
        }
        if has_no_authority(bundle) {
            errors.push(format!("{at}: no authorities"));
        }
        check_base64(&mut errors, &at, bundle);
    }
    errors
}

fn has_no_authority(bundle: &TrustBundle) -> bool {
    bundle.x509_authorities.is_empty() && bundle.jwt_authorities.is_empty()
}

fn check_base64(errors: &mut Vec<String>, at: &str, bundle: &TrustBundle) {
    for (i, authority) in bundle.x509_authorities.iter().enumerate() {
        if let Err(error) = STANDARD.decode(authority) {
            errors.push(format!("{at}: x509_authorities[{i}]: invalid base64: {error}"));
        }
    }
}

fn check_multi_cluster(errors: &mut Vec<String>, multi: &MultiCluster, bundles: Option<&TrustBundleSet>) {
    for (field, value) in [("local_cluster", &multi.local_cluster), ("federation_endpoint", &multi.federation_endpoint)]
    {
        if is_blank_when_set(value) {
            errors.push(format!("MultiClusterConfig.{field} must not be empty when set"));
        }
    }
    let mut names = HashSet::new();
    for cluster in &multi.remote_clusters {
        check_remote_cluster(errors, cluster, bundles);
        if !is_blank(&cluster.name) && !names.insert(&cluster.name) {
            errors.push(format!("RemoteCluster '{}': duplicate name", cluster.name));
        }
    }
    let mut sni_hosts = HashSet::new();
    for gateway in &multi.east_west_gateways {
        check_gateway(errors, gateway, &mut sni_hosts);
    }
}

fn check_remote_cluster(errors: &mut Vec<String>, cluster: &RemoteCluster, bundles: Option<&TrustBundleSet>) {
    let name = &cluster.name;
    if is_blank(name) {
        errors.push("RemoteCluster: name must not be empty".into());
    }
    let fields = [
        ("network", &cluster.network),
        ("control_plane_url", &cluster.control_plane_url),
        ("federation_endpoint", &cluster.federation_endpoint),
    ];
    for (field, _) in fields.into_iter().filter(|(_, value)| is_blank_when_set(value)) {
        errors.push(format!("RemoteCluster '{name}': {field} must not be empty when set"));
    }
    let domain = &cluster.trust_domain;
    let is_trusted = |bundles: &TrustBundleSet| {
        bundles.local.trust_domain == *domain || bundles.federated.iter().any(|bundle| bundle.trust_domain == *domain)
    };
    if !bundles.is_none_or(is_trusted) {
        errors.push(format!("RemoteCluster '{name}': trust domain '{domain}' has no matching federated trust bundle"));
    }
}

fn check_gateway(errors: &mut Vec<String>, gateway: &EastWestGateway, sni_hosts: &mut HashSet<String>) {
    let name = &gateway.name;
    if is_blank(name) {
        errors.push("EastWestGateway: name must not be empty".into());
    }
    for (field, is_missing) in [
        ("namespace", is_blank(&gateway.namespace)),
        ("host", is_blank(&gateway.host)),
        ("sni_hosts", gateway.sni_hosts.is_empty()),
    ] {
        if is_missing {
            errors.push(format!("EastWestGateway '{name}': {field} must not be empty"));
        }
    }
    if gateway.port == 0 {
        errors.push(format!("EastWestGateway '{name}': port must be between 1 and 65535"));
    }
    if is_blank_when_set(&gateway.network) {
        errors.push(format!("EastWestGateway '{name}': network must not be empty when set"));
    }
    for host in &gateway.sni_hosts {
        if is_blank(host) {
            errors.push(format!("EastWestGateway '{name}': sni_hosts must not contain empty entries"));
        } else if !sni_hosts.insert(host.to_lowercase()) {
            errors.push(format!("EastWestGateway '{name}': duplicate SNI host '{host}'"));
        }
    }
}
