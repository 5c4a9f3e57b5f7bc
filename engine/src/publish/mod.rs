//! How the control thread hands a value to the cores: one handle per core, so that a publication touches each core's own
//! cache line and reading it is one compare.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use crossbeam::utils::CachePadded;

/// One core's handle, on a cache line of its own.
struct Handle<T>(Arc<CachePadded<ArcSwap<T>>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Handle<T> {
    type Target = ArcSwap<T>;
    fn deref(&self) -> &ArcSwap<T> {
        &self.0
    }
}

/// The control thread's side: one handle per core.
pub struct Fanout<T> {
    handles: Vec<Handle<T>>,
}

impl<T> Fanout<T> {
    pub fn new(cores: usize, first: Arc<T>) -> Self {
        Self { handles: (0..cores).map(|_| Handle(Arc::new(CachePadded::new(ArcSwap::new(first.clone()))))).collect() }
    }

    /// Every core sees the value at its next look.
    pub fn publish(&self, value: &Arc<T>) {
        for handle in &self.handles {
            handle.store(value.clone());
        }
    }

    /// The reader's end of one core.
    pub fn view(&self, core: usize) -> View<T> {
        let cache = Cache::new(self.handles[core].clone());
        View { seen: cache.arc_swap().load_full(), cache }
    }

    /// What was published last.
    pub fn latest(&self) -> Option<Arc<T>> {
        self.handles.first().map(|handle| handle.load_full())
    }
}

/// One core's side. Holds on to what it saw last.
pub struct View<T> {
    cache: Cache<Handle<T>, Arc<T>>,
    seen: Arc<T>,
}

impl<T> View<T> {
    /// The published value; `true` when it is another one than at the last look. One compare when it is not.
    pub fn look(&mut self) -> (&Arc<T>, bool) {
        let now = self.cache.load();
        let changed = !Arc::ptr_eq(now, &self.seen);
        if changed {
            self.seen = now.clone();
        }
        (&self.seen, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_sees_a_publication_once_as_new() {
        let fanout = Fanout::new(2, Arc::new(1));
        let (mut zero, mut one) = (fanout.view(0), fanout.view(1));
        assert_eq!(zero.look(), (&Arc::new(1), false));
        fanout.publish(&Arc::new(2));
        assert_eq!(zero.look(), (&Arc::new(2), true));
        assert_eq!(zero.look(), (&Arc::new(2), false));
        assert_eq!(one.look(), (&Arc::new(2), true));
    }
}
