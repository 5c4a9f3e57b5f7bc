//! A row: the home cell, the cells of the cores, and the moves of units between them.
//!
//! Invariant: every unit of the current window is in exactly one place: home, a core's cell, spent, or in the hands of a
//! core whose own cell carries a mark. A mark is set before units leave home or another core's cell and cleared after they
//! have arrived, so one who sees no mark anywhere, nothing in the cells, and home unchanged around that look, has seen
//! that there is nothing left: only then is a request refused.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64 as Hint;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crossbeam::utils::CachePadded;

use super::UNITS_MAX;
use super::sync::{AtomicU64, wait};

const UNITS_BITS: u32 = 36;
const MARK_BITS: u32 = 8;
const STAMP_BITS: u32 = 64 - UNITS_BITS - MARK_BITS;
const MARK_ONE: u64 = 1 << UNITS_BITS;
const MARK_MAX: u64 = (1 << MARK_BITS) - 1;
const STAMP_ONE: u64 = 1 << (UNITS_BITS + MARK_BITS);
const STAMP_MAX: u64 = (1 << STAMP_BITS) - 1;

/// Home's mark when the window's last unit is known to be spent: the next refusals are one read.
const DRY: u64 = MARK_MAX;

/// A row stays in its home cell until this many units of a window were spent (or, for a cap, came back): a row of one
/// quiet client then is one cache line and every answer comes from one atomic, however many cores there are.
const BUSY_AFTER: u64 = 64;

/// The most requests a lease is sized for. At 100,000 requests/s of one core that is 200 writes/s to the shared line;
/// doubling it again saves nothing measurable, and more of it would have to be recalled near the end of a window.
const LEASE_REQUESTS_MAX: u64 = 512;

/// What one atomic of the row holds.
///
/// | field | home | a core's cell |
/// |---|---|---|
/// | `stamp` (20 bits) | window, or count of returns when the row has none | window, or count of returns |
/// | `mark` (8 bits) | version, moves on when units come back; [`DRY`] | moves of this core under way |
/// | `units` (36 bits) | units not handed out | units this core may spend |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    stamp: u64,
    mark: u64,
    units: u64,
}

impl Word {
    fn unpack(word: u64) -> Self {
        Self { stamp: word >> (UNITS_BITS + MARK_BITS), mark: (word >> UNITS_BITS) & MARK_MAX, units: word & UNITS_MAX }
    }

    fn pack(self) -> u64 {
        debug_assert!(self.stamp <= STAMP_MAX && self.mark <= MARK_MAX && self.units <= UNITS_MAX);
        self.stamp << (UNITS_BITS + MARK_BITS) | self.mark << UNITS_BITS | self.units
    }
}

struct Home {
    word: AtomicU64,
    /// The newest window anybody has asked for, in full: the 20 bits of a stamp tell windows apart, not their order.
    window: AtomicU64,
}

struct Cell {
    word: AtomicU64,
    /// Requests the last lease was sized for, and the low bits of its window. Written by the owner only, never relied on.
    lease: Hint,
    /// What home held when this core last drew, for the remaining-hint of the requests the lease serves.
    home_seen: Hint,
}

/// When a row begins to lease (0: it has its cells from the start), and how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) busy_after: u64,
    pub(super) lease_requests_max: u64,
}

pub(super) const POLICY: Policy = Policy { busy_after: BUSY_AFTER, lease_requests_max: LEASE_REQUESTS_MAX };

/// `WINDOWED`: units are renewed with every window and never come back; otherwise they last and are given back.
pub(super) struct Row<const WINDOWED: bool> {
    home: CachePadded<Home>,
    /// One per core and a last one for threads that are none. Made when the row first gets busy.
    cells: OnceLock<Box<[CachePadded<Cell>]>>,
    limit: u64,
    cores: usize,
    policy: Policy,
}

/// What a look into all the cells found.
enum Survey {
    Holds(u64),
    Moving,
}

impl<const WINDOWED: bool> Row<WINDOWED> {
    pub(super) fn new(limit: u64, cores: usize, policy: Policy) -> Self {
        let limit = limit.min(UNITS_MAX);
        let word = Word { stamp: 0, mark: 0, units: limit }.pack();
        let home = CachePadded::new(Home { word: AtomicU64::new(word), window: AtomicU64::new(0) });
        let row = Self { home, cells: OnceLock::new(), limit, cores, policy };
        if policy.busy_after == 0 && cores > 1 {
            row.cells();
        }
        row
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Spends `units` in `window`, or in the newest window if that is ahead; `window` tells which it was.
    /// Gives what is known to remain, or nothing when fewer units than that remain anywhere.
    pub(super) fn take(&self, core: usize, window: &mut u64, units: u64) -> Option<u64> {
        if units > self.limit {
            return None;
        }
        let mut turn = 0;
        loop {
            if let Some(cell) = self.cell(core)
                && let Some(left) = Self::spend(cell, *window, units)
            {
                return Some(left + cell.home_seen.load(Relaxed));
            }
            let seen = self.home.word.load(Acquire);
            if WINDOWED && self.lags_or_leads(window) {
                continue;
            }
            let home = self.renewed(Word::unpack(seen), *window);
            if home.units >= units {
                match self.draw(core, seen, home, *window, units) {
                    Some(remaining) => return Some(remaining),
                    None => continue,
                }
            }
            if WINDOWED && home.mark == DRY {
                return None;
            }
            // Cells are made before the first lease leaves home: where there are none, home said it all.
            let cells = self.cells.get()?;
            match self.survey(cells, *window) {
                Survey::Holds(held) if home.units + held >= units => self.recall(core, cells, *window),
                Survey::Holds(held) if self.home.word.load(Acquire) == seen => {
                    if WINDOWED && home.units + held == 0 {
                        // Lost races do not matter: the next one refused tries again.
                        let dry = Word { mark: DRY, ..home }.pack();
                        let _ = self.home.word.compare_exchange(seen, dry, AcqRel, Relaxed);
                    }
                    return None;
                }
                Survey::Holds(_) => {}
                Survey::Moving => wait(&mut turn),
            }
        }
    }

    /// Gives one unit back into the core's own cell.
    pub(super) fn give_back(&self, core: usize) {
        const { assert!(!WINDOWED, "what was spent in a window stays spent") };
        let word = match self.cell(core) {
            Some(cell) => &cell.word,
            None => &self.home.word,
        };
        // The stamp is the uppermost field: its carry leaves the word.
        word.fetch_add(STAMP_ONE + 1, AcqRel);
    }

    /// Units not spent, added up over the cells while others go on: exact when nobody does.
    pub(super) fn remaining(&self, window: u64) -> u64 {
        let seen = self.home.word.load(Acquire);
        let window = if WINDOWED { window.max(self.home.window.load(Acquire)) } else { window };
        let home = self.renewed(Word::unpack(seen), window);
        let cells = self.cells.get().map_or(&[][..], |cells| cells);
        let held = cells.iter().map(|cell| Self::valid(Word::unpack(cell.word.load(Acquire)), window).units);
        (home.units + held.sum::<u64>()).min(self.limit)
    }

    fn cell(&self, core: usize) -> Option<&Cell> {
        let cells = self.cells.get()?;
        Some(&cells[core.min(self.cores)])
    }

    /// The cells, made now if they are not: the row has become busy.
    fn cells(&self) -> &[CachePadded<Cell>] {
        if self.cells.get().is_none() {
            let empty = || Cell { word: AtomicU64::new(0), lease: Hint::new(0), home_seen: Hint::new(0) };
            // One who comes second drops its own; nobody waits while the other allocates.
            let _ = self.cells.set((0..=self.cores).map(|_| CachePadded::new(empty())).collect());
        }
        self.cells.get().map_or(&[], |cells| cells)
    }

    /// Settles which window it is. True if it is another than the caller thought, or than home was told.
    fn lags_or_leads(&self, window: &mut u64) -> bool {
        let newest = self.home.window.load(Acquire);
        if newest < *window {
            self.home.window.fetch_max(*window, AcqRel);
        }
        let differs = newest != *window;
        *window = newest.max(*window);
        differs
    }

    /// What home holds in `window`: the whole limit, if it still stands at an older one.
    fn renewed(&self, home: Word, window: u64) -> Word {
        if WINDOWED && home.stamp != window & STAMP_MAX {
            Word { stamp: window & STAMP_MAX, mark: 0, units: self.limit }
        } else {
            home
        }
    }

    /// The part of a cell that counts in `window`.
    fn valid(cell: Word, window: u64) -> Word {
        if WINDOWED && cell.stamp != window & STAMP_MAX { Word { units: 0, ..cell } } else { cell }
    }

    fn spend(cell: &Cell, window: u64, units: u64) -> Option<u64> {
        let mut seen = cell.word.load(Relaxed);
        loop {
            let left = Self::valid(Word::unpack(seen), window).units.checked_sub(units)?;
            match cell.word.compare_exchange_weak(seen, seen - units, AcqRel, Relaxed) {
                Ok(_) => return Some(left),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the units and a lease out of home, which held `home` when its word was `seen`. Nothing if it has changed.
    fn draw(&self, core: usize, seen: u64, home: Word, window: u64, units: u64) -> Option<u64> {
        let requests = self.lease_requests(core, home, window);
        let lease = if requests == 0 {
            0
        } else {
            // Half of an even share, so that the leases of a window's end shrink to nothing and little must be recalled.
            (requests * units).min((home.units - units) / (2 * self.cores as u64))
        };
        let next = Word { units: home.units - units - lease, ..home };
        if lease == 0 {
            self.home.word.compare_exchange(seen, next.pack(), AcqRel, Relaxed).ok()?;
            return Some(next.units);
        }
        let cell = &self.cells()[core.min(self.cores)];
        cell.word.fetch_add(MARK_ONE, AcqRel);
        if self.home.word.compare_exchange(seen, next.pack(), AcqRel, Relaxed).is_err() {
            cell.word.fetch_sub(MARK_ONE, AcqRel);
            return None;
        }
        self.deposit(cell, window, lease);
        cell.lease.store(requests << STAMP_BITS | (window & STAMP_MAX), Relaxed);
        cell.home_seen.store(next.units, Relaxed);
        Some(next.units + lease)
    }

    /// For how many more requests a core draws: twice as many as last time in this window, half as many as in another.
    /// None while the row is quiet, or when there is no other core to share it with.
    fn lease_requests(&self, core: usize, home: Word, window: u64) -> u64 {
        let is_busy = if WINDOWED {
            self.limit - home.units >= self.policy.busy_after
        } else {
            self.cells.get().is_some() || home.stamp >= self.policy.busy_after
        };
        if self.cores < 2 || !is_busy {
            return 0;
        }
        let last = self.cell(core).map_or(0, |cell| cell.lease.load(Relaxed));
        let requests = last >> STAMP_BITS;
        let is_same_window = last & STAMP_MAX == window & STAMP_MAX;
        if is_same_window { requests * 2 } else { requests / 2 }.clamp(1, self.policy.lease_requests_max)
    }

    /// Puts a lease into its core's marked cell and takes the mark away.
    fn deposit(&self, cell: &Cell, window: u64, lease: u64) {
        let mut seen = cell.word.load(Acquire);
        loop {
            let now = Word::unpack(seen);
            let next = if !WINDOWED {
                Word { stamp: (now.stamp + 1) & STAMP_MAX, mark: now.mark - 1, units: now.units + lease }
            } else if now.stamp != window & STAMP_MAX && self.home.window.load(Acquire) != window {
                // The window has gone by meanwhile, and the cell may be in the new one already: the lease has expired.
                Word { mark: now.mark - 1, ..now }
            } else {
                let left = Self::valid(now, window).units;
                Word { stamp: window & STAMP_MAX, mark: now.mark - 1, units: left + lease }
            };
            match cell.word.compare_exchange_weak(seen, next.pack(), AcqRel, Acquire) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// Adds up what the cells hold. `Holds` means that at the moment between the two passes they held no more than that
    /// and no unit was on its way, provided that home is found unchanged afterwards.
    fn survey(&self, cells: &[CachePadded<Cell>], window: u64) -> Survey {
        let (mut held, mut stamps) = (0, 0);
        for cell in cells {
            let cell = Word::unpack(cell.word.load(Acquire));
            if cell.mark != 0 {
                return Survey::Moving;
            }
            held += Self::valid(cell, window).units;
            stamps += cell.stamp;
        }
        // The second pass finds the move that began after its core was passed and took from a cell not yet reached, and the
        // unit given back into a cell already passed.
        for cell in cells {
            let cell = Word::unpack(cell.word.load(Acquire));
            if cell.mark != 0 {
                return Survey::Moving;
            }
            stamps = stamps.wrapping_sub(cell.stamp);
        }
        if stamps == 0 { Survey::Holds(held) } else { Survey::Moving }
    }

    /// Takes what lies unused in all cells back home.
    fn recall(&self, core: usize, cells: &[CachePadded<Cell>], window: u64) {
        let own = &cells[core.min(self.cores)];
        own.word.fetch_add(MARK_ONE, AcqRel);
        let mut units = 0;
        for cell in cells {
            let mut seen = cell.word.load(Acquire);
            loop {
                let held = Self::valid(Word::unpack(seen), window).units;
                if held == 0 {
                    break;
                }
                match cell.word.compare_exchange_weak(seen, seen - held, AcqRel, Acquire) {
                    Ok(_) => {
                        units += held;
                        break;
                    }
                    Err(now) => seen = now,
                }
            }
        }
        if units > 0 {
            self.bring_home(window, units);
        }
        // Units have become scarce: begin small again.
        own.lease.store(0, Relaxed);
        own.word.fetch_sub(MARK_ONE, AcqRel);
    }

    fn bring_home(&self, window: u64, units: u64) {
        let mut seen = self.home.word.load(Acquire);
        loop {
            let home = Word::unpack(seen);
            let next = if !WINDOWED {
                Word { stamp: (home.stamp + 1) & STAMP_MAX, units: home.units + units, ..home }
            } else if home.stamp == window & STAMP_MAX {
                Word { mark: (home.mark + 1) % DRY, units: home.units + units, ..home }
            } else {
                return; // units of a window gone by
            };
            match self.home.word.compare_exchange_weak(seen, next.pack(), AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Takes one at a time on cores in turn; gives how often home was written.
    fn home_writes(row: &Row<true>, cores: usize, window: u64, requests: usize) -> usize {
        let mut writes = 0;
        for i in 0..requests {
            let before = row.home.word.load(Relaxed);
            assert!(row.take(i % cores, &mut window.clone(), 1).is_some());
            writes += usize::from(row.home.word.load(Relaxed) != before);
        }
        writes
    }

    #[test]
    fn at_a_hundred_thousand_a_window_home_is_written_once_in_hundreds_of_requests() {
        let row = Row::<true>::new(200_000, 8, POLICY);
        home_writes(&row, 8, 1, 100_000);
        let writes = home_writes(&row, 8, 2, 100_000);
        assert!(writes < 100_000 / 200, "{writes} writes");
    }

    #[test]
    fn spending_a_limit_to_its_last_unit_writes_home_rarely_as_well() {
        let row = Row::<true>::new(100_000, 8, POLICY);
        let writes = home_writes(&row, 8, 1, 100_000);
        assert!(writes < 100_000 / 100, "{writes} writes");
    }

    #[test]
    fn a_quiet_row_and_a_row_of_one_core_have_no_cells() {
        let quiet = Row::<true>::new(1_000, 8, POLICY);
        (1..50).for_each(|window| assert_eq!(home_writes(&quiet, 8, window, 64), 64));
        assert!(quiet.cells.get().is_none());
        let alone = Row::<true>::new(100_000, 1, POLICY);
        home_writes(&alone, 1, 1, 100_000);
        assert!(alone.cells.get().is_none());
    }

    #[test]
    fn a_word_holds_its_fields_at_their_bounds() {
        for stamp in [0, 1, STAMP_MAX] {
            for mark in [0, 1, MARK_MAX] {
                for units in [0, 1, UNITS_MAX] {
                    let word = Word { stamp, mark, units };
                    assert_eq!(Word::unpack(word.pack()), word);
                }
            }
        }
    }
}
