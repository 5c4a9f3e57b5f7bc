//! How requests carry credentials: where they stand, under which scheme, and the Basic scheme itself.

pub mod jws;
pub mod remembered;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::STANDARD;

use crate::RequestContext;
use crate::config::is_token;
use crate::query::parameter;

/// Where a credential stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Location {
    Header(String),
    Query(String),
}

impl Location {
    /// `header:<name>` or `query:<name>`.
    ///
    /// # Errors
    /// The reason, as it follows the key's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let syntax = || format!("must be 'header:<name>' or 'query:<name>' (got '{text}')");
        let (kind, name) = text.split_once(':').ok_or_else(syntax)?;
        match kind {
            "header" if name.is_empty() => Err(format!("needs a header name after 'header:' (got '{text}')")),
            "header" if !is_token(name) => Err(format!("has an invalid header name '{name}' (RFC 7230 token)")),
            "header" => Ok(Location::Header(name.to_owned())),
            "query" if name.is_empty() => Err(format!("needs a parameter name after 'query:' (got '{text}')")),
            "query" => Ok(Location::Query(name.to_owned())),
            _ => Err(syntax()),
        }
    }

    /// What stands there; of repeated headers or parameters, the last.
    pub fn find<'a>(&self, cx: &'a RequestContext) -> Option<Cow<'a, str>> {
        match self {
            Location::Header(name) => cx.head.headers.get(name).map(Cow::Borrowed),
            Location::Query(name) => parameter(cx, name),
        }
    }
}

/// Time since 1970; None while the clock stands before that, when nothing that expires may be taken for good.
pub fn unix_now() -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}

/// What follows a scheme, whose case does not matter (RFC 9110 §11.1), and at least one blank. None under another scheme.
pub fn under_scheme<'v>(value: &'v str, scheme: &str) -> Option<&'v str> {
    let (found, rest) = value.split_at_checked(scheme.len())?;
    let is_it = found.eq_ignore_ascii_case(scheme) && rest.starts_with([' ', '\t']);
    is_it.then(|| rest.trim_matches([' ', '\t']))
}

/// Nearly all credentials fit in here, decoded; a longer one is decoded on the heap.
const STACK_BYTES: usize = 512;

/// Lets `then` look at decoded base64; None when it is none.
pub fn decoded<R>(alphabet: &GeneralPurpose, text: &str, then: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if text.len() <= STACK_BYTES {
        let mut stack = [0; STACK_BYTES];
        let length = alphabet.decode_slice(text, &mut stack).ok()?;
        return stack.get(..length).map(then);
    }
    alphabet.decode(text).ok().map(|bytes| then(&bytes))
}

/// What is wrong with the value of an `Authorization` header that should be Basic (RFC 7617).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MalformedBasic {
    /// Another scheme, or no colon between username and password.
    Format,
    Base64,
    Utf8,
}

impl MalformedBasic {
    /// The body that every plugin answers with.
    pub fn json(self) -> &'static str {
        match self {
            MalformedBasic::Format => r#"{"error":"Invalid Basic auth format"}"#,
            MalformedBasic::Base64 => r#"{"error":"Invalid base64 in Basic auth"}"#,
            MalformedBasic::Utf8 => r#"{"error":"Invalid UTF-8 in Basic auth"}"#,
        }
    }
}

/// Lets `then` look at the username and the password, which stand on both sides of the first colon.
///
/// # Errors
/// The value is not Basic.
pub fn basic<R>(authorization: &str, then: impl FnOnce(&str, &str) -> R) -> Result<R, MalformedBasic> {
    let token = under_scheme(authorization, "basic").ok_or(MalformedBasic::Format)?;
    let split = |bytes: &[u8]| {
        let pair = std::str::from_utf8(bytes).map_err(|_| MalformedBasic::Utf8)?;
        let (username, password) = pair.split_once(':').ok_or(MalformedBasic::Format)?;
        Ok(then(username, password))
    };
    decoded(&STANDARD, token, split).unwrap_or(Err(MalformedBasic::Base64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    fn read(authorization: &str) -> Result<(String, String), MalformedBasic> {
        basic(authorization, |username, password| (username.to_owned(), password.to_owned()))
    }

    fn encoded(pair: impl AsRef<[u8]>) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn a_scheme_is_compared_without_case_and_needs_a_blank() {
        for value in ["Bearer a.b", "bearer \t a.b  ", "BEARER\ta.b"] {
            assert_eq!(under_scheme(value, "bearer"), Some("a.b"), "{value}");
        }
        for value in ["Bearer", "Bearera.b", "Bear", "", "Basic a.b", "Bearer:a", "Beäre a"] {
            assert_eq!(under_scheme(value, "bearer"), None, "{value}");
        }
        assert_eq!(under_scheme("Bearer ", "bearer"), Some(""));
    }

    #[test]
    fn username_and_password_are_split_at_the_first_colon() {
        let pair = |username: &str, password: &str| Ok((username.to_owned(), password.to_owned()));
        assert_eq!(read("Basic YWxpY2U6b3BlbiBzZXNhbWU="), pair("alice", "open sesame"));
        assert_eq!(read(&encoded("a:b:c")), pair("a", "b:c"));
        assert_eq!(read(&encoded(":")), pair("", ""));
        assert_eq!(read(&encoded("jürgen:pässwörd")), pair("jürgen", "pässwörd"));
        assert_eq!(read("bAsIc   YTpi"), pair("a", "b"));
    }

    #[test]
    fn each_fault_has_its_name() {
        for other in ["Bearer YTpi", "Basic", "YTpi", "", "BasicYTpi"] {
            assert_eq!(read(other), Err(MalformedBasic::Format), "{other}");
        }
        assert_eq!(read(&encoded("no colon")), Err(MalformedBasic::Format));
        assert_eq!(read("Basic "), Err(MalformedBasic::Format), "nothing has no colon");
        for bad in ["Basic YTpi=", "Basic Y", "Basic a:b", "Basic YT pi", "Basic YWxpY2U6YQ", "Basic -_-_"] {
            assert_eq!(read(bad), Err(MalformedBasic::Base64), "{bad}");
        }
        assert_eq!(read(&encoded([b'a', b':', 0xff])), Err(MalformedBasic::Utf8));
    }

    #[test]
    fn what_is_longer_than_the_stack_s_room_is_decoded_too() {
        for length in [0, 1, 381, 382, 383, 384, 385, 400, 10_000] {
            let password = "p".repeat(length);
            assert_eq!(read(&encoded(format!("u:{password}"))), Ok(("u".to_owned(), password)), "{length}");
            let text = URL_SAFE_NO_PAD.encode(vec![7; length]);
            assert_eq!(decoded(&URL_SAFE_NO_PAD, &text, <[u8]>::len), Some(length));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_and_nothing_makes_it_panic(
            username in "[^:]{0,20}", password in ".{0,600}", noise in ".{0,60}",
        ) {
            prop_assert_eq!(read(&encoded(format!("{username}:{password}"))), Ok((username, password)));
            drop(read(&noise));
            drop(read(&format!("Basic {noise}")));
        }
    }
}
