//! `prometheus_metrics`, as a scraper sees it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Backend, BackendWebSocket, Document, Gate, Gateway, MetricsPage, Proxy, RawWebSocket, RefusingPort, Reply, curl,
    eventually,
};

use crate::{alice, ask};

const BOUNDS: [&str; 12] = ["5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "+Inf"];
const REQUESTS: &str = "ferrum_requests_total";

/// Every scrape makes its own page.
fn fresh() -> Value {
    json!({"render_cache_ttl_seconds": 0})
}

fn counted(backend: &Backend) -> Document {
    Document::all_to(backend.port()).global_plugin("prometheus_metrics", fresh())
}

fn scraped_text(gateway: &Gateway) -> String {
    let answer = curl(&[&format!("http://127.0.0.1:{}/metrics", gateway.admin_port())]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    answer.text()
}

#[track_caller]
fn scraped(gateway: &Gateway) -> MetricsPage {
    MetricsPage::parse(&scraped_text(gateway)).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// The page once these requests have been counted. A client has its answer a moment before the core counts it.
#[track_caller]
fn scraped_with(gateway: &Gateway, requests: u64) -> MetricsPage {
    eventually(&format!("{requests} requests are counted"), || {
        let page = scraped(gateway);
        (page.value(REQUESTS, &[]) == Some(requests as f64)).then_some(page)
    })
}

fn requests(page: &MetricsPage, proxy: &str, method: &str, status: &str) -> Option<f64> {
    page.value(REQUESTS, &[("proxy_id", proxy), ("method", method), ("status_code", status)])
}

#[test]
fn requests_are_counted_by_proxy_method_and_status() {
    let backend = Backend::replying(|request| {
        Reply::new(request.target.trim_start_matches("/app/").parse().unwrap_or(200)).body("ok")
    });
    let refusing = RefusingPort::new();
    let document = Document::new()
        .proxy(Proxy::new("app").path("/app").set("strip_listen_path", false).to(backend.port()))
        .proxy(Proxy::new("down").path("/down").to(refusing.port()))
        .global_plugin("prometheus_metrics", fresh());
    let gateway = Gateway::running(&document);
    for (method, path) in [
        ("GET", "/app/200"),
        ("GET", "/app/200"),
        ("POST", "/app/201"),
        ("GET", "/app/404"),
        ("DELETE", "/app/503"),
        ("GET", "/app/799"),
        ("PURGE", "/app/200"),
        ("GET", "/down"),
        ("GET", "/nowhere"),
    ] {
        gateway.curl(path, &["--request", method]);
    }
    let page = scraped_with(&gateway, 8);
    for (proxy, method, status, count) in [
        ("app", "GET", "200", 2.0),
        ("app", "POST", "201", 1.0),
        ("app", "GET", "404", 1.0),
        ("app", "DELETE", "503", 1.0),
        ("app", "GET", "799", 1.0),
        ("app", "PURGE", "200", 1.0),
        ("down", "GET", "502", 1.0),
    ] {
        assert_eq!(requests(&page, proxy, method, status), Some(count), "{proxy} {method} {status}");
    }
    let lines: Vec<&str> = page.family(REQUESTS).unwrap().samples.iter().map(|s| s.line.as_str()).collect();
    let expected = "ferrum_requests_total{proxy_id=\"app\",method=\"GET\",status_code=\"200\",namespace=\"ferrum\"} 2";
    assert!(lines.contains(&expected), "{lines:?}");
    assert_eq!(lines.len(), 7, "what found no route is no proxy's: {lines:?}");
}

#[test]
fn every_sample_of_the_page_ends_with_the_namespace() {
    let backend = Backend::saying("ok");
    let without = scraped(&Gateway::in_front_of(backend.port()));
    assert!(without.samples().all(|sample| sample.label("namespace").is_none()), "{without:?}");
    assert_eq!(without.value("ferrum_rate_limit_exceeded_total", &[]), Some(0.0));
    for family in [REQUESTS, "ferrum_request_duration_ms", "ferrum_backend_duration_ms", "ferrum_edge_overhead_ms"] {
        assert_eq!(without.family(family).map(|family| family.samples.len()), Some(0), "{family} is only announced");
    }
    let gateway = Gateway::running(&counted(&backend));
    gateway.get("/");
    let page = scraped_with(&gateway, 1);
    for sample in page.samples() {
        let last = sample.labels.last().map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(last, Some(("namespace", "ferrum")), "{}", sample.line);
    }
    for family in ["ferrum_rate_limit_exceeded_total", "ferrum_mesh_dns_upstream_id_exhaustions_total"] {
        assert_eq!(page.value(family, &[]), Some(0.0), "{family}");
    }
}

#[test]
fn two_cores_add_up_to_what_was_asked() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::builder().document(&counted(&backend)).env("FERRUM_CORES", "0,1").start();
    let mut clients: Vec<_> = (0..32).map(|_| gateway.raw()).collect();
    for _ in 0..5 {
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    }
    let page = scraped_with(&gateway, 160);
    assert_eq!(requests(&page, "app", "GET", "200"), Some(160.0));
    assert_eq!(page.value("ferrum_request_duration_ms_count", &[("proxy_id", "app")]), Some(160.0));
    for core in ["0", "1"] {
        let served = page.value("ferrum_core_requests_total", &[("core", core)]).unwrap_or_default();
        assert!(served > 0.0, "the kernel gave core {core} none of 32 connections");
    }
}

#[test]
fn durations_fall_into_buckets_of_milliseconds() {
    let backend = Backend::replying(|request| {
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_millis(60));
            return Reply::text("ok");
        }
        Reply::text("ok").chunked(1)
    });
    let document = Document::new()
        .proxy(
            Proxy::new("whole")
                .path("/slow")
                .set("strip_listen_path", false)
                .set("response_body_mode", "buffer")
                .to(backend.port()),
        )
        .proxy(Proxy::new("streamed").path("/").to(backend.port()))
        .global_plugin("prometheus_metrics", fresh());
    let gateway = Gateway::running(&document);
    assert_eq!((gateway.get("/slow").status, gateway.get("/fast").status), (200, 200));
    let page = scraped_with(&gateway, 2);
    for family in ["ferrum_request_duration_ms", "ferrum_backend_duration_ms", "ferrum_edge_overhead_ms"] {
        let bucket = format!("{family}_bucket");
        let own: Vec<_> = page.samples().filter(|s| s.name == bucket && s.label("proxy_id") == Some("whole")).collect();
        let bounds: Vec<_> = own.iter().filter_map(|sample| sample.label("le")).collect();
        assert_eq!(bounds, BOUNDS, "{family}");
        let order: Vec<&str> = own[0].labels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["proxy_id", "le", "namespace"]);
        let sum = page.samples().find(|s| s.name == format!("{family}_sum") && s.label("proxy_id") == Some("whole"));
        let (_, decimals) = sum.unwrap().line.rsplit_once('.').unwrap();
        assert_eq!(decimals.len(), 2, "{sum:?}");
    }
    let within = |family: &str, bound: &str| {
        page.value(&format!("{family}_bucket"), &[("proxy_id", "whole"), ("le", bound)]).unwrap()
    };
    for family in ["ferrum_request_duration_ms", "ferrum_backend_duration_ms"] {
        assert_eq!((within(family, "50"), within(family, "+Inf")), (0.0, 1.0), "{family}");
        assert!(page.value(&format!("{family}_sum"), &[("proxy_id", "whole")]).unwrap() >= 60.0);
    }
    assert_eq!(within("ferrum_edge_overhead_ms", "+Inf"), 1.0);
    assert!(
        page.value("ferrum_edge_overhead_ms_sum", &[("proxy_id", "whole")]).unwrap() < 60.0,
        "the backend's time is not the gateway's"
    );
    assert_eq!(page.value("ferrum_request_duration_ms_count", &[("proxy_id", "streamed")]), Some(1.0));
    assert_eq!(page.value("ferrum_backend_duration_ms_count", &[("proxy_id", "streamed")]), None);
}

#[test]
fn refusals_of_other_plugins_are_counted_and_show_no_secret() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::running(&counted(&backend).global_plugin("key_auth", json!({})).consumer(alice()));
    assert_eq!(
        ask(&gateway, "/?token=hidden-in-the-query", "X-API-Key: k-1\r\nAuthorization: Bearer hidden\r\n").status,
        200
    );
    assert_eq!(ask(&gateway, "/", "X-API-Key: hidden-key\r\n").status, 401);
    let page = scraped_with(&gateway, 2);
    assert_eq!((requests(&page, "app", "GET", "200"), requests(&page, "app", "GET", "401")), (Some(1.0), Some(1.0)));
    assert_eq!(page.value("ferrum_backend_duration_ms_count", &[]), Some(1.0), "the refused one had no backend");
    let text = scraped_text(&gateway);
    for secret in ["hidden", "k-1", "alice"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn who_is_counted_follows_the_chain() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let group = json!({"id": "group", "plugin_name": "prometheus_metrics", "scope": "proxy_group", "config": fresh()});
    let member = |id: &str| proxy(id).set("plugins", json!([{"plugin_config_id": "group"}]));
    let disabled = json!({"id": "off", "plugin_name": "prometheus_metrics", "scope": "global", "enabled": false});
    let document = Document::new()
        .proxy(proxy("own"))
        .proxy(proxy("nobody"))
        .proxy(member("first"))
        .proxy(member("second"))
        .proxy_plugin("own", "prometheus_metrics", fresh())
        .plugin(group)
        .plugin(disabled);
    let gateway = Gateway::running(&document);
    for path in ["/own", "/nobody", "/first", "/second", "/second"] {
        assert_eq!(gateway.get(path).status, 200);
    }
    let page = scraped_with(&gateway, 4);
    for (proxy, count) in [("own", Some(1.0)), ("first", Some(1.0)), ("second", Some(2.0)), ("nobody", None)] {
        assert_eq!(requests(&page, proxy, "GET", "200"), count, "{proxy}");
    }
}

#[test]
fn websocket_upgrades_and_grpc_calls_are_counted() {
    let backend = Backend::scripted(|connection| {
        if let Some(mut session) = BackendWebSocket::accept(connection, "") {
            while session.frame().is_some() {}
        }
    });
    let refusing = RefusingPort::new();
    let document = Document::new()
        .proxy(Proxy::new("live").path("/live").to(backend.port()))
        .proxy(Proxy::new("grpc").path("/grpc").to(refusing.port()))
        .global_plugin("prometheus_metrics", fresh());
    let gateway = Gateway::running(&document);
    let session = RawWebSocket::open(gateway.port(), "/live", "");
    let call = "POST /grpc/s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(gateway.ask(call).headers.all("grpc-status"), ["14"]);
    let page = scraped_with(&gateway, 2);
    assert_eq!(requests(&page, "live", "GET", "101"), Some(1.0), "while the session goes on");
    assert_eq!(requests(&page, "grpc", "POST", "200"), Some(1.0));
    drop(session);
}

#[test]
fn clients_that_leave_are_counted() {
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        connection.wait_closed();
    });
    let gateway = Gateway::running(&counted(&backend));
    assert!(scraped(&gateway).family("ferrum_client_disconnects_total").is_none());
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    client.reset();
    let page = scraped_with(&gateway, 1);
    assert_eq!(page.value("ferrum_client_disconnects_total", &[("proxy_id", "app")]), Some(1.0));
}

#[test]
fn a_reload_takes_no_count_away() {
    let backend = Backend::saying("ok");
    let document = counted(&backend);
    let gateway = Gateway::builder().document(&document).env("FERRUM_CORES", "0,1").start();
    let mut clients: Vec<_> = (0..8).map(|_| gateway.raw()).collect();
    let mut ask_all = || clients.iter_mut().for_each(|client| assert_eq!(client.get("/x").status, 200));
    ask_all();
    gateway.reload(&document);
    ask_all();
    assert_eq!(requests(&scraped_with(&gateway, 16), "app", "GET", "200"), Some(16.0), "nothing has changed");
    // Another config makes new instances, and another proxy in front numbers the routes anew.
    let changed = Document::new()
        .proxy(Proxy::new("new").path("/new").to(backend.port()))
        .proxy(Proxy::new("app").path("/").to(backend.port()))
        .global_plugin("prometheus_metrics", json!({"render_cache_ttl_seconds": 0, "stale_entry_ttl_seconds": 1000}));
    gateway.reload(&changed);
    ask_all();
    assert_eq!(gateway.get("/new").status, 200);
    let page = scraped_with(&gateway, 25);
    assert_eq!((requests(&page, "app", "GET", "200"), requests(&page, "new", "GET", "200")), (Some(24.0), Some(1.0)));
    gateway.reload(&Document::all_to(backend.port()));
    ask_all();
    let page = scraped(&gateway);
    assert_eq!(
        requests(&page, "app", "GET", "200"),
        Some(24.0),
        "without the plugin nothing is added, and nothing is lost"
    );
}

#[test]
fn a_request_that_outlives_a_reload_is_counted_too() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |request| {
        if request.target == "/held" {
            held.wait();
        }
        Reply::text("ok")
    });
    let gateway = Gateway::running(&counted(&backend));
    let mut client = gateway.raw();
    client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    backend.wait_for_requests(1);
    let other = json!({"render_cache_ttl_seconds": 0, "cache_invalidation_min_age_ms": 1});
    gateway.reload(&Document::all_to(backend.port()).global_plugin("prometheus_metrics", other));
    assert_eq!(gateway.get("/").status, 200);
    gate.open();
    assert_eq!(client.response().status, 200);
    scraped_with(&gateway, 2);
}

#[test]
fn a_page_is_kept_as_long_as_the_config_says() {
    let backend = Backend::saying("ok");
    let with = |config: Value| Document::all_to(backend.port()).global_plugin("prometheus_metrics", config);
    let hour = 3_600_000;
    let gateway =
        Gateway::running(&with(json!({"render_cache_ttl_seconds": 3600, "cache_invalidation_min_age_ms": hour})));
    gateway.get("/");
    // The first page that shows the request is made once its settings have; from then on it stays.
    gateway.reload(&with(json!({"render_cache_ttl_seconds": 0})));
    scraped_with(&gateway, 1);
    gateway.reload(&with(json!({"render_cache_ttl_seconds": 3600, "cache_invalidation_min_age_ms": hour})));
    let kept = scraped_text(&gateway);
    gateway.get("/");
    eventually("both are in the process's own counters", || (backend.requests().len() == 2).then_some(()));
    assert_eq!(scraped_text(&gateway), kept, "no sample makes a young page void");
    gateway.reload(&with(json!({"render_cache_ttl_seconds": 3600, "cache_invalidation_min_age_ms": 0})));
    scraped_with(&gateway, 2);
    gateway.get("/");
    scraped_with(&gateway, 3);
    let quiet = scraped_text(&gateway);
    // A request that the plugin does not count changes other figures, but makes nothing void.
    gateway.ask("BAD\r\n\r\n");
    assert_eq!(scraped_text(&gateway), quiet);
    gateway.reload(&with(json!({"render_cache_ttl_seconds": 0, "cache_invalidation_min_age_ms": hour})));
    gateway.get("/");
    scraped_with(&gateway, 4);
}

#[test]
fn idle_series_disappear_and_begin_anew() {
    let backend = Backend::saying("ok");
    let config = json!({"render_cache_ttl_seconds": 0, "stale_entry_ttl_seconds": 1});
    let gateway = Gateway::running(&Document::all_to(backend.port()).global_plugin("prometheus_metrics", config));
    // On a busy machine a page may come too late for a request, so it is asked for until one does not.
    let asked_and_shown = || {
        let mut asked = 0.0;
        eventually("a request is shown", || {
            gateway.get("/");
            asked += 1.0;
            let shown = scraped(&gateway).value("ferrum_request_duration_ms_count", &[("proxy_id", "app")])?;
            Some((asked, shown))
        })
    };
    for _ in 0..2 {
        let (asked, shown) = asked_and_shown();
        assert!(shown <= asked, "{shown} are shown of {asked} since nothing was");
        eventually("nothing of the proxy is shown", || {
            (!scraped_text(&gateway).contains("proxy_id=\"app\"")).then_some(())
        });
    }
}

#[test]
fn a_thousand_methods_and_statuses_make_no_thousand_series() {
    let backend = Backend::replying(|request| {
        Reply::new(request.target.trim_start_matches('/').parse().unwrap_or(200)).header("x", "y")
    });
    let gateway = Gateway::builder().document(&counted(&backend)).env("FERRUM_CORES", "0,1").start();
    let mut clients = [gateway.raw(), gateway.raw(), gateway.raw(), gateway.raw()];
    for number in 0..1000 {
        let client = &mut clients[number % 4];
        client.send(format!("M{number} /200 HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status, 200);
    }
    let page = scraped_with(&gateway, 1000);
    assert_eq!(page.family(REQUESTS).unwrap().samples.len(), 256 + 1);
    assert_eq!(requests(&page, "app", "_OTHER", "200"), Some(744.0));
    let overflow = [("family", REQUESTS)];
    assert_eq!(page.value("ferrum_metric_series_overflow_total", &overflow), Some(744.0));
    for status in 200..1000 {
        if status != 204 && status != 304 {
            assert_eq!(clients[0].get(&format!("/{status}")).status, status);
        }
    }
    let page = scraped_with(&gateway, 1798);
    assert_eq!(page.family(REQUESTS).unwrap().samples.len(), 256 + 500 + 1, "one core has room for 500 of a proxy");
    assert_eq!(requests(&page, "app", "_OTHER", "_OTHER"), Some(299.0));
    assert_eq!(page.value("ferrum_metric_series_overflow_total", &overflow), Some(744.0 + 299.0));
    assert_eq!(page.value("ferrum_request_duration_ms_count", &[]), Some(1798.0));
}

#[test]
fn a_config_that_is_wrong_is_refused_at_start() {
    let backend = Backend::saying("ok");
    for (config, error) in [
        (json!([]), "prometheus_metrics: config must be an object"),
        (
            json!({"render_cache_ttl_seconds": -1}),
            "prometheus_metrics: 'render_cache_ttl_seconds' must be an unsigned integer",
        ),
        (
            json!({"stale_entry_ttl_seconds": "1"}),
            "prometheus_metrics: 'stale_entry_ttl_seconds' must be an unsigned integer",
        ),
        (
            json!({"cache_invalidation_min_age_ms": 1.0}),
            "prometheus_metrics: 'cache_invalidation_min_age_ms' must be an unsigned integer",
        ),
        (
            json!({"mesh_series_budget_per_family": true}),
            "prometheus_metrics: 'mesh_series_budget_per_family' must be an unsigned integer",
        ),
        (json!({"schema": {}}), "prometheus_metrics: 'schema' / 'schema_ref' is not supported"),
        (json!({"schema_ref": "slim"}), "prometheus_metrics: 'schema' / 'schema_ref' is not supported"),
    ] {
        let document = Document::all_to(backend.port()).global_plugin("prometheus_metrics", config);
        let exit = Gateway::builder().document(&document).start_failing();
        assert!(exit.messages().iter().any(|text| text.contains(error)), "{error} in {exit:?}");
    }
    let absent = json!({"id": "m", "plugin_name": "prometheus_metrics", "scope": "global"});
    let unknown =
        json!({"id": "n", "plugin_name": "prometheus_metrics", "scope": "global", "config": {"buckets": [1]}});
    let two = Document::all_to(backend.port()).plugin(absent).plugin(unknown.clone());
    let exit = Gateway::builder().document(&two).start_failing();
    let error = "PluginConfig 'n' (prometheus_metrics) with scope 'global' must be the only one enabled; 'm' is too";
    assert!(exit.messages().iter().any(|text| text.contains(error)), "{exit:?}");
    let gateway = Gateway::running(&Document::all_to(backend.port()).plugin(unknown));
    gateway.wait_for_log(|text| text.contains("prometheus_metrics: unknown key 'buckets' is ignored"));
}
