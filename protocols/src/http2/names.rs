//! Field names in the library's form. Nearly all that pass have passed before, and to parse one and copy it costs more than all else
//! that is done with a field; so each core keeps what it has parsed, one name a place.

use std::cell::RefCell;

use http::header::HeaderName;

const PLACES: usize = 128;
/// Longer ones are parsed each time, so that what is kept is bounded.
const KEPT_BYTES_MAX: usize = 64;

thread_local! {
    static KEPT: RefCell<[Option<HeaderName>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// The name in lower case; nothing if it is none.
pub fn name(text: &[u8]) -> Option<HeaderName> {
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return None };
    if text.len() > KEPT_BYTES_MAX {
        return HeaderName::from_bytes(text).ok();
    }
    KEPT.with_borrow_mut(|kept| {
        let letters = [*first, text[text.len() / 2], *last].map(|letter| usize::from(letter | 0x20));
        let place = &mut kept[(text.len() * 5 + letters[0] + letters[1] * 3 + letters[2] * 11) % PLACES];
        match place {
            Some(present) if present.as_str().as_bytes().eq_ignore_ascii_case(text) => Some(present.clone()),
            _ => {
                let parsed = HeaderName::from_bytes(text).ok()?;
                *place = Some(parsed.clone());
                Some(parsed)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_whether_or_not_it_was_seen_before() {
        let long = "x".repeat(KEPT_BYTES_MAX + 1);
        let texts = ["Host", "host", "X-Forwarded-For", "x-forwarded-for", "grpc-status", "a", "b", &long];
        for _ in 0..3 {
            for text in texts {
                assert_eq!(name(text.as_bytes()), HeaderName::from_bytes(text.as_bytes()).ok(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_name_is_never_one_however_it_resembles_one() {
        assert!(name(b"x-a-y").is_some());
        for text in [&b""[..], b" ", b"x a y", b"x\ra-y", b"x-\0-y", b"x-\xe1-y", b"x:a-y"] {
            assert_eq!(name(text), None, "{text:?}");
        }
        assert_eq!(name(b"x-a-y"), Some(HeaderName::from_static("x-a-y")));
    }

    #[test]
    fn names_that_share_a_place_take_turns() {
        // More than there are places.
        let texts: Vec<String> = (0..PLACES * 3).map(|number| format!("x-{number}")).collect();
        for text in texts.iter().chain(&texts) {
            assert_eq!(name(text.as_bytes()).as_ref().map(HeaderName::as_str), Some(text.as_str()));
        }
    }
}
