//! `key_auth`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway};

use crate::{alice, ask, unauthorized};

/// Every path goes to the backend, behind `key_auth` with this configuration.
fn keyed(backend: &Backend, config: Value) -> Gateway {
    let bob = json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "bob's key"}]}});
    let document = Document::all_to(backend.port()).proxy_plugin("app", "key_auth", config);
    Gateway::running(&document.consumer(alice()).consumer(bob))
}

#[test]
fn a_known_key_tells_the_backend_who_asks() {
    let backend = Backend::saying("ok");
    let gateway = keyed(&backend, json!({}));
    for key in ["k-1", "k-2"] {
        assert_eq!(ask(&gateway, "/", &format!("X-API-Key: {key}\r\n")).status, 200);
    }
    assert_eq!(ask(&gateway, "/", "x-api-key: bob's key\r\nX-Consumer-Custom-Id: forged\r\n").status, 200);
    let requests = backend.requests();
    for request in &requests[..2] {
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
        assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"]);
    }
    assert_eq!(requests[0].header("x-api-key"), Some("k-1"), "the key goes on unchanged");
    assert_eq!(requests[2].headers.all("x-consumer-username"), ["bob"]);
    assert!(!requests[2].headers.has("x-consumer-custom-id"), "bob has none");
}

#[test]
fn without_a_good_key_nobody_passes() {
    let backend = Backend::saying("should not be reached");
    let gateway = keyed(&backend, json!({}));
    let missing = ask(&gateway, "/", "");
    unauthorized(&missing, "Authentication required");
    assert_eq!(missing.header("www-authenticate"), Some("ferrum-edge"));
    for blank in ["X-API-Key:\r\n", "X-API-Key:   \r\n"] {
        unauthorized(&ask(&gateway, "/", blank), "Missing API key");
    }
    for wrong in ["k-3", "K-1", "k-1x", "k-1, k-2"] {
        let response = ask(&gateway, "/", &format!("X-API-Key: {wrong}\r\n"));
        unauthorized(&response, "Invalid API key");
        assert!(!response.headers.has("www-authenticate"), "{response:?}");
    }
    unauthorized(&ask(&gateway, "/?X-API-Key=k-1", ""), "Authentication required");
    backend.expect_untouched();
}

#[test]
fn the_key_may_be_in_another_header() {
    let backend = Backend::saying("ok");
    let gateway = keyed(&backend, json!({"key_location": "header:X-Secret"}));
    assert_eq!(ask(&gateway, "/", "x-SECRET: k-1\r\n").status, 200);
    unauthorized(&ask(&gateway, "/", "X-API-Key: k-1\r\n"), "Authentication required");
}

#[test]
fn a_key_in_the_query_is_found_decoded_and_forwarded_as_it_came() {
    let backend = Backend::naming_targets();
    let gateway = keyed(&backend, json!({"key_location": "query:api_key"}));
    assert_eq!(ask(&gateway, "/p?a=1&api_key=k-1&b=%20&a=2", "").text(), "GET /p?a=1&api_key=k-1&b=%20&a=2");
    assert_eq!(ask(&gateway, "/p?api_key=k%2D1", "").text(), "GET /p?api_key=k%2D1");
    unauthorized(&ask(&gateway, "/p?API_KEY=k-1", ""), "Authentication required");
    unauthorized(&ask(&gateway, "/p?api_key=", ""), "Missing API key");
    unauthorized(&ask(&gateway, "/p?api_key=nobody", ""), "Invalid API key");
}

#[test]
fn curl_with_a_key_passes_and_without_is_told_to_authenticate() {
    let backend = Backend::saying("welcome");
    let gateway = keyed(&backend, json!({}));
    let answer = gateway.curl("/", &["--header", "X-API-Key: k-1"]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "welcome"));
    let answer = gateway.curl("/", &[]);
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("ferrum-edge")));
}
