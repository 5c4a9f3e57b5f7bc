//! `key_auth`: identifies a consumer by an API key in a header or a query parameter (plugins sheet §2.16).
//!
//! The key goes on to the backend unchanged.

use std::rc::Rc;

use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::credential::Location;
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, RequestContext, Specs};

const DEFAULT_LOCATION: &str = "header:X-API-Key";

#[derive(Clone, Debug, PartialEq)]
pub struct KeyAuth {
    location: Location,
}

/// What a presented key turned out to be.
enum Presented {
    Nothing,
    Blank,
    Key(Option<engine::consumers::ConsumerId>),
}

impl KeyAuth {
    fn look(&self, cx: &RequestContext) -> Presented {
        let judge = |key: &str| match key.trim_ascii().is_empty() {
            true => Presented::Blank,
            false => Presented::Key(cx.facts.consumers.by_api_key(key)),
        };
        self.location.find(cx).map_or(Presented::Nothing, |key| judge(&key))
    }
}

impl BuiltIn for KeyAuth {
    const NAME: &'static str = "key_auth";
    const PRIORITY: u16 = 1200;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] =
        &[key("key_location", "string", "`header:X-API-Key`", "`header:<name>` (any case) or `query:<name>` (exact)")];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let text = keys.text("key_location").unwrap_or(DEFAULT_LOCATION);
        let location = Location::parse(text).unwrap_or_else(|reason| {
            keys.refuse("key_location", reason);
            Location::Header(String::new())
        });
        keys.finish(Self { location })
    }
}

impl Specs for KeyAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, _env: &CoreEnv) -> Rc<dyn Plugin> {
        Rc::new(self.clone())
    }
}

impl Plugin for KeyAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        match self.look(cx) {
            Presented::Nothing => Flow::Continue,
            Presented::Blank => Flow::reject(401, r#"{"error":"Missing API key"}"#),
            Presented::Key(None) => Flow::reject(401, r#"{"error":"Invalid API key"}"#),
            Presented::Key(Some(consumer)) => {
                cx.identify(consumer, Self::NAME);
                Flow::Continue
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ready, request};
    use crate::{AuthMode, Chain, Rejection, Verdict};
    use serde_json::json;

    fn plugin(config: Value) -> Rc<dyn Plugin> {
        Rc::new(KeyAuth::parse(&config).unwrap().spec)
    }

    fn refused(config: Value) -> Vec<String> {
        KeyAuth::parse(&config).unwrap_err()
    }

    fn run(plugins: &[Rc<dyn Plugin>], mode: AuthMode, cx: &mut RequestContext) -> Verdict {
        ready(Chain::new(plugins, mode).authenticate(cx))
    }

    fn check(config: Value, line: &str, headers: &[(&str, &str)]) -> Result<String, Rejection> {
        let mut cx = request(line, headers);
        run(&[plugin(config)], AuthMode::Single, &mut cx).map_err(|rejection| *rejection)?;
        assert_eq!(cx.auth_method, Some("key_auth"));
        Ok(cx.effective_identity().unwrap().to_owned())
    }

    fn body(verdict: Result<String, Rejection>) -> (u16, String) {
        let rejection = verdict.unwrap_err();
        (rejection.status, String::from_utf8(rejection.body).unwrap())
    }

    #[test]
    fn the_default_location_is_the_api_key_header() {
        assert_eq!(check(json!({}), "GET /", &[("x-api-key", "alice-key")]).unwrap(), "alice");
        assert_eq!(check(json!({}), "GET /", &[("X-API-KEY", "bob-key")]).unwrap(), "bob");
    }

    #[test]
    fn the_last_of_repeated_headers_counts() {
        let headers = [("x-api-key", "wrong"), ("x-api-key", "alice-key")];
        assert_eq!(check(json!({}), "GET /", &headers).unwrap(), "alice");
    }

    #[test]
    fn another_header_may_hold_the_key() {
        let config = json!({"key_location": "header:Authorization"});
        assert_eq!(check(config.clone(), "GET /", &[("authorization", "alice-key")]).unwrap(), "alice");
        assert_eq!(body(check(config, "GET /", &[("x-api-key", "alice-key")])).0, 401);
    }

    #[test]
    fn a_query_parameter_may_hold_the_key() {
        let config = json!({"key_location": "query:api_key"});
        assert_eq!(check(config.clone(), "GET /?api_key=alice%2Dkey", &[]).unwrap(), "alice");
        assert_eq!(check(config.clone(), "GET /?api_key=no&api_key=bob-key", &[]).unwrap(), "bob");
        assert_eq!(
            body(check(config.clone(), "GET /?API_KEY=alice-key", &[])).1,
            r#"{"error":"Authentication required"}"#
        );
        assert_eq!(body(check(config, "GET /?api_key", &[])).1, r#"{"error":"Missing API key"}"#);
    }

    #[test]
    fn the_key_is_forwarded_unchanged() {
        let mut cx = request("GET /?api_key=alice-key", &[]);
        run(&[plugin(json!({"key_location": "query:api_key"}))], AuthMode::Single, &mut cx).unwrap();
        assert!(cx.consumed_query.is_empty());
        let mut cx = request("GET /", &[("X-Api-Key", "alice-key")]);
        run(&[plugin(json!({}))], AuthMode::Single, &mut cx).unwrap();
        assert_eq!(cx.head.headers.get("x-api-key"), Some("alice-key"));
    }

    #[test]
    fn missing_blank_and_unknown_keys_are_told_apart() {
        let absent = check(json!({}), "GET /", &[]).unwrap_err();
        assert_eq!((absent.status, &absent.body[..]), (401, &br#"{"error":"Authentication required"}"#[..]));
        assert_eq!(absent.headers, [("www-authenticate".to_owned(), "ferrum-edge".to_owned())]);
        for blank in ["", "  "] {
            let rejection = check(json!({}), "GET /", &[("x-api-key", blank)]);
            assert_eq!(body(rejection), (401, r#"{"error":"Missing API key"}"#.to_owned()));
        }
        let unknown = check(json!({}), "GET /", &[("x-api-key", "ALICE-KEY")]).unwrap_err();
        assert_eq!((unknown.status, &unknown.body[..]), (401, &br#"{"error":"Invalid API key"}"#[..]));
        assert!(unknown.headers.is_empty());
    }

    #[test]
    fn in_single_mode_a_wrong_key_for_either_plugin_rejects() {
        let both = [plugin(json!({})), plugin(json!({"key_location": "header:X-Other"}))];
        let mut cx = request("GET /", &[("x-api-key", "alice-key"), ("x-other", "wrong")]);
        assert_eq!(run(&both, AuthMode::Single, &mut cx).unwrap_err().status, 401);
        let mut cx = request("GET /", &[("x-api-key", "alice-key"), ("x-other", "bob-key")]);
        run(&both, AuthMode::Single, &mut cx).unwrap();
        assert_eq!(cx.effective_identity(), Some("alice"), "the first consumer found stays");
    }

    #[test]
    fn in_multi_mode_the_first_identity_ends_the_search() {
        let both = [plugin(json!({})), plugin(json!({"key_location": "header:X-Other"}))];
        let mut cx = request("GET /", &[("x-api-key", "alice-key"), ("x-other", "wrong")]);
        run(&both, AuthMode::Multi, &mut cx).unwrap();
        let mut cx = request("GET /", &[("x-api-key", "wrong"), ("x-other", "bob-key")]);
        run(&both, AuthMode::Multi, &mut cx).unwrap();
        assert_eq!(cx.effective_identity(), Some("bob"));
    }

    #[test]
    fn in_multi_mode_the_last_rejection_is_the_answer() {
        let both = [plugin(json!({})), plugin(json!({"key_location": "header:X-Other"}))];
        let mut cx = request("GET /", &[("x-api-key", "wrong"), ("x-other", " ")]);
        assert_eq!(run(&both, AuthMode::Multi, &mut cx).unwrap_err().body, br#"{"error":"Missing API key"}"#);
        let mut cx = request("GET /", &[("x-api-key", "wrong")]);
        assert_eq!(run(&both, AuthMode::Multi, &mut cx).unwrap_err().body, br#"{"error":"Invalid API key"}"#);
        let mut cx = request("GET /", &[]);
        assert_eq!(run(&both, AuthMode::Multi, &mut cx).unwrap_err().body, br#"{"error":"Authentication required"}"#);
    }

    #[test]
    fn wrong_configs_are_refused_with_key_and_reason() {
        assert_eq!(refused(Value::Null), ["key_auth: config must be an object"]);
        assert_eq!(refused(json!([])), ["key_auth: config must be an object"]);
        assert_eq!(refused(json!({"key_location": 5})), ["key_auth: 'key_location' must be a string"]);
        assert_eq!(refused(json!({"key_location": null})), ["key_auth: 'key_location' must be a string"]);
        for wrong in ["X-API-Key", "cookie:k", "Header:k", "", "header:", "query:", "header:a b", "header: k"] {
            let errors = refused(json!({"key_location": wrong}));
            assert!(errors[0].starts_with("key_auth: 'key_location' "), "{wrong}: {errors:?}");
        }
    }

    #[test]
    fn key_names_of_old_examples_is_ignored_with_a_warning() {
        let parsed = KeyAuth::parse(&json!({"key_names": ["apikey"]})).unwrap();
        assert_eq!(parsed.spec.location, Location::Header("X-API-Key".into()));
        assert_eq!(parsed.warnings, ["key_auth: unknown key 'key_names' is ignored"]);
    }
}
