//! HTTP/2: one request, on as many streams at a time as it is asked for. One task a connection, so that all that has
//! come in is answered with one write.

use std::time::Instant;

use perf::http2::{Connection, Event, RequestBlocks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Failure;
use super::stream::Stream;
use super::tally::{Counted, Tally};
use crate::options::Options;

const READ_BYTES: usize = 64 * 1024;

/// What a connection knows of its requests.
#[derive(Default)]
struct Requests {
    /// Streams that wait for their answers, and since when.
    due: Vec<(u32, Instant)>,
    /// The first failure: nothing more is sent, and the connection ends with the answers it waits for.
    failed: Option<Counted>,
}

impl Requests {
    fn send(&mut self, connection: &mut Connection, out: &mut Vec<u8>, tally: &Tally) {
        match connection.request(out) {
            Some(stream) => self.due.push((stream, tally.begin())),
            None => self.failed = Some(tally.fail("no stream left".to_owned())),
        }
    }

    fn ended(&mut self, stream: u32, answer: Result<u64, Failure>, tally: &Tally) {
        let Some(position) = self.due.iter().position(|(waiting, _)| *waiting == stream) else { return };
        let (_, due) = self.due.swap_remove(position);
        match tally.end(due, answer) {
            Ok(received_bytes) => tally.add(1, received_bytes),
            Err(counted) => self.failed = Some(counted),
        }
    }

    fn lost(&mut self, why: &Failure, tally: &Tally) -> Counted {
        let mut last = None;
        for (_, due) in self.due.drain(..) {
            last = tally.end::<()>(due, Err(why.clone())).err();
        }
        last.unwrap_or_else(|| tally.fail(why.clone()))
    }
}

/// Keeps `--streams` requests on their way.
pub(crate) async fn keep_asking(options: &Options, stream: Stream, tally: &Tally) -> Result<(), Counted> {
    let mut requests = Requests::default();
    let outcome = exchange(options, stream, tally, &mut requests).await;
    outcome.map_err(|why| requests.lost(&why, tally))?;
    requests.failed.map_or(Ok(()), Err)
}

async fn exchange(
    options: &Options,
    mut stream: Stream,
    tally: &Tally,
    requests: &mut Requests,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    let mut received = Vec::with_capacity(READ_BYTES);
    let mut connection = Connection::begin(request(options)?, &mut out);
    let mut is_ready = false;
    loop {
        write(&mut stream, &mut out).await?;
        if is_ready && requests.due.is_empty() {
            return Ok(());
        }
        read(&mut stream, &mut received).await?;
        let used = connection.receive(&received, &mut out, |connection, out, event| match event {
            Event::Ready { streams_max } if streams_max < options.streams => {
                requests.failed = Some(tally.fail(format!("{streams_max} streams allowed")));
                is_ready = true;
            }
            Event::Ready { .. } => {
                is_ready = true;
                for _ in 0..options.streams {
                    requests.send(connection, out, tally);
                }
            }
            Event::Answer { stream, status, body_bytes } => {
                requests.ended(stream, success(status, body_bytes), tally);
                if tally.goes_on() && requests.failed.is_none() {
                    requests.send(connection, out, tally);
                }
            }
            Event::Reset { stream } => requests.ended(stream, Err("reset".to_owned()), tally),
        });
        received.drain(..used.map_err(|malformed| malformed.to_string())?);
    }
}

/// One request and its answer; the connection is handed back.
pub(crate) async fn ask_once(options: &Options, mut stream: Stream) -> Result<Stream, Failure> {
    let (mut out, mut received) = (Vec::new(), Vec::new());
    let mut connection = Connection::begin(request(options)?, &mut out);
    let mut answer = None;
    while answer.is_none() {
        write(&mut stream, &mut out).await?;
        read(&mut stream, &mut received).await?;
        let used = connection.receive(&received, &mut out, |connection, out, event| match event {
            Event::Ready { .. } => {
                connection.request(out);
            }
            Event::Answer { status, body_bytes, .. } => answer = Some(success(status, body_bytes)),
            Event::Reset { .. } => answer = Some(Err("reset".to_owned())),
        });
        received.drain(..used.map_err(|malformed| malformed.to_string())?);
    }
    write(&mut stream, &mut out).await?;
    answer.unwrap_or(Ok(0)).map(|_| stream)
}

fn request(options: &Options) -> Result<RequestBlocks, Failure> {
    let fields = options.headers.iter().map(|line| {
        let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
        Ok((name.trim().to_lowercase(), value.trim().to_owned()))
    });
    let fields = fields.collect::<Result<Vec<_>, Failure>>()?;
    Ok(RequestBlocks::get(options.tls, &options.target.to_string(), &options.path, &fields))
}

fn success(status: u16, body_bytes: u64) -> Result<u64, Failure> {
    match status {
        200..300 => Ok(body_bytes),
        0 => Err("status not 2xx".to_owned()),
        _ => Err(format!("status {status}")),
    }
}

async fn write(stream: &mut Stream, out: &mut Vec<u8>) -> Result<(), Failure> {
    if !out.is_empty() {
        stream.write_all(out).await.map_err(told)?;
        stream.flush().await.map_err(told)?;
        out.clear();
    }
    Ok(())
}

async fn read(stream: &mut Stream, received: &mut Vec<u8>) -> Result<(), Failure> {
    match stream.read_buf(received).await {
        Ok(0) => Err("closed".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(told(error)),
    }
}

fn told(error: std::io::Error) -> Failure {
    error.kind().to_string()
}
