//! `request_termination`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, RawWebSocket};

use crate::ask;

fn terminated(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "request_termination", config))
}

#[test]
fn every_request_is_told_that_the_service_is_unavailable() {
    let backend = Backend::saying("should not be reached");
    let gateway = terminated(&backend, json!({}));
    for path in ["/", "/any/path?q=1"] {
        let response = ask(&gateway, path, "");
        let text = r#"{"message":"Service unavailable","status_code":503}"#;
        assert_eq!((response.status, response.text().as_str()), (503, text));
        assert_eq!(response.headers.all("content-type"), ["application/json"]);
        assert!(!response.headers.has("x-gateway-error") && !response.headers.has("via"), "{response:?}");
    }
    backend.expect_untouched();
}

#[test]
fn status_message_and_media_type_are_the_users() {
    let backend = Backend::saying("should not be reached");
    let message = "Gone <for> good";
    for (content_type, body) in [
        ("application/problem+json", r#"{"message":"Gone <for> good","status_code":410}"#),
        (
            "application/xml; charset=utf-8",
            "<?xml version=\"1.0\"?><response><message>Gone &lt;for&gt; good</message><status_code>410</status_code></response>",
        ),
        ("text/plain", message),
    ] {
        let config = json!({"status_code": 410, "content_type": content_type, "message": message});
        let response = ask(&terminated(&backend, config), "/", "");
        assert_eq!((response.status, response.text().as_str()), (410, body));
        assert_eq!(response.headers.all("content-type"), [content_type]);
    }
    backend.expect_untouched();
}

#[test]
fn a_page_of_ones_own_is_sent_as_it_is() {
    let backend = Backend::saying("should not be reached");
    let config =
        |body: &str| json!({"status_code": 200, "content_type": "text/html", "body": body, "message": "unused"});
    let gateway = terminated(&backend, config("<h1>Back soon</h1>"));
    let response = ask(&gateway, "/", "");
    assert_eq!((response.status, response.text().as_str()), (200, "<h1>Back soon</h1>"));
    let head = gateway.curl("/", &["--head"]);
    assert_eq!((head.status, head.header("content-length"), head.text().as_str()), (200, Some("18"), ""));
    let response = ask(&terminated(&backend, config("")), "/", "");
    assert_eq!((response.status, response.header("content-length")), (200, Some("0")));
}

#[test]
fn only_paths_under_the_prefix_are_terminated() {
    let backend = Backend::naming_targets();
    let gateway = terminated(&backend, json!({"trigger": {"path_prefix": "/v1/"}}));
    for (path, status) in [("/v1/", 503), ("/v1/orders?x=1", 503), ("/v1", 200), ("/V1/", 200), ("/v2/v1/", 200)] {
        assert_eq!(ask(&gateway, path, "").status, status, "{path}");
    }
}

#[test]
fn only_requests_with_the_header_are_terminated() {
    let backend = Backend::saying("ok");
    let any = terminated(&backend, json!({"trigger": {"header": "X-Drain"}}));
    assert_eq!([ask(&any, "/", "x-drain: 0\r\n").status, ask(&any, "/", "").status], [503, 200]);
    let one = terminated(&backend, json!({"trigger": {"header": "X-Drain", "header_value": "Yes"}}));
    let status = |lines: &str| ask(&one, "/", lines).status;
    assert_eq!([status("X-DRAIN: Yes\r\n"), status("X-Drain: yes\r\n"), status("")], [503, 200, 200]);
}

/// A body behind such a head would be taken for the beginning of the next answer.
#[test]
fn an_answer_that_cannot_have_a_body_has_none() {
    let backend = Backend::saying("should not be reached");
    for (status, length) in [(204, None), (205, Some("0")), (304, None)] {
        let gateway = terminated(&backend, json!({"status_code": status, "body": "HTTP/1.1 200 OK\r\n\r\n"}));
        let mut client = gateway.raw();
        for _ in 0..3 {
            let response = client.get("/");
            assert_eq!((response.status, response.header("content-length")), (status, length));
            assert!(!response.headers.has("transfer-encoding"), "{response:?}");
        }
        for arguments in [&["--http2-prior-knowledge"][..], &["--head"]] {
            let response = gateway.curl("/", arguments);
            assert_eq!((response.status, response.text().as_str(), response.exit), (status, "", 0));
        }
    }
}

#[test]
fn a_status_that_only_announces_an_answer_is_sent_as_500() {
    let backend = Backend::saying("should not be reached");
    let gateway = terminated(&backend, json!({"status_code": 100}));
    assert_eq!(ask(&gateway, "/", "").status, 500);
    gateway.wait_for_log(|text| text.contains("request_termination: 'status_code' 100 cannot end a request"));
}

#[test]
fn a_grpc_client_hears_it_in_its_own_words() {
    let backend = Backend::saying("should not be reached");
    let gateway = terminated(&backend, json!({"status_code": 503, "message": "Down for an hour"}));
    let call = ["-X", "POST", "-H", "Content-Type: application/grpc", "--http2-prior-knowledge"];
    let answer = gateway.curl("/shop.Orders/Get", &call);
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), (Some("14"), Some("Down for an hour")));
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    backend.expect_untouched();
}

#[test]
fn a_websocket_is_not_opened() {
    let backend = Backend::saying("should not be reached");
    let gateway = terminated(&backend, json!({"status_code": 503, "trigger": {"path_prefix": "/ws"}}));
    assert_eq!(gateway.ask(RawWebSocket::request("/ws", "")).status, 503);
    backend.expect_untouched();
}

#[test]
fn a_wrong_trigger_stops_the_start() {
    for (trigger, error) in [
        (json!({"path_prefix": "/", "header": "x"}), "'trigger' must have either 'path_prefix' or 'header'"),
        (json!({"path_prefix": "admin"}), "'trigger.path_prefix' must begin with '/' or be '*' (got 'admin')"),
    ] {
        let config = json!({"trigger": trigger});
        let document = Document::all_to(1).proxy_plugin("app", "request_termination", config);
        let said = Gateway::builder().document(&document).start_failing().messages().join("\n");
        assert!(said.contains(&format!("request_termination: {error}")), "{said}");
    }
}
