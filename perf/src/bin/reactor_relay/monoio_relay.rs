//! On monoio's io_uring driver with single-issuer and deferred task work.

use std::io;
use std::net::SocketAddr;

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use perf::framing::Framing;

use crate::{BUFFER_BYTES, ends_message};

const RING_ENTRIES: u32 = 1024;

pub(crate) fn run(listener: std::net::TcpListener, backend: SocketAddr) -> io::Result<()> {
    let mut ring = io_uring_06::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(ring)
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            monoio::spawn(relay(client, backend));
        }
    })
}

async fn relay(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = TcpStream::connect_addr(backend).await?;
    upstream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let (mut request, mut response) = (Framing::default(), Framing::default());
    loop {
        buffer = forward(&mut client, &mut upstream, &mut request, buffer).await?;
        buffer = forward(&mut upstream, &mut client, &mut response, buffer).await?;
    }
}

/// Moves one message and gives the buffer back.
async fn forward(
    from: &mut TcpStream,
    to: &mut TcpStream,
    framing: &mut Framing,
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    loop {
        let outcome;
        (outcome, buffer) = read(from, buffer).await;
        let count = outcome?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let ends = ends_message(framing, &buffer[..count])?;
        let outcome;
        (outcome, buffer) = to.write_all(buffer).await;
        outcome?;
        if ends {
            return Ok(buffer);
        }
    }
}

async fn read(from: &mut TcpStream, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
    buffer.clear();
    debug_assert!(buffer.bytes_total() >= BUFFER_BYTES);
    from.read(buffer).await
}
