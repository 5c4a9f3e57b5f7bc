//! `request_transformer`: edits headers, query parameters and JSON bodies of requests (traffic plugins sheet §2.1).

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::BuiltIn;
use super::transform::{
    Dialect, QueryFields, RULE_KEYS, RequestFields, Rewriter, Rules, Target, edit, is_encoded, is_json,
};
use crate::config::{Key, Keys, Null, Parsed};
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
    const KEYS: &'static [Key] = &RULE_KEYS;

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
        Rc::new(Transformer(Rewriter::new(self.rules.clone(), env.services.runtime.clone())))
    }
}

struct Transformer(Rewriter);

impl Transformer {
    fn rules(&self) -> &Rules {
        self.0.rules()
    }
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
        let edits_head = !self.rules().headers.is_empty() || !self.rules().query.is_empty();
        let head = if edits_head { Phases::BEFORE_PROXY } else { Phases::NONE };
        if self.rules().body.is_empty() { head } else { head.and(Phases::REQUEST_BODY) }
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        edit(&self.rules().headers, RequestFields(&mut cx.head.headers));
        edit(&self.rules().query, QueryFields(cx));
        Flow::Continue
    }

    fn request_buffering(&self) -> Buffering {
        if self.rules().body.is_empty() { Buffering::Never } else { Buffering::BeforeBackend }
    }

    fn wants_request_body(&self, cx: &mut RequestContext) -> bool {
        may_be_json(cx)
    }

    fn transform_request_body<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if !may_be_json(cx) {
            return Flow::Continue;
        }
        let Some(body) = cx.body.take() else { return Flow::Continue };
        match self.0.rewrite_short(body) {
            Ok(body) => {
                cx.body = Some(body);
                Flow::Continue
            }
            Err(body) => Flow::Wait(Box::pin(async move {
                cx.body = self.0.rewrite_long(body).await;
                if cx.body.is_some() { Flow::Continue } else { Flow::reject(500, NOT_REWRITTEN) }
            })),
        }
    }
}

/// The gateway is ending.
const NOT_REWRITTEN: &str = r#"{"error":"Request body could not be transformed"}"#;

#[cfg(test)]
mod tests;
