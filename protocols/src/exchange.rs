//! A request and its response, whatever wire they travel on.
//!
//! A frontend turns wire bytes into a head, a [`Body`] to pull and a [`Responder`]; behind these traits nothing knows
//! which frontend it was. Bodies are pulled, so not asking is back-pressure.

use std::future::Future;
use std::net::IpAddr;

use engine::buffer::Chunk;
use engine::http::{Headers, KnownSet};
use engine::net::Pipe;

/// How long a request body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodySize {
    Empty,
    Exact(u64),
    Unknown,
}

/// Why a request body ended early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyError {
    ClientGone,
    /// What was received is not a body; where the next request begins is unknown.
    Malformed,
    /// The client sent nothing for too long.
    Stalled,
}

pub trait Body {
    fn size(&self) -> BodySize;
    /// The next piece, or `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Chunk>, BodyError>>;
    /// Whether everything has been received.
    fn is_complete(&self) -> bool;
}

impl<B: Body> Body for &mut B {
    fn size(&self) -> BodySize {
        (**self).size()
    }
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Chunk>, BodyError>> {
        (**self).chunk()
    }
    fn is_complete(&self) -> bool {
        (**self).is_complete()
    }
}

/// The client went away, or takes nothing any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientGone;

/// What follows a response head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseSize {
    /// No body and no length: 1xx, 204.
    None,
    /// The answer to HEAD, or 304: the length that a body would have, when known.
    HeadOnly(Option<u64>),
    Exact(u64),
    Unknown,
}

/// A response head on its way to a client: fields of the backend without some, and some more.
pub struct OutgoingResponse<'a> {
    pub status: u16,
    pub received: Option<&'a Headers>,
    /// Known names among the received fields that are not sent on.
    pub skip: KnownSet,
    /// Further names that are not sent on, lower-case.
    pub skip_named: &'a [Vec<u8>],
    pub extra: &'a [(&'a str, &'a [u8])],
}

impl OutgoingResponse<'_> {
    /// Gives every field to `emit`, in order.
    pub fn for_each_field(&self, mut emit: impl FnMut(&[u8], &[u8])) {
        for field in self.received.into_iter().flat_map(Headers::iter) {
            if !self.skip.has(field.known) && !is_named(self.skip_named, field.name) {
                emit(field.name, field.value);
            }
        }
        for (name, value) in self.extra {
            emit(name.as_bytes(), value);
        }
    }

    pub fn has(&self, known: engine::http::Known) -> bool {
        !self.skip.has(known) && self.received.is_some_and(|headers| headers.has(known))
    }
}

/// Whether the name is one of those that a `Connection` field listed.
pub fn is_named(names: &[Vec<u8>], name: &[u8]) -> bool {
    names.iter().any(|listed| name.eq_ignore_ascii_case(listed))
}

/// Where a response goes. Only `start` makes a response "started".
pub trait Responder {
    type Stream: ResponseStream;
    /// Lays the head out. It is sent with the first bytes that follow, or by `flush`.
    fn start(self, head: &OutgoingResponse<'_>, size: ResponseSize) -> impl Future<Output = Self::Stream>;
    /// From now on the connection closes after the response.
    fn close_after(&mut self);
}

pub trait ResponseStream {
    fn write(&mut self, chunk: Chunk) -> impl Future<Output = Result<(), ClientGone>>;
    /// Whether body bytes go out as they are, so that the kernel can move them.
    fn takes_pipes(&self) -> bool;
    /// Sends all that the pipe holds. Only if it takes pipes, and after `flush`.
    fn write_from(&mut self, pipe: &mut Pipe) -> impl Future<Output = Result<(), ClientGone>>;
    /// Sends what has been laid out; for when more is not at hand.
    fn flush(&mut self) -> impl Future<Output = Result<(), ClientGone>>;
    fn finish(self) -> impl Future<Output = Result<(), ClientGone>>;
    /// Ends a response that cannot be completed: what there is of it is sent, and the client can tell that it is cut.
    fn abort(self) -> impl Future<Output = ()>;
}

/// Who is at the other end of a client connection.
pub struct Peer {
    pub ip: IpAddr,
    /// `ip` as it is written into headers and logs.
    pub ip_text: String,
    pub is_tls: bool,
}

impl Peer {
    /// An IPv4-mapped IPv6 address is shown as IPv4.
    pub fn new(ip: IpAddr, is_tls: bool) -> Self {
        let ip = ip.to_canonical();
        Self { ip, ip_text: ip.to_string(), is_tls }
    }

    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// Puts a future that is rarely needed, or large, on the heap. It is made here and not where it is awaited, so that the
/// frame of the caller, which every poll passes, has no room for it.
#[inline(never)]
pub fn boxed<F: Future>(make: impl FnOnce() -> F) -> std::pin::Pin<Box<F>> {
    Box::pin(make())
}
