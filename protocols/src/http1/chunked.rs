//! The chunked transfer coding (RFC 9112 §7.1), decoded in place.
//!
//! Sans-IO: the decoder is given bytes as they came and moves the body bytes among them together to the front. Extensions
//! are skipped, trailers are kept, and every part that is not body is bounded.

use engine::buffer::Buffer;
use engine::http::Headers;

/// A size line with its extensions; nobody needs more and an attacker may not have it.
const LINE_BYTES_MAX: usize = 256;
/// The trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("chunk size is not a hexadecimal number")]
    Size,
    #[error("chunk size line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("chunk does not end in CR LF")]
    LineEnd,
    #[error("trailer section is malformed or longer than {TRAILER_BYTES_MAX} bytes")]
    Trailers,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks that some senders pad the size with.
    Padding {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// How far one call came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of input that are dealt with; the rest belongs to the next message.
    pub consumed: usize,
    /// Body bytes, now at the front of the input.
    pub body: usize,
    pub done: bool,
}

pub struct Decoder {
    state: State,
    line_bytes: usize,
    /// The trailer section, collected only when there is one.
    trailers: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    pub const fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, line_bytes: 0, trailers: Vec::new() }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer section, once; nothing when it is empty, or not there yet.
    pub fn take_trailers(&mut self) -> Option<Headers> {
        const EMPTY: &[u8] = b"\r\n";
        if !self.is_done() || self.trailers.len() <= EMPTY.len() {
            return None;
        }
        let section = std::mem::take(&mut self.trailers);
        let mut trailers = Headers::new();
        let push = |known, name, first, value| trailers.push_received(known, name, first, value);
        let _ = super::parse::trailers(&section, TRAILER_FIELDS_MAX, push);
        let mut received = Buffer::with_capacity(section.len());
        received.extend(&section);
        trailers.set_received(received);
        Some(trailers)
    }

    /// Decodes what is there. Input after the end of the body is left alone.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Progress, ChunkError> {
        let mut at = 0;
        let mut body = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let length = left.min((bytes.len() - at) as u64) as usize;
                if at != body {
                    bytes.copy_within(at..at + length, body);
                }
                at += length;
                body += length;
                let left = left - length as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                continue;
            }
            self.step(bytes[at])?;
            at += 1;
        }
        Ok(Progress { consumed: at, body, done: self.is_done() })
    }

    /// One byte that is not body.
    fn step(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match self.state {
            State::Size { size, digits } => {
                self.count_line_byte()?;
                match (byte as char).to_digit(16) {
                    // 15 digits: a size that cannot overflow, and more than any body has.
                    Some(digit) if digits < 15 => {
                        State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
                    }
                    Some(_) => return Err(ChunkError::Size),
                    None if digits == 0 => return Err(ChunkError::Size),
                    None => Self::behind_size(byte, size)?,
                }
            }
            State::Padding { size } => {
                self.count_line_byte()?;
                Self::behind_size(byte, size)?
            }
            State::Extension { size } => {
                self.count_line_byte()?;
                match byte {
                    b'\r' => State::SizeLf { size },
                    b'\t' | 0x20..=0x7e | 0x80..=0xff => State::Extension { size },
                    _ => return Err(ChunkError::LineEnd),
                }
            }
            State::SizeLf { size } if byte == b'\n' => {
                self.line_bytes = 0;
                if size == 0 { State::Trailers } else { State::Data { left: size } }
            }
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size { size: 0, digits: 0 },
            State::Trailers => self.trailer(byte)?,
            State::SizeLf { .. } | State::DataCr | State::DataLf => return Err(ChunkError::LineEnd),
            State::Data { .. } | State::Done => self.state,
        };
        Ok(())
    }

    fn behind_size(byte: u8, size: u64) -> Result<State, ChunkError> {
        match byte {
            b' ' | b'\t' => Ok(State::Padding { size }),
            b';' => Ok(State::Extension { size }),
            b'\r' => Ok(State::SizeLf { size }),
            _ => Err(ChunkError::Size),
        }
    }

    fn count_line_byte(&mut self) -> Result<(), ChunkError> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_BYTES_MAX { Err(ChunkError::LineTooLong) } else { Ok(()) }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.trailers.push(byte);
        if self.trailers.len() > TRAILER_BYTES_MAX {
            return Err(ChunkError::Trailers);
        }
        // Only a line feed can complete the section, so each line is parsed once per line, not once per byte.
        if byte != b'\n' {
            return Ok(State::Trailers);
        }
        match super::parse::trailers(&self.trailers, TRAILER_FIELDS_MAX, |_, _, _, _| {}) {
            Ok(Some(_)) => Ok(State::Done),
            Ok(None) => Ok(State::Trailers),
            Err(_) => Err(ChunkError::Trailers),
        }
    }
}

/// The size line of a chunk, right-aligned in a small array, so that it can be put in front of the data.
pub fn size_line(length: usize) -> SizeLine {
    let mut bytes = [0; 18];
    let mut at = 16;
    let mut rest = length;
    loop {
        at -= 1;
        bytes[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    bytes[16] = b'\r';
    bytes[17] = b'\n';
    SizeLine { bytes, start: at }
}

pub struct SizeLine {
    bytes: [u8; 18],
    start: usize,
}

impl std::ops::Deref for SizeLine {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut decoder = Decoder::new();
        let (mut body, mut consumed) = (Vec::new(), 0);
        for piece in input.chunks(step) {
            let mut piece = piece.to_vec();
            let progress = decoder.decode(&mut piece)?;
            body.extend_from_slice(&piece[..progress.body]);
            consumed += progress.consumed;
            if progress.done {
                break;
            }
        }
        Ok((body, consumed, decoder.is_done()))
    }

    #[test]
    fn a_body_is_decoded_however_it_is_cut() {
        let input = b"5\r\nhello\r\n6 ;ext=\"x\"\r\n world\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\nGET /";
        for step in 1..input.len() {
            let (body, consumed, done) = decode(input, step).unwrap();
            assert_eq!((body.as_slice(), consumed, done), (&b"hello world"[..], input.len() - 5, true), "step {step}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for (input, error) in [
            (&b"g\r\n"[..], ChunkError::Size),
            (b"\r\n", ChunkError::Size),
            (b"-1\r\n", ChunkError::Size),
            (b"0x5\r\n", ChunkError::Size),
            (b"1000000000000000\r\n", ChunkError::Size),
            (b"5\nhello", ChunkError::Size),
            (b"5;a\nhello", ChunkError::LineEnd),
            (b"5\r\nhelloXX", ChunkError::LineEnd),
            (b"5\r\nhello\rX", ChunkError::LineEnd),
            (b"5\rX", ChunkError::LineEnd),
            (b"0\r\nbad trailer\r\n\r\n", ChunkError::Trailers),
            (b"0\r\nX: y\n\r\n", ChunkError::Trailers),
        ] {
            for step in [1, 3, input.len()] {
                assert_eq!(decode(input, step), Err(error), "{}", String::from_utf8_lossy(input));
            }
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded_from_both_sides() {
        let line = |length: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length - 3));
        assert!(decode(line(LINE_BYTES_MAX).as_bytes(), 64).unwrap().2);
        assert_eq!(decode(line(LINE_BYTES_MAX + 1).as_bytes(), 64), Err(ChunkError::LineTooLong));
        let trailers = |length: usize| format!("0\r\nT: {}\r\n\r\n", "t".repeat(length - 7));
        assert!(decode(trailers(TRAILER_BYTES_MAX).as_bytes(), 999).unwrap().2);
        assert_eq!(decode(trailers(TRAILER_BYTES_MAX + 1).as_bytes(), 999), Err(ChunkError::Trailers));
    }

    #[test]
    fn size_lines() {
        assert_eq!(&*size_line(0), b"0\r\n");
        assert_eq!(&*size_line(0x1f00), b"1f00\r\n");
        assert_eq!(&*size_line(usize::MAX), b"ffffffffffffffff\r\n");
    }
}
