//! Schema versions of a document, and `migrate config` (resources sheet §2.1).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::decode::{Format, Source};
use super::document::DOCUMENT_VERSION;

/// One step of a migration chain: from, to, and what it does to the document.
type Step = (&'static str, &'static str, fn(&mut Source));

/// Version 1 is the first, so there is nothing to step from.
const STEPS: [Step; 0] = [];

/// The steps from `version` to the current one, or why there are none.
fn chain(version: &str, steps: &'static [Step]) -> Result<Vec<&'static Step>, String> {
    let mut at = version;
    let mut chain = Vec::new();
    while at != DOCUMENT_VERSION {
        let Some(step) = steps.iter().find(|(from, ..)| *from == at).filter(|_| chain.len() < steps.len()) else {
            return Err(match chain.is_empty() {
                true => format!("No config migration path from version '{version}' to '{DOCUMENT_VERSION}'"),
                false => format!("Config migration chain broken at version '{at}' (target: '{DOCUMENT_VERSION}')"),
            });
        };
        chain.push(step);
        at = step.1;
    }
    Ok(chain)
}

/// Brings a document to the current version in memory. Gives the version it had when it was another.
pub(super) fn upgrade(source: &mut Source) -> Result<Option<String>, String> {
    let Some(version) = source.version().map(str::to_owned) else {
        return Err("Configuration file missing required 'version' field".into());
    };
    let chain = chain(&version, &STEPS)?;
    chain.iter().for_each(|(.., step)| step(source));
    Ok((version != DOCUMENT_VERSION).then_some(version))
}

/// What `migrate config` did or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub path: PathBuf,
    pub current_version: String,
    pub target_version: &'static str,
    /// Steps applied, or with a dry run to be applied; 0 = already current.
    pub steps: usize,
    pub is_dry_run: bool,
    /// Where the original was copied to.
    pub backup: Option<PathBuf>,
}

impl Migration {
    /// The lines that the command prints.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("Config file: {}", self.path.display()),
            format!("Current version: {}", self.current_version),
            format!("Target version: {}", self.target_version),
        ];
        let (from, to, steps) = (&self.current_version, self.target_version, self.steps);
        if steps == 0 {
            lines.push("Config file is already at the current version. No migration needed.".into());
        } else if self.is_dry_run {
            lines.push(format!("Dry run: would migrate config from version {from} to {to} ({steps} step(s))"));
        } else {
            lines.push(format!("Migrated config from version {from} to {to} ({steps} step(s))"));
        }
        if let Some(backup) = &self.backup {
            lines.push(format!("Backup saved to: {}", backup.display()));
        }
        lines
    }
}

/// Why the file was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("Configuration file not found: {}", .0.display())]
    Missing(PathBuf),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Decode(String),
    #[error("{0}")]
    Version(String),
}

/// Migrates the file in place, with a copy of the original beside it. A current file is not touched.
///
/// # Errors
/// [`MigrationError`]; the file is then as it was.
pub fn migrate_config(path: &Path, is_dry_run: bool) -> Result<Migration, MigrationError> {
    migrate_with(path, is_dry_run, &STEPS)
}

fn migrate_with(path: &Path, is_dry_run: bool, steps: &'static [Step]) -> Result<Migration, MigrationError> {
    if !path.exists() {
        return Err(MigrationError::Missing(path.into()));
    }
    let failed = |source| MigrationError::File { path: path.into(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let format = Format::of(path, &text);
    let mut source = Source::parse(&text, format).map_err(MigrationError::Decode)?;
    let version = source.version().map(str::to_owned);
    let version =
        version.ok_or_else(|| MigrationError::Version("Config is missing required 'version' field".into()))?;
    let chain = chain(&version, steps).map_err(MigrationError::Version)?;
    let mut migration = Migration {
        path: path.into(),
        current_version: version,
        target_version: DOCUMENT_VERSION,
        steps: chain.len(),
        is_dry_run,
        backup: None,
    };
    if chain.is_empty() || is_dry_run {
        return Ok(migration);
    }
    for (_, to, step) in chain {
        step(&mut source);
        source.set_version(to);
    }
    let backup = backup_path(path);
    fs::copy(path, &backup).map_err(failed)?;
    fs::write(path, source.to_text().map_err(MigrationError::Decode)?).map_err(failed)?;
    migration.backup = Some(backup);
    Ok(migration)
}

/// `{path}.backup.{YYYYMMDDHHMMSS}` in UTC.
fn backup_path(path: &Path) -> PathBuf {
    let now = super::timestamp::now();
    let (date, time) = (now.date(), now.time());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(
        ".backup.{:04}{:02}{:02}{:02}{:02}{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    ));
    name.into()
}

#[cfg(test)]
mod tests;
