//! What the admin API shows of the running configuration and traffic.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::publication::Publication;
use crate::admin::{ConfigSummary, ResourceKind, ResourceReads, TrafficReads};

impl ResourceReads for Publication {
    fn page(&self, kind: ResourceKind, namespace: &str, positions: Range<usize>) -> (usize, Vec<Value>) {
        let document = self.document();
        match kind {
            ResourceKind::Proxy => rows_at(positions, &document.proxies, |row| row.namespace == namespace),
            ResourceKind::Consumer => rows_at(positions, &document.consumers, |row| row.namespace == namespace),
            ResourceKind::Upstream => rows_at(positions, &document.upstreams, |row| row.namespace == namespace),
            ResourceKind::PluginConfig => {
                rows_at(positions, &document.plugin_configs, |row| row.namespace == namespace)
            }
        }
    }

    fn get(&self, kind: ResourceKind, id: &str, namespace: &str) -> Option<Value> {
        let document = self.document();
        match kind {
            ResourceKind::Proxy => first(&document.proxies, |row| row.id == id && row.namespace == namespace),
            ResourceKind::Consumer => first(&document.consumers, |row| row.id == id && row.namespace == namespace),
            ResourceKind::Upstream => first(&document.upstreams, |row| row.id == id && row.namespace == namespace),
            ResourceKind::PluginConfig => {
                first(&document.plugin_configs, |row| row.id == id && row.namespace == namespace)
            }
        }
    }

    fn summary(&self) -> Option<ConfigSummary> {
        let document = self.document();
        Some(ConfigSummary {
            loaded_at: SystemTime::from(document.loaded_at),
            proxies: document.proxies.len(),
            consumers: document.consumers.len(),
            upstreams: document.upstreams.len(),
            plugin_configs: document.plugin_configs.len(),
        })
    }

    fn namespaces(&self) -> Vec<String> {
        self.document().known_namespaces.clone()
    }
}

/// How many rows are listed, and those at `positions` among the listed ones. No other row becomes JSON.
fn rows_at<T: Serialize>(positions: Range<usize>, all: &[T], is_listed: impl Fn(&T) -> bool) -> (usize, Vec<Value>) {
    let mut total: usize = 0;
    let mut rows = Vec::new();
    for row in all.iter().filter(|row| is_listed(row)) {
        if positions.contains(&total) {
            rows.extend(serde_json::to_value(row).ok());
        }
        total += 1;
    }
    (total, rows)
}

/// The first row that is wanted. No other row becomes JSON.
fn first<T: Serialize>(all: &[T], is_wanted: impl Fn(&T) -> bool) -> Option<Value> {
    let found = all.iter().find(|row| is_wanted(row))?;
    serde_json::to_value(found).ok()
}

/// Figures that only the publication knows.
pub(super) struct Traffic(pub(super) Arc<Publication>);

impl TrafficReads for Traffic {
    fn rate_limit_keys(&self) -> u64 {
        self.0.latest().map_or(0, |snapshot| ferrum_edge::adapter::tracked_keys(&snapshot.plugins) as u64)
    }

    fn credentials(&self) -> Map<String, Value> {
        let document = self.0.document();
        let count = |kind: &str| -> usize {
            document
                .consumers
                .iter()
                .filter_map(|consumer| consumer.credentials.get(kind)?.as_array().map(Vec::len))
                .sum()
        };
        let identities = |consumer: &engine::model::Consumer| 2 + usize::from(consumer.custom_id.is_some());
        let mut credentials = Map::new();
        for (name, kind) in [
            ("key_auth_credentials", "keyauth"),
            ("basic_auth_credentials", "basicauth"),
            ("mtls_credentials", "mtls_auth"),
            ("jwt_credentials", "jwt"),
            ("hmac_credentials", "hmac_auth"),
        ] {
            credentials.insert(name.to_owned(), count(kind).into());
        }
        let identity_count: usize = document.consumers.iter().map(|consumer| identities(consumer)).sum();
        credentials.insert("identity_credentials".to_owned(), identity_count.into());
        credentials
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde::Serializer;
    use serde_json::json;

    use super::*;

    /// Says that it was asked for its JSON.
    struct Row<'a> {
        number: usize,
        asked: &'a RefCell<Vec<usize>>,
    }

    impl Serialize for Row<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.asked.borrow_mut().push(self.number);
            serializer.collect_str(&self.number)
        }
    }

    fn many(asked: &RefCell<Vec<usize>>) -> Vec<Row<'_>> {
        (0..100_000).map(|number| Row { number, asked }).collect()
    }

    #[test]
    fn a_page_of_a_long_list_turns_only_its_own_rows_into_json() {
        let asked = RefCell::new(Vec::new());
        let all = many(&asked);
        let (total, page) = rows_at(10..13, &all, |row| row.number >= 60_000);
        assert_eq!((total, page), (40_000, vec![json!("60010"), json!("60011"), json!("60012")]));
        assert_eq!(*asked.borrow(), [60_010, 60_011, 60_012]);
    }

    #[test]
    fn a_page_ends_with_the_list() {
        let asked = RefCell::new(Vec::new());
        let all = many(&asked);
        let page = |positions| rows_at(positions, &all, |row| row.number < 3);
        assert_eq!(page(0..usize::MAX), (3, vec![json!("0"), json!("1"), json!("2")]));
        assert_eq!(page(2..9), (3, vec![json!("2")]));
        assert_eq!(page(3..9), (3, Vec::<Value>::new()));
    }

    #[test]
    fn one_row_of_a_long_list_is_the_only_one_that_becomes_json() {
        let asked = RefCell::new(Vec::new());
        let all = many(&asked);
        assert_eq!(first(&all, |row| row.number == 70_000), Some(json!("70000")));
        assert_eq!(first(&all, |row| row.number == 100_000), None);
        assert_eq!(*asked.borrow(), [70_000]);
    }
}
