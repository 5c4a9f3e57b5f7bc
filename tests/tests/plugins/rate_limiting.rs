//! `rate_limiting`, by one process and through Redis.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    Authority, Backend, Document, Gateway, GatewayBuilder, Proxy, RawClient, Redis, Response, curl, eventually,
};

use crate::{alice, ask};

/// Every path to the backend, behind `rate_limiting` with this configuration.
fn document(backend: &Backend, config: Value) -> Document {
    Document::all_to(backend.port()).proxy_plugin("app", "rate_limiting", config)
}

fn limited(backend: &Backend, config: Value) -> Gateway {
    Gateway::running(&document(backend, config))
}

fn on_cores(backend: &Backend, config: Value, cores: &str) -> GatewayBuilder {
    Gateway::builder().document(&document(backend, config)).env("FERRUM_CORES", cores)
}

fn status(gateway: &Gateway) -> u16 {
    gateway.get("/").status
}

#[track_caller]
fn too_many(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (429, r#"{"error":"Rate limit exceeded"}"#));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
    assert!(!response.headers.has("retry-after"), "{response:?}");
}

/// Limit, remaining and window, as the headers say them. Nobody is told who is counted.
fn told(response: &Response) -> [Option<&str>; 3] {
    assert!(!response.headers.has("x-ratelimit-identity"), "{response:?}");
    ["limit", "remaining", "window"].map(|name| response.header(&format!("x-ratelimit-{name}")))
}

/// Who was counted in the only request to that path, as its record says.
fn identity_counted(gateway: &Gateway, path: &str) -> String {
    let record = gateway.wait_for_record(|record| record["request_path"] == path);
    record["metadata"]["ratelimit_identity"].as_str().expect("an identity").to_owned()
}

/// So many requests over eight connections at once; gives how many of them passed.
fn flood(gateway: &Gateway, requests: usize) -> usize {
    const CLIENTS: usize = 8;
    std::thread::scope(|scope| {
        let client = |number: usize| {
            move || {
                let mut client = RawClient::connect(gateway.port());
                let own = requests / CLIENTS + usize::from(number < requests % CLIENTS);
                let passes = |status| match status {
                    200 => true,
                    429 => false,
                    other => panic!("status {other}"),
                };
                (0..own).filter(|_| passes(client.get("/").status)).count()
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    })
}

#[test]
fn of_many_concurrent_requests_exactly_the_limit_passes_on_one_core_and_on_two() {
    let backend = Backend::saying("ok");
    for cores in ["0", "0,1"] {
        for limit in [1, 7, 1_500] {
            let gateway = on_cores(&backend, json!({"window_seconds": 600, "max_requests": limit}), cores).start();
            assert_eq!(flood(&gateway, limit + 100), limit, "cores {cores}");
            too_many(&gateway.get("/"));
        }
    }
}

#[test]
fn a_short_window_lets_its_limit_pass_at_once_and_then_as_much_as_flows_back() {
    let backend = Backend::saying("ok");
    for cores in ["0", "0,1"] {
        let gateway = on_cores(&backend, json!({"requests_per_second": 50}), cores).start();
        let began = Instant::now();
        let passed = flood(&gateway, 600);
        let most = 50.0 + 50.0 * began.elapsed().as_secs_f64() + 1.0;
        assert!(passed >= 50 && passed as f64 <= most, "{passed} passed in {:?}", began.elapsed());
        eventually("something has flowed back", || (status(&gateway) == 200).then_some(()));
    }
}

#[test]
fn a_long_window_counts_each_request_for_as_long_as_the_window_and_refused_ones_not_at_all() {
    let backend = Backend::saying("ok");
    let gateway = limited(&backend, json!({"window_seconds": 6, "max_requests": 2}));
    let first = Instant::now();
    assert_eq!(status(&gateway), 200);
    eventually("a second has passed", || (first.elapsed() > Duration::from_secs(1)).then_some(()));
    let second = Instant::now();
    assert_eq!([status(&gateway), status(&gateway)], [200, 429]);
    // Asked all the time, and never counted for it. The gateway's clock counts in milliseconds.
    for (began, which) in [(first, "first"), (second, "second")] {
        eventually("a window has passed since then", || (status(&gateway) == 200).then_some(()));
        let passed = began.elapsed();
        assert!(
            passed >= Duration::from_millis(5_999) && passed < Duration::from_secs(8),
            "{passed:?} since the {which}"
        );
        assert_eq!(status(&gateway), 429, "only the {which} is forgotten");
    }
}

#[test]
fn every_address_has_its_own_limit_wherever_its_requests_go() {
    let backend = Backend::saying("ok");
    let gateway = limited(&backend, json!({"limit_by": "IP", "requests_per_hour": 2}));
    let from = |address: &str, path: &str| gateway.curl(path, &["--interface", address]).status;
    assert_eq!([from("127.0.0.1", "/a"), from("127.0.0.1", "/b"), from("127.0.0.1", "/c")], [200, 200, 429]);
    assert_eq!([from("127.0.0.2", "/a"), from("127.0.0.2", "/a"), from("127.0.0.2", "/a")], [200, 200, 429]);
}

#[test]
fn without_expose_headers_nothing_is_told() {
    let backend = Backend::saying("ok");
    let gateway = limited(&backend, json!({"requests_per_minute": 1, "expose_headers": false}));
    assert_eq!(told(&gateway.get("/")), [None; 3]);
    let refused = gateway.get("/");
    too_many(&refused);
    assert_eq!(told(&refused), [None; 3]);
    assert!(backend.only_request().headers.names().iter().all(|name| !name.starts_with("x-ratelimit")));
}

#[test]
fn headers_tell_client_and_backend_and_the_log_what_remains() {
    let backend = Backend::saying("ok");
    let config = json!({"window_seconds": 60, "max_requests": 2, "expose_headers": true});
    let document = document(&backend, config).global_plugin("stdout_logging", json!({}));
    let gateway = Gateway::running(&document);
    for remaining in ["1", "0"] {
        let response = ask(&gateway, "/", "X-RateLimit-Remaining: 99\r\nX-RateLimit-Identity: consumer:root\r\n");
        assert_eq!(response.status, 200);
        assert_eq!(told(&response), [Some("2"), Some(remaining), Some("60")]);
        let request = backend.requests().pop().expect("a request");
        assert_eq!(request.headers.all("x-ratelimit-remaining"), [remaining], "the client's own is gone");
        assert_eq!(request.header("x-ratelimit-identity"), None);
        assert_eq!(
            (request.header("x-ratelimit-limit"), request.header("x-ratelimit-window")),
            (Some("2"), Some("60"))
        );
    }
    let refused = ask(&gateway, "/", "");
    too_many(&refused);
    assert_eq!(told(&refused), [Some("2"), Some("0"), Some("60")]);
    let record = gateway.wait_for_record(|record| record["response_status_code"] == json!(429));
    assert_eq!(record["metadata"]["ratelimit_remaining"], json!("0"));
    assert_eq!(record["metadata"]["ratelimit_identity"], json!("ip:127.0.0.1"));
    assert_eq!(record["metadata"]["rejection_phase"], json!("on_request_received"));
}

#[test]
fn all_windows_must_allow_a_request_and_a_refused_one_costs_none_of_them() {
    let backend = Backend::saying("ok");
    let config =
        json!({"requests_per_second": 1, "requests_per_minute": 3, "requests_per_hour": 900, "expose_headers": true});
    let gateway = limited(&backend, config);
    assert_eq!(told(&gateway.get("/"))[..3], [Some("1"), Some("0"), Some("1")]);
    let refused = gateway.get("/");
    assert_eq!((refused.status, told(&refused)[2]), (429, Some("1")), "the second is the first that refuses");
    for passed in 2..=3 {
        // Refused many times in between.
        let response = eventually("a second has passed", || Some(gateway.get("/")).filter(|r| r.status == 200));
        assert_eq!(told(&response)[1], Some("0"), "request {passed}");
    }
    let refused = eventually("the second has passed, not the minute", || {
        Some(gateway.get("/")).filter(|response| told(response)[2] == Some("60"))
    });
    too_many(&refused);
    assert_eq!(told(&refused)[..2], [Some("3"), Some("0")]);
}

#[test]
fn a_window_of_ones_own_takes_the_place_of_the_presets_and_ten_is_its_default() {
    let backend = Backend::saying("ok");
    let config =
        json!({"window_seconds": 600, "requests_per_second": 1, "requests_per_minute": 1, "requests_per_hour": 1});
    let gateway = limited(&backend, config);
    assert_eq!((0..12).filter(|_| status(&gateway) == 200).count(), 10);
    gateway.wait_for_log(|text| text.contains("'requests_per_second' is ignored, because 'window_seconds' is set"));
}

#[test]
fn consumers_are_counted_over_all_their_keys_and_strangers_by_address() {
    let backend = Backend::saying("ok");
    let own = json!({"limit_by": "consumer", "requests_per_hour": 2, "expose_headers": true});
    let gateway = Gateway::running(
        &document(&backend, own.clone())
            .proxy_plugin("app", "key_auth", json!({}))
            .proxy(Proxy::new("open").path("/open").to(backend.port()))
            .proxy_plugin("open", "rate_limiting", own)
            .global_plugin("stdout_logging", json!({}))
            .consumer(alice())
            .consumer(json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "b"}]}})),
    );
    let by = |key: &str| ask(&gateway, &format!("/{key}"), &format!("X-API-Key: {key}\r\n"));
    assert_eq!(by("k-1").status, 200);
    assert_eq!(identity_counted(&gateway, "/k-1"), "consumer:alice");
    assert_eq!(by("k-2").status, 200);
    too_many(&by("k-1"));
    assert_eq!(by("b").status, 200, "bob has his own");
    assert_eq!(ask(&gateway, "/", "").status, 401, "who is refused by another plugin costs nothing");
    assert_eq!(ask(&gateway, "/open", "").status, 200);
    assert_eq!(identity_counted(&gateway, "/open"), "ip:127.0.0.1");
}

#[test]
fn without_spiffe_identities_addresses_are_counted() {
    let backend = Backend::saying("ok");
    for limit_by in ["spiffe", "spiffe_identity"] {
        let config = json!({"limit_by": limit_by, "requests_per_hour": 1, "expose_headers": true});
        let gateway = Gateway::running(&document(&backend, config).global_plugin("stdout_logging", json!({})));
        assert_eq!(gateway.get("/").status, 200);
        assert_eq!(identity_counted(&gateway, "/"), "ip:127.0.0.1");
        gateway.wait_for_log(|text| text.contains(&format!("'limit_by' '{limit_by}' counts addresses")));
        too_many(&gateway.get("/"));
    }
}

#[test]
fn rules_in_a_list_give_named_consumers_their_own_limits() {
    let backend = Backend::saying("ok");
    let limits = json!([
        {"scope": "default", "window_seconds": 600, "max_requests": 1},
        {"scope": "consumers", "consumers": ["alice"], "requests_per_hour": 3},
    ]);
    let gateway = Gateway::running(
        &document(&backend, json!({"limit_by": "consumer", "limits": limits}))
            .proxy_plugin("app", "key_auth", json!({}))
            .consumer(alice())
            .consumer(json!({"id": "c-bob", "username": "bob", "credentials": {"keyauth": [{"key": "b"}]}})),
    );
    let passed =
        |key: &str| (0..5).filter(|_| ask(&gateway, "/", &format!("X-API-Key: {key}\r\n")).status == 200).count();
    assert_eq!([passed("k-1"), passed("b")], [3, 1]);
}

#[test]
fn a_websocket_handshake_is_one_request() {
    let backend = Backend::saying("ok");
    let gateway = limited(&backend, json!({"requests_per_hour": 1}));
    assert_eq!(status(&gateway), 200);
    let handshake = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    too_many(&gateway.ask(handshake));
}

#[test]
fn counts_outlive_a_reload_of_something_else_and_start_anew_with_another_limit() {
    let backend = Backend::saying("ok");
    let config = json!({"requests_per_hour": 1});
    let gateway = limited(&backend, config.clone());
    assert_eq!([status(&gateway), status(&gateway)], [200, 429]);
    gateway.reload(&document(&backend, config).consumer(alice()));
    assert_eq!(status(&gateway), 429);
    gateway.reload(&document(&backend, json!({"requests_per_hour": 2})));
    assert_eq!([status(&gateway), status(&gateway), status(&gateway)], [200, 200, 429]);
}

#[test]
fn a_group_of_proxies_shares_one_limit_and_a_global_plugin_is_one_for_all() {
    let backend = Backend::saying("ok");
    let config = json!({"requests_per_hour": 2});
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let attached = |id: &str| proxy(id).set("plugins", json!([{"plugin_config_id": "shared"}]));
    let group = json!({"id": "shared", "plugin_name": "rate_limiting", "scope": "proxy_group", "config": config});
    for document in [
        Document::new().proxy(attached("a")).proxy(attached("b")).plugin(group),
        Document::new().proxy(proxy("a")).proxy(proxy("b")).global_plugin("rate_limiting", config),
    ] {
        let gateway = Gateway::running(&document);
        let statuses = ["/a", "/b", "/a", "/b"].map(|path| gateway.get(path).status);
        assert_eq!(statuses, [200, 200, 429, 429]);
    }
}

#[test]
fn a_config_that_cannot_be_meant_stops_the_start_and_says_everything() {
    let backend = Backend::saying("ok");
    let refused = |config: Value| {
        let exit = Gateway::builder().document(&document(&backend, config)).start_failing();
        assert_ne!(exit.code, Some(0));
        exit.stderr
    };
    let text = refused(json!({"limit_by": "country", "expose_headers": 1, "window_seconds": 0, "max_requests": -5}));
    for expected in
        ["'limit_by' must be", "'expose_headers' must be", "'window_seconds' must be", "'max_requests' must be"]
    {
        assert!(text.contains(&format!("rate_limiting: {expected}")), "{expected}: {text}");
    }
    assert!(refused(json!({})).contains("rate_limiting: one of 'window_seconds', 'requests_per_second'"));
    assert!(refused(json!({"limits": []})).contains("rate_limiting: 'limits' must have exactly one rule"));
    let secret = json!({"requests_per_hour": 1, "sync_mode": "redis", "redis_url": "http://u:hunter2@cache"});
    let text = refused(secret);
    assert!(text.contains("redis rate limiter: 'redis_url' must be redis://") && !text.contains("hunter2"), "{text}");
    let text = refused(json!({"requests_per_hour": 1, "sync_mode": "shared"}));
    assert!(text.contains("redis rate limiter: 'sync_mode' must be 'local' or 'redis'"), "{text}");
}

/// So many requests an hour, counted in Redis.
fn shared(url: &str, requests: usize, more: Value) -> Value {
    let mut config = json!({"requests_per_hour": requests, "sync_mode": "redis", "redis_url": url, "redis_health_check_interval_seconds": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

fn counted(redis: &Redis, prefix: &str) -> Option<u64> {
    let keys = redis.keys();
    let key = keys.iter().find(|key| key.starts_with(prefix))?;
    redis.ask(&["GET", key]).parse().ok()
}

/// The log line about a Redis that is away, without waiting for it.
fn away(gateway: &Gateway) -> Vec<String> {
    gateway.log().into_iter().filter(|text| text.starts_with("Redis is away")).collect()
}

#[test]
fn two_gateways_with_one_redis_count_together_and_redis_shows_what_they_count() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let config = shared(&redis.url(), 20, json!({"expose_headers": true}));
    let gateways = ["0", "0,1"].map(|cores| on_cores(&backend, config.clone(), cores).start());
    let mut passed = 0;
    for i in 0..25 {
        let response = gateways[i % 2].get("/");
        match response.status {
            200 => assert_eq!(told(&response)[..3], [Some("20"), Some((19 - i).to_string().as_str()), Some("3600")]),
            _ => too_many(&response),
        }
        passed += usize::from(response.status == 200);
    }
    assert_eq!(passed, 20);
    let keys = redis.keys();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let index = key.strip_prefix("ferrum:rate_limiting:ip:127.0.0.1:").expect("the default prefix");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    assert!(index.parse::<u64>().is_ok_and(|index| now / 3600 - index <= 1), "{key}");
    assert_eq!(redis.ask(&["GET", key]), "25", "refused requests are counted too");
    let ttl: u64 = redis.ask(&["TTL", key]).parse().expect("a time");
    assert!((7_140..=7_201).contains(&ttl), "{ttl}");
}

#[test]
fn concurrent_requests_are_exact_in_redis_too() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let gateway = on_cores(&backend, shared(&redis.url(), 300, json!({})), "0,1").start();
    assert_eq!(flood(&gateway, 400), 300);
    assert_eq!(counted(&redis, "ferrum:rate_limiting:ip:"), Some(400));
    assert!(away(&gateway).is_empty());
}

#[test]
fn windows_before_the_one_that_refuses_stay_counted_in_redis() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let config = json!({"requests_per_minute": 100, "requests_per_hour": 1, "sync_mode": "Redis", "redis_url": redis.url(), "expose_headers": true});
    let gateway = limited(&backend, config);
    assert_eq!(told(&gateway.get("/"))[..3], [Some("1"), Some("0"), Some("3600")]);
    assert_eq!(told(&gateway.get("/"))[2], Some("3600"));
    let all: u64 = redis.keys().iter().map(|key| redis.ask(&["GET", key]).parse::<u64>().expect("a count")).sum();
    assert_eq!(all, 4, "two in the minute and two in the hour");
}

#[test]
fn another_prefix_counts_apart() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let prefixed = |prefix: &str| limited(&backend, shared(&redis.url(), 1, json!({"redis_key_prefix": prefix})));
    let gateways = [prefixed("shop:one"), prefixed("shop:two"), prefixed("shop:one")];
    assert_eq!(gateways.each_ref().map(status), [200, 200, 429]);
    assert_eq!((counted(&redis, "shop:one:ip:"), counted(&redis, "shop:two:ip:")), (Some(2), Some(1)));
}

#[test]
fn a_database_of_its_own_is_chosen_by_the_url_and_names_are_resolved() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let gateway = limited(&backend, shared(&format!("redis://localhost:{}/3", redis.port()), 1, json!({})));
    assert_eq!([status(&gateway), status(&gateway)], [200, 429]);
    assert!(redis.keys().is_empty());
    assert_eq!(redis.ask(&["-n", "3", "DBSIZE"]), "1");
}

#[test]
fn a_password_lets_the_gateway_in_and_a_wrong_one_leaves_it_to_itself() {
    let backend = Backend::saying("ok");
    let redis = Redis::with_password("s3cret:/@");
    redis.ask(&["ACL", "SETUSER", "edge", "on", ">edge-pw", "~*", "+@all"]);
    let address = format!("127.0.0.1:{}", redis.port());
    let in_url = format!("redis://:s3cret%3A%2F%40@{address}");
    let overridden = format!("redis://nobody:wrong@{address}");
    let ways = [
        shared(&in_url, 9, json!({})),
        shared(&redis.url(), 9, json!({"redis_password": "s3cret:/@"})),
        shared(&overridden, 9, json!({"redis_username": "edge", "redis_password": "edge-pw"})),
    ];
    for (i, config) in ways.into_iter().enumerate() {
        assert_eq!(status(&limited(&backend, config)), 200);
        assert_eq!(counted(&redis, "ferrum:"), Some(i as u64 + 1));
    }
    for wrong in [
        shared(&redis.url(), 1, json!({})),
        shared(&redis.url(), 1, json!({"redis_password": "hunter2"})),
        shared(&redis.url(), 1, json!({"redis_username": "nobody", "redis_password": "s3cret:/@"})),
    ] {
        let gateway = limited(&backend, wrong);
        assert_eq!([status(&gateway), status(&gateway)], [200, 429], "limited by itself");
        gateway.wait_for_log(|text| text.starts_with("Redis is away (it said: "));
        let (stdout, stderr) = gateway.output();
        assert!([stdout, stderr].concat().iter().all(|line| !line.contains("hunter2") && !line.contains("s3cret")));
    }
    assert_eq!(counted(&redis, "ferrum:"), Some(3));
}

#[test]
fn tls_is_spoken_with_a_redis_whose_certificate_is_trusted() {
    let backend = Backend::saying("ok");
    let authority = Authority::new();
    let redis = Redis::secured(&authority, &authority.issue(&["localhost"]));
    let (port, bundle) = (redis.port(), authority.bundle());
    let start = |config: Value, settings: &[(&str, &str)]| {
        let builder = Gateway::builder().document(&document(&backend, config));
        settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start()
    };
    let trusting = [("FERRUM_TLS_CA_BUNDLE_PATH", bundle.to_str().unwrap())];
    let by_scheme = shared(&format!("rediss://localhost:{port}"), 9, json!({}));
    let by_key = shared(&format!("redis://localhost:{port}"), 9, json!({"redis_tls": true}));
    let by_address = shared(&format!("rediss://127.0.0.1:{port}"), 9, json!({}));
    assert_eq!(status(&start(by_scheme.clone(), &trusting)), 200);
    assert_eq!(counted(&redis, "ferrum:"), Some(1));
    assert_eq!(status(&start(by_key, &trusting)), 200);
    assert_eq!(counted(&redis, "ferrum:"), Some(2));
    assert_eq!(status(&start(by_address.clone(), &[("FERRUM_TLS_NO_VERIFY", "true")])), 200);
    assert_eq!(counted(&redis, "ferrum:"), Some(3));
    let in_the_clear = shared(&format!("redis://localhost:{port}"), 9, json!({"redis_tls": false}));
    for (config, settings) in [(by_scheme, &[][..]), (by_address, &trusting[..]), (in_the_clear, &trusting[..])] {
        let gateway = start(config, settings);
        assert_eq!(status(&gateway), 200, "requests go on");
        gateway.wait_for_log(|text| text.starts_with("Redis is away"));
    }
    assert_eq!(counted(&redis, "ferrum:"), Some(3));
}

#[test]
fn while_redis_is_away_each_gateway_counts_for_itself_and_goes_back_when_it_answers() {
    let backend = Backend::saying("ok");
    let mut redis = Redis::start();
    let [gateway, patient] = [1, 3600].map(|seconds| {
        let more = json!({"redis_health_check_interval_seconds": seconds, "redis_pool_size": 1});
        on_cores(&backend, shared(&redis.url(), 3, more), "0").start()
    });
    assert_eq!([status(&gateway), status(&patient)], [200, 200]);
    redis.stop();
    assert_eq!((0..5).filter(|_| status(&gateway) == 200).count(), 3, "by itself, from where it stands");
    assert_eq!((0..5).filter(|_| status(&patient) == 200).count(), 3);
    for gateway in [&gateway, &patient] {
        gateway.wait_for_log(|text| text.starts_with("Redis is away"));
    }
    redis.start_again();
    gateway.wait_for_log(|text| text == "Redis is back; plugins count in it again");
    assert_eq!((0..5).filter(|_| status(&gateway) == 200).count(), 3, "the count of the new Redis");
    assert_eq!(counted(&redis, "ferrum:"), Some(5));
    assert_eq!(away(&gateway).len(), 1, "said once");
    assert_eq!(status(&patient), 429, "does not ask before an hour has passed");
    assert_eq!(counted(&redis, "ferrum:"), Some(5));
    assert!(patient.log().iter().all(|text| !text.starts_with("Redis is back")));
}

#[test]
fn a_start_without_redis_is_a_start() {
    let backend = Backend::saying("ok");
    let mut redis = Redis::start();
    redis.stop();
    let gateway = on_cores(&backend, shared(&redis.url(), 1, json!({"redis_pool_size": 1})), "0").start();
    assert_eq!([status(&gateway), status(&gateway)], [200, 429]);
    redis.start_again();
    gateway.wait_for_log(|text| text.starts_with("Redis is back"));
    assert_eq!([status(&gateway), status(&gateway)], [200, 429]);
    assert_eq!(counted(&redis, "ferrum:"), Some(2));
}

#[test]
fn a_redis_that_hangs_costs_one_request_a_second_and_the_following_nothing() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let gateway = on_cores(&backend, shared(&redis.url(), 99, json!({"redis_pool_size": 1})), "0").start();
    assert_eq!(status(&gateway), 200);
    redis.freeze();
    let began = Instant::now();
    assert_eq!(status(&gateway), 200);
    let first = began.elapsed();
    assert!(first >= Duration::from_millis(900) && first < Duration::from_secs(5), "{first:?}");
    let began = Instant::now();
    (0..20).for_each(|_| assert_eq!(status(&gateway), 200));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    redis.thaw();
    gateway.wait_for_log(|text| text.starts_with("Redis is back"));
}

#[test]
fn an_attempt_to_connect_ends_with_its_timeout() {
    let backend = Backend::saying("ok");
    // Takes connections and never says anything.
    let silent = || Backend::scripted(|connection| _ = connection.wait_closed());
    let (hasty, patient) = (silent(), silent());
    let config = |redis: &Backend, seconds: u64| {
        let url = format!("redis://127.0.0.1:{}", redis.port());
        shared(&url, 99, json!({"redis_connect_timeout_seconds": seconds, "redis_pool_size": 1}))
    };
    let start = |redis: &Backend, seconds: u64| on_cores(&backend, config(redis, seconds), "0").start();
    let gateways = [start(&hasty, 1), start(&patient, 600)];
    assert_eq!(gateways.each_ref().map(status), [200, 200]);
    eventually("there is a third attempt", || (hasty.connections() >= 3).then_some(()));
    assert_eq!(patient.connections(), 1, "the first one still waits");
}

#[test]
fn the_pool_is_spread_over_the_cores_and_each_core_has_a_connection() {
    let backend = Backend::saying("ok");
    for (pool_size, expected) in [(1, 2), (4, 4), (10, 10)] {
        let redis = Redis::start();
        let config = shared(&redis.url(), 100_000, json!({"redis_pool_size": pool_size}));
        let gateway = on_cores(&backend, config, "0,1").start();
        eventually("both cores have used all their connections", || {
            flood(&gateway, 24);
            (redis.connections() == expected).then_some(())
        });
        flood(&gateway, 48);
        assert_eq!(redis.connections(), expected);
    }
}

#[test]
fn connections_to_redis_close_when_nothing_counts_there_any_more() {
    let backend = Backend::saying("ok");
    let redis = Redis::start();
    let gateway = limited(&backend, shared(&redis.url(), 9, json!({})));
    assert_eq!(status(&gateway), 200);
    assert!(redis.connections() > 0);
    gateway.reload(&Document::all_to(backend.port()));
    eventually("the connections are closed", || {
        flood(&gateway, 16);
        (redis.connections() == 0).then_some(())
    });
}

#[test]
fn refusals_are_counted_for_the_scraper() {
    let backend = Backend::saying("ok");
    let gateway = limited(&backend, json!({"window_seconds": 3600, "max_requests": 2}));
    let statuses: Vec<u16> = (0..5).map(|_| status(&gateway)).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429]);
    eventually("the page shows them", || {
        let page = curl(&[&format!("http://127.0.0.1:{}/metrics", gateway.admin_port())]).text();
        page.lines().any(|line| line == "ferrum_rate_limit_exceeded_total 3").then_some(())
    });
}
