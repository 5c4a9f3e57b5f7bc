//! What to send, how fast and for how long.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What is spoken on the connections.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Http1,
    /// With prior knowledge, or by ALPN over TLS.
    Http2,
    /// Unary calls with 64 bytes.
    Grpc,
    /// Calls that are answered with many messages, each of which counts as a request.
    GrpcStream,
    /// An echo of 64 bytes; each message counts as a request.
    Websocket,
}

/// The handshakes of connections that end after one request.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Handshakes {
    /// Without a ticket.
    Full,
    /// With a ticket of an earlier connection; a server that does not take it fails the request.
    Resumed,
}

/// Load over keep-alive connections. A fixed rate, samples and several paths are for HTTP/1.1 without TLS only.
#[derive(Parser)]
pub(crate) struct Options {
    /// Address to send to.
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// What to speak.
    #[arg(long, value_enum, default_value = "http1")]
    pub(crate) protocol: Protocol,
    /// Speak it over TLS 1.3; the server's certificate is not verified.
    #[arg(long)]
    pub(crate) tls: bool,
    /// A new TLS connection for every request (HTTP/1.1 with `Connection: close`).
    #[arg(long, value_enum, requires = "tls")]
    pub(crate) handshakes: Option<Handshakes>,
    /// Requests at a time on each HTTP/2 connection.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) streams: u32,
    /// Request path; `{}` stands for a number below `--paths`.
    #[arg(long, default_value = "/bytes/64")]
    pub(crate) path: String,
    /// How many numbers to put in for `{}`, taken in a scattered order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) paths: u32,
    /// A request header, `Name: value`; may be given several times.
    #[arg(short = 'H', long = "header")]
    pub(crate) headers: Vec<String>,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
    /// Requests a second in total; without it, every connection sends as soon as it has its answer.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Seconds of load before the measured time.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Measured seconds.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) duration: f64,
    /// Processes whose CPU time to read at both ends of the measured time.
    #[arg(long, value_delimiter = ',')]
    pub(crate) watch: Vec<i32>,
    /// File for every sample of the measured time: two little-endian u32, microseconds due and microseconds taken.
    #[arg(long)]
    pub(crate) samples: Option<PathBuf>,
    /// Instead of load: open this many connections, one request each, and hold them until stdin ends.
    #[arg(long)]
    pub(crate) idle: Option<u32>,
    /// Seconds after which idle connections are let go in any case.
    #[arg(long, default_value_t = 120.0)]
    pub(crate) hold: f64,
}

impl Options {
    /// Whether the connections are byte streams that the raw ring alone can serve.
    pub(crate) fn is_plain_http1(&self) -> bool {
        self.protocol == Protocol::Http1 && !self.tls
    }

    /// What cannot be had together, which would otherwise be left out without a word.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        if self.is_plain_http1() {
            return None;
        }
        if self.rate.is_some() || self.samples.is_some() || self.paths > 1 {
            return Some("--rate, --samples and --paths are for HTTP/1.1 without TLS");
        }
        (self.handshakes.is_some() && self.protocol != Protocol::Http1)
            .then_some("--handshakes is for HTTP/1.1 over TLS")
    }

    /// The requests to send, ready to go out.
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        let mut headers: String = self.headers.iter().map(|header| format!("{header}\r\n")).collect();
        if self.handshakes.is_some() {
            headers.push_str("Connection: close\r\n");
        }
        let count = if self.path.contains("{}") { self.paths } else { 1 };
        let scatter = scatter_step(count);
        (0..count)
            .map(|position| {
                let number = (u64::from(position) * scatter) % u64::from(count);
                let path = self.path.replace("{}", &number.to_string());
                format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.target).into_bytes()
            })
            .collect()
    }
}

/// A step that visits every number below `count` once before it repeats, far from the last one each time.
fn scatter_step(count: u32) -> u64 {
    let count = u64::from(count);
    let golden = (count as f64 * 0.618) as u64;
    (golden.max(1)..=count).find(|step| greatest_common_divisor(*step, count) == 1).unwrap_or(1)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_requested_once_a_round() {
        let options = Options::parse_from(["load", "--target", "127.0.0.1:1", "--path", "/r{}/x", "--paths", "1000"]);
        let mut requests = options.requests();
        requests.sort();
        requests.dedup();
        assert_eq!(requests.len(), 1000);
        assert!(requests[0].starts_with(b"GET /r0/x HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
    }

    #[test]
    fn what_a_session_cannot_do_is_refused() {
        let options = |extra: &[&str]| Options::parse_from([&["load", "--target", "127.0.0.1:1"], extra].concat());
        assert_eq!(options(&["--rate", "5"]).conflict(), None);
        assert_eq!(options(&["--protocol", "http2", "--tls"]).conflict(), None);
        assert!(options(&["--protocol", "http2", "--rate", "5"]).conflict().is_some());
        assert!(options(&["--protocol", "grpc", "--tls", "--handshakes", "full"]).conflict().is_some());
    }

    #[test]
    fn headers_are_sent_as_given() {
        let options = Options::parse_from(["load", "--target", "127.0.0.1:1", "-H", "X-API-Key: k", "-H", "A: b"]);
        assert!(options.requests()[0].ends_with(b"\r\nX-API-Key: k\r\nA: b\r\n\r\n"));
    }
}
