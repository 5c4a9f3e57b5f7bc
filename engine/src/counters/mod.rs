//! What each core counts, and how a scraper adds the cores up.
//!
//! A core is the only writer of its cells, so an increment is a load and a store, not a locked instruction; the scraper
//! reads them at any time and may miss the last few. Cells of different cores never share a cache line.

mod errors;
mod exposition;
mod histogram;

pub use errors::ErrorClass;
pub use exposition::{Exposition, labels, push_label};
pub use histogram::{Histogram, HistogramTotals, MILLISECOND_BOUNDS, bucket_of};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

/// A count that one thread writes and any thread reads.
#[derive(Default)]
pub struct Cell(AtomicU64);

impl Cell {
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub fn one(&self) {
        self.add(1);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn less(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(count), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Status codes 100-599 by number; anything else is counted in slot 0.
const STATUS_SLOTS: usize = 600;

/// The counters of one core.
pub struct CoreCounters {
    pub connections_accepted: Cell,
    pub connections_closed: Cell,
    pub connections_refused: Cell,
    /// Finished ones, the resumed among them.
    pub tls_handshakes: Cell,
    pub tls_handshakes_resumed: Cell,
    pub tls_handshake_failures: Cell,
    /// Requests that were admitted; `requests_finished` follows when the response has been sent or given up.
    /// HTTP/2 connections closed for frames that carried nothing.
    pub http2_floods: Cell,
    pub websockets_opened: Cell,
    pub websockets_closed: Cell,
    pub requests: Cell,
    pub requests_finished: Cell,
    pub requests_unrouted: Cell,
    pub client_disconnects: Cell,
    pub bytes_from_clients: Cell,
    pub bytes_to_clients: Cell,
    pub backend_connects: Cell,
    pub backend_reuses: Cell,
    pub backend_connect_failures: Cell,
    pub backend_evictions: Cell,
    pub backend_connections_idle: Cell,
    pub backend_connections_active: Cell,
    pub port_exhaustions: Cell,
    pub log_lines: Cell,
    pub log_lines_lost: Cell,
    pub panics: Cell,
    /// Microseconds a queued no-op waited at the last probe of the overload monitor.
    pub loop_delay_us: Cell,
    pub request_duration: Histogram,
    pub backend_duration: Histogram,
    statuses: Box<[Cell]>,
    errors: Box<[Cell]>,
    body_errors: Box<[Cell]>,
}

impl CoreCounters {
    fn new() -> Self {
        let cells = |count| (0..count).map(|_| Cell::default()).collect::<Box<[Cell]>>();
        Self {
            connections_accepted: Cell::default(),
            connections_closed: Cell::default(),
            connections_refused: Cell::default(),
            tls_handshakes: Cell::default(),
            tls_handshakes_resumed: Cell::default(),
            http2_floods: Cell::default(),
            websockets_opened: Cell::default(),
            websockets_closed: Cell::default(),
            tls_handshake_failures: Cell::default(),
            requests: Cell::default(),
            requests_finished: Cell::default(),
            requests_unrouted: Cell::default(),
            client_disconnects: Cell::default(),
            bytes_from_clients: Cell::default(),
            bytes_to_clients: Cell::default(),
            backend_connects: Cell::default(),
            backend_reuses: Cell::default(),
            backend_connect_failures: Cell::default(),
            backend_evictions: Cell::default(),
            backend_connections_idle: Cell::default(),
            backend_connections_active: Cell::default(),
            port_exhaustions: Cell::default(),
            log_lines: Cell::default(),
            log_lines_lost: Cell::default(),
            panics: Cell::default(),
            loop_delay_us: Cell::default(),
            request_duration: Histogram::default(),
            backend_duration: Histogram::default(),
            statuses: cells(STATUS_SLOTS),
            errors: cells(ErrorClass::COUNT),
            body_errors: cells(ErrorClass::COUNT),
        }
    }

    pub fn status(&self, status: u16) {
        let slot = if (status as usize) < STATUS_SLOTS { status as usize } else { 0 };
        self.statuses[slot].one();
    }

    pub fn error(&self, class: ErrorClass) {
        self.errors[class as usize].one();
    }

    pub fn body_error(&self, class: ErrorClass) {
        self.body_errors[class as usize].one();
    }

    /// Connections open now.
    pub fn connections_active(&self) -> u64 {
        self.connections_accepted.get().saturating_sub(self.connections_closed.get())
    }

    /// Requests whose response is not finished yet.
    pub fn requests_active(&self) -> u64 {
        self.requests.get().saturating_sub(self.requests_finished.get())
    }

    pub fn status_count(&self, status: u16) -> u64 {
        self.statuses.get(status as usize).map_or(0, Cell::get)
    }

    pub fn error_count(&self, class: ErrorClass) -> u64 {
        self.errors[class as usize].get()
    }

    pub fn body_error_count(&self, class: ErrorClass) -> u64 {
        self.body_errors[class as usize].get()
    }
}

/// All cores' counters, for the scraper.
#[derive(Clone)]
pub struct Counters {
    cores: Arc<[CachePadded<CoreCounters>]>,
}

impl Counters {
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores).map(|_| CachePadded::new(CoreCounters::new())).collect() }
    }

    pub fn core(&self, index: usize) -> &CoreCounters {
        &self.cores[index]
    }

    pub fn cores(&self) -> impl ExactSizeIterator<Item = &CoreCounters> {
        self.cores.iter().map(|core| &**core)
    }

    /// Adds one figure up over the cores.
    pub fn sum(&self, figure: impl Fn(&CoreCounters) -> u64) -> u64 {
        self.cores().map(figure).sum()
    }

    /// Every status code seen, with its count.
    pub fn statuses(&self) -> Vec<(u16, u64)> {
        (0..STATUS_SLOTS as u16)
            .map(|status| (status, self.sum(|core| core.status_count(status))))
            .filter(|(_, count)| *count != 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scraper_adds_the_cores_up() {
        let counters = Counters::new(2);
        counters.core(0).requests.add(3);
        counters.core(1).requests.one();
        counters.core(0).status(200);
        counters.core(1).status(200);
        counters.core(1).status(999);
        assert_eq!(counters.sum(|core| core.requests.get()), 4);
        assert_eq!(counters.statuses(), [(0, 1), (200, 2)]);
        counters.core(0).requests_finished.add(2);
        assert_eq!(counters.core(0).requests_active(), 1);
    }
}
