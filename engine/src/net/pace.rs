//! How many sends a core makes, by which it chooses how to make them (docs/design/sends.md).

use std::cell::Cell;

/// Sends of a tick from which on the core counts as busy: 80,000 a second, which is about half of what one core can do.
const BUSY_SENDS_MIN: u32 = 800;

thread_local! {
    static PACE: Pace = const { Pace { sends: Cell::new(0), is_busy: Cell::new(false) } };
}

struct Pace {
    /// Since the last tick.
    sends: Cell<u32>,
    /// In the tick before.
    is_busy: Cell<bool>,
}

/// Counts a send, and says whether the core is busy.
pub(super) fn count_send() -> bool {
    PACE.with(|pace| {
        pace.sends.set(pace.sends.get().saturating_add(1));
        pace.is_busy.get()
    })
}

/// A tick of the core has passed.
pub fn note_tick() {
    PACE.with(|pace| pace.is_busy.set(pace.sends.replace(0) >= BUSY_SENDS_MIN));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_in_the_tick_after_many_sends_and_no_longer() {
        let sends = |count: u32| (0..count).filter(|_| count_send()).count() as u32;
        assert_eq!(sends(BUSY_SENDS_MIN - 1), 0);
        note_tick();
        assert_eq!(sends(BUSY_SENDS_MIN), 0);
        note_tick();
        assert_eq!(sends(1), 1);
        note_tick();
        assert_eq!(sends(1), 0);
    }
}
