//! N held at once, exactly, over all cores.

use std::sync::Arc;

use super::row::{POLICY, Row};

/// A concurrency cap. What a core gives back lies in its own cell, so a core that acquires and releases in turn writes no
/// line of another one's.
pub struct Cap {
    row: Row<false>,
}

impl Cap {
    /// `limit` is held to [`UNITS_MAX`](super::UNITS_MAX).
    #[must_use]
    pub fn new(limit: u64, cores: usize) -> Self {
        Self { row: Row::new(limit, cores, POLICY) }
    }

    #[cfg(test)]
    pub(super) fn with_policy(limit: u64, cores: usize, policy: super::row::Policy) -> Self {
        Self { row: Row::new(limit, cores, policy) }
    }

    /// True if one more may be held; [`release`](Self::release) must follow, on whatever core. [`hold`](Self::hold) sees to
    /// that by itself.
    #[inline]
    #[must_use]
    pub fn acquire(&self, core: usize) -> bool {
        self.row.take(core, &mut 0, 1).is_some()
    }

    /// Gives back what one `acquire` got.
    #[inline]
    pub fn release(&self, core: usize) {
        self.row.give_back(core);
    }

    /// Holds one until the guard is dropped, or nothing if N are held.
    #[must_use]
    pub fn hold(self: &Arc<Self>, core: usize) -> Option<Held> {
        self.acquire(core).then(|| Held { cap: self.clone(), core })
    }

    /// How many are held, added up over the cores; exact when nothing is under way.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.row.limit() - self.row.remaining(0)
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.row.limit()
    }
}

/// One of the N.
#[must_use]
pub struct Held {
    cap: Arc<Cap>,
    core: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cap.release(self.core);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_one_past_the_cap_is_refused_until_another_core_lets_go() {
        let cap = Cap::new(3, 4);
        assert!((0..3).all(|core| cap.acquire(core)));
        assert!(!cap.acquire(3));
        cap.release(1);
        assert!(cap.acquire(3));
        assert!(!cap.acquire(0));
        assert_eq!(cap.held(), 3);
    }

    #[test]
    fn what_piles_up_in_the_cell_of_a_core_that_only_releases_is_recalled() {
        let cap = Cap::new(1_000, 4);
        for _ in 0..50 {
            assert!((0..1_000).all(|_| cap.acquire(0)));
            assert!(!cap.acquire(2));
            (0..1_000).for_each(|_| cap.release(3));
        }
        assert_eq!(cap.held(), 0);
    }

    #[test]
    fn the_guard_gives_back() {
        let cap = Arc::new(Cap::new(1, 2));
        let held = cap.hold(0);
        assert!(held.is_some() && cap.hold(1).is_none());
        drop(held);
        assert!(cap.hold(1).is_some());
    }

    #[test]
    fn a_cap_outlives_the_wrap_of_its_return_count() {
        let cap = Cap::new(70, 2);
        for i in 0..1_100_000 {
            assert!(cap.acquire(i % 2));
            cap.release((i / 3) % 2);
        }
        assert_eq!((0..100).filter(|i| cap.acquire(i % 2)).count(), 70);
    }
}
