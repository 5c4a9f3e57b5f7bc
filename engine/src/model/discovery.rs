//! `service_discovery` of an upstream (resources sheet §9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscoveryProvider {
    DnsSd,
    Kubernetes,
    Consul,
    Mesh,
}

impl DiscoveryProvider {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DnsSd => "dns_sd",
            Self::Kubernetes => "kubernetes",
            Self::Consul => "consul",
            Self::Mesh => "mesh",
        }
    }
}

/// Only the block of the chosen provider is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDiscovery {
    pub provider: DiscoveryProvider,
    pub dns_sd: Option<DnsSdDiscovery>,
    pub kubernetes: Option<KubernetesDiscovery>,
    pub consul: Option<ConsulDiscovery>,
    pub mesh: Option<MeshDiscovery>,
    /// 1 to 65,535; for targets that come without a weight.
    #[serde(default = "default_weight")]
    pub default_weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsSdDiscovery {
    pub service_name: String,
    #[serde(default = "poll_interval_seconds")]
    pub poll_interval_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubernetesDiscovery {
    #[serde(default = "kubernetes_namespace")]
    pub namespace: String,
    pub service_name: String,
    pub port_name: Option<String>,
    pub label_selector: Option<String>,
    #[serde(default = "poll_interval_seconds")]
    pub poll_interval_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsulDiscovery {
    pub address: String,
    pub service_name: String,
    pub datacenter: Option<String>,
    pub tag: Option<String>,
    #[serde(default = "super::enabled")]
    pub healthy_only: bool,
    pub token: Option<String>,
    #[serde(default = "poll_interval_seconds")]
    pub poll_interval_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeshDiscovery {
    pub service_name: String,
    /// Nothing = the upstream's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default = "poll_interval_seconds")]
    pub poll_interval_seconds: u64,
}

fn default_weight() -> u32 {
    1
}

fn poll_interval_seconds() -> u64 {
    30
}

fn kubernetes_namespace() -> String {
    "default".into()
}

impl ServiceDiscovery {
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        rules::range(errors, "service_discovery.default_weight", self.default_weight, 1, 65_535);
        let found = match self.provider {
            DiscoveryProvider::DnsSd => self.dns_sd.as_ref().map(|block| block.check(errors)),
            DiscoveryProvider::Kubernetes => self.kubernetes.as_ref().map(|block| block.check(errors)),
            DiscoveryProvider::Consul => self.consul.as_ref().map(|block| block.check(errors)),
            DiscoveryProvider::Mesh => self.mesh.as_ref().map(|block| block.check(errors)),
        };
        if found.is_none() {
            let provider = self.provider.as_str();
            errors.push(format!("service_discovery.{provider} config is required when provider is {provider}"));
        }
    }
}

/// The checks of one provider's block, with the block's name in front of each field.
struct BlockCheck<'a> {
    errors: &'a mut Vec<String>,
    block: &'static str,
}

impl BlockCheck<'_> {
    fn field(&self, field: &str) -> String {
        format!("service_discovery.{}.{field}", self.block)
    }

    fn required(&mut self, field: &str, value: &str, bytes_max: usize) {
        let field = self.field(field);
        if value.trim().is_empty() {
            self.errors.push(format!("{field} must not be empty"));
        }
        rules::text(self.errors, &field, value, bytes_max);
    }

    fn optional(&mut self, field: &str, value: Option<&str>, bytes_max: usize) {
        rules::optional_text(self.errors, &self.field(field), value, bytes_max);
    }

    fn interval(&mut self, seconds: u64) {
        rules::range(self.errors, &self.field("poll_interval_seconds"), seconds, 1, 3600);
    }
}

impl DnsSdDiscovery {
    fn check(&self, errors: &mut Vec<String>) {
        let mut check = BlockCheck { errors, block: "dns_sd" };
        check.required("service_name", &self.service_name, 255);
        check.interval(self.poll_interval_seconds);
    }
}

impl KubernetesDiscovery {
    fn check(&self, errors: &mut Vec<String>) {
        let mut check = BlockCheck { errors, block: "kubernetes" };
        check.optional("namespace", Some(&self.namespace), 255);
        check.required("service_name", &self.service_name, 255);
        check.optional("port_name", self.port_name.as_deref(), 255);
        check.optional("label_selector", self.label_selector.as_deref(), 1024);
        check.interval(self.poll_interval_seconds);
    }
}

impl ConsulDiscovery {
    fn check(&self, errors: &mut Vec<String>) {
        let mut check = BlockCheck { errors, block: "consul" };
        check.required("address", &self.address, 2048);
        check.required("service_name", &self.service_name, 255);
        check.optional("datacenter", self.datacenter.as_deref(), 255);
        check.optional("tag", self.tag.as_deref(), 255);
        check.optional("token", self.token.as_deref(), 4096);
        check.interval(self.poll_interval_seconds);
    }
}

impl MeshDiscovery {
    fn check(&self, errors: &mut Vec<String>) {
        let mut check = BlockCheck { errors, block: "mesh" };
        check.required("service_name", &self.service_name, 255);
        if let Some(namespace) = &self.namespace {
            check.required("namespace", namespace, 254);
        }
        if self.port == Some(0) {
            let field = check.field("port");
            check.errors.push(format!("{field} must be greater than 0"));
        }
        check.interval(self.poll_interval_seconds);
    }
}
