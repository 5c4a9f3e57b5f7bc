//! A set of addresses, looked up in time that grows with the logarithm of its size.
//!
//! Networks are kept as ranges that are sorted and do not touch, so that one search decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address or a network, as a config names it. Bits behind the prefix do not count.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rule {
    V4(Ipv4Addr, u8),
    V6(Ipv6Addr, u8),
}

impl Rule {
    /// `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`; IPv6 also in brackets and with a zone, which is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(parse_prefix(prefix)?)),
            None => (text, None),
        };
        if let Ok(v4) = address.parse() {
            return Some(Rule::V4(v4, prefix.unwrap_or(32))).filter(|_| prefix.is_none_or(|prefix| prefix <= 32));
        }
        let bare = match address.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None => address,
        };
        let bare = match bare.split_once('%') {
            Some((_, "")) => return None,
            Some((bare, _)) => bare,
            None => bare,
        };
        let v6 = bare.parse().ok()?;
        Some(Rule::V6(v6, prefix.unwrap_or(128))).filter(|_| prefix.is_none_or(|prefix| prefix <= 128))
    }

    /// Whether all it covers are IPv4 addresses written as IPv6. Clients of such addresses count as IPv4.
    pub fn is_ipv4_mapped(self) -> bool {
        matches!(self, Rule::V6(address, 96..) if address.to_ipv4_mapped().is_some())
    }
}

/// Digits only: `u8::from_str` would also take a plus sign.
fn parse_prefix(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// IPv4 and IPv6 networks; those of one family never contain addresses of the other.
#[derive(Debug, Default, PartialEq)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    pub fn new(rules: Vec<Rule>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for rule in rules {
            match rule {
                Rule::V4(address, prefix) => {
                    let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                    v4.push((u32::from(address) & !host, u32::from(address) | host));
                }
                Rule::V6(address, prefix) => {
                    let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                    v6.push((u128::from(address) & !host, u128::from(address) | host));
                }
            }
        }
        Self { v4: joined(v4, |last| last.checked_add(1)), v6: joined(v6, |last| last.checked_add(1)) }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// An IPv4-mapped IPv6 address is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_in(&self.v4, address.into()),
            IpAddr::V6(address) => is_in(&self.v6, address.into()),
        }
    }
}

/// Sorted, and joined where they overlap or touch.
fn joined<Bits: Ord + Copy>(mut ranges: Vec<(Bits, Bits)>, next: impl Fn(Bits) -> Option<Bits>) -> Vec<(Bits, Bits)> {
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        let touches = next(earlier.1).is_none_or(|next| later.0 <= next);
        if touches {
            earlier.1 = earlier.1.max(later.1);
        }
        touches
    });
    ranges.shrink_to_fit();
    ranges
}

fn is_in<Bits: Ord>(ranges: &[(Bits, Bits)], address: Bits) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    ranges[..behind].last().is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(rules: &[&str]) -> Networks {
        Networks::new(rules.iter().map(|rule| Rule::parse(rule).unwrap_or_else(|| panic!("{rule}"))).collect())
    }

    fn contains(rules: &[&str], address: &str) -> bool {
        networks(rules).contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_reaches_up_to_both_of_its_edges() {
        for inside in ["10.1.2.0", "10.1.3.255", "2001:db8::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"] {
            assert!(contains(&["10.1.2.3/23", "2001:db8:1::5/47"], inside), "{inside}");
        }
        for outside in ["10.1.1.255", "10.1.4.0", "2001:db8:2::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(!contains(&["10.1.2.3/23", "2001:db8:1::5/47"], outside), "{outside}");
        }
    }

    #[test]
    fn a_zero_prefix_is_the_whole_family_and_only_that() {
        for address in ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"] {
            assert!(contains(&["1.2.3.4/0"], address) && !contains(&["::/0"], address), "{address}");
        }
        for address in ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(contains(&["::/0"], address) && !contains(&["0.0.0.0/0"], address), "{address}");
        }
    }

    #[test]
    fn brackets_and_zones_of_ipv6_are_dropped() {
        for rule in
            ["fe80::1", "[fe80::1]", "fe80::1%eth0", "[fe80::1%eth0]", "fe80::1%eth0/128", "[fe80::1%25eth0]/128"]
        {
            assert!(contains(&[rule], "fe80::1") && !contains(&[rule], "fe80::2"), "{rule}");
        }
    }

    #[test]
    fn what_is_no_address_is_no_rule() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "/8",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "010.0.0.1",
            "10.0.0.1 ",
            "[10.0.0.1]",
            "10.0.0.1%eth0",
            "[::1",
            "::1]",
            "[::1/128]",
            "::1%",
            "[]",
            "a",
            "*",
        ] {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_rule_within_the_mapped_network_is_ipv4() {
        let is_mapped = |text| Rule::parse(text).is_some_and(Rule::is_ipv4_mapped);
        assert!(is_mapped("::ffff:10.0.0.1") && is_mapped("::ffff:0:0/96"));
        assert!(!is_mapped("::ffff:0:0/95") && !is_mapped("::/0") && !is_mapped("::1") && !is_mapped("10.0.0.1"));
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let joined =
            networks(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.0.0/25", "255.255.255.255", "0.0.0.0/31"]);
        assert_eq!(joined.v4, [(0, 1), (0x0a00_0000, 0x0a00_01ff), (u32::MAX, u32::MAX)]);
        assert_eq!(networks(&["0.0.0.0/0", "255.255.255.255", "128.0.0.0/1"]).v4, [(0, u32::MAX)]);
        assert_eq!(networks(&["::/1", "8000::/1", "ffff::"]).v6, [(0, u128::MAX)]);
    }

    /// The answers are those of one rule after the other.
    #[test]
    fn thousands_of_rules_are_searched_rightly() {
        let mut state = 7_u32;
        let mut random = move || {
            // Numerical Recipes' generator: any spread of rules and addresses will do.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let rules: Vec<(u32, u8)> = (0..5000).map(|_| (random(), 12 + (random() >> 8) as u8 % 21)).collect();
        let set = Networks::new(rules.iter().map(|(bits, prefix)| Rule::V4((*bits).into(), *prefix)).collect());
        let covers = |(bits, prefix): &(u32, u8), address: u32| (bits ^ address) >> (32 - prefix) == 0;
        let near = |index: u32, (bits, prefix): (u32, u8)| {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            [bits & !host, bits | host, (bits & !host).wrapping_sub(1), (bits | host).wrapping_add(1)]
                [index as usize % 4]
        };
        let (mut inside, mut outside) = (0, 0);
        for index in 0..2000 {
            let address = near(index, rules[random() as usize % rules.len()]);
            let expected = rules.iter().any(|rule| covers(rule, address));
            assert_eq!(set.contains(Ipv4Addr::from(address).into()), expected, "{}", Ipv4Addr::from(address));
            if expected { inside += 1 } else { outside += 1 }
        }
        assert!(inside > 900 && outside > 100, "{inside} inside, {outside} outside");
    }
}
