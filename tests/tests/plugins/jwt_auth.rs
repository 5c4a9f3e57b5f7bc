//! `jwt_auth`. Tokens are made by a library that the gateway does not verify them with.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::{Backend, Document, Gateway};

use crate::{ask, expect_unsaid, unauthorized};

const SECRET: &str = "alice's secret, of thirty-two bytes or more";
const OTHER: &str = "bob's secret, of thirty-two bytes or more too";

fn document(backend: &Backend, config: Value) -> Document {
    let consumer = |name: &str, secret: &str| {
        let credentials = json!({"jwt": [{"secret": "an older secret of thirty-two bytes"}, {"secret": secret}]});
        json!({"id": format!("c-{name}"), "username": name, "custom_id": format!("7-{name}"), "credentials": credentials})
    };
    Document::all_to(backend.port())
        .proxy_plugin("app", "jwt_auth", config)
        .consumer(consumer("alice", SECRET))
        .consumer(consumer("bob", OTHER))
}

fn gateway(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&document(backend, config))
}

/// The second that is so far from now.
fn in_seconds(offset: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + offset
}

fn encoded(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(claims: Value) -> String {
    encoded(Algorithm::HS256, SECRET, &claims)
}

/// Good for an hour, with these claims beside.
fn alive(more: Value) -> String {
    let mut claims = json!({"sub": "alice", "exp": in_seconds(3600)});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    token(claims)
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway, "/", &format!("Authorization: Bearer {token}\r\n")).status
}

#[test]
fn a_signed_token_tells_the_backend_who_asks() {
    let backend = Backend::saying("ok");
    let gateway = gateway(&backend, json!({}));
    for name in ["alice", "c-alice", "7-alice"] {
        assert_eq!(status(&gateway, &alive(json!({"sub": name}))), 200, "{name}");
    }
    let bare = ask(&gateway, "/", &format!("authorization: {}\r\n", alive(json!({}))));
    assert_eq!(bare.status, 200, "the scheme may be left out");
    for request in backend.requests() {
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
        assert_eq!(request.headers.all("x-consumer-custom-id"), ["7-alice"]);
        assert!(request.headers.has("authorization"), "the token goes on unchanged");
    }
    let answer = gateway.curl("/", &["--oauth2-bearer", &alive(json!({}))]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[test]
fn without_a_good_token_nobody_passes() {
    let backend = Backend::saying("should not be reached");
    let gateway = gateway(&backend, json!({}));
    let missing = ask(&gateway, "/", "");
    unauthorized(&missing, "Authentication required");
    assert_eq!(missing.header("www-authenticate"), Some("ferrum-edge"));
    let good = alive(json!({}));
    let claims = json!({"sub": "alice", "exp": in_seconds(3600)});
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    let huge = format!("{}.{}.{}", "A".repeat(7000), "A".repeat(7000), "A".repeat(43));
    for bad in [
        encoded(Algorithm::HS256, OTHER, &claims),
        encoded(Algorithm::HS384, SECRET, &claims),
        encoded(Algorithm::HS512, SECRET, &claims),
        unsigned,
        alive(json!({"sub": "bob"})),
        alive(json!({"sub": "nobody"})),
        alive(json!({"exp": in_seconds(-3600)})),
        good[..good.len() - 1].to_owned(),
        "not.a.token".to_owned(),
        "....................".to_owned(),
        huge,
        String::new(),
    ] {
        unauthorized(&ask(&gateway, "/", &format!("Authorization: Bearer {bad}\r\n")), "Invalid JWT token");
    }
    unauthorized(&ask(&gateway, "/", "Authorization: Basic YTpi\r\n"), "Invalid JWT token");
    for claims in [json!({"sub": 7}), json!({"sub": null}), json!({"sub": ["alice"]})] {
        let line = format!("Authorization: Bearer {}\r\n", alive(claims));
        unauthorized(&ask(&gateway, "/", &line), "JWT missing identity claim");
    }
    backend.expect_untouched();
}

#[test]
fn the_token_may_stand_in_another_header_or_in_the_query() {
    let backend = Backend::naming_targets();
    let in_header = gateway(&backend, json!({"token_lookup": "header:X-Token"}));
    let good = alive(json!({}));
    assert_eq!(ask(&in_header, "/", &format!("x-token: {good}\r\n")).status, 200);
    assert_eq!(status(&in_header, &good), 401);
    let in_query = gateway(&backend, json!({"token_lookup": "query:jwt"}));
    assert_eq!(ask(&in_query, &format!("/p?a=1&jwt={good}"), "").text(), format!("GET /p?a=1&jwt={good}"));
    unauthorized(&ask(&in_query, &format!("/p?JWT={good}"), ""), "Authentication required");
}

#[test]
fn another_claim_may_name_the_consumer() {
    let backend = Backend::saying("ok");
    let gateway = gateway(&backend, json!({"consumer_claim_field": "client_id"}));
    assert_eq!(status(&gateway, &alive(json!({"sub": "bob", "client_id": "alice"}))), 200);
    let line = format!("Authorization: Bearer {}\r\n", alive(json!({})));
    unauthorized(&ask(&gateway, "/", &line), "JWT missing identity claim");
}

#[test]
fn an_expiry_must_be_there_unless_the_config_says_otherwise() {
    let backend = Backend::saying("ok");
    let eternal = token(json!({"sub": "alice"}));
    assert_eq!(status(&gateway(&backend, json!({})), &eternal), 401);
    let lenient = gateway(&backend, json!({"require_exp": false}));
    assert_eq!(status(&lenient, &eternal), 200);
    assert_eq!(status(&lenient, &alive(json!({"exp": in_seconds(-3600)}))), 401);
}

#[test]
fn clocks_may_differ_by_the_leeway() {
    let backend = Backend::saying("ok");
    let expired = |seconds: i64| alive(json!({"exp": in_seconds(-seconds)}));
    let usual = gateway(&backend, json!({}));
    assert_eq!([40, 80].map(|seconds| status(&usual, &expired(seconds))), [200, 401]);
    let narrow = gateway(&backend, json!({"leeway_secs": 0}));
    assert_eq!(status(&narrow, &expired(1)), 401);
    let wide = gateway(&backend, json!({"leeway_secs": 300}));
    assert_eq!([280, 320].map(|seconds| status(&wide, &expired(seconds))), [200, 401]);
}

#[test]
fn a_token_is_good_from_when_it_says_and_may_have_to_say_so() {
    let backend = Backend::saying("ok");
    let (soon, past) = (alive(json!({"nbf": in_seconds(1000)})), alive(json!({"nbf": in_seconds(-1000)})));
    let silent = alive(json!({}));
    let statuses = |config: Value| {
        let gateway = gateway(&backend, config);
        [&soon, &past, &silent].map(|token| status(&gateway, token))
    };
    assert_eq!(statuses(json!({})), [401, 200, 200]);
    assert_eq!(statuses(json!({"require_nbf": false})), [401, 200, 200]);
    assert_eq!(statuses(json!({"require_nbf": true})), [401, 200, 401]);
}

#[test]
fn issuers_may_be_limited() {
    let backend = Backend::saying("ok");
    let tokens = [json!({"iss": "https://a"}), json!({"iss": "https://b"}), json!({})].map(alive);
    let statuses = |config: Value| {
        let gateway = gateway(&backend, config);
        tokens.each_ref().map(|token| status(&gateway, token))
    };
    assert_eq!(statuses(json!({})), [200, 200, 200]);
    assert_eq!(statuses(json!({"expected_issuer": "https://a"})), [200, 401, 401]);
    assert_eq!(statuses(json!({"expected_issuers": ["https://b", "https://c"]})), [401, 200, 401]);
}

#[test]
fn a_token_for_somebody_else_is_not_good_here() {
    let backend = Backend::saying("ok");
    let tokens =
        [json!({"aud": "shop"}), json!({"aud": ["desk", "other"]}), json!({"aud": "other"}), json!({})].map(alive);
    let statuses = |config: Value| {
        let gateway = gateway(&backend, config);
        tokens.each_ref().map(|token| status(&gateway, token))
    };
    assert_eq!(statuses(json!({})), [401, 401, 401, 200]);
    assert_eq!(statuses(json!({"audiences": []})), [200, 200, 200, 200]);
    assert_eq!(statuses(json!({"audiences": ["shop", "desk"]})), [200, 200, 401, 401]);
}

#[test]
fn a_secret_that_is_taken_away_signs_no_more() {
    let backend = Backend::saying("ok");
    let gateway = gateway(&backend, json!({}));
    let old = encoded(
        Algorithm::HS256,
        "an older secret of thirty-two bytes",
        &json!({"sub": "bob", "exp": in_seconds(3600)}),
    );
    assert_eq!(status(&gateway, &old), 200);
    let bob = json!({"id": "c-bob", "username": "bob", "credentials": {"jwt": [{"secret": OTHER}]}});
    let reduced = Document::all_to(backend.port()).proxy_plugin("app", "jwt_auth", json!({})).consumer(bob);
    gateway.reload(&reduced);
    assert_eq!(status(&gateway, &old), 401);
}

#[test]
fn the_record_names_the_caller_and_nothing_names_token_or_secret() {
    let backend = Backend::saying("ok");
    let document = document(&backend, json!({})).global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::builder().document(&document).env("FERRUM_LOG_LEVEL", "trace").start();
    let good = alive(json!({}));
    let bad = format!("{good}A");
    assert_eq!((status(&gateway, &bad), status(&gateway, &good)), (401, 200));
    assert_eq!(ask(&gateway, &format!("/?jwt={good}"), "").status, 401, "it stands where nobody looks");
    let record = gateway.wait_for_record(|record| record["response_status_code"] == 200);
    assert_eq!((&record["consumer_username"], &record["auth_method"]), (&json!("alice"), &json!("jwt_auth")));
    expect_unsaid(&gateway, &[good.rsplit('.').next().unwrap(), SECRET, OTHER]);
}

#[test]
fn a_wrong_config_refuses_the_start() {
    let backend = Backend::saying("");
    let wrong = json!({"leeway_secs": 301, "token_lookup": "cookie:t"});
    let exit = Gateway::builder().document(&document(&backend, wrong)).start_failing();
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("jwt_auth: 'leeway_secs' must be at most 300 (got 301)"), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("jwt_auth: 'token_lookup' must be 'header:<name>' or 'query:<name>'"),
        "{}",
        exit.stderr
    );
}
