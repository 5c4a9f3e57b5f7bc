//! The forms of time in answers.

use std::time::SystemTime;

use time::OffsetDateTime;

/// RFC 3339 with nanoseconds and `+00:00`, as in health, cluster and backup.
pub(super) fn with_offset(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!("{}.{:09}+00:00", to_seconds(time), time.nanosecond())
}

/// RFC 3339 with milliseconds and `Z`, as in `/metrics/runtime`.
pub(super) fn with_milliseconds(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!("{}.{:03}Z", to_seconds(time), time.millisecond())
}

fn to_seconds(time: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn both_forms_are_utc() {
        let time = UNIX_EPOCH + Duration::new(1_767_225_600, 7_000_001);
        assert_eq!(with_offset(time), "2026-01-01T00:00:00.007000001+00:00");
        assert_eq!(with_milliseconds(time), "2026-01-01T00:00:00.007Z");
    }
}
