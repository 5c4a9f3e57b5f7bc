//! The wall clock as log lines show it.
//!
//! The text of a second is made once and kept; most lines of a busy core differ only in the fraction.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::json::digits;

/// A point in time since 1970, UTC. Earlier ones do not occur.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    seconds: u64,
    nanos: u32,
}

/// `2026-05-04T10:11:12`
type SecondText = [u8; 19];

thread_local! {
    static LAST_SECOND: Cell<(u64, SecondText)> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

impl Moment {
    pub fn now() -> Self {
        Self::at(SystemTime::now())
    }

    pub fn at(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { seconds: since.as_secs(), nanos: since.subsec_nanos() }
    }

    pub fn earlier(self, ns: u64) -> Self {
        let (seconds, nanos) = (ns / 1_000_000_000, (ns % 1_000_000_000) as u32);
        match self.nanos.checked_sub(nanos) {
            Some(nanos) => Self { seconds: self.seconds.saturating_sub(seconds), nanos },
            None => {
                Self { seconds: self.seconds.saturating_sub(seconds + 1), nanos: self.nanos + 1_000_000_000 - nanos }
            }
        }
    }

    pub(super) fn epoch_s(self) -> u64 {
        self.seconds
    }

    pub(super) fn epoch_ms(self) -> u64 {
        self.seconds * 1000 + u64::from(self.nanos / 1_000_000)
    }

    /// RFC 3339 with microseconds and `Z`: the form of process-log lines.
    pub fn write_micros(self, out: &mut Vec<u8>) {
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        text[..19].copy_from_slice(&second_text(self.seconds));
        digits(&mut text[20..26], self.nanos / 1000);
        out.extend_from_slice(&text);
    }

    /// RFC 3339 with nanoseconds and `+00:00`: the form of records.
    pub fn write_nanos(self, out: &mut Vec<u8>) {
        let mut text = *b"0000-00-00T00:00:00.000000000+00:00";
        text[..19].copy_from_slice(&second_text(self.seconds));
        digits(&mut text[20..29], self.nanos);
        out.extend_from_slice(&text);
    }
}

fn second_text(seconds: u64) -> SecondText {
    let (kept, text) = LAST_SECOND.get();
    if kept == seconds {
        return text;
    }
    let text = format_second(seconds);
    LAST_SECOND.set((seconds, text));
    text
}

/// Days to a Gregorian date after Howard Hinnant's `civil_from_days`, in years that begin on 1 March.
fn format_second(seconds: u64) -> SecondText {
    let (days, of_day) = (seconds / 86_400 + 719_468, (seconds % 86_400) as u32);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00";
    digits(&mut text[..4], year as u32);
    digits(&mut text[5..7], month as u32);
    digits(&mut text[8..10], day as u32);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..], of_day % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_day_until_2150_is_the_calendar_s() {
        for day in 0..65_750 {
            let seconds = day * 86_400 + day % 86_400;
            let expected = OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap().format(&Rfc3339).unwrap();
            assert_eq!(format!("{}Z", String::from_utf8_lossy(&format_second(seconds))), expected);
        }
    }

    #[test]
    fn both_forms_keep_leading_zeros() {
        let moment = Moment { seconds: 1_777_889_472, nanos: 1_002_003 };
        assert_eq!(written(|out| moment.write_micros(out)), "2026-05-04T10:11:12.001002Z");
        assert_eq!(written(|out| moment.write_nanos(out)), "2026-05-04T10:11:12.001002003+00:00");
        assert_eq!((moment.epoch_s(), moment.epoch_ms()), (1_777_889_472, 1_777_889_472_001));
    }

    #[test]
    fn earlier_borrows_from_the_seconds() {
        let moment = Moment { seconds: 10, nanos: 5 };
        assert_eq!(moment.earlier(5), Moment { seconds: 10, nanos: 0 });
        assert_eq!(moment.earlier(6), Moment { seconds: 9, nanos: 999_999_999 });
        assert_eq!(moment.earlier(2_000_000_006), Moment { seconds: 7, nanos: 999_999_999 });
        assert_eq!(moment.earlier(u64::MAX).seconds, 0);
    }
}
