//! Work that never has to wait, in portions.
//!
//! When bytes and room are always at hand, a task that moves them is never suspended, and no other connection, deadline or
//! timer of its core gets a turn.

use std::time::Duration;

/// Bytes that a task may move in one go: well under a millisecond of work.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// The shortest time the event loop's timers know. While a task sleeps, all others get their turn, and timers are looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// What a task has done since it last let others go on.
#[derive(Default)]
pub struct Stint {
    bytes: usize,
}

impl Stint {
    /// So much more has been moved. Lets everything else of the core go on when that is enough for now.
    pub async fn note(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= BYTES_MAX {
            self.bytes = 0;
            super::sleep(PAUSE).await;
        }
    }
}
