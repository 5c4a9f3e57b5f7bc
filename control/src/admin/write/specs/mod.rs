//! API specs: one call writes a document and all it owns, in one transaction (admin sheet §31.5 and §31.6).

mod check;
mod steps;

use std::collections::HashSet;
use std::sync::Arc;

use engine::model::ApiSpec;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, INTERNAL, Refusal, looked_up, prepare, to_its_end};
use crate::admin::pipeline::Call;
use crate::admin::reply::{self, Reply};
use crate::admin::route::SpecWrite;
use crate::admin::specs::{
    self, Bundle, Live, NOT_FOUND, SpecError, Submission, declared_in, extract, keep_ids, new_ids,
};
use crate::admin::{Admin, Written};
use crate::store::{Kind, Resource, SpecKey, SpecSummary, Step, Store, StoreError};

const CONFLICT: &str = "Resource conflict — the operation collides with an existing row (likely a duplicate id, name, or \
                        unique constraint)";
const TOO_LARGE: &str = "Spec document exceeds MongoDB document size limit";
const REFERENCE: &str =
    "The submitted spec references a resource that does not exist or violates referential integrity";

impl From<SpecError> for Refusal {
    fn from(error: SpecError) -> Self {
        Refusal::new(error.status(), "Spec parse failed").with("code", error.code()).with("details", error.to_string())
    }
}

fn unprocessable(text: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, text)
}

fn not_stored(error: &StoreError) -> Refusal {
    tracing::warn!(error = %error, "The database has not taken a change of an API spec");
    match error {
        StoreError::Conflict(_) => Refusal::conflict(CONFLICT),
        StoreError::Reference(_) => unprocessable(REFERENCE),
        StoreError::TooLarge(_) => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE),
        _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
    }
}

impl Admin {
    /// The gate, before a document is read.
    pub(in crate::admin) fn refuse_spec_write(&self) -> Option<Reply> {
        self.check_gate().and_then(|()| self.spec_store().map(drop)).err().map(Refusal::into_reply)
    }

    pub(in crate::admin) async fn write_spec(self: &Arc<Self>, write: SpecWrite, call: Call) -> Reply {
        let admin = self.clone();
        to_its_end(async move {
            // It may have closed while the body was read.
            admin.check_gate()?;
            match write {
                SpecWrite::Create => admin.create_spec(&call).await,
                SpecWrite::Replace(id) => admin.replace_spec(&id, &call).await,
                SpecWrite::Delete(id) => admin.delete_spec(&id, &call).await,
            }
        })
        .await
    }

    fn spec_store(&self) -> Result<&dyn Store, Refusal> {
        let store = self.sources.store.as_deref();
        store.ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, specs::NO_DATABASE))
    }

    async fn create_spec(&self, call: &Call) -> Result<Reply, Refusal> {
        let store = self.spec_store()?;
        let submission = self.submitted(call).await?;
        // Only now: reading a long document keeps no other write waiting.
        let _alone = self.alone().await?;
        let (id, now) = (Uuid::new_v4().to_string(), OffsetDateTime::now_utc());
        let bundle = settled(new_ids(extract(&submission.root, None)?), &id, &call.namespace, now);
        self.check_bundle(store, &submission.version, &bundle, None).await?;
        let spec = recorded(id, call, submission, &bundle, (now, now));
        store.apply(steps::creating(&bundle, spec.clone())).await.map_err(|error| not_stored(&error))?;
        self.spec_written(call, "create", &spec.id, json!({ "after": summary(&spec) }));
        let mut reply = reply::json(StatusCode::CREATED, &shown(&spec));
        if let Ok(location) = HeaderValue::from_str(&format!("/api-specs/{}", spec.id)) {
            reply.headers_mut().insert(LOCATION, location);
        }
        Ok(reply)
    }

    async fn replace_spec(&self, id: &str, call: &Call) -> Result<Reply, Refusal> {
        let store = self.spec_store()?;
        let submission = self.submitted(call).await?;
        let _alone = self.alone().await?;
        let former = present(store, id, &call.namespace).await?;
        let extracted = extract(&submission.root, Some(&former.proxy_id))?;
        let live = live(store, &former).await?;
        let now = OffsetDateTime::now_utc();
        let bundle = keep_ids(extracted, &live).map_err(unprocessable)?;
        let mut bundle = settled(bundle, id, &call.namespace, now);
        bundle.list(self.attached_by_hand(&former, &live).await?);
        self.check_bundle(store, &submission.version, &bundle, Some(&live)).await?;
        let times = (former.created_at, now);
        let spec = recorded(id.to_owned(), call, submission, &bundle, times);
        let steps = match bundle.hash() == live.bundle().hash() {
            true => vec![Step::ReplaceSpec(Box::new(spec.clone()))],
            false => steps::replacing(&live, &bundle, spec.clone()),
        };
        store.apply(steps).await.map_err(|error| not_stored(&error))?;
        let diff = json!({ "before": summary(&former), "after": summary(&spec) });
        self.spec_written(call, "update", id, diff);
        Ok(reply::json(StatusCode::OK, &shown(&spec)))
    }

    async fn delete_spec(&self, id: &str, call: &Call) -> Result<Reply, Refusal> {
        let store = self.spec_store()?;
        let _alone = self.alone().await?;
        let former = present(store, id, &call.namespace).await?;
        store.apply(vec![Step::DeleteSpec(id.to_owned())]).await.map_err(|error| not_stored(&error))?;
        self.spec_written(call, "delete", id, json!({ "before": summary(&former) }));
        Ok(reply::no_content())
    }

    async fn submitted(&self, call: &Call) -> Result<Submission, Refusal> {
        let content_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = call.body.clone();
        Ok(self.worked_out(move || Submission::read(&body, content_type.as_deref())).await??)
    }

    /// What the proxy lists, and neither the spec owns nor its document has asked for.
    async fn attached_by_hand(&self, former: &ApiSpec, live: &Live) -> Result<Vec<String>, Refusal> {
        let (former, bytes_max) = (former.clone(), self.spec_bytes_max());
        let declared = self.worked_out(move || declared_in(&former, bytes_max)).await?;
        let others: HashSet<&str> =
            live.plugins.iter().map(|plugin| plugin.id.as_str()).chain(declared.iter().map(String::as_str)).collect();
        let listed = live.proxy.plugins.iter().map(|association| &association.plugin_config_id);
        Ok(listed.filter(|id| !others.contains(id.as_str())).cloned().collect())
    }

    fn spec_written(&self, call: &Call, action: &str, id: &str, diff: Value) {
        let change = Change { action, resource_type: "api_spec", resource_id: id, diff };
        self.written(call, change, Written::Several);
    }
}

async fn present(store: &dyn Store, id: &str, namespace: &str) -> Result<ApiSpec, Refusal> {
    let found = looked_up(store.spec(SpecKey::Id(id)).await)?;
    let found = found.filter(|spec| spec.namespace == namespace);
    found.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, NOT_FOUND))
}

async fn live(store: &dyn Store, spec: &ApiSpec) -> Result<Live, Refusal> {
    // The database keeps no spec without its proxy; one that goes meanwhile takes the spec along.
    let Some(Resource::Proxy(proxy)) = looked_up(store.get(Kind::Proxy, &spec.proxy_id).await)? else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, NOT_FOUND));
    };
    let (mut upstreams, mut plugins) = (Vec::new(), Vec::new());
    for resource in looked_up(store.owned(&spec.id).await)? {
        match resource {
            Resource::Upstream(row) => upstreams.push(*row),
            Resource::PluginConfig(row) => plugins.push(*row),
            Resource::Proxy(_) | Resource::Consumer(_) => {}
        }
    }
    Ok(Live::new(*proxy, upstreams, plugins))
}

/// In the form in which resources are stored, owned by the spec.
fn settled(bundle: Bundle, spec: &str, namespace: &str, now: OffsetDateTime) -> Bundle {
    bundle.each(|resource| {
        prepare::normalize(resource, namespace);
        resource.set_api_spec_id(Some(spec.to_owned()));
        resource.set_created_at(now);
        resource.set_updated_at(now);
    })
}

fn recorded(
    id: String,
    call: &Call,
    submission: Submission,
    bundle: &Bundle,
    (created_at, updated_at): (OffsetDateTime, OffsetDateTime),
) -> ApiSpec {
    let Submission { format, version, metadata, content, .. } = submission;
    let specs::Metadata {
        title,
        info_version,
        description,
        contact_name,
        contact_email,
        license_name,
        license_identifier,
        tags,
        server_urls,
        operation_count,
    } = metadata;
    ApiSpec {
        id,
        namespace: call.namespace.clone(),
        proxy_id: bundle.proxy.id.clone(),
        spec_version: version,
        spec_format: format,
        spec_content: content.gzip,
        content_encoding: "gzip".to_owned(),
        uncompressed_size: content.bytes,
        content_hash: content.sha256,
        title,
        info_version,
        description,
        contact_name,
        contact_email,
        license_name,
        license_identifier,
        tags,
        server_urls,
        operation_count,
        resource_hash: bundle.hash(),
        created_at,
        updated_at,
    }
}

/// Without the document: what plugins are given stands there in clear.
fn summary(spec: &ApiSpec) -> Value {
    serde_json::to_value(SpecSummary::from(spec)).unwrap_or_default()
}

fn shown(spec: &ApiSpec) -> Value {
    json!({
        "content_hash": spec.content_hash, "id": spec.id, "proxy_id": spec.proxy_id, "spec_version": spec.spec_version,
    })
}
