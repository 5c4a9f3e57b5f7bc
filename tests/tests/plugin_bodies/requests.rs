//! Requests that are held until they are whole.

use std::time::Duration;

use serde_json::{Value, json};
use tests::http2::{ErrorCode, Frame, Http2Client, flag};
use tests::{Backend, Document, Framing, Gateway, Reply, eventually};

use crate::{POST, builder, chunked, fixed, growing, holding, json_of, post, rules};

const TOO_LARGE: &str = r#"{"error":"Request body exceeds maximum size"}"#;

#[test]
fn a_request_is_rewritten_and_framed_anew_and_its_connection_goes_on() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let mut client = gateway.raw();
    let body = r#"{"secret": 1, "a": [1, 2]}"#;
    for request in [fixed(body), chunked(body, 3, ""), chunked(body, 100, "X-Sum: 1\r\n"), fixed("{ \"b\": 2 }")] {
        client.send(request);
        let expected = if backend.requests().len() < 3 { r#"{"a":[1,2]}"# } else { "{ \"b\": 2 }" };
        assert_eq!(client.response().text(), expected);
    }
    let requests = backend.requests();
    assert_eq!(requests[0].framing, Framing::Length(11));
    assert_eq!(requests[1].framing, Framing::Length(11), "its length is known now");
    assert_eq!(requests[3].framing, Framing::Length(10));
    assert!(requests.iter().all(|request| request.connection == 0), "backends keep their connection too");
}

#[test]
fn trailers_of_a_request_reach_the_backend_behind_what_became_of_the_body() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let response = gateway.ask(chunked(r#"{"secret":1,"a":2}"#, 5, "X-Sum: 7\r\nContent-Length: 3\r\n"));
    assert_eq!(response.text(), r#"{"a":2}"#);
    let request = backend.only_request();
    assert_eq!((request.framing, request.trailers.names()), (Framing::Chunked, vec!["X-Sum"]));
    assert_eq!(request.trailers.get("x-sum"), Some("7"));
}

#[test]
fn a_body_without_any_bytes_is_one_of_length_0() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let mut client = gateway.raw();
    for request in [fixed(""), chunked("", 1, ""), format!("{POST}\r\n")] {
        client.send(request);
        assert_eq!(client.response().status, 200);
    }
    let framings: Vec<Framing> = backend.requests().iter().map(|request| request.framing).collect();
    assert_eq!(framings, [Framing::Length(0); 3]);
}

#[test]
fn a_held_request_of_the_limit_passes_and_one_byte_more_gets_413() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = gateway.raw();
    for request in [fixed(&json_of(1000)), chunked(&json_of(1000), 300, "")] {
        client.send(request);
        assert_eq!(client.response().text(), json_of(1000));
    }
    for request in [fixed(&json_of(1001)), chunked(&json_of(1001), 300, "")] {
        let mut client = gateway.raw();
        client.send(request);
        let refused = client.response();
        assert_eq!((refused.status, refused.text().as_str()), (413, TOO_LARGE));
        assert_eq!(refused.headers.all("content-type"), ["application/json"]);
        assert!(refused.says_close(), "{refused:?}");
        client.expect_closed();
    }
    assert_eq!(backend.requests().len(), 2, "the backend does not hear of what is too large");
    eventually("four requests are counted", || (gateway.metric("ferrum_core_requests_total") == 4).then_some(()));
    gateway.ask(fixed("{}").replace("POST / ", "POST /last "));
    gateway.wait_for_record(|record| record["request_path"] == "/last");
    eventually("three requests are recorded", || (gateway.records().len() >= 3).then_some(()));
    let statuses: Vec<Value> = gateway.records().iter().map(|record| record["response_status_code"].clone()).collect();
    assert_eq!(statuses, [200, 200, 200], "what is too large passes no plugin, not even those that log");
}

#[test]
fn what_is_announced_past_the_limit_is_refused_before_a_byte_of_it() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    for framing in ["Content-Length: 1001\r\n\r\n", "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n"] {
        let refused = gateway.ask(format!("{POST}{framing}"));
        assert_eq!((refused.status, refused.interim.len()), (413, 0), "{framing}");
    }
    let mut client = gateway.raw();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n{}", "b".repeat(1001)));
    assert_eq!(client.response().status, 413, "a chunk that says it is too large need not come");
    backend.expect_untouched();
}

#[test]
fn a_refusal_of_a_body_to_head_has_no_body() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    let refused = client.response_to_head();
    assert_eq!((refused.status, refused.header("content-length")), (413, Some("45")));
    client.expect_closed();
}

#[test]
fn the_limit_is_for_what_clients_send_and_not_for_what_rules_make_of_it() {
    let backend = Backend::echoing();
    let document = Document::all_to(backend.port()).proxy_plugin("app", "request_transformer", growing());
    let gateway = builder(&document, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]).start();
    for request in
        [fixed(&json_of(1000)), chunked(&json_of(1000), 300, ""), chunked(&json_of(1000), 300, "X-Sum: 1\r\n")]
    {
        let response = gateway.ask(request);
        assert_eq!((response.status, response.body.len()), (200, 1009));
    }
    assert_eq!(gateway.ask(fixed(&json_of(1001))).status, 413);
}

#[test]
fn a_limit_of_0_is_no_limit_for_held_requests() {
    let backend = Backend::replying(|request| Reply::text(&request.body.len().to_string()));
    let gateway = holding("request_transformer", &backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "0")]);
    assert_eq!(gateway.ask(fixed(&json_of(11 << 20))).text(), (11 << 20).to_string());
}

#[test]
fn an_expecting_client_is_told_once_to_continue() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let mut client = gateway.raw();
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 7\r\n\r\n"));
    assert_eq!(client.interim().status, 100);
    client.send(r#"{"a":1}"#);
    let response = client.response();
    assert_eq!((response.text().as_str(), response.interim.len()), (r#"{"a":1}"#, 0));
    assert_eq!(client.get("/next").status, 200);
    assert_eq!(backend.requests()[0].header("expect"), Some("100-continue"), "as any other header");
}

#[test]
fn a_client_that_goes_away_while_its_body_is_awaited_is_recorded_as_499() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let gone = |record: &Value, path: &str| {
        assert_eq!(record["request_path"], path, "{record}");
        assert_eq!(
            (&record["error_class"], &record["client_disconnected"]),
            (&json!("client_disconnect"), &json!(true))
        );
        assert_eq!(record["latency_backend_total_ms"], -1.0);
    };
    let half = |path: &str| {
        let mut client = gateway.raw();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf of it"));
        client
    };
    let wait = |path: &'static str| {
        gateway.wait_for_record(|record| record["response_status_code"] == 499 && record["request_path"] == path)
    };
    half("/reset").reset();
    gone(&wait("/reset"), "/reset");
    let mut client = half("/closed");
    client.finish_sending();
    gone(&wait("/closed"), "/closed");
    drop(client);

    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &post("/stream"), false);
    client.data(1, "half of it", false);
    client.ping([1; 8]);
    client.send(&Frame::rst_stream(1, ErrorCode::CANCEL));
    gone(&wait("/stream"), "/stream");
    client.expect_served(3);
    assert!(backend.requests().iter().all(|request| request.method == "GET"), "no half request reaches the backend");
}

#[test]
fn a_body_that_is_none_gets_400_and_the_backend_hears_nothing() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let mut client = gateway.raw();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n"));
    let refused = client.response();
    assert_eq!((refused.status, refused.says_close()), (400, true));
    assert_eq!(refused.text(), r#"{"error":"Request body is not valid chunked coding"}"#);
    client.expect_closed();
    backend.expect_untouched();
}

#[test]
fn waiting_for_a_slow_body_is_no_work_of_plugins() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    let mut client = gateway.raw();
    client.send(format!("{POST}Content-Length: 7\r\n\r\n"));
    client.send(r#"{"a""#);
    // The time itself is what the record is to show.
    std::thread::sleep(Duration::from_millis(300));
    client.send(":1}");
    assert_eq!(client.response().status, 200);
    let record = gateway.wait_for_record(|_| true);
    let number = |name: &str| record[name].as_f64().unwrap();
    assert!(number("latency_plugin_execution_ms") < number("latency_total_ms") / 2.0, "{record}");
    assert_eq!(record["bytes_sent"], 7);
}

#[test]
fn curl_posts_over_both_versions_up_to_the_limit() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "100000")]);
    let curl = |version: &str, body: &str| {
        gateway.curl("/", &[version, "--header", "Content-Type: application/json", "--data-binary", body])
    };
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl(version, &json_of(100_000));
        assert_eq!((answer.status, answer.exit), (200, 0), "{version}");
        assert!(answer.text() == json_of(100_000), "{version}");
        let refused = curl(version, &json_of(100_001));
        assert_eq!((refused.status, refused.text().as_str(), refused.exit), (413, TOO_LARGE, 0), "{version}");
    }
}

#[test]
fn over_http_2_a_body_past_the_limit_ends_its_stream_and_no_other() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", "1000")]);
    let mut client = Http2Client::connect(gateway.port());
    client.request(1, &post("/"), false);
    client.data(1, json_of(1000), true);
    assert_eq!(client.response(1).text(), json_of(1000));
    client.request(3, &post("/"), false);
    client.data(3, json_of(900), false);
    client.data(3, json_of(101), true);
    let refused = client.response(3);
    assert_eq!((refused.status, refused.text().as_str()), (413, TOO_LARGE));
    let announced = [&post("/")[..], &[("content-length", "1001")]].concat();
    client.request(5, &announced, false);
    assert_eq!(client.response(5).status, 413);
    client.request(7, &post("/"), false);
    client.send(&Frame::data(7, flag::END_STREAM, ""));
    assert_eq!(client.response(7).status, 200);
    client.expect_served(9);
}

#[test]
fn held_bodies_of_many_clients_do_not_mix() {
    let backend = Backend::echoing();
    let gateway = holding("request_transformer", &backend, &[]);
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.raw();
                for round in 0..20 {
                    let text = (b'a' + number) as char;
                    let body = format!("{{\"n\":\"{}\"}}", text.to_string().repeat(30_000 + 9_973 * round));
                    client.send(if round % 2 == 0 { fixed(&body) } else { chunked(&body, 7001, "") });
                    assert!(client.response().text() == body, "{number} {round}");
                }
            });
        }
    });
}

#[test]
fn the_body_of_a_request_that_is_refused_before_is_not_asked_for() {
    let backend = Backend::saying("should not be reached");
    let document = Document::all_to(backend.port()).proxy_plugin("app", "key_auth", json!({})).proxy_plugin(
        "app",
        "request_transformer",
        rules(),
    );
    let gateway = Gateway::running(&document);
    let mut client = gateway.raw();
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n"));
    let refused = client.response();
    assert_eq!((refused.status, refused.interim.len()), (401, 0), "nobody asks for the body of a stranger");
    let mut client = gateway.raw();
    client.send(fixed("{}"));
    assert_eq!(client.response().status, 401);
    client.send(fixed("{}"));
    assert_eq!(client.response().status, 401, "a short body is read away");
    backend.expect_untouched();
}
