//! The chunked decoder: the same body, end and verdict however the bytes are cut, and the same as a decoder that sees
//! everything at once and works by lines instead of by states.
#![no_main]

use fuzz::is_token;
use libfuzzer_sys::fuzz_target;
use protocols::fuzzing::Decoder;

// The decoder's limits; they are part of what is compared.
const LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 100;

#[derive(Debug, PartialEq)]
enum Verdict {
    Done { body: Vec<u8>, consumed: usize },
    More { body: Vec<u8> },
    Refused,
}

fn decoded(input: &[u8], mut step: impl FnMut() -> usize) -> Verdict {
    let mut decoder = Decoder::new();
    let (mut body, mut at) = (Vec::new(), 0);
    while at < input.len() && !decoder.is_done() {
        let end = input.len().min(at + step().max(1));
        let mut piece = input[at..end].to_vec();
        let Ok(progress) = decoder.decode(&mut piece) else { return Verdict::Refused };
        assert!(progress.consumed <= piece.len(), "more consumed than given");
        assert!(progress.body <= progress.consumed, "more body than input");
        assert_eq!(progress.done, decoder.is_done());
        assert!(progress.done || progress.consumed == piece.len(), "input left behind in the middle of a body");
        body.extend_from_slice(&piece[..progress.body]);
        at += progress.consumed;
    }
    if decoder.is_done() {
        let mut rest = *b"rest";
        let progress = decoder.decode(&mut rest).expect("an ended body refuses nothing");
        assert_eq!((progress.consumed, progress.body, &rest), (0, 0, b"rest"), "read past the end of the body");
        Verdict::Done { body, consumed: at }
    } else {
        Verdict::More { body }
    }
}

/// RFC 9112 §7.1 over the whole input, strict about line ends.
fn reference(input: &[u8]) -> Verdict {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = match size_line(&input[at..]) {
            Line::Whole { size, length } => {
                at += length;
                size
            }
            Line::More => return Verdict::More { body },
            Line::Refused => return Verdict::Refused,
        };
        if line == 0 {
            return match trailers(&input[at..]) {
                Line::Whole { length, .. } => Verdict::Done { body, consumed: at + length },
                Line::More => Verdict::More { body },
                Line::Refused => Verdict::Refused,
            };
        }
        let data = &input[at..];
        if (data.len() as u64) < line {
            body.extend_from_slice(data);
            return Verdict::More { body };
        }
        let (data, rest) = data.split_at(line as usize);
        body.extend_from_slice(data);
        at += data.len();
        match rest {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Verdict::More { body },
            _ => return Verdict::Refused,
        }
    }
}

enum Line {
    Whole { size: u64, length: usize },
    More,
    Refused,
}

fn size_line(input: &[u8]) -> Line {
    let digits = input.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > 15 {
        return Line::Refused;
    }
    let blanks = input[digits..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let mut at = digits + blanks;
    if digits == 0 && !input.is_empty() {
        return Line::Refused;
    }
    if input.get(at) == Some(&b';') {
        at += input[at..].iter().take_while(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)).count();
    }
    // The carriage return counts, the line feed does not.
    if at + usize::from(at < input.len()) > LINE_BYTES_MAX {
        return Line::Refused;
    }
    match &input[at..] {
        [] | [b'\r'] => Line::More,
        [b'\r', b'\n', ..] => {
            let text = std::str::from_utf8(&input[..digits]).unwrap();
            Line::Whole { size: u64::from_str_radix(text, 16).unwrap(), length: at + 2 }
        }
        _ => Line::Refused,
    }
}

fn trailers(input: &[u8]) -> Line {
    let bounded = &input[..input.len().min(TRAILER_BYTES_MAX)];
    let (mut at, mut count) = (0, 0);
    while let Some(length) = bounded[at..].iter().position(|byte| *byte == b'\n') {
        let Some(line) = bounded[at..at + length].strip_suffix(b"\r") else { return Line::Refused };
        at += length + 1;
        if line.is_empty() {
            return Line::Whole { size: 0, length: at };
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Line::Refused };
        let (name, value) = line.split_at(colon);
        let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f));
        count += 1;
        if !is_token(name) || !is_value || count > TRAILER_FIELDS_MAX {
            return Line::Refused;
        }
    }
    if input.len() > TRAILER_BYTES_MAX { Line::Refused } else { Line::More }
}

fuzz_target!(|data: &[u8]| {
    // The first byte chooses the cuts.
    let Some((&seed, input)) = data.split_first() else { return };
    let whole = decoded(input, || usize::MAX >> 1);
    assert_eq!(whole, reference(input));
    assert_eq!(decoded(input, || 1), whole);
    let mut random = u32::from(seed) | 0x100;
    let uneven = decoded(input, || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as usize % 23 + 1
    });
    assert_eq!(uneven, whole);
});
