//! `bot_detection`.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, RawWebSocket, Response};

use crate::ask;

fn guarded(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", "bot_detection", config))
}

fn status(gateway: &Gateway, agent: &str) -> u16 {
    ask(gateway, "/", &format!("User-Agent: {agent}\r\n")).status
}

#[track_caller]
fn forbidden(response: &Response, status: u16) {
    assert_eq!((response.status, response.text().as_str()), (status, r#"{"error":"Forbidden"}"#));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
}

#[test]
fn curl_is_turned_away_unless_it_calls_itself_otherwise() {
    let backend = Backend::saying("ok");
    let gateway = guarded(&backend, json!({}));
    let answer = gateway.curl("/", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (403, r#"{"error":"Forbidden"}"#));
    assert_eq!(gateway.curl("/", &["--http2-prior-knowledge"]).status, 403);
    backend.expect_untouched();
    assert_eq!(gateway.curl("/", &["--user-agent", "Mozilla/5.0"]).status, 200);
    assert_eq!(gateway.curl("/", &["--user-agent", ""]).status, 200, "curl sends none then");
}

#[test]
fn own_patterns_take_the_place_of_the_usual_ones() {
    let backend = Backend::saying("ok");
    let gateway = guarded(&backend, json!({"blocked_patterns": ["Bad.Bot", "spider"]}));
    for (agent, expected) in
        [("x bad.bot/1", 403), ("BAD.BOT", 403), ("MySpider", 403), ("badxbot", 200), ("curl/8", 200), ("spi der", 200)]
    {
        assert_eq!(status(&gateway, agent), expected, "{agent}");
    }
    let none = json!({"blocked_patterns": [], "allow_missing_user_agent": false});
    assert_eq!(status(&guarded(&backend, none), "curl/8"), 200);
}

#[test]
fn the_allow_list_wins() {
    let backend = Backend::saying("ok");
    let gateway = guarded(&backend, json!({"allow_list": ["monitoring"]}));
    let statuses = ["curl/8 (Monitoring)", "curl/8", "curl/8 monitorings"].map(|agent| status(&gateway, agent));
    assert_eq!(statuses, [200, 403, 403], "a part of a word is not it");
}

#[test]
fn a_user_agent_may_be_demanded() {
    let backend = Backend::saying("ok");
    let gateway = guarded(&backend, json!({"allow_missing_user_agent": false}));
    forbidden(&ask(&gateway, "/", ""), 403);
    forbidden(&ask(&gateway, "/", "User-Agent:  \r\n"), 403);
    assert_eq!(status(&gateway, "x"), 200);
    assert_eq!(ask(&guarded(&backend, json!({"allow_missing_user_agent": true})), "/", "").status, 200);
}

#[test]
fn the_answer_may_have_another_status() {
    let backend = Backend::saying("should not be reached");
    let gateway = guarded(&backend, json!({"custom_response_code": 404}));
    forbidden(&ask(&gateway, "/", "User-Agent: wget\r\n"), 404);
    backend.expect_untouched();
}

#[test]
fn a_byte_that_is_no_text_hides_nobody() {
    let backend = Backend::saying("ok");
    let gateway = guarded(&backend, json!({}));
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8 \xff\r\nConnection: close\r\n\r\n";
    forbidden(&gateway.ask(request), 403);
}

#[test]
fn a_user_agent_as_long_as_a_header_may_be_is_searched_to_its_end() {
    let backend = Backend::saying("ok");
    let document = Document::all_to(backend.port()).proxy_plugin("app", "bot_detection", json!({}));
    let gateway = Gateway::builder()
        .document(&document)
        .env("FERRUM_MAX_SINGLE_HEADER_SIZE_BYTES", 65_536)
        .env("FERRUM_MAX_HEADER_SIZE_BYTES", 131_072)
        .start();
    let filler = "cur".repeat(21_000);
    assert_eq!([status(&gateway, &filler), status(&gateway, &format!("{filler}l"))], [200, 403]);
}

#[test]
fn grpc_and_websocket_clients_are_refused_as_well() {
    let backend = Backend::saying("should not be reached");
    let gateway = guarded(&backend, json!({}));
    let call = ["-X", "POST", "-H", "Content-Type: application/grpc", "--http2-prior-knowledge"];
    let answer = gateway.curl("/shop.Orders/Get", &call);
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), (Some("7"), Some("Forbidden")));
    forbidden(&gateway.ask(RawWebSocket::request("/ws", "User-Agent: python-requests/2\r\n")), 403);
    backend.expect_untouched();
}

#[test]
fn wrong_configs_stop_the_start() {
    let config = json!({"blocked_patterns": [], "allow_list": [""], "custom_response_code": 600});
    let document = Document::all_to(1).proxy_plugin("app", "bot_detection", config);
    let said = Gateway::builder().document(&document).start_failing().messages().join("\n");
    for error in [
        "'blocked_patterns' must not be empty unless 'allow_missing_user_agent' is false",
        "'allow_list' has a blank entry",
        "'custom_response_code' must be an integer from 100 to 599",
    ] {
        assert!(said.contains(&format!("bot_detection: {error}")), "{said}");
    }
}
