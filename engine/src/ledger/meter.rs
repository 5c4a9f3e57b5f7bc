//! N units per stretch of time, exactly, over all cores: token buckets and sliding logs.
//!
//! Time is counted in ticks, and what happens within one tick happens at once. So within a tick units only go: a core may
//! lease some of them and take them from a cell of its own, a line nobody else writes. Whoever first comes home in a later
//! tick asks all cells what was taken of their leases, books that, and lets time go on; and whoever would be refused does the
//! same first. So units come back by the clock alone, and what lies unused in a drawer is never missing elsewhere.
//!
//! A meter may have several windows: a unit then is one of each of them, granted together or not at all.
//!
//! `docs/design/rate-limits.md` has the protocol and its cost.

mod bucket;
mod log;
mod window;

use std::sync::atomic::AtomicU64 as Hint;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use crossbeam::utils::CachePadded;

use super::sync::{AtomicU64, Guard, Mutex, lock};
#[cfg(all(test, loom))]
pub(super) use window::STAMPS_MAX;
use window::Stock;
pub use window::{Rates, TICKS_MAX, Window};

/// A meter does without cells until it was asked so often within one tick: the row of a quiet caller is one allocation, and
/// every answer comes from home.
const BUSY_AFTER: u32 = 8;

/// The most units of a lease. No core serves so many requests in a millisecond.
const LEASE_UNITS_MAX: u64 = 1 << 16;

/// After so many ticks a core's last lease says nothing about its next one.
const LEASE_MEMORY_TICKS: u64 = 4;

/// Bits of the window's number in [`Meter::closed`].
const WINDOW_BITS: u32 = 8;

/// When meters begin to lease, and the least they then lease if they can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) busy_after: u32,
    pub(super) lease_units_min: u64,
}

const POLICY: Policy = Policy { busy_after: BUSY_AFTER, lease_units_min: 0 };

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Granted {
        /// The one with the fewest units left; the first of several.
        window: usize,
        /// Units this core knows to be left there. Exact while the caller is quiet; what other cores took in this tick is
        /// not counted.
        remaining_hint: u64,
    },
    Refused {
        /// The first that has nothing left.
        window: usize,
    },
    /// The meter was given up, and another one may stand in its place.
    Retired,
}

/// What one caller may take, of the windows that [`Rates`] say. Ticks never go back: a request with an older one than the
/// newest seen is one of the newest.
///
/// There may be a hundred thousand of these, so it is small: a line that busy cores read, and one that is written at home.
pub struct Meter {
    rates: Arc<Rates>,
    /// One per core, made when the meter first gets busy.
    cells: OnceLock<Box<[CachePadded<Cell>]>>,
    /// Until which tick nothing can be had, and in which window. Refusals of a flood are one read.
    closed: AtomicU64,
    home: Line<Mutex<Home>>,
}

/// On a cache line of its own.
#[repr(align(64))]
struct Line<T>(T);

struct Cell {
    /// Units of the lease that are not taken. Filled by the owner, taken from by the owner, emptied by whoever is at home.
    left: AtomicU64,
    /// Of the lease, written by the owner, for the owner.
    tick: Hint,
    window: Hint,
    home_left: Hint,
}

struct Home {
    /// The newest anybody has come with. All leases are of this tick.
    tick: u64,
    stocks: Box<[Stock]>,
    /// Units in all leases, whether they are taken by now or not.
    lent: u64,
    /// One per core; none before the cells are made.
    leases: Box<[Lease]>,
    /// How often home was asked in this tick.
    visits: u32,
    is_retired: bool,
}

/// What home knows of one core.
#[derive(Clone, Copy, Default)]
struct Lease {
    units: u64,
    /// When the core was last here, and what it took in that tick.
    tick: u64,
    taken: u64,
}

/// The window with the fewest units left.
struct Fewest {
    window: usize,
    units: u64,
}

impl Meter {
    /// Nothing is taken yet at `tick`.
    #[must_use]
    pub fn new(rates: Arc<Rates>, tick: u64) -> Self {
        let stocks = rates.windows().iter().map(Stock::full).collect();
        let tick = tick.min(TICKS_MAX);
        let home = Home { tick, stocks, lent: 0, leases: Box::default(), visits: 0, is_retired: false };
        Self { rates, cells: OnceLock::new(), closed: AtomicU64::new(0), home: Line(Mutex::new(home)) }
    }

    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Takes one unit of every window, or none of any. A `core` past the last is a thread that is none, and never leases.
    #[inline]
    pub fn take(&self, core: usize, tick: u64) -> Pass {
        if let Some(cells) = self.cells.get()
            && let Some(cell) = cells.get(core)
            && tick <= cell.tick.load(Relaxed)
            && let Some(left) = cell.take()
        {
            let remaining_hint = left + cell.home_left.load(Relaxed);
            return Pass::Granted { window: cell.window.load(Relaxed) as usize, remaining_hint };
        }
        let closed = self.closed.load(Acquire);
        if tick < closed >> WINDOW_BITS {
            return Pass::Refused { window: (closed & ((1 << WINDOW_BITS) - 1)) as usize };
        }
        self.take_at_home(core, tick)
    }

    /// Gives the meter up if nothing of it is taken: a new one in its place is the same. Otherwise says how much of the
    /// window that is used most is taken, from 0 to 1.
    pub fn retire_if_unused(&self, tick: u64) -> Result<(), f64> {
        let mut home = self.at_home(tick);
        if home.is_retired {
            return Ok(());
        }
        let used = home.used(&self.rates);
        if home.lent == 0 && home.stocks.iter().zip(self.rates.windows()).all(|(stock, window)| stock.is_full(window)) {
            self.retire_home(&mut home);
            return Ok(());
        }
        Err(used)
    }

    /// Gives the meter up; from now on it grants nothing.
    pub fn retire(&self) {
        self.retire_home(&mut lock(&self.home.0));
    }

    fn retire_home(&self, home: &mut Home) {
        home.settle_all(self.cells(), &self.rates);
        home.is_retired = true;
        // Nobody is to be refused by what it was.
        self.closed.store(0, Release);
    }

    fn cells(&self) -> &[CachePadded<Cell>] {
        self.cells.get().map_or(&[], |cells| cells)
    }

    /// Home, at that tick.
    fn at_home(&self, tick: u64) -> Guard<'_, Home> {
        let mut home = lock(&self.home.0);
        let tick = tick.min(TICKS_MAX);
        if tick > home.tick {
            home.settle_all(self.cells(), &self.rates);
            home.tick = tick;
            home.visits = 0;
            for (stock, window) in home.stocks.iter_mut().zip(self.rates.windows()) {
                stock.advance(window, tick, &self.rates);
            }
        }
        home
    }

    #[cold]
    fn take_at_home(&self, core: usize, tick: u64) -> Pass {
        let mut home = self.at_home(tick);
        if home.is_retired {
            return Pass::Retired;
        }
        home.settle(core, self.cells(), &self.rates);
        if home.fewest(&self.rates).units == 0 {
            home.settle_all(self.cells(), &self.rates);
        }
        if let Some((until, window)) = home.opens(&self.rates) {
            self.closed.store(until << WINDOW_BITS | window as u64, Release);
            return Pass::Refused { window };
        }
        home.book(1, &self.rates);
        let fewest = home.fewest(&self.rates);
        self.lease(&mut home, core, &fewest);
        Pass::Granted { window: fewest.window, remaining_hint: fewest.units }
    }

    /// Lends to a core that is busy what it took in this tick so far or in the one before, if that leaves the others enough.
    fn lease(&self, home: &mut Home, core: usize, fewest: &Fewest) {
        home.visits = home.visits.saturating_add(1);
        let (cores, policy) = (self.rates.cores(), self.rates.policy());
        if core >= cores || (self.cells.get().is_none() && home.visits <= policy.busy_after) {
            return;
        }
        let cells = self.cells.get_or_init(|| (0..cores).map(|_| CachePadded::new(Cell::empty())).collect());
        if home.leases.is_empty() {
            home.leases = vec![Lease::default(); cores].into();
        }
        let tick = home.tick;
        let lease = &mut home.leases[core];
        let before = if lease.tick + LEASE_MEMORY_TICKS >= tick { lease.taken } else { 0 };
        let taken = if lease.tick == tick { lease.taken } else { 0 };
        (lease.tick, lease.taken) = (tick, taken + 1);
        // Half of an even share, so that the leases of the last units shrink to nothing.
        let share = fewest.units / (2 * cores as u64);
        lease.units = before.max(policy.lease_units_min).min(LEASE_UNITS_MAX).min(share);
        if lease.units > 0 {
            home.lent += lease.units;
            cells[core].fill(lease.units, tick, fewest);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let home = lock(&self.home.0);
        home.stocks.iter().for_each(|stock| self.rates.forget(stock.stamps()));
    }
}

impl Cell {
    fn empty() -> Self {
        Self { left: AtomicU64::new(0), tick: Hint::new(0), window: Hint::new(0), home_left: Hint::new(0) }
    }

    /// Takes one unit; gives what is left.
    fn take(&self) -> Option<u64> {
        let mut seen = self.left.load(Relaxed);
        loop {
            let left = seen.checked_sub(1)?;
            match self.left.compare_exchange_weak(seen, left, AcqRel, Relaxed) {
                Ok(_) => return Some(left),
                Err(now) => seen = now,
            }
        }
    }

    fn fill(&self, units: u64, tick: u64, fewest: &Fewest) {
        self.tick.store(tick, Relaxed);
        self.window.store(fewest.window as u64, Relaxed);
        self.home_left.store(fewest.units - units, Relaxed);
        self.left.store(units, Release);
    }
}

impl Home {
    /// Ends a core's lease: what was taken of it is booked, the rest is nobody's.
    fn settle(&mut self, core: usize, cells: &[CachePadded<Cell>], rates: &Rates) {
        let Some(lease) = self.leases.get_mut(core) else { return };
        let units = std::mem::take(&mut lease.units);
        if units == 0 {
            return;
        }
        let taken = units - cells[core].left.swap(0, AcqRel);
        lease.taken += taken;
        self.lent -= units;
        self.book(taken, rates);
    }

    fn settle_all(&mut self, cells: &[CachePadded<Cell>], rates: &Rates) {
        if self.lent > 0 {
            (0..self.leases.len()).for_each(|core| self.settle(core, cells, rates));
        }
    }

    fn book(&mut self, units: u64, rates: &Rates) {
        if units > 0 {
            for (stock, window) in self.stocks.iter_mut().zip(rates.windows()) {
                stock.take(window, self.tick, units, rates);
            }
        }
    }

    /// What is neither taken nor lent.
    fn fewest(&self, rates: &Rates) -> Fewest {
        let left = |(stock, window): (&Stock, &Window)| stock.left(window);
        let all = self.stocks.iter().zip(rates.windows()).map(left).enumerate();
        // Of equal ones the first is kept.
        let (window, units) = all.min_by_key(|(_, units)| *units).unwrap_or((0, u64::MAX));
        Fewest { window, units: units.saturating_sub(self.lent) }
    }

    /// When no lease is out: the first window that has nothing left, and when the first of those may have something.
    fn opens(&self, rates: &Rates) -> Option<(u64, usize)> {
        let stocks = self.stocks.iter().zip(rates.windows()).enumerate();
        let empty = stocks.filter(|(_, (stock, window))| self.lent == 0 && stock.left(window) == 0);
        let opens = empty.map(|(index, (stock, window))| (stock.opens(window, self.tick), index));
        opens.reduce(|(soonest, first), (opens, _)| (soonest.min(opens), first))
    }

    /// How much of the window that is used most is taken.
    fn used(&self, rates: &Rates) -> f64 {
        let used = |(stock, window): (&Stock, &Window)| 1.0 - stock.left(window) as f64 / window.limit() as f64;
        self.stocks.iter().zip(rates.windows()).map(used).fold(0.0, f64::max)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
