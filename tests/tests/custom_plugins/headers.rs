//! Headers that plugins read and write.

use serde_json::json;
use tests::{Backend, Reply};

use crate::{ask, document, probed, record};

#[test]
fn header_edits_reach_the_backend_whether_they_are_declared_or_not() {
    for flags in [vec!["logs"], vec!["logs", "modifies_request_headers"]] {
        let declares = flags.len() == 2;
        let backend = Backend::saying("ok");
        let edits = json!({"x-new": "1", "x-client": "changed", "accept": null, "X-Spelled": "2", "bad name": "x",
            "bad": "a\r\nx-injected: 1", "connection": "x-client", "content-length": "7"});
        let config = json!({"tag": "a", "flags": flags, "in": {
            "before_proxy": {"headers": edits}, "after_proxy": {"show": ["header.x-client", "header.accept"]},
        }});
        let gateway = probed(&backend, config);
        let sent = "X-Client: 1\r\nx-client: 2\r\nAccept: a/b\r\nx-spelled: 1\r\nX-Kept: yes\r\n";
        assert_eq!(ask(&gateway, "/", sent).status, 200);
        let request = backend.only_request();
        for (name, value) in [("x-new", "1"), ("x-client", "changed"), ("x-spelled", "2"), ("x-kept", "yes")] {
            assert_eq!(request.headers.all(name), [value], "declared: {declares}");
        }
        assert!(
            !request.headers.has("accept") && !request.headers.has("bad") && !request.headers.has("x-injected"),
            "{request:?}"
        );
        assert!(!request.headers.has("content-length"), "{request:?}");
        // Behind the phase the context has the client's headers if edits were declared, else the edited ones.
        let metadata = record(&gateway)["metadata"].clone();
        let (client, accept) = if declares { ("2", "a/b") } else { ("changed", "none") };
        assert_eq!(metadata["shown.a.after_proxy.header.x-client"], client);
        assert_eq!(metadata["shown.a.after_proxy.header.accept"], accept);
    }
}

#[test]
fn edits_of_the_context_s_headers_in_earlier_hooks_reach_the_backend_too() {
    let backend = Backend::saying("ok");
    let config = json!({"in": {
        "on_request_received": {"context_headers": {"x-early": "1"}},
        "authorize": {"context_headers": {"x-later": "2", "x-client": null}},
        "after_proxy": {"context_headers": {"x-too-late": "3"}},
    }});
    let gateway = probed(&backend, config);
    ask(&gateway, "/", "X-Client: 1\r\n");
    let headers = backend.only_request().headers;
    assert_eq!((headers.all("x-early"), headers.all("x-later")), (vec!["1"], vec!["2"]));
    assert!(!headers.has("x-client") && !headers.has("x-too-late"));
}

#[test]
fn response_headers_are_edited_and_two_cookies_survive_a_third() {
    let reply = || {
        Reply::text("ok")
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
            .header("Vary", "x")
            .header("Vary", "y")
    };
    let backend = Backend::replying(move |_| reply().header("X-Backend", "1"));
    let config = json!({"in": {"after_proxy": {"add_cookie": "c=3", "headers": {"x-backend": null, "x-plugin": "1"}}}});
    let gateway = probed(&backend, config);
    let response = ask(&gateway, "/", "");
    assert_eq!(response.headers.all("set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!(response.headers.all("vary"), ["x", "y"], "what was not changed stays in its lines");
    assert!(!response.headers.has("x-backend") && response.headers.all("x-plugin") == ["1"]);
    assert_eq!(response.text(), "ok");
}

#[test]
fn who_asks_is_never_taken_from_the_client_but_may_be_from_a_plugin() {
    let backend = Backend::saying("ok");
    let show = json!({"show": ["header.x-consumer-username"]});
    let config = json!({"tag": "a", "flags": ["logs"], "in": {"on_request_received": show}});
    let gateway = probed(&backend, config);
    ask(&gateway, "/", "X-Consumer-Username: root\r\n");
    assert_eq!(record(&gateway)["metadata"]["shown.a.on_request_received.header.x-consumer-username"], "none");
    assert!(!backend.only_request().headers.has("x-consumer-username"));
    let backend = Backend::saying("ok");
    let gateway =
        probed(&backend, json!({"in": {"before_proxy": {"headers": {"x-consumer-username": "by the plugin"}}}}));
    ask(&gateway, "/", "X-Consumer-Username: root\r\n");
    assert_eq!(backend.only_request().headers.all("x-consumer-username"), ["by the plugin"]);
}

#[test]
fn a_path_that_a_plugin_writes_shows_in_records_and_is_not_what_the_backend_is_asked_for() {
    let backend = Backend::naming_targets();
    let config = json!({"flags": ["logs"], "in": {"authorize": {"path": "/shown", "client_ip": "10.9.9.9"}}});
    let document = document(backend.port(), config).proxy_plugin("app", "stdout_logging", json!({}));
    let gateway = tests::Gateway::running(&document);
    assert_eq!(ask(&gateway, "/real", "").text(), "GET /real");
    let of_gateway = gateway.wait_for_record(|_| true);
    let of_plugin = record(&gateway);
    for record in [of_gateway, of_plugin] {
        assert_eq!((&record["request_path"], &record["client_ip"]), (&json!("/shown"), &json!("10.9.9.9")));
    }
}

#[test]
fn header_edits_reach_the_backend_of_http2_clients() {
    let backend = Backend::saying("ok");
    let gateway =
        probed(&backend, json!({"tag": "a", "in": {"before_proxy": {"headers": {"x-new": "1", "x-client": null}}}}));
    let answer = gateway.curl("/", &["--http2-prior-knowledge", "--header", "X-Client: 1"]);
    assert_eq!((answer.status, answer.header("x-probe-a")), (200, Some("200 false")));
    let headers = backend.only_request().headers;
    assert!(headers.all("x-new") == ["1"] && !headers.has("x-client"), "{headers:?}");
}
