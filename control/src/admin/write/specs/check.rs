//! What is wrong with the resources of a document: all that a call about each of them would say, at once.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::unprocessable;
use crate::admin::Admin;
use crate::admin::specs::{Bundle, Live};
use crate::admin::write::references::{self, Known};
use crate::admin::write::{Refusal, prepare, unique};
use crate::store::{Kind, Resource, Store};

impl Admin {
    /// `live` is what the document takes the place of.
    pub(super) async fn check_bundle(
        &self,
        store: &dyn Store,
        version: &str,
        bundle: &Bundle,
        live: Option<&Live>,
    ) -> Result<(), Refusal> {
        let resources = bundle.resources();
        let gone = live.map(|live| live.gone(bundle)).unwrap_or_default();
        let known = Known::in_batch(store, &resources).without(gone);
        let mut failures = Vec::new();
        for resource in &resources {
            let mut errors = prepare::faults(resource, &self.options.write);
            if errors.is_empty() {
                errors = self.other_faults(store, &known, resource, live).await?;
            }
            add(&mut failures, name(resource.kind()), resource.id(), errors);
        }
        let faults = references::association_faults(&known, &bundle.proxy).await?;
        add(&mut failures, "proxy_plugin_association", &bundle.proxy.id, faults);
        if failures.is_empty() {
            return Ok(());
        }
        Err(unprocessable("Spec validation failed").with("spec_version", version).with("failures", failures))
    }

    /// What a resource has to do with the others.
    async fn other_faults(
        &self,
        store: &dyn Store,
        known: &Known<'_>,
        resource: &Resource,
        live: Option<&Live>,
    ) -> Result<Vec<String>, Refusal> {
        let former = live.and_then(|live| live.former(resource));
        let unique = unique::check(store, resource, former.as_ref(), &self.options.write).await;
        let mut faults: Vec<String> = fault(unique)?.into_iter().collect();
        match resource {
            Resource::Proxy(proxy) => {
                let found = references::upstream_faults(known, proxy).await?;
                faults.extend(found.iter().map(|fault| references::said_of_proxy(proxy, fault)));
            }
            Resource::PluginConfig(config) => {
                let policy = self.options.write.backend_allow_ips;
                let checked = references::check_plugin_config(known, config, &self.sources.plugins, policy).await;
                faults.extend(fault(checked)?);
            }
            Resource::Upstream(upstream) => {
                if let (Some(live), Some(Resource::Upstream(former))) = (live, former)
                    && former.id == upstream.id
                {
                    let except = Some(live.proxy.id.as_str());
                    faults.extend(fault(references::check_subsets(store, upstream, &former, except).await)?);
                }
            }
            Resource::Consumer(_) => {}
        }
        Ok(faults)
    }
}

/// What a call about one resource would have been refused with. That the database does not answer is no fault of it.
fn fault(outcome: Result<(), Refusal>) -> Result<Option<String>, Refusal> {
    match outcome {
        Ok(()) => Ok(None),
        Err(refusal) if matches!(refusal.status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT) => {
            Ok(Some(refusal.text))
        }
        Err(refusal) => Err(refusal),
    }
}

fn add(failures: &mut Vec<Value>, resource_type: &str, id: &str, errors: Vec<String>) {
    if !errors.is_empty() {
        failures.push(json!({ "resource_type": resource_type, "id": id, "errors": errors }));
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::PluginConfig => "plugin",
        other => other.name(),
    }
}
