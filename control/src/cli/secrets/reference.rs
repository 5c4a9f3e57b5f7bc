//! Which variables name secrets, and which of them cannot be followed.

use std::fmt;

use super::{Environment, SecretError};
use crate::settings::Settings;

const PREFIX: &str = "FERRUM_";

/// Where secrets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Backend {
    File,
    Vault,
    Aws,
    Gcp,
    Azure,
}

/// The name in messages and logs.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Vault => "Vault",
            Self::Aws => "AWS Secrets Manager",
            Self::Gcp => "GCP Secret Manager",
            Self::Azure => "Azure Key Vault",
        })
    }
}

impl Backend {
    /// In the order in which they are asked.
    pub(super) const ALL: [Self; 5] = [Self::File, Self::Vault, Self::Aws, Self::Gcp, Self::Azure];

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::File => "_FILE",
            Self::Vault => "_VAULT",
            Self::Aws => "_AWS",
            Self::Gcp => "_GCP",
            Self::Azure => "_AZURE",
        }
    }

    /// The cargo feature that this build would need; nothing when it has it.
    fn missing_feature(self) -> Option<&'static str> {
        let (feature, is_built) = match self {
            Self::File => ("", true),
            Self::Vault => ("secrets-vault", cfg!(feature = "secrets-vault")),
            Self::Aws => ("secrets-aws", cfg!(feature = "secrets-aws")),
            Self::Gcp => ("secrets-gcp", cfg!(feature = "secrets-gcp")),
            Self::Azure => ("secrets-azure", cfg!(feature = "secrets-azure")),
        };
        (!is_built).then_some(feature)
    }
}

/// A variable that names a secret.
pub(super) struct Reference {
    /// What it sets.
    pub(super) key: String,
    pub(super) backend: Backend,
    /// The secret's name, in the words of the back-end.
    pub(super) text: String,
}

impl Reference {
    pub(super) fn variable(&self) -> String {
        format!("{}{}", self.key, self.backend.suffix())
    }
}

/// Whether a reference will set `key`.
pub(in crate::cli) fn is_referenced(env: &Environment, key: &str) -> bool {
    Backend::ALL
        .iter()
        .any(|backend| env.get(&format!("{key}{}", backend.suffix())).is_some_and(|text| !text.is_empty()))
}

/// All references, in the order of their names.
pub(super) fn all(env: &Environment) -> Vec<Reference> {
    env.iter().filter_map(reference).collect()
}

/// A setting whose own name ends like a reference is a setting.
fn reference((name, text): (&String, &String)) -> Option<Reference> {
    let (key, backend) =
        Backend::ALL.into_iter().find_map(|backend| Some((name.strip_suffix(backend.suffix())?, backend)))?;
    let has_base = key.strip_prefix(PREFIX).is_some_and(|base| !base.is_empty());
    let is_reference = has_base && !text.is_empty() && !Settings::is_known(name);
    is_reference.then(|| Reference { key: key.to_owned(), backend, text: text.clone() })
}

/// Before anything is fetched.
///
/// # Errors
/// A key has two sources, or one that this build cannot ask.
pub(super) fn check(env: &Environment, references: &[Reference]) -> Result<(), SecretError> {
    for Reference { key, .. } in references {
        let direct = env.get(key).filter(|direct| !direct.is_empty()).map(|_| "direct env var".to_owned());
        let of_key = |backend: Backend| references.iter().find(|other| other.key == *key && other.backend == backend);
        let referring = Backend::ALL.into_iter().filter_map(of_key).map(Reference::variable);
        let names: Vec<String> = direct.into_iter().chain(referring).collect();
        if names.len() > 1 {
            return Err(SecretError::Conflict { key: key.clone(), names: names.join(", ") });
        }
    }
    for reference in references {
        if let Some(feature) = reference.backend.missing_feature() {
            let (variable, backend) = (reference.variable(), reference.backend);
            return Err(SecretError::NotBuilt { variable, backend, feature });
        }
    }
    Ok(())
}
