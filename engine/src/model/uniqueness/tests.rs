use serde_json::{Value, json};

use super::*;

fn document(parts: Value) -> Document {
    let mut document = json!({"version": "1", "proxies": [], "consumers": [], "plugin_configs": []});
    for (key, value) in parts.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn messages(found: Vec<Finding>) -> Vec<String> {
    found.into_iter().map(|finding| finding.message).collect()
}

type Route<'a> = (&'a str, &'a [&'a str]);

fn routes(routes: &[(Option<&str>, &[&str])]) -> Vec<String> {
    let mut proxies = Vec::new();
    for (i, (path, hosts)) in routes.iter().enumerate() {
        let id = format!("p{i}");
        proxies.push(json!({"id": id, "listen_path": path, "hosts": hosts, "backend_host": "b", "backend_port": 1}));
    }
    messages(check_routes(&document(json!({"proxies": proxies}))))
}

#[test]
fn every_row_of_the_sheets_conflict_table() {
    let duplicate = "Duplicate listen_path '/a' found in proxy 'p1' (conflicts with 'p0')";
    let overlap = "Overlapping host+listen_path for '/a' in proxy 'p1' (conflicts with 'p0')";
    let rows: [(Route<'_>, Route<'_>, &str); 9] = [
        (("/a", &[]), ("/a", &[]), duplicate),
        (("/a", &[]), ("/a", &["x.com"]), overlap),
        (("/a", &["a.x.com"]), ("/a", &["*.x.com"]), overlap),
        (("/a", &["x.com"]), ("/a", &["*.x.com"]), ""),
        (("/a", &["a.b.x.com"]), ("/a", &["*.x.com"]), ""),
        (("/a", &["x.com"]), ("/a", &["y.com"]), ""),
        (("/a", &[]), ("=/a", &[]), ""),
        (("/a", &[]), ("/a/", &[]), ""),
        (("/a", &[]), ("~/a", &[]), ""),
    ];
    for ((one, one_hosts), (other, other_hosts), expected) in rows {
        let expected: Vec<&str> = (!expected.is_empty()).then_some(expected).into_iter().collect();
        assert_eq!(routes(&[(Some(one), one_hosts), (Some(other), other_hosts)]), expected, "{one} {other}");
    }
    assert_eq!(routes(&[(None, &["x.com"]), (Some("/a"), &["x.com"])]), [""; 0]);
    let host_only = routes(&[(None, &["x.com", "y.com"]), (None, &["y.com"])]);
    assert!(
        host_only.len() == 1 && host_only[0].starts_with("Overlapping host-only proxies 'p1' and 'p0' — "),
        "{host_only:?}"
    );
}

#[test]
fn stream_proxies_are_no_routes() {
    let stream = json!({"id": "s", "hosts": ["x"], "backend_scheme": "tcp", "backend_host": "b", "backend_port": 1});
    assert_eq!(messages(check_routes(&document(json!({"proxies": [stream, stream]})))), [""; 0]);
}

fn identities(consumers: Value) -> Vec<String> {
    messages(check_consumer_identities(&document(json!({"consumers": consumers}))))
}

#[test]
fn usernames_and_custom_ids_lead_to_one_consumer() {
    let found = identities(json!([
        {"id": "a", "username": "u", "custom_id": "c"}, {"id": "b", "username": "u", "custom_id": "c"}
    ]));
    let expected = [
        "Duplicate consumer username 'u' in consumer 'b' (conflicts with 'a')",
        "Duplicate consumer custom_id 'c' in consumer 'b' (conflicts with 'a')",
    ];
    assert_eq!(found, expected);
    for order in [[0, 1], [1, 0]] {
        let pair = [json!({"id": "a", "username": "x"}), json!({"id": "b", "username": "y", "custom_id": "x"})];
        let found = identities(json!(order.map(|i| pair[i].clone())));
        assert!(found.len() == 1, "{found:?}");
        assert!(
            found[0].starts_with("Consumer 'b' custom_id 'x' collides with username of consumer 'a' "),
            "{found:?}"
        );
    }
    assert_eq!(identities(json!([{"id": "a", "username": "x", "custom_id": "x"}])), [""; 0]);
    assert_eq!(identities(json!([{"id": "a", "username": "x"}, {"id": "b", "username": "X"}])), [""; 0]);
}

#[test]
fn keys_and_identities_lead_to_one_consumer_and_keys_are_never_printed() {
    let credentials =
        |consumers: Value| messages(check_consumer_credentials(&document(json!({"consumers": consumers}))));
    let keys = |keys: Value| json!({"keyauth": keys, "mtls_auth": [{"identity": "cn"}], "basicauth": [{}]});
    let found = credentials(json!([
        {"id": "a", "username": "u", "credentials": keys(json!([{"key": "s3cret"}, {"other": 1}]))},
        {"id": "b", "username": "u", "credentials": keys(json!([{"key": "s3cret"}]))},
    ]));
    let expected = [
        "Duplicate keyauth API key in consumer 'b' (conflicts with consumer 'a')",
        "Duplicate basicauth username 'u' in consumer 'b' (conflicts with consumer 'a')",
        "Duplicate mtls_auth identity 'cn' in consumer 'b' (conflicts with consumer 'a')",
    ];
    assert_eq!(found, expected);
    let twice =
        credentials(json!([{"id": "a", "username": "u", "credentials": {"keyauth": [{"key": "k"}, {"key": "k"}]}}]));
    assert_eq!(twice, ["Duplicate keyauth API key in consumer 'a' (conflicts with consumer 'a')"]);
    let secrets = json!({"jwt": [{"secret": "x"}], "keyauth": [{"key": 1}]});
    let same_secrets = json!([
        {"id": "a", "username": "u", "credentials": secrets}, {"id": "b", "username": "v", "credentials": secrets}
    ]);
    assert_eq!(credentials(same_secrets), [""; 0]);
}

#[test]
fn names_are_unique_when_set() {
    let proxy = |id: &str, name: Value| json!({"id": id, "name": name, "backend_host": "b", "backend_port": 1});
    let input = document(json!({
        "proxies": [proxy("a", json!(null)), proxy("b", json!(null)), proxy("c", json!("n")), proxy("d", json!("n"))],
        "upstreams": [{"id": "a", "targets": []}, {"id": "b", "targets": []}, {"id": "c", "name": "n", "targets": []},
                      {"id": "d", "name": "n", "targets": []}],
    }));
    let expected = ["Duplicate proxy name 'n' in proxy 'd' (conflicts with 'c')"];
    assert_eq!(messages(check_proxy_names(&input)), expected);
    let expected = ["Duplicate upstream name 'n' in upstream 'd' (conflicts with 'c')"];
    assert_eq!(messages(check_upstream_names(&input)), expected);
}

#[test]
fn one_id_may_be_used_by_different_types() {
    let input = document(json!({
        "proxies": [{"id": "x", "backend_host": "b", "backend_port": 1}], "consumers": [{"id": "x", "username": "u"}],
        "upstreams": [{"id": "x", "targets": []}], "plugin_configs": [{"id": "x", "plugin_name": "a", "scope": "global"}],
    }));
    assert_eq!(messages(check_ids(&input)), [""; 0]);
}
