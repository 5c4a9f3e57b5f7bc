//! What a meter measures by, and what is left of it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::bucket::Bucket;
use super::log::Log;
use super::{POLICY, Policy};

/// The longest window, and the last tick: 34 years, when a tick is a millisecond.
pub const TICKS_MAX: u64 = (1 << 40) - 1;

/// A bucket of more units is held at this many; nobody empties it.
const BUCKET_UNITS_MAX: u64 = 1 << 60;

/// Stamps for which logs take room before they round them more coarsely: 64 MiB.
pub(in super::super) const STAMPS_MAX: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bucket,
    Log,
}

/// So many units per so many ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    kind: Kind,
    limit: u64,
    ticks: u64,
}

impl Window {
    /// A token bucket: `limit` units, full at first, filled up again by `limit` in `ticks`, bit by bit.
    #[must_use]
    pub fn bucket(limit: NonZeroU64, ticks: NonZeroU64) -> Self {
        Self { kind: Kind::Bucket, limit: limit.get().min(BUCKET_UNITS_MAX), ticks: ticks.get().min(TICKS_MAX) }
    }

    /// A sliding log: each unit comes back when `ticks` have passed since it was taken, so that no stretch of that length
    /// ever sees more than `limit`.
    #[must_use]
    pub fn log(limit: NonZeroU64, ticks: NonZeroU64) -> Self {
        Self { kind: Kind::Log, limit: limit.get(), ticks: ticks.get().min(TICKS_MAX) }
    }

    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn ticks(&self) -> u64 {
        self.ticks
    }
}

/// What meters of one kind have in common.
pub struct Rates {
    windows: Box<[Window]>,
    cores: usize,
    policy: Policy,
    /// Stamps for which all their logs, and those of the rates beside, have room.
    stamps: Arc<AtomicUsize>,
    stamps_max: usize,
}

impl Rates {
    /// Up to 256 windows.
    #[must_use]
    pub fn new(windows: Vec<Window>, cores: usize) -> Self {
        Self::with_policy(windows, cores, STAMPS_MAX, POLICY)
    }

    pub(in super::super) fn with_policy(windows: Vec<Window>, cores: usize, stamps_max: usize, policy: Policy) -> Self {
        debug_assert!((1..=256).contains(&windows.len()));
        Self { windows: windows.into(), cores: cores.max(1), policy, stamps: Arc::default(), stamps_max }
    }

    /// Other windows, whose meters share the memory of these.
    #[must_use]
    pub fn beside(&self, windows: Vec<Window>) -> Self {
        let own = Self::with_policy(windows, self.cores, self.stamps_max, self.policy);
        Self { stamps: self.stamps.clone(), ..own }
    }

    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    pub(super) fn cores(&self) -> usize {
        self.cores
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn remember(&self, stamps: usize) {
        self.stamps.fetch_add(stamps, Relaxed);
    }

    pub(super) fn forget(&self, stamps: usize) {
        self.stamps.fetch_sub(stamps, Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.stamps.load(Relaxed) >= self.stamps_max
    }
}

/// What is left of one window.
pub(super) enum Stock {
    Bucket(Bucket),
    Log(Log),
}

impl Stock {
    pub(super) fn full(window: &Window) -> Self {
        match window.kind {
            Kind::Bucket => Self::Bucket(Bucket::full(window)),
            Kind::Log => Self::Log(Log::default()),
        }
    }

    /// Lets time go on to `tick`.
    pub(super) fn advance(&mut self, window: &Window, tick: u64, rates: &Rates) {
        match self {
            Self::Bucket(bucket) => bucket.advance(window, tick),
            Self::Log(log) => log.advance(window, tick, rates),
        }
    }

    /// No more than is left.
    pub(super) fn take(&mut self, window: &Window, tick: u64, units: u64, rates: &Rates) {
        match self {
            Self::Bucket(bucket) => bucket.take(window, units),
            Self::Log(log) => log.take(window, tick, units, rates),
        }
    }

    pub(super) fn left(&self, window: &Window) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.left(window),
            Self::Log(log) => log.left(window),
        }
    }

    pub(super) fn is_full(&self, window: &Window) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.is_full(window),
            Self::Log(log) => log.left(window) == window.limit,
        }
    }

    /// The first tick at which a unit is there, when none is at `tick`.
    pub(super) fn opens(&self, window: &Window, tick: u64) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.opens(window, tick),
            Self::Log(log) => log.opens(window, tick),
        }
    }

    pub(super) fn stamps(&self) -> usize {
        match self {
            Self::Bucket(_) => 0,
            Self::Log(log) => log.room(),
        }
    }
}
