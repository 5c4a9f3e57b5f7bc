use super::*;
use crate::Rejection;
use crate::testing::{consumer, facts_with, request};
use base64::Engine;
use serde_json::json;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

/// Fri, 15 Jan 2027 08:00:00 GMT.
const NOW: i64 = 1_800_000_000;
const DATE: &str = "Fri, 15 Jan 2027 08:00:00 GMT";
const SECRET: &str = "alice signs with this";
const ROTATED: &str = "and with this";

fn digest_of(body: &[u8]) -> String {
    format!("sha-256={}", STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body)))
}

fn sign(algorithm: hmac::Algorithm, secret: &str, text: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), text.as_bytes()))
}

/// A request that is signed well, until a test changes it.
#[derive(Clone)]
struct Signed {
    line: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

impl Signed {
    fn post(body: &[u8]) -> Self {
        let digest = digest_of(body);
        let text = format!("POST\n/orders/7\npage=2\n{DATE}\n{digest}");
        let signature = sign(hmac::HMAC_SHA256, SECRET, &text);
        let authorization = format!(r#"hmac username="alice", algorithm="hmac-sha256", signature="{signature}""#);
        Self {
            line: "POST /orders/7?page=2",
            headers: vec![("Authorization", authorization), ("Date", DATE.to_owned()), ("Digest", digest)],
            body: Some(body.to_vec()),
        }
    }

    fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self
    }

    /// With a new signature over these parts.
    fn signed_over(self, secret: &str, text: &str) -> Self {
        let signature = sign(hmac::HMAC_SHA256, secret, text);
        self.set("Authorization", format!("hmac username=alice, signature={signature}"))
    }

    fn context(&self) -> RequestContext {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut cx = request(self.line, &headers);
        let alice = consumer("alice", json!({"hmac_auth": [{"secret": SECRET}, {"secret": ROTATED}]}));
        let keyless = consumer("keyless", json!({"hmac_auth": [{"secret": ""}]}));
        cx.facts = facts_with([alice, keyless], &[]);
        cx.body.clone_from(&self.body);
        cx
    }

    fn judged_at(&self, config: Value, now: i64) -> Result<Option<String>, &'static str> {
        let cx = self.context();
        let plugin = HmacAuth::parse(&config).unwrap().spec;
        let name = |id| cx.facts.consumers.get(id).username.clone();
        plugin.judge(&cx, now).map(|consumer| consumer.map(name))
    }

    fn judged(&self) -> Result<Option<String>, &'static str> {
        self.judged_at(json!({}), NOW)
    }

    #[track_caller]
    fn passes(&self) {
        assert_eq!(self.judged().unwrap().as_deref(), Some("alice"));
    }

    #[track_caller]
    fn fails(&self, error: &str) {
        assert_eq!(self.judged().unwrap_err(), format!(r#"{{"error":"{error}"}}"#));
    }
}

fn good() -> Signed {
    Signed::post(b"{\"n\":1}")
}

#[test]
fn a_signed_request_identifies_its_signer() {
    good().passes();
    Signed::post(b"").passes();
    let bodyless = Signed { body: None, ..Signed::post(b"") };
    bodyless.passes();
}

#[test]
fn the_signature_that_openssl_makes_is_good() {
    // printf 'GET\n/\n\n%s\nsha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "$DATE" |
    //   openssl dgst -sha512 -hmac "$SECRET" -binary | base64
    let signature = "8ZCrooKkWN24IGz0mvwG1F5gMoVIARZvoKVLbkwoeOd3wdBdkOys6NpS3ggjyT1qngSmPW4v686gL/rk9Dxbzw==";
    let request = Signed { line: "GET /", body: None, headers: Vec::new() }
        .set("Date", DATE)
        .set("Digest", "sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
        .set("Authorization", format!("HMAC username=alice,algorithm=HMAC-SHA512,signature={signature}"));
    request.passes();
}

#[test]
fn without_an_authorization_it_has_nothing_to_say() {
    assert_eq!(good().without("Authorization").judged(), Ok(None));
}

#[test]
fn each_thing_that_is_missing_has_its_answer_in_this_order() {
    let bare = |authorization: &str| {
        Signed { line: "GET /", headers: Vec::new(), body: None }.set("Authorization", authorization)
    };
    for other in ["Basic YTpi", "hmac", "Bearer x", "", "hmac256 username=alice"] {
        bare(other).fails("Invalid HMAC authorization format");
    }
    bare("hmac algorithm=md5").fails("Missing username in HMAC authorization");
    bare("hmac username=alice, algorithm=hmac-sha1").fails("Unsupported HMAC algorithm");
    bare("hmac username=alice, algorithm=hmac-sha256").fails("Missing signature in HMAC authorization");
    let complete = bare("hmac username=nobody, signature=%%%");
    complete.fails("Missing required Digest header");
    let dated = complete.set("Digest", "sha-256=AAAA");
    dated.fails("Missing or expired Date header");
    let dated = dated.set("Date", DATE);
    dated.fails("Digest header does not match request body");
    let digested = dated.set("Digest", digest_of(b""));
    digested.fails("Invalid credentials");
    digested.clone().set("Authorization", "hmac username=keyless, signature=%%%").fails("Invalid credentials");
    digested.set("Authorization", "hmac username=alice, signature=%%%").fails("Invalid signature");
}

#[test]
fn whatever_is_signed_cannot_be_changed() {
    let get = Signed { line: "GET /orders/7?page=2", ..good() };
    get.fails("Invalid signature");
    Signed { line: "POST /orders/8?page=2", ..good() }.fails("Invalid signature");
    Signed { line: "POST /orders/7/?page=2", ..good() }.fails("Invalid signature");
    good().set("Date", "Fri, 15 Jan 2027 08:00:01 GMT").fails("Invalid signature");
    good().set("Digest", format!("{},", digest_of(b"{\"n\":1}"))).fails("Invalid signature");
    Signed { body: Some(b"{\"n\":2}".to_vec()), ..good() }.fails("Digest header does not match request body");
    Signed { body: None, ..good() }.fails("Digest header does not match request body");
}

#[test]
fn the_query_is_signed_as_it_is_sent() {
    for line in [
        "POST /orders/7",
        "POST /orders/7?",
        "POST /orders/7?page=3",
        "POST /orders/7?page=%32",
        "POST /orders/7?page=2&",
    ] {
        Signed { line, ..good() }.fails("Invalid signature");
    }
}

#[test]
fn without_a_query_its_line_is_empty_and_never_left_out() {
    let digest = digest_of(b"{\"n\":1}");
    let (with, without) =
        (format!("POST\n/orders/7\n\n{DATE}\n{digest}"), format!("POST\n/orders/7\n{DATE}\n{digest}"));
    for line in ["POST /orders/7", "POST /orders/7?"] {
        for secret in [SECRET, ROTATED] {
            Signed { line, ..good() }.signed_over(secret, &with).passes();
            Signed { line, ..good() }.signed_over(secret, &without).fails("Invalid signature");
        }
        Signed { line, ..good() }
            .signed_over(SECRET, &format!("POST\n/orders/7\n\n\n{DATE}\n{digest}"))
            .fails("Invalid signature");
    }
    good().signed_over(SECRET, &with).fails("Invalid signature");
    good().signed_over(SECRET, &without).fails("Invalid signature");
}

#[test]
fn either_secret_and_any_name_of_the_consumer_will_do() {
    let text = format!("POST\n/orders/7\npage=2\n{DATE}\n{}", digest_of(b"{\"n\":1}"));
    good().signed_over(ROTATED, &text).passes();
    good().signed_over("a third", &text).fails("Invalid signature");
    let signature = sign(hmac::HMAC_SHA256, SECRET, &text);
    good().set("Authorization", format!("hmac username=id-alice, signature={signature}")).passes();
    good().set("Authorization", format!("hmac username=Alice, signature={signature}")).fails("Invalid credentials");
}

#[test]
fn the_algorithm_of_the_signature_is_the_one_that_is_named() {
    let text = format!("POST\n/orders/7\npage=2\n{DATE}\n{}", digest_of(b"{\"n\":1}"));
    let longer = sign(hmac::HMAC_SHA512, SECRET, &text);
    let named = |algorithm: &str| {
        good().set("Authorization", format!("hmac username=alice, algorithm={algorithm}, signature={longer}"))
    };
    named("hmac-sha512").passes();
    named("HMAC-SHA512").passes();
    named("hmac-sha256").fails("Invalid signature");
    named("sha512").fails("Unsupported HMAC algorithm");
}

#[test]
fn a_signature_is_padded_base64_of_the_whole_tag() {
    let text = format!("POST\n/orders/7\npage=2\n{DATE}\n{}", digest_of(b"{\"n\":1}"));
    let signature = sign(hmac::HMAC_SHA256, SECRET, &text);
    for bad in [&signature[..43], &signature[..40], &format!("{signature}AAAA"), &"A".repeat(5000), "="] {
        let request = good().set("Authorization", format!(r#"hmac username="alice", signature="{bad}""#));
        request.fails("Invalid signature");
    }
}

#[test]
fn content_digest_goes_before_digest_and_is_what_is_signed() {
    let structured = format!("sha-256=:{}:", &digest_of(b"{\"n\":1}")[8..]);
    let request = good().set("Content-Digest", structured.clone()).set("Digest", "sha-256=AAAA");
    request.fails("Invalid signature");
    request.signed_over(SECRET, &format!("POST\n/orders/7\npage=2\n{DATE}\n{structured}")).passes();
    good().set("Content-Digest", "sha-256=:AAAA:").fails("Digest header does not match request body");
}

#[test]
fn a_date_is_good_within_the_skew_in_either_direction() {
    let at = |config: Value, now: i64| good().judged_at(config, now).is_ok();
    assert!(at(json!({}), NOW + 300) && at(json!({}), NOW - 300));
    assert!(!at(json!({}), NOW + 301) && !at(json!({}), NOW - 301));
    let narrow = json!({"clock_skew_seconds": 5});
    assert!(at(narrow.clone(), NOW + 5) && at(narrow.clone(), NOW - 5));
    assert!(!at(narrow.clone(), NOW + 6) && !at(narrow, NOW - 6));
    let none = json!({"clock_skew_seconds": 0});
    assert!(at(none.clone(), NOW) && !at(none, NOW + 1));
    assert!(at(json!({"clock_skew_seconds": u64::MAX}), i64::MAX), "no sum overflows");
}

#[test]
fn a_date_may_be_written_in_the_usual_ways() {
    for date in [
        DATE,
        "Friday, 15-Jan-27 08:00:00 GMT",
        "Fri, 15 Jan 2027 09:00:00 +0100",
        "15 Jan 2027 08:00:00 +0000",
        "2027-01-15T08:00:00Z",
        "2027-01-15T09:00:00.5+01:00",
    ] {
        assert_eq!(unix_seconds(date), Some(NOW), "{date}");
    }
    for date in [
        "",
        "now",
        "1800000000",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "Fri, 15 Jan 2027 08:00:00",
        "Wed, 31 Dec 1969 23:59:59 GMT x",
    ] {
        assert_eq!(unix_seconds(date), None, "{date}");
    }
}

#[test]
fn a_long_body_is_judged_alike_and_lets_others_run_meanwhile() {
    let today = httpdate::fmt_http_date(SystemTime::now());
    let plugin = HmacAuth::parse(&json!({})).unwrap().spec;
    let judged = |length: usize, is_good: bool| -> (usize, Result<(), Rejection>) {
        let body = vec![b'x'; length];
        let digest = digest_of(if is_good { &body } else { b"x" });
        let text = format!("POST\n/orders/7\npage=2\n{today}\n{digest}");
        let signed = Signed::post(&body).set("Digest", digest).set("Date", today.clone()).signed_over(SECRET, &text);
        let mut cx = signed.context();
        let (turns, flow) = match plugin.authenticate(&mut cx) {
            Flow::Wait(mut future) => {
                let mut turns = 0;
                loop {
                    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(flow) => break (turns, flow),
                        Poll::Pending => turns += 1,
                    }
                }
            }
            Flow::Continue => (0, Flow::Continue),
            Flow::Reject(rejection) => (0, Flow::Reject(rejection)),
        };
        let verdict = match flow {
            Flow::Continue => Ok(()),
            Flow::Reject(rejection) => Err(*rejection),
            Flow::Wait(_) => panic!("it has waited already"),
        };
        assert_eq!(cx.consumer.is_some(), verdict.is_ok());
        (turns, verdict)
    };
    assert_eq!(judged(digest::PIECE_BYTES, true), (0, Ok(())));
    assert_eq!(judged(digest::PIECE_BYTES + 1, true), (2, Ok(())));
    let (turns, verdict) = judged(3 * digest::PIECE_BYTES, false);
    assert_eq!((turns, verdict.unwrap_err().status), (3, 401));
}

#[test]
fn the_body_is_wanted_before_anything_is_judged() {
    let plugin = HmacAuth::parse(&json!({})).unwrap().spec;
    assert_eq!(plugin.request_buffering(), Buffering::BeforeAuthenticate);
    assert!(plugin.wants_request_body(&mut good().context()));
}

#[test]
fn wrong_configs_are_refused_with_key_and_reason() {
    let errors = |config: Value| HmacAuth::parse(&config).unwrap_err();
    assert_eq!(errors(Value::Null), ["hmac_auth: config must be an object"]);
    for wrong in [json!(null), json!(-1), json!(1.5), json!("300")] {
        let error = "hmac_auth: 'clock_skew_seconds' must be an unsigned integer";
        assert_eq!(errors(json!({"clock_skew_seconds": wrong})), [error]);
    }
    let removed = "hmac_auth: 'require_digest' was removed: the digest is always required";
    for value in [json!(true), json!(false), json!(null)] {
        assert_eq!(errors(json!({"require_digest": value})), [removed]);
    }
    let parsed = HmacAuth::parse(&json!({"realm": "x"})).unwrap();
    assert_eq!(parsed.warnings, ["hmac_auth: unknown key 'realm' is ignored"]);
}
