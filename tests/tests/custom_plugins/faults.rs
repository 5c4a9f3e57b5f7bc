//! Plugins that go wrong harm nobody else.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Backend, Document, Gateway};

use crate::{ask, post, probed};

#[test]
fn a_hook_that_panics_is_a_500_and_nothing_else() {
    let hooks = ["on_request_received", "authorize", "before_proxy", "after_proxy", "on_response_body"];
    for hook in hooks {
        let backend = Backend::saying("ok");
        let flags = ["requires_response_body_buffering"];
        let document = Document::new()
            .proxy(tests::Proxy::new("bad").path("/bad").to(backend.port()))
            .proxy(tests::Proxy::new("good").path("/good").to(backend.port()))
            .proxy_plugin("bad", "probe", json!({"flags": flags, "in": {hook: {"panic": true}}}));
        let gateway = Gateway::running(&document);
        for _ in 0..2 {
            let response = ask(&gateway, "/bad", "");
            assert_eq!(
                (response.status, response.text().as_str()),
                (500, r#"{"error":"Internal server error"}"#),
                "{hook}"
            );
            assert_eq!(ask(&gateway, "/good", "").status, 200);
        }
        gateway.wait_for_log(|text| text == format!("a hook of a plugin panicked: a probe panics in {hook}"));
        assert_eq!(gateway.metric("ferrum_core_panics_total"), 2, "{hook}");
    }
}

#[test]
fn a_plugin_that_panics_when_it_is_asked_has_said_no() {
    let backend = Backend::echoing();
    let config = json!({"flags": ["modifies_request_body", "panics_when_asked"], "in": {"transform_request_body": {"append": "!"}}});
    assert_eq!(post(&probed(&backend, config), "/", "", "body").text(), "body");
}

/// One core, so that whoever stops it stops everybody.
fn beside(backend: &Backend, before_proxy: serde_json::Value) -> Gateway {
    let document = Document::new()
        .proxy(tests::Proxy::new("slow").path("/slow").to(backend.port()))
        .proxy(tests::Proxy::new("fast").path("/fast").to(backend.port()))
        .proxy_plugin("slow", "probe", json!({"in": {"before_proxy": before_proxy}}));
    Gateway::builder().document(&document).env("FERRUM_CORES", "0").start()
}

/// Asks the slow route at the same time as often as said, and the fast one while they run. Answers how long that took.
fn raced(gateway: &Gateway, slow: usize) -> Duration {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..slow).map(|_| scope.spawn(|| ask(gateway, "/slow", ""))).collect();
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        for _ in 0..5 {
            assert_eq!(ask(gateway, "/fast", "").status, 200);
        }
        let took = began.elapsed();
        for asked in asking {
            assert_eq!(asked.join().expect("it is answered").status, 200);
        }
        took
    })
}

#[test]
fn a_hook_that_waits_delays_its_own_requests_only() {
    let backend = Backend::saying("ok");
    let gateway = beside(&backend, json!({"sleep_ms": 1000}));
    assert!(raced(&gateway, 8) < Duration::from_millis(700));
}

#[test]
fn a_hook_that_blocks_its_thread_stops_a_core_once_and_not_again() {
    for act in ["block_ms", "block_in_place_ms"] {
        let backend = Backend::saying("ok");
        let gateway = beside(&backend, json!({act: 1000}));
        assert_eq!(ask(&gateway, "/slow", "").status, 200);
        gateway.wait_for_log(|text| text.starts_with("a hook of this plugin blocks its thread"));
        assert!(raced(&gateway, 8) < Duration::from_millis(700), "{act}");
    }
}

#[test]
fn requests_that_were_waiting_in_a_hook_when_it_turned_out_to_block_stop_no_core_again() {
    let backend = Backend::saying("ok");
    let gateway = beside(&backend, json!({"sleep_ms": 300, "block_ms": 1000}));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&gateway, "/slow", ""))).collect();
        asking.into_iter().for_each(|asked| assert_eq!(asked.join().expect("it is answered").status, 200));
    });
    assert!(began.elapsed() < Duration::from_millis(3300), "one after the other takes 4.3 s: {:?}", began.elapsed());
}

#[test]
fn a_client_that_goes_away_ends_the_hook_it_waits_for() {
    let backend = Backend::saying("ok");
    let gateway = beside(&backend, json!({"sleep_ms": 60_000}));
    let mut client = gateway.raw();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(50));
    drop(client);
    assert_eq!(ask(&gateway, "/fast", "").status, 200);
}
