//! What may exist once only (resources sheet §13). All but the IDs are per namespace: give documents of one namespace.

use std::collections::{HashMap, HashSet};

use super::document::Document;
use super::finding::Finding;
use super::host::HostIndex;
use super::proxy::Proxy;

/// The first holder of each key; a later one is told who it was.
struct First<K>(HashMap<K, usize>);

impl<K: std::hash::Hash + Eq> First<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// The earlier holder, unless `owner` is the first.
    fn claim(&mut self, key: K, owner: usize) -> Option<usize> {
        let first = *self.0.entry(key).or_insert(owner);
        (first != owner).then_some(first)
    }
}

/// IDs are unique per type, over all namespaces.
pub fn check_ids(document: &Document) -> Vec<Finding> {
    fn of<'a>(
        kind: &str,
        ids: impl Iterator<Item = &'a String>,
        finding: fn(usize, &str, String) -> Finding,
        found: &mut Vec<Finding>,
    ) {
        let mut seen = First::new();
        for (i, id) in ids.enumerate() {
            if seen.claim(id, i).is_some() {
                found.push(finding(i, id, format!("Duplicate {kind} ID '{id}'")));
            }
        }
    }
    let mut found = Vec::new();
    of("proxy", document.proxies.iter().map(|proxy| &proxy.id), Finding::proxy, &mut found);
    of("consumer", document.consumers.iter().map(|consumer| &consumer.id), Finding::consumer, &mut found);
    of("plugin_config", document.plugin_configs.iter().map(|config| &config.id), Finding::plugin_config, &mut found);
    of("upstream", document.upstreams.iter().map(|upstream| &upstream.id), Finding::upstream, &mut found);
    found
}

/// HTTP routes with the same textual path on overlapping hosts: precedence between tiers decides between different paths
/// only. Each route is reported once, with the earliest one in its way.
pub fn check_routes(document: &Document) -> Vec<Finding> {
    check_routes_where(document, |_| true)
}

/// [`check_routes`] among those with one of these paths.
pub fn check_routes_with(document: &Document, paths: &HashSet<Option<&str>>) -> Vec<Finding> {
    check_routes_where(document, |proxy| paths.contains(&proxy.listen_path.as_deref()))
}

fn check_routes_where(document: &Document, is_meant: impl Fn(&Proxy) -> bool) -> Vec<Finding> {
    let mut by_path: HashMap<Option<&str>, HostIndex<'_>> = HashMap::new();
    let mut found = Vec::new();
    let proxies = document.proxies.iter().enumerate();
    for (i, proxy) in proxies.filter(|(_, proxy)| is_meant(proxy) && proxy.is_http()) {
        let path = proxy.listen_path.as_deref();
        let Some(earlier) = by_path.entry(path).or_default().insert(&proxy.hosts, i) else {
            continue;
        };
        let (a, b) = (&document.proxies[earlier], &proxy.id);
        let a_id = &a.id;
        let message = match path {
            None => format!("Overlapping host-only proxies '{b}' and '{a_id}' — a host may have one host-only proxy"),
            Some(path) if a.hosts.is_empty() && proxy.hosts.is_empty() => {
                format!("Duplicate listen_path '{path}' found in proxy '{b}' (conflicts with '{a_id}')")
            }
            Some(path) => format!("Overlapping host+listen_path for '{path}' in proxy '{b}' (conflicts with '{a_id}')"),
        };
        found.push(Finding::proxy(i, b, message));
    }
    found
}

pub fn check_proxy_names(document: &Document) -> Vec<Finding> {
    let mut seen = First::new();
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let Some(name) = &proxy.name else { continue };
        if let Some(earlier) = seen.claim(name, i) {
            let (a, b) = (&document.proxies[earlier].id, &proxy.id);
            let message = format!("Duplicate proxy name '{name}' in proxy '{b}' (conflicts with '{a}')");
            found.push(Finding::proxy(i, b, message));
        }
    }
    found
}

pub fn check_upstream_names(document: &Document) -> Vec<Finding> {
    let mut seen = First::new();
    let mut found = Vec::new();
    for (i, upstream) in document.upstreams.iter().enumerate() {
        let Some(name) = &upstream.name else { continue };
        if let Some(earlier) = seen.claim(name, i) {
            let (a, b) = (&document.upstreams[earlier].id, &upstream.id);
            let message = format!("Duplicate upstream name '{name}' in upstream '{b}' (conflicts with '{a}')");
            found.push(Finding::upstream(i, b, message));
        }
    }
    found
}

/// Usernames, custom IDs, and custom IDs that are another consumer's username.
pub fn check_consumer_identities(document: &Document) -> Vec<Finding> {
    let consumers = &document.consumers;
    let (mut usernames, mut custom_ids) = (First::new(), First::new());
    let mut found = Vec::new();
    for (i, consumer) in consumers.iter().enumerate() {
        let b = &consumer.id;
        if let Some(earlier) = usernames.claim(&consumer.username, i) {
            let (name, a) = (&consumer.username, &consumers[earlier].id);
            let message = format!("Duplicate consumer username '{name}' in consumer '{b}' (conflicts with '{a}')");
            found.push(Finding::consumer(i, b, message));
        }
        let Some(custom_id) = &consumer.custom_id else { continue };
        if let Some(earlier) = custom_ids.claim(custom_id, i) {
            let a = &consumers[earlier].id;
            let message =
                format!("Duplicate consumer custom_id '{custom_id}' in consumer '{b}' (conflicts with '{a}')");
            found.push(Finding::consumer(i, b, message));
        }
    }
    for (i, consumer) in consumers.iter().enumerate() {
        let Some(custom_id) = &consumer.custom_id else { continue };
        if let Some(&other) = usernames.0.get(custom_id).filter(|&&other| other != i) {
            let (id, other) = (&consumer.id, &consumers[other].id);
            let message = format!(
                "Consumer '{id}' custom_id '{custom_id}' collides with username of consumer '{other}' (both would be \
                 the same identity)"
            );
            found.push(Finding::consumer(i, id, message));
        }
    }
    found
}

/// Credentials by which a consumer is found must lead to one. A key is never printed.
pub fn check_consumer_credentials(document: &Document) -> Vec<Finding> {
    let consumers = &document.consumers;
    let (mut keys, mut usernames, mut identities) = (HashMap::new(), First::new(), HashMap::new());
    let mut found = Vec::new();
    for (i, consumer) in consumers.iter().enumerate() {
        let b = &consumer.id;
        for key in consumer.credential_values("keyauth", "key") {
            // twice inside one consumer counts too
            if let Some(earlier) = insert_new(&mut keys, key, i) {
                let a = &consumers[earlier].id;
                let message = format!("Duplicate keyauth API key in consumer '{b}' (conflicts with consumer '{a}')");
                found.push(Finding::consumer(i, b, message));
            }
        }
        if consumer.credentials.contains_key("basicauth")
            && let Some(earlier) = usernames.claim(&consumer.username, i)
        {
            let (name, a) = (&consumer.username, &consumers[earlier].id);
            let message =
                format!("Duplicate basicauth username '{name}' in consumer '{b}' (conflicts with consumer '{a}')");
            found.push(Finding::consumer(i, b, message));
        }
        for identity in consumer.credential_values("mtls_auth", "identity") {
            if let Some(earlier) = insert_new(&mut identities, identity, i) {
                let a = &consumers[earlier].id;
                let message = format!(
                    "Duplicate mtls_auth identity '{identity}' in consumer '{b}' (conflicts with consumer '{a}')"
                );
                found.push(Finding::consumer(i, b, message));
            }
        }
    }
    found
}

/// The holder that was there before, which may be `owner` itself.
fn insert_new<'a>(map: &mut HashMap<&'a str, usize>, key: &'a str, owner: usize) -> Option<usize> {
    match map.entry(key) {
        std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(owner);
            None
        }
    }
}

#[cfg(test)]
mod tests;
