//! TLS over TCP: what control builds from settings and files, and what a core runs per connection.
//!
//! A [`Policy`] holds versions, cipher suites and groups for every direction; [`server_config`] makes of it, of certificates and
//! of [`ClientAuth`] what a listener uses, [`client_offers`] what backends are offered. A [`Session`] is one connection's state. It is given bytes and gives bytes, and knows no
//! socket: `net` runs it.

mod client;
mod material;
mod policy;
mod server;
mod session;
mod shown;

pub use client::{
    ALPN_HTTP1, ALPN_HTTP2, BackendTls, BackendTlsInputs, ClientOptions, Offers, client_offers, public_roots,
    server_name,
};
pub use material::{Identity, revocation_lists, roots};
pub use policy::{Policy, TlsVersion, group, install_provider, suite};
pub use server::{ClientAuth, ServerOptions, Tickets, server_config};
pub use session::{Handshake, Opened, Session};
pub use shown::{CertificateFacts, DistinguishedName, Fingerprint, hex, issuers};

pub use rustls::{Error as TlsError, HandshakeKind, RootCertStore};
pub use rustls_pki_types::{CertificateRevocationListDer, ServerName};

/// What a listener of this process offers and asks for. Shared by all cores, replaced when its files change.
pub type ServerConfig = rustls::ServerConfig;

/// What backends are offered.
pub type ClientConfig = rustls::ClientConfig;

/// Why TLS material cannot be used: the setting, the file and the reason.
pub type Refused = String;
