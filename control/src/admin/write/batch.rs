//! `POST /batch`: many new resources in one call (admin sheet §17).

use hyper::StatusCode;
use serde_json::json;
use time::OffsetDateTime;

use super::import::Import;
use super::references::Known;
use super::{Call, Change, Refusal, prepare};
use crate::admin::Admin;
use crate::admin::reply::{self, Reply};

impl Admin {
    /// Everything that is wrong is said at once, and then nothing is written.
    pub(super) async fn batch(&self, call: &Call) -> Result<Reply, Refusal> {
        let store = self.store()?;
        let mut import = Import::decode(&call.body)?;
        let mut errors = import.prepare(&call.namespace, &self.options.write, prepare::settle_id, false);
        errors.extend(import.cross_faults(self.options.write.backend_allow_ips));
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
            self.written(call, change);
        }
        if outcome.errors.is_empty() {
            return Ok(reply::json(StatusCode::CREATED, &json!({ "created": counts })));
        }
        let body = json!({ "created": counts, "errors": outcome.errors });
        Ok(reply::json(StatusCode::MULTI_STATUS, &body))
    }
}
