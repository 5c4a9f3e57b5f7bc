//! A Redis server of one test, as Debian ships it, and its own client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::certificates::{Authority, Identity};
use crate::ports::PortLease;
use crate::wait::eventually;

/// Listens on this host alone, keeps nothing on disk, and ends with its test.
pub struct Redis {
    port: PortLease,
    folder: PathBuf,
    arguments: Vec<String>,
    /// What its client needs to get in.
    credentials: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        Self::started(&[], &[], false)
    }

    /// Nobody gets in without this password.
    pub fn with_password(password: &str) -> Self {
        Self::started(&["--requirepass", password], &["-a", password], false)
    }

    /// Speaks TLS only, for the names in the certificate.
    pub fn secured(authority: &Authority, identity: &Identity) -> Self {
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let (certificate, key, bundle) = (path(&identity.certificate), path(&identity.key), path(&authority.bundle()));
        let own = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &bundle];
        Self::started(&[&own[..], &["--tls-auth-clients", "no"]].concat(), &["--tls", "--insecure"], true)
    }

    fn started(arguments: &[&str], credentials: &[&str], is_tls: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ferrum-edge-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for Redis");
        let port = PortLease::take();
        let number = port.number().to_string();
        let listen = if is_tls { vec!["--port", "0", "--tls-port", &number] } else { vec!["--port", &number] };
        let quiet = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let arguments = owned(&[&listen[..], &quiet[..], arguments].concat());
        let mut redis = Self { port, folder, arguments, credentials: owned(credentials), child: None };
        redis.start_again();
        redis
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `redis://` on this host.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// After [`stop`](Self::stop): empty, on the same port.
    pub fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(&self.arguments).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn();
        self.child = Some(
            child.unwrap_or_else(|error| panic!("redis-server is needed ({error}): apt-get install redis-server")),
        );
        eventually("Redis answers", || (self.try_ask(&["PING"])? == "PONG").then_some(()));
    }

    /// Ends the server at once; what it knew is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// The server takes connections and says nothing.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, number: i32) {
        let child = self.child.as_ref().expect("a running Redis");
        let pid = libc::pid_t::try_from(child.id()).expect("a pid");
        // SAFETY: kill takes two integers; the child was not reaped, so the pid is still its own.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(pid, number) };
        assert_eq!(result, 0, "the signal could not be sent");
    }

    /// What `redis-cli` prints for this command.
    #[track_caller]
    pub fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).unwrap_or_else(|| panic!("redis-cli failed at {command:?}"))
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "--no-auth-warning"]).args(&self.credentials);
        let output = client.args(command).stdin(Stdio::null()).output();
        let output =
            output.unwrap_or_else(|error| panic!("redis-cli is needed ({error}): apt-get install redis-tools"));
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        output.status.success().then_some(text)
    }

    /// All keys, in order.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.retain(|key| !key.is_empty());
        keys.sort();
        keys
    }

    /// Connections of others than its own client.
    #[track_caller]
    pub fn connections(&self) -> usize {
        self.ask(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains("cmd=client")).count()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
