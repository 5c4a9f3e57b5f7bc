//! What one core keeps for documented plugins.

use std::cell::{OnceCell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use engine::consumers::ConsumerId;
use native::Facts;
use tokio::runtime::{EnterGuard, Handle};

use super::watch;
use super::world::World;
use crate::config::types::{Consumer, Proxy};
use crate::consumer_index::ConsumerIndex;
use crate::kept::Kept;

thread_local! {
    static ENTERED: RefCell<Option<ManuallyDrop<EnterGuard<'static>>>> = const { RefCell::new(None) };
}

/// Enters the runtime on this thread for good. To enter it anew around each hook would cost two writes to a count that all
/// cores share. One handle per core is never given back, which lives as long as the process anyway.
pub(super) fn enter(runtime: &Handle) {
    watch::add_core();
    ENTERED.with(|entered| {
        let mut entered = entered.borrow_mut();
        if entered.is_none() {
            let runtime: &'static Handle = Box::leak(Box::new(runtime.clone()));
            *entered = Some(ManuallyDrop::new(runtime.enter()));
        }
    });
}

/// A configuration on one core: what plugins are handed of it, kept after its first use. Each core has its own, because plugins are
/// handed counted references, and a count that all cores write is what no request may touch.
pub(super) struct Local {
    pub world: Arc<World>,
    /// By the number of the route.
    proxies: RefCell<Kept<u32, Arc<Proxy>>>,
    /// By where they stand in the configuration.
    consumers: RefCell<Kept<usize, Arc<Consumer>>>,
    index: OnceCell<Arc<ConsumerIndex>>,
}

impl Local {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, proxies: RefCell::default(), consumers: RefCell::default(), index: OnceCell::new() }
    }

    /// What belongs to the requests of this configuration.
    pub(super) fn of(facts: &Facts) -> Option<&Self> {
        facts.companion.as_deref()?.downcast_ref()
    }

    /// The proxy of that route.
    pub(super) fn proxy(&self, route: u32) -> Option<Arc<Proxy>> {
        self.proxies.borrow_mut().get(route, || self.world.proxy(route))
    }

    /// The consumer that stands there: a copy, because the original is counted by all cores.
    pub(super) fn consumer(&self, id: ConsumerId) -> Option<Arc<Consumer>> {
        let copied = || self.world.consumer(id).map(|consumer| Arc::new((*consumer).clone()));
        self.consumers.borrow_mut().get(id.place(), copied)
    }

    /// All consumers.
    pub(super) fn consumer_index(&self) -> Arc<ConsumerIndex> {
        self.index.get_or_init(|| Arc::new(self.world.consumer_index().apart())).clone()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;

    use super::super::testing::Rig;
    use super::*;
    use crate::plugins::{Plugin, PluginResult, RequestContext};

    struct Authenticates;

    #[async_trait]
    impl Plugin for Authenticates {
        fn name(&self) -> &str {
            "authenticates"
        }

        fn is_auth_plugin(&self) -> bool {
            true
        }

        async fn authenticate(&self, ctx: &mut RequestContext, consumers: &ConsumerIndex) -> PluginResult {
            ctx.identified_consumer = consumers.find_by_identity("anna");
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn nothing_of_a_configuration_outlives_its_last_request() {
        let consumers = json!({"consumers": [{"id": "a", "username": "anna", "credentials": {}}]});
        let rig = Rig::with(vec![Arc::new(Authenticates)], consumers);
        let local = Local::of(&rig.facts).unwrap();
        let (world, index) = (Arc::downgrade(&local.world), Arc::downgrade(&local.consumer_index()));
        let mut cx = rig.request("/", &[]);
        rig.send(&mut cx).await;
        assert_eq!(cx.consumer.map(|id| id.place()), Some(0));
        drop(rig);
        assert!(world.upgrade().is_some(), "the request still needs it");
        drop(cx);
        assert!(world.upgrade().is_none() && index.upgrade().is_none());
    }

    #[test]
    fn tasks_can_be_spawned_from_a_thread_that_has_entered() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let spawned = std::thread::spawn(move || {
            enter(&handle);
            enter(&handle);
            tokio::spawn(async { 7 })
        });
        assert_eq!(runtime.block_on(spawned.join().unwrap()).unwrap(), 7);
    }
}
