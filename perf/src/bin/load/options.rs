//! What to send, how fast and for how long.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// HTTP/1.1 load over keep-alive connections.
#[derive(Parser)]
pub(crate) struct Options {
    /// Address to send to.
    #[arg(long)]
    pub(crate) target: SocketAddr,
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
    /// The requests to send, ready to go out.
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        let headers: String = self.headers.iter().map(|header| format!("{header}\r\n")).collect();
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
    fn headers_are_sent_as_given() {
        let options = Options::parse_from(["load", "--target", "127.0.0.1:1", "-H", "X-API-Key: k", "-H", "A: b"]);
        assert!(options.requests()[0].ends_with(b"\r\nX-API-Key: k\r\nA: b\r\n\r\n"));
    }
}
