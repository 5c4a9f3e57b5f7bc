//! What one core keeps for documented plugins.

use std::cell::RefCell;
use std::hash::Hash;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use engine::consumers::ConsumerId;
use rustc_hash::FxHashMap;
use tokio::runtime::{EnterGuard, Handle};

use super::watch;
use super::world::World;
use crate::config::types::{Consumer, Proxy};
use crate::consumer_index::ConsumerIndex;

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

/// So many proxies, and so many consumers, are kept: with very many of them the few busy ones are what counts.
const KEPT_MAX: usize = 4096;

/// A bounded map that begins anew when it is full.
struct Kept<K, V>(FxHashMap<K, Option<V>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Hash + Eq, V: Clone> Kept<K, V> {
    fn get(&mut self, key: K, make: impl FnOnce() -> Option<V>) -> Option<V> {
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        if self.0.len() >= KEPT_MAX {
            self.0.clear();
        }
        self.0.entry(key).or_insert_with(make).clone()
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
    fn what_is_kept_is_bounded_and_a_hit_throws_nothing_away() {
        let mut kept = Kept::default();
        let mut made = 0;
        let mut get = |key: usize| {
            let value = kept.get(key, || {
                made += 1;
                Some(key)
            });
            assert_eq!((value, kept.0.len() <= KEPT_MAX), (Some(key), true));
            made
        };
        for key in (0..KEPT_MAX).chain(0..KEPT_MAX) {
            get(key);
        }
        assert_eq!(get(0), KEPT_MAX, "each was made once");
        get(KEPT_MAX);
        assert_eq!(get(0), KEPT_MAX + 2, "past the bound it begins anew");
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
