//! `mtls_auth`: identifies a consumer by the certificate its connection began with (plugins sheet §2.11).
//!
//! The listener has verified the certificate. What it says, and the path of those who signed it, are read once per connection;
//! a request costs a comparison and a look-up.

use std::rc::Rc;
use std::sync::Arc;

use engine::consumers::{ConsumerId, ConsumerIndex};
use engine::tls::{CertificateFacts, DistinguishedName, Fingerprint};
use rustc_hash::FxHashSet;
use serde_json::{Map, Value};

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{ClientCertificate, CoreEnv, Flow, Phases, Plugin, Protocols, Rejection, RequestContext, Specs};

#[derive(Clone, Debug, PartialEq)]
pub struct MtlsAuth {
    /// One for all cores.
    rules: Arc<Rules>,
}

#[derive(Debug, PartialEq)]
struct Rules {
    field: Field,
    /// One must fit; empty = any issuer.
    issuers: Vec<IssuerFilter>,
    /// One of these must have signed; empty = any authority.
    authorities: FxHashSet<Fingerprint>,
}

/// What of a certificate is the identity.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    SubjectCn,
    SubjectOu,
    SubjectO,
    SanDns,
    SanEmail,
    FingerprintSha256,
    Serial,
}

const FIELDS: [(&str, Field); 7] = [
    ("subject_cn", Field::SubjectCn),
    ("subject_ou", Field::SubjectOu),
    ("subject_o", Field::SubjectO),
    ("san_dns", Field::SanDns),
    ("san_email", Field::SanEmail),
    ("fingerprint_sha256", Field::FingerprintSha256),
    ("serial", Field::Serial),
];

impl Field {
    fn of(self, facts: &CertificateFacts) -> Option<&str> {
        match self {
            Field::SubjectCn => facts.subject.cn.as_deref(),
            Field::SubjectOu => facts.subject.ou.as_deref(),
            Field::SubjectO => facts.subject.o.as_deref(),
            Field::SanDns => facts.san_dns.as_deref(),
            Field::SanEmail => facts.san_email.as_deref(),
            Field::FingerprintSha256 => Some(&facts.fingerprint_sha256),
            Field::Serial => Some(&facts.serial),
        }
    }
}

/// What the issuer's name must have; a part that is not given may be anything.
#[derive(Debug, Default, PartialEq)]
struct IssuerFilter(DistinguishedName);

impl IssuerFilter {
    fn fits(&self, issuer: &DistinguishedName) -> bool {
        let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        fits(&self.0.cn, &issuer.cn) && fits(&self.0.o, &issuer.o) && fits(&self.0.ou, &issuer.ou)
    }
}

impl Rules {
    fn judge(&self, shown: &ClientCertificate, consumers: &ConsumerIndex) -> Result<ConsumerId, Rejection> {
        let invalid = || Rejection::json(401, r#"{"error":"Invalid client certificate"}"#);
        let facts = shown.facts().ok_or_else(invalid)?;
        if !self.issuers.is_empty() && !self.issuers.iter().any(|filter| filter.fits(&facts.issuer)) {
            let issuer = facts.issuer.cn.as_deref().unwrap_or("<unknown>");
            let text = format!("Certificate issuer '{issuer}' does not match any allowed issuer");
            return Err(Rejection::error(403, &text));
        }
        if !self.authorities.is_empty() && !shown.issuers().iter().any(|issuer| self.authorities.contains(issuer)) {
            let text = r#"{"error":"No certificate in the chain matches any allowed CA fingerprint"}"#;
            return Err(Rejection::json(403, text));
        }
        let identity = self.field.of(facts).ok_or_else(invalid)?;
        let nobody = || Rejection::json(401, r#"{"error":"No consumer found for client certificate"}"#);
        consumers.by_mtls_identity(identity).ok_or_else(nobody)
    }
}

fn read_field(keys: &mut Keys<'_>) -> Field {
    let Some(name) = keys.text("cert_field") else { return Field::SubjectCn };
    let known = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
    known.unwrap_or_else(|| {
        let names = FIELDS.map(|(name, _)| name).join(", ");
        keys.refuse("cert_field", format!("must be one of {names} (got '{name}')"));
        Field::SubjectCn
    })
}

fn read_issuers(keys: &mut Keys<'_>) -> Vec<IssuerFilter> {
    let name = "allowed_issuers";
    let Some(value) = keys.raw(name).filter(|value| !value.is_null()) else { return Vec::new() };
    let objects: Option<Vec<&Map<String, Value>>> =
        value.as_array().and_then(|list| list.iter().map(Value::as_object).collect());
    let Some(objects) = objects else {
        keys.refuse(name, "must be an array of objects");
        return Vec::new();
    };
    warn_of_empty(keys, name, objects.is_empty());
    objects.into_iter().enumerate().map(|(i, object)| read_filter(keys, &format!("{name}[{i}]"), object)).collect()
}

fn read_filter(keys: &mut Keys<'_>, at: &str, object: &Map<String, Value>) -> IssuerFilter {
    let mut filter = IssuerFilter::default();
    for (part, value) in object {
        let slot = match part.as_str() {
            "cn" => &mut filter.0.cn,
            "o" => &mut filter.0.o,
            "ou" => &mut filter.0.ou,
            _ => {
                keys.refuse(&format!("{at}.{part}"), "is not one of cn, o, ou");
                continue;
            }
        };
        *slot = value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        if slot.is_none() {
            keys.refuse(&format!("{at}.{part}"), "must be a non-empty string");
        }
    }
    if object.is_empty() {
        keys.refuse(at, "needs at least one of cn, o, ou");
    }
    filter
}

fn read_authorities(keys: &mut Keys<'_>) -> FxHashSet<Fingerprint> {
    let name = "allowed_ca_fingerprints_sha256";
    let list = keys.texts(name);
    warn_of_empty(keys, name, keys.raw(name).and_then(Value::as_array).is_some_and(Vec::is_empty));
    let mut authorities = FxHashSet::default();
    for text in list {
        match fingerprint(text) {
            Some(fingerprint) => drop(authorities.insert(fingerprint)),
            None => keys.refuse(name, format!("must hold SHA-256 fingerprints of 64 hex digits (got '{text}')")),
        }
    }
    authorities
}

/// It is no rule, which whoever wrote it may not expect.
fn warn_of_empty(keys: &mut Keys<'_>, name: &str, is_empty: bool) {
    if is_empty {
        keys.warn_of(name, "is empty and restricts nothing");
    }
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    let mut fingerprint = Fingerprint::default();
    let digits = text.as_bytes();
    if digits.len() != 2 * fingerprint.len() {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(fingerprint)
}

impl BuiltIn for MtlsAuth {
    const NAME: &'static str = "mtls_auth";
    const PRIORITY: u16 = 950;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key(
            "cert_field",
            "string",
            "`subject_cn`",
            "what of the certificate is the identity: `subject_cn`, `subject_ou`, `subject_o`, `san_dns`, `san_email`, \
             `fingerprint_sha256` or `serial`",
        ),
        key(
            "allowed_issuers",
            "object[]",
            "*any*",
            "the issuer's name must fit one of these; each has `cn`, `o` or `ou`, or several, which must all be equal",
        ),
        key(
            "allowed_ca_fingerprints_sha256",
            "string[]",
            "*any*",
            "one of these must have signed, among the certificates that the client sends behind its own; 64 hex digits each",
        ),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        keys.removed("issuer_verification", "'allowed_ca_fingerprints_sha256' always verifies signatures");
        let field = read_field(&mut keys);
        let issuers = read_issuers(&mut keys);
        let authorities = read_authorities(&mut keys);
        keys.finish(Self { rules: Arc::new(Rules { field, issuers, authorities }) })
    }
}

impl Specs for MtlsAuth {
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

impl Plugin for MtlsAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::AUTHENTICATE
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let Some(shown) = &cx.client_certificate else { return Flow::Continue };
        match self.rules.judge(shown, &cx.facts.consumers) {
            Ok(consumer) => {
                cx.identify(consumer, Self::NAME);
                Flow::Continue
            }
            Err(rejection) => Flow::Reject(Box::new(rejection)),
        }
    }
}

#[cfg(test)]
mod tests;
