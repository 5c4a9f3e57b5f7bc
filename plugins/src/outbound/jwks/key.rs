//! Public keys of identity providers (RFC 7517), and the signatures they verify (RFC 7518 §3).

use std::cell::RefCell;
use std::rc::{Rc, Weak as RcWeak};
use std::sync::{Arc, Weak};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Providers have a handful. More would make every forged token expensive, because it is held against each.
const KEYS_MAX: usize = 100;
/// Skipped keys that a line of the log tells about.
const REASONS_MAX: usize = 5;
/// What is shown of a text that somebody else wrote.
const SHOWN_CHARS_MAX: usize = 64;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// How a key signs. It belongs to the key, never to the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
}

impl Algorithm {
    const ALL: [Algorithm; 5] =
        [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Es256, Algorithm::Es384];

    /// As in the `alg` of keys and tokens.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }

    /// None of a name that no key here signs with, such as `none` or `HS256`.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    Ec(Vec<u8>),
}

/// A usable key.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Jwk {
    id: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

/// The usable keys of one provider, and why others are not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySet {
    keys: Vec<Jwk>,
    pub skipped: Vec<String>,
}

impl KeySet {
    /// # Errors
    /// It is no JSON Web Key Set.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("is not JSON: {error}"))?;
        Self::of(&value)
    }

    /// # Errors
    /// It is no JSON Web Key Set.
    pub fn of(value: &Value) -> Result<Self, String> {
        let list = value.get("keys").and_then(Value::as_array).ok_or("has no array 'keys'")?;
        let mut set = Self::default();
        for (index, value) in list.iter().take(KEYS_MAX).enumerate() {
            match jwk(value).and_then(|jwk| jwk.verifying().map(|_| jwk)) {
                Ok(jwk) => set.keys.push(jwk),
                Err(reason) => {
                    let id = brief(value.get("kid").and_then(Value::as_str).unwrap_or_default());
                    set.skipped.push(format!("keys[{index}] '{id}' is skipped: {reason}"));
                }
            }
        }
        if list.len() > KEYS_MAX {
            set.skipped
                .push(format!("keys[{KEYS_MAX}] and all behind it are skipped: no more than {KEYS_MAX} are read"));
        }
        Ok(set)
    }

    /// Why no key can be used, if that is so; goes behind what the set is called.
    pub fn why_useless(&self) -> Option<String> {
        if !self.keys.is_empty() {
            return None;
        }
        let (first, more) = self.skipped.split_at(self.skipped.len().min(REASONS_MAX));
        let reasons = if first.is_empty() { "'keys' is empty".to_owned() } else { first.join("; ") };
        let more = if more.is_empty() { String::new() } else { format!("; and {} more", more.len()) };
        Some(format!("has no key that can be used: {reasons}{more}"))
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn brief(text: &str) -> &str {
    text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

fn jwk(value: &Value) -> Result<Jwk, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("use") == Some("enc") {
        return Err("it is for encryption".to_owned());
    }
    let declared = match text("alg") {
        Some(name) => Some(Algorithm::of(name).ok_or_else(|| format!("alg '{}' is not supported", brief(name)))?),
        None => None,
    };
    let bytes = |name: &str| {
        let text = text(name).ok_or_else(|| format!("it has no '{name}'"))?;
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("'{name}' is not base64url"))
    };
    let (algorithm, material) = match text("kty") {
        Some("RSA") => {
            let algorithm = declared.unwrap_or(Algorithm::Rs256);
            let (modulus, exponent) = (without_zeros(bytes("n")?), without_zeros(bytes("e")?));
            (algorithm, Material::Rsa { modulus, exponent })
        }
        Some("EC") => {
            let by_curve = match text("crv") {
                Some("P-256") => Some(Algorithm::Es256),
                Some("P-384") => Some(Algorithm::Es384),
                Some(other) => return Err(format!("crv '{}' is not supported", brief(other))),
                None => None,
            };
            let algorithm = by_curve.or(declared).unwrap_or(Algorithm::Es256);
            if declared.is_some_and(|declared| declared != algorithm) {
                return Err("alg and crv do not belong together".to_owned());
            }
            (algorithm, Material::Ec(point(bytes("x")?, bytes("y")?, algorithm)?))
        }
        Some(other) => return Err(format!("kty '{}' is not supported", brief(other))),
        None => return Err("it has no 'kty'".to_owned()),
    };
    Ok(Jwk { id: text("kid").map(str::to_owned), algorithm, material })
}

fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// SEC 1 §2.3.3, from coordinates that may lack their leading zeros.
fn point(x: Vec<u8>, y: Vec<u8>, algorithm: Algorithm) -> Result<Vec<u8>, String> {
    let width = if algorithm == Algorithm::Es384 { 48 } else { 32 };
    let mut point = vec![4];
    for coordinate in [x, y] {
        let coordinate = without_zeros(coordinate);
        let zeros = width - coordinate.len().min(width);
        point.extend(std::iter::repeat_n(0, zeros));
        point.extend(coordinate);
    }
    match point.len() == 2 * width + 1 {
        true => Ok(point),
        false => Err("its coordinates are too long for the curve".to_owned()),
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 => None,
    }
}

fn ecdsa(algorithm: Algorithm) -> Option<&'static EcdsaVerificationAlgorithm> {
    match algorithm {
        Algorithm::Es256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::Es384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => None,
    }
}

impl Jwk {
    fn verifying(&self) -> Result<VerifyingKey, String> {
        let mismatch = || format!("{} is not an algorithm of such a key", self.algorithm.name());
        let key = match &self.material {
            Material::Rsa { modulus, exponent } => {
                let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err(format!(
                        "it has {bits} bits, {} to {} are supported",
                        RSA_BITS.start(),
                        RSA_BITS.end()
                    ));
                }
                let parameters = rsa(self.algorithm).ok_or_else(mismatch)?;
                RsaPublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(parameters)
            }
            Material::Ec(point) => ParsedPublicKey::new(ecdsa(self.algorithm).ok_or_else(mismatch)?, point),
        };
        let key = key.map_err(|error| format!("it is no valid key: {error}"))?;
        Ok(VerifyingKey { id: self.id.as_deref().map(Box::from), algorithm: self.algorithm, key })
    }
}

struct VerifyingKey {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// The keys of a set as one core verifies with them. Each core has its own, because verifying counts references in a key.
#[derive(Default)]
pub struct VerifyingKeys(Vec<VerifyingKey>);

thread_local! {
    /// Of this core, by the sets they were made of.
    static MADE: RefCell<Vec<(Weak<KeySet>, RcWeak<VerifyingKeys>)>> = const { RefCell::new(Vec::new()) };
}

impl VerifyingKeys {
    pub fn of(set: &KeySet) -> Self {
        Self(set.keys.iter().filter_map(|jwk| jwk.verifying().ok()).collect())
    }

    /// Made once on this core of a set that many look at: making them takes long.
    pub fn shared(set: &Arc<KeySet>) -> Rc<Self> {
        MADE.with_borrow_mut(|made| {
            made.retain(|(_, keys)| keys.strong_count() > 0);
            let same = made.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(set)));
            if let Some(keys) = same.and_then(|(_, keys)| keys.upgrade()) {
                return keys;
            }
            let keys = Rc::new(Self::of(set));
            made.push((Arc::downgrade(set), Rc::downgrade(&keys)));
            keys
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a key of that id.
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Whether one of the keys has signed that message: the one of that id is tried first, and then all others. Only keys of that
    /// algorithm are.
    pub fn verify(&self, id: Option<&str>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let named = |key: &&VerifyingKey| id.is_some() && key.id.as_deref() == id;
        let signed = |key: &VerifyingKey| key.key.verify_sig(message, signature).is_ok();
        let candidates = || self.0.iter().filter(|key| key.algorithm == algorithm);
        candidates().filter(named).any(signed) || candidates().filter(|key| !named(key)).any(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tokens::Signer;
    use serde_json::json;

    fn set(keys: &[Value]) -> KeySet {
        KeySet::of(&json!({ "keys": keys })).unwrap()
    }

    /// A key's own description, changed.
    fn changed(signer: &Signer, change: Value) -> Value {
        let mut jwk = signer.jwk();
        for (name, value) in change.as_object().unwrap() {
            match value.is_null() {
                true => drop(jwk.as_object_mut().unwrap().remove(name)),
                false => jwk[name] = value.clone(),
            }
        }
        jwk
    }

    fn why_skipped(jwk: Value) -> String {
        let mut set = set(&[jwk]);
        assert!(set.is_empty());
        set.skipped.remove(0)
    }

    #[test]
    fn each_supported_algorithm_verifies_its_own_signatures_and_no_other_message() {
        for signer in Signer::one_of_each() {
            let keys = VerifyingKeys::of(&set(&[signer.jwk()]));
            let signature = signer.sign(b"message");
            let verify = |message: &[u8], signature: &[u8]| {
                keys.verify(Some(signer.id()), signer.algorithm(), message, signature)
            };
            assert!(verify(b"message", &signature), "{:?}", signer.algorithm());
            assert!(
                !verify(b"massage", &signature) && !verify(b"message", &signature[1..]) && !verify(b"message", b"")
            );
            for other in Algorithm::ALL.into_iter().filter(|other| *other != signer.algorithm()) {
                assert!(!keys.verify(Some(signer.id()), other, b"message", &signature), "a key signs one way only");
            }
        }
    }

    #[test]
    fn the_keys_of_a_set_are_made_once_on_each_core_while_somebody_uses_them() {
        let jwk = Signer::es256("k").jwk();
        let (one, other) = (Arc::new(set(std::slice::from_ref(&jwk))), Arc::new(set(&[jwk])));
        let keys = VerifyingKeys::shared(&one);
        assert!(keys.knows("k") && Rc::ptr_eq(&keys, &VerifyingKeys::shared(&one)));
        let others = VerifyingKeys::shared(&other);
        assert!(!Rc::ptr_eq(&keys, &others), "an equal set may become another one");
        let elsewhere = std::thread::scope(|scope| {
            let is_shared = || VerifyingKeys::shared(&one).knows("k") && MADE.with_borrow(Vec::len) == 1;
            scope.spawn(is_shared).join().unwrap()
        });
        assert!(elsewhere, "another core makes its own");
        drop(keys);
        assert!(Rc::ptr_eq(&others, &VerifyingKeys::shared(&other)));
        assert_eq!(MADE.with_borrow(Vec::len), 1, "nobody uses the others any more");
    }

    #[test]
    fn the_named_key_is_tried_first_and_then_every_other() {
        let (one, two) = (Signer::es256("one"), Signer::es256("two"));
        let keys = VerifyingKeys::of(&set(&[one.jwk(), two.jwk()]));
        let signature = two.sign(b"m");
        for id in [Some("two"), Some("one"), Some("unknown"), None] {
            assert!(keys.verify(id, Algorithm::Es256, b"m", &signature), "{id:?}");
        }
        assert!(keys.knows("one") && !keys.knows("three"));
        assert!(!keys.verify(Some("one"), Algorithm::Es256, b"m", &Signer::es256("one").sign(b"m")));
    }

    #[test]
    fn an_rsa_key_without_alg_signs_with_rs256_and_an_ec_key_as_its_curve_says() {
        let without = |signer: &Signer, name: &str| set(&[changed(signer, json!({ name: null }))]).keys[0].algorithm;
        assert_eq!(without(&Signer::rsa("r", Algorithm::Rs512), "alg"), Algorithm::Rs256);
        assert_eq!(set(&[Signer::rsa("r", Algorithm::Rs384).jwk()]).keys[0].algorithm, Algorithm::Rs384);
        assert_eq!(without(&Signer::es256("e"), "alg"), Algorithm::Es256);
        assert_eq!(without(&Signer::es384("e"), "alg"), Algorithm::Es384);
        assert_eq!(without(&Signer::es384("e"), "crv"), Algorithm::Es384);
        let neither = changed(&Signer::es256("e"), json!({"crv": null, "alg": null}));
        assert_eq!(set(&[neither]).keys[0].algorithm, Algorithm::Es256);
    }

    #[test]
    fn keys_that_cannot_be_used_are_skipped_with_the_reason() {
        let (rsa, ec) = (Signer::rsa("r", Algorithm::Rs256), Signer::es256("e"));
        let why = |signer: &Signer, change: Value| why_skipped(changed(signer, change));
        assert_eq!(why(&rsa, json!({"use": "enc"})), "keys[0] 'r' is skipped: it is for encryption");
        assert_eq!(why(&rsa, json!({"alg": "PS256"})), "keys[0] 'r' is skipped: alg 'PS256' is not supported");
        assert_eq!(why(&rsa, json!({"alg": "HS256"})), "keys[0] 'r' is skipped: alg 'HS256' is not supported");
        assert_eq!(
            why(&rsa, json!({"alg": "ES256"})),
            "keys[0] 'r' is skipped: ES256 is not an algorithm of such a key"
        );
        assert_eq!(why(&ec, json!({"alg": "RS256"})), "keys[0] 'e' is skipped: alg and crv do not belong together");
        assert_eq!(why(&ec, json!({"alg": "ES384"})), "keys[0] 'e' is skipped: alg and crv do not belong together");
        assert_eq!(why(&ec, json!({"crv": "P-521"})), "keys[0] 'e' is skipped: crv 'P-521' is not supported");
        assert_eq!(why(&rsa, json!({"kty": "oct"})), "keys[0] 'r' is skipped: kty 'oct' is not supported");
        assert_eq!(why(&rsa, json!({"kty": null})), "keys[0] 'r' is skipped: it has no 'kty'");
        assert_eq!(why(&rsa, json!({"n": null})), "keys[0] 'r' is skipped: it has no 'n'");
        assert_eq!(why(&rsa, json!({"n": "!"})), "keys[0] 'r' is skipped: 'n' is not base64url");
        assert!(why(&ec, json!({"x": "AQAB"})).contains("it is no valid key"));
        let long = URL_SAFE_NO_PAD.encode([1; 33]);
        assert!(why(&ec, json!({ "y": long })).contains("its coordinates are too long for the curve"));
    }

    #[test]
    fn an_rsa_key_has_at_least_2048_bits() {
        let (good, bad) = (Signer::rsa("good", Algorithm::Rs256).jwk(), URL_SAFE_NO_PAD.encode([0xc3; 255]));
        assert_eq!(set(std::slice::from_ref(&good)).len(), 1);
        let mut short = good;
        short["n"] = json!(bad);
        assert!(why_skipped(short).contains("it has 2040 bits, 2048 to 8192 are supported"));
    }

    #[test]
    fn an_rsa_key_has_at_most_8192_bits() {
        let with = |modulus: &[u8]| {
            let mut jwk = Signer::rsa("r", Algorithm::Rs256).jwk();
            jwk["n"] = json!(URL_SAFE_NO_PAD.encode(modulus));
            set(&[jwk])
        };
        assert_eq!(with(&[0xc3; 1024]).len(), 1);
        let over = with(&[&[1][..], &[0xc3; 1024]].concat());
        assert!(over.skipped[0].contains("it has 8193 bits, 2048 to 8192 are supported"), "{:?}", over.skipped);
        let under = with(&[0x7f; 256]);
        assert!(under.skipped[0].contains("it has 2047 bits"), "{:?}", under.skipped);
    }

    #[test]
    fn what_is_said_of_skipped_keys_is_bounded() {
        let long = "k".repeat(10_000);
        let odd = [json!({"kid": long, "kty": long}), json!({"kid": long, "kty": "RSA", "alg": long})];
        let skipped = set(&odd).skipped;
        assert!(skipped.iter().all(|reason| reason.len() < 300), "{skipped:?}");
        let many = set(&vec![json!(0); 5_000]);
        assert_eq!(many.skipped.len(), KEYS_MAX + 1);
        let why = many.why_useless().unwrap();
        assert!(
            why.starts_with("has no key that can be used: keys[0] '' is skipped: it has no 'kty'; keys[1]"),
            "{why}"
        );
        assert!(why.ends_with("; and 96 more"), "{why}");
        assert_eq!(set(&[]).why_useless().unwrap(), "has no key that can be used: 'keys' is empty");
        assert_eq!(set(&[Signer::es256("e").jwk(), json!(0)]).why_useless(), None);
    }

    #[test]
    fn of_too_many_keys_the_first_hundred_are_used() {
        let jwk = Signer::es256("e").jwk();
        let full = set(&vec![jwk.clone(); KEYS_MAX]);
        assert_eq!((full.len(), full.skipped.len()), (KEYS_MAX, 0));
        let over = set(&vec![jwk; KEYS_MAX + 1]);
        assert_eq!((over.len(), over.skipped.len()), (KEYS_MAX, 1));
    }

    #[test]
    fn what_is_no_key_set_is_told_from_an_empty_one() {
        assert!(KeySet::parse(br#"{"keys":[]}"#).unwrap().is_empty());
        for wrong in [&br#"{"keys":{}}"#[..], b"[]", b"{}"] {
            assert_eq!(KeySet::parse(wrong).unwrap_err(), "has no array 'keys'");
        }
        assert!(KeySet::parse(b"<html>").unwrap_err().starts_with("is not JSON: "));
    }
}
