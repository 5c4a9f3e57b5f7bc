//! Server-sent events.

use std::collections::HashMap;

use serde_json::Value;

use crate::plugins::RequestContext;

pub fn is_sse_request(ctx: &RequestContext) -> bool {
    headers_accept_sse(&ctx.headers)
}

#[expect(clippy::implicit_hasher, reason = "the documented maps have the default one")]
pub fn headers_accept_sse(headers: &HashMap<String, String>) -> bool {
    headers.get("accept").is_some_and(|accept| accept.to_lowercase().contains("text/event-stream"))
}

/// The data of each event that is JSON; lines of one event belong together.
pub fn parse_sse_data_frames(body: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n").replace('\r', "\n");
    let data = |event: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    };
    text.split("\n\n").filter_map(|event| serde_json::from_str(&data(event)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_that_are_json_are_read() {
        let body = b"event: a\ndata: {\"x\":1}\n\ndata: [1,\r\ndata: 2]\r\n\r\ndata: [DONE]\n\n";
        assert_eq!(parse_sse_data_frames(body), [json!({"x": 1}), json!([1, 2])]);
    }

    #[test]
    fn a_client_asks_for_events_with_accept() {
        let headers = HashMap::from([("accept".to_owned(), "a/b, Text/Event-Stream".to_owned())]);
        assert!(headers_accept_sse(&headers) && !headers_accept_sse(&HashMap::new()));
    }
}
