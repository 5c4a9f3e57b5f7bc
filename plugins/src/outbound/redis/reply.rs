//! What Redis says: RESP2, read where it lies.
//!
//! Only what is whole is given out; what is not yet is asked again with more. Whatever a peer sends, reading it takes time in
//! proportion to what has come, and memory only for what has come: a length is believed when its bytes are there.

/// Elements of an array, which must be no more than there could be in a reply to one of our transactions.
const ELEMENTS_MAX: usize = 64;
/// A line: a status, an error text, or a number.
const LINE_BYTES_MAX: usize = 1024;
/// The longest value, and with it the most that is held of a reply that is not whole.
pub const REPLY_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'a> {
    /// `OK`, `QUEUED`, `PONG`.
    Status,
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Nil,
    /// Of anything but arrays.
    Array(Vec<Reply<'a>>),
}

/// What a command was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Done,
    Integer(i64),
    Bytes(Vec<u8>),
    Nil,
}

impl Value {
    /// A count, as INCR gives it and GET finds it. Nothing counted yet is zero.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Self::Nil => Some(0),
            Self::Done => None,
        }
    }
}

/// The peer does not speak RESP2, or says more than we would ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The first reply and its length, if it is whole.
///
/// # Errors
/// What is there cannot become a reply.
pub fn first(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Malformed> {
    let Some(line) = line(bytes)? else { return Ok(None) };
    if line.kind != b'*' {
        return element(bytes, &line);
    }
    let mut at = line.length;
    let Some(count) = length(line.text, ELEMENTS_MAX)? else { return Ok(Some((Reply::Nil, at))) };
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        let rest = &bytes[at..];
        let Some(line) = self::line(rest)? else { return Ok(None) };
        let Some((reply, length)) = element(rest, &line)? else { return Ok(None) };
        elements.push(reply);
        at += length;
    }
    Ok(Some((Reply::Array(elements), at)))
}

/// Anything but an array, which begins with that line.
fn element<'a>(bytes: &'a [u8], line: &Line<'a>) -> Result<Option<(Reply<'a>, usize)>, Malformed> {
    let reply = match line.kind {
        b'+' => Reply::Status,
        b'-' => Reply::Error(line.text),
        b':' => Reply::Integer(number(line.text)?),
        b'$' => return bulk(bytes, line),
        _ => return Err(Malformed),
    };
    Ok(Some((reply, line.length)))
}

fn bulk<'a>(bytes: &'a [u8], line: &Line<'a>) -> Result<Option<(Reply<'a>, usize)>, Malformed> {
    let start = line.length;
    let Some(length) = length(line.text, REPLY_BYTES_MAX)? else { return Ok(Some((Reply::Nil, start))) };
    let end = start + length;
    match bytes.get(end..end + 2) {
        Some(b"\r\n") => Ok(Some((Reply::Bulk(&bytes[start..end]), end + 2))),
        Some(_) => Err(Malformed),
        None => Ok(None),
    }
}

struct Line<'a> {
    kind: u8,
    /// Behind the kind.
    text: &'a [u8],
    /// With its end.
    length: usize,
}

fn line(bytes: &[u8]) -> Result<Option<Line<'_>>, Malformed> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let looked_at = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', looked_at) {
        Some(end) if end > 1 && bytes[end - 1] == b'\r' => {
            Ok(Some(Line { kind: *kind, text: &bytes[1..end - 1], length: end + 1 }))
        }
        None if looked_at.len() < LINE_BYTES_MAX => Ok(None),
        _ => Err(Malformed),
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

/// None for -1, which stands for nil.
fn length(line: &[u8], max: usize) -> Result<Option<usize>, Malformed> {
    match number(line)? {
        -1 => Ok(None),
        length => usize::try_from(length).ok().filter(|length| *length <= max).map(Some).ok_or(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> Reply<'_> {
        let (reply, length) = first(bytes).unwrap().expect("a whole reply");
        assert_eq!(length, bytes.len());
        for cut in 0..bytes.len() {
            assert_eq!(first(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        reply
    }

    #[test]
    fn every_kind_is_read() {
        assert_eq!(whole(b"+OK\r\n"), Reply::Status);
        assert_eq!(whole(b"-ERR no\r\n"), Reply::Error(b"ERR no"));
        assert_eq!(whole(b":-17\r\n"), Reply::Integer(-17));
        assert_eq!(whole(b"$3\r\na\r\n\r\n"), Reply::Bulk(b"a\r\n"));
        assert_eq!(whole(b"$0\r\n\r\n"), Reply::Bulk(b""));
        assert_eq!(whole(b"$-1\r\n"), Reply::Nil);
        assert_eq!(whole(b"*-1\r\n"), Reply::Nil);
        assert_eq!(whole(b"*0\r\n"), Reply::Array(Vec::new()));
        let expected = vec![Reply::Nil, Reply::Integer(4), Reply::Error(b"WRONGTYPE x"), Reply::Bulk(b"ab")];
        assert_eq!(whole(b"*4\r\n$-1\r\n:4\r\n-WRONGTYPE x\r\n$2\r\nab\r\n"), Reply::Array(expected));
    }

    #[test]
    fn what_follows_is_left_alone() {
        assert_eq!(first(b":1\r\n:2\r\n"), Ok(Some((Reply::Integer(1), 4))));
    }

    #[test]
    fn what_is_no_reply_is_refused_at_once() {
        for wrong in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"+OK\n",
            b":\r\n",
            b":1x\r\n",
            b":99999999999999999999\r\n",
            b"$-2\r\n",
            b"$1048577\r\n",
            b"$1\r\nab\r\n",
            b"*65\r\n",
            b"*1\r\n*0\r\n",
            b"%1\r\n",
            b"_\r\n",
        ] {
            assert_eq!(first(wrong), Err(Malformed), "{}", String::from_utf8_lossy(wrong));
        }
        assert_eq!(first(&[b'+'; LINE_BYTES_MAX]), Err(Malformed));
        assert_eq!(first(&[b'+'; LINE_BYTES_MAX - 1]), Ok(None));
    }

    proptest! {
        /// As the fuzz target: a part of what comes is never read as something else than the whole.
        #[test]
        fn however_it_is_cut_it_is_read_the_same(
            text in "([-+:$*]|[-+:$*]{0,2}[0-9]{1,3}|-1|[a-z\r\n]|\r\n|\r\n){0,24}",
            cut in 0.0..1.0,
        ) {
            let bytes = text.as_bytes();
            let part = first(&bytes[..(bytes.len() as f64 * cut) as usize]);
            match first(bytes) {
                _ if part == Ok(None) => {}
                Ok(whole) => prop_assert_eq!(part, Ok(whole)),
                Err(Malformed) => prop_assert_eq!(part, Err(Malformed)),
            }
        }
    }

    #[test]
    fn the_longest_value_and_the_longest_array_are_read() {
        let mut text = format!("${REPLY_BYTES_MAX}\r\n").into_bytes();
        text.resize(text.len() + REPLY_BYTES_MAX, b'x');
        text.extend(b"\r\n");
        assert!(matches!(first(&text), Ok(Some((Reply::Bulk(value), _))) if value.len() == REPLY_BYTES_MAX));
        let many = format!("*{ELEMENTS_MAX}\r\n{}", "+OK\r\n".repeat(ELEMENTS_MAX));
        assert!(matches!(first(many.as_bytes()), Ok(Some((Reply::Array(all), _))) if all.len() == ELEMENTS_MAX));
    }

    #[test]
    fn a_count_is_read_as_it_was_written() {
        assert_eq!(Value::Integer(7).count(), Some(7));
        assert_eq!(Value::Bytes(b"12".to_vec()).count(), Some(12));
        assert_eq!(Value::Nil.count(), Some(0));
        assert_eq!(Value::Bytes(b"x".to_vec()).count(), None);
        assert_eq!((Value::Integer(-1).count(), Value::Done.count()), (None, None));
    }
}
