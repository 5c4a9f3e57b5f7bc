//! From a request to a verdict on its token.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use engine::publish::View;

use super::claims::{Claim, Claims, Wanted};
use super::config::{Config, Provider, slot};
use super::location::{Found, Origin, find, is_eligible};
use super::token::Token;
use crate::outbound::Services;
use crate::outbound::jwks::{Algorithm, Discovery, KeySet, Store, VerifyingKeys};
use crate::{ClientCertificate, Rejection, RequestContext};

/// Clocks differ; a token is taken for expired this long after it says it is.
const LEEWAY_SECS: u64 = 60;

const INVALID: &str = r#"{"error":"Invalid or unrecognized JWT"}"#;
const INSUFFICIENT_ROLE: &str = r#"{"error":"Insufficient role"}"#;

/// Where the keys of a provider come from.
#[derive(Clone)]
pub(super) enum Live {
    Inline(Arc<KeySet>),
    Store(Arc<Store>),
    Discovery(Arc<Discovery>),
}

impl Live {
    fn store(&self) -> Option<&Arc<Store>> {
        match self {
            Live::Inline(_) => None,
            Live::Store(store) => Some(store),
            Live::Discovery(discovery) => discovery.store(),
        }
    }

    pub fn refresh_every(&self, interval: Duration, services: &Services) {
        match self {
            Live::Inline(_) => {}
            Live::Store(store) => store.refresh_every(interval, services),
            Live::Discovery(discovery) => discovery.refresh_every(interval, services),
        }
    }
}

/// A provider's keys on one core.
struct CoreKeys {
    live: Live,
    present: RefCell<Present>,
}

/// What was published last, ready for use.
#[derive(Default)]
struct Present {
    view: Option<View<KeySet>>,
    keys: VerifyingKeys,
}

impl CoreKeys {
    fn new(live: Live, core: usize) -> Self {
        let keys = match &live {
            Live::Inline(set) => VerifyingKeys::of(set),
            Live::Store(_) | Live::Discovery(_) => VerifyingKeys::default(),
        };
        let present = Present { view: None, keys };
        let core_keys = Self { live, present: RefCell::new(present) };
        core_keys.look(core);
        core_keys
    }

    /// Takes over what is new: one compare when nothing is.
    fn look(&self, core: usize) {
        let mut present = self.present.borrow_mut();
        let Present { view, keys } = &mut *present;
        match view {
            Some(view) => {
                let (set, is_new) = view.look();
                if is_new {
                    *keys = VerifyingKeys::of(set);
                }
            }
            None => {
                let Some(store) = self.live.store() else { return };
                let new = view.insert(store.view(core));
                *keys = VerifyingKeys::of(new.look().0);
            }
        }
    }

    fn verify(&self, key: Option<&str>, algorithm: Algorithm, token: &Token<'_>, signature: &[u8]) -> bool {
        self.present.borrow().keys.verify(key, algorithm, token.signed.as_bytes(), signature)
    }

    /// A key was named that may be a new one. Without any keys a fetch is due anyway.
    fn ask_for(&self, key: &str) {
        let present = self.present.borrow();
        if !present.keys.is_empty()
            && !present.keys.knows(key)
            && let Some(store) = self.live.store()
        {
            store.ask_for_fetch();
        }
    }
}

pub(super) enum Judged {
    NoToken,
    Rejected(Box<Rejection>),
    Passed(Passed),
}

/// A token that is good.
pub(super) struct Passed {
    pub provider: usize,
    pub identity: Option<String>,
    pub display: Option<String>,
    /// `iss/sub`, if that is wanted.
    pub principal: Option<String>,
    /// The numbers of claim headers, and their values.
    pub headers: Vec<(usize, String)>,
}

fn rejected(status: u16, json: &str) -> Judged {
    Judged::Rejected(Box::new(Rejection::json(status, json)))
}

/// One core's verifier.
pub(super) struct Verifier {
    config: Arc<Config>,
    core: usize,
    keys: Vec<CoreKeys>,
    header: Wanted,
    /// For decoding header and payload of one token after the other.
    scratch: RefCell<(Vec<u8>, Vec<u8>)>,
}

const ALGORITHM: usize = 0;
const KEY: usize = 1;
const CRITICAL: usize = 2;

impl Verifier {
    pub fn new(config: Arc<Config>, live: &[Live], core: usize) -> Self {
        let mut header = Wanted::default();
        for (number, name) in [(ALGORITHM, "alg"), (KEY, "kid"), (CRITICAL, "crit")] {
            let given = header.want(name);
            debug_assert_eq!(given, number);
        }
        let keys = live.iter().map(|live| CoreKeys::new(live.clone(), core)).collect();
        Self { config, core, keys, header, scratch: RefCell::default() }
    }

    pub fn judge(&self, cx: &RequestContext, now: u64) -> Judged {
        match find(&self.config, cx) {
            Found::Nothing => Judged::NoToken,
            Found::Refused(json) => rejected(401, json),
            Found::Token(token, origin) => {
                let accepted = self.accepted(cx, &token, origin, now);
                accepted.unwrap_or_else(|| rejected(401, INVALID))
            }
        }
    }

    /// What the first provider that accepts the token says; none if no provider does.
    fn accepted(&self, cx: &RequestContext, text: &str, origin: Origin, now: u64) -> Option<Judged> {
        let token = Token::split(text)?;
        let mut scratch = self.scratch.borrow_mut();
        let (header, payload) = &mut *scratch;
        let header = self.header.read(token.header(header)?)?;
        let claims = self.config.wanted.read(token.payload(payload)?)?;
        // RFC 7515 §4.1.11: what must be understood is not understood here.
        if header.get(CRITICAL).is_some() {
            return None;
        }
        let algorithm = Algorithm::of(header.text(ALGORITHM)?)?;
        let key = header.text(KEY);
        let signature = token.signature()?;
        let certificate = cx.client_certificate.as_deref();
        let candidates = || {
            self.in_order(claims.text(slot::ISSUER)).filter(|index| {
                let provider = &self.config.providers[*index];
                is_acceptable(provider, &claims, certificate, now) && is_eligible(&provider.locations, cx, text, origin)
            })
        };
        for index in candidates() {
            self.keys[index].look(self.core);
            if self.keys[index].verify(key, algorithm, &token, signature.bytes()) {
                return Some(self.authorized(index, &claims));
            }
        }
        // Whoever forges a token may name a new key in it, so it must at least be good in all else, and even then asking is rare.
        if let Some(key) = key {
            candidates().for_each(|index| self.keys[index].ask_for(key));
        }
        None
    }

    /// Those of the issuer that the token names come first.
    fn in_order<'a>(&'a self, issuer: Option<&'a str>) -> impl Iterator<Item = usize> + 'a {
        let all = 0..self.config.providers.len();
        let is_named =
            move |index: &usize| issuer.is_some() && self.config.providers[*index].issuer.as_deref() == issuer;
        all.clone().filter(is_named).chain(all.filter(move |index| !is_named(index)))
    }

    fn authorized(&self, index: usize, claims: &Claims<'_>) -> Judged {
        let provider = &self.config.providers[index];
        let has = |claim: usize, word: &str| claims.get(claim).is_some_and(|claim| claim.has_word(word));
        let missing = provider.required_scopes.iter().find(|required| !has(provider.scope_claim, &required.scope));
        if let Some(missing) = missing {
            return rejected(403, &missing.rejection);
        }
        let roles = &provider.required_roles;
        if !roles.is_empty() && !roles.iter().any(|role| has(provider.role_claim, role)) {
            return rejected(403, INSUFFICIENT_ROLE);
        }
        // It names somebody to backends, in a header: what cannot stand there names nobody.
        let is_name = |text: &&str| !text.trim().is_empty() && !text.chars().any(char::is_control);
        let text = |claim: usize| claims.text(claim).filter(is_name).map(str::to_owned);
        let identity = text(provider.identity_claim);
        let display = if provider.header_claim == provider.identity_claim { None } else { text(provider.header_claim) };
        let principal = match (self.config.emits_principal, claims.text(slot::ISSUER), claims.text(slot::SUBJECT)) {
            (true, Some(issuer), Some(subject)) => Some(format!("{issuer}/{subject}")),
            _ => None,
        };
        let header = |(number, header): (usize, &super::config::ClaimHeader)| {
            Some((number, claims.get(header.claim)?.shown(&provider.separator)?))
        };
        let headers = provider.claim_headers.iter().enumerate().filter_map(header).collect();
        Judged::Passed(Passed { provider: index, identity, display, principal, headers })
    }
}

/// Whether the provider would take these claims, if it signed them.
fn is_acceptable(provider: &Provider, claims: &Claims<'_>, certificate: Option<&ClientCertificate>, now: u64) -> bool {
    let is_fresh = match claims.get(slot::EXPIRY) {
        Some(expiry) => !is_expired(expiry, now),
        None => !provider.requires_expiry,
    };
    let is_its_own = match (&provider.issuer, claims.get(slot::ISSUER)) {
        (Some(issuer), Some(_)) => claims.text(slot::ISSUER) == Some(issuer),
        _ => true,
    };
    // A token for somebody is for nobody here, unless that somebody is named here.
    let is_for_us = || {
        let audience = claims.get(slot::AUDIENCE);
        audience.is_none_or(|audience| provider.audiences.iter().any(|us| audience.has(us)))
    };
    let is_bound = || {
        !provider.requires_certificate
            || certificate.is_some_and(|shown| claims.text(slot::THUMBPRINT) == Some(shown.thumbprint()))
    };
    is_fresh && is_its_own && is_for_us() && is_bound()
}

/// RFC 7519 §4.1.4. What is no number cannot be checked, and counts as expired.
fn is_expired(expiry: &Claim<'_>, now: u64) -> bool {
    match expiry {
        Claim::Unsigned(seconds) => now > seconds.saturating_add(LEEWAY_SECS),
        Claim::Float(seconds) => now as f64 > seconds + LEEWAY_SECS as f64,
        _ => true,
    }
}
