//! Settings whose value stands elsewhere: `FERRUM_X_FILE=/path` sets `FERRUM_X` to what is in the file, and the other suffixes
//! name secrets of Vault, AWS, Google Cloud and Azure (settings sheet §6).
//!
//! [`reference`] finds the references and what speaks against them; each back-end has a file or folder of its own, and those in
//! the network share [`fetch`] and [`http`]. Where they are and who they are for is read from the same environment, so that all
//! this is a function of it. No text of a secret is ever in an error.

#[cfg(feature = "secrets-aws")]
mod aws;
#[cfg(feature = "secrets-azure")]
mod azure;
#[cfg(feature = "secrets-network")]
mod fetch;
mod file;
#[cfg(feature = "secrets-gcp")]
mod gcp;
#[cfg(feature = "secrets-network")]
mod http;
mod reference;
#[cfg(test)]
mod tests;
#[cfg(feature = "secrets-vault")]
mod vault;

use std::collections::BTreeMap;
use std::path::Path;

use crate::settings::Sources;
pub(super) use reference::is_referenced;
use reference::{Backend, Reference};

type Environment = BTreeMap<String, String>;

/// Why a back-end gives no secret, or cannot be asked: what is wrong and what to do.
#[cfg(feature = "secrets-network")]
type Refused = String;

const TIMEOUT_KEY: &str = "FERRUM_SECRET_FETCH_TIMEOUT_SECONDS";
const TIMEOUT_DEFAULT_SECONDS: u64 = 30;
/// Which a server of secrets is trusted by.
const CA_BUNDLE_KEY: &str = "FERRUM_TLS_CA_BUNDLE_PATH";

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("Multiple secret sources configured for {key}: {names}. Only one source is allowed.")]
    Conflict { key: String, names: String },
    #[error(
        "{variable} is set, but this build of ferrum-edge cannot ask {backend}: use one with the cargo feature {feature}, or unset {variable}"
    )]
    NotBuilt { variable: String, backend: Backend, feature: &'static str },
    #[error("Failed to read {variable} from '{path}': {source}")]
    Unreadable { variable: String, path: String, source: std::io::Error },
    #[error("{variable}: the file '{path}' is empty after trimming")]
    Empty { variable: String, path: String },
    #[error("Timeout resolving {key} from {backend} after {seconds}s")]
    Timeout { key: String, backend: Backend, seconds: u64 },
    /// The back-end cannot be asked, whatever for.
    #[cfg(feature = "secrets-network")]
    #[error("{reason}")]
    Closed { reason: Refused },
    #[cfg(feature = "secrets-network")]
    #[error("Failed to resolve {key} from {backend}: {reason}")]
    Refused { key: String, backend: Backend, reason: Refused },
}

/// Replaces every reference by the text it names. Gives the names that were set and where each came from.
pub(super) fn resolve(env: &mut Environment, directory: &Path) -> Result<Vec<(String, String)>, SecretError> {
    resolve_these(reference::all(env), env, directory)
}

/// Those of these settings only, and what it takes to read them: the others may be out of reach.
pub(super) fn resolve_only(keys: &[&str], env: &mut Environment, directory: &Path) -> Result<(), SecretError> {
    let mut references = reference::all(env);
    references.retain(|reference| {
        let key = reference.key.as_str();
        keys.contains(&key) || [TIMEOUT_KEY, CA_BUNDLE_KEY].contains(&key)
    });
    resolve_these(references, env, directory).map(drop)
}

fn resolve_these(
    references: Vec<Reference>,
    env: &mut Environment,
    directory: &Path,
) -> Result<Vec<(String, String)>, SecretError> {
    reference::check(env, &references)?;
    let seconds = timeout_seconds(env, directory);
    let mut loaded = Vec::new();
    for backend in Backend::ALL {
        let wanted: Vec<&Reference> = references.iter().filter(|reference| reference.backend == backend).collect();
        if wanted.is_empty() {
            continue;
        }
        let texts = texts(backend, &wanted, env, directory, seconds)?;
        for (reference, text) in wanted.into_iter().zip(texts) {
            env.remove(&reference.variable());
            env.insert(reference.key.clone(), text);
            loaded.push((reference.key.clone(), backend.to_string()));
        }
    }
    Ok(loaded)
}

/// What the references name, in their order.
#[cfg_attr(not(feature = "secrets-network"), allow(unused_variables))]
fn texts(
    backend: Backend,
    references: &[&Reference],
    env: &Environment,
    directory: &Path,
    seconds: u64,
) -> Result<Vec<String>, SecretError> {
    match backend {
        Backend::File => references.iter().map(|reference| file::read(reference, directory, seconds)).collect(),
        #[cfg(feature = "secrets-vault")]
        Backend::Vault => fetch::all(vault::Vault::open(env), references, seconds),
        #[cfg(feature = "secrets-aws")]
        Backend::Aws => fetch::all(aws::SecretsManager::open(env), references, seconds),
        #[cfg(feature = "secrets-gcp")]
        Backend::Gcp => fetch::all(gcp::SecretManager::open(env), references, seconds),
        #[cfg(feature = "secrets-azure")]
        Backend::Azure => fetch::all(azure::KeyVault::open(env), references, seconds),
        #[allow(unreachable_patterns)]
        _ => Ok(Vec::new()),
    }
}

/// The conf file may say how long to wait; a broken one is reported later.
fn timeout_seconds(env: &Environment, directory: &Path) -> u64 {
    let sources = Sources::from_env(env.clone(), directory)
        .unwrap_or_else(|_| Sources { env: env.clone(), ..Sources::default() });
    sources.get(TIMEOUT_KEY).and_then(|text| text.trim().parse().ok()).unwrap_or(TIMEOUT_DEFAULT_SECONDS)
}
