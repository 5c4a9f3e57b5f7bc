//! `correlation_id`: every request carries an id that client, backend and logs share (plugins sheet §2.2).

use std::rc::Rc;

use engine::http::ResponseHead;
use serde_json::Value;
use uuid::Uuid;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, is_token, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, Rejection, RequestContext, Specs};

const DEFAULT_HEADER: &str = "x-request-id";
/// A longer value from a client is replaced.
const KEPT_BYTES_MAX: usize = 256;
/// Where the id stands in the metadata.
const REQUEST_ID: &str = "request_id";

#[derive(Clone, Debug, PartialEq)]
pub struct CorrelationId {
    header_name: String,
    echo_downstream: bool,
}

impl BuiltIn for CorrelationId {
    const NAME: &'static str = "correlation_id";
    const PRIORITY: u16 = 50;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key(
            "header_name",
            "string",
            "`x-request-id`",
            "the header that carries the id; blanks around it are dropped, and it is sent in lower case",
        ),
        key("echo_downstream", "boolean", "`true`", "whether responses carry the header too"),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let header_name = keys.text("header_name").unwrap_or(DEFAULT_HEADER).trim();
        if header_name.is_empty() {
            keys.refuse("header_name", "must not be empty");
        } else if !is_token(header_name) {
            keys.refuse(
                "header_name",
                format_args!("must be a valid header name (RFC 7230 token), got '{header_name}'"),
            );
        }
        let header_name = header_name.to_ascii_lowercase();
        let echo_downstream = keys.flag("echo_downstream", true);
        keys.finish(Self { header_name, echo_downstream })
    }
}

impl Specs for CorrelationId {
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

fn new_id() -> String {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    Uuid::new_v4().hyphenated().encode_lower(&mut text).to_owned()
}

impl Plugin for CorrelationId {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        let request = Phases::RECEIVED.and(Phases::BEFORE_PROXY);
        if self.echo_downstream { request.and(Phases::AFTER_PROXY).and(Phases::REJECTION) } else { request }
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let headers = &mut cx.head.headers;
        let kept = headers.get(&self.header_name).filter(|value| value.len() <= KEPT_BYTES_MAX).map(str::to_owned);
        let id = kept.unwrap_or_else(|| {
            let id = new_id();
            headers.set(&self.header_name, id.as_bytes());
            id
        });
        cx.metadata.set(REQUEST_ID, id);
        Flow::Continue
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        let Some(id) = cx.metadata.get(REQUEST_ID) else { return Flow::Continue };
        let mut present = cx.head.headers.all(&self.header_name);
        let is_set = present.next() == Some(id.as_bytes()) && present.next().is_none();
        drop(present);
        if !is_set {
            cx.head.headers.set(&self.header_name, id.as_bytes());
        }
        Flow::Continue
    }

    fn after_proxy<'a>(&'a self, cx: &'a mut RequestContext, response: &'a mut ResponseHead) -> Flow<'a> {
        if let Some(id) = cx.metadata.get(REQUEST_ID) {
            response.headers.set(&self.header_name, id.as_bytes());
        }
        Flow::Continue
    }

    fn on_rejection<'a>(&'a self, cx: &'a mut RequestContext, rejection: &'a mut Rejection) -> Flow<'a> {
        if let Some(id) = cx.metadata.get(REQUEST_ID) {
            rejection.set_header(&self.header_name, id);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ready, request};
    use crate::{AuthMode, Chain};
    use serde_json::json;

    fn plugin(config: Value) -> CorrelationId {
        CorrelationId::parse(&config).unwrap().spec
    }

    fn chain(config: Value) -> Chain {
        Chain::new(&[Rc::new(plugin(config)) as Rc<dyn Plugin>], AuthMode::Single)
    }

    /// The id after the request phases, having checked that request header and metadata agree.
    fn id_of(config: Value, headers: &[(&str, &str)], name: &str) -> String {
        let mut cx = request("GET /", headers);
        let chain = chain(config);
        ready(chain.on_request_received(&mut cx)).unwrap();
        ready(chain.before_proxy(&mut cx)).unwrap();
        let id = cx.metadata.get("request_id").unwrap();
        assert_eq!(cx.head.headers.all(name).collect::<Vec<_>>(), [id.as_bytes()]);
        id.to_owned()
    }

    #[test]
    fn a_request_without_an_id_gets_a_uuid_v4() {
        let one = id_of(json!({}), &[], "x-request-id");
        let two = id_of(Value::Null, &[], "x-request-id");
        assert_ne!(one, two);
        let parsed = Uuid::parse_str(&one).unwrap();
        assert_eq!(parsed.get_version_num(), 4);
        assert_eq!(parsed.hyphenated().to_string(), one);
    }

    #[test]
    fn an_id_of_at_most_256_bytes_is_kept() {
        let longest = "x".repeat(256);
        assert_eq!(id_of(json!({}), &[("X-Request-Id", &longest)], "x-request-id"), longest);
        assert_eq!(id_of(json!({}), &[("X-Request-Id", "")], "x-request-id"), "");
        let longer = "x".repeat(257);
        assert_eq!(id_of(json!({}), &[("X-Request-Id", &longer)], "x-request-id").len(), 36);
        assert_eq!(id_of(json!({}), &[("X-Request-Id", "ü")], "x-request-id").len(), 36);
    }

    #[test]
    fn the_last_of_repeated_ids_is_the_one_sent_on() {
        assert_eq!(id_of(json!({}), &[("x-request-id", "a"), ("X-Request-ID", "b")], "x-request-id"), "b");
    }

    #[test]
    fn the_header_may_have_another_name() {
        assert_eq!(id_of(json!({"header_name": " X-Trace "}), &[("x-trace", "t")], "x-trace"), "t");
    }

    #[test]
    fn responses_and_rejections_echo_the_id() {
        let mut cx = request("GET /", &[("x-request-id", "mine")]);
        let chain = chain(json!({}));
        ready(chain.on_request_received(&mut cx)).unwrap();
        let mut response = ResponseHead::new(200);
        response.headers.append("X-Request-ID", b"the backend's");
        ready(chain.after_proxy(&mut cx, &mut response)).unwrap();
        assert_eq!(response.headers.all("x-request-id").collect::<Vec<_>>(), [b"mine"]);
        let mut rejection = Rejection::json(401, "{}").with_header("X-Request-Id", "other");
        ready(chain.on_rejection(&mut cx, &mut rejection));
        assert_eq!(rejection.headers, [("x-request-id".to_owned(), "mine".to_owned())]);
    }

    #[test]
    fn without_echo_nothing_is_added_downstream() {
        let mut cx = request("GET /", &[]);
        let chain = chain(json!({"echo_downstream": false}));
        ready(chain.on_request_received(&mut cx)).unwrap();
        assert!(!chain.has_after_proxy());
        let mut rejection = Rejection::json(401, "{}");
        ready(chain.on_rejection(&mut cx, &mut rejection));
        assert!(rejection.headers.is_empty());
    }

    #[test]
    fn a_request_that_was_rejected_before_it_got_an_id_has_none() {
        let mut rejection = Rejection::json(403, "{}");
        ready(chain(json!({})).on_rejection(&mut request("GET /", &[]), &mut rejection));
        assert!(rejection.headers.is_empty());
    }

    #[test]
    fn configs_are_checked_key_by_key() {
        let default = CorrelationId { header_name: "x-request-id".into(), echo_downstream: true };
        assert_eq!(plugin(json!({"header_name": null, "echo_downstream": null})), default);
        let refused = |config| CorrelationId::parse(&config).unwrap_err();
        assert_eq!(refused(json!("x")), ["correlation_id: config must be an object"]);
        assert_eq!(refused(json!({"header_name": "  "})), ["correlation_id: 'header_name' must not be empty"]);
        assert_eq!(
            refused(json!({"header_name": "a b", "echo_downstream": "yes"})),
            [
                "correlation_id: 'header_name' must be a valid header name (RFC 7230 token), got 'a b'",
                "correlation_id: 'echo_downstream' must be a boolean"
            ]
        );
        assert_eq!(refused(json!({"header_name": 1})), ["correlation_id: 'header_name' must be a string"]);
        let warnings = CorrelationId::parse(&json!({"header": "x"})).unwrap().warnings;
        assert_eq!(warnings, ["correlation_id: unknown key 'header' is ignored"]);
    }
}
