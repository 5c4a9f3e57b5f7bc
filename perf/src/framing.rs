//! Where an HTTP/1.1 message ends in a stream of bytes: sans-IO, for messages framed by `Content-Length` only.
//!
//! The peers of the rig send nothing else; whatever else comes is [`Malformed`] and so counts as a failure.

use memchr::{memchr, memmem};

/// A head may take this many bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are no message this rig understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// What one call to [`Framing::feed`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Bytes that belong to the current message.
    pub used: usize,
    /// Whether the message ended with them.
    pub is_complete: bool,
}

/// The boundary finder of one direction of one connection.
#[derive(Debug, Default)]
pub struct Framing {
    body_remaining: u64,
    partial_head: Vec<u8>,
}

impl Framing {
    /// Takes the next bytes; `on_head` sees each complete head once, blank line included.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8], on_head: impl FnOnce(&[u8])) -> Result<Fed, Malformed> {
        if self.body_remaining > 0 {
            return Ok(self.take_body(bytes, 0));
        }
        if !self.partial_head.is_empty() {
            return self.feed_split_head(bytes, on_head);
        }
        let Some(head_end) = head_end(bytes, 0) else {
            self.keep_partial(bytes)?;
            return Ok(Fed { used: bytes.len(), is_complete: false });
        };
        self.body_remaining = body_length(&bytes[..head_end])?;
        on_head(&bytes[..head_end]);
        Ok(self.take_body(bytes, head_end))
    }

    /// Whether a message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.body_remaining > 0 || !self.partial_head.is_empty()
    }

    #[cold]
    fn feed_split_head(&mut self, bytes: &[u8], on_head: impl FnOnce(&[u8])) -> Result<Fed, Malformed> {
        let known = self.partial_head.len();
        self.keep_partial(bytes)?;
        // The blank line may have begun up to three bytes earlier.
        let Some(head_end) = head_end(&self.partial_head, known.saturating_sub(3)) else {
            return Ok(Fed { used: bytes.len(), is_complete: false });
        };
        let head = std::mem::take(&mut self.partial_head);
        self.body_remaining = body_length(&head[..head_end])?;
        on_head(&head[..head_end]);
        Ok(self.take_body(bytes, head_end - known))
    }

    fn keep_partial(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.partial_head.len() + bytes.len() > HEAD_BYTES_MAX {
            return Err(Malformed("head too long"));
        }
        self.partial_head.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn take_body(&mut self, bytes: &[u8], from: usize) -> Fed {
        let available = (bytes.len() - from) as u64;
        let taken = available.min(self.body_remaining);
        self.body_remaining -= taken;
        Fed { used: from + taken as usize, is_complete: self.body_remaining == 0 }
    }
}

/// The offset after the blank line, searched for from `from`.
#[inline]
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

/// The body's length by RFC 9112 section 6.3, as far as `Content-Length` and bodiless statuses go.
#[inline]
fn body_length(head: &[u8]) -> Result<u64, Malformed> {
    let Some(first_end) = memchr(b'\n', head) else { return Err(Malformed("no start line")) };
    let mut rest = &head[first_end + 1..];
    while let Some(line_end) = memchr(b'\n', rest) {
        let line = &rest[..line_end];
        rest = &rest[line_end + 1..];
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') if has_name(line, b"content-length:") => return decimal(&line[b"content-length:".len()..]),
            Some(b't') if has_name(line, b"transfer-encoding:") => return Err(Malformed("transfer-encoding")),
            _ => {}
        }
    }
    match status(head) {
        None => Ok(0),
        Some(100..=199 | 204 | 304) => Ok(0),
        Some(_) => Err(Malformed("response without content-length")),
    }
}

#[inline]
fn has_name(line: &[u8], name: &[u8]) -> bool {
    line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name)
}

fn decimal(value: &[u8]) -> Result<u64, Malformed> {
    std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).ok_or(Malformed("bad content-length"))
}

/// The status code, if the head is a response's.
#[inline]
pub fn status(head: &[u8]) -> Option<u16> {
    if !head.starts_with(b"HTTP/1.") || head.len() < 12 {
        return None;
    }
    std::str::from_utf8(&head[9..12]).ok()?.parse().ok()
}

/// Whether the head says that the connection ends with this message.
pub fn says_close(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n')
        .any(|line| has_name(line, b"connection:") && line[11..].trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-LENGTH: 5\r\n\r\nhello";

    #[test]
    fn a_response_ends_where_its_content_length_says() {
        let mut framing = Framing::default();
        let mut seen = 0;
        let fed = framing.feed(RESPONSE, |head| seen = status(head).unwrap()).unwrap();
        assert_eq!(fed, Fed { used: RESPONSE.len(), is_complete: true });
        assert_eq!(seen, 200);
        assert!(!framing.is_inside());
    }

    #[test]
    fn a_message_cut_anywhere_is_found_whole() {
        for cut in 1..RESPONSE.len() {
            let mut framing = Framing::default();
            let mut heads = 0;
            let first = framing.feed(&RESPONSE[..cut], |_| heads += 1).unwrap();
            assert_eq!(first, Fed { used: cut, is_complete: false }, "cut at {cut}");
            let second = framing.feed(&RESPONSE[cut..], |_| heads += 1).unwrap();
            assert_eq!(second, Fed { used: RESPONSE.len() - cut, is_complete: true }, "cut at {cut}");
            assert_eq!(heads, 1);
        }
    }

    #[test]
    fn bytes_of_the_next_message_are_left_over() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let two = [&request[..], &request[..]].concat();
        let fed = Framing::default().feed(&two, |_| ()).unwrap();
        assert_eq!(fed, Fed { used: request.len(), is_complete: true });
    }

    #[test]
    fn a_response_without_a_length_is_refused_unless_it_has_no_body() {
        assert!(Framing::default().feed(b"HTTP/1.1 200 OK\r\n\r\n", |_| ()).is_err());
        assert!(Framing::default().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", |_| ()).is_err());
        assert!(Framing::default().feed(b"HTTP/1.1 204 No Content\r\n\r\n", |_| ()).unwrap().is_complete);
    }

    #[test]
    fn a_head_past_the_limit_is_refused() {
        let mut framing = Framing::default();
        framing.feed(&vec![b'a'; HEAD_BYTES_MAX], |_| ()).unwrap();
        assert!(framing.feed(b"a", |_| ()).is_err());
    }

    #[test]
    fn a_closing_connection_says_so() {
        assert!(says_close(b"HTTP/1.1 200 OK\r\nconnection: Close\r\n\r\n"));
        assert!(!says_close(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"));
    }
}
