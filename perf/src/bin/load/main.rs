//! The load generator: a number of keep-alive connections on one thread, which send as fast as the answers come
//! (closed loop) or at a fixed rate (open loop, latency measured from the moment a request was due), or stay idle.
//! HTTP/1.1 is spoken on the raw ring (`drive`), TLS, HTTP/2, gRPC and WebSocket on tokio (`session`).
//!
//! It counts every failure, reads the CPU clocks of the processes it is told to watch at the first and last instant
//! of the measured time, and prints one JSON object.

mod clocks;
mod connection;
mod drive;
mod idle;
mod options;
mod outcome;
mod session;

use std::io;

use clap::Parser;
use options::Options;

fn main() -> io::Result<()> {
    let options = Options::parse();
    perf::tcp::raise_descriptor_limit()?;
    use_fine_timers();
    if let Some(conflict) = options.conflict() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, conflict));
    }
    let outcome = match (options.is_plain_http1(), options.idle) {
        (true, Some(connections)) => return idle::hold(&options, connections),
        (false, Some(connections)) => return session::hold(options, connections),
        (true, None) => drive::Drive::new(&options)?.run()?,
        (false, None) => session::run(options)?,
    };
    println!("{}", outcome.to_json());
    Ok(())
}

/// Lets timed waits end when they are due, not up to 50 microseconds later.
fn use_fine_timers() {
    // SAFETY: the call takes integers only; if it fails, timers stay coarse and latencies read higher.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}
