//! Trust domains and SPIFFE IDs: checked when they are read, so that a value of these types is a sound one (§12.1).

use std::fmt;

use serde::{Deserialize, Serialize};

const TRUST_DOMAIN_BYTES_MAX: usize = 240;
const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// `[a-z0-9._-]`, 1 to 240 bytes, alphanumeric at both ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TrustDomain(String);

/// `spiffe://{trust domain}[/segment/…]`, at most 2,048 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SpiffeId(String);

impl TrustDomain {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> &str {
        self.split().0
    }

    /// With its leading slash; empty when there is none.
    pub fn path(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        let rest = &self.0["spiffe://".len()..];
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match trust_domain_fault(&text) {
            None => Ok(Self(text)),
            Some(fault) => Err(format!("invalid trust domain '{text}': {fault}")),
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match spiffe_id_fault(&text) {
            None => Ok(Self(text)),
            Some(fault) => Err(format!("invalid SPIFFE ID '{text}': {fault}")),
        }
    }
}

fn trust_domain_fault(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > TRUST_DOMAIN_BYTES_MAX {
        return Some(format!("must have 1 to {TRUST_DOMAIN_BYTES_MAX} bytes"));
    }
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_inner = |byte: u8| is_end(byte) || matches!(byte, b'.' | b'_' | b'-');
    if !text.bytes().all(is_inner) {
        return Some("only lower-case letters, digits, '.', '_' and '-' are allowed".into());
    }
    let has_sound_ends = text.bytes().next().is_some_and(is_end) && text.bytes().next_back().is_some_and(is_end);
    (!has_sound_ends).then(|| "must start and end with a letter or digit".into())
}

fn spiffe_id_fault(text: &str) -> Option<String> {
    if text.len() > SPIFFE_ID_BYTES_MAX {
        return Some(format!("must not exceed {SPIFFE_ID_BYTES_MAX} bytes"));
    }
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return Some("must start with 'spiffe://'".into());
    };
    let mut segments = rest.split('/');
    if let Some(fault) = trust_domain_fault(segments.next().unwrap_or_default()) {
        return Some(format!("trust domain {fault}"));
    }
    let is_path_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    for segment in segments {
        if segment.is_empty() {
            return Some("must not have an empty path segment".into());
        }
        if !segment.bytes().all(is_path_byte) {
            return Some(format!("path segment '{segment}' may have letters, digits, '.', '_', '~' and '-' only"));
        }
    }
    None
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_domains() {
        for text in ["a", "cluster.local", "a-b_c.9", &"a".repeat(240)] {
            assert!(TrustDomain::try_from(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "A", "a/b", ".a", "a.", "-a", "a-", "_a", "a_", "é", "a b", &"a".repeat(241)] {
            assert!(TrustDomain::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn spiffe_ids() {
        let longest = format!("spiffe://td/{}", "a".repeat(2048 - 12));
        for text in ["spiffe://td", "spiffe://td/ns/default/sa/Web~1.x_y-z", &longest] {
            assert!(SpiffeId::try_from(text.to_owned()).is_ok(), "{text}");
        }
        let too_long = format!("{longest}a");
        let refused = [
            "",
            "td",
            "SPIFFE://td",
            "spiffe:/td",
            "spiffe://",
            "spiffe:///a",
            "spiffe://TD/a",
            "spiffe://td/",
            "spiffe://td/a/",
            "spiffe://td//a",
            "spiffe://td/a?b",
            "spiffe://td/a#b",
            "spiffe://td/a%20",
            "spiffe://td:80/a",
            &too_long,
        ];
        for text in refused {
            assert!(SpiffeId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_knows_its_parts() {
        let id = SpiffeId::try_from("spiffe://td/ns/a".to_owned()).unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("td", "/ns/a"));
        let bare = SpiffeId::try_from("spiffe://td".to_owned()).unwrap();
        assert_eq!((bare.trust_domain(), bare.path()), ("td", ""));
    }
}
