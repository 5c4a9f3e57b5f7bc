//! A connection to an HTTP/1.1 backend.

use std::net::SocketAddr;

use engine::buffer::Buffer;
use engine::counters::ErrorClass;
use engine::http::{Known, Method, ResponseHead, Version};
use engine::net::{Receiver, Sender, Silence, Stream};

use super::parse;
use super::responder::decimal;
use super::response::class_of;
use crate::content_length::content_length;
use crate::exchange::BodySize;
use crate::outgoing::OutgoingRequest;

/// Interim responses before the final one; a backend that sends more never comes to the point.
const INTERIM_MAX: usize = 16;
/// Fields of a response head; its bytes are bounded as well.
const FIELDS_MAX: usize = 1000;

pub struct BackendConnection {
    pub receiver: Receiver,
    pub sender: Sender,
    pub peer: SocketAddr,
    /// Has answered a request before. Then a failure may only mean that the backend closed an idle connection.
    pub reused: bool,
    /// Memory for the next response head.
    pub head: ResponseHead,
}

/// How the body behind a response head ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseFraming {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl BackendConnection {
    pub fn new(stream: Stream) -> Self {
        let peer = stream.peer();
        let Stream { receiver, sender, .. } = stream;
        Self { receiver, sender, peer, reused: false, head: ResponseHead::new(0) }
    }

    /// Whether the idle connection can take another request: the backend has neither closed it nor sent anything since.
    pub fn is_silent(&mut self) -> bool {
        self.receiver.silence() == Silence::Silent
    }
}

/// Lays the request head out.
pub fn write_request_head(request: &OutgoingRequest<'_>, keep_alive: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(request.method());
    out.push(b' ');
    request.write_target(out);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(request.host());
    out.extend_from_slice(b"\r\n");
    request.for_each_field(|name, value| {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        for part in value {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"\r\n");
    });
    match request.size {
        BodySize::Exact(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        BodySize::Unknown => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // RFC 9110 §8.6: methods that usually carry a body say that there is none.
        BodySize::Empty if expects_body(request.cx.head.method) => out.extend_from_slice(b"Content-Length: 0\r\n"),
        BodySize::Empty => {}
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Lays out the head of a request to switch protocols; the fields in `own` are not taken from the client.
pub fn write_upgrade_head(request: &OutgoingRequest<'_>, own: &[&[u8]], key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET ");
    request.write_target(out);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(request.host());
    out.extend_from_slice(b"\r\n");
    request.for_each_field(|name, value| {
        if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return;
        }
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        for part in value {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"\r\n");
    });
    out.extend_from_slice(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
    );
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

fn expects_body(method: Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch)
}

/// Receives a final response head into `head`. Answers with the framing of its body and where the head ends in
/// `head.headers.received()`, and sets `began` when the first byte is there.
pub async fn read_response_head(
    receiver: &mut Receiver,
    head: &mut ResponseHead,
    method: Method,
    head_bytes_max: usize,
    began: &mut bool,
) -> Result<(ResponseFraming, usize), ErrorClass> {
    let length = read_final_head(receiver, head, head_bytes_max, began).await?;
    framing(head, method).map(|framing| (framing, length))
}

/// Receives a head that is not interim. Answers where it ends.
pub async fn read_final_head(
    receiver: &mut Receiver,
    head: &mut ResponseHead,
    head_bytes_max: usize,
    began: &mut bool,
) -> Result<usize, ErrorClass> {
    let mut buffer = Buffer::none();
    let mut interim = 0;
    loop {
        if !buffer.is_empty() {
            *began = true;
            head.headers.reset();
            match parse::response(&buffer, FIELDS_MAX, head).map_err(|_| ErrorClass::ProtocolError)? {
                Some(length) if head.status < 200 && head.status != 101 => {
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(ErrorClass::ProtocolError);
                    }
                    buffer.consume(length);
                    continue;
                }
                Some(length) => {
                    head.headers.set_received(buffer);
                    return Ok(length);
                }
                None => {}
            }
        }
        buffer = receive_more(receiver, buffer, head_bytes_max).await?;
    }
}

async fn receive_more(receiver: &mut Receiver, mut buffer: Buffer, max: usize) -> Result<Buffer, ErrorClass> {
    if buffer.len() >= max {
        return Err(ErrorClass::ProtocolError);
    }
    if !receiver.is_started() {
        if buffer.has_memory() && buffer.spare() == 0 {
            buffer.grow_to((buffer.capacity() * 2).min(max));
        }
        receiver.start(if buffer.has_memory() { buffer } else { Buffer::head() });
    }
    match receiver.received().await {
        (Ok(0), _) => Err(ErrorClass::ConnectionClosed),
        (Ok(_), buffer) => Ok(buffer),
        (Err(error), _) => Err(class_of(&error)),
    }
}

/// RFC 9112 §6.3. What two parsers could read differently is a protocol error.
fn framing(head: &ResponseHead, method: Method) -> Result<ResponseFraming, ErrorClass> {
    let length = content_length(&head.headers).map_err(|_| ErrorClass::ProtocolError)?;
    let mut encodings = head.headers.known(Known::TransferEncoding);
    let encoding = encodings.next();
    // No upgrade was asked for here, so nobody may switch protocols.
    if head.status == 101 {
        return Err(ErrorClass::ProtocolError);
    }
    if method == Method::Head || matches!(head.status, 204 | 304) {
        return Ok(ResponseFraming::None);
    }
    match (encoding, length) {
        (Some(_), Some(_)) => Err(ErrorClass::ProtocolError),
        (Some(encoding), None)
            if encodings.next().is_none()
                && encoding.eq_ignore_ascii_case(b"chunked")
                && head.version == Version::Http11 =>
        {
            Ok(ResponseFraming::Chunked)
        }
        (Some(_), None) => Err(ErrorClass::ProtocolError),
        (None, Some(length)) => Ok(ResponseFraming::Length(length)),
        (None, None) => Ok(ResponseFraming::UntilClose),
    }
}

/// Whether the backend keeps the connection open behind this response.
pub fn keeps_alive(head: &ResponseHead) -> bool {
    match head.version {
        Version::Http10 => head.headers.lists(Known::Connection, b"keep-alive"),
        _ => !head.headers.lists(Known::Connection, b"close"),
    }
}
