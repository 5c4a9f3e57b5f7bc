//! WebSocket sessions as plugins see them (plugins sheet §1.12, plugin API sheet §8.4).

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use engine::counters::ErrorClass;
use futures_util::future::LocalBoxFuture;

use crate::RequestContext;

/// Which way something goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    ClientToBackend,
    BackendToClient,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::ClientToBackend => "client_to_backend",
            Direction::BackendToClient => "backend_to_client",
        }
    }
}

/// Whether it was receiving or sending that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoSide {
    Read,
    Write,
}

impl IoSide {
    pub fn name(self) -> &'static str {
        match self {
            IoSide::Read => "read",
            IoSide::Write => "write",
        }
    }
}

/// A message, whole: its fragments are put together, and its mask is off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Plugins see none; one that answers with it ends the session.
    Close(Option<Close>),
}

/// Why a session ends, in the words of its Close.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

impl Close {
    /// What a Close has room for behind its code (RFC 6455 §5.5).
    pub const REASON_BYTES_MAX: usize = 123;

    /// A longer reason is cut where a character ends.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(Self::REASON_BYTES_MAX));
        Self { code, reason }
    }

    /// Whether a Close may have this code (RFC 6455 §7.4, and what is registered with IANA since).
    pub fn is_code(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl Message {
    /// Bytes that a frame needs for it behind its header.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
            Message::Close(None) => 0,
            Message::Close(Some(close)) => 2 + close.reason.len(),
        }
    }
}

/// What a plugin says about a message. One that does not wait does not allocate.
pub enum MessageFlow<'a> {
    Pass,
    /// This one goes on instead. Text and binary may take each other's place, and else a message keeps its kind; a Close ends
    /// the session, and both sides hear it.
    Replace(Message),
    Wait(LocalBoxFuture<'a, MessageFlow<'static>>),
}

impl MessageFlow<'_> {
    /// Ends the session.
    pub fn close(code: u16, reason: &str) -> Self {
        MessageFlow::Replace(Message::Close(Some(Close::new(code, reason))))
    }
}

/// What is the same for all messages of a session.
pub struct WebSocketSession<'s> {
    /// No other session of this process has it; later ones have larger ones.
    pub connection_id: u64,
    /// The request that began it, with all that plugins found out about it.
    pub upgrade: &'s RequestContext,
    /// The log has been told that a replacement was none: once is enough.
    pub(crate) has_warned: Cell<bool>,
}

impl<'s> WebSocketSession<'s> {
    pub fn new(connection_id: u64, upgrade: &'s RequestContext) -> Self {
        Self { connection_id, upgrade, has_warned: Cell::new(false) }
    }
}

/// How a session ended. Namespace, proxy, client, identity and metadata are those of the request that began it.
pub struct WebSocketEnd<'s> {
    pub session: &'s WebSocketSession<'s>,
    /// `scheme://host:port/path`, without the query.
    pub backend_target: &'s str,
    /// As it is configured for the listener that the client came to.
    pub listen_port: u16,
    /// When the upgrade was accepted.
    pub began: SystemTime,
    pub duration: Duration,
    pub client_to_backend: Delivered,
    pub backend_to_client: Delivered,
    /// The half that failed first; none when the session was closed in order.
    pub direction: Option<Direction>,
    pub io_side: Option<IoSide>,
    pub error_class: Option<ErrorClass>,
}

/// What went on in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delivered {
    /// A message that was put together counts once. None are counted where nobody looks at frames.
    pub frames: u64,
    /// With the headers of the frames.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_123_bytes_stays_and_a_longer_one_is_cut_where_a_character_ends() {
        assert_eq!(Close::new(1008, "x".repeat(123)).reason.len(), 123);
        assert_eq!(Close::new(1008, "x".repeat(124)).reason.len(), 123);
        let cut = Close::new(1008, format!("{}é", "x".repeat(122)));
        assert_eq!(cut.reason, "x".repeat(122));
        assert_eq!(Message::Close(Some(Close::new(1008, "x".repeat(200)))).payload_bytes(), 125);
    }

    #[test]
    fn codes_that_stand_for_no_close_are_not_sent() {
        let codes: Vec<u16> = (0..=u16::MAX).filter(|code| Close::is_code(*code)).collect();
        assert_eq!(codes[..12], [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
        assert_eq!((codes[12], codes.last()), (3000, Some(&4999)));
        assert_eq!(codes.len(), 12 + 2000);
    }
}
