//! The files that TLS fields name (resources sheet §14): they open, hold what they should, and are valid today.

use std::collections::HashSet;
use std::{fs, io};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The bundles of whole operating systems are a fiftieth of it.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The checks of one load: each path is looked at once, and reported under the first field that names it.
#[derive(Debug)]
pub struct TlsFiles {
    now: OffsetDateTime,
    expiry_warning_days: u64,
    seen: HashSet<(Kind, String)>,
    /// Certificates that end soon.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Certificate,
    Key,
}

impl TlsFiles {
    /// `expiry_warning_days` 0 warns of nothing.
    pub fn new(now: OffsetDateTime, expiry_warning_days: u64) -> Self {
        Self { now, expiry_warning_days, seen: HashSet::new(), warnings: Vec::new() }
    }

    /// Checks the file by its field: names ending in `key_path` are keys, all others certificates.
    ///
    /// # Errors
    /// The field's first fault, in the words of the sheet.
    pub fn check(&mut self, field: &str, path: &str) -> Result<(), String> {
        let kind = if field.ends_with("key_path") { Kind::Key } else { Kind::Certificate };
        if !self.seen.insert((kind, path.to_owned())) {
            return Ok(());
        }
        match kind {
            Kind::Certificate => self.check_certificates(field, path),
            Kind::Key => check_key(field, path),
        }
    }

    fn check_certificates(&mut self, field: &str, path: &str) -> Result<(), String> {
        for (n, der) in (1..).zip(&certificates(field, path)?) {
            let (_, certificate) = X509Certificate::from_der(der).map_err(|error| {
                format!("{field}: certificate #{n} in '{path}' is not an X.509 certificate: {error}")
            })?;
            let subject = certificate.subject();
            let at = format!("{field}: certificate #{n} (subject: {subject}) in '{path}'");
            self.check_validity(&at, &certificate)?;
        }
        Ok(())
    }

    fn check_validity(&mut self, at: &str, certificate: &X509Certificate<'_>) -> Result<(), String> {
        let validity = certificate.validity();
        let (start, end) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        if self.now > end {
            return Err(format!("{at} has expired (notAfter: {})", text(end)));
        }
        if self.now < start {
            return Err(format!("{at} is not yet valid (notBefore: {})", text(start)));
        }
        let days = i64::try_from(self.expiry_warning_days).unwrap_or(i64::MAX);
        let left = end - self.now;
        if days > 0 && left <= Duration::seconds(days.saturating_mul(86_400)) {
            self.warnings.push(format!("{at} expires in {} days (notAfter: {})", left.whole_days(), text(end)));
        }
        Ok(())
    }
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// The file cannot be read, or has none.
pub fn certificates(field: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path).map_err(|error| format!("{field}: failed to open certificate file '{path}': {error}"))?;
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{field}: no valid PEM certificates found in '{path}' ({error})"))?;
    if found.is_empty() { Err(format!("{field}: no valid PEM certificates found in '{path}'")) } else { Ok(found) }
}

fn check_key(field: &str, path: &str) -> Result<(), String> {
    let pem = read(path).map_err(|error| format!("{field}: failed to open key file '{path}': {error}"))?;
    let has_key = PrivatePkcs8KeyDer::pem_slice_iter(&pem).any(|key| key.is_ok());
    if has_key { Ok(()) } else { Err(format!("{field}: no valid PKCS8 private keys found in '{path}'")) }
}

/// A path may come over the admin API: one that never ends, or never begins, is not read.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(path)
}

fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests;
