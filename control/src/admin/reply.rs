//! Answers and the headers they all carry (admin sheet §4).

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::store::Range;

pub(super) type Reply = Response<Full<Bytes>>;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_DATA_SOURCE: HeaderName = HeaderName::from_static("x-data-source");

pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    json_bytes(status, Bytes::from(body.to_string()))
}

pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = text(status, HeaderValue::from_static("application/json"), body);
    reply.headers_mut().insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    reply
}

pub(super) fn yaml(body: &'static str) -> Reply {
    text(StatusCode::OK, HeaderValue::from_static("application/yaml"), Bytes::from_static(body.as_bytes()))
}

/// The answer to a deletion.
pub(super) fn no_content() -> Reply {
    json_bytes(StatusCode::NO_CONTENT, Bytes::new())
}

/// Some of a list of `total`, and where the next page begins.
pub(super) fn page(items: &[impl Serialize], range: Range, total: u64) -> Reply {
    let next = range.offset.saturating_add(items.len() as u64);
    let body = json!({
        "items": items,
        "limit": range.limit,
        "next_offset": (next < total).then_some(next),
        "offset": range.offset,
        "total": total,
    });
    json(StatusCode::OK, &body)
}

pub(super) fn error(status: StatusCode, text: &str) -> Reply {
    json(status, &json!({ "error": text }))
}

pub(super) fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) fn metrics(body: Bytes) -> Reply {
    text(StatusCode::OK, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"), body)
}

fn text(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Says whether the body was rendered for this request.
pub(super) fn with_cache(mut reply: Reply, is_hit: bool) -> Reply {
    let value = HeaderValue::from_static(if is_hit { "hit" } else { "miss" });
    reply.headers_mut().insert(X_CACHE, value);
    reply
}

/// Says that the database answers. Only the backup does; elsewhere it is what is expected.
pub(super) fn from_database(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(X_DATA_SOURCE, HeaderValue::from_static("database"));
    reply
}

/// Says that the running configuration answers, not a database.
pub(super) fn from_running_config(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(X_DATA_SOURCE, HeaderValue::from_static("cached"));
    reply
}
