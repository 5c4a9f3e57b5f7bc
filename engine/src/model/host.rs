//! Entries of `hosts`: their syntax (resources sheet §4.8) and when two lists overlap (§13).

use std::net::IpAddr;

use rustc_hash::FxHashMap;

/// Checks one entry, expected in lower case.
///
/// # Errors
/// The first thing that is wrong with it, in the sheet's order.
pub fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("host entry must not be empty".into());
    }
    if host.contains("://") {
        return Err(format!("host '{host}' must not contain a scheme (e.g., 'http://')"));
    }
    if host.contains(':') && !host.starts_with('*') {
        return Err(format!("host '{host}' must not contain a port number"));
    }
    if host.contains('/') {
        return Err(format!("host '{host}' must not contain a path"));
    }
    if host.chars().any(char::is_uppercase) {
        return Err(format!("host '{host}' must be lowercase (got mixed case)"));
    }
    if let Some(suffix) = host.strip_prefix("*.") {
        let message = || format!("wildcard host '{host}' is invalid: must be '*.domain.tld' format");
        return if is_name(suffix) { Ok(()) } else { Err(message()) };
    }
    if host.contains('*') {
        return Err(format!("host '{host}' has invalid wildcard: '*' is only allowed as prefix '*.domain'"));
    }
    if !is_name(host) {
        return Err(format!(
            "host '{host}' is invalid: must be a valid hostname (lowercase letters, digits, dots, hyphens)"
        ));
    }
    Ok(())
}

/// Whether it is an address, or a name that can be looked up and stand in a `Host` field as it is. Other than in documents, whose
/// hosts are what somebody wrote who may, nothing else is taken for one.
pub fn is_backend_host(host: &str) -> bool {
    let is_name_s = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    host.parse::<IpAddr>().is_ok() || ((1..=NAME_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_name_s))
}

/// RFC 1035 §3.1, without the root.
const NAME_BYTES_MAX: usize = 253;

/// `^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
fn is_name(name: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    is_end(name.bytes().next()) && is_end(name.bytes().next_back()) && name.bytes().all(is_inner)
}

/// The routes met so far that share one path, so that the next one's overlap is found without comparing it to each.
///
/// Two host lists overlap when either is empty, when they share an entry, or when a wildcard of one covers an exact entry
/// of the other (one label, as in routing).
#[derive(Debug, Default)]
pub(super) struct HostIndex<'a> {
    first: Option<usize>,
    catch_all: Option<usize>,
    entries: FxHashMap<&'a str, usize>,
    /// Exact entries by the text after their first label: what a wildcard would cover.
    covered: FxHashMap<&'a str, usize>,
}

impl<'a> HostIndex<'a> {
    /// Enters the list and gives the earliest one that it overlaps with. `owner` must grow from call to call.
    pub(super) fn insert(&mut self, hosts: &'a [String], owner: usize) -> Option<usize> {
        let mut earliest = self.catch_all;
        if hosts.is_empty() {
            earliest = self.first;
            self.catch_all.get_or_insert(owner);
        }
        for host in hosts {
            earliest = min(earliest, self.overlap(host));
        }
        for host in hosts {
            self.entries.entry(host).or_insert(owner);
            if let Some((_, suffix)) = host.split_once('.').filter(|(label, _)| *label != "*") {
                self.covered.entry(suffix).or_insert(owner);
            }
        }
        self.first.get_or_insert(owner);
        earliest
    }

    fn overlap(&self, host: &str) -> Option<usize> {
        let same = self.entries.get(host).copied();
        let related = match host.split_once('.') {
            Some(("*", suffix)) => self.covered.get(suffix).copied(),
            Some((_, suffix)) => self.entries.get(format!("*.{suffix}").as_str()).copied(),
            None => None,
        };
        min(same, related)
    }
}

fn min(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether two host lists overlap, lower case expected.
pub fn hosts_overlap(one: &[String], other: &[String]) -> bool {
    let mut index = HostIndex::default();
    index.insert(one, 0);
    index.insert(other, 1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_s_host_is_an_address_or_a_name_that_can_stand_in_a_field() {
        let longest = "a".repeat(253);
        for host in ["a", "my_service.default.svc", "xn--e1afmkfd", "a.", "10.0.0.1", "::1", longest.as_str()] {
            assert!(is_backend_host(host), "{host}");
        }
        let longer = "a".repeat(254);
        let faulty =
            ["", "a b", "a:80", "[::1]", "*.a", "a/b", "a\r\nb", "a\n", "a\0", "é", "a@b", "::1%eth0", longer.as_str()];
        for host in faulty {
            assert!(!is_backend_host(host), "{host}");
        }
    }

    #[test]
    fn every_row_of_the_syntax_table() {
        let rows = [
            ("", "host entry must not be empty"),
            ("http://a", "host 'http://a' must not contain a scheme"),
            ("x.com:80", "host 'x.com:80' must not contain a port number"),
            ("::1", "host '::1' must not contain a port number"),
            ("a/b", "host 'a/b' must not contain a path"),
            ("A.com", "host 'A.com' must be lowercase (got mixed case)"),
            ("*.", "wildcard host '*.' is invalid: must be '*.domain.tld' format"),
            ("*.-a", "wildcard host '*.-a' is invalid"),
            ("*.a:80", "wildcard host '*.a:80' is invalid"),
            ("*.*.a", "wildcard host '*.*.a' is invalid"),
            ("*", "host '*' has invalid wildcard: '*' is only allowed as prefix '*.domain'"),
            ("a.*.b", "host 'a.*.b' has invalid wildcard"),
            ("*foo.com", "host '*foo.com' has invalid wildcard"),
            ("a_b", "host 'a_b' is invalid: must be a valid hostname"),
            ("a b", "host 'a b' is invalid"),
            ("a.", "host 'a.' is invalid"),
            ("-a", "host '-a' is invalid"),
            ("a-", "host 'a-' is invalid"),
            (".a", "host '.a' is invalid"),
        ];
        for (host, message) in rows {
            assert!(check_host(host).unwrap_err().starts_with(message), "{host}: {:?}", check_host(host));
        }
        for host in ["localhost", "10.0.0.1", "a..b", "*.com", "a-b.c", "x", "*.a..b"] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn lists_overlap_as_routing_would_see_them() {
        let rows: &[(&[&str], &[&str], bool)] = &[
            (&[], &[], true),
            (&[], &["x.com"], true),
            (&["a.x.com"], &["*.x.com"], true),
            (&["x.com"], &["*.x.com"], false),
            (&["a.b.x.com"], &["*.x.com"], false),
            (&["x.com"], &["y.com"], false),
            (&["x.com", "y.com"], &["y.com"], true),
            (&["*.x.com"], &["*.x.com"], true),
            (&["*.x.com"], &["*.a.x.com"], false),
        ];
        for (one, other, expected) in rows {
            let [one, other] = [one, other].map(|list| list.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
            assert_eq!(hosts_overlap(&one, &other), *expected, "{one:?} {other:?}");
            assert_eq!(hosts_overlap(&other, &one), *expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn the_earliest_overlap_is_named() {
        let lists = [vec!["a.com".to_owned()], vec!["b.com".into()], vec!["b.com".into(), "a.com".into()], vec![]];
        let mut index = HostIndex::default();
        let found: Vec<_> = lists.iter().enumerate().map(|(owner, list)| index.insert(list, owner)).collect();
        assert_eq!(found, [None, None, Some(0), Some(0)]);
    }
}
