//! `cors`: answers preflights, refuses origins that are not allowed, and tells browsers what pages may read (plugins sheet §2.3).
//!
//! The values of all headers are laid out when the config is parsed; only the origin is the request's.

mod origins;

use std::rc::Rc;

use engine::http::{Headers, Method, ResponseHead};
use serde_json::Value;

use self::origins::Origins;
use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, is_token, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, Rejection, RequestContext, Specs};

const DEFAULT_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const DEFAULT_HEADERS: [&str; 5] = ["Accept", "Authorization", "Content-Type", "Origin", "X-Requested-With"];
const DEFAULT_MAX_AGE_SECONDS: u64 = 86_400;

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";
const ORIGIN: &str = "Origin";
const VARY: &str = "vary";

/// Where an allowed origin stands in the metadata: responses to it are decorated.
const ALLOWED_ORIGIN: &str = "cors_origin";

#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    methods: Vec<String>,
    /// None when pages may read no header but the usual ones.
    exposed: Option<String>,
    allow_credentials: bool,
    preflight_continue: bool,
    /// The answer to a preflight, without the origin.
    preflight: Rejection,
}

impl BuiltIn for Cors {
    const NAME: &'static str = "cors";
    const PRIORITY: u16 = 100;
    const PROTOCOLS: Protocols = Protocols::HTTP_ONLY;
    const KEYS: &'static [Key] = &[
        key("allowed_origins", "(string or object)[]", "any", "who may ask; see [below](#origins)"),
        key(
            "allowed_methods",
            "string[]",
            "`GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS`",
            "the methods that a preflight may ask for, in any case; `*` is no wildcard",
        ),
        key(
            "allowed_headers",
            "string[]",
            "`Accept, Authorization, Content-Type, Origin, X-Requested-With`",
            "the request headers that preflights are told of; the browser, not the gateway, holds the page to them",
        ),
        key("exposed_headers", "string[]", "`[]`", "the response headers that pages may read besides the usual ones"),
        key(
            "allow_credentials",
            "boolean",
            "`false`",
            "whether browsers may send cookies and show the answer; with any origin allowed it is `false` whatever is set",
        ),
        key("max_age", "integer", "`86400`", "for how many seconds a browser may remember the answer to a preflight"),
        key(
            "preflight_continue",
            "boolean",
            "`false`",
            "whether preflights go on to the backend instead of being answered here",
        ),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let origins = allowed_origins(&mut keys);
        let methods = tokens(&mut keys, "allowed_methods", &DEFAULT_METHODS, "method");
        let headers = tokens(&mut keys, "allowed_headers", &DEFAULT_HEADERS, "header name");
        let exposed = tokens(&mut keys, "exposed_headers", &[], "header name");
        let allow_credentials = allow_credentials(&mut keys, &origins);
        let max_age = keys.unsigned("max_age").unwrap_or(DEFAULT_MAX_AGE_SECONDS);
        let preflight_continue = keys.flag("preflight_continue", false);
        if methods.contains(&"*") {
            keys.warn(format!("{}: '*' in 'allowed_methods' is no wildcard; list the methods", Self::NAME));
        }
        let exposed = (!exposed.is_empty()).then(|| exposed.join(", "));
        let preflight = preflight(&methods, &headers, exposed.as_deref(), allow_credentials, max_age);
        let methods = methods.into_iter().map(str::to_owned).collect();
        keys.finish(Self { origins, methods, exposed, allow_credentials, preflight_continue, preflight })
    }
}

fn allowed_origins(keys: &mut Keys<'_>) -> Origins {
    const KEY: &str = "allowed_origins";
    let Some(value) = keys.value(KEY) else { return Origins::any() };
    let mut origins = Origins::default();
    match value.as_array().map(Vec::as_slice) {
        None => keys.refuse(KEY, "must be an array of strings and objects"),
        Some([]) => keys.refuse(KEY, "must not be empty"),
        Some(entries) => {
            for entry in entries {
                if let Err(reason) = origins.add(entry) {
                    keys.refuse(KEY, reason);
                }
                if origins.is_any() {
                    break;
                }
            }
        }
    }
    origins.sort();
    origins
}

/// A list of names, which must not be empty unless it is by default.
fn tokens<'a>(keys: &mut Keys<'a>, key: &str, default: &[&'a str], what: &str) -> Vec<&'a str> {
    let Some(value) = keys.value(key) else { return default.to_vec() };
    if !default.is_empty() && value.as_array().is_some_and(Vec::is_empty) {
        keys.refuse(key, "must not be empty");
    }
    let names = keys.texts(key);
    for name in names.iter().filter(|name| !is_token(name)) {
        keys.refuse(key, format_args!("has an invalid {what} '{name}' (RFC 7230 token)"));
    }
    names
}

/// A browser shows no answer that allows any origin to a page that sends credentials.
fn allow_credentials(keys: &mut Keys<'_>, origins: &Origins) -> bool {
    let wanted = keys.flag("allow_credentials", false);
    if wanted && origins.is_any() {
        let plugin = keys.plugin();
        keys.warn(format!("{plugin}: 'allow_credentials' has no effect while any origin is allowed; list the origins"));
    }
    wanted && !origins.is_any()
}

fn preflight(
    methods: &[&str],
    headers: &[&str],
    exposed: Option<&str>,
    allow_credentials: bool,
    max_age: u64,
) -> Rejection {
    let mut answer = Rejection { status: 204, headers: Vec::new(), body: Vec::new() };
    if allow_credentials {
        answer = answer.with_header(ALLOW_CREDENTIALS, "true");
    }
    if let Some(exposed) = exposed {
        answer = answer.with_header(EXPOSE_HEADERS, exposed);
    }
    answer
        .with_header(VARY, ORIGIN)
        .with_header("access-control-allow-methods", &methods.join(", "))
        .with_header("access-control-allow-headers", &headers.join(", "))
        .with_header("access-control-max-age", &max_age.to_string())
}

impl Specs for Cors {
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

/// `Vary` with the origin in it; None when it says so already.
fn merged_vary<'v>(lines: impl Iterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
    let mut merged = Vec::new();
    for line in lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let mut names = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if names.any(|name| name == b"*" || name.eq_ignore_ascii_case(ORIGIN.as_bytes())) {
            return None;
        }
        merged.extend_from_slice(line);
        merged.extend_from_slice(b", ");
    }
    merged.extend_from_slice(ORIGIN.as_bytes());
    Some(merged)
}

/// Sets a header, or removes what the backend made of it.
fn put(headers: &mut Headers, name: &str, value: Option<&str>) {
    match value {
        Some(value) => headers.set(name, value.as_bytes()),
        None if headers.all(name).next().is_some() => headers.remove(name),
        None => {}
    }
}

impl Cors {
    /// What a response says of who may read it.
    fn allowed<'o>(&self, origin: &'o str) -> &'o str {
        if self.origins.is_any() { "*" } else { origin }
    }

    fn credentials(&self) -> Option<&'static str> {
        self.allow_credentials.then_some("true")
    }

    fn answer_preflight(&self, origin: &str, method: &str) -> Rejection {
        if !self.origins.allows(origin) {
            return origin_not_allowed();
        }
        if !self.methods.iter().any(|allowed| allowed.eq_ignore_ascii_case(method)) {
            return Rejection::json(403, &format!("CORS method not allowed: {method}"));
        }
        let mut answer = self.preflight.clone();
        answer.headers.insert(0, (ALLOW_ORIGIN.to_owned(), self.allowed(origin).to_owned()));
        answer
    }
}

fn origin_not_allowed() -> Rejection {
    Rejection::json(403, "CORS origin not allowed")
}

impl Plugin for Cors {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED.and(Phases::AFTER_PROXY).and(Phases::REJECTION)
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let headers = &cx.head.headers;
        let Some(origin) = headers.get("origin") else { return Flow::Continue };
        let asked = headers.get("access-control-request-method").filter(|_| cx.head.method == Method::Options);
        if let Some(method) = asked.filter(|_| !self.preflight_continue) {
            return Flow::Reject(Box::new(self.answer_preflight(origin, method)));
        }
        if self.origins.allows(origin) {
            let origin = origin.to_owned();
            cx.metadata.set(ALLOWED_ORIGIN, origin);
        } else if asked.is_none() {
            return Flow::Reject(Box::new(origin_not_allowed()));
        }
        Flow::Continue
    }

    fn after_proxy<'a>(&'a self, cx: &'a mut RequestContext, response: &'a mut ResponseHead) -> Flow<'a> {
        if let Some(origin) = cx.metadata.get(ALLOWED_ORIGIN) {
            let headers = &mut response.headers;
            headers.set(ALLOW_ORIGIN, self.allowed(origin).as_bytes());
            put(headers, ALLOW_CREDENTIALS, self.credentials());
            put(headers, EXPOSE_HEADERS, self.exposed.as_deref());
            if let Some(vary) = merged_vary(headers.all(VARY)) {
                headers.set(VARY, &vary);
            }
        }
        Flow::Continue
    }

    fn on_rejection<'a>(&'a self, cx: &'a mut RequestContext, rejection: &'a mut Rejection) -> Flow<'a> {
        if let Some(origin) = cx.metadata.get(ALLOWED_ORIGIN) {
            rejection.set_header(ALLOW_ORIGIN, self.allowed(origin));
            for (name, value) in [(ALLOW_CREDENTIALS, self.credentials()), (EXPOSE_HEADERS, self.exposed.as_deref())] {
                match value {
                    Some(value) => rejection.set_header(name, value),
                    None => rejection.headers.retain(|(present, _)| !present.eq_ignore_ascii_case(name)),
                }
            }
            let present = rejection.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(VARY));
            if let Some(vary) = merged_vary(present.map(|(_, value)| value.as_bytes())) {
                rejection.set_header(VARY, &String::from_utf8_lossy(&vary));
            }
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests;
