//! The load generator: a number of keep-alive connections on one thread, which send as fast as the answers come
//! (closed loop) or at a fixed rate (open loop, latency measured from the moment a request was due), or stay idle.
//!
//! It counts every failure, reads the CPU clocks of the processes it is told to watch at the first and last instant
//! of the measured time, and prints one JSON object.

mod connection;
mod drive;
mod idle;
mod options;
mod outcome;

use std::io;

use clap::Parser;
use options::Options;

fn main() -> io::Result<()> {
    let options = Options::parse();
    perf::tcp::raise_descriptor_limit()?;
    use_fine_timers();
    match options.idle {
        Some(connections) => idle::hold(&options, connections),
        None => {
            let outcome = drive::Drive::new(&options)?.run()?;
            println!("{}", outcome.to_json());
            Ok(())
        }
    }
}

/// Lets timed waits end when they are due, not up to 50 microseconds later.
fn use_fine_timers() {
    // SAFETY: the call takes integers only; if it fails, timers stay coarse and latencies read higher.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}
