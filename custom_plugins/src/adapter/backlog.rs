//! Log hooks of one instance that wait, bounded: past the bound transactions go unlogged, which is counted and said.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub(super) struct Backlog {
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// The second in which losses were last said.
    said_at: AtomicU64,
}

impl Backlog {
    /// Takes a place, unless as many as that are taken.
    pub(super) fn enter(&self, waiting_max: usize) -> bool {
        let is_admitted = self.waiting.fetch_add(1, Relaxed) < waiting_max;
        if !is_admitted {
            self.leave();
        }
        is_admitted
    }

    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Counts a transaction that goes unlogged. Answers how many there were, when it is time to say so: once a second.
    pub(super) fn lose(&self) -> Option<u64> {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.lose_at(second)
    }

    fn lose_at(&self, second: u64) -> Option<u64> {
        let lost = self.lost.fetch_add(1, Relaxed) + 1;
        let said_at = self.said_at.load(Relaxed);
        let is_due = second != said_at && self.said_at.compare_exchange(said_at, second, Relaxed, Relaxed).is_ok();
        is_due.then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_up_to_the_bound_and_given_back() {
        let backlog = Backlog::default();
        assert_eq!([2; 3].map(|max| backlog.enter(max)), [true, true, false]);
        backlog.leave();
        assert_eq!([2; 2].map(|max| backlog.enter(max)), [true, false]);
    }

    #[test]
    fn losses_are_all_counted_and_said_once_a_second() {
        let backlog = Backlog::default();
        let said: Vec<_> = [7, 7, 7, 8, 8, 10].into_iter().map(|second| backlog.lose_at(second)).collect();
        assert_eq!(said, [Some(1), None, None, Some(4), None, Some(6)]);
    }
}
