//! What the tests of this folder share.

use super::{Settings, Sources};

/// A secret that is long enough.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

fn file_mode(pairs: &[(&str, &str)]) -> Sources {
    let mut sources = env(&[("FERRUM_MODE", "file"), ("FERRUM_FILE_CONFIG_PATH", "spec.yaml")]);
    sources.env.extend(env(pairs).env);
    sources
}

pub(crate) fn load(pairs: &[(&str, &str)]) -> Result<(Settings, Vec<String>), String> {
    Settings::load(&env(pairs)).map_err(|error| error.to_string())
}

pub(crate) fn load_file_mode(pairs: &[(&str, &str)]) -> Result<(Settings, Vec<String>), String> {
    Settings::load(&file_mode(pairs)).map_err(|error| error.to_string())
}

pub(crate) fn parse_file_mode(pairs: &[(&str, &str)]) -> Settings {
    load_file_mode(pairs).unwrap().0
}

pub(crate) fn warnings_of(pairs: &[(&str, &str)]) -> Vec<String> {
    load_file_mode(pairs).unwrap().1
}

pub(crate) fn refuse(pairs: &[(&str, &str)]) -> String {
    load(pairs).unwrap_err()
}

pub(crate) fn refuse_file_mode(pairs: &[(&str, &str)]) -> String {
    load_file_mode(pairs).unwrap_err()
}
