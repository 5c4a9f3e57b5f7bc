//! The grammar and the limits, in the words of the sheet. Values are compared as the reference prints them.

mod sources;

use super::fixture::{load_file_mode, parse_file_mode, refuse_file_mode, warnings_of};
use super::{Row, Settings, Strictness};

/// What a setting is in file mode when it has this text.
fn in_force(key: &str, raw: &str) -> String {
    match load_file_mode(&[(key, raw)]) {
        Ok((settings, _)) => shown(&settings, key),
        Err(reason) => panic!("{key}={raw} was refused: {reason}"),
    }
}

fn shown(settings: &Settings, key: &str) -> String {
    settings.effective().into_iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("no setting {key}")).1
}

fn rows() -> Vec<Row> {
    Settings::table().into_iter().flat_map(|(_, rows)| rows).collect()
}

fn strict_rows(type_tag: &str) -> Vec<Row> {
    let wanted = |row: &Row| row.type_tag == type_tag && row.strictness == Strictness::Strict;
    rows().into_iter().filter(wanted).collect()
}

// --- grammar, for every setting of a type ---

#[test]
fn every_strict_bool_takes_four_words_in_any_case_and_nothing_else() {
    let rows = strict_rows("bool");
    assert!(rows.len() > 35);
    for row in rows {
        for (raw, value) in [("true", "true"), (" FALSE\t", "false"), ("1", "true"), ("0", "false"), ("True", "true")] {
            assert_eq!(in_force(&row.name, raw), value, "{}={raw}", row.name);
        }
        for bad in ["yes", "on", "", "2", "t"] {
            let expected = format!("Invalid {} value '{bad}'. Expected true, false, 1, or 0", row.name);
            assert_eq!(refuse_file_mode(&[(&row.name, bad)]), expected);
        }
    }
}

#[test]
fn every_strict_integer_refuses_what_is_not_digits_or_does_not_fit() {
    for (tag, too_big) in [
        ("u8", "256"),
        ("u16", "65536"),
        ("u32", "4294967296"),
        ("u64", "18446744073709551616"),
        ("usize", "18446744073709551616"),
    ] {
        let rows = strict_rows(tag);
        assert!(!rows.is_empty(), "{tag}");
        for row in rows {
            for bad in ["", " ", "x", "1.0", "1_000", "1e3", "-1", "10s", too_big] {
                let expected = format!("Invalid {} value '{bad}'. Expected a valid {tag} integer", row.name);
                assert_eq!(refuse_file_mode(&[(&row.name, bad)]), expected);
            }
        }
    }
}

#[test]
fn an_integer_may_have_a_plus_sign_and_white_space() {
    assert_eq!(in_force("FERRUM_PROXY_HTTP_PORT", " +8080 "), "8080");
    assert_eq!(in_force("FERRUM_PROXY_HTTP_PORT", "65535"), "65535");
    assert_eq!(in_force("FERRUM_PROXY_HTTP_PORT", "0"), "0");
    assert_eq!(in_force("FERRUM_HTTP3_SEND_WINDOW", "18446744073709551615"), "18446744073709551615");
    assert_eq!(in_force("FERRUM_PLUGIN_HTTP_MAX_RETRIES", "4294967295"), "4294967295");
}

#[test]
fn every_threshold_is_a_finite_number() {
    let rows = strict_rows("float");
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert_eq!(in_force(&row.name, " 0.90 "), "0.9");
        for bad in ["", "half", "nan", "inf", "0,5"] {
            let expected = format!("Invalid {} value '{bad}'. Expected a valid floating-point number", row.name);
            assert_eq!(refuse_file_mode(&[(&row.name, bad)]), expected);
        }
    }
}

#[test]
fn every_tri_takes_auto_or_a_bool() {
    let rows = strict_rows("tri");
    assert_eq!(rows.len(), 6);
    for row in rows {
        for (raw, value) in [("Auto", "auto"), ("1", "true"), (" true", "true"), ("FALSE", "false"), ("0", "false")] {
            assert_eq!(in_force(&row.name, raw), value);
        }
        for bad in ["", "yes"] {
            let expected = format!("Invalid {} value '{bad}'. Expected auto, true, false, 1, or 0", row.name);
            assert_eq!(refuse_file_mode(&[(&row.name, bad)]), expected);
        }
    }
}

#[test]
fn words_are_read_in_any_case_and_refused_with_the_list() {
    for (key, good, value, bad_text) in [
        ("FERRUM_BACKEND_ALLOW_IPS", " PRIVATE ", "private", "Expected both, private, or public"),
        ("FERRUM_NODE_AGENT_PROXY_MODE", "Node_Waypoint", "node_waypoint", "Expected local_pod or node_waypoint"),
        ("FERRUM_REACTOR", "EPOLL", "epoll", "Expected auto, io_uring, or epoll"),
        ("FERRUM_ACCEPT_STEERING", "Cpu", "cpu", "Expected hash, cpu, or balance"),
        (
            "FERRUM_DB_TLS_MODE",
            "Verify-CA",
            "verify-ca",
            "Expected disable, allow, prefer, require, verify-ca, or verify-full",
        ),
    ] {
        assert_eq!(in_force(key, good), value);
        for bad in ["other", ""] {
            assert_eq!(refuse_file_mode(&[(key, bad)]), format!("Invalid {key} value '{bad}'. {bad_text}"));
        }
    }
}

#[test]
fn text_is_taken_verbatim_and_empty_text_is_text() {
    assert_eq!(in_force("FERRUM_VIA_PSEUDONYM", "  a b "), "  a b ");
    assert_eq!(in_force("FERRUM_FRONTEND_TLS_CERT_PATH", "~/c.pem "), "~/c.pem ");
    assert_eq!(in_force("FERRUM_VIA_PSEUDONYM", ""), "empty");
    let settings = parse_file_mode(&[("FERRUM_DTLS_CERT_PATH", "")]);
    assert_eq!(settings.stream.dtls_cert_path.unwrap().as_os_str(), "");
}

#[test]
fn a_list_trims_its_items_and_drops_empty_ones() {
    let settings = parse_file_mode(&[("FERRUM_K8S_WATCH_NAMESPACES", " a ,, b,")]);
    assert_eq!(settings.kubernetes.k8s_watch_namespaces, ["a", "b"]);
    assert!(parse_file_mode(&[("FERRUM_K8S_WATCH_NAMESPACES", "")]).kubernetes.k8s_watch_namespaces.is_empty());
}

#[test]
fn dns_overrides_are_a_json_object_of_strings() {
    let settings = parse_file_mode(&[("FERRUM_DNS_OVERRIDES", r#"{"a.example":"192.0.2.1"}"#)]);
    assert_eq!(settings.dns.dns_overrides["a.example"], "192.0.2.1");
    for bad in ["", "[]", r#"{"a":1}"#, "{"] {
        let text = refuse_file_mode(&[("FERRUM_DNS_OVERRIDES", bad)]);
        let start = format!("Invalid FERRUM_DNS_OVERRIDES value '{bad}'. Expected a JSON object of string values: ");
        assert!(text.starts_with(&start) && text.len() > start.len(), "{text}");
    }
}

// --- limits, from both sides ---

#[test]
fn values_outside_a_clamp_move_to_its_edge_in_silence() {
    for (key, min, max) in [
        ("FERRUM_FRONTEND_TLS_WATCH_INTERVAL_SECONDS", 1_u64, Some(3600_u64)),
        ("FERRUM_DB_FULL_LOAD_PAGE_SIZE", 100, Some(100_000)),
        ("FERRUM_DB_POOL_MAX_CONNECTIONS", 1, None),
        ("FERRUM_H2_COALESCE_TARGET_BYTES", 16_384, Some(1_048_576)),
        ("FERRUM_MAX_HEADER_SIZE_BYTES", 8192, None),
        ("FERRUM_DNS_WARMUP_CONCURRENCY", 1, None),
        ("FERRUM_DNS_REFRESH_THRESHOLD_PERCENT", 1, Some(99)),
        ("FERRUM_DNS_NUM_CONCURRENT_REQS", 1, Some(10)),
        ("FERRUM_DNS_MAX_ACTIVE_REQUESTS", 1, Some(4096)),
        ("FERRUM_DNS_MAX_CONCURRENT_REFRESHES", 1, Some(1000)),
        ("FERRUM_HTTP3_CONNECTIONS_PER_BACKEND", 1, None),
        ("FERRUM_HTTP3_FLUSH_INTERVAL_MICROS", 50, Some(100_000)),
        ("FERRUM_HTTP3_REQUEST_BODY_CHANNEL_CAPACITY", 1, Some(1024)),
        ("FERRUM_H3_REQUEST_BODY_DRAIN_MS", 0, Some(1000)),
        ("FERRUM_CP_BROADCAST_CHANNEL_CAPACITY", 1, None),
        ("FERRUM_XDS_STREAM_CHANNEL_CAPACITY", 1, None),
        ("FERRUM_UDP_MAX_SESSIONS", 1, None),
        ("FERRUM_UDP_CLEANUP_INTERVAL_SECONDS", 1, None),
        ("FERRUM_UDP_RECVMMSG_BATCH_SIZE", 1, Some(1024)),
        ("FERRUM_WORKER_THREADS", 1, None),
        ("FERRUM_BLOCKING_THREADS", 1, None),
        ("FERRUM_TCP_LISTEN_BACKLOG", 128, None),
        ("FERRUM_PER_IP_CLEANUP_INTERVAL_SECONDS", 1, None),
        ("FERRUM_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", 1, None),
        ("FERRUM_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS", 1, None),
        ("FERRUM_SERVER_HTTP2_MAX_LOCAL_ERROR_RESET_STREAMS", 1, None),
        ("FERRUM_STATUS_METRICS_WINDOW_SECONDS", 1, None),
        ("FERRUM_POOL_WARMUP_CONCURRENCY", 1, None),
        ("FERRUM_POOL_CLEANUP_INTERVAL_SECONDS", 1, None),
        ("FERRUM_BACKEND_CAPABILITY_REFRESH_INTERVAL_SECS", 1, None),
        ("FERRUM_POOL_HTTP2_CONNECTIONS_PER_HOST", 1, None),
        ("FERRUM_POOL_HTTP2_INITIAL_STREAM_WINDOW_SIZE", 65_535, Some(134_217_728)),
        ("FERRUM_POOL_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", 65_535, Some(134_217_728)),
        ("FERRUM_POOL_HTTP2_MAX_FRAME_SIZE", 16_384, Some(1_048_576)),
        ("FERRUM_OVERLOAD_CHECK_INTERVAL_MS", 100, None),
        ("FERRUM_METRICS_SYSTEM_SAMPLE_INTERVAL_MS", 100, None),
        ("FERRUM_METRICS_WINDOW_1M_SECONDS", 1, None),
        ("FERRUM_METRICS_WINDOW_5M_SECONDS", 1, None),
        ("FERRUM_ADAPTIVE_BUFFER_EWMA_ALPHA", 1, Some(999)),
        ("FERRUM_ADAPTIVE_BUFFER_MIN_SIZE", 1024, Some(1_048_576)),
        ("FERRUM_ADAPTIVE_BUFFER_MAX_SIZE", 1024, Some(1_048_576)),
        ("FERRUM_ADAPTIVE_BUFFER_DEFAULT_SIZE", 1024, Some(1_048_576)),
        ("FERRUM_ADAPTIVE_BATCH_LIMIT_DEFAULT", 1, None),
        ("FERRUM_RING_ENTRIES", 64, Some(32_768)),
    ] {
        let shows = |value: u64, expected: u64| {
            let (settings, warnings) = load_file_mode(&[(key, &value.to_string())]).unwrap();
            assert_eq!(shown(&settings, key), expected.to_string(), "{key}={value}");
            assert!(warnings.is_empty(), "{key}={value}: {warnings:?}");
        };
        shows(min, min);
        shows(min.saturating_sub(1), min);
        match max {
            Some(max) => [(max, max), (max + 1, max)].map(|(value, expected)| shows(value, expected)),
            None => [(min + 1, min + 1), (4_000_000, 4_000_000)].map(|(value, expected)| shows(value, expected)),
        };
    }
}

#[test]
fn clamps_that_speak_do_so_only_when_they_act() {
    for (key, raw, value, speaks) in [
        ("FERRUM_DB_POLL_INTERVAL", "0", "1", true),
        ("FERRUM_DB_POLL_INTERVAL", "1", "1", false),
        ("FERRUM_DB_POOL_STATEMENT_TIMEOUT_SECONDS", "3601", "3600", true),
        ("FERRUM_DB_POOL_STATEMENT_TIMEOUT_SECONDS", "3600", "3600", false),
        ("FERRUM_DB_POOL_STATEMENT_TIMEOUT_SECONDS", "0", "0", false),
        ("FERRUM_POOL_MAX_IDLE_PER_HOST", "3", "4", true),
        ("FERRUM_POOL_MAX_IDLE_PER_HOST", "4", "4", false),
        ("FERRUM_POOL_MAX_IDLE_PER_HOST", "1024", "1024", false),
        ("FERRUM_POOL_MAX_IDLE_PER_HOST", "1025", "1024", true),
        ("FERRUM_HTTP3_COALESCE_MIN_BYTES", "32769", "32768", true),
        ("FERRUM_HTTP3_COALESCE_MIN_BYTES", "32768", "32768", false),
        ("FERRUM_HTTP3_COALESCE_MIN_BYTES", "1023", "1024", false),
        ("FERRUM_DB_POOL_MIN_CONNECTIONS", "33", "32", true),
        ("FERRUM_DB_POOL_MIN_CONNECTIONS", "32", "32", false),
        ("FERRUM_DB_POOL_MIN_CONNECTIONS", "0", "0", false),
        ("FERRUM_POOL_HTTP2_KEEP_ALIVE_TIMEOUT_SECONDS", "9", "9", true),
        ("FERRUM_POOL_HTTP2_KEEP_ALIVE_TIMEOUT_SECONDS", "10", "10", false),
    ] {
        let (settings, warnings) = load_file_mode(&[(key, raw)]).unwrap();
        assert_eq!(shown(&settings, key), value, "{key}={raw}");
        assert_eq!(warnings.len(), usize::from(speaks), "{key}={raw}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(key)), "{warnings:?}");
    }
}

#[test]
fn the_coalesce_buffer_bounds_its_flush_threshold() {
    let (settings, warnings) = load_file_mode(&[("FERRUM_HTTP3_COALESCE_MAX_BYTES", "1023")]).unwrap();
    assert_eq!(settings.http3.http3_coalesce_max_bytes, 1024);
    assert_eq!(settings.http3.http3_coalesce_min_bytes, 1024);
    assert_eq!(warnings.len(), 1);
    let settings = parse_file_mode(&[
        ("FERRUM_HTTP3_COALESCE_MAX_BYTES", "1048577"),
        ("FERRUM_HTTP3_COALESCE_MIN_BYTES", "1048577"),
    ]);
    assert_eq!(settings.http3.http3_coalesce_max_bytes, 1_048_576);
    assert_eq!(settings.http3.http3_coalesce_min_bytes, 1_048_576);
}

#[test]
fn the_route_cache_is_automatic_or_within_its_range() {
    for (raw, value) in
        [("0", "0"), ("1", "1000"), ("1000", "1000"), ("10000000", "10000000"), ("10000001", "10000000")]
    {
        assert_eq!(in_force("FERRUM_ROUTER_CACHE_MAX_ENTRIES", raw), value);
    }
}

#[test]
fn http3_windows_beyond_a_varint_mean_the_default() {
    let biggest = (1_u64 << 62) - 1;
    for (key, default) in
        [("FERRUM_HTTP3_STREAM_RECEIVE_WINDOW", "8388608"), ("FERRUM_HTTP3_RECEIVE_WINDOW", "33554432")]
    {
        assert_eq!(in_force(key, &biggest.to_string()), biggest.to_string());
        assert_eq!(in_force(key, &(biggest + 1).to_string()), default);
        assert!(warnings_of(&[(key, &(biggest + 1).to_string())]).is_empty());
    }
}

#[test]
fn an_initial_mtu_outside_its_range_is_fatal() {
    for good in ["1200", "65527"] {
        assert_eq!(in_force("FERRUM_HTTP3_INITIAL_MTU", good), good);
    }
    for bad in ["1199", "65528", "0"] {
        assert_eq!(
            refuse_file_mode(&[("FERRUM_HTTP3_INITIAL_MTU", bad)]),
            format!("Invalid FERRUM_HTTP3_INITIAL_MTU value '{bad}'. Expected a value from 1200 to 65527")
        );
    }
}

#[test]
fn a_bad_ring_buffer_means_the_default_with_a_warning() {
    let key = "FERRUM_BPF_SOCK_OPS_RINGBUF_BYTES";
    for good in ["4096", "268435456"] {
        assert_eq!(in_force(key, good), good);
        assert!(warnings_of(&[(key, good)]).is_empty());
    }
    for bad in ["2048", "536870912", "5000", "x", ""] {
        assert_eq!(in_force(key, bad), "4194304");
        assert_eq!(warnings_of(&[(key, bad)]).len(), 1, "{bad}");
    }
}

#[test]
fn thresholds_are_clamped_to_ratios_and_checked_in_pairs() {
    for what in ["FD", "CONN", "REQ"] {
        let pressure = format!("FERRUM_OVERLOAD_{what}_PRESSURE_THRESHOLD");
        let critical = format!("FERRUM_OVERLOAD_{what}_CRITICAL_THRESHOLD");
        let both = |low: &str, high: &str| load_file_mode(&[(&pressure, low), (&critical, high)]);

        let (settings, warnings) = both("-1", "1.5").unwrap();
        assert_eq!((shown(&settings, &pressure), shown(&settings, &critical)), ("0".into(), "1".into()));
        assert!(warnings.is_empty());

        assert_eq!(both("0.7", "0.7").unwrap_err(), format!("{pressure} (0.7) must be less than {critical} (0.7)"));
        assert_eq!(both("1.1", "7").unwrap_err(), format!("{pressure} (1) must be less than {critical} (1)"));

        let (settings, warnings) = both("1.5", "0.4").unwrap();
        assert_eq!((shown(&settings, &pressure), shown(&settings, &critical)), ("0.4".into(), "1".into()));
        assert!(warnings[0].contains(&pressure) && warnings[0].contains(&critical) && warnings[0].contains("swapping"));
    }
}

// --- the forgiving ones ---

#[test]
fn the_thirteen_pool_settings_never_refuse_and_never_trim() {
    let lenient: Vec<Row> = rows()
        .into_iter()
        .filter(|row| row.strictness == Strictness::Lenient && row.name.starts_with("FERRUM_POOL_"))
        .collect();
    assert_eq!(lenient.len(), 13);
    for row in &lenient {
        let default = in_force("FERRUM_POOL_WARMUP_ENABLED", "true");
        let plain = shown(&parse_file_mode(&[]), &row.name);
        if row.type_tag == "bool" {
            assert_eq!(in_force(&row.name, "false"), "false");
            for counts_as_true in ["true", "", "FALSE", "0", "no", " false"] {
                assert_eq!(in_force(&row.name, counts_as_true), default, "{}={counts_as_true}", row.name);
            }
        } else {
            for bad in ["", "x", " 100", "100 ", "-1", "1.5"] {
                assert_eq!(in_force(&row.name, bad), plain, "{}={bad}", row.name);
                assert!(warnings_of(&[(&row.name, bad)]).is_empty());
            }
        }
    }
    assert_eq!(in_force("FERRUM_POOL_IDLE_TIMEOUT_SECONDS", "17"), "17");
}

#[test]
fn the_other_lenient_settings_fall_back_to_their_defaults() {
    for (key, raw, value) in [
        ("FERRUM_SECRET_FETCH_TIMEOUT_SECONDS", "soon", "30"),
        ("FERRUM_SECRET_FETCH_TIMEOUT_SECONDS", "5", "5"),
        ("FERRUM_MESH_DNS_TTL_SECONDS", "", "60"),
        ("FERRUM_MESH_DNS_MAX_CONCURRENT_QUERIES", "0", "1024"),
        ("FERRUM_MESH_DNS_MAX_CONCURRENT_QUERIES", "1", "1"),
        ("FERRUM_MESH_DNS_RESPONSE_CACHE_MAX_ENTRIES", "0", "4096"),
        ("FERRUM_MESH_DNS_RESPONSE_CACHE_MAX_ENTRIES", "x", "4096"),
        ("FERRUM_INJECTOR_REQUIRE_ANNOTATION", "false", "false"),
        ("FERRUM_INJECTOR_REQUIRE_ANNOTATION", "no", "true"),
        ("FERRUM_MESH_DNS_PROXY_ENABLED", "1", "true"),
        ("FERRUM_MESH_DNS_PROXY_ENABLED", "on", "false"),
        ("FERRUM_MESH_PRODUCTION_MODE", "TRUE", "true"),
        ("FERRUM_MESH_PRODUCTION_MODE", "1", "false"),
        ("FERRUM_MESH_CLUSTER_DOMAIN", " ", "cluster.local"),
        ("FERRUM_LOG_LEVEL", "nonsense", "nonsense"),
    ] {
        assert_eq!(in_force(key, raw), value, "{key}={raw}");
    }
}

#[test]
fn a_stream_bind_address_that_is_none_follows_the_proxy() {
    assert_eq!(in_force("FERRUM_STREAM_PROXY_BIND_ADDRESS", "10.0.0.1"), "10.0.0.1");
    for bad in ["localhost", ""] {
        let pairs = [("FERRUM_STREAM_PROXY_BIND_ADDRESS", bad), ("FERRUM_PROXY_BIND_ADDRESS", "127.0.0.1")];
        assert_eq!(parse_file_mode(&pairs).stream.stream_proxy_bind_address.to_string(), "127.0.0.1");
    }
    let unset = parse_file_mode(&[("FERRUM_PROXY_BIND_ADDRESS", "127.0.0.1")]);
    assert_eq!(unset.stream.stream_proxy_bind_address.to_string(), "0.0.0.0");
}

#[test]
fn what_cannot_be_used_in_a_list_is_skipped_with_a_warning() {
    let (settings, warnings) = load_file_mode(&[("FERRUM_TRUSTED_PROXIES", "10.0.0.0/8, nonsense")]).unwrap();
    assert!(settings.client.trusted_proxies.contains("10.1.1.1".parse().unwrap()));
    assert!(warnings[0].contains("FERRUM_TRUSTED_PROXIES") && warnings[0].contains("'nonsense'"));

    let (settings, warnings) =
        load_file_mode(&[("FERRUM_DNS_RESOLVER_ADDRESS", "192.0.2.1, [::1]:5353, ::1, [::2], 192.0.2.1:54, dns")])
            .unwrap();
    assert_eq!(
        shown(&settings, "FERRUM_DNS_RESOLVER_ADDRESS"),
        "192.0.2.1:53,[::1]:5353,[::1]:53,[::2]:53,192.0.2.1:54"
    );
    assert_eq!(warnings.len(), 1);
    let (settings, warnings) = load_file_mode(&[("FERRUM_DNS_RESOLVER_ADDRESS", "dns")]).unwrap();
    assert!(settings.dns.dns_resolver_address.0.is_empty());
    assert_eq!(warnings.len(), 2);

    let (settings, warnings) = load_file_mode(&[("FERRUM_DNS_ORDER", "aaaa, MX, a")]).unwrap();
    assert_eq!(shown(&settings, "FERRUM_DNS_ORDER"), "AAAA,A");
    assert!(warnings[0].contains("'MX'"));
    assert_eq!(in_force("FERRUM_DNS_ORDER", ""), "CACHE,SRV,A,CNAME");

    let (settings, warnings) = load_file_mode(&[("FERRUM_TLS_EARLY_DATA_METHODS", "get, post")]).unwrap();
    assert_eq!(settings.tls.tls_early_data_methods.0, ["GET", "POST"]);
    assert!(warnings.len() == 1 && warnings[0].contains("POST"));
}
