//! File mode: the document on disk (resources sheet §3).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::model::{
    AddressPolicy, Document, Format, LoadError, LoadOptions, Loaded, features_in_use, load_file, load_text,
};

use tokio::runtime::{Handle, Runtime};

use super::catalog::Catalog;
use super::sound::check_ports;
use crate::cli::{SpecCounts, SpecFailure};
use crate::settings::{BackendAllowIps, Settings};

/// Why there is no configuration: what ends a start or refuses a reload, and every finding behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    pub summary: String,
    pub errors: Vec<String>,
}

impl From<LoadError> for SourceError {
    fn from(error: LoadError) -> Self {
        let summary = error.to_string();
        match error {
            LoadError::Invalid { errors, .. } => Self { summary, errors },
            _ => Self { summary, errors: Vec::new() },
        }
    }
}

/// The file, and how it is read at start and at each reload.
#[derive(Clone)]
pub struct FileSource {
    path: PathBuf,
    namespace: String,
    max_credentials_per_type: usize,
    address_policy: AddressPolicy,
    cert_expiry_warning_days: u64,
    reserved_ports: Vec<u16>,
    /// Where custom plugins are tried.
    runtime: Handle,
}

impl FileSource {
    pub fn new(settings: &Settings, runtime: Handle) -> Self {
        Self {
            runtime,
            path: settings.file.file_config_path.clone().unwrap_or_default(),
            namespace: settings.core.namespace.as_str().to_owned(),
            max_credentials_per_type: settings.limits.max_credentials_per_type,
            address_policy: address_policy(settings.client.backend_allow_ips),
            cert_expiry_warning_days: settings.tls.tls_cert_expiry_warning_days,
            reserved_ports: settings.reserved_ports(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the file; warnings and what this release does not act on are logged.
    pub fn load(&self) -> Result<Arc<Document>, SourceError> {
        let loaded = self.read()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        if loaded.excluded > 0 {
            tracing::info!(
                "Namespace filter '{}': excluded {} resources from other namespaces",
                self.namespace,
                loaded.excluded
            );
        }
        let document = loaded.document;
        tracing::info!(
            "Configuration loaded (version {}): {} proxies, {} consumers, {} plugin configs",
            document.version,
            document.proxies.len(),
            document.consumers.len(),
            document.plugin_configs.len()
        );
        for line in features_in_use(&document) {
            tracing::warn!("{line}");
        }
        Ok(Arc::new(document))
    }

    fn read(&self) -> Result<Loaded, SourceError> {
        let plugins = Catalog { runtime: self.runtime.clone(), address_policy: self.address_policy };
        Ok(load_file(&self.path, &self.options(&self.namespace, &plugins))?)
    }

    /// A text as the file of a gateway of that namespace.
    pub(crate) fn read_text(&self, text: &str, format: Format, namespace: &str) -> Result<Loaded, SourceError> {
        let plugins = Catalog { runtime: self.runtime.clone(), address_policy: self.address_policy };
        Ok(load_text(text, format, &self.options(namespace, &plugins))?)
    }

    fn options<'a>(&self, namespace: &str, plugins: &'a Catalog) -> LoadOptions<'a> {
        LoadOptions {
            namespace: namespace.to_owned(),
            max_credentials_per_type: self.max_credentials_per_type,
            backend_allow_ips: self.address_policy,
            cert_expiry_warning_days: self.cert_expiry_warning_days,
            reserved_ports: Vec::new(),
            plugins,
        }
    }

    /// The check that belongs to start-up and `validate`, not to a reload (settings sheet §9).
    pub fn check_ports(&self, document: &Document) -> Result<(), SourceError> {
        check_ports(document, &self.reserved_ports)
    }
}

pub(crate) fn address_policy(allowed: BackendAllowIps) -> AddressPolicy {
    match allowed {
        BackendAllowIps::Both => AddressPolicy::Both,
        BackendAllowIps::Private => AddressPolicy::Private,
        BackendAllowIps::Public => AddressPolicy::Public,
    }
}

/// What `ferrum-edge validate` does with a spec.
pub fn validate_spec(settings: &Settings) -> Result<SpecCounts, SpecFailure> {
    let runtime = Runtime::new().map_err(|error| SpecFailure {
        reason: format!("Spec validation failed: no runtime for plugins: {error}"),
        errors: Vec::new(),
    })?;
    let source = FileSource::new(settings, runtime.handle().clone());
    let loaded = source.read().map_err(|error| SpecFailure {
        reason: format!("Spec validation failed: {}", error.summary),
        errors: error.errors,
    })?;
    let document = loaded.document;
    source.check_ports(&document).map_err(|error| {
        let lines: String = error.errors.iter().map(|line| format!("\n  {line}")).collect();
        SpecFailure { reason: format!("Port conflict errors:{lines}"), errors: Vec::new() }
    })?;
    Ok(SpecCounts {
        proxies: document.proxies.len(),
        consumers: document.consumers.len(),
        upstreams: document.upstreams.len(),
        plugin_configs: document.plugin_configs.len(),
    })
}
