//! The order in which a request is looked at (admin sheet §3).

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;

use super::auth::{Caller, Role};
use super::reply::{self, Reply};
use super::route::{self, Action, Route, SpecWrite};
use super::{Admin, namespace, specs};
use crate::store::SpecKey;

const BODY_MAX_MIB: usize = 1;

/// An authenticated caller may be slow, not endless.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What is known of a request once its head and body have been looked at.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) namespace: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) async fn answer<B>(admin: &Arc<Admin>, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/health" || path == "/status" {
        return admin.health().await;
    }
    if head.method == Method::GET && path == "/overload" {
        return admin.overload();
    }
    if head.method == Method::GET && path == "/metrics" {
        return admin.metrics();
    }
    let caller = match admin.gate.check(&head.headers) {
        Ok(caller) => caller,
        Err(refusal) => return reply::error(StatusCode::UNAUTHORIZED, &refusal.to_string()),
    };
    let namespace = match namespace::of(&head.headers) {
        Ok(namespace) => namespace,
        Err(reason) => {
            return reply::error(StatusCode::BAD_REQUEST, &format!("Invalid X-Ferrum-Namespace: {reason}"));
        }
    };
    let segments = route::segments(path);
    let route = route::find(&head.method, &segments);
    // A body that only its role allows is not read for another one; api-specs read their own.
    let is_checked_first = matches!(segments.as_slice(), ["restore" | "batch"] | ["api-specs", ..]);
    if is_checked_first && let Some(refusal) = route.as_ref().and_then(|route| refuse_role(caller.role, route)) {
        return refusal;
    }
    if let Some(refusal) = route.as_ref().and_then(|route| admin.refuse_spec(route, &segments)) {
        return refusal;
    }
    let body_max_mib = match (segments.as_slice(), route.as_ref().map(|route| &route.action)) {
        (["restore"], _) => Some(admin.options.restore_body_max_mib),
        (_, Some(Action::WriteSpec(SpecWrite::Create | SpecWrite::Replace(_)))) => {
            Some(admin.options.spec_body_max_mib)
        }
        (["api-specs", ..], _) => None,
        _ => Some(BODY_MAX_MIB),
    };
    let body = match body_max_mib {
        None => Bytes::new(),
        Some(max_mib) => match read_body(body, max_mib).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        },
    };
    let Some(route) = route else { return reply::not_found() };
    if let Some(refusal) = refuse_role(caller.role, &route) {
        return refusal;
    }
    let query = head.uri.query().unwrap_or_default().to_owned();
    admin.act(route.action, Call { caller, namespace, query, headers: head.headers, body }).await
}

fn refuse_role(have: Role, route: &Route) -> Option<Reply> {
    (have < route.need).then(|| {
        let (have, need) = (have.name(), route.need.name());
        let text = format!("Admin role '{have}' cannot access this endpoint; required role is '{need}'");
        reply::error(StatusCode::FORBIDDEN, &text)
    })
}

async fn read_body<B>(body: B, max_mib: usize) -> Result<Bytes, Reply>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        let text = format!("Request body too large (max {max_mib} MiB)");
        reply::error(StatusCode::PAYLOAD_TOO_LARGE, &text)
    };
    let max = max_mib.saturating_mul(1024 * 1024);
    // Said before a byte of it is read, where the length is known.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_READ_TIMEOUT, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) | Err(_) => Err(reply::error(StatusCode::BAD_REQUEST, "Failed to read request body")),
    }
}

impl Admin {
    /// What is said about API specs before a body is read.
    fn refuse_spec(&self, route: &Route, segments: &[&str]) -> Option<Reply> {
        if let Err(text) = specs::check_path(segments) {
            return Some(reply::error(StatusCode::BAD_REQUEST, &text));
        }
        if matches!(route.action, Action::WriteSpec(_)) { self.refuse_spec_write() } else { None }
    }

    async fn act(self: &Arc<Self>, action: Action, call: Call) -> Reply {
        match action {
            Action::Description => reply::yaml(super::openapi::document()),
            Action::RuntimeMetrics => self.runtime_metrics(),
            Action::GatewayMetrics => self.gateway_metrics(),
            Action::List(kind) => self.list(kind, &call.namespace, &call.query, call.caller.role).await,
            Action::Get(kind, id) => self.get(kind, &id, &call.namespace, call.caller.role).await,
            Action::Plugins => reply::json(StatusCode::OK, &json!(self.sources.plugins)),
            Action::Namespaces => self.namespaces().await,
            Action::Cluster => reply::json(
                StatusCode::OK,
                &json!({
                    "message": "Cluster status is only available in cp or dp modes",
                    "mode": self.options.mode,
                }),
            ),
            Action::Backup => self.backup(&call.namespace, &call.query).await,
            Action::Audit => self.audit(&call.namespace, &call.query).await,
            Action::Capabilities => self.capabilities(),
            Action::RefreshCapabilities => self.refresh_capabilities().await,
            Action::Specs => self.api_specs(&call).await,
            Action::Spec(id) => self.api_spec(SpecKey::Id(&id), &call).await,
            Action::SpecOf(proxy) => self.api_spec(SpecKey::Proxy(&proxy), &call).await,
            Action::WriteSpec(write) => self.write_spec(write, call).await,
            Action::Inactive(text) => reply::error(StatusCode::NOT_FOUND, text),
            Action::Write(write) => self.write(write, call).await,
        }
    }

    async fn namespaces(&self) -> Reply {
        let namespaces = match (&self.sources.store, &self.sources.resources) {
            (Some(store), _) => match store.namespaces().await {
                Ok(mut namespaces) => {
                    namespaces.sort_unstable();
                    namespaces
                }
                Err(error) => {
                    tracing::warn!(error = %error, "Namespaces cannot be listed");
                    let text = format!("Failed to list namespaces: {error}");
                    return reply::error(StatusCode::INTERNAL_SERVER_ERROR, &text);
                }
            },
            (None, Some(resources)) => resources.namespaces(),
            (None, None) => vec!["ferrum".to_owned()],
        };
        reply::json(StatusCode::OK, &json!(namespaces))
    }

    fn overload(&self) -> Reply {
        let Some(monitor) = &self.sources.overload else {
            return reply::json(StatusCode::OK, &json!({"level": "normal", "message": "No proxy state available"}));
        };
        let snapshot = monitor.snapshot();
        let is_critical = snapshot.level == crate::overload::Level::Critical;
        let status = if is_critical { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        match serde_json::to_vec(&snapshot) {
            Ok(body) => reply::json_bytes(status, body.into()),
            Err(error) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
}
