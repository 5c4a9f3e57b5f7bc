//! A series as the reader sees it: the cells of all its writers added up, with those that are gone, less what was shown before
//! it went stale.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::counters::HistogramTotals;

use super::Metrics;
use super::admission::Admission;
use super::cells::{DURATIONS, Pair, PairCount, ProxyCells, SeriesCells};

/// Which entries are stale at that second.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) second: u64,
}

impl Now<'_> {
    fn is_stale(self, seen_s: u64) -> bool {
        self.metrics.is_stale(seen_s, self.second)
    }
}

/// Figures that cells add up to.
trait Totals: Default {
    type Cells;
    fn add(&mut self, cells: &Self::Cells);
    fn merge(&mut self, other: &Self);
}

/// The cells of all writers, and what is left of those that are gone.
struct Parts<T: Totals> {
    live: Vec<Arc<T::Cells>>,
    gone: Option<Box<T>>,
}

impl<T: Totals> Default for Parts<T> {
    fn default() -> Self {
        Self { live: Vec::new(), gone: None }
    }
}

impl<T: Totals> Parts<T> {
    /// Adds up, and keeps the figures of writers that have let go of their cells instead of the cells.
    fn add_up(&mut self) -> T {
        let mut totals = T::default();
        let gone = &mut self.gone;
        self.live.retain_mut(|cells| {
            // Nobody can write any more what nobody else has.
            let is_gone = Arc::get_mut(cells).is_some();
            match is_gone {
                true => gone.get_or_insert_default().add(cells),
                false => totals.add(cells),
            }
            !is_gone
        });
        if let Some(gone) = gone {
            totals.merge(gone);
        }
        totals
    }

    fn is_abandoned(&self) -> bool {
        self.live.is_empty()
    }
}

/// What is known of one proxy.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct ProxyTotals {
    pub(super) durations: [HistogramTotals; DURATIONS],
    pub(super) disconnects: u64,
    seen_s: u64,
    pairs: BTreeMap<Pair, (u64, u64)>,
}

impl ProxyTotals {
    fn add_pair(&mut self, pair: Pair, count: u64, seen_s: u64) {
        let known = self.pairs.entry(pair).or_default();
        *known = (known.0 + count, known.1.max(seen_s));
    }

    /// How many requests had which method and status.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Pair, u64)> {
        self.pairs.iter().map(|(pair, (count, _))| (*pair, *count)).filter(|(_, count)| *count != 0)
    }

    fn subtract(&mut self, earlier: &Self) {
        self.durations.iter_mut().zip(&earlier.durations).for_each(|(now, before)| *now = now.since(before));
        self.disconnects = self.disconnects.saturating_sub(earlier.disconnects);
        for (pair, (before, _)) in &earlier.pairs {
            if let Some((count, _)) = self.pairs.get_mut(pair) {
                *count = count.saturating_sub(*before);
            }
        }
    }
}

impl Totals for ProxyTotals {
    type Cells = ProxyCells;

    fn add(&mut self, cells: &ProxyCells) {
        for (which, totals) in self.durations.iter_mut().enumerate() {
            totals.buckets.iter_mut().enumerate().for_each(|(bucket, total)| *total += cells.bucket(bucket, which));
            totals.sum_ns += cells.sum_ns(which);
        }
        self.disconnects += cells.disconnects();
        self.seen_s = self.seen_s.max(cells.seen_s());
        cells.pairs().for_each(|PairCount { pair, seen_s, count }| self.add_pair(pair, count, seen_s));
    }

    fn merge(&mut self, other: &Self) {
        self.durations.iter_mut().zip(&other.durations).for_each(|(total, gone)| total.add(gone));
        self.disconnects += other.disconnects;
        self.seen_s = self.seen_s.max(other.seen_s);
        other.pairs.iter().for_each(|(pair, (count, seen_s))| self.add_pair(*pair, *count, *seen_s));
    }
}

/// All series of one proxy.
#[derive(Default)]
pub(super) struct ProxySeries {
    parts: Parts<ProxyTotals>,
    /// What was counted up to when it went stale.
    hidden: Option<Box<ProxyTotals>>,
}

impl ProxySeries {
    pub(super) fn join(&mut self, cells: Arc<ProxyCells>) {
        self.parts.live.push(cells);
    }

    /// What is to be shown; nothing when all of it is stale.
    pub(super) fn shown(&mut self, now: Now<'_>) -> Option<ProxyTotals> {
        let mut totals = self.parts.add_up();
        if now.is_stale(totals.seen_s) {
            self.hidden = Some(Box::new(totals));
            return None;
        }
        let stale: Vec<_> = totals.pairs.iter().filter(|(_, (_, seen_s))| now.is_stale(*seen_s)).collect();
        if !stale.is_empty() {
            let hidden = self.hidden.get_or_insert_default();
            hidden.pairs.extend(stale);
        }
        if let Some(hidden) = &self.hidden {
            totals.subtract(hidden);
        }
        Some(totals)
    }

    #[cfg(test)]
    pub(super) fn holders(&self) -> Vec<usize> {
        self.parts.live.iter().map(Arc::strong_count).collect()
    }

    /// Nobody writes here any more. With nothing to show it can be forgotten.
    pub(super) fn is_abandoned(&self) -> bool {
        self.parts.is_abandoned()
    }
}

#[derive(Clone, Copy, Default)]
struct SeriesTotals {
    durations: HistogramTotals,
    seen_s: u64,
}

impl Totals for SeriesTotals {
    type Cells = SeriesCells;

    fn add(&mut self, cells: &SeriesCells) {
        cells.duration.add_to(&mut self.durations);
        self.seen_s = self.seen_s.max(cells.seen_s.get());
    }

    fn merge(&mut self, other: &Self) {
        self.durations.add(&other.durations);
        self.seen_s = self.seen_s.max(other.seen_s);
    }
}

/// One series whose label set needed admission.
#[derive(Default)]
struct LabelledSeries {
    parts: Parts<SeriesTotals>,
    hidden: Option<HistogramTotals>,
    is_released: bool,
}

/// Series by their label sets, as text.
#[derive(Default)]
pub(super) struct LabelledSet(BTreeMap<Arc<str>, LabelledSeries>);

impl LabelledSet {
    pub(super) fn join(&mut self, labels: Arc<str>, cells: Arc<SeriesCells>) {
        self.0.entry(labels).or_default().parts.live.push(cells);
    }

    /// Calls `show` for each that is not stale, gives back the places of those that are, and forgets those that nobody has
    /// any more.
    pub(super) fn visit(&mut self, now: Now<'_>, admission: &Admission, mut show: impl FnMut(&str, &HistogramTotals)) {
        self.0.retain(|labels, series| {
            let totals = series.parts.add_up();
            if now.is_stale(totals.seen_s) {
                series.hidden = Some(totals.durations);
                if !std::mem::replace(&mut series.is_released, true) {
                    admission.release(labels);
                }
                return !series.parts.is_abandoned();
            }
            if std::mem::take(&mut series.is_released) {
                admission.readmit(labels);
            }
            let hidden = series.hidden.unwrap_or_default();
            let shown = totals.durations.since(&hidden);
            if shown.count() != 0 {
                show(labels, &shown);
            }
            true
        });
    }
}
