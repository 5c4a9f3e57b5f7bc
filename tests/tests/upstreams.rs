//! Which target of an upstream a request goes to, and what client and target see of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Backend, Document, Gate, Gateway, Proxy, Reply, Response};

/// On two cores, so that what they must agree on is agreed on across them.
#[track_caller]
fn running(document: &Document) -> Gateway {
    Gateway::builder().document(document).env("FERRUM_CORES", "0,1").start()
}

/// A proxy with a prefix of its own and, besides the upstream `pool`, a backend of its own that no test wants to reach.
fn proxy(id: &str) -> Proxy {
    Proxy::new(id).path(&format!("/{id}")).to(1).set("upstream_id", "pool")
}

fn target(backend: &Backend) -> Value {
    json!({"host": "127.0.0.1", "port": backend.port()})
}

/// `json` with these fields as well.
fn with(mut json: Value, more: Value) -> Value {
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json
}

/// One proxy `app` in front of the upstream `pool` of these targets.
fn app(targets: Vec<Value>, more: Value) -> Document {
    Document::new().proxy(proxy("app")).upstream(with(json!({"id": "pool", "targets": targets}), more))
}

fn named() -> [Backend; 3] {
    [Backend::saying("one"), Backend::saying("two"), Backend::saying("three")]
}

fn shares(backends: &[Backend]) -> Vec<usize> {
    backends.iter().map(|backend| backend.requests().len()).collect()
}

/// A GET with these header lines on a connection of its own.
#[track_caller]
fn get(gateway: &Gateway, headers: &[&str]) -> Response {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let response = gateway.ask(format!("GET /app HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{lines}\r\n"));
    assert_eq!(response.status, 200);
    response
}

/// Who answered this many requests in a row.
fn answers(gateway: &Gateway, path: &str, count: usize) -> String {
    (0..count).map(|_| gateway.get(path).text()).collect::<Vec<_>>().join(" ")
}

#[test]
fn thirty_requests_in_a_row_are_ten_for_each_of_three_targets() {
    let backends = named();
    let gateway = running(&app(backends.iter().map(target).collect(), json!({})));
    assert_eq!(answers(&gateway, "/app", 6), "one two three one two three");
    answers(&gateway, "/app", 24);
    assert_eq!(shares(&backends), [10, 10, 10]);
}

#[test]
fn proxies_of_one_upstream_share_its_position() {
    let backends = named();
    let targets = backends.iter().map(target).collect();
    let gateway = running(&app(targets, json!({})).proxy(proxy("other")));
    for _ in 0..15 {
        assert_eq!((gateway.get("/app").status, gateway.get("/other").status), (200, 200));
    }
    assert_eq!(shares(&backends), [10, 10, 10]);
}

#[test]
fn weights_are_turns_spread_smoothly() {
    let [large, small, _] = named();
    let targets = vec![with(target(&large), json!({"weight": 5})), target(&small)];
    let gateway = running(&app(targets, json!({"algorithm": "weighted_round_robin"})));
    let cycle = "one one one two one one";
    assert_eq!(answers(&gateway, "/app", 12), format!("{cycle} {cycle}"));
    answers(&gateway, "/app", 48);
    assert_eq!((large.requests().len(), small.requests().len()), (50, 10));
}

#[test]
fn random_reaches_every_target() {
    let backends = named();
    let gateway = running(&app(backends.iter().map(target).collect(), json!({"algorithm": "random"})));
    answers(&gateway, "/app", 60);
    assert!(shares(&backends).iter().all(|&share| share > 0), "{:?}", shares(&backends));
}

#[test]
fn a_subset_serves_only_those_who_name_it() {
    let backends = named();
    let tagged = |backend, version: &str| with(target(backend), json!({"tags": {"version": version, "zone": "a"}}));
    let targets = vec![tagged(&backends[0], "1"), tagged(&backends[1], "2"), tagged(&backends[2], "2")];
    let subsets = json!({"subsets": [{"name": "v2", "labels": {"version": "2"}}]});
    let gateway = running(&app(targets, subsets).proxy(proxy("new").set("upstream_subset", "v2")));
    answers(&gateway, "/new", 6);
    assert_eq!(shares(&backends), [0, 3, 3]);
}

#[test]
fn without_a_target_the_proxys_own_backend_serves() {
    let (own, other) = (Backend::naming_targets(), Backend::saying("other"));
    let app = Proxy::new("app").path("/app").to(own.port()).set("backend_path", "/own");
    let app = app.set("upstream_id", "pool").set("upstream_subset", "nobody");
    let subsets = json!([{"name": "nobody", "labels": {"version": "9"}}]);
    let upstream = json!({"id": "pool", "targets": [target(&other)], "subsets": subsets, "hash_on": "cookie:sid"});
    let gateway = running(&Document::new().proxy(app).upstream(upstream));
    let answer = gateway.get("/app/x");
    assert_eq!(answer.text(), "GET /own/x");
    assert!(!answer.headers.has("set-cookie"), "no target, no cookie for it");
    assert!(!answer.headers.has("x-gateway-upstream-status"));
    other.expect_untouched();
}

#[test]
fn one_header_value_goes_to_one_target() {
    let backends = named();
    let hashing = json!({"algorithm": "consistent_hashing", "hash_on": "header:X-User"});
    let gateway = running(&app(backends.iter().map(target).collect(), hashing));
    let mut reached = BTreeSet::new();
    for user in 0..40 {
        let line = format!("x-user: user-{user}");
        let first = get(&gateway, &[&line]);
        assert!(!first.headers.has("set-cookie"));
        assert_eq!(get(&gateway, &[&line]).text(), first.text(), "the same for {user}");
        reached.insert(first.text());
    }
    assert_eq!(reached.len(), 3, "40 users over {reached:?}");
    let by_address: BTreeSet<_> = (0..6).map(|_| get(&gateway, &["X-User:"]).text()).collect();
    assert_eq!(by_address.len(), 1, "without a value the client's address decides");
}

#[test]
fn the_header_counts_as_plugins_left_it() {
    let backends = named();
    let hashing = json!({"algorithm": "consistent_hashing", "hash_on": "header:X-Request-Id"});
    let document = app(backends.iter().map(target).collect(), hashing).proxy_plugin(
        "app",
        "correlation_id",
        json!({"header_name": "X-Request-Id"}),
    );
    let gateway = running(&document);
    let reached: BTreeSet<_> = (0..40).map(|_| get(&gateway, &[]).text()).collect();
    assert_eq!(reached.len(), 3, "each request has an ID of its own");
}

#[test]
fn a_client_without_the_cookie_gets_one_and_with_it_keeps_its_target() {
    let backends = named();
    let hashing = json!({"algorithm": "consistent_hashing", "hash_on": "cookie:sid"});
    let gateway = running(&app(backends.iter().map(target).collect(), hashing));
    let first = get(&gateway, &[]);
    let serving = backends.iter().find(|backend| backend.requests().len() == 1).expect("one target was asked");
    let cookie = format!("sid=127.0.0.1:{}; Path=/; Max-Age=3600; HttpOnly", serving.port());
    assert_eq!(first.headers.all("set-cookie"), [cookie.as_str()]);

    let line = format!("Cookie: theme=dark; {}", cookie.split(';').next().unwrap());
    let second = get(&gateway, &[&line]);
    assert!(!second.headers.has("set-cookie"), "it has the cookie");
    for _ in 0..5 {
        assert_eq!(get(&gateway, &[&line]).text(), second.text());
    }
    let again = get(&gateway, &["Cookie: sid=; SID=x"]);
    assert!(again.headers.has("set-cookie"), "an empty value is none, and names have a case");
}

#[test]
fn the_cookie_has_the_attributes_of_the_upstream_and_the_backends_own_stay() {
    let backend = Backend::replying(|_| Reply::text("ok").header("Set-Cookie", "a=1").header("Set-Cookie", "b=2"));
    let attributes = json!({"path": "/app", "ttl_seconds": 60, "domain": "shop", "http_only": true, "secure": true, "same_site": "Lax"});
    // The cookie is issued whatever the algorithm.
    let upstream = json!({"hash_on": "cookie:sid", "hash_on_cookie_config": attributes});
    let gateway = running(&app(vec![target(&backend)], upstream));
    let sticky =
        format!("sid=127.0.0.1:{}; Path=/app; Max-Age=60; HttpOnly; Secure; Domain=shop; SameSite=Lax", backend.port());
    assert_eq!(get(&gateway, &[]).headers.all("set-cookie"), ["a=1", "b=2", sticky.as_str()]);
}

#[test]
fn a_targets_path_stands_in_for_the_proxys() {
    let [first, second] = [Backend::naming_targets(), Backend::naming_targets()];
    let targets = vec![with(target(&first), json!({"path": "/of-target"})), target(&second)];
    let upstream = json!({"id": "pool", "targets": targets});
    let gateway = running(&Document::new().proxy(proxy("app").set("backend_path", "/of-proxy")).upstream(upstream));
    assert_eq!(answers(&gateway, "/app/x?q", 2), "GET /of-target/x?q GET /of-proxy/x?q");
}

#[test]
fn a_target_is_asked_for_by_its_own_name() {
    let backend = Backend::saying("ok");
    let upstream = json!({"id": "pool", "targets": [{"host": "LOCALHOST", "port": backend.port()}]});
    let keeping = proxy("keeping").set("preserve_host_header", true);
    let gateway = running(&Document::new().proxy(proxy("app")).proxy(keeping).upstream(upstream));
    for path in ["/app", "/keeping"] {
        gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: shop:81\r\nConnection: close\r\n\r\n"));
    }
    let hosts: Vec<_> = backend.requests().iter().map(|request| request.header("host").unwrap().to_owned()).collect();
    assert_eq!(hosts, ["localhost", "shop:81"]);
}

#[test]
fn a_target_for_a_suffix_is_asked_for_by_the_clients_host() {
    let backend = Backend::saying("ok");
    let upstream = json!({"id": "pool", "targets": [{"host": "*.shop.example", "port": backend.port()}]});
    let document = Document::new().proxy(proxy("app").set("dns_override", "127.0.0.1")).upstream(upstream);
    let gateway = Gateway::builder().document(&document).env("FERRUM_CORES", "0").start();
    for host in ["EU.shop.example:80", "us.shop.example", "elsewhere.example"] {
        gateway.ask(format!("GET /app HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    }
    let hosts: Vec<_> = backend.requests().iter().map(|request| request.header("host").unwrap().to_owned()).collect();
    assert_eq!(hosts, ["eu.shop.example", "us.shop.example", "*.shop.example"]);
    assert_eq!(backend.connections(), 1, "a name that the client makes up costs no connection of its own");
}

#[test]
fn least_connections_prefers_the_target_that_is_idle() {
    let gate = Gate::new();
    let held = gate.clone();
    let busy = Backend::replying(move |request| {
        if request.target == "/slow" {
            held.wait();
        }
        Reply::text("busy")
    });
    let idle = Backend::saying("idle");
    let gateway = running(&app(vec![target(&busy), target(&idle)], json!({"algorithm": "least_connections"})));
    let mut slow = gateway.raw();
    slow.send("GET /app/slow HTTP/1.1\r\nHost: shop\r\n\r\n");
    busy.wait_for_requests(1);
    assert_eq!(answers(&gateway, "/app", 5), "idle idle idle idle idle");
    gate.open();
    assert_eq!(slow.response().text(), "busy");
    assert_eq!(answers(&gateway, "/app", 5), "busy busy busy busy busy", "the first in the list when all are idle");
}

#[test]
fn a_failing_target_fails_its_own_turns_only() {
    let backend = Backend::saying("ok");
    let refusing = tests::RefusingPort::new();
    let targets = vec![target(&backend), json!({"host": "127.0.0.1", "port": refusing.port()})];
    let gateway = running(&app(targets, json!({})));
    let statuses: Vec<u16> = (0..6).map(|_| gateway.get("/app").status).collect();
    assert_eq!(statuses, [200, 502, 200, 502, 200, 502]);
}

#[test]
fn the_record_names_the_target_that_was_chosen() {
    let backend = Backend::saying("ok");
    let targets = vec![with(target(&backend), json!({"path": "/base"}))];
    let gateway = running(&app(targets, json!({})).global_plugin("stdout_logging", json!({})));
    gateway.get("/app/x?secret=1");
    let record = gateway.wait_for_record(|record| record["request_path"] == "/app/x");
    assert_eq!(record["backend_target"], format!("http://127.0.0.1:{}/base/x", backend.port()));
}

#[test]
fn a_reload_goes_on_with_the_turn_and_the_connections() {
    let backends = named();
    let document = |more: Value| app(backends.iter().map(target).collect(), more);
    let gateway = Gateway::builder().document(&document(json!({}))).env("FERRUM_CORES", "0").start();
    assert_eq!(answers(&gateway, "/app", 4), "one two three one");
    gateway.reload(&document(json!({"name": "renamed"})));
    assert_eq!(answers(&gateway, "/app", 4), "two three one two");
    assert_eq!(backends.iter().map(Backend::connections).collect::<Vec<_>>(), [1, 1, 1]);
    gateway.reload(&document(json!({"algorithm": "random"})));
    gateway.reload(&document(json!({})));
    assert_eq!(answers(&gateway, "/app", 3), "one two three", "a changed upstream starts afresh");
}
