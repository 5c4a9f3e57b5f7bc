//! Certificates for one test, in files of their own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// When a certificate holds, in days from now.
#[derive(Clone, Copy)]
pub struct Validity {
    pub from_days: i64,
    pub to_days: i64,
}

impl Validity {
    pub const NOW: Self = Self { from_days: -1, to_days: 90 };
    pub const PAST: Self = Self { from_days: -10, to_days: -1 };
    pub const FUTURE: Self = Self { from_days: 1, to_days: 10 };
}

/// Signs certificates. Its files go away with it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// What the certificates it signs have behind them in their files, PEM.
    chain: String,
}

/// A certificate and its key, in PEM files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    serial: u64,
    der: Vec<u8>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Authority {
    pub fn new() -> Self {
        let (params, folder) = authority();
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate of an authority");
        Self::in_folder(issuer, folder, String::new())
    }

    /// An authority that this one has signed. Its certificates come with the whole chain, up to the root.
    pub fn under(&self) -> Self {
        let (params, folder) = authority();
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate of an authority");
        let above = if self.chain.is_empty() { self.issuer.pem() } else { self.chain.clone() };
        let chain = format!("{}{above}", issuer.pem());
        Self::in_folder(issuer, folder, chain)
    }

    fn in_folder(issuer: CertifiedIssuer<'static, KeyPair>, folder: PathBuf, chain: String) -> Self {
        std::fs::write(folder.join("ca.pem"), issuer.pem()).expect("the authority's certificate is written");
        Self { issuer, folder, chain }
    }

    /// SHA-256 of its certificate, in hex.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.issuer.der())
    }

    /// Its own certificate, as a bundle.
    pub fn bundle(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for these names (hosts, addresses, URIs), good now.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for(names, Validity::NOW)
    }

    pub fn issue_for(&self, names: &[&str], validity: Validity) -> Identity {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().copied().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("names of a certificate");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("a URI is ASCII")));
        params.subject_alt_names.extend(uris);
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("client"));
        (params.not_before, params.not_after) = between(validity);
        self.issue_as(params)
    }

    /// A certificate that says just this, with a serial number of its own if none is said.
    pub fn issue_as(&self, mut params: CertificateParams) -> Identity {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        params.serial_number.get_or_insert_with(|| SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        let write = |kind: &str, text: String| {
            let path = self.folder.join(format!("{serial}-{kind}.pem"));
            std::fs::write(&path, text).expect("a PEM file is written");
            path
        };
        let chain = format!("{}{}", certificate.pem(), self.chain);
        let (certificate_path, key_path) = (write("cert", chain), write("key", key.serialize_pem()));
        Identity { certificate: certificate_path, key: key_path, serial, der: certificate.der().to_vec() }
    }

    /// A list of those that are not good any more.
    pub fn revoke(&self, revoked: &[&Identity]) -> PathBuf {
        let (this_update, next_update) = between(Validity::NOW);
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(NEXT.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.join("crl.pem");
        let list = params.signed_by(&self.issuer).expect("a signed list");
        std::fs::write(&path, list.pem().expect("PEM")).expect("the list is written");
        path
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Identity {
    /// Files that may not belong together.
    pub fn of(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.to_owned(), key: key.to_owned(), serial: 0, der: Vec::new() }
    }

    /// SHA-256 of the certificate, in hex.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// Puts this certificate and key where the other's are, as a renewal does.
    pub fn replace(&self, other: &Identity) {
        for (from, to) in [(&self.key, &other.key), (&self.certificate, &other.certificate)] {
            let draft = to.with_extension("draft");
            std::fs::copy(from, &draft).and_then(|_| std::fs::rename(&draft, to)).expect("the file is replaced");
        }
    }
}

/// What all authorities have in common, and a folder for one.
fn authority() -> (CertificateParams, PathBuf) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("ferrum-edge-certs-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for certificates");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Test authority {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = between(Validity::NOW);
    (params, folder)
}

fn fingerprint(der: &[u8]) -> String {
    digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn between(validity: Validity) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now + Duration::days(validity.from_days), now + Duration::days(validity.to_days))
}
