//! The backend of gRPC and WebSocket, both on one port: HTTP/2 without TLS is known by its first bytes.
//!
//! A gRPC method whose name is `Stream` answers with as many messages as its request orders, any other with the message
//! it got. A WebSocket gets its own messages back.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use bytes::Bytes;
use clap::Parser;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use perf::framing::HEAD_BYTES_MAX;
use perf::grpc::{self, StreamOrder};
use perf::{tcp, websocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// gRPC and WebSocket backend.
#[derive(Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
}

/// How every HTTP/2 connection with prior knowledge begins (RFC 9113 section 3.4).
const PREFACE_START: &[u8] = b"PRI ";
/// Windows that are never what a proxy waits for.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// A proxy may put all its requests on one connection.
const STREAMS_MAX: u32 = 10_000;
/// A gRPC request may take this many bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const STREAM_MESSAGE_BYTES_MAX: u32 = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let options = Options::parse();
    tcp::raise_descriptor_limit()?;
    let listener = tcp::listen(options.listen)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A proxy that ends its connection is not an error worth telling.
            spawn_local(async move { drop(serve(stream).await) });
        }
    })
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut start = [0; PREFACE_START.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        match start[..count] {
            [] => return Ok(()),
            _ if start == PREFACE_START => return serve_grpc(stream).await.map_err(io::Error::other),
            _ if !PREFACE_START.starts_with(&start[..count]) => return serve_websocket(stream).await,
            _ => tokio::task::yield_now().await,
        }
    }
}

async fn serve_grpc(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .handshake(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        // A call that its client resets ends alone.
        spawn_local(async move { drop(answer(request, respond).await) });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let is_stream = request.uri().path().ends_with("/Stream");
    let message = read(request.into_body()).await?;
    let response = Response::builder().header(http::header::CONTENT_TYPE, grpc::CONTENT_TYPE).body(());
    let mut body = respond.send_response(response.expect("the head is constant and valid"), false)?;
    if !is_stream {
        body.send_data(message, false)?;
    } else if let Some(order) = StreamOrder::decode(&message) {
        send_messages(&mut body, order).await?;
    } else {
        body.send_reset(Reason::PROTOCOL_ERROR);
        return Ok(());
    }
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(grpc::STATUS, HeaderValue::from_static("0"));
    body.send_trailers(trailers)
}

async fn read(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if whole.len() + chunk.len() > REQUEST_BYTES_MAX {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        whole = if whole.is_empty() { chunk } else { [whole, chunk].concat().into() };
    }
    body.trailers().await?;
    Ok(whole)
}

async fn send_messages(body: &mut SendStream<Bytes>, order: StreamOrder) -> Result<(), h2::Error> {
    let payload = vec![b'x'; order.message_bytes.min(STREAM_MESSAGE_BYTES_MAX) as usize];
    let message = Bytes::from(grpc::message(&payload));
    for _ in 0..order.messages {
        body.reserve_capacity(message.len());
        while body.capacity() < message.len() {
            poll_fn(|context| body.poll_capacity(context)).await.unwrap_or(Err(Reason::CANCEL.into()))?;
        }
        body.send_data(message.clone(), false)?;
    }
    Ok(())
}

async fn serve_websocket(mut stream: TcpStream) -> io::Result<()> {
    let mut received = Vec::with_capacity(READ_BYTES);
    let head_end = loop {
        if stream.read_buf(&mut received).await? == 0 || received.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        if let Some(at) = memchr::memmem::find(&received, b"\r\n\r\n") {
            break at + 4;
        }
    };
    let Some(key) = websocket::header(&received[..head_end], "Sec-WebSocket-Key") else {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    };
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        websocket::accept(key)
    );
    stream.write_all(head.as_bytes()).await?;
    received.drain(..head_end);
    let mut out = Vec::with_capacity(READ_BYTES);
    loop {
        let goes_on = echo(&mut received, &mut out)?;
        stream.write_all(&out).await?;
        out.clear();
        if goes_on.is_break() || stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Answers every whole frame and takes it out of `received`; breaks after a close.
fn echo(received: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<ControlFlow<()>> {
    let mut used = 0;
    let mut goes_on = ControlFlow::Continue(());
    while let Some(frame) = websocket::Frame::find(&received[used..]).map_err(io::Error::other)? {
        let payload = used + frame.payload.start..used + frame.payload.end;
        used = payload.end;
        if let Some(mask) = frame.mask {
            websocket::apply_mask(&mut received[payload.clone()], mask);
        }
        let opcode = if frame.opcode == websocket::PING { websocket::PONG } else { frame.opcode };
        websocket::push_frame(out, opcode, None, &received[payload]);
        if opcode == websocket::CLOSE {
            goes_on = ControlFlow::Break(());
            break;
        }
    }
    received.drain(..used);
    Ok(goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_without_their_mask_and_the_beginning_of_one_is_kept() {
        let (mut received, mut out, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for payload in [b"one", b"two"] {
            websocket::push_frame(&mut received, websocket::BINARY, Some([9, 8, 7, 6]), payload);
            websocket::push_frame(&mut expected, websocket::BINARY, None, payload);
        }
        received.push(0x82);
        assert!(echo(&mut received, &mut out).unwrap().is_continue());
        assert_eq!((out, received), (expected, vec![0x82]));
    }

    #[test]
    fn a_close_is_answered_and_ends_the_connection() {
        let (mut received, mut out) = (Vec::new(), Vec::new());
        websocket::push_frame(&mut received, websocket::CLOSE, Some([1; 4]), &[3, 232]);
        assert!(echo(&mut received, &mut out).unwrap().is_break());
        assert_eq!(out, [0x88, 2, 3, 232]);
    }
}
