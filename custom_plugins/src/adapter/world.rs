//! A configuration as documented plugins see it; the companion of the native one, shared by all cores.

use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use engine::consumers::ConsumerId;
use engine::model::Document;
use native::{Companion, PluginSet};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::instance::Instance;
use super::local::Local;
use crate::config::types::{Consumer, Proxy, Upstream, of_model};
use crate::consumer_index::ConsumerIndex;

pub(super) struct World {
    document: Arc<Document>,
    /// By the number of the route: which proxy of the document, and whether a plugin of it says that it edits request headers.
    routes: Box<[(u32, bool)]>,
    index: OnceLock<Arc<ConsumerIndex>>,
    consumers: Shelf<Consumer>,
    upstreams: Shelf<Upstream>,
}

/// Resources of one kind as plugins see them, each made when it is first asked for. Making one takes a while.
struct Shelf<T> {
    kind: &'static str,
    made: Box<[OnceLock<Option<Arc<T>>>]>,
    /// By id, where they stand in the document.
    places: HashMap<String, usize>,
}

impl<T: DeserializeOwned> Shelf<T> {
    fn new<'d>(kind: &'static str, ids: impl ExactSizeIterator<Item = &'d String>) -> Self {
        let made = (0..ids.len()).map(|_| OnceLock::new()).collect();
        Self { kind, made, places: ids.enumerate().map(|(place, id)| (id.clone(), place)).collect() }
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    fn get(&self, place: usize, id: &str, resource: &impl Serialize) -> Option<Arc<T>> {
        let make = || match of_model(resource) {
            Ok(shown) => Some(Arc::new(shown)),
            Err(error) => {
                tracing::error!("{} {id} cannot be shown to plugins: {error}", self.kind);
                None
            }
        };
        self.made.get(place)?.get_or_init(make).clone()
    }
}

impl Companion for World {
    fn on_core(self: Arc<Self>) -> Rc<dyn Any> {
        Rc::new(Local::new(self))
    }
}

impl World {
    /// `routes` are the places of the proxies in the document, by the number of the route.
    pub(super) fn new(document: Arc<Document>, routes: &[u32], plugins: &PluginSet) -> Self {
        let is_editing =
            |row: &u32| Instance::of(&*plugins.rows[*row as usize].spec).is_some_and(|i| i.capabilities.edits_headers);
        let edits = |number: usize| number < plugins.by_proxy.len() && plugins.list(number).iter().any(is_editing);
        let routes = routes.iter().enumerate().map(|(number, place)| (*place, edits(number))).collect();
        let consumers = Shelf::new("consumer", document.consumers.iter().map(|consumer| &consumer.id));
        let upstreams = Shelf::new("upstream", document.upstreams.iter().map(|upstream| &upstream.id));
        let world = Self { document, routes, index: OnceLock::new(), consumers, upstreams };
        let instances = plugins.rows.iter().filter_map(|row| Instance::of(&*row.spec));
        if instances.into_iter().any(|instance| instance.capabilities.is_auth) {
            // Here and not at the first request: with many consumers it takes a while.
            world.consumer_index();
        }
        world
    }

    pub(super) fn proxy(&self, route: u32) -> Option<Arc<Proxy>> {
        let (place, _) = self.routes.get(route as usize)?;
        let proxy = self.document.proxies.get(*place as usize)?;
        let upstream = proxy.upstream_id.as_deref().and_then(|id| self.upstream(id));
        let documented = Proxy::of_model(proxy, upstream.as_deref());
        documented
            .inspect_err(|error| tracing::error!("proxy {} cannot be shown to plugins: {error}", proxy.id))
            .ok()
            .map(Arc::new)
    }

    pub(super) fn upstream(&self, id: &str) -> Option<Arc<Upstream>> {
        let place = self.upstreams.place(id)?;
        self.upstreams.get(place, id, self.document.upstreams.get(place)?)
    }

    /// Whether a plugin of that route says that it edits request headers.
    pub(super) fn edits_request_headers(&self, route: u32) -> bool {
        self.routes.get(route as usize).is_some_and(|(_, edits)| *edits)
    }

    pub(super) fn consumer_index(&self) -> &Arc<ConsumerIndex> {
        self.index.get_or_init(|| {
            let consumers = (0..self.document.consumers.len()).filter_map(|place| self.consumer_at(place)).collect();
            Arc::new(ConsumerIndex::of(consumers))
        })
    }

    pub(super) fn consumer(&self, id: ConsumerId) -> Option<Arc<Consumer>> {
        self.consumer_at(id.place())
    }

    fn consumer_at(&self, place: usize) -> Option<Arc<Consumer>> {
        let consumer = self.document.consumers.get(place)?;
        self.consumers.get(place, &consumer.id, consumer)
    }

    /// Where a consumer that a plugin handed back stands; nothing if it is none of this configuration.
    pub(super) fn place(&self, consumer: &Arc<Consumer>) -> Option<usize> {
        let place = self.consumers.place(&consumer.id)?;
        let known = self.document.consumers.get(place)?;
        let is_same = known.username == consumer.username && known.custom_id == consumer.custom_id;
        is_same.then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_upstream_is_found_by_its_id_and_made_once() {
        let target = json!({"host": "10.0.0.1", "port": 80});
        let upstreams = json!([{"id": "a", "targets": [target]}, {"id": "b", "targets": [target]}]);
        let document: Document = serde_json::from_value(json!({"version": "1", "proxies": [], "consumers": [],
            "plugin_configs": [], "upstreams": upstreams}))
        .unwrap();
        let world = World::new(Arc::new(document), &[], &PluginSet::default());
        let found = world.upstream("b").unwrap();
        assert_eq!((found.id.as_str(), found.targets.len()), ("b", 1));
        assert!(Arc::ptr_eq(&found, &world.upstream("b").unwrap()) && world.upstream("c").is_none());
    }
}
