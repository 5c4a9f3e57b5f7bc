//! How long one access-log line takes: `cargo run --release -p plugins --example log_record`.

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use engine::buffer::Buffer;
use engine::consumers::{Consumer, ConsumerIndex};
use engine::http::{Known, Method, RequestHead, Span};
use engine::logring::log_ring;
use engine::snapshot::ProxyFacts;
use plugins::transaction::{Escape, write_record};
use plugins::{CoreEnv, Facts, Metadata, Outcome, Plugin, RequestContext, catalog};
use serde_json::{Value, json};

/// The best of many short batches, because others use the machine too.
const BATCHES: u32 = 200;
const ROUNDS: u32 = 10_000;

fn request() -> RequestContext {
    let text =
        "GET/api/v1/orders/12345user-agentMozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
    let mut bytes = Buffer::head();
    bytes.extend(text.as_bytes());
    let mut head = Box::new(RequestHead::new());
    head.method = Method::Get;
    head.method_text = Span::new(0, 3);
    head.path = Span::new(3, 23);
    head.headers.set_received(bytes);
    head.headers.push_received(Known::UserAgent, (23, 33), b'u', (33, text.len()));
    let alice = Consumer {
        id: "1".into(),
        username: "alice".into(),
        custom_id: None,
        acl_groups: Vec::new(),
        credentials: json!({"keyauth": [{"key": "k"}]}).as_object().cloned().unwrap_or_default(),
    };
    let consumers = Arc::new(ConsumerIndex::new([alice]));
    let consumer = consumers.by_api_key("k");
    let proxies =
        Arc::new([ProxyFacts { id: "orders".into(), name: Some("orders-api".into()), ..ProxyFacts::default() }.into()]);
    let mut metadata = Metadata::default();
    metadata.set("request_id", "2f1c7e44-91f7-4c0a-8a5e-0d6f7a1b2c3d");
    let facts =
        Rc::new(Facts { namespace: "ferrum".into(), consumers, proxies, redacted_keys: Vec::new(), companion: None });
    let mut cx = RequestContext::new(head, facts, 0, IpAddr::from([192, 168, 17, 23]), Instant::now());
    cx.consumer = consumer;
    cx.auth_method = Some("key_auth");
    cx.metadata = metadata;
    cx
}

fn outcome() -> Outcome {
    Outcome {
        status: 200,
        total_ns: 412_337,
        backend_ttfb_ns: Some(298_114),
        backend_total_ns: Some(301_992),
        plugin_ns: 1_871,
        bytes_received: 1024,
        backend_target: Some("http://10.9.0.4:8080/api/v1/orders/12345".into()),
        backend_ip: Some(IpAddr::from([10, 9, 0, 4])),
        ..Outcome::default()
    }
}

fn time(what: &str, mut round: impl FnMut()) {
    let best = (0..BATCHES).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| round());
        start.elapsed()
    });
    let best = best.min().unwrap_or_default();
    println!("{what}: {:.0} ns", best.as_secs_f64() * 1e9 / f64::from(ROUNDS));
}

fn main() {
    let (cx, outcome) = (request(), outcome());
    let (ring, drain) = log_ring(1);
    let services = plugins::outbound::Services::of_tests();
    let (log, ticks) = (Rc::new(ring), Rc::default());
    let env = CoreEnv { core: 0, services, log, count_log_line: Rc::new(|_| ()), ticks };
    let instance = |config: &Value| -> Rc<dyn Plugin> {
        match catalog::check("stdout_logging", config) {
            Ok(checked) => checked.spec.build(&env),
            Err(refusal) => panic!("{refusal}"),
        }
    };
    let mut out = Vec::new();
    write_record(&mut out, &cx, &outcome, Escape::InString);
    println!("{} bytes per record as written into the line", out.len());
    for (what, escape) in [("record, plain", Escape::None), ("record, in a string", Escape::InString)] {
        time(what, || {
            out.clear();
            write_record(&mut out, black_box(&cx), black_box(&outcome), escape);
            black_box(&out);
        });
    }
    let schema =
        json!({"schema": {"omit": ["metadata"], "rename": {"request_path": "path"}, "static_fields": {"env": "eu"}}});
    for (what, config) in [("log line", Value::Null), ("log line with a schema", schema)] {
        let plugin = instance(&config);
        time(what, || {
            plugin.log(black_box(&cx), black_box(&outcome));
            drain.drain(|batch| {
                black_box(batch.lines);
            });
        });
    }
}
