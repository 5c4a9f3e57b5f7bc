//! `ferrum-edge export` and `ferrum-edge import`: configurations between databases and files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use engine::model::Format;

use super::paths::Host;
use super::prepare::prepare_tool;
use super::{Terminal, print};
use crate::settings::Settings;
use crate::store::ImportOptions;
use crate::transfer::{Exported, ImportReport};

/// Makes a document of what a database has of a namespace, or of all.
pub type Export = fn(&Settings, Option<&str>, Format) -> Result<Exported, String>;
/// Puts what a file has into a database.
pub type Import = fn(&Settings, &Path, ImportOptions) -> ImportReport;

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Only what this namespace has [default: all namespaces]
    #[arg(long)]
    namespace: Option<String>,
    /// File to write, .yaml, .yml or .json [default: YAML to stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Settings file (FERRUM_CONF_PATH)
    #[arg(short, long, value_name = "PATH")]
    settings: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Resources, YAML or JSON
    #[arg(short = 'c', long, value_name = "FILE")]
    spec: PathBuf,
    /// Delete what the document's namespaces have before
    #[arg(long)]
    replace: bool,
    /// Do everything and take it back
    #[arg(long)]
    dry_run: bool,
    /// Settings file (FERRUM_CONF_PATH)
    #[arg(short, long, value_name = "PATH")]
    settings: Option<PathBuf>,
}

pub(super) fn export(
    arguments: ExportArgs,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    export: Export,
) -> Result<(), String> {
    let output = arguments.output.map(|path| PathBuf::from(host.explicit(&path)));
    let format = match &output {
        None => Format::Yaml,
        Some(path) => Format::by_extension(path)
            .ok_or_else(|| format!("{}: the name says no format; end it with .yaml, .yml or .json", path.display()))?,
    };
    let settings = prepare_tool(arguments.settings, env, host)?;
    let exported = export(&settings, arguments.namespace.as_deref(), format)?;
    warn(terminal, &exported.warnings);
    match output {
        None => print(terminal, &exported.text),
        Some(path) => write(&path, &exported.text).map_err(|error| format!("{}: {error}", path.display())),
    }
}

pub(super) fn import(
    arguments: ImportArgs,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    import: Import,
) -> Result<(), String> {
    let settings = prepare_tool(arguments.settings, env, host)?;
    let spec = PathBuf::from(host.explicit(&arguments.spec));
    let options = ImportOptions { replaces: arguments.replace, is_dry_run: arguments.dry_run };
    let report = import(&settings, &spec, options);
    warn(terminal, &report.warnings);
    for line in &report.done {
        print(terminal, &format!("{line}\n"))?;
    }
    let Some(failure) = report.failure else { return Ok(()) };
    for error in &failure.errors {
        let _ = writeln!(terminal.stderr, "{error}");
    }
    Err(failure.reason)
}

fn warn(terminal: &mut Terminal<'_>, warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(terminal.stderr, "Warning: {warning}");
    }
}

/// The whole text appears at once, and only the owner may read it, because credentials are in it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let is_device = path.metadata().is_ok_and(|found| !found.is_file());
    if is_device {
        return File::create(path)?.write_all(text.as_bytes());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.draft", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let moved = written.and_then(|()| std::fs::rename(&draft, path));
    if moved.is_err() {
        drop(std::fs::remove_file(&draft));
    }
    moved
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_read_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "a longer text than the next").unwrap();
        write(&path, "short").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        assert!(write(&folder.path().join("nowhere/a.yaml"), "x").is_err());
        write(Path::new("/dev/null"), "x").unwrap();
    }
}
