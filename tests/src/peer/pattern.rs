//! The bytes all bodies consist of.

use std::sync::OnceLock;

use bytes::Bytes;

/// A prime, so that no two places of a body that are a power of two apart are alike.
const PERIOD: usize = 1_000_003;
/// What is sent at once.
const PIECE: usize = 65_536;

fn period() -> &'static Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES.get_or_init(|| (0u32..).flat_map(u32::to_be_bytes).take(PERIOD).collect::<Vec<u8>>().into())
}

fn offset(at: u64) -> usize {
    usize::try_from(at % PERIOD as u64).expect("less than a period")
}

/// The next piece of a body of which `at` bytes were sent and `left` are to be sent.
pub fn piece(at: u64, left: u64) -> Bytes {
    let start = offset(at);
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE).min(PERIOD - start);
    period().slice(start..start + length)
}

/// Whether these bytes are what a body has after its first `at` bytes.
pub fn goes_on(mut at: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = piece(at, bytes.len() as u64);
        let (now, later) = bytes.split_at(expected.len());
        if now != expected {
            return false;
        }
        at += now.len() as u64;
        bytes = later;
    }
    true
}
