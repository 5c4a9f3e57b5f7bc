//! The settings of TLS to a database, as parameters of its URL (control-plane sheet §2).

use std::path::Path;

use crate::store::StoreError;
use crate::store::target::{DatabaseKind, Target};

/// The names of the parameters: mode, CA, certificate, key.
const POSTGRES: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
const MYSQL: [&str; 4] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// The URL with what the settings say about TLS. Which of them go together has been checked with the settings.
///
/// # Errors
/// The database knows no such mode, or a file cannot be read.
pub fn secured_url(target: &Target) -> Result<String, StoreError> {
    let tls = &target.tls;
    let mode = tls.mode.as_deref().unwrap_or_default();
    let (names, value) = match (target.kind, mode) {
        (_, "") | (DatabaseKind::Sqlite, "disable") => return Ok(target.url.clone()),
        (DatabaseKind::Postgres, mode) => (POSTGRES, mode),
        (DatabaseKind::Mysql, "disable") => (MYSQL, "DISABLED"),
        (DatabaseKind::Mysql, "prefer") => (MYSQL, "PREFERRED"),
        (DatabaseKind::Mysql, "require") => (MYSQL, "REQUIRED"),
        (DatabaseKind::Mysql, "verify-ca") => (MYSQL, "VERIFY_CA"),
        (DatabaseKind::Mysql, "verify-full") => (MYSQL, "VERIFY_IDENTITY"),
        (kind, mode) => {
            return Err(StoreError::Settings(format!("FERRUM_DB_TLS_MODE={mode} cannot be used with {}", kind.name())));
        }
    };
    let mut url = target.url.clone();
    let client = tls.client_paths.as_ref();
    let paths =
        [tls.ca_path.as_deref(), client.map(|(path, _)| path.as_path()), client.map(|(_, path)| path.as_path())];
    add(&mut url, names[0], value);
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
        assert_eq!(url(Postgres, mode("verify-full")).unwrap(), "x://h/d?a=b&sslmode=verify-full");
        assert_eq!(url(Mysql, mode("verify-full")).unwrap(), "x://h/d?a=b&ssl-mode=VERIFY_IDENTITY");
        assert_eq!(url(Sqlite, mode("disable")).unwrap(), "x://h/d?a=b");
        assert!(url(Mysql, mode("allow")).is_err() && url(Sqlite, mode("prefer")).is_err());
    }

    #[test]
    fn files_must_be_there_and_are_named_in_the_url() {
        let with = |path: &str| {
            let tls = TlsSettings { ca_path: Some(PathBuf::from(path)), ..mode("verify-ca") };
            url(DatabaseKind::Postgres, tls)
        };
        assert!(with("/nowhere").unwrap_err().starts_with("/nowhere cannot be read: "));
        assert_eq!(with("/dev/null").unwrap(), "x://h/d?a=b&sslmode=verify-ca&sslrootcert=/dev/null");
    }
}
