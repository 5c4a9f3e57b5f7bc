//! `response_transformer`: edits headers and JSON bodies of responses (traffic plugins sheet §2.2).

use std::rc::Rc;
use std::sync::Arc;

use engine::http::ResponseHead;
use serde_json::Value;

use super::BuiltIn;
use super::transform::{Dialect, RULE_KEYS, RejectionFields, ResponseFields, Rewriter, Rules, Target, edit, is_json};
use crate::config::{Key, Keys, Null, Parsed};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, Rejection, RequestContext, Specs, WholeResponse};

const DIALECT: Dialect =
    Dialect { targets: &[Target::Header, Target::Body], refuses_bad_names: true, sends_obs_text: true };

#[derive(Clone, Debug, PartialEq)]
pub struct ResponseTransformer {
    rules: Arc<Rules>,
}

impl BuiltIn for ResponseTransformer {
    const NAME: &'static str = "response_transformer";
    const PRIORITY: u16 = 4000;
    const PROTOCOLS: Protocols = Protocols::of(&[Protocol::Http, Protocol::Grpc]);
    const KEYS: &'static [Key] = &RULE_KEYS;

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let rules = Arc::new(Rules::read(&mut keys, DIALECT));
        keys.finish(Self { rules })
    }
}

impl Specs for ResponseTransformer {
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

impl Plugin for Transformer {
    fn name(&self) -> &'static str {
        ResponseTransformer::NAME
    }

    fn phases(&self) -> Phases {
        let head =
            if self.rules().headers.is_empty() { Phases::NONE } else { Phases::AFTER_PROXY.and(Phases::REJECTION) };
        let body = Phases::BEFORE_PROXY.and(Phases::RESPONSE_BUFFERING).and(Phases::RESPONSE_TRANSFORM);
        if self.rules().body.is_empty() { head } else { head.and(body) }
    }

    /// The backend is asked for the whole body and in the clear: neither a part nor what is compressed can be rewritten.
    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let headers = &mut cx.head.headers;
        headers.set("accept-encoding", b"identity");
        headers.remove("range");
        headers.remove("if-range");
        Flow::Continue
    }

    fn after_proxy<'a>(&'a self, _cx: &'a mut RequestContext, response: &'a mut ResponseHead) -> Flow<'a> {
        edit(&self.rules().headers, ResponseFields(&mut response.headers));
        Flow::Continue
    }

    fn on_rejection<'a>(&'a self, _cx: &'a mut RequestContext, rejection: &'a mut Rejection) -> Flow<'a> {
        edit(&self.rules().headers, RejectionFields(rejection));
        Flow::Continue
    }

    /// The response decides: what a client says it accepts must not switch rules off.
    fn wants_body_of(&self, _cx: &RequestContext, response: &ResponseHead) -> bool {
        is_json(&response.headers)
    }

    fn transform_response_body<'a>(
        &'a self,
        _cx: &'a mut RequestContext,
        response: &'a mut WholeResponse<'_>,
    ) -> Flow<'a> {
        if !is_json(&response.head.headers) {
            return Flow::Continue;
        }
        match self.0.rewrite_short(std::mem::take(&mut response.body)) {
            Ok(body) => {
                response.body = body;
                Flow::Continue
            }
            Err(body) => Flow::Wait(Box::pin(async move {
                match self.0.rewrite_long(body).await {
                    Some(body) => response.body = body,
                    None => return Flow::reject(502, NOT_REWRITTEN),
                }
                Flow::Continue
            })),
        }
    }
}

/// The gateway is ending.
const NOT_REWRITTEN: &str = r#"{"error":"Response body could not be transformed"}"#;

#[cfg(test)]
mod tests;
