//! Regex routes: `listen_path: ~pattern` (resources sheet §16.6).

use regex::bytes::Regex;

/// One compiled regex route.
#[derive(Debug, Clone)]
pub struct CompiledRegex {
    regex: Regex,
    /// Every path the pattern accepts starts with these bytes: a compare that spares most patterns their search.
    literal_prefix: Box<[u8]>,
    /// The named groups with their numbers, in the pattern's order.
    names: Box<[(u32, Box<str>)]>,
}

impl CompiledRegex {
    /// Compiles the text after `~`. `^` is put in front and `$` behind unless the text has them: textually, without
    /// grouping, so that `/a|/b` accepts what starts with `/a` or ends with `/b`.
    ///
    /// # Errors
    /// The regex crate's own text, which shows the place in the pattern.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        let start = if pattern.starts_with('^') { "" } else { "^" };
        let end = if pattern.ends_with('$') { "" } else { "$" };
        let regex = Regex::new(&format!("{start}{pattern}{end}"))?;
        let names = regex.capture_names().enumerate();
        let names = names.filter_map(|(group, name)| Some((group as u32, Box::from(name?)))).collect();
        Ok(Self { literal_prefix: literal_prefix(pattern).into(), names, regex })
    }

    /// The length of the matched part, or nothing. Counted from the start of `path` to the end of the match.
    pub(super) fn match_end(&self, path: &[u8]) -> Option<usize> {
        if !path.starts_with(&self.literal_prefix) {
            return None;
        }
        self.regex.find(path).map(|found| found.end())
    }

    /// Calls `visit` with name and raw text of each named group that took part in the match of `path`.
    /// The text is a part of `path`: not decoded, and as lossy as the client made it.
    pub fn for_each_parameter<'p>(&self, path: &'p [u8], mut visit: impl FnMut(&str, &'p [u8])) {
        if self.names.is_empty() {
            return;
        }
        let mut groups = self.regex.capture_locations();
        if self.regex.captures_read(&mut groups, path).is_none() {
            return;
        }
        for (group, name) in &self.names {
            if let Some((start, end)) = groups.get(*group as usize) {
                visit(name, &path[start..end]);
            }
        }
    }

    /// Whether the pattern has named groups at all.
    pub fn has_parameters(&self) -> bool {
        !self.names.is_empty()
    }
}

/// The text that every match starts with, read off the pattern's front up to the first character with a meaning.
/// Alternation can make the front optional, so a pattern with `|` has none.
fn literal_prefix(pattern: &str) -> &[u8] {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    if pattern.contains('|') {
        return b"";
    }
    let end = pattern.find(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$']).unwrap_or(pattern.len());
    let literal = &pattern[..end];
    // a repetition operator takes the character before it
    match pattern[end..].chars().next() {
        Some('?' | '*' | '{' | '+') => {
            let last = literal.char_indices().next_back().map_or(0, |(start, _)| start);
            &literal.as_bytes()[..last]
        }
        _ => literal.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(pattern: &str, path: &str) -> bool {
        CompiledRegex::new(pattern).unwrap().match_end(path.as_bytes()).is_some()
    }

    #[test]
    fn patterns_are_anchored_at_both_ends() {
        let rows = [
            ("/v[0-9]+/[^/]+", true, false),
            ("/v[0-9]+/.*", true, true),
            ("^/v1", false, false),
            ("/v1/a$", true, false),
            ("^", false, false),
        ];
        for (pattern, short, long) in rows {
            assert_eq!((accepts(pattern, "/v1/a"), accepts(pattern, "/v1/a/b")), (short, long), "{pattern}");
        }
        assert!(accepts("^", ""), "^ becomes ^$");
    }

    #[test]
    fn anchoring_is_textual() {
        assert!(accepts("/a|/b", "/a/anything"));
        assert!(accepts("/a|/b", "anything/b"));
        assert!(!accepts("/a|/b", "/c/bb"));
        assert!(accepts(r"/price\$", "/price$/and/more"), "an escaped dollar at the end gets no anchor");
    }

    #[test]
    fn the_matched_length_is_the_end_of_the_match() {
        assert_eq!(CompiledRegex::new("/a|/b").unwrap().match_end(b"/a/x"), Some(2));
        assert_eq!(CompiledRegex::new("/a|/b").unwrap().match_end(b"x/b"), Some(3));
    }

    #[test]
    fn the_end_anchor_does_not_look_past_a_newline() {
        assert!(!accepts("/a", "/a\n"));
    }

    #[test]
    fn unicode_names_and_bytes_that_are_no_text() {
        assert!(accepts("/é+", "/éé"));
        assert!(accepts("/.", "/é"));
        assert_eq!(CompiledRegex::new("/.").unwrap().match_end(b"/\xff"), None);
    }

    #[test]
    fn groups_that_took_part_are_parameters() {
        let regex = CompiledRegex::new("/(?P<kind>[a-z]+)(/(?<id>[0-9]+))?(/plain)?").unwrap();
        let parameters = |path: &'static str| {
            let mut found = Vec::new();
            regex.for_each_parameter(path.as_bytes(), |name, value| found.push((name.to_owned(), value)));
            found
        };
        assert_eq!(parameters("/users/4"), [("kind".into(), &b"users"[..]), ("id".into(), b"4")]);
        assert_eq!(parameters("/users"), [("kind".into(), &b"users"[..])]);
        assert_eq!(parameters("/4"), []);
        assert!(regex.has_parameters() && !CompiledRegex::new("/(a)").unwrap().has_parameters());
    }

    #[test]
    fn the_literal_front_never_claims_too_much() {
        let rows = [
            ("/users/[^/]+", "/users/"),
            ("^/v1", "/v1"),
            ("/ab?", "/a"),
            ("/ab*c", "/a"),
            ("/ab{0,2}", "/a"),
            ("/é?", "/"),
            ("?", ""),
            ("/a|/b", ""),
            ("(?i)/a", ""),
            (r"/a\.b", "/a"),
            ("/a.b", "/a"),
            ("/plain", "/plain"),
        ];
        for (pattern, prefix) in rows {
            assert_eq!(literal_prefix(pattern), prefix.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn look_around_and_broken_patterns_are_refused() {
        for pattern in ["bad[", "(?=x)", r"(a)\1", "(?P<n>"] {
            assert!(CompiledRegex::new(pattern).is_err(), "{pattern}");
        }
    }
}
