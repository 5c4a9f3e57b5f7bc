use super::*;
use crate::testing::{consumer, facts_with, ready, request};
use crate::{AuthMode, Chain, Rejection};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

const SECRET: &str = "alice's secret of thirty-two bytes";
const ROTATED: &str = "alice's other secret, also as long";
const NOW: f64 = 1_800_000_000.0;

fn consumers() -> [engine::consumers::Consumer; 3] {
    let mut alice = consumer("alice", json!({"jwt": [{"secret": SECRET}, {"secret": ROTATED}]}));
    alice.custom_id = Some("customer-7".to_owned());
    let bob = consumer("bob", json!({"jwt": [{"secret": "bob's secret, which is long enough too"}]}));
    [alice, bob, consumer("carol", json!({}))]
}

fn signed(secret: &str, header: &str, payload: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn token(claims: Value) -> String {
    signed(SECRET, r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

/// Far from now in either direction.
fn lasting(identity: &str) -> Value {
    json!({"sub": identity, "exp": 4_102_444_800u64})
}

fn spec(config: Value) -> JwtAuth {
    JwtAuth::parse(&config).unwrap().spec
}

fn judge(config: Value, token: &str) -> Result<String, Refused> {
    let consumers = ConsumerIndex::new(consumers());
    spec(config).judge(token, &consumers, NOW).map(|good| consumers.get(good.consumer).username.clone())
}

fn check(config: Value, line: &str, headers: &[(&str, &str)]) -> Result<String, Rejection> {
    let mut cx = request(line, headers);
    cx.facts = facts_with(consumers(), &[]);
    let plugin: Rc<dyn Plugin> = Rc::new(Verifier::new(spec(config)));
    ready(Chain::new(&[plugin], AuthMode::Single).authenticate(&mut cx)).map_err(|rejection| *rejection)?;
    assert_eq!(cx.auth_method, Some("jwt_auth"));
    Ok(cx.effective_identity().unwrap().to_owned())
}

#[track_caller]
fn refused(verdict: Result<String, Rejection>, error: &str) {
    let rejection = verdict.unwrap_err();
    let text = String::from_utf8(rejection.body).unwrap();
    assert_eq!((rejection.status, text), (401, format!(r#"{{"error":"{error}"}}"#)));
}

#[test]
fn a_token_that_openssl_has_signed_is_good() {
    // {"alg":"HS256","typ":"JWT"}, {"sub":"alice","exp":4102444800}, openssl dgst -sha256 -hmac "$SECRET" -binary
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.\
                 K5JAwKPWSdAQ59E5m9y3SsgQ4FiWAoQ-dIVuUfTO_j4";
    assert_eq!(judge(json!({}), token).unwrap(), "alice");
}

#[test]
fn the_scheme_may_be_there_in_any_case_or_not() {
    let token = token(lasting("alice"));
    for value in [format!("Bearer {token}"), format!("bEARER \t {token}"), token.clone()] {
        assert_eq!(check(json!({}), "GET /", &[("authorization", &value)]).unwrap(), "alice", "{value}");
    }
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", &format!("Token {token}"), &format!("Bearer{token}")] {
        refused(check(json!({}), "GET /", &[("authorization", value)]), "Invalid JWT token");
    }
}

#[test]
fn without_a_token_it_has_nothing_to_say() {
    refused(check(json!({}), "GET /?token=x", &[("x-token", "x")]), "Authentication required");
}

#[test]
fn the_token_may_stand_elsewhere() {
    let token = token(lasting("alice"));
    let header = json!({"token_lookup": "header:X-Token"});
    assert_eq!(check(header.clone(), "GET /", &[("x-token", &token)]).unwrap(), "alice");
    refused(check(header, "GET /", &[("authorization", &token)]), "Authentication required");
    let query = json!({"token_lookup": "query:access_token"});
    assert_eq!(check(query.clone(), &format!("GET /?access_token={token}"), &[]).unwrap(), "alice");
    refused(check(query.clone(), &format!("GET /?access_token=Bearer%20{token}"), &[]), "Invalid JWT token");
    refused(check(query, "GET /?access_token", &[]), "Invalid JWT token");
}

#[test]
fn a_consumer_is_found_by_username_id_or_custom_id_and_any_of_its_secrets() {
    for name in ["alice", "id-alice", "customer-7"] {
        assert_eq!(judge(json!({}), &token(lasting(name))).unwrap(), "alice");
    }
    let rotated = signed(ROTATED, r#"{"alg":"HS256"}"#, &lasting("alice").to_string());
    assert_eq!(judge(json!({}), &rotated).unwrap(), "alice");
}

#[test]
fn nobody_signs_for_another() {
    for name in ["bob", "carol", "nobody", "Alice", ""] {
        assert_eq!(judge(json!({}), &token(lasting(name))), Err(Refused::Invalid), "{name}");
    }
}

#[test]
fn another_claim_may_name_the_consumer() {
    let config = json!({"consumer_claim_field": "client_id"});
    let claims = json!({"client_id": "alice", "sub": "bob", "exp": 4_102_444_800u64});
    assert_eq!(judge(config.clone(), &token(claims)).unwrap(), "alice");
    assert_eq!(judge(config, &token(lasting("alice"))), Err(Refused::NoIdentity));
    let nested = json!({"consumer_claim_field": "a.b"});
    let claims = json!({"a": {"b": "bob"}, "a.b": "alice", "exp": 4_102_444_800u64});
    assert_eq!(judge(nested, &token(claims)).unwrap(), "alice", "a dot is part of the name");
    let issuer = json!({"consumer_claim_field": "iss", "expected_issuer": "alice"});
    assert_eq!(judge(issuer, &token(json!({"iss": "alice", "exp": 4_102_444_800u64}))).unwrap(), "alice");
}

#[test]
fn an_identity_that_is_no_text_is_missing() {
    for claims in [json!({}), json!({"sub": 7}), json!({"sub": null}), json!({"sub": ["alice"]}), json!({"sub": {}})] {
        assert_eq!(judge(json!({}), &token(claims.clone())), Err(Refused::NoIdentity), "{claims}");
    }
}

#[test]
fn only_hs256_is_an_algorithm() {
    let payload = lasting("alice").to_string();
    let headers = [
        r#"{"alg":"none"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256"}x"#,
        "[]",
        "",
        "HS256",
    ];
    for header in headers {
        assert_eq!(judge(json!({}), &signed(SECRET, header, &payload)), Err(Refused::Invalid), "{header}");
    }
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(&payload));
    assert_eq!(judge(json!({}), &unsigned), Err(Refused::Invalid));
    for header in [r#"{"typ":"JWT","alg":"HS256","kid":"1"}"#, r#"{"\u0061lg":"HS\u003256"}"#] {
        assert_eq!(judge(json!({}), &signed(SECRET, header, &payload)).unwrap(), "alice", "{header}");
    }
}

#[test]
fn what_was_changed_or_cut_is_invalid() {
    let good = token(lasting("alice"));
    let (signed_part, tag) = good.rsplit_once('.').unwrap();
    let other = token(json!({"sub": "alice", "exp": 4_102_444_801u64}));
    let other_payload = other.split('.').nth(1).unwrap();
    let header = good.split('.').next().unwrap();
    for bad in [
        format!("{signed_part}."),
        format!("{signed_part}.{}", &tag[..42]),
        format!("{signed_part}.{tag}A"),
        format!("{signed_part}.{tag}="),
        format!("{signed_part}.{}", "A".repeat(43)),
        format!("{header}.{other_payload}.{tag}"),
        format!("{good}.{tag}"),
        format!(".{good}"),
        signed_part.to_owned(),
        good.replace('.', ""),
        "..".to_owned(),
        "a.b.c".to_owned(),
        good.replacen('.', "=.", 1),
    ] {
        assert_eq!(judge(json!({}), &bad), Err(Refused::Invalid), "{bad}");
    }
}

#[test]
fn a_payload_that_is_no_object_of_single_claims_is_invalid() {
    let header = r#"{"alg":"HS256"}"#;
    for payload in [
        "",
        "{",
        "null",
        r#"["sub","alice"]"#,
        r#"{"sub":"alice","exp":4102444800} "x""#,
        r#"{"sub":"bob","sub":"alice","exp":4102444800}"#,
        r#"{"sub":"alice","exp":1,"exp":4102444800}"#,
        "{\"sub\":\"\u{0}\",\"exp\":4102444800}",
    ] {
        assert_eq!(judge(json!({}), &signed(SECRET, header, payload)), Err(Refused::Invalid), "{payload}");
    }
    let twice_ignored = r#"{"x":1,"x":{"sub":"bob"},"sub":"\u0061lice","exp":4102444800}"#;
    assert_eq!(judge(json!({}), &signed(SECRET, header, twice_ignored)).unwrap(), "alice");
}

#[test]
fn deep_and_long_payloads_cost_no_more_than_their_length() {
    let deep = format!(r#"{{"x":{}{},"sub":"alice","exp":4102444800}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let aud = format!(r#"{{"aud":{}{},"sub":"alice","exp":4102444800}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let header = r#"{"alg":"HS256"}"#;
    assert_eq!(judge(json!({}), &signed(SECRET, header, &deep)).unwrap(), "alice", "ignored values nest freely");
    assert_eq!(judge(json!({"audiences": []}), &signed(SECRET, header, &aud)).unwrap(), "alice");
    assert_eq!(judge(json!({"audiences": ["shop"]}), &signed(SECRET, header, &aud)), Err(Refused::Invalid));
    let members = |count: usize| format!(r#"{{{}"sub":"alice","exp":4102444800}}"#, r#""k":"v","#.repeat(count));
    assert_eq!(judge(json!({}), &signed(SECRET, header, &members(1_400))).unwrap(), "alice");
    let long = signed(SECRET, header, &members(1_600));
    assert!(long.len() > jws::TOKEN_BYTES_MAX);
    assert_eq!(judge(json!({}), &long), Err(Refused::Invalid));
    assert_eq!(judge(json!({}), &".".repeat(100_000)), Err(Refused::Invalid));
}

#[test]
fn a_token_is_good_until_its_expiry_and_the_leeway() {
    let at = |config: Value, exp: Value| judge(config, &token(json!({"sub": "alice", "exp": exp}))).is_ok();
    assert!(at(json!({}), json!(NOW - 59.0)) && !at(json!({}), json!(NOW - 60.0)));
    let exact = json!({"leeway_secs": 0});
    assert!(at(exact.clone(), json!(NOW + 0.5)) && !at(exact, json!(NOW)));
    let wide = json!({"leeway_secs": 300});
    assert!(at(wide.clone(), json!(NOW - 299.0)) && !at(wide, json!(NOW - 300.0)));
    for wrong in [json!("4102444800"), json!(null), json!([4_102_444_800u64]), json!(-1), json!(true)] {
        assert!(!at(json!({}), wrong.clone()), "{wrong}");
        assert!(!at(json!({"require_exp": false}), wrong), "a wrong one is not a missing one");
    }
}

#[test]
fn a_token_without_expiry_is_good_only_if_none_is_required() {
    let eternal = token(json!({"sub": "alice"}));
    assert_eq!(judge(json!({}), &eternal), Err(Refused::Invalid));
    assert_eq!(judge(json!({"require_exp": false}), &eternal).unwrap(), "alice");
    let expired = token(json!({"sub": "alice", "exp": NOW - 61.0}));
    assert_eq!(judge(json!({"require_exp": false}), &expired), Err(Refused::Invalid));
}

#[test]
fn a_token_that_is_not_good_yet_is_refused_and_one_may_have_to_say_since_when_it_is() {
    let with = |nbf: Value| token(json!({"sub": "alice", "exp": 4_102_444_800u64, "nbf": nbf}));
    let without = token(lasting("alice"));
    let good = |config: &Value, token: &str| judge(config.clone(), token).is_ok();
    let (silent, checked, required) = (json!({}), json!({"require_nbf": false}), json!({"require_nbf": true}));
    for config in [&silent, &checked, &required] {
        assert!(good(config, &with(json!(NOW + 60.0))) && !good(config, &with(json!(NOW + 61.0))));
        assert!(!good(config, &with(json!("x"))));
    }
    assert!(good(&silent, &without) && good(&checked, &without) && !good(&required, &without));
}

#[test]
fn the_issuer_may_have_to_be_one_of_some() {
    let by = |iss: Value| token(json!({"sub": "alice", "exp": 4_102_444_800u64, "iss": iss}));
    for config in [json!({"expected_issuer": "https://id"}), json!({"expected_issuers": ["https://x", "https://id"]})] {
        assert!(judge(config.clone(), &by(json!("https://id"))).is_ok());
        for wrong in [json!("https://other"), json!("https://id/"), json!(["https://id"]), json!(null)] {
            assert_eq!(judge(config.clone(), &by(wrong)), Err(Refused::Invalid));
        }
        assert_eq!(judge(config, &token(lasting("alice"))), Err(Refused::Invalid));
    }
    assert!(judge(json!({}), &by(json!("anybody"))).is_ok());
}

#[test]
fn an_audience_is_refused_ignored_or_one_of_some() {
    let to = |aud: Value| token(json!({"sub": "alice", "exp": 4_102_444_800u64, "aud": aud}));
    let good = |config: &Value, token: &str| judge(config.clone(), token).is_ok();
    let (silent, any, some) = (json!({}), json!({"audiences": []}), json!({"audiences": ["shop", "desk"]}));
    for aud in [json!("shop"), json!(["x", "desk"]), json!(null), json!([])] {
        assert!(!good(&silent, &to(aud.clone())) && good(&any, &to(aud)));
    }
    assert!(good(&some, &to(json!("shop"))) && good(&some, &to(json!(["x", "desk"]))));
    assert!(good(&some, &to(json!(["shop", 7]))), "of a list its strings count");
    for wrong in [json!("Shop"), json!(["x"]), json!([]), json!(null), json!([["shop"]]), json!({"shop": "shop"})] {
        assert!(!good(&some, &to(wrong.clone())), "{wrong}");
    }
    let without = token(lasting("alice"));
    assert!(good(&silent, &without) && good(&any, &without) && !good(&some, &without));
}

#[test]
fn wrong_configs_are_refused_with_key_and_reason() {
    let errors = |config: Value| JwtAuth::parse(&config).unwrap_err();
    assert_eq!(errors(Value::Null), ["jwt_auth: config must be an object"]);
    for (config, error) in [
        (json!({"token_lookup": 1}), "'token_lookup' must be a string"),
        (
            json!({"token_lookup": "cookie:t"}),
            "'token_lookup' must be 'header:<name>' or 'query:<name>' (got 'cookie:t')",
        ),
        (json!({"token_lookup": "header:"}), "'token_lookup' needs a header name after 'header:' (got 'header:')"),
        (json!({"consumer_claim_field": ""}), "'consumer_claim_field' must not be empty"),
        (json!({"consumer_claim_field": null}), "'consumer_claim_field' must be a string"),
        (json!({"require_exp": "yes"}), "'require_exp' must be a boolean"),
        (json!({"require_nbf": null}), "'require_nbf' must be a boolean"),
        (json!({"expected_issuer": " "}), "'expected_issuer' must not be empty"),
        (json!({"expected_issuers": []}), "'expected_issuers' must hold at least one issuer and no empty one"),
        (json!({"expected_issuers": ["a", ""]}), "'expected_issuers' must hold at least one issuer and no empty one"),
        (
            json!({"expected_issuer": "a", "expected_issuers": ["b"]}),
            "'expected_issuer' and 'expected_issuers' exclude each other",
        ),
        (json!({"audiences": "a"}), "'audiences' must be an array of strings"),
        (json!({"audiences": ["a", ""]}), "'audiences' must not hold an empty string"),
        (json!({"leeway_secs": 301}), "'leeway_secs' must be at most 300 (got 301)"),
        (json!({"leeway_secs": -1}), "'leeway_secs' must be an unsigned integer"),
    ] {
        assert_eq!(errors(config.clone()), [format!("jwt_auth: {error}")], "{config}");
    }
    assert!(JwtAuth::parse(&json!({"leeway_secs": 300})).is_ok());
}

proptest! {
    #[test]
    fn nothing_that_was_not_signed_identifies_anybody(
        text in "[A-Za-z0-9_.=-]{0,200}|.{0,80}",
        header in r#"\{("alg":"(HS256|none)",?)?"typ":".{0,8}"\}|.{0,40}"#,
        payload in r#"\{"sub":("alice"|[0-9]{1,3}),"exp":[0-9]{1,12}(,".{0,8}":(".{0,8}"|\[|\]))?\}|.{0,60}"#,
    ) {
        let config = json!({"require_exp": false});
        prop_assert!(judge(config.clone(), &text).is_err(), "{}", text);
        let unsigned = signed("not alice's secret", &header, &payload);
        prop_assert!(judge(config, &unsigned).is_err(), "{}", unsigned);
    }

    #[test]
    fn one_changed_byte_makes_a_token_invalid(place in 0usize..200, byte in 0x21u8..0x7f) {
        let good = token(lasting("alice"));
        let mut bytes = good.clone().into_bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        let verdict = judge(json!({}), &changed);
        prop_assert_eq!(verdict.is_ok(), changed == good);
    }
}

#[test]
fn a_token_that_was_good_is_so_until_its_time_is_over_or_its_consumer_has_other_secrets() {
    let verifier = Verifier::new(spec(json!({"leeway_secs": 0})));
    let facts = facts_with(consumers(), &[]);
    let token = token(json!({"sub": "alice", "nbf": NOW, "exp": NOW + 10.0}));
    let judged = |token: &str, facts, now| verifier.judge(token, facts, now).map(|id| id.place());
    for now in [NOW, NOW + 9.0] {
        assert_eq!(judged(&token, &facts, now), Ok(0));
    }
    for now in [NOW - 1.0, NOW + 10.0] {
        assert_eq!(judged(&token, &facts, now), Err(Refused::Invalid));
    }
    let (header, _) = token.split_once('.').unwrap();
    let nobody = facts_with([], &[]);
    let forged = token.replacen(header, &URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), 1);
    assert_eq!(judged(&forged, &facts, NOW), Err(Refused::Invalid), "the same signature under another text");
    let withdrawn = facts_with([consumer("alice", json!({"jwt": [{"secret": ROTATED}]}))], &[]);
    assert_eq!(judged(&token, &withdrawn, NOW), Err(Refused::Invalid));
    assert_eq!(judged(&token, &nobody, NOW), Err(Refused::Invalid));
    assert_eq!(judged(&token, &facts, NOW), Ok(0), "and again with the first");
}
