//! Reads of the four kinds of resources: from the database where there is one that answers, else from the running
//! configuration (admin sheet §7, §8).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::auth::Role;
use super::reply::{self, Reply};
use super::{Admin, query, redact};
use crate::store::{self, Kind, Store};

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

    /// As the database calls it.
    pub(super) fn stored(self) -> Kind {
        match self {
            ResourceKind::Proxy => Kind::Proxy,
            ResourceKind::Consumer => Kind::Consumer,
            ResourceKind::Upstream => Kind::Upstream,
            ResourceKind::PluginConfig => Kind::PluginConfig,
        }
    }
}

impl From<Kind> for ResourceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Proxy => ResourceKind::Proxy,
            Kind::Consumer => ResourceKind::Consumer,
            Kind::Upstream => ResourceKind::Upstream,
            Kind::PluginConfig => ResourceKind::PluginConfig,
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
    /// The database, unless it is known not to answer and there is something else to read.
    pub(super) fn readable_store(&self) -> Option<&Arc<dyn Store>> {
        let is_known_unavailable = self.sources.database_unavailable.load(Acquire) && self.sources.resources.is_some();
        self.sources.store.as_ref().filter(|_| !is_known_unavailable)
    }

    pub(super) async fn list(&self, kind: ResourceKind, namespace: &str, query: &str, role: Role) -> Reply {
        let page = Page::of(query);
        if let Some(store) = self.readable_store() {
            match store.page(kind.stored(), namespace, page.stored()).await {
                Ok(found) => {
                    let rows = found.rows.iter().map(store::Resource::to_json).collect();
                    return self.listed(kind, page, (usize::try_from(found.total).unwrap_or(usize::MAX), rows), role);
                }
                Err(error) => log_fallback(kind, &error),
            }
        }
        let Some(resources) = &self.sources.resources else { return no_source() };
        reply::from_running_config(self.listed(kind, page, resources.page(kind, namespace, page.positions()), role))
    }

    fn listed(&self, kind: ResourceKind, page: Page, (total, mut data): (usize, Vec<Value>), role: Role) -> Reply {
        for row in &mut data {
            redact::redact(kind, row, role, &self.sensitive);
        }
        let body = json!({
            "data": data,
            "pagination": { "limit": page.limit_of(total), "offset": page.offset, "total": total },
        });
        reply::json(StatusCode::OK, &body)
    }

    pub(super) async fn get(&self, kind: ResourceKind, id: &str, namespace: &str, role: Role) -> Reply {
        if let Some(store) = self.readable_store() {
            match store.get(kind.stored(), id).await {
                Ok(found) => {
                    let found = found.filter(|row| row.namespace() == namespace);
                    return self.gotten(kind, found.map(|row| row.to_json()), role);
                }
                Err(error) => log_fallback(kind, &error),
            }
        }
        let Some(resources) = &self.sources.resources else { return no_source() };
        reply::from_running_config(self.gotten(kind, resources.get(kind, id, namespace), role))
    }

    fn gotten(&self, kind: ResourceKind, row: Option<Value>, role: Role) -> Reply {
        match row {
            Some(mut row) => {
                redact::redact(kind, &mut row, role, &self.sensitive);
                reply::json(StatusCode::OK, &row)
            }
            None => reply::error(StatusCode::NOT_FOUND, &format!("{} not found", kind.name())),
        }
    }
}

fn log_fallback(kind: ResourceKind, error: &store::StoreError) {
    tracing::warn!(kind = kind.name(), error = %error, "The database does not answer; the running configuration does");
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
    fn of(query: &str) -> Self {
        let value = |name: &str| query::first(query, name);
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

    fn stored(self) -> store::Range {
        store::Range { offset: self.offset as u64, limit: self.limit.map(|limit| limit as u64) }
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
