//! Where the text of a setting comes from. The process environment is copied in once, so that everything behind this
//! type is a function of its arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use super::conf;

/// The two texts a setting may have; the environment wins.
#[derive(Clone, Default)]
pub struct Sources {
    /// Environment variables, with command-line flags and resolved secrets already in it.
    pub env: BTreeMap<String, String>,
    /// The conf file's keys.
    pub conf: BTreeMap<String, String>,
}

/// Names only: among the values are secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (env, conf): (Vec<_>, Vec<_>) = (self.env.keys().collect(), self.conf.keys().collect());
        f.debug_struct("Sources").field("env", &env).field("conf", &conf).finish()
    }
}

impl Sources {
    /// The environment as it is, and the conf file that it names; a relative path starts at `directory`.
    pub fn from_env(env: BTreeMap<String, String>, directory: &Path) -> Result<Self, conf::ConfError> {
        let conf = conf::read(directory, &conf::path_of(&env))?;
        Ok(Self { env, conf })
    }

    /// The text of `key`. A set but empty value is a value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.env.get(key).or_else(|| self.conf.get(key)).map(String::as_str)
    }

    /// The text of `key`, or else of its second name, from the environment and then from the conf file.
    pub(crate) fn lookup(&self, key: &str, alias: Option<&str>, env_only: bool) -> Option<&str> {
        let names = [Some(key), alias];
        let sources: &[&BTreeMap<String, String>] = if env_only { &[&self.env] } else { &[&self.env, &self.conf] };
        for source in sources {
            for name in names.iter().flatten() {
                if let Some(value) = source.get(*name) {
                    return Some(value);
                }
            }
        }
        None
    }

    /// The keys that both sources define with different values.
    pub fn overridden(&self) -> Vec<String> {
        let differs = |(key, value): &(&String, &String)| self.env.get(*key).is_some_and(|env| env != *value);
        self.conf.iter().filter(differs).map(|(key, _)| key.clone()).collect()
    }
}

/// The process environment; names and values that are not UTF-8 count as unset.
pub fn process_environment() -> BTreeMap<String, String> {
    readable(std::env::vars_os())
}

fn readable(variables: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    variables.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_variable_that_is_not_utf8_counts_as_unset() {
        let broken = || OsString::from_vec(vec![b'a', 0xff]);
        let variables = [("FERRUM_A".into(), broken()), (broken(), "1".into()), ("FERRUM_B".into(), "".into())];
        let environment = readable(variables.into_iter());
        assert_eq!(environment.into_iter().collect::<Vec<_>>(), [("FERRUM_B".to_owned(), String::new())]);
    }
}
