//! From a file to a document that can be served: the pipeline of the resources sheet §3.4.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::address_policy::AddressPolicy;
use super::decode::{DecodeError, Format, decode_versioned};
use super::document::Document;
use super::finding::Finding;
use super::tls_files::TlsFiles;
use super::{references, rules, stream, timestamp, uniqueness};

/// What the loader needs to know about plugins.
pub trait PluginCatalog {
    /// Whether a plugin of this name can be made from this config.
    ///
    /// # Errors
    /// [`PluginRefusal`]: no such plugin, or all that is wrong with its config.
    fn check(&self, name: &str, config: &Value) -> Result<(), PluginRefusal>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginRefusal {
    Unknown,
    Invalid(Vec<String>),
}

/// What the settings say about loading.
#[derive(Clone)]
pub struct LoadOptions<'a> {
    /// The gateway's own namespace: resources of others are checked for form and then dropped.
    pub namespace: String,
    pub max_credentials_per_type: usize,
    pub backend_allow_ips: AddressPolicy,
    /// 0 = never.
    pub cert_expiry_warning_days: u64,
    /// Ports of the gateway's own listeners; empty leaves the last step out, for callers that report it differently.
    pub reserved_ports: Vec<u16>,
    pub plugins: &'a dyn PluginCatalog,
}

/// A sound document.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Normalised, with the resources of one namespace.
    pub document: Document,
    pub warnings: Vec<String>,
    /// Resources of other namespaces that were dropped.
    pub excluded: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("Configuration file not found: {}", path.display())]
    Missing { path: PathBuf },
    #[error("Configuration file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Not a document: the decoder's whole text.
    #[error("{0}")]
    Decode(String),
    /// No version, or one that cannot be brought to the current one.
    #[error("{0}")]
    Version(String),
    /// One step's summary, which is the fatal error, and all that the step found.
    #[error("{summary}")]
    Invalid { summary: String, errors: Vec<String> },
}

/// Reads, decodes and checks a file.
///
/// # Errors
/// [`LoadError`].
pub fn load_file(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, LoadError> {
    if !path.exists() {
        return Err(LoadError::Missing { path: path.into() });
    }
    let unreadable = |source| LoadError::Unreadable { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut loaded = load_text(&text, Format::of(path, &text), options)?;
    loaded.warnings.splice(0..0, world_readable(path).map_err(unreadable)?);
    Ok(loaded)
}

/// Decodes and checks a text.
///
/// # Errors
/// [`LoadError`]; never `Missing` or `Unreadable`.
pub fn load_text(text: &str, format: Format, options: &LoadOptions<'_>) -> Result<Loaded, LoadError> {
    let (mut document, version_warning) = decode_versioned(text, format).map_err(|error| match error {
        DecodeError::Text(text) => LoadError::Decode(text),
        DecodeError::Version(text) => LoadError::Version(text),
    })?;
    let mut warnings: Vec<String> = version_warning.into_iter().collect();
    step("invalid resource ID(s)", check_id_formats(&document))?;
    step("invalid field(s)", check_fields(&document, options, &mut warnings))?;
    step("duplicate resource ID(s)", uniqueness::check_ids(&document))?;
    document.normalize();
    step("invalid host(s)", check_hosts(&document))?;
    step("invalid regex listen_path(s)", check_regexes(&document))?;

    document.known_namespaces = document.namespaces();
    let places = Places::filter(&mut document, &options.namespace);
    let step = |what: &str, findings: Vec<Finding>| step(what, places.in_file(findings));
    step("duplicate listen_path(s)", uniqueness::check_routes(&document))?;
    step("duplicate consumer identity(ies)", uniqueness::check_consumer_identities(&document))?;
    step("duplicate consumer credential(s)", uniqueness::check_consumer_credentials(&document))?;
    step("duplicate upstream name(s)", uniqueness::check_upstream_names(&document))?;
    step("duplicate proxy name(s)", uniqueness::check_proxy_names(&document))?;
    step("invalid upstream reference(s)", references::check_upstream_references(&document))?;
    step("invalid mesh_route_dispatch upstream reference(s)", references::check_dispatch_references(&document))?;
    step("invalid plugin reference(s)", references::check_plugin_references(&document))?;
    step("plugin(s) enabled twice", references::check_sole_metrics(&document))?;
    step("plugin config error(s)", check_plugins(&document, options.plugins))?;
    step("plugin file dependency error(s)", check_plugin_files(&document, options, &mut warnings))?;
    step("stream proxy error(s)", stream::check_streams(&document))?;
    let conflicts = places.in_file(stream::reserved_ports(&document, &options.reserved_ports));
    if !conflicts.is_empty() {
        let summary = "Stream proxy port conflicts with gateway reserved ports".into();
        return Err(LoadError::Invalid { summary, errors: conflicts.iter().map(Finding::to_string).collect() });
    }
    Ok(Loaded { document, warnings, excluded: places.excluded })
}

/// Ends the load with the step's summary if it found anything.
fn step(what: &str, findings: Vec<Finding>) -> Result<(), LoadError> {
    if findings.is_empty() {
        return Ok(());
    }
    let hint = match what {
        "duplicate consumer identity(ies)" => ". Usernames and custom_ids must each lead to one consumer",
        "duplicate consumer credential(s)" => ". Keys and identities must each lead to one consumer",
        _ => "",
    };
    let summary = format!("Configuration validation failed: {} {what} found{hint}", findings.len());
    Err(LoadError::Invalid { summary, errors: findings.iter().map(Finding::to_string).collect() })
}

#[cfg(unix)]
fn world_readable(path: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::metadata(path)?.permissions().mode() & 0o7777;
    let path = path.display();
    Ok((mode & 0o004 != 0).then(|| {
        format!("Config file {path} is world-readable (mode {mode:o}); it may hold credentials: chmod o-r {path}")
    }))
}

#[cfg(not(unix))]
fn world_readable(_path: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

fn check_id_formats(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        found.extend(id_fault("Proxy", i, &proxy.id, Finding::proxy));
    }
    for (i, consumer) in document.consumers.iter().enumerate() {
        found.extend(id_fault("Consumer", i, &consumer.id, Finding::consumer));
    }
    for (i, config) in document.plugin_configs.iter().enumerate() {
        found.extend(id_fault("PluginConfig", i, &config.id, Finding::plugin_config));
    }
    for (i, upstream) in document.upstreams.iter().enumerate() {
        found.extend(id_fault("Upstream", i, &upstream.id, Finding::upstream));
    }
    found
}

fn id_fault(kind: &str, i: usize, id: &str, finding: fn(usize, &str, String) -> Finding) -> Option<Finding> {
    let error = rules::check_id(id).err()?;
    Some(finding(i, id, format!("{kind} ID: {error}")))
}

/// Field checks of every resource, then the TLS files they name, then their addresses.
fn check_fields(document: &Document, options: &LoadOptions<'_>, warnings: &mut Vec<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let errors = proxy.check_fields().into_iter();
        found.extend(errors.map(|error| Finding::proxy(i, &proxy.id, format!("Proxy '{}': {error}", proxy.id))));
    }
    for (i, consumer) in document.consumers.iter().enumerate() {
        let errors = consumer.check_fields(options.max_credentials_per_type).into_iter();
        let id = &consumer.id;
        found.extend(errors.map(|error| Finding::consumer(i, id, format!("Consumer '{id}': {error}"))));
    }
    for (i, upstream) in document.upstreams.iter().enumerate() {
        let id = &upstream.id;
        let errors = upstream.check_fields().into_iter();
        found.extend(errors.map(|error| Finding::upstream(i, id, format!("Upstream '{id}': {error}"))));
    }
    for (i, config) in document.plugin_configs.iter().enumerate() {
        let id = &config.id;
        let errors = config.check_fields().into_iter();
        found.extend(errors.map(|error| Finding::plugin_config(i, id, format!("PluginConfig '{id}': {error}"))));
    }
    found.extend(check_tls_files(document, options.cert_expiry_warning_days, warnings));
    found.extend(check_addresses(document, options.backend_allow_ips));
    found
}

fn check_tls_files(document: &Document, expiry_warning_days: u64, warnings: &mut Vec<String>) -> Vec<Finding> {
    let mut files = TlsFiles::new(timestamp::now(), expiry_warning_days);
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let id = &proxy.id;
        let errors = proxy.check_files(&mut files).into_iter();
        found.extend(errors.map(|error| Finding::proxy(i, id, format!("Proxy '{id}': {error}"))));
    }
    for (i, upstream) in document.upstreams.iter().enumerate() {
        let id = &upstream.id;
        let errors = upstream.check_files(&mut files).into_iter();
        found.extend(errors.map(|error| Finding::upstream(i, id, format!("Upstream '{id}': {error}"))));
    }
    warnings.append(&mut files.warnings);
    found
}

/// Addresses written into the document against `FERRUM_BACKEND_ALLOW_IPS`; names are checked when they are resolved.
fn check_addresses(document: &Document, policy: AddressPolicy) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let id = &proxy.id;
        let errors = proxy.check_addresses(policy).into_iter();
        found.extend(errors.map(|error| Finding::proxy(i, id, format!("Proxy '{id}': {error}"))));
    }
    for (i, upstream) in document.upstreams.iter().enumerate() {
        let id = &upstream.id;
        let errors = upstream.check_addresses(policy).into_iter();
        found.extend(errors.map(|error| Finding::upstream(i, id, format!("Upstream '{id}': {error}"))));
    }
    for (i, config) in document.plugin_configs.iter().enumerate() {
        let id = &config.id;
        let errors = config.check_addresses(policy).into_iter();
        found.extend(errors.map(|error| Finding::plugin_config(i, id, format!("PluginConfig '{id}' {error}"))));
    }
    found
}

fn check_hosts(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        let errors = proxy.check_hosts().into_iter();
        found.extend(errors.map(|error| Finding::proxy(i, &proxy.id, format!("Proxy '{}': {error}", proxy.id))));
    }
    found
}

fn check_regexes(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, proxy) in document.proxies.iter().enumerate() {
        if let Err((path, error)) = proxy.check_regex() {
            let message = format!("Proxy '{}': invalid regex listen_path '{path}': {error}", proxy.id);
            found.push(Finding::proxy(i, &proxy.id, message));
        }
    }
    found
}

fn check_plugins(document: &Document, plugins: &dyn PluginCatalog) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, config) in document.plugin_configs.iter().enumerate().filter(|(_, config)| config.enabled) {
        let (name, id) = (&config.plugin_name, &config.id);
        match plugins.check(name, &config.config) {
            Ok(()) => {}
            Err(PluginRefusal::Unknown) => {
                found.push(Finding::plugin_config(i, id, format!("Unknown plugin name '{name}'")));
            }
            Err(PluginRefusal::Invalid(errors)) => {
                let messages = errors.into_iter().map(|error| format!("Plugin '{name}' (id={id}): {error}"));
                found.extend(messages.map(|message| Finding::plugin_config(i, id, message)));
            }
        }
    }
    found
}

/// Files named inside plugin configs: the GeoIP database, and the TLS files of direct dispatch destinations.
fn check_plugin_files(document: &Document, options: &LoadOptions<'_>, warnings: &mut Vec<String>) -> Vec<Finding> {
    let mut files = TlsFiles::new(timestamp::now(), options.cert_expiry_warning_days);
    let mut found = Vec::new();
    for (i, config) in document.plugin_configs.iter().enumerate().filter(|(_, config)| config.enabled) {
        let (name, id) = (&config.plugin_name, &config.id);
        let mut refuse = |error: String| {
            found.push(Finding::plugin_config(i, id, format!("Plugin '{name}' (id={id}): {error}")));
        };
        let db_path = config.config.get("db_path").and_then(Value::as_str).filter(|_| name == "geo_restriction");
        if let Some(path) = db_path.map(str::trim)
            && let Err(error) = std::fs::File::open(path)
        {
            refuse(format!("db_path: failed to open '{path}': {error}"));
        }
        for (rule, destination) in references::dispatch_destinations(config) {
            for (field, path) in tls_paths(destination.get("backend_tls")) {
                if let Err(error) = files.check(field, path) {
                    refuse(format!("rules[{rule}].destination.backend_tls.{error}"));
                }
            }
        }
    }
    warnings.append(&mut files.warnings);
    found
}

/// The fields of a `backend_tls` object that name a file.
fn tls_paths(tls: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    let fields = tls.and_then(Value::as_object).into_iter().flatten();
    fields
        .filter_map(|(field, path)| Some((field.as_str(), path.as_str()?)))
        .filter(|(field, _)| field.ends_with("_path"))
}

/// Where the resources that survived the namespace filter stand in the file, so that messages lead there.
#[derive(Default)]
struct Places {
    proxies: Vec<usize>,
    consumers: Vec<usize>,
    upstreams: Vec<usize>,
    plugin_configs: Vec<usize>,
    excluded: usize,
}

impl Places {
    /// Drops the resources of other namespaces.
    fn filter(document: &mut Document, namespace: &str) -> Self {
        let mut places = Self::default();
        places.proxies = places.retain(&mut document.proxies, |proxy| proxy.namespace == namespace);
        places.consumers = places.retain(&mut document.consumers, |consumer| consumer.namespace == namespace);
        places.upstreams = places.retain(&mut document.upstreams, |upstream| upstream.namespace == namespace);
        places.plugin_configs = places.retain(&mut document.plugin_configs, |config| config.namespace == namespace);
        places
    }

    fn retain<T>(&mut self, list: &mut Vec<T>, is_ours: impl Fn(&T) -> bool) -> Vec<usize> {
        let ours: Vec<usize> = list.iter().enumerate().filter(|(_, item)| is_ours(item)).map(|(i, _)| i).collect();
        self.excluded += list.len() - ours.len();
        list.retain(is_ours);
        ours
    }

    fn in_file(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        for finding in &mut findings {
            let places = match finding.list {
                "proxies" => &self.proxies,
                "consumers" => &self.consumers,
                "upstreams" => &self.upstreams,
                _ => &self.plugin_configs,
            };
            finding.index = places.get(finding.index).copied().unwrap_or(finding.index);
        }
        findings
    }
}

#[cfg(test)]
mod tests;
