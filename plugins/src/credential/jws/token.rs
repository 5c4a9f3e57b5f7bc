//! The three parts of a token, and what its header says.

use std::cell::Cell;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{Claims, Wanted};

/// A longer one is refused unread. The largest that providers issue, with hundreds of groups, have a half of this.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A signature of the longest key that is supported, 8192 bits, and what the decoder wants beyond it.
const SIGNATURE_BYTES_MAX: usize = 1024 + 8;

/// A token that can be read.
pub struct Token<'t> {
    header: Claims<'t>,
    pub claims: Claims<'t>,
    /// Header and payload as they were signed.
    pub signed: &'t str,
    signature: &'t str,
}

/// A decoded signature.
pub struct Signature {
    bytes: [u8; SIGNATURE_BYTES_MAX],
    length: usize,
}

impl Signature {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The members of a header that are read.
struct HeaderMembers {
    wanted: Wanted,
    algorithm: usize,
    key: usize,
    critical: usize,
}

static HEADER: LazyLock<HeaderMembers> = LazyLock::new(|| {
    let mut wanted = Wanted::default();
    let [algorithm, key, critical] = ["alg", "kid", "crit"].map(|name| wanted.want_name(name));
    HeaderMembers { wanted, algorithm, key, critical }
});

thread_local! {
    /// For decoding header and payload of one token after the other.
    static SCRATCH: Cell<(Vec<u8>, Vec<u8>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Lets `then` look at the token with the claims that are wanted. None if it cannot be read, is too long, or must be understood in
/// a way that nothing here understands (RFC 7515 §4.1.11).
pub fn read<R>(text: &str, wanted: &Wanted, then: impl FnOnce(&Token<'_>) -> R) -> Option<R> {
    let parts = Parts::split(text)?;
    let (mut header, mut payload) = SCRATCH.take();
    let token = parts.token(&mut header, &mut payload, wanted);
    let seen = token.map(|token| then(&token));
    SCRATCH.set((header, payload));
    seen
}

impl Token<'_> {
    /// As its header says, which anybody may have written.
    pub fn algorithm(&self) -> Option<&str> {
        self.header.text(HEADER.algorithm)
    }

    /// The id of the key that is said to have signed it.
    pub fn key(&self) -> Option<&str> {
        self.header.text(HEADER.key)
    }

    pub fn signature(&self) -> Option<Signature> {
        let mut bytes = [0; SIGNATURE_BYTES_MAX];
        let length = URL_SAFE_NO_PAD.decode_slice(self.signature, &mut bytes).ok()?;
        Some(Signature { bytes, length })
    }
}

/// The three parts as they came.
struct Parts<'t> {
    signed: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Parts<'t> {
    /// None unless it has three parts and is not too long.
    fn split(text: &'t str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { signed, header, payload, signature })
    }

    /// Decodes header and payload into these.
    fn token(&self, header: &'t mut Vec<u8>, payload: &'t mut Vec<u8>, wanted: &Wanted) -> Option<Token<'t>> {
        let header = HEADER.wanted.read(decode(self.header, header)?)?;
        if header.get(HEADER.critical).is_some() {
            return None;
        }
        let claims = wanted.read(decode(self.payload, payload)?)?;
        Some(Token { header, claims, signed: self.signed, signature: self.signature })
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

    fn encoded(header: &str, payload: &str, signature: &[u8]) -> String {
        let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn is_read(text: &str) -> bool {
        read(text, &Wanted::default(), |_| ()).is_some()
    }

    #[test]
    fn a_token_has_three_parts() {
        let mut wanted = Wanted::default();
        let name = wanted.want_name("sub");
        let text = encoded(r#"{"kid":"k","alg":"ES256"}"#, r#"{"sub":"alice"}"#, &[1, 2]);
        let looked = read(&text, &wanted, |token| {
            assert_eq!((token.algorithm(), token.key()), (Some("ES256"), Some("k")));
            assert_eq!(token.claims.text(name), Some("alice"));
            assert_eq!(token.signature().unwrap().bytes(), [1, 2]);
            assert!(text.starts_with(token.signed) && text[token.signed.len()..].starts_with(".AQI"));
        });
        assert!(looked.is_some());
        for wrong in ["", "a", "a.b", "e30.e30", "e30.e30.e30.e30", "....."] {
            assert!(!is_read(wrong), "{wrong}");
        }
    }

    #[test]
    fn parts_are_base64url_without_padding() {
        for part in ["e30=", "e+0", "e 0", "e"] {
            assert!(!is_read(&format!("{part}.e30.")) && !is_read(&format!("e30.{part}.")), "{part}");
            let has_signature = |token: &Token<'_>| token.signature().is_some();
            assert_eq!(read(&format!("e30.e30.{part}"), &Wanted::default(), has_signature), Some(false), "{part}");
        }
    }

    #[test]
    fn a_header_that_must_be_understood_or_says_a_thing_twice_refuses_the_token() {
        assert!(is_read(&encoded(r#"{"alg":"ES256","typ":"JWT","typ":"JWT"}"#, "{}", b"")));
        for header in
            [r#"{"crit":["b64"]}"#, r#"{"crit":null}"#, r#"{"alg":"none","alg":"ES256"}"#, r#"{"kid":1,"kid":""}"#]
        {
            assert!(!is_read(&encoded(header, "{}", b"")), "{header}");
        }
    }

    #[test]
    fn a_token_can_be_read_while_another_one_is() {
        let [outer, inner] = ["a", "b"].map(|key| encoded(&format!(r#"{{"kid":"{key}"}}"#), "{}", b""));
        let key = |token: &Token<'_>| token.key().map(str::to_owned);
        let both = read(&outer, &Wanted::default(), |token| (read(&inner, &Wanted::default(), key), key(token)));
        assert_eq!(both, Some((Some(Some("b".to_owned())), Some("a".to_owned()))));
    }

    #[test]
    fn the_longest_token_and_the_longest_signature_are_taken_and_no_longer_ones() {
        let padded = |bytes: usize| format!("e30.e30.{}", "A".repeat(bytes - 8));
        assert!(is_read(&padded(TOKEN_BYTES_MAX)) && !is_read(&padded(TOKEN_BYTES_MAX + 1)));
        let signature = |bytes: usize| {
            let length = |token: &Token<'_>| token.signature().map(|signature| signature.bytes().len());
            read(&encoded("{}", "{}", &vec![1; bytes]), &Wanted::default(), length).unwrap()
        };
        assert_eq!(signature(1024), Some(1024));
        assert_eq!(signature(SIGNATURE_BYTES_MAX + 1), None);
    }
}
