//! What is refused about one upstream by itself (resources sheet §7).

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::host::check_host;
use super::mesh::SpiffeId;
use super::rules;
use super::upstream::{HashOnCookie, Subset, Target, Upstream};

/// What an upstream without targets is told in a document; the admin API says it in other words.
pub const NO_TARGETS: &str = "must have at least one target or service_discovery";

impl Upstream {
    pub fn check_fields(&self) -> Vec<String> {
        let mut errors = Vec::new();
        rules::optional_text(&mut errors, "name", self.name.as_deref(), 255);
        self.check_targets(&mut errors);
        self.check_hash_on(&mut errors);
        if let Some(cookie) = &self.hash_on_cookie_config {
            cookie.check(&mut errors);
        }
        if let Some(health_checks) = &self.health_checks {
            health_checks.check(&mut errors);
        }
        if let Some(discovery) = &self.service_discovery {
            discovery.check(&mut errors);
        }
        if let Some(subsets) = &self.subsets {
            check_subsets(&mut errors, subsets);
        }
        self.check_mesh_fields(&mut errors);
        self.check_tls(&mut errors);
        errors
    }

    fn check_targets(&self, errors: &mut Vec<String>) {
        rules::entries(errors, "targets", self.targets.len(), 1000);
        if self.targets.is_empty() && self.service_discovery.is_none() {
            errors.push(NO_TARGETS.into());
        }
        for (i, target) in self.targets.iter().enumerate() {
            target.check(errors, &format!("targets[{i}]"));
        }
    }

    fn check_hash_on(&self, errors: &mut Vec<String>) {
        let Some(value) = self.hash_on.as_deref() else {
            return;
        };
        rules::text(errors, "hash_on", value, 255);
        let trimmed = value.trim();
        if let Some(name) = trimmed.strip_prefix("header:") {
            if name.trim().is_empty() {
                errors.push("hash_on 'header:' requires a non-empty header name".into());
            }
        } else if let Some(name) = trimmed.strip_prefix("cookie:") {
            if name.trim().is_empty() {
                errors.push("hash_on 'cookie:' requires a non-empty cookie name".into());
            }
        } else if !matches!(trimmed, "" | "ip") {
            errors.push(format!("hash_on must be 'ip', 'header:<name>', or 'cookie:<name>' (got '{value}')"));
        }
    }

    fn check_mesh_fields(&self, errors: &mut Vec<String>) {
        if !self.port_overrides.is_empty() {
            errors.push("port_overrides is populated by mesh DestinationRule application and cannot be set".into());
        }
        if self.source_locality.is_some() {
            errors.push("source_locality is projected from the mesh workload's locality and cannot be set".into());
        }
        if self.locality_lb_setting.is_some() {
            errors.push(
                "locality_lb_setting is projected from a mesh DestinationRule's traffic policy and cannot be set"
                    .into(),
            );
        }
    }

    fn check_tls(&self, errors: &mut Vec<String>) {
        for (field, path) in self.tls_paths() {
            rules::text(errors, field, path, 4096);
        }
        rules::certificate_pair(
            errors,
            self.backend_tls_client_cert_path.as_deref(),
            self.backend_tls_client_key_path.as_deref(),
        );
        if let Some(sni) = &self.backend_tls_sni {
            rules::length(errors, "backend_tls_sni", sni, 253);
            errors.extend(check_dns_name("backend_tls_sni", sni).err());
        }
        rules::entries(errors, "backend_tls_san_allow_list", self.backend_tls_san_allow_list.len(), 256);
        for (i, entry) in self.backend_tls_san_allow_list.iter().enumerate() {
            let field = format!("backend_tls_san_allow_list[{i}].entry");
            rules::length(errors, &field, entry, 2048);
            errors.extend(check_san(&field, entry).err());
        }
    }
}

/// An exact DNS name, in either case.
fn check_dns_name(field: &str, name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("{field} must not be empty"));
    }
    if name.trim() != name {
        return Err(format!("{field} must not have leading or trailing whitespace"));
    }
    if name.contains('*') {
        return Err(format!("{field} must be an exact DNS name, not a wildcard"));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("{field} must be a DNS name, not an IP address"));
    }
    check_host(&name.to_ascii_lowercase()).map_err(|error| format!("{field} is invalid: {error}"))
}

/// An exact DNS name, an IP literal or `spiffe://domain/path`.
fn check_san(field: &str, entry: &str) -> Result<(), String> {
    if entry.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if entry.starts_with("spiffe://") {
        let id = SpiffeId::try_from(entry.to_owned()).map_err(|error| format!("{field} is invalid: {error}"))?;
        return match id.path() {
            "" => Err(format!("{field} must be a SPIFFE ID with a path: spiffe://domain/path")),
            _ => Ok(()),
        };
    }
    check_dns_name(field, entry)
}

impl Target {
    fn check(&self, errors: &mut Vec<String>, at: &str) {
        if self.host.trim().is_empty() {
            errors.push(format!("{at}.host must not be empty"));
        }
        rules::text(errors, &format!("{at}.host"), &self.host, 255);
        if self.port == 0 {
            errors.push(format!("{at}.port must be greater than 0"));
        }
        rules::range(errors, &format!("{at}.weight"), self.weight, 1, 65_535);
        rules::entries(errors, &format!("{at}.tags"), self.tags.len(), 50);
        check_labels(errors, &format!("{at}.tags"), &self.tags);
        if let Some(locality) = &self.locality {
            rules::text(errors, &format!("{at}.locality"), locality, 255);
            if locality.split('/').count() > 3
                || locality.split('/').next().is_none_or(|region| region.trim().is_empty())
            {
                errors.push(format!("{at}.locality '{locality}' is not a valid region[/zone[/subzone]] string"));
            }
        }
        rules::optional_text(errors, &format!("{at}.path"), self.path.as_deref(), 2048);
    }
}

fn check_labels(errors: &mut Vec<String>, at: &str, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        rules::text(errors, &format!("{at} key"), key, 255);
        rules::text(errors, &format!("{at} value"), value, 255);
    }
}

fn check_subsets(errors: &mut Vec<String>, subsets: &[Subset]) {
    if subsets.is_empty() {
        errors.push("subsets must not be empty — omit the field when there are none".into());
    }
    rules::entries(errors, "subsets", subsets.len(), 100);
    let mut names = HashSet::new();
    for (i, subset) in subsets.iter().enumerate() {
        let at = format!("subsets[{i}]");
        if subset.name.trim().is_empty() {
            errors.push(format!("{at}.name must not be empty"));
        }
        rules::text(errors, &format!("{at}.name"), &subset.name, 255);
        if !names.insert(&subset.name) {
            let name = &subset.name;
            errors.push(format!("{at}.name '{name}' is a duplicate — subset names must be unique in an upstream"));
        }
        if subset.labels.is_empty() {
            errors.push(format!("{at}.labels must not be empty — it would select every target"));
        }
        check_labels(errors, &format!("{at}.labels"), &subset.labels);
    }
}

impl HashOnCookie {
    fn check(&self, errors: &mut Vec<String>) {
        rules::text(errors, "hash_on_cookie_config.path", &self.path, 2048);
        if self.ttl_seconds > 86_400 {
            errors.push(format!("hash_on_cookie_config.ttl_seconds must not exceed 86400 (got {})", self.ttl_seconds));
        }
        rules::optional_text(errors, "hash_on_cookie_config.domain", self.domain.as_deref(), 253);
        if let Some(value) = self.same_site.as_deref().filter(|value| !matches!(*value, "Strict" | "Lax" | "None")) {
            errors.push(format!("hash_on_cookie_config.same_site must be 'Strict', 'Lax', or 'None' (got '{value}')"));
        }
    }
}

#[cfg(test)]
mod tests;
