//! Many resources at once: what batch and restore have in common.

use engine::model::{
    self, AddressPolicy, Consumer, Document, PluginConfig, PluginRefusal, Proxy, TlsFiles, Upstream, check_streams,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::references::{self, Known};
use super::{Refusal, WriteOptions, prepare, secrets};
use crate::store::{Kind, Resource, Step, Store};

/// Rows of one transaction.
const TRANSACTION_ROWS: usize = 1000;

/// What is written first comes first.
const ORDER: [Kind; 4] = [Kind::Consumer, Kind::Upstream, Kind::Proxy, Kind::PluginConfig];

/// The body of both. Other keys are ignored; those inside resources are not.
#[derive(Deserialize)]
#[serde(default)]
struct Payload {
    version: Option<Value>,
    consumers: Vec<Consumer>,
    upstreams: Vec<Upstream>,
    proxies: Vec<Proxy>,
    plugin_configs: Vec<PluginConfig>,
}

impl Default for Payload {
    fn default() -> Self {
        let (consumers, upstreams) = (Vec::new(), Vec::new());
        Self { version: None, consumers, upstreams, proxies: Vec::new(), plugin_configs: Vec::new() }
    }
}

/// Resources of one body, in the order in which they are written.
pub(super) struct Import {
    pub(super) version: Option<Value>,
    pub(super) resources: Vec<Resource>,
}

impl Import {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Refusal> {
        // The decoder would take an array for the fields in their order, and an empty one for an empty backup.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(Refusal::bad_request("Invalid JSON body: expected a JSON object"));
        }
        let payload: Payload = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("Invalid JSON body: {error}")))?;
        let consumers = payload.consumers.into_iter().map(|row| Resource::Consumer(Box::new(row)));
        let upstreams = payload.upstreams.into_iter().map(|row| Resource::Upstream(Box::new(row)));
        let proxies = payload.proxies.into_iter().map(|row| Resource::Proxy(Box::new(row)));
        let configs = payload.plugin_configs.into_iter().map(|row| Resource::PluginConfig(Box::new(row)));
        let resources = consumers.chain(upstreams).chain(proxies).chain(configs).collect();
        Ok(Self { version: payload.version, resources })
    }

    /// Gives each the form in which it is stored, and says what is wrong with it by itself. `has_upstream_files` tells
    /// whether TLS files of upstreams are looked at; those of proxies always are.
    pub(super) fn prepare(
        &mut self,
        namespace: &str,
        options: &WriteOptions,
        settle_id: fn(&mut Resource) -> Result<(), String>,
        has_upstream_files: bool,
    ) -> Vec<String> {
        let mut files = TlsFiles::new(time::OffsetDateTime::now_utc(), options.cert_expiry_warning_days);
        let mut errors = Vec::new();
        for resource in &mut self.resources {
            let mut found: Vec<String> = settle_id(resource).err().into_iter().collect();
            prepare::normalize(resource, namespace);
            found.extend(prepare::field_errors(resource, options, &mut files));
            if let Resource::Upstream(upstream) = resource
                && has_upstream_files
            {
                found.extend(upstream.check_files(&mut files));
            }
            secrets::hash(resource, &options.basic_auth_secret);
            let (label, id) = (resource.kind().label(), resource.id());
            errors.extend(found.into_iter().map(|error| format!("{label} '{id}': {error}")));
        }
        files.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        errors
    }

    /// What is wrong with references, which are looked for in `known`.
    pub(super) async fn reference_faults(&self, known: &Known<'_>) -> Result<Vec<String>, Refusal> {
        let mut faults = Vec::new();
        for resource in &self.resources {
            match resource {
                Resource::Proxy(proxy) => {
                    for fault in references::upstream_faults(known, proxy).await? {
                        faults.push(references::said_of_proxy_in_batch(proxy, &fault));
                    }
                    faults.extend(references::association_faults(known, proxy).await?);
                }
                Resource::PluginConfig(config) => {
                    if let Some(fault) = references::target_fault(known, config).await? {
                        faults.push(said_of_target(config, &fault));
                    }
                    faults.extend(references::dispatch_faults(known, config).await?);
                }
                Resource::Upstream(_) | Resource::Consumer(_) => {}
            }
        }
        Ok(faults)
    }

    pub(super) fn document(&self) -> Document {
        let mut document = Document::default();
        for resource in &self.resources {
            resource.clone().add_to(&mut document);
        }
        document
    }

    /// Writes kind by kind, what proxies list at the end; what is written when a kind fails, stays.
    pub(super) async fn write(self, store: &dyn Store, stops_at_failure: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut steps: [Vec<Step>; 4] = Default::default();
        let mut associations = Vec::new();
        for mut resource in self.resources {
            if let Resource::Proxy(proxy) = &mut resource
                && !proxy.plugins.is_empty()
            {
                // The plugin configs are not there yet.
                let listed = std::mem::take(&mut proxy.plugins);
                let listed = listed.into_iter().map(|association| association.plugin_config_id).collect();
                associations.push(Step::Associate(proxy.id.clone(), listed));
            }
            let place = ORDER.iter().position(|kind| *kind == resource.kind()).unwrap_or_default();
            steps[place].push(Step::Insert(resource));
        }
        for (place, steps) in steps.into_iter().enumerate() {
            let (count, error) = write_kind(store, steps).await;
            outcome.counts[place] = count;
            if let Some(error) = error {
                outcome.errors.push(format!("{}: {error}", ORDER[place].table()));
                if stops_at_failure {
                    return outcome;
                }
            }
        }
        if let (_, Some(error)) = write_kind(store, associations).await {
            outcome.errors.push(format!("proxy_plugins: {error}"));
        }
        outcome
    }
}

/// What is wrong with the resources among one another, and with what plugins are given.
pub(super) fn cross_faults(document: &Document, policy: AddressPolicy) -> Vec<String> {
    let mut faults = Vec::new();
    for config in &document.plugin_configs {
        faults.extend(plugin_faults(config, policy));
    }
    let checks = [
        model::check_ids,
        model::check_consumer_identities,
        model::check_consumer_credentials,
        model::check_upstream_names,
        model::check_proxy_names,
    ];
    for check in checks {
        faults.extend(check(document).into_iter().map(|finding| finding.message));
    }
    for proxy in &document.proxies {
        let id = &proxy.id;
        faults.extend(proxy.check_hosts().into_iter().map(|error| format!("Proxy '{id}': {error}")));
        if let Err((path, error)) = proxy.check_regex() {
            faults.push(format!("Proxy '{id}': invalid regex listen_path '{path}': {error}"));
        }
    }
    for check in [model::check_routes, check_streams] {
        faults.extend(check(document).into_iter().map(|finding| finding.message));
    }
    faults
}

/// How many were written, and what ended it.
async fn write_kind(store: &dyn Store, steps: Vec<Step>) -> (usize, Option<String>) {
    let mut count = 0;
    let mut steps = steps.into_iter();
    loop {
        let chunk: Vec<Step> = steps.by_ref().take(TRANSACTION_ROWS).collect();
        if chunk.is_empty() {
            return (count, None);
        }
        let rows = chunk.len();
        if let Err(error) = store.apply(chunk).await {
            tracing::warn!(error = %error, "The database has not stored a part of many resources");
            return (count, Some(error.to_string()));
        }
        count += rows;
    }
}

/// What has become of an import.
#[derive(Default)]
pub(super) struct Outcome {
    /// In the order of [`ORDER`].
    counts: [usize; 4],
    pub(super) errors: Vec<String>,
}

impl Outcome {
    pub(super) fn counts(&self) -> Value {
        let [consumers, upstreams, proxies, plugin_configs] = self.counts;
        json!({
            "consumers": consumers, "plugin_configs": plugin_configs, "proxies": proxies, "upstreams": upstreams,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

fn plugin_faults(config: &PluginConfig, policy: AddressPolicy) -> Option<String> {
    let (id, name) = (&config.id, &config.plugin_name);
    Some(match references::plugin_refusal(config, policy)? {
        PluginRefusal::Unknown => format!("PluginConfig '{id}': unknown plugin name '{name}'"),
        PluginRefusal::Invalid(errors) => format!("PluginConfig '{id}': invalid config: {}", errors.join("; ")),
    })
}

fn said_of_target(config: &PluginConfig, fault: &references::Fault) -> String {
    let (c, p) = (&config.id, config.proxy_id.as_deref().unwrap_or_default());
    match fault {
        references::Fault::Elsewhere(other) => format!(
            "PluginConfig '{c}' references proxy_id '{p}' from namespace '{other}' (plugin_config is in namespace \
             '{}'); cross-namespace references are forbidden",
            config.namespace
        ),
        _ => format!("PluginConfig '{c}' references non-existent proxy_id '{p}'"),
    }
}
