//! Every back-end from the environment to the setting; those in the network against a server of the test.

#[cfg(feature = "secrets-aws")]
mod aws;
#[cfg(feature = "secrets-azure")]
mod azure;
mod files;
#[cfg(feature = "secrets-gcp")]
mod gcp;
mod references;
#[cfg(feature = "secrets-network")]
mod server;
#[cfg(feature = "secrets-vault")]
mod vault;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The environment afterwards, and what was loaded.
type Resolved = (Environment, Vec<(String, String)>);

/// With these files in the current directory, which is `HOME` too.
fn resolved(pairs: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<Resolved, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut env = env(pairs);
    let loaded = resolve(&mut env, dir.path()).map_err(|error| error.to_string())?;
    Ok((env, loaded))
}

/// What `FERRUM_X` is, or why it is nothing.
#[cfg(feature = "secrets-network")]
fn x(base: &[(&str, &str)], more: &[(&str, &str)]) -> Result<String, String> {
    let (mut env, _) = resolved(&[base, more].concat(), &[])?;
    Ok(env.remove("FERRUM_X").expect("it is set"))
}
