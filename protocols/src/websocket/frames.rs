//! Frames of RFC 6455 §5.2: how a header is read, and what a sender may send after what.

use engine::buffer::Buffer;
use plugins::websocket::Direction;

/// Which side a direction comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Backend,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Side::Client => Side::Backend,
            Side::Backend => Side::Client,
        }
    }

    /// Of what comes from here.
    pub fn direction(self) -> Direction {
        match self {
            Side::Client => Direction::ClientToBackend,
            Side::Backend => Direction::BackendToClient,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    #[error("frame with reserved bits or an unknown opcode")]
    Reserved,
    #[error("client frame without a mask, or masked backend frame")]
    Mask,
    #[error("control frame that is fragmented or longer than 125 bytes")]
    Control,
    #[error("fragment without a beginning, or beginning without an end")]
    Fragments,
    #[error("frame longer than {0} bytes")]
    FrameTooLong(u64),
    #[error("message longer than {0} bytes")]
    MessageTooLong(u64),
    #[error("frames behind a Close")]
    AfterClose,
    #[error("Close with half a code, or with one that no peer may send")]
    CloseCode,
    #[error("text that is not UTF-8")]
    Text,
}

impl Violation {
    /// What the sender is told (RFC 6455 §7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Violation::FrameTooLong(_) | Violation::MessageTooLong(_) => 1009,
            Violation::Text => 1007,
            _ => 1002,
        }
    }
}

/// A message may be this many times as long as a frame (traffic sheet §14.3).
const FRAMES_PER_MESSAGE: u64 = 4;
pub const HEADER_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: u64 = 125;

pub const FINAL: u8 = 0x80;
pub const MASKED: u8 = 0x80;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A header as it comes in, however it is cut.
#[derive(Default)]
pub struct HeaderReader {
    bytes: [u8; HEADER_BYTES_MAX],
    filled: usize,
}

/// A header that is there whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The final bit, the reserved bits and the opcode.
    pub first: u8,
    pub length: u64,
    pub key: Option<[u8; 4]>,
}

impl Header {
    pub fn is_final(&self) -> bool {
        self.first & FINAL != 0
    }

    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    pub fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }
}

impl HeaderReader {
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes what belongs to the header from the front of the bytes. Nothing when more of it is to come.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        loop {
            let wanted = self.size();
            let taken = (wanted - self.filled).min(bytes.len());
            let (here, behind) = bytes.split_at(taken);
            self.bytes[self.filled..self.filled + taken].copy_from_slice(here);
            self.filled += taken;
            *bytes = behind;
            if self.filled < wanted {
                return None;
            }
            if self.size() == wanted {
                self.filled = 0;
                return Some(self.header(wanted));
            }
        }
    }

    /// As far as is known: the second byte says.
    fn size(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let length = match self.bytes[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.is_masked() { 4 } else { 0 }
    }

    fn is_masked(&self) -> bool {
        self.bytes[1] & MASKED != 0
    }

    fn header(&self, size: usize) -> Header {
        let bytes = &self.bytes;
        let length = match bytes[1] & !MASKED {
            126 => u64::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            127 => bytes[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        let key = || [bytes[size - 4], bytes[size - 3], bytes[size - 2], bytes[size - 1]];
        Header { first: bytes[0], length, key: self.is_masked().then(key) }
    }
}

/// What one side may send, and what it has sent so far as far as that matters.
pub struct Rules {
    from: Side,
    frame_bytes_max: u64,
    /// Of the message whose fragments are coming.
    message_bytes: Option<u64>,
    is_closed: bool,
}

impl Rules {
    pub fn new(from: Side, frame_bytes_max: u64) -> Self {
        Self { from, frame_bytes_max, message_bytes: None, is_closed: false }
    }

    /// The sender has said that it is done.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether a frame with this header may come now.
    pub fn judge(&mut self, header: &Header) -> Result<(), Violation> {
        // No extension is ever agreed on.
        if header.first & 0x70 != 0 || !matches!(header.opcode(), 0..=2 | 8..=10) {
            return Err(Violation::Reserved);
        }
        if header.key.is_some() != (self.from == Side::Client) {
            return Err(Violation::Mask);
        }
        if !header.is_control() {
            return self.judge_data(header);
        }
        if !header.is_final() || header.length > CONTROL_BYTES_MAX {
            return Err(Violation::Control);
        }
        self.is_closed = header.opcode() == CLOSE;
        Ok(())
    }

    fn judge_data(&mut self, header: &Header) -> Result<(), Violation> {
        if header.length > self.frame_bytes_max {
            return Err(Violation::FrameTooLong(self.frame_bytes_max));
        }
        let before = match (header.opcode(), self.message_bytes) {
            (CONTINUATION, Some(before)) => before,
            (CONTINUATION, None) | (_, Some(_)) => return Err(Violation::Fragments),
            (_, None) => 0,
        };
        let message_bytes_max = self.frame_bytes_max.saturating_mul(FRAMES_PER_MESSAGE);
        let so_far = before.saturating_add(header.length);
        if so_far > message_bytes_max {
            return Err(Violation::MessageTooLong(message_bytes_max));
        }
        self.message_bytes = (!header.is_final()).then_some(so_far);
        Ok(())
    }
}

/// Lays a header out.
pub fn write_header(out: &mut Buffer, header: &Header) {
    let masked = if header.key.is_some() { MASKED } else { 0 };
    match header.length {
        length @ 0..=125 => out.extend(&[header.first, masked | length as u8]),
        length @ 126..=0xffff => {
            out.extend(&[header.first, masked | 126]);
            out.extend(&(length as u16).to_be_bytes());
        }
        length => {
            out.extend(&[header.first, masked | 127]);
            out.extend(&length.to_be_bytes());
        }
    }
    if let Some(key) = &header.key {
        out.extend(key);
    }
}

/// Puts the mask over a part of a payload that begins at this offset, or takes it off.
pub fn mask(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    let mut turned = key;
    turned.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(eight) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}

/// A Close frame for one side: masked if it goes to the backend. Without a code it says nothing about why.
pub fn close(to: Side, code: Option<u16>, reason: &str) -> Buffer {
    // A mask of zeros leaves the payload as it is; it hides nothing here, where the gateway says all of it.
    let key = (to == Side::Backend).then_some([0; 4]);
    let length = code.map_or(0, |_| 2 + reason.len() as u64);
    let mut frame = Buffer::with_capacity(HEADER_BYTES_MAX + CONTROL_BYTES_MAX as usize);
    write_header(&mut frame, &Header { first: FINAL | CLOSE, length, key });
    if let Some(code) = code {
        frame.extend(&code.to_be_bytes());
        frame.extend(reason.as_bytes());
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<(Header, usize)> {
        let mut rest = bytes;
        let header = HeaderReader::default().read(&mut rest)?;
        Some((header, bytes.len() - rest.len()))
    }

    #[test]
    fn a_header_is_read_as_it_was_written_however_it_is_cut() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, u64::MAX] {
            for key in [None, Some([1, 2, 3, 4])] {
                let header = Header { first: FINAL | BINARY, length, key };
                let mut out = Buffer::head();
                write_header(&mut out, &header);
                assert_eq!(read(&out), Some((header, out.len())));
                out.extend(b"payload");
                assert_eq!(read(&out), Some((header, out.len() - 7)), "what is behind it stays");
                let mut reader = HeaderReader::default();
                for (at, byte) in out[..out.len() - 8].iter().enumerate() {
                    assert_eq!(reader.read(&mut std::slice::from_ref(byte)), None, "{length} at {at}");
                }
                assert_eq!(reader.read(&mut &out[out.len() - 8..out.len() - 7]), Some(header));
                assert!(reader.is_empty());
            }
        }
    }

    #[test]
    fn a_mask_is_the_same_in_pieces_and_comes_off_again() {
        let (plain, key): (Vec<u8>, _) = ((0..100).collect(), [0x12, 0xff, 0x00, 0x9a]);
        let mut whole = plain.clone();
        mask(&mut whole, key, 0);
        assert!(whole.iter().zip(&plain).enumerate().all(|(at, (masked, plain))| *masked == plain ^ key[at % 4]));
        for cut in 0..plain.len() {
            let mut pieces = whole.clone();
            let (front, back) = pieces.split_at_mut(cut);
            mask(front, key, 0);
            mask(back, key, cut as u64);
            assert_eq!(pieces, plain, "cut at {cut}");
        }
    }

    #[test]
    fn a_close_says_why_only_with_a_code() {
        assert_eq!(*close(Side::Client, None, "not said"), [0x88, 0]);
        assert_eq!(*close(Side::Client, Some(1008), "no"), [0x88, 4, 0x03, 0xf0, b'n', b'o']);
        assert_eq!(*close(Side::Backend, Some(1002), ""), [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xea]);
    }
}
