//! Settings whose value stands in a file: `FERRUM_X_FILE=/path` sets `FERRUM_X`.
//!
//! The secret managers of clouds are not part of this build; their suffixes mean nothing here and are left alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::settings::{Settings, Sources};

const PREFIX: &str = "FERRUM_";
const SUFFIX: &str = "_FILE";
/// The back-end's name in messages and logs.
const BACKEND: &str = "file";
const TIMEOUT_KEY: &str = "FERRUM_SECRET_FETCH_TIMEOUT_SECONDS";
const TIMEOUT_DEFAULT_SECONDS: u64 = 30;

/// Why a secret could not be had. No text of a secret is ever in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("Multiple secret sources configured for {key}: direct env var, {key}{SUFFIX}. Only one source is allowed.")]
    Conflict { key: String },
    #[error("Failed to read {key}{SUFFIX} from '{path}': {source}")]
    Unreadable { key: String, path: String, source: io::Error },
    #[error("{key}{SUFFIX}: the file '{path}' is empty after trimming")]
    Empty { key: String, path: String },
    #[error("Timeout resolving {key} from {BACKEND} after {seconds}s")]
    Timeout { key: String, seconds: u64 },
}

/// Whether a reference will set `key`.
pub(super) fn is_referenced(env: &BTreeMap<String, String>, key: &str) -> bool {
    env.get(&format!("{key}{SUFFIX}")).is_some_and(|path| !path.is_empty())
}

/// Replaces every reference by the text it names. Gives the names that were set and where each came from.
pub(super) fn resolve(
    env: &mut BTreeMap<String, String>,
    directory: &Path,
) -> Result<Vec<(String, String)>, SecretError> {
    let references: Vec<(String, String)> = env.iter().filter_map(reference).collect();
    for (key, _) in &references {
        if env.get(key).is_some_and(|direct| !direct.is_empty()) {
            return Err(SecretError::Conflict { key: key.clone() });
        }
    }
    let seconds = timeout_seconds(env, directory);
    let mut loaded = Vec::new();
    for (key, path) in references {
        let text = read_within(&key, &path, directory, seconds)?;
        env.remove(&format!("{key}{SUFFIX}"));
        env.insert(key.clone(), text);
        loaded.push((key, BACKEND.to_owned()));
    }
    Ok(loaded)
}

/// The base name and the path of a reference. A setting whose own name ends like one is a setting.
fn reference((name, path): (&String, &String)) -> Option<(String, String)> {
    let key = name.strip_suffix(SUFFIX)?;
    let has_base = key.strip_prefix(PREFIX).is_some_and(|base| !base.is_empty());
    (has_base && !path.is_empty() && !Settings::is_known(name)).then(|| (key.to_owned(), path.clone()))
}

/// The conf file may say how long to wait; a broken one is reported later.
fn timeout_seconds(env: &BTreeMap<String, String>, directory: &Path) -> u64 {
    let sources = Sources::from_env(env.clone(), directory)
        .unwrap_or_else(|_| Sources { env: env.clone(), ..Sources::default() });
    sources.get(TIMEOUT_KEY).and_then(|text| text.trim().parse().ok()).unwrap_or(TIMEOUT_DEFAULT_SECONDS)
}

/// A path may be a pipe or sit on a dead network mount, so the read happens on a thread that can be given up.
fn read_within(key: &str, path: &str, directory: &Path, seconds: u64) -> Result<String, SecretError> {
    let (sender, receiver) = mpsc::channel();
    let file: PathBuf = directory.join(path);
    std::thread::spawn(move || sender.send(std::fs::read_to_string(file)));
    let text = receiver
        .recv_timeout(Duration::from_secs(seconds))
        .map_err(|_| SecretError::Timeout { key: key.to_owned(), seconds })?
        .map_err(|source| SecretError::Unreadable { key: key.to_owned(), path: path.to_owned(), source })?;
    let text = text.trim_end();
    if text.is_empty() {
        return Err(SecretError::Empty { key: key.to_owned(), path: path.to_owned() });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The environment afterwards, and what was loaded.
    type Resolved = (BTreeMap<String, String>, Vec<(String, String)>);

    fn resolved(pairs: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<Resolved, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut env = env(pairs);
        let loaded = resolve(&mut env, dir.path()).map_err(|error| error.to_string())?;
        Ok((env, loaded))
    }

    #[test]
    fn a_reference_sets_its_base_name_and_disappears() {
        let (env, loaded) = resolved(&[("FERRUM_ADMIN_JWT_SECRET_FILE", "s")], &[("s", b"  a b\t\r\n\n")]).unwrap();
        assert_eq!(env.get("FERRUM_ADMIN_JWT_SECRET").unwrap(), "  a b");
        assert!(!env.contains_key("FERRUM_ADMIN_JWT_SECRET_FILE"));
        assert_eq!(loaded, [("FERRUM_ADMIN_JWT_SECRET".to_owned(), "file".to_owned())]);
    }

    #[test]
    fn a_made_up_name_is_as_good_as_a_setting() {
        let (env, _) = resolved(&[("FERRUM_MY_TOKEN_FILE", "s")], &[("s", b"t")]).unwrap();
        assert_eq!(env.get("FERRUM_MY_TOKEN").unwrap(), "t");
    }

    #[test]
    fn what_is_no_reference_is_left_alone() {
        let pairs = [
            ("FERRUM_X_FILE", ""),
            ("FERRUM_FILE", "s"),
            ("FERRUM__FILE", "s"),
            ("OTHER_X_FILE", "s"),
            ("FERRUM_X_file", "s"),
            ("FERRUM_X_VAULT", "secret/data/x"),
            ("FERRUM_X_AWS", "name"),
            ("FERRUM_X_ENV", "NAME"),
            ("FERRUM_DNS_RESOLVER_HOSTS_FILE", "/etc/hosts"),
        ];
        let (after, loaded) = resolved(&pairs, &[]).unwrap();
        assert_eq!(after, env(&pairs));
        assert!(loaded.is_empty());
    }

    #[test]
    fn a_direct_value_and_a_reference_conflict_before_anything_is_read() {
        let text = resolved(&[("FERRUM_A_FILE", "missing"), ("FERRUM_B", "direct"), ("FERRUM_B_FILE", "missing")], &[])
            .unwrap_err();
        assert_eq!(
            text,
            "Multiple secret sources configured for FERRUM_B: direct env var, FERRUM_B_FILE. Only one source is allowed."
        );
    }

    #[test]
    fn an_empty_direct_value_does_not_conflict() {
        let (env, _) = resolved(&[("FERRUM_B", ""), ("FERRUM_B_FILE", "s")], &[("s", b"x")]).unwrap();
        assert_eq!(env["FERRUM_B"], "x");
    }

    #[test]
    fn a_file_that_cannot_be_read_or_is_empty_names_key_and_path() {
        let text = resolved(&[("FERRUM_B_FILE", "gone")], &[]).unwrap_err();
        assert!(text.starts_with("Failed to read FERRUM_B_FILE from 'gone': "), "{text}");
        let text = resolved(&[("FERRUM_B_FILE", "bin")], &[("bin", &[0xff])]).unwrap_err();
        assert!(text.starts_with("Failed to read FERRUM_B_FILE from 'bin': "), "{text}");
        let text = resolved(&[("FERRUM_B_FILE", "blank")], &[("blank", b" \n\t\n")]).unwrap_err();
        assert!(text.contains("FERRUM_B_FILE") && text.contains("is empty after trimming"), "{text}");
    }

    #[test]
    fn a_file_that_never_answers_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let mut env = env(&[("FERRUM_B_FILE", "pipe"), (TIMEOUT_KEY, "0")]);
        let text = resolve(&mut env, dir.path()).unwrap_err().to_string();
        assert_eq!(text, "Timeout resolving FERRUM_B from file after 0s");
    }

    #[test]
    fn the_time_limit_comes_from_environment_or_conf_file_and_bad_text_means_30() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(timeout_seconds(&env(&[]), dir.path()), 30);
        assert_eq!(timeout_seconds(&env(&[(TIMEOUT_KEY, "soon")]), dir.path()), 30);
        std::fs::write(dir.path().join("ferrum.conf"), format!("{TIMEOUT_KEY} = 7")).unwrap();
        assert_eq!(timeout_seconds(&env(&[]), dir.path()), 7);
        assert_eq!(timeout_seconds(&env(&[(TIMEOUT_KEY, "8")]), dir.path()), 8);
        std::fs::write(dir.path().join("ferrum.conf"), "broken").unwrap();
        assert_eq!(timeout_seconds(&env(&[]), dir.path()), 30);
    }
}
