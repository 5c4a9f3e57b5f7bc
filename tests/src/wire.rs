//! HTTP/1.1 read strictly: what RFC 9112 calls a message and nothing more lenient. Used on both sides of the gateway,
//! so that whatever it sends to a client or to a backend is checked byte by byte.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Why a message could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The peer closed where a message may end: no byte of the next one had arrived.
    Closed,
    /// The peer closed inside a message.
    Cut,
    Reset,
    TimedOut,
    Malformed(String),
}

/// Header fields in the order and spelling they came in. Values are Latin-1 text, so no byte is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every value of the name, one for each line.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Names as spelled on the wire, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(n, _)| n.as_str()).collect()
    }

    /// Whether the comma list of `name` holds `token`, in any case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(fields: T) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A response as it stood on the wire; `body` is empty until it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub headers: Headers,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// Statuses of the 1xx responses that came before.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// Whether the sender announced that it closes the connection after this response.
    pub fn says_close(&self) -> bool {
        self.headers.lists("connection", "close")
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(300)];
        write!(f, "{} {} {:?} {:?}", self.version, self.status, self.headers.0, self.framing)?;
        write!(f, " interim {:?} body ({} B) {:?}", self.interim, self.body.len(), latin1(shown))
    }
}

/// A message's first line, its fields, and all of it as it stood on the wire.
pub(crate) struct Head {
    pub start: String,
    pub headers: Headers,
    pub raw: Vec<u8>,
}

/// A connection with the bytes that were read ahead of their use.
pub(crate) struct Wire {
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, timeout: Duration) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(timeout)).expect("a read timeout");
        stream.set_write_timeout(Some(timeout)).expect("a write timeout");
        Self { stream, ahead: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for bytes if none were read ahead. `Ok(false)` is the end of the stream.
    fn wait_for_bytes(&mut self) -> Result<bool, Fault> {
        if !self.ahead.is_empty() {
            return Ok(true);
        }
        self.read_more()
    }

    fn read_more(&mut self) -> Result<bool, Fault> {
        let mut space = [0; 65536];
        loop {
            match self.stream.read(&mut space) {
                Ok(count) => {
                    self.ahead.extend_from_slice(&space[..count]);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault_of(&error)),
            }
        }
    }

    /// Everything up to the end of the stream.
    pub(crate) fn read_to_end(&mut self) -> Result<Vec<u8>, Fault> {
        while self.read_more()? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Whatever comes next, at least one byte; empty at the end of the stream.
    pub(crate) fn read_some(&mut self) -> Result<Vec<u8>, Fault> {
        self.wait_for_bytes()?;
        Ok(std::mem::take(&mut self.ahead))
    }

    fn line(&mut self) -> Result<Vec<u8>, Fault> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.ahead[searched..].iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..searched + at + 1).collect();
                let Some(text) = line.strip_suffix(b"\r\n") else {
                    return Err(malformed("a line that ends in a bare LF", &line));
                };
                if text.iter().any(|&b| b == b'\r' || b == 0) {
                    return Err(malformed("a bare CR or a NUL inside a line", &line));
                }
                return Ok(text.to_vec());
            }
            searched = self.ahead.len();
            if !self.read_more()? {
                return Err(if self.ahead.is_empty() { Fault::Closed } else { Fault::Cut });
            }
        }
    }

    fn fields(&mut self, raw: &mut Vec<u8>) -> Result<Headers, Fault> {
        let mut headers = Headers::default();
        loop {
            let line = self.line().map_err(inside)?;
            raw.extend_from_slice(&line);
            raw.extend_from_slice(b"\r\n");
            if line.is_empty() {
                return Ok(headers);
            }
            headers.0.push(field(&line)?);
        }
    }

    pub(crate) fn head(&mut self) -> Result<Head, Fault> {
        let start = self.line()?;
        let mut raw = start.clone();
        raw.extend_from_slice(b"\r\n");
        let headers = self.fields(&mut raw)?;
        Ok(Head { start: latin1(&start), headers, raw })
    }

    /// One chunk of a chunked body; empty is the last one, after which [`Wire::trailers`] come.
    pub(crate) fn chunk(&mut self) -> Result<Vec<u8>, Fault> {
        let line = self.line().map_err(inside)?;
        let digits = line.split(|&b| b == b';').next().unwrap_or_default();
        if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed("a chunk size", &line));
        }
        let size = u64::from_str_radix(&latin1(digits), 16).map_err(|_| malformed("a chunk size", &line))?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut data = Vec::new();
        self.exactly(size, &mut |bytes| data.extend_from_slice(bytes))?;
        match self.line().map_err(inside)?.as_slice() {
            b"" => Ok(data),
            rest => Err(malformed("a chunk longer than its size", rest)),
        }
    }

    pub(crate) fn trailers(&mut self) -> Result<Headers, Fault> {
        self.fields(&mut Vec::new())
    }

    fn exactly(&mut self, mut count: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        while count > 0 {
            if !self.wait_for_bytes().map_err(inside)? {
                return Err(Fault::Cut);
            }
            let take = self.ahead.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            sink(&self.ahead[..take]);
            self.ahead.drain(..take);
            count -= take as u64;
        }
        Ok(())
    }

    /// Reads a body to its end, handing over each piece as it comes, and gives its trailers.
    pub(crate) fn body(&mut self, framing: Framing, sink: &mut dyn FnMut(&[u8])) -> Result<Headers, Fault> {
        match framing {
            Framing::None => Ok(Headers::default()),
            Framing::Length(length) => self.exactly(length, sink).map(|()| Headers::default()),
            Framing::Chunked => loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    return self.trailers();
                }
                sink(&chunk);
            },
            Framing::UntilClose => loop {
                let piece = self.read_some().map_err(inside)?;
                if piece.is_empty() {
                    return Ok(Headers::default());
                }
                sink(&piece);
            },
        }
    }
}

/// What a body's headers say about its length; a message that says two things is malformed.
pub(crate) fn framing_of(headers: &Headers, unframed: Framing) -> Result<Framing, Fault> {
    let lengths = headers.all("content-length");
    let codings = headers.all("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(unframed),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| Fault::Malformed(format!("Content-Length: {length}")))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        _ => Err(Fault::Malformed(format!("framed by Content-Length {lengths:?} and Transfer-Encoding {codings:?}"))),
    }
}

pub(crate) fn field(line: &[u8]) -> Result<(String, String), Fault> {
    let colon = line.iter().position(|&b| b == b':').ok_or_else(|| malformed("a field without a colon", line))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token_byte) {
        return Err(malformed("a field name", line));
    }
    if value.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(malformed("a control character in a field value", line));
    }
    Ok((latin1(name), latin1(value).trim_matches([' ', '\t']).to_owned()))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(crate) fn malformed(what: &str, line: &[u8]) -> Fault {
    Fault::Malformed(format!("{what}: {:?}", latin1(&line[..line.len().min(200)])))
}

/// A close inside a message cuts it.
pub(crate) fn inside(fault: Fault) -> Fault {
    if fault == Fault::Closed { Fault::Cut } else { fault }
}

pub(crate) fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::TimedOut,
        _ => Fault::Reset,
    }
}

pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}
