//! Message heads between the library's form and the gateway's.
//!
//! A received head is laid out in one buffer, as if it had come in one piece, so that nothing behind this point knows the
//! difference. The values of a head that is sent share one block of memory.

use bytes::{Bytes, BytesMut};
use engine::buffer::Buffer;
use engine::http::{Headers, Known, Method, RequestHead, ResponseHead, Span, Version};
use engine::snapshot::Scheme;
use http::header::{COOKIE, HeaderValue};
use http::uri::{self, PathAndQuery};
use http::{HeaderMap, Request, Response, StatusCode, Uri};

use super::client::Leased;
use super::names;
use crate::exchange::{BodySize, Kind};
use crate::outgoing::OutgoingRequest;

/// How many fields the gateway adds to a request; more of them find room as well, for the price of a larger one.
const OWN_REQUEST_FIELDS: usize = 6;
/// And how long the values of such fields are.
const OWN_VALUE_BYTES: usize = 32;
/// No room is made for more in advance.
const FIELDS_MAX: usize = 256;

/// Lays the fields out behind what the buffer holds.
fn lay_out(fields: &HeaderMap, buffer: &mut Buffer, headers: &mut Headers) {
    // Those of one name come one after the other.
    let mut fields = fields.iter().peekable();
    while let Some((name, value)) = fields.next() {
        let text = name.as_str().as_bytes();
        let name_start = buffer.len();
        buffer.extend(text);
        let value_start = buffer.len();
        // White space around a value is none of it (RFC 9110 §5.5), and means trouble further on (RFC 9113 §8.2.1).
        buffer.extend(value.as_bytes().trim_ascii());
        if *name == COOKIE {
            // Crumbs become one field again (RFC 9113 §8.2.3).
            while let Some((_, crumb)) = fields.next_if(|(next, _)| **next == COOKIE) {
                buffer.extend(b"; ");
                buffer.extend(crumb.as_bytes().trim_ascii());
            }
        }
        let first = text.first().copied().unwrap_or_default();
        headers.push_received(Known::of(text), (name_start, value_start), first, (value_start, buffer.len()));
    }
}

fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum()
}

fn append(buffer: &mut Buffer, bytes: &[u8]) -> Span {
    let start = buffer.len();
    buffer.extend(bytes);
    Span::new(start, buffer.len())
}

/// A request as it came.
pub fn request_head(request: &Request<impl Sized>) -> Box<RequestHead> {
    let uri = request.uri();
    let protocol = request.extensions().get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str).unwrap_or_default();
    let method = request.method().as_str();
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let total = method.len() + path.len() + query.len() + authority.len() + protocol.len() + size(request.headers());
    let mut buffer = Buffer::with_capacity(total);
    let mut head = Box::new(RequestHead::new());
    head.version = Version::Http2;
    head.method = Method::of(method.as_bytes());
    head.method_text = append(&mut buffer, method.as_bytes());
    head.path = append(&mut buffer, path.as_bytes());
    head.query = append(&mut buffer, query.as_bytes());
    head.authority = append(&mut buffer, authority.as_bytes());
    head.protocol = append(&mut buffer, protocol.as_bytes());
    lay_out(request.headers(), &mut buffer, &mut head.headers);
    head.headers.set_received(buffer);
    head
}

/// A response as it came.
pub fn response_head(response: &Response<impl Sized>, head: &mut ResponseHead) {
    head.status = response.status().as_u16();
    head.version = Version::Http2;
    head.headers.reset();
    let mut buffer = Buffer::with_capacity(size(response.headers()));
    lay_out(response.headers(), &mut buffer, &mut head.headers);
    head.headers.set_received(buffer);
}

pub fn received_trailers(fields: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    let mut buffer = Buffer::with_capacity(size(fields));
    lay_out(fields, &mut buffer, &mut headers);
    headers.set_received(buffer);
    headers
}

/// The fields of a head that is to be sent. All values are put into one block, and share it.
pub struct Fields {
    map: HeaderMap,
    values: BytesMut,
}

impl Fields {
    /// With room for what was received and for some more fields.
    pub fn with_room_for(received: Option<&Headers>, more: usize) -> Self {
        let (fields, bytes) = received.map_or((0, 0), |headers| (headers.len(), headers.value_bytes()));
        let fields = (fields + more).min(FIELDS_MAX);
        Self { map: HeaderMap::with_capacity(fields), values: BytesMut::with_capacity(bytes + more * OWN_VALUE_BYTES) }
    }

    /// Adds a field whose value comes in parts. What the wire has no room for is left out: a name that is none, or a value with
    /// control bytes.
    pub fn push(&mut self, name: &[u8], parts: &[&[u8]]) {
        let Some(name) = names::name(name) else { return };
        for part in parts {
            self.values.extend_from_slice(part);
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(self.values.split().freeze()) {
            let _ = self.map.try_append(name, value);
        }
    }

    pub fn into_map(self) -> HeaderMap {
        self.map
    }
}

/// Trailers that are to be sent.
pub fn trailers(received: &Headers) -> HeaderMap {
    let mut fields = Fields::with_room_for(Some(received), 0);
    received.iter().for_each(|field| fields.push(field.name, &[field.value]));
    fields.into_map()
}

/// Three digits; what is no status becomes 500.
pub fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The head of a request to a backend; nothing when its target cannot be said.
pub fn request(leased: &Leased, scheme: Scheme, outgoing: &OutgoingRequest<'_>, kind: Kind) -> Option<Request<()>> {
    let mut path = Vec::with_capacity(256);
    outgoing.write_target(&mut path);
    let mut target = uri::Parts::default();
    target.scheme = Some(match scheme {
        Scheme::Http => uri::Scheme::HTTP,
        Scheme::Https => uri::Scheme::HTTPS,
    });
    target.authority = Some(leased.authority(outgoing.host())?);
    target.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?);
    let mut fields = Fields::with_room_for(Some(&outgoing.cx.head.headers), OWN_REQUEST_FIELDS);
    // Beside the pseudo-field, which says the same (traffic sheet §7).
    fields.push(b"host", &[outgoing.host()]);
    outgoing.for_each_field(|name, value| fields.push(name, value));
    if let BodySize::Exact(length) = outgoing.size {
        fields.push(b"content-length", &[length.to_string().as_bytes()]);
    }
    if kind.is_grpc() {
        fields.push(b"te", &[b"trailers"]);
    }
    let mut request = Request::new(());
    *request.method_mut() = http::Method::from_bytes(outgoing.method()).ok()?;
    *request.uri_mut() = Uri::from_parts(target).ok()?;
    *request.headers_mut() = fields.into_map();
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_bytes_and_its_crumbs_become_one_cookie() {
        let request = Request::builder()
            .method("PURGE")
            .uri("https://api.example/a%20b//c?x=1&y")
            .header("x-one", "1")
            .header("cookie", "a=1")
            .header("x-two", "2")
            .header("cookie", " b=2 ")
            .header("x-one", "3")
            .body(())
            .expect("a request");
        let head = request_head(&request);
        assert_eq!((head.method, head.method_text()), (Method::Other, b"PURGE".as_slice()));
        assert_eq!((head.path(), head.query()), (b"/a%20b//c".as_slice(), b"x=1&y".as_slice()));
        assert_eq!(head.host(), Some(b"api.example".as_slice()));
        assert_eq!(head.headers.first(Known::Cookie), Some(b"a=1; b=2".as_slice()));
        assert_eq!(head.headers.all("x-one").collect::<Vec<_>>(), [b"1", b"3"]);
    }

    #[test]
    fn what_the_wire_has_no_room_for_is_left_out() {
        let mut fields = Fields::with_room_for(None, 0);
        fields.push(b"X-Upper", &[b"a", b"b"]);
        fields.push(b"bad name", &[b"x"]);
        fields.push(b"x-bad", &[b"a\r\nb"]);
        fields.push(b"x-empty", &[]);
        let map = fields.into_map();
        assert_eq!(map.len(), 2);
        assert_eq!(map["x-upper"], "ab");
        assert_eq!(map["x-empty"], "");
    }
}
