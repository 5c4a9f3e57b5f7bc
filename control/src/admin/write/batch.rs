//! `POST /batch`: many new resources in one call (admin sheet §17).

use hyper::StatusCode;
use serde_json::json;
use time::OffsetDateTime;

use super::import::{Import, cross_faults};
use super::references::Known;
use super::{Call, Change, Refusal, WriteOptions, prepare};
use crate::admin::reply::{self, Reply};
use crate::admin::{Admin, Written};

impl Admin {
    /// Everything that is wrong is said at once, and then nothing is written.
    pub(super) async fn batch(&self, call: &Call) -> Result<Reply, Refusal> {
        let store = self.store()?;
        let (body, namespace, options) = (call.body.clone(), call.namespace.clone(), self.options.write.clone());
        let (mut import, mut errors) = self.worked_out(move || read(&body, &namespace, &options)).await??;
        errors.extend(import.reference_faults(&Known::in_batch(store, &import.resources)).await?);
        if !errors.is_empty() {
            return Err(Refusal::bad_request("Batch validation failed").with("validation_errors", errors));
        }
        let now = OffsetDateTime::now_utc();
        for resource in &mut import.resources {
            resource.set_created_at(now);
            resource.set_updated_at(now);
        }
        let outcome = import.write(store, true).await;
        let counts = outcome.counts();
        if !outcome.is_empty() {
            let (resource_id, diff) = (&call.namespace, json!({ "after": counts }));
            let change = Change { action: "batch_create", resource_type: "gateway_config", resource_id, diff };
            self.written(call, change, Written::Several);
        }
        if outcome.errors.is_empty() {
            return Ok(reply::json(StatusCode::CREATED, &json!({ "created": counts })));
        }
        let body = json!({ "created": counts, "errors": outcome.errors });
        Ok(reply::json(StatusCode::MULTI_STATUS, &body))
    }
}

/// The resources of a body, and what is wrong with them by themselves.
fn read(body: &[u8], namespace: &str, options: &WriteOptions) -> Result<(Import, Vec<String>), Refusal> {
    let mut import = Import::decode(body)?;
    let mut errors = import.prepare(namespace, options, prepare::settle_id, false);
    errors.extend(cross_faults(&import.document(), options.backend_allow_ips));
    Ok((import, errors))
}
