use std::collections::HashMap;

use bytes::Bytes;

/// What a hook says.
#[derive(Debug)]
pub enum PluginResult {
    /// The next plugin, or the next phase.
    Continue,
    /// Answers with a text. `content-type: application/json` is added when `headers` has none.
    Reject { status_code: u16, body: String, headers: HashMap<String, String> },
    /// Answers with bytes.
    RejectBinary { status_code: u16, body: Bytes, headers: HashMap<String, String> },
}
