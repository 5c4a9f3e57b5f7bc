//! Changes, with what follows from them (admin sheet §10 and §11): what the tables of SQL have foreign keys for is looked up.

use std::time::{Duration, Instant};

use engine::model::Proxy;
use mongodb::bson::{Bson, Document, doc};

use super::change::Change;
use super::documents::{id_of, of_resource, of_spec, resource};
use super::failure::Failure;
use super::reads::{dispatches, listed_by, names};
use super::transfer::{Filling, fill};
use super::{API_SPECS, MongoStore};
use crate::store::{Kind, Resource, Step, StoreError};

/// How long a change is tried that others are in the way of.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Between two tries, at first; twice as long each time, up to a second.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

const PROXIES: &str = "proxies";
const UPSTREAMS: &str = "upstreams";
const PLUGIN_CONFIGS: &str = "plugin_configs";

/// What is done as one change.
pub(super) enum Work<'a> {
    Steps(&'a [Step]),
    /// Deletes all of a namespace.
    Clear(&'a str),
    Fill(Filling<'a>),
}

impl MongoStore {
    pub(super) async fn apply_steps(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        self.whole(&Work::Steps(&steps)).await
    }

    pub(super) async fn clear_namespace(&self, namespace: &str) -> Result<(), StoreError> {
        self.whole(&Work::Clear(namespace)).await
    }

    /// Does the work as one change, again while others are in its way.
    pub(super) async fn whole(&self, work: &Work<'_>) -> Result<(), StoreError> {
        let (started, mut pause) = (Instant::now(), PAUSE);
        loop {
            match self.once(work).await {
                Err(failure) if failure.is_transient && started.elapsed() < RETRY_MAX => {
                    // Two that meet must not meet again.
                    tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                other => return other.map_err(Into::into),
            }
        }
    }

    async fn once(&self, work: &Work<'_>) -> Result<(), Failure> {
        let mut change = Change::begin(self).await?;
        match perform(&mut change, work).await {
            Ok(()) => change.commit().await,
            Err(failure) => {
                change.take_back().await;
                Err(failure)
            }
        }
    }
}

async fn perform(change: &mut Change<'_>, work: &Work<'_>) -> Result<(), Failure> {
    match work {
        Work::Steps(steps) => apply_all(change, steps).await,
        Work::Clear(namespace) => clear(change, namespace).await,
        Work::Fill(filling) => fill(change, filling).await,
    }
}

pub(super) async fn clear(change: &mut Change<'_>, namespace: &str) -> Result<(), Failure> {
    for collection in [API_SPECS, PLUGIN_CONFIGS, PROXIES, "consumers", UPSTREAMS] {
        change.delete(collection, doc! { "namespace": namespace }).await?;
    }
    Ok(())
}

/// New resources of one kind that follow each other are one write.
async fn apply_all(change: &mut Change<'_>, mut steps: &[Step]) -> Result<(), Failure> {
    while let Some((first, others)) = steps.split_first() {
        if let Step::Insert(new) = first {
            let alike = steps.iter().map_while(|step| match step {
                Step::Insert(resource) if resource.kind() == new.kind() => Some(resource),
                _ => None,
            });
            let alike: Vec<&Resource> = alike.collect();
            insert(change, new.kind(), &alike).await?;
            check_listed(change, &alike).await?;
            steps = &steps[alike.len()..];
        } else {
            apply(change, first).await?;
            steps = others;
        }
    }
    Ok(())
}

async fn apply(change: &mut Change<'_>, step: &Step) -> Result<(), Failure> {
    match step {
        Step::Insert(resource) => {
            insert(change, resource.kind(), &[resource]).await?;
            check_listed(change, &[resource]).await
        }
        Step::Replace(resource) => replace(change, resource).await,
        Step::Delete(Kind::Proxy, id) => delete_proxy(change, id).await,
        Step::Delete(Kind::Upstream, id) => delete_upstream(change, id).await,
        Step::Delete(Kind::PluginConfig, id) => delete_configs(change, std::slice::from_ref(id)).await,
        Step::Delete(Kind::Consumer, id) => change.delete("consumers", doc! { "_id": id }).await,
        Step::Associate(proxy, configs) => associate(change, proxy, configs).await,
        Step::InsertSpec(spec) => {
            check_there(change, PROXIES, vec![spec.proxy_id.clone()], "api_specs").await?;
            change.insert(API_SPECS, vec![fitting(of_spec(spec))?]).await
        }
        Step::ReplaceSpec(spec) => match change.one(API_SPECS, &spec.id).await? {
            Some(former) => {
                let document = kept(&former, fitting(of_spec(spec))?);
                change.replace(API_SPECS, former, document).await
            }
            None => Ok(()),
        },
        Step::DeleteSpec(id) => delete_spec(change, id).await,
    }
}

/// What proxies list is not looked at: it may come later.
pub(super) async fn insert(change: &mut Change<'_>, kind: Kind, resources: &[&Resource]) -> Result<(), Failure> {
    check_references(change, resources).await?;
    change.insert(kind.table(), resources.iter().map(|resource| of_resource(resource)).collect()).await
}

/// That the upstreams of proxies, and the proxies of plugin configs, are there.
async fn check_references(change: &mut Change<'_>, resources: &[&Resource]) -> Result<(), Failure> {
    let upstreams = resources.iter().filter_map(|resource| match resource {
        Resource::Proxy(proxy) => proxy.upstream_id.clone(),
        _ => None,
    });
    check_there(change, UPSTREAMS, upstreams.collect(), PROXIES).await?;
    let proxies = resources.iter().filter_map(|resource| match resource {
        Resource::PluginConfig(config) => config.proxy_id.clone(),
        _ => None,
    });
    check_there(change, PROXIES, proxies.collect(), PLUGIN_CONFIGS).await
}

/// That the plugin configs are there which proxies list.
pub(super) async fn check_listed(change: &mut Change<'_>, resources: &[&Resource]) -> Result<(), Failure> {
    let listed = resources.iter().filter_map(|resource| match resource {
        Resource::Proxy(proxy) => Some(listed(proxy)),
        _ => None,
    });
    check_there(change, PLUGIN_CONFIGS, listed.flatten().collect(), PROXIES).await
}

fn listed(proxy: &Proxy) -> Vec<String> {
    proxy.plugins.iter().map(|association| association.plugin_config_id.clone()).collect()
}

async fn check_there(change: &mut Change<'_>, collection: &str, mut ids: Vec<String>, by: &str) -> Result<(), Failure> {
    ids.sort_unstable();
    ids.dedup();
    match change.missing(collection, &ids).await?.first() {
        Some(id) => Err(refused(format!("{by} refers to '{id}', which is not in {collection}"))),
        None => Ok(()),
    }
}

fn refused(text: String) -> Failure {
    StoreError::Reference(text.into()).into()
}

/// The server takes 16 MiB; the rest is for what is put around it (admin sheet §31).
const SPEC_BYTES_MAX: usize = 15 * 1024 * 1024;

fn fitting(spec: Document) -> Result<Document, Failure> {
    let size = mongodb::bson::to_vec(&spec).map_or(usize::MAX, |bytes| bytes.len());
    if size > SPEC_BYTES_MAX {
        let text = format!("the record of the API spec has {size} bytes, the most is {SPEC_BYTES_MAX}");
        return Err(StoreError::TooLarge(text.into()).into());
    }
    Ok(spec)
}

/// The time of creation is not a replacement's to say.
fn kept(former: &Document, mut document: Document) -> Document {
    if let Some(at) = former.get("created_at") {
        document.insert("created_at", at.clone());
    }
    document
}

/// Of a document that is there. What a proxy leaves behind goes when nobody else wants it: its former upstream, and groups
/// without members.
async fn replace(change: &mut Change<'_>, resource: &Resource) -> Result<(), Failure> {
    let collection = resource.kind().table();
    let Some(former) = change.one(collection, resource.id()).await? else { return Ok(()) };
    check_references(change, &[resource]).await?;
    check_listed(change, &[resource]).await?;
    let document = kept(&former, of_resource(resource));
    change.replace(collection, former.clone(), document).await?;
    if let Resource::Proxy(proxy) = resource {
        if let Some(upstream) = upstream_of(&former).filter(|former| Some(former) != proxy.upstream_id.as_ref()) {
            delete_orphan_upstream(change, &upstream).await?;
        }
        delete_orphan_groups(change, &listed_by(&former)).await?;
    }
    Ok(())
}

async fn associate(change: &mut Change<'_>, proxy: &str, configs: &[String]) -> Result<(), Failure> {
    check_there(change, PLUGIN_CONFIGS, configs.to_vec(), PROXIES).await?;
    let Some(former) = change.one(PROXIES, proxy).await? else {
        return Err(refused(format!("proxy '{proxy}' is not there")));
    };
    let mut listed = listed_by(&former);
    for config in configs {
        if listed.contains(config) {
            let text = format!("proxy '{proxy}' lists plugin_config '{config}' already");
            return Err(StoreError::Conflict(text.into()).into());
        }
        listed.push(config.clone());
    }
    let document = listing(former.clone(), &listed);
    change.replace(PROXIES, former, document).await
}

/// A proxy's document with another list.
fn listing(mut proxy: Document, configs: &[String]) -> Document {
    let entries = configs.iter().map(|id| Bson::Document(doc! { "plugin_config_id": id }));
    proxy.insert("plugins", entries.collect::<Vec<_>>());
    proxy
}

fn upstream_of(proxy: &Document) -> Option<String> {
    proxy.get_str("upstream_id").ok().map(str::to_owned)
}

/// With what belongs to it alone: its plugin configs, and its spec with what that owns.
async fn delete_proxy(change: &mut Change<'_>, id: &str) -> Result<(), Failure> {
    let Some(former) = change.one(PROXIES, id).await? else { return Ok(()) };
    let specs = change.find(API_SPECS, doc! { "proxy_id": id }).await?;
    change.delete(PROXIES, doc! { "_id": id }).await?;
    let own = change.find(PLUGIN_CONFIGS, doc! { "proxy_id": id }).await?;
    delete_configs(change, &own.iter().map(id_of).collect::<Vec<_>>()).await?;
    change.delete(API_SPECS, doc! { "proxy_id": id }).await?;
    for spec in specs.iter().map(id_of) {
        for upstream in change.find(UPSTREAMS, doc! { "api_spec_id": spec }).await?.iter().map(id_of) {
            delete_upstream(change, &upstream).await?;
        }
    }
    if let Some(upstream) = upstream_of(&former) {
        delete_orphan_upstream(change, &upstream).await?;
    }
    delete_orphan_groups(change, &listed_by(&former)).await
}

/// The document, with all it owns.
async fn delete_spec(change: &mut Change<'_>, id: &str) -> Result<(), Failure> {
    if let Some(spec) = change.one(API_SPECS, id).await?
        && let Ok(proxy) = spec.get_str("proxy_id")
    {
        delete_proxy(change, proxy).await?;
    }
    change.delete(API_SPECS, doc! { "_id": id }).await
}

/// They go out of all lists.
async fn delete_configs(change: &mut Change<'_>, ids: &[String]) -> Result<(), Failure> {
    if ids.is_empty() {
        return Ok(());
    }
    for proxy in change.find(PROXIES, doc! { "plugins.plugin_config_id": { "$in": ids } }).await? {
        let left: Vec<String> = listed_by(&proxy).into_iter().filter(|listed| !ids.contains(listed)).collect();
        let document = listing(proxy.clone(), &left);
        change.replace(PROXIES, proxy, document).await?;
    }
    change.delete(PLUGIN_CONFIGS, doc! { "_id": { "$in": ids } }).await
}

/// One that others use refuses the whole change.
async fn delete_upstream(change: &mut Change<'_>, id: &str) -> Result<(), Failure> {
    if change.any(PROXIES, doc! { "upstream_id": id }).await? {
        return Err(refused(format!("upstream '{id}' is referenced by a proxy")));
    }
    if let Some(config) = dispatch_to(change, id).await? {
        return Err(refused(format!("upstream '{id}' is referenced by mesh_route_dispatch plugin_config '{config}'")));
    }
    change.delete(UPSTREAMS, doc! { "_id": id }).await
}

/// One that no proxy and no dispatch rule refers to.
async fn delete_orphan_upstream(change: &mut Change<'_>, id: &str) -> Result<(), Failure> {
    if change.any(PROXIES, doc! { "upstream_id": id }).await? || dispatch_to(change, id).await?.is_some() {
        return Ok(());
    }
    change.delete(UPSTREAMS, doc! { "_id": id }).await
}

/// A dispatch rule that names the upstream.
async fn dispatch_to(change: &mut Change<'_>, upstream: &str) -> Result<Option<String>, Failure> {
    for document in change.find(PLUGIN_CONFIGS, dispatches()).await? {
        if let Resource::PluginConfig(config) = resource(Kind::PluginConfig, document)?
            && names(&config, upstream)
        {
            return Ok(Some(config.id));
        }
    }
    Ok(None)
}

/// Of what a proxy listed, the groups that no proxy lists any more.
async fn delete_orphan_groups(change: &mut Change<'_>, listed: &[String]) -> Result<(), Failure> {
    for id in listed {
        if !change.any(PROXIES, doc! { "plugins.plugin_config_id": id }).await? {
            change.delete(PLUGIN_CONFIGS, doc! { "_id": id, "scope": "proxy_group" }).await?;
        }
    }
    Ok(())
}
