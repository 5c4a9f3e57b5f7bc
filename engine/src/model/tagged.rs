//! Enums that carry data: `!fixed {…}` or `fixed: {…}` in YAML, `{"fixed": {…}}` in JSON (resources sheet §3.2).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{EnumAccessDeserializer, MapAccessDeserializer};
use serde::de::{EnumAccess, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads an externally tagged enum from either spelling.
pub(super) fn tag_or_map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(TagOrMap(PhantomData))
}

/// The same for an optional field; the field also needs `#[serde(default)]`.
pub(super) fn optional_tag_or_map<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Wrapped<T>(T);
    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Wrapped<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            tag_or_map(deserializer).map(Self)
        }
    }
    Ok(Option::<Wrapped<T>>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
}

struct TagOrMap<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TagOrMap<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a YAML tag starting with '!' or a map with one key")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<T, A::Error> {
        T::deserialize(EnumAccessDeserializer::new(data))
    }
}
