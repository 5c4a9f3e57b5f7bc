//! What schemas do to records, and how wrong ones are refused.

use std::time::{Duration, UNIX_EPOCH};

use engine::counters::ErrorClass;
use serde_json::json;

use super::*;
use crate::testing::{outcome, request};
use crate::transaction::Moment;
use crate::{Outcome, RequestContext};

fn compile(definition: Value, escape: Escape) -> Result<(Schema, Vec<String>), Vec<String>> {
    let mut report = Report { plugin: "p".to_owned(), errors: Vec::new(), warnings: Vec::new() };
    let schema = Schema::compile(&definition, escape, &mut report);
    schema.map(|schema| (schema, report.warnings)).ok_or(report.errors)
}

fn refused(definition: Value) -> Vec<String> {
    compile(definition, Escape::None).unwrap_err()
}

fn text(definition: Value, cx: &RequestContext, outcome: &Outcome) -> String {
    let ended = Moment::at(UNIX_EPOCH + Duration::new(1_777_629_600, 7_100_000));
    let record = Record::new(cx, outcome, ended);
    let written = |escape| {
        let mut out = Vec::new();
        compile(definition.clone(), escape).unwrap().0.write(&record, &mut out);
        String::from_utf8(out).unwrap()
    };
    let plain = written(Escape::None);
    let inside: String = serde_json::from_str(&format!("\"{}\"", written(Escape::InString))).unwrap();
    assert_eq!(inside, plain, "both forms say the same");
    plain
}

fn record(definition: Value, cx: &RequestContext, outcome: &Outcome) -> Value {
    serde_json::from_str(&text(definition, cx, outcome)).unwrap()
}

/// A record of only the listed keys, in their order.
fn only(mut definition: Value, keys: &[&str], outcome: &Outcome) -> String {
    let all = HttpField::ALL.iter().map(|field| field.name());
    let omit: Vec<&str> = all.filter(|name| !keys.contains(name)).collect();
    definition["omit"] = json!(omit);
    definition["summary_type"] = json!("http");
    text(definition, &request("GET /a", &[]), outcome)
}

#[test]
fn an_empty_schema_changes_nothing() {
    let cx = request("GET /a", &[]);
    let mut native = Vec::new();
    let ended = Moment::at(UNIX_EPOCH + Duration::new(1_777_629_600, 7_100_000));
    Record::new(&cx, &outcome(), ended).write(&mut native, Escape::None);
    assert_eq!(text(json!({}), &cx, &outcome()).into_bytes(), native);
    assert_eq!(text(json!({"summary_type": "stream", "omit": ["protocol"]}), &cx, &outcome()).into_bytes(), native);
}

#[test]
fn fields_are_omitted_and_renamed_and_stay_absent_when_absent() {
    let definition = json!({"omit": ["client_ip"], "rename": {"request_path": "path", "error_class": "failure"}});
    let record = record(definition.clone(), &request("GET /a", &[]), &outcome());
    assert_eq!(record["path"], "/a");
    for key in ["client_ip", "request_path", "failure", "error_class"] {
        assert!(record.get(key).is_none(), "{key}");
    }
    let failed = Outcome { error_class: Some(ErrorClass::TlsError), ..outcome() };
    assert_eq!(super::tests::record(definition, &request("GET /a", &[]), &failed)["failure"], "tls_error");
}

#[test]
fn static_and_derived_fields_follow_the_native_ones() {
    let definition = json!({
        "static_fields": {"env": "prod \"eu\"", "shard": {"n": [1, 2.5, true]}},
        "derived_fields": [
            {"name": "class", "kind": "status_class"}, {"name": "host", "kind": "backend_host"},
            {"name": "kind", "kind": "summary_kind"}, {"name": "result", "kind": "outcome"},
        ],
    });
    let expected = concat!(
        r#"{"http_method":"GET","env":"prod \"eu\"","shard":{"n":[1,2.5,true]},"#,
        r#""class":"2xx","host":"10.9.0.4","kind":"http","result":"ok"}"#,
    );
    assert_eq!(only(definition, &["http_method"], &outcome()), expected);
}

#[test]
fn derived_values_follow_the_outcome() {
    let of = |derived: Derived, outcome: &Outcome| {
        derived.of(&Record::new(&request("GET /", &[]), outcome, Moment::now())).to_owned()
    };
    for (status, class) in
        [(101, "1xx"), (204, "2xx"), (304, "3xx"), (404, "4xx"), (599, "5xx"), (0, "other"), (600, "other")]
    {
        assert_eq!(of(Derived::StatusClass, &Outcome { status, ..outcome() }), class);
    }
    assert_eq!(of(Derived::Outcome, &Outcome { status: 404, ..outcome() }), "ok");
    assert_eq!(of(Derived::Outcome, &Outcome { status: 500, ..outcome() }), "error");
    let cut = Outcome { body_error_class: Some(ErrorClass::ConnectionReset), ..outcome() };
    assert_eq!(of(Derived::Outcome, &cut), "error");
    for (target, host) in [("https://a.b:1/x", "a.b"), ("http://[::1]:80/", "::1"), ("a:1", "a"), ("http://a?b", "a")] {
        assert_eq!(backend_host(target), host);
    }
    let definition = json!({"derived_fields": [{"name": "host", "kind": "backend_host"}]});
    let without = record(definition, &request("GET /", &[]), &Outcome { backend_target: None, ..outcome() });
    assert!(without.get("host").is_none());
}

#[test]
fn order_puts_the_rest_where_the_star_is() {
    let keys = ["http_method", "request_path", "proxy_id", "response_status_code"];
    let definition = json!({"order": ["env", "proxy_id", "*", "http_method"], "static_fields": {"env": 1}});
    let expected =
        r#"{"env":1,"proxy_id":"orders","request_path":"/a","response_status_code":200,"http_method":"GET"}"#;
    assert_eq!(only(definition, &keys, &outcome()), expected);
    let complete = json!({"order": ["proxy_id", "request_path"]});
    assert_eq!(
        only(complete, &["request_path", "proxy_id"], &outcome()),
        r#"{"proxy_id":"orders","request_path":"/a"}"#
    );
}

#[test]
fn timestamps_may_be_epochs() {
    let stamp = |format: &str| only(json!({"timestamp_format": format}), &["timestamp_received"], &outcome());
    assert_eq!(stamp("rfc3339"), r#"{"timestamp_received":"2026-05-01T10:00:00.000000000+00:00"}"#);
    assert_eq!(stamp("epoch_ms"), r#"{"timestamp_received":1777629600000}"#);
    assert_eq!(stamp("epoch_s"), r#"{"timestamp_received":1777629600}"#);
}

#[test]
fn a_record_of_nothing_is_an_empty_object() {
    assert_eq!(only(json!({}), &[], &outcome()), "{}");
}

#[test]
fn metadata_is_nested_omitted_or_flattened_at_the_end() {
    let mut cx = request("GET /a", &[]);
    cx.metadata.set("request_id", "1");
    cx.metadata.set("access_token", "t");
    let shaped = |metadata: Value| {
        let definition = json!({"metadata": metadata, "static_fields": {"z": 0}});
        text(definition, &cx, &outcome())
    };
    assert!(shaped(json!({})).ends_with(r#""metadata":{"request_id":"1","access_token":"[REDACTED]"},"z":0}"#));
    assert!(!shaped(json!({"mode": "omit"})).contains("metadata"));
    let flat = shaped(json!({"mode": "flatten", "prefix": "md."}));
    assert!(flat.ends_with(r#""z":0,"md.request_id":"1","md.access_token":"[REDACTED]"}"#), "{flat}");
    let omitted = text(json!({"metadata": {"mode": "flatten"}, "omit": ["metadata"]}), &cx, &outcome());
    assert!(!omitted.contains("request_id"));
    let renamed = record(json!({"rename": {"metadata": "labels"}}), &cx, &outcome());
    assert_eq!(renamed["labels"]["request_id"], "1");
}

#[test]
fn a_flattened_key_that_is_taken_is_skipped_or_written_again() {
    let mut cx = request("GET /a", &[]);
    cx.metadata.set("proxy_id", "mine");
    cx.metadata.set("error_class", "free in this record");
    let flat = |on_collision: &str| {
        text(json!({"metadata": {"mode": "flatten", "on_collision": on_collision}}), &cx, &outcome())
    };
    assert!(!flat("skip").contains(r#""proxy_id":"mine""#));
    assert!(flat("skip").ends_with(r#","error_class":"free in this record"}"#));
    assert!(flat("overwrite").ends_with(r#","proxy_id":"mine","error_class":"free in this record"}"#));
}

#[test]
fn wrong_types_are_refused() {
    assert_eq!(refused(json!([])), ["p: 'schema' must be an object"]);
    assert_eq!(
        refused(json!({"colour": 1})),
        [
            "p: unknown schema key 'colour' (valid keys: summary_type, omit, rename, order, static_fields, derived_fields, \
          metadata, timestamp_format)"
        ]
    );
    for (key, value, reason) in [
        ("summary_type", json!(1), "must be a string"),
        ("timestamp_format", json!(null), "must be a string"),
        ("omit", json!("x"), "must be an array of strings"),
        ("order", json!({}), "must be an array of strings"),
        ("omit", json!([1]), "entries must be strings"),
        ("omit", json!([""]), "entries must be non-empty"),
        ("rename", json!([]), "must be an object"),
        ("rename", json!({"client_ip": 1}), "value for 'client_ip' must be a string"),
        ("static_fields", json!(1), "must be an object"),
        ("metadata", json!("nested"), "must be an object"),
        ("derived_fields", json!({}), "must be an array"),
        ("derived_fields", json!(["x"]), "entries must be objects"),
        ("derived_fields", json!([{"kind": "outcome"}]), "entry missing non-empty 'name'"),
        ("derived_fields", json!([{"name": "n"}]), "entry 'n' missing 'kind'"),
    ] {
        let errors = refused(json!({key: value}));
        assert_eq!(errors[0], format!("p: schema '{key}' {reason}"));
    }
}

#[test]
fn words_out_of_a_list_are_refused_with_the_list() {
    for (definition, text) in [
        (json!({"summary_type": "tcp"}), "schema: 'summary_type' must be 'http', 'stream', or 'both' (got 'tcp')"),
        (
            json!({"timestamp_format": "unix"}),
            "schema: 'timestamp_format' must be 'rfc3339', 'epoch_ms', or 'epoch_s' (got 'unix')",
        ),
        (
            json!({"derived_fields": [{"name": "n", "kind": "x"}]}),
            "schema: unknown derived kind 'x' (valid: status_class, backend_host, summary_kind, outcome)",
        ),
        (
            json!({"metadata": {"mode": "flat"}}),
            "p: schema 'metadata.mode' must be 'nested', 'omit', or 'flatten' (got 'flat')",
        ),
        (
            json!({"metadata": {"on_collision": "x"}}),
            "p: schema 'metadata.on_collision' must be 'skip' or 'overwrite' (got 'x')",
        ),
        (json!({"metadata": {"prefix": 1}}), "p: schema 'metadata.prefix' must be a string"),
        (json!({"metadata": {"prefix": "a\n"}}), "p: schema 'metadata.prefix' must not contain control characters"),
    ] {
        assert_eq!(refused(definition), [text]);
    }
}

#[test]
fn unknown_fields_are_refused_with_a_suggestion() {
    let unknown = |what: &str, field: &str| format!("p: schema {what} references unknown field '{field}'");
    assert_eq!(
        refused(json!({"omit": ["clientip", "nothing_like_it"]})),
        [unknown("omit", "clientip") + " (did you mean 'client_ip'?)", unknown("omit", "nothing_like_it")]
    );
    assert_eq!(refused(json!({"rename": {"colour_of_it": "x"}})), [unknown("rename", "colour_of_it")]);
    assert_eq!(refused(json!({"summary_type": "http", "omit": ["sni_hostname"]})), [unknown("omit", "sni_hostname")]);
    assert_eq!(
        refused(json!({"summary_type": "stream", "omit": ["request_user_agent"]})),
        [unknown("omit", "request_user_agent")]
    );
    assert!(compile(json!({"omit": ["sni_hostname", "http_method"]}), Escape::None).is_ok());
}

#[test]
fn names_that_look_sensitive_are_refused() {
    let end = "matches a sensitive-data substring; pick a different name";
    assert_eq!(
        refused(json!({"rename": {"client_ip": "my_password"}})),
        [format!("p: schema rename target 'my_password' (for source 'client_ip') {end}")]
    );
    assert_eq!(
        refused(json!({"static_fields": {"a_secret": 1, "ok": [{"Cookie": 1}]}})),
        [
            format!("p: schema static_fields key 'a_secret' {end}"),
            format!("p: schema static_fields nested key 'Cookie' (in 'ok') {end}")
        ]
    );
    assert_eq!(
        refused(json!({"derived_fields": [{"name": "bearer", "kind": "outcome"}]})),
        [format!("p: schema derived_fields name 'bearer' {end}")]
    );
}

#[test]
fn contradictions_are_refused() {
    for (definition, text) in [
        (
            json!({"omit": ["client_ip"], "rename": {"client_ip": "ip"}}),
            "schema field 'client_ip' is both omitted and renamed (rename target 'ip')",
        ),
        (json!({"rename": {"client_ip": " "}}), "schema rename target for 'client_ip' must be a non-empty string"),
        (
            json!({"static_fields": {"a": null}}),
            "schema 'static_fields' value for 'a' must not be null (use 'omit' instead)",
        ),
        (
            json!({"static_fields": {"a": {"b": ["Bearer abc"]}}}),
            "schema 'static_fields' value for 'a' looks like a credential; remove it",
        ),
        (
            json!({"rename": {"client_ip": "namespace"}}),
            "duplicate output key 'namespace' produced by native and native",
        ),
        (
            json!({"rename": {"http_method": "x", "sni_hostname": "x"}}),
            "duplicate output key 'x' produced by native and native",
        ),
        (
            json!({"static_fields": {"namespace": 1}}),
            "duplicate output key 'namespace' produced by native and static_fields",
        ),
        (
            json!({"static_fields": {"a": 1}, "derived_fields": [{"name": "a", "kind": "outcome"}]}),
            "duplicate output key 'a' produced by static_fields and derived_fields",
        ),
    ] {
        assert_eq!(refused(definition), [format!("p: {text}")]);
    }
    assert!(compile(json!({"static_fields": {"namespace": 1}, "omit": ["namespace"]}), Escape::None).is_ok());
}

#[test]
fn wrong_orders_are_refused() {
    for (order, text) in [
        (json!(["*", "client_ip", "*"]), "may only contain '*' once"),
        (json!(["client_ip", "*", "client_ip"]), "lists 'client_ip' more than once"),
        (json!(["clientip", "*"]), "references unknown output key 'clientip' (did you mean 'client_ip'?)"),
        (json!(["wholly_other", "*"]), "references unknown output key 'wholly_other'"),
    ] {
        assert_eq!(refused(json!({"order": order})), [format!("p: schema 'order' {text}")]);
    }
    let names = STREAM_FIELDS.iter().skip(2).copied().collect::<Vec<_>>();
    assert_eq!(
        refused(json!({"summary_type": "stream", "order": names})),
        ["p: schema 'order' missing entries: namespace, proxy_id (add them, or use '*' to catch the rest)"]
    );
}

#[test]
fn unknown_keys_further_inside_are_named_and_ignored() {
    let definition = json!({"metadata": {"depth": 1}, "derived_fields": [{"name": "o", "kind": "outcome", "x": 1}]});
    let (_, warnings) = compile(definition, Escape::None).unwrap();
    assert_eq!(
        warnings,
        [
            "p: unknown key 'x' in schema 'derived_fields' is ignored",
            "p: unknown key 'depth' in schema 'metadata' is ignored"
        ]
    );
}
