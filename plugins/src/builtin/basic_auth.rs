//! `basic_auth`: identifies a consumer by username and password (plugins sheet §2.18).
//!
//! A password is kept as its HMAC-SHA256 under the server's secret. That is one hash a request, so it is computed on the core.

use std::rc::Rc;
use std::sync::{Arc, Once};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use engine::consumers::{ConsumerId, ConsumerIndex};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed};
use crate::credential::basic;
use crate::outbound::{BASIC_AUTH_SECRET_DEFAULT, Services};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, RequestContext, Specs};

/// Takes no keys: the secret is the gateway's, because the admin API hashes with it too.
#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth;

/// With the server's secret ready.
struct Instance {
    server_secret: hmac::Key,
}

impl Instance {
    /// The consumer with that name and password. A name that nobody has takes as long as a wrong password.
    fn verify(&self, consumers: &ConsumerIndex, username: &str, password: &str) -> Option<ConsumerId> {
        let hash = hmac::sign(&self.server_secret, password.as_bytes());
        let consumer = consumers.by_basic_username(username)?;
        let is_equal = |stored: &[u8]| verify_slices_are_equal(stored, hash.as_ref()).is_ok();
        // All are compared, so that the time does not tell which one it was.
        let matches = consumers.password_hashes(consumer).iter().filter(|stored| is_equal(&stored[..])).count();
        (matches > 0).then_some(consumer)
    }
}

impl BuiltIn for BasicAuth {
    const NAME: &'static str = "basic_auth";
    const PRIORITY: u16 = 1300;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] = &[];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        keys.refuse_unknown();
        keys.finish(Self)
    }
}

impl Specs for BasicAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let secret = env.services.options.basic_auth_secret.as_bytes();
        Rc::new(Instance { server_secret: hmac::Key::new(hmac::HMAC_SHA256, secret) })
    }

    fn start(&self, services: &Arc<Services>) {
        static REPORTED: Once = Once::new();
        if services.options.basic_auth_secret == BASIC_AUTH_SECRET_DEFAULT {
            REPORTED.call_once(|| {
                tracing::error!(
                    "basic_auth: FERRUM_BASIC_AUTH_HMAC_SECRET is not set, so password hashes are made with a built-in secret \
                     that everybody can read; set one and hash the passwords anew"
                );
            });
        }
    }
}

impl Plugin for Instance {
    fn name(&self) -> &'static str {
        BasicAuth::NAME
    }

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let Some(authorization) = cx.head.headers.get("authorization") else { return Flow::Continue };
        let verify = |username: &str, password: &str| self.verify(&cx.facts.consumers, username, password);
        match basic(authorization, verify) {
            Ok(Some(consumer)) => {
                cx.identify(consumer, BasicAuth::NAME);
                Flow::Continue
            }
            Ok(None) => Flow::reject(401, r#"{"error":"Invalid credentials"}"#),
            Err(malformed) => Flow::reject(401, malformed.json()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{consumer, core, facts_with, ready, request};
    use crate::{AuthMode, Chain, Rejection};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    fn hashed(secret: &str, password: &str) -> Value {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), password.as_bytes());
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"password_hash": format!("hmac_sha256:{digits}")})
    }

    fn default_hashed(password: &str) -> Value {
        hashed(BASIC_AUTH_SECRET_DEFAULT, password)
    }

    fn check_header(credentials: Value, value: &str) -> Result<String, Rejection> {
        let mut cx = request("GET /", &[("Authorization", value)]);
        let named = json!({"keyauth": [{"key": "k"}]});
        cx.facts = facts_with([consumer("alice", credentials), consumer("nobasic", named)], &[]);
        let plugin = BasicAuth::parse(&Value::Null).unwrap().spec.build(&core().0);
        ready(Chain::new(&[plugin], AuthMode::Single).authenticate(&mut cx)).map_err(|rejection| *rejection)?;
        assert_eq!(cx.auth_method, Some("basic_auth"));
        assert_eq!(cx.head.headers.get("authorization"), Some(value), "it goes on unchanged");
        Ok(cx.effective_identity().unwrap().to_owned())
    }

    fn check(credentials: Value, username: &str, password: &str) -> Result<String, Rejection> {
        check_header(credentials, &format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
    }

    #[track_caller]
    fn refused(verdict: Result<String, Rejection>, error: &str) {
        let rejection = verdict.unwrap_err();
        let text = String::from_utf8(rejection.body).unwrap();
        assert_eq!((rejection.status, text), (401, format!(r#"{{"error":"{error}"}}"#)));
        assert!(rejection.headers.is_empty());
    }

    #[test]
    fn the_right_password_identifies_the_consumer() {
        let one = json!({"basicauth": [default_hashed("open sesame")]});
        assert_eq!(check(one.clone(), "alice", "open sesame").unwrap(), "alice");
        refused(check(one.clone(), "alice", "open sesame "), "Invalid credentials");
        refused(check(one, "alice", ""), "Invalid credentials");
    }

    #[test]
    fn the_hash_is_the_one_that_openssl_makes_in_either_case() {
        // printf %s 'open sesame' | openssl dgst -sha256 -hmac ferrum-edge-change-me-in-production
        let digits = "9490971c593d1bbcc125344a12f6824a7eacffee98309b76fe344c5c6e46284e";
        for digits in [digits.to_owned(), digits.to_uppercase()] {
            let entry = json!({"basicauth": [{"password_hash": format!("hmac_sha256:{digits}")}]});
            assert_eq!(check(entry, "alice", "open sesame").unwrap(), "alice");
        }
    }

    #[test]
    fn any_of_several_passwords_matches() {
        let two = json!({"basicauth": [default_hashed("old"), default_hashed("new")]});
        for password in ["old", "new"] {
            assert_eq!(check(two.clone(), "alice", password).unwrap(), "alice");
        }
        refused(check(two, "alice", "neither"), "Invalid credentials");
    }

    #[test]
    fn a_password_may_have_colons_and_other_letters() {
        let entry = json!({"basicauth": [default_hashed("a:b:ü")]});
        assert_eq!(check(entry, "alice", "a:b:ü").unwrap(), "alice");
        let empty = json!({"basicauth": [default_hashed("")]});
        assert_eq!(check(empty, "alice", "").unwrap(), "alice");
    }

    #[test]
    fn who_is_unknown_or_has_no_usable_hash_gets_the_answer_of_a_wrong_password() {
        let one = json!({"basicauth": [default_hashed("pw")]});
        for username in ["bob", "ALICE", "", "nobasic", "id-alice"] {
            refused(check(one.clone(), username, "pw"), "Invalid credentials");
        }
        for useless in [json!({"password": "pw"}), json!({"password_hash": "pw"}), json!({"password_hash": "$2b$10$x"})]
        {
            refused(check(json!({"basicauth": [useless]}), "alice", "pw"), "Invalid credentials");
        }
        refused(check(json!({"basicauth": [hashed("another secret", "pw")]}), "alice", "pw"), "Invalid credentials");
    }

    #[test]
    fn what_is_not_basic_is_told_apart() {
        let one = json!({"basicauth": [default_hashed("pw")]});
        let encoded = |pair: &[u8]| format!("Basic {}", STANDARD.encode(pair));
        for value in ["Bearer abc", "Basic", &encoded(b"no colon")] {
            refused(check_header(one.clone(), value), "Invalid Basic auth format");
        }
        refused(check_header(one.clone(), "Basic %%%"), "Invalid base64 in Basic auth");
        refused(check_header(one, &encoded(b"a:\xff")), "Invalid UTF-8 in Basic auth");
    }

    #[test]
    fn without_an_authorization_header_it_has_nothing_to_say() {
        let mut cx = request("GET /", &[]);
        let plugin = BasicAuth.build(&core().0);
        assert!(matches!(plugin.authenticate(&mut cx), Flow::Continue));
        assert_eq!((cx.consumer, cx.auth_method), (None, None));
    }

    #[test]
    fn the_config_is_empty() {
        assert!(BasicAuth::parse(&json!({})).is_ok() && BasicAuth::parse(&Value::Null).is_ok());
        assert_eq!(BasicAuth::parse(&json!([])).unwrap_err(), ["basic_auth: config must be an object"]);
        let config = json!({"realm": "shop", "secret": null});
        let expected = ["realm", "secret"].map(|key| format!("basic_auth: '{key}' is not a key of this plugin"));
        assert_eq!(BasicAuth::parse(&config).unwrap_err(), expected);
    }
}
