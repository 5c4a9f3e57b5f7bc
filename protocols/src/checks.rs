//! The checks a request head passes before it is routed, in the order of the traffic sheet §5.

use engine::http::{Known, Method, RequestHead, Version};

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
    match head.method {
        Method::Trace => return Err(Refusal::new(405, "TRACE method is not allowed")),
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
        Ok(None | Some(0)) => Ok(BodySize::Empty),
        Ok(Some(length)) => Ok(BodySize::Exact(length)),
        Err(error) => refuse(&error.to_string()),
    }
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
