//! Whether a configuration of a database can be served (control-plane sheet §7).

use engine::model::{
    Document, Finding, TlsFiles, check_consumer_credentials, check_consumer_identities, check_dispatch_references,
    check_plugin_references, check_routes, check_sole_metrics, check_streams, check_upstream_references,
    features_in_use, reserved_port_conflicts,
};
use time::OffsetDateTime;

use super::database::DatabaseScope;
use super::file::SourceError;

/// Whether a stream proxy wants a port of the gateway's own listeners.
///
/// # Errors
/// Each that does.
pub(super) fn check_ports(document: &Document, reserved: &[u16]) -> Result<(), SourceError> {
    let errors = reserved_port_conflicts(document, reserved);
    if errors.is_empty() {
        return Ok(());
    }
    Err(SourceError { summary: "Stream proxy port conflicts with gateway reserved ports".to_owned(), errors })
}

/// What is warned about.
///
/// # Errors
/// All that keeps the document from being served.
pub fn check_stored(document: &Document, scope: &DatabaseScope) -> Result<Vec<String>, SourceError> {
    let mut errors: Vec<String> = Vec::new();
    for proxy in &document.proxies {
        if let Err((path, error)) = proxy.check_regex() {
            errors.push(format!("Proxy '{}': invalid regex listen_path '{path}': {error}", proxy.id));
        }
    }
    let findings = [
        check_routes(document),
        check_streams(document),
        check_upstream_references(document),
        check_dispatch_references(document),
        check_plugin_references(document),
    ];
    errors.extend(findings.iter().flatten().map(Finding::to_string));
    if !errors.is_empty() {
        return Err(SourceError { summary: format!("{} error(s) in the database", errors.len()), errors });
    }
    Ok(warnings(document, scope))
}

fn warnings(document: &Document, scope: &DatabaseScope) -> Vec<String> {
    let mut warnings = Vec::new();
    let policy = scope.address_policy;
    let mut files = TlsFiles::new(OffsetDateTime::now_utc(), scope.cert_expiry_warning_days);
    for proxy in &document.proxies {
        let faults = proxy.check_fields().into_iter().chain(proxy.check_hosts());
        let faults = faults.chain(proxy.check_files(&mut files)).chain(proxy.check_addresses(policy));
        warnings.extend(faults.map(|fault| format!("Proxy '{}': {fault}", proxy.id)));
    }
    for upstream in &document.upstreams {
        let faults = upstream.check_fields().into_iter();
        let faults = faults.chain(upstream.check_files(&mut files)).chain(upstream.check_addresses(policy));
        warnings.extend(faults.map(|fault| format!("Upstream '{}': {fault}", upstream.id)));
    }
    for config in &document.plugin_configs {
        let faults = config.check_fields().into_iter().chain(config.check_addresses(policy));
        warnings.extend(faults.map(|fault| format!("PluginConfig '{}': {fault}", config.id)));
    }
    for consumer in &document.consumers {
        let faults = consumer.check_fields(scope.credentials_per_type_max).into_iter();
        warnings.extend(faults.map(|fault| format!("Consumer '{}': {fault}", consumer.id)));
    }
    warnings.append(&mut files.warnings);
    let doubles =
        [check_consumer_identities(document), check_consumer_credentials(document), check_sole_metrics(document)];
    warnings.extend(doubles.iter().flatten().map(Finding::to_string));
    warnings.extend(features_in_use(document));
    warnings
}

#[cfg(test)]
mod tests {
    use engine::model::AddressPolicy;
    use serde_json::{Value, json};

    use super::*;

    fn proxy(id: &str, more: Value) -> Value {
        let mut value =
            json!({"id": id, "listen_path": "/x", "backend_host": "h", "backend_port": 80, "backend_scheme": "http"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    }

    fn document(proxies: Value, upstreams: Value, plugin_configs: Value) -> Document {
        Document {
            proxies: serde_json::from_value(proxies).unwrap(),
            upstreams: serde_json::from_value(upstreams).unwrap(),
            plugin_configs: serde_json::from_value(plugin_configs).unwrap(),
            ..Document::default()
        }
    }

    fn checked(document: &Document) -> Result<Vec<String>, SourceError> {
        let scope = DatabaseScope { address_policy: AddressPolicy::Public, ..DatabaseScope::of_tests() };
        check_stored(document, &scope)
    }

    fn of(proxies: Value) -> Result<Vec<String>, SourceError> {
        checked(&document(proxies, json!([]), json!([])))
    }

    #[test]
    fn what_cannot_be_served_is_refused_and_the_rest_is_a_warning() {
        assert_eq!(of(json!([proxy("a", json!({})), proxy("b", json!({}))])).unwrap_err().errors.len(), 1);
        assert!(of(json!([proxy("a", json!({"listen_path": "~("}))])).is_err());
        assert!(!of(json!([proxy("a", json!({"backend_connect_timeout_ms": 0}))])).unwrap().is_empty());
    }

    #[test]
    fn files_that_are_gone_addresses_that_are_forbidden_and_odd_plugin_configs_are_warnings() {
        let ca = "backend_tls_server_ca_cert_path";
        let document = document(
            json!([proxy("p", json!({"backend_host": "10.0.0.1", ca: "/nowhere/p.pem"}))]),
            json!([{"id": "u", "targets": [{"host": "10.0.0.2", "port": 1}], ca: "/nowhere/u.pem"}]),
            json!([{"id": "c", "plugin_name": "cors", "scope": "global", "priority_override": 10_001}]),
        );
        let said = checked(&document).unwrap();
        for (resource, fault) in [
            ("Proxy 'p': ", "/nowhere/p.pem"),
            ("Proxy 'p': ", "10.0.0.1 denied"),
            ("Upstream 'u': ", "/nowhere/u.pem"),
            ("Upstream 'u': ", "10.0.0.2 denied"),
            ("PluginConfig 'c': ", "priority_override"),
        ] {
            let is_said = said.iter().any(|text| text.starts_with(resource) && text.contains(fault));
            assert!(is_said, "{resource}{fault}: {said:?}");
        }
    }
}
