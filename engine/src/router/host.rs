//! The request's host as the route table spells it (resources sheet §16.2).

use std::net::Ipv6Addr;

/// Longest host that can be looked up. A configured host has at most 253 bytes; a longer one in a request is malformed.
const HOST_BYTES_MAX: usize = 256;

/// Where [`normalize_host`] writes: lives on the caller's stack, so that a lookup allocates nothing.
#[derive(Debug, Clone)]
pub struct HostBuffer {
    bytes: [u8; HOST_BYTES_MAX],
    len: usize,
}

impl HostBuffer {
    pub fn new() -> Self {
        Self { bytes: [0; HOST_BYTES_MAX], len: 0 }
    }

    /// The host written last; empty before the first one.
    pub fn as_str(&self) -> &str {
        // only ASCII is ever written
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Default for HostBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The Host header or authority cannot be used for routing: the request is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Request contains malformed Host or authority")]
pub struct MalformedHost;

/// What a byte becomes in a normalised host; 0 = not allowed in a name.
const NAME_BYTE: [u8; 256] = name_bytes();

const fn name_bytes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'%' | b'~' | b'!' | b'$' | b'&' | b'\'') {
            table[byte] = b.to_ascii_lowercase();
        } else if matches!(b, b'(' | b')' | b'*' | b'+' | b';' | b'=') {
            table[byte] = b;
        }
        byte += 1;
    }
    table
}

/// Trims, checks, drops the port and one trailing dot, lower-cases. An IPv6 or IPvFuture literal keeps its brackets.
///
/// # Errors
/// [`MalformedHost`] for everything §16.2 refuses, and for a name of more than 256 bytes.
pub fn normalize_host<'a>(raw: &[u8], out: &'a mut HostBuffer) -> Result<&'a str, MalformedHost> {
    out.len = 0;
    let host = raw.trim_ascii();
    if host.first() == Some(&b'[') {
        return normalize_literal(host, out);
    }
    let mut end = host.len();
    // one pass writes the lower-case name and finds the port
    for (position, &byte) in host.iter().enumerate() {
        let normal = NAME_BYTE[usize::from(byte)];
        if normal == 0 {
            if byte != b':' || !is_port(&host[position + 1..]) {
                return Err(MalformedHost);
            }
            end = position;
            break;
        }
        *out.bytes.get_mut(position).ok_or(MalformedHost)? = normal;
    }
    if end > 0 && out.bytes[end - 1] == b'.' {
        end -= 1;
    }
    if end == 0 {
        return Err(MalformedHost);
    }
    out.len = end;
    Ok(out.as_str())
}

#[cold]
fn normalize_literal<'a>(host: &[u8], out: &'a mut HostBuffer) -> Result<&'a str, MalformedHost> {
    let close = host.iter().position(|&byte| byte == b']').ok_or(MalformedHost)?;
    let (literal, after) = host.split_at(close + 1);
    let port_is_sound = match after.split_first() {
        None => true,
        Some((b':', port)) => is_port(port),
        Some(_) => false,
    };
    let address = std::str::from_utf8(&literal[1..close]).map_err(|_| MalformedHost)?;
    if !port_is_sound || !(address.parse::<Ipv6Addr>().is_ok() || is_ip_future(address)) {
        return Err(MalformedHost);
    }
    let written = out.bytes.get_mut(..literal.len()).ok_or(MalformedHost)?;
    written.copy_from_slice(literal);
    written.make_ascii_lowercase();
    out.len = literal.len();
    Ok(out.as_str())
}

/// RFC 3986 §3.2.2: `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`.
fn is_ip_future(address: &str) -> bool {
    let Some((version, rest)) = address.strip_prefix(['v', 'V']).and_then(|text| text.split_once('.')) else {
        return false;
    };
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_rest_byte = |byte: u8| byte != b'%' && (matches!(byte, b':' | b',') || NAME_BYTE[usize::from(byte)] != 0);
    is_version && !rest.is_empty() && rest.bytes().all(is_rest_byte)
}

fn is_port(digits: &[u8]) -> bool {
    let value = digits.iter().try_fold(0_u32, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        let value = value * 10 + digit;
        (value <= u32::from(u16::MAX)).then_some(value)
    });
    !digits.is_empty() && value.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(raw: &str) -> Result<String, MalformedHost> {
        normalize_host(raw.as_bytes(), &mut HostBuffer::new()).map(str::to_owned)
    }

    #[test]
    fn hosts_are_spelled_as_the_table_spells_them() {
        let rows = [
            ("api.example.com", "api.example.com"),
            ("API.Example.com.:8080", "api.example.com"),
            (" \tapi.example.com\t", "api.example.com"),
            ("a..", "a."),
            ("localhost:0", "localhost"),
            ("localhost:65535", "localhost"),
            ("a:00080", "a"),
            ("a%41_~!$&'()*+;=", "a%41_~!$&'()*+;="),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"),
            ("[v1F.a:b,c]", "[v1f.a:b,c]"),
        ];
        for (raw, expected) in rows {
            assert_eq!(normalized(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn unusable_hosts_are_refused() {
        let rows = [
            "",
            "  ",
            ".",
            ".:80",
            ":80",
            "example.com:",
            "a:65536",
            "a:99999999999999999999",
            "a:8o",
            "a:+80",
            "a:-1",
            "a:1:2",
            "2001:db8::1",
            "user@example.com",
            "a@",
            "a,b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a b",
            "a\u{7f}",
            "é",
            "[::1",
            "[::1]x",
            "[::1].",
            "[::1]:",
            "[::1]:70000",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "[v.a]",
            "[v1.]",
            "[vg.a]",
            "[v1.a%20]",
            "[v1.@]",
            "x[::1]",
            "::1]",
        ];
        for raw in rows {
            assert_eq!(normalized(raw), Err(MalformedHost), "{raw:?}");
        }
        assert_eq!(normalize_host(b"a\xff", &mut HostBuffer::new()), Err(MalformedHost));
    }

    #[test]
    fn a_name_may_fill_the_buffer_and_not_one_byte_more() {
        assert!(normalized(&"a".repeat(256)).is_ok());
        assert!(normalized(&format!("{}:80", "a".repeat(256))).is_ok());
        assert_eq!(normalized(&"a".repeat(257)), Err(MalformedHost));
        assert_eq!(normalized(&format!("[v1.{}]", "a".repeat(300))), Err(MalformedHost));
    }

    #[test]
    fn a_buffer_can_be_used_again() {
        let mut buffer = HostBuffer::default();
        normalize_host(b"a-long-name.example.com", &mut buffer).unwrap();
        assert_eq!(normalize_host(b"b", &mut buffer), Ok("b"));
        assert!(normalize_host(b"", &mut buffer).is_err());
        assert_eq!(buffer.as_str(), "");
    }
}
