//! The checks a request head passes before it is routed, in the order of the traffic sheet §5.

use engine::http::{Known, Method, RequestHead, Version};
use engine::router::{HostBuffer, normalize_host};

use crate::content_length::content_length;
use crate::exchange::BodySize;
use crate::outgoing::CONNECTION_NAMES_MAX;
use crate::refusal::Refusal;
use crate::settings::HttpSettings;

/// What the framing fields say.
#[derive(Default)]
struct Framing<'a> {
    transfer_encodings: u32,
    transfer_encoding: &'a [u8],
    hosts: u32,
}

/// Checks 1-10; answers with how long the body is.
pub fn check(head: &RequestHead, settings: &HttpSettings) -> Result<BodySize, Refusal> {
    let framing = header_sizes(head, settings)?;
    target_size(head, settings)?;
    let size = body_size(head, &framing)?;
    if head.version == Version::Http2 {
        stream_fields(head).map_err(|text| Refusal::new(400, text))?;
    }
    match head.method {
        Method::Trace => return Err(Refusal::new(405, "TRACE method is not allowed")),
        Method::Connect if is_extended_connect(head) => {}
        Method::Connect => return Err(Refusal::closing(405, "CONNECT method is not allowed")),
        _ => {}
    }
    early_data(head, settings)?;
    connection_names(head)?;
    Ok(size)
}

/// One pass over the fields: their sizes, and what decides about framing.
fn header_sizes<'a>(head: &'a RequestHead, settings: &HttpSettings) -> Result<Framing<'a>, Refusal> {
    let mut framing = Framing::default();
    let mut total = 0;
    for field in head.headers.iter() {
        let size = field.name.len() + field.value.len();
        if size > settings.single_header_bytes_max {
            let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
            let max = settings.single_header_bytes_max;
            return Err(Refusal::closing(431, &format!("Request header '{name}' exceeds maximum size of {max} bytes")));
        }
        total += size;
        match field.known {
            Known::TransferEncoding => {
                framing.transfer_encodings += 1;
                framing.transfer_encoding = field.value;
            }
            Known::Host => framing.hosts += 1,
            _ => {}
        }
    }
    if total > settings.header_bytes_max {
        return Err(Refusal::closing(431, "Total request headers exceed maximum size"));
    }
    let (count, max) = (head.headers.len(), settings.header_count_max);
    if max != 0 && count > max {
        return Err(Refusal::closing(431, &format!("Request header count ({count}) exceeds maximum of {max}")));
    }
    Ok(framing)
}

fn target_size(head: &RequestHead, settings: &HttpSettings) -> Result<(), Refusal> {
    let query = head.query();
    let length = head.path().len() + if query.is_empty() { 0 } else { 1 + query.len() };
    let max = settings.url_bytes_max;
    if max != 0 && length > max {
        let text = format!("Request URL length ({length} bytes) exceeds maximum of {max} bytes");
        return Err(Refusal::closing(414, &text));
    }
    let max = settings.query_parameters_max;
    // A query of n bytes has at most (n + 1) / 2 parameters, so short ones need no count.
    if max != 0 && query.len() / 2 >= max {
        let count = query.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).count();
        if count > max {
            return Err(Refusal::new(400, &format!("Query parameter count ({count}) exceeds maximum of {max}")));
        }
    }
    Ok(())
}

/// §5.1. Whatever is refused here leaves the end of the request in doubt, so the connection closes.
fn body_size(head: &RequestHead, framing: &Framing<'_>) -> Result<BodySize, Refusal> {
    let refuse = |text: &str| Err(Refusal::closing(400, text));
    if framing.hosts > 1 {
        return refuse("Request contains multiple Host headers");
    }
    if framing.transfer_encodings > 0 {
        if head.version == Version::Http10 {
            return refuse("HTTP/1.0 does not support Transfer-Encoding");
        }
        if head.headers.has(Known::ContentLength) {
            return refuse("Request contains both Content-Length and Transfer-Encoding headers");
        }
        if framing.transfer_encodings > 1 || !framing.transfer_encoding.eq_ignore_ascii_case(b"chunked") {
            return refuse("Transfer-Encoding must be exactly 'chunked'");
        }
        return Ok(BodySize::Unknown);
    }
    match content_length(&head.headers) {
        // On a stream its own end says whether there is a body.
        Ok(None) if head.version == Version::Http2 => Ok(BodySize::Unknown),
        Ok(None | Some(0)) => Ok(BodySize::Empty),
        Ok(Some(length)) => Ok(BodySize::Exact(length)),
        Err(error) => refuse(&error.to_string()),
    }
}

/// A tunnel for WebSocket (RFC 8441); others are not served.
fn is_extended_connect(head: &RequestHead) -> bool {
    head.version == Version::Http2 && head.protocol().eq_ignore_ascii_case(b"websocket")
}

/// What HTTP/2 says in its own way, and may not be said otherwise (§5.1).
fn stream_fields(head: &RequestHead) -> Result<(), &'static str> {
    let is_printable = |value: &[u8]| value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    for value in head.headers.known(Known::Te) {
        if value.is_empty() {
            return Err("TE header contains invalid empty value");
        }
        if !is_printable(value) {
            return Err("TE header contains invalid characters");
        }
        if !value.trim_ascii().eq_ignore_ascii_case(b"trailers") {
            return Err("TE header must be 'trailers' or absent");
        }
    }
    let (mut of_host, mut of_authority) = (HostBuffer::new(), HostBuffer::new());
    let host = match head.headers.first(Known::Host) {
        Some(host) if !is_printable(host) => return Err("Host header contains invalid characters"),
        Some(host) => {
            let port = port(host);
            Some((normalize_host(host, &mut of_host).map_err(|_| "Host header contains invalid authority")?, port))
        }
        None => None,
    };
    let authority = head.authority();
    if authority.is_empty() {
        return Ok(());
    }
    let name =
        normalize_host(authority, &mut of_authority).map_err(|_| "Request authority contains invalid authority")?;
    match host {
        Some(host) if host != (name, port(authority)) => Err("Host header and request authority disagree"),
        _ => Ok(()),
    }
}

/// The port that an authority names, without leading zeros; none when it is that of a scheme.
fn port(authority: &[u8]) -> Option<&[u8]> {
    let at = authority.iter().rposition(|byte| *byte == b':')?;
    let digits = &authority[at + 1..];
    let is_port = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    (is_port && !matches!(digits, b"80" | b"443")).then_some(digits)
}

/// Bounds the work that a `Connection` field makes.
fn connection_names(head: &RequestHead) -> Result<(), Refusal> {
    let names: usize =
        head.headers.known(Known::Connection).map(|value| value.split(|byte| *byte == b',').count()).sum();
    if names > CONNECTION_NAMES_MAX {
        let text = format!("Connection header lists more than {CONNECTION_NAMES_MAX} names");
        return Err(Refusal::closing(400, &text));
    }
    Ok(())
}

/// §5.2.
fn early_data(head: &RequestHead, settings: &HttpSettings) -> Result<(), Refusal> {
    if settings.early_data_methods.is_empty() || head.headers.known(Known::EarlyData).all(|value| value != b"1") {
        return Ok(());
    }
    let method = head.method_text();
    if settings.early_data_methods.iter().any(|allowed| allowed.as_bytes() == method) {
        return Ok(());
    }
    Err(Refusal::new(425, "Method not allowed in 0-RTT early data"))
}
