//! `cors`, as a browser would see it.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, RefusingPort, Reply, Response};

use crate::{alice, ask};

const APP: &str = "https://app.example.com";

/// Every path goes to the backend, behind `cors` with this configuration.
fn shared(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "cors", config))
}

/// A request of a page of that origin.
fn from(gateway: &Gateway, origin: &str) -> Response {
    ask(gateway, "/", &format!("Origin: {origin}\r\n"))
}

fn preflight(gateway: &Gateway, origin: &str, method: &str) -> Response {
    let lines = format!("Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\nConnection: close\r\n");
    gateway.ask(format!("OPTIONS / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[track_caller]
fn forbidden(response: &Response, text: &str) {
    assert_eq!((response.status, response.text().as_str()), (403, text));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    assert!(!response.headers.has("access-control-allow-origin"), "{response:?}");
}

#[test]
fn a_preflight_is_answered_with_the_whole_policy_and_the_backend_is_not_asked() {
    let backend = Backend::saying("should not be reached");
    let config = json!({
        "allowed_origins": [APP], "allowed_methods": ["GET", "purge"], "allowed_headers": ["X-One", "x-two"],
        "exposed_headers": ["X-Total"], "allow_credentials": true, "max_age": 600,
    });
    let answer = preflight(&shared(&backend, config), APP, "PURGE");
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "X-Total"),
        ("vary", "Origin"),
        ("access-control-allow-methods", "GET, purge"),
        ("access-control-allow-headers", "X-One, x-two"),
        ("access-control-max-age", "600"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(answer.headers.all(name), [value], "{name}");
    }
    assert!(!answer.headers.has("content-length") && !answer.headers.has("via"), "{answer:?}");
    backend.expect_untouched();
}

#[test]
fn without_a_config_any_page_may_ask() {
    let backend = Backend::saying("ok");
    let gateway = shared(&backend, json!({}));
    let answer = preflight(&gateway, "https://anybody.test", "DELETE");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    let headers = "Accept, Authorization, Content-Type, Origin, X-Requested-With";
    assert_eq!(answer.header("access-control-allow-headers"), Some(headers));
    assert_eq!(answer.header("access-control-max-age"), Some("86400"));
    assert!(!answer.headers.has("access-control-allow-credentials"));
    let response = from(&gateway, "null");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("vary"), Some("Origin"));
    let response = ask(&gateway, "/", "");
    assert_eq!(response.status, 200);
    assert!(!response.headers.has("access-control-allow-origin") && !response.headers.has("vary"), "no page asked");
}

#[test]
fn only_allowed_origins_reach_the_backend() {
    let backend = Backend::saying("ok");
    let entries = json!([
        APP, "http://localhost:3000", "*.shop.example.com", {"exact": "null"}, {"prefix": "chrome-extension://"},
        {"regex": "https://pr-[0-9]+\\.preview\\.test"},
    ]);
    let gateway = shared(&backend, json!({"allowed_origins": entries}));
    for origin in [
        "HTTPS://app.example.COM",
        "http://localhost:3000",
        "http://a.b.shop.example.com:8080",
        "null",
        "chrome-extension://abc",
        "https://pr-17.preview.test",
    ] {
        let response = from(&gateway, origin);
        assert_eq!((response.status, response.header("access-control-allow-origin")), (200, Some(origin)));
        assert_eq!(preflight(&gateway, origin, "PUT").header("access-control-allow-origin"), Some(origin));
    }
    assert_eq!(backend.requests().len(), 6);
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "http://localhost:3001",
        "https://shop.example.com",
        "https://badshop.example.com",
        "https://a.shop.example.com.evil.test",
        "https://pr-x.preview.test",
        "https://pr-1.preview.test.evil.test",
        "",
    ] {
        forbidden(&from(&gateway, origin), "CORS origin not allowed");
        forbidden(&preflight(&gateway, origin, "GET"), "CORS origin not allowed");
    }
    assert_eq!(backend.requests().len(), 6, "what is refused does not reach the backend");
}

#[test]
fn a_method_that_is_not_allowed_is_refused_in_the_preflight_only() {
    let backend = Backend::saying("ok");
    let gateway = shared(&backend, json!({"allowed_methods": ["POST"]}));
    forbidden(&preflight(&gateway, APP, "DELETE"), "CORS method not allowed: DELETE");
    assert_eq!(preflight(&gateway, APP, "post").status, 204);
    assert_eq!(from(&gateway, APP).status, 200, "the browser holds pages to it");
}

#[test]
fn the_policy_takes_the_place_of_what_the_backend_says() {
    let backend = Backend::replying(|_| {
        Reply::text("ok")
            .header("Access-Control-Allow-Origin", "*")
            .header("Access-Control-Allow-Credentials", "true")
            .header("Access-Control-Expose-Headers", "X-Secret")
            .header("Vary", "Accept-Encoding")
    });
    let response = from(&shared(&backend, json!({"allowed_origins": [APP]})), APP);
    assert_eq!(response.headers.all("access-control-allow-origin"), [APP]);
    assert!(!response.headers.has("access-control-allow-credentials"), "{response:?}");
    assert!(!response.headers.has("access-control-expose-headers"), "{response:?}");
    assert_eq!(response.headers.all("vary"), ["Accept-Encoding, Origin"]);
    let config = json!({"allowed_origins": [APP], "allow_credentials": true, "exposed_headers": ["X-A", "X-B"]});
    let response = from(&shared(&backend, config), APP);
    assert_eq!(response.headers.all("access-control-allow-credentials"), ["true"]);
    assert_eq!(response.headers.all("access-control-expose-headers"), ["X-A, X-B"]);
}

#[test]
fn a_backend_may_answer_preflights_itself() {
    let backend = Backend::replying(|request| {
        Reply::new(200).header("Access-Control-Allow-Methods", "PURGE").body(request.method.clone())
    });
    let gateway = shared(&backend, json!({"allowed_origins": [APP], "preflight_continue": true}));
    let answer = preflight(&gateway, APP, "PURGE");
    assert_eq!((answer.status, answer.text().as_str()), (200, "OPTIONS"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("PURGE"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    let answer = preflight(&gateway, "https://other.test", "PURGE");
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.has("access-control-allow-origin"), "{answer:?}");
    forbidden(&from(&gateway, "https://other.test"), "CORS origin not allowed");
}

#[test]
fn preflights_come_before_whoever_wants_to_know_who_asks_or_answers_for_the_backend() {
    let backend = Backend::saying("should not be reached");
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "request_termination", json!({}))
        .proxy_plugin("app", "key_auth", json!({}))
        .proxy_plugin("app", "cors", json!({"allowed_origins": [APP]}));
    let gateway = Gateway::running(&document.consumer(alice()));
    assert_eq!(preflight(&gateway, APP, "PUT").status, 204);
    forbidden(&from(&gateway, "https://other.test"), "CORS origin not allowed");
    let terminated = from(&gateway, APP);
    assert_eq!((terminated.status, terminated.header("access-control-allow-origin")), (503, Some(APP)));
    backend.expect_untouched();
}

#[test]
fn a_page_may_read_why_it_was_turned_away() {
    let backend = Backend::saying("should not be reached");
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "cors", json!({"allowed_origins": [APP], "exposed_headers": ["WWW-Authenticate"]}))
        .proxy_plugin("app", "key_auth", json!({}));
    let response = from(&Gateway::running(&document), APP);
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some("ferrum-edge")));
    assert_eq!(response.headers.all("access-control-allow-origin"), [APP]);
    assert_eq!(response.headers.all("access-control-expose-headers"), ["WWW-Authenticate"]);
    assert_eq!(response.headers.all("vary"), ["Origin"]);
    backend.expect_untouched();
}

#[test]
fn the_record_says_which_page_asked() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port())
        .proxy_plugin("app", "cors", json!({"allowed_origins": [APP]}))
        .proxy_plugin("app", "stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    from(&gateway, APP);
    assert_eq!(gateway.wait_for_record(|_| true)["metadata"]["cors_origin"], APP);
}

#[test]
fn over_http_2_it_is_the_same() {
    let backend = Backend::saying("ok");
    let gateway = shared(&backend, json!({"allowed_origins": [APP]}));
    let origin = format!("Origin: {APP}");
    let ask = ["-X", "OPTIONS", "-H", &origin, "-H", "Access-Control-Request-Method: PUT", "--http2-prior-knowledge"];
    let answer = gateway.curl("/", &ask);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(APP)));
    assert!(answer.head.starts_with("HTTP/2 "), "{}", answer.head);
    let response = gateway.curl("/", &["-H", &origin, "--http2-prior-knowledge"]);
    assert_eq!((response.status, response.header("access-control-allow-origin")), (200, Some(APP)));
}

#[test]
fn pages_that_speak_grpc_web_ask_first_and_are_then_left_alone() {
    let nobody = RefusingPort::new();
    let document = Document::all_to(nobody.port()).proxy_plugin("app", "cors", json!({"allowed_origins": [APP]}));
    let gateway = Gateway::running(&document);
    assert_eq!(preflight(&gateway, APP, "POST").status, 204);
    forbidden(&preflight(&gateway, "https://other.test", "POST"), "CORS origin not allowed");
    let call = ["-X", "POST", "-H", "Content-Type: application/grpc-web", "-H", "Origin: https://other.test"];
    let answer = gateway.curl("/shop.Orders/Get", &call);
    assert_eq!((answer.header("grpc-status"), answer.header("access-control-allow-origin")), (Some("14"), None));
}

#[test]
fn a_wrong_config_stops_the_start() {
    let config = json!({"allowed_origins": ["https://app.example.com/"], "max_age": "1 h"});
    let document = Document::all_to(1).proxy_plugin("app", "cors", config);
    let exit = Gateway::builder().document(&document).start_failing();
    let said = exit.messages().join("\n");
    assert_eq!(exit.code, Some(1));
    assert!(said.contains("cors: 'allowed_origins' has 'https://app.example.com/', which is not an origin"), "{said}");
    assert!(said.contains("cors: 'max_age' must be an unsigned integer"), "{said}");
}
