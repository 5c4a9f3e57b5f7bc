//! `jwt_auth`: identifies a consumer by a token that is signed with one of its secrets (plugins sheet §2.15).
//!
//! A token names the consumer itself, so it is read before it is verified; nothing in it is believed until then but the name.
//! HS256 is the only algorithm: whatever else a token's header says refuses the token.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use aws_lc_rs::hmac;
use engine::consumers::{ConsumerId, ConsumerIndex, Secret};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::credential::jws::{self, Claims, Token, Wanted};
use crate::credential::remembered::Remembered;
use crate::credential::{Location, under_scheme, unix_now};
use crate::{CoreEnv, Facts, Flow, Phases, Plugin, Protocols, RequestContext, Specs};

const DEFAULT_LOCATION: &str = "header:Authorization";
const DEFAULT_CLAIM: &str = "sub";
const ALGORITHM: &str = "HS256";
const LEEWAY_SECONDS: u64 = 60;
const LEEWAY_SECONDS_MAX: u64 = 300;

const KEYS: &[Key] = &[
    key("token_lookup", "string", "`header:Authorization`", "`header:<name>` (any case) or `query:<name>` (exact)"),
    key("consumer_claim_field", "string", "`sub`", "the top-level claim that names the consumer"),
    key("require_exp", "boolean", "`true`", "refuses tokens without `exp`; one that is there is checked anyway"),
    key("expected_issuer", "string", "*any*", "`iss` must be this"),
    key("expected_issuers", "string[]", "*any*", "`iss` must be one of these; instead of `expected_issuer`"),
    key(
        "audiences",
        "string[]",
        "*none*",
        "`aud` must have one of these; with `[]` it is not looked at; without the key a token with `aud` is refused",
    ),
    key(
        "require_nbf",
        "boolean",
        "`false`",
        "`true` refuses tokens without `nbf`; one that is there is checked anyway",
    ),
    key("leeway_secs", "integer", "`60`", "seconds by which clocks may differ; at most 300"),
];

#[derive(Clone, Debug, PartialEq)]
pub struct JwtAuth {
    location: Location,
    wanted: Wanted,
    numbers: Numbers,
    requires_expiry: bool,
    /// Empty = any.
    issuers: Vec<String>,
    audience: Audience,
    requires_begin: bool,
    leeway_seconds: f64,
}

/// Those of the claims that are read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Numbers {
    /// The one that names the consumer; it may be one of the others too.
    identity: usize,
    expiry: usize,
    begin: usize,
    issuer: usize,
    audience: usize,
}

/// What a token's `aud` may be.
#[derive(Clone, Debug, PartialEq)]
enum Audience {
    Absent,
    Any,
    OneOf(Vec<String>),
}

/// Why a token identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refused {
    Invalid,
    NoIdentity,
}

/// Whom a token identifies, and when it is good, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Good {
    consumer: ConsumerId,
    from: f64,
    /// The first moment when it is not.
    until: f64,
}

impl Good {
    fn is_at(&self, now: f64) -> bool {
        now >= self.from && now < self.until
    }
}

impl JwtAuth {
    fn judge(&self, text: &str, consumers: &ConsumerIndex, now: f64) -> Result<Good, Refused> {
        let judged = jws::read(text, &self.wanted, |token| self.judge_as(token, consumers, now));
        judged.unwrap_or(Err(Refused::Invalid))
    }

    fn judge_as(&self, token: &Token<'_>, consumers: &ConsumerIndex, now: f64) -> Result<Good, Refused> {
        if token.algorithm() != Some(ALGORITHM) {
            return Err(Refused::Invalid);
        }
        let claims = &token.claims;
        let identity = claims.text(self.numbers.identity).ok_or(Refused::NoIdentity)?;
        let consumer = consumers.by_identity(identity).ok_or(Refused::Invalid)?;
        let is_meant = is_signed_by_one(token, consumers.jwt_secrets(consumer))
            && self.accepts_issuer(claims)
            && self.accepts_audience(claims);
        let (from, until) = self.lifetime(claims).filter(|_| is_meant).ok_or(Refused::Invalid)?;
        let good = Good { consumer, from, until };
        if good.is_at(now) { Ok(good) } else { Err(Refused::Invalid) }
    }

    /// From when on, and until when. RFC 7519 §4.1.4: good before `exp`. §4.1.5: good from `nbf` on. None: it says neither so
    /// that it could be understood, or not what must be said.
    fn lifetime(&self, claims: &Claims<'_>) -> Option<(f64, f64)> {
        let until = match claims.get(self.numbers.expiry) {
            Some(expiry) => expiry.number()? + self.leeway_seconds,
            None if self.requires_expiry => return None,
            None => f64::INFINITY,
        };
        let from = match claims.get(self.numbers.begin) {
            Some(begin) => begin.number()? - self.leeway_seconds,
            None if self.requires_begin => return None,
            None => f64::NEG_INFINITY,
        };
        Some((from, until))
    }

    fn accepts_issuer(&self, claims: &Claims<'_>) -> bool {
        let is_known = |issuer: &str| self.issuers.iter().any(|known| known == issuer);
        self.issuers.is_empty() || claims.text(self.numbers.issuer).is_some_and(is_known)
    }

    fn accepts_audience(&self, claims: &Claims<'_>) -> bool {
        let claim = claims.get(self.numbers.audience);
        match &self.audience {
            Audience::Absent => claim.is_none(),
            Audience::Any => true,
            Audience::OneOf(wanted) => claim.is_some_and(|claim| wanted.iter().any(|audience| claim.has(audience))),
        }
    }
}

/// Tags are compared in constant time.
fn is_signed_by_one(token: &Token<'_>, secrets: &[Secret]) -> bool {
    let Some(tag) = token.signature() else { return false };
    let verify = |secret: &Secret| hmac::verify(secret.hmac_sha256(), token.signed.as_bytes(), tag.bytes()).is_ok();
    secrets.iter().any(verify)
}

/// `expected_issuer`, or else `expected_issuers`.
fn read_issuers(keys: &mut Keys<'_>) -> Vec<String> {
    let (one, written) = (keys.text("expected_issuer"), keys.raw("expected_issuers"));
    let many = keys.texts("expected_issuers");
    let is_blank = |issuer: &&str| issuer.trim().is_empty();
    if keys.raw("expected_issuer").is_some() && written.is_some() {
        keys.refuse("expected_issuer", "and 'expected_issuers' exclude each other");
    }
    if one.as_ref().is_some_and(is_blank) {
        keys.refuse("expected_issuer", "must not be empty");
    }
    if written.and_then(Value::as_array).is_some_and(Vec::is_empty) || many.iter().any(is_blank) {
        keys.refuse("expected_issuers", "must hold at least one issuer and no empty one");
    }
    one.into_iter().chain(many).map(str::to_owned).collect()
}

fn read_audience(keys: &mut Keys<'_>) -> Audience {
    if keys.raw("audiences").is_none() {
        return Audience::Absent;
    }
    let list = keys.texts("audiences");
    if list.iter().any(|audience| audience.trim().is_empty()) {
        keys.refuse("audiences", "must not hold an empty string");
    }
    if list.is_empty() { Audience::Any } else { Audience::OneOf(list.into_iter().map(str::to_owned).collect()) }
}

fn read_leeway(keys: &mut Keys<'_>) -> f64 {
    let seconds = keys.unsigned("leeway_secs").unwrap_or(LEEWAY_SECONDS);
    if seconds > LEEWAY_SECONDS_MAX {
        keys.refuse("leeway_secs", format!("must be at most {LEEWAY_SECONDS_MAX} (got {seconds})"));
    }
    seconds as f64
}

impl BuiltIn for JwtAuth {
    const NAME: &'static str = "jwt_auth";
    const PRIORITY: u16 = 1100;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] = KEYS;

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let text = keys.text("token_lookup").unwrap_or(DEFAULT_LOCATION);
        let location = Location::parse(text).unwrap_or_else(|reason| {
            keys.refuse("token_lookup", reason);
            Location::Header(String::new())
        });
        let identity_claim = keys.text("consumer_claim_field").unwrap_or(DEFAULT_CLAIM);
        if identity_claim.is_empty() {
            keys.refuse("consumer_claim_field", "must not be empty");
        }
        let mut wanted = Wanted::default();
        let [identity, expiry, begin, issuer, audience] =
            [identity_claim, "exp", "nbf", "iss", "aud"].map(|name| wanted.want_name(name));
        let numbers = Numbers { identity, expiry, begin, issuer, audience };
        let requires_expiry = keys.flag("require_exp", true);
        // Tokens of earlier releases have no 'nbf', and clocks may differ by 60 s there, so neither is demanded unasked.
        let requires_begin = keys.flag("require_nbf", false);
        let (issuers, audience) = (read_issuers(&mut keys), read_audience(&mut keys));
        let leeway_seconds = read_leeway(&mut keys);
        keys.finish(Self {
            location,
            wanted,
            numbers,
            requires_expiry,
            issuers,
            audience,
            requires_begin,
            leeway_seconds,
        })
    }
}

impl Specs for JwtAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, _env: &CoreEnv) -> Rc<dyn Plugin> {
        Rc::new(Verifier::new(self.clone()))
    }
}

/// One core's.
struct Verifier {
    config: JwtAuth,
    remembered: RefCell<Remembered<Good>>,
    /// Whose consumers, with their secrets, what is remembered was judged by.
    judged_by: RefCell<Weak<Facts>>,
}

impl Verifier {
    fn new(config: JwtAuth) -> Self {
        Self { config, remembered: RefCell::default(), judged_by: RefCell::default() }
    }

    fn judge(&self, text: &str, facts: &Rc<Facts>, now: f64) -> Result<ConsumerId, Refused> {
        let mut remembered = self.remembered.borrow_mut();
        let mut judged_by = self.judged_by.borrow_mut();
        if !std::ptr::eq(judged_by.as_ptr(), Rc::as_ptr(facts)) {
            remembered.forget();
            *judged_by = Rc::downgrade(facts);
        }
        if let Some(good) = remembered.find(text).filter(|good| good.is_at(now)) {
            return Ok(good.consumer);
        }
        let good = self.config.judge(text, &facts.consumers, now)?;
        remembered.keep(text, good);
        Ok(good.consumer)
    }
}

impl Plugin for Verifier {
    fn name(&self) -> &'static str {
        JwtAuth::NAME
    }

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let location = &self.config.location;
        let Some(value) = location.find(cx) else { return Flow::Continue };
        let text = match location {
            Location::Header(_) => under_scheme(&value, "bearer").unwrap_or(&value),
            Location::Query(_) => &value,
        };
        // While a clock stands before 1970, whatever expires has expired.
        let now = unix_now().map_or(f64::INFINITY, |since| since.as_secs_f64());
        match self.judge(text, &cx.facts, now) {
            Ok(consumer) => {
                drop(value);
                cx.identify(consumer, JwtAuth::NAME);
                Flow::Continue
            }
            Err(Refused::Invalid) => Flow::reject(401, r#"{"error":"Invalid JWT token"}"#),
            Err(Refused::NoIdentity) => Flow::reject(401, r#"{"error":"JWT missing identity claim"}"#),
        }
    }
}

#[cfg(test)]
mod tests;
