//! HTTP/2 spoken frame by frame: a client that can break every rule of RFC 9113 on purpose, and that holds whatever
//! the gateway sends against the same rules.
//!
//! [`Http2Client`] is the connection, [`Frame`] what goes over it as it stands on the wire, [`block`] a field section
//! in the plainest form HPACK has. Nothing here encodes cleverly: a test that is about HPACK writes the bytes itself.

mod client;
mod frame;
mod hpack;
mod huffman;

pub use client::{Http2Client, Outcome, PREFACE};
pub use frame::{ErrorCode, Frame, flag, kind, setting};
pub use hpack::{block, literal};
