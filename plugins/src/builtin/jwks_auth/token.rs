//! A token in its compact form (RFC 7515 §7.1), not verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A longer one is refused unread. The largest that providers issue, with hundreds of groups, have a half of this.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A signature of the longest key that is supported, 8192 bits, and what the decoder wants beyond it.
const SIGNATURE_BYTES_MAX: usize = 1024 + 8;

pub(super) struct Token<'t> {
    /// Header and payload as they were signed.
    pub signed: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

/// A decoded signature.
pub(super) struct Signature {
    bytes: [u8; SIGNATURE_BYTES_MAX],
    length: usize,
}

impl Signature {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<'t> Token<'t> {
    /// None unless it has three parts and is not too long.
    pub fn split(text: &'t str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { signed, header, payload, signature })
    }

    /// Decodes the header into `into`.
    pub fn header<'i>(&self, into: &'i mut Vec<u8>) -> Option<&'i [u8]> {
        decode(self.header, into)
    }

    /// Decodes the payload into `into`.
    pub fn payload<'i>(&self, into: &'i mut Vec<u8>) -> Option<&'i [u8]> {
        decode(self.payload, into)
    }

    pub fn signature(&self) -> Option<Signature> {
        let mut bytes = [0; SIGNATURE_BYTES_MAX];
        let length = URL_SAFE_NO_PAD.decode_slice(self.signature, &mut bytes).ok()?;
        Some(Signature { bytes, length })
    }
}

fn decode<'i>(part: &str, into: &'i mut Vec<u8>) -> Option<&'i [u8]> {
    into.clear();
    URL_SAFE_NO_PAD.decode_vec(part, into).ok()?;
    Some(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts() {
        let token = Token::split("e30.e30.AQI").unwrap();
        assert_eq!((token.signed, token.signature().unwrap().bytes()), ("e30.e30", &[1, 2][..]));
        assert_eq!(token.header(&mut Vec::new()).unwrap(), b"{}");
        assert_eq!(token.payload(&mut Vec::new()).unwrap(), b"{}");
        for wrong in ["", "a", "a.b", "a.b.c.d", "....."] {
            assert!(Token::split(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn parts_are_base64url_without_padding() {
        for part in ["e30=", "e+0", "e 0", "e"] {
            let text = format!("{part}.{part}.{part}");
            let token = Token::split(&text).unwrap();
            assert!(token.header(&mut Vec::new()).is_none() && token.signature().is_none(), "{part}");
        }
    }

    #[test]
    fn the_longest_token_and_the_longest_signature_are_taken_and_no_longer_ones() {
        let padded = |bytes: usize| format!("e30.e30.{}", "A".repeat(bytes - 8));
        assert!(Token::split(&padded(TOKEN_BYTES_MAX)).is_some());
        assert!(Token::split(&padded(TOKEN_BYTES_MAX + 1)).is_none());
        let signature = |bytes: usize| {
            let text = format!("e30.e30.{}", URL_SAFE_NO_PAD.encode(vec![1; bytes]));
            Token::split(&text).unwrap().signature().map(|signature| signature.bytes().len())
        };
        assert_eq!(signature(1024), Some(1024));
        assert_eq!(signature(SIGNATURE_BYTES_MAX + 1), None);
    }
}
