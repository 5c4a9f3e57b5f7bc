//! Bytes written as base64; padding is optional on input and always written.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The payload of an extension config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ExtensionValue(pub Vec<u8>);

impl TryFrom<String> for ExtensionValue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        LENIENT.decode(&text).map(Self).map_err(|error| format!("invalid base64: {error}"))
    }
}

impl From<ExtensionValue> for String {
    fn from(value: ExtensionValue) -> Self {
        LENIENT.encode(value.0)
    }
}
