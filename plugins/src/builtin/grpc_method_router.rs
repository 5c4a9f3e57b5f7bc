//! `grpc_method_router`: lets gRPC methods through or not by name, and limits how often a caller may use each (plugins
//! sheet §2.8).
//!
//! What is known of a method is put together when the config is parsed, so that a request costs one look-up.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::limits::{self, Caller, Counting, Judgement, Limiter, Limits};
use crate::outbound::redis::{self, Synchronised};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, Rejection, RequestContext, Specs, query};

const SERVICE: &str = "grpc_service";
const METHOD: &str = "grpc_method";
/// `package.Service/Method`.
const FULL_METHOD: &str = "grpc_full_method";

/// The keys of which at least one must say something.
const RULES: [&str; 3] = ["allow_methods", "deny_methods", "method_rate_limits"];

const MAX_REQUESTS: &str = "max_requests";
const WINDOW_SECONDS: &str = "window_seconds";
/// What a limit has.
const LIMIT_KEYS: [&str; 2] = [MAX_REQUESTS, WINDOW_SECONDS];

pub struct GrpcMethodRouter {
    rules: Arc<Rules>,
}

struct Rules {
    /// Every method that the config names.
    methods: FxHashMap<String, Rule>,
    /// Whether the methods it does not name are let through.
    permits_others: bool,
    limit_by: LimitBy,
    /// One rule per limited method.
    limits: Arc<Limits>,
}

struct Rule {
    is_permitted: bool,
    limit: Option<Limit>,
}

struct Limit {
    max_requests: u64,
    /// Its place among the rules.
    rule: usize,
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
        redis::SYNC_MODE,
        redis::URL,
        redis::TLS,
        redis::key_prefix("`{namespace}:grpc_method_router`"),
        redis::POOL_SIZE,
        redis::CONNECT_TIMEOUT_SECONDS,
        redis::HEALTH_CHECK_INTERVAL_SECONDS,
        redis::USERNAME,
        redis::PASSWORD,
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
        let synchronised = redis::sync_mode(&mut keys);
        keys.finish(Self { rules: Arc::new(Rules::new(allowed, denied, limits, limit_by, synchronised)) })
    }
}

impl Rules {
    fn new(
        allowed: Option<FxHashSet<&str>>,
        denied: FxHashSet<&str>,
        limits: Vec<(&str, limits::Limit)>,
        limit_by: LimitBy,
        synchronised: Option<Synchronised>,
    ) -> Self {
        let is_permitted =
            |name: &str| !denied.contains(name) && allowed.as_ref().is_none_or(|allowed| allowed.contains(name));
        let listed = allowed.iter().flatten().chain(&denied);
        let named = listed.copied().chain(limits.iter().map(|(name, _)| *name));
        let rule = |name: &str| (name.to_owned(), Rule { is_permitted: is_permitted(name), limit: None });
        let mut methods: FxHashMap<String, Rule> = named.map(rule).collect();
        for (index, (name, limit)) in limits.iter().enumerate() {
            if let Some(rule) = methods.get_mut(*name) {
                rule.limit = Some(Limit { max_requests: limit.requests.get(), rule: index });
            }
        }
        let rule = |(name, limit): &(&str, limits::Limit)| limits::Rule {
            limits: vec![*limit],
            name: Some((*name).to_owned()),
        };
        let limits = Limits::new(limits.iter().map(rule).collect(), synchronised);
        Self { methods, permits_others: allowed.is_none(), limit_by, limits }
    }
}

/// A list of allowed methods says something even when it is empty; the other rules do not.
fn says_something(keys: &Keys<'_>, key: &str) -> bool {
    keys.value(key).is_some_and(|value| match value {
        Value::Array(list) => key == "allow_methods" || !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    })
}

/// None when the key is not set. What is wrong is left out.
fn method_list<'a>(keys: &mut Keys<'a>, key: &str) -> Option<FxHashSet<&'a str>> {
    let value = keys.value(key)?;
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

fn method_rate_limits<'a>(keys: &mut Keys<'a>) -> Vec<(&'a str, limits::Limit)> {
    const KEY: &str = "method_rate_limits";
    let Some(value) = keys.value(KEY) else { return Vec::new() };
    let Value::Object(map) = value else {
        keys.refuse(KEY, "must be an object");
        return Vec::new();
    };
    let (mut limits, mut names) = (Vec::new(), FxHashSet::default());
    for (text, value) in map {
        let key = format!("{KEY}[{text}]");
        add_name(keys, &key, text, &mut names);
        let Some(mut limit) = keys.within(&key, &LIMIT_KEYS, value) else { continue };
        let pair = [MAX_REQUESTS, WINDOW_SECONDS].map(|name| required(&mut limit, name));
        keys.absorb(limit);
        if let (Some(name), [Some(requests), Some(seconds)]) = (normalised(text), pair) {
            limits.push((name, limits::Limit { requests, seconds, counting: Counting::TokenBucket }));
        }
    }
    limits
}

fn required(limit: &mut Keys<'_>, name: &str) -> Option<NonZeroU64> {
    if limit.value(name).is_none() {
        limit.refuse(name, "is required");
    }
    NonZeroU64::new(limit.positive(name)?)
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

impl Specs for GrpcMethodRouter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        Rc::new(Router { rules: self.rules.clone(), limiter: self.rules.limits.on_core(Self::NAME, env) })
    }

    fn hosts(&self) -> Vec<String> {
        self.rules.limits.hosts()
    }
}

/// The plugin on one core.
struct Router {
    rules: Arc<Rules>,
    limiter: Limiter,
}

/// What a name alone says about a call.
enum Permission<'r> {
    Open,
    Limited(&'r Limit),
    Denied(Rejection),
}

impl Router {
    fn permission(&self, cx: &RequestContext) -> Permission<'_> {
        let Some(name) = cx.metadata.get(FULL_METHOD) else {
            return match self.rules.permits_others {
                true => Permission::Open,
                false => Permission::Denied(Rejection::error(403, "gRPC method is not permitted")),
            };
        };
        let rule = self.rules.methods.get(name);
        if !rule.map_or(self.rules.permits_others, |rule| rule.is_permitted) {
            return Permission::Denied(Rejection::error(403, &format!("gRPC method '{name}' is not permitted")));
        }
        rule.and_then(|rule| rule.limit.as_ref()).map_or(Permission::Open, Permission::Limited)
    }

    fn answer(limit: &Limit, cx: &RequestContext, judgement: Judgement) -> Flow<'static> {
        if let Judgement::Admitted { .. } = judgement {
            return Flow::Continue;
        }
        let name = cx.metadata.get(FULL_METHOD).unwrap_or_default();
        let rejection = Rejection::error(429, &format!("Rate limit exceeded for gRPC method '{name}'"))
            .with_header("x-grpc-ratelimit-limit", &limit.max_requests.to_string())
            .with_header("x-grpc-ratelimit-remaining", "0")
            .with_header("x-grpc-ratelimit-method", name);
        Flow::Reject(Box::new(rejection))
    }

    async fn judge_shared(&self, limit: &Limit, cx: &mut RequestContext) -> Flow<'static> {
        let began = Instant::now();
        let judgement = self.limiter.judge_shared(limit.rule, self.caller(cx)).await;
        cx.plugin_io_ns += began.elapsed().as_nanos() as u64;
        Self::answer(limit, cx, judgement)
    }

    fn caller<'c>(&self, cx: &'c RequestContext) -> Caller<'c> {
        Caller::of(cx, self.rules.limit_by == LimitBy::Consumer)
    }
}

/// Service and method of a path of exactly two segments.
fn service_and_method(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let is_whole = !service.is_empty() && !method.is_empty() && !method.contains('/');
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
        // A backend may decode it, so that `/a.B/%43` is a call of `a.B/C`.
        let path = query::decode(cx.head.path());
        let Some((service, method)) = service_and_method(&path) else { return Flow::Continue };
        cx.metadata.set(FULL_METHOD, format!("{service}/{method}"));
        cx.metadata.set(SERVICE, service);
        cx.metadata.set(METHOD, method);
        Flow::Continue
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        match self.permission(cx) {
            Permission::Open => Flow::Continue,
            Permission::Denied(rejection) => Flow::Reject(Box::new(rejection)),
            Permission::Limited(limit) if self.limiter.is_shared() => {
                Flow::Wait(Box::pin(self.judge_shared(limit, cx)))
            }
            Permission::Limited(limit) => {
                let judgement = self.limiter.judge(limit.rule, self.caller(cx), Instant::now());
                Self::answer(limit, cx, judgement)
            }
        }
    }
}

#[cfg(test)]
mod tests;
