//! Writes: what the database is given, and all that is refused before it is (admin sheet §8-§13, §17, §19).
//!
//! The order of a write can be read in [`Admin::create`] and [`Admin::replace`]; each step is a room of its own. One write
//! is made at a time, and goes on to its end when the caller has gone.

mod batch;
mod credentials;
mod import;
mod prepare;
mod references;
mod restore;
mod secrets;
mod specs;
#[cfg(test)]
mod tests;
mod unique;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use engine::model::AddressPolicy;
use hyper::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::MutexGuard;
use uuid::Uuid;

use super::auth::Role;
use super::pipeline::Call;
use super::reply::{self, Reply};
use super::resources::ResourceKind;
use super::route::Write;
use super::{Admin, Written, redact};
use crate::settings::Secret;
use crate::store::{AuditEvent, Kind, Resource, Step, Store, StoreError};
use references::Known;
pub(crate) use secrets::hash_passwords;

pub(super) const NO_DATABASE: &str = "No database";
pub(super) const DATABASE_FAILED: &str = "Database unavailable — operation failed";
const INTERNAL: &str = "Internal server error";

/// What the settings say about writes.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub credentials_per_type_max: usize,
    /// The key of password hashes.
    pub basic_auth_secret: Secret,
    pub audit_enabled: bool,
    /// `FERRUM_BACKEND_ALLOW_IPS`.
    pub backend_allow_ips: AddressPolicy,
    /// 0 = never.
    pub cert_expiry_warning_days: u64,
    /// Whether this process listens for stream proxies: not so on a control plane.
    pub has_stream_listeners: bool,
    pub stream_bind_address: IpAddr,
    /// Ports of the gateway's own listeners.
    pub reserved_ports: Vec<u16>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            credentials_per_type_max: 2,
            basic_auth_secret: Secret::new("ferrum-edge-change-me-in-production"),
            audit_enabled: false,
            backend_allow_ips: AddressPolicy::Both,
            cert_expiry_warning_days: 30,
            has_stream_listeners: true,
            stream_bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            reserved_ports: Vec::new(),
        }
    }
}

/// Why nothing is written.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: StatusCode,
    text: String,
    /// What the answer says besides.
    more: Vec<(&'static str, Value)>,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), more: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.push((name, value.into()));
        self
    }

    fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    fn not_found(kind: Kind) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{} not found", ResourceKind::from(kind).name()))
    }

    fn into_reply(self) -> Reply {
        let mut body = json!({ "error": self.text });
        for (name, value) in self.more {
            body[name] = value;
        }
        reply::json(self.status, &body)
    }
}

/// What a question to the database has brought.
fn looked_up<T>(answer: Result<T, StoreError>) -> Result<T, Refusal> {
    answer.map_err(|error| {
        tracing::warn!(error = %error, "The database has not answered a question about a write");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, DATABASE_FAILED)
    })
}

/// Why an insert or an update failed. Of a consumer, the database's own text is told.
fn not_stored(kind: Kind, error: &StoreError) -> Refusal {
    tracing::warn!(kind = kind.name(), error = %error, "The database has not stored what was written");
    match (kind, error) {
        (Kind::Consumer, StoreError::Conflict(_)) => Refusal::conflict(error.to_string()),
        (Kind::Consumer, _) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, DATABASE_FAILED),
    }
}

/// What has begun ends: a caller that goes away must not leave a namespace cleared and not filled again.
async fn to_its_end(work: impl Future<Output = Result<Reply, Refusal>> + Send + 'static) -> Reply {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome.unwrap_or_else(Refusal::into_reply),
        Err(_) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
    }
}

/// What a resource that was stored has changed: with a plugin config the list of its proxy may be another.
fn stored(resource: &Resource) -> Written {
    match resource.kind() {
        Kind::PluginConfig => Written::Several,
        kind => Written::Row(kind, resource.id().to_owned()),
    }
}

/// A change that has been made, as it is recorded.
struct Change<'a> {
    action: &'a str,
    resource_type: &'a str,
    resource_id: &'a str,
    diff: Value,
}

impl Admin {
    pub(super) async fn write(self: &Arc<Self>, write: Write, call: Call) -> Reply {
        let admin = self.clone();
        to_its_end(async move { admin.perform(write, &call).await }).await
    }

    async fn perform(&self, write: Write, call: &Call) -> Result<Reply, Refusal> {
        let _alone = self.alone().await?;
        match write {
            Write::Create(kind) => self.create(kind, call).await,
            Write::Replace(kind, id) => self.replace(kind, id, call).await,
            Write::Delete(kind, id) => self.delete(kind, &id, call).await,
            Write::SetCredentials(id, kind) => self.set_credentials(&id, &kind, call).await,
            Write::AppendCredential(id, kind) => self.append_credential(&id, &kind, call).await,
            Write::DeleteCredentials(id, kind) => self.delete_credentials(&id, &kind, call).await,
            Write::DeleteCredential(id, kind, index) => self.delete_credential(&id, &kind, &index, call).await,
            Write::Batch => self.batch(call).await,
            Write::Restore => self.restore(call).await,
        }
    }

    /// The turn of one write. While it waits for others the gate may close, and then it does not try in its turn.
    async fn alone(&self) -> Result<MutexGuard<'_, ()>, Refusal> {
        self.check_gate()?;
        let alone = self.writing.lock().await;
        self.check_gate()?;
        Ok(alone)
    }

    /// Long work on a body: [`Admin::take_apart`], with an answer if it panicked.
    async fn worked_out<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let made = self.take_apart(work).await;
        made.ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL))
    }

    fn check_gate(&self) -> Result<(), Refusal> {
        if self.options.is_read_only {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Admin API is in read-only mode"));
        }
        if self.sources.database_unavailable.load(Acquire) {
            let text = "Database is currently unavailable — admin API is temporarily read-only";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        Ok(())
    }

    fn store(&self) -> Result<&dyn Store, Refusal> {
        let store = self.sources.store.as_deref();
        store.ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, NO_DATABASE))
    }

    async fn create(&self, kind: Kind, call: &Call) -> Result<Reply, Refusal> {
        let store = self.store()?;
        let mut resource = prepare::decode(kind, &call.body)?;
        prepare::settle_id(&mut resource).map_err(Refusal::bad_request)?;
        prepare::normalize(&mut resource, &call.namespace);
        prepare::check_fields(&resource, &self.options.write)?;
        if looked_up(store.get(kind, resource.id()).await)?.is_some() {
            let text = format!("{} with ID '{}' already exists", kind.label(), resource.id());
            return Err(Refusal::conflict(text));
        }
        self.check_others(store, &resource, None).await?;
        secrets::hash(&mut resource, &self.options.write.basic_auth_secret);
        let now = OffsetDateTime::now_utc();
        resource.set_created_at(now);
        resource.set_updated_at(now);
        let after = resource.to_json();
        store.apply(vec![Step::Insert(resource.clone())]).await.map_err(|error| not_stored(kind, &error))?;
        let diff = json!({ "after": self.recorded(kind, &after) });
        let change = Change { action: "create", resource_type: kind.name(), resource_id: resource.id(), diff };
        self.written(call, change, stored(&resource));
        Ok(self.shown(StatusCode::CREATED, kind, after, call.caller.role))
    }

    /// Nothing of what was there stays, but its owner and the time of its creation.
    async fn replace(&self, kind: Kind, id: String, call: &Call) -> Result<Reply, Refusal> {
        let store = self.store()?;
        let mut resource = prepare::decode(kind, &call.body)?;
        resource.set_id(id);
        prepare::normalize(&mut resource, &call.namespace);
        prepare::check_fields(&resource, &self.options.write)?;
        let former = self.present(store, kind, resource.id(), &call.namespace).await?;
        resource.set_api_spec_id(former.api_spec_id().map(str::to_owned));
        self.check_others(store, &resource, Some(&former)).await?;
        secrets::hash(&mut resource, &self.options.write.basic_auth_secret);
        resource.set_created_at(former.created_at());
        resource.set_updated_at(OffsetDateTime::now_utc());
        let after = resource.to_json();
        store.apply(vec![Step::Replace(resource.clone())]).await.map_err(|error| not_stored(kind, &error))?;
        let before = former.to_json();
        let diff = json!({ "before": self.recorded(kind, &before), "after": self.recorded(kind, &after) });
        let change = Change { action: "update", resource_type: kind.name(), resource_id: resource.id(), diff };
        self.written(call, change, stored(&resource));
        Ok(self.shown(StatusCode::OK, kind, after, call.caller.role))
    }

    async fn delete(&self, kind: Kind, id: &str, call: &Call) -> Result<Reply, Refusal> {
        let store = self.store()?;
        let former = self.present(store, kind, id, &call.namespace).await?;
        if kind == Kind::Upstream {
            references::check_unused(store, id).await?;
        }
        match store.apply(vec![Step::Delete(kind, id.to_owned())]).await {
            Ok(()) => {}
            // By another gateway, since it was looked up.
            Err(StoreError::Reference(_)) if kind == Kind::Upstream => return Err(references::in_use(id)),
            Err(error) => {
                tracing::warn!(kind = kind.name(), error = %error, "The database has not deleted a resource");
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, DATABASE_FAILED));
            }
        }
        let diff = json!({ "before": self.recorded(kind, &former.to_json()) });
        let written = match kind {
            Kind::Upstream | Kind::Consumer => Written::Row(kind, id.to_owned()),
            // Plugin configs go with their proxy, and out of the lists of others.
            Kind::Proxy | Kind::PluginConfig => Written::Several,
        };
        self.written(call, Change { action: "delete", resource_type: kind.name(), resource_id: id, diff }, written);
        Ok(reply::no_content())
    }

    /// The row that a path names; one of another namespace is not there.
    async fn present(&self, store: &dyn Store, kind: Kind, id: &str, namespace: &str) -> Result<Resource, Refusal> {
        let found = looked_up(store.get(kind, id).await)?;
        found.filter(|row| row.namespace() == namespace).ok_or_else(|| Refusal::not_found(kind))
    }

    /// What a resource has to do with the others: it must be unique, and what it refers to must be there.
    async fn check_others(
        &self,
        store: &dyn Store,
        resource: &Resource,
        former: Option<&Resource>,
    ) -> Result<(), Refusal> {
        unique::check(store, resource, former, &self.options.write).await?;
        let known = Known::in_store(store);
        match (resource, former) {
            (Resource::Proxy(proxy), _) => references::check_proxy(&known, proxy).await,
            (Resource::PluginConfig(config), former) => {
                let policy = self.options.write.backend_allow_ips;
                references::check_plugin_config(&known, config, &self.sources.plugins, policy).await?;
                match former {
                    Some(_) => references::check_listing(store, config).await,
                    None => Ok(()),
                }
            }
            (Resource::Upstream(upstream), Some(Resource::Upstream(former))) => {
                references::check_subsets(store, upstream, former, None).await
            }
            (Resource::Upstream(_) | Resource::Consumer(_), _) => Ok(()),
        }
    }

    /// As the caller may see it.
    fn shown(&self, status: StatusCode, kind: Kind, mut row: Value, role: Role) -> Reply {
        redact::redact(kind.into(), &mut row, role, &self.sensitive);
        reply::json(status, &row)
    }

    /// As it stands in the audit log, whoever reads it.
    fn recorded(&self, kind: Kind, row: &Value) -> Value {
        let mut row = row.clone();
        redact::redact(kind.into(), &mut row, Role::Viewer, &self.sensitive);
        row
    }

    /// Says that the database has changed.
    fn written(&self, call: &Call, change: Change<'_>, written: Written) {
        if let Some(recorder) = &self.recorder {
            recorder.record(AuditEvent {
                id: Uuid::new_v4().to_string(),
                at: OffsetDateTime::now_utc(),
                actor: call.caller.subject.clone(),
                action: change.action.to_owned(),
                resource_type: change.resource_type.to_owned(),
                resource_id: change.resource_id.to_owned(),
                namespace: call.namespace.clone(),
                diff: change.diff,
            });
        }
        if let Some(on_write) = &self.sources.on_write {
            on_write(written);
        }
    }
}
