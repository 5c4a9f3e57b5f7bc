//! Where tokens stand in a request.

use std::borrow::Cow;

use super::config::Config;
use crate::RequestContext;
use crate::query::decoded_parameter;

/// A place that a provider names instead of `Authorization`.
#[derive(Debug)]
pub(super) enum Location {
    Header {
        name: String,
        /// What stands before the token; nothing if it begins at once.
        prefix: String,
    },
    Query(String),
}

impl Location {
    /// What stands there, which may be empty.
    fn read<'h>(&self, cx: &'h RequestContext) -> Option<Cow<'h, str>> {
        match self {
            Location::Header { name, prefix } => {
                cx.head.headers.get(name)?.strip_prefix(prefix.as_str()).map(Cow::Borrowed)
            }
            Location::Query(name) => decoded_parameter(cx, name),
        }
    }
}

/// The token to judge, and why it is that one.
pub(super) enum Found<'h> {
    Nothing,
    Token(Cow<'h, str>, Origin),
    /// There is something, and it is no token.
    Refused(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A place that a provider names.
    Custom,
    Authorization,
}

const MISSING: &str = r#"{"error":"Missing Bearer token"}"#;
const EMPTY: &str = r#"{"error":"Empty token"}"#;

/// The places that providers name come first, in their order, and then `Authorization` for the providers that name none.
pub(super) fn find<'h>(config: &Config, cx: &'h RequestContext) -> Found<'h> {
    let mut is_empty = false;
    for location in config.providers.iter().flat_map(|provider| &provider.locations) {
        match location.read(cx) {
            Some(token) if token.is_empty() => is_empty = true,
            Some(token) => return Found::Token(token, Origin::Custom),
            None => {}
        }
    }
    if config.providers.iter().any(|provider| provider.locations.is_empty()) {
        match cx.head.headers.get("authorization").map(bearer) {
            Some(Some("")) => is_empty = true,
            Some(Some(token)) => return Found::Token(Cow::Borrowed(token), Origin::Authorization),
            Some(None) => return Found::Refused(MISSING),
            None => {}
        }
    }
    if is_empty { Found::Refused(EMPTY) } else { Found::Nothing }
}

fn bearer(authorization: &str) -> Option<&str> {
    authorization.strip_prefix("Bearer ").or_else(|| authorization.strip_prefix("bearer "))
}

/// Whether a provider that takes tokens from these places may judge this token.
pub(super) fn is_eligible(locations: &[Location], cx: &RequestContext, token: &str, origin: Origin) -> bool {
    match (origin, locations) {
        (Origin::Authorization, locations) => locations.is_empty(),
        (Origin::Custom, []) => cx.head.headers.get("authorization").and_then(bearer) == Some(token),
        (Origin::Custom, locations) => locations.iter().any(|location| location.read(cx).as_deref() == Some(token)),
    }
}
