//! Names that must be resolved before traffic can flow.

use std::net::IpAddr;
use std::time::Duration;

use engine::model::{Document, Proxy};

use super::pairs::{Former, is_same, pairs};
use crate::dns::NameSpec;

/// A year: longer than any answer is of use, and far from where adding to a clock overflows.
const TTL_SECONDS_MAX: u64 = 365 * 24 * 3600;

/// Those of all backends.
pub fn backend_names(document: &Document) -> Vec<NameSpec> {
    let of_proxies = document.proxies.iter().filter_map(|proxy| name(proxy));
    let targets = document.upstreams.iter().flat_map(|upstream| &upstream.targets);
    let of_targets = targets.filter(|target| is_name(&target.host)).map(|target| (target.host.as_str(), None));
    of_proxies
        .chain(of_targets)
        .map(|(host, ttl)| NameSpec {
            host: host.to_owned(),
            ttl_override: ttl.map(|seconds| Duration::from_secs(seconds.min(TTL_SECONDS_MAX))),
        })
        .collect()
}

/// Whether those of two documents are the same; what rows they share is not looked at.
pub fn has_same_names(document: &Document, other: &Document) -> bool {
    if !is_same(&document.upstreams, &other.upstreams) {
        return false;
    }
    let has_name = |proxy: &Proxy| name(proxy).is_some();
    let mut next = 0;
    for (row, former) in document.proxies.iter().zip(pairs(&document.proxies, &other.proxies)) {
        let place = match former {
            Former::None if has_name(row) => return false,
            Former::None => continue,
            Former::Same(place) => place as usize,
            Former::Other(place) if name(&other.proxies[place as usize]) != name(row) => return false,
            Former::Other(place) => place as usize,
        };
        if other.proxies[next..place].iter().any(|gone| has_name(gone)) {
            return false;
        }
        next = place + 1;
    }
    !other.proxies[next..].iter().any(|gone| has_name(gone))
}

/// That of a proxy's own backend, and how long it holds.
fn name(proxy: &Proxy) -> Option<(&str, Option<u64>)> {
    let is_looked_up = proxy.dns_override.is_none() && is_name(&proxy.backend_host);
    is_looked_up.then_some((&*proxy.backend_host, proxy.dns_cache_ttl_seconds))
}

fn is_name(host: &str) -> bool {
    !host.is_empty() && host.parse::<IpAddr>().is_err() && !host.starts_with("*.")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn row(id: &str, host: &str) -> Arc<Proxy> {
        serde_json::from_value(json!({"id": id, "listen_path": "/", "backend_host": host, "backend_port": 1})).unwrap()
    }

    fn document(proxies: &[&Arc<Proxy>]) -> Document {
        Document { proxies: proxies.iter().map(|row| (*row).clone()).collect(), ..Document::default() }
    }

    #[test]
    fn names_are_the_same_when_only_rows_without_names_come_and_go() {
        let [a, b, c] = ["a", "b", "c"].map(|id| row(id, "h"));
        let [literal, wildcard, other] = [("b", "10.0.0.1"), ("b", "*.x"), ("b", "g")].map(|(id, host)| row(id, host));
        let same = |one: &[&Arc<Proxy>], two: &[&Arc<Proxy>]| has_same_names(&document(one), &document(two));
        assert!(same(&[&a, &b, &c], &[&a, &row("b", "h"), &c]));
        assert!(same(&[&a, &literal], &[&a]) && same(&[&a], &[&a, &literal]) && same(&[&literal, &c], &[&c]));
        assert!(same(&[&a, &wildcard], &[&a, &literal]));
        assert!(!same(&[&a, &b], &[&a, &other]) && !same(&[&a, &b], &[&a, &literal]));
        assert!(!same(&[&a, &b], &[&a]) && !same(&[&a], &[&a, &b]) && !same(&[&a, &c], &[&a, &b, &c]));
    }

    #[test]
    fn upstreams_are_not_looked_into() {
        let upstream = json!([{"id": "u", "targets": [{"host": "t", "port": 1}]}]);
        let with = || Document { upstreams: serde_json::from_value(upstream.clone()).unwrap(), ..Document::default() };
        let one = with();
        assert!(has_same_names(&one, &one.clone()) && !has_same_names(&one, &with()));
        assert_eq!(backend_names(&one).len(), 1);
    }
}
