//! The steps by which a document's resources are written, each after what it refers to.

use engine::model::{ApiSpec, PluginConfig, Proxy, Upstream};

use crate::admin::specs::{Bundle, Live};
use crate::store::{Kind, Resource, Step};

fn upstream(row: &Upstream) -> Resource {
    Resource::Upstream(Box::new(row.clone()))
}

fn proxy(row: &Proxy) -> Resource {
    Resource::Proxy(Box::new(row.clone()))
}

fn plugin(row: &PluginConfig) -> Resource {
    Resource::PluginConfig(Box::new(row.clone()))
}

pub(super) fn creating(bundle: &Bundle, spec: ApiSpec) -> Vec<Step> {
    let mut bare = bundle.proxy.clone();
    // The plugin configs are not there yet, and cannot be before their proxy.
    let listed = std::mem::take(&mut bare.plugins);
    let listed = listed.into_iter().map(|association| association.plugin_config_id).collect();
    let mut steps: Vec<Step> = bundle.upstream.iter().map(|row| Step::Insert(upstream(row))).collect();
    steps.push(Step::Insert(proxy(&bare)));
    steps.extend(bundle.plugins.iter().map(|row| Step::Insert(plugin(row))));
    steps.push(Step::Associate(bare.id, listed));
    steps.push(Step::InsertSpec(Box::new(spec)));
    steps
}

pub(super) fn replacing(live: &Live, bundle: &Bundle, spec: ApiSpec) -> Vec<Step> {
    let step = |is_there: bool, row: Resource| if is_there { Step::Replace(row) } else { Step::Insert(row) };
    let gone = live.gone(bundle);
    let mut steps = freed_names(live, bundle);
    if let Some(row) = &bundle.upstream {
        steps.push(step(live.upstreams.iter().any(|owned| owned.id == row.id), upstream(row)));
    }
    for row in &bundle.plugins {
        steps.push(step(live.plugins.iter().any(|owned| owned.id == row.id), plugin(row)));
    }
    steps.push(Step::Replace(proxy(&bundle.proxy)));
    // Nothing of the document refers to them any more; what others attach refuses the change.
    let (upstreams, plugins): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(kind, _)| *kind == Kind::Upstream);
    steps.extend(plugins.into_iter().chain(upstreams).map(|(kind, id)| Step::Delete(kind, id)));
    steps.push(Step::ReplaceSpec(Box::new(spec)));
    steps
}

/// An upstream that goes last must not keep its name from the one that comes first.
fn freed_names(live: &Live, bundle: &Bundle) -> Vec<Step> {
    let Some(name) = bundle.upstream.as_ref().and_then(|row| row.name.as_ref()) else { return Vec::new() };
    let is_gone = |row: &&Upstream| bundle.upstream.as_ref().is_none_or(|kept| kept.id != row.id);
    let in_the_way = live.upstreams.iter().filter(is_gone).filter(|row| row.name.as_ref() == Some(name));
    let nameless = in_the_way.map(|row| upstream(&Upstream { name: None, ..row.clone() }));
    nameless.map(Step::Replace).collect()
}
