//! What kind of conversation a request begins (traffic sheet §13.1 and §14.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::http::{Headers, Known, Method, RequestHead, Version};
use plugins::Protocol;

use crate::exchange::Kind;

/// Nearly every request is told to be plain by what it does not have.
pub fn of(head: &RequestHead) -> Kind {
    if head.headers.has(Known::ContentType)
        && let Some(kind) = head.headers.first(Known::ContentType).and_then(of_content_type)
    {
        return kind;
    }
    if is_websocket(head) { Kind::WebSocket } else { Kind::Plain }
}

fn of_content_type(value: &[u8]) -> Option<Kind> {
    const GRPC: &[u8] = b"application/grpc";
    let (start, rest) = value.split_at_checked(GRPC.len())?;
    if !start.eq_ignore_ascii_case(GRPC) {
        return None;
    }
    match rest.first() {
        None => Some(Kind::Grpc),
        Some(b'-') => rest.get(..4).filter(|rest| rest.eq_ignore_ascii_case(b"-web")).map(|_| Kind::GrpcWeb),
        Some(_) => Some(Kind::Grpc),
    }
}

/// A request that is not quite one is an ordinary request.
fn is_websocket(head: &RequestHead) -> bool {
    if head.version == Version::Http2 {
        return head.method == Method::Connect && head.protocol().eq_ignore_ascii_case(b"websocket");
    }
    head.version == Version::Http11
        && head.headers.has(Known::Upgrade)
        && head.headers.first(Known::Upgrade).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && head.headers.lists(Known::Connection, b"upgrade")
        && key(&head.headers).is_some()
        && head.headers.get("sec-websocket-version") == Some("13")
}

/// The key of the handshake: 16 bytes in base64 (RFC 6455 §4.1).
pub fn key(headers: &Headers) -> Option<&str> {
    let key = headers.get("sec-websocket-key")?;
    (key.len() == 24 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)).then_some(key)
}

/// The protocol by which plugins take part.
pub fn protocol(kind: Kind) -> Protocol {
    match kind {
        Kind::Plain => Protocol::Http,
        Kind::Grpc | Kind::GrpcWeb => Protocol::Grpc,
        Kind::WebSocket => Protocol::WebSocket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let rows = [
            ("application/grpc", Some(Kind::Grpc)),
            ("Application/gRPC+proto", Some(Kind::Grpc)),
            ("application/grpc; x", Some(Kind::Grpc)),
            ("application/grpc-web", Some(Kind::GrpcWeb)),
            ("application/grpc-web-text+proto", Some(Kind::GrpcWeb)),
            ("application/grpc-x", None),
            ("application/json", None),
            ("application/grp", None),
        ];
        for (value, expected) in rows {
            assert_eq!(of_content_type(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_handshake_with_a_wrong_key_or_version_is_an_ordinary_request() {
        let kind = |upgrade: &str, connection: &str, key: &str, version: &str| {
            let mut head = RequestHead::new();
            head.headers.append("Upgrade", upgrade.as_bytes());
            head.headers.append("Connection", connection.as_bytes());
            head.headers.append("Sec-WebSocket-Key", key.as_bytes());
            head.headers.append("Sec-WebSocket-Version", version.as_bytes());
            of(&head)
        };
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(kind("WebSocket", "keep-alive, Upgrade", key, "13"), Kind::WebSocket);
        assert_eq!(kind("h2c", "Upgrade", key, "13"), Kind::Plain);
        assert_eq!(kind("websocket", "keep-alive", key, "13"), Kind::Plain);
        assert_eq!(kind("websocket", "upgrade", "dGhlIHNhbXBsZQ==", "13"), Kind::Plain);
        assert_eq!(kind("websocket", "upgrade", key, "8"), Kind::Plain);
    }
}
