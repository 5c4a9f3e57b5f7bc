//! Where in a JSON body a rule works: names and places, separated by dots.

use rustc_hash::FxHashMap;

/// Segments of a path. A body is opened no deeper than this, whatever rules and bodies say; it is also as deep as most JSON
/// parsers go.
pub const SEGMENTS_MAX: usize = 128;

/// One step into a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// The name of a member.
    pub name: NameId,
    /// Of a segment that is all digits: the place in an array.
    pub index: Option<usize>,
}

pub type Path = Box<[Segment]>;

/// Among the [`Names`] of a plugin's rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NameId(usize);

/// All names that paths have, so that the members that matter are found in one pass over an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    ids: FxHashMap<Box<str>, NameId>,
    /// As JSON has them.
    quoted: Vec<Box<str>>,
    /// A bit for each length that a name has; those from 63 bytes on share one.
    lengths: u64,
    bytes_max: usize,
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

impl Names {
    fn id(&mut self, name: String) -> NameId {
        if let Some(id) = self.ids.get(name.as_str()) {
            return *id;
        }
        let id = NameId(self.quoted.len());
        self.quoted.push(serde_json::Value::from(name.as_str()).to_string().into());
        self.lengths |= length_bit(name.len());
        self.bytes_max = self.bytes_max.max(name.len());
        self.ids.insert(name.into(), id);
        id
    }

    pub fn quoted(&self, id: NameId) -> &str {
        self.quoted.get(id.0).map_or("\"\"", |name| name)
    }

    /// Which name the text between two quotes means, whatever escapes it is written with. `scratch` is memory for them.
    pub fn find(&self, text: &[u8], scratch: &mut Vec<u8>) -> Option<NameId> {
        // Nothing of a name takes more than six times its bytes (`\u0041`).
        if text.len() > self.bytes_max.saturating_mul(6) {
            return None;
        }
        let name = if memchr::memchr(b'\\', text).is_some() {
            unescape(text, scratch)?;
            &scratch[..]
        } else {
            text
        };
        if self.lengths & length_bit(name.len()) == 0 {
            return None;
        }
        self.ids.get(std::str::from_utf8(name).ok()?).copied()
    }
}

/// Nothing when half a surrogate pair is in it, which is no character.
fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    while let Some((byte, rest)) = text.split_first() {
        if *byte != b'\\' {
            out.push(*byte);
            text = rest;
            continue;
        }
        let (char, rest) = escape(rest)?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        text = rest;
    }
    Some(())
}

/// What stands behind a backslash, and what follows.
fn escape(text: &[u8]) -> Option<(char, &[u8])> {
    let (kind, rest) = text.split_first()?;
    let char = match kind {
        b'u' => return unicode(rest),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(*other),
    };
    Some((char, rest))
}

fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = hex4(text)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high).map(|char| (char, rest));
    }
    let (low, rest) = hex4(rest.strip_prefix(b"\\u")?)?;
    if !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).map(|char| (char, rest))
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let number = digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))?;
    Some((number, rest))
}

/// Takes a path apart. `\.` is a dot of a name, `\\` a backslash; before anything else a backslash stands for itself.
pub fn parse(path: &str, names: &mut Names) -> Path {
    let mut segments = Vec::new();
    let (mut name, mut is_escaped) = (String::new(), false);
    let mut rest = path.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '.' => {
                segments.push(segment(std::mem::take(&mut name), is_escaped, names));
                is_escaped = false;
            }
            '\\' => {
                is_escaped = true;
                name.push(rest.next_if(|next| matches!(next, '.' | '\\')).unwrap_or('\\'));
            }
            _ => name.push(char),
        }
    }
    segments.push(segment(name, is_escaped, names));
    segments.into()
}

fn segment(name: String, is_escaped: bool, names: &mut Names) -> Segment {
    let is_number = !is_escaped && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    // A number that no array can have is out of every range.
    Segment { index: is_number.then(|| name.parse().unwrap_or(usize::MAX)), name: names.id(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segments as JSON, and the places they are.
    fn taken_apart(path: &str) -> (String, Vec<Option<usize>>) {
        let mut names = Names::default();
        let path = parse(path, &mut names);
        let quoted: Vec<&str> = path.iter().map(|segment| names.quoted(segment.name)).collect();
        (quoted.join(","), path.iter().map(|segment| segment.index).collect())
    }

    #[test]
    fn dots_separate_and_a_backslash_keeps_them() {
        for (path, expected) in [
            ("a", r#""a""#),
            ("user.name.first", r#""user","name","first""#),
            (r"a\.b.c", r#""a.b","c""#),
            (r"a\\.b", r#""a\\","b""#),
            (r"a\\\.b", r#""a\\.b""#),
            (r"a\nb", r#""a\\nb""#),
            ("a\\", r#""a\\""#),
            (".a..b.", r#""","a","","b","""#),
            ("", r#""""#),
            ("ü\"\n", r#""ü\"\n""#),
            ("a.b.a", r#""a","b","a""#),
        ] {
            assert_eq!(taken_apart(path).0, expected, "{path}");
        }
    }

    #[test]
    fn only_digits_without_an_escape_are_a_place() {
        assert_eq!(taken_apart("0.12.007").1, [Some(0), Some(12), Some(7)]);
        assert_eq!(taken_apart(r"a1.-1.1\.2.١..1e3").1, [None; 6]);
        assert_eq!(taken_apart(r"\1").1, [None]);
        assert_eq!(taken_apart("99999999999999999999999").1, [Some(usize::MAX)]);
    }

    fn means(text: &str, name: &str) -> bool {
        let mut names = Names::default();
        let id = names.id(name.to_owned());
        names
            .id("another name, which is a good deal longer than all of those that are looked for in these tests"
                .to_owned());
        names.find(text.as_bytes(), &mut Vec::new()) == Some(id)
    }

    #[test]
    fn names_are_compared_by_what_they_mean() {
        for (text, name) in [
            (r"\u00fc", "ü"),
            (r"\u00FC", "ü"),
            ("ü", "ü"),
            (r"\u0061\u0062", "ab"),
            (r"\ud83d\ude00", "\u{1f600}"),
            (r#"\"\/\b\f\n\r\t"#, "\"/\u{8}\u{c}\n\r\t"),
            (r"a\\b", r"a\b"),
            ("", ""),
        ] {
            assert!(means(text, name), "{text}");
        }
        for (text, name) in [
            (r"a\b", r"a\b"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83d\u0041", "A"),
            ("ab", "a"),
            ("a", "ab"),
            (r"\u0061b", "a"),
            ("A", "a"),
        ] {
            assert!(!means(text, name), "{text}");
        }
        let long = "x".repeat(70);
        assert!(means(&long, &long) && means(&r"\u0078".repeat(70), &long) && !means(&"x".repeat(71), &long));
    }
}
