//! What names resolve to, as the control thread last learnt it. Cores only read.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

/// The outcome of resolving one name.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    Address(IpAddr),
    /// Not found, or an address the policy forbids. Says why, for the log.
    Failed(String),
}

/// One published state of all names that the configuration uses. Names are lower-case.
#[derive(Clone, Debug, Default)]
pub struct DnsTable {
    names: FxHashMap<String, Resolution>,
}

impl DnsTable {
    pub fn new(names: impl IntoIterator<Item = (String, Resolution)>) -> Self {
        Self { names: names.into_iter().collect() }
    }

    pub fn get(&self, name: &str) -> Option<&Resolution> {
        self.names.get(name)
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
