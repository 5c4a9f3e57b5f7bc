//! Which TLS policies a database family has, and which certificates go with them.

use super::super::Settings;
use super::super::vocabulary::DbTlsMode;

const MODE: &str = "FERRUM_DB_TLS_MODE";
const CA: &str = "FERRUM_DB_TLS_CA_CERT_PATH";
const CERT: &str = "FERRUM_DB_TLS_CLIENT_CERT_PATH";
const KEY: &str = "FERRUM_DB_TLS_CLIENT_KEY_PATH";

/// Checked in every mode as soon as a database type is named: a copied environment must not hide a bad policy.
pub(super) fn check(settings: &Settings) -> Result<(), String> {
    let database = &settings.database;
    let Some(family) = database.db_type.as_deref() else { return Ok(()) };
    let paths = [
        (CA, database.db_tls_ca_cert_path.is_some()),
        (CERT, database.db_tls_client_cert_path.is_some()),
        (KEY, database.db_tls_client_key_path.is_some()),
    ];
    let given: Vec<&str> = paths.iter().filter(|(_, is_set)| *is_set).map(|(key, _)| *key).collect();
    let Some(mode) = database.db_tls_mode else {
        return match given.first() {
            Some(key) => Err(format!("{MODE} is required when {key} is set")),
            None => Ok(()),
        };
    };
    if let (DbTlsMode::Disable, Some(key)) = (mode, given.first()) {
        return Err(format!("{key} cannot be set when {MODE}=disable"));
    }
    family_has(family, mode)?;
    if given.contains(&CA) && !matches!(mode, DbTlsMode::VerifyCa | DbTlsMode::VerifyFull) {
        return Err(format!("{CA} needs {MODE}=verify-ca or verify-full (got {})", mode.token()));
    }
    if given.contains(&KEY) && !given.contains(&CERT) {
        return Err(format!("{KEY} is set but {CERT} is missing"));
    }
    // MongoDB takes certificate and key from one file.
    if given.contains(&CERT) && !given.contains(&KEY) && family != "mongodb" {
        return Err(format!("{CERT} is set but {KEY} is missing"));
    }
    Ok(())
}

fn family_has(family: &str, mode: DbTlsMode) -> Result<(), String> {
    let token = mode.token();
    match (family, mode) {
        (_, DbTlsMode::Disable) => Ok(()),
        ("sqlite", _) => {
            Err(format!("{MODE}={token} cannot be used: SQLite has no network TLS; use disable or unset it"))
        }
        ("mysql", DbTlsMode::Allow) => Err(format!(
            "{MODE}=allow is PostgreSQL-only; for MySQL use disable, prefer, require, verify-ca or verify-full"
        )),
        ("mongodb", DbTlsMode::Allow | DbTlsMode::Prefer | DbTlsMode::VerifyCa) => {
            Err(format!("{MODE}={token} is not available for MongoDB. Expected one of: disable, require, verify-full"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{parse_file_mode, refuse_file_mode};
    use super::*;

    #[test]
    fn certificates_need_a_policy_that_uses_them() {
        for key in [CA, CERT, KEY] {
            let text = refuse_file_mode(&[("FERRUM_DB_TYPE", "postgres"), (key, "x.pem")]);
            assert_eq!(text, format!("FERRUM_DB_TLS_MODE is required when {key} is set"));
            let text = refuse_file_mode(&[("FERRUM_DB_TYPE", "postgres"), (MODE, "disable"), (key, "x.pem")]);
            assert_eq!(text, format!("{key} cannot be set when FERRUM_DB_TLS_MODE=disable"));
        }
    }

    #[test]
    fn a_client_certificate_needs_its_key_except_for_mongodb() {
        for family in ["postgres", "mysql"] {
            let text = refuse_file_mode(&[("FERRUM_DB_TYPE", family), (MODE, "require"), (CERT, "c.pem")]);
            assert!(text.contains("FERRUM_DB_TLS_CLIENT_KEY_PATH is missing"), "{text}");
        }
        for family in ["postgres", "mysql", "mongodb"] {
            let text = refuse_file_mode(&[("FERRUM_DB_TYPE", family), (MODE, "require"), (KEY, "k.pem")]);
            assert!(text.contains("FERRUM_DB_TLS_CLIENT_CERT_PATH is missing"), "{text}");
            parse_file_mode(&[("FERRUM_DB_TYPE", family), (MODE, "require"), (CERT, "c.pem"), (KEY, "k.pem")]);
        }
        parse_file_mode(&[("FERRUM_DB_TYPE", "mongodb"), (MODE, "require"), (CERT, "both.pem")]);
    }

    #[test]
    fn each_family_has_its_own_policies() {
        let allowed: [(&str, &[&str]); 4] = [
            ("postgres", &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
            ("mysql", &["disable", "prefer", "require", "verify-ca", "verify-full"]),
            ("mongodb", &["disable", "require", "verify-full"]),
            ("sqlite", &["disable"]),
        ];
        let reason = [
            ("mysql", "PostgreSQL-only"),
            ("mongodb", "disable, require, verify-full"),
            ("sqlite", "SQLite has no network TLS"),
        ];
        for (family, good) in allowed {
            for mode in DbTlsMode::TOKENS {
                let pairs = [("FERRUM_DB_TYPE", family), (MODE, *mode)];
                if good.contains(mode) {
                    parse_file_mode(&pairs);
                } else {
                    let text = refuse_file_mode(&pairs);
                    let (_, words) = reason.iter().find(|(name, _)| *name == family).unwrap();
                    assert!(text.contains(words), "{family} {mode}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_ca_needs_a_policy_that_verifies() {
        for mode in ["allow", "prefer", "require"] {
            let text = refuse_file_mode(&[("FERRUM_DB_TYPE", "postgres"), (MODE, mode), (CA, "ca.pem")]);
            assert!(text.contains(CA) && text.contains(MODE), "{text}");
        }
        for mode in ["verify-ca", "verify-full"] {
            parse_file_mode(&[("FERRUM_DB_TYPE", "postgres"), (MODE, mode), (CA, "ca.pem")]);
        }
    }

    #[test]
    fn without_a_database_type_the_combination_is_not_looked_at() {
        parse_file_mode(&[(CA, "ca.pem"), (MODE, "disable")]);
    }

    #[test]
    fn a_bad_policy_word_is_refused_even_without_a_database() {
        assert_eq!(
            refuse_file_mode(&[(MODE, "strong")]),
            "Invalid FERRUM_DB_TLS_MODE value 'strong'. Expected disable, allow, prefer, require, verify-ca, or verify-full"
        );
    }
}
