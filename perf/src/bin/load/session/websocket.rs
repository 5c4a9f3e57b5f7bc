//! WebSocket: an echo of small binary messages, one on its way at a time.

use perf::framing::HEAD_BYTES_MAX;
use perf::websocket::{self, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Failure;
use super::stream::Stream;
use super::tally::{Counted, Tally};
use crate::options::Options;

const MESSAGE: [u8; 64] = [b'x'; 64];
/// Any will do: the mask protects intermediaries from pages that choose what is on the wire.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];
const READ_BYTES: usize = 4096;

pub(crate) async fn keep_echoing(options: &Options, mut stream: Stream, tally: &Tally) -> Result<(), Counted> {
    upgrade(options, &mut stream).await.map_err(|failure| tally.fail(failure))?;
    let mut frame = Vec::new();
    websocket::push_frame(&mut frame, websocket::BINARY, Some(MASK), &MESSAGE);
    let mut received = Vec::with_capacity(READ_BYTES);
    while tally.goes_on() {
        tally.exchange(echo(&mut stream, &frame, &mut received)).await?;
    }
    Ok(())
}

async fn upgrade(options: &Options, stream: &mut Stream) -> Result<(), Failure> {
    let headers: String = options.headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {}\r\n{headers}\r\n",
        options.path,
        options.target,
        websocket::KEY
    );
    stream.write_all(request.as_bytes()).await.map_err(told)?;
    let mut head = Vec::with_capacity(READ_BYTES);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.map_err(told)? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err("upgrade: closed".to_owned());
        }
    }
    match perf::framing::status(&head) {
        Some(101) => {}
        status => return Err(format!("upgrade: status {}", status.unwrap_or(0))),
    }
    if websocket::header(&head, "Sec-WebSocket-Accept") == Some(&websocket::accept(websocket::KEY)) {
        Ok(())
    } else {
        Err("upgrade: wrong Sec-WebSocket-Accept".to_owned())
    }
}

/// Sends one message and takes it back.
async fn echo(stream: &mut Stream, frame: &[u8], received: &mut Vec<u8>) -> Result<u64, Failure> {
    stream.write_all(frame).await.map_err(told)?;
    received.clear();
    loop {
        if stream.read_buf(received).await.map_err(told)? == 0 {
            return Err("closed".to_owned());
        }
        if let Some(answer) = Frame::find(received).map_err(|malformed| malformed.to_string())? {
            let is_same = answer.opcode == websocket::BINARY
                && answer.mask.is_none()
                && answer.payload.end == received.len()
                && received[answer.payload] == MESSAGE;
            return if is_same { Ok(received.len() as u64) } else { Err("not the message sent".to_owned()) };
        }
    }
}

fn told(error: std::io::Error) -> Failure {
    error.kind().to_string()
}
