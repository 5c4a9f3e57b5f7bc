//! HTTP/2: requests, gRPC calls and gRPC calls with many answers, several at a time on each connection.

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
pub(crate) struct Http2 {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) frames: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn open(stream: Stream) -> Result<Self, Failure> {
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

/// A request, ready to be sent again and again.
pub(crate) struct Call {
    request: Request<()>,
    body: Option<Bytes>,
    protocol: Protocol,
}

impl Call {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let scheme = if options.tls { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{}{}", options.target, options.path).parse().map_err(invalid)?;
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        for line in &options.headers {
            let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
            let name: HeaderName = name.trim().parse().map_err(invalid)?;
            request.headers_mut().insert(name, value.trim().parse().map_err(invalid)?);
        }
        let body = match options.protocol {
            Protocol::Grpc => Some(grpc::message(&UNARY_MESSAGE).into()),
            Protocol::GrpcStream => Some(STREAM_ORDER.encode().into()),
            Protocol::Http1 | Protocol::Http2 | Protocol::Websocket => None,
        };
        if body.is_some() {
            *request.method_mut() = Method::POST;
            let headers = request.headers_mut();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
            headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        Ok(Self { request, body, protocol: options.protocol })
    }

    /// Sends the request and takes the answer; gives its bytes. Messages of a stream are counted as they come.
    pub(crate) async fn ask(&self, sender: &mut SendRequest<Bytes>, tally: &Tally) -> Result<u64, Failure> {
        let (status, mut body) = self.send(sender).await?.await.map_err(told)?.into_parts();
        if !status.status.is_success() {
            return Err(format!("status {}", status.status.as_u16()));
        }
        let mut received_bytes = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(told)?;
            body.flow_control().release_capacity(chunk.len()).map_err(told)?;
            if self.protocol == Protocol::GrpcStream {
                let messages = stream_messages(received_bytes + chunk.len() as u64) - stream_messages(received_bytes);
                tally.add(messages, chunk.len() as u64);
            }
            received_bytes += chunk.len() as u64;
        }
        match self.protocol {
            Protocol::Grpc => self.check(received_bytes, self.body.as_ref().map_or(0, Bytes::len) as u64)?,
            Protocol::GrpcStream => {
                self.check(stream_messages(received_bytes), u64::from(STREAM_ORDER.messages))?;
            }
            Protocol::Http1 | Protocol::Http2 | Protocol::Websocket => return Ok(received_bytes),
        }
        has_succeeded(&status.headers, &mut body).await?;
        Ok(received_bytes)
    }

    async fn send(&self, sender: &mut SendRequest<Bytes>) -> Result<ResponseFuture, Failure> {
        poll_fn(|context| sender.poll_ready(context)).await.map_err(told)?;
        let (response, mut stream) = sender.send_request(self.request.clone(), self.body.is_none()).map_err(told)?;
        if let Some(body) = &self.body {
            stream.send_data(body.clone(), true).map_err(told)?;
        }
        Ok(response)
    }

    fn check(&self, found: u64, expected: u64) -> Result<(), Failure> {
        if found == expected { Ok(()) } else { Err(format!("{found} where {expected} were due")) }
    }
}

/// Whole messages in so many bytes of a stream.
fn stream_messages(bytes: u64) -> u64 {
    bytes / (grpc::PREFIX_BYTES as u64 + u64::from(STREAM_ORDER.message_bytes))
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
pub(crate) async fn keep_asking(options: &Options, stream: Stream, tally: &Rc<Tally>) -> Result<(), Counted> {
    let call = Rc::new(Call::new(options).map_err(|failure| tally.fail(failure))?);
    let connection = Http2::open(stream).await.map_err(|failure| tally.fail(failure))?;
    let is_broken = Rc::new(Cell::new(false));
    let streams: Vec<_> = (0..options.streams)
        .map(|_| {
            let (call, tally, is_broken) = (Rc::clone(&call), Rc::clone(tally), Rc::clone(&is_broken));
            let mut sender = connection.sender.clone();
            spawn_local(async move {
                while tally.goes_on() && !is_broken.get() {
                    if ask(&call, &mut sender, &tally).await.is_err() {
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

async fn ask(call: &Call, sender: &mut SendRequest<Bytes>, tally: &Tally) -> Result<(), Counted> {
    if call.protocol == Protocol::GrpcStream {
        return tally.follow(call.ask(sender, tally)).await.map(drop);
    }
    tally.exchange(call.ask(sender, tally)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_has_not_come_in_whole_is_not_counted() {
        let whole = grpc::message(&[0; STREAM_ORDER.message_bytes as usize]).len() as u64;
        assert_eq!(stream_messages(whole - 1), 0);
        assert_eq!(stream_messages(2 * whole), 2);
    }
}
