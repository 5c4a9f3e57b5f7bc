use serde_json::json;

use super::*;
use crate::testing::peer::{Act, Peer};
use crate::testing::{core, outcome, request};

fn refused(config: Value) -> Vec<String> {
    HttpLogging::parse(&config).err().expect("the config is refused")
}

/// With an endpoint and these keys.
fn with(extra: Value) -> Value {
    let mut config = json!({"endpoint_url": "http://sink.test/in"});
    config.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
    config
}

#[test]
fn the_endpoint_is_required_and_a_url() {
    let required = "http_logging: 'endpoint_url' is required — logs will have nowhere to send";
    assert_eq!(refused(json!({})), [required]);
    assert_eq!(refused(json!({"endpoint_url": " "})), [required]);
    for wrong in [json!(null), json!(5)] {
        assert_eq!(refused(json!({"endpoint_url": wrong})), ["http_logging: 'endpoint_url' must be a string"]);
    }
    assert_eq!(
        refused(json!({"endpoint_url": "ws://sink.test/"})),
        ["http_logging: 'endpoint_url' must use http or https scheme, got 'ws'"]
    );
    let text = &refused(json!({"endpoint_url": "sink.test/in"}))[0];
    assert!(text.starts_with("http_logging: 'endpoint_url' is not a valid URL: "), "{text}");
    assert_eq!(refused(Value::Null), ["http_logging: config must be an object"]);
    assert_eq!(refused(json!([])), ["http_logging: config must be an object"]);
}

#[test]
fn custom_headers_are_checked_by_name_and_no_value_is_shown() {
    assert_eq!(refused(with(json!({"custom_headers": []}))), ["http_logging: 'custom_headers' must be an object"]);
    assert_eq!(
        refused(with(json!({"custom_headers": {"X-One": 1, "X-Two": null}}))),
        [
            "http_logging: custom_headers['X-One'] must be a string",
            "http_logging: custom_headers['X-Two'] must be a string"
        ]
    );
    let errors = refused(with(json!({"custom_headers": {"bad name": "v", "": "v"}})));
    assert!(errors[0].starts_with("http_logging: invalid custom_headers name 'bad name': "), "{errors:?}");
    assert!(errors[1].starts_with("http_logging: invalid custom_headers name '': "), "{errors:?}");
    let errors = refused(with(json!({"custom_headers": {"Authorization": "sec\nret"}})));
    assert!(errors[0].starts_with("http_logging: invalid custom_headers value for 'Authorization': "), "{errors:?}");
    assert!(!errors[0].contains("ret"), "{errors:?}");
    for framing in ["Content-Length", "transfer-encoding", "Connection", "Upgrade", "TE", "Keep-Alive"] {
        let text =
            format!("http_logging: invalid custom_headers name '{framing}': this header belongs to the connection");
        assert_eq!(refused(with(json!({"custom_headers": {framing: "1"}}))), [text]);
    }
}

#[test]
fn every_wrong_key_is_reported_at_once() {
    let config = json!({"endpoint_url": 1, "batch_size": "5", "custom_headers": 2, "schema": 3, "other": 4});
    assert_eq!(
        refused(config),
        [
            "http_logging: 'endpoint_url' must be a string",
            "http_logging: 'custom_headers' must be an object",
            "http_logging: 'batch_size' must be an unsigned integer",
            "http_logging: 'schema' must be an object"
        ]
    );
}

#[test]
fn an_unknown_key_is_named_and_a_value_out_of_range_too() {
    let parsed = HttpLogging::parse(&with(json!({"authorization": "x", "batch_size": 0}))).unwrap();
    assert_eq!(
        parsed.warnings,
        [
            "http_logging: 'batch_size' 0 is out of range, 1 is used",
            "http_logging: unknown key 'authorization' is ignored"
        ]
    );
    assert_eq!(parsed.spec.hosts(), ["sink.test"]);
    let literal = HttpLogging::parse(&json!({"endpoint_url": "http://10.0.0.1/"})).unwrap();
    assert_eq!(literal.spec.hosts(), ["10.0.0.1"]);
}

#[test]
fn a_batch_is_a_json_array_of_records_with_the_headers_of_the_config() {
    let peer = Peer::new(|_, _| Act::Answer(204, Vec::new()));
    let config = json!({
        "endpoint_url": peer.url("/in?k=v"), "batch_size": 2,
        "custom_headers": {"Authorization": "Bearer s3cret", "X-Team": "edge"},
    });
    let spec = HttpLogging::parse(&config).unwrap().spec;
    let (env, _drain) = core();
    let plugin = spec.build(&env);
    plugin.log(&request("GET /a?secret=1", &[("user-agent", "c\"d")]), &outcome());
    assert!(peer.seen().is_empty());
    plugin.log(&request("POST /b", &[]), &outcome());
    env.ticks.run();
    let seen = &peer.wait_for(1)[0];
    assert_eq!(seen.line, "POST /in?k=v HTTP/1.1");
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!((seen.header("authorization"), seen.header("x-team")), (Some("Bearer s3cret"), Some("edge")));
    let records: Vec<Value> = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0]["request_path"], &records[0]["request_user_agent"]), (&json!("/a"), &json!("c\"d")));
    assert_eq!((&records[1]["http_method"], &records[1]["metadata"]), (&json!("POST"), &json!({})));
}

#[test]
fn a_schema_shapes_the_records() {
    let peer = Peer::new(|_, _| Act::Answer(200, Vec::new()));
    let schema = json!({"rename": {"http_method": "verb"}, "static_fields": {"env": "\"eu\""}});
    let config = json!({"endpoint_url": peer.url("/"), "batch_size": 1, "schema": schema});
    let (env, _drain) = core();
    let plugin = HttpLogging::parse(&config).unwrap().spec.build(&env);
    plugin.log(&request("GET /", &[]), &outcome());
    let records: Value = serde_json::from_slice(&peer.wait_for(1)[0].body).unwrap();
    assert_eq!((&records[0]["verb"], &records[0]["env"]), (&json!("GET"), &json!("\"eu\"")));
}

#[test]
fn all_cores_share_one_queue_and_its_batches() {
    let peer = Peer::new(|_, _| Act::Answer(200, Vec::new()));
    let spec = HttpLogging::parse(&json!({"endpoint_url": peer.url("/"), "batch_size": 4})).unwrap().spec;
    let cores = [core().0, core().0];
    let plugins = cores.each_ref().map(|env| spec.build(env));
    for plugin in plugins.iter().chain(&plugins) {
        plugin.log(&request("GET /", &[]), &outcome());
    }
    cores.iter().for_each(|env| env.ticks.run());
    let records: Vec<Value> = serde_json::from_slice(&peer.wait_for(1)[0].body).unwrap();
    assert_eq!(records.len(), 4);
}

#[test]
fn a_redirect_is_not_followed_but_tried_again() {
    let peer = Peer::new(|earlier, _| match earlier {
        0 => Act::AnswerWith(302, "Location: /elsewhere\r\n".to_owned(), Vec::new()),
        _ => Act::Answer(200, Vec::new()),
    });
    let config = json!({"endpoint_url": peer.url("/in"), "batch_size": 1, "retry_delay_ms": 0});
    let (env, _drain) = core();
    let plugin = HttpLogging::parse(&config).unwrap().spec.build(&env);
    plugin.log(&request("GET /", &[]), &outcome());
    let lines: Vec<String> = peer.wait_for(2).into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines, ["POST /in HTTP/1.1", "POST /in HTTP/1.1"]);
}

#[test]
fn a_connection_is_used_for_one_batch_after_the_other() {
    const BATCHES: usize = 20;
    let peer = Peer::new(|_, _| Act::Answer(200, vec![b'x'; 1000]));
    let config = json!({"endpoint_url": peer.url("/in"), "batch_size": 1});
    let (env, _drain) = core();
    let plugin = HttpLogging::parse(&config).unwrap().spec.build(&env);
    for batch in 1..=BATCHES {
        plugin.log(&request("GET /", &[]), &outcome());
        peer.wait_for(batch);
    }
    // A batch may be faster than the connection of the one before is put back; not all of them are.
    assert!(peer.connections() < BATCHES, "a connection for each batch");
}
