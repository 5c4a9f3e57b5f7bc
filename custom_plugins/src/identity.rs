//! SPIFFE identities: `spiffe://<trust domain>/<path>`.

/// A well-formed SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: String,
    /// Where the path begins.
    path: usize,
}

const SCHEME: &str = "spiffe://";
const BYTES_MAX: usize = 2048;
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

impl SpiffeId {
    /// # Errors
    /// The text is no SPIFFE ID; the reason.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let refused = |reason: &str| Err(format!("'{text}' is not a SPIFFE ID: {reason}"));
        if text.len() > BYTES_MAX {
            return Err(format!("a SPIFFE ID is at most {BYTES_MAX} bytes"));
        }
        let Some(rest) = text.strip_prefix(SCHEME) else { return refused("it must begin with spiffe://") };
        let domain = rest.split('/').next().unwrap_or_default();
        let is_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if domain.is_empty() || domain.len() > TRUST_DOMAIN_BYTES_MAX || !domain.bytes().all(is_domain) {
            return refused("the trust domain must be lower-case letters, digits, '.', '-' and '_'");
        }
        let is_segment = |segment: &str| {
            let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_in)
        };
        if !rest.split('/').skip(1).all(is_segment) {
            return refused("a path segment must be letters, digits, '.', '-' and '_'");
        }
        let path = SCHEME.len() + domain.len();
        Ok(Self { path, text })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path]
    }

    /// With its leading `/`; empty when there is none.
    pub fn path(&self) -> &str {
        &self.text[self.path..]
    }

    pub fn path_segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// The segment behind `sa`, as Kubernetes workloads are named.
    pub fn service_account(&self) -> Option<&str> {
        self.behind("sa")
    }

    /// The segment behind `ns`.
    pub fn namespace(&self) -> Option<&str> {
        self.behind("ns")
    }

    fn behind(&self, label: &str) -> Option<&str> {
        let mut segments = self.path_segments();
        segments.find(|segment| *segment == label)?;
        segments.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_identity_are_found() {
        let id = SpiffeId::new("spiffe://cluster.local/ns/shop/sa/cart").unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("cluster.local", "/ns/shop/sa/cart"));
        assert_eq!((id.namespace(), id.service_account()), (Some("shop"), Some("cart")));
        assert_eq!(id.path_segments().count(), 4);
        assert_eq!(SpiffeId::new("spiffe://a").unwrap().path(), "");
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "https://a/b",
            "spiffe://",
            "spiffe://A/b",
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/..",
            "spiffe://a/b?c",
        ] {
            assert!(SpiffeId::new(text).is_err(), "{text}");
        }
        assert!(SpiffeId::new(format!("spiffe://a/{}", "b".repeat(2037))).is_ok());
        assert!(SpiffeId::new(format!("spiffe://a/{}", "b".repeat(2038))).is_err());
    }
}
