//! Mesh identities, capture lists and Kubernetes quantities: values that are read when their mode starts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::value::{Value, expected, items};

/// Which listeners a mesh proxy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum MeshTopology {
    Sidecar,
    Ambient,
    NodeWaypoint,
    ServiceWaypoint,
    EastWestGateway,
    EgressGateway,
}

impl MeshTopology {
    const NAMES: [(&str, Self); 6] = [
        ("sidecar", Self::Sidecar),
        ("ambient", Self::Ambient),
        ("node_waypoint", Self::NodeWaypoint),
        ("service_waypoint", Self::ServiceWaypoint),
        ("east_west_gateway", Self::EastWestGateway),
        ("egress_gateway", Self::EgressGateway),
    ];
}

impl Value for MeshTopology {
    fn tag() -> String {
        Self::NAMES.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" ")
    }

    /// Hyphens are as good as underscores.
    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let word = raw.trim().to_ascii_lowercase().replace('-', "_");
        Self::NAMES.iter().find(|(name, _)| *name == word).map(|(_, topology)| *topology).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("Invalid {key} '{raw}'. Expected: {}", names.join(", "))
        })
    }

    fn show(&self) -> String {
        Self::NAMES.iter().find(|(_, topology)| topology == self).map_or("", |(name, _)| name).to_owned()
    }
}

/// A setting that takes one of a few words, each perhaps spelled in several ways.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident ($expected:literal, $fold:expr) { $( $variant:ident = $($word:literal)|+ ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
        pub enum $name { $( $variant, )* }

        impl Value for $name {
            fn tag() -> String {
                $expected.to_owned()
            }

            fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
                let fold: fn(&str) -> String = $fold;
                match fold(raw).as_str() {
                    $( $($word)|+ => Ok(Self::$variant), )*
                    _ => Err(format!("Invalid {key} '{raw}'. Expected: {}", $expected)),
                }
            }

            fn show(&self) -> String {
                match self { $( Self::$variant => [$($word),+][0], )* }.to_owned()
            }
        }
    };
}

fn trimmed(raw: &str) -> String {
    raw.trim().to_ascii_lowercase()
}

words! {
    /// The protocol of the mesh subscription.
    MeshProtocol("native or xds", trimmed) { Native = "native", Xds = "xds" }
}

words! {
    /// Who issues the workload's certificate.
    CaBackend("none, internal, spire", trimmed) {
        None = "none" | "",
        Internal = "internal",
        Spire = "spire" | "spire_agent" | "spire-agent",
    }
}

words! {
    /// What happens to traffic for destinations that the registry does not know.
    OutboundTrafficPolicy("allow_any, registry_only", trimmed) {
        AllowAny = "allow_any" | "",
        RegistryOnly = "registry_only",
    }
}

words! {
    /// How a pod's traffic reaches the proxy.
    CaptureMode("explicit, iptables, ebpf", str::to_ascii_lowercase) {
        Explicit = "explicit",
        Iptables = "iptables",
        Ebpf = "ebpf",
    }
}

words! {
    /// Whether IPv6 capture rules are written.
    Ip6tables("auto, true, required, false, disabled", str::to_ascii_lowercase) {
        Auto = "auto",
        Required = "true" | "required",
        Disabled = "false" | "disabled",
    }
}

words! {
    /// What the node agent does on a host without eBPF.
    FallbackMode("iptables, fail", str::to_ascii_lowercase) {
        Iptables = "iptables",
        Fail = "fail",
    }
}

/// `spiffe://<trust domain>/<path>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct SpiffeId(String);

impl SpiffeId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE-ID standard §2: a trust domain, then non-empty path segments of a small alphabet, 2048 bytes at most.
    fn reason_against(text: &str) -> Option<String> {
        const BYTES_MAX: usize = 2048;
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return Some("it must start with spiffe://".to_owned());
        };
        if text.len() > BYTES_MAX {
            return Some(format!("it is longer than {BYTES_MAX} bytes"));
        }
        let mut parts = rest.split('/');
        if let Some(reason) = TrustDomain::reason_against(parts.next().unwrap_or_default()) {
            return Some(reason);
        }
        let is_segment = |segment: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(is_plain)
        };
        parts.find(|segment| !is_segment(segment)).map(|segment| format!("'{segment}' is not a path segment"))
    }
}

impl Value for SpiffeId {
    fn tag() -> String {
        "SPIFFE URI".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let text = raw.trim();
        match Self::reason_against(text) {
            Some(reason) => Err(format!("Invalid {key} '{raw}': {reason}")),
            None => Ok(Self(text.to_owned())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The name of a SPIFFE trust domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct TrustDomain(String);

impl TrustDomain {
    const BYTES_MAX: usize = 255;

    pub(crate) fn known(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn reason_against(name: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if name.is_empty() {
            Some("the trust domain is empty".to_owned())
        } else if name.len() > Self::BYTES_MAX {
            Some(format!("the trust domain is longer than {} bytes", Self::BYTES_MAX))
        } else if !name.chars().all(is_plain) {
            Some(format!("'{name}' is not a trust domain (lower-case letters, digits, '.', '-' and '_')"))
        } else {
            None
        }
    }
}

impl Value for TrustDomain {
    fn tag() -> String {
        "trust domain".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let name = raw.trim();
        match Self::reason_against(name) {
            Some(reason) => Err(format!("Invalid {key} '{raw}': {reason}")),
            None => Ok(Self(name.to_owned())),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Trust domains that count as the peer's own.
#[derive(Debug, Clone, Default, PartialEq, PartialOrd)]
pub struct TrustDomains(pub Vec<TrustDomain>);

impl Value for TrustDomains {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let domain = |item: &str| match TrustDomain::reason_against(item) {
            Some(reason) => Err(format!("{key}: {reason}")),
            None => Ok(TrustDomain(item.to_owned())),
        };
        items(raw).map(domain).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|domain| domain.0.clone()).collect::<Vec<_>>().show()
    }
}

/// Peers that may say who they speak for: service-account names or SPIFFE ids. Never empty.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub struct HboneAssertors(pub Vec<String>);

impl Default for HboneAssertors {
    fn default() -> Self {
        Self(vec!["ztunnel".to_owned(), "waypoint".to_owned()])
    }
}

impl Value for HboneAssertors {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let mut assertors = Vec::new();
        for item in items(raw) {
            if item.contains("://")
                && let Some(reason) = SpiffeId::reason_against(item)
            {
                return Err(format!("{key}: '{item}' is not a service-account name or SPIFFE id: {reason}"));
            }
            assertors.push(item.to_owned());
        }
        Ok(if assertors.is_empty() { Self::default() } else { Self(assertors) })
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// `key=value` labels of the workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct Labels(pub BTreeMap<String, String>);

impl Value for Labels {
    fn tag() -> String {
        "k=v list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let mut labels = BTreeMap::new();
        for item in items(raw) {
            let (name, value) = item
                .split_once('=')
                .ok_or_else(|| format!("Invalid {key}: '{item}' has no '='. Expected key=value,key=value"))?;
            let name = name.trim();
            if name.is_empty() {
                return Err(format!("Invalid {key}: '{item}' has an empty key"));
            }
            if labels.insert(name.to_owned(), value.trim().to_owned()).is_some() {
                return Err(format!("Invalid {key}: duplicate key '{name}'"));
            }
        }
        Ok(Self(labels))
    }

    fn show(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().show()
    }
}

/// Ports that are, or are not, captured.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct PortList(pub Vec<u16>);

impl Value for PortList {
    fn tag() -> String {
        "port list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let port = |item: &str| match item.parse() {
            Ok(0) | Err(_) => Err(format!("Invalid {key}: '{item}' is not a port (1-65535)")),
            Ok(port) => Ok(port),
        };
        items(raw).map(port).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(u16::to_string).collect::<Vec<_>>().show()
    }
}

/// Networks that are, or are not, captured. The prefix length is mandatory.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct CidrList(pub Vec<(IpAddr, u8)>);

impl CidrList {
    fn one(item: &str) -> Option<(IpAddr, u8)> {
        let (address, prefix) = item.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = is_number.then(|| prefix.parse().ok())?.filter(|prefix: &u8| *prefix <= bits)?;
        Some((address, prefix))
    }
}

impl Value for CidrList {
    fn tag() -> String {
        "CIDR list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let cidr = |item: &str| {
            Self::one(item)
                .ok_or_else(|| format!("Invalid {key}: '{item}' is not a CIDR such as 10.0.0.0/8 or fd00::/8"))
        };
        items(raw).map(cidr).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect::<Vec<_>>().show()
    }
}

/// A Kubernetes resource quantity: `250m`, `64Mi`, `1.5`, `1e3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct Quantity(String);

impl Quantity {
    pub(crate) fn known(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The grammar of the Kubernetes API: a decimal number and a binary, decimal or exponent suffix.
    fn is_quantity(text: &str) -> bool {
        const SUFFIXES: [&str; 16] =
            ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E"];
        let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
        if !has_digit || number.matches('.').count() > 1 {
            return false;
        }
        let exponent = suffix.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        let is_exponent = exponent.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        is_exponent || SUFFIXES.contains(&suffix)
    }
}

impl Value for Quantity {
    fn tag() -> String {
        "quantity".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let text = raw.trim();
        if Self::is_quantity(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(expected(key, raw, "a Kubernetes quantity such as 250m, 0.5 or 64Mi"))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(raw: &str) -> Result<T, String> {
        T::parse("FERRUM_X", raw, &mut Vec::new())
    }

    #[test]
    fn a_topology_takes_hyphens_and_any_case() {
        assert_eq!(read("Node-Waypoint"), Ok(MeshTopology::NodeWaypoint));
        assert_eq!(read(" egress_gateway "), Ok(MeshTopology::EgressGateway));
        let error = read::<MeshTopology>("star").unwrap_err();
        assert!(error.starts_with("Invalid FERRUM_X 'star'. Expected: sidecar, ambient, node_waypoint"), "{error}");
    }

    #[test]
    fn words_have_their_aliases_and_their_own_trimming() {
        assert_eq!(read(""), Ok(CaBackend::None));
        assert_eq!(read(" SPIRE-agent "), Ok(CaBackend::Spire));
        assert_eq!(read(""), Ok(OutboundTrafficPolicy::AllowAny));
        assert_eq!(read("registry_only"), Ok(OutboundTrafficPolicy::RegistryOnly));
        assert_eq!(read("EBPF"), Ok(CaptureMode::Ebpf));
        assert_eq!(read("required"), Ok(Ip6tables::Required));
        assert_eq!(read("false"), Ok(Ip6tables::Disabled));
        assert_eq!(read("FAIL"), Ok(FallbackMode::Fail));
        for refused in [read::<CaptureMode>(" ebpf").err(), read::<CaptureMode>("").err()] {
            assert!(refused.unwrap().contains("Expected: explicit, iptables, ebpf"));
        }
        assert!(read::<Ip6tables>(" auto").is_err());
        assert!(read::<FallbackMode>("fail ").is_err());
        assert!(read::<CaBackend>("vault").is_err());
        assert!(read::<OutboundTrafficPolicy>("deny").is_err());
    }

    #[test]
    fn a_spiffe_id_needs_a_trust_domain_and_clean_segments() {
        assert!(read::<SpiffeId>("spiffe://cluster.local/ns/a/sa/B_c-1.x").is_ok());
        assert!(read::<SpiffeId>("spiffe://td").is_ok());
        for bad in [
            "http://td/x",
            "spiffe://",
            "spiffe:///x",
            "spiffe://TD/x",
            "spiffe://td/",
            "spiffe://td/../x",
            "spiffe://td/a?b",
        ] {
            assert!(read::<SpiffeId>(bad).is_err(), "{bad}");
        }
        let longest = format!("spiffe://td/{}", "a".repeat(2048 - 12));
        assert!(read::<SpiffeId>(&longest).is_ok());
        assert!(read::<SpiffeId>(&format!("{longest}a")).is_err());
    }

    #[test]
    fn a_trust_domain_has_at_most_255_bytes() {
        assert!(read::<TrustDomain>(&"a".repeat(255)).is_ok());
        assert!(read::<TrustDomain>(&"a".repeat(256)).is_err());
        assert!(read::<TrustDomain>("Upper").is_err());
        let error = read::<TrustDomains>("ok,not ok").unwrap_err();
        assert!(error.starts_with("FERRUM_X: 'not ok'"), "{error}");
        assert_eq!(read::<TrustDomains>("a, b").unwrap().0.len(), 2);
    }

    #[test]
    fn assertors_are_names_or_spiffe_ids_and_default_to_the_two_of_ambient() {
        assert_eq!(read::<HboneAssertors>(" , ").unwrap().0, ["ztunnel", "waypoint"]);
        assert_eq!(read::<HboneAssertors>("gw, spiffe://td/x").unwrap().0, ["gw", "spiffe://td/x"]);
        assert!(read::<HboneAssertors>("https://td/x").is_err());
        assert!(read::<HboneAssertors>("spiffe:///x").is_err());
    }

    #[test]
    fn labels_need_a_key_an_equals_sign_and_no_duplicate() {
        let labels = read::<Labels>("app=web, tier = front,flag=").unwrap();
        assert_eq!(labels.0["tier"], "front");
        assert_eq!(labels.0["flag"], "");
        assert!(read::<Labels>("app").unwrap_err().contains("'app' has no '='"));
        assert!(read::<Labels>("=v").unwrap_err().contains("empty key"));
        assert!(read::<Labels>("a=1,a=2").unwrap_err().contains("duplicate key 'a'"));
    }

    #[test]
    fn ports_run_from_1_to_65535() {
        assert_eq!(read::<PortList>("1, 65535").unwrap().0, [1, 65535]);
        for bad in ["0", "65536", "x", "80-90"] {
            assert!(read::<PortList>(bad).unwrap_err().contains("is not a port (1-65535)"), "{bad}");
        }
    }

    #[test]
    fn a_capture_cidr_needs_its_prefix() {
        assert_eq!(read::<CidrList>("0.0.0.0/0, fd00::/128").unwrap().0.len(), 2);
        for bad in ["10.0.0.1", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/+8"] {
            assert!(read::<CidrList>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_quantity_follows_the_kubernetes_grammar() {
        for good in ["25m", "64Mi", "1", "0.5", ".5", "5.", "1e3", "1E-3", "2E", "100k", "1Ei"] {
            assert!(read::<Quantity>(good).is_ok(), "{good}");
        }
        for bad in ["", "m", "64mi", "1.2.3", "64 Mi", "1i", "1e", "-1", "1KB"] {
            assert!(read::<Quantity>(bad).is_err(), "{bad}");
        }
    }
}
