//! A small HTTP server on the loopback address, for what plugins send outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `POST /path HTTP/1.1`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What the server does about a request.
pub(crate) enum Act {
    Answer(u16, Vec<u8>),
    /// These header lines too, each with its CRLF.
    AnswerWith(u16, String, Vec<u8>),
    After(Duration, u16),
    /// Closes the connection instead of answering.
    Hang,
    /// Keeps the connection and never answers.
    Ignore,
}

/// Lives as long as the test's process; its port is its own.
pub(crate) struct Peer {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    /// `act` is told how many requests came before.
    pub fn new(act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, act, accepted) = (seen.clone(), Arc::new(act), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (log, act) = (log.clone(), act.clone());
                std::thread::spawn(move || serve(stream, &log, &*act));
            }
        });
        Self { port, seen, connections }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panicked there").clone()
    }

    /// Waits until so many requests have come.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        eventually(&format!("{count} requests have come"), || Some(self.seen()).filter(|seen| seen.len() >= count))
    }
}

/// Asks until there is a value; gives up after a while.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Seen>>, act: &dyn Fn(usize, &Seen) -> Act) {
    let Ok(mut writing) = stream.try_clone() else { return };
    let mut reading = BufReader::new(stream);
    while let Some(request) = read(&mut reading) {
        let earlier = {
            let mut log = log.lock().expect("no test panicked there");
            log.push(request.clone());
            log.len() - 1
        };
        let (status, lines, body) = match act(earlier, &request) {
            Act::Answer(status, body) => (status, String::new(), body),
            Act::AnswerWith(status, lines, body) => (status, lines, body),
            Act::After(pause, status) => {
                std::thread::sleep(pause);
                (status, String::new(), Vec::new())
            }
            Act::Hang => return,
            Act::Ignore => {
                // Until the other side gives up.
                let _ = reading.read_to_end(&mut Vec::new());
                return;
            }
        };
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{lines}\r\n", body.len());
        if writing.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn read(reading: &mut impl BufRead) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reading.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    let field = |line: String| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(field).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reading.read_exact(&mut body).ok()?;
    Some(Seen { line, headers, body })
}
