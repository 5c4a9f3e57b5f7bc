//! Whole commands: arguments, environment and files in, texts and exit codes out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::arguments::{Arguments, Command};
use super::paths::Host;
use super::{House, Prepared, SpecCounts, SpecFailure, Terminal, execute, target_triple};
use crate::settings::Settings;
use crate::transfer::{Exported, ImportReport};

/// A directory with files, an environment, and what came of a command there.
struct Shell {
    dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

struct Outcome {
    code: String,
    stdout: String,
    stderr: String,
    prepared: Option<Prepared>,
}

impl Outcome {
    /// The messages of the JSON records on stderr.
    fn records(&self) -> Vec<(String, String)> {
        let record = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&record["level"]), text(&record["fields"]["message"]))
        };
        self.stderr.lines().map(record).collect()
    }

    fn prepared(&self) -> &Prepared {
        self.prepared.as_ref().unwrap_or_else(|| panic!("the gateway did not start: {}", self.stderr))
    }
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

impl Shell {
    fn new(env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { dir: tempfile::tempdir().unwrap(), env }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn execute(&self, line: &str, spec: Result<SpecCounts, SpecFailure>) -> Outcome {
        let words = std::iter::once("ferrum-edge").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let host = Host { root: self.dir.path().join("root"), directory: self.dir.path().to_owned(), own_pid: 1 };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let prepared = RefCell::new(None);
        let code = execute(
            arguments.command,
            self.env.clone(),
            &host,
            &mut Terminal { stdout: &mut stdout, stderr: &mut stderr },
            House {
                run: |started| {
                    prepared.replace(Some(started));
                    ExitCode::from(7)
                },
                validate_spec: |_: &Settings| spec,
                probe_io_uring: || Ok(()),
                export: |settings, namespace, format| {
                    let text = format!("{:?} of {namespace:?} in {}", format, settings.core.mode.name());
                    Ok(Exported { text, warnings: vec!["not all".to_owned()] })
                },
                import: |_, spec, options| ImportReport {
                    done: vec![format!("{} {options:?}", spec.display())],
                    ..ImportReport::default()
                },
            },
        );
        Outcome {
            code: format!("{code:?}"),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            prepared: prepared.into_inner(),
        }
    }

    fn run(&self, line: &str) -> Outcome {
        self.execute(line, Ok(SpecCounts { proxies: 12, consumers: 5, upstreams: 3, plugin_configs: 18 }))
    }
}

fn usage_error(line: &str) -> clap::Error {
    Arguments::try_parse_from(std::iter::once("ferrum-edge").chain(line.split_whitespace())).unwrap_err()
}

// --- the grammar ---

#[test]
fn the_command_line_is_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn usage_errors_exit_with_2_and_help_and_version_with_0() {
    for wrong in
        ["fly", "run --fast", "reload --pid many", "reload --pid -1", "health --port 65536", "validate -m file"]
    {
        assert_eq!(usage_error(wrong).exit_code(), 2, "{wrong}");
    }
    for asked in ["--help", "-h", "--version", "-V", "help", "run --help"] {
        assert_eq!(usage_error(asked).exit_code(), 0, "{asked}");
    }
    assert_eq!(usage_error("--version").to_string(), format!("ferrum-edge {}\n", super::VERSION));
}

#[test]
fn help_names_the_subcommands_and_the_flags() {
    let help = usage_error("--help").to_string();
    for name in ["run", "validate", "reload", "version", "health", "export", "import", "admin", "doctor", "help"] {
        assert!(help.contains(&format!("  {name} ")), "{name}: {help}");
    }
    assert!(!help.contains("docs"));
    let help = usage_error("run --help").to_string();
    for flag in ["--settings", "--spec", "--mode", "--verbose", "--cores", "--steering", "--sqpoll"] {
        assert!(help.contains(flag), "{flag}");
    }
}

// --- run ---

#[test]
fn flags_beat_the_environment() {
    let shell = Shell::new(&[
        ("FERRUM_MODE", "database"),
        ("FERRUM_LOG_LEVEL", "error"),
        ("FERRUM_RING_ENTRIES", "128"),
        ("FERRUM_CONF_PATH", "/nowhere"),
        ("FERRUM_FILE_CONFIG_PATH", "/nowhere"),
    ])
    .file("my.conf", "FERRUM_PROXY_HTTP_PORT = 8123");
    let outcome = shell.run(
        "run -s my.conf -c sub/s.yaml -m file -vv --cores 0 --control-cores 1 --reactor epoll --steering balance \
         --ring-entries 256 --busy-poll-us 5 --sqpoll",
    );
    let settings = &outcome.prepared().settings;
    assert_eq!(outcome.code, code(7));
    assert_eq!(settings.core.mode.name(), "file");
    assert_eq!(settings.core.log_level, "debug");
    assert_eq!(settings.listeners.proxy_http_port, 8123);
    assert_eq!(settings.core.conf_path, shell.dir.path().join("my.conf"));
    assert_eq!(settings.file.file_config_path, Some(shell.dir.path().join("sub/s.yaml")));
    let engine = &settings.engine;
    assert_eq!((engine.cores.as_slice(), engine.control_cores.as_slice()), ([0].as_slice(), [1].as_slice()));
    assert_eq!((engine.reactor.token(), engine.accept_steering.token()), ("epoll", "balance"));
    assert_eq!((engine.ring_entries, engine.busy_poll_us, engine.sqpoll), (256, 5, true));
}

#[test]
fn verbosity_maps_to_levels_and_none_leaves_the_level_alone() {
    for (flags, level) in
        [("", "warn"), ("-v", "info"), ("-vv", "debug"), ("-v -v --verbose", "trace"), ("-vvvvv", "trace")]
    {
        let outcome = Shell::new(&[("FERRUM_LOG_LEVEL", "warn")]).run(&format!("run -c s.yaml {flags}"));
        assert_eq!(outcome.prepared().settings.core.log_level, level, "{flags}");
    }
}

#[test]
fn sqpoll_may_be_switched_off_and_a_bad_value_is_a_settings_error() {
    let shell = Shell::new(&[("FERRUM_SQPOLL", "true")]);
    assert!(!shell.run("run -c s.yaml --sqpoll=false").prepared().settings.engine.sqpoll);
    let outcome = shell.run("run -c s.yaml --ring-entries many");
    assert_eq!(outcome.code, code(1));
    let expected = "Configuration error: Invalid FERRUM_RING_ENTRIES value 'many'. Expected a valid u32 integer";
    assert_eq!(outcome.records(), [("ERROR".to_owned(), expected.to_owned())]);
    assert!(outcome.stdout.is_empty() && outcome.prepared.is_none());
}

#[test]
fn run_discovers_the_spec_and_infers_the_mode_but_the_bare_command_does_not() {
    let shell = Shell::new(&[]).file("resources.yaml", "").file("config/ferrum.conf", "FERRUM_PROXY_HTTP_PORT = 1");
    let outcome = shell.run("run");
    let settings = &outcome.prepared().settings;
    assert_eq!((settings.core.mode.name(), settings.listeners.proxy_http_port), ("file", 1));
    assert_eq!(settings.file.file_config_path, Some("./resources.yaml".into()));

    let bare = shell.run("");
    assert_eq!(bare.code, code(1));
    assert!(bare.records()[0].1.starts_with("Configuration error: Invalid FERRUM_MODE ''"));
}

#[test]
fn the_bare_command_starts_from_environment_and_default_conf_file() {
    let shell = Shell::new(&[("FERRUM_MODE", "file")])
        .file("ferrum.conf", "FERRUM_FILE_CONFIG_PATH = s.yaml\nFERRUM_MODE = database\nOTHER = 1");
    let outcome = shell.run("");
    assert_eq!(outcome.code, code(7));
    assert_eq!(outcome.prepared().settings.file.file_config_path, Some("s.yaml".into()));
    assert_eq!(outcome.prepared().conf_overrides, ["FERRUM_MODE"]);
}

#[test]
fn a_broken_conf_file_is_a_configuration_error_with_its_line() {
    let outcome = Shell::new(&[("FERRUM_MODE", "file")]).file("ferrum.conf", "A=1\nbroken").run("run");
    let expected = "Configuration error: Invalid conf file syntax at line 2: missing '=' in 'broken'";
    assert_eq!((outcome.code.as_str(), outcome.records()[0].1.as_str()), (code(1).as_str(), expected));
}

#[test]
fn a_missing_conf_file_is_skipped_even_when_it_is_named() {
    let outcome = Shell::new(&[]).run("run --settings gone.conf --spec s.yaml");
    assert_eq!(outcome.code, code(7));
}

#[test]
fn secrets_are_resolved_before_settings_are_read() {
    let shell = Shell::new(&[("FERRUM_PROXY_HTTP_PORT_FILE", "port"), ("FERRUM_MY_TOKEN_FILE", "token")])
        .file("port", "8222\n")
        .file("token", "t-secret\n");
    let outcome = shell.run("run -c s.yaml");
    let prepared = outcome.prepared();
    assert_eq!(prepared.settings.listeners.proxy_http_port, 8222);
    assert_eq!(prepared.environment["FERRUM_MY_TOKEN"], "t-secret");
    assert!(!format!("{prepared:?}").contains("t-secret"));
    let names: Vec<_> = prepared.secrets_loaded.iter().map(|(key, from)| (key.as_str(), from.as_str())).collect();
    assert_eq!(names, [("FERRUM_MY_TOKEN", "file"), ("FERRUM_PROXY_HTTP_PORT", "file")]);
}

#[test]
fn a_secret_that_fails_is_said_in_plain_text() {
    let outcome = Shell::new(&[("FERRUM_X_FILE", "gone"), ("FERRUM_MODE", "bad")]).run("run");
    assert_eq!(outcome.code, code(1));
    assert!(outcome.stderr.starts_with("Secret resolution error: Failed to read FERRUM_X_FILE from 'gone': "));

    let conflict = Shell::new(&[("FERRUM_MODE_FILE", "m")]).run("run --mode file");
    assert_eq!(
        conflict.stderr,
        "Secret resolution error: Multiple secret sources configured for FERRUM_MODE: direct env var, \
         FERRUM_MODE_FILE. Only one source is allowed.\n"
    );
}

#[test]
fn a_mode_that_comes_from_a_file_is_not_inferred() {
    let shell = Shell::new(&[("FERRUM_MODE_FILE", "m")]).file("m", "node_agent").file("resources.yaml", "");
    assert_eq!(shell.run("run").prepared().settings.core.mode.name(), "node_agent");
}

#[test]
fn what_is_odd_but_works_is_handed_over_as_warnings() {
    let outcome = Shell::new(&[("FERRUM_DB_POLL_INTERVAL", "0"), ("FERRUM_TLS_NO_VERIFY", "1")]).run("run -c s.yaml");
    let warnings = outcome.prepared().warnings.join("\n");
    assert!(warnings.contains("FERRUM_DB_POLL_INTERVAL") && warnings.contains("FERRUM_TLS_NO_VERIFY"));
}

// --- validate ---

#[test]
fn validate_prints_settings_spec_counts_and_the_verdict() {
    let shell = Shell::new(&[]);
    let outcome = shell.run("validate --spec resources.yaml");
    let expected = format!(
        "Settings (ferrum.conf): OK\n  Mode: File\nSpec ({}): OK\n  Proxies: 12\n  Consumers: 5\n  Upstreams: 3\n  \
         Plugin configs: 18\n\nValidation passed.\n",
        shell.path("resources.yaml")
    );
    assert_eq!((outcome.code.as_str(), outcome.stdout.as_str()), (code(0).as_str(), expected.as_str()));
    assert!(outcome.stderr.is_empty() && outcome.prepared.is_none());
}

#[test]
fn validate_of_other_modes_does_not_look_at_the_spec() {
    let shell = Shell::new(&[("FERRUM_MODE", "injector")]);
    let outcome = shell.execute("validate --spec x.yaml", Err(SpecFailure::default()));
    assert_eq!(outcome.stdout, "Settings (ferrum.conf): OK\n  Mode: Injector\n\nValidation passed.\n");
    assert_eq!(outcome.code, code(0));
}

#[test]
fn validate_keeps_what_it_printed_and_logs_findings_before_the_reason() {
    let failure = SpecFailure {
        reason: "Spec validation failed: 2 errors".to_owned(),
        errors: vec!["first".to_owned(), "second".to_owned()],
    };
    let outcome = Shell::new(&[]).execute("validate -c s.yaml", Err(failure));
    assert_eq!(outcome.stdout, "Settings (ferrum.conf): OK\n  Mode: File\n");
    let texts: Vec<_> = outcome.records().into_iter().map(|(level, text)| format!("{level} {text}")).collect();
    assert_eq!(texts, ["ERROR first", "ERROR second", "ERROR Validation error: Spec validation failed: 2 errors"]);
    assert_eq!(outcome.code, code(1));
}

#[test]
fn validate_refuses_bad_settings_and_a_broken_conf_file() {
    let outcome = Shell::new(&[("FERRUM_PROXY_HTTP_PORT", "x")]).run("validate -c s.yaml");
    let expected = "Validation error: Settings validation failed: Invalid FERRUM_PROXY_HTTP_PORT value 'x'. Expected \
                    a valid u16 integer";
    assert_eq!(outcome.records()[0].1, expected);
    assert_eq!((outcome.code, outcome.stdout), (code(1), String::new()));

    let outcome = Shell::new(&[]).file("ferrum.conf", "= 1").run("validate -c s.yaml");
    let expected = "Validation error: Settings validation failed: Invalid conf file syntax at line 1: empty key";
    assert_eq!(outcome.records()[0].1, expected);
}

#[test]
fn validate_resolves_no_secrets() {
    let shell = Shell::new(&[("FERRUM_MODE_FILE", "m"), ("FERRUM_X_FILE", "gone")]).file("m", "cp");
    assert_eq!(shell.run("validate -c s.yaml").code, code(0));
    let outcome = shell.run("validate");
    assert!(outcome.records()[0].1.contains("Invalid FERRUM_MODE ''"));
}

#[test]
fn validate_warns_about_what_only_a_start_would_refuse() {
    let outcome = Shell::new(&[("FERRUM_TLS_CURVES", "x448")]).run("validate -c s.yaml");
    assert_eq!(outcome.code, code(0));
    let (level, text) = &outcome.records()[0];
    assert_eq!(level, "WARN");
    assert!(text.contains("would not start: Unknown curve/group 'x448'"), "{text}");
}

// --- the others ---

#[test]
fn version_prints_the_target_or_two_json_strings() {
    let shell = Shell::new(&[("FERRUM_MODE", "nonsense")]);
    let target = target_triple();
    assert_eq!(shell.run("version").stdout, format!("ferrum-edge {} ({target})\n", super::VERSION));
    let json = shell.run("version --json").stdout;
    assert_eq!(json, format!("{{\"version\":\"{}\",\"target\":\"{target}\"}}\n", super::VERSION));
    assert_eq!(target.split('-').count(), if cfg!(target_os = "linux") { 4 } else { 3 });
}

#[test]
fn errors_of_reload_and_health_are_plain_lines_and_exit_with_1() {
    let outcome = Shell::new(&[]).run("reload");
    assert_eq!(outcome.stderr, "Error: No running ferrum-edge process found. Use --pid to specify the PID.\n");
    assert_eq!(outcome.code, code(1));
    let outcome = Shell::new(&[]).run("reload --pid 4294967295");
    assert_eq!(outcome.stderr, "Error: Failed to send SIGHUP to PID 4294967295\n");
    // Nobody listens on the first of the reserved ports.
    let outcome = Shell::new(&[]).run("health --tls --port 1");
    assert!(outcome.stderr.starts_with("Error: Cannot connect to 127.0.0.1:1: "));
    assert_eq!(outcome.code, code(1));
}

#[test]
fn reload_says_whom_it_signalled() {
    let mut child = super::reload::sleeper();
    let outcome = Shell::new(&[]).run(&format!("reload -p {}", child.id()));
    assert_eq!((outcome.stdout, outcome.code), (format!("Sent SIGHUP to PID {}\n", child.id()), code(0)));
    child.wait().unwrap();
}

#[test]
fn doctor_exits_with_1_only_when_strict_and_something_is_bad() {
    let files = "Max open files            1024                 1024                 files\n";
    let sick = Shell::new(&[]).file("root/proc/self/limits", files).file("root/proc/sys/net/core/somaxconn", "4096");
    let outcome = sick.run("doctor");
    assert_eq!(outcome.code, code(0));
    assert!(outcome.stdout.contains("bad  open files: soft 1024, hard 1024"));
    assert!(outcome.stdout.contains("ok   net.core.somaxconn: 4096, FERRUM_TCP_LISTEN_BACKLOG: 2048"));
    let strict = sick.run("doctor --strict");
    assert_eq!((strict.code, strict.stdout), (code(1), outcome.stdout));
    assert!(strict.stderr.starts_with("Error: 1 of "));
    assert_eq!(Shell::new(&[]).run("doctor --strict").code, code(0));
}

#[test]
fn doctor_judges_the_backlog_that_is_configured() {
    let shell = |backlog: &str| {
        let shell = Shell::new(&[("FERRUM_TCP_LISTEN_BACKLOG", backlog)]);
        shell.file("root/proc/sys/net/core/somaxconn", "4096").run("doctor").stdout
    };
    assert!(shell("5000").contains("slow net.core.somaxconn: 4096, FERRUM_TCP_LISTEN_BACKLOG: 5000"));
    assert!(shell("1").contains("FERRUM_TCP_LISTEN_BACKLOG: 128"));
    assert!(shell("x").contains("FERRUM_TCP_LISTEN_BACKLOG: 2048"));
}

#[test]
fn docs_configuration_prints_the_reference() {
    assert_eq!(Shell::new(&[]).run("docs configuration").stdout, crate::settings::reference());
}

#[test]
fn no_arguments_are_no_command() {
    assert!(Arguments::try_parse_from(["ferrum-edge"]).unwrap().command.is_none());
    assert!(matches!(Arguments::try_parse_from(["ferrum-edge", "run"]).unwrap().command, Some(Command::Run(_))));
}

mod operator_tools;
