//! Log records of the time before the logger runs.

use std::io::Write;

use time::UtcDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

const TIMESTAMP: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The levels that go to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
}

/// Writes one record in the format of the logger. A closed stderr is no reason to fail.
pub(super) fn emit(stderr: &mut dyn Write, level: Level, message: &str) {
    let level = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
    };
    let record = serde_json::json!({
        "timestamp": UtcDateTime::now().format(TIMESTAMP).unwrap_or_default(),
        "level": level,
        "fields": { "message": message },
        "target": "ferrum_edge",
    });
    let _ = writeln!(stderr, "{record}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_json_line_with_a_microsecond_timestamp() {
        let mut stderr = Vec::new();
        emit(&mut stderr, Level::Error, "two\nlines and \"quotes\"");
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(text.lines().count(), 1);
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["level"], "ERROR");
        assert_eq!(record["fields"]["message"], "two\nlines and \"quotes\"");
        assert_eq!(record["target"], "ferrum_edge");
        let timestamp = record["timestamp"].as_str().unwrap();
        assert_eq!(timestamp.len(), "2026-05-04T10:11:12.123456Z".len());
        assert!(timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T' && timestamp.as_bytes()[19] == b'.');
        assert!(text.starts_with("{\"timestamp\":"));
    }
}
