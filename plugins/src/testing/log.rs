//! What the code under test writes to the process log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Collects what this thread logs while it lives.
pub(crate) struct Log {
    text: Text,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked there").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Text {
    type Writer = Text;

    fn make_writer(&self) -> Text {
        self.clone()
    }
}

impl Log {
    pub fn new() -> Self {
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(text.clone()).finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines so far, each with `level` and `fields`.
    pub fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.text.0.lock().expect("no test panicked there").clone()).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// The texts of the warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        let lines = self.lines();
        let warnings = lines.iter().filter(|line| line["level"] == "WARN");
        warnings.filter_map(|line| line["fields"]["message"].as_str()).map(str::to_owned).collect()
    }
}
