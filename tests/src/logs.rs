//! What the gateway printed, line by line, while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

use crate::wait::PATIENCE;

/// Lines of one output stream, growing until the process closes it.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = lines.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                shared.0.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        lines
    }

    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Everything, once the process closed the stream.
    pub(crate) fn all(&self) -> String {
        let guard = self.0.0.lock().unwrap();
        let (text, _) = self.0.1.wait_timeout_while(guard, PATIENCE, |text| !text.ended).unwrap();
        text.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The first line for which `wanted` gives a value, waiting for it to be printed.
    pub(crate) fn find<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (mut seen, mut found) = (0, None);
        let guard = self.0.0.lock().unwrap();
        let search = |text: &mut Text| {
            while found.is_none() && seen < text.lines.len() {
                found = wanted(&text.lines[seen]);
                seen += 1;
            }
            found.is_none() && !text.ended
        };
        drop(self.0.1.wait_timeout_while(guard, PATIENCE, search).unwrap());
        found
    }
}

/// The text of a log line: `fields.message`.
pub(crate) fn message_of(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    record["fields"]["message"].as_str().map(str::to_owned)
}

/// The transaction record inside a line that `stdout_logging` wrote.
pub(crate) fn access_record_of(line: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(line).ok()?;
    if record["target"] != "access_log" {
        return None;
    }
    serde_json::from_str(record["fields"]["message"].as_str()?).ok()
}
