//! `http_logging`: sends the records of finished transactions to an HTTP endpoint, in batches (traffic sheet §8.5).

mod poster;

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::outbound::sink::{BATCH_KEYS, Settings, Sink, Stage};
use crate::outbound::{host, http_url};
use crate::transaction::{Escape, Moment, Record, SCHEMA_KEYS, Schema};
use crate::{CoreEnv, Outcome, Phases, Plugin, Protocols, RequestContext, Specs};

use poster::Poster;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers that say where a message ends and what becomes of its connection; those are the client's to set.
const FRAMING: [&str; 6] = ["connection", "content-length", "keep-alive", "te", "transfer-encoding", "upgrade"];

pub struct HttpLogging {
    endpoint: Url,
    headers: HeaderMap,
    settings: Settings,
    schema: Option<Arc<Schema>>,
    /// One for all cores, started by the first that has something to log.
    sink: OnceLock<Arc<Sink>>,
}

impl BuiltIn for HttpLogging {
    const NAME: &'static str = "http_logging";
    const PRIORITY: u16 = 9100;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key("endpoint_url", "string", "*required*", "where batches are posted to: `http` or `https`"),
        key("custom_headers", "object of strings", "`{}`", "sent with every batch, such as `Authorization`"),
        BATCH_KEYS[0],
        BATCH_KEYS[1],
        BATCH_KEYS[2],
        BATCH_KEYS[3],
        BATCH_KEYS[4],
        BATCH_KEYS[5],
        BATCH_KEYS[6],
        SCHEMA_KEYS[0],
        SCHEMA_KEYS[1],
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        let endpoint = endpoint(&mut keys);
        let headers = headers(&mut keys);
        let settings = Settings::read(&mut keys, Settings::DEFAULT);
        let schema = Schema::read(&mut keys, Escape::None).map(Arc::new);
        match endpoint {
            Some(endpoint) => keys.finish(Self { endpoint, headers, settings, schema, sink: OnceLock::new() }),
            None => Err(keys.errors()),
        }
    }
}

fn endpoint(keys: &mut Keys<'_>) -> Option<Url> {
    let present = keys.raw("endpoint_url").is_some();
    match keys.text("endpoint_url") {
        Some(text) if !text.trim().is_empty() => {
            http_url(text).map_err(|reason| keys.refuse("endpoint_url", reason)).ok()
        }
        None if present => None,
        _ => {
            keys.refuse("endpoint_url", "is required — logs will have nowhere to send");
            None
        }
    }
}

/// With the content type, unless that is among them. Values may be secrets, so no error shows one.
fn headers(keys: &mut Keys<'_>) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON)]);
    let Some(value) = keys.raw("custom_headers") else { return headers };
    let Some(custom) = value.as_object() else {
        keys.refuse("custom_headers", "must be an object");
        return headers;
    };
    for (name, value) in custom {
        match header(name, value) {
            Ok((name, value)) => drop(headers.insert(name, value)),
            Err(reason) => keys.error(format!("{}: {reason}", HttpLogging::NAME)),
        }
    }
    headers
}

fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), String> {
    let text = value.as_str().ok_or_else(|| format!("custom_headers['{name}'] must be a string"))?;
    let invalid = |error: &dyn std::fmt::Display| format!("invalid custom_headers name '{name}': {error}");
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| invalid(&error))?;
    if FRAMING.contains(&parsed.as_str()) {
        return Err(invalid(&"this header belongs to the connection"));
    }
    let mut value =
        HeaderValue::from_str(text).map_err(|error| format!("invalid custom_headers value for '{name}': {error}"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

impl Specs for HttpLogging {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn hosts(&self) -> Vec<String> {
        host(&self.endpoint).into_iter().collect()
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin> {
        let start = || {
            let poster = Poster::new(env.services.http.clone(), self.endpoint.clone(), self.headers.clone());
            Sink::start(&env.services, Self::NAME, self.settings, poster)
        };
        let sink = self.sink.get_or_init(start).clone();
        Rc::new(Logger { schema: self.schema.clone(), stage: Stage::new(sink, env) })
    }
}

/// The plugin on one core.
struct Logger {
    schema: Option<Arc<Schema>>,
    stage: Rc<Stage>,
}

impl Plugin for Logger {
    fn name(&self) -> &'static str {
        HttpLogging::NAME
    }

    fn phases(&self) -> Phases {
        Phases::LOG
    }

    fn log(&self, cx: &RequestContext, outcome: &Outcome) {
        self.stage.push(|out| {
            let record = Record::new(cx, outcome, Moment::now());
            match &self.schema {
                Some(schema) => schema.write(&record, out),
                None => record.write(out, Escape::None),
            }
        });
    }
}

#[cfg(test)]
mod tests;
