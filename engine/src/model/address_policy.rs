//! `FERRUM_BACKEND_ALLOW_IPS`: which addresses a backend may have (settings sheet §14.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which backend addresses may be dialled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    #[default]
    Both,
    /// Only the non-global ranges.
    Private,
    /// Everything but the non-global ranges.
    Public,
}

impl AddressPolicy {
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Private => is_private(address),
            Self::Public => !is_private(address),
        }
    }

    /// Why the address may not be called.
    pub fn denial(self, address: IpAddr) -> Option<String> {
        let text = || format!("IP {address} denied by FERRUM_BACKEND_ALLOW_IPS={} policy", self.as_str());
        (!self.allows(address)).then(text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

impl FromStr for AddressPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Both, Self::Private, Self::Public].into_iter().find(|policy| policy.as_str() == text);
        known.ok_or_else(|| format!("'{text}' is none of 'both', 'private', 'public'"))
    }
}

/// Special-purpose ranges of the IANA registries, as (network, prefix length).
const PRIVATE_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Globally reachable anycast addresses inside 192.0.0.0/24.
const PUBLIC_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 9), Ipv4Addr::new(192, 0, 0, 10)];

const PRIVATE_V6: [(Ipv6Addr, u32); 9] = [
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Globally reachable assignments inside 2001::/23.
const PUBLIC_V6: [(Ipv6Addr, u32); 7] = [
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 128),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 3), 128),
    (Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28),
    (Ipv6Addr::new(0x2001, 0x30, 0, 0, 0, 0, 0, 0), 28),
];

/// `64:ff9b::/96`: NAT64, judged by the IPv4 address inside.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    let is_in = |&(network, len): &(Ipv4Addr, u32)| (bits ^ network.to_bits()) >> (32 - len) == 0;
    PRIVATE_V4.iter().any(is_in) && !PUBLIC_V4.contains(&address)
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let is_in = |&(network, len): &(Ipv6Addr, u32)| (bits ^ network.to_bits()) >> (128 - len) == 0;
    // IPv4-compatible (::/96, with :: and ::1, which fall into 0.0.0.0/8), IPv4-mapped, NAT64
    let embeds_v4 = bits >> 32 == 0 || bits >> 32 == 0xffff || is_in(&(NAT64, 96));
    if embeds_v4 {
        return is_private_v4(Ipv4Addr::from_bits(bits as u32));
    }
    PRIVATE_V6.iter().any(is_in) && !PUBLIC_V6.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_all(private: bool, addresses: &[&str]) {
        for text in addresses {
            let address: IpAddr = text.parse().unwrap();
            assert!(AddressPolicy::Both.allows(address));
            assert_eq!(AddressPolicy::Private.allows(address), private, "{text}");
            assert_eq!(AddressPolicy::Public.allows(address), !private, "{text}");
        }
    }

    #[test]
    fn both_ends_of_every_private_ipv4_range() {
        assert_all(
            true,
            &[
                "0.0.0.0",
                "0.255.255.255",
                "10.0.0.0",
                "10.255.255.255",
                "100.64.0.0",
                "100.127.255.255",
                "127.0.0.1",
                "127.255.255.255",
                "169.254.0.0",
                "169.254.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.0.0.0",
                "192.0.0.8",
                "192.0.0.11",
                "192.0.0.255",
                "192.0.2.0",
                "192.0.2.255",
                "192.88.99.0",
                "192.88.99.255",
                "192.168.0.0",
                "192.168.255.255",
                "198.18.0.0",
                "198.19.255.255",
                "198.51.100.0",
                "198.51.100.255",
                "203.0.113.0",
                "203.0.113.255",
                "224.0.0.0",
                "239.255.255.255",
                "240.0.0.0",
                "255.255.255.255",
            ],
        );
    }

    #[test]
    fn the_neighbours_of_private_ipv4_ranges_are_public() {
        assert_all(
            false,
            &[
                "1.0.0.0",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "191.255.255.255",
                "192.0.0.9",
                "192.0.0.10",
                "192.0.1.0",
                "192.0.3.0",
                "192.88.98.255",
                "192.88.100.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "198.51.99.255",
                "198.51.101.0",
                "203.0.112.255",
                "203.0.114.0",
                "223.255.255.255",
                "8.8.8.8",
            ],
        );
    }

    #[test]
    fn ipv6_ranges_and_their_neighbours() {
        assert_all(
            true,
            &[
                "::",
                "::1",
                "::10.0.0.1",
                "::ffff:10.0.0.1",
                "64:ff9b::10.0.0.1",
                "64:ff9b:1::",
                "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                "100::",
                "100::ffff:ffff:ffff:ffff",
                "100:0:0:1::",
                "2001::",
                "2001:1ff:ffff::",
                "2001:1::",
                "2001:1::4",
                "2001:2::1",
                "2001:4:113::",
                "2001:10::",
                "2001:40::",
                "2001:db8::",
                "2001:db8:ffff::",
                "2002::",
                "2002:ffff::1",
                "fc00::",
                "fdff:ffff::1",
                "fe80::1",
                "febf:ffff::1",
                "ff00::",
                "ff02::1",
            ],
        );
        assert_all(
            false,
            &[
                "::8.8.8.8",
                "::ffff:8.8.8.8",
                "64:ff9b::8.8.8.8",
                "64:ff9b:2::",
                "64:ff9b:0:0:0:1:808:808",
                "100:0:0:2::",
                "2001:1::1",
                "2001:1::2",
                "2001:1::3",
                "2001:3::",
                "2001:3:ffff::1",
                "2001:4:112::1",
                "2001:20::",
                "2001:2f:ffff::",
                "2001:30::",
                "2001:3f:ffff::",
                "2001:200::",
                "2001:db7::",
                "2001:db9::",
                "2003::",
                "fbff::",
                "fec0::1",
                "2606:4700::1111",
            ],
        );
    }

    #[test]
    fn the_setting_has_three_words() {
        for policy in [AddressPolicy::Both, AddressPolicy::Private, AddressPolicy::Public] {
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
        assert_eq!("BOTH".parse::<AddressPolicy>(), Err("'BOTH' is none of 'both', 'private', 'public'".into()));
    }
}
