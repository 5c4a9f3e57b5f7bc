//! The words that settings choose from.

use std::fmt;

use super::value::{Value, expected, items, one_of, tokens};

/// What the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Mode {
    Database,
    File,
    ControlPlane,
    DataPlane,
    Mesh,
    Injector,
    NodeAgent,
    Migrate,
}

impl Mode {
    const NAMES: [(&str, Self); 8] = [
        ("database", Self::Database),
        ("file", Self::File),
        ("cp", Self::ControlPlane),
        ("dp", Self::DataPlane),
        ("mesh", Self::Mesh),
        ("injector", Self::Injector),
        ("node_agent", Self::NodeAgent),
        ("migrate", Self::Migrate),
    ];

    /// The word a user writes.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }

    /// Whether this mode carries traffic.
    pub fn is_proxy(self) -> bool {
        matches!(self, Self::Database | Self::File | Self::DataPlane | Self::Mesh)
    }

    /// The mode of a text, which is not trimmed; `None` shows as the empty text.
    pub(crate) fn required(raw: Option<&str>) -> Result<Self, String> {
        let word = raw.unwrap_or_default().to_lowercase();
        Self::NAMES.iter().find(|(name, _)| *name == word).map(|(_, mode)| *mode).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("Invalid FERRUM_MODE '{word}'. Expected: {}", names.join(", "))
        })
    }
}

/// The word of the start-up log and of `validate`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Value for Mode {
    fn tag() -> String {
        Self::NAMES.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" ")
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Self::required(Some(raw))
    }

    fn show(&self) -> String {
        self.name().to_owned()
    }
}

/// The tenant whose resources are served: 1-254 characters, the first alphanumeric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct Namespace(String);

impl Namespace {
    const CHARACTERS_MAX: usize = 254;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("ferrum".to_owned())
    }
}

impl Value for Namespace {
    fn tag() -> String {
        "str".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let follows = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let reason = if raw.is_empty() {
            "it must not be empty".to_owned()
        } else if raw.len() > Self::CHARACTERS_MAX {
            format!("it has {} characters, at most {} are allowed", raw.chars().count(), Self::CHARACTERS_MAX)
        } else if !raw.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            format!("'{raw}' must start with a letter or a digit")
        } else if !raw.chars().all(follows) {
            format!("'{raw}' may only contain letters, digits, '.', '_' and '-'")
        } else {
            return Ok(Self(raw.to_owned()));
        };
        Err(format!("Invalid {key}: {reason}"))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A DNS label: at most 63 lower-case letters, digits and inner hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct DnsLabel(String);

impl DnsLabel {
    const CHARACTERS_MAX: usize = 63;

    pub(crate) fn known(label: &str) -> Self {
        Self(label.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for DnsLabel {
    fn tag() -> String {
        "DNS label".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_label = (1..=Self::CHARACTERS_MAX).contains(&raw.len())
            && raw.chars().all(inner)
            && !raw.starts_with('-')
            && !raw.ends_with('-');
        if is_label {
            return Ok(Self(raw.to_owned()));
        }
        Err(format!(
            "Invalid {key}: '{raw}' is not a DNS label (1-{} lower-case letters, digits and '-', a letter or digit at both ends)",
            Self::CHARACTERS_MAX
        ))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl Value for TlsVersion {
    fn tag() -> String {
        "`1.2` `1.3`".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match raw {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(format!("Invalid {key} '{raw}'. Expected: 1.2, 1.3")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Tls12 => "1.2".to_owned(),
            Self::Tls13 => "1.3".to_owned(),
        }
    }
}

tokens! {
    /// A cipher suite by the name users write.
    CipherSuite {
        Aes128GcmSha256 = "TLS_AES_128_GCM_SHA256",
        Aes256GcmSha384 = "TLS_AES_256_GCM_SHA384",
        Chacha20Poly1305Sha256 = "TLS_CHACHA20_POLY1305_SHA256",
        EcdheEcdsaAes128Gcm = "ECDHE-ECDSA-AES128-GCM-SHA256",
        EcdheRsaAes128Gcm = "ECDHE-RSA-AES128-GCM-SHA256",
        EcdheEcdsaChacha20 = "ECDHE-ECDSA-CHACHA20-POLY1305",
        EcdheRsaChacha20 = "ECDHE-RSA-CHACHA20-POLY1305",
        EcdheEcdsaAes256Gcm = "ECDHE-ECDSA-AES256-GCM-SHA384",
        EcdheRsaAes256Gcm = "ECDHE-RSA-AES256-GCM-SHA384",
    }
}

impl CipherSuite {
    const ALL: [Self; 9] = [
        Self::Aes128GcmSha256,
        Self::Aes256GcmSha384,
        Self::Chacha20Poly1305Sha256,
        Self::EcdheEcdsaAes128Gcm,
        Self::EcdheRsaAes128Gcm,
        Self::EcdheEcdsaChacha20,
        Self::EcdheRsaChacha20,
        Self::EcdheEcdsaAes256Gcm,
        Self::EcdheRsaAes256Gcm,
    ];
}

/// Cipher suites, the preferred one first. Never empty.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub struct CipherSuites(pub Vec<CipherSuite>);

impl Default for CipherSuites {
    fn default() -> Self {
        Self(CipherSuite::ALL.to_vec())
    }
}

impl Value for CipherSuites {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let suite = |item: &str| {
            CipherSuite::ALL
                .into_iter()
                .find(|suite| suite.token() == item)
                .ok_or_else(|| format!("Unknown cipher suite '{item}'. Supported: {}", CipherSuite::TOKENS.join(", ")))
        };
        let suites = items(raw).map(suite).collect::<Result<Vec<_>, _>>()?;
        if suites.is_empty() { Err("No cipher suites specified".to_owned()) } else { Ok(Self(suites)) }
    }

    fn show(&self) -> String {
        self.0.iter().map(|suite| suite.token()).collect::<Vec<_>>().join(",")
    }
}

/// A key-exchange group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Curve {
    X25519,
    Secp256r1,
    Secp384r1,
    /// X25519 together with ML-KEM-768, which a quantum computer does not break.
    X25519MlKem768,
}

impl Curve {
    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519 => "X25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
            Self::X25519MlKem768 => "X25519MLKEM768",
        }
    }
}

/// Key-exchange groups, the preferred one first. Never empty.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub struct Curves(pub Vec<Curve>);

impl Default for Curves {
    fn default() -> Self {
        Self(vec![Curve::X25519, Curve::Secp256r1])
    }
}

impl Value for Curves {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(_: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let curve = |item: &str| match item.to_ascii_lowercase().as_str() {
            "x25519" => Ok(Curve::X25519),
            "secp256r1" | "p-256" | "p256" => Ok(Curve::Secp256r1),
            "secp384r1" | "p-384" | "p384" => Ok(Curve::Secp384r1),
            "x25519mlkem768" => Ok(Curve::X25519MlKem768),
            _ => Err(format!(
                "Unknown curve/group '{item}'. Supported: X25519, secp256r1 (P-256), secp384r1 (P-384), X25519MLKEM768"
            )),
        };
        let curves = items(raw).map(curve).collect::<Result<Vec<_>, _>>()?;
        if curves.is_empty() { Err("No curves/groups specified".to_owned()) } else { Ok(Self(curves)) }
    }

    fn show(&self) -> String {
        self.0.iter().map(|curve| curve.name()).collect::<Vec<_>>().join(",")
    }
}

tokens! {
    /// The reactor of a core.
    ReactorChoice { Auto = "auto", IoUring = "io_uring", Epoll = "epoll" }
}

tokens! {
    /// How fresh connections find their core.
    AcceptSteering {
        /// The kernel's hash over addresses and ports.
        Hash = "hash",
        /// The core whose CPU received the packet.
        Cpu = "cpu",
        /// A busy core hands fresh connections over to an idle one.
        Balance = "balance",
    }
}

tokens! {
    /// Whether clients of the HTTPS listener show certificates, once there is a bundle to verify them by.
    ClientAuth {
        /// None is asked for.
        Off = "off",
        /// A client without one is served, one with a bad one is not.
        Optional = "optional",
        Required = "required",
    }
}

tokens! {
    /// The TLS policy of database connections.
    DbTlsMode {
        Disable = "disable",
        Allow = "allow",
        Prefer = "prefer",
        Require = "require",
        VerifyCa = "verify-ca",
        VerifyFull = "verify-full",
    }
}

tokens! {
    /// Which resolved backend addresses may be dialled.
    BackendAllowIps { Both = "both", Private = "private", Public = "public" }
}

tokens! {
    /// The capture contract of the node agent.
    NodeAgentProxyMode { LocalPod = "local_pod", NodeWaypoint = "node_waypoint" }
}

tokens! {
    /// One kind of DNS question.
    DnsQuery {
        /// Whatever answered last time.
        Cache = "CACHE",
        Srv = "SRV",
        A = "A",
        Aaaa = "AAAA",
        Cname = "CNAME",
    }
}

/// The order of DNS questions. Never empty.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub struct DnsOrder(pub Vec<DnsQuery>);

impl Default for DnsOrder {
    fn default() -> Self {
        Self(vec![DnsQuery::Cache, DnsQuery::Srv, DnsQuery::A, DnsQuery::Cname])
    }
}

impl Value for DnsOrder {
    fn tag() -> String {
        "list".to_owned()
    }

    /// Unknown words are skipped with a warning; nothing left means the default.
    fn parse(key: &str, raw: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        let mut order = Vec::new();
        for item in items(raw) {
            match DnsQuery::from_token(item) {
                Some(query) => order.push(query),
                None => {
                    warnings.push(format!("{key}: unknown item '{item}'. Expected {}", one_of(DnsQuery::TOKENS)));
                }
            }
        }
        Ok(if order.is_empty() { Self::default() } else { Self(order) })
    }

    fn show(&self) -> String {
        self.0.iter().map(|query| query.token()).collect::<Vec<_>>().join(",")
    }
}

/// Methods that may travel in TLS early data, upper-case. Empty: early data is off.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct EarlyDataMethods(pub Vec<String>);

impl Value for EarlyDataMethods {
    fn tag() -> String {
        "list".to_owned()
    }

    fn parse(key: &str, raw: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        let methods: Vec<_> = items(raw).map(str::to_ascii_uppercase).collect();
        for method in methods.iter().filter(|method| *method != "GET") {
            warnings
                .push(format!("{key}: {method} in TLS early data can be replayed by an attacker; only GET is safe"));
        }
        Ok(Self(methods))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// What a migration run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum MigrateAction {
    Up,
    Status,
    Config,
}

impl Value for MigrateAction {
    fn tag() -> String {
        "`up` `status` `config`".to_owned()
    }

    /// Lower-cased, not trimmed.
    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match raw.to_lowercase().as_str() {
            "up" => Ok(Self::Up),
            "status" => Ok(Self::Status),
            "config" => Ok(Self::Config),
            other => Err(format!("Invalid {key} '{other}'. Expected: up, status, config")),
        }
    }

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// A port that can be listened on or captured: 1-65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct Port(pub u16);

impl Value for Port {
    fn tag() -> String {
        "port".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match raw.trim().parse() {
            Ok(0) | Err(_) => Err(expected(key, raw, "a port from 1 to 65535")),
            Ok(port) => Ok(Self(port)),
        }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
