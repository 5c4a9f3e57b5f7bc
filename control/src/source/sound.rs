//! Whether a configuration of a database can be served (control-plane sheet §7).

use std::collections::HashSet;

use engine::model::{
    Document, Finding, Proxy, Rows, TlsFiles, check_consumer_credentials, check_consumer_identities,
    check_dispatch_references, check_listed_plugins, check_plugin_references, check_routes, check_routes_with,
    check_sole_metrics, check_streams, check_upstream_references, features_in_use, reserved_port_conflicts,
};
use time::OffsetDateTime;

use super::database::DatabaseScope;
use super::file::SourceError;
use super::pairs::{Former, is_same, pairs};

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
    let findings = [
        check_routes(document),
        check_streams(document),
        check_upstream_references(document),
        check_dispatch_references(document),
        check_plugin_references(document),
    ];
    refuse(document, &findings)?;
    Ok(warnings(document, scope))
}

/// What is warned about in those proxies that `changed` has, when all else of the document has been found sound before.
///
/// # Errors
/// All that keeps the document from being served.
pub fn check_changed(
    document: &Document,
    changed: &ChangedProxies,
    scope: &DatabaseScope,
) -> Result<Vec<String>, SourceError> {
    let proxies = Document { proxies: changed.rows.clone(), ..Document::default() };
    let with_upstreams = Document { upstreams: document.upstreams.clone(), ..proxies.clone() };
    let with_configs = Document { plugin_configs: document.plugin_configs.clone(), ..proxies.clone() };
    let paths = changed.rerouted.iter().map(|proxy| proxy.listen_path.as_deref()).collect::<HashSet<_>>();
    let in_document = |mut findings: Vec<Finding>| {
        findings.iter_mut().for_each(|finding| finding.index = changed.places[finding.index]);
        findings
    };
    let findings = [
        if paths.is_empty() { Vec::new() } else { check_routes_with(document, &paths) },
        in_document(check_streams(&proxies)),
        in_document(check_upstream_references(&with_upstreams)),
        in_document(check_listed_plugins(&with_configs)),
    ];
    refuse(&proxies, &findings)?;
    Ok(warnings(&proxies, scope))
}

fn refuse(document: &Document, findings: &[Vec<Finding>]) -> Result<(), SourceError> {
    let mut errors: Vec<String> = Vec::new();
    for proxy in &document.proxies {
        if let Err((path, error)) = proxy.check_regex() {
            errors.push(format!("Proxy '{}': invalid regex listen_path '{path}': {error}", proxy.id));
        }
    }
    errors.extend(findings.iter().flatten().map(Finding::to_string));
    if errors.is_empty() {
        return Ok(());
    }
    Err(SourceError { summary: format!("{} error(s) in the database", errors.len()), errors })
}

/// How a document differs from one that was sound, when it is in HTTP proxies alone.
#[derive(Debug, Default)]
pub struct ChangedProxies {
    /// New ones, and those that are not as they were.
    pub rows: Rows<Proxy>,
    /// Where they stand in the document.
    places: Vec<usize>,
    /// Those of them with another host or path than before.
    pub rerouted: Rows<Proxy>,
}

impl ChangedProxies {
    /// None when anything else differs, or a proxy has gone that a plugin config may name.
    pub fn between(document: &Document, sound: &Document) -> Option<Self> {
        let is_same_else = is_same(&document.upstreams, &sound.upstreams)
            && is_same(&document.plugin_configs, &sound.plugin_configs)
            && is_same(&document.consumers, &sound.consumers);
        if !is_same_else {
            return None;
        }
        let (mut changed, mut kept) = (Self::default(), 0);
        for ((place, row), former) in document.proxies.iter().enumerate().zip(pairs(&document.proxies, &sound.proxies))
        {
            let former = match former {
                Former::Same(_) => {
                    kept += 1;
                    continue;
                }
                Former::Other(place) => Some(&sound.proxies[place as usize]),
                Former::None => None,
            };
            let are_http = row.is_http() && former.is_none_or(|former| former.is_http());
            if !are_http {
                return None;
            }
            kept += usize::from(former.is_some());
            changed.rows.push(row.clone());
            changed.places.push(place);
            if former.is_none_or(|former| (&former.hosts, &former.listen_path) != (&row.hosts, &row.listen_path)) {
                changed.rerouted.push(row.clone());
            }
        }
        (kept == sound.proxies.len() || sound.plugin_configs.is_empty()).then_some(changed)
    }
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
    use std::sync::Arc;

    use engine::model::AddressPolicy;
    use proptest::prelude::*;
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

    /// The row of `running` where it is the same.
    fn shared<T: PartialEq>(rows: &mut Rows<T>, running: &[Arc<T>]) {
        for row in rows {
            if let Some(same) = running.iter().find(|known| *known == row) {
                *row = same.clone();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_differs_from_a_sound_document_is_judged_as_a_whole_one_is(
            steps in proptest::collection::vec(
                (proptest::collection::btree_map(0u8..5, 0usize..10, 0..5), any::<bool>(), any::<bool>()), 2..6),
        ) {
            let forms = [
                json!({}), json!({"listen_path": "/own"}), json!({"hosts": ["a.x"]}), json!({"hosts": ["*.x"]}),
                json!({"hosts": ["b.y"]}), json!({"listen_path": "~("}), json!({"upstream_id": "u"}),
                json!({"plugins": [{"plugin_config_id": "g"}]}), json!({"backend_scheme": "tcp", "listen_port": 9}),
                json!({"backend_connect_timeout_ms": 0}),
            ];
            let at = json!({"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
            let stamped = |mut value: Value| {
                value.as_object_mut().unwrap().extend(at.as_object().unwrap().clone());
                value
            };
            let mut sound = Document::default();
            for (picks, has_upstream, has_config) in steps {
                let proxies: Vec<Value> =
                    picks.iter().map(|(id, form)| stamped(proxy(&format!("p{id}"), forms[*form].clone()))).collect();
                let upstreams = if has_upstream { json!([stamped(json!({"id": "u", "targets": []}))]) } else { json!([]) };
                let config = stamped(json!({"id": "g", "plugin_name": "cors", "scope": "proxy_group"}));
                let mut next = document(json!(proxies), upstreams, if has_config { json!([config]) } else { json!([]) });
                shared(&mut next.proxies, &sound.proxies);
                shared(&mut next.upstreams, &sound.upstreams);
                shared(&mut next.plugin_configs, &sound.plugin_configs);
                let whole = checked(&next);
                if let Some(changed) = ChangedProxies::between(&next, &sound) {
                    let scope = DatabaseScope { address_policy: AddressPolicy::Public, ..DatabaseScope::of_tests() };
                    match (check_changed(&next, &changed, &scope), &whole) {
                        (Ok(part), Ok(whole)) => prop_assert!(part.iter().all(|warning| whole.contains(warning))),
                        (Err(part), Err(whole)) => prop_assert_eq!(part.errors, whole.errors.clone()),
                        (part, whole) => prop_assert!(false, "{:?} {:?}", part.map_err(|error| error.errors), whole),
                    }
                }
                if whole.is_ok() {
                    sound = next;
                }
            }
        }
    }
}
