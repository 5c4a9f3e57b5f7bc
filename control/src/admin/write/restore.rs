//! `POST /restore`: a namespace is replaced by a backup (admin sheet §19).

use engine::model::{
    DOCUMENT_VERSION, check_dispatch_references, check_id, check_plugin_references, check_upstream_references,
};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::import::{Import, cross_faults};
use super::{Call, Change, Refusal, WriteOptions};
use crate::admin::reply::{self, Reply};
use crate::admin::{Admin, Written};
use crate::store::Resource;

impl Admin {
    /// All is checked before anything is deleted. Ids and times are those of the backup.
    pub(super) async fn restore(&self, call: &Call) -> Result<Reply, Refusal> {
        let store = self.store()?;
        if !call.query.split('&').any(|pair| pair == "confirm=true") {
            let text = "Restore is a destructive operation that replaces all existing configuration. Pass \
                        ?confirm=true to proceed.";
            return Err(Refusal::bad_request(text));
        }
        let (body, namespace, options) = (call.body.clone(), call.namespace.clone(), self.options.write.clone());
        let import = self.worked_out(move || checked(&body, &namespace, &options)).await??;
        if let Err(error) = store.clear(&call.namespace).await {
            tracing::warn!(error = %error, "A namespace cannot be cleared for what is to be restored");
            let text = format!("Failed to clear existing config: {error}");
            return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        let outcome = import.write(store, false).await;
        let counts = outcome.counts();
        let diff = json!({ "before": { "replaced_namespace": call.namespace }, "after": counts });
        let resource_id = &call.namespace;
        let change = Change { action: "restore", resource_type: "gateway_config", resource_id, diff };
        self.written(call, change, Written::Several);
        if outcome.errors.is_empty() {
            return Ok(reply::json(StatusCode::OK, &json!({ "restored": counts })));
        }
        let body = json!({ "restored": counts, "errors": outcome.errors });
        Ok(reply::json(StatusCode::MULTI_STATUS, &body))
    }
}

/// All of a payload that has no fault, by itself.
fn checked(body: &[u8], namespace: &str, options: &WriteOptions) -> Result<Import, Refusal> {
    let mut import = Import::decode(body)?;
    check_version(import.version.as_ref())?;
    let settle_id = |resource: &mut Resource| check_id(resource.id());
    let mut errors = import.prepare(namespace, options, settle_id, true);
    let document = import.document();
    errors.extend(cross_faults(&document, options.backend_allow_ips));
    for check in [check_upstream_references, check_dispatch_references, check_plugin_references] {
        errors.extend(check(&document).into_iter().map(|finding| finding.message));
    }
    if errors.is_empty() {
        return Ok(import);
    }
    let text = "Restore payload validation failed — existing config was NOT deleted";
    Err(Refusal::bad_request(text).with("validation_errors", errors))
}

/// None, an empty one or the current one.
fn check_version(version: Option<&Value>) -> Result<(), Refusal> {
    let shown = match version {
        None => return Ok(()),
        Some(Value::String(version)) if version.is_empty() || version == DOCUMENT_VERSION => return Ok(()),
        Some(Value::String(version)) => version.clone(),
        Some(other) => other.to_string(),
    };
    Err(Refusal::bad_request(format!(
        "Incompatible config version '{shown}'. This gateway expects version '{DOCUMENT_VERSION}'"
    )))
}
