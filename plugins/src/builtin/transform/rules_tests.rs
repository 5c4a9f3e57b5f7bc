//! The grammar, key by key.

use serde_json::json;

use super::*;
use crate::config::Null;

const REQUEST: Dialect = Dialect {
    targets: &[Target::Header, Target::Query, Target::Body],
    refuses_bad_names: false,
    sends_obs_text: false,
};
const RESPONSE: Dialect =
    Dialect { targets: &[Target::Header, Target::Body], refuses_bad_names: true, sends_obs_text: true };

/// The rules with the warnings, or the errors; texts without the name of the plugin.
fn read(dialect: Dialect, config: &Value) -> Result<(Rules, Vec<String>), Vec<String>> {
    let bare = |texts: Vec<String>| {
        let bare = |text: String| text.strip_prefix("t: ").unwrap().to_owned();
        texts.into_iter().map(bare).collect::<Vec<_>>()
    };
    let mut keys = Keys::open("t", &KEYS, config, Null::Refused).unwrap();
    let rules = Rules::read(&mut keys, dialect);
    keys.finish(rules).map(|parsed| (parsed.spec, bare(parsed.warnings))).map_err(bare)
}

fn rules(config: Value) -> Rules {
    read(REQUEST, &config).unwrap().0
}

/// The errors of one rule, without `rule[0]: `.
fn wrong(dialect: Dialect, rule: Value) -> Vec<String> {
    let errors = read(dialect, &json!({"rules": [rule]})).unwrap_err();
    errors.iter().map(|error| error.strip_prefix("rule[0]: ").unwrap().to_owned()).collect()
}

fn warnings(dialect: Dialect, rule: Value) -> (Rules, Vec<String>) {
    let (rules, warnings) = read(dialect, &json!({"rules": [rule]})).unwrap();
    (rules, warnings.iter().map(|warning| warning.strip_prefix("rule[0]: ").unwrap().to_owned()).collect())
}

#[test]
fn rules_are_sorted_by_target_and_keep_their_order() {
    let rules = rules(json!({"rules": [
        {"target": "body", "operation": "remove", "key": "a"},
        {"target": "header", "operation": "add", "key": "X-A", "value": "1"},
        {"target": "query", "operation": "update", "key": "Q", "value": ""},
        {"operation": "rename", "key": "X-B", "new_key": "X-C"},
        {"target": "query", "operation": "remove", "key": "q"},
    ]}));
    let text = str::to_owned;
    assert_eq!(
        *rules.headers,
        [
            FieldRule::Add { name: text("x-a"), value: text("1") },
            FieldRule::Rename { name: text("x-b"), to: text("x-c") }
        ]
    );
    assert_eq!(
        *rules.query,
        [FieldRule::Update { name: text("Q"), value: text("") }, FieldRule::Remove { name: text("q") }]
    );
    let mut names = Names::default();
    let path = body_path::parse("a", &mut names);
    assert_eq!(rules.body, BodyRules::new(vec![BodyRule::Remove { path }], names));
}

#[test]
fn a_value_for_a_body_is_json_and_a_string_that_is_json_is_that() {
    let value = |value: Value| {
        let rules = rules(json!({"rules": [{"target": "body", "operation": "add", "key": "k", "value": value}]}));
        let body = String::from_utf8(rules.body.rewritten(b"{}".to_vec())).unwrap();
        body.strip_prefix("{\"k\":").and_then(|rest| rest.strip_suffix('}')).unwrap().to_owned()
    };
    for (given, expected) in [
        (json!(null), "null"),
        (json!(true), "true"),
        (json!({"a": [1, "x"]}), r#"{"a":[1,"x"]}"#),
        (json!("plain words"), r#""plain words""#),
        (json!(" { \"a\" : [ 1 , \"b c\" ] } "), r#"{"a":[1,"b c"]}"#),
        (json!("123456789012345678901234567890"), "123456789012345678901234567890"),
        (json!("\"5\""), r#""5""#),
        (json!("5"), "5"),
        (json!("null"), "null"),
        (json!("{broken"), r#""{broken""#),
        (json!("\"\\ud800\""), r#""\"\\ud800\"""#),
        (json!(""), r#""""#),
    ] {
        assert_eq!(value(given.clone()), expected, "{given}");
    }
}

#[test]
fn wrong_rules_are_refused_with_their_place() {
    let errors = read(
        REQUEST,
        &json!({"rules": [
            {"operation": "remove", "key": "a"},
            5,
            {"target": "trailer", "operation": "set"},
        ]}),
    );
    assert_eq!(
        errors.unwrap_err(),
        [
            "rule[1]: rule must be an object",
            "rule[2]: unknown target 'trailer' (expected header/query/body)",
            "rule[2]: unknown operation 'set' (expected add/update/remove/rename)",
            "rule[2]: 'key' is required",
        ]
    );
    let no_target = "'target' is required (expected header/query/body)";
    let rows: &[(Value, &[&str])] = &[
        (json!({"target": null, "operation": "remove", "key": "a"}), &[no_target]),
        (
            json!({"target": 1, "operation": "remove", "key": "a"}),
            &["'target' must be a string (expected header/query/body)"],
        ),
        (json!({"key": "a"}), &["'operation' is required"]),
        (json!({"operation": null, "key": "a"}), &["'operation' is required"]),
        (json!({"operation": 1, "key": "a"}), &["'operation' must be a string"]),
        (
            json!({"operation": "Add", "key": "a", "value": "1"}),
            &["unknown operation 'Add' (expected add/update/remove/rename)"],
        ),
        (json!({"operation": "remove", "key": 1}), &["'key' must be a string"]),
        (json!({"operation": "add", "key": "a"}), &["'add' operation requires a 'value'"]),
        (json!({"operation": "update", "key": "a", "value": null}), &["'update' operation requires a 'value'"]),
        (json!({"target": "query", "operation": "add", "key": "a"}), &["'add' operation requires a 'value'"]),
        (json!({"target": "body", "operation": "update", "key": "a"}), &["'update' operation requires a 'value'"]),
        (json!({"operation": "remove", "key": "a", "value": 1}), &["'value' must be a string for header/query rules"]),
        (
            json!({"target": "query", "operation": "add", "key": "a", "value": {}}),
            &["'value' must be a string for header/query rules"],
        ),
        (json!({"operation": "rename", "key": "a"}), &["'rename' operation requires a 'new_key'"]),
        (json!({"operation": "rename", "key": "a", "new_key": null}), &["'rename' operation requires a 'new_key'"]),
        (json!({"operation": "rename", "key": "a", "new_key": 1}), &["'new_key' must be a string"]),
        (json!({"target": "body", "operation": "rename", "key": "a"}), &["'rename' operation requires a 'new_key'"]),
        (json!({"operation": "add", "key": "a", "value": "b\r"}), &["header 'value' must not contain CR or LF"]),
        (json!({"operation": "update", "key": "a", "value": "b\nc"}), &["header 'value' must not contain CR or LF"]),
        (
            json!({"target": "body", "operation": "rename", "key": "a.0", "new_key": "12"}),
            &[
                "'key' of 'rename' must not have a numeric segment (0); use 'remove' and 'add' instead",
                "'new_key' of 'rename' must not have a numeric segment (12); use 'remove' and 'add' instead",
            ],
        ),
    ];
    for (rule, expected) in rows {
        assert_eq!(wrong(REQUEST, rule.clone()), *expected, "{rule}");
    }
}

#[test]
fn a_response_has_no_query_and_its_header_names_are_checked() {
    let query = json!({"target": "query", "operation": "remove", "key": "a"});
    assert_eq!(wrong(RESPONSE, query), ["unknown target 'query' (expected header/body)"]);
    let rename = json!({"operation": "rename", "key": "a b", "new_key": ""});
    assert_eq!(
        wrong(RESPONSE, rename),
        ["'key' must be a valid HTTP header name", "'new_key' must be a valid HTTP header name"]
    );
    let name = |length: usize| json!({"operation": "remove", "key": "n".repeat(length)});
    assert!(read(RESPONSE, &json!({"rules": [name(65_535)]})).is_ok());
    assert_eq!(wrong(RESPONSE, name(65_536)), ["'key' must be a valid HTTP header name"]);
    let number = json!({"operation": "add", "key": "a", "value": 5});
    assert_eq!(wrong(RESPONSE, number), ["'value' must be a string for header rules"]);
    assert!(read(RESPONSE, &json!({"rules": [{"target": "body", "operation": "remove", "key": "a b"}]})).is_ok());
}

#[test]
fn a_path_has_at_most_128_segments() {
    let rule = |segments: usize| json!({"target": "body", "operation": "remove", "key": vec!["a"; segments].join(".")});
    assert!(read(REQUEST, &json!({"rules": [rule(128)]})).is_ok());
    assert_eq!(wrong(REQUEST, rule(129)), ["'key' must not have more than 128 segments"]);
}

#[test]
fn what_a_request_rule_cannot_do_is_said_and_a_forged_value_does_not_pass_instead() {
    let (rules, said) = warnings(REQUEST, json!({"operation": "update", "key": "X-Role", "value": "gäst"}));
    assert_eq!(said, ["'value' has characters that no header can carry, so the header is removed instead"]);
    assert_eq!(*rules.headers, [FieldRule::Remove { name: "x-role".into() }]);
    let (rules, said) = warnings(REQUEST, json!({"operation": "add", "key": "a", "value": "\u{1}"}));
    assert_eq!(said, ["'value' has characters that no header can carry, so the rule has no effect"]);
    assert!(rules.headers.is_empty());
    let (rules, said) = warnings(REQUEST, json!({"operation": "add", "key": "a b", "value": "x"}));
    assert_eq!(said, ["no header can be named 'a b', so the rule has no effect"]);
    assert!(rules.headers.is_empty());
    let (rules, said) = warnings(RESPONSE, json!({"operation": "add", "key": "a", "value": "ü\t~"}));
    assert_eq!((rules.headers.len(), said.len()), (1, 0));
    let (rules, _) = warnings(RESPONSE, json!({"operation": "add", "key": "a", "value": "\u{7f}"}));
    assert!(rules.headers.is_empty());
}

#[test]
fn what_a_rule_does_not_look_at_is_said() {
    let rule = json!({"operation": "remove", "key": "a", "value": "b", "new_key": "c", "comment": "d"});
    assert_eq!(
        warnings(REQUEST, rule).1,
        [
            "'value' has no effect with 'remove'",
            "'new_key' has no effect with 'remove'",
            "unknown key 'comment' is ignored"
        ]
    );
}

#[test]
fn without_rules_there_is_nothing_to_do() {
    let nothing = "no 'rules' configured — plugin will have no effect";
    for config in [json!({}), json!({"rules": []}), json!({"rules": [], "apply_route_overrides": false})] {
        assert_eq!(read(REQUEST, &config).unwrap_err(), [nothing]);
    }
    for wrong in [json!({}), json!("x"), json!(null)] {
        assert_eq!(read(REQUEST, &json!({"rules": wrong})).unwrap_err(), ["'rules' must be an array"]);
    }
    let (rules, said) = read(REQUEST, &json!({"apply_route_overrides": true})).unwrap();
    assert!(rules.are_none());
    assert_eq!(said, ["'apply_route_overrides' has no effect in this release: there are no route-level transforms"]);
}

#[test]
fn the_default_decides_whether_the_rules_are_on() {
    let with = |key: &str, value: Value| {
        let mut config = json!({"rules": [{"operation": "remove", "key": "a"}]});
        config[key] = value;
        read(REQUEST, &config)
    };
    assert_eq!(with("default_enabled", json!(true)).unwrap().0.headers.len(), 1);
    assert!(with("default_enabled", json!(false)).unwrap().0.are_none());
    let (rules, said) = with("runtime_overlay_scope", json!("edge")).unwrap();
    assert_eq!(rules.headers.len(), 1);
    assert_eq!(said, ["'runtime_overlay_scope' has no effect in this release: 'default_enabled' decides"]);
    for (key, value, error) in [
        ("default_enabled", json!("no"), "default_enabled must be a boolean"),
        ("runtime_overlay_scope", json!(" \t"), "runtime_overlay_scope must be a non-empty string"),
        ("runtime_overlay_scope", json!(null), "runtime_overlay_scope must be a string"),
        ("apply_route_overrides", json!(1), "'apply_route_overrides' must be a boolean"),
    ] {
        assert_eq!(with(key, value).unwrap_err(), [error]);
    }
}
