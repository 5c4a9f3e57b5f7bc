//! `request_transformer`: edits headers, query parameters and JSON bodies of requests (traffic plugins sheet §2.1).

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::BuiltIn;
use super::transform::{Dialect, QueryFields, RequestFields, Rewriter, Rules, Target, edit, is_encoded, is_json};
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{Buffering, CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, RequestContext, Specs};

const DIALECT: Dialect = Dialect {
    targets: &[Target::Header, Target::Query, Target::Body],
    refuses_bad_names: false,
    sends_obs_text: false,
};

#[derive(Clone, Debug, PartialEq)]
pub struct RequestTransformer {
    rules: Arc<Rules>,
}

impl BuiltIn for RequestTransformer {
    const NAME: &'static str = "request_transformer";
    const PRIORITY: u16 = 3000;
    const PROTOCOLS: Protocols = Protocols::of(&[Protocol::Http, Protocol::Grpc]);
    const KEYS: &'static [Key] = &[
        key(
            "rules",
            "object[]",
            "`[]`",
            "what is edited, see below; at least one rule unless `apply_route_overrides` is true",
        ),
        key(
            "apply_route_overrides",
            "boolean",
            "`false`",
            "whether the transforms of the matched `mesh_route_dispatch` rule are applied, so that no rule is needed here; that \
             plugin is not in this release, so there are none, which a warning says",
        ),
        key(
            "runtime_overlay_scope",
            "string",
            "none",
            "names the key `ferrum.request_transformer.<scope>.enabled` of the runtime overlay; this release has no overlay, \
             which a warning says",
        ),
        key(
            "default_enabled",
            "boolean",
            "`true`",
            "`false` switches all rules off as long as no overlay says otherwise",
        ),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let rules = Arc::new(Rules::read(&mut keys, DIALECT));
        keys.finish(Self { rules })
    }
}

impl Specs for RequestTransformer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let rewriter = Rewriter::new(self.rules.body.clone(), env.services.runtime.clone());
        Rc::new(Transformer { rules: self.rules.clone(), rewriter })
    }
}

struct Transformer {
    rules: Arc<Rules>,
    rewriter: Rewriter,
}

/// A body without a type may be JSON.
fn may_be_json(cx: &RequestContext) -> bool {
    let headers = &cx.head.headers;
    is_json(headers) || (headers.get("content-type").is_none() && !is_encoded(headers))
}

impl Plugin for Transformer {
    fn name(&self) -> &'static str {
        RequestTransformer::NAME
    }

    fn phases(&self) -> Phases {
        let edits_head = !self.rules.headers.is_empty() || !self.rules.query.is_empty();
        let head = if edits_head { Phases::BEFORE_PROXY } else { Phases::NONE };
        if self.rules.body.is_empty() { head } else { head.and(Phases::REQUEST_BODY) }
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        edit(&self.rules.headers, RequestFields(&mut cx.head.headers));
        edit(&self.rules.query, QueryFields(cx));
        Flow::Continue
    }

    fn request_buffering(&self) -> Buffering {
        if self.rules.body.is_empty() { Buffering::Never } else { Buffering::BeforeBackend }
    }

    fn wants_request_body(&self, cx: &RequestContext) -> bool {
        may_be_json(cx)
    }

    fn transform_request_body<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if !may_be_json(cx) {
            return Flow::Continue;
        }
        let Some(body) = cx.body.take() else { return Flow::Continue };
        match self.rewriter.rewrite_short(body) {
            Ok(body) => {
                cx.body = Some(body);
                Flow::Continue
            }
            Err(body) => Flow::Wait(Box::pin(async move {
                cx.body = self.rewriter.rewrite_long(body).await;
                if cx.body.is_some() { Flow::Continue } else { Flow::reject(500, NOT_REWRITTEN) }
            })),
        }
    }
}

/// The gateway is ending.
const NOT_REWRITTEN: &str = r#"{"error":"Request body could not be transformed"}"#;

#[cfg(test)]
mod tests;
