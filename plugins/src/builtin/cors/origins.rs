//! Which origins are allowed, and how an origin is found among them in time that hardly grows with their number.

use std::cmp::Ordering;
use std::net::Ipv6Addr;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// A longer origin fits no pattern. A scheme, a host name and a port are far shorter.
const PATTERN_ORIGIN_BYTES_MAX: usize = 1024;
/// RFC 1035 §2.3.4, written with dots.
const HOST_NAME_BYTES_MAX: usize = 253;
/// Of one compiled expression, so that the time it takes for [`PATTERN_ORIGIN_BYTES_MAX`] is bounded too.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// A set of origins. All text is lower-case.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    is_any: bool,
    /// Whole origins, sorted.
    exact: Vec<String>,
    /// Of `*.example.com`, what follows `*.`; sorted.
    domains: Vec<String>,
    prefixes: Vec<String>,
    /// Each fits a whole origin.
    patterns: Vec<Regex>,
}

impl Origins {
    pub fn any() -> Self {
        Self { is_any: true, ..Self::default() }
    }

    pub fn is_any(&self) -> bool {
        self.is_any
    }

    /// Adds an entry of the config.
    ///
    /// # Errors
    /// What is wrong with it, to be read behind the name of the key.
    pub fn add(&mut self, entry: &Value) -> Result<(), String> {
        match entry {
            Value::String(text) => self.add_text(text.trim()),
            Value::Object(matcher) => self.add_matcher(matcher),
            _ => Err("has an entry that is neither a string nor an object".into()),
        }
    }

    fn add_text(&mut self, text: &str) -> Result<(), String> {
        let refused = |reason: &str| Err(format!("has '{text}', {reason}"));
        if text.is_empty() {
            return Err("has a blank entry".into());
        }
        if text == "*" {
            self.is_any = true;
        } else if let Some(domain) = text.strip_prefix("*.") {
            let is_wrong = |letter: char| matches!(letter, '*' | '/' | ':') || letter.is_whitespace();
            if domain.is_empty() || domain.contains(is_wrong) {
                return refused("which is not '*.' and a domain");
            }
            self.domains.push(domain.to_ascii_lowercase());
        } else if text.starts_with('*') {
            return refused("which is neither '*' nor '*.' and a domain");
        } else if is_web_origin(text) {
            self.exact.push(text.to_ascii_lowercase());
        } else {
            return refused("which is not an origin: 'http://' or 'https://', a host, and ':' and a port if need be");
        }
        Ok(())
    }

    fn add_matcher(&mut self, matcher: &Map<String, Value>) -> Result<(), String> {
        let mut members = matcher.iter();
        let (Some((kind, Value::String(text))), None) = (members.next(), members.next()) else {
            return Err("has an object that is not one of 'exact', 'prefix' and 'regex' with a string".into());
        };
        if text.trim().is_empty() {
            return Err(format!("has a blank '{kind}'"));
        }
        match kind.as_str() {
            "exact" | "prefix" if text.contains('*') => {
                return Err(format!("has '*' in the '{kind}' '{text}', where it is no wildcard"));
            }
            "exact" => self.exact.push(text.trim().to_ascii_lowercase()),
            "prefix" => self.prefixes.push(text.trim().to_ascii_lowercase()),
            "regex" => self.patterns.push(compiled(text)?),
            _ => return Err(format!("has an object with '{kind}', which is not one of 'exact', 'prefix' and 'regex'")),
        }
        Ok(())
    }

    /// To be called once, behind the last entry.
    pub fn sort(&mut self) {
        for list in [&mut self.exact, &mut self.domains, &mut self.prefixes] {
            list.sort_unstable();
            list.dedup();
        }
    }

    /// Whether a page of that origin may ask. An empty one is nobody's.
    pub fn allows(&self, origin: &str) -> bool {
        !origin.is_empty() && (self.is_any || has(&self.exact, origin) || self.fits_pattern(origin))
    }

    fn fits_pattern(&self, origin: &str) -> bool {
        origin.len() <= PATTERN_ORIGIN_BYTES_MAX
            && (self.is_in_domain(origin)
                || self.prefixes.iter().any(|prefix| begins_with(origin, prefix))
                || self.patterns.iter().any(|pattern| pattern.is_match(origin)))
    }

    fn is_in_domain(&self, origin: &str) -> bool {
        if self.domains.is_empty() {
            return false;
        }
        let Some(host) = host_name(origin) else { return false };
        host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..)).any(|domain| has(&self.domains, domain))
    }
}

fn begins_with(origin: &str, prefix: &str) -> bool {
    origin.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Whether a sorted list of lower-case text has it, in any case.
fn has(sorted: &[String], text: &str) -> bool {
    let folded = || text.bytes().map(|byte| byte.to_ascii_lowercase());
    sorted.binary_search_by(|present| -> Ordering { present.bytes().cmp(folded()) }).is_ok()
}

/// An expression that fits a whole origin.
fn compiled(text: &str) -> Result<Regex, String> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    // Alone first: what is no expression by itself could become one between the anchors.
    let built = build(text).and_then(|_| build(&format!(r"\A(?:{text})\z")));
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("has the regex '{text}', which is larger than {REGEX_BYTES_MAX} bytes when it is compiled")
        }
        error => {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default();
            format!("has the invalid regex '{text}' ({})", last.strip_prefix("error: ").unwrap_or(last))
        }
    })
}

/// The host of an origin, if it is a name (or an IPv4 address).
fn host_name(origin: &str) -> Option<&str> {
    let (scheme, rest) = origin.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return None;
    }
    let host = match rest.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return None,
        None => rest,
    };
    is_host_name(host).then_some(host)
}

fn is_host_name(host: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=HOST_NAME_BYTES_MAX).contains(&host.len())
        && host.bytes().all(is_letter)
        && !host.starts_with('.')
        && !host.contains("..")
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What browsers send for a page of the web: scheme, host, and a port if it is not the scheme's own.
fn is_web_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return false;
    }
    let is_good = |port: Option<&str>| port.is_none_or(is_port);
    if let Some(rest) = rest.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    is_host_name(host) && is_good(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn origins(entries: Value) -> Origins {
        let mut origins = Origins::default();
        for entry in entries.as_array().unwrap() {
            origins.add(entry).unwrap();
        }
        origins.sort();
        origins
    }

    fn refused(entry: Value) -> String {
        Origins::default().add(&entry).unwrap_err()
    }

    #[test]
    fn a_whole_origin_is_compared_in_any_case_with_its_port() {
        let set = origins(json!([" https://App.Example.com ", "http://b.test:8080", "https://[2001:db8::1]:8443"]));
        for allowed in ["https://app.example.com", "HTTPS://APP.EXAMPLE.COM", "http://b.test:8080"] {
            assert!(set.allows(allowed), "{allowed}");
        }
        assert!(set.allows("https://[2001:DB8::1]:8443"));
        for other in
            ["http://app.example.com", "https://app.example.com:443", "http://b.test", "https://app.example.co"]
        {
            assert!(!set.allows(other), "{other}");
        }
        assert!(!set.allows("https://app.example.com/") && !set.allows("null") && !set.allows(""));
    }

    #[test]
    fn any_origin_is_any_but_the_empty_one() {
        let set = origins(json!(["https://a.test", "*"]));
        assert!(set.is_any() && set.allows("null") && set.allows("x") && !set.allows(""));
    }

    #[test]
    fn a_sub_domain_fits_at_any_depth_with_any_scheme_and_port() {
        let set = origins(json!(["*.Example.com", "*.co.test"]));
        for allowed in ["https://a.example.com", "http://A.B.EXAMPLE.COM:8080", "custom+x://a.example.com:65535"] {
            assert!(set.allows(allowed), "{allowed}");
        }
        assert!(set.allows("https://shop.co.test"));
        for other in [
            "https://example.com",
            "https://.example.com",
            "https://a..example.com",
            "https://badexample.com",
            "https://a.example.com.evil.test",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://evil.test?.example.com",
            "https://user@a.example.com",
            "https://a.example.com:",
            "https://a.example.com:65536",
            "https://a.example.com:80:80",
            "https://[::1].example.com",
            "://a.example.com",
            "a.example.com",
            "https:// a.example.com",
        ] {
            assert!(!set.allows(other), "{other}");
        }
        assert!(!origins(json!(["*.db8"])).allows("https://[2001.db8]"));
    }

    #[test]
    fn a_host_name_has_at_most_253_bytes() {
        let set = origins(json!(["*.example.com"]));
        let origin = |length: usize| format!("https://{}.example.com", "a".repeat(length - ".example.com".len()));
        assert!(set.allows(&origin(253)));
        assert!(!set.allows(&origin(254)));
    }

    #[test]
    fn prefixes_and_expressions_fit_origins_of_at_most_1024_bytes() {
        let set = origins(json!([{"prefix": "HTTPS://pre-"}, {"regex": "https://(a|ab)"}, {"exact": "null"}]));
        assert!(set.allows("https://pre-1.test") && set.allows("https://PRE-") && !set.allows("https://pre"));
        assert!(set.allows("https://a") && set.allows("https://ab"), "the whole origin may fit the longer branch");
        assert!(!set.allows("https://abc") && !set.allows("xhttps://a") && !set.allows("https://a\n"));
        assert!(set.allows("null") && set.allows("NULL") && !set.allows("nullx"));
        let long = |length: usize| format!("https://pre-{}", "a".repeat(length - "https://pre-".len()));
        assert!(set.allows(&long(1024)));
        assert!(!set.allows(&long(1025)));
    }

    #[test]
    fn an_expression_stays_between_its_anchors() {
        assert!(refused(json!({"regex": "a)|(?:b"})).starts_with("has the invalid regex 'a)|(?:b' (unopened group"));
        let loose = origins(json!([{"regex": "https://a|https://b"}]));
        assert!(loose.allows("https://a") && loose.allows("https://b"));
        assert!(!loose.allows("https://a.evil.test") && !loose.allows("x https://b"));
    }

    #[test]
    fn an_expression_is_compiled_up_to_a_size() {
        origins(json!([{"regex": "https://[a-z]{1000}"}]));
        assert_eq!(
            refused(json!({"regex": r"\w{100}"})),
            r"has the regex '\w{100}', which is larger than 262144 bytes when it is compiled"
        );
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        for text in ["", "  "] {
            assert_eq!(refused(json!(text)), "has a blank entry");
        }
        for text in ["*.", "*.a*", "*.a/b", "*.a:80", "*.a b", "*.*.a"] {
            assert_eq!(refused(json!(text)), format!("has '{text}', which is not '*.' and a domain"));
        }
        assert_eq!(refused(json!("*foo")), "has '*foo', which is neither '*' nor '*.' and a domain");
        for text in [
            "example.com",
            "null",
            "ftp://a.test",
            "https://",
            "https://a.test/",
            "https://a.test/path",
            "https://a.test?q",
            "https://a.test#f",
            "https://user@a.test",
            "https://user:pass@a.test",
            "https://a.test:",
            "https://a.test:x",
            "https://a.test:65536",
            "https://a b.test",
            "https://*.a.test",
            "https://[::1",
            "https://[::g]",
            "https://[::1]x",
            "https:/a.test",
        ] {
            let reason = "which is not an origin: 'http://' or 'https://', a host, and ':' and a port if need be";
            assert_eq!(refused(json!(text)), format!("has '{text}', {reason}"));
        }
        assert_eq!(refused(json!(null)), "has an entry that is neither a string nor an object");
        assert_eq!(refused(json!(["https://a.test"])), "has an entry that is neither a string nor an object");
    }

    #[test]
    fn an_object_says_one_thing() {
        let shape = "has an object that is not one of 'exact', 'prefix' and 'regex' with a string";
        for wrong in [json!({}), json!({"exact": 1}), json!({"exact": "a", "prefix": "b"}), json!({"regex": null})] {
            assert_eq!(refused(wrong), shape);
        }
        assert_eq!(
            refused(json!({"suffix": "x"})),
            "has an object with 'suffix', which is not one of 'exact', 'prefix' and 'regex'"
        );
        assert_eq!(refused(json!({"prefix": " "})), "has a blank 'prefix'");
        assert_eq!(refused(json!({"exact": "*"})), "has '*' in the 'exact' '*', where it is no wildcard");
        assert_eq!(
            refused(json!({"prefix": "https://*"})),
            "has '*' in the 'prefix' 'https://*', where it is no wildcard"
        );
    }

    #[test]
    fn thousands_of_origins_are_told_apart() {
        let entry = |number: usize| match number % 2 {
            0 => json!(format!("https://Site-{number}.test")),
            _ => json!(format!("*.Site-{number}.test")),
        };
        let set = origins((0..10_000).map(entry).collect());
        assert!(set.allows("https://site-4242.test") && set.allows("https://a.b.SITE-4243.test:81"));
        assert!(!set.allows("https://site-4243.test") && !set.allows("https://a.site-4242.test"));
    }
}
