use std::fmt;

use serde::{Deserialize, Serialize};

/// The wire towards a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendScheme {
    Http,
    Https,
    Tcp,
    Tcps,
    Udp,
    Dtls,
}

impl BackendScheme {
    pub fn to_scheme_str(self) -> &'static str {
        match self {
            BackendScheme::Http => "http",
            BackendScheme::Https => "https",
            BackendScheme::Tcp => "tcp",
            BackendScheme::Tcps => "tcps",
            BackendScheme::Udp => "udp",
            BackendScheme::Dtls => "dtls",
        }
    }

    pub fn is_stream(&self) -> bool {
        !self.is_http_family()
    }

    pub fn is_http_family(&self) -> bool {
        matches!(self, BackendScheme::Http | BackendScheme::Https)
    }

    pub fn is_udp(&self) -> bool {
        matches!(self, BackendScheme::Udp | BackendScheme::Dtls)
    }

    pub fn is_tls_backend(&self) -> bool {
        matches!(self, BackendScheme::Https | BackendScheme::Tcps | BackendScheme::Dtls)
    }
}

impl fmt::Display for BackendScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_scheme_str())
    }
}

/// What a request of the HTTP family speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpFlavor {
    Plain,
    Grpc,
    WebSocket,
}
