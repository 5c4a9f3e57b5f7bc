//! From flags and environment to checked settings: the first steps of `run` and `validate`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::arguments::{FileArgs, RunArgs};
use super::paths::{self, CONF_PATH, Host, MODE, References, SPEC_PATH};
use super::secrets;
use crate::settings::groups::AdminSettings;
use crate::settings::{Mode, Settings, Sources};

/// A gateway that may start.
pub struct Prepared {
    pub settings: Settings,
    /// What to log at WARN once the logger runs.
    pub warnings: Vec<String>,
    /// Names that came from outside, and from where: `("FERRUM_ADMIN_JWT_SECRET", "file")`.
    pub secrets_loaded: Vec<(String, String)>,
    /// Settings for which the environment overrode a different value of the conf file.
    pub conf_overrides: Vec<String>,
    /// The environment with flags and resolved secrets in it. The process environment itself is not changed, so plugin
    /// configs that name a variable must look here.
    pub environment: BTreeMap<String, String>,
    /// The keys of the conf file, which the environment goes before.
    pub conf: BTreeMap<String, String>,
}

/// Secrets stand in the environment, so it is not shown.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("settings", &self.settings)
            .field("warnings", &self.warnings)
            .field("secrets_loaded", &self.secrets_loaded)
            .field("conf_overrides", &self.conf_overrides)
            .finish_non_exhaustive()
    }
}

/// Why a gateway may not start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Said in plain text: the logger needs settings that may be among the secrets.
    Secret(String),
    Settings(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(reason) => write!(f, "Secret resolution error: {reason}"),
            Self::Settings(reason) => write!(f, "Configuration error: {reason}"),
        }
    }
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.to_string()
    }
}

type Environment = BTreeMap<String, String>;

/// Flags become environment variables, and what nobody set is looked for.
fn apply_files(files: &FileArgs, env: &mut Environment, host: &Host, references: References) {
    let set = |env: &mut Environment, key: &str, path: &Option<PathBuf>| {
        if let Some(path) = path {
            env.insert(key.to_owned(), host.explicit(path));
        }
    };
    set(env, CONF_PATH, &files.settings);
    set(env, SPEC_PATH, &files.spec);
    paths::discover(env, host, references);
}

/// `run`, or the bare command when there are no arguments: that one looks for nothing by itself.
pub(super) fn prepare(arguments: Option<&RunArgs>, mut env: Environment, host: &Host) -> Result<Prepared, Refusal> {
    if let Some(arguments) = arguments {
        env.extend(arguments.settings().into_iter().map(|(key, value)| (key.to_owned(), value)));
        apply_files(&arguments.files, &mut env, host, References::Count);
    }
    let secrets_loaded =
        secrets::resolve(&mut env, &host.directory).map_err(|error| Refusal::Secret(error.to_string()))?;
    let (sources, settings, mut warnings) = load(env, host).map_err(Refusal::Settings)?;
    warnings.extend(settings.startup_warnings());
    let conf_overrides = sources.overridden().into_iter().filter(|key| Settings::is_known(key)).collect();
    Ok(Prepared { settings, warnings, secrets_loaded, conf_overrides, environment: sources.env, conf: sources.conf })
}

/// The settings of commands that work on a database: who does that need not have said what to run.
pub(super) fn prepare_tool(conf: Option<PathBuf>, mut env: Environment, host: &Host) -> Result<Settings, Refusal> {
    apply_files(&FileArgs { settings: conf, spec: None }, &mut env, host, References::Count);
    secrets::resolve(&mut env, &host.directory).map_err(|error| Refusal::Secret(error.to_string()))?;
    let sources = Sources::from_env(env.clone(), &host.directory).unwrap_or_default();
    if sources.get(MODE).is_none() {
        env.insert(MODE.to_owned(), Mode::Migrate.name().to_owned());
    }
    load(env, host).map(|(_, settings, _)| settings).map_err(Refusal::Settings)
}

/// What a token is signed with. Nothing else must be set, or be in reach.
pub(super) fn prepare_token(
    conf: Option<PathBuf>,
    mut env: Environment,
    host: &Host,
) -> Result<AdminSettings, Refusal> {
    apply_files(&FileArgs { settings: conf, spec: None }, &mut env, host, References::Count);
    let keys = ["FERRUM_ADMIN_JWT_SECRET", "FERRUM_ADMIN_JWT_ISSUER", "FERRUM_ADMIN_JWT_MAX_TTL", CONF_PATH];
    let resolved = secrets::resolve_only(&keys, &mut env, &host.directory);
    resolved.map_err(|error| Refusal::Secret(error.to_string()))?;
    let sources = Sources::from_env(env, &host.directory).map_err(|error| Refusal::Settings(error.to_string()))?;
    Settings::load_admin(&sources).map_err(|error| Refusal::Settings(error.to_string()))
}

/// The settings of `validate`: secrets stay where they are.
pub(super) fn prepare_validation(
    files: &FileArgs,
    mut env: Environment,
    host: &Host,
) -> Result<(Settings, Vec<String>), String> {
    apply_files(files, &mut env, host, References::Ignored);
    load(env, host).map(|(_, settings, warnings)| (settings, warnings))
}

fn load(env: Environment, host: &Host) -> Result<(Sources, Settings, Vec<String>), String> {
    let sources = Sources::from_env(env, &host.directory).map_err(|error| error.to_string())?;
    let (settings, warnings) = Settings::load(&sources).map_err(|error| error.to_string())?;
    Ok((sources, settings, warnings))
}
