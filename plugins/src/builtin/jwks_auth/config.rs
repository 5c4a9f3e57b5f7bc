//! What operators write, checked.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::location::Location;
use crate::config::{Keys, is_token};
use crate::credential::jws::{Wanted, is_path};
use crate::outbound::http_url;
use crate::outbound::jwks::KeySet;

/// The numbers of the claims that are always read.
pub(super) struct Registered {
    pub issuer: usize,
    pub expiry: usize,
    pub audience: usize,
    pub subject: usize,
    pub thumbprint: usize,
}

impl Registered {
    fn among(wanted: &mut Wanted) -> Self {
        let [issuer, expiry, audience, subject, thumbprint] =
            ["iss", "exp", "aud", "sub", "cnf.x5t#S256"].map(|path| wanted.want(path));
        Self { issuer, expiry, audience, subject, thumbprint }
    }
}

pub(super) struct Config {
    pub providers: Vec<Provider>,
    /// Every claim that a provider looks at.
    pub wanted: Wanted,
    pub registered: Registered,
    pub refresh_interval: Duration,
    pub emits_principal: bool,
    /// Every header that a provider sets from claims.
    pub claim_header_names: Vec<String>,
}

/// Claims are given by their numbers.
pub(super) struct Provider {
    pub keys: KeySource,
    pub issuer: Option<String>,
    pub audiences: Vec<String>,
    /// None = `Authorization`.
    pub locations: Vec<Location>,
    pub forwards_token: bool,
    pub requires_expiry: bool,
    pub required_scopes: Vec<RequiredScope>,
    pub required_roles: Vec<String>,
    pub scope_claim: usize,
    pub role_claim: usize,
    pub identity_claim: usize,
    pub header_claim: usize,
    pub claim_headers: Vec<ClaimHeader>,
    pub separator: String,
    pub requires_certificate: bool,
}

pub(super) enum KeySource {
    Inline(Arc<KeySet>),
    Uri(Url),
    Discovery(Url),
}

pub(super) struct RequiredScope {
    pub scope: String,
    /// The answer to a token without it.
    pub rejection: String,
}

/// A header that gets a claim's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClaimHeader {
    pub claim: usize,
    /// In lower case.
    pub name: String,
}

/// The keys of a provider.
const PROVIDER_KEYS: [&str; 23] = [
    "jwks_uri",
    "discovery_url",
    "jwks",
    "issuer",
    "audience",
    "audiences",
    "from_headers",
    "from_params",
    "forward_original_token",
    "require_exp",
    "required_scopes",
    "required_roles",
    "scope_claim",
    "role_claim",
    "consumer_identity_claim",
    "consumer_header_claim",
    "claim_headers",
    "claim_headers_separator",
    "require_mtls_binding",
    "require_dpop",
    "dpop_clock_skew_secs",
    "dpop_jti_cache_max_entries",
    "dpop_jti_ttl_secs",
];

const FROM_HEADER_KEYS: [&str; 2] = ["name", "prefix"];

/// Headers of the connection, of the gateway, and those that say who asks.
const RESERVED: [&str; 18] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-consumer-custom-id",
    "x-consumer-username",
    "x-ferrum-original-content-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

const REFRESH_SECS_DEFAULT: u64 = 900;
/// As good as for ever, and far from where adding to a clock overflows: a year.
const REFRESH_SECS_MAX: u64 = 365 * 24 * 3600;

/// What holds for providers that do not say otherwise.
struct Defaults<'a> {
    scope_claim: &'a str,
    role_claim: &'a str,
    identity_claim: &'a str,
    header_claim: Option<&'a str>,
    requires_expiry: bool,
    claim_headers: Vec<ClaimHeader>,
    separator: &'a str,
}

/// What is wrong goes to `keys`; the config is of use only if nothing is.
pub(super) fn read(keys: &mut Keys<'_>) -> Config {
    let mut wanted = Wanted::default();
    let registered = Registered::among(&mut wanted);
    let defaults = Defaults {
        scope_claim: path(keys, "scope_claim").unwrap_or("scope"),
        role_claim: path(keys, "role_claim").unwrap_or("roles"),
        identity_claim: path(keys, "consumer_identity_claim").unwrap_or("sub"),
        header_claim: path(keys, "consumer_header_claim"),
        requires_expiry: keys.flag("require_exp", true),
        claim_headers: claim_headers(keys, &mut wanted).unwrap_or_default(),
        separator: keys.text("claim_headers_separator").unwrap_or(","),
    };
    let refresh = keys.positive("jwks_refresh_interval_secs").unwrap_or(REFRESH_SECS_DEFAULT);
    let emits_principal = keys.flag("emit_mesh_request_principal_metadata", false);
    let providers = providers(keys, &defaults, &mut wanted);
    let mut claim_header_names: Vec<String> =
        providers.iter().flat_map(|provider| &provider.claim_headers).map(|header| header.name.clone()).collect();
    claim_header_names.sort();
    claim_header_names.dedup();
    refuse_token_headers(keys, &providers, &claim_header_names);
    let refresh_interval = Duration::from_secs(refresh.min(REFRESH_SECS_MAX));
    Config { providers, wanted, registered, refresh_interval, emits_principal, claim_header_names }
}

/// What clients send under the names of claim headers is dropped before tokens are looked for.
fn refuse_token_headers(keys: &mut Keys<'_>, providers: &[Provider], claim_headers: &[String]) {
    let locations = providers.iter().flat_map(|provider| &provider.locations);
    let headers = locations.filter_map(|location| match location {
        Location::Header { name, .. } => Some(name),
        Location::Query(_) => None,
    });
    for name in headers.filter(|name| claim_headers.contains(name)) {
        keys.refuse("claim_headers", format_args!("'{name}' is where a provider looks for tokens; set another header"));
    }
}

fn providers(keys: &mut Keys<'_>, defaults: &Defaults<'_>, wanted: &mut Wanted) -> Vec<Provider> {
    let list = match keys.raw("providers") {
        None => {
            keys.refuse("providers", "is required");
            return Vec::new();
        }
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => {
            keys.refuse("providers", "must be a non-empty array");
            return Vec::new();
        }
    };
    let mut providers = Vec::new();
    for (index, value) in list.iter().enumerate() {
        if let Some(mut within) = keys.within(format_args!("providers[{index}]"), &PROVIDER_KEYS, value) {
            providers.extend(provider(&mut within, defaults, wanted));
            keys.absorb(within);
        }
    }
    providers
}

/// None without a source of keys.
fn provider(keys: &mut Keys<'_>, defaults: &Defaults<'_>, wanted: &mut Wanted) -> Option<Provider> {
    let source = key_source(keys);
    let issuer = filled(keys, "issuer").map(str::to_owned);
    let mut audiences: Vec<String> = filled(keys, "audience").map(str::to_owned).into_iter().collect();
    audiences.extend(entries(keys, "audiences"));
    let mut locations = from_headers(keys);
    locations.extend(entries(keys, "from_params").into_iter().map(Location::Query));
    let forwards_token = keys.flag("forward_original_token", true);
    let requires_expiry = keys.flag("require_exp", defaults.requires_expiry);
    let scopes = entries(keys, "required_scopes");
    let required_roles = entries(keys, "required_roles");
    let scope_claim = wanted.want(path(keys, "scope_claim").unwrap_or(defaults.scope_claim));
    let role_claim = wanted.want(path(keys, "role_claim").unwrap_or(defaults.role_claim));
    let identity = path(keys, "consumer_identity_claim").unwrap_or(defaults.identity_claim);
    let header = path(keys, "consumer_header_claim").or(defaults.header_claim).unwrap_or(identity);
    let claim_headers = claim_headers(keys, wanted).unwrap_or_else(|| defaults.claim_headers.clone());
    let separator = keys.text("claim_headers_separator").unwrap_or(defaults.separator).to_owned();
    let requires_certificate = keys.flag("require_mtls_binding", false);
    refuse_dpop(keys);
    Some(Provider {
        keys: source?,
        issuer,
        audiences,
        locations,
        forwards_token,
        requires_expiry,
        required_scopes: scopes.into_iter().map(required_scope).collect(),
        required_roles,
        scope_claim,
        role_claim,
        identity_claim: wanted.want(identity),
        header_claim: wanted.want(header),
        claim_headers,
        separator,
        requires_certificate,
    })
}

fn key_source(keys: &mut Keys<'_>) -> Option<KeySource> {
    let sources = ["jwks_uri", "discovery_url", "jwks"];
    let present: Vec<&str> = sources.into_iter().filter(|source| keys.raw(source).is_some()).collect();
    match present[..] {
        ["jwks"] => inline(keys).map(|set| KeySource::Inline(Arc::new(set))),
        [source] => {
            let text = keys.text(source)?;
            let url = http_url(text).map_err(|reason| keys.refuse(source, reason)).ok()?;
            Some(if source == "jwks_uri" { KeySource::Uri(url) } else { KeySource::Discovery(url) })
        }
        [] => {
            keys.refuse("jwks_uri", "is required, or else 'discovery_url' or 'jwks'");
            None
        }
        [first, second, ..] => {
            keys.refuse(first, format_args!("and '{second}' exclude each other"));
            None
        }
    }
}

fn inline(keys: &mut Keys<'_>) -> Option<KeySet> {
    let set = match keys.raw("jwks")? {
        Value::String(text) => KeySet::parse(text.as_bytes()),
        Value::Object(_) => KeySet::of(keys.raw("jwks")?),
        _ => Err("must be a string or an object".to_owned()),
    };
    let set = set.map_err(|reason| keys.refuse("jwks", reason)).ok()?;
    if let Some(why) = set.why_useless().filter(|_| !set.skipped.is_empty()) {
        keys.refuse("jwks", why);
        return None;
    }
    for reason in &set.skipped {
        keys.warn_of("jwks", reason);
    }
    Some(set)
}

/// A dot path to a claim.
fn path<'a>(keys: &mut Keys<'a>, key: &str) -> Option<&'a str> {
    let text = keys.text(key)?;
    if !is_path(text) {
        keys.refuse(key, format_args!("must be a dot path without empty segments (got '{text}')"));
        return None;
    }
    Some(text)
}

/// A string that is not blank.
fn filled<'a>(keys: &mut Keys<'a>, key: &str) -> Option<&'a str> {
    let text = keys.text(key)?;
    if text.trim().is_empty() {
        keys.refuse(key, "must not be empty");
    }
    Some(text)
}

/// A list of strings none of which is blank.
fn entries(keys: &mut Keys<'_>, key: &str) -> Vec<String> {
    let entries = keys.texts(key);
    if entries.iter().any(|entry| entry.trim().is_empty()) {
        keys.refuse(key, "must not have empty entries");
    }
    entries.into_iter().map(str::to_owned).collect()
}

fn from_headers(keys: &mut Keys<'_>) -> Vec<Location> {
    let Some(value) = keys.raw("from_headers") else { return Vec::new() };
    let Some(list) = value.as_array() else {
        keys.refuse("from_headers", "must be an array of objects");
        return Vec::new();
    };
    let mut locations = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let Some(mut within) = keys.within(format_args!("from_headers[{index}]"), &FROM_HEADER_KEYS, value) else {
            continue;
        };
        let name = within.text("name");
        match name {
            Some(name) if !is_token(name) => within.refuse("name", format_args!("'{name}' is not a header name")),
            None if within.raw("name").is_none() => within.refuse("name", "is required"),
            _ => {}
        }
        // Here, and only here, null is as good as absent.
        let has_prefix = within.raw("prefix").is_some_and(|prefix| !prefix.is_null());
        let prefix = if has_prefix { within.text("prefix") } else { None };
        locations.push(Location::Header {
            name: name.unwrap_or_default().to_lowercase(),
            prefix: prefix.unwrap_or_default().to_owned(),
        });
        keys.absorb(within);
    }
    locations
}

fn claim_headers(keys: &mut Keys<'_>, wanted: &mut Wanted) -> Option<Vec<ClaimHeader>> {
    let value = keys.raw("claim_headers")?;
    let Some(map) = value.as_object() else {
        keys.refuse("claim_headers", "must be an object");
        return None;
    };
    let mut headers: Vec<ClaimHeader> = Vec::new();
    for (claim, name) in map {
        let key = format!("claim_headers.{claim}");
        let name = name.as_str().map(str::to_lowercase);
        match &name {
            None => keys.refuse(&key, "must be a string"),
            Some(name) if !is_token(name) => keys.refuse(&key, format_args!("'{name}' is not a header name")),
            Some(name) if RESERVED.contains(&name.as_str()) => {
                keys.refuse(&key, format_args!("'{name}' is reserved and cannot be set from a claim"));
            }
            Some(name) if headers.iter().any(|header| header.name == *name) => {
                keys.refuse(&key, format_args!("'{name}' is set from another claim already"));
            }
            Some(_) if !is_path(claim) => keys.refuse(&key, "must be a dot path without empty segments"),
            Some(name) => headers.push(ClaimHeader { claim: wanted.want(claim), name: name.clone() }),
        }
    }
    Some(headers)
}

fn refuse_dpop(keys: &mut Keys<'_>) {
    if keys.flag("require_dpop", false) {
        keys.refuse(
            "require_dpop",
            "is not supported: proofs of possession (RFC 9449) are not checked in this release",
        );
    }
    for key in ["dpop_clock_skew_secs", "dpop_jti_cache_max_entries", "dpop_jti_ttl_secs"] {
        if keys.raw(key).is_some() {
            keys.refuse(key, "is not supported: proofs of possession (RFC 9449) are not checked in this release");
        }
    }
}

/// The scope stands in the answer, which may be shown in a browser.
fn required_scope(scope: String) -> RequiredScope {
    let encoded = Value::String(scope.clone()).to_string().replace('<', "\\u003c").replace('>', "\\u003e");
    RequiredScope { rejection: format!(r#"{{"error":"Insufficient scope","required":{encoded}}}"#), scope }
}
