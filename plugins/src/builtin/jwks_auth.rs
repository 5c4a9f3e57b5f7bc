//! `jwks_auth`: identifies callers by tokens that identity providers signed (plugins sheet §2.12).
//!
//! Tokens are verified on the core, with keys that are there already; see [`crate::outbound::jwks`]. How a token is verified is
//! the key's to say and never the token's.

mod config;
mod location;
mod verify;

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::credential::unix_now;
use crate::outbound::Services;
use crate::outbound::host;
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, RequestContext, Specs};

use config::{Config, KeySource};
use location::Location;
use verify::{Judged, Live, Passed, Verifier};

pub struct JwksAuth {
    config: Arc<Config>,
    /// Where the keys of each provider come from, once somebody has asked.
    live: OnceLock<Vec<Live>>,
}

impl BuiltIn for JwksAuth {
    const NAME: &'static str = "jwks_auth";
    const PRIORITY: u16 = 1000;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] = &[
        key("providers", "object[]", "*required*", "who signs tokens; see [below](#providers)"),
        key("scope_claim", "string", "`scope`", "where scopes stand in a token, as a dot path"),
        key("role_claim", "string", "`roles`", "where roles stand, as a dot path"),
        key("consumer_identity_claim", "string", "`sub`", "what identifies the caller, as a dot path"),
        key(
            "consumer_header_claim",
            "string",
            "the identity claim",
            "what the backend is told of a caller who is no consumer, as a dot path",
        ),
        key("require_exp", "boolean", "`true`", "a token without `exp` is refused"),
        key(
            "jwks_refresh_interval_secs",
            "integer",
            "`900`",
            "how often keys are fetched; at least 1, and more than a year is a year",
        ),
        key(
            "emit_mesh_request_principal_metadata",
            "boolean",
            "`false`",
            "leaves `iss/sub` in the metadata `mesh.request_principal`",
        ),
        key("claim_headers", "object", "none", "claim (as a dot path) to the backend header that gets its value"),
        key("claim_headers_separator", "string", "`,`", "between the values of a claim that is a list"),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let config = config::read(&mut keys);
        keys.finish(Self { config: Arc::new(config), live: OnceLock::new() })
    }
}

impl JwksAuth {
    fn live(&self, services: &Arc<Services>) -> &[Live] {
        let interval = self.config.refresh_interval;
        self.live.get_or_init(|| {
            let live = |source: &KeySource| match source {
                KeySource::Inline(keys) => Live::Inline(keys.clone()),
                KeySource::Uri(uri) => Live::Store(services.jwks(uri, Self::NAME, interval)),
                KeySource::Discovery(url) => Live::Discovery(services.discovered_jwks(url, Self::NAME, interval)),
            };
            self.config.providers.iter().map(|provider| live(&provider.keys)).collect()
        })
    }
}

impl Specs for JwksAuth {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn hosts(&self) -> Vec<String> {
        let urls = self.config.providers.iter().filter_map(|provider| match &provider.keys {
            KeySource::Inline(_) => None,
            KeySource::Uri(url) | KeySource::Discovery(url) => Some(url),
        });
        urls.filter_map(host).collect()
    }

    /// So that keys are likely to be there when the first request comes, and are fetched as often as this configuration says.
    fn start(&self, services: &Arc<Services>) {
        for live in self.live(services) {
            live.refresh_every(self.config.refresh_interval, services);
        }
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let verifier = Verifier::new(self.config.clone(), self.live(&env.services), env.core);
        Rc::new(Instance { config: self.config.clone(), verifier })
    }
}

/// The plugin on one core.
struct Instance {
    config: Arc<Config>,
    verifier: Verifier,
}

impl Plugin for Instance {
    fn name(&self) -> &'static str {
        JwksAuth::NAME
    }

    fn phases(&self) -> Phases {
        let has_headers = !self.config.claim_header_names.is_empty();
        let hides_tokens = self.config.providers.iter().any(|provider| !provider.forwards_token);
        let mut phases = Phases::AUTHENTICATE;
        if has_headers {
            phases = phases.and(Phases::RECEIVED);
        }
        if has_headers || hides_tokens {
            phases = phases.and(Phases::BEFORE_PROXY);
        }
        phases
    }

    /// A client cannot say of itself what only a token may say, whether or not it shows one.
    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        for name in &self.config.claim_header_names {
            cx.head.headers.remove(name);
        }
        Flow::Continue
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        // While a clock stands before 1970, whatever expires has expired.
        let now = unix_now().map_or(u64::MAX, |since| since.as_secs());
        let passed = match self.verifier.judge(cx, now) {
            Judged::NoToken => return Flow::Continue,
            Judged::Rejected(rejection) => return Flow::Reject(rejection),
            Judged::Passed(passed) => passed,
        };
        if let Some(identity) = &passed.identity {
            if let Some(consumer) = cx.facts.consumers.by_identity(identity) {
                cx.identify(consumer, JwksAuth::NAME);
            }
            cx.identify_external(identity.clone(), passed.display.clone(), JwksAuth::NAME);
        }
        if let Some(principal) = &passed.principal {
            cx.metadata.set("mesh.request_principal", principal.clone());
        }
        if !self.config.providers[passed.provider].forwards_token || !passed.headers.is_empty() {
            cx.keep(self, passed);
        }
        Flow::Continue
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let Some(passed) = cx.take_kept::<Rc<Passed>>(self) else { return Flow::Continue };
        let provider = &self.config.providers[passed.provider];
        if !provider.forwards_token {
            hide_token(cx, &provider.locations);
        }
        for (header, value) in &passed.headers {
            cx.head.headers.set(&provider.claim_headers[*header].name, value.as_bytes());
        }
        Flow::Continue
    }
}

fn hide_token(cx: &mut RequestContext, locations: &[Location]) {
    if locations.is_empty() {
        cx.head.headers.remove("authorization");
    }
    for location in locations {
        match location {
            Location::Header { name, .. } => cx.head.headers.remove(name),
            Location::Query(name) => cx.consumed_query.push(name.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
