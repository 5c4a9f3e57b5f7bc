//! Smooth weighted round robin.
//!
//! Each pick adds its weight to every candidate's running value, takes the highest (the first on ties) and reduces it by
//! the candidates' total. The values return to zero after a whole cycle, so the picks repeat: a cycle is computed once and
//! the cores draw positions in it from the ledger, which makes the proportions exact over all of them. The same is done
//! for the few sets of candidates that health leaves, in buffers made beforehand. Where a cycle would be too long, and for
//! the one pick of a retry, the core runs the values itself: its own picks are then in proportion.

use std::cell::{Cell, RefCell};

use super::targets::Candidates;

/// The longest cycle computed for an upstream or a subset, after weights are divided by what they have in common.
const CYCLE_MAX: u64 = 65_536;

/// The most work for it, cycle times targets: about 30 ms of the compiling thread.
const CYCLE_WORK_MAX: u64 = 1 << 24;

/// The longest cycle a core computes by itself when health changes, and the most work for it: about 20 µs.
const PARTIAL_MAX: u64 = 1_024;
const PARTIAL_WORK_MAX: u64 = 1 << 14;

/// Sets of candidates a core remembers the cycle of: health is seen per proxy, so that a few sets are in use at once.
const PARTIALS_MAX: usize = 4;

/// A running value further from zero than this many totals is put back when a target returns to health.
const DRIFT_TOTALS_MAX: i64 = 4;

/// Weights of some targets, and the order in which they are picked when all of them are candidates.
#[derive(Debug)]
pub(super) struct Cycle {
    /// By target; those of targets that are no members are unused.
    weights: Box<[u32]>,
    picks: Option<Box<[u16]>>,
}

impl Cycle {
    pub(super) fn new(weights: Box<[u32]>, all: Candidates<'_>) -> Self {
        let scale = common_divisor(&weights, all);
        let len = total(&weights, all) / scale;
        let targets = all.len() as u64;
        let picks = (1..=CYCLE_MAX).contains(&len).then_some(len).filter(|len| len * targets <= CYCLE_WORK_MAX);
        let picks = picks.map(|len| {
            let values = vec![Cell::new(0); weights.len()];
            (0..len).filter_map(|_| smooth(&values, &weights, all)).map(|target| target as u16).collect()
        });
        Self { weights, picks }
    }

    /// The target at a position when all members are candidates, if the cycle is known.
    pub(super) fn at(&self, position: u64) -> Option<usize> {
        self.picks.as_ref().map(|picks| usize::from(picks[(position % picks.len() as u64) as usize]))
    }

    pub(super) fn is_known(&self) -> bool {
        self.picks.is_some()
    }

    /// Positions after which picks repeat.
    pub(super) fn len(&self) -> usize {
        self.picks.as_ref().map_or(1, |picks| picks.len())
    }
}

fn common_divisor(weights: &[u32], set: Candidates<'_>) -> u64 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    set.iter().fold(0, |divisor, target| gcd(divisor, u64::from(weights[target]))).max(1)
}

fn total(weights: &[u32], set: Candidates<'_>) -> u64 {
    set.iter().map(|target| u64::from(weights[target])).sum()
}

/// One pick. Nothing if there is no candidate with a weight.
fn smooth(values: &[Cell<i64>], weights: &[u32], set: Candidates<'_>) -> Option<usize> {
    let (mut total, mut best) = (0, None);
    for target in set.iter() {
        let weight = i64::from(weights[target]);
        let value = values[target].get() + weight;
        values[target].set(value);
        total += weight;
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((target, value));
        }
    }
    let (winner, value) = best.filter(|_| total > 0)?;
    values[winner].set(value - total);
    Some(winner)
}

/// What one core keeps for one upstream or subset.
pub(super) struct Turning {
    values: Box<[Cell<i64>]>,
    /// The candidates of the last pick from `values`, to notice a target's return.
    last: Box<[Cell<u64>]>,
    partials: RefCell<Partials>,
}

struct Partials {
    all: Box<[Partial]>,
    /// The one to be replaced next.
    oldest: usize,
    scratch: Box<[Cell<i64>]>,
}

/// The cycle of a set of candidates.
struct Partial {
    set: Box<[u64]>,
    picks: Vec<u16>,
}

impl Turning {
    pub(super) fn new(cycle: &Cycle) -> Self {
        let targets = cycle.weights.len();
        let words = targets.div_ceil(64);
        let longest = cycle.picks.as_ref().map_or(0, |picks| picks.len()).min(PARTIAL_MAX as usize);
        let partial = || Partial { set: vec![0; words].into(), picks: Vec::with_capacity(longest) };
        let partials = if longest == 0 { 0 } else { PARTIALS_MAX };
        let values = || vec![Cell::new(0); targets].into_boxed_slice();
        Self {
            values: values(),
            last: vec![Cell::new(0); words].into(),
            partials: RefCell::new(Partials {
                all: (0..partials).map(|_| partial()).collect(),
                oldest: 0,
                scratch: values(),
            }),
        }
    }

    /// The target at a position among a set of candidates that health left, if their cycle is short enough to be known.
    /// `position` is asked for only then.
    pub(super) fn at(&self, cycle: &Cycle, set: Candidates<'_>, position: impl FnOnce() -> u64) -> Option<usize> {
        let mut partials = self.partials.borrow_mut();
        let known =
            partials.all.iter().position(|one| !one.picks.is_empty() && set.words().eq(one.set.iter().copied()));
        let index = match known {
            Some(index) => index,
            None => partials.learn(cycle, set)?,
        };
        let picks = &partials.all[index].picks;
        Some(usize::from(picks[(position() % picks.len() as u64) as usize]))
    }

    /// The next target by this core's own running values.
    pub(super) fn next(&self, cycle: &Cycle, set: Candidates<'_>) -> Option<usize> {
        let mut has_returned = false;
        for (word, last) in set.words().zip(&self.last) {
            has_returned |= word & !last.replace(word) != 0;
        }
        if has_returned {
            let bound = DRIFT_TOTALS_MAX * total(&cycle.weights, set) as i64;
            self.values.iter().filter(|value| value.get().abs() > bound).for_each(|value| value.set(0));
        }
        smooth(&self.values, &cycle.weights, set)
    }
}

impl Partials {
    fn learn(&mut self, cycle: &Cycle, set: Candidates<'_>) -> Option<usize> {
        let index = self.oldest;
        let one = self.all.get_mut(index)?;
        let len = total(&cycle.weights, set) / common_divisor(&cycle.weights, set);
        // The buffer holds what the whole cycle would need, up to its bound; a part never needs more.
        if len == 0 || len > one.picks.capacity() as u64 || len * set.len() as u64 > PARTIAL_WORK_MAX {
            return None;
        }
        self.scratch.iter().for_each(|value| value.set(0));
        one.set.iter_mut().zip(set.words()).for_each(|(to, word)| *to = word);
        one.picks.clear();
        one.picks
            .extend((0..len).filter_map(|_| smooth(&self.scratch, &cycle.weights, set)).map(|target| target as u16));
        self.oldest = (index + 1) % self.all.len();
        Some(index)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::targets::{Eligible, Members};
    use super::*;

    fn cycle(weights: &[u32]) -> (Members, Cycle) {
        let members = Members::new(weights.len(), |_| true);
        let cycle = Cycle::new(weights.into(), Candidates::new(&members, None, None));
        (members, cycle)
    }

    fn text(cycle: &Cycle, positions: u64) -> String {
        (0..positions).map(|position| char::from(b'a' + cycle.at(position).unwrap() as u8)).collect()
    }

    #[test]
    fn the_sheets_sequences() {
        assert_eq!(text(&cycle(&[5, 1]).1, 12), "aaabaaaaabaa");
        assert_eq!(text(&cycle(&[5, 1, 1]).1, 7), "aabacaa");
        assert_eq!(cycle(&[500, 100]).1.len(), 6, "weights are divided by what they have in common");
    }

    #[test]
    fn a_cycle_is_known_up_to_its_bound() {
        assert_eq!(cycle(&[65_535, 1]).1.len(), 65_536);
        assert!(cycle(&[65_535, 2]).1.at(0).is_none());
        // 300 targets of together 65,536 parts are more work than a reload should wait for.
        let mut weights = vec![200; 300];
        weights[0] = 65_536 - 299 * 200;
        weights[1] = 199;
        weights[2] = 201;
        assert!(cycle(&weights).1.at(0).is_none());
    }

    #[test]
    fn the_values_of_one_core_give_the_same_sequence() {
        let (members, cycle) = cycle(&[5, 1, 1]);
        let turning = Turning::new(&cycle);
        let set = Candidates::new(&members, None, None);
        assert!((0..70).all(|position| turning.next(&cycle, set) == cycle.at(position)));
    }

    #[test]
    fn what_health_leaves_has_a_cycle_of_its_own_and_five_sets_share_four_places() {
        let (members, cycle) = cycle(&[5, 1, 2, 4, 3]);
        let turning = Turning::new(&cycle);
        for _ in 0..3 {
            for down in 0..5 {
                let mut eligible = Eligible::all();
                eligible.set(down, false);
                let set = Candidates::new(&members, Some(&eligible), None);
                let expected = [5, 1, 2, 4, 3].iter().enumerate().map(|(i, &w)| if i == down { 0 } else { w });
                let mut hits = [0; 5];
                for position in 0..expected.clone().sum::<u64>() {
                    hits[turning.at(&cycle, set, || position + 17).unwrap()] += 1;
                }
                assert!(hits.into_iter().eq(expected), "{down} down: {hits:?}");
            }
        }
    }

    #[test]
    fn values_that_drifted_are_put_back_when_a_target_returns() {
        let (members, cycle) = cycle(&[1, 1]);
        let turning = Turning::new(&cycle);
        let mut one_down = Eligible::all();
        one_down.set(1, false);
        assert_eq!(turning.next(&cycle, Candidates::new(&members, Some(&one_down), None)), Some(0));
        turning.values[0].set(9);
        turning.values[1].set(-8);
        turning.next(&cycle, Candidates::new(&members, None, None));
        // 9 is past 4 x 2 and was put back to 0 before the pick, -8 is not; then 0 + 1 wins and pays 2.
        assert_eq!([turning.values[0].get(), turning.values[1].get()], [-1, -7]);
    }

    #[test]
    fn without_any_weight_there_is_no_pick() {
        let (members, cycle) = cycle(&[0, 0]);
        assert!(cycle.at(0).is_none());
        assert_eq!(Turning::new(&cycle).next(&cycle, Candidates::new(&members, None, None)), None);
    }
}
