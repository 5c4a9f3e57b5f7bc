//! From a body to a resource that is sound by itself (admin sheet §9, steps 2 to 5).

use engine::model::{NO_TARGETS, Proxy, TlsFiles, Upstream, check_id};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Refusal, WriteOptions};
use crate::store::{Kind, Resource};

/// How the admin API says [`NO_TARGETS`].
const NO_TARGETS_HERE: &str = "At least one target is required (or configure service_discovery)";

pub(super) fn decode(kind: Kind, body: &[u8]) -> Result<Resource, Refusal> {
    let value: Result<Value, String> = serde_json::from_slice(body).map_err(|error| error.to_string());
    value
        .and_then(object)
        .and_then(|value| Resource::decode(kind, value))
        .map_err(|error| Refusal::bad_request(format!("Invalid body: {error}")))
}

/// The decoder would take an array for the fields in their order.
fn object(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(_) => Ok(value),
        _ => Err("expected a JSON object".to_owned()),
    }
}

/// A new id where there is none.
///
/// # Errors
/// What is wrong with the one there is.
pub(super) fn settle_id(resource: &mut Resource) -> Result<(), String> {
    if resource.id().is_empty() {
        resource.set_id(Uuid::new_v4().to_string());
    }
    check_id(resource.id())
}

/// The form in which resources are compared and stored. Clients set neither owner nor namespace.
pub(super) fn normalize(resource: &mut Resource, namespace: &str) {
    resource.set_api_spec_id(None);
    resource.set_namespace(namespace);
    resource.normalize();
    if let Resource::Proxy(proxy) = resource {
        proxy.allowed_methods.iter_mut().flatten().for_each(|method| method.make_ascii_uppercase());
    }
}

pub(super) fn check_fields(resource: &Resource, options: &WriteOptions) -> Result<(), Refusal> {
    // Mesh configuration alone sets these; what is said about them begins with their names.
    if let Resource::Upstream(upstream) = resource
        && let Some(error) = mesh_fault(upstream)
    {
        return Err(Refusal::bad_request(error));
    }
    let errors = faults(resource, options);
    if errors.is_empty() {
        return Ok(());
    }
    let label = match resource.kind() {
        Kind::Proxy => "proxy fields",
        Kind::Upstream => "upstream fields",
        Kind::PluginConfig => "plugin config fields",
        Kind::Consumer => "consumer fields",
    };
    Err(Refusal::bad_request(format!("Invalid {label}: {}", errors.join("; "))))
}

/// All that is wrong with a resource by itself.
pub(super) fn faults(resource: &Resource, options: &WriteOptions) -> Vec<String> {
    let mut files = TlsFiles::new(OffsetDateTime::now_utc(), options.cert_expiry_warning_days);
    let mut errors = field_errors(resource, options, &mut files);
    if let Resource::Proxy(proxy) = resource
        && errors.is_empty()
    {
        errors.extend(proxy_fault(proxy));
    }
    files.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    errors
}

/// What is wrong with each field by itself. TLS files of an upstream are for whoever looks at whole documents.
pub(super) fn field_errors(resource: &Resource, options: &WriteOptions, files: &mut TlsFiles) -> Vec<String> {
    let policy = options.backend_allow_ips;
    let (mut errors, more) = match resource {
        Resource::Proxy(proxy) => {
            let mut more = proxy.check_files(files);
            more.extend(proxy.check_addresses(policy));
            (proxy.check_fields(), more)
        }
        Resource::Upstream(upstream) => {
            let said = |error: String| if error == NO_TARGETS { NO_TARGETS_HERE.to_owned() } else { error };
            (upstream.check_fields().into_iter().map(said).collect(), upstream.check_addresses(policy))
        }
        Resource::Consumer(consumer) => (consumer.check_fields(options.credentials_per_type_max), Vec::new()),
        Resource::PluginConfig(config) => (config.check_fields(), config.check_addresses(policy)),
    };
    errors.extend(more);
    errors
}

fn mesh_fault(upstream: &Upstream) -> Option<String> {
    let names = ["port_overrides", "source_locality", "locality_lb_setting"];
    upstream.check_fields().into_iter().find(|error| names.iter().any(|name| error.starts_with(name)))
}

/// What is looked at when the fields are sound one by one: the first fault.
fn proxy_fault(proxy: &Proxy) -> Option<String> {
    if let Some(error) = proxy.check_hosts().into_iter().next() {
        return Some(format!("Invalid proxy hosts: {error}"));
    }
    if let Err((path, error)) = proxy.check_regex() {
        return Some(format!("Invalid proxy listen_path: invalid regex '{path}': {error}"));
    }
    let scheme = proxy.scheme().as_str();
    match (proxy.is_http(), proxy.listen_port) {
        (false, None) => Some(format!("Stream proxy (scheme {scheme}) must have a listen_port")),
        (false, Some(0)) => Some("listen_port 0 must be >= 1".to_owned()),
        (true, Some(_)) => Some(format!("HTTP proxy (scheme {scheme}) must not set listen_port")),
        _ => None,
    }
}
