//! A configuration brought up to what a database has now (control-plane sheet §8).

use engine::model::{Document, PluginAssociation, Proxy};
use rustc_hash::{FxHashMap, FxHashSet};
use time::OffsetDateTime;

use crate::store::{Changes, Kind, Resource};

/// The document with the changes, as of `at`; nothing when it would be the same. Rows that are read again without having
/// changed make no difference, and lists stay ordered by id.
pub fn applied(document: &Document, changes: Changes, at: OffsetDateTime) -> Option<Document> {
    let mut changed: [Vec<Resource>; 4] = Default::default();
    for resource in changes.changed {
        changed[place(resource.kind())].push(resource);
    }
    let [upstreams, consumers, proxies, configs] = changed;
    let [upstream_ids, consumer_ids, proxy_ids, config_ids] = changes.present;
    let lists = (
        list(
            &document.upstreams,
            upstreams,
            &upstream_ids,
            |row| &row.id,
            |resource| match resource {
                Resource::Upstream(row) => Some(*row),
                _ => None,
            },
        ),
        list(
            &document.consumers,
            consumers,
            &consumer_ids,
            |row| &row.id,
            |resource| match resource {
                Resource::Consumer(row) => Some(*row),
                _ => None,
            },
        ),
        list(
            &document.proxies,
            proxies,
            &proxy_ids,
            |row| &row.id,
            |resource| match resource {
                Resource::Proxy(row) => Some(*row),
                _ => None,
            },
        ),
        list(
            &document.plugin_configs,
            configs,
            &config_ids,
            |row| &row.id,
            |resource| match resource {
                Resource::PluginConfig(row) => Some(*row),
                _ => None,
            },
        ),
    );
    let (upstreams, consumers, proxies, configs) = lists;
    let proxies = with_listed(proxies, document, &changes.listed);
    if upstreams.is_none() && consumers.is_none() && proxies.is_none() && configs.is_none() {
        return None;
    }
    Some(Document {
        loaded_at: at,
        upstreams: upstreams.unwrap_or_else(|| document.upstreams.clone()),
        consumers: consumers.unwrap_or_else(|| document.consumers.clone()),
        proxies: proxies.unwrap_or_else(|| document.proxies.clone()),
        plugin_configs: configs.unwrap_or_else(|| document.plugin_configs.clone()),
        ..Document::default()
    })
}

/// The proxies, each with the plugin configs that it lists now; nothing when they are as they were. Deleting a config takes it
/// out of lists without touching their proxies.
fn with_listed(proxies: Option<Vec<Proxy>>, document: &Document, listed: &[(String, String)]) -> Option<Vec<Proxy>> {
    let mut lists: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
    for (proxy, config) in listed {
        lists.entry(proxy).or_default().push(config);
    }
    let list = |proxy: &Proxy| lists.get(proxy.id.as_str()).map(Vec::as_slice).unwrap_or_default();
    let differs = |proxy: &Proxy| {
        let now = proxy.plugins.iter().map(|association| association.plugin_config_id.as_str());
        !now.eq(list(proxy).iter().copied())
    };
    if !proxies.as_ref().unwrap_or(&document.proxies).iter().any(differs) {
        return proxies;
    }
    let mut proxies = proxies.unwrap_or_else(|| document.proxies.clone());
    for proxy in proxies.iter_mut().filter(|proxy| differs(proxy)) {
        let association = |id: &&str| PluginAssociation { plugin_config_id: (*id).to_owned() };
        proxy.plugins = list(proxy).iter().map(association).collect();
    }
    Some(proxies)
}

/// Where a kind stands in [`Changes::present`].
fn place(kind: Kind) -> usize {
    Kind::ALL.iter().position(|each| *each == kind).unwrap_or_default()
}

/// One list after the changes; nothing when it is the same.
fn list<T: Clone + PartialEq>(
    rows: &[T],
    changed: Vec<Resource>,
    present: &[String],
    id: impl Fn(&T) -> &String,
    typed: impl Fn(Resource) -> Option<T>,
) -> Option<Vec<T>> {
    let known: FxHashMap<&str, &T> = rows.iter().map(|row| (id(row).as_str(), row)).collect();
    let present: FxHashSet<&str> = present.iter().map(String::as_str).collect();
    let differs = |row: &T| known.get(id(row).as_str()).is_none_or(|known| *known != row);
    let fresh = changed.into_iter().filter_map(typed).filter(differs);
    let fresh: FxHashMap<String, T> = fresh.map(|row| (id(&row).clone(), row)).collect();
    let is_gone = rows.iter().any(|row| !present.contains(id(row).as_str()));
    if fresh.is_empty() && !is_gone {
        return None;
    }
    let kept = rows.iter().filter(|row| present.contains(id(row).as_str()) && !fresh.contains_key(id(row)));
    let mut next: Vec<T> = kept.cloned().collect();
    next.extend(fresh.into_values());
    next.sort_by(|one, other| id(one).cmp(id(other)));
    Some(next)
}

#[cfg(test)]
mod tests {
    use engine::model::{Consumer, Upstream};
    use serde_json::json;

    use super::*;

    fn upstream(id: &str, port: u16) -> Upstream {
        let value = json!({"id": id, "targets": [{"host": "a", "port": port}],
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
        serde_json::from_value(value).unwrap()
    }

    fn document() -> Document {
        Document { upstreams: vec![upstream("a", 1), upstream("c", 1)], ..Document::default() }
    }

    /// The database has these upstreams, of which these are read again.
    fn changes(present: &[&str], changed: Vec<Upstream>) -> Changes {
        let present = present.iter().map(|id| (*id).to_owned()).collect();
        Changes {
            changed: changed.into_iter().map(|row| Resource::Upstream(Box::new(row))).collect(),
            present: [present, Vec::new(), Vec::new(), Vec::new()],
            listed: Vec::new(),
        }
    }

    fn after(changes: Changes) -> Option<Vec<(String, u16)>> {
        let next = applied(&document(), changes, OffsetDateTime::UNIX_EPOCH)?;
        assert_eq!(next.loaded_at, OffsetDateTime::UNIX_EPOCH);
        Some(next.upstreams.into_iter().map(|row| (row.id, row.targets[0].port)).collect())
    }

    fn rows(rows: &[(&str, u16)]) -> Option<Vec<(String, u16)>> {
        Some(rows.iter().map(|(id, port)| ((*id).to_owned(), *port)).collect())
    }

    #[test]
    fn what_is_read_again_unchanged_makes_no_difference() {
        assert_eq!(after(changes(&["a", "c"], vec![])), None);
        assert_eq!(after(changes(&["a", "c"], vec![upstream("a", 1)])), None);
    }

    #[test]
    fn rows_are_added_changed_and_removed_in_their_order() {
        let changed = vec![upstream("c", 9), upstream("b", 2)];
        assert_eq!(after(changes(&["a", "b", "c"], changed)), rows(&[("a", 1), ("b", 2), ("c", 9)]));
        assert_eq!(after(changes(&["c"], vec![])), rows(&[("c", 1)]));
        assert_eq!(after(changes(&[], vec![])), rows(&[]));
    }

    #[test]
    fn the_other_kinds_stay_as_they_are() {
        let consumer: Consumer = serde_json::from_value(json!({"id": "u", "username": "u"})).unwrap();
        let document = Document { consumers: vec![consumer], ..document() };
        let mut changes = changes(&["a"], vec![]);
        changes.present[1] = vec!["u".to_owned()];
        let next = applied(&document, changes, OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!((next.upstreams.len(), next.consumers.len()), (1, 1));
    }

    fn proxy(listed: &[&str]) -> Proxy {
        let listed: Vec<_> = listed.iter().map(|id| json!({"plugin_config_id": id})).collect();
        let value = json!({"id": "p", "listen_path": "/", "backend_host": "h", "backend_port": 80, "plugins": listed,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
        serde_json::from_value(value).unwrap()
    }

    /// What a proxy lists that ran with the first list, when the database has the second and these configs.
    fn lists(running: &[&str], listed: &[&str], configs: &[&str]) -> Option<Vec<String>> {
        let document = Document { proxies: vec![proxy(running)], ..Document::default() };
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let changes = Changes {
            changed: Vec::new(),
            present: [Vec::new(), Vec::new(), owned(&["p"]), owned(configs)],
            listed: listed.iter().map(|id| ("p".to_owned(), (*id).to_owned())).collect(),
        };
        let next = applied(&document, changes, OffsetDateTime::UNIX_EPOCH)?;
        Some(next.proxies[0].plugins.iter().map(|listed| listed.plugin_config_id.clone()).collect())
    }

    #[test]
    fn lists_of_plugins_change_without_their_proxies() {
        assert_eq!(lists(&["a"], &["a"], &["a"]), None);
        assert_eq!(lists(&["a", "b"], &["b"], &["b"]), Some(vec!["b".to_owned()]));
        assert_eq!(lists(&[], &["a"], &["a"]), Some(vec!["a".to_owned()]));
    }
}
