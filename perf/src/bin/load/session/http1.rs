//! HTTP/1.1 over TLS: keep-alive, or a connection for each request.

use perf::framing::{self, Framing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Failure;
use super::stream::{Connector, Stream};
use super::tally::{Counted, Tally};
use crate::options::Options;

const READ_BYTES: usize = 16 * 1024;

/// A connection on which one request at a time is asked.
pub(crate) struct Http1 {
    stream: Stream,
    framing: Framing,
    buffer: Box<[u8]>,
}

impl Http1 {
    pub(crate) fn new(stream: Stream, buffer_bytes: usize) -> Self {
        Self { stream, framing: Framing::default(), buffer: vec![0; buffer_bytes].into() }
    }

    /// Gives the bytes of a 2xx answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<u64, Failure> {
        self.stream.write_all(request).await.map_err(told)?;
        self.stream.flush().await.map_err(told)?;
        let (mut status, mut received_bytes) = (0, 0);
        loop {
            let count = self.stream.read(&mut self.buffer).await.map_err(told)?;
            if count == 0 {
                return Err("closed".to_owned());
            }
            received_bytes += count as u64;
            let fed = self
                .framing
                .feed(&self.buffer[..count], |head| status = framing::status(head).unwrap_or(0))
                .map_err(|malformed| malformed.to_string())?;
            if fed.used < count {
                return Err("bytes after the answer".to_owned());
            }
            if fed.is_complete {
                break;
            }
        }
        if (200..300).contains(&status) { Ok(received_bytes) } else { Err(format!("status {status}")) }
    }

    /// Waits for the server's end of the connection, which it has announced.
    async fn wait_for_end(&mut self) -> Result<(), Failure> {
        match self.stream.read(&mut self.buffer).await {
            Ok(0) => Ok(()),
            Ok(_) => Err("bytes after the answer".to_owned()),
            // Without `close_notify` an end is suspect, but a whole answer has come before it.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }
}

fn told(error: std::io::Error) -> Failure {
    error.kind().to_string()
}

pub(crate) async fn keep_asking(options: &Options, stream: Stream, tally: &Tally) -> Result<(), Counted> {
    let requests = options.requests();
    let mut connection = Http1::new(stream, READ_BYTES);
    for request in requests.iter().cycle() {
        if !tally.goes_on() {
            break;
        }
        tally.exchange(connection.ask(request)).await?;
    }
    Ok(())
}

/// A connection for one request, from the first packet to the server's end of it.
pub(crate) async fn ask_once(options: &Options, connector: &Connector, must_resume: bool) -> Result<u64, Failure> {
    let stream = connector.open().await?;
    if must_resume && !stream.is_resumed() {
        return Err("not resumed".to_owned());
    }
    let mut connection = Http1::new(stream, READ_BYTES);
    let received_bytes = connection.ask(&options.requests()[0]).await?;
    connection.wait_for_end().await?;
    Ok(received_bytes)
}
