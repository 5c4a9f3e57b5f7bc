//! `request_size_limiting`: refuses requests whose body is longer than a limit (plugins sheet §2.26).
//!
//! It makes no body whole to measure it: what is announced is believed, and what is whole for another reason is measured.

use std::rc::Rc;

use engine::http::{Headers, Known};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, Rejection, RequestContext, Specs};

#[derive(Clone, Debug)]
pub struct RequestSizeLimiting {
    max_bytes: u64,
    /// The answer to what is longer.
    too_large: Rejection,
}

impl BuiltIn for RequestSizeLimiting {
    const NAME: &'static str = "request_size_limiting";
    const PRIORITY: u16 = 2800;
    const PROTOCOLS: Protocols = Protocols::of(&[Protocol::Http, Protocol::Grpc]);
    const KEYS: &'static [Key] =
        &[key("max_bytes", "integer", "*required*", "the length that a body may have, above 0")];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        const KEY: &str = "max_bytes";
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let max_bytes = match keys.value(KEY).and_then(Value::as_u64) {
            None => {
                keys.refuse(KEY, "is required and must be an integer above zero");
                0
            }
            Some(0) => {
                keys.refuse(KEY, "must be greater than zero");
                0
            }
            Some(max_bytes) => max_bytes,
        };
        let text = format!(r#"{{"error":"Request body too large","limit":{max_bytes}}}"#);
        keys.finish(Self { max_bytes, too_large: Rejection::json(413, &text) })
    }
}

impl Specs for RequestSizeLimiting {
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

/// What the request announces. Repetitions in a list are equal, which has been checked before plugins see it.
fn announced_bytes(headers: &Headers) -> Option<u64> {
    let value = headers.first(Known::ContentLength)?;
    let first = value.split(|byte| *byte == b',').next()?.trim_ascii();
    std::str::from_utf8(first).ok()?.parse().ok()
}

impl RequestSizeLimiting {
    fn judge(&self, bytes: Option<u64>) -> Flow<'static> {
        if bytes.is_some_and(|bytes| bytes > self.max_bytes) {
            return Flow::Reject(Box::new(self.too_large.clone()));
        }
        Flow::Continue
    }

    /// The body, if another plugin made it whole.
    fn judge_body(&self, cx: &RequestContext) -> Flow<'static> {
        self.judge(cx.body.as_ref().map(|body| body.len() as u64))
    }
}

impl Plugin for RequestSizeLimiting {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED.and(Phases::BEFORE_PROXY).and(Phases::FINAL_REQUEST_BODY)
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.judge(announced_bytes(&cx.head.headers))
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.judge_body(cx)
    }

    fn on_final_request_body<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.judge_body(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ready, request};
    use crate::{AuthMode, Buffering, Chain, Verdict};
    use serde_json::json;

    /// Wants no body, and doubles those that are there.
    struct Doubling;

    impl Plugin for Doubling {
        fn name(&self) -> &'static str {
            "doubling"
        }

        fn phases(&self) -> Phases {
            Phases::REQUEST_BODY
        }

        fn transform_request_body<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
            cx.body = cx.body.take().map(|body| body.repeat(2));
            Flow::Continue
        }
    }

    fn limit(max_bytes: u64) -> Rc<dyn Plugin> {
        Rc::new(RequestSizeLimiting::parse(&json!({"max_bytes": max_bytes})).unwrap().spec)
    }

    fn chain(max_bytes: u64) -> Chain {
        Chain::new(&[limit(max_bytes)], AuthMode::Single)
    }

    #[track_caller]
    fn too_large(verdict: Verdict, max_bytes: u64) {
        let rejection = verdict.unwrap_err();
        let text = format!(r#"{{"error":"Request body too large","limit":{max_bytes}}}"#);
        assert_eq!((rejection.status, String::from_utf8(rejection.body).unwrap()), (413, text));
        assert!(rejection.headers.is_empty());
    }

    fn announcing(max_bytes: u64, length: &str) -> Verdict {
        let mut cx = request("POST /", &[("Content-Length", length)]);
        ready(chain(max_bytes).on_request_received(&mut cx))
    }

    #[test]
    fn an_announced_length_may_be_the_limit_and_not_more() {
        for fine in ["0", "10", "010", "10, 10"] {
            announcing(10, fine).unwrap();
        }
        for more in ["11", "011", "11, 11", "18446744073709551615"] {
            too_large(announcing(10, more), 10);
        }
        announcing(u64::MAX, "18446744073709551615").unwrap();
        ready(chain(1).on_request_received(&mut request("POST /", &[("Transfer-Encoding", "chunked")]))).unwrap();
    }

    #[test]
    fn a_body_that_was_read_early_is_measured_before_the_backend_hears_of_it() {
        let before_proxy = |length: usize| {
            let mut cx = request("POST /", &[("Transfer-Encoding", "chunked")]);
            cx.body = Some(vec![b'x'; length]);
            ready(chain(10).before_proxy(&mut cx))
        };
        before_proxy(0).unwrap();
        before_proxy(10).unwrap();
        too_large(before_proxy(11), 10);
        ready(chain(10).before_proxy(&mut request("POST /", &[]))).unwrap();
    }

    #[test]
    fn what_counts_in_the_end_is_the_body_the_backend_would_get() {
        let chain = Chain::new(&[limit(10), Rc::new(Doubling)], AuthMode::Single);
        let final_body = |length: usize| {
            let mut cx = request("POST /", &[]);
            cx.body = Some(vec![b'x'; length]);
            ready(chain.before_proxy(&mut cx)).unwrap();
            ready(chain.request_body(&mut cx))
        };
        final_body(5).unwrap();
        too_large(final_body(6), 10);
    }

    #[test]
    fn no_body_is_made_whole_to_measure_it() {
        let chain = chain(10);
        assert_eq!(chain.request_buffering(), Buffering::Never);
        assert!(!chain.wants_request_body(&mut request("POST /", &[]), Buffering::BeforeBackend));
    }

    #[test]
    fn wrong_configs_are_refused_with_key_and_reason() {
        let refused = |config| RequestSizeLimiting::parse(&config).unwrap_err();
        for config in [Value::Null, json!(10), json!([])] {
            assert_eq!(refused(config), ["request_size_limiting: config must be an object"]);
        }
        let missing = "request_size_limiting: 'max_bytes' is required and must be an integer above zero";
        for config in [json!({}), json!({"max_bytes": null}), json!({"max_bytes": "10"}), json!({"max_bytes": 10.0})] {
            assert_eq!(refused(config), [missing]);
        }
        assert_eq!(refused(json!({"max_bytes": -1})), [missing]);
        assert_eq!(refused(json!({"max_bytes": 0})), ["request_size_limiting: 'max_bytes' must be greater than zero"]);
        let warnings = RequestSizeLimiting::parse(&json!({"max_bytes": 1, "max": 2})).unwrap().warnings;
        assert_eq!(warnings, ["request_size_limiting: unknown key 'max' is ignored"]);
    }
}
