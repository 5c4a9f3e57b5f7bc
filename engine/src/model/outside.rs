//! What one resource says about the world around it: files that must be there, and addresses that must be allowed (resources
//! sheet §14). Each function gives all that is wrong, without naming the resource.

use std::net::IpAddr;

use serde_json::Value;

use super::address_policy::AddressPolicy;
use super::plugin_config::PluginConfig;
use super::proxy::Proxy;
use super::references::dispatch_destinations;
use super::tls_files::TlsFiles;
use super::upstream::Upstream;

impl Proxy {
    pub fn check_files(&self, files: &mut TlsFiles) -> Vec<String> {
        self.tls_paths().filter_map(|(field, path)| files.check(field, path).err()).collect()
    }

    pub fn check_addresses(&self, policy: AddressPolicy) -> Vec<String> {
        let fields = [("backend_host", Some(&self.backend_host)), ("dns_override", self.dns_override.as_ref())];
        fields.into_iter().filter_map(|(field, host)| denied(field, host?, policy)).collect()
    }
}

impl Upstream {
    pub fn check_files(&self, files: &mut TlsFiles) -> Vec<String> {
        self.tls_paths().filter_map(|(field, path)| files.check(field, path).err()).collect()
    }

    pub fn check_addresses(&self, policy: AddressPolicy) -> Vec<String> {
        let targets = self.targets.iter().enumerate();
        targets.filter_map(|(i, target)| denied(&format!("targets[{i}].host"), &target.host, policy)).collect()
    }
}

impl PluginConfig {
    pub fn check_addresses(&self, policy: AddressPolicy) -> Vec<String> {
        let check = |(rule, destination): (usize, &Value)| {
            let host = destination.get("backend_host")?.as_str()?;
            denied(&format!("mesh_route_dispatch.rules[{rule}].destination.backend_host"), host, policy)
        };
        dispatch_destinations(self).filter_map(check).collect()
    }
}

/// A name is checked when it is resolved. A bracketed address, as in URLs, is an address too.
fn denied(field: &str, host: &str, policy: AddressPolicy) -> Option<String> {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = literal.parse().ok()?;
    let text = || format!("{field} IP {address} denied by FERRUM_BACKEND_ALLOW_IPS={} policy", policy.as_str());
    (!policy.allows(address)).then(text)
}
