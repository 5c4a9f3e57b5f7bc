//! Documents into a database and out again: nothing is another afterwards.

use engine::model::{Format, decode, encode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::store::{AnyStore, ImportError, ImportOptions};

const REPLACING: ImportOptions = ImportOptions { replaces: true, is_dry_run: false };

fn text() -> BoxedStrategy<Value> {
    r#"[a-zA-Zäé😀'"`;:\\ ~#%!?\[\]{}$-]{0,12}"#.prop_map(Value::from).boxed()
}

fn flag() -> BoxedStrategy<Value> {
    any::<bool>().prop_map(Value::from).boxed()
}

/// What a column holds.
fn number() -> BoxedStrategy<Value> {
    prop_oneof![0..100_u64, Just(i64::MAX as u64)].prop_map(Value::from).boxed()
}

fn narrow<T: Arbitrary + Into<Value> + 'static>() -> BoxedStrategy<Value> {
    any::<T>().prop_map(Into::into).boxed()
}

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop::sample::select(words).prop_map(Value::from).boxed()
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(item, 0..3).prop_map(Value::from).boxed()
}

fn perhaps(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![Just(Value::Null), value].boxed()
}

fn moment() -> BoxedStrategy<Value> {
    (0..2_000_000_000_i64, 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanoseconds)| {
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanoseconds).unwrap();
            Value::from(at.format(&time::format_description::well_known::Rfc3339).unwrap())
        })
        .boxed()
}

/// Any JSON, as plugins and credentials have it.
fn json_value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        flag(),
        text(),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-z~ ]{0,6}", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
    .boxed()
}

/// An object with all of these keys.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let entries = move |values: Vec<Value>| keys.iter().map(|key| (*key).to_owned()).zip(values).collect();
    values.prop_map(move |values| Value::Object(entries(values))).boxed()
}

fn proxy_fields() -> BoxedStrategy<Value> {
    let mut fields = vec![
        ("hosts", list(text())),
        ("listen_path", perhaps(text())),
        ("backend_scheme", one_of(&["http", "https", "tcp", "tcps", "udp", "dtls"])),
        ("backend_host", text()),
        ("backend_port", narrow::<u16>()),
        ("backend_connect_timeout_ms", (1..u64::from(u32::MAX)).prop_map(Value::from).boxed()),
        ("backend_read_timeout_ms", number()),
        ("backend_write_timeout_ms", number()),
        ("auth_mode", one_of(&["single", "multi"])),
        ("response_body_mode", one_of(&["stream", "buffer"])),
        ("udp_idle_timeout_seconds", number()),
        (
            "udp_max_response_amplification_factor",
            perhaps((1..1000_u16).prop_map(|n| json!(f32::from(n) / 8.0)).boxed()),
        ),
        ("allowed_methods", perhaps(list(text()))),
        ("allowed_ws_origins", list(text())),
        (
            "circuit_breaker",
            perhaps(object(vec![("timeout_seconds", number()), ("failure_status_codes", list(narrow::<u16>()))])),
        ),
        (
            "retry",
            perhaps(object(vec![
                ("retryable_methods", list(text())),
                (
                    "backoff",
                    prop_oneof![
                        Just(json!({"fixed": {"delay_ms": 7}})),
                        Just(json!({"exponential": {"base_ms": 1, "max_ms": 2}})),
                    ]
                    .boxed(),
                ),
            ])),
        ),
        ("created_at", moment()),
        ("updated_at", moment()),
    ];
    for name in
        ["strip_listen_path", "preserve_host_header", "backend_tls_verify_server_cert", "frontend_tls", "passthrough"]
    {
        fields.push((name, flag()));
    }
    for name in ["pool_enable_http_keep_alive", "pool_enable_http2", "pool_http2_adaptive_window"] {
        fields.push((name, perhaps(flag())));
    }
    for name in [
        "backend_path",
        "backend_tls_client_cert_path",
        "backend_tls_client_key_path",
        "backend_tls_server_ca_cert_path",
        "dns_override",
        "upstream_subset",
    ] {
        fields.push((name, perhaps(text())));
    }
    for name in [
        "dns_cache_ttl_seconds",
        "pool_idle_timeout_seconds",
        "pool_tcp_keepalive_seconds",
        "pool_http2_keep_alive_interval_seconds",
        "pool_http2_keep_alive_timeout_seconds",
        "pool_max_requests_per_connection",
        "tcp_idle_timeout_seconds",
    ] {
        fields.push((name, perhaps(number())));
    }
    for name in [
        "pool_http2_initial_stream_window_size",
        "pool_http2_initial_connection_window_size",
        "pool_http2_max_frame_size",
        "pool_http2_max_concurrent_streams",
        "pool_http3_connections_per_backend",
    ] {
        fields.push((name, perhaps(narrow::<u32>())));
    }
    object(fields)
}

fn upstream_fields() -> BoxedStrategy<Value> {
    let tags = || prop::collection::hash_map("[a-z]{1,3}", "[a-z]{0,3}", 0..3).prop_map(|tags| json!(tags)).boxed();
    object(vec![
        (
            "targets",
            list(object(vec![
                ("host", text()),
                ("port", narrow::<u16>()),
                ("weight", narrow::<u32>()),
                ("tags", tags()),
                ("locality", perhaps(text())),
                ("path", perhaps(text())),
            ])),
        ),
        ("algorithm", one_of(&["round_robin", "weighted_round_robin", "consistent_hashing", "random"])),
        ("hash_on", perhaps(text())),
        ("hash_on_cookie_config", perhaps(object(vec![("ttl_seconds", number()), ("domain", perhaps(text()))]))),
        (
            "health_checks",
            perhaps(object(vec![
                (
                    "active",
                    perhaps(object(vec![("interval_seconds", number()), ("probe_type", one_of(&["http", "grpc"]))])),
                ),
                ("passive", perhaps(object(vec![("max_ejection_percent", perhaps(narrow::<u8>()))]))),
            ])),
        ),
        (
            "service_discovery",
            perhaps(object(vec![
                ("provider", one_of(&["consul", "dns_sd"])),
                (
                    "consul",
                    perhaps(object(vec![("address", text()), ("service_name", text()), ("token", perhaps(text()))])),
                ),
            ])),
        ),
        ("subsets", perhaps(list(object(vec![("name", text()), ("labels", tags())])))),
        ("backend_tls_client_cert_path", perhaps(text())),
        ("backend_tls_client_key_path", perhaps(text())),
        ("backend_tls_verify_server_cert", flag()),
        ("backend_tls_server_ca_cert_path", perhaps(text())),
        ("backend_tls_sni", perhaps(text())),
        ("backend_tls_san_allow_list", list(text())),
        ("created_at", moment()),
        ("updated_at", moment()),
    ])
}

fn consumer_fields() -> BoxedStrategy<Value> {
    let credential = prop::collection::hash_map("[a-z_]{1,8}", json_value(), 0..3).prop_map(|entries| json!(entries));
    object(vec![
        (
            "credentials",
            prop::collection::hash_map("[a-z_]{1,8}", list(credential.boxed()), 0..3)
                .prop_map(|all| json!(all))
                .boxed(),
        ),
        ("acl_groups", list(text())),
        ("created_at", moment()),
        ("updated_at", moment()),
    ])
}

fn config_fields() -> BoxedStrategy<Value> {
    object(vec![
        ("plugin_name", text()),
        ("config", json_value()),
        ("enabled", flag()),
        ("priority_override", perhaps(narrow::<u16>())),
        ("created_at", moment()),
        ("updated_at", moment()),
    ])
}

/// Gives each what must be unique or must fit the others: ids, names and references.
fn numbered(rows: Vec<Value>, namespace: &str, more: impl Fn(usize) -> Value) -> Vec<Value> {
    let numbered = rows.into_iter().enumerate().map(|(index, mut row)| {
        row["namespace"] = json!(namespace);
        row.as_object_mut().unwrap().extend(more(index).as_object().unwrap().clone());
        row
    });
    numbered.collect()
}

fn document(namespace: &'static str) -> BoxedStrategy<Document> {
    let some = |fields: BoxedStrategy<Value>| prop::collection::vec(fields, 1..3);
    (some(proxy_fields()), some(upstream_fields()), some(consumer_fields()), some(config_fields()))
        .prop_map(move |(proxies, upstreams, consumers, configs)| {
            let name = |index: usize| if index == 0 { Value::Null } else { json!(format!("name {index}")) };
            let listed = json!([{"plugin_config_id": format!("{namespace}-c0")}]);
            let proxies = numbered(proxies, namespace, |index| {
                json!({"id": format!("{namespace}-p{index}"), "name": name(index), "upstream_id": format!("{namespace}-u0"),
                       "listen_port": if index == 0 { Value::Null } else { json!(9000 + index) }, "plugins": listed})
            });
            let upstreams = numbered(upstreams, namespace, |index| json!({"id": format!("{namespace}-u{index}"), "name": name(index)}));
            let consumers = numbered(consumers, namespace, |index| {
                json!({"id": format!("{namespace}-k{index}"), "username": format!("user {index}"), "custom_id": name(index)})
            });
            let configs = numbered(configs, namespace, |index| match index {
                0 => json!({"id": format!("{namespace}-c0"), "scope": "proxy_group"}),
                _ => json!({"id": format!("{namespace}-c{index}"), "scope": "proxy", "proxy_id": format!("{namespace}-p0")}),
            });
            let document = json!({"version": "1", "proxies": proxies, "consumers": consumers, "plugin_configs": configs,
                "upstreams": upstreams});
            serde_json::from_value(document).unwrap()
        })
        .boxed()
}

/// What is in them, whenever they were read.
fn same(one: &Document, other: &Document) -> bool {
    Document { loaded_at: other.loaded_at, ..one.clone() } == *other
}

#[expect(clippy::result_large_err, reason = "the error of proptest")]
pub(in crate::store) async fn any_document_survives(store: AnyStore, cases: u32) {
    let runtime = tokio::runtime::Handle::current();
    let store = std::sync::Arc::new(store);
    let ours = store.clone();
    let tried = tokio::task::spawn_blocking(move || {
        let cases = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(cases).run(&(document("a"), document("b")), |(a, b)| {
            runtime.block_on(async {
                ours.import("a", &a, REPLACING).await.unwrap();
                ours.import("b", &b, REPLACING).await.unwrap();
                let stored = ours.export(Some("a")).await.unwrap();
                assert!(same(&a, &stored), "{a:#?}\n{stored:#?}");
                let all = ours.export(None).await.unwrap();
                assert_eq!((all.proxies.len(), all.namespaces().len()), (a.proxies.len() + b.proxies.len(), 2));
                for format in [Format::Yaml, Format::Json] {
                    let text = encode(&stored, format).unwrap();
                    assert!(same(&decode(&text, format).unwrap(), &a), "{text}");
                }
            });
            Ok(())
        })
    });
    tried.await.unwrap().unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_document_survives_sqlite() {
    let Place { store, _folder } = sqlite().await;
    any_document_survives(AnyStore::Sql(store), 48).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_filled_as_a_whole_or_not_at_all() {
    let Place { store, _folder } = sqlite().await;
    let of = |ids: &[&str], port: u64| Document {
        upstreams: ids
            .iter()
            .map(|id| {
                let target = json!([{"host": "h", "port": port}]);
                serde_json::from_value(json!({"id": id, "namespace": "a", "targets": target})).unwrap()
            })
            .collect(),
        ..Document::default()
    };
    let import = async |document: &Document, replaces, is_dry_run| {
        store.import("a", document, ImportOptions { replaces, is_dry_run }).await
    };
    let stored = async || {
        let document = store.export(None).await.unwrap();
        document.upstreams.iter().map(|row| (row.id.clone(), row.targets[0].port)).collect::<Vec<_>>()
    };
    assert_eq!(import(&of(&["x", "y"], 1), false, true).await.unwrap(), 0);
    assert!(stored().await.is_empty(), "a dry run");
    assert_eq!(import(&of(&["x", "y"], 1), false, false).await.unwrap(), 0);
    assert!(matches!(import(&of(&["z"], 2), false, false).await, Err(ImportError::Occupied(2))));
    assert!(import(&of(&["z", "z"], 2), true, false).await.is_err(), "one id for two");
    assert_eq!(import(&of(&["z"], 2), true, true).await.unwrap(), 2);
    assert_eq!(stored().await, [("x".to_owned(), 1), ("y".to_owned(), 1)]);
    assert_eq!(import(&of(&["z"], 2), true, false).await.unwrap(), 2);
    assert_eq!(stored().await, [("z".to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_column_would_change_is_refused() {
    let Place { store, _folder } = sqlite().await;
    let mut row: Proxy = match proxy("p", json!({})) {
        Resource::Proxy(row) => *row,
        _ => unreachable!("a proxy"),
    };
    row.pool_max_requests_per_connection = Some(i64::MAX as u64 + 1);
    let document = Document { proxies: engine::model::rows([row]), ..Document::default() };
    let error = store.import("ferrum", &document, REPLACING).await.unwrap_err();
    assert_eq!(error.to_string(), "the database would not keep proxy 'p' as it is");
    assert!(store.export(None).await.unwrap().proxies.is_empty());
}
