//! The relays of the reactor bake-off: the floor relay's work on monoio, tokio and glommio, one thread each.
//!
//! Every client connection has a backend connection of its own; bytes are forwarded from the buffer they came in.

mod glommio_relay;
mod monoio_relay;
mod tokio_relay;

use std::io;
use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use perf::framing::Framing;

/// Bytes one read may take.
const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, ValueEnum)]
enum Reactor {
    Monoio,
    Tokio,
    Glommio,
}

/// Bare HTTP/1.1 relay on one of three reactors.
#[derive(Parser)]
struct Options {
    /// The reactor to run on.
    #[arg(long)]
    reactor: Reactor,
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the backend.
    #[arg(long)]
    backend: SocketAddr,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    perf::tcp::raise_descriptor_limit()?;
    let listener = perf::tcp::listen(options.listen)?;
    listener.set_nonblocking(true)?;
    match options.reactor {
        Reactor::Monoio => monoio_relay::run(listener, options.backend),
        Reactor::Tokio => tokio_relay::run(listener, options.backend),
        Reactor::Glommio => glommio_relay::run(listener, options.backend),
    }
}

/// Whether the message ends with these bytes; anything but one message at a time is an error.
fn ends_message(framing: &mut Framing, bytes: &[u8]) -> io::Result<bool> {
    let fed = framing.feed(bytes, |_| ()).map_err(io::Error::other)?;
    if fed.used < bytes.len() { Err(io::Error::other("pipelining")) } else { Ok(fed.is_complete) }
}
