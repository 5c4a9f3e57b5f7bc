//! Versions, cipher suites and key-exchange groups (settings sheet §8.9): one policy for every direction.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite as suites, default_provider, kx_group as groups};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Makes the provider of this room that of everybody in the process who names none. The first time counts.
pub fn install_provider() {
    // Somebody was faster, which is the same to everybody here.
    let _ = default_provider().install_default();
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// The suite of this name, as users write it.
pub fn suite(name: &str) -> Option<SupportedCipherSuite> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => suites::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => suites::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => suites::TLS13_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256" => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305" => suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384" => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        _ => return None,
    })
}

/// The group of this name, by its first spelling in the sheet.
pub fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    Some(match name {
        "X25519" => groups::X25519,
        "secp256r1" => groups::SECP256R1,
        "secp384r1" => groups::SECP384R1,
        "X25519MLKEM768" => groups::X25519MLKEM768,
        _ => return None,
    })
}

/// What is negotiated, the preferred first.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) prefers_server_order: bool,
}

impl Policy {
    pub fn new(
        (min, max): (TlsVersion, TlsVersion),
        cipher_suites: Vec<SupportedCipherSuite>,
        kx_groups: Vec<&'static dyn SupportedKxGroup>,
        prefers_server_order: bool,
    ) -> Self {
        let within = |version: TlsVersion| (min..=max).contains(&version);
        let mut versions = Vec::new();
        if within(TlsVersion::Tls13) {
            versions.push(&TLS13);
        }
        if within(TlsVersion::Tls12) {
            versions.push(&TLS12);
        }
        let provider = CryptoProvider { cipher_suites, kx_groups, ..default_provider() };
        Self { provider: Arc::new(provider), versions, prefers_server_order }
    }
}

/// Everything that is safe, for tools beside the gateway, which no settings are read for.
impl Default for Policy {
    fn default() -> Self {
        Self { provider: Arc::new(default_provider()), versions: vec![&TLS13, &TLS12], prefers_server_order: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_sheet_is_known_and_no_other() {
        let names = [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ];
        for name in names {
            assert!(suite(name).is_some(), "{name}");
            assert!(suite(&name.to_ascii_lowercase()).is_none(), "{name}");
        }
        for name in ["X25519", "secp256r1", "secp384r1", "X25519MLKEM768"] {
            assert!(group(name).is_some(), "{name}");
        }
        assert!(group("secp521r1").is_none());
    }

    #[test]
    fn versions_are_those_between_the_lowest_and_the_highest() {
        let versions = |min, max| Policy::new((min, max), Vec::new(), Vec::new(), true).versions;
        assert_eq!(versions(TlsVersion::Tls12, TlsVersion::Tls13), [&TLS13, &TLS12]);
        assert_eq!(versions(TlsVersion::Tls12, TlsVersion::Tls12), [&TLS12]);
        assert_eq!(versions(TlsVersion::Tls13, TlsVersion::Tls13), [&TLS13]);
    }
}
