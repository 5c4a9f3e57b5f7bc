//! Query parameters as plugins see them (plugins sheet §1.4): pairs split at `&`, percent-decoded, the last one wins.
//!
//! `+` is not a blank: the sheet decodes percent triplets only.
//!
//! A plugin may change what the plugins behind it see. The backend gets the query as it came (traffic plugins sheet §2.1).

use std::borrow::Cow;

use engine::http::Version;

use crate::RequestContext;

/// As [`parameter`], and decoded on HTTP/3 too: for plugins that the sheet names as needing that.
pub fn decoded_parameter<'a>(cx: &'a RequestContext, name: &str) -> Option<Cow<'a, str>> {
    match edited(cx, name) {
        Some(value) => value.as_deref().map(Cow::Borrowed),
        None => last_of(cx.head.query(), name, false),
    }
}

/// The value of the last parameter of that name. Allocates only when the value has percent triplets.
///
/// On HTTP/3 names and values are taken as they came and a name without `=` is not a parameter.
pub fn parameter<'a>(cx: &'a RequestContext, name: &str) -> Option<Cow<'a, str>> {
    match edited(cx, name) {
        Some(value) => value.as_deref().map(Cow::Borrowed),
        None => last_of(cx.head.query(), name, cx.head.version == Version::Http3),
    }
}

/// All parameters as [`parameter`] shows them, in no order; of a name that comes twice, the one that counts comes last.
pub fn all(cx: &RequestContext) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let is_raw = cx.head.version == Version::Http3;
    let pairs = cx.head.query().split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let came = pairs.filter_map(move |pair| match memchr::memchr(b'=', pair) {
        Some(at) if is_raw => Some((String::from_utf8_lossy(&pair[..at]), String::from_utf8_lossy(&pair[at + 1..]))),
        Some(at) => Some((decode(&pair[..at]), decode(&pair[at + 1..]))),
        None => (!is_raw).then(|| (decode(pair), Cow::Borrowed(""))),
    });
    let edits = cx.query_edits.iter();
    let set = edits.filter_map(|(name, value)| Some((Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_deref()?))));
    came.filter(|(name, _)| edited(cx, name).is_none()).chain(set)
}

/// From now on plugins see this value under that name, or none.
pub fn set(cx: &mut RequestContext, name: &str, value: Option<String>) {
    cx.query_edits.insert(name.to_owned(), value);
}

/// What a plugin has set in the place of what came.
fn edited<'a>(cx: &'a RequestContext, name: &str) -> Option<&'a Option<String>> {
    cx.query_edits.get(name)
}

fn last_of<'a>(query: &'a [u8], name: &str, is_raw: bool) -> Option<Cow<'a, str>> {
    query.rsplit(|byte| *byte == b'&').find_map(|pair| {
        let equals = memchr::memchr(b'=', pair);
        if is_raw && equals.is_none() {
            return None;
        }
        let key = &pair[..equals.unwrap_or(pair.len())];
        let value = equals.map_or(&[][..], |at| &pair[at + 1..]);
        if is_raw {
            return (key == name.as_bytes()).then(|| String::from_utf8_lossy(value));
        }
        is_name(key, name).then(|| decode(value))
    })
}

/// Whether a parameter's name, as it came, is that name.
pub fn is_name(key: &[u8], name: &str) -> bool {
    key == name.as_bytes() || (memchr::memchr(b'%', key).is_some() && decode(key) == name)
}

/// Percent-decoded; a `%` that no two hex digits follow stands for itself, and what is not UTF-8 is replaced.
pub(crate) fn decode(text: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'%', text).is_none() {
        return String::from_utf8_lossy(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let triplet = match after {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        bytes.push(triplet.map_or(byte, |(high, low)| high << 4 | low));
        rest = if triplet.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::testing::request;

    fn look_up(query: &str, name: &str) -> Option<String> {
        parameter(&request(&format!("GET /?{query}"), &[]), name).map(Cow::into_owned)
    }

    #[test]
    fn the_last_duplicate_wins() {
        assert_eq!(look_up("k=1&k=2&other=3", "k").as_deref(), Some("2"));
        assert_eq!(look_up("k=1&%6b=2", "k").as_deref(), Some("2"));
        assert_eq!(look_up("k=1", "K"), None);
        assert_eq!(look_up("", "k"), None);
    }

    #[test]
    fn a_name_without_a_value_is_empty() {
        assert_eq!(look_up("k", "k").as_deref(), Some(""));
        assert_eq!(look_up("k=", "k").as_deref(), Some(""));
        assert_eq!(look_up("k=a=b", "k").as_deref(), Some("a=b"));
    }

    #[test]
    fn values_are_percent_decoded() {
        assert_eq!(look_up("k=a%20b+c", "k").as_deref(), Some("a b+c"));
        assert_eq!(look_up("k=%", "k").as_deref(), Some("%"));
        assert_eq!(look_up("k=%4", "k").as_deref(), Some("%4"));
        assert_eq!(look_up("k=%zz%C3%BC", "k").as_deref(), Some("%zzü"));
        assert_eq!(look_up("k=%ff", "k").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn on_http3_the_query_is_raw() {
        let mut cx = request("GET /?k=%20&k", &[]);
        cx.head.version = Version::Http3;
        assert_eq!(parameter(&cx, "k").as_deref(), Some("%20"));
        let mut cx = request("GET /?%6b=%20", &[]);
        cx.head.version = Version::Http3;
        assert_eq!(parameter(&cx, "k"), None);
        assert_eq!(decoded_parameter(&cx, "k").as_deref(), Some(" "));
    }

    #[test]
    fn what_a_plugin_sets_is_what_the_next_ones_see() {
        let mut cx = request("GET /?a=1&b=2&b=3", &[]);
        set(&mut cx, "a", Some("&x".into()));
        set(&mut cx, "b", None);
        set(&mut cx, "c", Some(String::new()));
        let seen = |cx: &RequestContext| ["a", "b", "c"].map(|name| parameter(cx, name).map(Cow::into_owned));
        assert_eq!(seen(&cx), [Some("&x".into()), None, Some(String::new())]);
        set(&mut cx, "b", Some("again".into()));
        set(&mut cx, "a", None);
        assert_eq!(seen(&cx), [None, Some("again".into()), Some(String::new())]);
        assert_eq!(cx.head.query(), b"a=1&b=2&b=3", "the backend gets what came");
    }

    #[test]
    fn all_parameters_are_those_that_are_found_one_by_one() {
        let mut cx = request("GET /?a=1&&b&c=%20&%63=x%ff&d", &[]);
        let seen = |cx: &RequestContext| {
            let all: HashMap<String, String> = all(cx).map(|(name, value)| (name.into(), value.into())).collect();
            for (name, value) in &all {
                assert_eq!(parameter(cx, name).as_deref(), Some(value.as_str()), "{name}");
            }
            let mut names: Vec<_> = all.into_keys().collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(seen(&cx), "a b c d");
        set(&mut cx, "a", None);
        set(&mut cx, "c", Some("new".into()));
        set(&mut cx, "e", Some(String::new()));
        assert_eq!(seen(&cx), "b c d e");
        cx.head.version = Version::Http3;
        assert_eq!(seen(&cx), "%63 c e");
    }
}
