//! WebSocket's opening handshake and frames (RFC 6455), as far as an echo of small messages needs them.

use std::ops::Range;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::framing::Malformed;

/// The key of the RFC's own example; nothing depends on its being random here.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A frame's payload may take this many bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_16_BITS: usize = 126;

/// The value of `Sec-WebSocket-Accept` for a key.
pub fn accept(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(KEY_SUFFIX.as_bytes());
    STANDARD.encode(hash.finish())
}

/// The value of a header in an HTTP/1.1 head.
pub fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    std::str::from_utf8(head).ok()?.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// One whole frame at the start of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    /// Where the payload is; the next frame begins where it ends.
    pub payload: Range<usize>,
}

impl Frame {
    /// The first frame, or nothing if it has not come in whole.
    pub fn find(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        if first & !0x0F != FINAL {
            return Err(Malformed("a fragment, or reserved bits"));
        }
        let (length, mut start) = match usize::from(second & !MASKED) {
            LENGTH_16_BITS => match bytes.get(2..4) {
                Some(length) => (usize::from(u16::from_be_bytes([length[0], length[1]])), 4),
                None => return Ok(None),
            },
            length if length > LENGTH_16_BITS => return Err(Malformed("a frame of more than 64 KiB")),
            length => (length, 2),
        };
        let mut mask = None;
        if second & MASKED != 0 {
            let Some(key) = bytes.get(start..start + 4) else { return Ok(None) };
            mask = key.try_into().ok();
            start += 4;
        }
        let payload = start..start + length;
        Ok((bytes.len() >= payload.end).then_some(Self { opcode: first & 0x0F, mask, payload }))
    }
}

/// Appends a frame. What clients send is masked (section 5.3), what servers send is not.
pub fn push_frame(out: &mut Vec<u8>, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) {
    debug_assert!(payload.len() < PAYLOAD_BYTES_MAX);
    out.push(FINAL | opcode);
    let mask_bit = if mask.is_some() { MASKED } else { 0 };
    if payload.len() < LENGTH_16_BITS {
        out.push(mask_bit | payload.len() as u8);
    } else {
        out.push(mask_bit | LENGTH_16_BITS as u8);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(mask.as_ref().map_or(&[][..], |mask| mask));
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask);
    }
}

/// Masks, or takes the mask off again.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_of_the_rfcs_key_is_the_rfcs() {
        assert_eq!(accept(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nsec-websocket-KEY:  k \r\n\r\n";
        assert_eq!(header(head, "Sec-WebSocket-Key"), Some("k"));
        assert_eq!(header(head, "Upgrade"), None);
    }

    #[test]
    fn the_rfcs_masked_hello_is_read_and_written() {
        let hello = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut written = Vec::new();
        push_frame(&mut written, BINARY, Some(mask), b"Hello");
        assert_eq!(written, hello);
        let frame = Frame::find(&hello).unwrap().unwrap();
        assert_eq!(frame, Frame { opcode: BINARY, mask: Some(mask), payload: 6..11 });
        apply_mask(&mut written[frame.payload], mask);
        assert_eq!(&written[6..], b"Hello");
    }

    #[test]
    fn a_frame_cut_anywhere_is_not_whole() {
        let mut frame = Vec::new();
        push_frame(&mut frame, BINARY, Some([1, 2, 3, 4]), &[7; 300]);
        for cut in 0..frame.len() {
            assert_eq!(Frame::find(&frame[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(Frame::find(&frame).unwrap().unwrap().payload, 8..308);
    }

    #[test]
    fn a_fragment_is_refused() {
        assert!(Frame::find(&[0x02, 0x00]).is_err());
        assert!(Frame::find(&[0x82, 127]).is_err());
    }
}
