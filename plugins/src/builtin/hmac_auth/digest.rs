//! The digest header (RFC 9530, and RFC 3230 before it) and the hashes of a body that it is compared with.

use std::future::poll_fn;
use std::task::Poll;

use aws_lc_rs::digest::{self, Context, Digest, SHA256, SHA512};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Of a body, so much is hashed before others get their turn: some 50 to 100 microseconds.
pub const PIECE_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    fn of_digest(name: &str) -> Option<Self> {
        let is = |names: [&str; 2]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        match name {
            _ if is(["sha-256", "sha256"]) => Some(Algorithm::Sha256),
            _ if is(["sha-512", "sha512"]) => Some(Algorithm::Sha512),
            _ => None,
        }
    }

    fn of_rust(self) -> &'static digest::Algorithm {
        match self {
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        }
    }
}

/// The value of the header as it came: a list of `algorithm=value`.
pub struct DigestHeader<'h>(pub &'h str);

/// Base64 of the longest hash takes 88 letters.
const ENCODED_BYTES_MAX: usize = 88;

impl DigestHeader<'_> {
    /// Those with a known algorithm. A value is base64, alone or within colons or quotes.
    fn entries(&self) -> impl Iterator<Item = (Algorithm, &str)> {
        self.0.split(',').filter_map(|entry| {
            let (name, value) = entry.split_once('=')?;
            let value = value.trim_matches([' ', '\t']);
            let within = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
            let value = within(':').or_else(|| within('"')).unwrap_or(value);
            Some((Algorithm::of_digest(name.trim_matches([' ', '\t']))?, value))
        })
    }

    fn needs(&self, algorithm: Algorithm) -> bool {
        self.entries().any(|(needed, value)| needed == algorithm && value.len() <= ENCODED_BYTES_MAX)
    }

    /// Whether one of the entries is that of the body.
    pub fn has(&self, hash: &BodyHash) -> bool {
        self.entries().any(|(algorithm, value)| {
            let hash = match algorithm {
                Algorithm::Sha256 => &hash.sha256,
                Algorithm::Sha512 => &hash.sha512,
            };
            let mut bytes = [0; ENCODED_BYTES_MAX];
            let length = if value.len() <= bytes.len() { STANDARD.decode_slice(value, &mut bytes).ok() } else { None };
            hash.as_ref().is_some_and(|hash| length.and_then(|length| bytes.get(..length)) == Some(hash.as_ref()))
        })
    }
}

/// The hashes of a body that its digest header asks for.
#[derive(Debug, Default)]
pub struct BodyHash {
    sha256: Option<Digest>,
    sha512: Option<Digest>,
}

impl BodyHash {
    pub fn at_once(header: &DigestHeader<'_>, body: &[u8]) -> Self {
        let hash = |algorithm: Algorithm| header.needs(algorithm).then(|| digest::digest(algorithm.of_rust(), body));
        Self { sha256: hash(Algorithm::Sha256), sha512: hash(Algorithm::Sha512) }
    }

    /// Lets other tasks of the core run between the pieces.
    pub async fn piecewise(header: &DigestHeader<'_>, body: &[u8]) -> Self {
        let begin = |algorithm: Algorithm| header.needs(algorithm).then(|| Context::new(algorithm.of_rust()));
        let (mut sha256, mut sha512) = (begin(Algorithm::Sha256), begin(Algorithm::Sha512));
        if sha256.is_none() && sha512.is_none() {
            return Self::default();
        }
        for piece in body.chunks(PIECE_BYTES) {
            for context in [&mut sha256, &mut sha512].into_iter().flatten() {
                context.update(piece);
            }
            give_way().await;
        }
        Self { sha256: sha256.map(Context::finish), sha512: sha512.map(Context::finish) }
    }
}

/// Goes on when the other tasks that are ready have had their turn.
async fn give_way() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::{Context as TaskContext, Waker};

    // printf %s hello | openssl dgst -sha256 -binary | base64
    const HELLO_256: &str = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    const HELLO_512: &str = "m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==";

    fn matches(header: &str, body: &[u8]) -> bool {
        let header = DigestHeader(header);
        header.has(&BodyHash::at_once(&header, body))
    }

    #[test]
    fn every_spelling_of_the_right_hash_matches() {
        for header in [
            format!("sha-256={HELLO_256}"),
            format!("SHA256={HELLO_256}"),
            format!("sha-256=:{HELLO_256}:"),
            format!("sha-256=\"{HELLO_256}\""),
            format!(" sha-512 = :{HELLO_512}: "),
            format!("sha512={HELLO_512}"),
            format!("md5=x, sha-256=AAAA, sha-512={HELLO_512}"),
            format!("sha-256=:{HELLO_256}:, sha-512=:AAAA:"),
            format!(",,{},sha-256={HELLO_256}", "sha-256=AAAA,".repeat(1000)),
        ] {
            assert!(matches(&header, b"hello"), "{header}");
            assert!(!matches(&header, b"hello "), "{header}");
        }
    }

    #[test]
    fn what_is_not_the_hash_does_not_match() {
        for header in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=::",
            HELLO_256,
            &format!("sha-512={HELLO_256}"),
            &format!("sha-1={HELLO_256}"),
            &format!("sha-256={}", &HELLO_256[..43]),
            &format!("sha-256=:{HELLO_256}\""),
            &format!("sha-256=::{HELLO_256}::"),
            &format!("sha-256={HELLO_256}AAAA"),
            &format!("sha-256={}{HELLO_256}", "A".repeat(1000)),
            &format!("sha-256:{HELLO_256}"),
        ] {
            assert!(!matches(header, b"hello"), "{header}");
        }
    }

    #[test]
    fn a_body_in_pieces_has_the_hash_of_the_whole_and_gives_way_after_each() {
        for (length, pieces) in [(0, 0), (1, 1), (PIECE_BYTES, 1), (PIECE_BYTES + 1, 2), (5 * PIECE_BYTES, 5)] {
            let body = vec![7; length];
            let header = "sha-256=AAAA, sha-512=AAAA";
            let whole = BodyHash::at_once(&DigestHeader(header), &body);
            let header = DigestHeader(header);
            let mut future = std::pin::pin!(BodyHash::piecewise(&header, &body));
            let mut turns = 0;
            let hash = loop {
                match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
                    Poll::Ready(hash) => break hash,
                    Poll::Pending => turns += 1,
                }
            };
            assert_eq!(turns, pieces, "{length}");
            let bytes = |digest: Option<Digest>| digest.unwrap().as_ref().to_vec();
            assert_eq!(bytes(hash.sha256), bytes(whole.sha256));
            assert_eq!(bytes(hash.sha512), bytes(whole.sha512));
        }
    }

    #[test]
    fn only_what_is_asked_for_is_computed() {
        let hash = BodyHash::at_once(&DigestHeader("sha-512=x"), b"");
        assert!(hash.sha256.is_none() && hash.sha512.is_some());
        let too_long = format!("sha-256={}", "A".repeat(89));
        assert!(BodyHash::at_once(&DigestHeader(&too_long), b"").sha256.is_none());
    }

    proptest! {
        #[test]
        fn no_other_header_matches_and_none_makes_it_panic(header in "((sha-?(256|512)|md5)? ?=? ?[:\"]?[A-Za-z0-9+/=]{0,90}[:\"]?,?){0,4}|.{0,60}") {
            prop_assert!(!matches(&header, b"hello"));
        }
    }
}
