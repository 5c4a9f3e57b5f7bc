//! gRPC's framing of messages, and what load generator and backend agree on.

/// A message is preceded by a flag (compressed or not) and its length.
pub const PREFIX_BYTES: usize = 5;
pub const CONTENT_TYPE: &str = "application/grpc";
pub const STATUS: &str = "grpc-status";

/// A message with its prefix, not compressed.
pub fn message(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("the rig's messages are small");
    let mut framed = Vec::with_capacity(PREFIX_BYTES + payload.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(payload);
    framed
}

/// What a client of the streaming method asks for: so many messages of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOrder {
    pub messages: u32,
    pub message_bytes: u32,
}

impl StreamOrder {
    /// The request, prefix included.
    pub fn encode(self) -> Vec<u8> {
        message(&[self.messages.to_be_bytes(), self.message_bytes.to_be_bytes()].concat())
    }

    pub fn decode(framed: &[u8]) -> Option<Self> {
        let payload: &[u8; 8] = framed.get(PREFIX_BYTES..)?.try_into().ok()?;
        let (messages, message_bytes) = payload.split_at(4);
        Some(Self {
            messages: u32::from_be_bytes(messages.try_into().ok()?),
            message_bytes: u32::from_be_bytes(message_bytes.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_length() {
        assert_eq!(message(b"abc"), b"\0\0\0\0\x03abc");
    }

    #[test]
    fn an_order_is_read_as_it_was_written_and_nothing_else_is_one() {
        let order = StreamOrder { messages: 1000, message_bytes: 1024 };
        assert_eq!(StreamOrder::decode(&order.encode()), Some(order));
        assert_eq!(StreamOrder::decode(&message(b"1234567")), None);
        assert_eq!(StreamOrder::decode(b""), None);
    }
}
