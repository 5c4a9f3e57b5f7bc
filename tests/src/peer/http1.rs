//! HTTP/1.1 over any stream, read as strictly as [`crate::wire`] does.

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

use crate::wire::{Fault, Framing, Headers, fault_of, field, inside, latin1, malformed};

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) type Io = Box<dyn Stream>;

pub(super) fn split(io: Io) -> (Source, Sink) {
    let (read, write) = tokio::io::split(io);
    (Source { io: BufReader::with_capacity(65_536, read) }, Sink { io: write })
}

/// The side of a connection that is read.
pub struct Source {
    io: BufReader<ReadHalf<Io>>,
}

/// The side that is written.
pub struct Sink {
    io: WriteHalf<Io>,
}

/// What of a body is to come.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    Length(u64),
    Chunk(u64),
    UntilClose,
    Nothing,
}

impl From<Framing> for Left {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Nothing,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunk(0),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl Source {
    async fn line(&mut self) -> Result<Vec<u8>, Fault> {
        let mut line = Vec::new();
        self.io.read_until(b'\n', &mut line).await.map_err(|error| fault_of(&error))?;
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(text.to_vec()),
            None if line.is_empty() => Err(Fault::Closed),
            None if line.ends_with(b"\n") => Err(malformed("a line that ends in a bare LF", &line)),
            None => Err(Fault::Cut),
        }
    }

    async fn fields(&mut self) -> Result<Headers, Fault> {
        let mut headers = Headers::default();
        loop {
            let line = self.line().await.map_err(inside)?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = field(&line)?;
            headers.push(name, value);
        }
    }

    pub(super) async fn head(&mut self) -> Result<(String, Headers), Fault> {
        let start = self.line().await?;
        Ok((latin1(&start), self.fields().await?))
    }

    /// The next bytes of a body; `None` at its end, when the trailers were read into `trailers`.
    pub(super) async fn piece(&mut self, left: &mut Left, trailers: &mut Headers) -> Result<Option<Bytes>, Fault> {
        if *left == Left::Chunk(0) {
            let line = self.line().await.map_err(inside)?;
            let size = u64::from_str_radix(&latin1(&line), 16).map_err(|_| malformed("a chunk size", &line))?;
            if size == 0 {
                *trailers = self.fields().await?;
                *left = Left::Nothing;
                return Ok(None);
            }
            *left = Left::Chunk(size);
        }
        let most = match left {
            Left::Nothing | Left::Length(0) => return Ok(None),
            Left::Length(length) | Left::Chunk(length) => *length,
            Left::UntilClose => u64::MAX,
        };
        let ahead = self.io.fill_buf().await.map_err(|error| fault_of(&error))?;
        if ahead.is_empty() {
            return if *left == Left::UntilClose { Ok(None) } else { Err(Fault::Cut) };
        }
        let count = ahead.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let bytes = Bytes::copy_from_slice(&ahead[..count]);
        self.io.consume(count);
        if let Left::Length(length) | Left::Chunk(length) = left {
            *length -= count as u64;
        }
        if *left == Left::Chunk(0) {
            match self.line().await.map_err(inside)?.as_slice() {
                b"" => {}
                rest => return Err(malformed("a chunk longer than its size", rest)),
            }
        }
        Ok(Some(bytes))
    }

    /// Returns when the other side has closed or says anything.
    pub(super) async fn gone(&mut self) -> Fault {
        match self.io.fill_buf().await {
            Ok([]) => Fault::Closed,
            Ok(bytes) => malformed("bytes where nothing was due", bytes),
            Err(error) => fault_of(&error),
        }
    }
}

impl Sink {
    pub(super) async fn write(&mut self, parts: &[&[u8]]) -> Result<(), Fault> {
        for part in parts {
            self.io.write_all(part).await.map_err(|error| fault_of(&error))?;
        }
        self.io.flush().await.map_err(|error| fault_of(&error))
    }

    pub(super) async fn head(&mut self, start: &str, fields: &Headers) -> Result<(), Fault> {
        let mut text = format!("{start}\r\n");
        fields.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        self.write(&[text.as_bytes(), b"\r\n"]).await
    }

    pub(super) async fn close(&mut self) {
        // Fails only when the other side was faster.
        drop(self.io.shutdown().await);
    }
}
