use serde_json::{Value, json};

use super::*;

fn mesh(value: Value) -> Mesh {
    serde_json::from_value(value).unwrap()
}

#[track_caller]
fn assert_faults(value: Value, expected: &[&str]) {
    let found = check(&mesh(value));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nshould start with\n{expected}");
    }
}

#[test]
fn an_empty_block_is_the_default_and_emits_nothing() {
    assert_eq!(mesh(json!({})), Mesh::default());
    assert_eq!(serde_json::to_value(Mesh::default()).unwrap(), json!({}));
    assert_eq!(mesh(json!({"unknown": 1})), Mesh::default());
    assert_eq!(check(&Mesh::default()), [""; 0]);
}

fn full() -> Value {
    json!({
        "istio_root_namespace": "root",
        "workloads": [{
            "spiffe_id": "spiffe://td/ns/a", "selector": {"labels": {"app": "a"}}, "service_name": "a", "addresses": ["10.0.0.1"],
            "ports": [{"port": 80, "protocol": "http", "name": "web"}], "trust_domain": "td", "namespace": "ns", "network": "n",
            "cluster": "c", "weight": 5, "locality": "r/z", "service_account": "sa"
        }],
        "services": [{
            "name": "a", "namespace": "ns", "ports": [{"port": 80, "protocol": "grpc"}],
            "workloads": [{"spiffe_id": "spiffe://td/ns/a"}], "protocol_overrides": {"80": "http2"}
        }],
        "mesh_policies": [{
            "name": "p", "namespace": "ns", "scope": {"kind": "workload_selector", "selector": {"labels": {"app": "a"}}},
            "rules": [{
                "from": [{"spiffe_id_pattern": "spiffe://td/*", "namespace_pattern": "n*", "trust_domain": "td"}],
                "to": [{"methods": ["GET"], "paths": ["/a*"], "hosts": ["a:80"], "headers": {"x": "*"}, "ports": [80],
                        "port_patterns": ["80*"], "not_methods": ["PUT"], "not_paths": ["/b"], "not_hosts": ["[::1]:*"], "not_ports": [1]}],
                "when": [{"key": "k", "values": ["v"], "not_values": ["w"]}],
                "request_principals": ["*"], "never_matches": true, "action": "deny"
            }]
        }],
        "peer_authentications": [{
            "name": "p", "namespace": "ns", "scope": {"kind": "namespace", "namespace": "ns"}, "selector": {},
            "mtls_mode": "strict", "port_overrides": {"80": "disable"}
        }],
        "service_entries": [{
            "name": "e", "namespace": "ns", "hosts": ["a.com"], "endpoints": [{"address": "1.1.1.1", "ports": {"web": 80}}],
            "resolution": "static", "location": "mesh_internal", "ports": [{"port": 443, "protocol": "tls"}], "export_to": ["."],
            "workload_selector": {"labels": {"a": "b"}}
        }],
        "request_authentications": [{
            "name": "r", "namespace": "ns", "scope": {"kind": "mesh_wide"},
            "jwt_rules": [{"issuer": "i", "audiences": ["a"], "jwks_uri": "https://j", "from_headers": [{"name": "h", "prefix": "p"}],
                           "from_params": ["t"], "forward_original_token": true}]
        }],
        "telemetry_resources": [{
            "name": "t", "namespace": "ns", "scope": {"kind": "mesh_wide"}, "config": {
                "tracing": {"mode": "client_and_server", "sampling_percentage": 1.5, "disable_span_reporting": true,
                            "custom_tags": {"a": "b"}, "custom_header_tags": {"a": "b"}, "providers": [
                                {"kind": "zipkin", "config": {"url": "u"}},
                                {"kind": "datadog", "config": {"agent_url": "u", "service": "s"}},
                                {"kind": "lightstep", "config": {"collector_url": "u", "access_token_env": "E"}},
                                {"kind": "opentelemetry", "config": {"endpoint": "e"}}]},
                "metrics": {"tag_overrides": [{"name": "a", "operation": {"type": "remove"}},
                                              {"name": "b", "operation": {"type": "rename", "new_name": "c"}},
                                              {"name": "d", "operation": {"type": "set", "value": "e"}}], "disabled_metrics": ["m"]},
                "access_logging": {"enabled": false, "filter": {"status_code_min": 400, "status_code_max": 599, "min_latency_ms": 1,
                                                                "errors_only": true}}
            }
        }],
        "destination_rules": [{
            "name": "d", "namespace": "ns", "host": "a", "traffic_policy": {
                "connect_timeout_ms": 1, "outlier_detection": {"consecutive_errors": 1, "interval_seconds": 2, "base_ejection_seconds": 3,
                                                               "max_ejection_percent": 4},
                "load_balancer": {"simple": "LEAST_REQUEST"},
                "tls": {"mode": "istio_mutual", "sni": "s", "ca_certificates": "c", "client_certificate": "x", "private_key": "k",
                        "subject_alt_names": ["n"], "insecure_skip_verify": true},
                "locality_lb_setting": {"enabled": false, "distribute": [{"from": "r", "to": {"r/z": 100}}],
                                        "failover": [{"from": "r", "to": "q"}]},
                "max_connections": 5, "tcp_keepalive": {"time_seconds": 1, "interval_seconds": 2, "probes": 3},
                "connection_pool_http": {"max_requests_per_connection": 1, "idle_timeout_ms": 2, "http2_max_requests": 3}
            },
            "port_level_settings": {"80": {"load_balancer": {"consistent_hash": {"http_header_name": "h", "use_source_ip": false}}}},
            "subsets": [{"name": "v1", "labels": {"v": "1"}, "traffic_policy": {"max_connections": 1}}]
        }],
        "proxy_configs": [{"name": "c", "namespace": "ns", "scope": {"kind": "mesh_wide"}, "concurrency": 2, "image": "i",
                           "environment": {"A": "b"}, "tracing_sampling": 0.5}],
        "sidecars": [{"name": "s", "namespace": "ns", "workload_selector": {"namespace": "ns"}, "egress_inherits_defaults": true,
                      "egress": [{"hosts": ["./*"], "port": 80}]}],
        "waypoint_bindings": [{"name": "w", "namespace": "ns", "waypoint_for": "all", "services": [{"namespace": "ns", "name": "a"}]}],
        "trust_bundles": {"local": {"trust_domain": "td", "x509_authorities": ["AAAA"]}, "federated": [
            {"trust_domain": "other", "jwt_authorities": [{"key_id": "k", "public_key_pem": "p"}], "refresh_hint_seconds": 5}]},
        "multi_cluster": {"local_cluster": "c", "federation_endpoint": "f", "remote_clusters": [
            {"name": "r", "trust_domain": "other", "network": "n", "control_plane_url": "u", "federation_endpoint": "f"}],
            "east_west_gateways": [{"name": "g", "namespace": "ns", "host": "h", "port": 15443, "sni_hosts": ["s"], "trust_domain": "td",
                                    "network": "n"}]},
        "outbound_traffic_policy": "registry_only",
        "extension_configs": [{"name": "x", "namespace": "", "type_url": "t", "value": "AAE="}]
    })
}

#[test]
fn every_field_comes_back_as_it_was() {
    let full = full();
    let decoded = mesh(full.clone());
    assert_eq!(check(&decoded), [""; 0]);
    assert_eq!(serde_json::to_value(&decoded).unwrap(), full);
    let yaml = serde_norway::to_string(&decoded).unwrap();
    assert_eq!(serde_norway::from_str::<Mesh>(&yaml).unwrap(), decoded);
}

#[test]
fn defaults_and_aliases() {
    let decoded = mesh(json!({
        "services": [{"name": "a", "namespace": "n", "ports": [{"port": 1}]}],
        "mesh_policies": [{"name": "p", "namespace": "n", "rules": [{}]}],
        "peer_authentications": [{"name": "p", "namespace": "n"}],
        "service_entries": [{"name": "e", "namespace": "n", "hosts": []}],
        "telemetry_resources": [{"name": "t", "namespace": "n", "config": {
            "tracing": {"disableSpanReporting": true,
                        "provider": {"kind": "lightstep", "config": {"collector_url": "u", "accessTokenEnv": "E"}}},
            "access_logging": {}}}],
        "destination_rules": [{"name": "d", "namespace": "n", "host": "h", "traffic_policy": {"tls": {}}}],
        "waypoint_bindings": [{"name": "w", "namespace": "n"}],
        "extension_configs": [{"name": "x", "type_url": "t", "value": "AAE"}],
    }));
    assert_eq!(decoded.services[0].ports[0].protocol, AppProtocol::Unknown);
    assert_eq!(decoded.mesh_policies[0].scope, Scope::MeshWide);
    assert_eq!(decoded.mesh_policies[0].rules[0].action, PolicyAction::Allow);
    assert_eq!(decoded.peer_authentications[0].mtls_mode, MtlsMode::Permissive);
    let entry = &decoded.service_entries[0];
    assert_eq!((entry.resolution, entry.location), (Resolution::None, Location::MeshExternal));
    let config = &decoded.telemetry_resources[0].config;
    let tracing = config.tracing.as_ref().unwrap();
    assert_eq!((tracing.disable_span_reporting, tracing.providers.len()), (Some(true), 1));
    assert!(config.access_logging.as_ref().unwrap().enabled);
    let policy = decoded.destination_rules[0].traffic_policy.as_ref().unwrap();
    assert_eq!(policy.tls.as_ref().unwrap().mode, MtlsMode::Simple);
    assert_eq!(decoded.waypoint_bindings[0].waypoint_for, "service");
    assert_eq!(decoded.extension_configs[0].value.0, [0, 1], "padding is optional on input");
}

#[test]
fn wrong_types_and_identities_fail_at_decode() {
    let rows = [
        json!({"services": [{"name": "a"}]}),
        json!({"services": [{"name": "a", "namespace": "n", "ports": [{"port": 70000}]}]}),
        json!({"services": [{"name": "a", "namespace": "n", "workloads": [{"spiffe_id": "http://td"}]}]}),
        json!({"multi_cluster": {"remote_clusters": [{"name": "a", "trust_domain": "TD"}]}}),
        json!({"mesh_policies": [{"name": "a", "namespace": "n", "rules": [{"action": "block"}]}]}),
        json!({"mesh_policies": [{"name": "a", "namespace": "n", "scope": {"kind": "namespace"}}]}),
        json!({"telemetry_resources": [
            {"name": "a", "namespace": "n", "config": {"tracing": {"providers": [{"kind": "x", "config": {}}]}}}]}),
        json!({"extension_configs": [{"name": "a", "type_url": "t", "value": "!"}]}),
        json!({"outbound_traffic_policy": "deny"}),
        json!({"trust_bundles": {}}),
        json!({"workloads": null}),
    ];
    for value in rows {
        assert!(serde_json::from_value::<Mesh>(value.clone()).is_err(), "{value}");
    }
}

#[test]
fn faults_of_workloads_and_services() {
    let workload = json!({
        "spiffe_id": "spiffe://td/a", "selector": {}, "service_name": " ", "addresses": ["a", ""], "trust_domain": "other",
        "namespace": "", "network": "", "cluster": " "
    });
    assert_faults(
        json!({"workloads": [workload], "services": [{"name": "", "namespace": "n"}, {"name": "s", "namespace": " "}]}),
        &[
            "Workload 'spiffe://td/a': spiffe_id trust domain 'td' does not match workload's trust_domain 'other'",
            "Workload 'spiffe://td/a': namespace must not be empty",
            "Workload 'spiffe://td/a': service_name must not be empty",
            "Workload 'spiffe://td/a'.addresses[1]: address must not be empty",
            "Workload 'spiffe://td/a': network must not be empty when set",
            "Workload 'spiffe://td/a': cluster must not be empty when set",
            "MeshService: name must not be empty",
            "MeshService 's': namespace must not be empty",
        ],
    );
}

#[test]
fn faults_of_policies() {
    let policy = json!({"name": "p", "namespace": "n", "rules": [
        {},
        {"from": [{}, {"spiffe_id_pattern": "a[", "namespace_pattern": "***"}, {"trust_domain": "td"}],
         "to": [{}, {"hosts": ["", "a@b", "a:b", "a:1:2", "[::1", "[x]", "a:70000", ":80"], "not_hosts": ["[::1]:x"]},
                {"hosts": ["a", "*.a:80", "a:*", "[::1]", "[::1]:80", "[::1]:*", "a:65535"]},
                {"port_patterns": ["*", "80*", "*80", "", "8*0", "80", "**"]}]},
    ]});
    let at = "MeshPolicy 'p'.rules[1]";
    let hosts: Vec<String> = (0..8).map(|k| format!("{at}.to[1].hosts[{k}] '")).collect();
    let mut expected = vec![
        format!("{at}.from[0]: at least one of spiffe_id_pattern/namespace_pattern/trust_domain must be set"),
        format!("{at}.from[1].spiffe_id_pattern 'a[' is not a valid glob: "),
        format!("{at}.from[1].namespace_pattern '***' is not a valid glob: "),
        format!(
            "{at}.to[0]: at least one of methods/paths/hosts/headers/ports or their negated counterparts must be non-empty"
        ),
    ];
    expected.extend(hosts);
    expected.push(format!(
        "{at}.to[1].not_hosts[0] '[::1]:x' is not a valid host pattern (expected hostname, [ipv6], or host:port/host:*"
    ));
    expected.extend([(3, ""), (4, "8*0"), (5, "80"), (6, "**")].map(|(k, pattern)| {
        format!("{at}.to[3].port_patterns[{k}] '{pattern}' is not a valid port pattern (expected '*', '<digits>*', or '*<digits>')")
    }));
    assert_faults(json!({"mesh_policies": [policy]}), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_faults(json!({"mesh_policies": [{"name": "", "namespace": "n"}]}), &["MeshPolicy: name must not be empty"]);
}

#[test]
fn faults_of_authentications_and_entries() {
    let input = json!({
        "peer_authentications": [{"name": "", "namespace": "n"}, {"name": "p", "namespace": ""}],
        "request_authentications": [
            {"name": "", "namespace": "n"}, {"name": "r", "namespace": "", "jwt_rules": [{"issuer": ""}, {"issuer": "i", "jwks": "{}"}]}
        ],
        "service_entries": [
            {"name": "", "namespace": "n", "hosts": ["a"]},
            {"name": "e", "namespace": "n", "hosts": [], "endpoints": [{"address": "a"}], "resolution": "dns"},
        ],
    });
    assert_faults(
        input,
        &[
            "PeerAuthentication: name must not be empty",
            "PeerAuthentication 'p': namespace must not be empty",
            "MeshRequestAuthentication: name must not be empty",
            "MeshRequestAuthentication 'r': namespace must not be empty",
            "MeshRequestAuthentication 'r' jwt_rules[0]: issuer must not be empty",
            "MeshRequestAuthentication 'r' jwt_rules[0]: one of jwks_uri or jwks is required",
            "ServiceEntry: name must not be empty",
            "ServiceEntry 'e': hosts must not be empty",
            "ServiceEntry 'e': endpoints are only valid when resolution=static",
        ],
    );
}

#[test]
fn faults_of_trust_bundles_and_clusters() {
    let input = json!({
        "trust_bundles": {"local": {"trust_domain": "td"}, "federated": [
            {"trust_domain": "td", "x509_authorities": ["AAAA", "!"]}, {"trust_domain": "a"}]},
        "multi_cluster": {
            "local_cluster": "", "federation_endpoint": " ",
            "remote_clusters": [
                {"name": "", "trust_domain": "a"}, {"name": "r", "trust_domain": "td", "network": ""},
                {"name": "r", "trust_domain": "none"}],
            "east_west_gateways": [
                {"name": "", "namespace": "", "host": "", "port": 0, "sni_hosts": [], "network": ""},
                {"name": "g", "namespace": "n", "host": "h", "port": 1, "sni_hosts": ["a", ""]},
                {"name": "g", "namespace": "n", "host": "h", "port": 65535, "sni_hosts": ["A"]}]
        }
    });
    assert_faults(
        input,
        &[
            "TrustBundleSet.local for trust domain 'td' has no authorities",
            "TrustBundleSet.federated[td]: duplicate trust domain",
            "TrustBundleSet.federated[td]: x509_authorities[1]: invalid base64: ",
            "TrustBundleSet.federated[a]: no authorities",
            "MultiClusterConfig.local_cluster must not be empty when set",
            "MultiClusterConfig.federation_endpoint must not be empty when set",
            "RemoteCluster: name must not be empty",
            "RemoteCluster 'r': network must not be empty when set",
            "RemoteCluster 'r': trust domain 'none' has no matching federated trust bundle",
            "RemoteCluster 'r': duplicate name",
            "EastWestGateway: name must not be empty",
            "EastWestGateway '': namespace must not be empty",
            "EastWestGateway '': host must not be empty",
            "EastWestGateway '': sni_hosts must not be empty",
            "EastWestGateway '': port must be between 1 and 65535",
            "EastWestGateway '': network must not be empty when set",
            "EastWestGateway 'g': sni_hosts must not contain empty entries",
            "EastWestGateway 'g': duplicate SNI host 'A'",
        ],
    );
    let without = json!({"multi_cluster": {"remote_clusters": [{"name": "r", "trust_domain": "none"}]}});
    assert_faults(without, &[]);
}

#[test]
fn hosts_and_patterns_are_normalised_once_and_for_all() {
    let mut block = mesh(json!({
        "istio_root_namespace": " ",
        "workloads": [{"spiffe_id": "spiffe://td", "selector": {}, "service_name": "A", "addresses": ["FE80::1"], "trust_domain": "td",
                       "namespace": "N"}],
        "service_entries": [{"name": "E", "namespace": "n", "hosts": [" A.Com.. "], "endpoints": [{"address": "B.Com"}]}],
        "destination_rules": [{"name": "D", "namespace": "n", "host": "Svc."}],
        "sidecars": [{"name": "S", "namespace": "n", "egress": [{"hosts": ["./A.com."]}]}],
        "mesh_policies": [{"name": "p", "namespace": "n", "rules": [{"to": [
            {"hosts": [" A.Com.:80 ", "B.Com.", "[FE80::1]:*"], "not_hosts": ["C."], "port_patterns": [" 80* "],
             "headers": {"X-A": "V"}}]}]}],
        "multi_cluster": {"east_west_gateways": [{"name": "G", "namespace": "n", "host": "H.Com", "port": 1, "sni_hosts": ["S.Com"]}]},
    }));
    normalize(&mut block);
    assert_eq!(block.istio_root_namespace, "istio-system");
    assert_eq!(block.workloads[0].addresses, ["fe80::1"]);
    assert_eq!(block.service_entries[0].hosts, ["a.com"]);
    assert_eq!(block.service_entries[0].endpoints[0].address, "b.com");
    assert_eq!(block.destination_rules[0].host, "svc");
    assert_eq!(block.sidecars[0].egress[0].hosts, ["./a.com"]);
    let request = &block.mesh_policies[0].rules[0].to[0];
    assert_eq!(request.hosts, ["a.com:80", "b.com", "[fe80::1]:*"]);
    assert_eq!((request.not_hosts[0].as_str(), request.port_patterns[0].as_str()), ("c", "80*"));
    assert_eq!(request.headers["x-a"], "V");
    let gateway = &block.multi_cluster.as_ref().unwrap().east_west_gateways[0];
    assert_eq!((gateway.host.as_str(), gateway.sni_hosts[0].as_str()), ("h.com", "s.com"));
    let once = block.clone();
    normalize(&mut block);
    assert_eq!(block, once);
}
