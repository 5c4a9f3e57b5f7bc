use serde::{Deserialize, Serialize};

use super::{Proxy, Upstream, enabled};

/// TLS towards a backend.
///
/// `Default` verifies nothing; [`default_verify`](Self::default_verify) and documents do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTlsConfig {
    #[serde(default)]
    pub client_cert_path: Option<String>,
    #[serde(default)]
    pub client_key_path: Option<String>,
    #[serde(default)]
    pub server_ca_cert_path: Option<String>,
    #[serde(default = "enabled")]
    pub verify_server_cert: bool,
    #[serde(default)]
    pub sni: Option<String>,
    #[serde(default)]
    pub san_allow_list: Vec<String>,
    /// Tells lists apart; see [`recompute_san_digest`](Self::recompute_san_digest).
    #[serde(skip)]
    pub san_allow_list_key_digest: Option<String>,
}

impl BackendTlsConfig {
    pub fn default_verify() -> Self {
        Self { verify_server_cert: true, ..Self::default() }
    }

    pub fn from_upstream(upstream: &Upstream) -> Self {
        let mut tls = Self {
            client_cert_path: upstream.backend_tls_client_cert_path.clone(),
            client_key_path: upstream.backend_tls_client_key_path.clone(),
            server_ca_cert_path: upstream.backend_tls_server_ca_cert_path.clone(),
            verify_server_cert: upstream.backend_tls_verify_server_cert,
            sni: upstream.backend_tls_sni.clone(),
            san_allow_list: upstream.backend_tls_san_allow_list.clone(),
            san_allow_list_key_digest: None,
        };
        tls.recompute_san_digest();
        tls
    }

    pub fn from_proxy(proxy: &Proxy) -> Self {
        Self {
            client_cert_path: proxy.backend_tls_client_cert_path.clone(),
            client_key_path: proxy.backend_tls_client_key_path.clone(),
            server_ca_cert_path: proxy.backend_tls_server_ca_cert_path.clone(),
            verify_server_cert: proxy.backend_tls_verify_server_cert,
            ..Self::default()
        }
    }

    /// To be called after `san_allow_list` was changed.
    pub fn recompute_san_digest(&mut self) {
        use sha2::{Digest, Sha256};

        let mut names = self.san_allow_list.clone();
        names.sort_unstable();
        names.dedup();
        self.san_allow_list_key_digest = (!names.is_empty()).then(|| hex::encode(Sha256::digest(names.join("\n"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_verify_and_a_bare_default_does_not() {
        assert!(!BackendTlsConfig::default().verify_server_cert);
        assert!(BackendTlsConfig::default_verify().verify_server_cert);
        assert!(serde_json::from_str::<BackendTlsConfig>("{}").unwrap().verify_server_cert);
    }

    #[test]
    fn equal_lists_have_equal_digests_in_any_order() {
        let digest = |names: &[&str]| {
            let san_allow_list = names.iter().map(|name| (*name).to_owned()).collect();
            let mut tls = BackendTlsConfig { san_allow_list, ..BackendTlsConfig::default() };
            tls.recompute_san_digest();
            tls.san_allow_list_key_digest
        };
        assert_eq!(digest(&["a", "b"]), digest(&["b", "a"]));
        assert_ne!(digest(&["a"]), digest(&["b"]));
        assert_eq!(digest(&[]), None);
    }
}
