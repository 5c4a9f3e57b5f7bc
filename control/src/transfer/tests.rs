//! What is refused and what is warned about before a database is written. That nothing is lost is tested with the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::model::{Document, Format, decode};
use serde_json::{Value, json};

use super::*;
use crate::settings::Sources;
use crate::store::ImportOptions;

struct Place {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/config.db?mode=rwc", folder.path().display());
        let env = [("FERRUM_MODE", "migrate"), ("FERRUM_DB_TYPE", "sqlite"), ("FERRUM_DB_URL", &url)];
        let env: BTreeMap<String, String> = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let settings = Settings::load(&Sources { env, ..Sources::default() }).unwrap().0;
        Self { folder, settings }
    }

    fn file(&self, document: Value) -> PathBuf {
        let mut all = json!({"version": "1", "proxies": [], "consumers": [], "plugin_configs": []});
        all.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        let path = self.folder.path().join("spec.json");
        std::fs::write(&path, all.to_string()).unwrap();
        path
    }

    fn import(&self, document: Value) -> ImportReport {
        import(&self.settings, &self.file(document), ImportOptions::default())
    }

    fn stored(&self) -> Document {
        let exported = export(&self.settings, None, Format::Json).unwrap();
        assert!(exported.warnings.is_empty(), "{:?}", exported.warnings);
        decode(&exported.text, Format::Json).unwrap()
    }

    /// Nothing is written, for this reason and with these findings.
    fn refused(&self, document: Value) -> (String, Vec<String>) {
        let report = self.import(document);
        assert!(report.done.is_empty(), "{report:?}");
        let failure = report.failure.expect("a refusal");
        (failure.reason, failure.errors)
    }
}

fn proxy(id: &str, namespace: &str, path: &str) -> Value {
    json!({"id": id, "namespace": namespace, "listen_path": path, "backend_scheme": "http", "backend_host": "h",
        "backend_port": 80})
}

#[test]
fn each_namespace_is_put_where_it_belongs() {
    let place = Place::new();
    let report = place.import(json!({"proxies": [proxy("p", "b", "/x"), proxy("q", "a", "/x")]}));
    assert_eq!(report.failure, None);
    let of = |namespace: &str| {
        format!("Imported into namespace '{namespace}': proxies 1, consumers 0, upstreams 0, plugin configs 0")
    };
    assert_eq!(report.done, [of("a"), of("b")]);
    assert_eq!(place.stored().namespaces(), ["a", "b"]);
    let only = export(&place.settings, Some("b"), Format::Yaml).unwrap();
    assert_eq!(decode(&only.text, Format::Yaml).unwrap().proxies[0].id, "p");
    assert!(export(&place.settings, Some("no namespace"), Format::Yaml).is_err());
}

#[test]
fn passwords_are_stored_as_hashes_like_those_of_the_admin_api() {
    let place = Place::new();
    let credentials = json!({"basicauth": [{"password": "open sesame"}], "keyauth": [{"key": "k"}]});
    let report = place.import(json!({"consumers": [{"id": "c", "username": "u", "credentials": credentials}]}));
    assert_eq!(report.failure, None);
    let stored = place.stored().consumers[0].credentials.clone();
    assert!(stored["basicauth"][0]["password_hash"].as_str().unwrap().starts_with("hmac_sha256:"), "{stored:?}");
    assert!(!serde_json::to_string(&stored).unwrap().contains("sesame"));
    assert_eq!(stored["keyauth"], json!([{"key": "k"}]));
}

#[test]
fn what_a_gateway_would_not_start_with_is_refused() {
    let place = Place::new();
    let (reason, errors) = place.refused(json!({"proxies": [proxy("p", "a", "/x"), proxy("q", "a", "/x")]}));
    assert!(reason.starts_with("Spec validation failed: ") && errors.len() == 1, "{reason} {errors:?}");
    let (reason, _) = place.refused(json!({"proxies": [proxy("p", "no namespace", "/x")]}));
    assert!(reason.contains("namespace 'no namespace' is invalid"), "{reason}");
    let (reason, _) = place.refused(json!({"colour": "red"}));
    assert!(reason.contains("colour"), "{reason}");
    let missing = import(&place.settings, Path::new("/nowhere/spec.yaml"), ImportOptions::default());
    assert!(missing.failure.unwrap().reason.starts_with("/nowhere/spec.yaml: "));
}

#[test]
fn what_no_table_has_a_column_for_is_refused() {
    let place = Place::new();
    let mut owned = proxy("p", "a", "/x");
    owned["api_spec_id"] = json!("s");
    let target = json!([{"host": "h", "port": 1}]);
    let upstream = json!({"id": "u", "targets": target, "source_locality": "eu", "port_overrides": {"80": {}},
        "locality_lb_setting": {}});
    let (_, errors) = place.refused(json!({"proxies": [owned], "upstreams": [upstream], "mesh": {}}));
    let named =
        ["mesh: ", "port_overrides: ", "source_locality: ", "locality_lb_setting: ", "proxies[0] \"p\": api_spec_id: "];
    assert_eq!(errors.len(), named.len(), "{errors:?}");
    for (error, name) in errors.iter().zip(named) {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn an_order_that_a_database_does_not_keep_is_warned_about() {
    let place = Place::new();
    let report = place.import(json!({"proxies": [proxy("b", "a", "~/x.*"), proxy("a", "a", "~/.*")]}));
    assert_eq!(report.failure, None);
    assert!(
        report.warnings[0].starts_with("Namespace 'a': 'b' stands before 'a' in the file"),
        "{:?}",
        report.warnings
    );
    let place = Place::new();
    let report = place.import(json!({"proxies": [proxy("b", "a", "/x"), proxy("a", "a", "~/.*")]}));
    assert_eq!(report.warnings, [""; 0]);
}

#[test]
fn a_dry_run_writes_nothing_and_an_empty_document_is_none() {
    let place = Place::new();
    let path = place.file(json!({"proxies": [proxy("p", "a", "/x")]}));
    let dry = ImportOptions { is_dry_run: true, replaces: true };
    let report = import(&place.settings, &path, dry);
    assert!(report.failure.is_none() && report.warnings.len() == 1, "no schema yet: {report:?}");
    assert_eq!(place.import(json!({})).failure, None);
    assert_eq!(place.stored().proxies.len(), 0);
    let report = import(&place.settings, &place.file(json!({"proxies": [proxy("p", "a", "/x")]})), dry);
    assert!(report.done[0].starts_with("Would import into namespace 'a': proxies 1, "), "{report:?}");
    assert!(report.done[0].ends_with(", in place of 0 resources"));
    assert!(place.stored().proxies.is_empty());
}

#[test]
fn a_database_must_be_named() {
    let mut place = Place::new();
    place.settings.database.db_url = None;
    let report = place.import(json!({}));
    assert_eq!(report.failure.unwrap().reason, "FERRUM_DB_URL is required: it names the database");
    assert!(export(&place.settings, None, Format::Json).is_err());
}
