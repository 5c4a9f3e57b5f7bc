//! Appends JSON to bytes, either as it is or as it stands inside a JSON string.
//!
//! The second form is what a process-log line holds. It is written directly, because escaping a finished record again
//! would cost another pass over it. The form is a constant, so that each writer is compiled once per form.

/// The quote that opens and closes a string.
pub(super) const fn quote<const IN_STRING: bool>() -> &'static str {
    if IN_STRING { "\\\"" } else { "\"" }
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A string with its quotes.
pub(super) fn string<const IN_STRING: bool>(out: &mut Vec<u8>, value: &str) {
    text(out, quote::<IN_STRING>());
    escape::<IN_STRING>(out, value.as_bytes());
    text(out, quote::<IN_STRING>());
}

/// A string of bytes that are nearly always UTF-8; what is not is replaced.
pub(super) fn bytes<const IN_STRING: bool>(out: &mut Vec<u8>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(value) => string::<IN_STRING>(out, value),
        Err(_) => string::<IN_STRING>(out, &String::from_utf8_lossy(value)),
    }
}

/// The inside of a string. `value` is UTF-8.
pub(super) fn escape<const IN_STRING: bool>(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { return };
        special::<IN_STRING>(out, byte);
        rest = &rest[plain + 1..];
    }
}

/// A JSON document that is already in its plain form.
pub(super) fn embed(out: &mut Vec<u8>, document: &str, in_string: bool) {
    if in_string { escape::<false>(out, document.as_bytes()) } else { text(out, document) }
}

#[cold]
fn special<const IN_STRING: bool>(out: &mut Vec<u8>, byte: u8) {
    text(out, if IN_STRING { "\\\\" } else { "\\" });
    let letter = match byte {
        b'"' => return text(out, quote::<IN_STRING>()),
        b'\\' => return text(out, if IN_STRING { "\\\\" } else { "\\" }),
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = b"0123456789abcdef";
            out.extend_from_slice(&[b'u', b'0', b'0', hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
            return;
        }
    };
    out.push(letter);
}

/// How many bytes from the start need no escape; eight at a time.
fn plain_prefix(value: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The lowest bit that is set is exact; higher ones may be carries, which do not matter.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, tail) = value.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if hits != 0 {
            return index * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    words.len() * 8 + tail.iter().position(is_special).unwrap_or(tail.len())
}

pub(super) fn integer(out: &mut Vec<u8>, value: u64) {
    text(out, itoa::Buffer::new().format(value));
}

/// Nanoseconds as milliseconds: exact, at least one decimal and no zeros after it.
pub(super) fn milliseconds(out: &mut Vec<u8>, ns: u64) {
    integer(out, ns / 1_000_000);
    let mut fraction = [b'.', 0, 0, 0, 0, 0, 0];
    digits(&mut fraction[1..], (ns % 1_000_000) as u32);
    let last = fraction.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
    out.extend_from_slice(&fraction[..last.max(1) + 1]);
}

/// Fills `out` with the last digits of `value`.
pub(super) fn digits(out: &mut [u8], mut value: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_at_every_offset_comes_back_from_both_forms() {
        for character in (0..=0x7f_u8).map(char::from).chain(['ü', '€', '😀']) {
            for offset in 0..20 {
                let value = format!("{}{character}{}", "x".repeat(offset), "y\"z".repeat(offset % 5));
                let plain = written(|out| string::<false>(out, &value));
                assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), value);
                let inside = format!("\"{}\"", written(|out| string::<true>(out, &value)));
                assert_eq!(serde_json::from_str::<String>(&inside).unwrap(), plain);
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(written(|out| bytes::<false>(out, b"a\xff")), "\"a\u{fffd}\"");
    }

    #[test]
    fn a_document_embeds_in_a_string() {
        let document = r#"{"a":"b\"c\\\n"}"#;
        let inside = format!("\"{}\"", written(|out| embed(out, document, true)));
        assert_eq!(serde_json::from_str::<String>(&inside).unwrap(), document);
        assert_eq!(written(|out| embed(out, document, false)), document);
    }

    #[test]
    fn milliseconds_are_exact_floats() {
        let vectors = [(0, "0.0"), (1, "0.000001"), (100_000, "0.1"), (7_100_000, "7.1"), (5_000_000, "5.0")];
        let more = [(12_345_678_901, "12345.678901"), (1_000_010, "1.00001"), (u64::MAX, "18446744073709.551615")];
        for (ns, text) in vectors.into_iter().chain(more) {
            assert_eq!(written(|out| milliseconds(out, ns)), text);
            assert!(serde_json::from_str::<Value>(text).unwrap().is_f64());
        }
    }
}
