//! What the head targets share: parsing without a socket, and the properties every accepted field has.

use engine::buffer::Buffer;
use engine::http::Headers;

/// The frontend's default; small enough for the fuzzer to reach it.
pub const FIELDS_MAX: usize = 100;

/// A field as the parsers compare it.
pub type Pair = (Vec<u8>, Vec<u8>);

pub fn buffer(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::with_capacity(bytes.len());
    buffer.extend(bytes);
    buffer
}

pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// All fields, each checked: what gets past the parser is written to another connection as it stands.
pub fn checked_fields(headers: &Headers) -> Vec<Pair> {
    let mut fields = Vec::new();
    for field in headers.iter() {
        assert!(is_token(field.name), "name is no token: {:?}", field.name);
        assert!(
            !field.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "value could end its line: {:?}",
            field.value
        );
        assert!(
            !matches!(field.value.first(), Some(b' ' | b'\t')) && !matches!(field.value.last(), Some(b' ' | b'\t')),
            "value is not trimmed: {:?}",
            field.value
        );
        assert_eq!(engine::http::Known::of(field.name), field.known);
        fields.push((field.name.to_vec(), field.value.to_vec()));
    }
    fields
}

pub fn write_fields(fields: &[Pair], out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Every prefix of a short input, and of a long one those near line ends and a spread of others: all of them would make the
/// work quadratic.
pub fn cuts(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= 160 {
        return (0..bytes.len()).collect();
    }
    let step = bytes.len() / 32;
    let mut cuts: Vec<usize> = (0..bytes.len()).step_by(step).collect();
    let line_ends = bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\r' | b'\n')).map(|(at, _)| at);
    cuts.extend(line_ends.take(32).flat_map(|at| [at, at + 1]).filter(|at| *at < bytes.len()));
    cuts
}

/// What the verdict on a part of the input says about the verdict on all of it, and the other way round.
pub fn assert_agrees<E: Copy + PartialEq + std::fmt::Debug>(
    whole: &Result<Option<usize>, E>,
    length: usize,
    cut: usize,
    part: &Result<Option<usize>, E>,
) {
    match part {
        Ok(Some(found)) => {
            assert!(*found <= cut, "the head is longer than what was received");
            assert_eq!(whole, part, "cut at {cut} of {length}");
        }
        Ok(None) => {
            if let Ok(Some(found)) = whole {
                assert!(cut < *found, "the whole head was there and not seen, cut at {cut}");
            }
        }
        Err(_) => assert!(whole.is_err(), "refused when cut at {cut} of {length}: {part:?}, but {whole:?}"),
    }
}
