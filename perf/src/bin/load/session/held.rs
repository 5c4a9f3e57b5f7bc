//! Idle TLS and HTTP/2 connections: opened, asked once, held.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::{LocalSet, spawn_blocking, yield_now};
use tokio::time::timeout;

use super::http1::Http1;
use super::stream::{Connector, Stream};
use super::{CONNECT_TIMEOUT, Failure, http2, runtime};
use crate::idle::{say_ready, say_released, wait_for_stdin};
use crate::options::{Options, Protocol};

/// An answer of 64 bytes fits; ten thousand connections each have one.
const READ_BYTES: usize = 2048;
/// Turns of the runtime in which an end that has come in is noticed.
const SETTLE_TURNS: usize = 16;

/// As `idle::hold`, for the other protocols.
pub(crate) fn hold(options: Options, connections: u32) -> io::Result<()> {
    LocalSet::new().block_on(&runtime()?, async move {
        let connector = Connector::new(&options);
        let began = Instant::now();
        let mut held = Vec::new();
        let mut failed = 0;
        for _ in 0..connections {
            match timeout(CONNECT_TIMEOUT, ask(&options, &connector)).await {
                Ok(Ok(connection)) => held.push(connection),
                Ok(Err(_)) | Err(_) => failed += 1,
            }
        }
        say_ready(held.len(), failed, began.elapsed().as_secs_f64());
        let seconds_max = Duration::from_secs_f64(options.hold);
        spawn_blocking(move || wait_for_stdin(seconds_max)).await?;
        for _ in 0..SETTLE_TURNS {
            yield_now().await;
        }
        let mut open = 0;
        for connection in &mut held {
            open += usize::from(is_open(connection).await);
        }
        say_released(open, failed);
        Ok(())
    })
}

/// One connection that has had one 2xx answer.
async fn ask(options: &Options, connector: &Connector) -> Result<Stream, Failure> {
    let stream = connector.open().await?;
    // Ten thousand sockets in TIME_WAIT would be in the way of the next run.
    SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO)).map_err(|error| error.to_string())?;
    match options.protocol {
        Protocol::Http1 => {
            let mut connection = Http1::new(stream, READ_BYTES);
            connection.ask(&options.requests()[0]).await?;
            Ok(connection.into_stream())
        }
        Protocol::Http2 => http2::ask_once(options, stream).await,
        Protocol::Grpc | Protocol::GrpcStream | Protocol::Websocket => {
            Err("no idle connections of this kind".to_owned())
        }
    }
}

/// Whether the server's end has not come in; what it has sent besides is no answer to anything and is dropped.
async fn is_open(stream: &mut Stream) -> bool {
    let mut bytes = [0; READ_BYTES];
    poll_fn(|context| {
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Ready(true),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(false),
            }
        }
    })
    .await
}
