//! What the gateway offers to backends, and what it asks of them (traffic sheet §24).

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Identity, Policy, Refused};

/// What users write about TLS to a backend. Backends that differ in it share no connections (traffic sheet §15.4).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BackendTlsInputs {
    /// The only roots, if there; else those of the settings.
    pub ca_path: Option<String>,
    /// Certificate and key; else those of the settings.
    pub client_paths: Option<(String, String)>,
    pub verifies: bool,
    /// Asked for and verified in the place of the host.
    pub sni: Option<String>,
    /// At least one of these must be in the certificate; empty = no such rule.
    pub san_allow_list: Vec<String>,
}

/// TLS to backends of the same inputs. Compared by them alone.
#[derive(Clone, Debug)]
pub struct BackendTls {
    pub inputs: Arc<BackendTlsInputs>,
    pub offers: Offers,
}

impl PartialEq for BackendTls {
    fn eq(&self, other: &Self) -> bool {
        self.inputs == other.inputs
    }
}

impl Eq for BackendTls {}

impl Hash for BackendTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inputs.hash(state);
    }
}

/// What a backend is offered by ALPN. What is known of sessions is one for all three, and for all cores.
#[derive(Clone, Debug)]
pub struct Offers {
    /// HTTP/2, or else HTTP/1.1.
    pub either: Arc<ClientConfig>,
    pub http1: Arc<ClientConfig>,
    pub http2: Arc<ClientConfig>,
}

/// The store of sessions takes its memory at once; no gateway talks to so many backends of the same inputs.
const SESSIONS_MAX: usize = 16 * 1024;

pub const ALPN_HTTP1: &[u8] = b"http/1.1";
pub const ALPN_HTTP2: &[u8] = b"h2";

pub struct ClientOptions<'a> {
    pub policy: &'a Policy,
    pub roots: Arc<RootCertStore>,
    pub identity: Option<&'a Identity>,
    pub revoked: &'a [CertificateRevocationListDer<'static>],
    pub sessions_max: usize,
    pub inputs: &'a BackendTlsInputs,
}

/// # Errors
/// The policy allows nothing, or a list cannot be used.
pub fn client_offers(options: &ClientOptions<'_>) -> Result<Offers, Refused> {
    let policy = options.policy;
    let builder = ClientConfig::builder_with_provider(policy.provider.clone())
        .with_protocol_versions(&policy.versions)
        .map_err(|error| format!("no common TLS version, cipher suite and group is left: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier(options)?);
    let mut config = match options.identity {
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.certified.clone()))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(options.sessions_max.min(SESSIONS_MAX));
    let offer = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    Ok(Offers { either: offer(&[ALPN_HTTP2, ALPN_HTTP1]), http1: offer(&[ALPN_HTTP1]), http2: offer(&[ALPN_HTTP2]) })
}

/// The public roots that Mozilla ships, for backends without a bundle.
pub fn public_roots() -> Arc<RootCertStore> {
    Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// The name a backend's certificate is verified by.
///
/// # Errors
/// It is neither a DNS name nor an address.
pub fn server_name(inputs: &BackendTlsInputs, host: &str) -> Result<ServerName<'static>, Refused> {
    let name = inputs.sni.as_deref().unwrap_or(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| format!("'{name}' is not a server name"))
}

fn verifier(options: &ClientOptions<'_>) -> Result<Arc<dyn ServerCertVerifier>, Refused> {
    let provider = options.policy.provider.clone();
    if !options.inputs.verifies {
        return Ok(Arc::new(Unverified { provider }));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(options.roots.clone(), provider)
        .with_crls(options.revoked.iter().cloned())
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| format!("backend certificates cannot be verified: {error}"))?;
    if options.inputs.san_allow_list.is_empty() {
        return Ok(verifier);
    }
    let allowed = options.inputs.san_allow_list.iter().map(|entry| San::of(entry)).collect();
    Ok(Arc::new(Allowed { verifier, allowed }))
}

/// `backend_tls_verify_server_cert: false`: whoever answers is believed.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A subject alternative name, in the form it is compared in.
#[derive(PartialEq, Eq, Debug)]
enum San {
    /// Lower-case.
    Dns(String),
    Ip(IpAddr),
    /// The trust domain in lower-case.
    Spiffe(String),
}

impl San {
    fn of(entry: &str) -> San {
        match entry.parse() {
            Ok(ip) => San::Ip(ip),
            Err(_) if has_spiffe_scheme(entry) => San::Spiffe(spiffe(entry)),
            Err(_) => San::Dns(entry.to_ascii_lowercase()),
        }
    }

    fn of_name(name: &GeneralName<'_>) -> Option<San> {
        match name {
            GeneralName::DNSName(name) => Some(San::Dns(name.to_ascii_lowercase())),
            GeneralName::URI(uri) if has_spiffe_scheme(uri) => Some(San::Spiffe(spiffe(uri))),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| San::Ip(bytes.into())),
                16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| San::Ip(bytes.into())),
                _ => None,
            },
            _ => None,
        }
    }
}

const SPIFFE: &str = "spiffe://";

fn has_spiffe_scheme(text: &str) -> bool {
    text.get(..SPIFFE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE))
}

fn spiffe(uri: &str) -> String {
    let rest = &uri[SPIFFE.len()..];
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{}{path}", domain.to_ascii_lowercase())
}

/// Verifies as usual, and then that one of the names is among those that are allowed.
#[derive(Debug)]
struct Allowed {
    verifier: Arc<WebPkiServerVerifier>,
    allowed: Vec<San>,
}

impl Allowed {
    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        // Several such extensions are an error here, and none is nothing.
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().filter_map(San::of_name).any(|name| self.allowed.contains(&name))
    }
}

impl ServerCertVerifier for Allowed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        if self.allows(certificate) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_the_form_of_their_kind() {
        let rows = [
            ("API.Example.com", San::Dns("api.example.com".into())),
            ("10.0.0.1", San::Ip([10, 0, 0, 1].into())),
            ("Spiffe://Prod.Example/ns/A", San::Spiffe("prod.example/ns/A".into())),
        ];
        for (entry, expected) in rows {
            assert_eq!(San::of(entry), expected);
        }
        assert_eq!(San::of_name(&GeneralName::IPAddress(&[10, 0, 0, 1])), Some(San::Ip([10, 0, 0, 1].into())));
        assert_eq!(San::of_name(&GeneralName::URI("https://a.example")), None);
        assert_eq!(
            San::of_name(&GeneralName::URI("spiffe://Prod.example/ns/A")),
            Some(San::of("spiffe://prod.example/ns/A"))
        );
    }

    #[test]
    fn the_override_is_asked_for_in_the_place_of_the_host() {
        let mut inputs = BackendTlsInputs {
            ca_path: None,
            client_paths: None,
            verifies: true,
            sni: None,
            san_allow_list: Vec::new(),
        };
        assert_eq!(server_name(&inputs, "api.int").expect("a name").to_str(), "api.int");
        assert_eq!(server_name(&inputs, "[::1]").expect("an address").to_str(), "::1");
        assert!(server_name(&inputs, "not a name").is_err());
        inputs.sni = Some("other.int".into());
        assert_eq!(server_name(&inputs, "10.0.0.1").expect("a name").to_str(), "other.int");
    }
}
