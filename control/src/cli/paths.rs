//! What `run` and `validate` find out by themselves: the conf file, the spec, the mode.
//!
//! Whatever is found takes the place of an environment variable that nobody set, so that everything after this module
//! reads one environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::secrets;
use crate::settings::Sources;

pub(super) const CONF_PATH: &str = "FERRUM_CONF_PATH";
pub(super) const SPEC_PATH: &str = "FERRUM_FILE_CONFIG_PATH";
pub(super) const MODE: &str = "FERRUM_MODE";

const CONF_CANDIDATES: [&str; 3] = ["./ferrum.conf", "./config/ferrum.conf", "/etc/ferrum/ferrum.conf"];
const SPEC_CANDIDATES: [&str; 6] = [
    "./resources.yaml",
    "./resources.json",
    "./config/resources.yaml",
    "./config/resources.json",
    "/etc/ferrum/config.yaml",
    "/etc/ferrum/config.json",
];

/// Where relative and absolute paths start.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) root: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) own_pid: u32,
}

impl Host {
    /// The host this process runs on.
    pub(super) fn real() -> Self {
        Self {
            root: PathBuf::from("/"),
            directory: std::env::current_dir().unwrap_or_default(),
            own_pid: std::process::id(),
        }
    }

    /// An explicit path: absolute ones stay, relative ones start at the current directory.
    pub(super) fn explicit(&self, path: &Path) -> String {
        self.directory.join(path).display().to_string()
    }

    fn first_existing(&self, candidates: &[&'static str]) -> Option<&'static str> {
        let exists = |candidate: &&&str| match candidate.strip_prefix('/') {
            Some(below_root) => self.root.join(below_root).exists(),
            None => self.directory.join(candidate).exists(),
        };
        candidates.iter().find(exists).copied()
    }
}

/// Which of the environment's words count as "somebody set this".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum References {
    /// A `_FILE` reference sets its base name (`run`).
    Count,
    /// References are not resolved and so set nothing (`validate`).
    Ignored,
}

/// Fills in the conf file's path, the spec's path and the mode where nobody chose them.
///
/// A path or a mode in the conf file is a choice: a stray `./resources.yaml` does not override it.
pub(super) fn discover(env: &mut BTreeMap<String, String>, host: &Host, references: References) {
    let is_set = |env: &BTreeMap<String, String>, key: &str| {
        env.contains_key(key) || (references == References::Count && secrets::is_referenced(env, key))
    };
    if !is_set(env, CONF_PATH)
        && let Some(found) = host.first_existing(&CONF_CANDIDATES)
    {
        env.insert(CONF_PATH.to_owned(), found.to_owned());
    }
    // A broken conf file is reported when the settings are read; here it says nothing.
    let conf = Sources::from_env(env.clone(), &host.directory).unwrap_or_default().conf;
    if !is_set(env, SPEC_PATH)
        && !conf.contains_key(SPEC_PATH)
        && let Some(found) = host.first_existing(&SPEC_CANDIDATES)
    {
        env.insert(SPEC_PATH.to_owned(), found.to_owned());
    }
    let has_mode = is_set(env, MODE) || conf.contains_key(MODE);
    if !has_mode && (is_set(env, SPEC_PATH) || conf.contains_key(SPEC_PATH)) {
        env.insert(MODE.to_owned(), "file".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        env: BTreeMap<String, String>,
    }

    impl Place {
        fn with(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = dir.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self { dir, env: BTreeMap::new() }
        }

        fn set(mut self, key: &str, value: &str) -> Self {
            self.env.insert(key.to_owned(), value.to_owned());
            self
        }

        fn found(self, references: References) -> [Option<String>; 3] {
            let host = Host { root: self.dir.path().join("root"), directory: self.dir.path().join("here"), own_pid: 1 };
            let mut env = self.env;
            discover(&mut env, &host, references);
            [CONF_PATH, SPEC_PATH, MODE].map(|key| env.get(key).cloned())
        }

        fn finds(self) -> [Option<String>; 3] {
            self.found(References::Count)
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_first_existing_candidate_keeps_its_spelling() {
        let all = [
            "here/resources.yaml",
            "here/resources.json",
            "here/config/resources.yaml",
            "here/config/resources.json",
            "root/etc/ferrum/config.yaml",
            "root/etc/ferrum/config.json",
        ];
        for (first, candidate) in SPEC_CANDIDATES.iter().enumerate() {
            let files: Vec<_> = all[first..].iter().map(|path| (*path, "")).collect();
            assert_eq!(Place::with(&files).finds(), [None, some(candidate), some("file")]);
        }
        let all = ["here/ferrum.conf", "here/config/ferrum.conf", "root/etc/ferrum/ferrum.conf"];
        for (first, candidate) in CONF_CANDIDATES.iter().enumerate() {
            let files: Vec<_> = all[first..].iter().map(|path| (*path, "")).collect();
            assert_eq!(Place::with(&files).finds(), [some(candidate), None, None]);
        }
    }

    #[test]
    fn nothing_found_sets_nothing() {
        assert_eq!(Place::with(&[]).finds(), [None, None, None]);
    }

    #[test]
    fn a_set_variable_stops_the_search_even_if_its_file_is_missing() {
        let place = Place::with(&[("here/ferrum.conf", "FERRUM_MODE = cp"), ("here/resources.yaml", "")]);
        let found = place.set(CONF_PATH, "gone.conf").set(SPEC_PATH, "").finds();
        assert_eq!(found, [some("gone.conf"), some(""), some("file")]);
    }

    #[test]
    fn a_spec_in_the_conf_file_beats_a_discovered_one_and_still_means_file_mode() {
        let conf = ("here/ferrum.conf", "FERRUM_FILE_CONFIG_PATH = /srv/spec.yaml");
        let found = Place::with(&[conf, ("here/resources.yaml", "")]).finds();
        assert_eq!(found, [some("./ferrum.conf"), None, some("file")]);
    }

    #[test]
    fn a_mode_in_the_conf_file_beats_a_stray_spec() {
        let found = Place::with(&[("here/ferrum.conf", "FERRUM_MODE = database"), ("here/resources.yaml", "")]).finds();
        assert_eq!(found, [some("./ferrum.conf"), some("./resources.yaml"), None]);
    }

    #[test]
    fn a_mode_in_the_environment_stays_even_when_empty() {
        for mode in ["dp", ""] {
            let found = Place::with(&[("here/resources.yaml", "")]).set(MODE, mode).finds();
            assert_eq!(found[2], some(mode));
        }
    }

    #[test]
    fn a_broken_conf_file_is_as_good_as_an_empty_one_here() {
        let found = Place::with(&[("here/ferrum.conf", "broken"), ("here/resources.json", "")]).finds();
        assert_eq!(found, [some("./ferrum.conf"), some("./resources.json"), some("file")]);
    }

    #[test]
    fn a_reference_counts_only_where_it_will_be_resolved() {
        let place = || Place::with(&[("here/resources.yaml", "")]).set("FERRUM_MODE_FILE", "/run/mode");
        assert_eq!(place().found(References::Count)[2], None);
        assert_eq!(place().found(References::Ignored)[2], some("file"));
    }

    #[test]
    fn an_explicit_path_is_joined_but_not_normalised() {
        let host = Host { root: "/".into(), directory: "/srv/here".into(), own_pid: 1 };
        assert_eq!(host.explicit(Path::new("../a/./b.yaml")), "/srv/here/../a/./b.yaml");
        assert_eq!(host.explicit(Path::new("/abs.yaml")), "/abs.yaml");
    }
}
