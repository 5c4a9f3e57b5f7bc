//! The CPU clocks at one instant.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use perf::clock;

use crate::outcome::Outcome;

/// What the clocks of this process and of the watched ones showed.
pub(crate) struct Clocks {
    at: Instant,
    own_ns: u64,
    watched_ns: BTreeMap<i32, u64>,
}

impl Clocks {
    pub(crate) fn read(watch: &[i32]) -> io::Result<Self> {
        let watched = watch.iter().map(|pid| Ok((*pid, clock::process_cpu_ns(*pid)?)));
        Ok(Self { at: Instant::now(), own_ns: clock::own_cpu_ns()?, watched_ns: watched.collect::<io::Result<_>>()? })
    }

    /// Notes what has passed since `before`.
    pub(crate) fn note_since(&self, before: &Self, outcome: &mut Outcome) {
        outcome.elapsed_ns = (self.at - before.at).as_nanos() as u64;
        outcome.own_cpu_ns = self.own_ns - before.own_ns;
        outcome.cpu_ns =
            self.watched_ns.iter().map(|(pid, ns)| (*pid, ns - before.watched_ns.get(pid).unwrap_or(ns))).collect();
    }
}
