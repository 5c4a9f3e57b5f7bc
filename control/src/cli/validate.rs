//! `ferrum-edge validate`: the same checks as a start, without starting anything.

use std::collections::BTreeMap;
use std::io;

use super::arguments::FileArgs;
use super::early_log::{Level, emit};
use super::paths::Host;
use super::prepare::prepare_validation;
use super::{SpecCounts, SpecFailure, Terminal};
use crate::settings::{Mode, Settings};

/// Prints the verdict; `true` if the gateway would accept everything.
pub(super) fn validate(
    files: &FileArgs,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    validate_spec: impl FnOnce(&Settings) -> Result<SpecCounts, SpecFailure>,
) -> bool {
    match steps(files, env, host, terminal, validate_spec) {
        Ok(()) => true,
        Err(reason) => {
            emit(terminal.stderr, Level::Error, &format!("Validation error: {reason}"));
            false
        }
    }
}

fn steps(
    files: &FileArgs,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    validate_spec: impl FnOnce(&Settings) -> Result<SpecCounts, SpecFailure>,
) -> Result<(), String> {
    let (settings, warnings) =
        prepare_validation(files, env, host).map_err(|reason| format!("Settings validation failed: {reason}"))?;
    let unprintable = |error: io::Error| format!("cannot write to stdout: {error}");
    for warning in warnings {
        emit(terminal.stderr, Level::Warn, &warning);
    }
    // Not a failure: these settings are the mode's business when it starts, and users validate parts of a setup.
    if let Err(error) = settings.check_mode_start() {
        let cause = error.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        emit(terminal.stderr, Level::Warn, &format!("This configuration would not start: {}{cause}", error.reason));
    }
    writeln!(terminal.stdout, "Settings (ferrum.conf): OK\n  Mode: {}", settings.core.mode).map_err(unprintable)?;
    if settings.core.mode == Mode::File {
        let counts = validate_spec(&settings).map_err(|failure| {
            for error in &failure.errors {
                emit(terminal.stderr, Level::Error, error);
            }
            failure.reason
        })?;
        let path = settings.file.file_config_path.as_deref().unwrap_or_else(|| "".as_ref()).display();
        writeln!(
            terminal.stdout,
            "Spec ({path}): OK\n  Proxies: {}\n  Consumers: {}\n  Upstreams: {}\n  Plugin configs: {}",
            counts.proxies, counts.consumers, counts.upstreams, counts.plugin_configs
        )
        .map_err(unprintable)?;
    }
    writeln!(terminal.stdout, "\nValidation passed.").map_err(unprintable)
}
