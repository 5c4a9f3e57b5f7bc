//! The grammar of the command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::health::HealthArgs;
use super::token::TokenArgs;
use super::transfer::{ExportArgs, ImportArgs};

/// A thread-per-core API gateway. Without a subcommand it starts from the environment and ./ferrum.conf alone.
#[derive(Debug, Parser)]
#[command(name = "ferrum-edge", bin_name = "ferrum-edge", version)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start the gateway in the foreground
    Run(RunArgs),
    /// Check the settings and, in file mode, the spec, without starting anything
    Validate(FileArgs),
    /// Make a running gateway read its spec again (SIGHUP)
    Reload {
        /// Process to signal [default: the only ferrum-edge process]
        #[arg(short, long)]
        pid: Option<u32>,
    },
    /// Print version and target
    Version {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a running gateway whether it is healthy
    Health(HealthArgs),
    /// Write what the database has as a resources file
    Export(ExportArgs),
    /// Put a resources file into the database
    Import(ImportArgs),
    /// Things an operator of the admin API needs
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Look at the host and say what slows a gateway down
    Doctor {
        /// Exit with 1 when something is bad
        #[arg(long)]
        strict: bool,
    },
    /// Print reference documents
    #[command(hide = true)]
    Docs {
        #[command(subcommand)]
        document: Document,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Print a token for the admin API, signed with FERRUM_ADMIN_JWT_SECRET
    Token(TokenArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum Document {
    /// The settings reference in Markdown
    Configuration,
    /// The calls of the admin API in Markdown
    AdminApi,
    /// The description of the admin API in OpenAPI
    Openapi,
}

/// The two files of `run` and `validate`.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct FileArgs {
    /// Settings file (FERRUM_CONF_PATH)
    #[arg(short, long, value_name = "PATH")]
    pub(super) settings: Option<PathBuf>,
    /// Resources, YAML or JSON (FERRUM_FILE_CONFIG_PATH)
    #[arg(short = 'c', long, value_name = "PATH")]
    pub(super) spec: Option<PathBuf>,
}

/// Each flag is a setting and beats its environment variable.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// Operating mode: database, file, cp, dp, mesh, injector, migrate (FERRUM_MODE)
    #[arg(short, long)]
    pub(super) mode: Option<String>,
    /// More log output: -v info, -vv debug, -vvv trace (FERRUM_LOG_LEVEL)
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// CPUs that each get a core, such as 2-15 or 0,2,4-7 (FERRUM_CORES)
    #[arg(long, value_name = "CPUS")]
    pub(super) cores: Option<String>,
    /// CPUs of the control thread (FERRUM_CONTROL_CORES)
    #[arg(long, value_name = "CPUS")]
    pub(super) control_cores: Option<String>,
    /// auto, io_uring or epoll (FERRUM_REACTOR)
    #[arg(long)]
    pub(super) reactor: Option<String>,
    /// How connections find their core: hash, cpu or balance (FERRUM_ACCEPT_STEERING)
    #[arg(long)]
    pub(super) steering: Option<String>,
    /// Entries of a core's ring, 64-32768 (FERRUM_RING_ENTRIES)
    #[arg(long, value_name = "COUNT")]
    pub(super) ring_entries: Option<String>,
    /// Microseconds a core polls before it sleeps (FERRUM_BUSY_POLL_US)
    #[arg(long, value_name = "MICROSECONDS")]
    pub(super) busy_poll_us: Option<String>,
    /// Let a kernel thread submit the ring (FERRUM_SQPOLL)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) sqpoll: Option<String>,
}

impl RunArgs {
    /// The settings that the flags stand for, paths excepted.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let level = match self.verbose {
            0 => None,
            1 => Some("info"),
            2 => Some("debug"),
            _ => Some("trace"),
        };
        let flags = [
            ("FERRUM_MODE", self.mode.clone()),
            ("FERRUM_LOG_LEVEL", level.map(str::to_owned)),
            ("FERRUM_CORES", self.cores.clone()),
            ("FERRUM_CONTROL_CORES", self.control_cores.clone()),
            ("FERRUM_REACTOR", self.reactor.clone()),
            ("FERRUM_ACCEPT_STEERING", self.steering.clone()),
            ("FERRUM_RING_ENTRIES", self.ring_entries.clone()),
            ("FERRUM_BUSY_POLL_US", self.busy_poll_us.clone()),
            ("FERRUM_SQPOLL", self.sqpoll.clone()),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}
