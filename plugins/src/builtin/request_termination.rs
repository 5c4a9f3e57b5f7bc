//! `request_termination`: answers requests itself, all of them or those of a path or with a header (plugins sheet §2.4).
//!
//! The answer is laid out when the config is parsed.

use std::rc::Rc;

use serde_json::{Value, json};

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, is_token, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, Rejection, RequestContext, Specs};

const DEFAULT_STATUS: u16 = 503;
const DEFAULT_CONTENT_TYPE: &str = "application/json";
const DEFAULT_MESSAGE: &str = "Service unavailable";
const TRIGGER: &str = "trigger";
const PATH_PREFIX: &str = "path_prefix";
const HEADER: &str = "header";
const HEADER_VALUE: &str = "header_value";
/// What a trigger may have.
const TRIGGER_KEYS: [&str; 3] = [PATH_PREFIX, HEADER, HEADER_VALUE];

#[derive(Clone, Debug)]
pub struct RequestTermination {
    trigger: Trigger,
    answer: Rejection,
}

/// Which requests are answered here.
#[derive(Clone, Debug, PartialEq)]
enum Trigger {
    Always,
    PathPrefix(String),
    /// Those with that header; with that value, if one is given.
    Header {
        name: String,
        value: Option<String>,
    },
}

impl BuiltIn for RequestTermination {
    const NAME: &'static str = "request_termination";
    const PRIORITY: u16 = 125;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] = &[
        key("status_code", "integer", "`503`", "the status of the answer, 200-599"),
        key("content_type", "string", "`application/json`", "its `content-type`; blanks around it are dropped"),
        key(
            "body",
            "string",
            "none",
            "its body as it is, an empty one too; without this key the body is made of `message`",
        ),
        key("message", "string", "`Service unavailable`", "what the body says when there is no `body`"),
        key("trigger", "object", "every request", "which requests are answered; see [below](#trigger)"),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let status = keys.status("status_code", DEFAULT_STATUS);
        let content_type = keys.text("content_type").unwrap_or(DEFAULT_CONTENT_TYPE).trim();
        if content_type.is_empty() {
            keys.refuse("content_type", "must not be empty");
        } else if content_type.chars().any(|letter| letter.is_control() && letter != '\t') {
            keys.refuse("content_type", "has a character that no header value may have");
        }
        let body = keys.text("body");
        let message = keys.text("message").unwrap_or(DEFAULT_MESSAGE);
        let trigger = trigger(&mut keys);
        let body = body.map_or_else(|| body_saying(message, status, content_type), str::to_owned);
        let answer = Rejection { status, headers: Vec::new(), body: body.into_bytes() };
        let answer = answer.with_header("content-type", content_type);
        keys.finish(Self { trigger, answer })
    }
}

/// The message in the words of that media type.
fn body_saying(message: &str, status: u16, content_type: &str) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    let is = |format: &str| subtype == format || subtype.rsplit_once('+').is_some_and(|(_, suffix)| suffix == format);
    if is("json") {
        return format!(r#"{{"message":{},"status_code":{status}}}"#, json!(message));
    }
    if is("xml") {
        let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let (head, status) = (r#"<?xml version="1.0"?>"#, format_args!("<status_code>{status}</status_code>"));
        return format!("{head}<response><message>{message}</message>{status}</response>");
    }
    message.to_owned()
}

fn trigger(keys: &mut Keys<'_>) -> Trigger {
    let Some(value) = keys.value(TRIGGER) else { return Trigger::Always };
    let Some(mut members) = keys.within(TRIGGER, &TRIGGER_KEYS, value) else { return Trigger::Always };
    let trigger = match (members.raw(PATH_PREFIX), members.raw(HEADER)) {
        (Some(prefix), None) => Some(path_prefix(&mut members, prefix)),
        (None, Some(name)) => Some(header(&mut members, name)),
        _ => None,
    };
    keys.absorb(members);
    trigger.unwrap_or_else(|| {
        keys.refuse(TRIGGER, format_args!("must have either '{PATH_PREFIX}' or '{HEADER}'"));
        Trigger::Always
    })
}

fn path_prefix(members: &mut Keys<'_>, prefix: &Value) -> Trigger {
    if members.raw(HEADER_VALUE).is_some() {
        members.warn_of(HEADER_VALUE, format_args!("has no effect without '{TRIGGER}.{HEADER}'"));
    }
    match prefix.as_str() {
        None => members.refuse(PATH_PREFIX, "must be a string"),
        Some("") => members.refuse(PATH_PREFIX, "must not be empty"),
        Some("*") => {}
        Some(prefix) if prefix.starts_with('/') => {}
        Some(prefix) => members.refuse(PATH_PREFIX, format_args!("must begin with '/' or be '*' (got '{prefix}')")),
    }
    Trigger::PathPrefix(prefix.as_str().unwrap_or_default().to_owned())
}

fn header(members: &mut Keys<'_>, name: &Value) -> Trigger {
    match name.as_str() {
        None => members.refuse(HEADER, "must be a string"),
        Some(name) if !is_token(name) => members.refuse(HEADER, format_args!("must be a header name (got '{name}')")),
        Some(_) => {}
    }
    let value = members.text(HEADER_VALUE).filter(|value| !value.is_empty()).map(str::to_owned);
    Trigger::Header { name: name.as_str().unwrap_or_default().to_owned(), value }
}

impl Specs for RequestTermination {
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

impl Trigger {
    fn fits(&self, cx: &RequestContext) -> bool {
        match self {
            Trigger::Always => true,
            Trigger::PathPrefix(prefix) => cx.head.path().starts_with(prefix.as_bytes()),
            Trigger::Header { name, value } => {
                let present = cx.head.headers.get(name);
                present.is_some_and(|present| value.as_deref().is_none_or(|value| present == value))
            }
        }
    }
}

impl Plugin for RequestTermination {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if self.trigger.fits(cx) { Flow::Reject(Box::new(self.answer.clone())) } else { Flow::Continue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ready, request};
    use crate::{AuthMode, Chain};

    /// The answer; None when the request goes on.
    fn ask(config: &Value, line: &str, headers: &[(&str, &str)]) -> Option<Rejection> {
        let plugin: Rc<dyn Plugin> = Rc::new(RequestTermination::parse(config).unwrap().spec);
        let verdict = ready(Chain::new(&[plugin], AuthMode::Single).on_request_received(&mut request(line, headers)));
        verdict.err().map(|rejection| *rejection)
    }

    fn answer(config: Value) -> (u16, String, String) {
        let rejection = ask(&config, "GET /", &[]).unwrap();
        let [(name, content_type)] = &rejection.headers[..] else { panic!("{:?}", rejection.headers) };
        assert_eq!(name, "content-type");
        (rejection.status, content_type.clone(), String::from_utf8(rejection.body).unwrap())
    }

    fn body(content_type: &str, message: &str) -> String {
        answer(json!({"content_type": content_type, "message": message, "status_code": 410})).2
    }

    fn refused(config: Value) -> Vec<String> {
        RequestTermination::parse(&config).unwrap_err()
    }

    fn warnings(config: Value) -> Vec<String> {
        RequestTermination::parse(&config).unwrap().warnings
    }

    #[test]
    fn without_a_config_every_request_is_told_that_the_service_is_unavailable() {
        let nulls = json!({"status_code": null, "content_type": null, "body": null, "message": null, "trigger": null});
        for config in [Value::Null, json!({}), nulls] {
            let text = r#"{"message":"Service unavailable","status_code":503}"#;
            assert_eq!(answer(config), (503, "application/json".into(), text.into()));
        }
    }

    #[test]
    fn the_message_is_put_in_the_words_of_the_media_type() {
        let message = "a \"<b>\" & 'ü'\n";
        for json in ["application/json", "application/JSON; charset=utf-8", "application/problem+json", "text/json"] {
            let expected = r#"{"message":"a \"<b>\" & 'ü'\n","status_code":410}"#;
            assert_eq!(body(json, message), expected, "{json}");
        }
        for xml in ["text/xml", "application/xml;charset=utf-8", "application/soap+xml"] {
            let expected = "<?xml version=\"1.0\"?><response><message>a &quot;&lt;b&gt;&quot; &amp; 'ü'\n</message>\
                            <status_code>410</status_code></response>";
            assert_eq!(body(xml, message), expected, "{xml}");
        }
        for other in
            ["text/plain", "text/html; x=application/json", "json", "application/jsonl", "application/json+zip"]
        {
            assert_eq!(body(other, message), message, "{other}");
        }
    }

    #[test]
    fn a_body_is_sent_as_it_is_even_an_empty_one() {
        let config =
            |body: &str| json!({"body": body, "message": "unused", "content_type": " text/html ", "status_code": 200});
        assert_eq!(answer(config("<h1>Back soon</h1>")), (200, "text/html".into(), "<h1>Back soon</h1>".into()));
        assert_eq!(answer(config("")), (200, "text/html".into(), String::new()));
    }

    #[test]
    fn a_path_prefix_is_compared_byte_by_byte() {
        let config = json!({"trigger": {"path_prefix": "/old"}});
        for path in ["/old", "/old/x?y=1", "/older"] {
            assert!(ask(&config, &format!("GET {path}"), &[]).is_some(), "{path}");
        }
        for path in ["/", "/ol", "/OLD", "/a/old", "/?/old", "/%6fld"] {
            assert!(ask(&config, &format!("GET {path}"), &[]).is_none(), "{path}");
        }
        let asterisk = json!({"trigger": {"path_prefix": "*"}});
        assert!(ask(&asterisk, "OPTIONS *", &[]).is_some() && ask(&asterisk, "GET /", &[]).is_none());
    }

    #[test]
    fn a_header_may_have_any_value_or_one() {
        for any in [
            json!({"header": "X-Stop"}),
            json!({"header": "x-stop", "header_value": ""}),
            json!({"header": "X-STOP", "header_value": null}),
        ] {
            let config = json!({"trigger": any});
            assert!(ask(&config, "GET /", &[("x-Stop", "anything")]).is_some());
            assert!(ask(&config, "GET /", &[("X-Stop", "")]).is_some());
            assert!(ask(&config, "GET /", &[("X-Stopped", "1")]).is_none());
        }
        let config = json!({"trigger": {"header": "X-Stop", "header_value": "Now"}});
        assert!(ask(&config, "GET /", &[("X-Stop", "Now")]).is_some());
        assert!(ask(&config, "GET /", &[("X-Stop", "no"), ("X-Stop", "Now")]).is_some(), "the last one counts");
        for value in ["now", "Now!", "No", ""] {
            assert!(ask(&config, "GET /", &[("X-Stop", value)]).is_none(), "{value}");
        }
    }

    #[test]
    fn a_status_that_ends_no_request_is_sent_as_500() {
        let (status, _, body) = answer(json!({"status_code": 101}));
        assert_eq!((status, body.as_str()), (500, r#"{"message":"Service unavailable","status_code":500}"#));
        assert_eq!(
            warnings(json!({"status_code": 101})),
            ["request_termination: 'status_code' 101 cannot end a request; 500 is sent instead"]
        );
        assert_eq!((answer(json!({"status_code": 200})).0, answer(json!({"status_code": 599})).0), (200, 599));
    }

    #[test]
    fn wrong_configs_are_refused_with_key_and_reason() {
        assert_eq!(refused(json!("x")), ["request_termination: config must be an object"]);
        assert_eq!(
            refused(json!({"status_code": 600, "content_type": " ", "body": 1, "message": [], "trigger": "/"})),
            [
                "request_termination: 'status_code' must be an integer from 100 to 599",
                "request_termination: 'content_type' must not be empty",
                "request_termination: 'body' must be a string",
                "request_termination: 'message' must be a string",
                "request_termination: 'trigger' must be an object",
            ]
        );
        assert_eq!(
            refused(json!({"content_type": "text/html\r\nx: y", "status_code": 99})),
            [
                "request_termination: 'status_code' must be an integer from 100 to 599",
                "request_termination: 'content_type' has a character that no header value may have",
            ]
        );
    }

    #[test]
    fn a_trigger_says_one_thing() {
        let refused = |trigger: Value| refused(json!({"trigger": trigger}));
        for wrong in [json!({}), json!({"path_prefix": "/a", "header": "b"}), json!({"header_value": "x"})] {
            assert_eq!(refused(wrong), ["request_termination: 'trigger' must have either 'path_prefix' or 'header'"]);
        }
        assert_eq!(
            refused(json!({"path_prefix": ""})),
            ["request_termination: 'trigger.path_prefix' must not be empty"]
        );
        for prefix in ["admin", "*/", " /a"] {
            let error =
                format!("request_termination: 'trigger.path_prefix' must begin with '/' or be '*' (got '{prefix}')");
            assert_eq!(refused(json!({"path_prefix": prefix})), [error]);
        }
        for wrong in [json!(null), json!(1)] {
            assert_eq!(
                refused(json!({"path_prefix": wrong})),
                ["request_termination: 'trigger.path_prefix' must be a string"]
            );
            assert_eq!(
                refused(json!({"header": wrong, "header_value": 1})),
                [
                    "request_termination: 'trigger.header' must be a string",
                    "request_termination: 'trigger.header_value' must be a string"
                ]
            );
        }
        for name in ["", "a b"] {
            let error = format!("request_termination: 'trigger.header' must be a header name (got '{name}')");
            assert_eq!(refused(json!({"header": name})), [error]);
        }
    }

    #[test]
    fn what_has_no_effect_is_named() {
        assert_eq!(
            warnings(json!({"trigger": {"path_prefix": "/admin", "header_value": "x", "path": "/"}, "status": 1})),
            [
                "request_termination: 'trigger.header_value' has no effect without 'trigger.header'",
                "request_termination: unknown key 'trigger.path' is ignored",
                "request_termination: unknown key 'status' is ignored",
            ]
        );
        assert!(warnings(json!({"trigger": {"path_prefix": "*"}})).is_empty());
    }
}
