//! Sets of targets as bits, and the candidates of one pick.

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Which targets may be chosen: all but those marked. A target that the set was never told of is eligible, because
/// targets start healthy; so an empty set fits every upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligible {
    marked: Vec<u64>,
}

impl Eligible {
    /// Every target is eligible.
    #[must_use]
    pub const fn all() -> Self {
        Self { marked: Vec::new() }
    }

    pub fn set(&mut self, target: usize, is_eligible: bool) {
        let (word, bit) = (target / WORD, 1 << (target % WORD));
        if is_eligible {
            if let Some(word) = self.marked.get_mut(word) {
                *word &= !bit;
            }
        } else {
            if self.marked.len() <= word {
                self.marked.resize(word + 1, 0);
            }
            self.marked[word] |= bit;
        }
    }

    #[must_use]
    pub fn contains(&self, target: usize) -> bool {
        self.word(target / WORD) >> (target % WORD) & 1 == 1
    }

    fn word(&self, index: usize) -> u64 {
        self.marked.get(index).map_or(u64::MAX, |marked| !marked)
    }
}

/// The members of an upstream or of one subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    words: Box<[u64]>,
    len: usize,
}

impl Members {
    pub(super) fn new(targets: usize, is_member: impl Fn(usize) -> bool) -> Self {
        let mut words = vec![0; targets.div_ceil(WORD)];
        for target in (0..targets).filter(|&target| is_member(target)) {
            words[target / WORD] |= 1 << (target % WORD);
        }
        let len = words.iter().map(|word: &u64| word.count_ones() as usize).sum();
        Self { words: words.into(), len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Members that are eligible and not excluded, in the order of the targets. Computed word by word as it is asked.
#[derive(Clone, Copy)]
pub(super) struct Candidates<'a> {
    members: &'a Members,
    eligible: Option<&'a Eligible>,
    exclude: Option<usize>,
}

impl<'a> Candidates<'a> {
    /// Without `eligible` health is ignored.
    pub(super) fn new(members: &'a Members, eligible: Option<&'a Eligible>, exclude: Option<usize>) -> Self {
        Self { members, eligible, exclude }
    }

    fn word(&self, index: usize) -> u64 {
        let mut word = self.members.words[index];
        if let Some(eligible) = self.eligible {
            word &= eligible.word(index);
        }
        if let Some(exclude) = self.exclude
            && exclude / WORD == index
        {
            word &= !(1 << (exclude % WORD));
        }
        word
    }

    pub(super) fn words(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        (0..self.members.words.len()).map(|index| self.word(index))
    }

    pub(super) fn len(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn contains(&self, target: usize) -> bool {
        target / WORD < self.members.words.len() && self.word(target / WORD) >> (target % WORD) & 1 == 1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.words().enumerate().flat_map(|(index, word)| Bits(word).map(move |bit| index * WORD + bit))
    }

    /// The candidate at a place among the candidates.
    pub(super) fn nth(&self, mut place: usize) -> Option<usize> {
        for (index, word) in self.words().enumerate() {
            let len = word.count_ones() as usize;
            if place < len {
                return Bits(word).nth(place).map(|bit| index * WORD + bit);
            }
            place -= len;
        }
        None
    }
}

#[derive(Clone)]
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_nobody_spoke_of_is_eligible() {
        let mut eligible = Eligible::all();
        assert!(eligible.contains(0) && eligible.contains(10_000));
        eligible.set(70, false);
        assert!(!eligible.contains(70) && eligible.contains(69) && eligible.contains(500));
        eligible.set(70, true);
        eligible.set(9_000, true);
        assert!(eligible.contains(70));
    }

    proptest! {
        #[test]
        fn candidates_are_what_a_plain_filter_gives(
            member in prop::collection::vec(any::<bool>(), 0..200),
            unhealthy in prop::collection::vec(0..220_usize, 0..150),
            exclude in prop::option::of(0..220_usize),
        ) {
            let members = Members::new(member.len(), |target| member[target]);
            let mut eligible = Eligible::all();
            unhealthy.iter().for_each(|&target| eligible.set(target, false));
            let set = Candidates::new(&members, Some(&eligible), exclude);
            let plain: Vec<usize> = (0..member.len())
                .filter(|&target| member[target] && !unhealthy.contains(&target) && exclude != Some(target))
                .collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), plain.clone());
            prop_assert_eq!(set.len(), plain.len());
            for target in 0..230 {
                prop_assert_eq!(set.contains(target), plain.contains(&target));
                prop_assert_eq!(set.nth(target), plain.get(target).copied());
            }
        }
    }
}
