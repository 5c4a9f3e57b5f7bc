//! Bodies that plugins look at and rewrite.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, Peer, Reply};

use crate::{document, post, probe_at, probed, record};

#[test]
fn a_body_is_there_before_before_proxy_when_a_plugin_wants_it_there() {
    for (flag, hook) in [
        ("requires_request_body_before_before_proxy", "before_proxy"),
        ("requires_request_body_before_authenticate", "authenticate"),
    ] {
        let backend = Backend::echoing();
        let show =
            json!({"show": ["metadata.request_body", "metadata.request_body_size_bytes", "bytes"], "identity": "x"});
        let flags = [flag, "needs_request_body_bytes", "is_auth_plugin", "logs"];
        let mut acts = json!({"authenticate": {"identity": "x"}});
        acts[hook] = show;
        let gateway = probed(&backend, json!({"tag": "a", "flags": flags, "in": acts}));
        assert_eq!(post(&gateway, "/", "", "hello").text(), "hello");
        let metadata = record(&gateway)["metadata"].clone();
        let shown = |what: &str| metadata[format!("shown.a.{hook}.{what}")].clone();
        assert_eq!(shown("metadata.request_body"), "hello", "{flag}");
        assert_eq!((shown("metadata.request_body_size_bytes"), shown("bytes")), (json!("5"), json!("5")), "{flag}");
        assert!(metadata.get("request_body").is_none(), "bodies are never logged");
        assert_eq!(metadata["request_body_size_bytes"], "5");
    }
}

#[test]
fn a_body_that_is_no_text_has_a_length_and_bytes_only() {
    let backend = Backend::saying("ok");
    let show = json!({"show": ["metadata.request_body", "metadata.request_body_size_bytes", "bytes"]});
    let flags = ["requires_request_body_before_before_proxy", "needs_request_body_bytes", "logs"];
    let gateway = probed(&backend, json!({"tag": "a", "flags": flags, "in": {"before_proxy": show}}));
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\n".to_vec();
    request.extend([0xff, 0, 1]);
    assert_eq!(gateway.ask(request).status, 200);
    assert_eq!(backend.only_request().body, [0xff, 0, 1]);
    let metadata = record(&gateway)["metadata"].clone();
    assert_eq!(metadata["shown.a.before_proxy.metadata.request_body"], "none");
    assert_eq!(metadata["shown.a.before_proxy.metadata.request_body_size_bytes"], "3");
    assert_eq!(metadata["shown.a.before_proxy.bytes"], "3");
}

/// Two probes, the one that runs first given first.
fn two(port: u16, first: Value, second: Value) -> Document {
    let plugins = json!([{"plugin_config_id": "second"}, {"plugin_config_id": "first"}]);
    Document::new()
        .proxy(tests::Proxy::new("app").path("/").to(port).set("plugins", plugins))
        .plugin(probe_at(100, "first", first))
        .plugin(probe_at(200, "second", second))
}

#[test]
fn two_plugins_rewrite_a_request_body_one_after_the_other_and_the_last_hook_sees_what_came_of_it() {
    let backend = Backend::echoing();
    let first = json!({"flags": ["modifies_request_body"], "in": {"transform_request_body": {"append": "-1"},
        "on_final_request_body": {"expect": "body-1-2"}}});
    let second = json!({"flags": ["modifies_request_body"], "in": {"transform_request_body": {"append": "-2"}}});
    let gateway = Gateway::running(&two(backend.port(), first, second));
    assert_eq!(post(&gateway, "/", "Content-Type: text/plain\r\n", "body").text(), "body-1-2");
    assert_eq!(backend.only_request().headers.all("content-length"), ["8"]);
}

#[test]
fn two_plugins_look_at_a_response_body_and_rewrite_it() {
    let backend = Backend::replying(|_| Reply::text("body").chunked(2));
    let first = json!({"tag": "a", "flags": ["requires_response_body_buffering", "logs"],
        "in": {"transform_response_body": {"append": "-1"}}});
    let second = json!({"tag": "b", "in": {"transform_response_body": {"append": "-2"}}});
    let gateway = Gateway::running(&two(backend.port(), first, second));
    let response = crate::ask(&gateway, "/", "");
    assert_eq!((response.text().as_str(), response.headers.all("content-length")), ("body-1-2", vec!["8"]));
    let metadata = record(&gateway)["metadata"].clone();
    for tag in ["a", "b"] {
        assert_eq!(metadata[format!("saw.{tag}")], "body", "as the backend sent it");
        assert_eq!(metadata[format!("final.{tag}")], "body-1-2", "as the client gets it");
    }
}

#[test]
fn a_plugin_may_leave_single_bodies_alone() {
    let backend = Backend::echoing();
    let config = json!({"flags": ["modifies_request_body", "requires_response_body_buffering"], "in": {
        "transform_request_body": {"append": "-request"}, "transform_response_body": {"append": "-response"},
    }});
    let gateway = probed(&backend, config);
    assert_eq!(post(&gateway, "/", "", "body").text(), "body-request-response");
    assert_eq!(post(&gateway, "/", "X-Unbuffered: 1\r\n", "body").text(), "body");
}

#[test]
fn without_a_plugin_that_wants_them_bodies_pass_untouched() {
    let backend = Backend::echoing();
    let gateway =
        Gateway::running(&document(backend.port(), json!({"in": {"transform_response_body": {"append": "never"}}})));
    let long = "x".repeat(300_000);
    assert_eq!(post(&gateway, "/", "", &long).text(), long);
}

#[test]
fn a_response_that_the_proxy_buffers_passes_the_hooks_as_well() {
    let backend = Backend::saying("body");
    let document = Document::new()
        .proxy(tests::Proxy::new("app").path("/").to(backend.port()).set("response_body_mode", "buffer"))
        .proxy_plugin("app", "probe", json!({"in": {"transform_response_body": {"append": "!"}}}));
    assert_eq!(crate::ask(&Gateway::running(&document), "/", "").text(), "body!");
}

#[test]
fn a_grpc_response_that_is_whole_shows_its_status_among_its_headers_and_keeps_it_behind_the_body() {
    let server = Peer::start("grpc_server.py", &[]);
    let config = json!({"tag": "a", "flags": ["requires_response_body_buffering", "logs"]});
    let gateway = Gateway::running(&document(server.port(), config));
    let mut client = Peer::start("grpc_client.py", &[&format!("127.0.0.1:{}", gateway.port())]);
    let answer = client.ask(json!({"do": "unary", "method": "Unary", "request": "m"}));
    assert_eq!(answer["code"], "OK", "{answer}");
    assert_eq!(record(&gateway)["metadata"]["status.a"], "0");
}

/// With these lines behind the request line, on a connection that stays.
fn next(client: &mut tests::RawClient, lines: &str) -> tests::Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    client.response()
}

#[test]
fn an_answer_that_cannot_have_a_body_leaves_no_bytes_for_the_next() {
    for hook in ["on_response_body", "on_final_response_body"] {
        for status in [204, 205, 304] {
            let backend = Backend::replying(|_| Reply::text("of the backend").chunked(2).trailer("X-Sum", "1"));
            let reject = json!({"status": status, "body": "HTTP/1.1 200 OK"});
            let config = json!({"flags": ["requires_response_body_buffering"], "in": {hook: {"reject": reject}}});
            let gateway = probed(&backend, config);
            let mut client = gateway.raw();
            for _ in 0..2 {
                let response = next(&mut client, "TE: trailers\r\n");
                assert_eq!((response.status, response.text().as_str()), (status, ""), "{hook}");
                let length = response.headers.all("content-length");
                assert_eq!(length, if status == 205 { vec!["0"] } else { vec![] }, "{hook} {status}");
            }
            let unbuffered = next(&mut client, "X-Unbuffered: 1\r\n");
            assert_eq!((unbuffered.status, unbuffered.text().as_str()), (200, "of the backend"), "{hook} {status}");
        }
    }
}
