//! What a configuration takes over from the one in service: whatever was made of rows that are still the same.

use std::sync::Arc;

use engine::consumers::ConsumerIndex;
use engine::model::{Document, Proxy};
use engine::router::{RouteSpec, RouteTable, RouteUpdate};
use engine::snapshot::{BackendSpec, ProxyFacts, ProxySpec, Security, UpstreamEntry};
use plugins::{PluginSet, UNATTACHED};
use rustc_hash::FxHashMap;

use super::{Running, is_http};
use crate::source::pairs::{Former, is_same, pairs};

/// No route.
const NONE: u32 = u32::MAX;

/// So many backends in service are looked at for one that is like another.
const ALIKE_MAX: usize = 1000;

/// Where upstreams stand, by their ids.
type Numbers = FxHashMap<Box<str>, u32>;

/// The HTTP proxies of a document by the numbers of their routes, and what each was in the configuration in service.
pub(super) struct Kept<'a> {
    document: &'a Document,
    running: Option<Running<'a>>,
    pub proxies: Vec<&'a Proxy>,
    /// Where each stands in the document.
    pub places: Vec<u32>,
    /// The number that the same row has there.
    same: Vec<u32>,
    /// Those that are not the same, with the number there of one with the same id.
    changed: Vec<(u32, Option<u32>)>,
    is_same_upstreams: bool,
}

impl<'a> Kept<'a> {
    pub fn new(document: &'a Document, running: Option<Running<'a>>) -> Self {
        let (former_rows, former_places) = match running {
            Some(running) => (&*running.document.proxies, &*running.snapshot.places),
            None => (&[][..], &[][..]),
        };
        let mut kept = Self {
            document,
            running,
            proxies: Vec::with_capacity(document.proxies.len()),
            places: Vec::with_capacity(document.proxies.len()),
            same: Vec::with_capacity(document.proxies.len()),
            changed: Vec::new(),
            is_same_upstreams: running.is_some_and(|running| is_same(&document.upstreams, &running.document.upstreams)),
        };
        let mut former_numbers = (0..).zip(former_places).peekable();
        let mut number_at = |place: u32| {
            while former_numbers.next_if(|(_, at)| **at < place).is_some() {}
            former_numbers.next_if(|(_, at)| **at == place).map(|(number, _)| number)
        };
        for ((place, row), former) in (0..).zip(&document.proxies).zip(pairs(&document.proxies, former_rows)) {
            let number = kept.proxies.len() as u32;
            match former {
                Former::Same(at) => match number_at(at) {
                    Some(former) => kept.same.push(former),
                    // No HTTP proxy.
                    None => continue,
                },
                Former::Other(_) | Former::None if !is_http(row) => continue,
                Former::Other(at) => {
                    kept.same.push(NONE);
                    kept.changed.push((number, number_at(at)));
                }
                Former::None => {
                    kept.same.push(NONE);
                    kept.changed.push((number, None));
                }
            }
            kept.proxies.push(row);
            kept.places.push(place);
        }
        kept
    }

    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty() || !self.is_same_upstreams
    }

    /// The proxies that are not as they were.
    pub fn changed(&self) -> impl Iterator<Item = &'a Proxy> {
        self.changed.iter().map(|(number, _)| self.proxies[*number as usize])
    }

    fn former(&self, number: u32) -> Option<&'a Proxy> {
        let running = self.running?;
        Some(&running.document.proxies[running.snapshot.places[number as usize] as usize])
    }

    /// The table in service, or one that follows from it, or one that is built anew.
    pub fn routes(&self) -> Result<RouteTable, Vec<String>> {
        match self.running.and_then(|running| self.updated_routes(&running.snapshot.routes)) {
            Some(updated) => updated,
            None => RouteTable::build(&self.proxies.iter().map(|proxy| route(proxy)).collect::<Vec<_>>()),
        }
    }

    fn updated_routes(&self, table: &RouteTable) -> Option<Result<RouteTable, Vec<String>>> {
        let count = self.running?.snapshot.places.len();
        if self.changed.len() > count / 4 {
            return None;
        }
        let mut numbers = vec![NONE; count];
        for (number, former) in (0..).zip(&self.same).filter(|(_, former)| **former != NONE) {
            numbers[*former as usize] = number;
        }
        let mut added = Vec::new();
        for (number, former) in &self.changed {
            let new = route(self.proxies[*number as usize]);
            match former.filter(|former| self.former(*former).map(route).as_ref() == Some(&new)) {
                Some(former) => numbers[former as usize] = *number,
                None => added.push((*number, new)),
            }
        }
        let gone = (0..).zip(&numbers).filter(|(_, new)| **new == NONE);
        let removed: Vec<(u32, RouteSpec)> =
            gone.filter_map(|(number, _)| Some((number, route(self.former(number)?)))).collect();
        let has_moved = (0..).zip(&numbers).any(|(former, number)| former != *number);
        if added.is_empty() && !has_moved {
            return Some(Ok(table.clone()));
        }
        table.updated(&RouteUpdate { numbers: &numbers, removed: &removed, added: &added })
    }

    /// Those in service, if no plugin config is another, and every proxy that is another attaches what it did, or nothing.
    pub fn plugins(&self) -> Option<PluginSet> {
        let running = self.running?;
        if !is_same(&self.document.plugin_configs, &running.document.plugin_configs) {
            return None;
        }
        let set = &running.snapshot.plugins;
        let mut by_proxy = Vec::with_capacity(self.proxies.len());
        let mut changed = self.changed.iter();
        for same in &self.same {
            if *same != NONE {
                by_proxy.push(set.by_proxy[*same as usize]);
                continue;
            }
            let (number, former) = changed.next()?;
            let proxy = self.proxies[*number as usize];
            let is_attached_alike = |former: &u32| self.former(*former).is_some_and(|row| row.plugins == proxy.plugins);
            by_proxy.push(match former.filter(is_attached_alike) {
                Some(former) => set.by_proxy[former as usize],
                None if proxy.plugins.is_empty() => UNATTACHED,
                None => return None,
            });
        }
        Some(PluginSet { rows: set.rows.clone(), lists: set.lists.clone(), by_proxy, companion: None })
    }

    /// Those in service with their numbers, if every upstream is the same and the files of all could be used.
    pub fn upstreams(&self) -> Option<(Vec<UpstreamEntry>, Arc<Numbers>)> {
        let snapshot = self.running.filter(|_| self.is_same_upstreams)?.snapshot;
        let is_sound = |entry: &UpstreamEntry| !entry.security.as_ref().is_some_and(is_broken);
        let are_sound = snapshot.upstreams.iter().all(is_sound);
        are_sound.then(|| (snapshot.upstreams.clone(), snapshot.upstream_numbers.clone()))
    }

    /// What is made of the proxy already. Files that could not be used are looked for again.
    pub fn spec(&self, number: usize) -> Option<&'a ProxySpec> {
        let same = self.same[number];
        let snapshot = self.running.filter(|_| same != NONE)?.snapshot;
        if !self.is_same_upstreams && self.proxies[number].upstream_id.is_some() {
            return None;
        }
        let spec = &snapshot.proxies[same as usize];
        let is_sound =
            !is_broken(&spec.backend.security) && !spec.backend.direct_security.as_ref().is_some_and(is_broken);
        is_sound.then_some(spec)
    }

    pub fn facts(&self) -> Arc<[Arc<ProxyFacts>]> {
        if let Some(running) = self.running.filter(|_| self.has_same_facts()) {
            return running.snapshot.proxy_facts.clone();
        }
        let facts = |(proxy, same): (&&Proxy, &u32)| match self.running.filter(|_| *same != NONE) {
            Some(running) => running.snapshot.proxy_facts[*same as usize].clone(),
            None => Arc::new(ProxyFacts {
                id: proxy.id.clone(),
                name: proxy.name.clone(),
                allowed_ws_origins: proxy.allowed_ws_origins.clone(),
            }),
        };
        self.proxies.iter().zip(&self.same).map(facts).collect()
    }

    /// Whether all proxies have their numbers, and what is known of them.
    fn has_same_facts(&self) -> bool {
        let is_same = |(number, former): &(u32, Option<u32>)| {
            let proxy = self.proxies[*number as usize];
            *former == Some(*number)
                && self.former(*number).is_some_and(|former| {
                    (&former.name, &former.allowed_ws_origins) == (&proxy.name, &proxy.allowed_ws_origins)
                })
        };
        let have_moved = (0..).zip(&self.same).any(|(number, same)| *same != NONE && *same != number);
        let count = self.running.map_or(0, |running| running.snapshot.places.len());
        !have_moved && self.proxies.len() == count && self.changed.iter().all(is_same)
    }

    pub fn consumers(&self) -> Option<Arc<ConsumerIndex>> {
        let running = self.running?;
        let is_same = is_same(&self.document.consumers, &running.document.consumers);
        is_same.then(|| running.snapshot.consumers.clone())
    }

    pub fn backends(&self) -> Backends<'a> {
        Backends { in_service: self.running.map_or(&[], |running| &running.snapshot.proxies), known: None }
    }
}

fn route(proxy: &Proxy) -> RouteSpec {
    RouteSpec { hosts: proxy.hosts.clone(), path: proxy.listen_path.clone() }
}

fn is_broken(security: &Security) -> bool {
    matches!(security, Security::Broken(_))
}

/// One for all proxies whose backends are alike.
pub(super) struct Backends<'a> {
    in_service: &'a [ProxySpec],
    known: Option<Known>,
}

type Known = FxHashMap<BackendSpec, Arc<BackendSpec>>;

impl Backends<'_> {
    /// One that is like it, or it itself from now on.
    #[expect(clippy::mutable_key_type, reason = "backends are compared by what users wrote, which never changes")]
    pub fn alike(&mut self, spec: BackendSpec) -> Arc<BackendSpec> {
        let in_service = self.in_service;
        let known = self.known.get_or_insert_with(|| looked_at(in_service));
        if let Some(known) = known.get(&spec) {
            return known.clone();
        }
        let shared = Arc::new(spec.clone());
        known.insert(spec, shared.clone());
        shared
    }
}

#[expect(clippy::mutable_key_type, reason = "backends are compared by what users wrote, which never changes")]
fn looked_at(in_service: &[ProxySpec]) -> Known {
    let mut known = Known::default();
    let mut last: *const BackendSpec = std::ptr::null();
    for proxy in in_service {
        // Most proxies have the backend of the one before them.
        if std::mem::replace(&mut last, Arc::as_ptr(&proxy.backend)) == Arc::as_ptr(&proxy.backend) {
            continue;
        }
        known.insert(BackendSpec::clone(&proxy.backend), proxy.backend.clone());
        if known.len() == ALIKE_MAX {
            break;
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use engine::snapshot::Snapshot;
    use plugins::PluginSet;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::fixture::{compiled, proxy};

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    /// What a proxy may be; some of these are no HTTP proxies, some have plugins.
    fn forms() -> Vec<Value> {
        vec![
            json!({}),
            json!({"backend_port": 81}),
            json!({"hosts": ["a.x"]}),
            json!({"hosts": ["*.x", "b.y"], "listen_path": "/"}),
            json!({"listen_path": "~/r"}),
            json!({"upstream_id": "u"}),
            json!({"backend_scheme": "https"}),
            json!({"plugins": [{"plugin_config_id": "g"}]}),
            json!({"backend_scheme": "tcp", "listen_port": 9000, "listen_path": null}),
        ]
    }

    /// The row of `running` where it is the same.
    fn row<T: PartialEq>(wanted: T, running: &[Arc<T>]) -> Arc<T> {
        running.iter().find(|row| ***row == wanted).cloned().unwrap_or_else(|| Arc::new(wanted))
    }

    /// `picks` are proxy numbers with their forms.
    fn document(picks: &std::collections::BTreeMap<u8, usize>, port: u16, limit: u64, running: &Document) -> Document {
        let at = json!("2026-01-01T00:00:00Z");
        let of = |(id, form): (&u8, &usize)| {
            let mut value = proxy(&format!("p{id}"), forms()[*form].clone());
            (value["created_at"], value["updated_at"]) = (at.clone(), at.clone());
            if *form == 3 {
                value["hosts"] = json!([format!("*.x{id}"), format!("b{id}.y")]);
            }
            row(read(value), &running.proxies)
        };
        let upstream =
            json!({"id": "u", "targets": [{"host": "10.0.0.1", "port": port}], "created_at": at, "updated_at": at});
        let config = |id: &str, scope: &str, name: &str, config: Value| json!({"id": id, "plugin_name": name, "scope": scope, "config": config, "enabled": true, "created_at": at, "updated_at": at});
        let limiting = config("g", "proxy_group", "request_size_limiting", json!({"max_bytes": limit}));
        let global = config("h", "global", "correlation_id", json!({}));
        Document {
            proxies: picks.iter().map(of).collect(),
            upstreams: vec![row(read(upstream), &running.upstreams)],
            plugin_configs: [limiting, global].map(|config| row(read(config), &running.plugin_configs)).to_vec(),
            loaded_at: running.loaded_at,
            ..Document::default()
        }
    }

    /// All that cores see of it.
    fn seen(snapshot: &Snapshot<PluginSet>) -> String {
        let plugins = &snapshot.plugins;
        let numbers = plugins.by_proxy.iter().chain([&UNATTACHED]);
        let ids = |number: &u32| -> Vec<&str> {
            plugins.lists[*number as usize].iter().map(|row| &*plugins.rows[*row as usize].id).collect()
        };
        let lists: Vec<Vec<&str>> = numbers.map(ids).collect();
        let mut found = Vec::new();
        for host in [None, Some("a.x"), Some("c.x1"), Some("b2.y")] {
            for path in ["/", "/p0", "/p1", "/p2", "/p3", "/p4", "/p5", "/r"] {
                found.push(snapshot.routes.find(host, path.as_bytes()).map(|found| (found.route, found.matched_len)));
            }
        }
        let targets: Vec<_> = snapshot.upstreams.iter().map(|entry| entry.spec.targets()).collect();
        format!(
            "{:?} {:?} {:?} {lists:?} {found:?} {targets:?}",
            snapshot.proxies, snapshot.proxy_facts, snapshot.places
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn what_follows_from_a_configuration_is_as_if_it_were_made_anew(
            steps in proptest::collection::vec(
                (proptest::collection::btree_map(0u8..6, 0usize..9, 0..6), 80u16..82, 1u64..3), 2..5),
        ) {
            let (picks, port, limit) = &steps[0];
            let mut running = document(picks, *port, *limit, &Document::default());
            let mut snapshot = compiled(&running, None);
            for (picks, port, limit) in &steps[1..] {
                // Most of the proxies stay as they are.
                let next = document(picks, *port, *limit, &running);
                let follows = compiled(&next, Some(Running { document: &running, snapshot: &snapshot }));
                prop_assert_eq!(seen(&follows), seen(&compiled(&next, None)), "{:?}", steps);
                (running, snapshot) = (next, follows);
            }
        }
    }

    #[test]
    fn what_is_the_same_is_shared() {
        let picks = (0..6).map(|id| (id, 0)).collect();
        let before = document(&picks, 80, 1, &Document::default());
        let snapshot = compiled(&before, None);
        let running = Running { document: &before, snapshot: &snapshot };
        let mut changed = picks.clone();
        changed.insert(3, 1);
        let after = document(&changed, 80, 1, &before);
        let follows = compiled(&after, Some(running));
        assert!(Arc::ptr_eq(&follows.proxy_facts, &snapshot.proxy_facts), "nothing of them is another");
        assert_eq!(follows.proxies[3].backend.port, 81);
        assert!(Arc::ptr_eq(&follows.plugins.rows[0].spec, &snapshot.plugins.rows[0].spec));
        assert!(Arc::ptr_eq(&follows.consumers, &snapshot.consumers));
        assert!(Arc::ptr_eq(&follows.proxies[2].backend, &follows.proxies[4].backend));
        let mut back = changed.clone();
        back.insert(3, 0);
        let again = compiled(&document(&back, 80, 1, &after), Some(Running { document: &after, snapshot: &follows }));
        assert!(Arc::ptr_eq(&again.proxies[3].backend, &again.proxies[2].backend), "a backend is found by what it is");
    }
}
