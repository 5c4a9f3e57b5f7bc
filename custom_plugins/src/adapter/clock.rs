//! The wall clock, at the price of an addition.

use std::cell::Cell;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// After this long it is looked anew what time the monotonic clock's is.
const ANCHOR_AGE_MAX: Duration = Duration::from_secs(1);

thread_local! {
    static ANCHOR: Cell<Option<(Instant, DateTime<Utc>)>> = const { Cell::new(None) };
}

/// The wall-clock time of a moment that has just been.
pub(super) fn utc(moment: Instant) -> DateTime<Utc> {
    let anchored = ANCHOR.get().and_then(|(at, time)| {
        let since = moment.checked_duration_since(at).filter(|since| *since < ANCHOR_AGE_MAX)?;
        time.checked_add_signed(chrono::Duration::nanoseconds(since.as_nanos() as i64))
    });
    anchored.unwrap_or_else(|| {
        let (now, time) = (Instant::now(), Utc::now());
        ANCHOR.set(Some((now, time)));
        let ago = now.saturating_duration_since(moment);
        chrono::Duration::from_std(ago).ok().and_then(|ago| time.checked_sub_signed(ago)).unwrap_or(time)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_the_time_it_has_on_the_wall() {
        for _ in 0..2 {
            let (moment, wall) = (Instant::now(), Utc::now());
            let difference = (utc(moment) - wall).abs();
            assert!(difference < chrono::Duration::milliseconds(500), "{difference}");
        }
        let (a, b) = (Instant::now(), Instant::now() + Duration::from_nanos(1500));
        assert_eq!(utc(b) - utc(a), chrono::Duration::from_std(b - a).unwrap());
    }
}
