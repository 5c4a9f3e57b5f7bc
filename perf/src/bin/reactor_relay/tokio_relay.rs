//! On tokio's current-thread runtime: epoll.

use std::io;
use std::net::SocketAddr;

use perf::framing::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{BUFFER_BYTES, ends_message};

pub(crate) fn run(listener: std::net::TcpListener, backend: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::task::spawn_local(relay(client, backend));
        }
    }))
}

async fn relay(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(backend).await?;
    upstream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut request, mut response) = (Framing::default(), Framing::default());
    loop {
        forward(&mut client, &mut upstream, &mut request, &mut buffer).await?;
        forward(&mut upstream, &mut client, &mut response, &mut buffer).await?;
    }
}

/// Moves one message.
async fn forward(from: &mut TcpStream, to: &mut TcpStream, framing: &mut Framing, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let count = from.read(buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let ends = ends_message(framing, &buffer[..count])?;
        to.write_all(&buffer[..count]).await?;
        if ends {
            return Ok(());
        }
    }
}
