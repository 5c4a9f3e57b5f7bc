//! TLS of clients and backends, with rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::Identity;

/// The versions of TLS that one side speaks.
type Versions = &'static [&'static SupportedProtocolVersion];

static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// How a backend secures its connections.
#[derive(Clone)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    versions: Versions,
    alpn: Vec<&'static str>,
}

impl ServerTls {
    /// As whom it shows itself; it agrees to whatever of HTTP/2 and HTTP/1.1 its transport is.
    pub fn showing(identity: &Identity) -> Self {
        Self {
            certificate: identity.certificate.clone(),
            key: identity.key.clone(),
            client_ca: None,
            versions: rustls::ALL_VERSIONS,
            alpn: Vec::new(),
        }
    }

    /// Only for clients with a certificate of this authority.
    pub fn requiring(mut self, client_ca: &Path) -> Self {
        self.client_ca = Some(client_ca.to_owned());
        self
    }

    /// Agrees to these protocols, the first in this list that the client offers.
    pub fn alpn(mut self, protocols: &[&'static str]) -> Self {
        self.alpn = protocols.to_vec();
        self
    }

    pub fn only_tls_1_2(self) -> Self {
        Self { versions: &TLS12, ..self }
    }

    pub fn only_tls_1_3(self) -> Self {
        Self { versions: &TLS13, ..self }
    }

    pub(super) fn config(&self, usual: &'static str) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(self.versions).expect("versions");
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(bundle) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(bundle)), provider());
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let mut config = builder.with_single_cert(chain(&self.certificate), key).expect("a certificate with its key");
        let alpn = if self.alpn.is_empty() { &[usual][..] } else { &self.alpn };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// What a client trusts.
#[derive(Clone)]
pub struct ClientTls {
    pub bundle: PathBuf,
    /// The name it asks for and verifies.
    pub name: &'static str,
}

impl ClientTls {
    pub(super) fn config(&self, alpn: &str) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots(&self.bundle)).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Arc::new(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(path).expect("a certificate file");
    all.map(|certificate| certificate.expect("a certificate")).collect()
}

fn roots(bundle: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in chain(bundle) {
        roots.add(certificate).expect("an authority");
    }
    roots
}
