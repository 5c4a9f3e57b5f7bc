//! The API over a socket.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugins::metrics::{Metrics, MetricsSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::test_rig::{Answer, exchange, rig, rig_with, token};
use super::*;

#[tokio::test]
async fn health_turns_from_starting_to_ok_once_for_any_method() {
    let rig = rig();
    let starting = rig.open("GET", "/health").await;
    assert_eq!(
        (starting.status, &starting.json()["status"], &starting.json()["ready"]),
        (503, &json!("starting"), &json!(false))
    );
    assert!(rig.readiness.set_ready() && !rig.readiness.set_ready());
    for (method, path) in [("GET", "/health"), ("POST", "/health"), ("DELETE", "/status"), ("GET", "/status?x=1")] {
        let answer = rig.open(method, path).await;
        let mut body = answer.json();
        let timestamp = body.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().ends_with("+00:00"));
        assert_eq!(answer.status, 200);
        assert_eq!(
            body,
            json!({"admin_writes_enabled": false, "mode": "file", "ready": true, "status": "ok", "cached_config":
                {"available": true, "consumer_count": 1, "loaded_at": "2026-01-01T00:00:00.000000000+00:00", "proxy_count": 3}})
        );
    }
    let empty = rig_with(|_, sources| sources.resources = None);
    assert_eq!(empty.open("GET", "/health").await.json()["cached_config"], json!({"available": false}));
}

#[tokio::test]
async fn json_answers_carry_the_common_headers() {
    let rig = rig();
    for answer in [rig.open("GET", "/health").await, rig.open("GET", "/proxies").await, rig.get("/plugins").await] {
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
        assert_eq!(answer.header("www-authenticate"), None);
    }
}

#[tokio::test]
async fn overload_is_200_until_it_is_critical() {
    let rig = rig();
    let calm = rig.open("GET", "/overload").await;
    assert_eq!((calm.status, &calm.json()["level"]), (200, &json!("normal")));
    assert!(calm.json()["pressure"]["file_descriptors"]["max"].as_u64().unwrap() > 0);
    rig.verdict.start_draining();
    let drained = rig.open("GET", "/overload").await;
    assert_eq!(
        (drained.status, &drained.json()["level"], &drained.json()["draining"]),
        (503, &json!("critical"), &json!(true))
    );
    assert_eq!(rig.open("POST", "/overload").await.status, 401, "only GET is open");

    let bare = rig_with(|_, sources| sources.overload = None);
    assert_eq!(
        bare.open("GET", "/overload").await.json(),
        json!({"level": "normal", "message": "No proxy state available"})
    );
}

#[tokio::test]
async fn metrics_show_what_is_always_there_and_what_the_cores_count() {
    let rig = rig();
    rig.counters.core(1).status(200);
    rig.counters.core(1).requests.add(7);
    rig.counters.core(0).request_duration.record_ns(7_000_000);
    let answer = rig.open("GET", "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-frame-options"), None);
    for line in [
        "# TYPE ferrum_requests_total counter",
        "# TYPE ferrum_request_duration_ms histogram",
        "# TYPE ferrum_backend_duration_ms histogram",
        "# TYPE ferrum_edge_overhead_ms histogram",
        "ferrum_rate_limit_exceeded_total 0",
        "ferrum_mesh_dns_upstream_id_exhaustions_total 0",
        "ferrum_gateway_requests_total{status_code=\"200\"} 1",
        "ferrum_gateway_request_duration_ms_bucket{le=\"10\"} 1",
        "ferrum_gateway_request_duration_ms_sum 7.00",
        "ferrum_core_requests_total{core=\"0\"} 0",
        "ferrum_core_requests_total{core=\"1\"} 7",
        "ferrum_overload_level 0",
        "ferrum_overload_shedding_active{action=\"disable_keepalive\"} 0",
    ] {
        assert!(answer.body.lines().any(|each| each == line), "{line} in {}", answer.body);
    }
    assert!(!answer.body.lines().any(|line| line.starts_with("ferrum_requests_total{")));
    let announced: Vec<_> = answer.body.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let mut unique = announced.clone();
    unique.dedup();
    unique.sort();
    unique.dedup();
    assert_eq!(announced.len(), unique.len(), "each family is announced once");
}

#[tokio::test]
async fn once_the_plugin_is_configured_every_sample_ends_with_the_namespace() {
    let metrics = Metrics::new(2, "team-a");
    let rig = rig_with(|_, sources| sources.request_metrics = metrics.clone());
    let answer = rig.open("GET", "/metrics").await;
    assert!(answer.body.lines().any(|line| line == "ferrum_rate_limit_exceeded_total 0"), "{}", answer.body);
    metrics.configure(MetricsSettings { render_cache_ttl_s: 0, ..MetricsSettings::default() });
    metrics.core(1).rate_limit_exceeded.add(3);
    let answer = rig.open("GET", "/metrics").await;
    for line in [
        "ferrum_rate_limit_exceeded_total{namespace=\"team-a\"} 3",
        "ferrum_gateway_request_duration_ms_bucket{le=\"5\",namespace=\"team-a\"} 0",
        "ferrum_core_requests_total{core=\"0\",namespace=\"team-a\"} 0",
    ] {
        assert!(answer.body.lines().any(|each| each == line), "{line} in {}", answer.body);
    }
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    samples.for_each(|line| assert!(line.contains("namespace=\"team-a\"} "), "{line}"));
}

#[tokio::test]
async fn the_plugin_says_how_long_a_page_is_kept() {
    let metrics = Metrics::new(1, "ferrum");
    let rig = rig_with(|_, sources| sources.request_metrics = metrics.clone());
    let settings = MetricsSettings {
        render_cache_ttl_s: 600,
        cache_invalidation_min_age_ms: 600_000,
        ..MetricsSettings::default()
    };
    metrics.configure(settings);
    let count = || metrics.core(0).rate_limit_exceeded.one();
    let kept = rig.open("GET", "/metrics").await.body;
    count();
    metrics.core(0).note_sample();
    assert_eq!(rig.open("GET", "/metrics").await.body, kept, "a sample does not drop a page that is young");
    metrics.configure(MetricsSettings { cache_invalidation_min_age_ms: 0, ..settings });
    let renewed = rig.open("GET", "/metrics").await.body;
    assert_ne!(renewed, kept);
    count();
    assert_eq!(rig.open("GET", "/metrics").await.body, renewed, "without a sample the page is kept");
    metrics.core(0).note_sample();
    assert_ne!(rig.open("GET", "/metrics").await.body, renewed);
    metrics.configure(MetricsSettings { render_cache_ttl_s: 0, ..settings });
    let first = rig.open("GET", "/metrics").await.body;
    count();
    assert_ne!(rig.open("GET", "/metrics").await.body, first, "a TTL of zero keeps nothing");
}

#[tokio::test]
async fn a_rendered_body_is_kept_for_its_time() {
    let rig = rig_with(|options, _| {
        options.metrics_cache = Duration::from_secs(60);
        options.runtime_cache = Duration::from_secs(60);
        options.gateway_cache = Duration::from_secs(60);
    });
    let first = rig.open("GET", "/metrics").await.body;
    rig.counters.core(0).status(200);
    assert_eq!(rig.open("GET", "/metrics").await.body, first);
    for path in ["/metrics/runtime", "/admin/metrics"] {
        let (miss, hit) = (rig.get(path).await, rig.get(path).await);
        assert_eq!((miss.header("x-cache"), hit.header("x-cache")), (Some("miss"), Some("hit")), "{path}");
        assert_eq!(miss.body, hit.body);
    }
}

#[tokio::test]
async fn every_other_request_needs_a_token_even_an_unknown_path() {
    let rig = rig();
    for (method, path) in
        [("GET", "/proxies"), ("GET", "/nothing"), ("POST", "/metrics"), ("GET", "/live"), ("GET", "//health")]
    {
        assert_eq!(rig.open(method, path).await.error(), (401, "Missing Authorization header".to_owned()), "{path}");
    }
    let answer = rig.send("GET", "/proxies", "authorization: bearer x\r\n", "").await;
    assert_eq!(answer.error(), (401, "Invalid Authorization header format".to_owned()));
    let answer = rig.send("GET", "/proxies", "authorization: Bearer x\r\n", "").await;
    assert!(answer.status == 401 && answer.error().1.starts_with("Token verification failed: "));
    assert_eq!(
        rig.call("root", "GET", "/proxies").await.error(),
        (401, "Invalid admin role claim 'root'; expected viewer, operator, or admin".to_owned())
    );
    let unset = rig_with(|options, _| options.jwt_secret = None);
    assert_eq!(unset.get("/proxies").await.status, 401);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_not_found() {
    let rig = rig();
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/"),
        ("GET", "/proxies/"),
        ("PATCH", "/proxies"),
        ("OPTIONS", "/proxies"),
        ("POST", "/overload"),
    ] {
        assert_eq!(rig.call("admin", method, path).await.error(), (404, "Not Found".to_owned()), "{method} {path}");
    }
    assert_eq!(rig.get("//plugins").await.status, 200, "leading slashes are trimmed");
}

#[tokio::test]
async fn the_namespace_is_checked_before_the_path_and_chooses_the_rows() {
    let rig = rig();
    let with =
        |namespace: &str| format!("authorization: Bearer {}\r\nx-ferrum-namespace: {namespace}\r\n", token("viewer"));
    let answer = rig.send("GET", "/nothing", &with("-bad"), "").await;
    assert_eq!(answer.status, 400);
    assert!(answer.error().1.starts_with("Invalid X-Ferrum-Namespace: namespace '-bad' is invalid: "));
    assert_eq!(rig.send("GET", "/proxies/a", &with("team-a"), "").await.error(), (404, "Proxy not found".to_owned()));
    assert_eq!(rig.send("GET", "/proxies", &with("team-a"), "").await.json()["data"], json!([]));
}

#[tokio::test]
async fn lists_are_paged_and_come_from_the_running_configuration() {
    let rig = rig();
    let all = rig.get("/proxies").await;
    assert_eq!((all.status, all.header("x-data-source")), (200, Some("cached")));
    assert_eq!(
        all.body,
        r#"{"data":[{"id":"a"},{"id":"b"},{"id":"c"}],"pagination":{"limit":3,"offset":0,"total":3}}"#
    );
    let page = rig.get("/proxies?limit=1&offset=1").await.json();
    assert_eq!(page, json!({"data": [{"id": "b"}], "pagination": {"limit": 1, "offset": 1, "total": 3}}));
    assert_eq!(rig.get("/proxies?offset=9").await.json()["data"], json!([]));
    assert_eq!(rig.get("/proxies/b").await.json(), json!({"id": "b"}));
    for (path, text) in [
        ("/proxies/x", "Proxy not found"),
        ("/upstreams/x", "Upstream not found"),
        ("/consumers/x", "Consumer not found"),
        ("/plugins/config/x", "Plugin config not found"),
    ] {
        assert_eq!(rig.get(path).await.error(), (404, text.to_owned()));
    }
    let none = rig_with(|_, sources| sources.resources = None);
    let expected = (503, "No database and no cached config available".to_owned());
    assert_eq!(none.get("/proxies").await.error(), expected);
    assert_eq!(none.get("/proxies/a").await.error(), expected);
}

/// A hundred thousand rows of each kind. Remembers which of them it was asked for, from and to.
#[derive(Default)]
struct LongLists {
    asked: Mutex<Vec<(usize, usize)>>,
}

impl ResourceReads for LongLists {
    fn page(&self, _: ResourceKind, _: &str, positions: Range<usize>) -> (usize, Vec<Value>) {
        self.asked.lock().unwrap().push((positions.start, positions.end));
        let end = positions.end.min(100_000);
        (100_000, (positions.start..end).map(|number| json!({ "id": number.to_string() })).collect())
    }

    fn get(&self, _: ResourceKind, id: &str, _: &str) -> Option<Value> {
        Some(json!({ "id": id }))
    }

    fn summary(&self) -> Option<ConfigSummary> {
        None
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_page_of_a_long_list_asks_for_no_other_rows() {
    let lists = Arc::new(LongLists::default());
    let rig = rig_with(|_, sources| sources.resources = Some(lists.clone()));
    let page = rig.get("/proxies?limit=2&offset=50000").await.json();
    assert_eq!(
        page,
        json!({"data": [{"id": "50000"}, {"id": "50001"}],
            "pagination": {"limit": 2, "offset": 50_000, "total": 100_000}})
    );
    assert_eq!(rig.get("/proxies/7").await.json(), json!({"id": "7"}));
    assert_eq!(*lists.asked.lock().unwrap(), [(50_000, 50_002)], "one row is no list");
}

#[tokio::test]
async fn secrets_are_redacted_by_kind_and_role() {
    let rig = rig();
    let consumer = rig.call("admin", "GET", "/consumers/u").await.json();
    assert_eq!(consumer["credentials"]["keyauth"][0]["key"], "[REDACTED]");
    assert_eq!(rig.get("/plugins/config").await.json()["data"][0]["config"]["api_key"], "[REDACTED]");
    assert_eq!(rig.call("admin", "GET", "/plugins/config/p").await.json()["config"]["api_key"], "k");
}

#[tokio::test]
async fn writes_are_refused_by_role_then_by_the_read_only_gate() {
    let rig = rig();
    for (role, method, path, need) in [
        ("viewer", "POST", "/proxies", "operator"),
        ("operator", "DELETE", "/consumers/u", "admin"),
        ("viewer", "POST", "/batch", "admin"),
        ("operator", "POST", "/restore?confirm=true", "admin"),
        ("viewer", "GET", "/backup", "admin"),
        ("operator", "GET", "/audit", "admin"),
        ("operator", "POST", "/api-specs", "admin"),
    ] {
        let text = format!("Admin role '{role}' cannot access this endpoint; required role is '{need}'");
        assert_eq!(rig.call(role, method, path).await.error(), (403, text), "{method} {path}");
    }
    for (method, path) in [
        ("POST", "/proxies"),
        ("PUT", "/upstreams/x"),
        ("DELETE", "/plugins/config/x"),
        ("POST", "/consumers/u/credentials/jwt"),
        ("POST", "/batch"),
        ("POST", "/restore"),
        ("POST", "/api-specs"),
    ] {
        let answer = rig.call("admin", method, path).await;
        assert_eq!(answer.error(), (403, "Admin API is in read-only mode".to_owned()), "{method} {path}");
    }
    let writable = rig_with(|options, _| options.is_read_only = false);
    assert_eq!(writable.call("admin", "POST", "/proxies").await.error(), (503, "No database".to_owned()));
}

#[tokio::test]
async fn small_endpoints_answer_as_in_file_mode() {
    let rig = rig();
    assert_eq!(rig.get("/plugins").await.json(), json!(["cors", "key_auth"]));
    assert_eq!(rig.get("/namespaces").await.json(), json!(["ferrum", "team-a"]));
    assert_eq!(rig.get("/cluster").await.json()["mode"], "file");
    assert_eq!(rig.call("admin", "GET", "/audit").await.error(), (503, "No database".to_owned()));
    assert_eq!(rig.get("/api-specs/x").await.error(), (503, "No database configured".to_owned()));
    assert_eq!(rig.get("/mesh/federation").await.error(), (404, "No active mesh federation".to_owned()));
    let none = rig_with(|_, sources| sources.resources = None);
    assert_eq!(none.get("/namespaces").await.json(), json!(["ferrum"]));
}

#[tokio::test]
async fn a_backup_is_complete_clear_and_downloadable() {
    let rig = rig();
    let answer = rig.call("admin", "GET", "/backup").await;
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"ferrum-backup.json\""));
    assert_eq!(answer.header("x-data-source"), Some("cached"));
    let body = answer.json();
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "version",
            "ferrum_version",
            "exported_at",
            "source",
            "counts",
            "proxies",
            "consumers",
            "plugin_configs",
            "upstreams"
        ]
    );
    assert_eq!(body["counts"], json!({"proxies": 3, "consumers": 1, "plugin_configs": 1, "upstreams": 0}));
    assert_eq!(body["consumers"][0]["credentials"]["keyauth"][0]["key"], "k");
    // As browsers and most clients write a comma, too.
    for list in ["consumers,nonsense", "consumers%2Cnonsense", "upstreams%2cconsumers"] {
        let part = rig.call("admin", "GET", &format!("/backup?resources={list}")).await.json();
        assert_eq!((&part["proxies"], part["consumers"].as_array().unwrap().len()), (&json!([]), 1), "{list}");
    }
}

#[tokio::test]
async fn runtime_metrics_are_the_document_of_the_sheet_with_the_cores() {
    let rig = rig();
    rig.counters.core(0).status(200);
    rig.counters.core(0).status(200);
    rig.counters.core(1).status(502);
    rig.counters.core(1).error(engine::counters::ErrorClass::ConnectionRefused);
    rig.counters.core(1).connections_accepted.add(2);
    rig.counters.core(1).loop_delay_us.set(42);
    let answer = rig.get("/metrics/runtime").await;
    let body = answer.json();
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "timestamp",
            "uptime_seconds",
            "mode",
            "ferrum_version",
            "system",
            "http",
            "errors",
            "dns",
            "connections",
            "logs",
            "overload",
            "cores"
        ]
    );
    assert_eq!(body["http"]["total_requests"], 3);
    assert_eq!(body["http"]["status_codes"]["totals"], json!({"200": 2, "502": 1}));
    assert_eq!(body["http"]["status_codes"]["percent_total"], json!({"200": 66.67, "502": 33.33}));
    assert_eq!(body["errors"]["by_class"].as_object().unwrap().len(), 15);
    assert_eq!(body["errors"]["by_class"]["connection_refused"], json!({"http": 1, "grpc": 0, "stream": 0, "body": 0}));
    assert_eq!(body["dns"]["lookups_total"], 0);
    assert_eq!(body["connections"]["active"], 2);
    assert_eq!(body["connections"]["pool_handshakes_total"].as_object().unwrap().len(), 5);
    assert_eq!(body["logs"]["by_category"]["warn"]["dns"], 0);
    assert_eq!(body["overload"]["level"], "normal");
    assert_eq!(body["system"]["platform"], "linux");
    assert_eq!(body["system"]["memory"]["jemalloc_resident_bytes"], Value::Null);
    assert_eq!(body["cores"].as_array().unwrap().len(), 2);
    let core = &body["cores"][1];
    assert_eq!(
        (&core["id"], &core["cpu"], &core["connections"], &core["loop_delay_us"]),
        (&json!(1), &json!(1), &json!(2), &json!(42))
    );
    assert_eq!(rig.open("GET", "/metrics/runtime").await.status, 401);

    let bare = rig_with(|_, sources| sources.overload = None);
    let overload = bare.get("/metrics/runtime").await.json()["overload"].clone();
    assert!(overload.get("pressure").is_none() && overload["node_waypoint_drops"]["hash_mismatch"] == 0);
}

#[tokio::test]
async fn rates_are_sampled_in_the_background_and_the_long_windows_can_be_off() {
    let quick = |options: &mut AdminOptions| {
        options.status_window = Duration::from_millis(10);
        options.window_1m = Duration::from_millis(10);
    };
    let on = rig_with(|options, _| quick(options));
    let off = rig_with(|options, _| {
        quick(options);
        options.status_tracking = false;
    });
    for (rig, has_long) in [(&on, true), (&off, false)] {
        let seen = async {
            loop {
                rig.counters.core(0).status(200);
                let http = rig.get("/metrics/runtime").await.json()["http"].clone();
                assert_eq!(http["status_codes"]["rate_5m"], json!({}), "its window has not ended");
                let long = http["requests_per_second_1m"].as_u64().unwrap() > 0;
                assert!(has_long || !long);
                if http["requests_per_second_1s"].as_u64().unwrap() > 0 && (long || !has_long) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("a rate");
    }
}

#[tokio::test]
async fn gateway_metrics_name_every_part() {
    let rig = rig();
    rig.counters.core(0).status(418);
    let body = rig.get("/admin/metrics").await.json();
    assert_eq!(body["gateway"]["status_codes_total"]["418"], 1);
    assert_eq!(body["gateway"]["status_codes_total"]["404"], 0);
    assert_eq!(body["gateway"]["proxy_count"], 3);
    assert_eq!(body["gateway"]["config_last_updated_at"], "2026-01-01T00:00:00.000000000+00:00");
    assert_eq!(body["gateway"]["config_source_status"], "n/a");
    assert_eq!(body["connection_pools"]["http"]["max_idle_per_host"], 64);
    assert_eq!(body["health_check"], json!({"unhealthy_target_count": 0, "unhealthy_targets": []}));
    assert_eq!(body["consumer_index"]["total_consumers"], 1);
    for key in ["circuit_breakers", "load_balancers", "caches", "rate_limiting"] {
        assert!(body.get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_refused_and_one_of_a_mebibyte_is_not() {
    let rig = rig();
    let authorization = format!("authorization: Bearer {}\r\n", token("admin"));
    const MIB: usize = 1024 * 1024;
    let exact = rig.send("POST", "/proxies", &authorization, &"x".repeat(MIB)).await;
    assert_eq!(exact.status, 403, "read, then refused by the gate");

    // Announced: refused before it is sent.
    let announced = format!(
        "GET /plugins HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n{authorization}\r\n",
        MIB + 1
    );
    let answer = Answer::parse(exchange(rig.listener.address(), announced.as_bytes()).await);
    assert_eq!(answer.error(), (413, "Request body too large (max 1 MiB)".to_owned()));

    // Not announced: refused when it passes the limit.
    let mut chunked =
        format!("POST /proxies HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{authorization}\r\n{:x}\r\n", MIB + 1)
            .into_bytes();
    chunked.extend(vec![b'x'; MIB + 1]);
    let answer = Answer::parse(exchange(rig.listener.address(), &chunked).await);
    assert_eq!(answer.error(), (413, "Request body too large (max 1 MiB)".to_owned()));

    let restore = rig.send("POST", "/restore", &authorization, &"x".repeat(MIB + 1)).await;
    assert_eq!(restore.status, 403, "restore has a limit of its own");
    let small = rig_with(|options, _| options.restore_body_max_mib = 2);
    let answer = small.send("POST", "/restore", &authorization, &"x".repeat(2 * MIB + 1)).await;
    assert_eq!(answer.error(), (413, "Request body too large (max 2 MiB)".to_owned()));

    let broken = format!(
        "POST /proxies HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{authorization}\r\nzz\r\n"
    );
    let answer = Answer::parse(exchange(rig.listener.address(), broken.as_bytes()).await);
    assert_eq!(answer.error(), (400, "Failed to read request body".to_owned()));
}

#[tokio::test]
async fn a_peer_off_the_list_is_closed_without_a_byte() {
    let asked = Arc::new(Mutex::new(Vec::<IpAddr>::new()));
    let heard = asked.clone();
    let rig = rig_with(move |_, sources| {
        sources.allow = Arc::new(move |peer| {
            lock(&heard).push(peer);
            false
        });
    });
    assert_eq!(exchange(rig.listener.address(), b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await, b"");
    assert_eq!(*lock(&asked), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn a_mapped_peer_is_shown_to_the_list_as_ipv4() {
    let rig = rig_with(|_, sources| sources.allow = Arc::new(|peer| peer.is_ipv4()));
    let Ok(dual) = rig.admin.listen("[::]:0".parse().unwrap()) else { return };
    let at = SocketAddr::from(([127, 0, 0, 1], dual.address().port()));
    let answer = exchange(at, b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(Answer::parse(answer).status, 503, "[::] serves IPv4 too");
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_http_2_is_not_spoken() {
    let rig = rig_with(|options, _| options.header_read_timeout = Duration::from_millis(50));
    let answer = exchange(rig.listener.address(), b"GET /health HTTP/1.1\r\nhost:").await;
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    let answer = exchange(rig.listener.address(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!answer.starts_with(b"\0"), "no SETTINGS frame");
}

#[tokio::test]
async fn a_port_in_use_is_told_to_the_caller() {
    let rig = rig();
    let Err(error) = rig.admin.listen(rig.listener.address()) else { panic!("the port is taken") };
    assert!(
        error.to_string().contains(&rig.listener.address().to_string())
            && error.to_string().contains("FERRUM_ADMIN_HTTP_PORT")
    );
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_the_port() {
    let rig = rig();
    let address = rig.listener.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 503");
    let started = std::time::Instant::now();
    rig.listener.shutdown(Duration::from_secs(10)).await;
    assert!(started.elapsed() < Duration::from_secs(9), "it did not wait for its limit");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
