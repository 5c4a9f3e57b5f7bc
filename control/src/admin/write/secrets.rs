//! Passwords are stored as hashes (resources sheet §10.3).

use aws_lc_rs::hmac;
use engine::model::Consumer;
use engine::tls::hex;
use serde_json::{Map, Value};

use crate::settings::Secret;
use crate::store::Resource;

/// Those of a consumer; nothing else has any.
pub(super) fn hash(resource: &mut Resource, secret: &Secret) {
    if let Resource::Consumer(consumer) = resource {
        hash_passwords(consumer, secret);
    }
}

pub(crate) fn hash_passwords(consumer: &mut Consumer, secret: &Secret) {
    hash_credentials(&mut consumer.credentials, secret);
}

fn hash_credentials(credentials: &mut Map<String, Value>, secret: &Secret) {
    let entries = credentials.get_mut("basicauth").and_then(Value::as_array_mut);
    entries.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|entry| hash_entry(entry, secret));
}

/// A password takes the place of a hash beside it; a hash alone is kept.
pub(super) fn hash_entry(entry: &mut Map<String, Value>, secret: &Secret) {
    let Some(Value::String(password)) = entry.get("password") else { return };
    let hash = hashed(password, secret);
    entry.remove("password");
    entry.insert("password_hash".to_owned(), hash.into());
}

fn hashed(password: &str, secret: &Secret) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, password.as_bytes());
    format!("hmac_sha256:{}", hex(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn passwords_become_hashes_that_can_be_checked_elsewhere() {
        let secret = Secret::new("key");
        let mut credentials = json!({"basicauth": [
            {"password": "The quick brown fox jumps over the lazy dog", "password_hash": "old", "note": 1},
            {"password_hash": "hmac_sha256:00"},
            {"password": 7},
        ], "jwt": [{"password": "stays"}]})
        .as_object()
        .cloned()
        .unwrap();
        hash_credentials(&mut credentials, &secret);
        let hash = "hmac_sha256:f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(
            Value::Object(credentials),
            json!({"basicauth": [
                {"password_hash": hash, "note": 1},
                {"password_hash": "hmac_sha256:00"},
                {"password": 7},
            ], "jwt": [{"password": "stays"}]})
        );
    }
}
