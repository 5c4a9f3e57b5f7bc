//! Heads that are no HTTP, and heads that only look strange.

use serde_json::json;
use tests::{Backend, Gateway};

/// The answer has this status, the connection closes, the backend was not dialled.
#[track_caller]
fn refused(request: &str, status: u16) {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send(request.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect::<Vec<u8>>());
    let response = client.response();
    assert_eq!(response.status, status, "{request:?} got {response:?}");
    client.expect_closed();
    backend.expect_untouched();
}

/// Refused as bad syntax or, where the version is what cannot be read, as a version.
#[track_caller]
fn refused_as_syntax(request: &str) {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send(request);
    let response = client.response();
    assert!(matches!(response.status, 400 | 505), "{request:?} got {response:?}");
    client.expect_closed();
    backend.expect_untouched();
}

#[test]
fn a_folded_header_line_gets_400() {
    refused("GET / HTTP/1.1\r\nHost: localhost\r\nX-Folded: a\r\n b\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: localhost\r\nX-Folded: a\r\n\tb\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400);
    refused("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn a_bare_cr_in_a_header_gets_400() {
    refused("GET / HTTP/1.1\r\nHost: localhost\r\nX-Bare: a\rb\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: localhost\r\nX-Bare: a\rContent-Length: 5\r\n\r\n", 400);
    refused("GET / HTTP/1.1\rHost: localhost\r\n\r\n", 400);
}

#[test]
fn a_bare_lf_never_reaches_the_backend() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    for request in [
        "GET / HTTP/1.1\nHost: localhost\n\n",
        "GET / HTTP/1.1\r\nHost: localhost\nX-A: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\n",
    ] {
        let mut client = gateway.raw();
        client.send(request);
        let response = client.response();
        assert!(matches!(response.status, 200 | 400), "{request:?} got {response:?}");
        if response.status == 400 {
            client.expect_closed();
        }
    }
    for request in backend.requests() {
        let lines = request.raw_head.iter().filter(|&&b| b == b'\n').count();
        let ends = request.raw_head.windows(2).filter(|w| w == b"\r\n").count();
        assert_eq!(lines, ends, "{request:?}");
    }
}

#[test]
fn control_characters_in_a_header_get_400() {
    for value in ["a\0b", "a\u{1}b", "a\u{1f}b", "a\u{7f}b", "a\u{b}b"] {
        refused(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Control: {value}\r\n\r\n"), 400);
    }
    for name in ["X\0Y", "X\u{1}Y", "X\u{7f}Y"] {
        refused(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{name}: v\r\n\r\n"), 400);
    }
}

#[test]
fn header_names_that_are_no_tokens_get_400() {
    for name in ["X-Name ", "X-Name\t", "", "X Name", "X(Name)", "X@Name", "X{Name", "X\"Name", "X,Name", "X\u{e9}"] {
        refused(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{name}: value\r\n\r\n"), 400);
    }
    refused("GET / HTTP/1.1\r\nHost: localhost\r\nno colon at all\r\n\r\n", 400);
    refused("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length : 5\r\n\r\nhello", 400);
    refused("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn every_token_character_is_allowed_in_a_header_name() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let name = "X!#$%&'*+-.^_`|~09azAZ";
    assert_eq!(gateway.ask(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{name}: v\r\n\r\n")).status, 200);
    assert_eq!(backend.only_request().header(name), Some("v"));
}

#[test]
fn a_method_that_is_no_token_gets_400() {
    for line in ["G(T / HTTP/1.1", "G\0T / HTTP/1.1", " GET / HTTP/1.1", "\"GET\" / HTTP/1.1", "G\u{e9}T / HTTP/1.1"] {
        refused(&format!("{line}\r\nHost: localhost\r\n\r\n"), 400);
    }
}

#[test]
fn an_unknown_method_is_forwarded() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::in_front_of(backend.port());
    for method in ["BREW", "PROPFIND", "M-SEARCH", "get", "QUERY"] {
        let response = gateway.ask(format!("{method} /pot HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(response.text(), format!("{method} /pot"));
    }
}

#[test]
fn a_request_line_with_missing_or_additional_parts_is_refused() {
    for line in ["GET /", "GET", "/", "GET / HTTP/1.1 ", "GET / extra HTTP/1.1", "GET /a b HTTP/1.1", "GET  / HTTP/1.1"]
    {
        refused_as_syntax(&format!("{line}\r\nHost: localhost\r\n\r\n"));
    }
}

#[test]
fn control_characters_in_the_target_get_400() {
    for target in ["/a\0b", "/a\tb", "/a\u{1}b", "/a\u{7f}b"] {
        refused(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
    }
}

#[test]
fn a_version_the_gateway_does_not_speak_gets_505() {
    for version in ["HTTP/3.0", "HTTP/0.9", "HTTP/9.9"] {
        refused(&format!("GET / {version}\r\nHost: localhost\r\n\r\n"), 505);
    }
}

#[test]
fn something_that_is_no_http_version_is_refused() {
    for version in ["HTTX/1.1", "http/1.1", "HTTP/1", "HTTP/1.1.1", "HTTP/11", "HTTP/a.b", "HTTP1.1"] {
        refused_as_syntax(&format!("GET / {version}\r\nHost: localhost\r\n\r\n"));
    }
}

#[test]
fn an_empty_line_before_the_request_is_forgiven() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    client.send("\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.send("\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_request_without_host_finds_the_routes_for_any_host() {
    let backend = Backend::saying("any host");
    let gateway = Gateway::in_front_of(backend.port());
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\n\r\n").text(), "any host");
    assert_eq!(gateway.ask("GET / HTTP/1.0\r\n\r\n").text(), "any host");
    assert!(backend.requests().iter().all(|request| request.headers.all("host") == ["127.0.0.1"]));
}

#[test]
fn a_request_without_host_does_not_find_the_routes_of_a_host() {
    let backend = Backend::saying("one host");
    let proxy = tests::Proxy::new("app").path("/").hosts(&["one.example.com"]).to(backend.port());
    let gateway = Gateway::running(&tests::Document::new().proxy(proxy));
    let response = gateway.ask("GET / HTTP/1.1\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (404, r#"{"error":"Not Found"}"#));
    backend.expect_untouched();
}

#[test]
fn a_malformed_host_gets_400() {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::in_front_of(backend.port());
    for host in [
        "",
        "user@example.com",
        "a b",
        "a,b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a:b",
        "a:",
        "a:99999",
        "a:80:80",
        "2001:db8::1",
        "[::1",
        "::1]",
        "[not-an-address]",
        "[::1]x",
        "[::1]:99999",
        "a:-1",
        ".",
        "<a>",
        "a\"b",
    ] {
        let response = gateway.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(response.status, 400, "{host:?}");
        assert_eq!(response.text(), json!({"error": "Request contains malformed Host or authority"}).to_string());
    }
    backend.expect_untouched();
}

#[test]
fn unusual_but_valid_hosts_are_accepted() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    for host in
        ["[::1]", "[2001:db8::1]:80", "[v1.fe:80]", "EXAMPLE.com.", "a_b~c", "a%20b", "a:0", "a:65535", "1.2.3.4:80"]
    {
        assert_eq!(gateway.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200, "{host:?}");
    }
}

#[test]
fn the_host_header_beats_the_authority_of_an_absolute_target() {
    let (by_header, by_target) = (Backend::naming_targets(), Backend::saying("by target"));
    let proxy = |id: &str, host: &str, port| tests::Proxy::new(id).path("/").hosts(&[host]).to(port);
    let document = tests::Document::new().proxy(proxy("header", "header.example.com", by_header.port())).proxy(proxy(
        "target",
        "target.example.com",
        by_target.port(),
    ));
    let gateway = Gateway::running(&document);
    let response = gateway.ask("GET http://target.example.com/p?q=1 HTTP/1.1\r\nHost: header.example.com\r\n\r\n");
    assert_eq!(response.text(), "GET /p?q=1", "routed by Host and sent on in origin form");
    by_target.expect_untouched();
}

#[test]
fn the_authority_of_an_absolute_target_counts_when_there_is_no_host() {
    let backend = Backend::naming_targets();
    let proxy = tests::Proxy::new("app").path("/").hosts(&["target.example.com"]).to(backend.port());
    let gateway = Gateway::running(&tests::Document::new().proxy(proxy));
    assert_eq!(gateway.ask("GET http://target.example.com/p HTTP/1.0\r\n\r\n").text(), "GET /p");
}

#[test]
fn the_path_reaches_the_backend_byte_for_byte() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::in_front_of(backend.port());
    for target in
        ["/a/../b", "/a//b", "/a/./b", "/%2e%2e/x", "/%41?%42=%43&&x", "/a;b=c", "/a?b?c", "/a|b^c`{d}", "/a?"]
    {
        let expected = target.strip_suffix('?').unwrap_or(target);
        let response = gateway.ask(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(response.text(), format!("GET {expected}"), "{target}");
    }
}
