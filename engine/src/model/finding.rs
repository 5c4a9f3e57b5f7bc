//! What is wrong, and where in the user's document it stands.

use std::fmt;

/// A fault of one resource. `message` is the sheet's text, which clients match on; `Display` puts the place in front:
/// `proxies[3] "orders": Proxy 'orders': backend_port must be greater than 0 (or set upstream_id)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The document's key: `proxies`, `consumers`, `upstreams` or `plugin_configs`.
    pub list: &'static str,
    /// The resource's place in that list.
    pub index: usize,
    pub id: String,
    pub message: String,
}

impl Finding {
    pub(super) fn proxy(index: usize, id: &str, message: String) -> Self {
        Self { list: "proxies", index, id: id.into(), message }
    }

    pub(super) fn consumer(index: usize, id: &str, message: String) -> Self {
        Self { list: "consumers", index, id: id.into(), message }
    }

    pub(super) fn upstream(index: usize, id: &str, message: String) -> Self {
        Self { list: "upstreams", index, id: id.into(), message }
    }

    pub(super) fn plugin_config(index: usize, id: &str, message: String) -> Self {
        Self { list: "plugin_configs", index, id: id.into(), message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the id may be what is wrong: escaped, it cannot break the line
        write!(out, "{}[{}] {:?}: {}", self.list, self.index, self.id, self.message)
    }
}
