//! From a request to a verdict on its token.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::publish::View;

use super::config::{Config, Provider, Registered};
use super::location::{Found, Origin, find, is_eligible};
use crate::credential::jws::{self, Claim, Claims, Token};
use crate::credential::remembered::Remembered;
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
    keys: Rc<VerifyingKeys>,
}

impl CoreKeys {
    fn new(live: Live, core: usize) -> Self {
        let keys = match &live {
            Live::Inline(set) => Rc::new(VerifyingKeys::of(set)),
            Live::Store(_) | Live::Discovery(_) => Rc::default(),
        };
        let present = Present { view: None, keys };
        let core_keys = Self { live, present: RefCell::new(present) };
        core_keys.look(core);
        core_keys
    }

    /// Takes over what is new, and says whether anything is: one compare when nothing is.
    fn look(&self, core: usize) -> bool {
        let mut present = self.present.borrow_mut();
        let Present { view, keys } = &mut *present;
        match view {
            Some(view) => {
                let (set, is_new) = view.look();
                if is_new {
                    *keys = VerifyingKeys::shared(set);
                }
                is_new
            }
            None => {
                let Some(store) = self.live.store() else { return false };
                let new = view.insert(store.view(core));
                *keys = VerifyingKeys::shared(new.look().0);
                true
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
    Passed(Rc<Passed>),
}

/// A token that is good.
#[derive(Debug)]
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

/// A token that passed, by the keys that are published now.
struct Good {
    passed: Rc<Passed>,
    /// In seconds of Unix time.
    last: u64,
    /// With what certificate, if a provider asks for them.
    thumbprint: Option<Box<str>>,
}

/// One core's verifier.
pub(super) struct Verifier {
    config: Arc<Config>,
    core: usize,
    keys: Vec<CoreKeys>,
    /// Whether a provider takes tokens only with the certificate that they are bound to.
    asks_certificates: bool,
    remembered: RefCell<Remembered<Good>>,
}

impl Verifier {
    pub fn new(config: Arc<Config>, live: &[Live], core: usize) -> Self {
        let keys = live.iter().map(|live| CoreKeys::new(live.clone(), core)).collect();
        let asks_certificates = config.providers.iter().any(|provider| provider.requires_certificate);
        Self { config, core, keys, asks_certificates, remembered: RefCell::default() }
    }

    pub fn judge(&self, cx: &RequestContext, now: u64) -> Judged {
        let (token, origin) = match find(&self.config, cx) {
            Found::Nothing => return Judged::NoToken,
            Found::Refused(json) => return rejected(401, json),
            Found::Token(token, origin) => (token, origin),
        };
        self.look();
        if !self.is_one_for_all(origin) {
            return self.accepted(cx, &token, origin, now).map_or_else(|| rejected(401, INVALID), |(judged, _)| judged);
        }
        if let Some(passed) = self.find_remembered(cx, &token, now) {
            return Judged::Passed(passed);
        }
        let Some((judged, last)) = self.accepted(cx, &token, origin, now) else { return rejected(401, INVALID) };
        if let Judged::Passed(passed) = &judged {
            let thumbprint = self.thumbprint(cx).map(Box::from);
            self.remembered.borrow_mut().keep(&token, Good { passed: passed.clone(), last, thumbprint });
        }
        judged
    }

    /// Takes over the keys that are new. They may know other tokens than those before them.
    fn look(&self) {
        let new = self.keys.iter().filter(|keys| keys.look(self.core)).count();
        if new > 0 {
            self.remembered.borrow_mut().forget();
        }
    }

    /// Whether it is the same for all requests which providers may judge a token from there.
    fn is_one_for_all(&self, origin: Origin) -> bool {
        origin == Origin::Authorization || self.config.providers.len() == 1
    }

    fn find_remembered(&self, cx: &RequestContext, token: &str, now: u64) -> Option<Rc<Passed>> {
        let remembered = self.remembered.borrow();
        let good = remembered.find(token)?;
        (now <= good.last && good.thumbprint.as_deref() == self.thumbprint(cx)).then(|| good.passed.clone())
    }

    fn thumbprint<'c>(&self, cx: &'c RequestContext) -> Option<&'c str> {
        cx.client_certificate.as_deref().filter(|_| self.asks_certificates).map(ClientCertificate::thumbprint)
    }

    /// What the first provider that accepts the token says, and the last second in which it does; none if no provider does.
    fn accepted(&self, cx: &RequestContext, text: &str, origin: Origin, now: u64) -> Option<(Judged, u64)> {
        let is_eligible = |provider: &Provider| is_eligible(&provider.locations, cx, text, origin);
        let certificate = cx.client_certificate.as_deref();
        jws::read(text, &self.config.wanted, |token| self.accepted_as(token, certificate, is_eligible, now)).flatten()
    }

    fn accepted_as(
        &self,
        token: &Token<'_>,
        certificate: Option<&ClientCertificate>,
        is_eligible: impl Fn(&Provider) -> bool,
        now: u64,
    ) -> Option<(Judged, u64)> {
        let algorithm = Algorithm::of(token.algorithm()?)?;
        let (key, claims) = (token.key(), &token.claims);
        let signature = token.signature()?;
        let registered = &self.config.registered;
        let last = claims.get(registered.expiry).map(last_second);
        let candidates = || {
            self.in_order(claims.text(registered.issuer)).filter(|index| {
                let provider = &self.config.providers[*index];
                let is_fresh = last.map_or(!provider.requires_expiry, |last| last.is_some_and(|last| now <= last));
                is_fresh && is_acceptable(provider, registered, claims, certificate) && is_eligible(provider)
            })
        };
        for index in candidates() {
            if self.keys[index].verify(key, algorithm, token, signature.bytes()) {
                return Some((self.authorized(index, claims), last.flatten().unwrap_or(u64::MAX)));
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
        let registered = &self.config.registered;
        let (issuer, subject) = (claims.text(registered.issuer), claims.text(registered.subject));
        let principal = match (self.config.emits_principal, issuer, subject) {
            (true, Some(issuer), Some(subject)) => Some(format!("{issuer}/{subject}")),
            _ => None,
        };
        let header = |(number, header): (usize, &super::config::ClaimHeader)| {
            Some((number, claims.get(header.claim)?.shown(&provider.separator)?))
        };
        let headers = provider.claim_headers.iter().enumerate().filter_map(header).collect();
        Judged::Passed(Rc::new(Passed { provider: index, identity, display, principal, headers }))
    }
}

/// Whether the provider would take these claims while they last, if it signed them.
fn is_acceptable(
    provider: &Provider,
    registered: &Registered,
    claims: &Claims<'_>,
    certificate: Option<&ClientCertificate>,
) -> bool {
    let is_its_own = match (&provider.issuer, claims.get(registered.issuer)) {
        (Some(issuer), Some(_)) => claims.text(registered.issuer) == Some(issuer),
        _ => true,
    };
    // A token for somebody is for nobody here, unless that somebody is named here.
    let is_for_us = || {
        let audience = claims.get(registered.audience);
        audience.is_none_or(|audience| provider.audiences.iter().any(|us| audience.has(us)))
    };
    let is_bound = || {
        !provider.requires_certificate
            || certificate.is_some_and(|shown| claims.text(registered.thumbprint) == Some(shown.thumbprint()))
    };
    is_its_own && is_for_us() && is_bound()
}

/// RFC 7519 §4.1.4: the last second in which a token is good. None of what is no number: that cannot be checked, and counts as
/// expired.
fn last_second(expiry: &Claim<'_>) -> Option<u64> {
    match expiry {
        Claim::Unsigned(seconds) => Some(seconds.saturating_add(LEEWAY_SECS)),
        // Whole seconds are compared, so what is behind the point never counts; what is below zero is long past.
        Claim::Float(seconds) => Some((seconds + LEEWAY_SECS as f64) as u64),
        _ => None,
    }
}
