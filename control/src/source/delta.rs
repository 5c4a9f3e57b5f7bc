//! A configuration brought up to what a database has now (control-plane sheet §8).

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::model::{Consumer, Document, PluginAssociation, PluginConfig, Proxy, Rows, Upstream};
use time::OffsetDateTime;

use crate::store::{Changes, Kind, Resource};

/// The document with the changes, as of `at`; nothing when it would be the same. Rows that are read again without having
/// changed make no difference, rows that stay are shared, and lists, which must be ordered by id, stay so.
pub fn applied(document: &Document, changes: Changes, at: OffsetDateTime) -> Option<Document> {
    let (mut upstreams, mut consumers) = (Edits::of(&document.upstreams), Edits::of(&document.consumers));
    let (mut proxies, mut configs) = (Edits::of(&document.proxies), Edits::of(&document.plugin_configs));
    for (id, list) in changes.relisted {
        if let Some(known) = proxies.known(&id) {
            let association = |plugin_config_id| PluginAssociation { plugin_config_id };
            let plugins = list.into_iter().map(association).collect();
            proxies.put(Proxy { plugins, ..Proxy::clone(known) });
        }
    }
    for resource in changes.changed {
        match resource {
            Resource::Upstream(row) => upstreams.put(*row),
            Resource::Consumer(row) => consumers.put(*row),
            Resource::Proxy(row) => proxies.put(*row),
            Resource::PluginConfig(row) => configs.put(*row),
        }
    }
    for (kind, id) in changes.gone {
        match kind {
            Kind::Upstream => upstreams.take_out(id),
            Kind::Consumer => consumers.take_out(id),
            Kind::Proxy => proxies.take_out(id),
            Kind::PluginConfig => configs.take_out(id),
        }
    }
    if upstreams.is_empty() && consumers.is_empty() && proxies.is_empty() && configs.is_empty() {
        return None;
    }
    Some(Document {
        loaded_at: at,
        upstreams: upstreams.made(),
        consumers: consumers.made(),
        proxies: proxies.made(),
        plugin_configs: configs.made(),
        ..Document::default()
    })
}

trait Row: PartialEq {
    fn id(&self) -> &str;
}

macro_rules! rows {
    ($($row:ty),*) => {$(
        impl Row for $row {
            fn id(&self) -> &str {
                &self.id
            }
        }
    )*};
}

rows!(Upstream, Consumer, Proxy, PluginConfig);

/// What is to become of a list.
struct Edits<'d, T> {
    rows: &'d [Arc<T>],
    /// By id: the new row, or none for one that goes.
    edits: BTreeMap<String, Option<T>>,
}

impl<'d, T: Row> Edits<'d, T> {
    fn of(rows: &'d [Arc<T>]) -> Self {
        Self { rows, edits: BTreeMap::new() }
    }

    fn place(&self, id: &str) -> Result<usize, usize> {
        self.rows.binary_search_by(|row| row.id().cmp(id))
    }

    fn known(&self, id: &str) -> Option<&'d T> {
        self.place(id).ok().map(|place| &*self.rows[place])
    }

    fn put(&mut self, row: T) {
        if self.known(row.id()) == Some(&row) {
            self.edits.remove(row.id());
        } else {
            self.edits.insert(row.id().to_owned(), Some(row));
        }
    }

    fn take_out(&mut self, id: String) {
        if self.known(&id).is_some() {
            self.edits.insert(id, None);
        } else {
            self.edits.remove(&id);
        }
    }

    fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    fn made(mut self) -> Rows<T> {
        let mut made = Vec::with_capacity(self.rows.len() + self.edits.len());
        let mut done = 0;
        for (id, row) in std::mem::take(&mut self.edits) {
            let (place, next) = match self.place(&id) {
                Ok(place) => (place, place + 1),
                Err(place) => (place, place),
            };
            made.extend_from_slice(&self.rows[done..place]);
            made.extend(row.map(Arc::new));
            done = next;
        }
        made.extend_from_slice(&self.rows[done..]);
        made
    }
}

#[cfg(test)]
mod tests {
    use engine::model::rows;
    use serde_json::json;

    use super::*;
    use crate::store::relisted;

    fn upstream(id: &str, port: u16) -> Upstream {
        let value = json!({"id": id, "targets": [{"host": "a", "port": port}],
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
        serde_json::from_value(value).unwrap()
    }

    fn document() -> Document {
        Document { upstreams: rows([upstream("a", 1), upstream("c", 1)]), ..Document::default() }
    }

    /// The database lacks these upstreams, and these are read again.
    fn changes(gone: &[&str], changed: Vec<Upstream>) -> Changes {
        Changes {
            changed: changed.into_iter().map(|row| Resource::Upstream(Box::new(row))).collect(),
            gone: gone.iter().map(|id| (Kind::Upstream, (*id).to_owned())).collect(),
            relisted: Vec::new(),
        }
    }

    fn after(changes: Changes) -> Option<Vec<(String, u16)>> {
        let next = applied(&document(), changes, OffsetDateTime::UNIX_EPOCH)?;
        assert_eq!(next.loaded_at, OffsetDateTime::UNIX_EPOCH);
        Some(next.upstreams.iter().map(|row| (row.id.clone(), row.targets[0].port)).collect())
    }

    fn these(rows: &[(&str, u16)]) -> Option<Vec<(String, u16)>> {
        Some(rows.iter().map(|(id, port)| ((*id).to_owned(), *port)).collect())
    }

    #[test]
    fn what_is_read_again_unchanged_makes_no_difference() {
        assert_eq!(after(changes(&[], vec![])), None);
        assert_eq!(after(changes(&[], vec![upstream("a", 1)])), None);
        assert_eq!(after(changes(&["b"], vec![])), None);
    }

    #[test]
    fn rows_are_added_changed_and_removed_in_their_order() {
        let changed = vec![upstream("c", 9), upstream("b", 2)];
        assert_eq!(after(changes(&[], changed.clone())), these(&[("a", 1), ("b", 2), ("c", 9)]));
        assert_eq!(after(changes(&["a"], changed)), these(&[("b", 2), ("c", 9)]));
        assert_eq!(after(changes(&["a"], vec![])), these(&[("c", 1)]));
        assert_eq!(after(changes(&["a", "c"], vec![])), these(&[]));
        let ends = vec![upstream("0", 0), upstream("d", 4)];
        assert_eq!(after(changes(&[], ends)), these(&[("0", 0), ("a", 1), ("c", 1), ("d", 4)]));
    }

    #[test]
    fn the_other_kinds_stay_as_they_are() {
        let consumer: Consumer = serde_json::from_value(json!({"id": "u", "username": "u"})).unwrap();
        let document = Document { consumers: rows([consumer]), ..document() };
        let next = applied(&document, changes(&["c"], vec![]), OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!((next.upstreams.len(), next.consumers.len()), (1, 1));
        assert!(Arc::ptr_eq(&next.upstreams[0], &document.upstreams[0]), "what stays is shared");
        assert!(Arc::ptr_eq(&next.consumers[0], &document.consumers[0]));
    }

    fn proxy(listed: &[&str]) -> Proxy {
        let listed: Vec<_> = listed.iter().map(|id| json!({"plugin_config_id": id})).collect();
        let value = json!({"id": "p", "listen_path": "/", "backend_host": "h", "backend_port": 80, "plugins": listed,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
        serde_json::from_value(value).unwrap()
    }

    /// What a proxy lists that ran with the first list, when the database has the second.
    fn lists(running: &[&str], listed: &[&str]) -> Option<Vec<String>> {
        let document = Document { proxies: rows([proxy(running)]), ..Document::default() };
        let pair = |proxy: &str, config: &str| (proxy.to_owned(), config.to_owned());
        let own = listed.iter().map(|config| pair("p", config));
        let listed: Vec<_> = [pair("o", "x")].into_iter().chain(own).chain([pair("q", "x")]).collect();
        let changes = Changes { relisted: relisted(&document, &listed), ..Changes::default() };
        let next = applied(&document, changes, OffsetDateTime::UNIX_EPOCH)?;
        Some(next.proxies[0].plugins.iter().map(|listed| listed.plugin_config_id.clone()).collect())
    }

    #[test]
    fn lists_of_plugins_change_without_their_proxies() {
        assert_eq!(lists(&["a"], &["a"]), None);
        assert_eq!(lists(&["a", "b"], &["b"]), Some(vec!["b".to_owned()]));
        assert_eq!(lists(&["a"], &[]), Some(vec![]));
        assert_eq!(lists(&[], &["a", "b"]), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
