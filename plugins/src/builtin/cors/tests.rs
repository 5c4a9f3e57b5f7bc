use super::*;
use crate::testing::{ready, request};
use crate::{AuthMode, Chain};
use serde_json::json;

const APP: &str = "https://app.example.com";
const OTHER: &str = "https://other.example.com";

fn plugin(config: Value) -> Rc<dyn Plugin> {
    Rc::new(Cors::parse(&config).unwrap().spec)
}

fn chain(config: Value) -> Chain {
    Chain::new(&[plugin(config)], AuthMode::Single)
}

fn refused(config: Value) -> Vec<String> {
    Cors::parse(&config).unwrap_err()
}

fn warnings(config: Value) -> Vec<String> {
    Cors::parse(&config).unwrap().warnings
}

/// What the request is answered, or the origin that is remembered.
fn ask(config: Value, line: &str, headers: &[(&str, &str)]) -> Result<Option<String>, Rejection> {
    let mut cx = request(line, headers);
    ready(chain(config).on_request_received(&mut cx)).map_err(|rejection| *rejection)?;
    Ok(cx.metadata.get("cors_origin").map(str::to_owned))
}

fn preflight(config: Value, origin: &str, method: &str) -> Result<Option<String>, Rejection> {
    ask(config, "OPTIONS /", &[("Origin", origin), ("Access-Control-Request-Method", method)])
}

fn pairs(rejection: &Rejection) -> Vec<(&str, &str)> {
    rejection.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn told(rejection: &Rejection) -> (u16, &str) {
    (rejection.status, std::str::from_utf8(&rejection.body).unwrap())
}

/// The headers of a backend's response to `origin`, behind the plugin.
fn decorated(config: Value, origin: &str, backend: &[(&str, &str)]) -> Vec<(String, String)> {
    let chain = chain(config);
    let mut cx = request("GET /", &[("Origin", origin)]);
    ready(chain.on_request_received(&mut cx)).unwrap();
    let mut response = ResponseHead::new(200);
    for (name, value) in backend {
        response.headers.append(name, value.as_bytes());
    }
    ready(chain.after_proxy(&mut cx, &mut response)).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    response.headers.iter().map(|field| (text(field.name).to_lowercase(), text(field.value))).collect()
}

fn value<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    headers.iter().filter(|(present, _)| present == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_request_of_no_page_is_left_alone() {
    let config = json!({"allowed_origins": [APP]});
    assert_eq!(ask(config.clone(), "GET /", &[]), Ok(None));
    assert_eq!(ask(config.clone(), "OPTIONS /", &[("Access-Control-Request-Method", "GET")]), Ok(None));
    let mut cx = request("GET /", &[]);
    let mut response = ResponseHead::new(200);
    ready(chain(config).after_proxy(&mut cx, &mut response)).unwrap();
    assert!(response.headers.is_empty());
}

#[test]
fn an_allowed_origin_is_remembered_and_another_refused() {
    let config = json!({"allowed_origins": [APP]});
    assert_eq!(ask(config.clone(), "GET /", &[("Origin", APP)]), Ok(Some(APP.into())));
    let verbatim = "HTTPS://App.Example.com";
    assert_eq!(ask(config.clone(), "GET /", &[("origin", verbatim)]), Ok(Some(verbatim.into())));
    for origin in [OTHER, "null", ""] {
        let rejection = ask(config.clone(), "GET /", &[("Origin", origin)]).unwrap_err();
        assert_eq!(told(&rejection), (403, "CORS origin not allowed"), "{origin}");
        assert!(rejection.headers.is_empty());
    }
    assert_eq!(ask(json!({}), "GET /", &[("Origin", OTHER)]), Ok(Some(OTHER.into())));
    assert_eq!(ask(Value::Null, "GET /", &[("Origin", "")]).unwrap_err().status, 403);
}

#[test]
fn an_options_request_that_asks_for_no_method_is_no_preflight() {
    let config = json!({"allowed_origins": [APP]});
    assert_eq!(ask(config.clone(), "OPTIONS /", &[("Origin", APP)]), Ok(Some(APP.into())));
    assert_eq!(ask(config.clone(), "OPTIONS /", &[("Origin", OTHER)]).unwrap_err().status, 403);
    let headers = [("Origin", APP), ("Access-Control-Request-Method", "PUT")];
    assert_eq!(ask(config, "GET /", &headers), Ok(Some(APP.into())));
}

#[test]
fn a_preflight_is_answered_with_the_whole_policy() {
    let answer = preflight(json!({}), APP, "PUT").unwrap_err();
    assert_eq!(told(&answer), (204, ""));
    assert_eq!(
        pairs(&answer),
        [
            ("access-control-allow-origin", "*"),
            ("vary", "Origin"),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ("access-control-allow-headers", "Accept, Authorization, Content-Type, Origin, X-Requested-With"),
            ("access-control-max-age", "86400"),
        ]
    );
    let config = json!({
        "allowed_origins": ["*.example.com"], "allowed_methods": ["get", "PURGE"], "allowed_headers": ["X-One", "x-two"],
        "exposed_headers": ["X-Total", "x-page"], "allow_credentials": true, "max_age": 0,
    });
    let answer = preflight(config, "https://APP.example.com", "purge").unwrap_err();
    assert_eq!(
        pairs(&answer),
        [
            ("access-control-allow-origin", "https://APP.example.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "X-Total, x-page"),
            ("vary", "Origin"),
            ("access-control-allow-methods", "get, PURGE"),
            ("access-control-allow-headers", "X-One, x-two"),
            ("access-control-max-age", "0"),
        ]
    );
}

#[test]
fn a_preflight_is_refused_for_its_origin_first_and_then_for_its_method() {
    let config = json!({"allowed_origins": [APP], "allowed_methods": ["GET"]});
    assert_eq!(told(&preflight(config.clone(), OTHER, "PUT").unwrap_err()), (403, "CORS origin not allowed"));
    assert_eq!(told(&preflight(config.clone(), APP, "PUT").unwrap_err()), (403, "CORS method not allowed: PUT"));
    assert_eq!(told(&preflight(config.clone(), APP, "").unwrap_err()), (403, "CORS method not allowed: "));
    assert_eq!(preflight(config, APP, "gEt").unwrap_err().status, 204);
}

#[test]
fn the_headers_a_preflight_asks_for_are_the_browser_s_concern() {
    let asked = [
        ("Origin", APP),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "x-not-in-the-list"),
    ];
    assert_eq!(ask(json!({}), "OPTIONS /", &asked).unwrap_err().status, 204);
}

#[test]
fn preflights_may_go_on_to_the_backend() {
    let config = json!({"allowed_origins": [APP], "allowed_methods": ["GET"], "preflight_continue": true});
    assert_eq!(preflight(config.clone(), APP, "PUT"), Ok(Some(APP.into())));
    assert_eq!(preflight(config.clone(), OTHER, "GET"), Ok(None));
    assert_eq!(ask(config, "GET /", &[("Origin", OTHER)]).unwrap_err().status, 403, "no preflight");
}

#[test]
fn a_response_says_who_may_read_it_whatever_the_backend_said() {
    let backend = [
        ("Access-Control-Allow-Origin", "https://backend.test"),
        ("access-control-allow-origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Secret"),
        ("Access-Control-Max-Age", "5"),
    ];
    let headers = decorated(json!({"allowed_origins": [APP]}), APP, &backend);
    assert_eq!(value(&headers, "access-control-allow-origin"), [APP]);
    assert_eq!(value(&headers, "access-control-allow-credentials"), [""; 0]);
    assert_eq!(value(&headers, "access-control-expose-headers"), [""; 0]);
    assert_eq!(value(&headers, "access-control-max-age"), ["5"], "what only preflights say is the backend's");
    let config = json!({"allowed_origins": [APP], "allow_credentials": true, "exposed_headers": ["X-Total"]});
    let headers = decorated(config, APP, &backend);
    assert_eq!(value(&headers, "access-control-allow-credentials"), ["true"]);
    assert_eq!(value(&headers, "access-control-expose-headers"), ["X-Total"]);
    assert_eq!(value(&decorated(json!({}), APP, &backend), "access-control-allow-origin"), ["*"]);
}

#[test]
fn vary_names_the_origin_once() {
    for (lines, merged) in [
        (&[][..], &["Origin"][..]),
        (&[""], &["Origin"]),
        (&["Accept-Encoding"], &["Accept-Encoding, Origin"]),
        (&["Accept", "Cookie , X"], &["Accept, Cookie , X, Origin"]),
        (&["*"], &["*"]),
        (&["Accept, *"], &["Accept, *"]),
        (&["Accept", "oRIGIN"], &["Accept", "oRIGIN"]),
        (&["X-Origin"], &["X-Origin, Origin"]),
    ] {
        let backend: Vec<(&str, &str)> = lines.iter().map(|line| ("Vary", *line)).collect();
        assert_eq!(value(&decorated(json!({}), APP, &backend), "vary"), merged, "{lines:?}");
    }
}

#[test]
fn a_page_may_read_the_answers_of_other_plugins_too() {
    let config = json!({"allowed_origins": [APP], "exposed_headers": ["X-Total"]});
    let chain = chain(config);
    let mut cx = request("GET /", &[("Origin", APP)]);
    ready(chain.on_request_received(&mut cx)).unwrap();
    let plain = Rejection::json(401, "{}");
    let mut rejection = plain.clone().with_header("Vary", "Cookie").with_header("Access-Control-Allow-Origin", "*");
    rejection = rejection.with_header("Access-Control-Allow-Credentials", "true");
    ready(chain.on_rejection(&mut cx, &mut rejection));
    assert_eq!(
        pairs(&rejection),
        [
            ("access-control-allow-origin", APP),
            ("access-control-expose-headers", "X-Total"),
            ("vary", "Cookie, Origin")
        ]
    );
    let mut unasked = plain.clone();
    ready(chain.on_rejection(&mut request("GET /", &[]), &mut unasked));
    assert_eq!(unasked, plain);
}

#[test]
fn credentials_are_not_for_everybody() {
    let config = json!({"allowed_origins": [APP, "*", 5, "not checked"], "allow_credentials": true});
    let warning = "cors: 'allow_credentials' has no effect while any origin is allowed; list the origins";
    assert_eq!(warnings(config.clone()), [warning]);
    assert_eq!(warnings(json!({"allow_credentials": true})), [warning]);
    let answer = preflight(config, OTHER, "GET").unwrap_err();
    assert_eq!(pairs(&answer)[..2], [("access-control-allow-origin", "*"), ("vary", "Origin")]);
}

#[test]
fn wrong_configs_are_refused_with_key_and_reason() {
    assert_eq!(refused(json!([])), ["cors: config must be an object"]);
    assert_eq!(
        refused(json!({
            "allowed_origins": "*", "allowed_methods": [], "allowed_headers": [], "exposed_headers": "X",
            "allow_credentials": "yes", "max_age": -1, "preflight_continue": 1,
        })),
        [
            "cors: 'allowed_origins' must be an array of strings and objects",
            "cors: 'allowed_methods' must not be empty",
            "cors: 'allowed_headers' must not be empty",
            "cors: 'exposed_headers' must be an array of strings",
            "cors: 'allow_credentials' must be a boolean",
            "cors: 'max_age' must be an unsigned integer",
            "cors: 'preflight_continue' must be a boolean",
        ]
    );
    assert_eq!(refused(json!({"allowed_origins": []})), ["cors: 'allowed_origins' must not be empty"]);
    assert_eq!(
        refused(json!({"allowed_origins": ["*.", " ", "*"]})),
        [
            "cors: 'allowed_origins' has '*.', which is not '*.' and a domain",
            "cors: 'allowed_origins' has a blank entry"
        ]
    );
    assert_eq!(
        refused(json!({"allowed_methods": ["GET", "A B"], "allowed_headers": [""], "exposed_headers": ["a:b"]})),
        [
            "cors: 'allowed_methods' has an invalid method 'A B' (RFC 7230 token)",
            "cors: 'allowed_headers' has an invalid header name '' (RFC 7230 token)",
            "cors: 'exposed_headers' has an invalid header name 'a:b' (RFC 7230 token)",
        ]
    );
    assert_eq!(refused(json!({"allowed_methods": [1]})), ["cors: 'allowed_methods' must be an array of strings"]);
}

#[test]
fn null_is_the_default_and_unknown_keys_are_named() {
    let config = json!({
        "allowed_origins": null, "allowed_methods": null, "allowed_headers": null, "exposed_headers": null,
        "allow_credentials": null, "max_age": null, "preflight_continue": null,
    });
    assert_eq!(preflight(config, APP, "PUT"), preflight(json!({}), APP, "PUT"));
    assert!(Cors::parse(&json!({"exposed_headers": []})).is_ok());
    assert_eq!(warnings(json!({"origins": [APP]})), ["cors: unknown key 'origins' is ignored"]);
    let wildcard = "cors: '*' in 'allowed_methods' is no wildcard; list the methods";
    assert_eq!(warnings(json!({"allowed_methods": ["*"], "allowed_headers": ["*"]})), [wildcard]);
}
