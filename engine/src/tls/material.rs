//! Certificates, keys, roots and revocation lists, from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Policy, Refused};
use crate::model::{TlsFiles, certificates};

/// A certificate chain with its key: what one side of a connection shows to the other.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    /// DNS names of the certificate, lower-case; wildcards as `*.suffix`.
    pub(super) names: Vec<String>,
}

impl Identity {
    /// Reads both files, and checks that they can be read, belong together and are valid today.
    ///
    /// # Errors
    /// The first fault, with the setting, the file and the reason.
    pub fn load(
        policy: &Policy,
        files: &mut TlsFiles,
        (certificate_field, certificate_path): (&str, &Path),
        (key_field, key_path): (&str, &Path),
    ) -> Result<Self, Refused> {
        files.check(certificate_field, &certificate_path.to_string_lossy())?;
        let chain = certificates(certificate_field, &certificate_path.to_string_lossy())?;
        let key = private_key(key_field, key_path)?;
        let names = chain.first().map(names).unwrap_or_default();
        let certified = certified(&policy.provider, chain, key)
            .map_err(|error| format!("{key_field}: the key in '{}' {error}", key_path.display()))?;
        Ok(Self { certified: Arc::new(certified), names })
    }
}

fn certified(
    provider: &CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, String> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| format!("cannot be used: {error}"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err("does not belong to the certificate".to_owned()),
    }
}

/// PKCS#8, PKCS#1 or SEC1.
fn private_key(field: &str, path: &Path) -> Result<PrivateKeyDer<'static>, Refused> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        PemError::Io(error) => format!("{field}: failed to open key file '{}': {error}", path.display()),
        _ => format!("{field}: no unencrypted private key (PKCS#8, PKCS#1 or SEC1 PEM) found in '{}'", path.display()),
    })
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(san)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = san.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

/// The certificates of a bundle, as what a peer's certificate must lead to.
///
/// # Errors
/// As [`Identity::load`].
pub fn roots(files: &mut TlsFiles, field: &str, path: &Path) -> Result<Arc<RootCertStore>, Refused> {
    files.check(field, &path.to_string_lossy())?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(field, &path.to_string_lossy())? {
        store
            .add(certificate)
            .map_err(|error| format!("{field}: a certificate in '{}' cannot be trusted: {error}", path.display()))?;
    }
    Ok(Arc::new(store))
}

/// The lists of a PEM file.
///
/// # Errors
/// The file cannot be read, or has no list in it.
pub fn revocation_lists(field: &str, path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Refused> {
    let found: Result<Vec<_>, PemError> = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(format!("{field}: no CRL found in '{}'", path.display())),
        Ok(found) => Ok(found),
        Err(PemError::Io(error)) => Err(format!("{field}: failed to open CRL file '{}': {error}", path.display())),
        Err(error) => Err(format!("{field}: no valid CRL found in '{}': {error}", path.display())),
    }
}
