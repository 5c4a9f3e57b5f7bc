//! A token bucket in whole numbers.
//!
//! A unit is counted in as many parts as the window has ticks, so that a tick brings as many parts as the window has units:
//! nothing is ever rounded.

use super::window::Window;

pub(super) struct Bucket {
    parts: u128,
    tick: u64,
}

impl Bucket {
    pub(super) fn full(window: &Window) -> Self {
        Self { parts: capacity(window), tick: 0 }
    }

    pub(super) fn advance(&mut self, window: &Window, tick: u64) {
        let brought = u128::from(tick - self.tick) * u128::from(window.limit());
        self.parts = (self.parts + brought).min(capacity(window));
        self.tick = tick;
    }

    pub(super) fn take(&mut self, window: &Window, units: u64) {
        self.parts -= u128::from(units) * unit(window);
    }

    pub(super) fn left(&self, window: &Window) -> u64 {
        // At most the limit.
        (self.parts / unit(window)) as u64
    }

    pub(super) fn is_full(&self, window: &Window) -> bool {
        self.parts == capacity(window)
    }

    pub(super) fn opens(&self, window: &Window, tick: u64) -> u64 {
        let missing = unit(window).saturating_sub(self.parts);
        // At most a window.
        tick + missing.div_ceil(u128::from(window.limit())) as u64
    }
}

fn unit(window: &Window) -> u128 {
    u128::from(window.ticks())
}

fn capacity(window: &Window) -> u128 {
    u128::from(window.limit()) * unit(window)
}
