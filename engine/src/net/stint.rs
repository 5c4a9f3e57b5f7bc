//! Work that never has to wait, in portions.
//!
//! When bytes and room are always at hand, a task that moves them is never suspended, and no other connection, deadline or
//! timer of its core gets a turn.

/// Bytes that a task may move in one go: well under a millisecond of work.
const BYTES_MAX: usize = 2 * 1024 * 1024;

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
            super::pause().await;
        }
    }
}
