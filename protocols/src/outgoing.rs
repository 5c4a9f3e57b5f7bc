//! The head of a request on its way to a backend: what the client sent, without the hop it came by, with the gateway's
//! own fields (traffic sheet §6 and §7).

use engine::http::{Field, Headers, Known, KnownSet, RequestHead};
use engine::router::write_backend_path;
use plugins::RequestContext;
use plugins::query::is_name;

use crate::exchange::{BodySize, Peer, is_named};
use crate::settings::HttpSettings;

/// Fields that end at this hop or that the gateway writes itself.
pub const NOT_FORWARDED: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyAuthorization,
    Known::ProxyConnection,
    Known::Te,
    Known::Trailer,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::ContentLength,
    Known::Host,
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XConsumerUsername,
    Known::XConsumerCustomId,
    Known::XFerrumOriginalContentEncoding,
]);

/// Fields of a backend's response that end at this hop. Lengths and framing are written anew.
pub const NOT_RETURNED: KnownSet = KnownSet::FRAMING.with(Known::ProxyAuthenticate);

/// Fields that frame, route, authenticate or describe a message, and mean nothing behind it (RFC 9110 §6.5.1). Somebody who
/// merged them into the head would be misled.
const NOT_IN_TRAILERS: KnownSet = NOT_RETURNED
    .union(NOT_FORWARDED)
    .with(Known::Authorization)
    .with(Known::ContentType)
    .with(Known::Cookie)
    .with(Known::EarlyData)
    .with(Known::Expect)
    .with(Known::Forwarded)
    .with(Known::SetCookie)
    .with(Known::Via)
    .with(Known::XGatewayError)
    .with(Known::XGatewayUpstreamStatus);

/// What of a trailer section goes on, if anything does.
pub fn passed_trailers(mut trailers: Headers) -> Option<Headers> {
    trailers.remove_known(NOT_IN_TRAILERS);
    (!trailers.is_empty()).then_some(trailers)
}

/// Fields whose value is a list: several lines mean the same as one (RFC 9110 §5.3), as do several cookie crumbs.
fn is_list(name: &[u8]) -> bool {
    const LISTS: [&[u8]; 19] = [
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"baggage",
        b"cache-control",
        b"content-encoding",
        b"content-language",
        b"cookie",
        b"forwarded",
        b"if-match",
        b"if-none-match",
        b"link",
        b"pragma",
        b"prefer",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"via",
        b"warning",
    ];
    LISTS.iter().any(|list| name.eq_ignore_ascii_case(list))
}

/// Names that `Connection` fields may list. Nobody needs more, and each is compared with each field.
pub const CONNECTION_NAMES_MAX: usize = 64;

/// Names listed in `Connection` fields, lower-case, without `never`, which are dropped anyhow. Nearly always none.
pub fn connection_named(headers: &Headers, never: KnownSet) -> Vec<Vec<u8>> {
    let mut named = Vec::new();
    for value in headers.known(Known::Connection) {
        if value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close") {
            continue;
        }
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii().to_ascii_lowercase();
            // `Connection: host` must not cost the backend its Host; RFC 9110 §7.6.1 forbids listing it.
            if !token.is_empty() && !never.has(Known::of(&token)) && token != b"close" && !named.contains(&token) {
                if named.len() == CONNECTION_NAMES_MAX {
                    return named;
                }
                named.push(token);
            }
        }
    }
    named
}

/// Everything a backend adapter needs to write the head.
pub struct OutgoingRequest<'a> {
    pub cx: &'a RequestContext,
    pub peer: &'a Peer,
    pub settings: &'a HttpSettings,
    pub client_ip: &'a str,
    /// The host the backend is asked for when the client's is not kept.
    pub backend_host: &'a str,
    pub preserve_host: bool,
    pub base_path: &'a str,
    pub matched_len: usize,
    pub strip: bool,
    pub connection_named: &'a [Vec<u8>],
    pub size: BodySize,
}

impl OutgoingRequest<'_> {
    fn head(&self) -> &RequestHead {
        &self.cx.head
    }

    pub fn method(&self) -> &[u8] {
        self.head().method_text()
    }

    /// The path and query for the request line.
    pub fn write_target(&self, out: &mut Vec<u8>) {
        write_backend_path(out, self.head().path(), self.matched_len, self.strip, self.base_path);
        let query = self.head().query();
        if query.is_empty() {
            return;
        }
        if self.cx.consumed_query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(query);
        } else {
            self.write_query_without_consumed(query, out);
        }
    }

    /// Leaves out the parameters that authentication consumed, however their names are written; the others keep their bytes and
    /// order.
    fn write_query_without_consumed(&self, query: &[u8], out: &mut Vec<u8>) {
        let mut separator = b'?';
        for piece in query.split(|byte| *byte == b'&') {
            let name = piece.split(|byte| *byte == b'=').next().unwrap_or_default();
            if self.cx.consumed_query.iter().any(|consumed| is_name(name, consumed)) {
                continue;
            }
            out.push(separator);
            out.extend_from_slice(piece);
            separator = b'&';
        }
    }

    /// The value of `Host`.
    pub fn host(&self) -> &[u8] {
        match self.head().host() {
            Some(host) if self.preserve_host => host,
            _ => self.backend_host.as_bytes(),
        }
    }

    /// Gives every field but `Host` and the framing to `emit`. A value comes in parts, to be written one after the other.
    pub fn for_each_field(&self, mut emit: impl FnMut(&[u8], &[&[u8]])) {
        let headers = &self.head().headers;
        for (index, field) in headers.iter().enumerate() {
            // What the client lists in `Connection` ends here; what was set here does not.
            let is_dropped = NOT_FORWARDED.has(field.known) && !self.names_caller(&field);
            if is_dropped || (!field.is_edit && is_named(self.connection_named, field.name)) {
                continue;
            }
            // What plugins judged is the last value of a name, so nothing else may reach the backend.
            if headers.is_repeated_later(index) && !is_list(field.name) {
                continue;
            }
            // Bytes outside visible ASCII are not forwarded (traffic sheet §6.3).
            if field.value.iter().any(|byte| *byte >= 0x80) {
                continue;
            }
            emit(field.name, &[field.value]);
        }
        self.forwarding_fields(&mut emit);
        self.identity_fields(&mut emit);
    }

    fn forwarding_fields(&self, emit: &mut impl FnMut(&[u8], &[&[u8]])) {
        let headers = &self.head().headers;
        let client_ip = self.client_ip.as_bytes();
        let mut earlier = headers.known(Known::XForwardedFor);
        match (earlier.next(), earlier.next()) {
            (None, _) => emit(b"X-Forwarded-For", &[client_ip]),
            (Some(one), None) => emit(b"X-Forwarded-For", &[one, b", ", client_ip]),
            (Some(_), Some(_)) => {
                let lines: Vec<&[u8]> = headers.known(Known::XForwardedFor).collect();
                emit(b"X-Forwarded-For", &[&lines.join(&b", "[..]), b", ", client_ip]);
            }
        }
        emit(b"X-Forwarded-Proto", &[self.peer.scheme().as_bytes()]);
        if let Some(host) = self.head().host() {
            emit(b"X-Forwarded-Host", &[host]);
        }
        if let Some(via) = &self.settings.via {
            emit(b"Via", &[via.value(self.head().version).as_bytes()]);
        }
        if self.settings.add_forwarded {
            self.forwarded_field(emit);
        }
    }

    /// RFC 7239.
    fn forwarded_field(&self, emit: &mut impl FnMut(&[u8], &[&[u8]])) {
        let client_ip = self.client_ip.as_bytes();
        let (open, close): (&[u8], &[u8]) =
            if client_ip.contains(&b':') { (b"for=\"[", b"]\"") } else { (b"for=", b"") };
        let proto = self.peer.scheme().as_bytes();
        match self.head().host() {
            Some(host) => {
                // RFC 7239 §4 wants all but tokens quoted; unquoted, a `;` in it would begin another parameter.
                let is_plain = host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
                let quote: &[u8] = if is_plain { b"" } else { b"\"" };
                emit(b"Forwarded", &[open, client_ip, close, b";proto=", proto, b";host=", quote, host, quote]);
            }
            None => emit(b"Forwarded", &[open, client_ip, close, b";proto=", proto]),
        }
    }

    /// Whether a plugin says who asks, where the gateway does not know (plugins sheet §1.7).
    fn names_caller(&self, field: &Field<'_>) -> bool {
        field.is_edit
            && matches!(field.known, Known::XConsumerUsername | Known::XConsumerCustomId)
            && self.cx.displayed_identity().is_none()
    }

    /// Plugins sheet §1.7. What the client sent under these names is never forwarded.
    fn identity_fields(&self, emit: &mut impl FnMut(&[u8], &[&[u8]])) {
        // Names come from documents, tokens and plugins. One that could end its line would be another message's beginning.
        let is_sound = |name: &&str| !name.bytes().any(|byte| byte.is_ascii_control());
        if let Some(identity) = self.cx.displayed_identity().filter(is_sound) {
            emit(b"X-Consumer-Username", &[identity.as_bytes()]);
        }
        let custom_id = self.cx.consumer().and_then(|consumer| consumer.custom_id.as_deref());
        if let Some(custom_id) = custom_id.filter(is_sound) {
            emit(b"X-Consumer-Custom-Id", &[custom_id.as_bytes()]);
        }
    }
}
