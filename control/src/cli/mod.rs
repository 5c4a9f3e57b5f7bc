//! The command line: what the binary does with its arguments before, or instead of, serving.
//!
//! The gateway itself is not here. [`main_with`] is given what it takes to run one and to read a spec, so that the
//! order of start-up and every text on a terminal stand in this folder and can be tested without a gateway.

mod arguments;
mod early_log;
mod health;
mod paths;
mod prepare;
mod reload;
mod secrets;
#[cfg(test)]
mod tests;
mod token;
mod transfer;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::admin::openapi;
use crate::doctor;
use crate::settings::{Settings, process_environment, reference};
use arguments::{AdminCommand, Arguments, Command, Document, RunArgs};
use early_log::Level;
use paths::Host;
pub use prepare::Prepared;
use prepare::Refusal;
pub use transfer::{Export, Import};

/// What a valid spec holds, after the namespace filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecCounts {
    pub proxies: usize,
    pub consumers: usize,
    pub upstreams: usize,
    pub plugin_configs: usize,
}

/// Why a spec is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecFailure {
    /// The text after `Validation error: `.
    pub reason: String,
    /// Single findings, each logged before the reason.
    pub errors: Vec<String>,
}

/// Where a command writes.
struct Terminal<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
}

const FAILURE: u8 = 1;

/// What commands need of the rest of the house.
pub struct House<Run, Validate> {
    /// Serves until shutdown.
    pub run: Run,
    /// Reads the spec as a start would.
    pub validate_spec: Validate,
    /// Tries to set up a ring.
    pub probe_io_uring: fn() -> Result<(), String>,
    pub export: Export,
    pub import: Import,
}

/// Runs the command that the process was started with.
pub fn main_with<Run, Validate>(house: House<Run, Validate>) -> ExitCode
where
    Run: FnOnce(Prepared) -> ExitCode,
    Validate: FnOnce(&Settings) -> Result<SpecCounts, SpecFailure>,
{
    // Crates that plugin files use bring another provider, and none would be chosen where nobody names one.
    engine::tls::install_provider();
    let arguments = match Arguments::try_parse_from(std::env::args_os().collect::<Vec<OsString>>()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout with 0, usage errors to stderr with 2; a closed terminal changes neither.
            let _ = error.print();
            // Some refusals of a value come without it, and a script's author needs it most then.
            if error.use_stderr() && !error.to_string().contains("Usage") {
                eprintln!("\n{}", Arguments::command().render_usage());
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILURE));
        }
    };
    let mut terminal = Terminal { stdout: &mut std::io::stdout(), stderr: &mut std::io::stderr() };
    let (env, host) = (process_environment(), Host::real());
    execute(arguments.command, env, &host, &mut terminal, house)
}

fn execute<Run, Validate>(
    command: Option<Command>,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    house: House<Run, Validate>,
) -> ExitCode
where
    Run: FnOnce(Prepared) -> ExitCode,
    Validate: FnOnce(&Settings) -> Result<SpecCounts, SpecFailure>,
{
    let outcome = match command {
        None => return start(None, env, host, terminal, house.run),
        Some(Command::Run(arguments)) => return start(Some(&arguments), env, host, terminal, house.run),
        Some(Command::Validate(files)) => {
            let is_valid = validate::validate(&files, env, host, terminal, house.validate_spec);
            return ExitCode::from(if is_valid { 0 } else { FAILURE });
        }
        Some(Command::Reload { pid }) => reload_gateway(pid, host, terminal),
        Some(Command::Version { json }) => print(terminal, &version(json)),
        Some(Command::Health(arguments)) => health::check(&arguments, &env),
        Some(Command::Export(arguments)) => transfer::export(arguments, env, host, terminal, house.export),
        Some(Command::Import(arguments)) => transfer::import(arguments, env, host, terminal, house.import),
        Some(Command::Admin { command: AdminCommand::Token(arguments) }) => {
            token::token(arguments, env, host).and_then(|token| print(terminal, &format!("{token}\n")))
        }
        Some(Command::Doctor { strict }) => diagnose(strict, env, host, terminal, house.probe_io_uring),
        Some(Command::Docs { document }) => print(
            terminal,
            &match document {
                Document::Configuration => reference(),
                Document::AdminApi => openapi::page(),
                Document::Openapi => openapi::document().to_owned(),
            },
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(terminal.stderr, "Error: {reason}");
            ExitCode::from(FAILURE)
        }
    }
}

fn start(
    arguments: Option<&RunArgs>,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    run: impl FnOnce(Prepared) -> ExitCode,
) -> ExitCode {
    match prepare::prepare(arguments, env, host) {
        Ok(prepared) => return run(prepared),
        Err(Refusal::Secret(reason)) => {
            let _ = writeln!(terminal.stderr, "Secret resolution error: {reason}");
        }
        Err(Refusal::Settings(reason)) => {
            early_log::emit(terminal.stderr, Level::Error, &format!("Configuration error: {reason}"));
        }
    }
    ExitCode::from(FAILURE)
}

fn reload_gateway(pid: Option<u32>, host: &Host, terminal: &mut Terminal<'_>) -> Result<(), String> {
    let pid = reload::reload(pid, host, reload::send_hangup)?;
    print(terminal, &format!("Sent SIGHUP to PID {pid}\n"))
}

fn diagnose(
    strict: bool,
    env: BTreeMap<String, String>,
    host: &Host,
    terminal: &mut Terminal<'_>,
    probe_io_uring: fn() -> Result<(), String>,
) -> Result<(), String> {
    let findings = doctor::examine(&host.root, listen_backlog(env, host), probe_io_uring);
    print(terminal, &doctor::report(&findings))?;
    match doctor::bad_count(&findings) {
        bad if strict && bad > 0 => Err(format!("{bad} of {} checks are bad", findings.len())),
        _ => Ok(()),
    }
}

/// The backlog the gateway would ask for. Settings that are wrong elsewhere must not keep the doctor from looking.
fn listen_backlog(env: BTreeMap<String, String>, host: &Host) -> u32 {
    const BACKLOG_DEFAULT: u32 = 2048;
    const BACKLOG_MIN: u32 = 128;
    let sources = crate::settings::Sources::from_env(env, &host.directory).unwrap_or_default();
    let given = sources.get("FERRUM_TCP_LISTEN_BACKLOG").and_then(|text| text.trim().parse().ok());
    given.unwrap_or(BACKLOG_DEFAULT).max(BACKLOG_MIN)
}

fn print(terminal: &mut Terminal<'_>, text: &str) -> Result<(), String> {
    terminal.stdout.write_all(text.as_bytes()).map_err(|error| format!("cannot write to stdout: {error}"))
}

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target triple of this build, put together from what the compiler tells.
pub fn target_triple() -> String {
    let arch = std::env::consts::ARCH;
    let env = if cfg!(target_env = "musl") {
        "musl"
    } else if cfg!(target_env = "msvc") {
        "msvc"
    } else {
        "gnu"
    };
    match std::env::consts::OS {
        "linux" => format!("{arch}-unknown-linux-{env}"),
        "macos" => format!("{arch}-apple-darwin"),
        "windows" => format!("{arch}-pc-windows-{env}"),
        other => format!("{arch}-unknown-{other}"),
    }
}

fn version(json: bool) -> String {
    let target = target_triple();
    if json {
        format!("{}\n", serde_json::json!({ "version": VERSION, "target": target }))
    } else {
        format!("ferrum-edge {VERSION} ({target})\n")
    }
}
