//! `grpc_method_router`: lets gRPC methods through or not by name, and limits how often a caller may use each (plugins
//! sheet §2.8).
//!
//! What is known of a method is put together when the config is parsed, so that a request costs one look-up. The buckets of
//! the limits live beside it, one set for all cores.

mod buckets;

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use self::buckets::{Buckets, Caller, Rate, Remembered};
use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, Rejection, RequestContext, Specs};

const SERVICE: &str = "grpc_service";
const METHOD: &str = "grpc_method";
/// `package.Service/Method`.
const FULL_METHOD: &str = "grpc_full_method";

/// The keys of which at least one must say something.
const RULES: [&str; 3] = ["allow_methods", "deny_methods", "method_rate_limits"];
const REDIS: [&str; 8] = [
    "redis_url",
    "redis_tls",
    "redis_key_prefix",
    "redis_pool_size",
    "redis_connect_timeout_seconds",
    "redis_health_check_interval_seconds",
    "redis_username",
    "redis_password",
];

pub struct GrpcMethodRouter {
    rules: Arc<Rules>,
}

struct Rules {
    /// Every method that the config names.
    methods: FxHashMap<String, Rule>,
    /// Whether the methods it does not name are let through.
    permits_others: bool,
    limit_by: LimitBy,
    buckets: Buckets,
}

struct Rule {
    is_permitted: bool,
    limit: Option<Limit>,
}

struct Limit {
    max_requests: u64,
    /// Its place among the rates of the buckets.
    rate: u32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum LimitBy {
    Ip,
    Consumer,
}

impl BuiltIn for GrpcMethodRouter {
    const NAME: &'static str = "grpc_method_router";
    const PRIORITY: u16 = 275;
    const PROTOCOLS: Protocols = Protocols::of(&[Protocol::Grpc]);
    const KEYS: &'static [Key] = &[
        key(
            "allow_methods",
            "string[]",
            "not set",
            "only these methods are let through; an empty list lets none through",
        ),
        key("deny_methods", "string[]", "`[]`", "these methods are not let through, even if they are allowed"),
        key(
            "method_rate_limits",
            "object",
            "`{}`",
            "per method: `max_requests` and `window_seconds`, both integers above 0, both required",
        ),
        key("limit_by", "string", "`ip`", "whose requests are counted together: `ip` or `consumer`, in any case"),
        key(
            "sync_mode",
            "string",
            "`local`",
            "`local`, in any case; `redis` is refused, because this release has no Redis",
        ),
        key("redis_url", "", "", "refused, because this release has no Redis"),
        key("redis_tls", "", "", "refused"),
        key("redis_key_prefix", "", "", "refused"),
        key("redis_pool_size", "", "", "refused"),
        key("redis_connect_timeout_seconds", "", "", "refused"),
        key("redis_health_check_interval_seconds", "", "", "refused"),
        key("redis_username", "", "", "refused"),
        key("redis_password", "", "", "refused"),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        if !RULES.iter().any(|key| says_something(&keys, key)) {
            let [allow, deny, limits] = RULES;
            keys.error(format!("{}: one of '{allow}', '{deny}' and '{limits}' must be set", Self::NAME));
        }
        let allowed = method_list(&mut keys, "allow_methods");
        let denied = method_list(&mut keys, "deny_methods").unwrap_or_default();
        let limits = method_rate_limits(&mut keys);
        let limit_by = limit_by(&mut keys);
        refuse_redis(&mut keys);
        keys.finish(Self { rules: Arc::new(Rules::new(allowed, denied, limits, limit_by)) })
    }
}

impl Rules {
    fn new(
        allowed: Option<FxHashSet<&str>>,
        denied: FxHashSet<&str>,
        limits: Vec<(&str, NonZeroU64, Rate)>,
        limit_by: LimitBy,
    ) -> Self {
        let is_permitted =
            |name: &str| !denied.contains(name) && allowed.as_ref().is_none_or(|allowed| allowed.contains(name));
        let listed = allowed.iter().flatten().chain(&denied);
        let named = listed.copied().chain(limits.iter().map(|(name, ..)| *name));
        let rule = |name: &str| (name.to_owned(), Rule { is_permitted: is_permitted(name), limit: None });
        let mut methods: FxHashMap<String, Rule> = named.map(rule).collect();
        for (rate, (name, max_requests, _)) in limits.iter().enumerate() {
            if let Some(rule) = methods.get_mut(*name) {
                rule.limit = Some(Limit { max_requests: max_requests.get(), rate: rate as u32 });
            }
        }
        let rates = limits.iter().map(|(_, _, rate)| *rate).collect();
        Self { methods, permits_others: allowed.is_none(), limit_by, buckets: Buckets::new(rates) }
    }
}

fn present<'a>(keys: &Keys<'a>, key: &str) -> Option<&'a Value> {
    keys.raw(key).filter(|value| !value.is_null())
}

/// A list of allowed methods says something even when it is empty; the other rules do not.
fn says_something(keys: &Keys<'_>, key: &str) -> bool {
    present(keys, key).is_some_and(|value| match value {
        Value::Array(list) => key == "allow_methods" || !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    })
}

/// None when the key is not set. What is wrong is left out.
fn method_list<'a>(keys: &mut Keys<'a>, key: &str) -> Option<FxHashSet<&'a str>> {
    let value = present(keys, key)?;
    let Value::Array(list) = value else {
        keys.refuse(key, "must be an array of strings");
        return None;
    };
    let mut names = FxHashSet::default();
    for (index, value) in list.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match value.as_str() {
            Some(text) => add_name(keys, &key, text, &mut names),
            None => keys.refuse(&key, "must be a string"),
        }
    }
    Some(names)
}

fn add_name<'a>(keys: &mut Keys<'a>, key: &str, text: &'a str, names: &mut FxHashSet<&'a str>) {
    match normalised(text) {
        None => keys.refuse(key, format_args!("must be 'package.Service/Method' (got '{text}')")),
        Some(name) if !names.insert(name) => keys.refuse(key, format_args!("repeats '{name}'")),
        Some(_) => {}
    }
}

/// `package.Service/Method` without blanks around it and without a slash in front.
fn normalised(text: &str) -> Option<&str> {
    let name = text.trim();
    let name = name.strip_prefix('/').unwrap_or(name);
    let (service, method) = name.split_once('/')?;
    (service.split('.').all(is_identifier) && is_identifier(method)).then_some(name)
}

fn is_identifier(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// Method, size of its bucket, and rate.
fn method_rate_limits<'a>(keys: &mut Keys<'a>) -> Vec<(&'a str, NonZeroU64, Rate)> {
    const KEY: &str = "method_rate_limits";
    let Some(value) = present(keys, KEY) else { return Vec::new() };
    let Value::Object(map) = value else {
        keys.refuse(KEY, "must be an object");
        return Vec::new();
    };
    let (mut limits, mut names) = (Vec::new(), FxHashSet::default());
    for (text, value) in map {
        let key = format!("{KEY}[{text}]");
        add_name(keys, &key, text, &mut names);
        let Value::Object(limit) = value else {
            keys.refuse(&key, "must be an object with 'max_requests' and 'window_seconds'");
            continue;
        };
        let max_requests = above_zero(keys, &key, limit, "max_requests");
        let window_seconds = above_zero(keys, &key, limit, "window_seconds");
        for unknown in limit.keys().filter(|name| !["max_requests", "window_seconds"].contains(&name.as_str())) {
            keys.warn(format!("{}: unknown key '{key}.{unknown}' is ignored", keys.plugin()));
        }
        if let (Some(name), Some(max), Some(window)) = (normalised(text), max_requests, window_seconds) {
            limits.push((name, max, Rate::new(max, window)));
        }
    }
    limits
}

fn above_zero(keys: &mut Keys<'_>, within: &str, limit: &Map<String, Value>, name: &str) -> Option<NonZeroU64> {
    let number = limit.get(name).and_then(Value::as_u64).and_then(NonZeroU64::new);
    if number.is_none() {
        let key = format!("{within}.{name}");
        keys.refuse(&key, if limit.contains_key(name) { "must be an integer above 0" } else { "is required" });
    }
    number
}

fn limit_by(keys: &mut Keys<'_>) -> LimitBy {
    match keys.text("limit_by") {
        Some(text) if text.eq_ignore_ascii_case("consumer") => LimitBy::Consumer,
        Some(text) if !text.eq_ignore_ascii_case("ip") => {
            keys.refuse("limit_by", format_args!("must be 'ip' or 'consumer' (got '{text}')"));
            LimitBy::Ip
        }
        _ => LimitBy::Ip,
    }
}

/// Limits that several gateways were to share would be counted by each for itself.
fn refuse_redis(keys: &mut Keys<'_>) {
    match keys.text("sync_mode") {
        Some(mode) if mode.eq_ignore_ascii_case("redis") => {
            keys.refuse("sync_mode", "must be 'local': this release has no Redis");
        }
        Some(mode) if !mode.eq_ignore_ascii_case("local") => {
            keys.refuse("sync_mode", format_args!("must be 'local' (got '{mode}')"));
        }
        _ => {}
    }
    for key in REDIS {
        if present(keys, key).is_some() {
            keys.refuse(key, "must not be set: this release has no Redis");
        }
    }
}

impl Specs for GrpcMethodRouter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, _env: &CoreEnv) -> Rc<dyn Plugin> {
        Rc::new(Router { rules: self.rules.clone(), remembered: RefCell::default() })
    }
}

/// The plugin on one core.
struct Router {
    rules: Arc<Rules>,
    remembered: RefCell<Remembered>,
}

impl Router {
    /// What is wrong with the request, if anything. The clock is read only where there is a limit.
    fn judge(&self, cx: &RequestContext, now_ns: impl FnOnce() -> u64) -> Option<Rejection> {
        // Without a name the path was none of a gRPC method.
        let name = cx.metadata.get(FULL_METHOD)?;
        let rule = self.rules.methods.get(name);
        if !rule.map_or(self.rules.permits_others, |rule| rule.is_permitted) {
            return Some(Rejection::error(403, &format!("gRPC method '{name}' is not permitted")));
        }
        let limit = rule?.limit.as_ref()?;
        let mut remembered = self.remembered.borrow_mut();
        if self.rules.buckets.take(&mut remembered, limit.rate, self.caller(cx), now_ns()) {
            return None;
        }
        let rejection = Rejection::error(429, &format!("Rate limit exceeded for gRPC method '{name}'"));
        Some(
            rejection
                .with_header("x-grpc-ratelimit-limit", &limit.max_requests.to_string())
                .with_header("x-grpc-ratelimit-remaining", "0")
                .with_header("x-grpc-ratelimit-method", name),
        )
    }

    fn caller<'c>(&self, cx: &'c RequestContext) -> Caller<'c> {
        let address = Caller::Address(cx.client_ip.to_canonical());
        match self.rules.limit_by {
            LimitBy::Ip => address,
            LimitBy::Consumer => cx.effective_identity().map_or(address, Caller::Identity),
        }
    }
}

/// Service and method of a path of exactly two segments.
fn service_and_method(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let segments = path.strip_prefix(b"/")?;
    let slash = memchr::memchr(b'/', segments)?;
    let (service, method) = (&segments[..slash], &segments[slash + 1..]);
    let is_whole = !service.is_empty() && !method.is_empty() && memchr::memchr(b'/', method).is_none();
    is_whole.then_some((service, method))
}

impl Plugin for Router {
    fn name(&self) -> &'static str {
        GrpcMethodRouter::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED.and(Phases::BEFORE_PROXY)
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let Some((service, method)) = service_and_method(cx.head.path()) else { return Flow::Continue };
        let (service, method) = (String::from_utf8_lossy(service), String::from_utf8_lossy(method));
        cx.metadata.set(FULL_METHOD, format!("{service}/{method}"));
        cx.metadata.set(SERVICE, service);
        cx.metadata.set(METHOD, method);
        Flow::Continue
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        match self.judge(cx, || self.rules.buckets.now_ns()) {
            Some(rejection) => Flow::Reject(Box::new(rejection)),
            None => Flow::Continue,
        }
    }
}

#[cfg(test)]
mod tests;
