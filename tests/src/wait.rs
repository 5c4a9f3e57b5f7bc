//! Waiting for conditions, with a bound.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once. Generous, because a loaded machine is slow and a
/// passing test never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `condition` again and again until it gives a value; panics with `what` when [`PATIENCE`] is used up.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A door that a backend script waits at until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Returns when the gate is open, or after [`PATIENCE`] (so that a script never outlives its test for long).
    pub fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap());
    }
}

/// Runs its closure at the end of the scope, also when an assertion ended it: stops helper threads of a test.
pub struct Finally<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
