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

/// A string of bytes that are nearly always ASCII; what is not UTF-8 is replaced.
pub(super) fn bytes<const IN_STRING: bool>(out: &mut Vec<u8>, value: &[u8]) {
    if !value.is_ascii() {
        return string::<IN_STRING>(out, &String::from_utf8_lossy(value));
    }
    text(out, quote::<IN_STRING>());
    escape::<IN_STRING>(out, value);
    text(out, quote::<IN_STRING>());
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
    let first_hit = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let hits = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        (hits != 0).then(|| hits.trailing_zeros() as usize / 8)
    };
    // The last eight bytes are looked at as one word too, although some of them have been seen.
    let Some(last) = value.last_chunk::<8>() else {
        let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        return value.iter().position(is_special).unwrap_or(value.len());
    };
    for (index, word) in value.as_chunks::<8>().0.iter().enumerate() {
        if let Some(hit) = first_hit(word) {
            return index * 8 + hit;
        }
    }
    first_hit(last).map_or(value.len(), |hit| value.len() - 8 + hit)
}

/// More than the digits of any number here.
const NUMBER_BYTES: usize = 32;

/// Appends the first `len` bytes. Copying all of them, whose number is a constant, costs less than a call that copies a
/// few.
fn number(out: &mut Vec<u8>, text: &[u8; NUMBER_BYTES], len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(text);
    out.truncate(end);
}

pub(super) fn integer(out: &mut Vec<u8>, value: u64) {
    let mut text = [0; NUMBER_BYTES];
    let len = leading(&mut text, value);
    number(out, &text, len);
}

/// Nanoseconds as milliseconds: exact, at least one decimal and no zeros after it.
pub(super) fn milliseconds(out: &mut Vec<u8>, ns: u64) {
    let mut text = [0; NUMBER_BYTES];
    let point = leading(&mut text, ns / 1_000_000);
    text[point] = b'.';
    let fraction = &mut text[point + 1..point + 7];
    digits(fraction, (ns % 1_000_000) as u32);
    let zeros = fraction[1..].iter().rev().take_while(|digit| **digit == b'0').count();
    number(out, &text, point + 7 - zeros);
}

/// Writes `value` to the front of `text` and returns how long it is.
#[inline]
fn leading(text: &mut [u8; NUMBER_BYTES], value: u64) -> usize {
    if value < 10 {
        text[0] = b'0' + value as u8;
        return 1;
    }
    leading_long(text, value)
}

fn leading_long(text: &mut [u8; NUMBER_BYTES], value: u64) -> usize {
    let len = value.checked_ilog10().unwrap_or(0) as usize + 1;
    match u32::try_from(value) {
        Ok(value) => digits(&mut text[..len], value),
        Err(_) => {
            let (high, low) = text[..len].split_at_mut(len - 9);
            digits(low, (value % 1_000_000_000) as u32);
            wide_digits(high, value / 1_000_000_000);
        }
    }
    len
}

static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + value as u8 / 10, b'0' + value as u8 % 10];
        value += 1;
    }
    pairs
};

/// Fills `out` with the last digits of `value`.
#[inline]
pub(super) fn digits(out: &mut [u8], mut value: u32) {
    let mut pairs = out.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[value as usize % 100]);
        value /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (value % 10) as u8;
    }
}

/// [`digits`] of a value that few numbers reach.
fn wide_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Each octet's digits and a point, and how many bytes that is.
static OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut value = 0;
    while value < 256 {
        let (hundreds, tens, ones) =
            (b'0' + (value / 100) as u8, b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8);
        octets[value] = match value {
            0..10 => ([ones, b'.', b'.', b'.'], 2),
            10..100 => ([tens, ones, b'.', b'.'], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        value += 1;
    }
    octets
};

/// An IPv4 address without quotes.
pub(super) fn ipv4(out: &mut Vec<u8>, octets: [u8; 4]) {
    let mut text = [0; NUMBER_BYTES];
    let mut len = 0;
    for octet in octets {
        let (digits, width) = &OCTETS[usize::from(octet)];
        text[len..len + 4].copy_from_slice(digits);
        len += usize::from(*width);
    }
    number(out, &text, len - 1);
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
    fn integers_of_every_length_are_written() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        for value in powers.flat_map(|power| [power - 1, power, power + 1]).chain([u32::MAX.into(), 1 << 32, u64::MAX])
        {
            assert_eq!(written(|out| integer(out, value)), value.to_string());
        }
    }

    #[test]
    fn addresses_are_written() {
        for octets in [[0, 9, 10, 99], [100, 255, 1, 0], [255; 4], [0; 4]] {
            assert_eq!(written(|out| ipv4(out, octets)), std::net::Ipv4Addr::from(octets).to_string());
        }
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
