//! The order in which a request is looked at (admin sheet §3).

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::auth::Role;
use super::reply::{self, Reply};
use super::route::{self, Action, Route};
use super::{Admin, namespace};

const BODY_MAX_MIB: usize = 1;

/// An authenticated caller may be slow, not endless.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What is known of a request once its head and body have been looked at.
struct Call<'a> {
    role: Role,
    namespace: String,
    query: &'a str,
}

pub(super) async fn answer<B>(admin: &Admin, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/health" || path == "/status" {
        return admin.health();
    }
    if head.method == Method::GET && path == "/overload" {
        return admin.overload();
    }
    if head.method == Method::GET && path == "/metrics" {
        return admin.metrics();
    }
    let role = match admin.gate.check(&head.headers) {
        Ok(role) => role,
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
    if is_checked_first && let Some(refusal) = route.as_ref().and_then(|route| refuse_role(role, route)) {
        return refusal;
    }
    let body_max_mib = if segments == ["restore"] { admin.options.restore_body_max_mib } else { BODY_MAX_MIB };
    if segments.first() != Some(&"api-specs")
        && let Err(refusal) = read_body(body, body_max_mib).await
    {
        return refusal;
    }
    let Some(route) = route else { return reply::not_found() };
    if let Some(refusal) = refuse_role(role, &route) {
        return refusal;
    }
    let call = Call { role, namespace, query: head.uri.query().unwrap_or_default() };
    admin.act(route.action, &call).await
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
    async fn act(&self, action: Action, call: &Call<'_>) -> Reply {
        match action {
            Action::RuntimeMetrics => self.runtime_metrics(),
            Action::GatewayMetrics => self.gateway_metrics(),
            Action::List(kind) => self.list(kind, &call.namespace, call.query, call.role),
            Action::Get(kind, id) => self.get(kind, &id, &call.namespace, call.role),
            Action::Plugins => reply::json(StatusCode::OK, &json!(self.sources.plugins)),
            Action::Namespaces => reply::json(StatusCode::OK, &json!(self.namespaces())),
            Action::Cluster => reply::json(
                StatusCode::OK,
                &json!({
                    "message": "Cluster status is only available in cp or dp modes",
                    "mode": self.options.mode,
                }),
            ),
            Action::Backup => self.backup(&call.namespace, call.query),
            Action::Capabilities => self.capabilities(),
            Action::RefreshCapabilities => self.refresh_capabilities().await,
            Action::NeedsDatabase(text) => reply::error(StatusCode::SERVICE_UNAVAILABLE, text),
            Action::Inactive(text) => reply::error(StatusCode::NOT_FOUND, text),
            Action::Write if self.options.is_read_only => {
                reply::error(StatusCode::FORBIDDEN, "Admin API is in read-only mode")
            }
            Action::Write => reply::error(StatusCode::SERVICE_UNAVAILABLE, "No database"),
        }
    }

    fn namespaces(&self) -> Vec<String> {
        match &self.sources.resources {
            Some(resources) => resources.namespaces(),
            None => vec!["ferrum".to_owned()],
        }
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
