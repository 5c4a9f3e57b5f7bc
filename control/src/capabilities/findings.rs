//! What a probe has found out.

/// Whether a backend speaks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Not asked, or no answer.
    Unknown,
    Supported,
    Unsupported,
}

impl Support {
    pub fn name(self) -> &'static str {
        match self {
            Support::Unknown => "unknown",
            Support::Supported => "supported",
            Support::Unsupported => "unsupported",
        }
    }

    pub(super) fn of(is_spoken: bool) -> Self {
        if is_spoken { Support::Supported } else { Support::Unsupported }
    }
}

/// What is known of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub h1: Support,
    /// HTTP/2 under TLS, for plain requests and gRPC alike.
    pub h2_tls: Support,
    /// HTTP/2 in the clear, by prior knowledge.
    pub h2c: Support,
    pub h3: Support,
    /// Why there was no answer. That a backend does not speak something is an answer.
    pub error: Option<String>,
}

impl Findings {
    /// Of a backend in the clear that was not asked: HTTP/1.1 is what such a backend is for, and HTTP/3 is never in the clear.
    pub(super) const CLEAR: Self = Self {
        h1: Support::Supported,
        h2_tls: Support::Unknown,
        h2c: Support::Unknown,
        h3: Support::Unsupported,
        error: None,
    };

    /// Of a backend under TLS that was not asked. This release has no HTTP/3 and never asks for it.
    pub(super) const UNDER_TLS: Self = Self {
        h1: Support::Unknown,
        h2_tls: Support::Unknown,
        h2c: Support::Unknown,
        h3: Support::Unknown,
        error: None,
    };
}
