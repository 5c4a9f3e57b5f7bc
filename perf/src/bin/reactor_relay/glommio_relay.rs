//! On glommio's single-threaded executor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use perf::framing::Framing;

use crate::{BUFFER_BYTES, ends_message};

pub(crate) fn run(listener: std::net::TcpListener, backend: SocketAddr) -> io::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
    executor.run(async move {
        // SAFETY: the descriptor is a listening socket that nobody else owns any more.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        loop {
            let client = listener.accept().await?;
            glommio::spawn_local(relay(client, backend)).detach();
        }
    })
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
