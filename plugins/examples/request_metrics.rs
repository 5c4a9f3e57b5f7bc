//! What the `prometheus_metrics` plugin costs a request: `cargo run --release -p plugins --example request_metrics`.

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use engine::buffer::Buffer;
use engine::consumers::ConsumerIndex;
use engine::counters::Exposition;
use engine::http::{Method, RequestHead, Span};
use engine::logring::log_ring;
use engine::snapshot::ProxyFacts;
use plugins::outbound::Services;
use plugins::{CoreEnv, Facts, Outcome, Plugin, RequestContext, catalog};
use serde_json::Value;

/// The best of many short batches, because others use the machine too.
const BATCHES: u32 = 200;
const ROUNDS: u32 = 10_000;

fn facts(proxies: usize) -> Rc<Facts> {
    let proxy = |number| ProxyFacts { id: format!("proxy-{number}"), ..ProxyFacts::default() };
    Rc::new(Facts {
        namespace: "ferrum".into(),
        consumers: Arc::new(ConsumerIndex::new([])),
        proxies: (0..proxies).map(|number| proxy(number).into()).collect(),
        redacted_keys: Vec::new(),
        companion: None,
    })
}

fn request(method: &str, facts: &Rc<Facts>) -> RequestContext {
    let mut bytes = Buffer::head();
    bytes.extend(method.as_bytes());
    bytes.extend(b"/");
    let mut head = Box::new(RequestHead::new());
    head.method = Method::of(method.as_bytes());
    head.method_text = Span::new(0, method.len());
    head.path = Span::new(method.len(), method.len() + 1);
    head.headers.set_received(bytes);
    RequestContext::new(head, facts.clone(), 0, IpAddr::from([192, 168, 17, 23]), Instant::now())
}

fn time(what: &str, mut round: impl FnMut(u32)) {
    let best = (0..BATCHES).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(&mut round);
        start.elapsed()
    });
    let best = best.min().unwrap_or_default();
    println!("{what}: {:.1} ns", best.as_secs_f64() * 1e9 / f64::from(ROUNDS));
}

fn main() {
    let (ring, _drain) = log_ring(1);
    let services = Services::of_tests();
    let env = CoreEnv {
        core: 0,
        services: services.clone(),
        log: Rc::new(ring),
        count_log_line: Rc::new(|_| ()),
        ticks: Rc::default(),
    };
    let plugin: Rc<dyn Plugin> = match catalog::check("prometheus_metrics", &Value::Null) {
        Ok(checked) => {
            checked.spec.start(&services);
            checked.spec.build(&env)
        }
        Err(refusal) => panic!("{refusal}"),
    };
    let outcome = Outcome {
        status: 200,
        total_ns: 412_337,
        backend_ttfb_ns: Some(298_114),
        backend_total_ns: Some(301_992),
        plugin_ns: 1_871,
        ..Outcome::default()
    };
    let few = facts(1);
    let mut cx = request("GET", &few);
    time("one proxy", |_| plugin.log(black_box(&cx), black_box(&outcome)));
    cx.metadata.set("request_id", "2f1c7e44-91f7-4c0a-8a5e-0d6f7a1b2c3d");
    time("one proxy, with metadata", |_| plugin.log(black_box(&cx), black_box(&outcome)));
    let purge = request("PURGE", &few);
    time("a method of the client's own", |_| plugin.log(black_box(&purge), black_box(&outcome)));
    cx.metadata.set("mesh.source.principal", "spiffe://cluster.local/ns/shop/sa/web");
    time("in a mesh", |_| plugin.log(black_box(&cx), black_box(&outcome)));
    for proxies in [100, 10_000] {
        let mut cx = request("GET", &facts(proxies));
        time(&format!("{proxies} proxies, another one each time"), |round| {
            // A prime steps through all of them in an order that nothing foresees.
            cx.route = (round.wrapping_mul(7919)) % proxies as u32;
            plugin.log(black_box(&cx), black_box(&outcome));
        });
    }
    let start = Instant::now();
    let mut page = Exposition::new(services.metrics.namespace());
    services.metrics.render(&mut page);
    println!("a page of {} bytes: {:.1} ms", page.into_text().len(), start.elapsed().as_secs_f64() * 1e3);
}
