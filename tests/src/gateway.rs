//! The gateway process under test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::RawClient;
use crate::curl::{CurlResponse, curl};
use crate::document::Document;
use crate::logs::{Lines, access_record_of, message_of};
use crate::ports::PortLease;
use crate::wait::{Finally, PATIENCE, eventually};
use crate::wire::Response;

/// Starts fail for other reasons than a port taken by a stranger; this many tries tell them apart.
const START_TRIES: usize = 3;

#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Hangup,
    Interrupt,
    Kill,
    Terminate,
}

/// How a process ended and all it printed.
#[derive(Debug)]
pub struct Exit {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Exit {
    /// The texts of the log lines on stderr.
    pub fn messages(&self) -> Vec<String> {
        self.stderr.lines().filter_map(message_of).collect()
    }
}

pub struct GatewayBuilder {
    document: String,
    environment: Vec<(String, String)>,
}

impl GatewayBuilder {
    pub fn document(mut self, document: &Document) -> Self {
        self.document = document.to_string();
        self
    }

    /// A document as text, for those that no [`Document`] would write.
    pub fn document_text(mut self, text: &str) -> Self {
        text.clone_into(&mut self.document);
        self
    }

    /// A setting; the last one of a name counts.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// The gateway is up and reports ready.
    #[track_caller]
    pub fn start(self) -> Gateway {
        for attempt in 1.. {
            let mut gateway = self.launch(&["run"]);
            if gateway.wait_until_ready() {
                return gateway;
            }
            let exit = gateway.exit(PATIENCE);
            let port_taken = exit.stderr.contains("in use");
            assert!(port_taken && attempt < START_TRIES, "the gateway did not start: {exit:?}");
        }
        unreachable!("the last attempt returns or panics")
    }

    /// The gateway is expected to give up; its way out.
    #[track_caller]
    pub fn start_failing(self) -> Exit {
        self.launch(&["run"]).exit(PATIENCE)
    }

    /// Starts the process with these arguments and does not wait for anything.
    pub fn launch(&self, arguments: &[&str]) -> Gateway {
        let (proxy, https, admin) = (PortLease::take(), PortLease::take(), PortLease::take());
        let folder = fresh_folder();
        let config = folder.join("resources.yaml");
        std::fs::write(&config, &self.document).expect("the document is written");
        let mut command = bare_command();
        command
            .args(arguments)
            .current_dir(&folder)
            .env("FERRUM_MODE", "file")
            .env("FERRUM_FILE_CONFIG_PATH", &config)
            .env("FERRUM_PROXY_HTTP_PORT", proxy.number().to_string())
            .env("FERRUM_PROXY_HTTPS_PORT", https.number().to_string())
            .env("FERRUM_PROXY_BIND_ADDRESS", "127.0.0.1")
            .env("FERRUM_ADMIN_HTTP_PORT", admin.number().to_string())
            .env("FERRUM_ADMIN_BIND_ADDRESS", "127.0.0.1")
            .env("FERRUM_LOG_LEVEL", "info")
            .env("FERRUM_POOL_WARMUP_ENABLED", "false")
            .env("FERRUM_BACKEND_CAPABILITY_PROBE_ENABLED", "false");
        if let Ok(reactor) = std::env::var("FERRUM_TEST_REACTOR") {
            command.env("FERRUM_REACTOR", reactor);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the gateway's binary starts");
        let stdout = Lines::follow(child.stdout.take().expect("a pipe"));
        let stderr = Lines::follow(child.stderr.take().expect("a pipe"));
        Gateway { child, folder, config, proxy, https, admin, stdout, stderr }
    }
}

pub struct Gateway {
    child: Child,
    folder: PathBuf,
    config: PathBuf,
    proxy: PortLease,
    https: PortLease,
    admin: PortLease,
    stdout: Lines,
    stderr: Lines,
}

impl Gateway {
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder { document: Document::new().to_string(), environment: Vec::new() }
    }

    /// A gateway with default settings that runs this document.
    #[track_caller]
    pub fn running(document: &Document) -> Self {
        Self::builder().document(document).start()
    }

    /// A gateway with default settings that sends every path to this port.
    #[track_caller]
    pub fn in_front_of(port: u16) -> Self {
        Self::running(&Document::all_to(port))
    }

    pub fn port(&self) -> u16 {
        self.proxy.number()
    }

    /// Listens only if the gateway was given a certificate.
    pub fn https_port(&self) -> u16 {
        self.https.number()
    }

    pub fn admin_port(&self) -> u16 {
        self.admin.number()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to the proxy port.
    pub fn raw(&self) -> RawClient {
        RawClient::connect(self.port())
    }

    /// A GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// These bytes on a connection of their own, and the answer.
    #[track_caller]
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.raw();
        client.send(request);
        client.response()
    }

    /// curl against the proxy port.
    pub fn curl(&self, path: &str, arguments: &[&str]) -> CurlResponse {
        let url = format!("http://127.0.0.1:{}{path}", self.port());
        curl(&[arguments, &["--path-as-is", url.as_str()]].concat())
    }

    /// curl against the HTTPS port, under the name of this host.
    pub fn curl_tls(&self, host: &str, path: &str, arguments: &[&str]) -> CurlResponse {
        let port = self.https_port();
        let (url, resolve) = (format!("https://{host}:{port}{path}"), format!("{host}:{port}:127.0.0.1"));
        curl(&[arguments, &["--path-as-is", "--resolve", &resolve, url.as_str()]].concat())
    }

    /// A figure of `/metrics`, added up over the cores.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics", &[]).text();
        let rows = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// A GET on the admin port, with these header lines.
    #[track_caller]
    pub fn admin(&self, path: &str, headers: &[&str]) -> Response {
        let mut client = RawClient::connect(self.admin_port());
        let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{extra}\r\n"));
        client.response()
    }

    /// The text of the first log line (either stream) that `wanted` accepts, waiting for it.
    #[track_caller]
    pub fn wait_for_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        eventually("the awaited log line is printed", || {
            let lines = [self.stdout.so_far(), self.stderr.so_far()].concat();
            lines.iter().filter_map(|line| message_of(line)).find(|text| wanted(text))
        })
    }

    /// All log texts so far, stdout before stderr.
    pub fn log(&self) -> Vec<String> {
        [self.stdout.so_far(), self.stderr.so_far()].concat().iter().filter_map(|line| message_of(line)).collect()
    }

    /// Everything printed so far, as it stood on both streams.
    pub fn output(&self) -> (Vec<String>, Vec<String>) {
        (self.stdout.so_far(), self.stderr.so_far())
    }

    /// The first transaction record `wanted` accepts, waiting for it.
    #[track_caller]
    pub fn wait_for_record(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = self.stdout.find(|line| access_record_of(line).filter(|record| wanted(record)));
        found.unwrap_or_else(|| panic!("no such transaction record in {:?}", self.stdout.so_far()))
    }

    pub fn records(&self) -> Vec<Value> {
        self.stdout.so_far().iter().filter_map(|line| access_record_of(line)).collect()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Hangup => libc::SIGHUP,
            Signal::Interrupt => libc::SIGINT,
            Signal::Kill => libc::SIGKILL,
            Signal::Terminate => libc::SIGTERM,
        };
        let pid = libc::pid_t::try_from(self.pid()).expect("a pid");
        // SAFETY: kill takes two integers; the child was not reaped, so the pid is still its own.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(pid, number) };
        assert_eq!(result, 0, "the signal could not be sent");
    }

    pub fn rewrite_document(&self, document: &Document) {
        self.rewrite_document_text(&document.to_string());
    }

    /// Replaces the file as an editor would: the whole new text appears at once.
    pub fn rewrite_document_text(&self, text: &str) {
        let draft = self.folder.join("draft");
        std::fs::File::create(&draft).and_then(|mut f| f.write_all(text.as_bytes())).expect("a draft");
        std::fs::rename(draft, &self.config).expect("the document is replaced");
    }

    /// Writes the document, sends SIGHUP and waits until this many reloads in all have been reported.
    #[track_caller]
    pub fn reload(&self, document: &Document) {
        let reported = || self.log().iter().filter(|text| *text == "Configuration reloaded successfully").count();
        let before = reported();
        self.rewrite_document(document);
        self.signal(Signal::Hangup);
        eventually("the reload is reported", || (reported() > before).then_some(()));
    }

    /// Resident memory of the process in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }

    /// Runs `work` and gives the most memory the process had while it ran, in bytes.
    pub fn most_memory_during(&self, work: impl FnOnce()) -> u64 {
        let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let _stop = Finally(|| done.store(true, Ordering::SeqCst));
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    most.fetch_max(self.resident_bytes(), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            work();
        });
        most.into_inner()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child's state").is_none()
    }

    /// Waits until the process ended; panics when it still runs after `limit`.
    #[track_caller]
    pub fn exit(&mut self, limit: Duration) -> Exit {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child's state") {
                return Exit { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all() };
            }
            assert!(Instant::now() < deadline, "the gateway still runs after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True when `/health` says ready, false when the process ended before.
    #[track_caller]
    fn wait_until_ready(&mut self) -> bool {
        eventually("the gateway is ready or gave up", || {
            if !self.is_running() {
                return Some(false);
            }
            let mut client = RawClient::try_connect(self.admin_port()).ok()?;
            let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            client.try_send(request).ok()?;
            client.try_response().ok().filter(|response| response.status == 200).map(|_| true)
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let (stdout, stderr) = self.output();
            eprintln!("--- the gateway's stdout\n{}\n--- its stderr\n{}", stdout.join("\n"), stderr.join("\n"));
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Runs the binary with these arguments and settings in an empty folder until it ends.
#[track_caller]
pub fn run_cli(arguments: &[&str], environment: &[(&str, &str)]) -> Exit {
    let folder = fresh_folder();
    let mut command = bare_command();
    command.args(arguments).current_dir(&folder).envs(environment.iter().copied());
    let output = command.output().expect("the gateway's binary starts");
    drop(std::fs::remove_dir_all(&folder));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Exit { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The binary without any setting of the surrounding environment.
fn bare_command() -> Command {
    let mut command = Command::new(binary());
    let inherited = std::env::vars().map(|(name, _)| name);
    for name in inherited.filter(|name| name.starts_with("FERRUM_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `FERRUM_EDGE_BIN`, or the binary of this build, brought up to date first when cargo runs the tests. It has the plugins of the tests.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("FERRUM_EDGE_BIN") {
            return path.into();
        }
        let folder = target_folder();
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--workspace", "--bins", "--features", "control/test-plugins"]);
            build.env("CARGO_TARGET_DIR", folder.parent().expect("a target folder"));
            if folder.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo runs").success(), "the gateway does not build");
        }
        let path = folder.join("ferrum-edge");
        let how = "cargo build --workspace --bins --features control/test-plugins";
        assert!(path.exists(), "{} is missing: {how}", path.display());
        path
    })
}

/// Where cargo puts binaries of the profile these tests were built in.
pub(crate) fn target_folder() -> PathBuf {
    let tests = std::env::current_exe().expect("the path of the running test");
    tests.ancestors().nth(2).expect("tests run from <target>/<profile>/deps").to_owned()
}

fn fresh_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ferrum-edge-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}
