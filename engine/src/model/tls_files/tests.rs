use std::path::PathBuf;

use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

const DAY: Duration = Duration::DAY;

/// A directory of this test alone, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferrum-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // a leftover in the temporary directory fails no test
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_780_000_000).unwrap()
}

fn certificate(start: OffsetDateTime, end: OffsetDateTime) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
    (params.not_before, params.not_after) = (start, end);
    params.distinguished_name.push(DnType::CommonName, "the-subject");
    params.self_signed(&key).unwrap().pem()
}

fn check(path: &str, warning_days: u64) -> (Result<(), String>, Vec<String>) {
    let mut files = TlsFiles::new(now(), warning_days);
    let result = files.check("backend_tls_client_cert_path", path);
    (result, files.warnings)
}

#[test]
fn a_certificate_is_valid_from_its_first_to_its_last_second() {
    let directory = Directory::new("validity");
    let path = directory.write("c.pem", &certificate(now(), now() + DAY));
    assert_eq!(check(&path, 0).0, Ok(()));
    let path = directory.write("c.pem", &certificate(now() - DAY, now()));
    assert_eq!(check(&path, 0).0, Ok(()));
    let path = directory.write("c.pem", &certificate(now() + Duration::SECOND, now() + DAY));
    let error = check(&path, 0).0.unwrap_err();
    let start = "backend_tls_client_cert_path: certificate #1 (subject: ";
    assert!(error.starts_with(start) && error.contains("the-subject"), "{error}");
    assert!(error.contains(&format!("in '{path}' is not yet valid (notBefore: 20")), "{error}");
    let good = certificate(now(), now() + DAY);
    let path = directory.write("c.pem", &(good + &certificate(now() - DAY, now() - Duration::SECOND)));
    let error = check(&path, 0).0.unwrap_err();
    assert!(error.starts_with("backend_tls_client_cert_path: certificate #2 (subject: "), "{error}");
    assert!(error.contains(&format!("in '{path}' has expired (notAfter: 20")), "{error}");
}

#[test]
fn a_certificate_near_its_end_is_a_warning() {
    let directory = Directory::new("warning");
    let path = directory.write("c.pem", &certificate(now() - DAY, now() + 30 * DAY));
    assert_eq!(check(&path, 0), (Ok(()), vec![]));
    assert_eq!(check(&path, 29), (Ok(()), vec![]));
    let (result, warnings) = check(&path, 30);
    assert_eq!(result, Ok(()));
    assert!(warnings.len() == 1 && warnings[0].contains("expires in 30 days"), "{warnings:?}");
}

#[test]
fn files_that_hold_no_certificate() {
    let directory = Directory::new("certificates");
    let missing = directory.0.join("none.pem").to_str().unwrap().to_owned();
    let error = check(&missing, 0).0.unwrap_err();
    assert!(
        error.starts_with(&format!("backend_tls_client_cert_path: failed to open certificate file '{missing}': ")),
        "{error}"
    );
    let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    for text in ["", "text", &KeyPair::generate().unwrap().serialize_pem(), broken] {
        let path = directory.write("c.pem", text);
        let error = check(&path, 0).0.unwrap_err();
        assert!(
            error.starts_with(&format!("backend_tls_client_cert_path: no valid PEM certificates found in '{path}'")),
            "{error}"
        );
    }
    let path = directory.write("c.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(check(&path, 0).0.unwrap_err().contains("certificate #1"));
}

#[test]
fn keys_are_pkcs8() {
    let directory = Directory::new("keys");
    let mut files = TlsFiles::new(now(), 30);
    let mut check = |path: &str| files.check("backend_tls_client_key_path", path);
    let path = directory.write("k.pem", &KeyPair::generate().unwrap().serialize_pem());
    assert_eq!(check(&path), Ok(()));
    for (name, label) in [("rsa", "RSA PRIVATE KEY"), ("ec", "EC PRIVATE KEY")] {
        let path = directory.write(name, &format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"));
        let expected = format!("backend_tls_client_key_path: no valid PKCS8 private keys found in '{path}'");
        assert_eq!(check(&path), Err(expected));
    }
    let missing = directory.0.join("none.pem").to_str().unwrap().to_owned();
    let error = check(&missing).unwrap_err();
    assert!(
        error.starts_with(&format!("backend_tls_client_key_path: failed to open key file '{missing}': ")),
        "{error}"
    );
}

#[test]
fn a_path_is_looked_at_once_per_kind() {
    let mut files = TlsFiles::new(now(), 30);
    assert!(files.check("backend_tls_client_cert_path", "/nonexistent").is_err());
    assert!(files.check("backend_tls_server_ca_cert_path", "/nonexistent").is_ok());
    assert!(files.check("backend_tls_client_key_path", "/nonexistent").is_err());
}

#[test]
fn only_files_of_a_sensible_size_are_read() {
    let directory = Directory::new("size");
    let folder = directory.0.to_str().unwrap().to_owned();
    let error = check(&folder, 0).0.unwrap_err();
    assert!(error.ends_with("not a regular file"), "{error}");
    assert!(check("/dev/zero", 0).0.unwrap_err().ends_with("not a regular file"));
    let path = directory.write("large.pem", "");
    let large = fs::File::options().write(true).open(&path).unwrap();
    large.set_len(FILE_BYTES_MAX).unwrap();
    assert!(check(&path, 0).0.unwrap_err().contains("no valid PEM certificates"));
    large.set_len(FILE_BYTES_MAX + 1).unwrap();
    assert!(check(&path, 0).0.unwrap_err().ends_with("larger than 16777216 bytes"));
}
