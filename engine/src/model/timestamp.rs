//! RFC 3339 timestamps: any offset is read, UTC is kept and written, without a fraction when it is zero.

use serde::{Deserialize, Deserializer, Serializer, de, ser};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

pub(super) fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at.format(&Rfc3339).map_err(ser::Error::custom)?;
    serializer.serialize_str(&text)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    let at = OffsetDateTime::parse(&text, &Rfc3339)
        .map_err(|error| de::Error::custom(format_args!("'{text}' is not an RFC 3339 timestamp: {error}")))?;
    // At the edge of the calendar the offset leads out of it.
    at.checked_to_offset(UtcOffset::UTC)
        .ok_or_else(|| de::Error::custom(format_args!("'{text}' is out of range: years 0000-9999 in UTC")))
}
