//! The forms in which fields stand in columns.

use std::borrow::Cow;

use super::driver::Cell;

pub type Reason = Cow<'static, str>;

fn found(cell: &Cell) -> &'static str {
    match cell {
        Cell::NullText | Cell::NullInteger | Cell::NullReal => "NULL",
        Cell::Integer(_) => "an integer",
        Cell::Real(_) => "a number",
        Cell::Text(_) => "a text",
        Cell::Bytes(_) => "bytes",
    }
}

fn is_null(cell: &Cell) -> bool {
    matches!(cell, Cell::NullText | Cell::NullInteger | Cell::NullReal)
}

fn expected<T>(what: &str, cell: &Cell) -> Result<T, Reason> {
    Err(format!("expected {what}, found {}", found(cell)).into())
}

pub mod text {
    use super::*;

    pub fn read(cell: Cell) -> Result<String, Reason> {
        match cell {
            Cell::Text(text) => Ok(text),
            other => expected("a text", &other),
        }
    }

    pub fn write(text: &str) -> Cell {
        Cell::text(text)
    }
}

pub mod optional_text {
    use super::*;

    pub fn read(cell: Cell) -> Result<Option<String>, Reason> {
        if is_null(&cell) { Ok(None) } else { text::read(cell).map(Some) }
    }

    pub fn write(text: &Option<String>) -> Cell {
        Cell::optional(text.as_deref())
    }
}

pub mod bytes {
    use super::*;

    pub fn read(cell: Cell) -> Result<Vec<u8>, Reason> {
        match cell {
            Cell::Bytes(bytes) => Ok(bytes),
            other => expected("bytes", &other),
        }
    }

    pub fn write(bytes: &[u8]) -> Cell {
        Cell::Bytes(bytes.to_vec())
    }
}

pub mod flag {
    use super::*;

    pub fn read(cell: Cell) -> Result<bool, Reason> {
        match cell {
            Cell::Integer(number) => Ok(number != 0),
            other => expected("0 or 1", &other),
        }
    }

    pub fn write(flag: &bool) -> Cell {
        Cell::Integer(i64::from(*flag))
    }
}

pub mod optional_flag {
    use super::*;

    pub fn read(cell: Cell) -> Result<Option<bool>, Reason> {
        if is_null(&cell) { Ok(None) } else { flag::read(cell).map(Some) }
    }

    pub fn write(flag: &Option<bool>) -> Cell {
        flag.map_or(Cell::NullInteger, |flag| Cell::Integer(i64::from(flag)))
    }
}

pub mod number {
    use super::*;

    pub fn read<T: TryFrom<i64>>(cell: Cell) -> Result<T, Reason> {
        match cell {
            Cell::Integer(number) => T::try_from(number).map_err(|_| format!("{number} is out of range").into()),
            other => expected("an integer", &other),
        }
    }

    /// What no column can hold is held at the most that one can.
    pub fn write<T: Copy + TryInto<i64>>(number: &T) -> Cell {
        Cell::Integer((*number).try_into().unwrap_or(i64::MAX))
    }
}

pub mod optional_number {
    use super::*;

    pub fn read<T: TryFrom<i64>>(cell: Cell) -> Result<Option<T>, Reason> {
        if is_null(&cell) { Ok(None) } else { number::read(cell).map(Some) }
    }

    pub fn write<T: Copy + TryInto<i64>>(number: &Option<T>) -> Cell {
        number.as_ref().map_or(Cell::NullInteger, number::write)
    }
}

pub mod optional_real {
    use super::*;

    pub fn read(cell: Cell) -> Result<Option<f32>, Reason> {
        match cell {
            cell if is_null(&cell) => Ok(None),
            Cell::Real(number) => Ok(Some(number as f32)),
            Cell::Integer(number) => Ok(Some(number as f32)),
            other => expected("a number", &other),
        }
    }

    pub fn write(number: &Option<f32>) -> Cell {
        number.map_or(Cell::NullReal, |number| Cell::Real(f64::from(number)))
    }
}

pub mod json {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    pub fn read<T: DeserializeOwned>(cell: Cell) -> Result<T, Reason> {
        let text = text::read(cell)?;
        serde_json::from_str(&text).map_err(|error| error.to_string().into())
    }

    /// What cannot be written as JSON does not exist among resources.
    pub fn write<T: Serialize>(value: &T) -> Cell {
        Cell::Text(serde_json::to_string(value).unwrap_or_default())
    }
}

pub mod optional_json {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    pub fn read<T: DeserializeOwned>(cell: Cell) -> Result<Option<T>, Reason> {
        if is_null(&cell) { Ok(None) } else { json::read(cell) }
    }

    pub fn write<T: Serialize>(value: &Option<T>) -> Cell {
        value.as_ref().map_or(Cell::NullText, json::write)
    }
}

/// A list that is absent when it is empty.
pub mod list {
    use super::*;

    pub fn read(cell: Cell) -> Result<Vec<String>, Reason> {
        if is_null(&cell) { Ok(Vec::new()) } else { json::read(cell) }
    }

    pub fn write(list: &Vec<String>) -> Cell {
        if list.is_empty() { Cell::NullText } else { json::write(list) }
    }
}

/// One of a few words.
pub mod word {
    use serde::Serialize;
    use serde::de::value::{Error, StrDeserializer};
    use serde::de::{DeserializeOwned, IntoDeserializer};

    use super::*;

    pub fn read<T: DeserializeOwned>(cell: Cell) -> Result<T, Reason> {
        let text = text::read(cell)?;
        let word: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
        T::deserialize(word).map_err(|error| error.to_string().into())
    }

    pub fn write<T: Serialize>(word: &T) -> Cell {
        match serde_json::to_value(word) {
            Ok(serde_json::Value::String(word)) => Cell::Text(word),
            _ => Cell::NullText,
        }
    }
}

/// A word that a normalised resource always has.
pub mod some_word {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    pub fn read<T: DeserializeOwned>(cell: Cell) -> Result<Option<T>, Reason> {
        word::read(cell).map(Some)
    }

    pub fn write<T: Serialize>(value: &Option<T>) -> Cell {
        value.as_ref().map_or_else(|| Cell::text("https"), word::write)
    }
}

/// RFC 3339 with `+00:00`, so that the order of texts is that of times.
pub mod moment {
    use time::format_description::BorrowedFormatItem;
    use time::format_description::well_known::Rfc3339;
    use time::macros::format_description;
    use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

    use super::*;

    const WRITTEN: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]+00:00");
    /// What a database writes by itself.
    const BARE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

    pub fn read(cell: Cell) -> Result<OffsetDateTime, Reason> {
        let text = text::read(cell)?;
        let rfc3339 = OffsetDateTime::parse(&text, &Rfc3339).ok();
        let bare =
            || PrimitiveDateTime::parse(text.get(..19).unwrap_or(&text), BARE).map(PrimitiveDateTime::assume_utc).ok();
        let at = rfc3339.and_then(|at| at.checked_to_offset(UtcOffset::UTC)).or_else(bare);
        at.ok_or_else(|| format!("'{text}' is not a time").into())
    }

    pub fn write(at: &OffsetDateTime) -> Cell {
        Cell::Text(shown(*at))
    }

    pub fn shown(at: OffsetDateTime) -> String {
        at.format(WRITTEN).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_written_so_that_their_texts_sort() {
        let times = [
            datetime!(2026-01-01 00:00:00 UTC),
            datetime!(2026-01-01 00:00:00.000000001 UTC),
            datetime!(2026-01-01 00:00:01 UTC),
        ];
        let texts = times.map(moment::shown);
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts[1], "2026-01-01T00:00:00.000000001+00:00");
        for (text, at) in texts.iter().zip(times) {
            assert_eq!(moment::read(Cell::text(text)).unwrap(), at);
        }
    }

    #[test]
    fn times_of_other_writers_are_read() {
        let at = datetime!(2026-05-01 10:00:00 UTC);
        for text in ["2026-05-01 10:00:00", "2026-05-01T12:00:00+02:00", "2026-05-01T10:00:00Z"] {
            assert_eq!(moment::read(Cell::text(text)).unwrap(), at, "{text}");
        }
        assert!(moment::read(Cell::text("soon")).is_err());
    }
}
