//! The one reading of `Content-Length`, for requests and responses (RFC 9110 §8.6, RFC 9112 §6.3, traffic sheet §5.1).

use engine::http::{Headers, Known};

/// Why the fields do not say how long the body is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentLengthError {
    #[error("Content-Length header contains invalid empty value")]
    Empty,
    #[error("Content-Length header contains invalid non-numeric value")]
    NotANumber,
    #[error("Multiple Content-Length headers with conflicting values")]
    Conflicting,
    #[error("Content-Length header value is too large")]
    TooLarge,
}

/// The announced length. Repetitions, as lines or as a list, are one length when they are the same bytes; `3` and `03` are
/// not, because not everybody on the way reads them alike.
pub fn content_length(headers: &Headers) -> Result<Option<u64>, ContentLengthError> {
    let mut first: Option<&[u8]> = None;
    let mut conflicting = false;
    for value in headers.known(Known::ContentLength) {
        for element in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if element.is_empty() {
                return Err(ContentLengthError::Empty);
            }
            if !element.iter().all(u8::is_ascii_digit) {
                return Err(ContentLengthError::NotANumber);
            }
            conflicting |= *first.get_or_insert(element) != element;
        }
    }
    if conflicting {
        return Err(ContentLengthError::Conflicting);
    }
    first.map(number).transpose()
}

fn number(digits: &[u8]) -> Result<u64, ContentLengthError> {
    let digit = |length: u64, digit: &u8| length.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, digit).ok_or(ContentLengthError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<u64>, ContentLengthError> {
        let mut headers = Headers::new();
        for line in lines {
            headers.append("Content-Length", line.as_bytes());
        }
        content_length(&headers)
    }

    #[test]
    fn equal_repetitions_are_one_length() {
        for lines in [&["42"][..], &["42", "42"], &["42, 42"], &["42 ,\t42", "42"]] {
            assert_eq!(read(lines), Ok(Some(42)), "{lines:?}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["18446744073709551615"]), Ok(Some(u64::MAX)));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_an_error() {
        for (lines, error) in [
            (&[""][..], ContentLengthError::Empty),
            (&["1,"], ContentLengthError::Empty),
            (&["1", ""], ContentLengthError::Empty),
            (&["+1"], ContentLengthError::NotANumber),
            (&["1 1"], ContentLengthError::NotANumber),
            (&["1", "x"], ContentLengthError::NotANumber),
            (&["1", "01"], ContentLengthError::Conflicting),
            (&["1, 2"], ContentLengthError::Conflicting),
            (&["18446744073709551616"], ContentLengthError::TooLarge),
        ] {
            assert_eq!(read(lines), Err(error), "{lines:?}");
        }
    }
}
