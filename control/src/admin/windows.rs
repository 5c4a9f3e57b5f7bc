//! Request rates over tumbling windows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::counters::Counters;
use serde_json::{Map, Value};

use super::AdminOptions;

/// Codes shown at most.
const CODES_MAX: usize = 256;

/// What has been counted since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) requests: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
}

impl Totals {
    /// A request is one answer: refused ones, which no core admits, are counted by their status too.
    pub(super) fn of(counters: &Counters) -> Self {
        let statuses: BTreeMap<_, _> = counters.statuses().into_iter().collect();
        Self { requests: statuses.values().sum(), statuses }
    }

    fn since(&self, before: &Totals) -> Totals {
        let statuses = self
            .statuses
            .iter()
            .map(|(status, count)| (*status, count.saturating_sub(before.statuses.get(status).copied().unwrap_or(0))));
        Totals { requests: self.requests.saturating_sub(before.requests), statuses: statuses.collect() }
    }
}

/// The last whole window, and the one that fills.
pub(super) struct Window {
    length: Duration,
    began: Instant,
    base: Totals,
    last: Totals,
    last_seconds: f64,
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        Self { length, began: now, base: Totals::default(), last: Totals::default(), last_seconds: 1.0 }
    }

    fn turn(&mut self, now: Instant, totals: &Totals) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < self.length {
            return;
        }
        self.last = totals.since(&self.base);
        self.last_seconds = elapsed.as_secs_f64().max(0.001);
        self.base = totals.clone();
        self.began = now;
    }

    /// Of the last whole window.
    pub(super) fn requests_per_second(&self) -> f64 {
        self.last.requests as f64 / self.last_seconds
    }

    pub(super) fn statuses_per_second(&self) -> impl Iterator<Item = (u16, f64)> {
        self.last.statuses.iter().map(|(status, count)| (*status, *count as f64 / self.last_seconds))
    }

    pub(super) fn rates(&self) -> Value {
        by_code(self.statuses_per_second().map(|(status, rate)| (status, (rate.round() as u64).into())))
    }

    pub(super) fn percents(&self) -> Value {
        percents(&self.last)
    }
}

/// Shares of all requests, in percent with two decimals.
pub(super) fn percents(totals: &Totals) -> Value {
    let all = totals.requests.max(1) as f64;
    by_code(
        totals
            .statuses
            .iter()
            .map(|(status, count)| (*status, ((*count as f64 * 10_000.0 / all).round() / 100.0).into())),
    )
}

pub(super) fn counts(totals: &Totals) -> Value {
    by_code(totals.statuses.iter().map(|(status, count)| (*status, (*count).into())))
}

fn by_code(values: impl Iterator<Item = (u16, Value)>) -> Value {
    Value::Object(values.take(CODES_MAX).map(|(status, value)| (status.to_string(), value)).collect::<Map<_, _>>())
}

pub(super) struct Windows {
    pub(super) status: Window,
    /// `None` when status tracking is off.
    pub(super) long: Option<(Window, Window)>,
}

impl Windows {
    pub(super) fn new(options: &AdminOptions, now: Instant) -> Self {
        Self {
            status: Window::new(options.status_window, now),
            long: options
                .status_tracking
                .then(|| (Window::new(options.window_1m, now), Window::new(options.window_5m, now))),
        }
    }

    pub(super) fn turn(&mut self, now: Instant, totals: &Totals) {
        self.status.turn(now, totals);
        if let Some((one, five)) = &mut self.long {
            one.turn(now, totals);
            five.turn(now, totals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn totals(ok: u64, bad: u64) -> Totals {
        Totals { requests: ok + bad, statuses: [(200, ok), (500, bad)].into() }
    }

    #[test]
    fn a_window_shows_its_last_whole_length() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(10), start);
        window.turn(at(9), &totals(100, 0));
        assert_eq!(window.requests_per_second(), 0.0);
        window.turn(at(10), &totals(130, 20));
        assert_eq!(window.requests_per_second(), 15.0);
        assert_eq!(window.rates(), json!({"200": 13, "500": 2}));
        assert_eq!(window.percents(), json!({"200": 86.67, "500": 13.33}));
        window.turn(at(19), &totals(1000, 20));
        assert_eq!(window.requests_per_second(), 15.0);
        window.turn(at(20), &totals(1000, 20));
        assert_eq!(window.rates(), json!({"200": 87, "500": 0}));
    }

    #[test]
    fn at_most_256_codes_are_shown() {
        let statuses: BTreeMap<_, _> = (100..500).map(|status| (status, 1)).collect();
        let totals = Totals { requests: 400, statuses };
        assert_eq!(counts(&totals).as_object().unwrap().len(), 256);
    }
}
