//! Which plugins run, in which order, and what becomes of rejections (plugins sheet §1.5 and §1.6).

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::catalog::{ConfiguredPlugin, ProxyAttachment, Scope, compile};
use crate::testing::{core, outcome, ready, request};

type Journal = Rc<RefCell<Vec<String>>>;

/// Writes down every call, and says what it was told to.
struct Scripted {
    name: &'static str,
    phases: Phases,
    journal: Journal,
    rejects_with: Option<u16>,
    identifies: bool,
    waits: bool,
}

impl Scripted {
    fn note(&self, phase: &str) {
        self.journal.borrow_mut().push(format!("{phase} {}", self.name));
    }

    fn answer(&self) -> Flow<'static> {
        let flow = self.rejects_with.map_or(Flow::Continue, |status| Flow::reject(status, self.name));
        if self.waits { Flow::Wait(Box::pin(async move { flow })) } else { flow }
    }
}

impl Plugin for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn phases(&self) -> Phases {
        self.phases
    }

    fn on_request_received<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        self.note("received");
        self.answer()
    }

    fn authenticate<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.note("authenticate");
        if self.identifies {
            cx.external_identity = Some(self.name.to_owned());
        }
        self.answer()
    }

    fn on_rejection<'a>(&'a self, _cx: &'a mut RequestContext, rejection: &'a mut Rejection) -> Flow<'a> {
        self.note("rejection");
        rejection.set_header("x-by", self.name);
        Flow::Continue
    }

    fn log(&self, _cx: &RequestContext, _outcome: &Outcome) {
        self.note("log");
    }
}

fn scripted(name: &'static str, phases: Phases, journal: &Journal) -> Scripted {
    Scripted { name, phases, journal: journal.clone(), rejects_with: None, identifies: false, waits: false }
}

fn chain(plugins: Vec<Scripted>, mode: AuthMode) -> Chain {
    let plugins: Vec<Rc<dyn Plugin>> = plugins.into_iter().map(|plugin| Rc::new(plugin) as Rc<dyn Plugin>).collect();
    Chain::new(&plugins, mode)
}

#[test]
fn a_plugin_costs_nothing_in_phases_it_does_not_use() {
    let journal = Journal::default();
    let chain = chain(vec![scripted("a", Phases::LOG, &journal)], AuthMode::Single);
    let mut cx = request("GET /", &[]);
    assert!(chain.is_silent_before_backend() && chain.has_log() && !chain.has_after_proxy());
    ready(chain.on_request_received(&mut cx)).unwrap();
    ready(chain.authenticate(&mut cx)).unwrap();
    ready(chain.authorize(&mut cx)).unwrap();
    ready(chain.before_proxy(&mut cx)).unwrap();
    ready(chain.after_proxy(&mut cx, &mut ResponseHead::new(200))).unwrap();
    chain.log(&cx, &outcome());
    assert_eq!(*journal.borrow(), ["log a"]);
}

#[test]
fn a_rejection_ends_the_phase_and_passes_the_decorators_in_order() {
    let journal = Journal::default();
    let both = Phases::RECEIVED.and(Phases::REJECTION);
    let refusing = Scripted { rejects_with: Some(403), waits: true, ..scripted("b", Phases::RECEIVED, &journal) };
    let plugins = vec![scripted("a", both, &journal), refusing, scripted("c", both, &journal)];
    let chain = chain(plugins, AuthMode::Single);
    let mut cx = request("GET /", &[]);
    let mut rejection = ready(chain.on_request_received(&mut cx)).unwrap_err();
    ready(chain.on_rejection(&mut cx, &mut rejection));
    assert_eq!(*journal.borrow(), ["received a", "received b", "rejection a", "rejection c"]);
    assert_eq!((rejection.status, rejection.headers.len()), (403, 1));
    assert_eq!(rejection.headers[0].1, "c");
}

#[test]
fn single_mode_runs_all_and_stops_at_the_first_rejection() {
    let journal = Journal::default();
    let known = || Scripted { identifies: true, ..scripted("a", Phases::AUTHENTICATE, &journal) };
    let refusing = Scripted { rejects_with: Some(401), ..scripted("b", Phases::AUTHENTICATE, &journal) };
    let chain = chain(vec![known(), refusing, known()], AuthMode::Single);
    let rejection = ready(chain.authenticate(&mut request("GET /", &[]))).unwrap_err();
    assert_eq!(rejection.body, b"b");
    assert_eq!(*journal.borrow(), ["authenticate a", "authenticate b"]);
}

#[test]
fn multi_mode_stops_at_the_first_identity() {
    let journal = Journal::default();
    let refusing = Scripted { rejects_with: Some(401), ..scripted("a", Phases::AUTHENTICATE, &journal) };
    let known = Scripted { identifies: true, waits: true, ..scripted("b", Phases::AUTHENTICATE, &journal) };
    let chain = chain(vec![refusing, known, scripted("c", Phases::AUTHENTICATE, &journal)], AuthMode::Multi);
    ready(chain.authenticate(&mut request("GET /", &[]))).unwrap();
    assert_eq!(*journal.borrow(), ["authenticate a", "authenticate b"]);
}

#[test]
fn without_an_auth_plugin_nobody_needs_to_be_known() {
    ready(chain(Vec::new(), AuthMode::Multi).authenticate(&mut request("GET /", &[]))).unwrap();
}

#[test]
fn only_plugins_of_the_protocol_are_in_its_chain() {
    let plugin = |id: &str, name: &str| ConfiguredPlugin {
        id: id.into(),
        name: name.into(),
        config: json!({}),
        scope: Scope::Global,
        enabled: true,
        priority_override: None,
    };
    let plugins = [plugin("log", "stdout_logging"), plugin("key", "key_auth"), plugin("id", "correlation_id")];
    let (set, _) = compile(&plugins, &[ProxyAttachment::default()]).unwrap();
    let (env, _drain) = core();
    let mut built = Vec::new();
    let mut instances = |row: u32| {
        let spec: &Arc<dyn crate::Specs> = &set.rows[row as usize].spec;
        built.push(spec.name());
        spec.build(&env)
    };
    let tcp = Chain::compile(&set, set.list(0), Protocol::Tcp, AuthMode::Single, &mut instances);
    ready(tcp.authenticate(&mut request("GET /", &[]))).unwrap();
    let grpc = Chain::compile(&set, set.list(0), Protocol::Grpc, AuthMode::Single, &mut instances);
    assert_eq!(ready(grpc.authenticate(&mut request("POST /", &[]))).unwrap_err().status, 401);
    assert_eq!(built, ["correlation_id", "stdout_logging", "correlation_id", "key_auth", "stdout_logging"]);
}

#[test]
fn a_rejected_request_carries_its_id_and_is_logged_with_it() {
    let plugin = |name: &str| ConfiguredPlugin {
        id: name.into(),
        name: name.into(),
        config: json!({}),
        scope: Scope::Global,
        enabled: true,
        priority_override: None,
    };
    let plugins = [plugin("key_auth"), plugin("correlation_id"), plugin("stdout_logging")];
    let (set, _) = compile(&plugins, &[ProxyAttachment::default()]).unwrap();
    let (env, drain) = core();
    let mut build = |row: u32| set.rows[row as usize].spec.build(&env);
    let chain = Chain::compile(&set, set.list(0), Protocol::Http, AuthMode::Single, &mut build);
    let mut cx = request("GET /", &[("x-api-key", "wrong")]);
    ready(chain.on_request_received(&mut cx)).unwrap();
    let mut rejection = ready(chain.authenticate(&mut cx)).unwrap_err();
    ready(chain.on_rejection(&mut cx, &mut rejection));
    let ended = Outcome { status: rejection.status, ..Outcome::default() };
    chain.log(&cx, &ended);
    let lines = crate::testing::lines(&env, &drain);
    let record: serde_json::Value = serde_json::from_str(lines[0]["fields"]["message"].as_str().unwrap()).unwrap();
    assert_eq!(record["metadata"]["request_id"], rejection.headers[0].1);
    assert_eq!((&record["response_status_code"], rejection.headers.len()), (&json!(401), 1));
}
