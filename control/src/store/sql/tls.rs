//! The settings of TLS to a database, as parameters of its URL (control-plane sheet §2).

use std::path::Path;

use crate::store::StoreError;
use crate::store::target::{DatabaseKind, Target};

/// The names of the parameters: mode, CA, certificate, key.
const POSTGRES: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
const MYSQL: [&str; 4] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// The URL with what the settings say about TLS.
///
/// # Errors
/// They do not fit each other, or the database.
pub fn secured_url(target: &Target) -> Result<String, StoreError> {
    let tls = &target.tls;
    let refuse = |text: String| Err(StoreError::Settings(text));
    let Some(mode) = &tls.mode else {
        if tls.ca_path.is_some() || tls.client_paths.is_some() {
            return refuse("FERRUM_DB_TLS_*_PATH is set without FERRUM_DB_TLS_MODE".to_owned());
        }
        return Ok(target.url.clone());
    };
    let mode = mode.to_ascii_lowercase();
    let verifies = matches!(mode.as_str(), "verify-ca" | "verify-full");
    if mode == "disable" && (tls.ca_path.is_some() || tls.client_paths.is_some()) {
        return refuse("FERRUM_DB_TLS_*_PATH is set, and FERRUM_DB_TLS_MODE is disable".to_owned());
    }
    if tls.ca_path.is_some() && !verifies {
        let text = "FERRUM_DB_TLS_CA_CERT_PATH needs FERRUM_DB_TLS_MODE verify-ca or verify-full";
        return refuse(format!("{text} (got {mode})"));
    }
    let (names, value) = match (target.kind, mode.as_str()) {
        (DatabaseKind::Sqlite, "disable") => return Ok(target.url.clone()),
        (DatabaseKind::Sqlite, _) => {
            return refuse(format!("FERRUM_DB_TLS_MODE {mode} has no meaning for sqlite; use disable or unset it"));
        }
        (DatabaseKind::Postgres, "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full") => {
            (POSTGRES, mode.clone())
        }
        (DatabaseKind::Mysql, "disable") => (MYSQL, "DISABLED".to_owned()),
        (DatabaseKind::Mysql, "prefer") => (MYSQL, "PREFERRED".to_owned()),
        (DatabaseKind::Mysql, "require") => (MYSQL, "REQUIRED".to_owned()),
        (DatabaseKind::Mysql, "verify-ca") => (MYSQL, "VERIFY_CA".to_owned()),
        (DatabaseKind::Mysql, "verify-full") => (MYSQL, "VERIFY_IDENTITY".to_owned()),
        (kind, _) => return refuse(format!("FERRUM_DB_TLS_MODE {mode} cannot be used with {}", kind.name())),
    };
    let mut url = target.url.clone();
    let client = tls.client_paths.as_ref();
    let paths =
        [tls.ca_path.as_deref(), client.map(|(path, _)| path.as_path()), client.map(|(_, path)| path.as_path())];
    add(&mut url, names[0], &value);
    for (name, path) in names[1..].iter().zip(paths) {
        if let Some(path) = path {
            readable(path)?;
            add(&mut url, name, &path.to_string_lossy());
        }
    }
    Ok(url)
}

fn readable(path: &Path) -> Result<(), StoreError> {
    std::fs::File::open(path)
        .map(drop)
        .map_err(|error| StoreError::Settings(format!("{} cannot be read: {error}", path.display())))
}

fn add(url: &mut String, name: &str, value: &str) {
    if url.contains(&format!("{name}=")) {
        tracing::warn!("FERRUM_DB_URL has {name} already; the setting's comes after it");
    }
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str(name);
    url.push('=');
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => url.push(byte as char),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::target::TlsSettings;

    fn url(kind: DatabaseKind, tls: TlsSettings) -> Result<String, String> {
        let target = Target { tls, ..Target::new(kind, "x://h/d?a=b") };
        secured_url(&target).map_err(|error| error.to_string())
    }

    fn mode(mode: &str) -> TlsSettings {
        TlsSettings { mode: Some(mode.into()), ..TlsSettings::default() }
    }

    #[test]
    fn each_database_has_its_own_words() {
        use DatabaseKind::{Mysql, Postgres, Sqlite};
        assert_eq!(url(Postgres, TlsSettings::default()).unwrap(), "x://h/d?a=b");
        assert_eq!(url(Postgres, mode("Verify-Full")).unwrap(), "x://h/d?a=b&sslmode=verify-full");
        assert_eq!(url(Mysql, mode("verify-full")).unwrap(), "x://h/d?a=b&ssl-mode=VERIFY_IDENTITY");
        assert_eq!(url(Sqlite, mode("disable")).unwrap(), "x://h/d?a=b");
        for (kind, word) in [(Mysql, "allow"), (Sqlite, "prefer"), (Postgres, "always")] {
            assert!(url(kind, mode(word)).is_err(), "{word}");
        }
    }

    #[test]
    fn paths_need_a_mode_that_uses_them_and_files_that_are_there() {
        let ca = || Some(PathBuf::from("/dev/null"));
        let with = |tls: TlsSettings| url(DatabaseKind::Postgres, tls);
        assert!(with(TlsSettings { ca_path: ca(), ..TlsSettings::default() }).is_err());
        assert!(with(TlsSettings { ca_path: ca(), ..mode("require") }).is_err());
        assert!(with(TlsSettings { ca_path: ca(), ..mode("disable") }).is_err());
        assert!(with(TlsSettings { ca_path: Some("/nowhere".into()), ..mode("verify-ca") }).is_err());
        let url = with(TlsSettings { ca_path: ca(), ..mode("verify-ca") }).unwrap();
        assert_eq!(url, "x://h/d?a=b&sslmode=verify-ca&sslrootcert=/dev/null");
    }
}
