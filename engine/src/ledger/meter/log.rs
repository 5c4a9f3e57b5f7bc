//! A sliding log: when units were taken.
//!
//! Units of one tick share a stamp, so that a log is as long as its window has ticks in which something was taken. A log that
//! gets longer than [`STAMPS_EXACT_MAX`] puts stamps of the same piece of the window together under the newest of them:
//! then a unit comes back late by a fraction of the window, and never early. When all logs together have used up their room,
//! long ones do the same with larger pieces.

use std::collections::VecDeque;

use super::window::{Rates, Window};

/// Above this many stamps those of one piece are put together. A caller with a limit up to this is never rounded, nor is one
/// that has fewer busy milliseconds in a window.
const STAMPS_EXACT_MAX: usize = 16 * 1024;
/// Pieces of a window in a log that has got long: units come back late by at most an 8192nd of the window, in whole ticks.
const PIECES_FINE: u64 = 8 * 1024;
/// The same when there is no room left. Half of what a log then may hold.
const STAMPS_SCARCE_MAX: usize = 128;
const PIECES_COARSE: u64 = 64;
/// Room that an empty log keeps.
const STAMPS_KEPT_MAX: usize = 64;

const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// A tick above, the units taken in it below.
#[derive(Clone, Copy)]
struct Stamp(u64);

impl Stamp {
    fn new(tick: u64, count: u64) -> Self {
        Self(tick << COUNT_BITS | count)
    }

    fn tick(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    fn count(self) -> u64 {
        self.0 & COUNT_MAX
    }
}

#[derive(Default)]
pub(super) struct Log {
    /// Oldest first.
    stamps: VecDeque<Stamp>,
    /// The sum of their counts.
    taken: u64,
}

impl Log {
    pub(super) fn advance(&mut self, window: &Window, tick: u64, rates: &Rates) {
        while let Some(oldest) = self.stamps.front().filter(|stamp| stamp.tick() + window.ticks() <= tick) {
            self.taken -= oldest.count();
            self.stamps.pop_front();
        }
        if self.stamps.is_empty() && self.stamps.capacity() > STAMPS_KEPT_MAX {
            rates.forget(self.stamps.capacity());
            self.stamps = VecDeque::new();
        }
    }

    pub(super) fn take(&mut self, window: &Window, tick: u64, units: u64, rates: &Rates) {
        self.taken += units;
        let mut units = units;
        if let Some(newest) = self.stamps.back_mut().filter(|newest| newest.tick() == tick) {
            let more = units.min(COUNT_MAX - newest.count());
            newest.0 += more;
            units -= more;
        }
        while units > 0 {
            if self.stamps.len() == self.stamps.capacity() {
                self.make_room(window, rates);
            }
            let count = units.min(COUNT_MAX);
            self.stamps.push_back(Stamp::new(tick, count));
            units -= count;
        }
    }

    pub(super) fn left(&self, window: &Window) -> u64 {
        window.limit().saturating_sub(self.taken)
    }

    pub(super) fn opens(&self, window: &Window, tick: u64) -> u64 {
        self.stamps.front().map_or(tick, |oldest| oldest.tick() + window.ticks())
    }

    pub(super) fn room(&self) -> usize {
        self.stamps.capacity()
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.stamps.len()
    }

    fn make_room(&mut self, window: &Window, rates: &Rates) {
        let fine = window.ticks().div_ceil(PIECES_FINE);
        if self.stamps.len() >= STAMPS_EXACT_MAX {
            self.put_together(fine);
        } else if self.stamps.len() >= STAMPS_SCARCE_MAX && rates.is_full() {
            self.put_together(fine * (PIECES_FINE / PIECES_COARSE));
        }
        if self.stamps.len() >= self.stamps.capacity() / 4 * 3 {
            let before = self.stamps.capacity();
            self.stamps.reserve(before.max(4));
            rates.remember(self.stamps.capacity() - before);
        }
    }

    /// Leaves one stamp for each piece of so many ticks. A fine piece lies within a coarse one, so that what was put together
    /// before moves on no further than its piece's end.
    fn put_together(&mut self, ticks: u64) {
        let mut kept: usize = 0;
        for next in 1..self.stamps.len() {
            let (last, stamp) = (self.stamps[kept], self.stamps[next]);
            let count = last.count() + stamp.count();
            if last.tick() / ticks == stamp.tick() / ticks && count <= COUNT_MAX {
                self.stamps[kept] = Stamp::new(stamp.tick(), count);
            } else {
                kept += 1;
                self.stamps[kept] = stamp;
            }
        }
        self.stamps.truncate(kept + 1);
    }
}
