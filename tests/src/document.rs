//! The configuration document as text, written the way a user would.

use std::fmt::Write;

use serde_json::{Value, json};

/// One proxy; keys are written in the order they were set.
#[derive(Clone)]
pub struct Proxy {
    id: String,
    fields: Vec<(String, Value)>,
    plugins: Vec<String>,
}

impl Proxy {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), fields: Vec::new(), plugins: Vec::new() }.set("backend_scheme", "http")
    }

    pub fn path(self, listen_path: &str) -> Self {
        self.set("listen_path", listen_path)
    }

    pub fn hosts(self, hosts: &[&str]) -> Self {
        self.set("hosts", hosts)
    }

    /// The backend on this port of the loopback address.
    pub fn to(self, port: u16) -> Self {
        self.set("backend_host", "127.0.0.1").set("backend_port", port)
    }

    /// Sets a field, or replaces it.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.retain(|(present, _)| present != key);
        self.fields.push((key.to_owned(), value.into()));
        self
    }
}

/// A whole document; `to_string` is the YAML the gateway reads.
#[derive(Clone, Default)]
pub struct Document {
    proxies: Vec<Proxy>,
    upstreams: Vec<Value>,
    consumers: Vec<Value>,
    plugins: Vec<Value>,
}

impl Document {
    pub fn new() -> Self {
        Self::default()
    }

    /// One proxy `app` that sends every path to this port as it came.
    pub fn all_to(port: u16) -> Self {
        Self::new().proxy(Proxy::new("app").path("/").to(port))
    }

    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxies.push(proxy);
        self
    }

    pub fn upstream(mut self, upstream: Value) -> Self {
        self.upstreams.push(upstream);
        self
    }

    pub fn consumer(mut self, consumer: Value) -> Self {
        self.consumers.push(consumer);
        self
    }

    pub fn global_plugin(self, name: &str, config: Value) -> Self {
        let id = format!("global-{name}");
        self.plugin(json!({"id": id, "plugin_name": name, "scope": "global", "config": config}))
    }

    /// A plugin of one proxy, attached from both sides.
    pub fn proxy_plugin(mut self, proxy: &str, name: &str, config: Value) -> Self {
        let id = format!("{proxy}-{name}");
        let owner = self.proxies.iter_mut().find(|p| p.id == proxy).expect("a proxy before its plugins");
        owner.plugins.push(id.clone());
        self.plugin(json!({"id": id, "plugin_name": name, "scope": "proxy", "proxy_id": proxy, "config": config}))
    }

    pub fn plugin(mut self, plugin: Value) -> Self {
        self.plugins.push(plugin);
        self
    }
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = "version: \"1\"\nproxies:".to_owned();
        text.push_str(if self.proxies.is_empty() { " []\n" } else { "\n" });
        for proxy in &self.proxies {
            writeln!(text, "  - id: {}", json!(proxy.id))?;
            for (key, value) in &proxy.fields {
                writeln!(text, "    {key}: {value}")?;
            }
            if !proxy.plugins.is_empty() {
                writeln!(text, "    plugins:")?;
            }
            for id in &proxy.plugins {
                writeln!(text, "      - plugin_config_id: {}", json!(id))?;
            }
        }
        for (key, list) in
            [("upstreams", &self.upstreams), ("consumers", &self.consumers), ("plugin_configs", &self.plugins)]
        {
            // JSON is YAML's flow style.
            writeln!(text, "{key}: {}", json!(list))?;
        }
        f.write_str(&text)
    }
}
