//! TLS versions, and the PEM files that every mode must be able to read.

use std::path::Path;

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::super::Settings;
use super::super::value::Value;

pub(super) fn check(settings: &Settings) -> Result<(), String> {
    let tls = &settings.tls;
    if tls.tls_min_version > tls.tls_max_version {
        return Err(format!(
            "FERRUM_TLS_MIN_VERSION ({}) must not be above FERRUM_TLS_MAX_VERSION ({})",
            tls.tls_min_version.show(),
            tls.tls_max_version.show()
        ));
    }
    if let Some(path) = &tls.tls_ca_bundle_path {
        holds_certificate("FERRUM_TLS_CA_BUNDLE_PATH", path)?;
    }
    match (&tls.backend_tls_client_cert_path, &tls.backend_tls_client_key_path) {
        (None, None) => Ok(()),
        (Some(cert), Some(key)) => {
            holds_certificate("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH", cert)?;
            holds_pkcs8_key("FERRUM_BACKEND_TLS_CLIENT_KEY_PATH", key)
        }
        _ => {
            Err("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH and FERRUM_BACKEND_TLS_CLIENT_KEY_PATH must both be set or both \
                  be unset"
                .to_owned())
        }
    }
}

fn holds_certificate(key: &str, path: &Path) -> Result<(), String> {
    let path_text = path.display();
    let cannot_open = |error: PemError| format!("{key}: failed to open certificate file '{path_text}': {error}");
    let mut certificates = CertificateDer::pem_file_iter(path).map_err(cannot_open)?;
    match certificates.next() {
        Some(Ok(_)) => Ok(()),
        None => Err(format!("{key}: no valid PEM certificates found in '{path_text}'")),
        Some(Err(error)) => Err(format!("{key}: no valid PEM certificates found in '{path_text}': {error}")),
    }
}

fn holds_pkcs8_key(key: &str, path: &Path) -> Result<(), String> {
    PrivatePkcs8KeyDer::from_pem_file(path).map(drop).map_err(|error| match error {
        PemError::Io(error) => format!("{key}: failed to open key file '{}': {error}", path.display()),
        _ => format!(
            "{key}: no unencrypted PKCS#8 private key (BEGIN PRIVATE KEY) found in '{}'; convert it with \
             'openssl pkcs8 -topk8 -nocrypt'",
            path.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{parse_file_mode, refuse_file_mode};
    use std::path::PathBuf;

    const CERT: &str = "FERRUM_BACKEND_TLS_CLIENT_CERT_PATH";
    const KEY: &str = "FERRUM_BACKEND_TLS_CLIENT_KEY_PATH";
    const BUNDLE: &str = "FERRUM_TLS_CA_BUNDLE_PATH";

    fn pem(dir: &tempfile::TempDir, name: &str, label: &str) -> String {
        let path: PathBuf = dir.path().join(name);
        std::fs::write(&path, format!("-----BEGIN {label}-----\nMIIBAA==\n-----END {label}-----\n")).unwrap();
        path.display().to_string()
    }

    #[test]
    fn the_lowest_version_is_not_above_the_highest() {
        let text = refuse_file_mode(&[("FERRUM_TLS_MIN_VERSION", "1.3"), ("FERRUM_TLS_MAX_VERSION", "1.2")]);
        assert!(text.contains("FERRUM_TLS_MIN_VERSION") && text.contains("FERRUM_TLS_MAX_VERSION"), "{text}");
        for both in ["1.2", "1.3"] {
            parse_file_mode(&[("FERRUM_TLS_MIN_VERSION", both), ("FERRUM_TLS_MAX_VERSION", both)]);
        }
        for key in ["FERRUM_TLS_MIN_VERSION", "FERRUM_TLS_MAX_VERSION"] {
            for bad in ["1.1", "", " 1.2", "TLS1.2"] {
                assert_eq!(refuse_file_mode(&[(key, bad)]), format!("Invalid {key} '{bad}'. Expected: 1.2, 1.3"));
            }
        }
    }

    #[test]
    fn a_ca_bundle_must_exist_and_hold_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let good = pem(&dir, "ca.pem", "CERTIFICATE");
        parse_file_mode(&[(BUNDLE, &good)]);

        let text = refuse_file_mode(&[(BUNDLE, "")]);
        assert!(text.starts_with("FERRUM_TLS_CA_BUNDLE_PATH: failed to open certificate file ''"), "{text}");
        let key_only = pem(&dir, "key.pem", "PRIVATE KEY");
        let text = refuse_file_mode(&[(BUNDLE, &key_only)]);
        assert!(text.starts_with("FERRUM_TLS_CA_BUNDLE_PATH: no valid PEM certificates found"), "{text}");
        let broken = dir.path().join("broken.pem");
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
        let text = refuse_file_mode(&[(BUNDLE, broken.to_str().unwrap())]);
        assert!(text.contains("no valid PEM certificates found"), "{text}");
    }

    #[test]
    fn the_backend_client_certificate_and_its_key_come_together() {
        for alone in [CERT, KEY] {
            let text = refuse_file_mode(&[(alone, "x.pem")]);
            assert!(text.contains(CERT) && text.contains(KEY), "{text}");
        }
    }

    #[test]
    fn the_backend_client_key_must_be_plain_pkcs8() {
        let dir = tempfile::tempdir().unwrap();
        let cert = pem(&dir, "cert.pem", "CERTIFICATE");
        let key = pem(&dir, "key.pem", "PRIVATE KEY");
        parse_file_mode(&[(CERT, &cert), (KEY, &key)]);
        for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"] {
            let other = pem(&dir, "other.pem", label);
            let text = refuse_file_mode(&[(CERT, &cert), (KEY, &other)]);
            assert!(text.starts_with(KEY) && text.contains("PKCS#8"), "{text}");
        }
        let text = refuse_file_mode(&[(CERT, &key), (KEY, &key)]);
        assert!(text.starts_with(CERT) && text.contains("no valid PEM certificates found"), "{text}");
        let text = refuse_file_mode(&[(CERT, &cert), (KEY, "/nonexistent/key.pem")]);
        assert!(text.starts_with(KEY) && text.contains("failed to open key file"), "{text}");
    }
}
