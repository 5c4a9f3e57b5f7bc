//! gRPC calls, with one answer or many, several at a time on each connection. Success is in the trailers, so headers
//! have to be decoded: the `h2` crate does.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use perf::grpc::{self, StreamOrder};
use tokio::task::{JoinHandle, spawn_local};

use super::Failure;
use super::stream::Stream;
use super::tally::{Counted, Tally};
use crate::options::{Options, Protocol};

/// Windows that are never what a proxy waits for.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const UNARY_MESSAGE: [u8; 64] = [b'x'; 64];
/// What a streaming call asks for: long enough that its beginning and end do not show in the cost of a message.
const STREAM_ORDER: StreamOrder = StreamOrder { messages: 2000, message_bytes: 1024 };

/// A connection, and the task that moves its frames.
struct Http2 {
    sender: SendRequest<Bytes>,
    frames: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    async fn open(stream: Stream) -> Result<Self, Failure> {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(told)?;
        Ok(Self { sender, frames: spawn_local(connection) })
    }
}

/// A call, ready to be made again and again.
struct Call {
    request: Request<()>,
    message: Bytes,
    is_stream: bool,
}

impl Call {
    fn new(options: &Options) -> Result<Self, Failure> {
        let scheme = if options.tls { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{}{}", options.target, options.path).parse().map_err(invalid)?;
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        for line in &options.headers {
            let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
            let name: HeaderName = name.trim().parse().map_err(invalid)?;
            headers.insert(name, value.trim().parse().map_err(invalid)?);
        }
        let is_stream = options.protocol == Protocol::GrpcStream;
        let message = if is_stream { STREAM_ORDER.encode() } else { grpc::message(&UNARY_MESSAGE) };
        Ok(Self { request, message: message.into(), is_stream })
    }

    /// Makes the call. Each message counts as it comes in.
    async fn make(&self, sender: &mut SendRequest<Bytes>, tally: &Tally) -> Result<(), Failure> {
        let (head, mut body) = self.send(sender).await?.await.map_err(told)?.into_parts();
        if !head.status.is_success() {
            return Err(format!("status {}", head.status.as_u16()));
        }
        let mut received_bytes = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(told)?;
            body.flow_control().release_capacity(chunk.len()).map_err(told)?;
            if self.is_stream {
                let messages = stream_messages(received_bytes + chunk.len()) - stream_messages(received_bytes);
                tally.add(messages as u64, chunk.len() as u64);
            }
            received_bytes += chunk.len();
        }
        has_succeeded(&head.headers, &mut body).await?;
        if self.is_stream {
            return expect(stream_messages(received_bytes), STREAM_ORDER.messages as usize);
        }
        expect(received_bytes, self.message.len())?;
        tally.add(1, received_bytes as u64);
        Ok(())
    }

    async fn send(&self, sender: &mut SendRequest<Bytes>) -> Result<ResponseFuture, Failure> {
        poll_fn(|context| sender.poll_ready(context)).await.map_err(told)?;
        let (response, mut stream) = sender.send_request(self.request.clone(), false).map_err(told)?;
        stream.send_data(self.message.clone(), true).map_err(told)?;
        Ok(response)
    }
}

/// Whether as many bytes or messages have come as the call is answered with.
fn expect(found: usize, due: usize) -> Result<(), Failure> {
    if found == due { Ok(()) } else { Err(format!("{found} of {due} received")) }
}

/// Whole messages in so many bytes of a stream.
fn stream_messages(bytes: usize) -> usize {
    bytes / (grpc::PREFIX_BYTES + STREAM_ORDER.message_bytes as usize)
}

/// Whether the trailers, or the head of an answer that is nothing else, say `grpc-status: 0`.
async fn has_succeeded(head: &HeaderMap, body: &mut RecvStream) -> Result<(), Failure> {
    let trailers = body.trailers().await.map_err(told)?;
    let status = trailers.as_ref().unwrap_or(head).get(grpc::STATUS).map(HeaderValue::as_bytes);
    match status {
        Some(b"0") => Ok(()),
        Some(status) => Err(format!("grpc-status {}", String::from_utf8_lossy(status))),
        None => Err("no grpc-status".to_owned()),
    }
}

fn told(error: h2::Error) -> Failure {
    error.to_string()
}

fn invalid(error: impl std::fmt::Display) -> Failure {
    format!("request: {error}")
}

/// Keeps the connection's streams busy. After a failure on one of them the others end with the answer they wait for.
pub(crate) async fn keep_calling(options: &Options, stream: Stream, tally: &Rc<Tally>) -> Result<(), Counted> {
    let call = Rc::new(Call::new(options).map_err(|failure| tally.fail(failure))?);
    let connection = Http2::open(stream).await.map_err(|failure| tally.fail(failure))?;
    let is_broken = Rc::new(Cell::new(false));
    let streams: Vec<_> = (0..options.streams)
        .map(|_| {
            let (call, tally, is_broken) = (Rc::clone(&call), Rc::clone(tally), Rc::clone(&is_broken));
            let mut sender = connection.sender.clone();
            spawn_local(async move {
                while tally.goes_on() && !is_broken.get() {
                    let due = tally.begin();
                    let outcome = call.make(&mut sender, &tally).await;
                    if tally.end(due, outcome).is_err() {
                        is_broken.set(true);
                    }
                }
            })
        })
        .collect();
    for stream in streams {
        // A task of this program that panics has ended the program's use already.
        stream.await.expect("a stream's task does not panic");
    }
    connection.frames.abort();
    if is_broken.get() { Err(Counted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_has_not_come_in_whole_is_not_counted() {
        let whole = grpc::message(&[0; STREAM_ORDER.message_bytes as usize]).len();
        assert_eq!(stream_messages(whole - 1), 0);
        assert_eq!(stream_messages(2 * whole), 2);
    }
}
