//! Whether a configuration of a database can be served (control-plane sheet §7).

use engine::model::{
    Document, Finding, check_consumer_credentials, check_consumer_identities, check_dispatch_references,
    check_plugin_references, check_routes, check_sole_metrics, check_streams, check_upstream_references,
    features_in_use,
};

use super::file::SourceError;

/// What is warned about.
///
/// # Errors
/// All that keeps the document from being served.
pub fn check_stored(document: &Document, credentials_per_type_max: usize) -> Result<Vec<String>, SourceError> {
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
    Ok(warnings(document, credentials_per_type_max))
}

fn warnings(document: &Document, credentials_per_type_max: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    for proxy in &document.proxies {
        let faults = proxy.check_fields().into_iter().chain(proxy.check_hosts());
        warnings.extend(faults.map(|fault| format!("Proxy '{}': {fault}", proxy.id)));
    }
    for upstream in &document.upstreams {
        let faults = upstream.check_fields().into_iter();
        warnings.extend(faults.map(|fault| format!("Upstream '{}': {fault}", upstream.id)));
    }
    for consumer in &document.consumers {
        let faults = consumer.check_fields(credentials_per_type_max).into_iter();
        warnings.extend(faults.map(|fault| format!("Consumer '{}': {fault}", consumer.id)));
    }
    let doubles =
        [check_consumer_identities(document), check_consumer_credentials(document), check_sole_metrics(document)];
    warnings.extend(doubles.iter().flatten().map(Finding::to_string));
    warnings.extend(features_in_use(document));
    warnings
}

#[cfg(test)]
mod tests {
    use engine::model::Proxy;
    use serde_json::json;

    use super::*;

    fn proxy(id: &str, path: &str) -> Proxy {
        let value =
            json!({"id": id, "listen_path": path, "backend_host": "h", "backend_port": 80, "backend_scheme": "http"});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_cannot_be_served_is_refused_and_the_rest_is_a_warning() {
        let of = |proxies| Document { proxies, ..Document::default() };
        assert_eq!(check_stored(&of(vec![proxy("a", "/x"), proxy("b", "/x")]), 2).unwrap_err().errors.len(), 1);
        assert!(check_stored(&of(vec![proxy("a", "~(")]), 2).is_err());
        let mut odd = proxy("a", "/x");
        odd.backend_connect_timeout_ms = 0;
        assert!(!check_stored(&of(vec![odd]), 2).unwrap().is_empty());
    }
}
