//! Message heads, from bytes to spans (RFC 9112 §2-5).
//!
//! Sans-IO: takes what has been received so far and says whether a whole head stands at its beginning. Strict where
//! leniency lets two parsers disagree about where a message ends: a line ends in CR LF and nothing else, folded lines,
//! space before a colon and control characters are refused.

use engine::http::{Known, Method, RequestHead, ResponseHead, Span, Version};

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    #[error("request method is not a token")]
    Method,
    #[error("request target contains an illegal character")]
    TargetCharacter,
    #[error("request target is neither a path, an absolute URI nor '*'")]
    TargetForm,
    #[error("protocol version is malformed")]
    Version,
    #[error("protocol version is not supported")]
    VersionUnsupported,
    #[error("status line is malformed")]
    StatusLine,
    #[error("header name is empty or contains an illegal character")]
    HeaderName,
    #[error("header value contains an illegal character")]
    HeaderValue,
    #[error("folded header lines are not allowed")]
    Folded,
    #[error("a line does not end in CR LF")]
    LineEnd,
    #[error("more header fields than the gateway accepts")]
    TooManyFields,
}

/// `Ok(None)`: more bytes are needed. `Ok(Some(n))`: the head is the first `n` bytes.
pub type Parsed = Result<Option<usize>, HeadError>;

/// RFC 9110 §5.6.2.
const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let text = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut i = 0;
    while i < text.len() {
        table[text[i] as usize] = true;
        i += 1;
    }
    table
}
static TOKEN: [bool; 256] = token_table();

/// Bytes of a request target: no controls, no space, no `#` (a fragment is never sent), obs-text passes.
const fn target_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 256 {
        table[byte] = byte != 0x7f && byte != b'#' as usize;
        byte += 1;
    }
    table
}
static TARGET: [bool; 256] = target_table();

/// Where the first byte is that may not stand in a field value: a control other than tab, or DEL.
fn value_end(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // High bit set in each byte below 0x20, and in each equal to 0x7f; bytes above 0x7f never qualify.
        let low = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let del = word ^ (ONES * 0x7f);
        let del = del.wrapping_sub(ONES) & !del & HIGHS;
        let hit = low | del;
        if hit == 0 {
            at += 8;
            continue;
        }
        let first = at + (hit.trailing_zeros() / 8) as usize;
        if bytes[first] != b'\t' {
            return first;
        }
        at = first + 1;
    }
    while at < bytes.len() {
        let byte = bytes[at];
        if (byte < 0x20 && byte != b'\t') || byte == 0x7f {
            return at;
        }
        at += 1;
    }
    at
}

fn trim(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && matches!(bytes[start], b' ' | b'\t') {
        start += 1;
    }
    while end > start && matches!(bytes[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    (start, end)
}

/// Whether CR LF stands at `at`: `None` when it may still come.
fn line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, HeadError> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Some(at + 2)),
        (Some(b'\r'), None) | (None, _) => Ok(None),
        _ => Err(HeadError::LineEnd),
    }
}

/// Tokens, and nothing else, up to `end`.
fn token_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| !TOKEN[*byte as usize]).map_or(bytes.len(), |length| from + length)
}

macro_rules! ready {
    ($step:expr) => {
        match $step? {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

/// The field lines from `at` on, up to and with the empty line.
fn fields(
    bytes: &[u8],
    mut at: usize,
    fields_max: usize,
    mut push: impl FnMut(Known, (usize, usize), u8, (usize, usize)),
) -> Parsed {
    let mut count = 0;
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'\r') => return line_end(bytes, at),
            Some(b' ' | b'\t') => return Err(HeadError::Folded),
            Some(_) => {}
        }
        let name_end = token_end(bytes, at);
        match bytes.get(name_end) {
            None => return Ok(None),
            Some(b':') if name_end > at && name_end - at <= u16::MAX as usize => {}
            Some(b'\n') => return Err(HeadError::LineEnd),
            Some(_) => return Err(HeadError::HeaderName),
        }
        let value_start = name_end + 1;
        let value_end = value_start + value_end(&bytes[value_start..]);
        let next = match bytes.get(value_end) {
            None => return Ok(None),
            Some(b'\r' | b'\n') => ready!(line_end(bytes, value_end)),
            Some(_) => return Err(HeadError::HeaderValue),
        };
        count += 1;
        if count > fields_max {
            return Err(HeadError::TooManyFields);
        }
        push(Known::of(&bytes[at..name_end]), (at, name_end), bytes[at], trim(bytes, value_start, value_end));
        at = next;
    }
}

fn version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(HeadError::VersionUnsupported)
        }
        _ => Err(HeadError::Version),
    }
}

/// Reads a request head. Empty lines before it are skipped (RFC 9112 §2.2), as many as fit the head limit.
/// `head.headers` gets the fields; its received bytes are set by the caller, who owns them.
pub fn request(bytes: &[u8], fields_max: usize, head: &mut RequestHead) -> Parsed {
    let mut start = 0;
    while bytes.get(start) == Some(&b'\r') {
        start = ready!(line_end(bytes, start));
    }
    let method_end = token_end(bytes, start);
    match bytes.get(method_end) {
        None => return Ok(None),
        Some(b' ') if method_end > start => {}
        Some(_) => return Err(HeadError::Method),
    }
    let target_start = method_end + 1;
    let target_length = bytes[target_start..].iter().position(|byte| !TARGET[*byte as usize]);
    let Some(target_length) = target_length else { return Ok(None) };
    let target_end = target_start + target_length;
    match bytes[target_end] {
        b' ' if target_length > 0 => {}
        // "GET /" without a version is HTTP/0.9, which nobody speaks.
        b'\r' | b'\n' => return Err(HeadError::Version),
        _ => return Err(HeadError::TargetCharacter),
    }
    let version_start = target_end + 1;
    let version_end = version_start + value_end(&bytes[version_start..]).min(9);
    let Some(_) = bytes.get(version_end) else { return Ok(None) };
    head.version = version(&bytes[version_start..version_end])?;
    let fields_start = ready!(line_end(bytes, version_end));

    head.method_text = Span::new(start, method_end);
    head.method = Method::of(&bytes[start..method_end]);
    target(bytes, target_start, target_end, head)?;
    fields(bytes, fields_start, fields_max, |known, name, first, value| {
        head.headers.push_received(known, name, first, value);
    })
}

/// Splits the request target into authority, path and query (RFC 9112 §3.2).
fn target(bytes: &[u8], start: usize, end: usize, head: &mut RequestHead) -> Result<(), HeadError> {
    head.authority = Span::default();
    head.protocol = Span::default();
    let target = &bytes[start..end];
    let path_start = match target[0] {
        b'/' => start,
        b'*' if target.len() == 1 => start,
        // The authority-form is CONNECT's alone; it is refused later by its method.
        _ if head.method == Method::Connect => start,
        _ => {
            let scheme = [&b"http://"[..], b"https://"]
                .into_iter()
                .find(|scheme| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme))
                .ok_or(HeadError::TargetForm)?;
            let authority_start = start + scheme.len();
            let authority_end = bytes[authority_start..end]
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?'))
                .map_or(end, |length| authority_start + length);
            if authority_end == authority_start {
                return Err(HeadError::TargetForm);
            }
            head.authority = Span::new(authority_start, authority_end);
            authority_end
        }
    };
    match memchr::memchr(b'?', &bytes[path_start..end]) {
        Some(length) => {
            head.path = Span::new(path_start, path_start + length);
            head.query = Span::new(path_start + length + 1, end);
        }
        None => {
            head.path = Span::new(path_start, end);
            head.query = Span::new(end, end);
        }
    }
    Ok(())
}

/// Reads a response head.
pub fn response(bytes: &[u8], fields_max: usize, head: &mut ResponseHead) -> Parsed {
    // "HTTP/1.1 200" and the byte behind it.
    const STATUS_END: usize = 12;
    let known = bytes.len().min(5);
    if bytes[..known] != b"HTTP/"[..known] {
        return Err(HeadError::StatusLine);
    }
    if bytes.len() <= STATUS_END {
        return Ok(None);
    }
    head.version = version(&bytes[..8])?;
    let digits = &bytes[9..STATUS_END];
    if bytes[8] != b' ' || !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
        return Err(HeadError::StatusLine);
    }
    head.status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let line = match bytes[STATUS_END] {
        b' ' => STATUS_END + value_end(&bytes[STATUS_END..]),
        b'\r' => STATUS_END,
        _ => return Err(HeadError::StatusLine),
    };
    let fields_start = ready!(line_end(bytes, line));
    fields(bytes, fields_start, fields_max, |known, name, first, value| {
        head.headers.push_received(known, name, first, value);
    })
}

/// Reads the fields that may follow the last chunk.
pub fn trailers(
    bytes: &[u8],
    fields_max: usize,
    emit: impl FnMut(Known, (usize, usize), u8, (usize, usize)),
) -> Parsed {
    fields(bytes, 0, fields_max, emit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::buffer::Buffer;

    fn parse(text: &[u8]) -> Result<Option<(usize, RequestHead)>, HeadError> {
        let mut head = RequestHead::new();
        let parsed = request(text, 100, &mut head)?;
        let mut buffer = Buffer::with_capacity(text.len());
        buffer.extend(text);
        head.headers.set_received(buffer);
        Ok(parsed.map(|length| (length, head)))
    }

    fn refused(text: &[u8]) -> HeadError {
        match parse(text) {
            Err(error) => error,
            Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn a_head_is_found_wherever_the_bytes_are_cut() {
        let text = b"\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-Long:\t a value, with 12 things \r\nEmpty:\r\n\r\nbody";
        let whole = text.len() - 4;
        for cut in 0..whole {
            assert!(matches!(parse(&text[..cut]), Ok(None)), "cut at {cut}");
        }
        let (length, head) = parse(text).unwrap().unwrap();
        assert_eq!(length, whole);
        assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
        assert_eq!((head.path(), head.query()), (&b"/a/b"[..], &b"c=d"[..]));
        assert_eq!(head.headers.get("x-long"), Some("a value, with 12 things"));
        assert_eq!(head.headers.get("empty"), Some(""));
        assert_eq!(head.headers.first(Known::Host), Some(&b"x"[..]));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for (text, error) in [
            (&b"GET / HTTP/1.1\nHost: x\r\n\r\n"[..], HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost: x\n\r\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", HeadError::HeaderValue),
            (b"GET / HTTP/1.1\r\nA: b\x7fc\r\n\r\n", HeadError::HeaderValue),
            (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", HeadError::Folded),
            (b"GET / HTTP/1.1\r\n A: b\r\n\r\n", HeadError::Folded),
            (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", HeadError::HeaderName),
            (b"GET / HTTP/1.1\r\n: b\r\n\r\n", HeadError::HeaderName),
            (b"GET / HTTP/1.1\r\nA\r\n\r\n", HeadError::HeaderName),
            (b"GET / HTTP/1.1\r\nA\xc3: b\r\n\r\n", HeadError::HeaderName),
            (b"G(T / HTTP/1.1\r\n\r\n", HeadError::Method),
            (b" GET / HTTP/1.1\r\n\r\n", HeadError::Method),
            (b"GET  / HTTP/1.1\r\n\r\n", HeadError::TargetCharacter),
            (b"GET /\x01 HTTP/1.1\r\n\r\n", HeadError::TargetCharacter),
            (b"GET /a#b HTTP/1.1\r\n\r\n", HeadError::TargetCharacter),
            (b"GET a HTTP/1.1\r\n\r\n", HeadError::TargetForm),
            (b"GET http:// HTTP/1.1\r\n\r\n", HeadError::TargetForm),
            (b"GET ftp://x/ HTTP/1.1\r\n\r\n", HeadError::TargetForm),
            (b"GET /\r\n\r\n", HeadError::Version),
            (b"GET / HTTP/1.1 \r\n\r\n", HeadError::Version),
            (b"GET / http/1.1\r\n\r\n", HeadError::Version),
            (b"GET / HTTP/2.0\r\n\r\n", HeadError::VersionUnsupported),
            (b"GET / HTTP/1.2\r\n\r\n", HeadError::VersionUnsupported),
        ] {
            assert_eq!(refused(text), error, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn every_control_byte_in_a_value_is_found_at_every_offset() {
        for byte in (0..=255u8).filter(|byte| !matches!(byte, b'\r' | b'\n')) {
            for offset in 0..20 {
                let mut value = [b'v'; 20];
                value[offset] = byte;
                let allowed = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
                assert_eq!(value_end(&value) == 20, allowed, "byte {byte} at {offset}");
                if !allowed {
                    assert_eq!(value_end(&value), offset);
                }
            }
        }
    }

    #[test]
    fn targets_are_split() {
        let head = |text: &[u8]| parse(text).unwrap().unwrap().1;
        let absolute = head(b"GET HTTP://Host:80/p?q? HTTP/1.1\r\n\r\n");
        assert_eq!(absolute.host(), Some(&b"Host:80"[..]));
        assert_eq!((absolute.path(), absolute.query()), (&b"/p"[..], &b"q?"[..]));
        assert_eq!(head(b"GET http://h?q HTTP/1.1\r\n\r\n").path(), b"");
        assert_eq!(head(b"OPTIONS * HTTP/1.1\r\n\r\n").path(), b"*");
        assert_eq!(head(b"CONNECT h:1 HTTP/1.1\r\n\r\n").method, Method::Connect);
    }

    #[test]
    fn the_field_limit_is_exact() {
        let mut head = RequestHead::new();
        let text = b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n";
        assert!(matches!(request(text, 2, &mut head), Ok(Some(_))));
        assert_eq!(request(text, 1, &mut RequestHead::new()), Err(HeadError::TooManyFields));
    }

    #[test]
    fn responses_are_read_or_refused() {
        let read = |text: &[u8]| {
            let mut head = ResponseHead::new(0);
            response(text, 100, &mut head).map(|parsed| parsed.map(|length| (length, head.status)))
        };
        let text = b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(read(&text[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(read(text), Ok(Some((text.len(), 204))));
        assert_eq!(read(b"HTTP/1.0 200\r\n\r\n"), Ok(Some((16, 200))));
        assert_eq!(read(b"HTTP/1.1 2000 OK\r\n\r\n"), Err(HeadError::StatusLine));
        assert_eq!(read(b"HTTP/1.1 099 OK\r\n\r\n"), Err(HeadError::StatusLine));
        assert_eq!(read(b"SSH-2.0-x"), Err(HeadError::StatusLine));
        assert_eq!(read(b"HTTP/1.1 200 OK\nA: b\n\n"), Err(HeadError::LineEnd));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), Err(HeadError::Folded));
    }
}
