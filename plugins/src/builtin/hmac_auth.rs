//! `hmac_auth`: identifies a consumer by a request that is signed with one of its secrets (plugins sheet §2.19).
//!
//! The signature covers method, path, query, `Date` and the digest header; the digest covers the body, which is why every body is
//! made whole first. Nothing is remembered: a request that was overheard can be repeated while its date is good.

mod authorization;
mod digest;

use std::rc::Rc;
use std::time::UNIX_EPOCH;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::engine::general_purpose::STANDARD;
use engine::consumers::{ConsumerId, Secret};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::credential::{decoded, under_scheme, unix_now};
use crate::{Buffering, CoreEnv, Flow, Phases, Plugin, Protocols, RequestContext, Specs};
use authorization::Parameters;
use digest::{Algorithm, BodyHash, DigestHeader};

const CLOCK_SKEW_SECONDS: u64 = 300;

#[derive(Clone, Debug, PartialEq)]
pub struct HmacAuth {
    clock_skew_seconds: u64,
}

/// What a request claims, as it stands in its head.
struct Claim<'c> {
    username: &'c str,
    algorithm: Algorithm,
    signature: &'c str,
    digest: DigestHeader<'c>,
    date: &'c str,
}

type Verdict = Result<Option<ConsumerId>, &'static str>;

impl HmacAuth {
    /// All that needs no body; None when nothing is claimed.
    fn read<'c>(&self, cx: &'c RequestContext, now: i64) -> Result<Option<Claim<'c>>, &'static str> {
        let headers = &cx.head.headers;
        let Some(authorization) = headers.get("authorization") else { return Ok(None) };
        let text = under_scheme(authorization, "hmac").ok_or(r#"{"error":"Invalid HMAC authorization format"}"#)?;
        let parameters = Parameters::read(text);
        let username = parameters.username.ok_or(r#"{"error":"Missing username in HMAC authorization"}"#)?;
        let algorithm = match parameters.algorithm {
            None => Algorithm::Sha256,
            Some(name) => signature_algorithm(name).ok_or(r#"{"error":"Unsupported HMAC algorithm"}"#)?,
        };
        let signature = parameters.signature.ok_or(r#"{"error":"Missing signature in HMAC authorization"}"#)?;
        let digest = headers.get("content-digest").or_else(|| headers.get("digest"));
        let digest = digest.map(DigestHeader).ok_or(r#"{"error":"Missing required Digest header"}"#)?;
        let date = headers.get("date").filter(|date| self.is_current(date, now));
        let date = date.ok_or(r#"{"error":"Missing or expired Date header"}"#)?;
        Ok(Some(Claim { username, algorithm, signature, digest, date }))
    }

    fn is_current(&self, date: &str, now: i64) -> bool {
        unix_seconds(date).is_some_and(|date| date.abs_diff(now) <= self.clock_skew_seconds)
    }

    fn judge(&self, cx: &RequestContext, now: i64) -> Verdict {
        let Some(claim) = self.read(cx, now)? else { return Ok(None) };
        settle(cx, &claim, &BodyHash::at_once(&claim.digest, body(cx)))
    }

    /// A long body is hashed piece by piece, so that the others on this core are served meanwhile.
    async fn judge_piecewise(&self, cx: &RequestContext, now: i64) -> Verdict {
        let Some(claim) = self.read(cx, now)? else { return Ok(None) };
        settle(cx, &claim, &BodyHash::piecewise(&claim.digest, body(cx)).await)
    }
}

fn body(cx: &RequestContext) -> &[u8] {
    cx.body.as_deref().unwrap_or_default()
}

fn settle(cx: &RequestContext, claim: &Claim<'_>, hash: &BodyHash) -> Verdict {
    if !claim.digest.has(hash) {
        return Err(r#"{"error":"Digest header does not match request body"}"#);
    }
    let consumers = &cx.facts.consumers;
    let consumer = consumers.by_identity(claim.username);
    let known = consumer.map(|id| (id, consumers.hmac_secrets(id))).filter(|(_, secrets)| !secrets.is_empty());
    let (consumer, secrets) = known.ok_or(r#"{"error":"Invalid credentials"}"#)?;
    let (method, path, query) = (cx.head.method_text(), cx.head.path(), cx.head.query());
    let (date, digest) = (claim.date.as_bytes(), claim.digest.0.as_bytes());
    let lines = [method, path, query, date, digest];
    let is_valid = |tag: &[u8]| secrets.iter().any(|secret| is_signed(secret, claim.algorithm, &lines, tag));
    match decoded(&STANDARD, claim.signature, is_valid) {
        Some(true) => Ok(Some(consumer)),
        _ => Err(r#"{"error":"Invalid signature"}"#),
    }
}

/// Whether `tag` is that of the lines with line feeds between them; compared in constant time.
fn is_signed(secret: &Secret, algorithm: Algorithm, lines: &[&[u8]], tag: &[u8]) -> bool {
    let mut signing = hmac::Context::with_key(match algorithm {
        Algorithm::Sha256 => secret.hmac_sha256(),
        Algorithm::Sha512 => secret.hmac_sha512(),
    });
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            signing.update(b"\n");
        }
        signing.update(line);
    }
    verify_slices_are_equal(signing.sign().as_ref(), tag).is_ok()
}

fn signature_algorithm(name: &str) -> Option<Algorithm> {
    match name {
        _ if name.eq_ignore_ascii_case("hmac-sha256") => Some(Algorithm::Sha256),
        _ if name.eq_ignore_ascii_case("hmac-sha512") => Some(Algorithm::Sha512),
        _ => None,
    }
}

/// An HTTP date (RFC 9110 §5.6.7) or what RFC 2822 or RFC 3339 allow beside it.
fn unix_seconds(date: &str) -> Option<i64> {
    if let Ok(date) = httpdate::parse_http_date(date) {
        return date.duration_since(UNIX_EPOCH).ok()?.as_secs().try_into().ok();
    }
    let date = OffsetDateTime::parse(date, &Rfc2822).or_else(|_| OffsetDateTime::parse(date, &Rfc3339));
    date.ok().map(OffsetDateTime::unix_timestamp)
}

/// While a clock stands before 1970, no date is current.
fn now() -> i64 {
    unix_now().map_or(i64::MIN, |since| since.as_secs() as i64)
}

fn answer(cx: &mut RequestContext, verdict: Verdict) -> Flow<'static> {
    match verdict {
        Ok(None) => Flow::Continue,
        Ok(Some(consumer)) => {
            cx.identify(consumer, HmacAuth::NAME);
            Flow::Continue
        }
        Err(json) => Flow::reject(401, json),
    }
}

impl BuiltIn for HmacAuth {
    const NAME: &'static str = "hmac_auth";
    const PRIORITY: u16 = 1400;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] =
        &[key("clock_skew_seconds", "integer", "`300`", "seconds by which `Date` may be off, in either direction")];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        keys.removed("require_digest", "the digest is always required");
        let clock_skew_seconds = keys.unsigned("clock_skew_seconds").unwrap_or(CLOCK_SKEW_SECONDS);
        keys.finish(Self { clock_skew_seconds })
    }
}

impl Specs for HmacAuth {
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

impl Plugin for HmacAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    fn request_buffering(&self) -> Buffering {
        Buffering::BeforeAuthenticate
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if body(cx).len() <= digest::PIECE_BYTES {
            let verdict = self.judge(cx, now());
            return answer(cx, verdict);
        }
        Flow::Wait(Box::pin(async move {
            let verdict = self.judge_piecewise(cx, now()).await;
            answer(cx, verdict)
        }))
    }
}

#[cfg(test)]
mod tests;
