//! What plugins find where they run.

use serde_json::{Value, json};
use tests::{Backend, Document, Gateway, RawClient};

use crate::{ask, document, post, probed};

#[test]
fn one_instance_counts_all_requests_of_all_cores() {
    let backend = Backend::saying("ok");
    let config = json!({"flags": ["counts", "tracks_keys"]});
    let gateway = probed(&backend, config);
    const CLIENTS: usize = 16;
    const EACH: usize = 20;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = RawClient::connect(gateway.port());
                for _ in 0..EACH {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(client.response().status, 200);
                }
            });
        }
    });
    assert_eq!(ask(&gateway, "/", "").header("x-probe-count"), Some("321"));
}

#[test]
fn an_instance_and_its_state_live_on_over_a_reload_that_does_not_change_its_config() {
    let backend = Backend::saying("ok");
    let counting = document(backend.port(), json!({"flags": ["counts"]}));
    let gateway = Gateway::running(&counting);
    assert_eq!(ask(&gateway, "/", "").header("x-probe-count"), Some("1"));
    gateway.reload(&counting.clone().consumer(json!({"id": "c", "username": "new"})));
    assert_eq!(ask(&gateway, "/", "").header("x-probe-count"), Some("2"));
    gateway.reload(&document(backend.port(), json!({"flags": ["counts"], "tag": "another"})));
    assert_eq!(ask(&gateway, "/", "").header("x-probe-count"), Some("1"));
}

#[test]
fn a_group_shares_one_instance_and_two_configs_do_not() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str, plugin: &str| {
        tests::Proxy::new(id)
            .path(&format!("/{id}"))
            .to(backend.port())
            .set("plugins", json!([{"plugin_config_id": plugin}]))
    };
    let config = json!({"flags": ["counts"]});
    let document = Document::new()
        .proxy(proxy("a", "shared"))
        .proxy(proxy("b", "shared"))
        .proxy(proxy("c", "own"))
        .plugin(crate::probe_at(5000, "shared", config.clone()))
        .plugin(crate::probe_at(5000, "own", config));
    let gateway = Gateway::running(&document);
    let count = |path: &str| ask(&gateway, path, "").header("x-probe-count").map(str::to_owned);
    assert_eq!(["/a", "/b", "/c"].map(count), ["1", "2", "1"].map(|count| Some(count.to_owned())));
}

fn busy(url: &str) -> Value {
    let act = || json!({"spawn": true, "sleep_ms": 1, "fetch": url});
    let hooks = [
        "on_request_received",
        "authenticate",
        "authorize",
        "before_proxy",
        "on_final_request_body",
        "after_proxy",
        "on_response_body",
        "on_final_response_body",
        "log",
    ];
    let mut acts: serde_json::Map<String, Value> = hooks.iter().map(|hook| ((*hook).to_owned(), act())).collect();
    acts["authenticate"]["identity"] = json!("someone");
    let flags =
        ["is_auth_plugin", "requires_request_body_before_before_proxy", "requires_response_body_buffering", "logs"];
    json!({"spawn": true, "flags": flags, "in": acts})
}

#[test]
fn tasks_timers_and_the_http_client_work_in_the_constructor_and_in_every_hook() {
    let backend = Backend::saying("ok");
    let other = Backend::saying("called");
    let gateway = probed(&backend, busy(&format!("http://localhost:{}/", other.port())));
    let response = post(&gateway, "/", "", "body");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    crate::record(&gateway);
    other.wait_for_requests(9);
}

#[test]
fn validate_builds_plugins_where_a_runtime_is_entered() {
    let document = document(1, busy("http://localhost:1/"));
    let exit = Gateway::builder().document(&document).launch(&["validate"]).exit(tests::PATIENCE);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let refused = crate::document(1, json!({"refuse": "no good"}));
    let exit = Gateway::builder().document(&refused).launch(&["validate"]).exit(tests::PATIENCE);
    assert!(exit.code == Some(1) && exit.stderr.contains("Plugin 'probe' (id=app-probe): no good"), "{exit:?}");
}
