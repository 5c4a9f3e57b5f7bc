//! A token in JWS compact form (RFC 7515 §7.1), read without copies where its text has none to make.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::hmac;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::consumers::Secret;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::credential::decoded;

/// The three parts, as they came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// Header and payload, with the dot between them.
    signed: &'t str,
}

impl<'t> Token<'t> {
    /// None unless there are three parts.
    pub fn split(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { header, payload, signature, signed })
    }

    /// Whether the header names that algorithm, and asks for nothing that must be understood beside it (RFC 7515 §4.1.11).
    pub fn is_hs256(&self) -> bool {
        let is_it = |header: &[u8]| {
            serde_json::from_slice::<Header<'_>>(header)
                .is_ok_and(|header| header.alg == "HS256" && header.crit.is_none())
        };
        decoded(&URL_SAFE_NO_PAD, self.header, is_it).unwrap_or(false)
    }

    /// Lets `then` look at the claims, of which nothing is verified; None when the payload is no object of claims.
    pub fn with_claims<R>(&self, identity: &str, then: impl FnOnce(Claims<'_>) -> R) -> Option<R> {
        let read = |payload: &[u8]| {
            let mut json = serde_json::Deserializer::from_slice(payload);
            let claims = Reader { identity }.deserialize(&mut json).ok()?;
            json.end().ok()?;
            Some(then(claims))
        };
        decoded(&URL_SAFE_NO_PAD, self.payload, read)?
    }

    /// Tags are compared in constant time.
    pub fn is_signed_by_one(&self, secrets: &[Secret]) -> bool {
        let is_valid = |tag: &[u8]| {
            let verify = |secret: &Secret| hmac::verify(secret.hmac_sha256(), self.signed.as_bytes(), tag).is_ok();
            secrets.iter().any(verify)
        };
        decoded(&URL_SAFE_NO_PAD, self.signature, is_valid).unwrap_or(false)
    }
}

#[derive(Deserialize)]
struct Header<'h> {
    #[serde(borrow)]
    alg: Cow<'h, str>,
    crit: Option<IgnoredAny>,
}

/// The claims that somebody asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Claims<'t> {
    /// The one that the configuration names; it may be one of the others too.
    pub identity: Claim<'t>,
    pub exp: Claim<'t>,
    pub nbf: Claim<'t>,
    pub iss: Claim<'t>,
    pub aud: Claim<'t>,
}

/// A claim's value, as far as a claim that is asked for can be one.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Claim<'t> {
    #[default]
    Absent,
    Text(Cow<'t, str>),
    Number(f64),
    Texts(Vec<Cow<'t, str>>),
    /// Anything else, null too.
    Other,
}

impl Claim<'_> {
    pub fn text(&self) -> Option<&str> {
        match self {
            Claim::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is that text, or a list with it.
    pub fn has(&self, wanted: &str) -> bool {
        match self {
            Claim::Text(text) => text == wanted,
            Claim::Texts(texts) => texts.iter().any(|text| text == wanted),
            _ => false,
        }
    }
}

/// Reads an object of claims, and passes over what nobody asks for.
struct Reader<'n> {
    identity: &'n str,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut claims = Claims::default();
        while let Some(Name(name)) = map.next_key()? {
            let slot = match &*name {
                "exp" => Some(&mut claims.exp),
                "nbf" => Some(&mut claims.nbf),
                "iss" => Some(&mut claims.iss),
                "aud" => Some(&mut claims.aud),
                _ => None,
            };
            let is_identity = name == self.identity;
            if slot.is_none() && !is_identity {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Claim<'de> = map.next_value()?;
            if let Some(slot) = slot {
                put(slot, value.clone())?;
            }
            if is_identity {
                put(&mut claims.identity, value)?;
            }
        }
        Ok(claims)
    }
}

/// RFC 7519 §4: the names of claims must be unique.
fn put<'t, E: Error>(slot: &mut Claim<'t>, value: Claim<'t>) -> Result<(), E> {
    if *slot != Claim::Absent {
        return Err(E::custom("a claim is there twice"));
    }
    *slot = value;
    Ok(())
}

struct ClaimVisitor;

impl<'de> Deserialize<'de> for Claim<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ClaimVisitor)
    }
}

impl<'de> Visitor<'de> for ClaimVisitor {
    type Value = Claim<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Claim::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Claim::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Claim::Number(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Claim::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Claim::Number(number))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Claim::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut texts, mut is_all_text) = (Vec::new(), true);
        while let Some(element) = list.next_element::<Claim<'de>>()? {
            match element {
                Claim::Text(text) => texts.push(text),
                _ => is_all_text = false,
            }
        }
        Ok(if is_all_text { Claim::Texts(texts) } else { Claim::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Claim::Other)
    }
}
