//! A request and its response, whatever wire they travel on.
//!
//! A frontend turns wire bytes into a head, a [`Body`] to pull and a [`Responder`]; behind these traits nothing knows
//! which frontend it was. Bodies are pulled, so not asking is back-pressure.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use engine::buffer::{Buffer, Chunk};
use engine::counters::ErrorClass;
use engine::http::{Headers, KnownSet, Method, ResponseHead};
use engine::net::{FlowSink, FlowSource, Pipe};
use plugins::ClientCertificate;

/// What kind of conversation an exchange is. It decides how a refusal is worded, which plugins run, and what goes to the
/// backend; the way is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Plain,
    Grpc,
    /// Behaves as gRPC, but is not framed as such unless a plugin translates it.
    GrpcWeb,
    WebSocket,
}

impl Kind {
    pub fn is_grpc(self) -> bool {
        matches!(self, Kind::Grpc | Kind::GrpcWeb)
    }
}

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
    /// A plugin cannot rewrite it; its answer is with the codecs.
    Refused,
}

pub trait Body {
    fn size(&self) -> BodySize;
    /// The next piece, or `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Chunk>, BodyError>>;
    /// Whether everything has been handed out: the next piece is `None`.
    fn is_complete(&self) -> bool;
    /// What came behind the body, once; there when the body has ended.
    fn take_trailers(&mut self) -> Option<Headers>;
    /// From now on what comes is the client's half of a tunnel, until it ends it.
    fn open_tunnel(&mut self);
    /// Where a flow may take over, if all that comes of the tunnel from now on comes out of a socket as it is.
    fn flow_source(&self) -> Option<FlowSource> {
        None
    }
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
    fn take_trailers(&mut self) -> Option<Headers> {
        (**self).take_trailers()
    }
    fn open_tunnel(&mut self) {
        (**self).open_tunnel();
    }
    fn flow_source(&self) -> Option<FlowSource> {
        (**self).flow_source()
    }
}

/// How long a response body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    None,
    Exact(u64),
    Unknown,
}

/// The backend's side of an exchange whose request is on its way: a head, and then a body to pull.
pub trait BackendResponse {
    /// Waits for a final head, and sets `began` when the first byte of an answer is there.
    fn head(
        &mut self,
        head: &mut ResponseHead,
        method: Method,
        head_bytes_max: usize,
        began: &mut bool,
    ) -> impl Future<Output = Result<BodyLength, ErrorClass>>;
    /// Where the head ends in its memory; behind that stands what came of the body with it. None: nothing does.
    fn head_end(&self) -> Option<usize>;
    /// What of the body came with the head, from that position on.
    fn set_early(&mut self, early: Buffer, from: usize);
    /// All of the body came with the head, and is taken from there.
    fn note_whole(&mut self);
    /// The next piece, or `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Chunk>, ErrorClass>>;
    fn is_complete(&self) -> bool;
    /// Whether the next piece is at hand without waiting.
    fn has_early(&self) -> bool;
    /// Whether so much of the body is still to come, and as it is, that moving it through a pipe spares something.
    fn fills_pipes(&self) -> bool;
    /// Moves the next piece into the pipe instead of handing it out; only if the body fills pipes. Answers how much it was.
    fn fill(&mut self, pipe: &mut Pipe) -> impl Future<Output = Result<usize, ErrorClass>>;
    /// What came behind the body, once.
    fn take_trailers(&mut self) -> Option<Headers>;
    /// Whether another request may follow on this connection.
    fn leaves_connection_clean(&self) -> bool;
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
    /// The same, and trailers follow: where the wire has no room for them behind a length, and the client looks at them, the
    /// length is left out.
    Trailed(u64),
    Unknown,
    /// Bytes in both directions until either side ends (RFC 9110 §7.8, RFC 8441).
    Tunnel,
}

impl ResponseSize {
    /// Of an answer that is there whole. A client does not expect a body where there cannot be one: it would take it for the next
    /// answer.
    pub fn of_whole(status: u16, length: u64, is_head: bool) -> Self {
        match status {
            // RFC 9110 §8.6: no length either; of 304 it would be that of another response.
            ..200 | 204 | 304 => Self::None,
            // RFC 9110 §15.3.6.
            205 => Self::Exact(0),
            _ if is_head => Self::HeadOnly(Some(length)),
            _ => Self::Exact(length),
        }
    }

    /// Whether anything of a body follows.
    pub fn has_body(self) -> bool {
        match self {
            Self::Exact(length) => length != 0,
            Self::None | Self::HeadOnly(_) => false,
            Self::Trailed(_) | Self::Unknown | Self::Tunnel => true,
        }
    }
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
    /// Where a flow may take over, if bytes go out as they are and all that was written has.
    fn flow_sink(&self) -> Option<FlowSink> {
        None
    }
    /// Whether body bytes go out as they are, so that the kernel can move them.
    fn takes_pipes(&self) -> bool;
    /// Sends all that the pipe holds. Only if it takes pipes, and after `flush`.
    fn write_from(&mut self, pipe: &mut Pipe) -> impl Future<Output = Result<(), ClientGone>>;
    /// Sends what has been laid out; for when more is not at hand.
    fn flush(&mut self) -> impl Future<Output = Result<(), ClientGone>>;
    /// Ends the response. Trailers go with it where the client's wire has room for them.
    fn finish(self, trailers: Option<Headers>) -> impl Future<Output = Result<(), ClientGone>>;
    /// Ends a response that cannot be completed: what there is of it is sent, and the client can tell that it is cut.
    fn abort(self) -> impl Future<Output = ()>;
}

/// Who is at the other end of a client connection.
pub struct Peer {
    pub ip: IpAddr,
    /// `ip` as it is written into headers and logs.
    pub ip_text: String,
    pub is_tls: bool,
    /// What the client showed in its handshake.
    pub certificate: Option<Rc<ClientCertificate>>,
}

impl Peer {
    /// An IPv4-mapped IPv6 address is shown as IPv4.
    pub fn new(ip: IpAddr, is_tls: bool) -> Self {
        let ip = ip.to_canonical();
        Self { ip, ip_text: ip.to_string(), is_tls, certificate: None }
    }

    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// Puts a future that is rarely needed, or large, on the heap. It is made here and not where it is awaited, so that the
/// frame of the caller, which every poll passes, has no room for it. Its place is there first, so that it is made in it and not
/// copied into it, all of its kilobytes, of which only the arguments say something.
#[inline(never)]
pub fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_a_body_is_sent_without() {
        let size = |status, is_head| ResponseSize::of_whole(status, 2, is_head);
        for status in [100, 199, 204, 304] {
            assert_eq!([size(status, false), size(status, true)], [ResponseSize::None; 2], "{status}");
        }
        assert_eq!([size(205, false), size(205, true)], [ResponseSize::Exact(0); 2]);
        for status in [200, 203, 206, 303, 305, 599] {
            assert_eq!(size(status, false), ResponseSize::Exact(2), "{status}");
            assert_eq!(size(status, true), ResponseSize::HeadOnly(Some(2)), "{status}");
        }
        let with_body = [100, 204, 205, 304, 200].map(|status| size(status, false).has_body());
        assert_eq!(with_body, [false, false, false, false, true]);
        assert!(!size(200, true).has_body() && !ResponseSize::of_whole(200, 0, false).has_body());
    }
}
