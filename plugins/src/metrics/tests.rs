//! Cores that count, and the page that shows it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use engine::counters::Exposition;

use super::*;
use crate::testing::{facts, outcome, request};
use crate::{Facts, Outcome, RequestContext};

/// A page as it would be after these seconds.
fn page_at(metrics: &Metrics, second: u64) -> String {
    let mut page = Exposition::new(metrics.namespace());
    metrics.render_at(&mut page, second);
    page.into_text()
}

fn page(metrics: &Metrics) -> String {
    page_at(metrics, 0)
}

/// The value of a sample, by all that stands before it.
fn value(page: &str, sample: &str) -> Option<String> {
    page.lines().find_map(|line| Some(line.strip_prefix(sample)?.strip_prefix(' ')?.to_owned()))
}

fn requests(page: &str, method: &str, status: &str) -> Option<u64> {
    let sample = format!("ferrum_requests_total{{proxy_id=\"orders\",method=\"{method}\",status_code=\"{status}\"}}");
    Some(value(page, &sample)?.parse().expect("a count"))
}

fn series(page: &str, family: &str) -> usize {
    page.lines().filter(|line| line.starts_with(&format!("{family}{{"))).count()
}

/// A request that ended so many seconds after the gateway began.
fn at(metrics: &Metrics, second: u64, line: &str, facts: &Rc<Facts>) -> RequestContext {
    let mut cx = request(line, &[]);
    cx.facts = facts.clone();
    cx.received = metrics.started + Duration::from_secs(second);
    cx
}

fn status(status: u16) -> Outcome {
    Outcome { status, ..outcome() }
}

#[test]
fn cores_add_up() {
    let metrics = Metrics::new(2, "ferrum");
    let mut books = [0, 1].map(|core| Book::new(metrics.clone(), core));
    for (book, times) in books.iter_mut().zip([3, 4]) {
        for _ in 0..times {
            book.count(&request("GET /", &[]), &status(200));
        }
        book.count(&request("POST /", &[]), &status(503));
    }
    let page = page(&metrics);
    assert_eq!(requests(&page, "GET", "200"), Some(7));
    assert_eq!(requests(&page, "POST", "503"), Some(2));
    assert_eq!(value(&page, "ferrum_request_duration_ms_count{proxy_id=\"orders\"}").as_deref(), Some("9"));
    assert_eq!(metrics.mark(), 9);
    let book = Book::new(metrics.clone(), 9);
    assert_eq!(Arc::strong_count(&metrics.core(9)), 3, "a core that does not exist counts nowhere");
    drop(book);
}

#[test]
fn durations_are_those_of_the_record() {
    let metrics = Metrics::new(1, "ferrum");
    let mut book = Book::new(metrics.clone(), 0);
    book.count(&request("GET /", &[]), &outcome());
    let streamed = Outcome {
        total_ns: 3_000_000_000,
        backend_ttfb_ns: Some(2_000_000_000),
        backend_total_ns: None,
        plugin_ns: 0,
        ..outcome()
    };
    book.count(&request("GET /", &[]), &streamed);
    let rejected = Outcome {
        status: 401,
        total_ns: 40,
        backend_ttfb_ns: None,
        backend_total_ns: None,
        plugin_ns: 90,
        ..outcome()
    };
    book.count(&request("GET /", &[]), &rejected);
    let page = page(&metrics);
    for (sample, expected) in [
        ("ferrum_request_duration_ms_bucket{proxy_id=\"orders\",le=\"5\"}", "1"),
        ("ferrum_request_duration_ms_bucket{proxy_id=\"orders\",le=\"10\"}", "2"),
        ("ferrum_request_duration_ms_bucket{proxy_id=\"orders\",le=\"2500\"}", "2"),
        ("ferrum_request_duration_ms_bucket{proxy_id=\"orders\",le=\"5000\"}", "3"),
        ("ferrum_request_duration_ms_bucket{proxy_id=\"orders\",le=\"+Inf\"}", "3"),
        ("ferrum_request_duration_ms_sum{proxy_id=\"orders\"}", "3007.10"),
        ("ferrum_request_duration_ms_count{proxy_id=\"orders\"}", "3"),
        ("ferrum_backend_duration_ms_bucket{proxy_id=\"orders\",le=\"5\"}", "0"),
        ("ferrum_backend_duration_ms_sum{proxy_id=\"orders\"}", "5.90"),
        ("ferrum_backend_duration_ms_count{proxy_id=\"orders\"}", "1"),
        ("ferrum_edge_overhead_ms_sum{proxy_id=\"orders\"}", "1000.90"),
        ("ferrum_edge_overhead_ms_count{proxy_id=\"orders\"}", "3"),
    ] {
        assert_eq!(value(&page, sample).as_deref(), Some(expected), "{sample} in {page}");
    }
}

#[test]
fn clients_that_leave_are_counted_and_their_family_is_there_only_then() {
    let metrics = Metrics::new(1, "ferrum");
    let mut book = Book::new(metrics.clone(), 0);
    book.count(&request("GET /", &[]), &outcome());
    assert!(!page(&metrics).contains("ferrum_client_disconnects_total"));
    book.count(&request("GET /", &[]), &Outcome { client_disconnected: true, status: 499, ..outcome() });
    assert_eq!(value(&page(&metrics), "ferrum_client_disconnects_total{proxy_id=\"orders\"}").as_deref(), Some("1"));
}

#[test]
fn families_that_are_always_there_have_no_namespace_until_the_plugin_is() {
    let metrics = Metrics::new(1, "team-a");
    assert_eq!((metrics.namespace(), metrics.render_cache()), (None, None));
    let before = page(&metrics);
    for family in
        ["ferrum_requests_total", "ferrum_request_duration_ms", "ferrum_backend_duration_ms", "ferrum_edge_overhead_ms"]
    {
        assert_eq!(before.matches(&format!("# TYPE {family} ")).count(), 1, "{before}");
        assert_eq!(series(&before, family), 0);
    }
    assert_eq!(value(&before, "ferrum_rate_limit_exceeded_total").as_deref(), Some("0"));
    assert_eq!(value(&before, "ferrum_mesh_dns_upstream_id_exhaustions_total").as_deref(), Some("0"));
    metrics.configure(MetricsSettings::default());
    metrics.core(0).rate_limit_exceeded.add(2);
    metrics.core(0).rate_limit_local_fallback.add(3);
    let after = page(&metrics);
    assert_eq!(value(&after, "ferrum_rate_limit_exceeded_total{namespace=\"team-a\"}").as_deref(), Some("2"));
    let fallback = "ferrum_rate_limit_local_fallback_decisions_total{namespace=\"team-a\"}";
    assert_eq!(value(&after, fallback).as_deref(), Some("3"));
    let cache = RenderCache { ttl: Duration::from_secs(5), invalidation_min_age: Duration::from_millis(500) };
    assert_eq!(metrics.render_cache(), Some(cache));
}

#[test]
fn the_last_settings_win_and_a_change_moves_the_mark() {
    let metrics = Metrics::new(1, "ferrum");
    let own = MetricsSettings { render_cache_ttl_s: 0, cache_invalidation_min_age_ms: 7, ..MetricsSettings::default() };
    metrics.configure(MetricsSettings::default());
    assert_eq!(metrics.mark(), 1);
    metrics.configure(own);
    metrics.configure(own);
    assert_eq!(metrics.mark(), 2, "the same again is no change");
    let cache = RenderCache { ttl: Duration::ZERO, invalidation_min_age: Duration::from_millis(7) };
    assert_eq!(metrics.render_cache(), Some(cache));
}

#[test]
fn a_reload_takes_nothing_away() {
    let metrics = Metrics::new(1, "ferrum");
    let (old, new) = (facts(&[]), facts(&[]));
    let mut first = Book::new(metrics.clone(), 0);
    first.count(&at(&metrics, 0, "GET /", &old), &status(200));
    // The same instance under routes that were numbered anew, and requests of both configurations at a time.
    let mut other = at(&metrics, 0, "GET /", &new);
    other.route = 1;
    first.count(&other, &status(200));
    first.count(&at(&metrics, 0, "GET /", &old), &status(200));
    assert_eq!(requests(&page(&metrics), "GET", "200"), Some(3));
    // Another instance, because its config has changed; the former one still has a request.
    let mut second = Book::new(metrics.clone(), 0);
    second.count(&at(&metrics, 0, "GET /", &new), &status(200));
    first.count(&at(&metrics, 0, "GET /", &old), &status(200));
    drop(first);
    assert_eq!(requests(&page(&metrics), "GET", "200"), Some(5));
    drop(second);
    let page = page(&metrics);
    assert_eq!(requests(&page, "GET", "200"), Some(5), "nobody counts there any more");
    assert_eq!(value(&page, "ferrum_request_duration_ms_count{proxy_id=\"orders\"}").as_deref(), Some("5"));
}

#[test]
fn a_series_nobody_touches_is_shown_until_the_stale_time_and_then_begins_at_zero() {
    let metrics = Metrics::new(1, "ferrum");
    metrics.configure(MetricsSettings { stale_entry_ttl_s: 100, ..MetricsSettings::default() });
    let facts = facts(&[]);
    let mut book = Book::new(metrics.clone(), 0);
    let gets = |page: &str| {
        let sample =
            "ferrum_requests_total{proxy_id=\"orders\",method=\"GET\",status_code=\"200\",namespace=\"ferrum\"}";
        value(page, sample)
    };
    let durations =
        |page: &str| value(page, "ferrum_request_duration_ms_count{proxy_id=\"orders\",namespace=\"ferrum\"}");
    (0..3).for_each(|_| book.count(&at(&metrics, 10, "GET /", &facts), &status(200)));
    assert_eq!(gets(&page_at(&metrics, 110)).as_deref(), Some("3"));
    book.count(&at(&metrics, 110, "PUT /", &facts), &status(200));
    let one_method = page_at(&metrics, 111);
    assert_eq!(
        (gets(&one_method), durations(&one_method).as_deref()),
        (None, Some("4")),
        "the proxy itself is not idle"
    );
    assert_eq!(durations(&page_at(&metrics, 210)).as_deref(), Some("4"));
    let idle = page_at(&metrics, 211);
    assert_eq!((gets(&idle), durations(&idle)), (None, None));
    // The core still has its cells.
    book.count(&at(&metrics, 120, "GET /", &facts), &status(200));
    let again = page_at(&metrics, 121);
    assert_eq!((gets(&again).as_deref(), durations(&again).as_deref()), (Some("1"), Some("1")));
}

#[test]
fn with_a_stale_time_of_zero_everything_is_kept() {
    let metrics = Metrics::new(1, "ferrum");
    metrics.configure(MetricsSettings { stale_entry_ttl_s: 0, ..MetricsSettings::default() });
    Book::new(metrics.clone(), 0).count(&request("GET /", &[]), &status(200));
    assert!(page_at(&metrics, u64::MAX).contains("status_code=\"200\""));
}

#[test]
fn what_is_stale_is_let_go_by_the_core_and_by_the_registry() {
    let metrics = Metrics::new(1, "ferrum");
    metrics.configure(MetricsSettings { stale_entry_ttl_s: 100, ..MetricsSettings::default() });
    let facts = facts(&[]);
    let mut book = Book::new(metrics.clone(), 0);
    let mut purge = at(&metrics, 1, "PURGE /", &facts);
    purge.metadata.set("mesh.source.app", "shop");
    book.count(&purge, &status(200));
    metrics.tidy_at(1);
    assert_eq!(lock(&metrics.registry).holders(), [("orders", vec![3])], "by id, by route, and the registry itself");
    // A later request of another proxy makes the core look.
    let other = Rc::new(Facts {
        namespace: "ferrum".into(),
        proxies: Arc::new([engine::snapshot::ProxyFacts { id: "other".into(), ..Default::default() }.into()]),
        consumers: facts.consumers.clone(),
        redacted_keys: Vec::new(),
        companion: None,
    });
    book.count(&at(&metrics, 200, "GET /", &other), &status(200));
    assert_eq!(lock(&metrics.registry).holders(), [("orders", vec![1])], "the core has let go");
    metrics.tidy_at(200);
    assert_eq!(lock(&metrics.registry).holders(), [("other", vec![3])]);
    let page = page_at(&metrics, 200);
    assert!(!page.contains("orders") && !page.contains("PURGE") && page.contains("proxy_id=\"other\""), "{page}");
}

#[test]
fn methods_that_clients_invent_have_series_up_to_a_bound() {
    let metrics = Arc::new(Metrics::with_limits(2, "ferrum", 10, 4));
    let mut books = [0, 1].map(|core| Book::new(metrics.clone(), core));
    for number in 0..1000 {
        books[number % 2].count(&request(&format!("M{number} /"), &[]), &status(200));
    }
    let page = page(&metrics);
    assert_eq!(series(&page, "ferrum_requests_total"), 4 + 1, "{page}");
    assert_eq!(requests(&page, "M0", "200"), Some(1));
    assert_eq!(requests(&page, "_OTHER", "200"), Some(996));
    assert_eq!(
        value(&page, "ferrum_metric_series_overflow_total{family=\"ferrum_requests_total\"}").as_deref(),
        Some("996")
    );
}

#[test]
fn an_invented_method_that_went_stale_makes_room() {
    let metrics = Arc::new(Metrics::with_limits(1, "ferrum", 10, 1));
    metrics.configure(MetricsSettings { stale_entry_ttl_s: 10, ..MetricsSettings::default() });
    let facts = facts(&[]);
    let mut book = Book::new(metrics.clone(), 0);
    let count = |book: &mut Book, second: u64, method: &str| {
        book.count(&at(&metrics, second, &format!("{method} /"), &facts), &status(200));
        let page = page_at(&metrics, second);
        page.contains(&format!("method=\"{method}\""))
    };
    assert!(count(&mut book, 1, "PURGE"));
    assert!(!count(&mut book, 2, "BAN"));
    metrics.tidy_at(12);
    assert!(count(&mut book, 13, "BAN"));
    assert!(count(&mut book, 13, "PURGE"), "who still has its cells may go on");
}

#[test]
fn a_method_is_a_label_up_to_32_bytes_and_never_the_one_that_stands_for_others() {
    let metrics = Metrics::new(1, "ferrum");
    let mut book = Book::new(metrics.clone(), 0);
    let (fits, too_long) = ("M".repeat(32), "M".repeat(33));
    for method in [&fits, &too_long, "_OTHER"] {
        book.count(&request(&format!("{method} /"), &[]), &status(200));
    }
    let page = page(&metrics);
    assert_eq!(requests(&page, &fits, "200"), Some(1));
    assert_eq!(requests(&page, "_OTHER", "200"), Some(2));
    assert_eq!(series(&page, "ferrum_requests_total"), 2);
}

#[test]
fn a_backend_with_too_many_statuses_has_them_counted_together() {
    let metrics = Metrics::new(1, "ferrum");
    let mut book = Book::new(metrics.clone(), 0);
    let cx = request("GET /", &[]);
    for code in 100..1000 {
        book.count(&cx, &status(code));
    }
    let page = page(&metrics);
    let places = cells::PAIRS_MAX;
    assert_eq!(series(&page, "ferrum_requests_total"), places + 1);
    assert_eq!(requests(&page, "GET", &(99 + places).to_string()), Some(1));
    assert_eq!(requests(&page, "GET", &(100 + places).to_string()), None);
    assert_eq!(requests(&page, "_OTHER", "_OTHER"), Some(900 - places as u64));
}

#[test]
fn proxies_beyond_the_bound_are_counted_together() {
    let metrics = Arc::new(Metrics::with_limits(1, "ferrum", 2, 4));
    let mut book = Book::new(metrics.clone(), 0);
    let proxy = |id: &str| engine::snapshot::ProxyFacts { id: id.into(), ..Default::default() };
    let facts = Rc::new(Facts {
        namespace: "ferrum".into(),
        proxies: ["a", "b", "c", "d"].iter().map(|id| proxy(id).into()).collect(),
        consumers: facts(&[]).consumers.clone(),
        redacted_keys: Vec::new(),
        companion: None,
    });
    for route in [0, 1, 2, 3, 2] {
        let mut cx = at(&metrics, 0, "GET /", &facts);
        cx.route = route;
        book.count(&cx, &status(200));
    }
    let page = page(&metrics);
    for (proxy, count) in [("a", "1"), ("b", "1"), ("_OTHER", "3")] {
        let sample = format!("ferrum_requests_total{{proxy_id=\"{proxy}\",method=\"GET\",status_code=\"200\"}}");
        assert_eq!(value(&page, &sample).as_deref(), Some(count), "{page}");
    }
    assert_eq!(
        value(&page, "ferrum_metric_series_overflow_total{family=\"ferrum_request_duration_ms\"}").as_deref(),
        Some("3")
    );
}

#[test]
fn mesh_requests_are_counted_by_workloads_without_a_namespace_and_within_their_budget() {
    let metrics = Metrics::new(1, "ferrum");
    metrics.configure(MetricsSettings { mesh_series_budget: 2, ..MetricsSettings::default() });
    let mut book = Book::new(metrics.clone(), 0);
    assert!(!page(&metrics).contains("ferrum_mesh_requests_total"));
    for app in ["a", "b", "c", "a"] {
        let mut cx = request("GET /", &[]);
        cx.metadata.set("mesh.source.app", app);
        book.count(&cx, &outcome());
    }
    let page = page(&metrics);
    assert_eq!(series(&page, "ferrum_mesh_requests_total"), 2, "{page}");
    let line =
        page.lines().find(|line| line.starts_with("ferrum_mesh_requests_total{") && line.contains("source_app=\"a\""));
    assert!(line.is_some_and(|line| line.ends_with("connection_security_policy=\"none\"} 2")), "{line:?}");
    let buckets: Vec<_> =
        page.lines().filter(|line| line.starts_with("ferrum_mesh_request_duration_ms_bucket{")).collect();
    assert_eq!(buckets.len(), 2 * 12);
    assert!(buckets.iter().all(|line| line.contains("connection_security_policy=\"none\",le=\"")), "{buckets:?}");
    for family in ["ferrum_mesh_requests_total", "ferrum_mesh_request_duration_ms"] {
        let sample = format!("ferrum_mesh_metric_series_overflow_total{{family=\"{family}\",namespace=\"ferrum\"}}");
        assert_eq!(value(&page, &sample).as_deref(), Some("1"));
    }
    assert_eq!(requests_of(&page), 4, "the gateway's own figures count them all");
}

#[test]
fn a_mesh_label_set_that_is_too_long_has_no_series() {
    let metrics = Metrics::new(1, "ferrum");
    let mut book = Book::new(metrics.clone(), 0);
    let mut count = |app: usize| {
        let mut cx = request("GET /", &[]);
        cx.metadata.set("mesh.source.app", "a".repeat(app));
        book.count(&cx, &outcome());
        let page = page(&metrics);
        let line = page.lines().find(|line| line.starts_with("ferrum_mesh_requests_total{"));
        let labels = line.and_then(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0.len()));
        (labels, series(&page, "ferrum_mesh_metric_series_overflow_total"))
    };
    let without = {
        let mut cx = request("GET /", &[]);
        cx.metadata.set("mesh.source.app", "");
        let mut text = String::new();
        mesh::MeshRequest::of(&cx).unwrap().write(&cx, &outcome(), &mut text);
        text.len()
    };
    let most = book::MESH_LABELS_BYTES_MAX - without;
    assert_eq!(count(most + 1), (None, 2));
    assert_eq!(count(most), (Some(book::MESH_LABELS_BYTES_MAX), 2));
}

fn requests_of(page: &str) -> u64 {
    let counts = page.lines().filter(|line| line.starts_with("ferrum_requests_total{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_second_is_told_from_when_a_request_began_and_how_long_it_took() {
    let metrics = Metrics::new(1, "ferrum");
    let began = metrics.started + Duration::from_millis(1_900);
    assert_eq!(metrics.seconds_at(began, 0), 1);
    assert_eq!(metrics.seconds_at(began, 100_000_000), 2);
    assert_eq!(
        metrics.seconds_at(metrics.started.checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now), 0),
        0
    );
}
