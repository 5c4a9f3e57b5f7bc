//! A body as it is sent and received, whatever carries it.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use super::http1::{Left, Sink, Source};
use super::pattern;
use crate::wire::{Fault, Headers};

/// A body that is received.
pub enum Inlet<'a> {
    Http1 { source: &'a mut Source, left: Left, trailers: Headers },
    Http2(RecvStream),
}

/// A body that is sent.
pub enum Outlet<'a> {
    /// None is due.
    Nothing,
    Http1 {
        sink: &'a mut Sink,
        chunked: bool,
    },
    Http2(SendStream<Bytes>),
}

/// A body that was received, up to where it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub bytes: u64,
    /// Whether all of it is as the [`pattern`] has it.
    pub intact: bool,
    pub trailers: Headers,
    pub end: Result<(), Fault>,
}

impl Inlet<'_> {
    /// The next bytes; `None` at the end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Http1 { source, left, trailers } => source.piece(left, trailers).await,
            Self::Http2(stream) => {
                let Some(piece) = stream.data().await else { return Ok(None) };
                let piece = piece.map_err(|error| fault_of(&error))?;
                stream.flow_control().release_capacity(piece.len()).map_err(|error| fault_of(&error))?;
                Ok(Some(piece))
            }
        }
    }

    async fn trailers(&mut self) -> Result<Headers, Fault> {
        match self {
            Self::Http1 { trailers, .. } => Ok(std::mem::take(trailers)),
            Self::Http2(stream) => {
                let trailers = stream.trailers().await.map_err(|error| fault_of(&error))?;
                Ok(trailers.as_ref().map(fields_of).unwrap_or_default())
            }
        }
    }

    /// Reads on to the end of a body of which `bytes` were read before.
    pub async fn rest(&mut self, mut bytes: u64) -> Received {
        let mut intact = true;
        let end = loop {
            match self.piece().await {
                Ok(Some(piece)) => {
                    intact &= pattern::goes_on(bytes, &piece);
                    bytes += piece.len() as u64;
                }
                Ok(None) => break self.trailers().await,
                Err(fault) => break Err(fault),
            }
        };
        let trailers = end.clone().unwrap_or_default();
        Received { bytes, intact, trailers, end: end.map(drop) }
    }

    pub async fn all(&mut self) -> Received {
        self.rest(0).await
    }
}

impl Outlet<'_> {
    pub async fn send(&mut self, mut piece: Bytes) -> Result<(), Fault> {
        match self {
            Self::Nothing => panic!("no body is due"),
            Self::Http1 { sink, chunked: false } => sink.write(&[&piece]).await,
            Self::Http1 { sink, chunked: true } => {
                sink.write(&[format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"]).await
            }
            Self::Http2(stream) => {
                while !piece.is_empty() {
                    stream.reserve_capacity(piece.len());
                    let room = poll_fn(|cx| stream.poll_capacity(cx)).await.ok_or(Fault::Reset)?;
                    let room = room.map_err(|error| fault_of(&error))?;
                    let now = piece.split_to(room.min(piece.len()));
                    stream.send_data(now, false).map_err(|error| fault_of(&error))?;
                }
                Ok(())
            }
        }
    }

    /// The bytes `from..to` of the pattern; `sent` is told of each piece.
    pub async fn send_pattern(&mut self, from: u64, to: u64, mut sent: impl FnMut(u64)) -> Result<(), Fault> {
        let mut at = from;
        while at < to {
            let piece = pattern::piece(at, to - at);
            let length = piece.len() as u64;
            self.send(piece).await?;
            at += length;
            sent(length);
        }
        Ok(())
    }

    pub async fn finish(&mut self, trailers: Option<&Headers>) -> Result<(), Fault> {
        match self {
            Self::Nothing | Self::Http1 { chunked: false, .. } => Ok(()),
            Self::Http1 { sink, chunked: true } => sink.head("0", &trailers.cloned().unwrap_or_default()).await,
            Self::Http2(stream) => match trailers {
                Some(trailers) => stream.send_trailers(map_of(trailers)),
                None => stream.send_data(Bytes::new(), true),
            }
            .map_err(|error| fault_of(&error)),
        }
    }

    /// Breaks off an HTTP/2 stream. An HTTP/1.1 connection is broken off by whoever owns it.
    pub fn reset(&mut self) {
        if let Self::Http2(stream) = self {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Returns when the other side wants no more of an HTTP/2 stream.
    pub(super) async fn refused(&mut self) -> Fault {
        match self {
            Self::Http2(stream) => {
                poll_fn(|cx| stream.poll_reset(cx)).await.map_or_else(|error| fault_of(&error), |_| Fault::Reset)
            }
            _ => std::future::pending().await,
        }
    }
}

pub(super) fn fault_of(error: &h2::Error) -> Fault {
    match error.reason() {
        Some(Reason::PROTOCOL_ERROR | Reason::COMPRESSION_ERROR | Reason::FRAME_SIZE_ERROR) if !error.is_remote() => {
            Fault::Malformed(error.to_string())
        }
        _ => Fault::Reset,
    }
}

pub(super) fn fields_of(map: &HeaderMap) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in map {
        headers.push(name.to_string(), crate::wire::latin1(value.as_bytes()));
    }
    headers
}

pub(super) fn map_of(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let name: http::HeaderName = name.parse().expect("a field name");
        map.append(name, value.parse().expect("a field value"));
    }
    map
}
