//! The first lines of messages.

use super::{Headers, Known};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    Http10,
    Http11,
    Http2,
    Http3,
}

/// RFC 9110 §9.3 and PATCH (RFC 5789); any other token is `Other` and keeps its text in the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110 §9.1).
    pub fn of(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// RFC 9110 §9.2.2: repeating such a request has the effect of sending it once.
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch | Method::Connect | Method::Other)
    }
}

/// Where something stands in the received bytes of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A request's head. All spans point into `headers.received()`.
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub method_text: Span,
    /// The path as received, without the query.
    pub path: Span,
    /// What follows the first `?`, without it.
    pub query: Span,
    /// The authority of an absolute-form target.
    pub authority: Span,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Span,
    pub headers: Headers,
}

impl RequestHead {
    pub fn new() -> Self {
        Self {
            method: Method::Other,
            version: Version::Http11,
            method_text: Span::default(),
            path: Span::default(),
            query: Span::default(),
            authority: Span::default(),
            protocol: Span::default(),
            headers: Headers::new(),
        }
    }

    pub fn path(&self) -> &[u8] {
        self.path.of(self.headers.received())
    }

    pub fn query(&self) -> &[u8] {
        self.query.of(self.headers.received())
    }

    pub fn authority(&self) -> &[u8] {
        self.authority.of(self.headers.received())
    }

    pub fn protocol(&self) -> &[u8] {
        self.protocol.of(self.headers.received())
    }

    pub fn method_text(&self) -> &[u8] {
        self.method_text.of(self.headers.received())
    }

    /// The host the client asked for, unnormalised: `Host`, else the authority of the target.
    pub fn host(&self) -> Option<&[u8]> {
        let host = self.headers.first(Known::Host);
        host.or_else(|| (!self.authority.is_empty()).then(|| self.authority.of(self.headers.received())))
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

/// A response's head.
pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub headers: Headers,
}

impl ResponseHead {
    pub fn new(status: u16) -> Self {
        Self { status, version: Version::Http11, headers: Headers::new() }
    }
}
