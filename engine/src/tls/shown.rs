//! What a client's certificate says of its holder, and who of those it sent along has signed it.

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::asn1_rs::Sequence;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// The first of each kind in a distinguished name. What is blank, or in an encoding that is no text, is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DistinguishedName {
    pub cn: Option<String>,
    pub o: Option<String>,
    pub ou: Option<String>,
}

/// What a certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    pub subject: DistinguishedName,
    pub issuer: DistinguishedName,
    /// The first DNS name among the alternative names.
    pub san_dns: Option<String>,
    /// The first e-mail address among them.
    pub san_email: Option<String>,
    /// Lower-case hex.
    pub fingerprint_sha256: String,
    /// The integer in lower-case hex, without leading zeros.
    pub serial: String,
}

impl CertificateFacts {
    /// None when `der` is not a certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = parse(der)?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = || names.iter().flat_map(|names| &names.value.general_names);
        Some(Self {
            subject: distinguished_name(certificate.subject()),
            issuer: distinguished_name(certificate.issuer()),
            san_dns: names().find_map(|name| match name {
                GeneralName::DNSName(name) => text(name),
                _ => None,
            }),
            san_email: names().find_map(|name| match name {
                GeneralName::RFC822Name(name) => text(name),
                _ => None,
            }),
            fingerprint_sha256: hex(&fingerprint(der)),
            serial: integer_hex(certificate.raw_serial()),
        })
    }
}

/// One certificate, and nothing behind it.
fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

fn distinguished_name(name: &X509Name<'_>) -> DistinguishedName {
    let first = |attribute: Option<&AttributeTypeAndValue<'_>>| attribute?.as_str().ok().and_then(text);
    DistinguishedName {
        cn: first(name.iter_common_name().next()),
        o: first(name.iter_organization().next()),
        ou: first(name.iter_organizational_unit().next()),
    }
}

fn text(value: &str) -> Option<String> {
    (!value.trim().is_empty()).then(|| value.to_owned())
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
    fingerprint
}

/// Two lower-case digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn integer_hex(bytes: &[u8]) -> String {
    let digits = hex(bytes);
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// Of the certificates that came with a leaf, so many are looked at. A path through more is none.
const PATH_CERTIFICATES_MAX: usize = 16;
/// So many signatures are checked: enough for the longest path, and a few milliseconds with the largest keys.
const SIGNATURE_CHECKS_MAX: usize = 16;

/// A certificate that came along, with its DER.
struct Sent<'a> {
    der: &'a [u8],
    certificate: X509Certificate<'a>,
}

impl<'a> Sent<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        Some(Self { der, certificate: parse(der)? })
    }

    /// By name, and unless it says itself that it is no authority.
    fn may_have_issued(&self, other: &Self) -> bool {
        let is_authority = match self.certificate.basic_constraints() {
            Ok(Some(constraints)) => constraints.value.ca,
            Ok(None) => true,
            Err(_) => false,
        };
        is_authority && self.certificate.subject().as_raw() == other.certificate.issuer().as_raw()
    }

    /// With an algorithm that a handshake accepts too.
    fn has_signed(&self, other: &Self, algorithms: &[&dyn SignatureVerificationAlgorithm]) -> bool {
        let key = &self.certificate.tbs_certificate.subject_pki;
        let (Some(key_kind), Some(signature_kind)) = (key_algorithm(key.raw), signature_algorithm(other.der)) else {
            return false;
        };
        let (message, signature) = (other.certificate.tbs_certificate.as_ref(), &other.certificate.signature_value);
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id().as_ref() == key_kind
                && algorithm.signature_alg_id().as_ref() == signature_kind
        };
        algorithms.iter().find(fits).is_some_and(|algorithm| {
            algorithm.verify_signature(&key.subject_public_key.data, message, &signature.data).is_ok()
        })
    }
}

/// What is inside of the first SEQUENCE, and what comes behind it.
fn sequence(der: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (rest, sequence) = Sequence::from_der(der).ok()?;
    Some((sequence.content.into_owned(), rest))
}

/// RFC 5280 §4.1: the AlgorithmIdentifier stands first in a SubjectPublicKeyInfo.
fn key_algorithm(key_info: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = sequence(key_info)?;
    Some(sequence(&content)?.0)
}

/// RFC 5280 §4.1: it stands second in a Certificate.
fn signature_algorithm(certificate: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = sequence(certificate)?;
    let (_, behind_tbs) = sequence(&content)?;
    Some(sequence(behind_tbs)?.0)
}

/// The certificates of `chain` that lead up from the leaf, each having signed one below it. The leaf itself is none of them.
pub fn issuers(leaf: &[u8], chain: &[Vec<u8>]) -> Vec<Fingerprint> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let sent: Vec<Sent<'_>> = chain
        .iter()
        .filter(|der| der.as_slice() != leaf)
        .take(PATH_CERTIFICATES_MAX)
        .filter_map(|der| Sent::parse(der))
        .collect();
    let mut found: Vec<&Sent<'_>> = Vec::new();
    let Some(leaf) = Sent::parse(leaf) else { return Vec::new() };
    let mut checks = 0;
    let mut next = Some(&leaf);
    let mut climbed = 0;
    while let Some(child) = next {
        for candidate in sent.iter().filter(|candidate| candidate.may_have_issued(child)) {
            if found.iter().any(|known| std::ptr::eq(*known, candidate)) || checks == SIGNATURE_CHECKS_MAX {
                continue;
            }
            checks += 1;
            if candidate.has_signed(child, algorithms) {
                found.push(candidate);
            }
        }
        next = found.get(climbed).copied();
        climbed += 1;
    }
    found.iter().map(|sent| fingerprint(sent.der)).collect()
}

#[cfg(test)]
mod tests;
