//! The meters of all callers, one set for all cores.
//!
//! Each core remembers the meters it met last, so that the table, and its locks, is asked only when a core meets a caller
//! anew. A meter that leaves the table is retired first, and a retired one grants nothing and sends its finder back to the
//! table: there are never two living meters of one caller.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine::ledger::{Meter, Pass, Rates};
use rustc_hash::FxHashMap;

use super::{Caller, Judgement, Rule};

/// Callers that are counted at a time (plugins sheet §2.29).
const METERS_MAX: usize = 100_000;
const SHARDS: usize = 64;
/// Meters looked at to find one that can be given up.
const LOOKED_AT_MAX: usize = 8;
/// Meters one core remembers; then it forgets all of them.
const REMEMBERED_MAX: usize = 1024;

/// A rule and a caller, as 64 bits that nobody outside can predict. They stand for both, so that a meter is as small for a
/// long identity as for a short one: of 100,000 callers two share one with a chance of 1 in 3,000,000,000.
type Key = u64;

struct Row {
    key: Key,
    meter: Meter,
}

#[derive(Default)]
struct Shard {
    places: FxHashMap<Key, u32>,
    rows: Vec<Arc<Row>>,
    /// Where the next look for a meter to give up begins.
    hand: usize,
}

impl Shard {
    fn get(&self, key: Key) -> Option<&Arc<Row>> {
        self.places.get(&key).map(|place| &self.rows[*place as usize])
    }

    fn add(&mut self, row: Arc<Row>) {
        // A shard has no more than all meters.
        self.places.insert(row.key, self.rows.len() as u32);
        self.rows.push(row);
    }

    /// The meter must be retired.
    fn remove(&mut self, place: usize) {
        let removed = self.rows.swap_remove(place);
        self.places.remove(&removed.key);
        if let Some(moved) = self.rows.get(place) {
            self.places.insert(moved.key, place as u32);
        }
    }

    /// Gives up those of the next few meters of which nothing is taken, or else the one of which least is. Answers with their
    /// number.
    fn make_room(&mut self, tick: u64) -> usize {
        let mut freed = 0;
        let mut least: Option<(f64, usize)> = None;
        for _ in 0..LOOKED_AT_MAX.min(self.rows.len()) {
            if self.hand >= self.rows.len() {
                self.hand = 0;
            }
            let Some(row) = self.rows.get(self.hand) else { break };
            match row.meter.retire_if_unused(tick) {
                Ok(()) => {
                    // Another one is in its place now, and it might be the one that was noted.
                    self.remove(self.hand);
                    least = None;
                    freed += 1;
                    continue;
                }
                Err(used) if least.is_none_or(|(least, _)| used < least) => least = Some((used, self.hand)),
                Err(_) => {}
            }
            self.hand += 1;
        }
        if freed > 0 {
            return freed;
        }
        let Some((_, place)) = least else { return 0 };
        self.rows[place].meter.retire();
        self.remove(place);
        1
    }
}

pub(super) struct Meters {
    /// By rule.
    rates: Box<[Arc<Rates>]>,
    digest: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// Meters in the shards and those about to be added.
    count: AtomicUsize,
    count_max: usize,
    began: Instant,
}

impl Meters {
    pub(super) fn new(rules: &[Rule], cores: usize) -> Self {
        Self::bounded(rules, cores, SHARDS, METERS_MAX)
    }

    pub(super) fn bounded(rules: &[Rule], cores: usize, shards: usize, count_max: usize) -> Self {
        let mut rates: Vec<Arc<Rates>> = Vec::with_capacity(rules.len());
        for rule in rules {
            let windows = rule.limits.iter().map(super::Limit::window).collect();
            rates.push(Arc::new(match rates.first() {
                Some(first) => first.beside(windows),
                None => Rates::new(windows, cores),
            }));
        }
        Self {
            rates: rates.into(),
            digest: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            count_max,
            began: Instant::now(),
        }
    }

    /// The tick of a moment: milliseconds.
    pub(super) fn tick(&self, at: Instant) -> u64 {
        let age = at.saturating_duration_since(self.began);
        age.as_secs() * super::TICKS_PER_SECOND + u64::from(age.subsec_millis())
    }

    /// Takes a request of that caller out of its meter, unless that has none left. `remembered` is the core's own.
    #[inline]
    pub(super) fn judge(
        &self,
        remembered: &mut Remembered,
        core: usize,
        rule: usize,
        caller: Caller<'_>,
        tick: u64,
    ) -> Judgement {
        let key = self.key(rule, caller);
        if let Some(row) = remembered.rows.get(&key)
            && let Some(judgement) = judgement(row.meter.take(core, tick))
        {
            return judgement;
        }
        let (row, judgement) = self.find(key, core, rule, tick);
        remembered.keep(row);
        judgement
    }

    fn key(&self, rule: usize, caller: Caller<'_>) -> Key {
        self.digest.hash_one((rule, caller))
    }

    /// Asks the meter in the table, which is made if there is none.
    #[cold]
    fn find(&self, key: Key, core: usize, rule: usize, tick: u64) -> (Arc<Row>, Judgement) {
        // The maps take the lower bits.
        let index = (key >> 32) as usize % self.shards.len();
        // Under the lock of its shard a meter that is in the table is not retired.
        if let Some(found) = ask(&self.shard(index), key, core, tick) {
            return found;
        }
        if self.count.fetch_add(1, Relaxed) >= self.count_max {
            self.make_room(index, tick);
        }
        let mut shard = self.shard(index);
        if let Some(found) = ask(&shard, key, core, tick) {
            self.count.fetch_sub(1, Relaxed);
            return found;
        }
        let row = Arc::new(Row { key, meter: Meter::new(self.rates[rule].clone(), tick) });
        shard.add(row.clone());
        // A new meter has something left: the smallest limit is one.
        let judgement = judgement(row.meter.take(core, tick)).unwrap_or(Judgement::Refused { limit: 0 });
        (row, judgement)
    }

    /// Looks in one shard after the other, and nearly always finds something in the first. One lock at a time is held.
    fn make_room(&self, first: usize, tick: u64) {
        for offset in 0..self.shards.len() {
            let freed = self.shard((first + offset) % self.shards.len()).make_room(tick);
            if freed > 0 {
                self.count.fetch_sub(freed, Relaxed);
                return;
            }
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// None when the meter is retired.
fn judgement(pass: Pass) -> Option<Judgement> {
    match pass {
        Pass::Granted { window, remaining_hint } => {
            Some(Judgement::Admitted { limit: window, remaining: remaining_hint })
        }
        Pass::Refused { window } => Some(Judgement::Refused { limit: window }),
        Pass::Retired => None,
    }
}

fn ask(shard: &Shard, key: Key, core: usize, tick: u64) -> Option<(Arc<Row>, Judgement)> {
    let row = shard.get(key)?;
    judgement(row.meter.take(core, tick)).map(|judgement| (row.clone(), judgement))
}

/// The meters one core met last.
#[derive(Default)]
pub(super) struct Remembered {
    rows: FxHashMap<Key, Arc<Row>>,
}

impl Remembered {
    fn keep(&mut self, row: Arc<Row>) {
        if self.rows.len() >= REMEMBERED_MAX {
            self.rows.clear();
        }
        self.rows.insert(row.key, row);
    }
}

#[cfg(test)]
mod tests;
