//! A configuration as documented plugins see it; the companion of the native one, shared by all cores.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use engine::consumers::ConsumerId;
use engine::model::Document;
use native::{Facts, PluginSet};

use super::instance::Instance;
use crate::config::types::{Consumer, Proxy, Upstream, of_model};
use crate::consumer_index::ConsumerIndex;

/// As it hangs on the native one.
pub(super) type Shared = Arc<World>;

pub(super) struct World {
    document: Arc<Document>,
    /// By the number of the route: which proxy of the document, and whether a plugin of it says that it edits request headers.
    routes: Box<[(u32, bool)]>,
    index: OnceLock<Arc<ConsumerIndex>>,
    /// Those that were asked for one by one.
    consumers: Box<[OnceLock<Option<Arc<Consumer>>>]>,
    places: OnceLock<HashMap<String, usize>>,
}

impl World {
    /// `routes` are the places of the proxies in the document, by the number of the route.
    pub(super) fn new(document: Arc<Document>, routes: &[u32], plugins: &PluginSet) -> Self {
        let is_editing =
            |row: &u32| Instance::of(&*plugins.rows[*row as usize].spec).is_some_and(|i| i.capabilities.edits_headers);
        let edits = |number: usize| plugins.by_proxy.get(number).is_some_and(|rows| rows.iter().any(is_editing));
        let routes = routes.iter().enumerate().map(|(number, place)| (*place, edits(number))).collect();
        let consumers = document.consumers.iter().map(|_| OnceLock::new()).collect();
        let world = Self { document, routes, index: OnceLock::new(), consumers, places: OnceLock::new() };
        let instances = plugins.rows.iter().filter_map(|row| Instance::of(&*row.spec));
        if instances.into_iter().any(|instance| instance.capabilities.is_auth) {
            // Here and not at the first request: with many consumers it takes a while.
            world.consumer_index();
        }
        world
    }

    /// What belongs to the requests of this configuration.
    pub(super) fn of(facts: &Facts) -> Option<&Shared> {
        facts.companion.as_deref()?.downcast_ref()
    }

    pub(super) fn proxy(&self, route: u32) -> Option<Arc<Proxy>> {
        let (place, _) = self.routes.get(route as usize)?;
        let proxy = self.document.proxies.get(*place as usize)?;
        let upstream = proxy.upstream_id.as_deref().and_then(|id| self.upstream(id));
        let documented = Proxy::of_model(proxy, upstream.as_ref());
        documented
            .inspect_err(|error| tracing::error!("proxy {} cannot be shown to plugins: {error}", proxy.id))
            .ok()
            .map(Arc::new)
    }

    pub(super) fn upstream(&self, id: &str) -> Option<Upstream> {
        let upstream = self.document.upstreams.iter().find(|upstream| upstream.id == id)?;
        of_model(upstream)
            .inspect_err(|error| tracing::error!("upstream {id} cannot be shown to plugins: {error}"))
            .ok()
    }

    /// Whether a plugin of that route says that it edits request headers.
    pub(super) fn edits_request_headers(&self, route: u32) -> bool {
        self.routes.get(route as usize).is_some_and(|(_, edits)| *edits)
    }

    pub(super) fn consumer_index(&self) -> &Arc<ConsumerIndex> {
        self.index.get_or_init(|| {
            let consumers = (0..self.consumers.len()).filter_map(|place| self.consumer_at(place)).collect();
            Arc::new(ConsumerIndex::of(consumers))
        })
    }

    pub(super) fn consumer(&self, id: ConsumerId) -> Option<Arc<Consumer>> {
        self.consumer_at(id.place())
    }

    fn consumer_at(&self, place: usize) -> Option<Arc<Consumer>> {
        let documented = || {
            let consumer = self.document.consumers.get(place)?;
            let shown = of_model(consumer);
            shown
                .inspect_err(|error| tracing::error!("consumer {} cannot be shown to plugins: {error}", consumer.id))
                .ok()
                .map(Arc::new)
        };
        self.consumers.get(place)?.get_or_init(documented).clone()
    }

    /// Where a consumer that a plugin handed back stands; nothing if it is none of this configuration.
    pub(super) fn place(&self, consumer: &Arc<Consumer>) -> Option<usize> {
        let by_id =
            || self.document.consumers.iter().enumerate().map(|(place, known)| (known.id.clone(), place)).collect();
        let place = *self.places.get_or_init(by_id).get(&consumer.id)?;
        let known = &self.document.consumers[place];
        let is_same = known.username == consumer.username && known.custom_id == consumer.custom_id;
        is_same.then_some(place)
    }
}
