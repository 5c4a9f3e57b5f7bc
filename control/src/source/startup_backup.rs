//! The configuration that a gateway starts with when it cannot have the database's (control-plane sheet §9, offline bootstrap).

use std::path::Path;

use engine::model::{Document, Format, decode};

/// The file's configuration: normalised, and neither checked nor filtered, because it is a copy of what was in service.
///
/// # Errors
/// Why the file is not usable. Nothing of its text is in it but keys.
pub fn startup_backup(path: &Path) -> Result<Document, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut document = decode(&text, Format::Json)?;
    document.normalize();
    document.known_namespaces = document.namespaces();
    Ok(document)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<Document, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.json");
        std::fs::write(&path, text).unwrap();
        startup_backup(&path)
    }

    fn document(more: Value) -> String {
        let mut document = json!({"version": "1", "proxies": [], "consumers": [], "plugin_configs": []});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document.to_string()
    }

    #[test]
    fn it_is_normalised_and_neither_checked_nor_filtered() {
        let proxies = json!([
            {"id": "a", "namespace": "other", "hosts": ["A.example"], "backend_host": "H", "backend_port": 1,
             "upstream_id": "nobody"},
        ]);
        let found = read(&document(json!({"proxies": proxies}))).unwrap();
        assert_eq!((found.proxies[0].hosts[0].as_str(), found.proxies[0].backend_host.as_str()), ("a.example", "h"));
        assert_eq!(found.known_namespaces, ["other"]);
    }

    #[test]
    fn what_an_answer_of_the_backup_endpoint_has_more_is_refused() {
        let error = read(&document(json!({"ferrum_version": "0.9.0"}))).unwrap_err();
        assert!(error.contains("ferrum_version"), "{error}");
    }

    #[test]
    fn a_file_that_is_none_is_said_to_be() {
        assert!(startup_backup(Path::new("/nowhere/backup.json")).unwrap_err().starts_with("cannot be read: "));
        assert!(read("proxies: []").is_err(), "JSON only");
        assert!(read("{}").is_err());
    }
}
