//! Requests, outcomes and cores for the tests of this crate.

pub(crate) mod log;
pub(crate) mod peer;
pub(crate) mod tokens;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use engine::buffer::Buffer;
use engine::consumers::{Consumer, ConsumerIndex};
use engine::http::{Known, Method, RequestHead, Span};
use engine::logring::{LogDrain, LogRing, log_ring};
use engine::snapshot::ProxyFacts;
use serde_json::{Value, json};

use crate::outbound::Services;
use crate::{CoreEnv, Facts, Outcome, RequestContext};

/// A request as the parser would hand it over: `line` is method and target.
pub(crate) fn request(line: &str, headers: &[(&str, &str)]) -> RequestContext {
    let mut bytes = Buffer::head();
    bytes.extend(line.as_bytes());
    let mut spans = Vec::new();
    for (name, value) in headers {
        let start = bytes.len();
        bytes.extend(name.as_bytes());
        let middle = bytes.len();
        bytes.extend(value.as_bytes());
        spans.push((Known::of(name.as_bytes()), (start, middle), (middle, bytes.len())));
    }
    let blank = line.find(' ').expect("a method and a target");
    let question = line.find('?');
    let mut head = Box::new(RequestHead::new());
    head.method = Method::of(&line.as_bytes()[..blank]);
    head.method_text = Span::new(0, blank);
    head.path = Span::new(blank + 1, question.unwrap_or(line.len()));
    head.query = question.map_or(Span::default(), |at| Span::new(at + 1, line.len()));
    head.headers.set_received(bytes);
    for (known, name, value) in spans {
        let first = head.headers.received()[name.0];
        head.headers.push_received(known, name, first, value);
    }
    RequestContext::new(head, facts(&[]), 0, IpAddr::from([10, 1, 2, 3]), Instant::now())
}

/// Consumers alice (`alice-key`) and bob (`bob-key`), a proxy without a name and one with (route 1), and the given redacted
/// keys.
pub(crate) fn facts(redacted_keys: &[&str]) -> Rc<Facts> {
    let keyed = |name: &str| consumer(name, json!({"keyauth": [{"key": format!("{name}-key")}]}));
    facts_with([keyed("alice"), keyed("bob")], redacted_keys)
}

/// A consumer with these credentials, whose id is `id-<name>`.
pub(crate) fn consumer(name: &str, credentials: Value) -> Consumer {
    Consumer {
        id: format!("id-{name}"),
        username: name.to_owned(),
        custom_id: None,
        acl_groups: Vec::new(),
        credentials: credentials.as_object().cloned().unwrap_or_default(),
    }
}

/// The same with other consumers.
pub(crate) fn facts_with(consumers: impl IntoIterator<Item = Consumer>, redacted_keys: &[&str]) -> Rc<Facts> {
    let proxy =
        |name: Option<&str>| ProxyFacts { id: "orders".into(), name: name.map(str::to_owned), ..ProxyFacts::default() };
    Rc::new(Facts {
        namespace: "ferrum".into(),
        proxies: Arc::new([proxy(None).into(), proxy(Some("orders-api")).into()]),
        consumers: Arc::new(ConsumerIndex::new(consumers)),
        redacted_keys: redacted_keys.iter().map(|key| (*key).to_owned()).collect(),
        companion: None,
    })
}

/// A buffered response of a backend.
pub(crate) fn outcome() -> Outcome {
    Outcome {
        status: 200,
        total_ns: 7_100_000,
        backend_ttfb_ns: Some(5_700_000),
        backend_total_ns: Some(5_900_000),
        plugin_ns: 300_000,
        bytes_received: 512,
        backend_target: Some("http://10.9.0.4:8080/orders/7".into()),
        backend_ip: Some(IpAddr::from([10, 9, 0, 4])),
        ..Outcome::default()
    }
}

/// A core whose log lines go there.
pub(crate) fn core_with(log: Rc<LogRing>, count_log_line: Rc<dyn Fn(u64)>) -> CoreEnv {
    CoreEnv { core: 0, services: Services::of_tests(), log, count_log_line, ticks: Rc::default() }
}

pub(crate) fn core() -> (CoreEnv, LogDrain) {
    let (ring, drain) = log_ring(4);
    (core_with(Rc::new(ring), Rc::new(|_| ())), drain)
}

/// What was written to the process log, line by line.
pub(crate) fn lines(env: &CoreEnv, drain: &LogDrain) -> Vec<Value> {
    env.log.hand_over();
    let mut text = Vec::new();
    drain.drain(|batch| text.extend_from_slice(&batch.text));
    let text = String::from_utf8(text).expect("the log is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Runs a phase whose plugins answer at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a plugin waits"),
    }
}
