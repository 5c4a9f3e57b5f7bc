//! The keys that all batching sinks have (traffic sheet §1.4).

use std::time::Duration;

use super::room::BYTES_MAX;
use crate::config::{Key, Keys, key};

/// Those keys, with the defaults of most sinks.
pub const BATCH_KEYS: [Key; 7] = [
    key("batch_size", "integer", "`50`", "records in one batch, 1 to 10000"),
    key("flush_interval_ms", "integer", "`1000`", "a batch that is not full is sent after this time, at least 100"),
    key(
        "buffer_capacity",
        "integer",
        "`10000`",
        "records that wait to be sent, over all cores, 1 to 1000000; more are dropped",
    ),
    key("max_retries", "integer", "`3`", "further attempts to send a batch; then it is dropped"),
    key("retry_delay_ms", "integer", "`1000`", "pause between two attempts"),
    key("buffer_max_bytes", "integer", "`67108864`", "bytes of the records that wait; more are dropped"),
    key("max_entry_bytes", "integer", "`262144`", "a longer record is dropped"),
];

const BATCH_SIZE_MAX: u64 = 10_000;
const CAPACITY_MAX: u64 = 1_000_000;
const FLUSH_INTERVAL_MIN_MS: u64 = 100;
/// As good as for ever, and far from where adding to a clock overflows: a year.
const MILLISECONDS_MAX: u64 = 365 * 24 * 3600 * 1000;
/// A record's end is counted in 32 bits, and a hand-over has several.
const ENTRY_BYTES_MAX: u64 = 1 << 30;

/// How one sink batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub batch_size: usize,
    pub flush_interval: Duration,
    pub buffer_capacity: usize,
    /// Attempts behind the first.
    pub max_retries: u64,
    pub retry_delay: Duration,
    pub buffer_max_bytes: usize,
    pub max_entry_bytes: usize,
    /// A warning is written at the first record dropped and at every so many.
    pub drops_per_warning: u64,
}

impl Settings {
    /// The defaults of [`BATCH_KEYS`].
    pub const DEFAULT: Settings = Settings {
        batch_size: 50,
        flush_interval: Duration::from_millis(1000),
        buffer_capacity: 10_000,
        max_retries: 3,
        retry_delay: Duration::from_millis(1000),
        buffer_max_bytes: 64 << 20,
        max_entry_bytes: 256 << 10,
        drops_per_warning: 100,
    };

    /// Values out of range are brought into it, with a warning.
    pub fn read(keys: &mut Keys<'_>, default: Settings) -> Self {
        let millis = |duration: Duration| duration.as_millis() as u64;
        let flush =
            clamped(keys, "flush_interval_ms", millis(default.flush_interval), FLUSH_INTERVAL_MIN_MS, MILLISECONDS_MAX);
        let delay = clamped(keys, "retry_delay_ms", millis(default.retry_delay), 0, MILLISECONDS_MAX);
        let mut size = |key, default: usize, most| clamped(keys, key, default as u64, 1, most) as usize;
        Self {
            batch_size: size("batch_size", default.batch_size, BATCH_SIZE_MAX),
            buffer_capacity: size("buffer_capacity", default.buffer_capacity, CAPACITY_MAX),
            buffer_max_bytes: size("buffer_max_bytes", default.buffer_max_bytes, BYTES_MAX as u64),
            max_entry_bytes: size("max_entry_bytes", default.max_entry_bytes, ENTRY_BYTES_MAX),
            flush_interval: Duration::from_millis(flush),
            max_retries: keys.unsigned("max_retries").unwrap_or(default.max_retries),
            retry_delay: Duration::from_millis(delay),
            drops_per_warning: default.drops_per_warning,
        }
    }

    /// A batch for which there is no room would never become full.
    pub(super) fn batch_size(&self) -> usize {
        self.batch_size.min(self.buffer_capacity)
    }

    /// Whether a warning is due when the number of dropped records has gone from `before` to `now`.
    pub(super) fn is_warned_of(&self, before: u64, now: u64) -> bool {
        before == 0 || before / self.drops_per_warning != now / self.drops_per_warning
    }
}

fn clamped(keys: &mut Keys<'_>, key: &str, default: u64, least: u64, most: u64) -> u64 {
    let Some(value) = keys.unsigned(key) else { return default };
    let used = value.clamp(least, most);
    if used != value {
        keys.warn_of(key, format_args!("{value} is out of range, {used} is used"));
    }
    used
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Null, Parsed};

    fn read(config: &Value) -> Result<Parsed<Settings>, Vec<String>> {
        let mut keys = Keys::open("http_logging", &BATCH_KEYS, config, Null::Refused)?;
        let settings = Settings::read(&mut keys, Settings::DEFAULT);
        keys.finish(settings)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(read(&json!({})).unwrap().spec, Settings::DEFAULT);
        for known in BATCH_KEYS {
            let text = known.default.trim_matches('`').parse::<u64>().unwrap();
            let parsed = read(&json!({ known.name: text })).unwrap();
            assert_eq!((parsed.spec, parsed.warnings), (Settings::DEFAULT, Vec::new()), "{}", known.name);
        }
    }

    #[test]
    fn values_are_brought_into_their_range() {
        let clamped = |key: &str, value: u64| {
            let parsed = read(&json!({ key: value })).unwrap();
            (parsed.spec, parsed.warnings)
        };
        for (key, low, least, most, high) in [
            ("batch_size", 0, 1, 10_000, 10_001),
            ("buffer_capacity", 0, 1, 1_000_000, 1_000_001),
            ("flush_interval_ms", 99, 100, MILLISECONDS_MAX, u64::MAX),
            ("buffer_max_bytes", 0, 1, BYTES_MAX as u64, u64::MAX),
            ("max_entry_bytes", 0, 1, ENTRY_BYTES_MAX, u64::MAX),
        ] {
            assert_eq!(clamped(key, low).0, clamped(key, least).0, "{key}");
            assert_eq!(clamped(key, high).0, clamped(key, most).0, "{key}");
            assert_eq!(clamped(key, low).1, [format!("http_logging: '{key}' {low} is out of range, {least} is used")]);
            assert!(clamped(key, least).1.is_empty() && clamped(key, most).1.is_empty(), "{key}");
        }
        assert_eq!(clamped("retry_delay_ms", u64::MAX).0.retry_delay, Duration::from_millis(MILLISECONDS_MAX));
        assert_eq!(clamped("retry_delay_ms", 0).0.retry_delay, Duration::ZERO);
        assert_eq!(clamped("max_retries", 0).0.max_retries, 0);
    }

    #[test]
    fn strings_negatives_and_fractions_are_no_numbers() {
        for known in BATCH_KEYS {
            for wrong in [json!("5"), json!(-1), json!(1.5), json!(2.0), Value::Null] {
                let text = format!("http_logging: '{}' must be an unsigned integer", known.name);
                assert_eq!(read(&json!({ known.name: wrong })).unwrap_err(), [text]);
            }
        }
    }

    #[test]
    fn the_first_drop_and_every_hundredth_are_warned_of() {
        let one_by_one = (0..250).filter(|before| Settings::DEFAULT.is_warned_of(*before, before + 1));
        assert_eq!(one_by_one.map(|before| before + 1).collect::<Vec<u64>>(), [1, 100, 200]);
        assert!(Settings::DEFAULT.is_warned_of(90, 130) && !Settings::DEFAULT.is_warned_of(130, 199));
        let each = Settings { drops_per_warning: 1, ..Settings::DEFAULT };
        assert!((0..5).all(|before| each.is_warned_of(before, before + 1)));
    }
}
