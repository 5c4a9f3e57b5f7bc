//! Messages on their way to one side, as frames: one each, masked towards the backend with a key of its own.

use engine::buffer::Buffer;
use plugins::websocket::{Delivered, Message};

use super::frames::{BINARY, CLOSE, FINAL, HEADER_BYTES_MAX, Header, PING, PONG, Side, TEXT, mask, write_header};

/// Payloads up to this size are copied behind what is gathered, so that many small messages are one send.
const COPY_BYTES_MAX: usize = 8 * 1024;

pub struct Encoder {
    to: Side,
    /// Whole frames, and at their end perhaps the header of one whose payload is sent behind them.
    gathered: Buffer,
    /// What of it are messages, with the payload that is sent behind them.
    messages: Delivered,
}

impl Encoder {
    pub fn new(to: Side) -> Self {
        Self { to, gathered: Buffer::none(), messages: Delivered::default() }
    }

    pub fn gathered_bytes(&self) -> usize {
        self.gathered.len()
    }

    /// Lays a message out behind what is gathered. A long payload is handed back, to be sent behind all of that.
    pub fn push(&mut self, message: Message) -> Option<Buffer> {
        let (opcode, mut payload) = match message {
            Message::Text(text) => (TEXT, text.into_bytes()),
            Message::Binary(bytes) => (BINARY, bytes),
            Message::Ping(bytes) => (PING, bytes),
            Message::Pong(bytes) => (PONG, bytes),
            Message::Close(close) => {
                let payload = close.map(|close| [&close.code.to_be_bytes(), close.reason.as_bytes()].concat());
                (CLOSE, payload.unwrap_or_default())
            }
        };
        // A key that nobody can foresee (RFC 6455 §5.3).
        let key = (self.to == Side::Backend).then(rand::random::<[u8; 4]>);
        if !self.gathered.has_memory() {
            self.gathered = Buffer::with_capacity(HEADER_BYTES_MAX + payload.len().min(COPY_BYTES_MAX));
        }
        let before = self.gathered.len();
        write_header(&mut self.gathered, &Header { first: FINAL | opcode, length: payload.len() as u64, key });
        self.messages.frames += 1;
        self.messages.bytes += (self.gathered.len() - before + payload.len()) as u64;
        if let Some(key) = key {
            mask(&mut payload, key, 0);
        }
        if payload.len() > COPY_BYTES_MAX {
            return Some(payload.into());
        }
        self.gathered.extend(&payload);
        None
    }

    /// A frame of the gateway's own.
    pub fn push_frame(&mut self, frame: &Buffer) {
        if !self.gathered.has_memory() {
            self.gathered = Buffer::with_capacity(frame.len());
        }
        self.gathered.extend(frame);
    }

    /// What is gathered, and what of it are messages.
    pub fn take(&mut self) -> (Buffer, Delivered) {
        (std::mem::take(&mut self.gathered), std::mem::take(&mut self.messages))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use plugins::websocket::Close;

    use super::*;
    use crate::websocket::frames::{HeaderReader, close};
    use crate::websocket::messages::Assembler;

    fn encoded(encoder: &mut Encoder, messages: &[Message]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            if let Some(long) = encoder.push(message.clone()) {
                out.extend_from_slice(&encoder.take().0);
                out.extend_from_slice(&long);
            }
        }
        out.extend_from_slice(&encoder.take().0);
        out
    }

    #[test]
    fn messages_of_every_kind_and_length_are_read_as_what_they_were() {
        let mut messages = vec![
            Message::Text("ünïcødé".into()),
            Message::Ping(Vec::new()),
            Message::Pong(vec![1; 125]),
            Message::Close(Some(Close::new(4000, "because"))),
        ];
        for length in [0, 1, 125, 126, 8 * 1024, 8 * 1024 + 1, 65_535, 65_536, 200_000] {
            messages.insert(1, Message::Binary((0..length).map(|at| at as u8).collect()));
        }
        for to in [Side::Client, Side::Backend] {
            let bytes = encoded(&mut Encoder::new(to), &messages);
            let (mut assembler, mut rest) = (Assembler::new(to.other(), u64::MAX), &bytes[..]);
            for message in &messages {
                assert!(assembler.read(&mut rest) == Ok(Some(message.clone())), "{} bytes", message.payload_bytes());
            }
            assert!(rest.is_empty() && assembler.is_closed());
        }
    }

    #[test]
    fn every_frame_to_the_backend_has_another_key() {
        let mut encoder = Encoder::new(Side::Backend);
        let mut keys = HashSet::new();
        for _ in 0..1_000 {
            let bytes = encoded(&mut encoder, &[Message::Ping(Vec::new())]);
            keys.insert(HeaderReader::default().read(&mut &bytes[..]).and_then(|header| header.key).expect("a key"));
        }
        assert!(keys.len() > 990, "of 1000 random numbers of four bytes few are alike: {}", keys.len());
        assert!(!keys.contains(&[0; 4]));
    }

    #[test]
    fn small_messages_are_gathered_and_counted_and_a_long_one_is_not_copied() {
        let mut encoder = Encoder::new(Side::Client);
        for _ in 0..3 {
            assert!(encoder.push(Message::Text("small".into())).is_none());
        }
        assert_eq!(encoder.gathered_bytes(), 3 * 7);
        let payload = vec![5; COPY_BYTES_MAX + 1];
        let address = payload.as_ptr();
        let long = encoder.push(Message::Binary(payload)).expect("a long one");
        assert_eq!((long.as_ptr(), long.len()), (address, COPY_BYTES_MAX + 1));
        encoder.push_frame(&close(Side::Client, None, ""));
        let (gathered, messages) = encoder.take();
        let bytes = 3 * 7 + 4 + COPY_BYTES_MAX as u64 + 1;
        assert_eq!((gathered.len(), messages), (3 * 7 + 4 + 2, Delivered { frames: 4, bytes }));
        assert_eq!((encoder.gathered_bytes(), encoder.take().1), (0, Delivered::default()));
    }
}
