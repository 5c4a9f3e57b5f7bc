//! The transaction record that `stdout_logging` writes for each request.

use serde_json::{Value, json};
use tests::{Backend, Document, Gate, Gateway, Proxy, RefusingPort, Reply};

const ALWAYS: [&str; 17] = [
    "namespace",
    "timestamp_received",
    "client_ip",
    "consumer_username",
    "http_method",
    "request_path",
    "backend_target",
    "response_status_code",
    "latency_total_ms",
    "latency_gateway_processing_ms",
    "latency_backend_ttfb_ms",
    "latency_backend_total_ms",
    "latency_plugin_execution_ms",
    "latency_plugin_external_io_ms",
    "latency_gateway_overhead_ms",
    "request_user_agent",
    "metadata",
];

/// All fields in the order in which they are written.
const ORDER: [&str; 29] = [
    "namespace",
    "timestamp_received",
    "client_ip",
    "consumer_username",
    "auth_method",
    "http_method",
    "request_path",
    "proxy_id",
    "proxy_name",
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
    "client_disconnected",
    "error_class",
    "body_error_class",
    "body_completed",
    "bytes_sent",
    "bytes_received",
    "mirror",
    "metadata",
];

fn logged(proxy: Proxy) -> Document {
    Document::new().proxy(proxy).global_plugin("stdout_logging", json!({}))
}

fn app(port: u16) -> Proxy {
    Proxy::new("app").set("name", "the-app").path("/app").set("backend_path", "/base").to(port)
}

#[track_caller]
fn well_formed(record: &Value) {
    let fields: Vec<&str> = record.as_object().expect("an object").keys().map(String::as_str).collect();
    for name in ALWAYS {
        assert!(fields.contains(&name), "{name} is missing in {record}");
    }
    let places: Vec<_> = fields.iter().map(|name| ORDER.iter().position(|known| known == name)).collect();
    assert!(places.iter().all(Option::is_some), "an unknown field in {fields:?}");
    assert!(places.is_sorted(), "out of order: {fields:?}");
    let received = record["timestamp_received"].as_str().expect("a time");
    assert!(received.ends_with("+00:00") && received.contains('.'), "{received}");
    for name in ALWAYS.iter().filter(|name| name.starts_with("latency_")) {
        assert!(record[*name].is_f64(), "{name} is {}", record[*name]);
    }
    assert!(record["metadata"].as_object().expect("an object").values().all(Value::is_string), "{record}");
}

fn number(record: &Value, name: &str) -> f64 {
    record[name].as_f64().expect("a number")
}

#[test]
fn a_plain_request_has_every_field() {
    let backend = Backend::replying(|_| Reply::text("hello world"));
    let document = logged(app(backend.port()))
        .proxy_plugin("app", "key_auth", json!({}))
        .proxy_plugin("app", "correlation_id", json!({}))
        .consumer(json!({"id": "c-alice", "username": "alice", "credentials": {"keyauth": [{"key": "k-1"}]}}));
    let gateway = Gateway::running(&document);
    let body = "12345";
    gateway.ask(format!(
        "POST /app/orders?secret=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: test/1\r\nX-API-Key: k-1\r\nX-Request-ID: r-1\r\n\
         Content-Length: 5\r\n\r\n{body}"
    ));
    let record = gateway.wait_for_record(|_| true);
    well_formed(&record);
    let port = backend.port();
    for (name, value) in [
        ("namespace", json!("ferrum")),
        ("client_ip", json!("127.0.0.1")),
        ("consumer_username", json!("alice")),
        ("auth_method", json!("key_auth")),
        ("http_method", json!("POST")),
        ("request_path", json!("/app/orders")),
        ("proxy_id", json!("app")),
        ("proxy_name", json!("the-app")),
        ("backend_target", json!(format!("http://127.0.0.1:{port}/base/orders"))),
        ("backend_resolved_ip", json!("127.0.0.1")),
        ("response_status_code", json!(200)),
        ("request_user_agent", json!("test/1")),
        ("bytes_sent", json!(5)),
        ("bytes_received", json!(11)),
    ] {
        assert_eq!(record[name], value, "{name} in {record}");
    }
    assert_eq!(record["metadata"]["request_id"], "r-1");
    for name in ["error_class", "body_error_class", "client_disconnected", "mirror"] {
        assert!(record.get(name).is_none(), "{name} in {record}");
    }
    let (total, ttfb) = (number(&record, "latency_total_ms"), number(&record, "latency_backend_ttfb_ms"));
    assert!(total > 0.0 && ttfb > 0.0 && ttfb <= total, "{record}");
    assert!(number(&record, "latency_gateway_processing_ms") <= total, "{record}");
    assert_eq!(gateway.records().len(), 1, "one request, one record");
}

#[test]
fn a_rejected_request_names_the_phase_and_no_backend_time() {
    let backend = Backend::saying("should not be reached");
    let gateway = Gateway::running(&logged(app(backend.port())).proxy_plugin("app", "key_auth", json!({})));
    gateway.get("/app/orders");
    let record = gateway.wait_for_record(|_| true);
    well_formed(&record);
    assert_eq!(
        (&record["response_status_code"], &record["metadata"]["rejection_phase"]),
        (&json!(401), &json!("authenticate"))
    );
    assert_eq!((&record["consumer_username"], &record["request_user_agent"]), (&Value::Null, &Value::Null));
    assert_eq!(record["backend_target"], format!("http://127.0.0.1:{}/base/orders", backend.port()));
    assert_eq!((number(&record, "latency_backend_ttfb_ms"), number(&record, "latency_backend_total_ms")), (-1.0, -1.0));
    assert_eq!(number(&record, "latency_gateway_processing_ms"), number(&record, "latency_total_ms"));
    for name in ["auth_method", "error_class", "response_streamed"] {
        assert!(record.get(name).is_none(), "{name} in {record}");
    }
}

#[test]
fn requests_refused_before_the_plugins_leave_no_record() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::running(&logged(app(backend.port()).set("allowed_methods", vec!["GET"])));
    assert_eq!(gateway.get("/nowhere").status, 404);
    assert_eq!(gateway.ask("PUT /app HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
    assert_eq!(gateway.ask("TRACE /app HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
    assert_eq!(gateway.ask("GET /app HTTP/1.1\r\nHost: a b\r\n\r\n").status, 400);
    assert_eq!(gateway.get("/app/last").status, 200);
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["request_path"], "/app/last", "the first record is that of the first routed request");
}

#[test]
fn a_backend_that_refuses_is_recorded_as_such() {
    let refusing = RefusingPort::new();
    let gateway = Gateway::running(&logged(app(refusing.port())));
    assert_eq!(gateway.get("/app").status, 502);
    let record = gateway.wait_for_record(|_| true);
    well_formed(&record);
    assert_eq!((&record["response_status_code"], &record["error_class"]), (&json!(502), &json!("connection_refused")));
    assert_eq!((number(&record, "latency_backend_ttfb_ms"), number(&record, "latency_backend_total_ms")), (-1.0, -1.0));
}

#[test]
fn each_way_to_fail_has_its_class() {
    let silent = Backend::scripted(|connection| {
        connection.read_request();
        connection.wait_closed();
    });
    let closing = Backend::scripted(|connection| drop(connection.read_request()));
    let resetting = Backend::scripted(|connection| {
        connection.read_request();
        connection.reset();
    });
    let proxy = |id: &str, port| Proxy::new(id).path(&format!("/{id}")).set("backend_read_timeout_ms", 300).to(port);
    let document = Document::new()
        .proxy(proxy("silent", silent.port()))
        .proxy(proxy("closing", closing.port()))
        .proxy(proxy("resetting", resetting.port()))
        .global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    for (id, class) in
        [("silent", "read_write_timeout"), ("closing", "connection_closed"), ("resetting", "connection_reset")]
    {
        assert_eq!(gateway.get(&format!("/{id}")).status, 502);
        let record = gateway.wait_for_record(|record| record["proxy_id"] == id);
        assert_eq!(record["error_class"], class, "{record}");
    }
}

#[test]
fn an_error_of_the_backend_itself_has_no_class() {
    let backend = Backend::replying(|_| Reply::new(503).body("theirs"));
    let gateway = Gateway::running(&logged(app(backend.port())));
    assert_eq!(gateway.get("/app").status, 503);
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["response_status_code"], 503);
    assert!(record.get("error_class").is_none(), "{record}");
}

#[test]
fn a_streamed_response_is_recorded_at_its_end() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        held.wait();
        connection.send("4\r\nlast\r\n0\r\n\r\n");
        connection.wait_closed();
    });
    let gateway = Gateway::running(&logged(app(backend.port())));
    let mut client = gateway.raw();
    client.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert!(gateway.records().is_empty(), "the body has not ended");
    gate.open();
    assert_eq!(client.count_body(&head), Ok(9));
    let record = gateway.wait_for_record(|_| true);
    well_formed(&record);
    assert_eq!((&record["response_streamed"], &record["body_completed"]), (&json!(true), &json!(true)));
    assert_eq!((&record["bytes_received"], number(&record, "latency_backend_total_ms")), (&json!(9), -1.0));
}

#[test]
fn a_client_that_leaves_during_the_body_is_recorded_as_gone() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        connection.wait_closed();
    });
    let gateway = Gateway::running(&logged(app(backend.port())));
    let mut client = gateway.raw();
    client.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk(), b"first");
    client.reset();
    let record = gateway.wait_for_record(|_| true);
    well_formed(&record);
    assert_eq!((&record["client_disconnected"], &record["response_status_code"]), (&json!(true), &json!(200)));
    assert_eq!(record["body_error_class"], "client_disconnect");
    assert!(record.get("body_completed").is_none(), "{record}");
}

#[test]
fn a_body_that_the_backend_breaks_off_is_recorded_with_its_class() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this");
    });
    let gateway = Gateway::running(&logged(app(backend.port())));
    let mut client = gateway.raw();
    client.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert!(client.count_body(&head).is_err());
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(
        (&record["response_status_code"], &record["body_error_class"]),
        (&json!(200), &json!("connection_closed"))
    );
    assert!(record.get("body_completed").is_none() && record.get("client_disconnected").is_none(), "{record}");
}

#[test]
fn limits_are_recorded_with_their_class() {
    let backend = Backend::replying(|request| match request.target.as_str() {
        "/base/large" => Reply::new(200).body(vec![b'r'; 1001]),
        _ => Reply::new(200).body(vec![b'r'; 70_000]).chunked(1000),
    });
    let gateway = Gateway::builder()
        .document(&logged(app(backend.port())))
        .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 1000)
        .env("FERRUM_MAX_REQUEST_BODY_SIZE_BYTES", 1000)
        .start();
    assert_eq!(gateway.get("/app/large").status, 502);
    let record = gateway.wait_for_record(|record| record["request_path"] == "/app/large");
    assert_eq!(record["error_class"], "response_body_too_large", "{record}");

    let mut client = gateway.raw();
    client.send("GET /app/growing HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert!(client.count_body(&head).is_err());
    let record = gateway.wait_for_record(|record| record["request_path"] == "/app/growing");
    assert_eq!(record["body_error_class"], "response_body_too_large", "{record}");
}

#[test]
fn secrets_in_the_metadata_never_reach_the_log() {
    let backend = Backend::saying("ok");
    let document = logged(Proxy::new("app").path("~/(?P<password>[^/]+)/(?P<kept>[^/]+)").to(backend.port()));
    let gateway = Gateway::running(&document);
    assert_eq!(gateway.get("/hunter2/visible").status, 200);
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["metadata"]["path_param.password"], "[REDACTED]", "{record}");
    assert_eq!(record["metadata"]["path_param.kept"], "visible", "{record}");
}

#[test]
fn records_are_hidden_below_level_info_and_shown_by_their_target() {
    let backend = Backend::saying("ok");
    let builder = || Gateway::builder().document(&logged(app(backend.port())));
    let mut gateway = builder().env("FERRUM_LOG_LEVEL", "error").start();
    assert_eq!(gateway.get("/app").status, 200);
    gateway.signal(tests::Signal::Terminate);
    assert_eq!(gateway.exit(std::time::Duration::from_secs(5)).stdout, "");
    let gateway = builder().env("FERRUM_LOG_LEVEL", "error").env("RUST_LOG", "access_log=info").start();
    assert_eq!(gateway.get("/app").status, 200);
    gateway.wait_for_record(|record| record["proxy_id"] == "app");
}

#[test]
fn records_of_the_last_requests_are_written_before_the_process_ends() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::running(&logged(app(backend.port())));
    for _ in 0..100 {
        assert_eq!(gateway.get("/app").status, 200);
    }
    gateway.signal(tests::Signal::Terminate);
    assert_eq!(gateway.exit(std::time::Duration::from_secs(5)).code, Some(0));
    assert_eq!(gateway.records().len(), 100);
}
