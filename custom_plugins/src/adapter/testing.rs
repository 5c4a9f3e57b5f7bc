//! Requests and the chain they pass, for the tests of this folder.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use engine::buffer::Buffer;
use engine::consumers::{Consumer, ConsumerIndex};
use engine::http::{Method, RequestHead, ResponseHead, Span};
use engine::model::Document;
use engine::snapshot::ProxyFacts;
use native::{AuthMode, Chain, Facts, PluginRow, PluginSet, RequestContext as Native};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::catalog::companion;
use super::instance::{Documented, Instance};
use super::native_plugin::OnCore;
use crate::plugins::Plugin;

/// One proxy, `orders`, and the plugins that its requests pass in this order.
pub(super) struct Rig {
    pub chain: Chain,
    pub facts: Rc<Facts>,
}

impl Rig {
    pub(super) fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self::with(plugins, json!({}))
    }

    /// With more in its document.
    pub(super) fn with(plugins: Vec<Arc<dyn Plugin>>, more: Value) -> Self {
        let mut document = json!({"version": "1", "consumers": [], "upstreams": [], "plugin_configs": [],
            "proxies": [{"id": "orders", "backend_host": "10.9.0.4", "backend_port": 8080}]});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let document: Document = serde_json::from_value(document).unwrap();
        let instances: Vec<_> = plugins.into_iter().map(|plugin| Instance::new(plugin, Handle::current())).collect();
        let row = |instance: &Arc<Instance>| PluginRow {
            id: instance.number.to_string().into(),
            spec: Arc::new(Documented(instance.clone())),
            priority: 5000,
            fingerprint: instance.number,
        };
        let rows: Vec<_> = instances.iter().map(row).collect();
        let all = (0..rows.len() as u32).collect();
        let set = PluginSet { rows, lists: vec![all], by_proxy: vec![0], ..PluginSet::default() };
        let on_core = instances.into_iter().map(|instance| Rc::new(OnCore::new(instance)) as Rc<dyn native::Plugin>);
        let native = |consumer: &Value| Consumer {
            id: consumer["id"].as_str().unwrap().to_owned(),
            username: consumer["username"].as_str().unwrap().to_owned(),
            custom_id: None,
            acl_groups: Vec::new(),
            credentials: serde_json::Map::new(),
        };
        let consumers = more["consumers"].as_array().into_iter().flatten().map(native);
        let facts = Rc::new(Facts {
            namespace: "ferrum".into(),
            consumers: Arc::new(ConsumerIndex::new(consumers)),
            proxies: Arc::new([ProxyFacts { id: "orders".into(), ..ProxyFacts::default() }.into()]),
            redacted_keys: Vec::new(),
            companion: companion(&Arc::new(document), &[0], &set).map(|companion| companion.on_core()),
        });
        Self { chain: Chain::new(&on_core.collect::<Vec<_>>(), AuthMode::Single), facts }
    }

    /// A GET of that path and query.
    pub(super) fn request(&self, target: &str, headers: &[(&str, &str)]) -> Native {
        let mut head = Box::new(RequestHead::new());
        let mut line = Buffer::head();
        line.extend(b"GET");
        line.extend(target.as_bytes());
        let end = line.len();
        let question = target.find('?').map(|at| at + 3);
        head.method = Method::Get;
        head.method_text = Span::new(0, 3);
        head.path = Span::new(3, question.unwrap_or(end));
        head.query = question.map_or(Span::default(), |at| Span::new(at + 1, end));
        head.headers.set_received(line);
        headers.iter().for_each(|(name, value)| head.headers.append(name, value.as_bytes()));
        Native::new(head, self.facts.clone(), 0, IpAddr::from([10, 1, 2, 3]), Instant::now())
    }

    /// Brings a request through all phases up to the backend.
    pub(super) async fn send(&self, cx: &mut Native) {
        self.chain.on_request_received(cx).await.unwrap();
        self.chain.authenticate(cx).await.unwrap();
        self.chain.authorize(cx).await.unwrap();
        self.chain.before_proxy(cx).await.unwrap();
    }

    /// And through the one behind, with an empty 200.
    pub(super) async fn answer(&self, cx: &mut Native) -> ResponseHead {
        let mut response = ResponseHead::new(200);
        self.chain.after_proxy(cx, &mut response).await.unwrap();
        response
    }
}
