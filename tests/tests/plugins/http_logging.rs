//! `http_logging`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Backend, Document, Exit, Gate, Gateway, Proxy, RefusingPort, Reply, Request, Signal, eventually};

use crate::ask;

/// What a batch that is not full waits for in tests where it should not: an hour.
const NEVER_MS: u64 = 3_600_000;

/// Every path goes to the backend; records go to the sink, with these keys besides.
fn logging(backend: &Backend, sink: u16, keys: Value) -> Document {
    Document::all_to(backend.port()).global_plugin("http_logging", config(sink, keys))
}

fn config(sink: u16, keys: Value) -> Value {
    let mut config = json!({"endpoint_url": format!("http://127.0.0.1:{sink}/in")});
    config.as_object_mut().unwrap().extend(keys.as_object().cloned().unwrap());
    config
}

fn batch(request: &Request) -> Vec<Value> {
    serde_json::from_slice(&request.body).unwrap_or_else(|error| panic!("not an array ({error}): {}", request.text()))
}

/// The paths of all records that the sink has got, batch by batch.
fn batches(sink: &Backend) -> Vec<Vec<String>> {
    let path = |record: &Value| record["request_path"].as_str().unwrap_or_default().to_owned();
    sink.requests().iter().map(|request| batch(request).iter().map(path).collect()).collect()
}

fn sorted(batches: Vec<Vec<String>>) -> Vec<String> {
    let mut paths = batches.concat();
    paths.sort();
    paths
}

/// Waits until the sink has got this many records in all.
#[track_caller]
fn wait_for_records(sink: &Backend, count: usize) -> Vec<Vec<String>> {
    eventually(&format!("the sink has {count} records"), || {
        Some(batches(sink)).filter(|batches| batches.concat().len() >= count)
    })
}

/// The figure of one reason, or of those accepted.
fn figure(gateway: &Gateway, reason: Option<&str>) -> u64 {
    let series = match reason {
        Some(reason) => {
            format!(r#"ferrum_plugin_log_sink_records_dropped_total{{plugin="http_logging",reason="{reason}"}} "#)
        }
        None => r#"ferrum_plugin_log_sink_records_accepted_total{plugin="http_logging"} "#.to_owned(),
    };
    let text = gateway.admin("/metrics", &[]).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{series}: {text}"));
    line.parse().expect("a number")
}

#[track_caller]
fn wait_for_figure(gateway: &Gateway, reason: Option<&str>, expected: u64) {
    eventually(&format!("{reason:?} is {expected}"), || (figure(gateway, reason) == expected).then_some(()));
}

fn warnings(gateway: &Gateway) -> Vec<String> {
    gateway.log().into_iter().filter(|text| text.starts_with("http_logging: ")).collect()
}

#[test]
fn every_transaction_is_one_record_of_a_json_array() {
    let (backend, sink) = (Backend::saying("hello"), Backend::replying(|_| Reply::new(204).without_body()));
    let document = Document::all_to(backend.port())
        .global_plugin("http_logging", config(sink.port(), json!({"batch_size": 2, "flush_interval_ms": NEVER_MS})))
        .proxy_plugin("app", "key_auth", json!({}))
        .consumer(crate::alice());
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/a?secret=1", "X-API-Key: k-1\r\nUser-Agent: me\r\n").status, 200);
    assert_eq!(ask(&gateway, "/b", "").status, 401);
    let request = sink.wait_for_requests(1).remove(0);
    assert_eq!((&*request.method, &*request.target), ("POST", "/in"));
    assert_eq!(request.headers.all("content-type"), ["application/json"]);
    let mut records = batch(&request);
    records.sort_by_key(|record| record["request_path"].to_string());
    let expected = [("/a", 200, json!("alice"), json!("me")), ("/b", 401, Value::Null, Value::Null)];
    for (record, (path, status, consumer, agent)) in records.iter().zip(expected) {
        assert_eq!((&record["request_path"], &record["response_status_code"]), (&json!(path), &json!(status)));
        assert_eq!((&record["consumer_username"], &record["request_user_agent"]), (&consumer, &agent));
        assert_eq!((&record["namespace"], &record["proxy_id"]), (&json!("ferrum"), &json!("app")));
    }
    assert_eq!(records[1]["metadata"]["rejection_phase"], "authenticate");
    wait_for_figure(&gateway, None, 2);
}

#[test]
fn what_no_route_matches_is_not_recorded() {
    let sink = Backend::saying("");
    let document = Document::new().global_plugin("http_logging", config(sink.port(), json!({"batch_size": 1})));
    let gateway = Gateway::running(&document);
    assert_eq!(gateway.get("/nowhere").status, 404);
    assert_eq!(figure(&gateway, None), 0);
    sink.expect_untouched();
}

#[test]
fn a_batch_is_full_at_its_size_and_the_rest_comes_with_sigterm() {
    let (backend, sink) = (Backend::saying("ok"), Backend::saying(""));
    let keys = json!({"batch_size": 3, "flush_interval_ms": NEVER_MS});
    let mut gateway = Gateway::running(&logging(&backend, sink.port(), keys));
    for number in 0..8 {
        assert_eq!(gateway.get(&format!("/{number}")).status, 200);
    }
    let sent = wait_for_records(&sink, 6);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    wait_for_figure(&gateway, None, 8);
    assert_eq!(sink.requests().len(), 2, "two records wait for a third");
    gateway.signal(Signal::Terminate);
    let exit = gateway.exit(Duration::from_secs(5));
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(batches(&sink)[2].len(), 2);
    assert_eq!(sorted(batches(&sink)), ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
}

#[test]
fn a_batch_that_is_not_full_is_sent_after_the_interval() {
    let (backend, sink) = (Backend::saying("ok"), Backend::saying(""));
    let gateway = Gateway::running(&logging(&backend, sink.port(), json!({"flush_interval_ms": 400})));
    let started = Instant::now();
    assert_eq!(gateway.get("/one").status, 200);
    assert_eq!(wait_for_records(&sink, 1), [["/one"]]);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn custom_headers_are_sent_and_nothing_secret_is_logged() {
    let (backend, sink) = (Backend::saying("ok"), Backend::replying(|_| Reply::new(500)));
    let mut document = json!({
        "endpoint_url": format!("http://user:pass-word@127.0.0.1:{}/in?token=in-query", sink.port()),
        "batch_size": 1, "max_retries": 1, "retry_delay_ms": 1,
        "custom_headers": {"X-Collector-Key": "very-secret", "content-type": "application/x-records"},
    });
    document["unknown_key"] = json!("secret-too");
    let document = Document::all_to(backend.port()).global_plugin("http_logging", document);
    let gateway = Gateway::builder()
        .document(&document)
        .env("FERRUM_LOG_LEVEL", "debug")
        .env("FERRUM_PLUGIN_HTTP_SLOW_THRESHOLD_MS", 0)
        .start();
    assert_eq!(gateway.get("/").status, 200);
    let request = sink.wait_for_requests(2).remove(0);
    assert_eq!(request.target, "/in?token=in-query");
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwYXNzLXdvcmQ="));
    assert_eq!(request.header("x-collector-key"), Some("very-secret"));
    assert_eq!(request.headers.all("content-type"), ["application/x-records"]);
    let discarded = format!("http_logging: a batch is discarded: http://127.0.0.1:{}/in answered 500", sink.port());
    gateway.wait_for_log(|text| text == discarded);
    gateway.wait_for_log(|text| text == "Slow plugin HTTP call");
    let (stdout, stderr) = gateway.output();
    let printed = [stdout, stderr].concat().join("\n");
    assert!(printed.contains("unknown key 'unknown_key' is ignored"), "{printed}");
    for secret in ["very-secret", "pass-word", "in-query", "secret-too", "dXNlcjpwYXNzLXdvcmQ="] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn a_batch_is_tried_again_until_it_is_taken() {
    for (first, retried) in
        [(408, true), (429, true), (500, true), (503, true), (302, true), (400, false), (404, false)]
    {
        let status = Arc::new(AtomicU16::new(first));
        let answer = status.clone();
        let backend = Backend::saying("ok");
        let sink =
            Backend::replying(move |_| Reply::new(answer.swap(200, Ordering::SeqCst)).header("Location", "/elsewhere"));
        let keys = json!({"batch_size": 1, "max_retries": 3, "retry_delay_ms": 20});
        let gateway = Gateway::running(&logging(&backend, sink.port(), keys));
        assert_eq!(gateway.get("/first").status, 200);
        sink.wait_for_requests(1);
        assert_eq!(gateway.get("/second").status, 200);
        let sent = match retried {
            true => vec![["/first"], ["/first"], ["/second"]],
            false => vec![["/first"], ["/second"]],
        };
        eventually("all is sent", || (batches(&sink) == sent).then_some(()));
        assert!(sink.requests().iter().all(|request| request.target == "/in" && request.method == "POST"));
        assert_eq!(figure(&gateway, Some("batch_discard")), u64::from(!retried), "{first}");
        assert_eq!(figure(&gateway, Some("sink_error")), 0);
        assert_eq!(warnings(&gateway).len(), usize::from(!retried), "{first}: {:?}", warnings(&gateway));
    }
}

#[test]
fn a_batch_is_given_up_after_its_retries_and_the_next_one_starts_anew() {
    let (backend, sink) = (Backend::saying("ok"), Backend::replying(|_| Reply::new(503)));
    let keys = json!({"batch_size": 1, "max_retries": 2, "retry_delay_ms": 100});
    let gateway = Gateway::running(&logging(&backend, sink.port(), keys));
    let started = Instant::now();
    assert_eq!(gateway.get("/a").status, 200);
    sink.wait_for_requests(3);
    assert!(started.elapsed() >= Duration::from_millis(200), "two pauses lie between three attempts");
    wait_for_figure(&gateway, Some("sink_error"), 1);
    assert_eq!(gateway.get("/b").status, 200);
    wait_for_figure(&gateway, Some("sink_error"), 2);
    assert_eq!(batches(&sink), [["/a"], ["/a"], ["/a"], ["/b"], ["/b"], ["/b"]]);
    let text = format!("http_logging: a batch is discarded: http://127.0.0.1:{}/in answered 503", sink.port());
    assert_eq!(warnings(&gateway), [text.clone(), text]);
}

#[test]
fn a_sink_that_is_down_delays_nobody_and_gets_the_records_once_it_is_back() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = attempts.clone();
    let backend = Backend::saying("ok");
    // Hangs up without an answer twice, and then works.
    let sink = Backend::scripted(move |connection| {
        while let Some(request) = connection.read_request() {
            if count.fetch_add(1, Ordering::SeqCst) < 2 || !connection.reply_to(&request, &Reply::new(200)) {
                return;
            }
        }
    });
    let keys = json!({"batch_size": 5, "flush_interval_ms": 100, "max_retries": 5, "retry_delay_ms": 50});
    let gateway = Gateway::running(&logging(&backend, sink.port(), keys));
    for number in 0..5 {
        assert_eq!(gateway.get(&format!("/{number}")).status, 200);
    }
    eventually("the batch is taken", || (attempts.load(Ordering::SeqCst) >= 3).then_some(()));
    assert_eq!(sorted(vec![batches(&sink).pop().unwrap()]).len(), 5);
    wait_for_figure(&gateway, Some("sink_error"), 0);

    let refusing = RefusingPort::new();
    let keys = json!({"batch_size": 1, "max_retries": 1, "retry_delay_ms": 10});
    let gateway = Gateway::running(&logging(&backend, refusing.port(), keys));
    assert_eq!(gateway.get("/lost").status, 200);
    wait_for_figure(&gateway, Some("sink_error"), 1);
    let told = gateway.wait_for_log(|text| text.contains("a batch is discarded"));
    assert!(told.contains("cannot be reached: ") && told.contains("refused"), "{told}");
}

#[test]
fn while_the_sink_is_stuck_exactly_so_many_records_wait_and_the_others_are_counted() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::saying("ok");
    let sink = Backend::replying(move |_| {
        held.wait();
        Reply::new(200)
    });
    let keys = json!({"batch_size": 2, "buffer_capacity": 5, "flush_interval_ms": 100});
    let gateway = Gateway::running(&logging(&backend, sink.port(), keys));
    assert_eq!(gateway.get("/0").status, 200);
    sink.wait_for_requests(1);
    let started = Instant::now();
    for number in 1..=5 {
        assert_eq!(gateway.get(&format!("/{number}")).status, 200);
    }
    wait_for_figure(&gateway, None, 6);
    assert_eq!(figure(&gateway, Some("queue_full")), 0, "the fifth still fits");
    for number in 6..=9 {
        assert_eq!(gateway.get(&format!("/{number}")).status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "nobody waits for the sink");
    wait_for_figure(&gateway, Some("queue_full"), 4);
    assert_eq!(figure(&gateway, None), 6);
    assert_eq!(warnings(&gateway), ["http_logging: the queue has buffer_capacity (5) records, more are dropped"]);
    gate.open();
    wait_for_records(&sink, 6);
    assert_eq!(sorted(batches(&sink)), ["/0", "/1", "/2", "/3", "/4", "/5"]);
    assert_eq!(gateway.get("/again").status, 200);
    wait_for_records(&sink, 7);
}

#[test]
fn the_queue_s_bytes_are_bounded_too_and_so_is_one_record() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::saying("ok");
    let sink = Backend::replying(move |_| {
        held.wait();
        Reply::new(200)
    });
    // Nothing but the path, so that the size is known: {"request_path":"…"} has 19 bytes around it.
    let native = [
        "namespace",
        "timestamp_received",
        "client_ip",
        "consumer_username",
        "http_method",
        "proxy_id",
        "backend_target",
        "backend_resolved_ip",
        "response_status_code",
        "latency_total_ms",
        "latency_gateway_processing_ms",
        "latency_backend_ttfb_ms",
        "latency_backend_total_ms",
        "latency_plugin_execution_ms",
        "latency_plugin_external_io_ms",
        "latency_gateway_overhead_ms",
        "request_user_agent",
        "response_streamed",
        "body_completed",
        "bytes_received",
        "metadata",
    ];
    let keys = json!({
        "batch_size": 1, "buffer_max_bytes": 200, "max_entry_bytes": 100,
        "schema": {"summary_type": "http", "omit": native},
    });
    let gateway = Gateway::running(&logging(&backend, sink.port(), keys));
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 20));
    assert_eq!(gateway.get("/first").status, 200);
    sink.wait_for_requests(1);
    assert_eq!(batch(&sink.requests()[0]), [json!({"request_path": "/first"})]);
    assert_eq!(gateway.get(&path(101)).status, 200);
    wait_for_figure(&gateway, Some("record_too_large"), 1);
    for _ in 0..2 {
        assert_eq!(gateway.get(&path(100)).status, 200);
    }
    wait_for_figure(&gateway, None, 3);
    assert_eq!(figure(&gateway, Some("byte_budget")), 0);
    assert_eq!(gateway.get("/").status, 200);
    wait_for_figure(&gateway, Some("byte_budget"), 1);
    assert_eq!(warnings(&gateway)[0], "http_logging: a record is longer than max_entry_bytes (100) and is dropped");
    gate.open();
    wait_for_records(&sink, 3);
}

#[test]
fn sigterm_does_not_wait_for_a_sink_that_is_stuck() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::saying("ok");
    let sink = Backend::replying(move |_| {
        held.wait();
        Reply::new(200)
    });
    let mut gateway = Gateway::running(&logging(&backend, sink.port(), json!({"batch_size": 1})));
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    sink.wait_for_requests(1);
    wait_for_figure(&gateway, None, 3);
    gateway.signal(Signal::Terminate);
    let exit = gateway.exit(Duration::from_secs(12));
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let lost: Vec<String> = logged(&exit).into_iter().filter(|text| text.starts_with("http_logging: ")).collect();
    assert_eq!(
        lost,
        [
            "http_logging: a batch is discarded: the time to deliver it is over",
            "http_logging: records are dropped, because the time to deliver them is over"
        ]
    );
    gate.open();
}

/// All log texts of a process that has ended.
fn logged(exit: &Exit) -> Vec<String> {
    let lines = exit.stdout.lines().chain(exit.stderr.lines());
    let texts = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    texts.filter_map(|line| line["fields"]["message"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_reload_that_replaces_the_plugin_flushes_what_it_had() {
    let backend = Backend::saying("ok");
    let (old, new) = (Backend::saying(""), Backend::saying(""));
    let keys = json!({"flush_interval_ms": NEVER_MS});
    let gateway = Gateway::running(&logging(&backend, old.port(), keys.clone()));
    for number in 0..3 {
        assert_eq!(gateway.get(&format!("/old/{number}")).status, 200);
    }
    wait_for_figure(&gateway, None, 3);
    assert!(old.requests().is_empty());
    gateway.reload(&logging(&backend, new.port(), keys));
    wait_for_records(&old, 3);
    assert_eq!(gateway.get("/new").status, 200);
    wait_for_figure(&gateway, None, 4);
    gateway.reload(&Document::all_to(backend.port()));
    assert_eq!(wait_for_records(&new, 1), [["/new"]]);
    assert_eq!(sorted(batches(&old)), ["/old/0", "/old/1", "/old/2"]);
}

#[test]
fn a_reload_that_does_not_change_the_plugin_leaves_its_queue_alone() {
    let (backend, sink) = (Backend::saying("ok"), Backend::saying(""));
    let document = logging(&backend, sink.port(), json!({"batch_size": 4, "flush_interval_ms": NEVER_MS}));
    let gateway = Gateway::running(&document);
    for _ in 0..2 {
        assert_eq!(gateway.get("/before").status, 200);
    }
    wait_for_figure(&gateway, None, 2);
    gateway.reload(&document.clone().consumer(crate::alice()));
    for _ in 0..2 {
        assert_eq!(gateway.get("/behind").status, 200);
    }
    sink.wait_for_requests(1);
    assert_eq!(sorted(batches(&sink)), ["/before", "/before", "/behind", "/behind"]);
    assert_eq!(batches(&sink).len(), 1);
}

#[test]
fn a_schema_gives_records_the_operator_s_shape() {
    let (backend, sink) = (Backend::saying("ok"), Backend::saying(""));
    let schema = json!({
        "omit": ["client_ip"], "rename": {"request_path": "path"}, "static_fields": {"env": "eu"},
        "order": ["env", "path", "*"],
    });
    let gateway = Gateway::running(&logging(&backend, sink.port(), json!({"batch_size": 1, "schema": schema})));
    assert_eq!(gateway.get("/p").status, 200);
    let text = sink.wait_for_requests(1)[0].text();
    assert!(text.starts_with(r#"[{"env":"eu","path":"/p","namespace":"ferrum","#), "{text}");
    assert!(!text.contains("client_ip"), "{text}");
}

#[test]
fn a_config_that_is_wrong_refuses_to_start_with_all_its_errors() {
    let config = json!({
        "endpoint_url": "ftp://x/", "batch_size": "many", "flush_interval_ms": -1, "buffer_capacity": 1.5,
        "max_retries": null, "retry_delay_ms": [], "buffer_max_bytes": {}, "max_entry_bytes": true,
        "custom_headers": {"X": 1}, "schema_ref": "slim",
    });
    let document = Document::new().global_plugin("http_logging", config);
    let exit = Gateway::builder().document(&document).start_failing();
    assert_eq!(exit.code, Some(1));
    let logged = logged(&exit).join("\n");
    for text in [
        "http_logging: 'endpoint_url' must use http or https scheme, got 'ftp'",
        "http_logging: custom_headers['X'] must be a string",
        "http_logging: 'schema_ref' references unknown schema 'slim'",
    ] {
        assert!(logged.contains(text), "{text}: {logged}");
    }
    for key in [
        "batch_size",
        "flush_interval_ms",
        "buffer_capacity",
        "max_retries",
        "retry_delay_ms",
        "buffer_max_bytes",
        "max_entry_bytes",
    ] {
        assert!(logged.contains(&format!("http_logging: '{key}' must be an unsigned integer")), "{key}: {logged}");
    }
}

#[test]
fn two_sinks_of_two_proxies_do_not_mix() {
    let (backend, left, right) = (Backend::saying("ok"), Backend::saying(""), Backend::saying(""));
    let proxy = |id: &str| tests::Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let document = Document::new()
        .proxy(proxy("left"))
        .proxy(proxy("right"))
        .proxy_plugin("left", "http_logging", config(left.port(), json!({"batch_size": 1})))
        .proxy_plugin("right", "http_logging", config(right.port(), json!({"batch_size": 1})));
    let gateway = Gateway::running(&document);
    for path in ["/left/1", "/right/1", "/left/2"] {
        assert_eq!(gateway.get(path).status, 200);
    }
    wait_for_records(&left, 2);
    assert_eq!(wait_for_records(&right, 1), [["/right/1"]]);
    assert_eq!(sorted(batches(&left)), ["/left/1", "/left/2"]);
}

#[test]
fn an_endpoint_whose_address_is_forbidden_ends_the_start() {
    let (backend, sink) = (Backend::saying("ok"), Backend::saying("should not be reached"));
    let proxy =
        Proxy::new("app").path("/").set("backend_host", "backend.internal.test").set("backend_port", backend.port());
    let document = Document::new().proxy(proxy).global_plugin("http_logging", config(sink.port(), json!({})));
    let exit = Gateway::builder().document(&document).env("FERRUM_BACKEND_ALLOW_IPS", "public").start_failing();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let said = "IP 127.0.0.1 denied by FERRUM_BACKEND_ALLOW_IPS=public policy";
    assert!(exit.stderr.contains("Plugin 'http_logging' (id=") && exit.stderr.contains(said), "{exit:?}");
    sink.expect_untouched();
}
