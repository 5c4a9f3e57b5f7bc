//! Rules for JSON bodies, and who rewrites a body by them.

use std::sync::Arc;

use engine::core::foreign;
use engine::http::{Headers, Known};
use tokio::runtime::Handle;

use super::body_path::{Names, Path, Segment};
use super::json::Document;
use super::rules::Rules;

#[derive(Clone, Debug, PartialEq)]
pub enum BodyRule {
    /// Where there is nothing. The value is JSON text without blanks around it.
    Add {
        path: Path,
        value: Box<str>,
    },
    Update {
        path: Path,
        value: Box<str>,
    },
    Remove {
        path: Path,
    },
    Rename {
        path: Path,
        to: Path,
    },
}

impl BodyRule {
    /// Whether it has changed anything. Where a rule finds no way it is passed over.
    fn apply(&self, document: &mut Document) -> bool {
        match self {
            Self::Add { path, value } => !document.has(path) && put(document, path, value),
            Self::Update { path, value } => !document.is(path, value) && put(document, path, value),
            Self::Remove { path } => document.remove(path),
            Self::Rename { path, to } => path != to && document.rename(path, to),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (one, other) = match self {
            Self::Add { path, .. } | Self::Update { path, .. } | Self::Remove { path } => (path, None),
            Self::Rename { path, to } => (path, Some(to)),
        };
        std::iter::once(one).chain(other)
    }
}

fn put(document: &mut Document, path: &[Segment], value: &str) -> bool {
    let value = document.value(value);
    document.set(path, value).is_ok()
}

/// So many bytes a core scans in about a millisecond at worst (`examples/body_rules.rs`). A body that costs more is rewritten
/// by the control runtime, so that the others on this core do not wait for it.
pub const SCANNED_BYTES_MAX: usize = 512 * 1024;

/// All rules of a plugin for bodies.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyRules {
    rules: Box<[BodyRule]>,
    names: Names,
    items_max: usize,
    short_bytes_max: usize,
}

impl BodyRules {
    /// The names are those of the rules' paths.
    pub fn new(rules: Vec<BodyRule>, names: Names) -> Self {
        let paths = || rules.iter().flat_map(BodyRule::paths);
        // What a removal moves up comes from behind.
        let removals = rules.iter().filter(|rule| matches!(rule, BodyRule::Remove { .. })).count();
        let indexes = paths().flat_map(|path| path.iter().filter_map(|segment| segment.index));
        // A place that no array can have need not be looked for.
        let index = indexes.filter(|index| *index != usize::MAX).max();
        let items_max = index.map_or(0, |index| index.saturating_add(1).saturating_add(removals));
        // It is read once as a whole and once for each segment, and written.
        let scans = 2 + paths().map(|path| path.len()).max().unwrap_or_default();
        Self { rules: rules.into(), names, items_max, short_bytes_max: SCANNED_BYTES_MAX / scans }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether this is little work.
    fn is_short(&self, body: &[u8]) -> bool {
        body.len() <= self.short_bytes_max
    }

    /// The body as the rules have it, in their order. What is no JSON, or is not changed, stays as it is, byte for byte.
    pub fn rewritten(&self, body: Vec<u8>) -> Vec<u8> {
        let mut document = match Document::new(body, &self.names, self.items_max) {
            Ok(document) => document,
            Err(body) => return body,
        };
        let mut is_changed = false;
        for rule in &self.rules {
            is_changed |= rule.apply(&mut document);
        }
        if is_changed { document.into_edited() } else { document.into_received() }
    }
}

/// Rewrites bodies on one core.
pub struct Rewriter {
    rules: Arc<Rules>,
    runtime: Handle,
}

impl Rewriter {
    pub fn new(rules: Arc<Rules>, runtime: Handle) -> Self {
        Self { rules, runtime }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// At once, or the body is given back because it takes long.
    pub fn rewrite_short(&self, body: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        let rules = &self.rules.body;
        if rules.is_short(&body) { Ok(rules.rewritten(body)) } else { Err(body) }
    }

    /// Elsewhere. None: the runtime has ended.
    pub async fn rewrite_long(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        let rules = self.rules.clone();
        foreign(self.runtime.spawn_blocking(move || rules.body.rewritten(body))).await.ok()
    }
}

/// Whether the body is compressed, or was otherwise made unreadable here.
pub fn is_encoded(headers: &Headers) -> bool {
    headers.all("content-encoding").any(|value| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity"))
}

/// Whether the body is JSON that stands for itself: the messages of gRPC are framed, whatever is in the frames.
pub fn is_json(headers: &Headers) -> bool {
    let Some(value) = headers.known(Known::ContentType).last() else { return false };
    let has = |part: &[u8]| value.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    let is_grpc = value.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    !is_grpc && (has(b"application/json") || has(b"+json")) && !is_encoded(headers)
}

#[cfg(test)]
mod tests {
    use super::super::body_path;
    use super::*;

    fn content(value: &str) -> Headers {
        let mut headers = Headers::new();
        headers.append("Content-Type", value.as_bytes());
        headers
    }

    #[test]
    fn json_is_told_by_the_content_type() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "a/b+JSON"] {
            assert!(is_json(&content(json)), "{json}");
        }
        for other in ["text/plain", "", "application/grpc", "application/grpc+json", "application/x-json", "json"] {
            assert!(!is_json(&content(other)), "{other}");
        }
        assert!(!is_json(&Headers::new()));
        let mut twice = content("text/plain");
        twice.append("content-type", b"application/json");
        assert!(is_json(&twice), "the last one counts");
    }

    #[test]
    fn arrays_are_opened_no_further_than_rules_reach() {
        let items_max = |keys: &[&str]| {
            let mut names = Names::default();
            let remove = |key: &&str| BodyRule::Remove { path: body_path::parse(key, &mut names) };
            let rules = keys.iter().map(remove).collect();
            BodyRules::new(rules, names).items_max
        };
        assert_eq!(items_max(&["a.b"]), 0);
        assert_eq!(items_max(&["a.3", "a.0"]), 6, "two removals move up what comes behind");
        assert_eq!(items_max(&["a.99999999999999999999"]), 0);
        assert_eq!(items_max(&["a.99999999999999999999", "a.1"]), 4);
    }

    #[test]
    fn compressed_json_is_none_that_could_be_read() {
        for (encoding, is_readable) in [("gzip", false), ("BR", false), ("gzip, identity", false), ("Identity", true)] {
            let mut headers = content("application/json");
            headers.append("Content-Encoding", encoding.as_bytes());
            assert_eq!((is_json(&headers), is_encoded(&headers)), (is_readable, !is_readable), "{encoding}");
        }
    }
}
