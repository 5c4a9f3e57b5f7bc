//! A connection behind the poll functions that protocol libraries ask for.
//!
//! A read copies out of the core's buffers, and an idle connection holds none. A write goes to the kernel at once; only what the
//! kernel does not take is copied, and nothing more is taken before that has gone.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{SEALED_BYTES_MAX, Sender};
use super::{Receiver, Stream};
use crate::buffer::{BULK_BUFFER_BYTES, Buffer, HEAD_BUFFER_BYTES, Unsent};

type Sending = Pin<Box<dyn Future<Output = (io::Result<()>, Sender)>>>;

/// What a receive brought must fill this much of a small buffer for the next one to be into a large one.
const BULK_FROM_BYTES: usize = HEAD_BUFFER_BYTES / 2;

enum Outgoing {
    Ready(Sender),
    /// The kernel did not take all of it yet.
    Sending(Sending),
    Failed(io::ErrorKind),
}

pub struct Duplex {
    receiver: Receiver,
    /// Received, and used up to `taken`.
    received: Buffer,
    taken: usize,
    is_bulk: bool,
    is_sealed: bool,
    outgoing: Outgoing,
}

impl Duplex {
    /// `received` comes before what the stream still brings.
    pub fn new(stream: Stream, received: Buffer) -> Self {
        let Stream { receiver, sender, .. } = stream;
        Self::of_parts(receiver, sender, received)
    }

    pub fn of_parts(receiver: Receiver, sender: Sender, received: Buffer) -> Self {
        let is_sealed = !sender.takes_pipes();
        Self { receiver, received, taken: 0, is_bulk: false, is_sealed, outgoing: Outgoing::Ready(sender) }
    }

    /// The bytes that are there and have not been read; waits for some when none are. Empty: the peer sends no more.
    pub fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.taken == self.received.len() {
            self.taken = 0;
            self.received = Buffer::none();
            if !self.receiver.is_started() {
                if self.is_bulk { self.receiver.start(Buffer::bulk()) } else { self.receiver.start_idle() }
            }
            let (count, buffer) = ready!(self.receiver.poll(cx));
            let count = count?;
            self.is_bulk = count >= if self.is_bulk { HEAD_BUFFER_BYTES } else { BULK_FROM_BYTES };
            self.received = buffer;
        }
        Poll::Ready(Ok(&self.received[self.taken..]))
    }

    /// The sender, when nothing is on its way any more.
    fn poll_sender(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Sender>> {
        if let Outgoing::Sending(sending) = &mut self.outgoing {
            let (sent, sender) = ready!(sending.as_mut().poll(cx));
            self.outgoing = match sent {
                Ok(()) => Outgoing::Ready(sender),
                Err(error) => Outgoing::Failed(error.kind()),
            };
        }
        if let Outgoing::Failed(kind) = self.outgoing {
            return Poll::Ready(Err(ready!(self.poll_reason(kind, cx))));
        }
        match &mut self.outgoing {
            Outgoing::Ready(sender) => Poll::Ready(Ok(sender)),
            Outgoing::Sending(_) | Outgoing::Failed(_) => Poll::Pending,
        }
    }

    /// Why nothing can be sent any more. Under TLS the peer may have said so, and its alert is worth more than the kernel's word;
    /// the end of the stream comes in any case.
    fn poll_reason(&mut self, kind: io::ErrorKind, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_sealed {
            return Poll::Ready(kind.into());
        }
        Poll::Ready(match ready!(self.poll_received(cx)) {
            Err(alert) if alert.kind() == io::ErrorKind::InvalidData => alert,
            _ => kind.into(),
        })
    }

    /// Hands the kernel what it has not taken yet.
    fn send_rest(&mut self, buffer: Buffer, sent: usize) {
        if let Outgoing::Ready(mut sender) =
            std::mem::replace(&mut self.outgoing, Outgoing::Failed(io::ErrorKind::BrokenPipe))
        {
            let sending = async move {
                let result = sender.send_all_to_wire(Unsent { buffer, sent }).await;
                (result, sender)
            };
            self.outgoing = Outgoing::Sending(Box::pin(sending));
        }
    }

    fn write_plain(&mut self, pieces: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sender = ready!(self.poll_sender(cx))?;
        if let Some(sent) = sender.try_send_pieces(pieces) {
            return Poll::Ready(sent);
        }
        let buffer = gathered(pieces, HEAD_BUFFER_BYTES);
        let count = buffer.len();
        self.send_rest(buffer, 0);
        // Polled now, so that the operation is under way, and whoever is to be woken by it is known.
        match self.poll_sender(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn write_sealed(&mut self, pieces: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sender = ready!(self.poll_sender(cx))?;
        let one;
        let plain: &[u8] = match pieces {
            [piece] => &piece[..piece.len().min(SEALED_BYTES_MAX)],
            _ => {
                one = gathered(pieces, SEALED_BYTES_MAX);
                &one
            }
        };
        let count = plain.len();
        let sealed = sender.seal(plain)?;
        let sent = match sender.try_send_pieces(&[IoSlice::new(&sealed)]) {
            Some(sent) => sent?,
            None => 0,
        };
        if sent < sealed.len() {
            self.send_rest(sealed, sent);
            if let Poll::Ready(Err(error)) = self.poll_sender(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(count))
    }

    fn write(&mut self, pieces: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let written = if self.is_sealed { self.write_sealed(pieces, cx) } else { self.write_plain(pieces, cx) };
        match ready!(written) {
            Err(error) if !matches!(self.outgoing, Outgoing::Failed(_)) => {
                self.outgoing = Outgoing::Failed(error.kind());
                self.poll_reason(error.kind(), cx).map(Err)
            }
            written => Poll::Ready(written),
        }
    }
}

/// A copy of the pieces, up to `max` bytes.
fn gathered(pieces: &[IoSlice<'_>], max: usize) -> Buffer {
    let total = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(max);
    let mut buffer = if total <= HEAD_BUFFER_BYTES { Buffer::head() } else { Buffer::bulk() };
    debug_assert!(total <= BULK_BUFFER_BYTES);
    for piece in pieces {
        let left = total - buffer.len();
        buffer.extend(&piece[..piece.len().min(left)]);
    }
    buffer
}

impl AsyncRead for Duplex {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let received = ready!(self.poll_received(cx))?;
        let count = received.len().min(into.remaining());
        into.put_slice(&received[..count]);
        self.taken += count;
        if self.taken == self.received.len() {
            // An idle connection holds no memory.
            self.taken = 0;
            self.received = Buffer::none();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(&[IoSlice::new(bytes)], cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(pieces, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sender(cx).map(|sender| sender.map(|_| ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sender = ready!(self.poll_sender(cx))?;
        sender.shutdown_send();
        Poll::Ready(Ok(()))
    }
}
