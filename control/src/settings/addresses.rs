//! Settings that are addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::TrustedNetworks;
use super::value::{Value, items};

/// Where a listener is bound on every interface.
pub(crate) const EVERY_IPV4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Value for IpAddr {
    fn tag() -> String {
        "IP address".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        raw.parse()
            .map_err(|_| format!("Invalid {key} '{raw}'. Expected a valid IP address such as 0.0.0.0, 127.0.0.1 or ::"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    fn tag() -> String {
        "ip:port".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        raw.trim()
            .parse()
            .map_err(|error| format!("{key} must be a socket address (got '{raw}'): {error} (expected ip:port)"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An address written in this source.
pub(crate) fn socket(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

/// Name servers; empty means those of the system.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct NameServers(pub Vec<SocketAddr>);

impl NameServers {
    const DEFAULT_PORT: u16 = 53;

    fn one(item: &str) -> Option<SocketAddr> {
        let bracketless = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(item);
        item.parse().ok().or_else(|| Some(SocketAddr::new(bracketless.parse().ok()?, Self::DEFAULT_PORT)))
    }
}

impl Value for NameServers {
    fn tag() -> String {
        "list".to_owned()
    }

    /// Bad entries are skipped with a warning; if none is left, the system's name servers are used.
    fn parse(key: &str, raw: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        let mut servers = Vec::new();
        for item in items(raw) {
            match Self::one(item) {
                Some(server) => servers.push(server),
                None => warnings.push(format!("{key}: skipping '{item}', which is not ip or ip:port")),
            }
        }
        if servers.is_empty() {
            warnings.push(format!("{key}: no usable name server in '{raw}'; using the system's"));
        }
        Ok(Self(servers))
    }

    fn show(&self) -> String {
        if self.0.is_empty() {
            return "system".to_owned();
        }
        self.0.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Peers that are believed when they name a client. Bad entries are skipped with a warning.
impl Value for TrustedNetworks {
    fn tag() -> String {
        "CIDR list".to_owned()
    }

    fn parse(key: &str, raw: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        let (networks, refused) = Self::parse_lenient(raw);
        warnings.extend(refused.iter().map(|entry| format!("{key}: skipping invalid CIDR/IP entry '{entry}'")));
        Ok(networks)
    }

    fn show(&self) -> String {
        if self.is_empty() { "empty".to_owned() } else { self.to_string() }
    }
}

/// Peers that are let in; empty means everybody. One bad entry refuses the whole list: a typo must not open a door.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct AllowedNetworks(pub TrustedNetworks);

impl Value for AllowedNetworks {
    fn tag() -> String {
        "CIDR list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        TrustedNetworks::parse_strict(raw).map(Self).map_err(|refused| {
            format!(
                "{key}: Invalid CIDR/IP entries: {}. Expected IP addresses and CIDRs such as 10.0.0.0/8, 192.0.2.7, fd00::/8",
                refused.join(", ")
            )
        })
    }

    fn show(&self) -> String {
        self.0.show()
    }
}
