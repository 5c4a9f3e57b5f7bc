use serde_json::{Value, json};

use super::*;

/// A sound upstream with some fields changed.
fn errors(changes: Value) -> Vec<String> {
    let mut upstream = json!({"id": "u", "targets": [{"host": "a", "port": 1}]});
    for (key, value) in changes.as_object().unwrap() {
        upstream[key] = value.clone();
    }
    serde_json::from_value::<Upstream>(upstream).unwrap().check_fields()
}

fn target(changes: Value) -> Vec<String> {
    let mut target = json!({"host": "a", "port": 1});
    for (key, value) in changes.as_object().unwrap() {
        target[key] = value.clone();
    }
    errors(json!({"targets": [{"host": "first", "port": 1}, target]}))
}

#[track_caller]
fn assert_one(found: Vec<String>, expected: &str) {
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}\nshould be one starting with\n{expected}");
}

#[test]
fn targets_are_present_and_at_most_a_thousand() {
    let targets = |count: usize| errors(json!({"targets": vec![json!({"host": "a", "port": 1}); count]}));
    assert_eq!(targets(1000), [""; 0]);
    assert_eq!(targets(1001), ["targets must not have more than 1000 entries (got 1001)"]);
    assert_eq!(targets(0), ["must have at least one target or service_discovery"]);
    let discovered =
        json!({"targets": [], "service_discovery": {"provider": "dns_sd", "dns_sd": {"service_name": "s"}}});
    assert_eq!(errors(discovered), [""; 0]);
    assert_eq!(errors(json!({"name": "n".repeat(255)})), [""; 0]);
    assert_eq!(errors(json!({"name": "n".repeat(256)})), ["name must not exceed 255 characters (got 256)"]);
}

#[test]
fn every_message_of_a_target() {
    let tags = |count: usize| (0..count).map(|i| (i.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>();
    let sound = [
        json!({"host": "a".repeat(255), "port": 65535, "weight": 65535, "path": "p".repeat(2048)}),
        json!({"weight": 1, "tags": tags(50)}),
        json!({"tags": {"k".repeat(255): "v".repeat(255)}}),
        json!({"locality": "r"}),
        json!({"locality": "r/z"}),
        json!({"locality": format!("r/z/{}", "s".repeat(251))}),
    ];
    for value in sound {
        assert_eq!(target(value), [""; 0]);
    }
    let rows = [
        (json!({"host": ""}), "targets[1].host must not be empty"),
        (json!({"host": "a".repeat(256)}), "targets[1].host must not exceed 255 characters (got 256)"),
        (json!({"port": 0}), "targets[1].port must be greater than 0"),
        (json!({"weight": 0}), "targets[1].weight must be between 1 and 65535 (got 0)"),
        (json!({"weight": 65536}), "targets[1].weight must be between 1 and 65535 (got 65536)"),
        (json!({"tags": tags(51)}), "targets[1].tags must not have more than 50 entries (got 51)"),
        (json!({"tags": {"k".repeat(256): "v"}}), "targets[1].tags key must not exceed 255 characters (got 256)"),
        (json!({"tags": {"k": "v".repeat(256)}}), "targets[1].tags value must not exceed 255 characters (got 256)"),
        (json!({"locality": ""}), "targets[1].locality '' is not a valid region[/zone[/subzone]] string"),
        (json!({"locality": "/z"}), "targets[1].locality '/z' is not a valid region[/zone[/subzone]] string"),
        (json!({"locality": "r/z/s/x"}), "targets[1].locality 'r/z/s/x' is not a valid region[/zone[/subzone]] string"),
        (json!({"locality": "r".repeat(256)}), "targets[1].locality must not exceed 255 characters (got 256)"),
        (json!({"path": "p".repeat(2049)}), "targets[1].path must not exceed 2048 characters (got 2049)"),
    ];
    for (value, expected) in rows {
        assert_eq!(target(value), [expected]);
    }
}

#[test]
fn hash_on_has_three_forms() {
    for sound in ["", " ", "ip", " ip ", "header:X-User", "cookie:srv"] {
        assert_eq!(errors(json!({"hash_on": sound})), [""; 0], "{sound}");
    }
    let rows = [
        ("path", "hash_on must be 'ip', 'header:<name>', or 'cookie:<name>' (got 'path')"),
        ("IP", "hash_on must be 'ip', 'header:<name>', or 'cookie:<name>' (got 'IP')"),
        ("header:", "hash_on 'header:' requires a non-empty header name"),
        ("header: ", "hash_on 'header:' requires a non-empty header name"),
        ("cookie:", "hash_on 'cookie:' requires a non-empty cookie name"),
    ];
    for (value, expected) in rows {
        assert_eq!(errors(json!({"hash_on": value})), [expected]);
    }
    let of_bytes = |bytes: usize| errors(json!({"hash_on": format!("header:{}", "a".repeat(bytes - 7))}));
    assert_eq!(of_bytes(255), [""; 0]);
    assert_eq!(of_bytes(256), ["hash_on must not exceed 255 characters (got 256)"]);
}

#[test]
fn the_issued_cookie() {
    let cookie = |value: Value| errors(json!({"hash_on_cookie_config": value}));
    let sound = [
        json!({}),
        json!({"path": "p".repeat(2048), "ttl_seconds": 86400, "domain": "d".repeat(253), "same_site": "Strict"}),
        json!({"ttl_seconds": 0, "same_site": "Lax"}),
        json!({"same_site": "None"}),
    ];
    for value in sound {
        assert_eq!(cookie(value), [""; 0]);
    }
    let rows = [
        (json!({"path": "p".repeat(2049)}), "hash_on_cookie_config.path must not exceed 2048 characters (got 2049)"),
        (json!({"ttl_seconds": 86401}), "hash_on_cookie_config.ttl_seconds must not exceed 86400 (got 86401)"),
        (json!({"domain": "d".repeat(254)}), "hash_on_cookie_config.domain must not exceed 253 characters (got 254)"),
        (json!({"same_site": "lax"}), "hash_on_cookie_config.same_site must be 'Strict', 'Lax', or 'None' (got 'lax')"),
    ];
    for (value, expected) in rows {
        assert_eq!(cookie(value), [expected]);
    }
}

#[test]
fn subsets() {
    let labels = json!({"v": "1"});
    let subsets = |list: Value| errors(json!({"subsets": list}));
    let many = |count: usize| (0..count).map(|i| json!({"name": i.to_string(), "labels": labels})).collect::<Vec<_>>();
    assert_eq!(subsets(json!(many(100))), [""; 0]);
    assert_eq!(subsets(json!([{"name": "n".repeat(255), "labels": {"k".repeat(255): "v".repeat(255)}}])), [""; 0]);
    let rows = [
        (json!([]), "subsets must not be empty — omit the field"),
        (json!(many(101)), "subsets must not have more than 100 entries (got 101)"),
        (json!([{"name": " ", "labels": labels}]), "subsets[0].name must not be empty"),
        (
            json!([{"name": "n".repeat(256), "labels": labels}]),
            "subsets[0].name must not exceed 255 characters (got 256)",
        ),
        (
            json!([{"name": "a", "labels": labels}, {"name": "a", "labels": labels}]),
            "subsets[1].name 'a' is a duplicate — ",
        ),
        (json!([{"name": "a", "labels": {}}]), "subsets[0].labels must not be empty — "),
        (
            json!([{"name": "a", "labels": {"k": "v".repeat(256)}}]),
            "subsets[0].labels value must not exceed 255 characters",
        ),
    ];
    for (value, expected) in rows {
        assert_one(subsets(value), expected);
    }
}

#[test]
fn fields_that_only_the_mesh_sets() {
    assert_eq!(errors(json!({"port_overrides": {}})), [""; 0]);
    assert_one(errors(json!({"port_overrides": {"80": {}}})), "port_overrides is populated by mesh DestinationRule ");
    assert_one(
        errors(json!({"source_locality": "r"})),
        "source_locality is projected from the mesh workload's locality ",
    );
    assert_one(
        errors(json!({"locality_lb_setting": {}})),
        "locality_lb_setting is projected from a mesh DestinationRule's ",
    );
}

#[test]
fn backend_tls() {
    let sound = [
        json!({"backend_tls_client_cert_path": "c", "backend_tls_client_key_path": "k", "backend_tls_verify_server_cert": false}),
        json!({"backend_tls_server_ca_cert_path": "p".repeat(4096)}),
        json!({"backend_tls_sni": "API.example.com"}),
        json!({"backend_tls_sni": "a".repeat(253)}),
        json!({"backend_tls_san_allow_list": ["A.example.com", "10.0.0.1", "::1", "spiffe://td/ns/a"]}),
        json!({"backend_tls_san_allow_list": vec!["a"; 256]}),
    ];
    for value in sound {
        assert_eq!(errors(value), [""; 0]);
    }
    let rows = [
        (
            json!({"backend_tls_client_cert_path": "c"}),
            "backend_tls_client_cert_path is set but backend_tls_client_key_path is missing ",
        ),
        (
            json!({"backend_tls_client_key_path": "k"}),
            "backend_tls_client_key_path is set but backend_tls_client_cert_path is missing ",
        ),
        (
            json!({"backend_tls_server_ca_cert_path": "p".repeat(4097)}),
            "backend_tls_server_ca_cert_path must not exceed 4096",
        ),
        (json!({"backend_tls_sni": " "}), "backend_tls_sni must "),
        (json!({"backend_tls_sni": "a "}), "backend_tls_sni must "),
        (json!({"backend_tls_sni": "*.a"}), "backend_tls_sni must "),
        (json!({"backend_tls_sni": "10.0.0.1"}), "backend_tls_sni must "),
        (json!({"backend_tls_sni": "a".repeat(254)}), "backend_tls_sni must not exceed 253 characters (got 254)"),
        (json!({"backend_tls_sni": "a_b"}), "backend_tls_sni is invalid: host 'a_b' is invalid"),
        (
            json!({"backend_tls_san_allow_list": vec!["a"; 257]}),
            "backend_tls_san_allow_list must not have more than 256 entries (got 257)",
        ),
        (json!({"backend_tls_san_allow_list": ["a", ""]}), "backend_tls_san_allow_list[1].entry must "),
        (json!({"backend_tls_san_allow_list": ["*.a"]}), "backend_tls_san_allow_list[0].entry must "),
        (json!({"backend_tls_san_allow_list": ["a_b"]}), "backend_tls_san_allow_list[0].entry is invalid: host 'a_b'"),
        (
            json!({"backend_tls_san_allow_list": ["a".repeat(2049)]}),
            "backend_tls_san_allow_list[0].entry must not exceed 2048",
        ),
        (json!({"backend_tls_san_allow_list": ["spiffe://td"]}), "backend_tls_san_allow_list[0].entry must "),
        (json!({"backend_tls_san_allow_list": ["spiffe://TD/a"]}), "backend_tls_san_allow_list[0].entry is invalid: "),
    ];
    for (value, expected) in rows {
        assert_one(errors(value), expected);
    }
}

#[test]
fn active_health_checks() {
    let active = |value: Value| errors(json!({"health_checks": {"active": value}}));
    let at = "health_checks.active";
    for (field, min, max) in [
        ("interval_seconds", 1, 3600),
        ("timeout_ms", 1, 86_400_000),
        ("healthy_threshold", 1, 10_000),
        ("unhealthy_threshold", 1, 10_000),
    ] {
        for sound in [min, max] {
            assert_eq!(active(json!({field: sound})), [""; 0]);
        }
        for wrong in [min - 1, max + 1] {
            assert_eq!(
                active(json!({field: wrong})),
                [format!("{at}.{field} must be between {min} and {max} (got {wrong})")]
            );
        }
    }
    for field in ["http_path", "udp_probe_payload"] {
        assert_eq!(active(json!({field: "a".repeat(2048)})), [""; 0]);
        assert_eq!(
            active(json!({field: "a".repeat(2049)})),
            [format!("{at}.{field} must not exceed 2048 characters (got 2049)")]
        );
    }
    let expected = [format!("{at}.healthy_status_codes contains invalid HTTP status code 99 (must be 100-599)")];
    assert_eq!(active(json!({"healthy_status_codes": [99]})), expected);
}

#[test]
fn passive_health_checks() {
    let passive = |value: Value| errors(json!({"health_checks": {"passive": value}}));
    let at = "health_checks.passive";
    for (field, min, max) in [
        ("unhealthy_threshold", 1, 1000),
        ("unhealthy_window_seconds", 1, 86_400),
        ("healthy_after_seconds", 0, 86_400),
        ("max_ejection_percent", 0, 100),
    ] {
        for sound in [min, max] {
            assert_eq!(passive(json!({field: sound})), [""; 0]);
        }
        let over = max + 1;
        assert_eq!(
            passive(json!({field: over})),
            [format!("{at}.{field} must be between {min} and {max} (got {over})")]
        );
        if min == 1 {
            assert_eq!(passive(json!({field: 0})), [format!("{at}.{field} must be between {min} and {max} (got 0)")]);
        }
    }
    assert_one(
        passive(json!({"unhealthy_status_codes": [600]})),
        "health_checks.passive.unhealthy_status_codes contains invalid",
    );
    assert_eq!(passive(json!({"gateway_error_codes": [1], "split_external_local_origin_errors": true})), [""; 0]);
}

#[test]
fn service_discovery() {
    let discovery = |value: Value| errors(json!({"targets": [], "service_discovery": value}));
    let block = |provider: &str, changes: Value| {
        let mut block = json!({"service_name": "s"});
        if provider == "consul" {
            block["address"] = json!("http://consul:8500");
        }
        for (key, value) in changes.as_object().unwrap() {
            block[key] = value.clone();
        }
        discovery(json!({"provider": provider, provider: block}))
    };
    for provider in ["dns_sd", "kubernetes", "consul", "mesh"] {
        let expected = format!("service_discovery.{provider} config is required when provider is {provider}");
        assert_eq!(discovery(json!({"provider": provider})), [expected]);
        let at = format!("service_discovery.{provider}");
        assert_eq!(block(provider, json!({"poll_interval_seconds": 1, "service_name": "s".repeat(255)})), [""; 0]);
        assert_eq!(block(provider, json!({"poll_interval_seconds": 3600})), [""; 0]);
        for wrong in [0, 3601] {
            let expected = format!("{at}.poll_interval_seconds must be between 1 and 3600 (got {wrong})");
            assert_eq!(block(provider, json!({"poll_interval_seconds": wrong})), [expected]);
        }
        assert_eq!(block(provider, json!({"service_name": ""})), [format!("{at}.service_name must not be empty")]);
        let long = block(provider, json!({"service_name": "s".repeat(256)}));
        assert_eq!(long, [format!("{at}.service_name must not exceed 255 characters (got 256)")]);
    }
    let texts = [
        ("kubernetes", "namespace", 255),
        ("kubernetes", "port_name", 255),
        ("kubernetes", "label_selector", 1024),
        ("consul", "address", 2048),
        ("consul", "datacenter", 255),
        ("consul", "tag", 255),
        ("consul", "token", 4096),
        ("mesh", "namespace", 254),
    ];
    for (provider, field, max) in texts {
        assert_eq!(block(provider, json!({field: "a".repeat(max)})), [""; 0]);
        let expected =
            format!("service_discovery.{provider}.{field} must not exceed {max} characters (got {})", max + 1);
        assert_eq!(block(provider, json!({field: "a".repeat(max + 1)})), [expected]);
    }
    assert_eq!(block("consul", json!({"address": ""})), ["service_discovery.consul.address must not be empty"]);
    assert_eq!(block("mesh", json!({"namespace": ""})), ["service_discovery.mesh.namespace must not be empty"]);
    assert_eq!(block("mesh", json!({"port": 0})), ["service_discovery.mesh.port must be greater than 0"]);
    assert_eq!(block("mesh", json!({"port": 1})), [""; 0]);
}

#[test]
fn the_default_weight_and_the_blocks_of_other_providers() {
    let weight = |weight: u32| {
        let block = json!({
            "provider": "dns_sd", "dns_sd": {"service_name": "s"}, "consul": {"address": "", "service_name": ""},
            "default_weight": weight
        });
        errors(json!({"service_discovery": block}))
    };
    assert_eq!(weight(1), [""; 0], "only the chosen provider's block is looked at");
    assert_eq!(weight(65_535), [""; 0]);
    for wrong in [0, 65_536] {
        assert_eq!(
            weight(wrong),
            [format!("service_discovery.default_weight must be between 1 and 65535 (got {wrong})")]
        );
    }
}

#[test]
fn names_are_normalised_but_not_identities() {
    let mut upstream: Upstream = serde_json::from_value(json!({
        "targets": [{"host": "A.Internal", "port": 1}], "backend_tls_sni": "SNI.Example",
        "backend_tls_san_allow_list": ["A.Example", "spiffe://td/NS/A", "FE80::1"]
    }))
    .unwrap();
    upstream.normalize();
    assert_eq!(upstream.targets[0].host, "a.internal");
    assert_eq!(upstream.backend_tls_sni.as_deref(), Some("sni.example"));
    assert_eq!(upstream.backend_tls_san_allow_list, ["a.example", "spiffe://td/NS/A", "FE80::1"]);
}
