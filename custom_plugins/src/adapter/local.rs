//! What one core keeps for documented plugins.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use engine::consumers::ConsumerId;
use tokio::runtime::{EnterGuard, Handle};

use super::watch;
use super::world::World;
use crate::config::types::{Consumer, Proxy};
use crate::consumer_index::ConsumerIndex;
use crate::kept::Kept;

thread_local! {
    static ENTERED: RefCell<Option<ManuallyDrop<EnterGuard<'static>>>> = const { RefCell::new(None) };
    static SHOWN: RefCell<Shown> = RefCell::default();
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

/// What plugins are handed of a configuration, kept after its first use. Each core has its own, because plugins are handed
/// counted references, and a count that all cores write is what no request may touch.
#[derive(Default)]
struct Shown {
    /// Of which configuration.
    world: Option<Arc<World>>,
    proxies: Kept<u32, Arc<Proxy>>,
    /// By where they stand in the configuration.
    consumers: Kept<usize, Arc<Consumer>>,
    index: Option<Arc<ConsumerIndex>>,
}

impl Shown {
    fn of(&mut self, world: &Arc<World>) -> &mut Self {
        if self.world.as_ref().is_none_or(|known| !Arc::ptr_eq(known, world)) {
            *self = Self { world: Some(world.clone()), ..Self::default() };
        }
        self
    }
}

/// The proxy of that route.
pub(super) fn proxy(world: &Arc<World>, route: u32) -> Option<Arc<Proxy>> {
    SHOWN.with_borrow_mut(|shown| shown.of(world).proxies.get(route, || world.proxy(route)))
}

/// The consumer that stands there.
pub(super) fn consumer(world: &Arc<World>, id: ConsumerId) -> Option<Arc<Consumer>> {
    SHOWN.with_borrow_mut(|shown| {
        // A copy, because the original is counted by all cores.
        let copied = || world.consumer(id).map(|consumer| Arc::new((*consumer).clone()));
        shown.of(world).consumers.get(id.place(), copied)
    })
}

/// All consumers.
pub(super) fn consumer_index(world: &Arc<World>) -> Arc<ConsumerIndex> {
    SHOWN.with_borrow_mut(|shown| {
        let index = &mut shown.of(world).index;
        index.get_or_insert_with(|| Arc::new(world.consumer_index().apart())).clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
