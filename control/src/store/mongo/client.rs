//! A connection from the settings (control-plane sheet §1, §2 and §5).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{
    Acknowledgment, AuthMechanism, ClientOptions, Credential, DatabaseOptions, ReadPreference, SelectionCriteria, Tls,
    TlsOptions, WriteConcern,
};
use tempfile::NamedTempFile;

use super::{Abilities, MongoStore};
use crate::store::StoreError;
use crate::store::target::Target;

/// What the driver waits for a server, unless something else is said.
const SELECTION: Duration = Duration::from_secs(30);
/// What an answer may take once a server is found.
const ANSWER: Duration = Duration::from_secs(60);
/// The first version whose sessions may look at one moment: MongoDB 5.0.
const WIRE_VERSION_OF_SNAPSHOTS: i32 = 13;
/// Whose names are in certificates, or in directories, and not in the database.
const EXTERNAL: &str = "$external";

pub async fn connect(target: &Target) -> Result<MongoStore, StoreError> {
    check_database_name(&target.mongo.database)?;
    if target.mongo.server_selection_timeout.is_some_and(|limit| limit.is_zero()) {
        let text = "FERRUM_MONGO_SERVER_SELECTION_TIMEOUT_SECONDS must be at least 1: no server is found in no time";
        return Err(StoreError::Settings(text.to_owned()));
    }
    let (options, _identity) = options(target).await?;
    let patience = options.server_selection_timeout.unwrap_or(SELECTION) + ANSWER;
    let has_name = options.repl_set_name.is_some();
    let at_primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    // The files of the client's identity are read here, once.
    let client = Client::with_options(options).map_err(not_usable)?;
    let primary = DatabaseOptions::builder().selection_criteria(at_primary).build();
    let name = &target.mongo.database;
    let store = MongoStore {
        anywhere: client.database(name),
        primary: client.database_with_options(name, primary),
        client,
        abilities: Abilities::default(),
        patience,
        target: target.clone(),
    };
    let hello = store.patiently(store.primary.run_command(doc! { "hello": 1 })).await?;
    let abilities = abilities(&hello, has_name);
    if let (false, Ok(name)) = (has_name, hello.get_str("setName")) {
        tracing::warn!(
            "{} is of the replica set '{name}', which FERRUM_MONGO_REPLICA_SET does not name: changes are not made in \
             transactions",
            target.shown()
        );
    }
    Ok(MongoStore { abilities, ..store })
}

/// Transactions are used only where a replica set is named (control-plane sheet §5).
fn abilities(hello: &Document, has_name: bool) -> Abilities {
    let version = hello.get_i32("maxWireVersion").unwrap_or_default();
    Abilities { has_transactions: has_name, has_snapshots: has_name && version >= WIRE_VERSION_OF_SNAPSHOTS }
}

fn check_database_name(name: &str) -> Result<(), StoreError> {
    const BYTES_MAX: usize = 63;
    let is_odd = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '*' | '<' | '>' | ':' | '|' | '?' | '\0');
    if name.is_empty() || name.len() > BYTES_MAX || name.contains(is_odd) {
        let text = format!(
            "FERRUM_MONGO_DATABASE '{name}' is no name of a MongoDB database: 1 to 63 bytes, none of /\\. \"$*<>:|?"
        );
        return Err(StoreError::Settings(text));
    }
    Ok(())
}

/// The options, and a file that must be there until a client is made of them.
async fn options(target: &Target) -> Result<(ClientOptions, Option<NamedTempFile>), StoreError> {
    let mut options = ClientOptions::parse(&target.url).await.map_err(|error| not_a_url(target, &error))?;
    let mongo = &target.mongo;
    if let Some(name) = &mongo.app_name {
        options.app_name = Some(name.clone());
    }
    if let Some(name) = &mongo.replica_set {
        options.repl_set_name = Some(name.clone());
    }
    if let Some(mechanism) = &mongo.auth_mechanism {
        options.credential = Some(credential(options.credential.take(), mechanism)?);
    }
    if let Some(limit) = mongo.server_selection_timeout.or(options.server_selection_timeout) {
        options.server_selection_timeout = Some(limit);
    }
    if let Some(limit) = mongo.connect_timeout.or(options.connect_timeout) {
        options.connect_timeout = Some(limit);
    }
    // What was answered must not be lost with a primary. Old servers would not see to it by themselves.
    let concern = options.write_concern.get_or_insert_with(WriteConcern::default);
    concern.w.get_or_insert(Acknowledgment::Majority);
    let identity = secure(&mut options, target)?;
    Ok((options, identity))
}

/// What the mechanism of the setting makes of the user in the URL.
fn credential(given: Option<Credential>, mechanism: &str) -> Result<Credential, StoreError> {
    let refused = |why: &dyn std::fmt::Display| {
        StoreError::Settings(format!("FERRUM_MONGO_AUTH_MECHANISM '{mechanism}' cannot be used: {why}"))
    };
    let wanted: AuthMechanism = mechanism.parse().map_err(|error: mongodb::error::Error| refused(&error.kind))?;
    let mut credential = given.unwrap_or_default();
    match wanted {
        AuthMechanism::MongoDbX509 => credential.source = Some(EXTERNAL.to_owned()),
        AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 if credential.username.is_none() => {
            return Err(refused(&"FERRUM_DB_URL names no user"));
        }
        AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 | AuthMechanism::Plain => {}
        _ => return Err(refused(&"this release has SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509 and PLAIN")),
    }
    wanted.validate_credential(&credential).map_err(|error| refused(&error.kind))?;
    credential.mechanism = Some(wanted);
    Ok(credential)
}

/// TLS as the settings say. What the URL says about it wins.
fn secure(options: &mut ClientOptions, target: &Target) -> Result<Option<NamedTempFile>, StoreError> {
    let tls = &target.tls;
    let mode = tls.mode.as_deref().unwrap_or_default();
    let is_verified = match mode {
        "" => return Ok(None),
        _ if says_tls(&target.url) => {
            tracing::warn!("The URL of {} says how TLS is used: FERRUM_DB_TLS_MODE is not looked at", target.shown());
            return Ok(None);
        }
        "disable" => {
            options.tls = Some(Tls::Disabled);
            return Ok(None);
        }
        "require" => false,
        "verify-full" => true,
        other => return Err(StoreError::Settings(format!("FERRUM_DB_TLS_MODE={other} cannot be used with mongodb"))),
    };
    let identity = tls.client_paths.as_ref().map(|(certificate, key)| one_file(certificate, key)).transpose()?;
    let (identity_path, identity_file) = identity.unzip();
    let mut secured = TlsOptions::builder().allow_invalid_certificates(!is_verified).build();
    if let Some(path) = &tls.ca_path {
        read(path)?;
        secured.ca_file_path = Some(path.clone());
    }
    secured.cert_key_file_path = identity_path;
    options.tls = Some(Tls::Enabled(secured));
    Ok(identity_file.flatten())
}

/// Whether one of the URL's options is about TLS.
fn says_tls(url: &str) -> bool {
    let options = url.split_once('?').map_or("", |(_, options)| options);
    options.split('&').filter_map(|option| option.split('=').next()).any(|name| {
        let name = name.to_ascii_lowercase();
        name == "ssl" || name.starts_with("tls")
    })
}

/// The driver wants certificate and key in one file: the given one, or one that nobody else can read.
fn one_file(certificate: &Path, key: &Path) -> Result<(PathBuf, Option<NamedTempFile>), StoreError> {
    let mut text = read(certificate)?;
    if certificate == key {
        return Ok((certificate.to_owned(), None));
    }
    text.push(b'\n');
    text.extend(read(key)?);
    let written = NamedTempFile::new().and_then(|mut file| {
        file.write_all(&text)?;
        file.flush()?;
        Ok(file)
    });
    let file = written.map_err(|error| {
        StoreError::Settings(format!("certificate and key cannot be put into one temporary file: {error}"))
    })?;
    Ok((file.path().to_owned(), Some(file)))
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|error| StoreError::Settings(format!("{} cannot be read: {error}", path.display())))
}

/// The driver may quote a part of the URL, and a slip makes a password of any part.
fn not_a_url(target: &Target, error: &mongodb::error::Error) -> StoreError {
    let text = error.kind.to_string();
    let has_secret = target.url.contains('@');
    let why = if has_secret { "see that user and password are percent-encoded" } else { text.as_str() };
    match &*error.kind {
        mongodb::error::ErrorKind::DnsResolve { .. } => StoreError::Unavailable(text.into()),
        _ => StoreError::Settings(format!("FERRUM_DB_URL {} cannot be used: {why}", target.shown())),
    }
}

fn not_usable(error: mongodb::error::Error) -> StoreError {
    StoreError::Settings(format!("the connection to MongoDB cannot be set up: {}", error.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::target::{DatabaseKind, MongoSettings, TlsSettings};

    fn target(url: &str) -> Target {
        Target::new(DatabaseKind::Mongodb, url)
    }

    async fn set(target: &Target) -> Result<ClientOptions, String> {
        options(target).await.map(|(options, _)| options).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn settings_overrule_the_url() {
        let url = "mongodb://u:p@h:1/x?appName=a&replicaSet=r&connectTimeoutMS=500&authMechanism=SCRAM-SHA-1";
        let plain = set(&target(url)).await.unwrap();
        assert_eq!((plain.app_name.as_deref(), plain.repl_set_name.as_deref()), (Some("a"), Some("r")));
        assert_eq!(plain.connect_timeout, Some(Duration::from_millis(500)));
        let mongo = MongoSettings {
            app_name: Some("b".into()),
            replica_set: Some("s".into()),
            auth_mechanism: Some("SCRAM-SHA-256".into()),
            server_selection_timeout: Some(Duration::from_secs(3)),
            connect_timeout: Some(Duration::from_secs(2)),
            ..MongoSettings::default()
        };
        let ours = set(&Target { mongo, ..target(url) }).await.unwrap();
        assert_eq!((ours.app_name.as_deref(), ours.repl_set_name.as_deref()), (Some("b"), Some("s")));
        assert_eq!(ours.connect_timeout, Some(Duration::from_secs(2)));
        assert_eq!(ours.server_selection_timeout, Some(Duration::from_secs(3)));
        let credential = ours.credential.unwrap();
        assert_eq!(credential.mechanism, Some(AuthMechanism::ScramSha256));
        assert_eq!((credential.username.as_deref(), credential.source.as_deref()), (Some("u"), Some("x")));
    }

    #[tokio::test]
    async fn a_mechanism_that_cannot_work_is_refused_with_its_setting() {
        let with = |url: &str, mechanism: &str| {
            let mongo = MongoSettings { auth_mechanism: Some(mechanism.into()), ..MongoSettings::default() };
            Target { mongo, ..target(url) }
        };
        for (url, mechanism, why) in [
            ("mongodb://h", "SCRAM-SHA-256", "names no user"),
            ("mongodb://u:p@h", "NTLM", "NTLM"),
            ("mongodb://u:p@h", "MONGODB-AWS", "aws-auth"),
            ("mongodb://u:p@h", "MONGODB-X509", "password"),
        ] {
            let said = set(&with(url, mechanism)).await.unwrap_err();
            let head = format!("FERRUM_MONGO_AUTH_MECHANISM '{mechanism}' cannot be used: ");
            assert!(said.starts_with(&head) && said.contains(why), "{said}");
        }
        let certified = set(&with("mongodb://h", "MONGODB-X509")).await.unwrap().credential.unwrap();
        assert_eq!((certified.username, certified.source.as_deref()), (None, Some("$external")));
    }

    #[tokio::test]
    async fn each_policy_of_tls_is_what_the_sheet_says() {
        let with = |url: &str, mode: &str, ca: Option<&str>| {
            let tls = TlsSettings { mode: Some(mode.into()), ca_path: ca.map(PathBuf::from), client_paths: None };
            Target { tls, ..target(url) }
        };
        let tls = async |target: Target| set(&target).await.map(|options| options.tls);
        let Ok(Some(Tls::Enabled(lax))) = tls(with("mongodb://h", "require", None)).await else { panic!("no TLS") };
        assert_eq!(lax.allow_invalid_certificates, Some(true));
        let strict = tls(with("mongodb://h", "verify-full", Some("/dev/null"))).await;
        let Ok(Some(Tls::Enabled(strict))) = strict else { panic!("no TLS: {strict:?}") };
        assert_eq!((strict.allow_invalid_certificates, strict.ca_file_path), (Some(false), Some("/dev/null".into())));
        assert_eq!(tls(with("mongodb://h", "disable", None)).await, Ok(Some(Tls::Disabled)));
        assert_eq!(tls(with("mongodb://h/?tls=false", "require", None)).await, Ok(Some(Tls::Disabled)), "the URL wins");
        assert!(tls(with("mongodb://h", "verify-full", Some("/nowhere"))).await.unwrap_err().contains("/nowhere"));
        assert!(tls(with("mongodb://h", "prefer", None)).await.is_err());
        assert_eq!(tls(target("mongodb://h")).await, Ok(None));
    }

    #[test]
    fn certificate_and_key_become_one_file_that_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["c.pem", "k.pem"].map(|name| folder.path().join(name));
        fs::write(&certificate, "CERT").unwrap();
        fs::write(&key, "KEY").unwrap();
        let (path, file) = one_file(&certificate, &key).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "CERT\nKEY");
        drop(file);
        assert!(!path.exists());
        assert_eq!(one_file(&certificate, &certificate).unwrap().0, certificate);
    }

    #[tokio::test]
    async fn no_password_is_in_what_is_said_about_a_url() {
        for url in [
            "mongodb://u:p@ss:word@h/x",
            "mongodb://u:s/ecret@h",
            "mongodb://u:secret@h:port",
            "mongodb://u:secret@h/?w=%",
        ] {
            let said = set(&target(url)).await;
            assert!(
                said.as_ref().err().is_none_or(|said| !said.contains("ss:word") && !said.contains("ecret")),
                "{said:?}"
            );
        }
        assert!(
            set(&target("mongodb://h:port")).await.unwrap_err().starts_with("FERRUM_DB_URL mongodb://h:port cannot")
        );
    }

    #[test]
    fn names_of_databases_are_checked() {
        for name in ["", "a.b", "a b", "a/b", "$x", &"n".repeat(64)] {
            assert!(check_database_name(name).is_err(), "{name}");
        }
        assert!(check_database_name("ferrum-2_x").is_ok());
    }

    #[test]
    fn transactions_need_a_named_replica_set_and_snapshots_a_server_that_has_them() {
        let hello = |version: i32| doc! { "maxWireVersion": version };
        assert_eq!(abilities(&hello(21), false), Abilities::default());
        assert_eq!(abilities(&hello(9), true), Abilities { has_transactions: true, has_snapshots: false });
        assert_eq!(abilities(&hello(13), true), Abilities { has_transactions: true, has_snapshots: true });
    }
}
