//! `rate_limiting`: so many requests of one caller in so much time (plugins sheet §2.29).
//!
//! Who is counted by address is counted when the request is received; who is counted by name, when that is known.

mod config;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::limits::{Caller, Judgement, Limiter, Limits, Rule};
use crate::metrics::CoreCounts;
use crate::outbound::redis;
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, Rejection, RequestContext, Specs};
use engine::http::{Headers, ResponseHead};

/// What is left for the log and for the headers, and the headers' names.
const EXPOSED: [(&str, &str); 3] = [
    ("ratelimit_limit", "x-ratelimit-limit"),
    ("ratelimit_remaining", "x-ratelimit-remaining"),
    ("ratelimit_window", "x-ratelimit-window"),
];
/// Who is counted is for the log only.
const IDENTITY: &str = "ratelimit_identity";
/// The header that told it in earlier releases. A client's own is not passed off as ours.
const IDENTITY_HEADER: &str = "x-ratelimit-identity";

pub struct RateLimiting {
    checked: Arc<Checked>,
}

/// What the config says, for all cores.
struct Checked {
    limit_by: LimitBy,
    exposes: bool,
    limits: Arc<Limits>,
    /// The rule of those that none names.
    default_rule: usize,
    /// The rules of those that one names.
    rules_of: FxHashMap<String, usize>,
    /// Limit and window of each limit of each rule, as they stand in headers.
    texts: Vec<Vec<[String; 2]>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LimitBy {
    Ip,
    Consumer,
    /// Nobody has such an identity in this release, so its limits are those of the address, and apply as late as they would.
    Spiffe,
}

impl BuiltIn for RateLimiting {
    const NAME: &'static str = "rate_limiting";
    const PRIORITY: u16 = 2900;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key(
            "limit_by",
            "string",
            "`ip`",
            "whose requests are counted together: `ip`, `consumer` or `spiffe_identity` (also `spiffe`), in any case",
        ),
        key(
            "expose_headers",
            "boolean",
            "`false`",
            "tell limit, remaining requests and window in `x-ratelimit-*` headers",
        ),
        key(
            "window_seconds",
            "integer",
            "not set",
            "a window of this length, above 0; the three `requests_per_*` keys are then ignored",
        ),
        key("max_requests", "integer", "`10`", "requests per `window_seconds`, above 0; ignored without it"),
        key("requests_per_second", "integer", "not set", "requests per second, above 0"),
        key("requests_per_minute", "integer", "not set", "requests per 60 seconds, above 0"),
        key("requests_per_hour", "integer", "not set", "requests per 3600 seconds, above 0"),
        key(
            "limits",
            "object[]",
            "not set",
            "in the place of the five keys above: rules, one of them for everybody, the others for named consumers; see below",
        ),
        redis::SYNC_MODE,
        redis::URL,
        redis::TLS,
        redis::key_prefix("`{namespace}:rate_limiting`"),
        redis::POOL_SIZE,
        redis::CONNECT_TIMEOUT_SECONDS,
        redis::HEALTH_CHECK_INTERVAL_SECONDS,
        redis::USERNAME,
        redis::PASSWORD,
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let limit_by = limit_by(&mut keys);
        let exposes = keys.flag("expose_headers", false);
        let rules = config::rules(&mut keys, limit_by == LimitBy::Consumer);
        let synchronised = redis::sync_mode(&mut keys);
        let text = |rule: &Rule| {
            rule.limits.iter().map(|limit| [limit.requests.to_string(), limit.seconds.to_string()]).collect()
        };
        let checked = Checked {
            limit_by,
            exposes,
            texts: rules.rules.iter().map(text).collect(),
            limits: Limits::new(rules.rules, synchronised),
            default_rule: rules.default_rule,
            rules_of: rules.rules_of,
        };
        keys.finish(Self { checked: Arc::new(checked) })
    }
}

fn limit_by(keys: &mut Keys<'_>) -> LimitBy {
    // Here, and only here, a null is as good as nothing.
    if keys.raw("limit_by").is_none_or(Value::is_null) {
        return LimitBy::Ip;
    }
    let Some(text) = keys.text("limit_by") else { return LimitBy::Ip };
    match text.to_ascii_lowercase().as_str() {
        "ip" => LimitBy::Ip,
        "consumer" => LimitBy::Consumer,
        "spiffe_identity" | "spiffe" => {
            let plugin = keys.plugin();
            keys.warn(format!(
                "{plugin}: 'limit_by' '{text}' counts addresses: nobody has such an identity in this release"
            ));
            LimitBy::Spiffe
        }
        _ => {
            keys.refuse("limit_by", format_args!("must be 'ip', 'consumer' or 'spiffe_identity' (got '{text}')"));
            LimitBy::Ip
        }
    }
}

impl Specs for RateLimiting {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let limiter = self.checked.limits.on_core(Self::NAME, env);
        let counts = env.services.metrics.core(env.core);
        Rc::new(OnCore { checked: self.checked.clone(), limiter, counts })
    }

    fn hosts(&self) -> Vec<String> {
        self.checked.limits.hosts()
    }
}

/// The plugin on one core.
struct OnCore {
    checked: Arc<Checked>,
    limiter: Limiter,
    counts: Arc<CoreCounts>,
}

impl OnCore {
    /// Who asks, and by which rule.
    fn whose<'c>(&self, cx: &'c RequestContext) -> (usize, Caller<'c>) {
        let checked = &self.checked;
        let caller = self.caller(cx);
        let own = match caller {
            Caller::Consumer(identity) => checked.rules_of.get(identity).copied(),
            Caller::Address(_) => None,
        };
        (own.unwrap_or(checked.default_rule), caller)
    }

    fn caller<'c>(&self, cx: &'c RequestContext) -> Caller<'c> {
        Caller::of(cx, self.checked.limit_by == LimitBy::Consumer)
    }

    #[inline]
    fn judge<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if self.limiter.is_shared() {
            return Flow::Wait(Box::pin(self.judge_shared(cx)));
        }
        let (rule, caller) = self.whose(cx);
        // Who is counted when received was received just now; until others are known, time may have passed.
        let at = if self.checked.limit_by == LimitBy::Ip { cx.received } else { Instant::now() };
        let judgement = self.limiter.judge(rule, caller, at);
        self.answer(cx, rule, judgement)
    }

    async fn judge_shared(&self, cx: &mut RequestContext) -> Flow<'static> {
        let began = Instant::now();
        let (rule, caller) = self.whose(cx);
        let judgement = self.limiter.judge_shared(rule, caller).await;
        cx.plugin_io_ns += began.elapsed().as_nanos() as u64;
        self.answer(cx, rule, judgement)
    }

    #[inline]
    fn answer(&self, cx: &mut RequestContext, rule: usize, judgement: Judgement) -> Flow<'static> {
        if self.checked.exposes {
            self.expose(cx, rule, judgement);
        }
        match judgement {
            Judgement::Admitted { .. } => Flow::Continue,
            Judgement::Refused { .. } => {
                self.counts.rate_limit_exceeded.one();
                Flow::Reject(Box::new(self.refusal(cx)))
            }
        }
    }

    fn expose(&self, cx: &mut RequestContext, rule: usize, judgement: Judgement) {
        let (limit, remaining) = match judgement {
            Judgement::Admitted { limit, remaining } => (limit, remaining),
            Judgement::Refused { limit } => (limit, 0),
        };
        let identity = self.caller(cx).to_string();
        let [requests, seconds] = self.checked.texts[rule][limit].clone();
        for ((key, _), value) in EXPOSED.iter().zip([requests, remaining.to_string(), seconds]) {
            cx.metadata.set(*key, value);
        }
        cx.metadata.set(IDENTITY, identity);
    }

    #[cold]
    fn refusal(&self, cx: &RequestContext) -> Rejection {
        let mut rejection = Rejection::json(429, r#"{"error":"Rate limit exceeded"}"#);
        if self.checked.exposes {
            for (name, value) in exposed(cx) {
                rejection.set_header(name, value);
            }
        }
        rejection
    }
}

/// The headers that tell what was found.
fn exposed(cx: &RequestContext) -> impl Iterator<Item = (&'static str, &str)> {
    EXPOSED.iter().filter_map(|(key, name)| Some((*name, cx.metadata.get(key)?)))
}

impl Plugin for OnCore {
    fn name(&self) -> &'static str {
        RateLimiting::NAME
    }

    fn phases(&self) -> Phases {
        let counts = if self.checked.limit_by == LimitBy::Ip { Phases::RECEIVED } else { Phases::AUTHORIZE };
        if self.checked.exposes { counts.and(Phases::BEFORE_PROXY).and(Phases::AFTER_PROXY) } else { counts }
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.judge(cx)
    }

    fn authorize<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.judge(cx)
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        for (key, name) in EXPOSED {
            if let Some(value) = cx.metadata.get(key) {
                cx.head.headers.set(name, value.as_bytes());
            }
        }
        cx.head.headers.remove(IDENTITY_HEADER);
        Flow::Continue
    }

    fn after_proxy<'a>(&'a self, cx: &'a mut RequestContext, response: &'a mut ResponseHead) -> Flow<'a> {
        let headers: &mut Headers = &mut response.headers;
        exposed(cx).for_each(|(name, value)| headers.set(name, value.as_bytes()));
        Flow::Continue
    }
}

#[cfg(test)]
mod tests;
