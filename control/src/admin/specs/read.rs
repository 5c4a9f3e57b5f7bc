//! The two kinds of GET: one document, and the list (admin sheet §31.8 and §31.9).

use engine::model::{ApiSpec, SpecFormat};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::content::unpacked;
use super::{NO_DATABASE, NOT_FOUND, listing, negotiate, parse};
use crate::admin::Admin;
use crate::admin::pipeline::Call;
use crate::admin::reply::{self, Reply};
use crate::admin::write::DATABASE_FAILED;
use crate::store::{SpecKey, StoreError};

const NONE_ACCEPTABLE: &str = "No representation acceptable per Accept header (all formats explicitly q=0)";
const CORRUPT: &str = "spec content corrupt or oversized";

impl Admin {
    pub(in crate::admin) async fn api_specs(&self, call: &Call) -> Reply {
        let Some(store) = &self.sources.store else { return no_database() };
        let (filter, range) = match listing::asked(&call.query) {
            Ok(asked) => asked,
            Err(text) => return reply::error(StatusCode::BAD_REQUEST, &text),
        };
        let page = match store.specs(&call.namespace, &filter, range).await {
            Ok(page) => page,
            Err(error) => return failed(&error),
        };
        reply::page(&page.rows, range, page.total)
    }

    pub(in crate::admin) async fn api_spec(&self, key: SpecKey<'_>, call: &Call) -> Reply {
        let Some(store) = &self.sources.store else { return no_database() };
        let spec = match store.spec(key).await {
            Ok(found) => found.filter(|spec| spec.namespace == call.namespace),
            Err(error) => return failed(&error),
        };
        let Some(spec) = spec else { return reply::error(StatusCode::NOT_FOUND, NOT_FOUND) };
        let Some(format) = negotiate::chosen(&joined(&call.headers, &ACCEPT), spec.spec_format) else {
            return reply::error(StatusCode::NOT_ACCEPTABLE, NONE_ACCEPTABLE);
        };
        let tag = format!("\"{}-{}\"", spec.content_hash, name(format));
        if negotiate::is_known(&joined(&call.headers, &IF_NONE_MATCH), &tag) {
            return tagged(StatusCode::NOT_MODIFIED, &tag, Bytes::new());
        }
        let (id, bytes_max) = (spec.id.clone(), self.spec_bytes_max());
        match self.take_apart(move || rendered(&spec, format, bytes_max)).await {
            Some(Ok(body)) => document(format, &tag, body),
            Some(Err(error)) => {
                tracing::error!(api_spec = id, error, "A stored API spec cannot be shown; put it again");
                reply::error(StatusCode::INTERNAL_SERVER_ERROR, CORRUPT)
            }
            None => reply::error(StatusCode::INTERNAL_SERVER_ERROR, CORRUPT),
        }
    }
}

fn no_database() -> Reply {
    reply::error(StatusCode::SERVICE_UNAVAILABLE, NO_DATABASE)
}

fn failed(error: &StoreError) -> Reply {
    tracing::warn!(error = %error, "API specs cannot be read");
    reply::error(StatusCode::SERVICE_UNAVAILABLE, DATABASE_FAILED)
}

/// All lines of a header as one. A line that is no text is no line.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(",")
}

fn name(format: SpecFormat) -> &'static str {
    match format {
        SpecFormat::Json => "json",
        SpecFormat::Yaml => "yaml",
    }
}

/// Byte for byte in its own format.
fn rendered(spec: &ApiSpec, format: SpecFormat, bytes_max: u64) -> Result<Vec<u8>, String> {
    let stored = unpacked(&spec.spec_content, bytes_max).map_err(|error| error.to_string())?;
    if format == spec.spec_format {
        return Ok(stored);
    }
    let value = parse::read(&stored, spec.spec_format).map_err(|error| error.to_string())?;
    match format {
        SpecFormat::Json => serde_json::to_vec_pretty(&value).map_err(|error| error.to_string()),
        SpecFormat::Yaml => serde_norway::to_string(&value).map(String::into_bytes).map_err(|error| error.to_string()),
    }
}

/// What every answer about a document carries, with or without it.
fn tagged(status: StatusCode, tag: &str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    reply
}

fn document(format: SpecFormat, tag: &str, body: Vec<u8>) -> Reply {
    let mut reply = tagged(StatusCode::OK, tag, body.into());
    let content_type = match format {
        SpecFormat::Json => HeaderValue::from_static("application/json"),
        SpecFormat::Yaml => HeaderValue::from_static("application/yaml"),
    };
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
