//! Lists of IP networks: who may name a client, who may reach the admin API.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of IPv4 and IPv6 networks.
///
/// An IPv4-mapped IPv6 address is an IPv4 address, both as an entry and as a peer. Entries of one family never match
/// peers of the other, so `::/0` does not cover IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct TrustedNetworks {
    v4: Vec<Network<u32>>,
    v6: Vec<Network<u128>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
struct Network<Bits> {
    base: Bits,
    mask: Bits,
}

enum Entry {
    V4(Network<u32>),
    V6(Network<u128>),
}

/// An IPv4-mapped IPv6 network keeps this many leading bits for the mapping prefix.
const MAPPED_PREFIX_BITS: u8 = 96;

impl TrustedNetworks {
    /// Reads a comma list of addresses and CIDRs; any bad entry refuses the list and all bad ones are named.
    pub fn parse_strict(text: &str) -> Result<Self, Vec<String>> {
        let (networks, refused) = Self::parse_lenient(text);
        if refused.is_empty() { Ok(networks) } else { Err(refused) }
    }

    /// Reads a comma list of addresses and CIDRs, and gives the entries it had to skip.
    pub fn parse_lenient(text: &str) -> (Self, Vec<String>) {
        let mut networks = Self::default();
        let mut refused = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match parse_entry(item) {
                Some(Entry::V4(network)) => networks.v4.push(network),
                Some(Entry::V6(network)) => networks.v6.push(network),
                None => refused.push(item.to_owned()),
            }
        }
        (networks, refused)
    }

    /// Whether no entry is left; such a set contains nobody.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.iter().any(|network| u32::from(v4) & network.mask == network.base),
            IpAddr::V6(v6) => self.v6.iter().any(|network| u128::from(v6) & network.mask == network.base),
        }
    }
}

impl fmt::Display for TrustedNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = self.v4.iter().map(|n| format!("{}/{}", Ipv4Addr::from(n.base), n.mask.count_ones()));
        let v6 = self.v6.iter().map(|n| format!("{}/{}", Ipv6Addr::from(n.base), n.mask.count_ones()));
        f.write_str(&v4.chain(v6).collect::<Vec<_>>().join(","))
    }
}

fn parse_entry(item: &str) -> Option<Entry> {
    let (address, prefix) = match item.split_once('/') {
        Some((address, prefix)) => (address.parse().ok()?, Some(parse_prefix(prefix)?)),
        None => (item.parse().ok()?, None),
    };
    match address {
        IpAddr::V4(v4) => v4_network(v4, prefix.unwrap_or(32)),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4_network(v4, prefix.unwrap_or(128).checked_sub(MAPPED_PREFIX_BITS)?),
            None => v6_network(v6, prefix.unwrap_or(128)),
        },
    }
}

/// Digits only: `u8::from_str` would also take a plus sign.
fn parse_prefix(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn v4_network(address: Ipv4Addr, prefix: u8) -> Option<Entry> {
    let mask = match prefix {
        0 => 0,
        1..=32 => u32::MAX << (32 - prefix),
        _ => return None,
    };
    Some(Entry::V4(Network { base: u32::from(address) & mask, mask }))
}

fn v6_network(address: Ipv6Addr, prefix: u8) -> Option<Entry> {
    let mask = match prefix {
        0 => 0,
        1..=128 => u128::MAX << (128 - prefix),
        _ => return None,
    };
    Some(Entry::V6(Network { base: u128::from(address) & mask, mask }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> TrustedNetworks {
        TrustedNetworks::parse_strict(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_a_host_route() {
        let networks = strict(" 192.0.2.7 , 2001:db8::1,, ");
        assert!(networks.contains(ip("192.0.2.7")));
        assert!(!networks.contains(ip("192.0.2.8")));
        assert!(networks.contains(ip("2001:db8:0::1")));
        assert!(!networks.contains(ip("2001:db8::2")));
    }

    #[test]
    fn a_cidr_matches_up_to_both_of_its_edges_and_ignores_host_bits() {
        let networks = strict("10.1.2.3/23,2001:db8:1::5/47");
        for inside in ["10.1.2.0", "10.1.3.255", "2001:db8::", "2001:db8:1:ffff::1"] {
            assert!(networks.contains(ip(inside)), "{inside}");
        }
        for outside in ["10.1.1.255", "10.1.4.0", "2001:db8:2::", "2001:db7:ffff::"] {
            assert!(!networks.contains(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn a_zero_prefix_is_the_whole_family_and_only_that() {
        let v4 = strict("0.0.0.0/0");
        assert!(v4.contains(ip("255.255.255.255")) && v4.contains(ip("::ffff:1.2.3.4")) && !v4.contains(ip("::1")));
        let v6 = strict("::/0");
        assert!(v6.contains(ip("ffff::")) && !v6.contains(ip("1.2.3.4")) && !v6.contains(ip("::ffff:1.2.3.4")));
    }

    #[test]
    fn mapped_entries_and_mapped_peers_are_ipv4() {
        let networks = strict("::ffff:10.0.0.0/104,::ffff:192.0.2.1");
        assert!(networks.contains(ip("10.255.0.1")));
        assert!(networks.contains(ip("::ffff:10.0.0.1")));
        assert!(networks.contains(ip("192.0.2.1")));
        assert!(!networks.contains(ip("11.0.0.1")));
        assert!(strict("::ffff:0.0.0.0/96").contains(ip("8.8.8.8")));
        assert_eq!(TrustedNetworks::parse_strict("::ffff:10.0.0.0/95").unwrap_err(), ["::ffff:10.0.0.0/95"]);
    }

    #[test]
    fn the_strict_reading_names_every_bad_entry() {
        let bad = "10.0.0.0/33, x, 1.2.3.4, ::/129, 10.0.0.0/, 10.0.0.0/+8, /8, 10.0.0/8, 10.0.0.0/8/8";
        let refused = TrustedNetworks::parse_strict(bad).unwrap_err();
        assert_eq!(
            refused,
            ["10.0.0.0/33", "x", "::/129", "10.0.0.0/", "10.0.0.0/+8", "/8", "10.0.0/8", "10.0.0.0/8/8"]
        );
    }

    #[test]
    fn the_lenient_reading_keeps_the_good_entries() {
        let (networks, refused) = TrustedNetworks::parse_lenient("10.0.0.0/8, nonsense");
        assert_eq!(refused, ["nonsense"]);
        assert!(networks.contains(ip("10.2.3.4")));
        let (networks, refused) = TrustedNetworks::parse_lenient("bad,worse");
        assert!(networks.is_empty() && refused.len() == 2);
    }

    #[test]
    fn an_empty_list_contains_nobody() {
        assert!(strict(" , ").is_empty());
        assert!(!strict("").contains(ip("127.0.0.1")));
    }

    #[test]
    fn a_list_prints_as_it_is_understood() {
        assert_eq!(strict("10.1.2.3/8, ::ffff:1.2.3.4, fd00::1/8").to_string(), "10.0.0.0/8,1.2.3.4/32,fd00::/8");
    }
}
