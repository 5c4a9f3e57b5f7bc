//! WebSocket frames byte by byte (RFC 6455 §5.2), for what no proper client or server would send.

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::backend::{Connection, Request};
use crate::client::RawClient;
use crate::python_peer::Peer;
use crate::wait::PATIENCE;
use crate::wire::{Fault, Response};

const FINAL: u8 = 0x80;

/// One frame; `first` holds the final bit, the reserved bits and the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    /// The key that the payload is masked with on the wire; it is in the clear here.
    pub mask: Option<[u8; 4]>,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { first: FINAL | kind, mask: None, payload: payload.into() }
    }

    pub fn text(text: &str) -> Self {
        Self::new(1, text)
    }

    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(2, payload)
    }

    pub fn continuation(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(0, payload)
    }

    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(8, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    pub fn ping(payload: &str) -> Self {
        Self::new(9, payload)
    }

    pub fn pong(payload: &str) -> Self {
        Self::new(10, payload)
    }

    /// More of the message follows.
    pub fn unfinished(mut self) -> Self {
        self.first &= !FINAL;
        self
    }

    pub fn with_bits(mut self, bits: u8) -> Self {
        self.first |= bits;
        self
    }

    pub fn masked(mut self) -> Self {
        self.mask = Some([0x12, 0x34, 0x56, 0x78]);
        self
    }

    pub fn kind(&self) -> u8 {
        self.first & 0x0f
    }

    /// The message's text, or what it is instead.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.first];
        let flag = if self.mask.is_some() { 0x80 } else { 0 };
        match self.payload.len() {
            length @ 0..=125 => out.push(flag | length as u8),
            length @ 126..=0xffff => {
                out.push(flag | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(flag | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let key = self.mask.unwrap_or_default();
        out.extend(self.mask.into_iter().flatten());
        out.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }
}

/// Frames out of a stream of bytes.
#[derive(Default)]
pub struct FrameReader {
    ahead: Vec<u8>,
}

impl FrameReader {
    /// The next frame; `more` gives bytes as they come and none at the end of the stream, which is the end here too.
    pub fn next(&mut self, mut more: impl FnMut() -> Vec<u8>) -> Option<Frame> {
        loop {
            if let Some(frame) = self.whole() {
                return Some(frame);
            }
            let bytes = more();
            if bytes.is_empty() {
                return None;
            }
            self.ahead.extend_from_slice(&bytes);
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        let (first, second) = (*self.ahead.first()?, *self.ahead.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(self.ahead.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(self.ahead.get(2..10)?.try_into().ok()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let mut mask: Option<[u8; 4]> = None;
        if second & 0x80 != 0 {
            mask = Some(self.ahead.get(at..at + 4)?.try_into().ok()?);
            at += 4;
        }
        let key = mask.unwrap_or_default();
        let payload = self.ahead.get(at..at + length)?;
        let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        self.ahead.drain(..at + length);
        Some(Frame { first, mask, payload })
    }
}

/// The answer to this `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn websocket_accept(key: &str) -> String {
    let proof = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, proof.as_bytes()))
}

/// The key that a client sends here: 16 bytes in base64.
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A session as its client writes and reads it.
pub struct RawWebSocket {
    pub client: RawClient,
    /// The head of the 101 answer.
    pub answer: Response,
    frames: FrameReader,
}

impl RawWebSocket {
    /// Opens a session with a proper request, which has these lines as well.
    #[track_caller]
    pub fn open(port: u16, path: &str, lines: &str) -> Self {
        let mut client = RawClient::connect(port);
        client.send(Self::request(path, lines));
        let answer = client.interim();
        assert_eq!(answer.status, 101, "{answer:?}");
        Self { client, answer, frames: FrameReader::default() }
    }

    pub fn request(path: &str, lines: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\n{lines}\r\n"
        )
    }

    /// Sends it masked, as a client has to.
    pub fn send(&mut self, frame: Frame) {
        self.client.send(frame.masked().bytes());
    }

    /// The next frame; `None` at the end of the connection.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Frame> {
        self.try_frame(PATIENCE).unwrap_or_else(|fault| panic!("neither a frame nor the end came: {fault:?}"))
    }

    /// The same; a fault when nothing comes for this long.
    pub fn try_frame(&mut self, patience: Duration) -> Result<Option<Frame>, Fault> {
        let Self { client, frames, .. } = self;
        client.set_patience(patience);
        let mut timed_out = false;
        let frame = frames.next(|| {
            let bytes = client.read_some();
            timed_out = bytes == Err(Fault::TimedOut);
            bytes.unwrap_or_default()
        });
        if timed_out { Err(Fault::TimedOut) } else { Ok(frame) }
    }
}

/// A session as a scripted backend writes and reads it.
pub struct BackendWebSocket<'c> {
    pub connection: &'c mut Connection,
    pub request: Request,
    frames: FrameReader,
}

impl<'c> BackendWebSocket<'c> {
    /// Agrees to the upgrade that was asked for, with these lines as well.
    pub fn accept(connection: &'c mut Connection, lines: &str) -> Option<Self> {
        let request = connection.read_head()?;
        let accept = websocket_accept(request.header("sec-websocket-key")?);
        connection.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        ));
        Some(Self { connection, request, frames: FrameReader::default() })
    }

    pub fn send(&mut self, frame: &Frame) -> bool {
        self.connection.send(frame.bytes())
    }

    /// The next frame; `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let Self { connection, frames, .. } = self;
        frames.next(|| connection.read_some())
    }
}

/// A session over HTTP/2 (RFC 8441): a stream whose data are frames.
pub struct Http2WebSocket {
    pub client: Peer,
    pub stream: u64,
    /// The fields of the answer, in pairs.
    pub head: Value,
    frames: FrameReader,
}

impl Http2WebSocket {
    /// What `h2_client.py` is told to begin a session with.
    pub fn request(path: &str, headers: &[(&str, &str)]) -> Value {
        let pseudo = json!({":method": "CONNECT", ":protocol": "websocket", ":path": path});
        json!({"do": "open", "pseudo": pseudo, "headers": headers})
    }

    #[track_caller]
    pub fn open(mut client: Peer, path: &str, headers: &[(&str, &str)]) -> Self {
        let answer = client.ask(Self::request(path, headers));
        let pairs = answer["headers"].as_array().into_iter().flatten();
        let status: Vec<&Value> = pairs.filter(|pair| pair[0] == ":status").map(|pair| &pair[1]).collect();
        assert_eq!(status, ["200"], "{answer}");
        let stream = answer["stream"].as_u64().expect("a stream");
        Self { client, stream, head: answer["headers"].clone(), frames: FrameReader::default() }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let data: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.client.ask(json!({"do": "send", "stream": self.stream, "data": data}));
    }

    pub fn send(&mut self, frame: Frame) {
        self.send_bytes(&frame.masked().bytes());
    }

    /// The next frame; `None` at the end of the stream.
    pub fn frame(&mut self) -> Option<Frame> {
        let Self { client, stream, frames, .. } = self;
        frames.next(|| {
            let answer = client.ask(json!({"do": "receive", "stream": *stream}));
            let data = answer["data"].as_str().unwrap_or_default();
            (0..data.len() / 2).map(|at| u8::from_str_radix(&data[2 * at..2 * at + 2], 16).unwrap()).collect()
        })
    }
}
