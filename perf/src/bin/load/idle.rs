//! Idle connections: opened, asked once, held.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use perf::framing::{self, Framing};
use perf::tcp;
use serde_json::json;
use socket2::SockRef;

use crate::options::Options;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the connections, prints `{"ready": true, …}`, holds until stdin ends, then prints how many were still open.
pub(crate) fn hold(options: &Options, connections: u32) -> io::Result<()> {
    let requests = options.requests();
    let began = Instant::now();
    let mut held = Vec::new();
    let mut failed = 0u32;
    for number in 0..connections {
        match ask(options, &requests[number as usize % requests.len()]) {
            Ok(stream) => held.push(stream),
            Err(_) => failed += 1,
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    say_ready(held.len(), failed, seconds);
    wait_for_stdin(Duration::from_secs_f64(options.hold));
    let open = held.iter().filter(|stream| is_open(stream)).count();
    say_released(open, failed);
    Ok(())
}

/// The line printed when all connections are open.
pub(crate) fn say_ready(open: usize, failed: u32, seconds: f64) {
    println!("{}", json!({"ready": true, "open": open, "failed": failed, "seconds": seconds}));
}

/// The line printed when they are let go: how many were still open.
pub(crate) fn say_released(open: usize, failed: u32) {
    println!("{}", json!({"ready": false, "open": open, "failed": failed}));
}

/// One connection that has had one 2xx answer.
fn ask(options: &Options, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = tcp::connect(options.target)?;
    // Ten thousand sockets in TIME_WAIT would be in the way of the next run.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request)?;
    let mut framing = Framing::default();
    let mut status = 0;
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fed = framing
            .feed(&buffer[..count], |head| status = framing::status(head).unwrap_or(0))
            .map_err(io::Error::other)?;
        if fed.is_complete {
            break;
        }
    }
    if (200..300).contains(&status) { Ok(stream) } else { Err(io::Error::other(format!("status {status}"))) }
}

/// Returns when stdin ends, or after `at_most`.
pub(crate) fn wait_for_stdin(at_most: Duration) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while io::stdin().lock().read_line(&mut line).is_ok_and(|count| count > 0) {
            line.clear();
        }
        // The receiver may have given up waiting.
        let _ = sender.send(());
    });
    let _ = receiver.recv_timeout(at_most);
}

fn is_open(stream: &TcpStream) -> bool {
    let mut byte = 0u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is one byte and the length says so.
    let count = unsafe { libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    count < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}
