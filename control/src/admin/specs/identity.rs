//! Which id each resource of a document has (admin sheet §31.5).

use std::collections::{HashMap, HashSet, VecDeque};

use engine::model::{PluginConfig, Proxy, Upstream};
use uuid::Uuid;

use super::bundle::{Bundle, canonical};
use super::extract::Extracted;
use crate::store::{Kind, Resource};

/// What a spec owns in the database.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Live {
    pub(in crate::admin) proxy: Proxy,
    /// One, but for a database that others have written.
    pub(in crate::admin) upstreams: Vec<Upstream>,
    /// In the order in which the proxy lists them.
    pub(in crate::admin) plugins: Vec<PluginConfig>,
}

impl Live {
    pub(in crate::admin) fn new(proxy: Proxy, upstreams: Vec<Upstream>, mut plugins: Vec<PluginConfig>) -> Self {
        let place = |id: &str| proxy.plugins.iter().position(|association| association.plugin_config_id == id);
        plugins.sort_by_key(|plugin| place(&plugin.id).unwrap_or(usize::MAX));
        Self { proxy, upstreams, plugins }
    }

    /// What a bundle leaves out.
    pub(in crate::admin) fn gone(&self, bundle: &Bundle) -> Vec<(Kind, String)> {
        let kept: HashSet<&str> = bundle.plugins.iter().map(|plugin| plugin.id.as_str()).collect();
        let plugins = self.plugins.iter().filter(|plugin| !kept.contains(plugin.id.as_str()));
        let is_kept = |row: &&Upstream| bundle.upstream.as_ref().is_some_and(|kept| kept.id == row.id);
        let upstreams = self.upstreams.iter().filter(|row| !is_kept(row));
        let plugins = plugins.map(|plugin| (Kind::PluginConfig, plugin.id.clone()));
        plugins.chain(upstreams.map(|row| (Kind::Upstream, row.id.clone()))).collect()
    }

    /// The row that a resource of the new document takes the place of. An upstream may get another id.
    pub(in crate::admin) fn former(&self, resource: &Resource) -> Option<Resource> {
        match resource {
            Resource::Proxy(_) => Some(Resource::Proxy(Box::new(self.proxy.clone()))),
            Resource::Upstream(row) => {
                let same = self.upstreams.iter().find(|owned| owned.id == row.id);
                let found = same.or_else(|| self.upstreams.first())?;
                Some(Resource::Upstream(Box::new(found.clone())))
            }
            Resource::PluginConfig(_) | Resource::Consumer(_) => None,
        }
    }

    /// As it would be if a document said so.
    pub(in crate::admin) fn bundle(&self) -> Bundle {
        let upstream = self.upstreams.first().cloned();
        Bundle { proxy: self.proxy.clone(), upstream, plugins: self.plugins.clone() }
    }
}

/// For a document that is new.
pub(in crate::admin) fn new_ids(extracted: Extracted) -> Bundle {
    let Extracted { mut proxy, mut upstream, mut plugins } = extracted;
    let ids = upstream.iter_mut().map(|row| &mut row.id).chain(plugins.iter_mut().map(|row| &mut row.id));
    for id in ids.chain([&mut proxy.id]).filter(|id| id.is_empty()) {
        *id = fresh();
    }
    linked(Bundle { proxy, upstream, plugins })
}

/// For a document that takes the place of another: what is the same keeps its id.
///
/// # Errors
/// The proxy is another one, or plugins cannot be told apart.
pub(in crate::admin) fn keep_ids(extracted: Extracted, live: &Live) -> Result<Bundle, String> {
    let Extracted { mut proxy, mut upstream, mut plugins } = extracted;
    let known = &live.proxy.id;
    if proxy.id.is_empty() {
        proxy.id.clone_from(known);
    }
    if proxy.id != *known {
        return Err(format!("PUT cannot change proxy_id; existing spec is for proxy '{known}'"));
    }
    if let Some(row) = upstream.as_mut().filter(|row| row.id.is_empty()) {
        row.id = live.upstreams.first().map_or_else(fresh, |owned| owned.id.clone());
    }
    match_plugins(&mut plugins, &live.plugins)?;
    Ok(linked(Bundle { proxy, upstream, plugins }))
}

/// What makes a plugin config the same one without an id.
fn likeness(plugin: &PluginConfig) -> (String, String, Option<u16>) {
    (plugin.plugin_name.clone(), canonical(plugin.config.clone()), plugin.priority_override)
}

/// First come, first served.
fn match_plugins(plugins: &mut [PluginConfig], live: &[PluginConfig]) -> Result<(), String> {
    let named: HashSet<String> = plugins.iter().map(|plugin| plugin.id.clone()).collect();
    let mut free: HashMap<_, VecDeque<&str>> = HashMap::new();
    for plugin in live.iter().filter(|plugin| !named.contains(&plugin.id)) {
        free.entry(likeness(plugin)).or_default().push_back(&plugin.id);
    }
    for plugin in plugins.iter_mut().filter(|plugin| plugin.id.is_empty()) {
        if let Some(id) = free.get_mut(&likeness(plugin)).and_then(VecDeque::pop_front) {
            plugin.id = id.to_owned();
        }
    }
    check_told_apart(plugins)?;
    plugins.iter_mut().filter(|plugin| plugin.id.is_empty()).for_each(|plugin| plugin.id = fresh());
    Ok(())
}

/// Which of several changed plugins of one name is which, only ids could tell.
fn check_told_apart(plugins: &[PluginConfig]) -> Result<(), String> {
    let mut configs: HashMap<String, String> = HashMap::new();
    for plugin in plugins.iter().filter(|plugin| plugin.id.is_empty()) {
        let (name, config, _) = likeness(plugin);
        if configs.insert(name.clone(), config.clone()).is_some_and(|other| other != config) {
            return Err(format!(
                "x-ferrum-plugins has several changed plugins '{name}' without an id; give each plugin of this name an \
                 explicit id"
            ));
        }
    }
    Ok(())
}

fn fresh() -> String {
    Uuid::new_v4().to_string()
}

/// Proxy, upstream and plugins name one another.
fn linked(mut bundle: Bundle) -> Bundle {
    if let Some(upstream) = &bundle.upstream {
        bundle.proxy.upstream_id = Some(upstream.id.clone());
    }
    for plugin in &mut bundle.plugins {
        plugin.proxy_id = Some(bundle.proxy.id.clone());
    }
    let own: Vec<String> = bundle.plugins.iter().map(|plugin| plugin.id.clone()).collect();
    bundle.list(own);
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::specs::extract;
    use serde_json::{Value, json};

    fn extracted(upstream: bool, plugins: Value) -> Extracted {
        let mut root =
            json!({"x-ferrum-proxy": {"backend_host": "h", "backend_port": 80}, "x-ferrum-plugins": plugins});
        if upstream {
            root["x-ferrum-upstream"] = json!({"targets": []});
        }
        extract(&root, None).unwrap()
    }

    fn live(plugins: Value) -> Live {
        let mut bundle = new_ids(extracted(true, plugins));
        bundle.proxy.id = "p".into();
        Live::new(bundle.proxy, bundle.upstream.into_iter().collect(), bundle.plugins)
    }

    fn ids(bundle: &Bundle) -> Vec<&str> {
        bundle.plugins.iter().map(|plugin| plugin.id.as_str()).collect()
    }

    #[test]
    fn a_new_document_gets_new_ids_that_fit_together() {
        let bundle = new_ids(extracted(true, json!([{"plugin_name": "cors"}, {"id": "k", "plugin_name": "key_auth"}])));
        let proxy = &bundle.proxy;
        assert_eq!((proxy.id.len(), bundle.plugins[0].id.len(), ids(&bundle)[1]), (36, 36, "k"));
        assert_eq!(proxy.upstream_id, bundle.upstream.as_ref().map(|upstream| upstream.id.clone()));
        assert!(bundle.plugins.iter().all(|plugin| plugin.proxy_id.as_ref() == Some(&proxy.id)));
        let listed: Vec<&str> = proxy.plugins.iter().map(|entry| entry.plugin_config_id.as_str()).collect();
        assert_eq!(listed, ids(&bundle));
    }

    #[test]
    fn what_is_the_same_keeps_its_id() {
        let before = live(json!([
            {"id": "a", "plugin_name": "cors", "config": {"x": 1, "y": 2}},
            {"id": "b", "plugin_name": "cors", "config": {"x": 1, "y": 2}},
            {"id": "c", "plugin_name": "cors", "config": {"x": 1, "y": 2}, "priority_override": 5},
        ]));
        let same = json!({"plugin_name": "cors", "config": {"y": 2, "x": 1}});
        let other = json!({"plugin_name": "cors", "config": {"y": 2, "x": 1}, "priority_override": 5});
        let kept = keep_ids(extracted(true, json!([other, same, same])), &before).unwrap();
        assert_eq!((kept.proxy.id.as_str(), ids(&kept)), ("p", vec!["c", "a", "b"]));
        assert_eq!(kept.upstream.unwrap().id, before.upstreams[0].id);
        let taken = keep_ids(extracted(false, json!([{"id": "a", "plugin_name": "key_auth"}, same])), &before).unwrap();
        assert_eq!(ids(&taken), ["a", "b"], "an id that is named is not given away");
        let more = keep_ids(extracted(false, json!([same, same, same])), &before).unwrap();
        assert_eq!((ids(&more)[..2].to_vec(), ids(&more)[2].len()), (vec!["a", "b"], 36));
    }

    #[test]
    fn plugins_that_cannot_be_told_apart_need_ids() {
        let before = live(json!([{"id": "a", "plugin_name": "cors", "config": {"x": 1}}]));
        let put = |plugins: Value| keep_ids(extracted(false, plugins), &before);
        let one = |x: u32| json!({"plugin_name": "cors", "config": {"x": x}});
        assert!(put(json!([one(2)])).is_ok(), "one is told by its being alone");
        assert!(put(json!([one(1), one(2)])).is_ok(), "one is as it was");
        assert!(put(json!([one(2), one(2)])).is_ok(), "it does not matter which");
        assert!(put(json!([one(2), {"plugin_name": "key_auth", "config": {"x": 3}}])).is_ok());
        assert!(put(json!([one(2), one(3)])).unwrap_err().contains("several changed plugins 'cors'"));
        assert!(put(json!([one(2), {"id": "n", "plugin_name": "cors", "config": {"x": 3}}])).is_ok());
    }

    #[test]
    fn the_proxy_stays_the_same_one() {
        let mut other = extracted(false, json!([]));
        other.proxy.id = "q".into();
        let expected = "PUT cannot change proxy_id; existing spec is for proxy 'p'";
        assert_eq!(keep_ids(other, &live(json!([]))).unwrap_err(), expected);
    }
}
