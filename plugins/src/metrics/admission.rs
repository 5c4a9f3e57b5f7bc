//! How many label sets may have a series at a time, where somebody outside chooses the labels.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashSet;

use super::lock;

/// Asked once per label set and core, and once a second per core while it is full.
pub(super) struct Admission {
    admitted: Mutex<FxHashSet<Arc<str>>>,
    max: AtomicUsize,
}

impl Admission {
    pub(super) fn new(max: usize) -> Self {
        Self { admitted: Mutex::default(), max: AtomicUsize::new(max) }
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// The label set, if it is in or there is room for it.
    pub(super) fn admit(&self, labels: &str) -> Option<Arc<str>> {
        let mut admitted = lock(&self.admitted);
        if let Some(present) = admitted.get(labels) {
            return Some(present.clone());
        }
        if admitted.len() >= self.max.load(Ordering::Relaxed) {
            return None;
        }
        let labels: Arc<str> = labels.into();
        admitted.insert(labels.clone());
        Some(labels)
    }

    /// Its series is shown no more.
    pub(super) fn release(&self, labels: &str) {
        lock(&self.admitted).remove(labels);
    }

    /// A core that still had its cells has touched it again.
    pub(super) fn readmit(&self, labels: &Arc<str>) {
        lock(&self.admitted).insert(labels.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_as_it_says_and_again_when_one_is_released() {
        let admission = Admission::new(2);
        assert!(admission.admit("a").is_some() && admission.admit("b").is_some());
        assert!(admission.admit("c").is_none());
        assert!(admission.admit("a").is_some(), "it is in already");
        admission.release("b");
        assert!(admission.admit("c").is_some());
        assert!(admission.admit("b").is_none());
        admission.readmit(&"b".into());
        admission.set_max(4);
        assert!(admission.admit("d").is_some() && admission.admit("e").is_none());
    }
}
