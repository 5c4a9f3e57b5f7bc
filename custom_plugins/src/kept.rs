//! What a core has copied for itself.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// So many proxies, and so many consumers, are kept: with very many of them the few busy ones are what counts.
const KEPT_MAX: usize = 4096;

/// A bounded map that begins anew when it is full.
pub(crate) struct Kept<K, V>(FxHashMap<K, Option<V>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Hash + Eq, V: Clone> Kept<K, V> {
    pub(crate) fn get(&mut self, key: K, make: impl FnOnce() -> Option<V>) -> Option<V> {
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        if self.0.len() >= KEPT_MAX {
            self.0.clear();
        }
        self.0.entry(key).or_insert_with(make).clone()
    }
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
}
