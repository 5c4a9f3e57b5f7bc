//! Answers the gateway makes itself (traffic sheet §5 and §9). All bodies are JSON.

use plugins::Rejection;

use crate::exchange::Kind;
use crate::grpc;

/// A refusal before or instead of a backend exchange.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub rejection: Rejection,
    /// Where the next request begins is in doubt, or the client is not to send more.
    pub close: bool,
}

impl Refusal {
    pub fn new(status: u16, error: &str) -> Self {
        Self { rejection: Rejection::error(status, error), close: false }
    }

    pub fn closing(status: u16, error: &str) -> Self {
        Self { close: true, ..Self::new(status, error) }
    }

    /// As the client understands it, if it speaks gRPC.
    pub fn in_words_of(mut self, kind: Kind) -> Self {
        if kind.is_grpc() {
            self.rejection = grpc::translated(&self.rejection);
        }
        self
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.rejection.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// 503 while overloaded or draining.
pub fn overloaded() -> Refusal {
    Refusal::new(503, "Service overloaded")
}

pub fn not_found() -> Refusal {
    Refusal::new(404, "Not Found")
}

pub fn request_body_too_large() -> Refusal {
    Refusal::closing(413, "Request body exceeds maximum size")
}
