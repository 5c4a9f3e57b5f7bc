//! What a documented plugin adds to a request: `cargo run --release -p custom_plugins --example hook_cost
//! --features test-plugins`.
//!
//! One request of a browser and its response pass a chain of nothing but `example_plugin`, again and again: the guide's, which
//! is there with the tests' plugins only, and overrides more hooks than the gateway's own.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use engine::buffer::Buffer;
use engine::consumers::ConsumerIndex;
use engine::http::{Known, Method, RequestHead, ResponseHead, Span};
use engine::logring::log_ring;
use engine::model::Document;
use engine::snapshot::ProxyFacts;
use ferrum_edge::adapter;
use futures_util::future::BoxFuture;
use native::outbound::{Names, Options, Services};
use native::{AuthMode, Chain, CoreEnv, Facts, Outcome, PluginRow, PluginSet, RequestContext};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: u32 = 20_000;
const BATCHES: u32 = 20;

const REQUEST: &[(&str, &str)] = &[
    ("Host", "shop.example.com"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Connection", "keep-alive"),
    ("Cookie", "session=6f1c9a0e5b7d4c2a"),
    ("Priority", "u=0, i"),
];

const RESPONSE: &[(&str, &str)] = &[
    ("Server", "backend"),
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", "64"),
    ("Cache-Control", "no-store"),
];

struct NoNames;

impl Names for NoNames {
    fn resolve(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        Box::pin(async move { Err(host) })
    }
}

/// As the parser hands them over.
fn received(line: &str, fields: &[(&str, &str)], into: &mut engine::http::Headers) {
    let mut bytes = Buffer::head();
    bytes.extend(line.as_bytes());
    let mut spans = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let start = bytes.len();
        bytes.extend(name.as_bytes());
        let middle = bytes.len();
        bytes.extend(value.as_bytes());
        spans.push((Known::of(name.as_bytes()), (start, middle), (middle, bytes.len()), name.as_bytes()[0]));
    }
    into.set_received(bytes);
    for (known, name, value, first) in spans {
        into.push_received(known, name, first, value);
    }
}

fn request(facts: &Rc<Facts>) -> RequestContext {
    let mut head = Box::new(RequestHead::new());
    received("GET/orders/7", REQUEST, &mut head.headers);
    head.method = Method::Get;
    head.method_text = Span::new(0, 3);
    head.path = Span::new(3, 12);
    RequestContext::new(head, facts.clone(), 0, IpAddr::from([10, 1, 2, 3]), Instant::now())
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a plugin waits"),
    }
}

/// Nanoseconds of this thread on its CPU.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of one round: the best of some batches, which others have disturbed least.
fn measured(mut round: impl FnMut()) -> f64 {
    let mut batch = || {
        let began = cpu_ns();
        (0..ROUNDS).for_each(|_| round());
        (cpu_ns() - began) / f64::from(ROUNDS)
    };
    (0..BATCHES).map(|_| batch()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let services = Services::new(runtime.handle().clone(), 1, Options::default(), Arc::new(NoNames)).expect("services");
    let checked =
        adapter::check("example_plugin", &json!({"header_value": "edge-1"}), &services).expect("a sound config");
    let spec = checked.spec.clone();
    let row = PluginRow { id: "example".into(), spec: checked.spec, priority: checked.priority, fingerprint: 1 };
    let set = PluginSet { rows: vec![row], lists: vec![Arc::new([0])], by_proxy: vec![0], ..PluginSet::default() };
    let document: Document =
        serde_json::from_value(json!({"version": "1", "proxies": [{"id": "orders", "backend_host": "10.9.0.4",
        "backend_port": 8080}], "consumers": [], "upstreams": [], "plugin_configs": []}))
        .expect("a document");
    let facts = Rc::new(Facts {
        namespace: "ferrum".into(),
        consumers: Arc::new(ConsumerIndex::default()),
        proxies: Arc::new([ProxyFacts { id: "orders".into(), ..ProxyFacts::default() }.into()]),
        redacted_keys: Vec::new(),
        companion: adapter::companion(&Arc::new(document), &[0], &set).map(|companion| companion.on_core()),
    });
    let env = CoreEnv {
        core: 0,
        services,
        log: Rc::new(log_ring(4).0),
        count_log_line: Rc::new(|_| ()),
        ticks: Rc::default(),
    };
    let chain = Chain::new(&[spec.build(&env)], AuthMode::Single);
    let outcome = Outcome {
        status: 200,
        total_ns: 7_100_000,
        backend_target: Some("http://10.9.0.4:8080/orders/7".into()),
        backend_ip: Some(IpAddr::from([10, 9, 0, 4])),
        ..Outcome::default()
    };
    let head = || {
        let mut response = ResponseHead::new(200);
        received("", RESPONSE, &mut response.headers);
        response
    };

    let bare = measured(|| {
        std::hint::black_box((request(&facts), head()));
    });
    let steps: [(&str, u32); 6] = [
        ("on_request_received", 1),
        ("authorize", 2),
        ("before_proxy", 3),
        ("after_proxy", 4),
        ("log", 5),
        ("all hooks", 5),
    ];
    let until = |last: u32| {
        measured(|| {
            let (mut cx, mut response) = (request(&facts), head());
            ready(async {
                let _ = chain.on_request_received(&mut cx).await;
                if last >= 2 {
                    let _ = chain.authorize(&mut cx).await;
                }
                if last >= 3 {
                    let _ = chain.before_proxy(&mut cx).await;
                }
                if last >= 4 {
                    let _ = chain.after_proxy(&mut cx, &mut response).await;
                }
            });
            if last >= 5 {
                chain.log(&cx, &outcome);
            }
            std::hint::black_box((cx, response));
        })
    };
    println!("request and response without plugins: {bare:.0} ns");
    let mut before = bare;
    for (name, last) in &steps[..5] {
        let now = until(*last);
        println!("{name:>20}: {:>5.0} ns", now - before);
        before = now;
    }
    println!("{:>20}: {:>5.0} ns", steps[5].0, before - bare);
}
