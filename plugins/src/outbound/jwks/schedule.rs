//! How often something is fetched, as the configuration in force says.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Written by control when it publishes a configuration, read by the task that fetches; never by a core.
pub(super) struct Schedule(Mutex<Set>);

struct Set {
    interval: Duration,
    /// The number of the configuration that said so.
    configuration: u64,
}

impl Schedule {
    pub(super) fn new(interval: Duration, configuration: u64) -> Self {
        Self(Mutex::new(Set { interval, configuration }))
    }

    pub(super) fn interval(&self) -> Duration {
        self.locked().interval
    }

    /// Does nothing when that configuration has said it already. Whether it is another interval than before.
    pub(super) fn set(&self, interval: Duration, configuration: u64) -> bool {
        let mut set = self.locked();
        if set.configuration == configuration {
            return false;
        }
        let is_other = set.interval != interval;
        *set = Set { interval, configuration };
        is_other
    }

    fn locked(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
