//! How long body rules hold a core: `cargo run --release -p plugins --example body_rules`.
//!
//! Bodies are of the kinds that cost a parser the most, and as long as a core still rewrites them itself.

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::consumers::ConsumerIndex;
use engine::http::RequestHead;
use engine::logring::log_ring;
use engine::snapshot::ProxyFacts;
use plugins::builtin::BuiltIn;
use plugins::builtin::request_transformer::RequestTransformer;
use plugins::outbound::Services;
use plugins::{CoreEnv, Facts, Flow, Plugin, RequestContext, Specs};
use serde_json::json;

/// The best of these, because others use the machine too.
const ROUNDS: u32 = 50;
/// With paths of two segments.
const BODY_BYTES: usize = 128 * 1024;

fn context() -> RequestContext {
    let facts = Facts {
        namespace: "ferrum".into(),
        consumers: Arc::new(ConsumerIndex::new([])),
        proxies: Arc::new([ProxyFacts::default().into()]),
        redacted_keys: Vec::new(),
        companion: None,
    };
    RequestContext::new(Box::new(RequestHead::new()), Rc::new(facts), 0, IpAddr::from([127, 0, 0, 1]), Instant::now())
}

fn plugin() -> Rc<dyn Plugin> {
    let rules = json!([
        {"target": "body", "operation": "remove", "key": "internal"},
        {"target": "body", "operation": "add", "key": "user.role", "value": "guest"},
        {"target": "body", "operation": "update", "key": "a.5", "value": 1},
        {"target": "body", "operation": "rename", "key": "b", "new_key": "c"},
        {"target": "body", "operation": "remove", "key": "d"},
    ]);
    let parsed = RequestTransformer::parse(&json!({"rules": rules})).expect("a good config");
    let env = CoreEnv {
        core: 0,
        services: Services::of_tests(),
        log: Rc::new(log_ring(4).0),
        count_log_line: Rc::new(|_| ()),
        ticks: Rc::default(),
    };
    parsed.spec.build(&env)
}

fn filled(open: &str, unit: &str, close: &str) -> String {
    let count = (BODY_BYTES - open.len() - close.len()) / unit.len();
    format!("{open}{}{close}", unit.repeat(count))
}

fn main() {
    let plugin = plugin();
    let depth = BODY_BYTES / 2 - 8;
    let bodies = [
        ("one long string", filled("{\"s\":\"", "x", "\"}")),
        ("a string of escapes", filled("{\"s\":\"", "\\n", "\"}")),
        ("small members", filled("{", "\"\":0,", "\"b\":1}")),
        ("members with escaped names", filled("{", "\"\\u0061\":0,", "\"b\":1}")),
        ("small items", filled("{\"a\":[", "0,", "0]}")),
        ("small objects", filled("{\"a\":[", "{\"\":0},", "0]}")),
        ("blanks", filled("{\"a\":[", "0 , ", "0]}")),
        ("depth", format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth))),
    ];
    for (name, text) in bodies {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let mut cx = context();
            cx.body = Some(text.clone().into_bytes());
            let started = Instant::now();
            let is_done = matches!(plugin.transform_request_body(&mut cx), Flow::Continue);
            best = best.min(started.elapsed());
            assert!(is_done, "rewritten elsewhere");
            black_box(cx.body);
        }
        println!("{name:30} {:6} bytes {:8.1?}", text.len(), best);
    }
}
