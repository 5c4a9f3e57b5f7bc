//! What a listener offers and asks for.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateRevocationListDer;

use super::{Identity, Policy, Refused};

/// Whether clients show certificates.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    Off,
    /// One is asked for; a client without is served, one with a bad one is not.
    Optional(Arc<RootCertStore>),
    Required(Arc<RootCertStore>),
}

/// How sessions are resumed. One for all cores and for all configurations of a process, so that a session goes on wherever the
/// client connects next, and over a change of certificates. Keys change every six hours and are good for twelve.
#[derive(Clone)]
pub struct Tickets {
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// The room is taken at once; 70 MB or so at this size.
const SESSIONS_MAX: usize = 1 << 20;

impl Tickets {
    /// `sessions_max` of those that are kept here, for clients without tickets; 1,048,576 at most.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(sessions_max: usize) -> Result<Self, Refused> {
        let ticketer = Ticketer::new().map_err(|error| format!("cannot make session ticket keys: {error}"))?;
        Ok(Self { ticketer, sessions: ServerSessionMemoryCache::new(sessions_max.min(SESSIONS_MAX)) })
    }
}

pub struct ServerOptions<'a> {
    pub policy: &'a Policy,
    /// The first is for clients that name no host, or none that a certificate has.
    pub identities: Vec<Identity>,
    pub client_auth: ClientAuth,
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// The preferred first; empty = none is negotiated.
    pub alpn: Vec<Vec<u8>>,
    pub tickets: &'a Tickets,
}

/// # Errors
/// The policy allows nothing, or a list cannot be used.
pub fn server_config(options: ServerOptions<'_>) -> Result<Arc<ServerConfig>, Refused> {
    let policy = options.policy;
    let verifier = verifier(&options)?;
    let mut config = ServerConfig::builder_with_provider(policy.provider.clone())
        .with_protocol_versions(&policy.versions)
        .map_err(|error| format!("no common TLS version, cipher suite and group is left: {error}"))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByName { identities: options.identities }));
    config.ignore_client_order = policy.prefers_server_order;
    config.alpn_protocols = options.alpn;
    config.ticketer = options.tickets.ticketer.clone();
    config.session_storage = options.tickets.sessions.clone();
    Ok(Arc::new(config))
}

fn verifier(options: &ServerOptions<'_>) -> Result<Arc<dyn ClientCertVerifier>, Refused> {
    let (roots, is_optional) = match &options.client_auth {
        ClientAuth::Off => return Ok(Arc::new(NoClientAuth)),
        ClientAuth::Optional(roots) => (roots, true),
        ClientAuth::Required(roots) => (roots, false),
    };
    let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), options.policy.provider.clone())
        .with_crls(options.revoked.iter().cloned())
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status();
    let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| format!("client certificates cannot be verified: {error}"))
}

/// Chooses by the name that the client asks for.
struct ByName {
    identities: Vec<Identity>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.identities.iter().map(|identity| &identity.names)).finish()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_sign = |identity: &&Identity| identity.certified.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello
            .server_name()
            .and_then(|name| self.identities.iter().filter(|identity| identity.is_for(name)).find(can_sign));
        // A certificate that the client cannot use ends in its alert, which says more than none at all.
        let chosen = named.or_else(|| self.identities.iter().find(can_sign)).or(self.identities.first())?;
        Some(chosen.certified.clone())
    }
}

impl Identity {
    /// A wildcard stands for one label (RFC 9525 §6.3).
    fn is_for(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(suffix)),
            None => host.eq_ignore_ascii_case(name),
        })
    }
}
