//! Clients and servers that nobody here wrote: Python programs of `tests/peers`, in an environment of their own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::gateway::target_folder;
use crate::logs::Lines;

/// A running program that takes commands and reports what happens, one JSON object a line.
pub struct Peer {
    child: Child,
    script: String,
    commands: ChildStdin,
    said: Lines,
    complaints: Lines,
    asked: u64,
}

impl Peer {
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(python())
            .arg(folder().join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let commands = child.stdin.take().expect("a pipe");
        let said = Lines::follow(child.stdout.take().expect("a pipe"));
        let complaints = Lines::follow(child.stderr.take().expect("a pipe"));
        Self { child, script: script.to_owned(), commands, said, complaints, asked: 0 }
    }

    /// The port a server said it listens on.
    #[track_caller]
    pub fn port(&self) -> u16 {
        let said = self.wait_for(|line| line["port"].is_u64());
        said["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
    }

    /// Gives a command without waiting for its answer, which [`Peer::answer`] gets by the number.
    #[track_caller]
    pub fn tell(&mut self, mut command: Value) -> u64 {
        self.asked += 1;
        command["id"] = json!(self.asked);
        writeln!(self.commands, "{command}").expect("the peer reads");
        self.asked
    }

    #[track_caller]
    pub fn answer(&self, id: u64) -> Value {
        self.wait_for(|line| line["id"] == json!(id))
    }

    /// Gives a command and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, command: Value) -> Value {
        let id = self.tell(command);
        self.answer(id)
    }

    /// The first line so far or to come that `wanted` accepts.
    #[track_caller]
    pub fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let parsed = |line: &str| serde_json::from_str(line).ok().filter(|value| wanted(value));
        self.said.find(parsed).unwrap_or_else(|| panic!("{} did not say it: {:?}", self.script, self.said.so_far()))
    }

    /// What was reported under this name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.said.so_far();
        let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        values.filter(|value| value["event"] == name).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let (said, complaints) = (self.said.so_far().join("\n"), self.complaints.so_far().join("\n"));
            eprintln!("--- {}\n{said}\n--- its stderr\n{complaints}", self.script);
        }
    }
}

/// A program that came with the packages of `tests/peers/requirements.txt`, to be run with arguments.
pub fn peer_program(name: &str) -> Command {
    Command::new(python().with_file_name(name))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// The interpreter of the environment, made first where it is missing.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let environment = target_folder().parent().expect("a target folder").join("test-peers");
        let status = Command::new(folder().join("install")).arg(&environment).status().expect("bash runs");
        assert!(status.success(), "the peers of the tests cannot be installed");
        environment.join("bin/python")
    })
}
