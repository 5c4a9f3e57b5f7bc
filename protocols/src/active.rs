//! Requests that are being served.

use crate::worker::Worker;

/// Counts a request as active until its response has ended, however it ends.
pub struct ActiveRequest<'w> {
    worker: &'w Worker,
}

impl<'w> ActiveRequest<'w> {
    pub fn new(worker: &'w Worker) -> Self {
        worker.core.counters().requests.one();
        Self { worker }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.worker.core.counters().requests_finished.one();
    }
}
