//! What a resource refers to (admin sheet §10-§12): each refusal is a 400, but that of a deletion.
//!
//! A batch says the same things in other words and finds its references among its own resources first: [`Known`] is where
//! both look, and each fault can be said both ways.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use engine::model::{AddressPolicy, PluginCatalog, PluginConfig, PluginRefusal, Proxy, Upstream, association_fault};

use super::{Refusal, looked_up};
use crate::source::Catalog;
use crate::store::{Kind, Resource, Store};
use tokio::runtime::Handle;

/// Where resources are looked for.
pub(super) struct Known<'a> {
    store: &'a dyn Store,
    batch: HashMap<(Kind, &'a str), &'a Resource>,
    /// Still in the database, and about to go.
    gone: HashSet<(Kind, String)>,
}

impl<'a> Known<'a> {
    pub(super) fn in_store(store: &'a dyn Store) -> Self {
        Self { store, batch: HashMap::new(), gone: HashSet::new() }
    }

    /// In a batch, then in the database.
    pub(super) fn in_batch(store: &'a dyn Store, batch: &'a [Resource]) -> Self {
        let batch = batch.iter().map(|resource| ((resource.kind(), resource.id()), resource)).collect();
        Self { store, batch, gone: HashSet::new() }
    }

    pub(super) fn without(mut self, gone: impl IntoIterator<Item = (Kind, String)>) -> Self {
        self.gone.extend(gone);
        self
    }

    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Cow<'a, Resource>>, Refusal> {
        if let Some(resource) = self.batch.get(&(kind, id)) {
            return Ok(Some(Cow::Borrowed(*resource)));
        }
        if self.gone.contains(&(kind, id.to_owned())) {
            return Ok(None);
        }
        Ok(looked_up(self.store.get(kind, id).await)?.map(Cow::Owned))
    }
}

/// What is wrong with a reference to an upstream or to a proxy.
pub(super) enum Fault {
    Missing,
    /// It is in this namespace.
    Elsewhere(String),
    /// An upstream that this document owns.
    Owned(String),
    /// An upstream that has no such subset.
    NoSubset(String),
}

/// What is wrong with `upstream_id` and `upstream_subset` of a proxy.
pub(super) async fn upstream_faults(known: &Known<'_>, proxy: &Proxy) -> Result<Vec<Fault>, Refusal> {
    let Some(id) = &proxy.upstream_id else { return Ok(Vec::new()) };
    let found = known.get(Kind::Upstream, id).await?;
    let Some(Resource::Upstream(upstream)) = found.as_deref() else { return Ok(vec![Fault::Missing]) };
    if upstream.namespace != proxy.namespace {
        return Ok(vec![Fault::Elsewhere(upstream.namespace.clone())]);
    }
    let mut faults = Vec::new();
    if let Some(spec) = upstream.api_spec_id.as_ref().filter(|spec| proxy.api_spec_id.as_ref() != Some(spec)) {
        faults.push(Fault::Owned(spec.clone()));
    }
    if let Some(subset) = proxy.upstream_subset.as_deref().filter(|subset| !has_subset(upstream, subset)) {
        faults.push(Fault::NoSubset(subset.to_owned()));
    }
    Ok(faults)
}

fn has_subset(upstream: &Upstream, name: &str) -> bool {
    upstream.subsets.iter().flatten().any(|subset| subset.name == name)
}

/// As a single write says it.
pub(super) fn said_of_proxy(proxy: &Proxy, fault: &Fault) -> String {
    let (p, namespace) = (&proxy.id, &proxy.namespace);
    let u = proxy.upstream_id.as_deref().unwrap_or_default();
    match fault {
        Fault::Missing => format!("upstream_id '{u}' does not exist"),
        Fault::Elsewhere(other) => format!(
            "Cross-namespace reference forbidden: upstream_id '{u}' belongs to namespace '{other}' but proxy is in \
             namespace '{namespace}'"
        ),
        Fault::Owned(spec) => format!(
            "upstream_id '{u}' is owned by api_spec '{spec}' and cannot be attached to proxy '{p}'; create a \
             hand-managed upstream or update the owning API spec"
        ),
        Fault::NoSubset(subset) => format!("upstream_subset '{subset}' is not defined on upstream_id '{u}'"),
    }
}

/// As a batch says it.
pub(super) fn said_of_proxy_in_batch(proxy: &Proxy, fault: &Fault) -> String {
    let (p, namespace) = (&proxy.id, &proxy.namespace);
    let u = proxy.upstream_id.as_deref().unwrap_or_default();
    match fault {
        Fault::Missing => format!("Proxy '{p}' references non-existent upstream_id '{u}'"),
        Fault::Elsewhere(other) => format!(
            "Proxy '{p}' references upstream_id '{u}' from namespace '{other}' (proxy is in namespace '{namespace}'); \
             cross-namespace references are forbidden"
        ),
        Fault::Owned(_) => said_of_proxy(proxy, fault),
        Fault::NoSubset(subset) => {
            format!("Proxy '{p}' references upstream_subset '{subset}' that is not defined on upstream_id '{u}'")
        }
    }
}

/// What is wrong with the plugin configs that a proxy lists, in the words of both.
pub(super) async fn association_faults(known: &Known<'_>, proxy: &Proxy) -> Result<Vec<String>, Refusal> {
    let mut listed = HashSet::new();
    let mut faults = Vec::new();
    for association in &proxy.plugins {
        let id = association.plugin_config_id.as_str();
        if !listed.insert(id) {
            faults.push(format!("Proxy '{}' references plugin_config '{id}' more than once", proxy.id));
            continue;
        }
        let found = known.get(Kind::PluginConfig, id).await?;
        let config = match found.as_deref() {
            Some(Resource::PluginConfig(config)) if config.namespace == proxy.namespace => Some(&**config),
            _ => None,
        };
        faults.extend(association_fault(&proxy.id, id, config));
    }
    Ok(faults)
}

pub(super) async fn check_proxy(known: &Known<'_>, proxy: &Proxy) -> Result<(), Refusal> {
    let faults = upstream_faults(known, proxy).await?;
    if !faults.is_empty() {
        let texts: Vec<String> = faults.iter().map(|fault| said_of_proxy(proxy, fault)).collect();
        return Err(Refusal::bad_request(texts.join("; ")));
    }
    let faults = association_faults(known, proxy).await?;
    if !faults.is_empty() {
        return Err(Refusal::bad_request(format!("Invalid proxy plugin associations: {}", faults.join("; "))));
    }
    Ok(())
}

/// What is wrong with the `proxy_id` of a plugin config.
pub(super) async fn target_fault(known: &Known<'_>, config: &PluginConfig) -> Result<Option<Fault>, Refusal> {
    let Some(id) = &config.proxy_id else { return Ok(None) };
    Ok(match known.get(Kind::Proxy, id).await? {
        None => Some(Fault::Missing),
        Some(proxy) if proxy.namespace() != config.namespace => Some(Fault::Elsewhere(proxy.namespace().to_owned())),
        Some(_) => None,
    })
}

/// What is wrong with the upstreams that dispatch rules name, in the words of both.
pub(super) async fn dispatch_faults(known: &Known<'_>, config: &PluginConfig) -> Result<Vec<String>, Refusal> {
    let (c, namespace) = (&config.id, &config.namespace);
    let mut faults = Vec::new();
    for (i, u) in config.dispatch_upstreams() {
        match known.get(Kind::Upstream, u).await? {
            None => faults.push(format!(
                "PluginConfig '{c}' (mesh_route_dispatch) rule {i} references non-existent upstream_id '{u}'"
            )),
            Some(upstream) if upstream.namespace() != namespace => faults.push(format!(
                "PluginConfig '{c}' (mesh_route_dispatch) rule {i} references upstream_id '{u}' from namespace '{}' \
                 (plugin_config is in namespace '{namespace}'); cross-namespace references are forbidden",
                upstream.namespace()
            )),
            Some(_) => {}
        }
    }
    Ok(faults)
}

/// Why a plugin cannot be made from its config; one that is disabled is not made. An unknown name is refused anyway.
pub(super) fn plugin_refusal(config: &PluginConfig, address_policy: AddressPolicy) -> Option<PluginRefusal> {
    let catalog = Catalog { runtime: Handle::current(), address_policy };
    match catalog.check(&config.plugin_name, &config.config) {
        Err(PluginRefusal::Unknown) => Some(PluginRefusal::Unknown),
        Err(refusal) if config.enabled => Some(refusal),
        _ => None,
    }
}

/// The first fault only.
pub(super) async fn check_plugin_config(
    known: &Known<'_>,
    config: &PluginConfig,
    available: &[String],
    policy: AddressPolicy,
) -> Result<(), Refusal> {
    let refusal = plugin_refusal(config, policy);
    if refusal == Some(PluginRefusal::Unknown) {
        let text = format!("Unknown plugin name '{}'. Available plugins: {available:?}", config.plugin_name);
        return Err(Refusal::bad_request(text));
    }
    let p = config.proxy_id.as_deref().unwrap_or_default();
    match target_fault(known, config).await? {
        None => {}
        Some(Fault::Elsewhere(other)) => {
            return Err(Refusal::bad_request(format!(
                "Cross-namespace reference forbidden: proxy_id '{p}' belongs to namespace '{other}' but plugin_config \
                 is in namespace '{}'",
                config.namespace
            )));
        }
        Some(_) => return Err(Refusal::bad_request(format!("proxy_id '{p}' does not exist"))),
    }
    if let Some(PluginRefusal::Invalid(errors)) = refusal {
        return Err(Refusal::bad_request(format!("Invalid plugin config: {}", errors.join("; "))));
    }
    match dispatch_faults(known, config).await?.into_iter().next() {
        Some(fault) => Err(Refusal::bad_request(fault)),
        None => Ok(()),
    }
}

/// A config that proxies list stays one that they may list: a document in which they may not is refused as a whole when it is
/// loaded.
pub(super) async fn check_listing(store: &dyn Store, config: &PluginConfig) -> Result<(), Refusal> {
    let proxies = looked_up(store.referrers(Kind::PluginConfig, &config.id).await)?;
    let faults: Vec<String> =
        proxies.iter().filter_map(|proxy| association_fault(proxy.id(), &config.id, Some(config))).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Refusal::bad_request(format!("Invalid proxy plugin associations: {}", faults.join("; "))))
}

/// A subset that a proxy uses stays. `except` is a proxy that is replaced together with the upstream.
pub(super) async fn check_subsets(
    store: &dyn Store,
    upstream: &Upstream,
    former: &Upstream,
    except: Option<&str>,
) -> Result<(), Refusal> {
    let removed: Vec<&str> = former.subsets.iter().flatten().map(|subset| subset.name.as_str()).collect();
    if removed.iter().all(|name| has_subset(upstream, name)) {
        return Ok(());
    }
    for referrer in looked_up(store.referrers(Kind::Upstream, &upstream.id).await)? {
        if let Resource::Proxy(proxy) = referrer
            && except != Some(proxy.id.as_str())
            && let Some(subset) = proxy.upstream_subset.as_deref().filter(|subset| !has_subset(upstream, subset))
        {
            return Err(Refusal::bad_request(format!(
                "Invalid upstream fields: upstream '{}' cannot remove subset '{subset}' while proxy '{}' references it",
                upstream.id, proxy.id
            )));
        }
    }
    Ok(())
}

/// An upstream that is to be deleted.
pub(super) async fn check_unused(store: &dyn Store, id: &str) -> Result<(), Refusal> {
    for referrer in looked_up(store.referrers(Kind::Upstream, id).await)? {
        match referrer {
            Resource::Proxy(_) => return Err(in_use(id)),
            // The database finds what may name it.
            Resource::PluginConfig(config) if config.dispatch_upstreams().any(|(_, named)| named == id) => {
                return Err(Refusal::conflict(format!(
                    "Upstream {id} is referenced by mesh_route_dispatch plugin_config '{}' and cannot be deleted",
                    config.id
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn in_use(upstream: &str) -> Refusal {
    Refusal::conflict(format!("Upstream {upstream} is referenced by one or more proxies and cannot be deleted"))
}
