//! What one core keeps for documented plugins.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::runtime::{EnterGuard, Handle};

use super::watch;
use super::world::World;
use crate::config::types::Proxy;

thread_local! {
    static ENTERED: RefCell<Option<ManuallyDrop<EnterGuard<'static>>>> = const { RefCell::new(None) };
    static PROXIES: RefCell<Proxies> = RefCell::default();
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

/// Proxies as plugins know them, kept after their first use. Each core has its own, because plugins are handed counted
/// references, and a count that all cores write is what no request may touch.
#[derive(Default)]
struct Proxies {
    /// Of which configuration they are.
    world: Option<Arc<World>>,
    by_route: FxHashMap<u32, Option<Arc<Proxy>>>,
}

/// More are not kept at a time: with very many routes the few busy ones are what counts.
const PROXIES_MAX: usize = 4096;

/// The proxy of that route.
pub(super) fn proxy(world: &Arc<World>, route: u32) -> Option<Arc<Proxy>> {
    PROXIES.with(|proxies| {
        let mut proxies = proxies.borrow_mut();
        let is_same = proxies.world.as_ref().is_some_and(|known| Arc::ptr_eq(known, world));
        if !is_same || proxies.by_route.len() >= PROXIES_MAX {
            proxies.world = Some(world.clone());
            proxies.by_route.clear();
        }
        proxies.by_route.entry(route).or_insert_with(|| world.proxy(route)).clone()
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
