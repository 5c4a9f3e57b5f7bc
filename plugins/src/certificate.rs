//! What a client showed in its TLS handshake.

use std::cell::OnceCell;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::tls::{CertificateFacts, Fingerprint, issuers};

/// A client's certificate; verified, if the listener verifies. One for all requests of a connection, so what is read out of it
/// is read once.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// DER.
    pub leaf: Arc<Vec<u8>>,
    /// The others it sent, in its order, DER.
    pub chain: Arc<Vec<Vec<u8>>>,
    facts: OnceCell<Option<Box<CertificateFacts>>>,
    issuers: OnceCell<Box<[Fingerprint]>>,
    thumbprint: OnceCell<Box<str>>,
}

impl ClientCertificate {
    pub fn new(leaf: Vec<u8>, chain: Vec<Vec<u8>>) -> Self {
        Self {
            leaf: Arc::new(leaf),
            chain: Arc::new(chain),
            facts: OnceCell::new(),
            issuers: OnceCell::new(),
            thumbprint: OnceCell::new(),
        }
    }

    /// What the leaf says; None when it cannot be read.
    pub fn facts(&self) -> Option<&CertificateFacts> {
        self.facts.get_or_init(|| CertificateFacts::read(&self.leaf).map(Box::new)).as_deref()
    }

    /// Those in the chain that lead up from the leaf by name and signature.
    pub fn issuers(&self) -> &[Fingerprint] {
        self.issuers.get_or_init(|| issuers(&self.leaf, &self.chain).into())
    }

    /// What a token bound to the certificate says of it (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> &str {
        self.thumbprint.get_or_init(|| URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.leaf)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_made_once() {
        let certificate = ClientCertificate::new(b"abc".to_vec(), Vec::new());
        assert_eq!(certificate.thumbprint(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        assert!(std::ptr::eq(certificate.thumbprint(), certificate.thumbprint()));
    }
}
