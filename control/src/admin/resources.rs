//! Reads of the four kinds of resources from the running configuration (admin sheet §7, §8).

use std::ops::Range;
use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::auth::Role;
use super::reply::{self, Reply};
use super::{Admin, redact};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    Proxy,
    Consumer,
    Upstream,
    PluginConfig,
}

impl ResourceKind {
    /// As in "Proxy not found".
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::Proxy => "Proxy",
            ResourceKind::Consumer => "Consumer",
            ResourceKind::Upstream => "Upstream",
            ResourceKind::PluginConfig => "Plugin config",
        }
    }
}

/// Figures of the running configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSummary {
    pub loaded_at: SystemTime,
    pub proxies: usize,
    pub consumers: usize,
    pub upstreams: usize,
    pub plugin_configs: usize,
}

/// The running configuration, as documents of admin sheet §14. Nothing is redacted: that is done here.
pub trait ResourceReads: Send + Sync {
    /// How many rows there are, and those at `positions`, in the order of the configuration. The other rows are only
    /// counted, never turned into JSON: that of a hundred thousand proxies takes about 500 MB.
    fn page(&self, kind: ResourceKind, namespace: &str, positions: Range<usize>) -> (usize, Vec<Value>);
    /// All rows, in the order of the configuration.
    fn list(&self, kind: ResourceKind, namespace: &str) -> Vec<Value> {
        self.page(kind, namespace, 0..usize::MAX).1
    }
    fn get(&self, kind: ResourceKind, id: &str, namespace: &str) -> Option<Value>;
    /// `None` before the first configuration.
    fn summary(&self) -> Option<ConfigSummary>;
    /// Sorted; all namespaces of the source, before it was filtered by the gateway's own.
    fn namespaces(&self) -> Vec<String>;
}

impl Admin {
    pub(super) fn list(&self, kind: ResourceKind, namespace: &str, query: &str, role: Role) -> Reply {
        let Some(resources) = &self.sources.resources else { return no_source() };
        let page = Page::of(query);
        let (total, mut data) = resources.page(kind, namespace, page.positions());
        for row in &mut data {
            redact::redact(kind, row, role, &self.sensitive);
        }
        let body = json!({
            "data": data,
            "pagination": { "limit": page.limit_of(total), "offset": page.offset, "total": total },
        });
        reply::from_running_config(reply::json(StatusCode::OK, &body))
    }

    pub(super) fn get(&self, kind: ResourceKind, id: &str, namespace: &str, role: Role) -> Reply {
        let Some(resources) = &self.sources.resources else { return no_source() };
        match resources.get(kind, id, namespace) {
            Some(mut row) => {
                redact::redact(kind, &mut row, role, &self.sensitive);
                reply::from_running_config(reply::json(StatusCode::OK, &row))
            }
            None => {
                let text = format!("{} not found", kind.name());
                reply::from_running_config(reply::error(StatusCode::NOT_FOUND, &text))
            }
        }
    }
}

fn no_source() -> Reply {
    reply::error(StatusCode::SERVICE_UNAVAILABLE, "No database and no cached config available")
}

#[derive(Clone, Copy, Debug)]
struct Page {
    offset: usize,
    /// `None` = all remaining rows.
    limit: Option<usize>,
}

impl Page {
    /// The first of each parameter counts.
    fn of(query: &str) -> Self {
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let offset = value("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
        let limit = value("limit").map(|text| match text.parse::<usize>() {
            Err(_) | Ok(0) => LIMIT_DEFAULT,
            Ok(limit) => limit.min(LIMIT_MAX),
        });
        Self { offset, limit }
    }

    fn positions(self) -> Range<usize> {
        self.offset..self.limit.map_or(usize::MAX, |limit| self.offset.saturating_add(limit))
    }

    /// As the answer shows it.
    fn limit_of(self, total: usize) -> usize {
        self.limit.unwrap_or(total.saturating_sub(self.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_forgiving() {
        let page = |query: &str| {
            let page = Page::of(query);
            (page.offset, page.limit_of(245))
        };
        assert_eq!(page(""), (0, 245));
        assert_eq!(page("offset=45"), (45, 200));
        assert_eq!(page("offset=300"), (300, 0));
        assert_eq!(page("limit=10&offset=-1"), (0, 10));
        assert_eq!(page("limit=0"), (0, 100));
        assert_eq!(page("limit=many&other=1"), (0, 100));
        assert_eq!(page("limit=1000"), (0, 1000));
        assert_eq!(page("limit=1001"), (0, 1000));
    }

    #[test]
    fn a_page_is_a_range_of_positions() {
        let positions = |query: &str| Page::of(query).positions();
        assert_eq!(positions(""), 0..usize::MAX);
        assert_eq!(positions("offset=45"), 45..usize::MAX);
        assert_eq!(positions("limit=10&offset=20"), 20..30);
        let last = usize::MAX;
        assert_eq!(positions(&format!("limit=10&offset={last}")), last..last);
    }
}
