//! SIGHUP: the new document takes over at once and nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::{Backend, Document, Fault, Finally, Gate, Gateway, Proxy, RefusingPort, Reply, Signal, eventually};

fn app(backend: &Backend, base: &str) -> Document {
    Document::new().proxy(Proxy::new("app").path("/").set("backend_path", base).to(backend.port()))
}

#[test]
fn a_reload_takes_effect_and_is_reported() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::running(&app(&backend, "/one/"));
    assert_eq!(gateway.get("/x").text(), "GET /one/x");
    gateway.reload(&app(&backend, "/two/"));
    assert_eq!(gateway.get("/x").text(), "GET /two/x");
}

#[test]
fn every_core_has_the_new_document_once_the_reload_is_reported() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::builder().document(&app(&backend, "/0/")).env("FERRUM_CORES", "0,1").start();
    // Many connections, so that each core has some of them.
    let mut clients: Vec<_> = (0..16).map(|_| gateway.raw()).collect();
    for round in 1..=5 {
        gateway.reload(&app(&backend, &format!("/{round}/")));
        for client in &mut clients {
            assert_eq!(client.get("/x").text(), format!("GET /{round}/x"));
        }
    }
}

#[test]
fn no_request_fails_while_documents_are_swapped() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::running(&app(&backend, "/0/"));
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _stop = Finally(|| stop.store(true, Ordering::SeqCst));
        for thread in 0..4 {
            let (gateway, stop, answered) = (&gateway, &stop, &answered);
            scope.spawn(move || {
                let mut kept = gateway.raw();
                let mut last = 0;
                while !stop.load(Ordering::SeqCst) {
                    let response = if thread % 2 == 0 { kept.get("/x") } else { gateway.get("/x") };
                    assert_eq!(response.status, 200);
                    let text = response.text();
                    let round: usize = text.split('/').nth(1).and_then(|n| n.parse().ok()).expect("a round");
                    assert!(round >= last, "round {round} after round {last}: an old document came back");
                    last = round;
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 1..=10 {
            let before = answered.load(Ordering::SeqCst);
            gateway.reload(&app(&backend, &format!("/{round}/")));
            eventually("requests were answered since", || {
                (answered.load(Ordering::SeqCst) > before + 20).then_some(())
            });
        }
    });
    assert_eq!(gateway.get("/x").text(), "GET /10/x");
}

#[test]
fn a_broken_document_is_refused_and_the_old_one_goes_on() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::running(&app(&backend, "/old/"));
    for (broken, reason) in [
        ("version: \"1\"\nproxies: [".to_owned(), ""),
        (
            app(&backend, "/new/").to_string().replace("version: \"1\"", "version: 1"),
            "Configuration file missing required 'version' field",
        ),
        (
            Document::new().proxy(Proxy::new("app").path("no-slash").to(backend.port())).to_string(),
            "Configuration validation failed: 1 invalid field(s) found",
        ),
        (
            app(&backend, "/new/").global_plugin("no_such_plugin", json!({})).to_string(),
            "Configuration validation failed: 1 plugin config error(s) found",
        ),
    ] {
        gateway.rewrite_document_text(&broken);
        gateway.signal(Signal::Hangup);
        let message = format!("Configuration reload failed, keeping previous config: {reason}");
        gateway.wait_for_log(|text| text.starts_with(&message));
        assert_eq!(gateway.get("/x").text(), "GET /old/x");
    }
    gateway.reload(&app(&backend, "/new/"));
    assert_eq!(gateway.get("/x").text(), "GET /new/x", "a good document after the broken ones");
}

#[test]
fn a_refusal_is_an_error_on_stderr() {
    let gateway = Gateway::running(&Document::new());
    gateway.rewrite_document_text("not: [a document");
    gateway.signal(Signal::Hangup);
    gateway.wait_for_log(|text| text.starts_with("Configuration reload failed"));
    let (_, stderr) = gateway.output();
    let line = stderr.iter().find(|line| line.contains("Configuration reload failed")).expect("on stderr");
    let record: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
    assert_eq!(record["level"], "ERROR");
}

#[test]
fn routes_appear_change_and_disappear_and_no_answer_is_remembered() {
    let backend = Backend::naming_targets();
    let route = |id: &str, path: &str| Proxy::new(id).path(path).set("strip_listen_path", false).to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(route("a", "/a")));
    let statuses = |gateway: &Gateway| (gateway.get("/a").status, gateway.get("/b").status);
    assert_eq!(statuses(&gateway), (200, 404));
    gateway.reload(&Document::new().proxy(route("a", "/a")).proxy(route("b", "/b")));
    assert_eq!(statuses(&gateway), (200, 200));
    gateway.reload(&Document::new().proxy(route("b", "/b")));
    assert_eq!(statuses(&gateway), (404, 200));
    gateway.reload(&Document::new());
    assert_eq!(statuses(&gateway), (404, 404));
}

#[test]
fn connections_to_backends_survive_a_reload_of_something_else() {
    let backend = Backend::saying("ok");
    let app = Proxy::new("app").path("/").to(backend.port());
    let document = Document::new().proxy(app);
    let gateway = Gateway::builder().document(&document).env("FERRUM_CORES", 0).start();
    assert_eq!(gateway.get("/").status, 200);
    for number in 0..5 {
        let other = Proxy::new("other").path(&format!("/other-{number}")).to(RefusingPort::new().port());
        gateway.reload(&document.clone().proxy(other));
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 1, "the pool of an untouched backend goes on");
}

#[test]
fn connections_of_clients_survive_a_reload() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::in_front_of(backend.port());
    let mut client = gateway.raw();
    assert_eq!(client.get("/").status, 200);
    gateway.reload(&app(&backend, "/base/"));
    let response = client.get("/");
    assert_eq!(response.status, 200);
    assert!(!response.says_close());
    gateway.reload(&Document::new());
    assert_eq!(client.get("/").status, 404);
}

#[test]
fn a_request_in_flight_is_finished_on_the_document_it_began_with() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |request| {
        held.wait();
        Reply::text(&request.target)
    });
    let gateway = Gateway::running(&app(&backend, "/old/"));
    let mut client = gateway.raw().with_patience(Duration::from_millis(200));
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    gateway.reload(&Document::new());
    assert_eq!(client.read_some(), Err(Fault::TimedOut), "the reload neither answered nor cut the request");
    gate.open();
    assert_eq!(client.with_patience(tests::PATIENCE).response().text(), "/old/x");
}

#[test]
fn consumers_and_plugins_change_with_the_document() {
    let backend = Backend::saying("ok");
    let open = Document::all_to(backend.port());
    let closed = |key: &str| {
        let alice = json!({"id": "alice", "username": "alice", "credentials": {"keyauth": [{"key": key}]}});
        open.clone().proxy_plugin("app", "key_auth", json!({})).consumer(alice)
    };
    let gateway = Gateway::running(&open);
    let ask = |key: &str| gateway.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n")).status;
    assert_eq!((ask("one"), ask("two")), (200, 200));
    gateway.reload(&closed("one"));
    assert_eq!((ask("one"), ask("two")), (200, 401));
    gateway.reload(&closed("two"));
    assert_eq!((ask("one"), ask("two")), (401, 200));
    gateway.reload(&open);
    assert_eq!((ask("one"), ask("two")), (200, 200));
}

#[test]
fn settings_are_not_read_again_and_many_signals_do_no_harm() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::in_front_of(backend.port());
    for _ in 0..50 {
        gateway.signal(Signal::Hangup);
    }
    gateway.reload(&app(&backend, "/last/"));
    eventually("the last document is in force", || {
        gateway.get("/");
        backend.requests().last().filter(|request| request.target.starts_with("/last/")).map(|_| ())
    });
    assert!(gateway.is_running());
}

#[test]
fn a_signal_during_start_up_is_remembered() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |request| {
        if request.method == "HEAD" {
            held.wait();
        }
        Reply::text(&request.target)
    });
    let builder = Gateway::builder().document(&app(&backend, "/old/"));
    let gateway = builder.env("FERRUM_POOL_WARMUP_ENABLED", "true").launch(&["run"]);
    // The warm-up waits for the answer to its HEAD.
    backend.wait_for_requests(1);
    gateway.rewrite_document(&app(&backend, "/new/"));
    gateway.signal(Signal::Hangup);
    gate.open();
    gateway.wait_for_log(|text| text == "Configuration reloaded successfully");
    assert_eq!(gateway.get("/x").text(), "/new/x");
}

/// A gateway in the middle of a reload that waits for a name: the old document leads to `old.test`, the new one also to a
/// name whose server is silent. The socket must live as long.
fn reload_that_waits(backend: &Backend) -> (Gateway, std::net::UdpSocket) {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    silent.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let proxy = |path: &str, host: &str| {
        let proxy = Proxy::new(path.trim_matches('/')).path(path).to(backend.port()).set("backend_host", host);
        proxy.set("pool_enable_http_keep_alive", false)
    };
    let gateway = Gateway::builder()
        .document(&Document::new().proxy(proxy("/old/", "old.test")))
        .env("FERRUM_DNS_OVERRIDES", r#"{"old.test":"127.0.0.1"}"#)
        .env("FERRUM_DNS_RESOLVER_ADDRESS", silent.local_addr().expect("an address"))
        .start();
    gateway.rewrite_document(&Document::new().proxy(proxy("/new/", "new.test")));
    gateway.signal(Signal::Hangup);
    silent.recv(&mut [0; 512]).expect("a question about the new name");
    (gateway, silent)
}

#[test]
fn the_old_names_are_known_while_a_reload_waits_for_new_ones() {
    let backend = Backend::saying("still here");
    let (gateway, _silent) = reload_that_waits(&backend);
    for _ in 0..5 {
        assert_eq!(gateway.get("/old/").text(), "still here");
    }
    assert!(gateway.log().iter().all(|line| !line.contains("reloaded successfully")), "the reload was to wait");
}

#[test]
fn a_gateway_can_be_stopped_in_the_middle_of_a_reload() {
    let backend = Backend::saying("still here");
    let (mut gateway, _silent) = reload_that_waits(&backend);
    gateway.signal(Signal::Terminate);
    let exit = gateway.exit(Duration::from_secs(5));
    assert_eq!(exit.code, Some(0), "{exit:?}");
}
