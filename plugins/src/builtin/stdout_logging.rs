//! `stdout_logging`: one line in the process log per transaction (traffic sheet §8.1).
//!
//! The line is written straight into the core's batch, with the record already escaped as the message it becomes.

use std::rc::Rc;
use std::sync::Arc;

use engine::logring::LogRing;
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed};
use crate::transaction::{Escape, Moment, Record, SCHEMA_KEYS, Schema};
use crate::{CoreEnv, Outcome, Phases, Plugin, Protocols, RequestContext, Specs};

#[derive(Clone, Debug, PartialEq)]
pub struct StdoutLogging {
    schema: Option<Arc<Schema>>,
}

impl BuiltIn for StdoutLogging {
    const NAME: &'static str = "stdout_logging";
    const PRIORITY: u16 = 9000;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &SCHEMA_KEYS;

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let schema = Schema::read(&mut keys, Escape::InString);
        keys.finish(Self { schema: schema.map(Arc::new) })
    }
}

impl Specs for StdoutLogging {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let count_lost = env.count_log_line.clone();
        Rc::new(Writer { schema: self.schema.clone(), log: env.log.clone(), count_lost })
    }
}

/// The plugin on one core.
struct Writer {
    schema: Option<Arc<Schema>>,
    log: Rc<LogRing>,
    count_lost: Rc<dyn Fn(u64)>,
}

impl Plugin for Writer {
    fn name(&self) -> &'static str {
        StdoutLogging::NAME
    }

    fn phases(&self) -> Phases {
        Phases::LOG
    }

    fn log(&self, cx: &RequestContext, outcome: &Outcome) {
        if !self.log.is_enabled() {
            return;
        }
        let lost = self.log.push(|line| {
            let now = Moment::now();
            let record = Record::new(cx, outcome, now);
            line.extend_from_slice(br#"{"timestamp":""#);
            now.write_micros(line);
            line.extend_from_slice(br#"","level":"INFO","fields":{"message":""#);
            match &self.schema {
                Some(schema) => schema.write(&record, line),
                None => record.write(line, Escape::InString),
            }
            line.extend_from_slice(br#""},"target":"access_log"}"#);
        });
        if lost != 0 {
            (self.count_lost)(lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::testing::{core, core_with, lines, outcome, request};
    use engine::logring::log_ring;
    use serde_json::json;

    fn logged(config: Value, cx: &RequestContext) -> Vec<Value> {
        let (env, drain) = core();
        let plugin = StdoutLogging::parse(&config).unwrap().spec.build(&env);
        plugin.log(cx, &outcome());
        lines(&env, &drain)
    }

    #[test]
    fn a_transaction_is_one_line_whose_message_is_the_record() {
        let mut cx = request("GET /a\"b?q=1", &[("user-agent", "c\\d")]);
        cx.metadata.set("k", "line\nbreak");
        let lines = logged(Value::Null, &cx);
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!((&line["level"], &line["target"]), (&json!("INFO"), &json!("access_log")));
        let stamp = line["timestamp"].as_str().unwrap();
        assert!(stamp.len() == 27 && stamp.ends_with('Z'), "{stamp}");
        let record: Value = serde_json::from_str(line["fields"]["message"].as_str().unwrap()).unwrap();
        assert_eq!(record["request_path"], "/a\"b");
        assert_eq!(record["request_user_agent"], "c\\d");
        assert_eq!(record["metadata"]["k"], "line\nbreak");
        assert_eq!(record["latency_total_ms"], json!(7.1));
    }

    #[test]
    fn a_schema_shapes_the_message() {
        let config = json!({"schema": {"rename": {"http_method": "verb"}, "static_fields": {"env": "\"eu\""}}});
        let lines = logged(config, &request("GET /", &[]));
        let record: Value = serde_json::from_str(lines[0]["fields"]["message"].as_str().unwrap()).unwrap();
        assert_eq!((&record["verb"], &record["env"]), (&json!("GET"), &json!("\"eu\"")));
    }

    #[test]
    fn nothing_is_built_when_nobody_reads_the_log() {
        let (env, drain) = core();
        drain.set_enabled(false);
        let plugin = StdoutLogging::parse(&json!({})).unwrap().spec.build(&env);
        plugin.log(&request("GET /", &[]), &outcome());
        assert!(lines(&env, &drain).is_empty());
    }

    #[test]
    fn lines_the_writer_had_no_room_for_are_counted() {
        let (ring, _drain) = log_ring(1);
        let lost = Rc::new(Cell::new(0));
        let count = lost.clone();
        let count_log_line: Rc<dyn Fn(u64)> = Rc::new(move |lines| count.set(count.get() + lines));
        let env = core_with(Rc::new(ring), count_log_line);
        let plugin = StdoutLogging::parse(&json!({})).unwrap().spec.build(&env);
        for _ in 0..400 {
            plugin.log(&request("GET /", &[]), &outcome());
        }
        assert!(lost.get() > 0);
    }

    #[test]
    fn configs_are_checked_key_by_key() {
        let refused = |config| StdoutLogging::parse(&config).unwrap_err();
        assert_eq!(refused(json!(1)), ["stdout_logging: config must be an object"]);
        assert_eq!(
            refused(json!({"schema": {}, "schema_ref": "x"})),
            ["stdout_logging: 'schema' and 'schema_ref' are mutually exclusive"]
        );
        assert_eq!(refused(json!({"schema_ref": 1})), ["stdout_logging: 'schema_ref' must be a string"]);
        assert_eq!(
            refused(json!({"schema_ref": "slim"})),
            [
                "stdout_logging: 'schema_ref' references unknown schema 'slim' (define it in a 'transaction_log_schema' plugin)"
            ]
        );
        assert_eq!(refused(json!({"schema": 1})), ["stdout_logging: 'schema' must be an object"]);
        let parsed = StdoutLogging::parse(&json!({"filter": {}})).unwrap();
        assert_eq!(parsed.warnings, ["stdout_logging: unknown key 'filter' is ignored"]);
        assert_eq!(StdoutLogging::parse(&Value::Null).unwrap().spec, StdoutLogging { schema: None });
    }
}
