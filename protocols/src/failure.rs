//! Why an exchange with a backend has failed, and what the client hears of it.

use engine::counters::ErrorClass;
use plugins::Rejection;

use crate::exchange::{BodyError, Kind};
use crate::grpc;
use crate::refusal;

/// Why there is no response to deliver, or not all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub class: ErrorClass,
    /// What to answer while nothing has been sent yet.
    pub answer: Answer,
    /// Of [`Answer::Plugin`].
    pub refusal: Option<Box<Rejection>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    BackendUnavailable,
    BadGateway,
    NoAddress,
    /// Its length was announced.
    RequestTooLarge,
    /// It turned out to be.
    RequestGrewTooLarge,
    MalformedRequestBody,
    RequestStalled,
    ResponseTooLarge,
    ResponseReadFailed,
    /// What a plugin says that could not rewrite the body.
    Plugin,
    /// Nobody is there to answer.
    Nothing,
}

impl Failure {
    pub fn new(class: ErrorClass, answer: Answer) -> Self {
        Self { class, answer, refusal: None }
    }

    pub fn backend(class: ErrorClass) -> Self {
        Self::new(class, Answer::BackendUnavailable)
    }

    pub fn client_gone() -> Self {
        Self::new(ErrorClass::ClientDisconnect, Answer::Nothing)
    }

    pub fn of_body(error: BodyError) -> Self {
        match error {
            BodyError::ClientGone => Self::client_gone(),
            BodyError::Refused => Self::new(ErrorClass::RequestError, Answer::Plugin),
            BodyError::Stalled => Self::new(ErrorClass::ReadWriteTimeout, Answer::RequestStalled),
            BodyError::Malformed => Self::new(ErrorClass::RequestError, Answer::MalformedRequestBody),
        }
    }

    /// Whether the answer stands for one that the backend did not give.
    pub fn is_backend_s(&self) -> bool {
        match self.answer {
            Answer::BackendUnavailable
            | Answer::BadGateway
            | Answer::NoAddress
            | Answer::ResponseTooLarge
            | Answer::ResponseReadFailed => true,
            Answer::RequestTooLarge
            | Answer::RequestGrewTooLarge
            | Answer::MalformedRequestBody
            | Answer::RequestStalled
            | Answer::Plugin
            | Answer::Nothing => false,
        }
    }

    /// The answer to a request of this kind, and whether the connection ends with it; nothing when nobody is there. gRPC names the
    /// limit of its bodies.
    pub fn answer_to(&self, kind: Kind, body_bytes_max: u64) -> Option<(Rejection, bool)> {
        match self.answer {
            Answer::Nothing => None,
            _ if kind.is_grpc() => Some((self.grpc_answer(body_bytes_max), false)),
            _ => self.plain_answer(),
        }
    }

    /// Traffic sheet §9.
    fn plain_answer(&self) -> Option<(Rejection, bool)> {
        let (status, body, close) = match self.answer {
            Answer::Nothing => return None,
            Answer::Plugin => return self.refusal.as_deref().map(|refusal| (refusal.clone(), true)),
            Answer::BackendUnavailable => (502, r#"{"error":"Backend unavailable"}"#, false),
            Answer::BadGateway => (502, r#"{"error":"Bad Gateway"}"#, false),
            Answer::NoAddress => (502, r#"{"error":"DNS resolution for backend failed"}"#, false),
            Answer::RequestTooLarge | Answer::RequestGrewTooLarge => {
                return Some((refusal::request_body_too_large().rejection, true));
            }
            Answer::MalformedRequestBody => (400, r#"{"error":"Request body is not valid chunked coding"}"#, true),
            Answer::RequestStalled => (408, r#"{"error":"Request body stalled"}"#, true),
            Answer::ResponseTooLarge => (502, r#"{"error":"Backend response body exceeds maximum size"}"#, false),
            Answer::ResponseReadFailed => (502, r#"{"error":"Backend response body read failed"}"#, false),
        };
        Some((Rejection::json(status, body), close))
    }

    /// Traffic sheet §13.4.
    fn grpc_answer(&self, body_bytes_max: u64) -> Rejection {
        if let Some(refusal) = &self.refusal {
            return grpc::translated(refusal);
        }
        let too_large = format!("gRPC request payload size exceeds maximum of {body_bytes_max} bytes");
        let (code, message) = match (self.answer, self.class) {
            (Answer::RequestTooLarge, _) => (grpc::RESOURCE_EXHAUSTED, too_large.as_str()),
            (Answer::RequestGrewTooLarge, _) => (grpc::RESOURCE_EXHAUSTED, "gRPC request payload size exceeds maximum"),
            (Answer::ResponseTooLarge, _) => (grpc::RESOURCE_EXHAUSTED, "gRPC response exceeds maximum size"),
            (Answer::NoAddress, _) => (grpc::UNAVAILABLE, "DNS resolution for backend failed"),
            (Answer::MalformedRequestBody, _) => (grpc::INVALID_ARGUMENT, "Request body is malformed"),
            (_, ErrorClass::ConnectionTimeout | ErrorClass::ReadWriteTimeout) => {
                (grpc::DEADLINE_EXCEEDED, "Backend deadline exceeded")
            }
            (_, class) if class.is_pre_wire() => (grpc::UNAVAILABLE, "Service unavailable"),
            (_, ErrorClass::ConnectionReset | ErrorClass::ConnectionClosed | ErrorClass::ProtocolError) => {
                (grpc::UNAVAILABLE, "Backend closed the stream")
            }
            _ => (grpc::INTERNAL, "Internal gateway error"),
        };
        grpc::refusal(code, message)
    }
}

/// The `error_kind` of log lines (traffic sheet §20).
pub fn error_kind(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::ConnectionRefused => "connect_failure",
        ErrorClass::ConnectionTimeout => "connect_timeout",
        ErrorClass::DnsLookupError => "dns_failure",
        ErrorClass::ConnectionPoolError => "pool_error",
        ErrorClass::ReadWriteTimeout => "read_timeout",
        other => other.name(),
    }
}
