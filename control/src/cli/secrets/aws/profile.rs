//! The shared files of AWS's tools, `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::super::http::given;
use super::super::{Environment, Refused};
use super::credentials::Keys;
use super::web_identity::Role;

const NAME: &str = "AWS_PROFILE";

/// What asks for programs or other services to run first, which does not happen here.
const UNSUPPORTED: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source"];

/// The settings of the chosen profile. The credentials file goes before the config file.
#[derive(Default)]
pub(super) struct Profile {
    name: String,
    settings: BTreeMap<String, String>,
}

impl Profile {
    /// # Errors
    /// A file cannot be read, or a profile was asked for that is in none.
    pub(super) fn load(env: &Environment) -> Result<Self, Refused> {
        let name = given(env, NAME).unwrap_or("default").to_owned();
        let mut settings = BTreeMap::new();
        let mut is_found = false;
        // In the config file all but the default one have a word before their name.
        let titled = format!("profile {name}");
        let sections = [name.as_str(), titled.as_str()];
        for (variable, file, titles) in [
            ("AWS_CONFIG_FILE", "config", if name == "default" { &sections[..] } else { &sections[1..] }),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", &sections[..1]),
        ] {
            for title in titles {
                if let Some(section) = section(&read(env, variable, file)?, title) {
                    is_found = true;
                    settings.extend(section);
                }
            }
        }
        if !is_found && given(env, NAME).is_some() {
            return Err(format!("{NAME}: there is no AWS profile '{name}' in the shared config and credentials files"));
        }
        Ok(Self { name, settings })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Keys that stand in the file.
    pub(super) fn keys(&self) -> Option<Keys> {
        let (id, secret) = (self.get("aws_access_key_id")?, self.get("aws_secret_access_key")?);
        let session = self.get("aws_session_token").map(str::to_owned);
        Some(Keys { id: id.to_owned(), secret: secret.to_owned(), session })
    }

    /// The role that the profile takes with a token from a file.
    ///
    /// # Errors
    /// The profile gets its credentials in a way that is not supported.
    pub(super) fn web_identity(&self) -> Result<Option<Role>, Refused> {
        if let Some(name) = UNSUPPORTED.iter().find(|name| self.get(name).is_some()) {
            return Err(format!(
                "the AWS profile '{}' has '{name}', which is not supported; use access keys, role_arn with \
                 web_identity_token_file, or a role of the container or instance",
                self.name
            ));
        }
        let (Some(arn), Some(token_file)) = (self.get("role_arn"), self.get("web_identity_token_file")) else {
            return Ok(None);
        };
        Ok(Some(Role {
            arn: arn.to_owned(),
            token_file: token_file.into(),
            session: self.get("role_session_name").map(str::to_owned),
        }))
    }
}

/// A file that is not there is an empty one.
fn read(env: &Environment, variable: &str, name: &str) -> Result<String, Refused> {
    let home = || given(env, "HOME").map(|home| PathBuf::from(home).join(".aws").join(name));
    let Some(path) = given(env, variable).map(PathBuf::from).or_else(home) else { return Ok(String::new()) };
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| format!("the AWS file '{}' cannot be read: {error}", path.display())),
    }
}

/// The keys below `[title]`; nothing if there is no such section. Indented lines belong to a key above them, and no such key is
/// of use here.
fn section(text: &str, title: &str) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default();
            is_inside = name.split_whitespace().eq(title.split_whitespace());
            if is_inside {
                found.get_or_insert_default();
            }
        } else if is_inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let (Some((key, value)), Some(section)) = (line.split_once('='), &mut found)
        {
            let value =
                [" #", " ;", "\t#", "\t;"].iter().fold(value, |value, mark| value.split(mark).next().unwrap_or(value));
            section.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_at_the_next_and_comments_and_nested_keys_are_no_keys() {
        let text = "# first\nregion = none\n[a]\nregion = eu-west-1 # here\nS3 =\n  region = nested\n;x = 1\n\
                    [ profile  b ]\nregion=x#y\n[a]\noutput = json\n";
        let a = section(text, "a").unwrap();
        assert_eq!(a.get("region").unwrap(), "eu-west-1");
        assert_eq!((a.get("output").unwrap().as_str(), a.get("s3").unwrap().as_str(), a.len()), ("json", "", 3));
        assert_eq!(section(text, "profile b").unwrap().get("region").unwrap(), "x#y");
        assert!(section(text, "b").is_none());
        assert!(section("", "default").is_none());
    }
}
